//! The operations that tasks announce, and what they return.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use super::depend::Moment;
use super::kernel::{Ino, Pid, RenameFlags};
use super::names::{Data, Name};
use super::state::{State, TaskId};
use crate::world::{Entry, Errno, LockMode, OpenOptions, Output, Stat};

/// Everything a task can be about to do. A few words that can be copied: it is moved from hand to hand at every step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Op {
    // Synchronous: keep the thread.
    Open {
        path: Name,
        options: OpenOptions,
    },
    Close {
        fd: u32,
    },
    Dup {
        fd: u32,
    },
    Read {
        fd: u32,
        len: usize,
    },
    Write {
        fd: u32,
        data: Data,
    },
    Seek {
        fd: u32,
        offset: u64,
    },
    Truncate {
        fd: u32,
        len: u64,
    },
    Sync {
        fd: u32,
    },
    Fstat {
        fd: u32,
    },
    Stat {
        path: Name,
        follow: bool,
    },
    Rename {
        from: Name,
        to: Name,
        flags: RenameFlags,
    },
    Link {
        existing: Name,
        new: Name,
    },
    Symlink {
        target: Name,
        path: Name,
    },
    ReadLink {
        path: Name,
    },
    Unlink {
        path: Name,
    },
    MakeDir {
        path: Name,
    },
    RemoveDir {
        path: Name,
    },
    ReadDir {
        path: Name,
    },
    Pipe,
    /// `converted`: the attempt of a conversion has been made, and the old lock given up.
    Flock {
        fd: u32,
        mode: LockMode,
        converted: bool,
    },
    TryFlock {
        fd: u32,
        mode: LockMode,
    },
    Unlock {
        fd: u32,
    },
    LockThread {
        mutex: u32,
    },
    Fork {
        launch: LaunchId,
    },
    KillChild {
        pid: Pid,
    },

    // Asynchronous: give the worker up.
    Acquire {
        semaphore: u32,
        permits: u32,
    },
    TryAcquire {
        semaphore: u32,
        permits: u32,
    },
    LockMutex {
        mutex: u32,
    },
    Notified {
        notify: u32,
    },
    Notify {
        notify: u32,
        all: bool,
    },
    /// `group`: those that one task waits for together have the same one, and zero is no group.
    Join {
        task: TaskId,
        group: u32,
    },
    Section {
        task: TaskId,
    },
    Wait {
        pid: Pid,
    },
    Sleep {
        due: Duration,
    },
    Deadline {
        due: Duration,
    },
    Choose {
        of: u32,
    },
    Yield,

    // Of a process, not of a task.
    /// The second half of a spawn, in the child.
    Exec {
        child: Pid,
    },
    /// The next descriptor of a dying process is closed.
    Die {
        pid: Pid,
    },
}

/// The number of a [`Launch`] in the machine's list. Equal numbers are equal launches.
pub(crate) type LaunchId = u32;

/// What a child is started with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Launch {
    pub(crate) argv: Vec<String>,
    pub(crate) env: Vec<(String, Option<String>)>,
    pub(crate) current_dir: Option<String>,
    pub(crate) capture: bool,
    pub(crate) passed: Vec<u32>,
}

impl Launch {
    /// The program's name: the last component of `argv[0]`.
    pub(crate) fn program(&self) -> &str {
        let path = self.argv.first().map_or("", String::as_str);
        path.rsplit('/').next().unwrap_or(path)
    }
}

impl Op {
    /// Whether it keeps the thread that it is called on.
    pub(crate) fn is_synchronous(&self) -> bool {
        !matches!(
            self,
            Op::Acquire { .. }
                | Op::TryAcquire { .. }
                | Op::LockMutex { .. }
                | Op::Notified { .. }
                | Op::Notify { .. }
                | Op::Join { .. }
                | Op::Section { .. }
                | Op::Wait { .. }
                | Op::Sleep { .. }
                | Op::Deadline { .. }
                | Op::Choose { .. }
                | Op::Yield
        )
    }

    /// Whether there can be something that it has to wait for, or a queue to join, when it is announced.
    pub(crate) fn may_have_to_wait(&self) -> bool {
        matches!(
            self,
            Op::Flock { .. }
                | Op::Read { .. }
                | Op::Write { .. }
                | Op::LockThread { .. }
                | Op::Join { .. }
                | Op::Section { .. }
                | Op::Notified { .. }
                | Op::Wait { .. }
                | Op::Sleep { .. }
                | Op::Deadline { .. }
        )
    }

    /// Whether it acts on the kernel alone.
    #[inline(always)]
    pub(crate) fn is_system_call(&self) -> bool {
        self.is_synchronous() && !matches!(self, Op::LockThread { .. } | Op::Fork { .. })
    }

    /// Whether it may be all done when it is announced.
    pub(crate) fn may_need_no_step(&self) -> bool {
        matches!(self, Op::Join { .. } | Op::Wait { .. } | Op::Choose { of: 1 })
    }

    /// Its name: that of the system call where it is one.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Op::Open { .. } => "open",
            Op::Close { .. } => "close",
            Op::Dup { .. } => "dup",
            Op::Read { .. } => "read",
            Op::Write { .. } => "write",
            Op::Seek { .. } => "lseek",
            Op::Truncate { .. } => "ftruncate",
            Op::Sync { .. } => "fsync",
            Op::Fstat { .. } => "fstat",
            Op::Stat { follow: true, .. } => "stat",
            Op::Stat { follow: false, .. } => "lstat",
            Op::Rename { .. } => "rename",
            Op::Link { .. } => "link",
            Op::Symlink { .. } => "symlink",
            Op::ReadLink { .. } => "readlink",
            Op::Unlink { .. } => "unlink",
            Op::MakeDir { .. } => "mkdir",
            Op::RemoveDir { .. } => "rmdir",
            Op::ReadDir { .. } => "readdir",
            Op::Pipe => "pipe",
            Op::Flock { .. } => "flock",
            Op::TryFlock { .. } => "try-flock",
            Op::Unlock { .. } => "unlock",
            Op::LockThread { .. } => "lock-thread",
            Op::Fork { .. } => "fork",
            Op::KillChild { .. } => "kill",
            Op::Acquire { .. } => "acquire",
            Op::TryAcquire { .. } => "try-acquire",
            Op::LockMutex { .. } => "lock",
            Op::Notified { .. } => "notified",
            Op::Notify { .. } => "notify",
            Op::Join { .. } => "join",
            Op::Section { .. } => "section",
            Op::Wait { .. } => "wait",
            Op::Sleep { .. } => "sleep",
            Op::Deadline { .. } => "deadline",
            Op::Choose { .. } => "choose",
            Op::Yield => "yield",
            Op::Exec { .. } => "exec",
            Op::Die { .. } => "die",
        }
    }
}

/// What an operation gave. Two words, because every step moves one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Ret {
    Unit,
    Fd(u32),
    Fds(u32, u32),
    Number(u64),
    Flag(bool),
    Large(Box<Large>),
}

/// What does not fit into a word or two.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Large {
    Bytes(Vec<u8>),
    Stat(Stat),
    Text(Arc<str>),
    Entries(Vec<Entry>),
    Output(Output),
    Child { pid: Pid, descriptors: Vec<u32> },
}

impl From<Large> for Ret {
    fn from(large: Large) -> Ret {
        Ret::Large(large.into())
    }
}

impl Ret {
    /// What an operation gave that always gives something large.
    pub(crate) fn large(self) -> Large {
        match self {
            Ret::Large(large) => *large,
            other => unreachable!("an operation returned {other:?}"),
        }
    }
}

pub(crate) type Outcome = Result<Ret, Errno>;

/// Who an announced operation belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Owner {
    Task(TaskId),
    Process(Pid),
}

/// How far an announced operation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    /// Announced; acts when the engine says so.
    Announced,
    /// It has joined a queue, or waits for something that somebody else's step will do.
    Queued,
    /// It has acted, and its outcome is there; the task has not seen it yet.
    Acted,
}

/// A slot in the table of announced operations.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) owner: Owner,
    pub(crate) op: Op,
    pub(crate) stage: Stage,
    /// What it came to, once it has acted.
    pub(crate) outcome: Outcome,
    /// The how many'th operation of its task it is.
    pub(crate) seq: u32,
    /// When it was announced.
    pub(crate) born: Moment,
    /// Where it stands in the list of enabled operations.
    pub(crate) place: Option<u32>,
    /// The inode whose changes it is told of.
    pub(crate) watches: Option<Ino>,
    /// It keeps a worker blocked, and is counted as such.
    pub(crate) blocks: bool,
    pub(crate) waker: Option<Waker>,
    /// Tells a slot from the next use of it.
    pub(crate) generation: u32,
    pub(crate) live: bool,
}

impl Pending {
    /// Forgets the operation, but not how many there have been.
    #[inline]
    pub(crate) fn vacate(&mut self) {
        if !self.live {
            debug_assert!(self.place.is_none() && self.watches.is_none() && !self.blocks && self.waker.is_none());
            return; // the usual case: it was fetched or forgotten
        }
        (self.place, self.watches, self.blocks, self.live) = (None, None, false, false);
        (self.waker, self.outcome) = (None, Ok(Ret::Unit));
    }

    /// Puts an operation into this slot, which is the one of that number.
    #[inline(always)]
    pub(crate) fn fill(
        &mut self,
        slot: u32,
        owner: Owner,
        op: Op,
        (seq, born): (u32, Moment),
        waker: Option<Waker>,
    ) -> OpId {
        debug_assert!(!self.live && self.place.is_none() && !self.blocks && self.waker.is_none());
        self.generation += 1;
        (self.owner, self.op, self.live) = (owner, op, true);
        (self.stage, self.seq, self.born) = (Stage::Announced, seq, born);
        if waker.is_some() {
            self.waker = waker; // it has none, so there is usually nothing to do
        }
        OpId { slot, generation: self.generation }
    }

    /// A slot that has not been used.
    pub(crate) fn vacant() -> Self {
        Pending {
            owner: Owner::Process(Pid::MAX),
            op: Op::Yield,
            stage: Stage::Announced,
            outcome: Ok(Ret::Unit),
            seq: 0,
            born: Moment::default(),
            place: None,
            watches: None,
            blocks: false,
            waker: None,
            generation: 0,
            live: false,
        }
    }
}

/// Names an announced operation; outlives it harmlessly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl OpId {
    /// Names no operation: generations are counted from 1.
    pub(crate) const NONE: OpId = OpId { slot: u32::MAX, generation: 0 };
}

impl State {
    /// The same in the words of an error.
    pub(crate) fn subject_of_error(&self, pid: u32, op: &Op) -> Arc<str> {
        match op {
            Op::Rename { from, to, .. } => format!("{} to {}", self.names[*from], self.names[*to]).into(),
            Op::Pipe => "pipe".into(),
            op => self.subject(pid, op),
        }
    }

    /// What an operation is about, in the words of a report or a replay key.
    pub(crate) fn subject(&self, pid: u32, op: &Op) -> Arc<str> {
        let named = |fd: u32| self.kernel.describe(pid, fd).map_or_else(|_| "?".into(), |(path, _, _)| path);
        match *op {
            Op::Open { path, .. } | Op::Stat { path, .. } | Op::Symlink { path, .. } => self.names[path].clone(),
            Op::ReadLink { path } | Op::Unlink { path } | Op::MakeDir { path } => self.names[path].clone(),
            Op::RemoveDir { path } | Op::ReadDir { path } => self.names[path].clone(),
            Op::Rename { to, .. } => self.names[to].clone(),
            Op::Link { new, .. } => self.names[new].clone(),
            Op::Close { fd } | Op::Dup { fd } | Op::Read { fd, .. } | Op::Write { fd, .. } => named(fd),
            Op::Seek { fd, .. } | Op::Truncate { fd, .. } | Op::Sync { fd } | Op::Fstat { fd } => named(fd),
            Op::Flock { fd, .. } | Op::TryFlock { fd, .. } | Op::Unlock { fd } => named(fd),
            Op::Acquire { semaphore, .. } | Op::TryAcquire { semaphore, .. } => {
                self.semaphores[semaphore as usize].name.clone()
            }
            Op::LockMutex { mutex } | Op::LockThread { mutex } => self.mutexes[mutex as usize].name.clone(),
            Op::Notified { notify } | Op::Notify { notify, .. } => self.notifies[notify as usize].name.clone(),
            Op::Join { task, .. } | Op::Section { task } => self.tasks[task as usize].name.clone(),
            Op::Wait { pid } | Op::KillChild { pid } | Op::Exec { child: pid } | Op::Die { pid } => {
                self.hosts[pid as usize].name.clone()
            }
            Op::Fork { launch } => self.launches[launch].program().into(),
            Op::Pipe | Op::Sleep { .. } | Op::Deadline { .. } | Op::Choose { .. } | Op::Yield => "".into(),
        }
    }
}
