//! System calls: what each does to the kernel, and what is told of it.

use std::sync::Arc;

use super::kernel::Opened;
use super::names::{Data, Name};
use super::operation::{Large, Op, OpId, Outcome, Ret};
use super::state::{State, TaskId};
use crate::world::{Errno, Kinds, LockMode, OpenOptions, What};

impl State {
    /// A system call acts. Returns the task, if it is to be polled before anything else.
    #[inline(always)]
    pub(super) fn system_call(&mut self, id: OpId, task: TaskId) -> Option<TaskId> {
        let pid = self.tasks[task as usize].pid;
        let outcome = match self.ops[id.slot as usize].op {
            Op::Flock { fd, mode, .. } => self.flock(id, task, pid, fd, mode)?,
            // The commonest calls are on the short way.
            Op::Write { fd, data } => {
                self.unwatch_inode(id);
                self.write(pid, task, fd, data)
            }
            Op::Unlock { fd } => self.unlock(pid, task, fd),
            Op::Open { path, options } => {
                self.attribute_to(id);
                self.open(pid, task, path, options)
            }
            op => {
                self.attribute_to(id);
                self.unwatch_inode(id);
                self.call(pid, task, op)
            }
        };
        if let Err(errno) = outcome {
            self.call_failed(pid, task, self.ops[id.slot as usize].op, errno);
        }
        self.return_from_call(id, task, outcome).then_some(task)
    }

    #[cold]
    fn call_failed(&mut self, pid: u32, task: TaskId, op: Op, errno: Errno) {
        let refused = matches!(op, Op::TryFlock { .. }) && errno == Errno::Again;
        if self.wants(Kinds::FAILURES) && !refused {
            self.emit_failed(pid, Some(task), op.name(), self.subject(pid, &op), errno);
        }
    }

    /// `None`: it waits on (the second half of a conversion).
    fn flock(&mut self, id: OpId, task: TaskId, pid: u32, fd: u32, mode: LockMode) -> Option<Outcome> {
        let granted = match self.kernel.lock_at_once(pid, fd, mode, task, self.step) {
            true => Ok(true),
            false => self.convert(pid, task, fd, mode),
        };
        if granted != Ok(false) {
            self.unwatch_inode(id);
        }
        match granted {
            Err(errno) => Some(Err(errno)),
            Ok(true) => {
                self.tell(pid, Some(task), Kinds::LOCKED, |state| {
                    let (path, file, ofd) = state.kernel.described(pid, fd);
                    What::Lock { path, descriptor: fd, file, description: ofd.into(), mode, blocking: true }
                });
                Some(Ok(Ret::Unit))
            }
            Ok(false) => {
                if let Op::Flock { converted, .. } = &mut self.ops[id.slot as usize].op {
                    *converted = true;
                }
                self.evaluate(id); // it was enabled, so this tells that it waits
                None
            }
        }
    }

    /// The attempt, which gives an old lock up, and the grant.
    fn convert(&mut self, pid: u32, task: TaskId, fd: u32, mode: LockMode) -> Result<bool, Errno> {
        if let Some(old) = self.kernel.begin_conversion(pid, fd, mode)? {
            self.emit_unlocked(pid, task, fd, old);
        }
        let granted = self.kernel.grant(pid, fd, mode, task, self.step)?;
        if granted {
            self.kernel.used_by(pid, fd, task);
        }
        Ok(granted)
    }

    fn emit_unlocked(&mut self, pid: u32, task: TaskId, fd: u32, mode: LockMode) {
        let description = self.kernel.description_of(pid, fd);
        self.tell_unlocked(pid, Some(task), description.into(), |state| {
            let (path, file, ofd) = state.kernel.described(pid, fd);
            What::Unlock { path, file, description: ofd.into(), mode }
        });
    }

    fn unlock(&mut self, pid: u32, task: TaskId, fd: u32) -> Outcome {
        if let Some(mode) = self.kernel.unlock(pid, fd)? {
            self.emit_unlocked(pid, task, fd, mode);
        }
        Ok(Ret::Unit)
    }

    fn write(&mut self, pid: u32, task: TaskId, fd: u32, data: Data) -> Outcome {
        let data = self.written.bytes(&data);
        if fd == 1 && self.hosts[pid as usize].launch.is_some() {
            self.hosts[pid as usize].stdout.extend_from_slice(data);
        }
        let bytes = self.kernel.write(pid, fd, data)?;
        self.tell(pid, Some(task), Kinds::CONTENT, |state| {
            let (path, file, _) = state.kernel.described(pid, fd);
            What::Write { path, descriptor: fd, file, bytes }
        });
        Ok(Ret::Number(bytes as u64))
    }

    fn open(&mut self, pid: u32, task: TaskId, path: Name, options: OpenOptions) -> Outcome {
        let Opened { descriptor, file, created, truncated } = self.kernel.open(pid, &self.names[path], options)?;
        self.kernel.used_by(pid, descriptor, task);
        self.tell(pid, Some(task), Kinds::OPENED, |state| {
            let path = state.names[path].clone();
            What::Open { path, descriptor, file, created, truncated }
        });
        Ok(Ret::Fd(descriptor))
    }

    fn call(&mut self, pid: u32, task: TaskId, op: Op) -> Outcome {
        let by = Some(task);
        match op {
            Op::Close { fd } => {
                let closed = self.kernel.close(pid, fd)?;
                self.emit_closed(pid, by, fd, closed);
                Ok(Ret::Unit)
            }
            Op::Dup { fd } => {
                let descriptor = self.kernel.dup(pid, fd, 0, true)?;
                self.kernel.used_by(pid, descriptor, task);
                self.tell(pid, by, Kinds::OPENED, |state| {
                    let (path, file, _) = state.kernel.described(pid, fd);
                    What::Dup { path, descriptor, file }
                });
                Ok(Ret::Fd(descriptor))
            }
            Op::Read { fd, len } => {
                let bytes = self.kernel.read(pid, fd, len)?;
                self.tell(pid, by, Kinds::CONTENT, |state| {
                    let (path, file, _) = state.kernel.described(pid, fd);
                    What::Read { path, descriptor: fd, file, bytes: bytes.len() }
                });
                Ok(Large::Bytes(bytes).into())
            }
            Op::Seek { fd, offset } => self.kernel.seek(pid, fd, offset).map(|()| Ret::Unit),
            Op::Truncate { fd, len } => {
                self.kernel.truncate(pid, fd, len)?;
                self.tell(pid, by, Kinds::CONTENT, |state| {
                    let (path, file, _) = state.kernel.described(pid, fd);
                    What::Truncate { path, file, len }
                });
                Ok(Ret::Unit)
            }
            Op::Sync { fd } => {
                self.kernel.fsync(pid, fd)?;
                self.tell(pid, by, Kinds::CONTENT, |state| {
                    let (path, file, _) = state.kernel.described(pid, fd);
                    What::Sync { path, file }
                });
                Ok(Ret::Unit)
            }
            Op::Fstat { fd } => {
                let stat = self.kernel.fstat(pid, fd)?;
                self.learn(task, stat.id.inode);
                self.tell(pid, by, Kinds::OTHER, |state| {
                    let (path, _, _) = state.kernel.described(pid, fd);
                    What::Stat { path }
                });
                Ok(Large::Stat(stat).into())
            }
            Op::Stat { path, follow } => {
                let stat = self.kernel.stat(pid, &self.names[path], follow)?;
                self.learn(task, stat.id.inode);
                self.tell(pid, by, Kinds::OTHER, |state| What::Stat { path: state.names[path].clone() });
                Ok(Large::Stat(stat).into())
            }
            Op::Rename { from, to, flags } => {
                let (ino, replaced) = self.kernel.rename(pid, &self.names[from], &self.names[to], flags)?;
                let (file, replaced) = (self.kernel.file_id(ino), replaced.map(|ino| self.kernel.file_id(ino)));
                self.tell(pid, by, Kinds::NAMES, |state| {
                    let (from, to) = (state.names[from].clone(), state.names[to].clone());
                    What::Rename { from, to, file, replaced }
                });
                Ok(Ret::Unit)
            }
            Op::Link { existing, new } => {
                let (existing, new) = (self.names[existing].clone(), self.names[new].clone());
                self.kernel.link(pid, &existing, &new)?;
                self.emit(pid, by, What::Link { existing, new, symbolic: false });
                Ok(Ret::Unit)
            }
            Op::Symlink { target, path } => {
                let (existing, new) = (self.names[target].clone(), self.names[path].clone());
                self.kernel.symlink(pid, &existing, &new)?;
                self.emit(pid, by, What::Link { existing, new, symbolic: true });
                Ok(Ret::Unit)
            }
            Op::ReadLink { path } => {
                let target = self.kernel.read_link(pid, &self.names[path])?;
                self.tell(pid, by, Kinds::OTHER, |state| What::Stat { path: state.names[path].clone() });
                Ok(Large::Text(target).into())
            }
            Op::Unlink { path } => {
                let ino = self.kernel.unlink(pid, &self.names[path])?;
                let file = self.kernel.file_id(ino);
                self.tell(pid, by, Kinds::NAMES, |state| What::Unlink { path: state.names[path].clone(), file });
                Ok(Ret::Unit)
            }
            Op::MakeDir { path } => {
                self.kernel.mkdir(pid, &self.names[path])?;
                self.tell(pid, by, Kinds::NAMES, |state| What::MakeDir { path: state.names[path].clone() });
                Ok(Ret::Unit)
            }
            Op::RemoveDir { path } => {
                let ino = self.kernel.rmdir(pid, &self.names[path])?;
                let file = self.kernel.file_id(ino);
                self.tell(pid, by, Kinds::NAMES, |state| What::RemoveDir { path: state.names[path].clone(), file });
                Ok(Ret::Unit)
            }
            Op::ReadDir { path } => {
                let entries = self.kernel.read_dir(pid, &self.names[path])?;
                self.tell(pid, by, Kinds::OTHER, |state| What::ReadDir { path: state.names[path].clone() });
                Ok(Large::Entries(entries).into())
            }
            Op::Pipe => {
                let path: Arc<str> = "pipe".into();
                let (reader, writer) = self.kernel.pipe(pid, &path, true)?;
                for descriptor in [reader, writer] {
                    self.kernel.used_by(pid, descriptor, task);
                    let (path, file, _) = self.kernel.describe(pid, descriptor)?;
                    self.emit(pid, by, What::Open { path, descriptor, file, created: true, truncated: false });
                }
                Ok(Ret::Fds(reader, writer))
            }
            Op::TryFlock { fd, mode } => {
                if let Some(old) = self.kernel.begin_attempt(pid, fd, mode)? {
                    self.emit_unlocked(pid, task, fd, old);
                }
                let granted = self.kernel.grant(pid, fd, mode, task, self.step)?;
                self.kernel.used_by(pid, fd, task);
                if self.wants(if granted { Kinds::LOCKED } else { Kinds::LOCK_REFUSED }) {
                    let (path, file, ofd) = self.kernel.describe(pid, fd)?;
                    let (descriptor, description) = (fd, ofd.into());
                    let what = if granted {
                        What::Lock { path, descriptor, file, description, mode, blocking: false }
                    } else {
                        What::LockRefused { path, descriptor, file, mode }
                    };
                    self.emit(pid, by, what);
                }
                // Where the ground keeps the lock of a refused conversion, whoever asked has to give it up himself.
                let kept = !granted && self.kernel.lock_mode(pid, fd).is_some();
                Ok(if kept { Ret::Unit } else { Ret::Flag(granted) })
            }
            Op::KillChild { pid: child } => {
                self.kill(child);
                Ok(Ret::Unit)
            }
            op => unreachable!("{op:?} is no system call"),
        }
    }
}
