//! The calls themselves, through libc: rustix and std would not let a case ask for what is wrong (both kinds of a lock at once, a
//! descriptor that is not open), would add O_CLOEXEC, and would try again after EINTR.

#![expect(unsafe_code, reason = "system calls with arguments that are wrong on purpose, and fork")]

use std::ffi::{CString, c_int, c_void};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;

use crate::conform::call::{
    self, Attributes, Call, Done, OpenFlag, Outcome, RangeKind, RangeType, RenameFlag, Whence, errno_word,
};

/// Whether that is the number of a system call that sleeps for a lock.
pub(super) fn is_a_lock(number: i64) -> bool {
    number == libc::SYS_flock || number == libc::SYS_fcntl
}

fn failed(error: &std::io::Error) -> String {
    error.raw_os_error().map_or_else(
        || error.to_string(),
        |number| errno_word(super::super::errno::errno(rustix::io::Errno::from_raw_os_error(number))),
    )
}

fn last() -> String {
    failed(&std::io::Error::last_os_error())
}

fn returned(value: impl Into<i64>) -> Outcome {
    match value.into() {
        -1 => Err(last()),
        value => Ok(Done::returning(value)),
    }
}

fn text(path: &str) -> CString {
    // A path with a zero byte ends there, as it would in a C program.
    let bytes: Vec<u8> = path.bytes().take_while(|&byte| byte != 0).collect();
    CString::new(bytes).expect("it has no zero byte")
}

fn open_flags(flags: &[OpenFlag]) -> c_int {
    flags.iter().fold(0, |all, flag| {
        all | match flag {
            OpenFlag::Rdonly | OpenFlag::Unknown => 0,
            OpenFlag::Wronly => libc::O_WRONLY,
            OpenFlag::Rdwr => libc::O_RDWR,
            OpenFlag::Accmode3 => 3,
            OpenFlag::Creat => libc::O_CREAT,
            OpenFlag::Excl => libc::O_EXCL,
            OpenFlag::Trunc => libc::O_TRUNC,
            OpenFlag::Append => libc::O_APPEND,
            OpenFlag::Cloexec => libc::O_CLOEXEC,
            OpenFlag::Directory => libc::O_DIRECTORY,
            OpenFlag::Nofollow => libc::O_NOFOLLOW,
            OpenFlag::Nonblock => libc::O_NONBLOCK,
            OpenFlag::Path => libc::O_PATH,
        }
    })
}

/// Makes a call.
pub(super) fn make(call: &Call) -> Outcome {
    match call {
        Call::Open { path, flags, mode } => {
            // SAFETY: the path is a C string that outlives the call.
            returned(unsafe { libc::open(text(path).as_ptr(), open_flags(flags), *mode) })
        }
        // SAFETY: so far and below: closing or replacing a descriptor that some Rust object owns would be wrong; the only ones here are
        // the sockets, at numbers that cases do not name.
        Call::Close { fd } => returned(unsafe { libc::close(fd.number()) }),
        Call::Dup { fd } => returned(unsafe { libc::dup(fd.number()) }),
        Call::Dup2 { fd, to } => returned(unsafe { libc::dup2(fd.number(), to.number()) }),
        Call::Dup3 { fd, to, flags } => returned(unsafe { libc::dup3(fd.number(), to.number(), open_flags(flags)) }),
        Call::Dupfd { fd, min, cloexec } => {
            let command = if *cloexec { libc::F_DUPFD_CLOEXEC } else { libc::F_DUPFD };
            returned(unsafe { libc::fcntl(fd.number(), command, *min) })
        }
        Call::Getfd { fd } => {
            let done = returned(unsafe { libc::fcntl(fd.number(), libc::F_GETFD) })?;
            Ok(Done { cloexec: Some(done.ret & i64::from(libc::FD_CLOEXEC) != 0), ..done })
        }
        Call::Setfd { fd, cloexec } => {
            let flags = if *cloexec { libc::FD_CLOEXEC } else { 0 };
            returned(unsafe { libc::fcntl(fd.number(), libc::F_SETFD, flags) })
        }
        Call::Flock { fd, how } => {
            let operation = call::flock_operation(how).expect("its words are known");
            returned(unsafe { libc::flock(fd.number(), operation) })
        }
        Call::Lock { fd, kind, mode, wait, start, len } => lock(fd.number(), *kind, *mode, *wait, *start, *len),
        Call::Read { fd, len } => read(*len, |buffer, len| unsafe { libc::read(fd.number(), buffer, len) }),
        Call::Pread { fd, len, off } => {
            read(*len, |buffer, len| unsafe { libc::pread(fd.number(), buffer, len, *off) })
        }
        Call::Write { fd, data } => {
            let data = call::bytes(data);
            // SAFETY: the buffer is as long as said.
            returned(unsafe { libc::write(fd.number(), data.as_ptr().cast(), data.len()) } as i64)
        }
        Call::Pwrite { fd, data, off } => {
            let data = call::bytes(data);
            // SAFETY: the buffer is as long as said.
            returned(unsafe { libc::pwrite(fd.number(), data.as_ptr().cast(), data.len(), *off) } as i64)
        }
        Call::Lseek { fd, off, whence } => {
            let whence = match whence {
                Whence::Set => libc::SEEK_SET,
                Whence::Cur => libc::SEEK_CUR,
                Whence::End => libc::SEEK_END,
                Whence::Unknown => -1,
            };
            returned(unsafe { libc::lseek(fd.number(), *off, whence) })
        }
        Call::Ftruncate { fd, len } => returned(unsafe { libc::ftruncate(fd.number(), *len) }),
        Call::Fstat { fd } => fstat(fd.number()),
        Call::Setrlimit { soft, hard } => set_limit(*soft, *hard),
        Call::Sighandler { restart } => handle_usr1(*restart),
        call => on_names(call),
    }
}

/// The calls on names.
fn on_names(call: &Call) -> Outcome {
    // SAFETY: in all of them the paths are C strings that outlive the call.
    match call {
        Call::Rename { from, to } => returned(unsafe { libc::rename(text(from).as_ptr(), text(to).as_ptr()) }),
        Call::Renameat2 { from, to, flags } => {
            let flags = flags.iter().fold(0, |all, flag| {
                all | match flag {
                    RenameFlag::Noreplace => libc::RENAME_NOREPLACE,
                    RenameFlag::Exchange => libc::RENAME_EXCHANGE,
                    RenameFlag::Unknown => 0,
                }
            });
            let (from, to, here) = (text(from), text(to), libc::AT_FDCWD);
            returned(unsafe { libc::syscall(libc::SYS_renameat2, here, from.as_ptr(), here, to.as_ptr(), flags) })
        }
        Call::Link { from, to } => returned(unsafe { libc::link(text(from).as_ptr(), text(to).as_ptr()) }),
        Call::Symlink { target, path } => {
            returned(unsafe { libc::symlink(text(target).as_ptr(), text(path).as_ptr()) })
        }
        Call::Unlink { path } => returned(unsafe { libc::unlink(text(path).as_ptr()) }),
        Call::Mkdir { path } => returned(unsafe { libc::mkdir(text(path).as_ptr(), 0o755) }),
        Call::Rmdir { path } => returned(unsafe { libc::rmdir(text(path).as_ptr()) }),
        Call::Readlink { path } => {
            let target = std::fs::read_link(path).map_err(|error| failed(&error))?;
            let target = target.as_os_str().to_string_lossy().into_owned();
            Ok(Done { target: Some(target), ..Done::default() })
        }
        Call::Stat { path, follow } => {
            let stat = if *follow { std::fs::metadata(path) } else { std::fs::symlink_metadata(path) };
            stat.map(|stat| attributes(&stat)).map_err(|error| failed(&error))
        }
        Call::Readdir { path } => {
            let names = |directory: std::fs::ReadDir| {
                directory.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
            };
            let names: std::io::Result<Vec<String>> = std::fs::read_dir(path).and_then(names);
            let mut names = names.map_err(|error| failed(&error))?;
            names.sort_unstable();
            Ok(Done { names: Some(names), ..Done::default() })
        }
        call => Err(format!("no call {call:?}")),
    }
}

fn read(len: u32, read: impl FnOnce(*mut c_void, usize) -> isize) -> Outcome {
    let mut buffer = vec![0_u8; len as usize];
    let done = returned(read(buffer.as_mut_ptr().cast(), buffer.len()) as i64)?;
    buffer.truncate(usize::try_from(done.ret).expect("not negative"));
    Ok(Done { data: Some(call::latin1(&buffer)), ..done })
}

fn lock(fd: c_int, kind: RangeKind, mode: RangeType, wait: bool, start: i64, len: i64) -> Outcome {
    let command = match (kind, wait) {
        (RangeKind::Ofd, false) => libc::F_OFD_SETLK,
        (RangeKind::Ofd, true) => libc::F_OFD_SETLKW,
        (_, false) => libc::F_SETLK,
        (_, true) => libc::F_SETLKW,
    };
    let mode = match mode {
        RangeType::Rd => libc::F_RDLCK,
        RangeType::Wr => libc::F_WRLCK,
        RangeType::Un | RangeType::Unknown => libc::F_UNLCK,
    };
    let request =
        libc::flock { l_type: mode as i16, l_whence: libc::SEEK_SET as i16, l_start: start, l_len: len, l_pid: 0 };
    // SAFETY: the request outlives the call.
    returned(unsafe { libc::fcntl(fd, command, &raw const request) })
}

fn fstat(fd: c_int) -> Outcome {
    let mut stat = std::mem::MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: there is room for what it writes.
    returned(unsafe { libc::fstat(fd, stat.as_mut_ptr()) })?;
    // SAFETY: all zeros are a value of it, and the kernel has written another.
    let stat = unsafe { stat.assume_init() };
    let kind = match stat.st_mode & libc::S_IFMT {
        libc::S_IFREG => "file",
        libc::S_IFDIR => "dir",
        libc::S_IFLNK => "symlink",
        _ => "other",
    };
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    #[allow(clippy::unnecessary_cast, reason = "the types differ between architectures")]
    let (nlink, id) = (stat.st_nlink as u64, (stat.st_dev as u64, stat.st_ino as u64));
    Ok(Done { stat: Some(Attributes { kind: kind.to_owned(), nlink, size, id }), ..Done::default() })
}

fn attributes(stat: &std::fs::Metadata) -> Done {
    let kind = stat.file_type();
    let kind = match () {
        () if kind.is_file() => "file",
        () if kind.is_dir() => "dir",
        () if kind.is_symlink() => "symlink",
        () => "other",
    };
    let id = (stat.dev(), stat.ino());
    Done {
        stat: Some(Attributes { kind: kind.to_owned(), nlink: stat.nlink(), size: stat.size(), id }),
        ..Done::default()
    }
}

fn set_limit(soft: u64, hard: Option<u64>) -> Outcome {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: there is room for what it writes.
    returned(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    limit.rlim_cur = soft;
    limit.rlim_max = hard.unwrap_or(limit.rlim_max);
    // SAFETY: the limit outlives the call.
    returned(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })
}

extern "C" fn nothing(_signal: c_int) {}

fn handle_usr1(restart: bool) -> Outcome {
    // SAFETY: all zeros are a value of it: no flags, no signal masked.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = nothing as extern "C" fn(c_int) as libc::sighandler_t;
    action.sa_flags = if restart { libc::SA_RESTART } else { 0 };
    // SAFETY: the action outlives the call, and its function does nothing that a signal handler must not.
    returned(unsafe { libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()) })
}

/// fork(2): 0 in the child.
pub(super) fn fork() -> Result<i32, String> {
    // SAFETY: the program has one thread when it is a stage or one of its processes.
    match unsafe { libc::fork() } {
        -1 => Err(last()),
        pid => Ok(pid),
    }
}

/// execve(2) of a program, or of this one again as the same process. Returns only why not.
pub(super) fn execute(path: Option<&str>, process: u32) -> String {
    // Not by its path: somebody may have built it anew meanwhile.
    let program = text(path.unwrap_or("/proc/self/exe"));
    let kept: Vec<String> = (0..super::FIRST_SOCKET).filter(|&fd| is_kept(fd)).map(|fd| fd.to_string()).collect();
    let words = ["flockstep", "conform-puppet", "again", &process.to_string(), &kept.join(",")].map(text);
    let mut arguments: Vec<_> = words.iter().map(|word| word.as_ptr()).collect();
    arguments.push(std::ptr::null());
    // SAFETY: the arguments are C strings that outlive the call, and the list of them ends with a null pointer.
    unsafe { libc::execv(program.as_ptr(), arguments.as_ptr()) };
    last()
}

/// _exit(2): no destructors.
pub(super) fn exit_now(code: c_int) -> ! {
    // SAFETY: it has no conditions.
    unsafe { libc::_exit(code) }
}

/// Becomes the parent of whatever loses its own below this process.
pub(super) fn adopt_orphans() {
    // SAFETY: it takes a number.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
}

/// Waits until there are no children left.
pub(super) fn reap_all() {
    // SAFETY: no status is asked for.
    while unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) } > 0 {}
}

/// Whether a descriptor is open and an exec keeps it.
fn is_kept(fd: c_int) -> bool {
    // SAFETY: it takes a number.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    flags >= 0 && flags & libc::FD_CLOEXEC == 0
}

/// Closes every descriptor of a case that is not among these: the runtime of Rust opens what it misses of 0, 1 and 2.
pub(super) fn close_all_but(kept: &[c_int]) {
    for fd in (0..super::FIRST_SOCKET).filter(|fd| !kept.contains(fd)) {
        // SAFETY: nothing in this program has opened it for itself.
        unsafe { libc::close(fd) };
    }
}

/// Closes every descriptor from that number on.
pub(super) fn close_from(first: u32) {
    // SAFETY: called before this program has opened anything.
    unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
}

/// Makes a copy of a socket at that number, which an exec keeps.
pub(super) fn keep_at(stream: &UnixStream, number: c_int) -> Option<()> {
    // SAFETY: nothing is open at the number.
    let copied = unsafe { libc::fcntl(stream.as_raw_fd(), libc::F_DUPFD, number) };
    (copied == number).then_some(())
}

/// The socket at that number. Wrap it, so that it is not closed on drop.
pub(super) fn stream_at(number: c_int) -> UnixStream {
    // SAFETY: it is open, since `keep_at`, and whoever calls this does not close it.
    unsafe { UnixStream::from_raw_fd(number) }
}
