//! Files, directories, pipes and descriptors: one system call each, on the calling thread.
//!
//! Descriptors are always *opened* with O_CLOEXEC. Without it, a program that another thread starts in the same instant inherits a
//! lock file by accident, and the lock outlives the process that took it: a hang without a holder that anybody can name. One that is
//! to be inherited says so, by [`OpenOptions::inheritable`] or by name in [`Command::inherit`](crate::world::Command::inherit).

use super::errno::{failed, failed_in_std};
use super::{Class, Machine, OsWorld};
use crate::world::{Entry, Errno, Error, FileId, FileKind, Files, OpenOptions, Result, Stat};
use parking_lot::Mutex;
use rustix::fs::{self, AtFlags, CWD, Dir, FileType, Mode, OFlags, SeekFrom};
use rustix::io::{self, FdFlags, retry_on_intr};
use std::collections::BTreeSet;
use std::ffi::CStr;
use std::hash::{Hash, Hasher};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

/// The descriptors that this process made inheritable itself, so that [`Files::inherited`] does not take them for its parent's.
static INHERITABLE: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());

/// An open descriptor of this process; closed on drop.
pub struct OsFile {
    fd: OwnedFd,
    description: Arc<Description>,
    class: Class,
    inheritable: bool,
}

/// What the duplicates of a descriptor share, so far as this process knows.
pub(super) struct Description {
    pub(super) path: Box<str>,
    pub(super) machine: Arc<Machine>,
    /// The lock held: see `locks.rs`.
    pub(super) held: AtomicU8,
    descriptors: AtomicU32,
}

impl OsFile {
    fn new(fd: OwnedFd, class: Class, description: Arc<Description>) -> Self {
        let file = OsFile { fd, description, class, inheritable: false };
        file.description.descriptors.fetch_add(1, Ordering::Relaxed);
        let gauge = &file.description.machine.gauge;
        gauge.saw(file.number());
        gauge.enter(class);
        file
    }

    fn number(&self) -> u32 {
        self.fd.as_raw_fd().unsigned_abs()
    }

    pub(super) fn description(&self) -> &Description {
        &self.description
    }

    pub(super) fn failed(&self, number: io::Errno, call: &'static str) -> Error {
        failed(number, call, &self.description.path)
    }

    /// Registers first: from the moment that the flag is off, the number could be taken for an inherited one.
    fn make_inheritable(&mut self) -> io::Result<()> {
        INHERITABLE.lock().insert(self.fd.as_raw_fd());
        self.inheritable = true;
        io::fcntl_setfd(&self.fd, FdFlags::empty())
    }
}

/// By its number.
impl Hash for OsFile {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.number().hash(state);
    }
}

impl AsFd for OsFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for OsFile {
    /// All accounting comes before the close itself, which is the drop of `fd` and follows; see [`super::DescriptorGauge`].
    fn drop(&mut self) {
        if self.inheritable {
            // With the flag back on it cannot be taken for an inherited one any more. The call cannot fail on an open descriptor.
            let _ = io::fcntl_setfd(&self.fd, FdFlags::CLOEXEC);
            INHERITABLE.lock().remove(&self.fd.as_raw_fd());
        }
        self.description.machine.gauge.leave(self.class);
        if self.description.descriptors.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.description.note_released();
        }
    }
}

impl OsWorld {
    fn description(&self, path: &str) -> Arc<Description> {
        Arc::new(Description {
            path: path.into(),
            machine: Arc::clone(&self.machine),
            held: AtomicU8::new(0),
            descriptors: AtomicU32::new(0),
        })
    }
}

fn flags(options: OpenOptions) -> OFlags {
    let mut flags = OFlags::CLOEXEC
        | match (options.read, options.write) {
            (_, false) => OFlags::RDONLY,
            (false, true) => OFlags::WRONLY,
            (true, true) => OFlags::RDWR,
        };
    flags.set(OFlags::APPEND, options.append);
    flags.set(OFlags::CREATE, options.create || options.create_new);
    flags.set(OFlags::EXCL, options.create_new);
    flags.set(OFlags::TRUNC, options.truncate);
    flags.set(OFlags::DIRECTORY, options.directory);
    flags.set(OFlags::NOFOLLOW, options.no_follow);
    flags
}

// The widths of these fields differ between systems.
fn stat_of(stat: fs::Stat) -> Stat {
    Stat {
        id: FileId { device: stat.st_dev as _, inode: stat.st_ino as _ },
        kind: match FileType::from_raw_mode(stat.st_mode as _) {
            FileType::RegularFile => FileKind::File,
            FileType::Directory => FileKind::Dir,
            FileType::Symlink => FileKind::Symlink,
            _ => FileKind::Other,
        },
        nlink: stat.st_nlink as _,
        size: stat.st_size as _,
    }
}

fn utf8(name: &CStr) -> io::Result<&str> {
    name.to_str().map_err(|_| io::Errno::INVAL)
}

fn entries(path: &str, saw: impl FnOnce(BorrowedFd<'_>)) -> io::Result<Vec<Entry>> {
    let mut dir = Dir::new(retry_on_intr(|| fs::open(path, flags(OpenOptions::directory()), Mode::empty()))?)?;
    saw(dir.fd()?);
    let mut entries = Vec::new();
    while let Some(entry) = dir.read() {
        let entry = entry?;
        let name = utf8(entry.file_name())?;
        if name == "." || name == ".." {
            continue;
        }
        let is_dir = match entry.file_type() {
            // Some filesystems do not say; the name may be gone by now, and then it is not a directory.
            FileType::Unknown => match fs::statat(dir.fd()?, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat_of(stat).kind == FileKind::Dir,
                Err(io::Errno::NOENT) => false,
                Err(error) => return Err(error),
            },
            kind => kind == FileType::Directory,
        };
        entries.push(Entry { name: name.to_owned(), is_dir });
    }
    entries.sort_unstable();
    Ok(entries)
}

impl Files for OsWorld {
    type File = OsFile;

    async fn open(&self, path: &str, options: OpenOptions) -> Result<OsFile> {
        let fd = retry_on_intr(|| fs::open(path, flags(options), Mode::from_raw_mode(options.mode as _)))
            .map_err(|error| failed(error, "open", path))?;
        let class = if options.directory { Class::Dir } else { Class::File };
        let mut file = OsFile::new(fd, class, self.description(path));
        if !options.close_on_exec {
            file.make_inheritable().map_err(|error| failed(error, "fcntl", path))?;
        }
        Ok(file)
    }

    /// Never fails: after close(2) has returned an error, whether the descriptor is still open is the system's secret. What has to be
    /// on the disk is `fsync`'s to say.
    async fn close(&self, file: OsFile) -> Result<()> {
        drop(file);
        Ok(())
    }

    async fn dup(&self, file: &OsFile) -> Result<OsFile> {
        let fd = io::fcntl_dupfd_cloexec(file, 0).map_err(|error| file.failed(error, "dup"))?;
        Ok(OsFile::new(fd, file.class, Arc::clone(&file.description)))
    }

    async fn read(&self, file: &OsFile, len: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        let read = retry_on_intr(|| io::read(file, &mut bytes[..])).map_err(|error| file.failed(error, "read"))?;
        bytes.truncate(read);
        Ok(bytes)
    }

    async fn write(&self, file: &OsFile, bytes: &[u8]) -> Result<usize> {
        retry_on_intr(|| io::write(file, bytes)).map_err(|error| file.failed(error, "write"))
    }

    async fn seek(&self, file: &OsFile, offset: u64) -> Result<()> {
        fs::seek(file, SeekFrom::Start(offset)).map_err(|error| file.failed(error, "lseek"))?;
        Ok(())
    }

    async fn truncate(&self, file: &OsFile, len: u64) -> Result<()> {
        retry_on_intr(|| fs::ftruncate(file, len)).map_err(|error| file.failed(error, "ftruncate"))
    }

    async fn fsync(&self, file: &OsFile) -> Result<()> {
        retry_on_intr(|| fs::fsync(file)).map_err(|error| file.failed(error, "fsync"))
    }

    async fn fstat(&self, file: &OsFile) -> Result<Stat> {
        fs::fstat(file).map(stat_of).map_err(|error| file.failed(error, "fstat"))
    }

    async fn stat(&self, path: &str) -> Result<Stat> {
        fs::stat(path).map(stat_of).map_err(|error| failed(error, "stat", path))
    }

    async fn lstat(&self, path: &str) -> Result<Stat> {
        fs::lstat(path).map(stat_of).map_err(|error| failed(error, "lstat", path))
    }

    async fn rename(&self, from: &str, to: &str) -> Result<()> {
        fs::rename(from, to).map_err(|error| failed(error, "rename", &format!("{from} -> {to}")))
    }

    async fn link(&self, existing: &str, new: &str) -> Result<()> {
        // Without AT_SYMLINK_FOLLOW, linkat(2) does what link(2) does on Linux; elsewhere link(2) follows.
        fs::linkat(CWD, existing, CWD, new, AtFlags::empty())
            .map_err(|error| failed(error, "link", &format!("{existing} -> {new}")))
    }

    async fn symlink(&self, target: &str, path: &str) -> Result<()> {
        fs::symlink(target, path).map_err(|error| failed(error, "symlink", path))
    }

    async fn read_link(&self, path: &str) -> Result<String> {
        fs::readlink(path, Vec::new())
            .and_then(|target| target.into_string().map_err(|_| io::Errno::INVAL))
            .map_err(|error| failed(error, "readlink", path))
    }

    async fn unlink(&self, path: &str) -> Result<()> {
        fs::unlink(path).map_err(|error| failed(error, "unlink", path))
    }

    async fn mkdir(&self, path: &str) -> Result<()> {
        fs::mkdir(path, Mode::from_raw_mode(0o777)).map_err(|error| failed(error, "mkdir", path))
    }

    async fn rmdir(&self, path: &str) -> Result<()> {
        fs::rmdir(path).map_err(|error| failed(error, "rmdir", path))
    }

    async fn read_dir(&self, path: &str) -> Result<Vec<Entry>> {
        let gauge = self.gauge();
        gauge.enter(Class::Dir);
        let entries = entries(path, |fd| gauge.saw(fd.as_raw_fd().unsigned_abs()));
        gauge.leave(Class::Dir);
        entries.map_err(|error| failed(error, "readdir", path))
    }

    async fn pipe(&self) -> Result<(OsFile, OsFile)> {
        // std's, because not every system has pipe2(2).
        let (reader, writer) = std::io::pipe().map_err(|error| failed_in_std(&error, "pipe", "pipe"))?;
        let end = |fd: OwnedFd| OsFile::new(fd, Class::Pipe, self.description("pipe"));
        Ok((end(reader.into()), end(writer.into())))
    }

    fn descriptor(&self, file: &OsFile) -> u32 {
        file.number()
    }

    /// What execve(2) leaves open is exactly what is not close-on-exec, and whatever this library and std open themselves is. So a
    /// descriptor was inherited if it is open, is not close-on-exec, and was not made so by [`OpenOptions::inheritable`]; setting the
    /// flag on adoption makes it unadoptable from then on. The standard streams, 0 to 2, belong to std and are refused.
    fn inherited(&self, descriptor: u32) -> Result<OsFile> {
        let subject = format!("inherited descriptor {descriptor}");
        let refused = || Error::new(Errno::BadF, "fcntl", subject.as_str());
        let number = RawFd::try_from(descriptor).map_err(|_| refused())?;
        // The lock is held to the end, so that of two callers only one sees the flag off.
        let ours = INHERITABLE.lock();
        if number <= 2 || ours.contains(&number) {
            return Err(refused());
        }
        let fd = take(number).ok_or_else(refused)?;
        Ok(OsFile::new(fd, Class::File, self.description(&subject)))
    }
}

/// Takes ownership of a descriptor that is open and not close-on-exec, and sets that flag.
#[expect(unsafe_code, reason = "an inherited descriptor is only a number; no safe call turns it into an owned one")]
fn take(number: RawFd) -> Option<OwnedFd> {
    // SAFETY: fcntl(F_GETFD) asks the kernel whether the number is open and changes nothing; the borrow ends in this statement.
    let flags = io::fcntl_getfd(unsafe { BorrowedFd::borrow_raw(number) }).ok()?;
    if flags.contains(FdFlags::CLOEXEC) {
        return None;
    }
    // SAFETY: open, and inherited (see `inherited`), so nothing in this process owns it yet. From here on the flag keeps a second
    // caller out, who would be told BADF.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    io::fcntl_setfd(&fd, FdFlags::CLOEXEC).ok()?;
    Some(fd)
}
