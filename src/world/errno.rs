//! Our own error numbers and the error of a World operation.
//!
//! Own, because the same protocol must see the same value from a simulated kernel on any host and from a real one; names and
//! meanings are those of errno(3).

use std::fmt;
use std::sync::Arc;

macro_rules! errnos {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $text:literal;)*) => {
        /// Why a system call failed; names and meanings as in errno(3).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Errno {
            $($(#[$doc])* #[doc = concat!($name, ": ", $text)] $variant,)*
            /// A number that has no name here; only a real kernel gives it.
            Other(i32),
        }

        impl Errno {
            /// The symbolic name, `"EMFILE"`; `"EUNKNOWN"` for a number without a name here.
            pub fn name(self) -> &'static str {
                match self { $(Errno::$variant => $name,)* Errno::Other(_) => "EUNKNOWN" }
            }
            /// The sentence that perror(3) prints.
            pub fn text(self) -> &'static str {
                match self { $(Errno::$variant => $text,)* Errno::Other(_) => "unknown error" }
            }
            /// The value of that symbolic name.
            pub fn from_name(name: &str) -> Option<Errno> {
                match name { $($name => Some(Errno::$variant),)* "EWOULDBLOCK" => Some(Errno::Again), "ENOTSUP" => Some(Errno::OpNotSupp), _ => None }
            }
        }
    };
}

errnos! {
    Perm = "EPERM", "operation not permitted";
    NoEnt = "ENOENT", "no such file or directory";
    Srch = "ESRCH", "no such process";
    Intr = "EINTR", "interrupted system call";
    Io = "EIO", "input/output error";
    BadF = "EBADF", "bad file descriptor";
    Child = "ECHILD", "no child processes";
    Again = "EAGAIN", "resource temporarily unavailable";
    Acces = "EACCES", "permission denied";
    Exist = "EEXIST", "file exists";
    XDev = "EXDEV", "invalid cross-device link";
    NotDir = "ENOTDIR", "not a directory";
    IsDir = "EISDIR", "is a directory";
    Inval = "EINVAL", "invalid argument";
    NFile = "ENFILE", "too many open files in system";
    MFile = "EMFILE", "too many open files";
    FBig = "EFBIG", "file too large";
    NoSpc = "ENOSPC", "no space left on device";
    SPipe = "ESPIPE", "illegal seek";
    RoFs = "EROFS", "read-only file system";
    MLink = "EMLINK", "too many links";
    Pipe = "EPIPE", "broken pipe";
    DeadLk = "EDEADLK", "resource deadlock would occur";
    NameTooLong = "ENAMETOOLONG", "file name too long";
    NoLck = "ENOLCK", "no locks available";
    NoSys = "ENOSYS", "function not implemented";
    NotEmpty = "ENOTEMPTY", "directory not empty";
    Loop = "ELOOP", "too many levels of symbolic links";
    OpNotSupp = "EOPNOTSUPP", "operation not supported";
    Overflow = "EOVERFLOW", "value too large for defined data type";
    Stale = "ESTALE", "stale file handle";
    Busy = "EBUSY", "device or resource busy";
    Exec = "ENOEXEC", "exec format error";
    TxtBsy = "ETXTBSY", "text file busy";
    NoMem = "ENOMEM", "cannot allocate memory";
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Errno::Other(number) => write!(f, "error {number}"),
            errno => write!(f, "{} ({})", errno.text(), errno.name()),
        }
    }
}

/// A World operation that failed: which call, on what, and why.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{call} {subject}: {errno}")]
pub struct Error {
    /// Why.
    pub errno: Errno,
    /// The call in the words of its manual page, such as `"open"`.
    pub call: &'static str,
    /// The path, program or object it was made on.
    pub subject: Arc<str>,
}

impl Error {
    /// An error of `call` on `subject`.
    pub fn new(errno: Errno, call: &'static str, subject: impl Into<Arc<str>>) -> Self {
        Error { errno, call, subject: subject.into() }
    }
}

/// What World operations return.
pub type Result<T> = std::result::Result<T, Error>;
