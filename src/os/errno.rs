//! From the kernel's error numbers to ours.

use crate::world::{Errno, Error};
use rustix::io::Errno as Number;

/// The error of a system call, made only when there is one: the way of success allocates nothing.
#[cold]
pub(super) fn failed(number: Number, call: &'static str, subject: &str) -> Error {
    Error::new(errno(number), call, subject)
}

/// The same for a call that std made. An error without a number is std's refusal of an argument, such as a zero byte in a path.
#[cold]
pub(super) fn failed_in_std(error: &std::io::Error, call: &'static str, subject: &str) -> Error {
    Error::new(Number::from_io_error(error).map_or(Errno::Inval, errno), call, subject)
}

pub(super) fn errno(number: Number) -> Errno {
    match number {
        Number::PERM => Errno::Perm,
        Number::NOENT => Errno::NoEnt,
        Number::SRCH => Errno::Srch,
        Number::INTR => Errno::Intr,
        Number::IO => Errno::Io,
        Number::BADF => Errno::BadF,
        Number::CHILD => Errno::Child,
        Number::AGAIN => Errno::Again,
        Number::ACCESS => Errno::Acces,
        Number::EXIST => Errno::Exist,
        Number::XDEV => Errno::XDev,
        Number::NOTDIR => Errno::NotDir,
        Number::ISDIR => Errno::IsDir,
        Number::INVAL => Errno::Inval,
        Number::NFILE => Errno::NFile,
        Number::MFILE => Errno::MFile,
        Number::FBIG => Errno::FBig,
        Number::NOSPC => Errno::NoSpc,
        Number::SPIPE => Errno::SPipe,
        Number::ROFS => Errno::RoFs,
        Number::MLINK => Errno::MLink,
        Number::PIPE => Errno::Pipe,
        Number::DEADLK => Errno::DeadLk,
        Number::NAMETOOLONG => Errno::NameTooLong,
        Number::NOLCK => Errno::NoLck,
        Number::NOSYS => Errno::NoSys,
        Number::NOTEMPTY => Errno::NotEmpty,
        Number::LOOP => Errno::Loop,
        Number::OPNOTSUPP => Errno::OpNotSupp,
        Number::OVERFLOW => Errno::Overflow,
        Number::STALE => Errno::Stale,
        Number::BUSY => Errno::Busy,
        Number::NOEXEC => Errno::Exec,
        Number::TXTBSY => Errno::TxtBsy,
        Number::NOMEM => Errno::NoMem,
        // The same number as EOPNOTSUPP on Linux, another one on macOS.
        other if other == Number::NOTSUP => Errno::OpNotSupp,
        other => Errno::Other(other.raw_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every number that has a name in the World is given it, and the others keep their number.
    #[test]
    fn named_numbers_keep_their_names() {
        let named = (1..200)
            .map(|raw| errno(Number::from_raw_os_error(raw)))
            .filter(|errno| !matches!(errno, Errno::Other(_)))
            .collect::<std::collections::BTreeSet<_>>();
        assert_eq!(named.len(), 35);
        assert!(named.iter().all(|errno| Errno::from_name(errno.name()) == Some(*errno)));
        assert_eq!(errno(Number::DOM), Errno::Other(Number::DOM.raw_os_error()));
    }
}
