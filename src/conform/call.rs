//! System calls in the words of the case files, and what they return.

use serde::{Deserialize, Serialize};

use crate::world::{Errno, FileId, FileKind};

/// A descriptor: a number, or a name that the process gave to one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Hash)]
#[serde(untagged, expecting = "expected a descriptor: a number or a name")]
pub enum Fd {
    /// By number.
    Number(i32),
    /// By name; only in case files.
    Name(String),
}

impl Fd {
    /// The number.
    ///
    /// # Panics
    /// If it is a name: names are looked up before a machine sees a call.
    pub fn number(&self) -> i32 {
        match self {
            Fd::Number(number) => *number,
            Fd::Name(name) => panic!("the name {name} was not looked up"),
        }
    }
}

/// A flag of open(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Hash)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs, reason = "they are the constants of fcntl.h without O_")]
pub enum OpenFlag {
    Rdonly,
    Wronly,
    Rdwr,
    /// Access mode 3.
    Accmode3,
    Creat,
    Excl,
    Trunc,
    Append,
    Cloexec,
    Directory,
    Nofollow,
    /// Without effect on files and directories, and cases have nothing else.
    Nonblock,
    Path,
    /// One that is not known here.
    #[serde(other)]
    Unknown,
}

/// A flag of renameat2(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Hash)]
#[serde(rename_all = "UPPERCASE")]
pub enum RenameFlag {
    /// RENAME_NOREPLACE.
    Noreplace,
    /// RENAME_EXCHANGE.
    Exchange,
    /// One that is not known here.
    #[serde(other)]
    Unknown,
}

/// The two kinds of record locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Hash)]
#[serde(rename_all = "lowercase")]
pub enum RangeKind {
    /// F_SETLK.
    Posix,
    /// F_OFD_SETLK.
    Ofd,
    /// One that is not known here.
    #[serde(other)]
    Unknown,
}

/// `l_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Hash)]
#[serde(rename_all = "UPPERCASE")]
pub enum RangeType {
    /// F_RDLCK.
    Rd,
    /// F_WRLCK.
    Wr,
    /// F_UNLCK.
    Un,
    /// One that is not known here.
    #[serde(other)]
    Unknown,
}

/// Where lseek(2) counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Hash)]
#[serde(rename_all = "UPPERCASE")]
pub enum Whence {
    /// SEEK_SET.
    Set,
    /// SEEK_CUR.
    Cur,
    /// SEEK_END.
    End,
    /// One that is not known here.
    #[serde(other)]
    Unknown,
}

fn mode() -> u32 {
    0o644
}

fn yes() -> bool {
    true
}

/// A system call of one process. Field by field as in the case files.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names are those of the calls and of their arguments")]
pub enum Call {
    Open {
        path: String,
        #[serde(default)]
        flags: Vec<OpenFlag>,
        #[serde(default = "mode")]
        mode: u32,
    },
    Close {
        fd: Fd,
    },
    Dup {
        fd: Fd,
    },
    Dup2 {
        fd: Fd,
        to: Fd,
    },
    Dup3 {
        fd: Fd,
        to: Fd,
        #[serde(default)]
        flags: Vec<OpenFlag>,
    },
    Dupfd {
        fd: Fd,
        min: i32,
        #[serde(default)]
        cloexec: bool,
    },
    Getfd {
        fd: Fd,
    },
    Setfd {
        fd: Fd,
        cloexec: bool,
    },
    Flock {
        fd: Fd,
        how: String,
    },
    Lock {
        fd: Fd,
        kind: RangeKind,
        #[serde(rename = "type")]
        mode: RangeType,
        #[serde(default)]
        wait: bool,
        #[serde(default)]
        start: i64,
        #[serde(default)]
        len: i64,
    },
    Read {
        fd: Fd,
        len: u32,
    },
    Pread {
        fd: Fd,
        len: u32,
        off: i64,
    },
    Write {
        fd: Fd,
        data: String,
    },
    Pwrite {
        fd: Fd,
        data: String,
        off: i64,
    },
    Lseek {
        fd: Fd,
        off: i64,
        whence: Whence,
    },
    Ftruncate {
        fd: Fd,
        len: i64,
    },
    Rename {
        from: String,
        to: String,
    },
    Renameat2 {
        from: String,
        to: String,
        #[serde(default)]
        flags: Vec<RenameFlag>,
    },
    Link {
        from: String,
        to: String,
    },
    Symlink {
        target: String,
        path: String,
    },
    Readlink {
        path: String,
    },
    Unlink {
        path: String,
    },
    Mkdir {
        path: String,
    },
    Rmdir {
        path: String,
    },
    Stat {
        path: String,
        #[serde(default = "yes")]
        follow: bool,
    },
    Fstat {
        fd: Fd,
    },
    Readdir {
        path: String,
    },
    #[serde(rename = "setrlimit_nofile")]
    Setrlimit {
        soft: u64,
        #[serde(default)]
        hard: Option<u64>,
    },
    Sighandler {
        #[serde(default)]
        restart: bool,
    },
    /// One that is not known here.
    #[serde(other)]
    Unknown,
}

/// LOCK_SH.
pub const LOCK_SH: i32 = 1;
/// LOCK_EX.
pub const LOCK_EX: i32 = 2;
/// LOCK_NB.
pub const LOCK_NB: i32 = 4;
/// LOCK_UN.
pub const LOCK_UN: i32 = 8;
/// LOCK_MAND.
pub const LOCK_MAND: i32 = 32;

/// The operation argument of flock(2), from its words; `None` if one is not known.
pub fn flock_operation(how: &str) -> Option<i32> {
    how.split('|').filter(|word| !word.is_empty()).try_fold(0, |bits, word| {
        let bit = match word {
            "SH" => LOCK_SH,
            "EX" => LOCK_EX,
            "NB" => LOCK_NB,
            "UN" => LOCK_UN,
            "MAND" => LOCK_MAND,
            _ => return None,
        };
        Some(bits | bit)
    })
}

impl Call {
    /// Whether every word of it is known here.
    pub fn is_known(&self) -> bool {
        match self {
            Call::Open { flags, .. } | Call::Dup3 { flags, .. } => !flags.contains(&OpenFlag::Unknown),
            Call::Renameat2 { flags, .. } => !flags.contains(&RenameFlag::Unknown),
            Call::Flock { how, .. } => flock_operation(how).is_some(),
            Call::Lock { kind, mode, .. } => *kind != RangeKind::Unknown && *mode != RangeType::Unknown,
            Call::Lseek { whence, .. } => *whence != Whence::Unknown,
            Call::Unknown => false,
            _ => true,
        }
    }

    /// Whether it may sleep.
    pub fn can_sleep(&self) -> bool {
        match self {
            Call::Flock { how, .. } => {
                flock_operation(how).is_some_and(|bits| bits & (LOCK_NB | LOCK_UN | LOCK_MAND) == 0)
            }
            Call::Lock { wait, mode, .. } => *wait && *mode != RangeType::Un,
            _ => false,
        }
    }

    /// The descriptors among its arguments.
    pub fn descriptors_mut(&mut self) -> Vec<&mut Fd> {
        match self {
            Call::Dup2 { fd, to } | Call::Dup3 { fd, to, .. } => vec![fd, to],
            Call::Close { fd }
            | Call::Dup { fd }
            | Call::Dupfd { fd, .. }
            | Call::Getfd { fd }
            | Call::Setfd { fd, .. }
            | Call::Flock { fd, .. }
            | Call::Lock { fd, .. }
            | Call::Read { fd, .. }
            | Call::Pread { fd, .. }
            | Call::Write { fd, .. }
            | Call::Pwrite { fd, .. }
            | Call::Lseek { fd, .. }
            | Call::Ftruncate { fd, .. }
            | Call::Fstat { fd } => vec![fd],
            _ => Vec::new(),
        }
    }
}

/// What a call gave besides success.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// The return value.
    pub ret: i64,
    /// What was read, one byte a character.
    pub data: Option<String>,
    /// What readlink gave.
    pub target: Option<String>,
    /// What readdir gave, sorted.
    pub names: Option<Vec<String>>,
    /// Close-on-exec.
    pub cloexec: Option<bool>,
    /// What stat gave.
    pub stat: Option<Attributes>,
}

/// What stat(2) tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// `"file"`, `"dir"`, `"symlink"` or `"other"`.
    pub kind: String,
    /// st_nlink.
    pub nlink: u64,
    /// st_size.
    pub size: u64,
    /// (st_dev, st_ino).
    pub id: (u64, u64),
}

impl Attributes {
    /// Which file it is.
    pub fn file(&self) -> FileId {
        FileId { device: self.id.0, inode: self.id.1 }
    }
}

/// The word for a kind of file.
pub fn kind_word(kind: FileKind) -> &'static str {
    match kind {
        FileKind::File => "file",
        FileKind::Dir => "dir",
        FileKind::Symlink => "symlink",
        FileKind::Other => "other",
    }
}

impl Done {
    /// With that return value.
    pub fn returning(ret: impl Into<i64>) -> Self {
        Done { ret: ret.into(), ..Done::default() }
    }
}

/// What a call returned: an errno by name, one name for each number (never EWOULDBLOCK).
pub type Outcome = std::result::Result<Done, String>;

/// An outcome in words, as it is compared between machines: which file it is has another number on every one, and the size of a
/// directory means nothing.
pub fn shown(outcome: &Outcome) -> String {
    let done = match outcome {
        Ok(done) => done,
        Err(errno) => return errno.clone(),
    };
    let Done { ret, data, target, names, cloexec, stat } = done;
    let mut words = vec![format!("ok {ret}")];
    words.extend(data.iter().map(|data| format!("data {data:?}")));
    words.extend(target.iter().map(|target| format!("target {target:?}")));
    words.extend(names.iter().map(|names| format!("names {names:?}")));
    words.extend(cloexec.map(|cloexec| format!("close-on-exec {cloexec}")));
    words.extend(stat.iter().map(|Attributes { kind, nlink, size, .. }| {
        let size = if kind == "dir" { &0 } else { size };
        format!("{kind}, {nlink} links, {size} bytes")
    }));
    words.join(", ")
}

/// The name of an errno as outcomes have it.
pub fn errno_word(errno: Errno) -> String {
    match errno {
        Errno::Other(number) => format!("E{number}"),
        errno => errno.name().to_owned(),
    }
}

/// The one name of an errno that has two.
pub fn canonical(name: &str) -> &str {
    match name {
        "EWOULDBLOCK" => "EAGAIN",
        "EDEADLOCK" => "EDEADLK",
        "ENOTSUP" => "EOPNOTSUPP",
        name => name,
    }
}

/// Text that stands for bytes, one a character.
pub fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// The bytes of such a text; a character that is none becomes `?`.
pub fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect()
}
