//! Descriptors: how they are made, copied and closed.

use std::sync::Arc;

use super::names::Last;
use super::{Call, Closed, Description, Descriptor, Ino, Kernel, NULL, Node, Ofd, Pid, PipeBuffer, Quirk, Touched};
use crate::world::{Errno, FileId, OpenOptions};

/// open(2) as the kernel takes it: the World's [`OpenOptions`], and what no protocol of ours asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct OpenHow {
    /// O_RDONLY, or O_RDWR with `write`.
    pub read: bool,
    /// O_WRONLY, or O_RDWR with `read`.
    pub write: bool,
    /// Access mode 3: the file must allow both, and the description gives neither.
    pub neither: bool,
    /// O_PATH.
    pub path_only: bool,
    /// O_APPEND.
    pub append: bool,
    /// O_CREAT.
    pub create: bool,
    /// O_EXCL; ignored without `create`.
    pub exclusive: bool,
    /// O_TRUNC.
    pub truncate: bool,
    /// O_DIRECTORY.
    pub directory: bool,
    /// O_NOFOLLOW.
    pub no_follow: bool,
    /// O_CLOEXEC.
    pub close_on_exec: bool,
    /// Permission bits of a file that the call creates, before the umask.
    pub mode: u32,
}

impl From<OpenOptions> for OpenHow {
    fn from(options: OpenOptions) -> Self {
        let write = options.write || options.append;
        OpenHow {
            read: options.read || !write,
            write,
            neither: false,
            path_only: false,
            append: options.append,
            create: options.create || options.create_new,
            exclusive: options.create_new,
            truncate: options.truncate,
            directory: options.directory,
            no_follow: options.no_follow,
            close_on_exec: options.close_on_exec,
            mode: options.mode,
        }
    }
}

/// What `open` gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Opened {
    /// The descriptor.
    pub descriptor: u32,
    /// The file.
    pub file: FileId,
    /// Whether the call made the file.
    pub created: bool,
    /// Whether it emptied the file.
    pub truncated: bool,
}

impl Kernel {
    /// EMFILE if no number below the limit is free. Checked before anything else is looked at (alloc_fd comes first in
    /// do_sys_open).
    pub(super) fn check_descriptor_free(&self, pid: Pid) -> Call<()> {
        let process = self.process(pid);
        if process.lowest_free() < process.limit { Ok(()) } else { Err(Errno::MFile) }
    }

    fn new_description(&mut self, inode: Ino, read: bool, write: bool, path: Arc<str>) -> Ofd {
        self.inodes[inode as usize].open += 1;
        let ofd = self.free_descriptions.pop().unwrap_or_else(|| {
            self.descriptions.push(Description::FREE);
            (self.descriptions.len() - 1) as Ofd
        });
        let d = &mut self.descriptions[ofd as usize];
        debug_assert!(d.refs == 0 && d.lock.is_none() && d.lost.is_none() && d.path.is_none());
        // One field after the other where it stays: what is put together elsewhere and moved as a whole has to wait for the last of them.
        (d.inode, d.read, d.write, d.append, d.path_only) = (inode, read, write, false, false);
        (d.offset, d.path, d.locker, d.since) = (0, Some(path), u32::MAX, 0);
        ofd
    }

    /// Makes a descriptor of `ofd`, at the lowest free number that is at least `min`.
    pub(super) fn install(&mut self, pid: Pid, ofd: Ofd, min: u32, close_on_exec: bool) -> Call<u32> {
        let past = if self.has(Quirk::NumbersNotReused) { self.descriptors_peak(pid) } else { 0 };
        let process = self.process_mut(pid);
        let number = process.lowest_free_from(min.max(past));
        if number >= process.limit {
            return Err(Errno::MFile);
        }
        process.put(number, Descriptor { ofd, close_on_exec, passed: false, user: u32::MAX });
        self.descriptions[ofd as usize].refs += 1;
        Ok(number)
    }

    /// open(2). The order of the checks is that of do_sys_open, open_last_lookups and do_open (fs/open.c, fs/namei.c).
    pub fn open(&mut self, pid: Pid, path: &Arc<str>, how: impl Into<OpenHow>) -> Call<Opened> {
        let mut how: OpenHow = how.into();
        if how.path_only {
            let OpenHow { directory, no_follow, close_on_exec, .. } = how;
            how = OpenHow { path_only: true, directory, no_follow, close_on_exec, ..OpenHow::default() };
        }
        if how.create && how.directory {
            return Err(Errno::Inval);
        }
        Self::check_path(path)?;
        if !self.has(Quirk::EmfileAfterCreation) {
            self.check_descriptor_free(pid)?;
        }
        let create_new = how.create && how.exclusive;
        let follow = !(create_new || how.no_follow);
        let place = match how.create {
            true => self.resolve_to_create(pid, path, follow)?,
            false => self.resolve(pid, path, follow)?,
        };
        let (ino, created) = match place.ino {
            Some(_) if create_new => return Err(Errno::Exist),
            Some(ino) => (ino, false),
            None if !how.create || place.last != Last::Name => return Err(Errno::NoEnt),
            None => {
                self.check_alive(place.dir)?;
                let empty = self.empty_file();
                let ino = self.new_inode(empty, 1);
                self.inodes[ino as usize].executable = how.mode & 0o111 != 0;
                self.add_name(place.dir, &place.name, ino);
                (ino, true)
            }
        };
        match &self.inodes[ino as usize].node {
            Node::Dir { .. } if how.create || how.write || how.neither || how.truncate => return Err(Errno::IsDir),
            Node::Dir { .. } => {}
            _ if how.directory || place.slash => return Err(Errno::NotDir),
            Node::Symlink(_) if !how.path_only => return Err(Errno::Loop),
            _ => {}
        }
        if self.has(Quirk::EmfileAfterCreation) {
            self.check_descriptor_free(pid)?;
        }
        let mut truncated = false;
        if how.truncate
            && let Node::File(bytes) = &mut self.inodes[ino as usize].node
        {
            truncated = !bytes.is_empty();
            bytes.clear();
        }
        let ofd = self.new_description(ino, how.read, how.write, path.clone());
        let d = &mut self.descriptions[ofd as usize];
        (d.append, d.path_only) = (how.append, how.path_only);
        let descriptor = self.install(pid, ofd, 0, how.close_on_exec).expect("checked above");
        Ok(Opened { descriptor, file: self.file_id(ino), created, truncated })
    }

    /// Opens descriptors 0, 1, 2 on nothing in particular, as a process finds them when it starts.
    pub(super) fn open_standard(&mut self, pid: Pid) {
        let ofd = self.new_description(NULL, true, true, self.null.clone());
        self.descriptions[ofd as usize].refs = 3;
        let standard = Descriptor { ofd, close_on_exec: false, passed: false, user: u32::MAX };
        self.process_mut(pid).start_with([standard; 3]);
    }

    /// A descriptor of something that is no file: a pidfd.
    pub fn open_anonymous(&mut self, pid: Pid, path: &Arc<str>) -> Call<u32> {
        self.check_descriptor_free(pid)?;
        let ofd = self.new_description(NULL, true, true, path.clone());
        self.install(pid, ofd, 0, true)
    }

    /// pipe2(2): (reading end, writing end).
    pub fn pipe(&mut self, pid: Pid, path: &Arc<str>, close_on_exec: bool) -> Call<(u32, u32)> {
        let process = self.process(pid);
        let second = process.lowest_free_from(process.lowest_free() + 1);
        if second >= process.limit {
            return Err(Errno::MFile);
        }
        let ino = self.new_inode(Node::Pipe(PipeBuffer { readers: 1, writers: 1, ..Default::default() }), 0);
        let reader = self.new_description(ino, true, false, path.clone());
        let writer = self.new_description(ino, false, true, path.clone());
        let reader = self.install(pid, reader, 0, close_on_exec).expect("checked above");
        let writer = self.install(pid, writer, 0, close_on_exec).expect("checked above");
        Ok((reader, writer))
    }

    pub(super) fn description(&self, pid: Pid, fd: u32) -> Call<&Description> {
        Ok(&self.descriptions[self.ofd(pid, fd)? as usize])
    }

    /// The description, for calls that a descriptor made by O_PATH is not good enough for.
    pub(super) fn usable(&self, pid: Pid, fd: u32) -> Call<Ofd> {
        let ofd = self.ofd(pid, fd)?;
        if self.descriptions[ofd as usize].path_only { Err(Errno::BadF) } else { Ok(ofd) }
    }

    pub(super) fn ofd(&self, pid: Pid, fd: u32) -> Call<Ofd> {
        self.process(pid).get(fd).map(|d| d.ofd).ok_or(Errno::BadF)
    }

    /// Remembers who used a descriptor last.
    pub fn used_by(&mut self, pid: Pid, fd: u32, user: u32) {
        if let Some(d) = self.process_mut(pid).get_mut(fd) {
            d.user = user;
        }
    }

    /// The same, and a look at what it is open on: the inode, if that is a pipe.
    #[inline]
    pub(crate) fn pipe_used_by(&mut self, pid: Pid, fd: u32, user: u32) -> Option<Ino> {
        let descriptor = self.processes[pid as usize].get_mut(fd)?;
        descriptor.user = user;
        let inode = self.descriptions[descriptor.ofd as usize].inode;
        matches!(self.inodes[inode as usize].node, Node::Pipe(_)).then_some(inode)
    }

    /// Path (as opened), file and description of a descriptor.
    pub fn describe(&self, pid: Pid, fd: u32) -> Call<(Arc<str>, FileId, Ofd)> {
        self.ofd(pid, fd)?;
        Ok(self.described(pid, fd))
    }

    /// The description of a descriptor that is open.
    ///
    /// # Panics
    /// If it is not.
    #[inline]
    pub(crate) fn description_of(&self, pid: Pid, fd: u32) -> Ofd {
        self.ofd(pid, fd).expect("an open descriptor")
    }

    /// The same as [`describe`](Kernel::describe), of a descriptor that is open.
    ///
    /// # Panics
    /// If it is not.
    #[inline]
    pub(crate) fn described(&self, pid: Pid, fd: u32) -> (Arc<str>, FileId, Ofd) {
        let ofd = self.description_of(pid, fd);
        (self.opened_as(ofd), self.file_of(ofd), ofd)
    }

    /// close(2).
    pub fn close(&mut self, pid: Pid, fd: u32) -> Call<Closed> {
        let descriptor = self.process_mut(pid).take(fd).ok_or(Errno::BadF)?;
        let ofd = descriptor.ofd;
        let d = &mut self.descriptions[ofd as usize];
        d.refs -= 1;
        let (inode, last) = (d.inode, d.refs == 0);
        let path = if last { d.path.take() } else { d.path.clone() };
        let path = path.expect("a description that is open");
        let file = &mut self.inodes[inode as usize];
        let is_locked = d.lock.or(d.lost).is_some() || !file.ranges.is_empty();
        if is_locked || matches!(file.node, Node::Pipe(_)) {
            return Ok(self.close_what_is_noticed(pid, ofd, path));
        }
        if last {
            file.open -= 1;
            super::set_free(&mut self.free_descriptions, ofd);
            self.reap_inode(inode);
        }
        Ok(Closed { path, file: self.file_id(inode), lock_ended: None })
    }

    /// The rest of close(2) where there are locks, or others at the end of a pipe.
    fn close_what_is_noticed(&mut self, pid: Pid, ofd: Ofd, path: Arc<str>) -> Closed {
        let d = &self.descriptions[ofd as usize];
        let (inode, last) = (d.inode, d.refs == 0);
        let (read, write, path_only, is_locked) = (d.read, d.write, d.path_only, d.lock.or(d.lost).is_some());
        let has_ranges = !self.inodes[inode as usize].ranges.is_empty();
        if has_ranges && !path_only {
            self.drop_posix_locks(pid, inode);
        }
        let mut lock_ended = None;
        if !last && self.has(Quirk::CloseOfDuplicateReleases) {
            self.drop_lock(ofd);
        }
        if last {
            if has_ranges {
                self.drop_ofd_locks(ofd);
            }
            if is_locked {
                lock_ended = self.give_up(ofd).map(|mode| (ofd, mode));
            }
            let file = &mut self.inodes[inode as usize];
            file.open -= 1;
            if let Node::Pipe(pipe) = &mut file.node {
                pipe.readers -= u32::from(read);
                pipe.writers -= u32::from(write);
                self.touched.push(Touched::Pipe(inode));
            }
            super::set_free(&mut self.free_descriptions, ofd);
            self.reap_inode(inode);
        }
        Closed { path, file: self.file_id(inode), lock_ended }
    }

    /// fcntl(2) F_DUPFD or F_DUPFD_CLOEXEC; with `min` 0, dup(2).
    pub fn dup(&mut self, pid: Pid, fd: u32, min: u32, close_on_exec: bool) -> Call<u32> {
        let ofd = self.ofd(pid, fd)?;
        if min > 0 && min >= self.process(pid).limit {
            return Err(Errno::Inval);
        }
        self.install(pid, ofd, min, close_on_exec)
    }

    /// dup3(2): `to` becomes a descriptor of the same description; what it was is closed.
    pub fn dup3(&mut self, pid: Pid, fd: u32, to: u32, close_on_exec: bool) -> Call<Option<Closed>> {
        if fd == to {
            return Err(Errno::Inval);
        }
        if to >= self.process(pid).limit {
            return Err(Errno::BadF);
        }
        let ofd = self.ofd(pid, fd)?;
        let closed = self.close(pid, to).ok();
        self.process_mut(pid).put(to, Descriptor { ofd, close_on_exec, passed: false, user: u32::MAX });
        self.descriptions[ofd as usize].refs += 1;
        Ok(closed)
    }

    /// dup2(2): as dup3(2), but a descriptor onto itself is left as it is.
    pub fn dup2(&mut self, pid: Pid, fd: u32, to: u32) -> Call<Option<Closed>> {
        if fd == to {
            return self.ofd(pid, fd).map(|_| None);
        }
        self.dup3(pid, fd, to, false)
    }

    /// fcntl(2) F_GETFD: close-on-exec.
    pub fn closes_on_exec(&self, pid: Pid, fd: u32) -> Call<bool> {
        self.process(pid).get(fd).map(|d| d.close_on_exec).ok_or(Errno::BadF)
    }

    /// fcntl(2) F_SETFD.
    pub fn set_close_on_exec(&mut self, pid: Pid, fd: u32, on: bool) -> Call<()> {
        self.process_mut(pid).get_mut(fd).ok_or(Errno::BadF)?.close_on_exec = on;
        Ok(())
    }

    /// The inode behind a descriptor.
    pub fn inode_of(&self, pid: Pid, fd: u32) -> Call<Ino> {
        Ok(self.description(pid, fd)?.inode)
    }
}
