//! Files and directories, one system call at a time.

use super::Result;
use std::future::Future;
use std::hash::Hash;

/// The identity of a file, whatever names it has: (st_dev, st_ino).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    /// st_dev.
    pub device: u64,
    /// st_ino.
    pub inode: u64,
}

/// What kind of file a name or descriptor refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A pipe, socket, device.
    Other,
}

/// The part of stat(2) that protocols use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stat {
    /// Which file it is.
    pub id: FileId,
    /// Of which kind.
    pub kind: FileKind,
    /// How many names it has. Zero is *not* a sound test for "was unlinked" on overlayfs; compare [`Stat::id`].
    pub nlink: u64,
    /// Bytes.
    pub size: u64,
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Entry {
    /// The last component, never `.` or `..`.
    pub name: String,
    /// Whether it is a directory (a symbolic link to one is not).
    pub is_dir: bool,
}

/// The flags of open(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OpenOptions {
    /// O_RDONLY, or O_RDWR with `write`.
    pub read: bool,
    /// O_WRONLY, or O_RDWR with `read`.
    pub write: bool,
    /// O_APPEND.
    pub append: bool,
    /// O_CREAT.
    pub create: bool,
    /// O_CREAT | O_EXCL.
    pub create_new: bool,
    /// O_TRUNC.
    pub truncate: bool,
    /// O_DIRECTORY.
    pub directory: bool,
    /// O_NOFOLLOW.
    pub no_follow: bool,
    /// O_CLOEXEC; on unless switched off.
    pub close_on_exec: bool,
    /// Permission bits of a file that the call creates, before the umask.
    pub mode: u32,
}

impl OpenOptions {
    const NONE: Self = OpenOptions {
        read: false,
        write: false,
        append: false,
        create: false,
        create_new: false,
        truncate: false,
        directory: false,
        no_follow: false,
        close_on_exec: true,
        mode: 0o666,
    };

    /// For reading what exists.
    pub const fn read() -> Self {
        OpenOptions { read: true, ..Self::NONE }
    }
    /// For writing what exists.
    pub const fn write() -> Self {
        OpenOptions { write: true, ..Self::NONE }
    }
    /// For reading and writing, created if absent, never truncated: how a lock file is opened (truncating it at open would destroy
    /// its content before the lock is asked for).
    pub const fn lock_file() -> Self {
        OpenOptions { read: true, write: true, create: true, ..Self::NONE }
    }
    /// For writing a file that must not exist yet (O_CREAT | O_EXCL).
    pub const fn create_new() -> Self {
        OpenOptions { write: true, create_new: true, ..Self::NONE }
    }
    /// For writing, created if absent, emptied if not.
    pub const fn replace() -> Self {
        OpenOptions { write: true, create: true, truncate: true, ..Self::NONE }
    }
    /// A directory, for reading, locking or syncing it.
    pub const fn directory() -> Self {
        OpenOptions { read: true, directory: true, ..Self::NONE }
    }
    /// The same, with O_NOFOLLOW.
    pub const fn no_follow(self) -> Self {
        OpenOptions { no_follow: true, ..self }
    }
    /// The same, with these permission bits for a file that it creates.
    pub const fn mode(self, mode: u32) -> Self {
        OpenOptions { mode, ..self }
    }
    /// The same, without O_CLOEXEC: every child inherits the descriptor.
    pub const fn inheritable(self) -> Self {
        OpenOptions { close_on_exec: false, ..self }
    }
}

/// Files, directories and descriptors. All operations are synchronous: they keep the thread that they are called on.
///
/// Paths are strings; a relative one is relative to the process's working directory.
///
/// # Contract
///
/// * **F1** `open` takes the lowest free descriptor number. With none below RLIMIT_NOFILE it fails with EMFILE *before* the path is
///   looked at: nothing is created, nothing truncated.
/// * **F2** Each `open` makes a new open file description; [`dup`](Files::dup) and inheritance share one, offset and lock included.
/// * **F3** O_CREAT with O_EXCL succeeds for exactly one of any number of callers.
/// * **F4** `rename` replaces the target in one step: whoever opens the name gets the old file or the new one, never neither.
/// * **F5** A file lives while it has a name or a description: an unlinked open file stays readable and writable, and its
///   [`FileId`] is not given to another file.
/// * **F6** Dropping a file closes it within the step that drops it. `close` is the same as a step of its own.
/// * **F7** When a process ends, however it ends, its descriptors are closed one by one; others may act between two of them.
/// * **F8** `read` at the end of a file gives no bytes; on a pipe it waits for bytes, and gives none once all writers are closed.
///   `write` to a full pipe waits, to a pipe without readers fails with EPIPE.
pub trait Files: Sync {
    /// An open descriptor of this process.
    type File: Hash + Send + Sync + 'static;

    /// open(2).
    fn open(&self, path: &str, options: OpenOptions) -> impl Future<Output = Result<Self::File>> + Send;
    /// close(2). Dropping the file does the same, but is not a scheduling point.
    fn close(&self, file: Self::File) -> impl Future<Output = Result<()>> + Send;
    /// dup(2), with close-on-exec: another descriptor of the same description.
    fn dup(&self, file: &Self::File) -> impl Future<Output = Result<Self::File>> + Send;
    /// read(2) of at most `len` bytes at the description's offset.
    fn read(&self, file: &Self::File, len: usize) -> impl Future<Output = Result<Vec<u8>>> + Send;
    /// write(2) at the description's offset; how many bytes were taken.
    fn write(&self, file: &Self::File, bytes: &[u8]) -> impl Future<Output = Result<usize>> + Send;
    /// lseek(2) from the start of the file.
    fn seek(&self, file: &Self::File, offset: u64) -> impl Future<Output = Result<()>> + Send;
    /// ftruncate(2): cut or extend with zeros. Does not move the offset.
    fn truncate(&self, file: &Self::File, len: u64) -> impl Future<Output = Result<()>> + Send;
    /// fsync(2), of a file or of a directory.
    fn fsync(&self, file: &Self::File) -> impl Future<Output = Result<()>> + Send;
    /// fstat(2).
    fn fstat(&self, file: &Self::File) -> impl Future<Output = Result<Stat>> + Send;

    /// stat(2): follows symbolic links.
    fn stat(&self, path: &str) -> impl Future<Output = Result<Stat>> + Send;
    /// lstat(2): does not.
    fn lstat(&self, path: &str) -> impl Future<Output = Result<Stat>> + Send;
    /// rename(2).
    fn rename(&self, from: &str, to: &str) -> impl Future<Output = Result<()>> + Send;
    /// link(2): `new` becomes another name of `existing`.
    fn link(&self, existing: &str, new: &str) -> impl Future<Output = Result<()>> + Send;
    /// symlink(2): `path` becomes a symbolic link with the text `target`.
    fn symlink(&self, target: &str, path: &str) -> impl Future<Output = Result<()>> + Send;
    /// readlink(2).
    fn read_link(&self, path: &str) -> impl Future<Output = Result<String>> + Send;
    /// unlink(2).
    fn unlink(&self, path: &str) -> impl Future<Output = Result<()>> + Send;
    /// mkdir(2) with mode 0777.
    fn mkdir(&self, path: &str) -> impl Future<Output = Result<()>> + Send;
    /// rmdir(2).
    fn rmdir(&self, path: &str) -> impl Future<Output = Result<()>> + Send;
    /// The names in a directory, sorted; needs a descriptor while it reads.
    fn read_dir(&self, path: &str) -> impl Future<Output = Result<Vec<Entry>>> + Send;

    /// pipe2(2) with close-on-exec: (reading end, writing end).
    fn pipe(&self) -> impl Future<Output = Result<(Self::File, Self::File)>> + Send;
    /// The number of a descriptor, as children see it that inherit it.
    fn descriptor(&self, file: &Self::File) -> u32;
    /// Does these steps, of which only the result matters to what the task does later. That says two things, and nobody checks them: the
    /// steps leave nothing else behind in memory that could differ, and the result has no [`FileId`] in it.
    ///
    /// An exploration of every schedule then takes those for one which came to the same result by different ways, as by making a directory
    /// or by finding it. The steps themselves are explored as ever, and elsewhere it changes nothing.
    fn forgetting<T: Hash + Send>(&self, steps: impl Future<Output = T> + Send) -> impl Future<Output = T> + Send {
        steps
    }
    /// Of what has been done so far in the innermost [`forgetting`](Files::forgetting) around it, only this matters to what the task does
    /// later: what a loop takes from one round to the next, say. On the same two conditions; outside of one, it changes nothing.
    fn keeping(&self, left: &impl Hash) {
        let _ = left;
    }
    /// A descriptor that this process was started with, by number; dropping the file closes it. Taking one twice, or one that was
    /// not inherited, is EBADF.
    fn inherited(&self, descriptor: u32) -> Result<Self::File>;
}
