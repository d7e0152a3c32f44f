//! What happened: one vocabulary for the simulated machine, the traced real one, and observed real programs, so that one set of
//! oracles judges all three.

use std::fmt;
use std::ops::BitOr;
use std::sync::Arc;
use std::time::Duration;

use super::{Errno, FileId, LockMode, Status};

/// Something that happened, once it has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The step of the execution in which it happened; several events can share one.
    pub step: u64,
    /// When, for reports. Oracles ask [`KernelView::now`](crate::KernelView::now), which a search takes notice of.
    pub(crate) at: Duration,
    /// In which process.
    pub process: u32,
    /// In which task; none for what a process does as a whole.
    pub task: Option<u32>,
    /// What.
    pub what: What,
}

/// A set of kinds of events.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Kinds(u32);

impl Kinds {
    /// No kind.
    pub const NONE: Kinds = Kinds(0);
    /// Descriptors are made.
    pub const OPENED: Kinds = Kinds(1);
    /// Descriptors are closed.
    pub const CLOSED: Kinds = Kinds(1 << 1);
    /// Both.
    pub const DESCRIPTORS: Kinds = Self::OPENED.and(Self::CLOSED);
    /// Locks are asked for, granted, refused, released.
    pub const LOCKS: Kinds = Self::LOCK_WAITS.and(Self::LOCKED).and(Self::LOCK_REFUSED).and(Self::UNLOCKED);
    /// Names appear, move, vanish.
    pub const NAMES: Kinds = Kinds(1 << 2);
    /// Content is read, written, truncated.
    pub const CONTENT: Kinds = Kinds(1 << 3);
    /// Processes start and end.
    pub const PROCESSES: Kinds = Self::STARTED.and(Self::FORKED).and(Self::ENDED);
    /// Tasks start.
    pub const TASK_STARTS: Kinds = Kinds(1 << 4);
    /// Tasks end.
    pub const TASK_ENDS: Kinds = Kinds(1 << 5);
    /// Both.
    pub const TASKS: Kinds = Self::TASK_STARTS.and(Self::TASK_ENDS);
    /// Processes and tasks start and end.
    pub const LIVES: Kinds = Self::PROCESSES.and(Self::TASKS);
    /// Permits, mutexes, notifications.
    pub const MEMORY: Kinds = Kinds(1 << 6);
    /// Regions and notes.
    pub const REMARKS: Kinds = Kinds(1 << 7);
    /// Calls that failed.
    pub const FAILURES: Kinds = Kinds(1 << 8);
    /// Time passed, a choice was made, attributes were looked at.
    pub const OTHER: Kinds = Kinds(1 << 9);
    /// Tasks that hold locks give their threads up, and get threads again.
    pub const AWAITS: Kinds = Kinds(1 << 17);
    /// Every kind.
    pub const ALL: Kinds = Kinds((1 << Self::PARTS) - 1);
    /// How many parts of kinds there are.
    pub(crate) const PARTS: usize = 18;

    // Parts of the kinds of which most events are, for those who [attend](crate::Oracle::attends) to less than a kind.
    /// `LockWait`.
    pub(crate) const LOCK_WAITS: Kinds = Kinds(1 << 10);
    /// `Lock`.
    pub(crate) const LOCKED: Kinds = Kinds(1 << 11);
    /// `LockRefused`.
    pub(crate) const LOCK_REFUSED: Kinds = Kinds(1 << 12);
    /// `Unlock` and `LockLost`.
    pub(crate) const UNLOCKED: Kinds = Kinds(1 << 13);
    /// `Started`.
    pub(crate) const STARTED: Kinds = Kinds(1 << 14);
    /// `Forked`.
    pub(crate) const FORKED: Kinds = Kinds(1 << 15);
    /// `Ending` and `Ended`.
    pub(crate) const ENDED: Kinds = Kinds(1 << 16);

    /// No event of its own: with this one, whoever has a lock has done the first thing under it. See
    /// [`PathExclusion`](crate::oracle::PathExclusion).
    pub(crate) const OWNED: Kinds = Kinds(1 << Self::PARTS);
    /// The same where the path of the lock has another owner.
    pub(crate) const RIVALLED: Kinds = Kinds(1 << (Self::PARTS + 1));
    /// What may be such a thing.
    pub(crate) const ACTS: Kinds = Self::LOCK_WAITS
        .and(Self::LOCKED)
        .and(Self::OPENED)
        .and(Self::NAMES)
        .and(Self::CONTENT)
        .and(Self::FORKED)
        .and(Self::REMARKS);

    const fn and(self, other: Kinds) -> Kinds {
        Kinds(self.0 | other.0)
    }

    /// Whether the two sets share a kind.
    #[inline(always)]
    pub fn meets(self, other: Kinds) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether everything of the other set is in this one.
    pub(crate) fn contains(self, other: Kinds) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Kinds {
    type Output = Kinds;
    #[inline(always)]
    fn bitor(self, other: Kinds) -> Kinds {
        self.and(other)
    }
}

impl fmt::Debug for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kinds({:#b})", self.0)
    }
}

/// Which thread a task holds while it blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Thread {
    /// One of the executor's workers.
    Worker,
    /// One of its blocking threads.
    Pool,
    /// One of its own.
    Own,
}

/// The kinds of things that happen. Paths are as the caller gave them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are named as in the manual pages of the calls that the variants document")]
pub enum What {
    /// open(2), or one end of pipe2(2).
    Open { path: Arc<str>, descriptor: u32, file: FileId, created: bool, truncated: bool },
    /// dup(2), fcntl(F_DUPFD), inheritance by a new process.
    Dup { path: Arc<str>, descriptor: u32, file: FileId },
    /// A descriptor that belongs to no file of the protocol's: the pidfd of a child, an end of a pipe to it.
    Descriptor { number: u32 },
    /// close(2), also by drop, exec or the end of the process.
    Close { path: Arc<str>, descriptor: u32, file: FileId },

    /// A blocking flock(2) has to wait; it keeps `thread` while it does. Told again when the lock was free and somebody else was
    /// faster.
    LockWait { path: Arc<str>, descriptor: u32, file: FileId, mode: LockMode, thread: Thread },
    /// flock(2) was granted.
    Lock { path: Arc<str>, descriptor: u32, file: FileId, description: u64, mode: LockMode, blocking: bool },
    /// flock(2) with LOCK_NB was refused.
    LockRefused { path: Arc<str>, descriptor: u32, file: FileId, mode: LockMode },
    /// The ground took a lock away, and its holder is not told: it goes on as if it had it, until `Unlock`.
    LockLost { path: Arc<str>, file: FileId, description: u64, mode: LockMode },
    /// A lock ended: by LOCK_UN, by a conversion (which gives the old lock up first), or by the close of its last descriptor.
    Unlock { path: Arc<str>, file: FileId, description: u64, mode: LockMode },

    /// rename(2).
    Rename { from: Arc<str>, to: Arc<str>, file: FileId, replaced: Option<FileId> },
    /// link(2) or symlink(2).
    Link { existing: Arc<str>, new: Arc<str>, symbolic: bool },
    /// unlink(2).
    Unlink { path: Arc<str>, file: FileId },
    /// mkdir(2).
    MakeDir { path: Arc<str> },
    /// rmdir(2).
    RemoveDir { path: Arc<str>, file: FileId },

    /// read(2).
    Read { path: Arc<str>, descriptor: u32, file: FileId, bytes: usize },
    /// write(2).
    Write { path: Arc<str>, descriptor: u32, file: FileId, bytes: usize },
    /// ftruncate(2).
    Truncate { path: Arc<str>, file: FileId, len: u64 },
    /// fsync(2).
    Sync { path: Arc<str>, file: FileId },
    /// stat(2), lstat(2), fstat(2), readlink(2).
    Stat { path: Arc<str> },
    /// The names of a directory were read.
    ReadDir { path: Arc<str> },

    /// A process began to run its program.
    Started { name: Arc<str>, parent: Option<u32> },
    /// fork(2): until `Started`, the child is a copy of its parent.
    Forked { child: u32, program: Arc<str> },
    /// The process does nothing more; its descriptors are closed next.
    Ending { status: Status },
    /// Everything is closed.
    Ended { status: Status },
    /// A task or section began to exist; `parent` is the task that spawned it, or gave the section away.
    TaskStarted { name: Arc<str>, thread: Thread, parent: Option<u32> },
    /// It ended, or was dropped.
    TaskEnded { completed: bool },
    /// A task that holds a lock has given its worker thread up: it awaits something.
    Suspended,
    /// It has one again.
    Resumed,

    /// Permits were granted.
    Acquired { name: Arc<str>, permits: u32 },
    /// Permits came back.
    Released { name: Arc<str>, permits: u32 },
    /// A mutex was locked.
    MutexLocked { name: Arc<str> },
    /// And unlocked.
    MutexUnlocked { name: Arc<str> },
    /// `notify_one` or `notify_all`, and how many it woke.
    Notified { name: Arc<str>, woken: u32 },

    /// A region was entered.
    Entered { kind: &'static str, subject: Arc<str>, region: u64 },
    /// And left.
    Left { kind: &'static str, subject: Arc<str>, region: u64 },
    /// A remark.
    Note { kind: &'static str, subject: Arc<str> },

    /// A call failed.
    Failed { call: &'static str, subject: Arc<str>, errno: Errno },

    /// A sleep ended.
    Slept,
    /// A deadline was reached.
    TimedOut,
    /// A choice among `of` was made.
    Chose { value: u32, of: u32 },
}

impl What {
    /// The kind it is of.
    #[inline(always)]
    pub fn kind(&self) -> Kinds {
        use What::*;
        match self {
            Open { .. } | Dup { .. } | Descriptor { .. } => Kinds::OPENED,
            Close { .. } => Kinds::CLOSED,
            LockWait { .. } | Lock { .. } | LockRefused { .. } | LockLost { .. } | Unlock { .. } => Kinds::LOCKS,
            Rename { .. } | Link { .. } | Unlink { .. } | MakeDir { .. } | RemoveDir { .. } => Kinds::NAMES,
            Read { .. } | Write { .. } | Truncate { .. } | Sync { .. } => Kinds::CONTENT,
            Started { .. } | Forked { .. } | Ending { .. } | Ended { .. } => Kinds::PROCESSES,
            TaskStarted { .. } => Kinds::TASK_STARTS,
            TaskEnded { .. } => Kinds::TASK_ENDS,
            Suspended | Resumed => Kinds::AWAITS,
            Acquired { .. } | Released { .. } | MutexLocked { .. } | MutexUnlocked { .. } => Kinds::MEMORY,
            Notified { .. } => Kinds::MEMORY,
            Entered { .. } | Left { .. } | Note { .. } => Kinds::REMARKS,
            Failed { .. } => Kinds::FAILURES,
            Stat { .. } | ReadDir { .. } | Slept | TimedOut | Chose { .. } => Kinds::OTHER,
        }
    }

    /// The part of its kind that it is of.
    #[inline(always)]
    pub(crate) fn part(&self) -> Kinds {
        use What::*;
        match self {
            LockWait { .. } => Kinds::LOCK_WAITS,
            Lock { .. } => Kinds::LOCKED,
            LockRefused { .. } => Kinds::LOCK_REFUSED,
            LockLost { .. } | Unlock { .. } => Kinds::UNLOCKED,
            Started { .. } => Kinds::STARTED,
            Forked { .. } => Kinds::FORKED,
            Ending { .. } | Ended { .. } => Kinds::ENDED,
            _ => self.kind(),
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use What::*;
        let mode = |mode: &LockMode| if *mode == LockMode::Shared { "shared" } else { "exclusive" };
        match self {
            Open { path, descriptor, created, .. } => {
                write!(f, "opens {path} as descriptor {descriptor}{}", if *created { ", creating it" } else { "" })
            }
            Dup { path, descriptor, .. } => write!(f, "has another descriptor {descriptor} of {path}"),
            Descriptor { number } => write!(f, "has descriptor {number} for a child"),
            Close { path, descriptor, .. } => write!(f, "closes descriptor {descriptor} ({path})"),
            LockWait { path, mode: m, thread, .. } => {
                let on = match thread {
                    Thread::Worker => "a worker thread",
                    Thread::Pool => "a blocking thread",
                    Thread::Own => "a thread of its own",
                };
                write!(f, "blocks {on} until {path} can be locked {}", mode(m))
            }
            Lock { path, mode: m, .. } => write!(f, "locks {path} {}", mode(m)),
            LockRefused { path, mode: m, .. } => write!(f, "is refused the {} lock on {path}", mode(m)),
            LockLost { path, mode: m, .. } => write!(f, "loses its {} lock on {path} and is not told", mode(m)),
            Unlock { path, .. } => write!(f, "no longer locks {path}"),
            Rename { from, to, replaced, .. } => {
                write!(f, "renames {from} to {to}{}", if replaced.is_some() { ", replacing it" } else { "" })
            }
            Link { existing, new, symbolic } => {
                write!(f, "makes {new} a {} link to {existing}", if *symbolic { "symbolic" } else { "hard" })
            }
            Unlink { path, .. } => write!(f, "unlinks {path}"),
            MakeDir { path } => write!(f, "makes directory {path}"),
            RemoveDir { path, .. } => write!(f, "removes directory {path}"),
            Read { path, bytes, .. } => write!(f, "reads {bytes} bytes of {path}"),
            Write { path, bytes, .. } => write!(f, "writes {bytes} bytes to {path}"),
            Truncate { path, len, .. } => write!(f, "truncates {path} to {len} bytes"),
            Sync { path, .. } => write!(f, "syncs {path}"),
            Stat { path } => write!(f, "looks at {path}"),
            ReadDir { path } => write!(f, "lists {path}"),
            Started { name, .. } => write!(f, "starts as {name}"),
            Forked { child, program } => write!(f, "forks process {child} for {program}"),
            Ending { status } | Ended { status } => {
                let done = if matches!(self, Ended { .. }) { "has ended" } else { "ends" };
                match status {
                    Status::Exited(code) => write!(f, "{done} with exit code {code}"),
                    Status::Killed(signal) => write!(f, "{done}, killed by signal {signal}"),
                }
            }
            TaskStarted { name, thread, .. } => {
                let on = if *thread == Thread::Worker { "task" } else { "section" };
                write!(f, "starts {on} {name}")
            }
            TaskEnded { completed } => f.write_str(if *completed { "is done" } else { "is dropped" }),
            Suspended => f.write_str("is suspended with a lock in its hands"),
            Resumed => f.write_str("has a thread again, and still the lock"),
            Acquired { name, permits } => write!(f, "has {permits} of {name}"),
            Released { name, permits } => write!(f, "gives {permits} of {name} back"),
            MutexLocked { name } => write!(f, "locks mutex {name}"),
            MutexUnlocked { name } => write!(f, "unlocks mutex {name}"),
            Notified { name, woken } => write!(f, "notifies {name}, waking {woken}"),
            Entered { kind, subject, .. } => write!(f, "enters {kind} {subject}"),
            Left { kind, subject, .. } => write!(f, "leaves {kind} {subject}"),
            Note { kind, subject } => write!(f, "notes: {kind} {subject}"),
            Failed { call, subject, errno } => write!(f, "fails to {call} {subject}: {errno}"),
            Slept => f.write_str("has slept"),
            TimedOut => f.write_str("reaches its deadline"),
            Chose { value, of } => write!(f, "chooses {value} of {of}"),
        }
    }
}
