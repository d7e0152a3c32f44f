//! The operations that tasks announce, and what they return.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use smallvec::SmallVec;

use super::kernel::{Pid, RenameFlags};
use super::state::{State, TaskId};
use crate::world::{Entry, Errno, LockMode, OpenOptions, Output, Stat};

/// Everything a task can be about to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Op {
    // Synchronous: keep the thread.
    Open {
        path: Arc<str>,
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
        data: SmallVec<[u8; 16]>,
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
        path: Arc<str>,
        follow: bool,
    },
    Rename {
        from: Arc<str>,
        to: Arc<str>,
        flags: RenameFlags,
    },
    Link {
        existing: Arc<str>,
        new: Arc<str>,
    },
    Symlink {
        target: Arc<str>,
        path: Arc<str>,
    },
    ReadLink {
        path: Arc<str>,
    },
    Unlink {
        path: Arc<str>,
    },
    MakeDir {
        path: Arc<str>,
    },
    RemoveDir {
        path: Arc<str>,
    },
    ReadDir {
        path: Arc<str>,
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
        command: Arc<Launch>,
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
    Join {
        task: TaskId,
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

/// What an operation gave.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Ret {
    Unit,
    Fd(u32),
    Fds(u32, u32),
    Bytes(Vec<u8>),
    Number(u64),
    Flag(bool),
    Stat(Box<Stat>),
    Text(Arc<str>),
    Entries(Vec<Entry>),
    Output(Box<Output>),
    Child { pid: Pid, descriptors: Vec<u32> },
}

pub(crate) type Outcome = Result<Ret, Errno>;

/// Who an announced operation belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Owner {
    Task(TaskId),
    Process(Pid),
}

/// How far an announced operation has come.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    /// Announced; acts when the engine says so.
    Announced,
    /// It has joined a queue, or waits for something that somebody else's step will do.
    Queued,
    /// It has acted; the task has not seen it yet.
    Acted(Outcome),
}

/// A slot in the table of announced operations.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) owner: Owner,
    pub(crate) op: Op,
    pub(crate) stage: Stage,
    /// The how many'th operation of its task it is.
    pub(crate) seq: u32,
    /// Where it stands in the list of enabled operations.
    pub(crate) place: Option<u32>,
    /// It keeps a worker blocked, and is counted as such.
    pub(crate) blocks: bool,
    pub(crate) waker: Option<Waker>,
    /// Tells a slot from the next use of it.
    pub(crate) generation: u32,
    pub(crate) live: bool,
}

/// Names an announced operation; outlives it harmlessly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl State {
    /// What an operation is about, in the words of a report or a replay key.
    pub(crate) fn subject(&self, pid: u32, op: &Op) -> Arc<str> {
        let named = |fd: u32| self.kernel.describe(pid, fd).map_or_else(|_| "?".into(), |(path, _, _)| path);
        match op {
            Op::Open { path, .. } | Op::Stat { path, .. } | Op::Symlink { path, .. } => path.clone(),
            Op::ReadLink { path } | Op::Unlink { path } | Op::MakeDir { path } => path.clone(),
            Op::RemoveDir { path } | Op::ReadDir { path } => path.clone(),
            Op::Rename { to, .. } => to.clone(),
            Op::Link { new, .. } => new.clone(),
            Op::Close { fd } | Op::Dup { fd } | Op::Read { fd, .. } | Op::Write { fd, .. } => named(*fd),
            Op::Seek { fd, .. } | Op::Truncate { fd, .. } | Op::Sync { fd } | Op::Fstat { fd } => named(*fd),
            Op::Flock { fd, .. } | Op::TryFlock { fd, .. } | Op::Unlock { fd } => named(*fd),
            Op::Acquire { semaphore, .. } | Op::TryAcquire { semaphore, .. } => {
                self.semaphores[*semaphore as usize].name.clone()
            }
            Op::LockMutex { mutex } | Op::LockThread { mutex } => self.mutexes[*mutex as usize].name.clone(),
            Op::Notified { notify } | Op::Notify { notify, .. } => self.notifies[*notify as usize].name.clone(),
            Op::Join { task } | Op::Section { task } => self.tasks[*task as usize].name.clone(),
            Op::Wait { pid } | Op::KillChild { pid } | Op::Exec { child: pid } | Op::Die { pid } => {
                self.hosts[*pid as usize].name.clone()
            }
            Op::Fork { command } => command.program().into(),
            Op::Pipe | Op::Sleep { .. } | Op::Deadline { .. } | Op::Choose { .. } | Op::Yield => "".into(),
        }
    }
}
