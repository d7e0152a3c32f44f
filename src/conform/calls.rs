//! The calls that never sleep, on the simulated kernel.

use super::call::{self, Attributes, Call, Done, Fd, OpenFlag, RenameFlag};
use crate::sim::kernel::{Kernel, OpenHow, Pid, RenameFlags, Whence};
use crate::world::{Errno, Stat};

/// A number that the kernel can look up; negative ones are beyond every limit.
pub(super) fn number(fd: &Fd) -> u32 {
    u32::try_from(fd.number()).unwrap_or(u32::MAX)
}

/// Makes a call that never sleeps.
pub(super) fn make(kernel: &mut Kernel, pid: Pid, call: &Call) -> std::result::Result<Done, Errno> {
    let nothing = Done::default;
    let closes = |flags: &[OpenFlag]| flags.contains(&OpenFlag::Cloexec);
    Ok(match call {
        Call::Open { path, flags, mode } => {
            let how = OpenHow { mode: *mode, ..open_how(flags) };
            Done::returning(kernel.open(pid, &path.as_str().into(), how)?.descriptor)
        }
        Call::Close { fd } => kernel.close(pid, number(fd)).map(|_| nothing())?,
        Call::Dup { fd } => Done::returning(kernel.dup(pid, number(fd), 0, false)?),
        Call::Dup2 { fd, to } => {
            kernel.dup2(pid, number(fd), number(to))?;
            Done::returning(to.number())
        }
        Call::Dup3 { flags, .. } if !dup3_knows(flags) => return Err(Errno::Inval),
        Call::Dup3 { fd, to, flags } => {
            kernel.dup3(pid, number(fd), number(to), closes(flags))?;
            Done::returning(to.number())
        }
        Call::Dupfd { fd, min, cloexec } => {
            let min = u32::try_from(*min).unwrap_or(u32::MAX);
            kernel.inode_of(pid, number(fd))?;
            if min >= kernel.descriptor_limit(pid) {
                return Err(Errno::Inval);
            }
            Done::returning(kernel.dup(pid, number(fd), min, *cloexec)?)
        }
        Call::Getfd { fd } => {
            let cloexec = kernel.closes_on_exec(pid, number(fd))?;
            Done { cloexec: Some(cloexec), ..Done::returning(i64::from(cloexec)) }
        }
        Call::Setfd { fd, cloexec } => kernel.set_close_on_exec(pid, number(fd), *cloexec).map(|()| nothing())?,
        Call::Read { fd, len } => read(kernel.read(pid, number(fd), *len as usize)?),
        Call::Pread { fd, len, off } => read(kernel.read_at(pid, number(fd), *len as usize, *off)?),
        Call::Write { fd, data } => written(kernel.write(pid, number(fd), &call::bytes(data))?),
        Call::Pwrite { fd, data, off } => written(kernel.write_at(pid, number(fd), &call::bytes(data), *off)?),
        Call::Lseek { fd, off, whence } => {
            let whence = match whence {
                call::Whence::Set => Whence::Start,
                call::Whence::Cur => Whence::Current,
                call::Whence::End => Whence::End,
                call::Whence::Unknown => return Err(Errno::Inval),
            };
            let offset = kernel.seek_from(pid, number(fd), whence, *off)?;
            Done::returning(i64::try_from(offset).unwrap_or(i64::MAX))
        }
        Call::Ftruncate { fd, len } => {
            kernel.truncate(pid, number(fd), *len as u64)?;
            nothing()
        }
        Call::Rename { from, to } => kernel.rename(pid, from, to, RenameFlags::default()).map(|_| nothing())?,
        Call::Renameat2 { from, to, flags } => {
            let no_replace = flags.contains(&RenameFlag::Noreplace);
            let flags = RenameFlags { no_replace, exchange: flags.contains(&RenameFlag::Exchange) };
            kernel.rename(pid, from, to, flags).map(|_| nothing())?
        }
        Call::Link { from, to } => kernel.link(pid, from, to).map(|_| nothing())?,
        Call::Symlink { target, path } => kernel.symlink(pid, target, path).map(|_| nothing())?,
        Call::Readlink { path } => {
            let target = kernel.read_link(pid, path)?.to_string();
            Done { target: Some(target), ..nothing() }
        }
        Call::Unlink { path } => kernel.unlink(pid, path).map(|_| nothing())?,
        Call::Mkdir { path } => kernel.mkdir(pid, path).map(|_| nothing())?,
        Call::Rmdir { path } => kernel.rmdir(pid, path).map(|_| nothing())?,
        Call::Stat { path, follow } => attributes(kernel.stat(pid, path, *follow)?),
        Call::Fstat { fd } => attributes(kernel.fstat(pid, number(fd))?),
        Call::Readdir { path } => {
            let names = kernel.read_dir(pid, path)?.into_iter().map(|entry| entry.name).collect();
            Done { names: Some(names), ..nothing() }
        }
        Call::Setrlimit { .. } | Call::Sighandler { .. } | Call::Flock { .. } | Call::Lock { .. } => {
            unreachable!("made elsewhere")
        }
        Call::Unknown => return Err(Errno::NoSys),
    })
}

/// Whether dup3(2) takes these flags.
pub(super) fn dup3_knows(flags: &[OpenFlag]) -> bool {
    flags.iter().all(|flag| matches!(flag, OpenFlag::Cloexec | OpenFlag::Rdonly))
}

fn open_how(flags: &[OpenFlag]) -> OpenHow {
    let has = |flag| flags.contains(&flag);
    // O_WRONLY | O_RDWR is access mode 3.
    let neither = has(OpenFlag::Accmode3) || (has(OpenFlag::Wronly) && has(OpenFlag::Rdwr));
    OpenHow {
        read: !neither && !has(OpenFlag::Wronly),
        write: !neither && (has(OpenFlag::Wronly) || has(OpenFlag::Rdwr)),
        neither,
        path_only: has(OpenFlag::Path),
        append: has(OpenFlag::Append),
        create: has(OpenFlag::Creat),
        exclusive: has(OpenFlag::Excl),
        truncate: has(OpenFlag::Trunc),
        directory: has(OpenFlag::Directory),
        no_follow: has(OpenFlag::Nofollow),
        close_on_exec: has(OpenFlag::Cloexec),
        mode: 0,
    }
}

fn read(bytes: Vec<u8>) -> Done {
    Done { data: Some(call::latin1(&bytes)), ..written(bytes.len()) }
}

fn written(len: usize) -> Done {
    Done::returning(i64::try_from(len).unwrap_or(i64::MAX))
}

fn attributes(stat: Stat) -> Done {
    let Stat { id, kind, nlink, size } = stat;
    let kind = call::kind_word(kind).to_owned();
    Done { stat: Some(Attributes { kind, nlink, size, id: (id.device, id.inode) }), ..Done::default() }
}
