//! The simulated kernel: names, inodes, open file descriptions, descriptor tables, flock and record locks, pipes, processes.
//!
//! Plain data under `&mut self`: no clock, no randomness, no threads, no futures. Everything that waits is asked first
//! ([`Kernel::can_lock`], [`Kernel::can_read`], [`Kernel::can_write`]) and acts only when it need not wait; who goes first among
//! those who can is for an engine to choose. The rules are those of a Linux local filesystem as measured, clause by clause in
//! `docs/model.md`; where a manual page and the measured kernel differ, the kernel wins. The scar that made this rule: flock(2)
//! says that a conversion is not atomic, so two simulators let a third party slip in between; the kernel has not allowed that
//! since Linux 4.0, and what it does instead (a refused upgrade has already lost the shared lock) both got wrong.

mod descriptors;
mod entries;
mod fingerprint;
mod flock;
mod ground;
mod io;
mod names;
mod processes;
mod quirk;
mod ranges;
mod show;
mod visit;

use std::collections::VecDeque;
use std::sync::Arc;

use smallvec::SmallVec;

use super::names::Names;
use crate::world::{Errno, FileId, LockMode};

pub use descriptors::{OpenHow, Opened};
use entries::Entries;
pub(crate) use fingerprint::Labels;
pub use ground::Ground;
pub use io::Whence;
pub use names::RenameFlags;
pub use processes::{DescriptorView, Pid};
pub use quirk::Quirk;
pub use ranges::{RangeLock, RangeOwner, RangeRequest, Span};
pub(crate) use visit::Visited;

/// What kernel calls return: an errno, without the path that the caller knows.
pub type Call<T> = Result<T, Errno>;

/// The device number of the one filesystem.
pub const DEVICE: u64 = 1;
/// Bytes that a pipe holds before its writers wait.
pub const PIPE_CAPACITY: usize = 64 << 10;

/// Slot of an inode. Its number is another thing.
pub type Ino = u32;
/// Slot of an open file description.
pub type Ofd = u32;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Node {
    Free,
    File(Vec<u8>),
    Dir {
        parent: Ino,
        entries: Entries,
    },
    Symlink(Arc<str>),
    Pipe(PipeBuffer),
    /// Swallows what is written and gives nothing: what descriptors 0, 1, 2 are open on.
    Null,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct PipeBuffer {
    bytes: VecDeque<u8>,
    readers: u32,
    writers: u32,
}

#[derive(Clone, Debug)]
struct Inode {
    /// Its inode number. Those of dead inodes are used again, the lowest first.
    number: u64,
    /// How many memories have the number in them; only counted for fingerprints.
    known: u32,
    node: Node,
    nlink: u32,
    /// Descriptions that refer to it.
    open: u32,
    /// Descriptions that hold a lock on it, in order of grant.
    locks: SmallVec<[Ofd; 4]>,
    /// Record locks on it; those of one owner stand together, by their start.
    ranges: Vec<RangeLock>,
    /// Somebody may execute it.
    executable: bool,
}

/// An open file description: what `open` makes and `dup` and `fork` share.
#[derive(Clone, Debug)]
struct Description {
    inode: Ino,
    read: bool,
    write: bool,
    append: bool,
    /// Made by O_PATH: names the file, and is good for nothing else.
    path_only: bool,
    offset: u64,
    lock: Option<LockMode>,
    /// A lock that the ground took away, and its holder believes to have.
    lost: Option<LockMode>,
    /// Descriptors, in all processes, that refer to it; free at zero.
    refs: u32,
    /// As it was opened; for reports. None once it is free.
    path: Option<Arc<str>>,
    /// Who locked it (an opaque number of the caller's) and at which step; for reports.
    locker: u32,
    since: u64,
}

/// One descriptor of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Descriptor {
    ofd: Ofd,
    close_on_exec: bool,
    /// The child was meant to have it (`Command::inherit`).
    passed: bool,
    /// Who used it last (an opaque number of the caller's); for the leak report.
    user: u32,
}

/// Something changed that others may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touched {
    /// The locks on an inode.
    Locks(Ino),
    /// The content or the ends of a pipe.
    Pipe(Ino),
}

/// A lock that ended without its holder asking for it by name: by the close of its last descriptor.
#[derive(Clone, Debug)]
pub struct Closed {
    /// The path it was opened under.
    pub path: Arc<str>,
    /// The file.
    pub file: FileId,
    /// The description, if this was its last descriptor, and the mode of the lock that ended with it.
    pub lock_ended: Option<(Ofd, LockMode)>,
}

/// The whole machine below the processes' memory.
#[derive(Clone, Debug)]
pub struct Kernel {
    inodes: Vec<Inode>,
    free_inodes: Vec<Ino>,
    descriptions: Vec<Description>,
    free_descriptions: Vec<Ofd>,
    processes: Vec<processes::Proc>,
    touched: Vec<Touched>,
    locks_held: u32,
    locks_peak: u32,
    /// The number of the next record lock.
    next_range: u64,
    /// The next inode number: see [`set_author`](Kernel::set_author).
    next_inode: u64,
    ground: Ground,
    quirk: Option<Quirk>,
    /// Empty, but with room: contents of files and tables of processes that there were before a reset.
    spare_contents: Vec<Vec<u8>>,
    spare_tables: Vec<Vec<Option<Descriptor>>>,
    /// What the standard descriptors are open on.
    null: Arc<str>,
    /// Names that files were given: an exploration gives the same ones in every execution.
    known: Names,
}

/// Puts a number among those to be given again. The lowest comes first, whatever the order of death: states that differ only in it
/// are one state.
fn set_free(free: &mut Vec<u32>, number: u32) {
    let at = free.partition_point(|&other| other > number);
    free.insert(at, number);
}

const ROOT: Ino = 0;
const NULL: Ino = 1;

impl Default for Kernel {
    fn default() -> Self {
        Kernel {
            inodes: vec![
                Inode::new(ROOT.into(), Node::Dir { parent: ROOT, entries: Entries::default() }, 2),
                Inode::new(NULL.into(), Node::Null, 1),
            ],
            free_inodes: Vec::new(),
            descriptions: Vec::new(),
            free_descriptions: Vec::new(),
            processes: Vec::new(),
            touched: Vec::new(),
            locks_held: 0,
            locks_peak: 0,
            next_range: 0,
            next_inode: u64::from(NULL) + 1,
            ground: Ground::default(),
            quirk: None,
            spare_contents: Vec::new(),
            spare_tables: Vec::new(),
            null: "/dev/null".into(),
            known: Names::default(),
        }
    }
}

impl Description {
    /// None.
    const FREE: Description = Description {
        inode: 0,
        read: false,
        write: false,
        append: false,
        path_only: false,
        offset: 0,
        lock: None,
        lost: None,
        refs: 0,
        path: None,
        locker: u32::MAX,
        since: 0,
    };

    /// The path that it was opened under.
    fn path(&self) -> &Arc<str> {
        self.path.as_ref().expect("a description that is open")
    }
}

impl Inode {
    fn new(number: u64, node: Node, nlink: u32) -> Self {
        Inode { number, known: 0, node, nlink, open: 0, locks: SmallVec::new(), ranges: Vec::new(), executable: false }
    }
}

impl Kernel {
    /// Becomes a copy of `start`, keeping what is allocated: an exploration does this for every execution.
    pub fn reset_to(&mut self, start: &Kernel) {
        let Kernel { inodes, free_inodes, descriptions, free_descriptions, processes, touched, .. } = self;
        while inodes.len() > start.inodes.len() {
            if let Some(Inode { node: Node::File(mut bytes), .. }) = inodes.pop()
                && bytes.capacity() > 0
            {
                bytes.clear();
                self.spare_contents.push(bytes);
            }
        }
        for (mine, theirs) in inodes.iter_mut().zip(&start.inodes) {
            match (&mut mine.node, &theirs.node) {
                (Node::Dir { parent, entries }, Node::Dir { parent: its_parent, entries: its_entries }) => {
                    *parent = *its_parent;
                    entries.clone_from(its_entries);
                }
                (Node::File(bytes), Node::File(its_bytes)) => bytes.clone_from(its_bytes),
                (Node::Null, Node::Null) => {}
                (mine, theirs) => mine.clone_from(theirs),
            }
            (mine.number, mine.known) = (theirs.number, theirs.known);
            (mine.nlink, mine.open, mine.executable) = (theirs.nlink, theirs.open, theirs.executable);
            // Nothing for nothing is the usual case, and copying it is not free.
            if !(mine.locks.is_empty() && theirs.locks.is_empty()) {
                mine.locks.clone_from(&theirs.locks);
            }
            if !(mine.ranges.is_empty() && theirs.ranges.is_empty()) {
                mine.ranges.clone_from(&theirs.ranges);
            }
        }
        if inodes.len() < start.inodes.len() {
            inodes.extend_from_slice(&start.inodes[inodes.len()..]);
        }
        free_inodes.clone_from(&start.free_inodes);
        descriptions.clone_from(&start.descriptions);
        free_descriptions.clone_from(&start.free_descriptions);
        while processes.len() > start.processes.len()
            && let Some(process) = processes.pop()
        {
            let mut table = process.into_table();
            table.clear();
            self.spare_tables.push(table);
        }
        processes.clone_from(&start.processes);
        touched.clear();
        (self.ground, self.quirk, self.next_inode) = (start.ground, start.quirk, start.next_inode);
        (self.locks_held, self.locks_peak, self.next_range) = (start.locks_held, start.locks_peak, start.next_range);
    }

    /// Whether something has changed since then.
    pub fn has_touched(&self) -> bool {
        !self.touched.is_empty()
    }

    /// The same as a list; [`forget_touched`](Kernel::forget_touched) empties it.
    pub(crate) fn touched(&self) -> &[Touched] {
        &self.touched
    }

    /// Everybody who waits for what has changed has been told.
    pub(crate) fn forget_touched(&mut self) {
        self.touched.clear();
    }

    /// What changed since the last call, for those who wait for it.
    pub fn take_touched(&mut self, into: &mut Vec<Touched>) {
        into.append(&mut self.touched);
    }

    /// Most locks held at once, over all processes.
    pub fn locks_peak(&self) -> u32 {
        self.locks_peak
    }

    pub(crate) fn file_id(&self, ino: Ino) -> FileId {
        FileId { device: DEVICE, inode: self.inodes[ino as usize].number }
    }

    /// From here on it is another one who makes what is made; the inode numbers from `first` on are nobody else's.
    ///
    /// Programs compare inode numbers, and may order them. Given in the order of creation, they would tell a program who else made files
    /// before, and two creations that have nothing to do with each other would leave another machine in either order. So a number
    /// says who made the file, and that is the same in both.
    #[inline]
    pub(crate) fn set_author(&mut self, first: u64) {
        self.next_inode = first;
    }

    fn new_inode(&mut self, node: Node, nlink: u32) -> Ino {
        let ino = self.free_inodes.pop().unwrap_or_else(|| {
            self.inodes.push(Inode::new(self.next_inode, Node::Free, 0));
            self.next_inode += 1;
            (self.inodes.len() - 1) as Ino
        });
        // The number stays, and who knows it.
        let inode = &mut self.inodes[ino as usize];
        debug_assert!(inode.node == Node::Free && inode.open == 0 && inode.locks.is_empty() && inode.ranges.is_empty());
        (inode.node, inode.nlink, inode.executable) = (node, nlink, false);
        ino
    }

    /// A file without content.
    fn empty_file(&mut self) -> Node {
        Node::File(self.spare_contents.pop().unwrap_or_default())
    }

    /// Frees an inode that has neither a name nor a description left.
    #[inline]
    fn reap_inode(&mut self, ino: Ino) {
        let inode = &mut self.inodes[ino as usize];
        if inode.nlink == 0 && inode.open == 0 && inode.node != Node::Free {
            inode.node = Node::Free;
            self.set_free_inode(ino);
        }
    }

    /// Puts an inode among those to be used again, that of the lowest number first: whatever the order of death, and whichever slot it has.
    fn set_free_inode(&mut self, ino: Ino) {
        let Kernel { inodes, free_inodes, .. } = self;
        let number = inodes[ino as usize].number;
        let at = free_inodes.partition_point(|&other| inodes[other as usize].number > number);
        free_inodes.insert(at, ino);
    }
}
