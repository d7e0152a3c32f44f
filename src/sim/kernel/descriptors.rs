//! Descriptors and what is done through them.

use std::sync::Arc;

use super::names::Last;
use super::{
    Call, Closed, Description, Descriptor, Ino, Kernel, NULL, Node, Ofd, PIPE_CAPACITY, Pid, PipeBuffer, Touched,
};
use crate::world::{Errno, FileId, LockMode, OpenOptions, Stat};

/// Writes of at most this many bytes to a pipe are not torn apart (PIPE_BUF, pipe(7)).
const PIPE_ATOMIC: usize = 4096;

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

    fn new_description(&mut self, inode: Ino, read: bool, write: bool, append: bool, path: Arc<str>) -> Ofd {
        self.inodes[inode as usize].open += 1;
        let d = Description {
            inode,
            read,
            write,
            append,
            offset: 0,
            lock: None,
            refs: 0,
            path,
            locker: u32::MAX,
            since: 0,
        };
        match self.free_descriptions.pop() {
            Some(ofd) => {
                self.descriptions[ofd as usize] = d;
                ofd
            }
            None => {
                self.descriptions.push(d);
                (self.descriptions.len() - 1) as Ofd
            }
        }
    }

    /// Makes a descriptor of `ofd`, at the lowest free number that is at least `min`.
    pub(super) fn install(&mut self, pid: Pid, ofd: Ofd, min: u32, close_on_exec: bool) -> Call<u32> {
        let process = self.process_mut(pid);
        let number = process.lowest_free_from(min);
        if number >= process.limit {
            return Err(Errno::MFile);
        }
        process.put(number, Descriptor { ofd, close_on_exec, passed: false, user: u32::MAX });
        self.descriptions[ofd as usize].refs += 1;
        Ok(number)
    }

    /// open(2).
    pub fn open(&mut self, pid: Pid, path: &Arc<str>, how: OpenOptions) -> Call<Opened> {
        Self::check_path(path)?;
        self.check_descriptor_free(pid)?;
        let create = how.create || how.create_new;
        if create && how.directory {
            return Err(Errno::Inval);
        }
        let write = how.write || how.append;
        let place = self.resolve(pid, path, !(how.create_new || how.no_follow))?;
        if create && place.slash && place.ino.is_none_or(|ino| !self.is_dir(ino)) {
            return Err(Errno::IsDir);
        }
        let (ino, created) = match place.ino {
            Some(_) if how.create_new => return Err(Errno::Exist),
            Some(ino) => (ino, false),
            None if !create || place.last != Last::Name => return Err(Errno::NoEnt),
            None => {
                self.check_alive(place.dir)?;
                let ino = self.new_inode(Node::File(Vec::new()), 1);
                self.add_name(place.dir, place.name, ino);
                (ino, true)
            }
        };
        match &self.inodes[ino as usize].node {
            Node::Symlink(_) => return Err(Errno::Loop),
            Node::Dir { .. } if create || write || how.truncate => return Err(Errno::IsDir),
            Node::Dir { .. } => {}
            _ if how.directory || place.slash => return Err(Errno::NotDir),
            _ => {}
        }
        let mut truncated = false;
        if how.truncate
            && let Node::File(bytes) = &mut self.inodes[ino as usize].node
        {
            truncated = !bytes.is_empty();
            bytes.clear();
        }
        let ofd = self.new_description(ino, how.read || !write, write, how.append, path.clone());
        let descriptor = self.install(pid, ofd, 0, how.close_on_exec).expect("checked above");
        Ok(Opened { descriptor, file: Self::file_id(ino), created, truncated })
    }

    /// Opens descriptors 0, 1, 2 on nothing in particular, as a process finds them when it starts.
    pub(super) fn open_standard(&mut self, pid: Pid) {
        let ofd = self.new_description(NULL, true, true, false, "/dev/null".into());
        for _ in 0..3 {
            self.install(pid, ofd, 0, false).expect("a process may open three files");
        }
    }

    /// A descriptor of something that is no file: a pidfd.
    pub fn open_anonymous(&mut self, pid: Pid, path: &Arc<str>) -> Call<u32> {
        self.check_descriptor_free(pid)?;
        let ofd = self.new_description(NULL, true, true, false, path.clone());
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
        let reader = self.new_description(ino, true, false, false, path.clone());
        let writer = self.new_description(ino, false, true, false, path.clone());
        let reader = self.install(pid, reader, 0, close_on_exec).expect("checked above");
        let writer = self.install(pid, writer, 0, close_on_exec).expect("checked above");
        Ok((reader, writer))
    }

    fn description(&self, pid: Pid, fd: u32) -> Call<&Description> {
        Ok(&self.descriptions[self.ofd(pid, fd)? as usize])
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

    /// Path (as opened), file and description of a descriptor.
    pub fn describe(&self, pid: Pid, fd: u32) -> Call<(Arc<str>, FileId, Ofd)> {
        let ofd = self.ofd(pid, fd)?;
        let d = &self.descriptions[ofd as usize];
        Ok((d.path.clone(), Self::file_id(d.inode), ofd))
    }

    /// close(2).
    pub fn close(&mut self, pid: Pid, fd: u32) -> Call<Closed> {
        let descriptor = self.process_mut(pid).take(fd).ok_or(Errno::BadF)?;
        let ofd = descriptor.ofd;
        let d = &mut self.descriptions[ofd as usize];
        d.refs -= 1;
        let (path, inode, last) = (d.path.clone(), d.inode, d.refs == 0);
        let mut lock_ended = None;
        if last {
            lock_ended = self.drop_lock(ofd).map(|mode| (ofd, mode));
            let (read, write) = (self.descriptions[ofd as usize].read, self.descriptions[ofd as usize].write);
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
        Ok(Closed { path, file: Self::file_id(inode), lock_ended })
    }

    /// fcntl(2) F_DUPFD or F_DUPFD_CLOEXEC.
    pub fn dup(&mut self, pid: Pid, fd: u32, min: u32, close_on_exec: bool) -> Call<u32> {
        let ofd = self.ofd(pid, fd)?;
        if min >= self.process(pid).limit {
            return Err(Errno::Inval);
        }
        self.install(pid, ofd, min, close_on_exec)
    }

    /// Whether a descriptor is open on a pipe.
    pub fn is_pipe(&self, pid: Pid, fd: u32) -> bool {
        self.description(pid, fd).is_ok_and(|d| matches!(self.inodes[d.inode as usize].node, Node::Pipe(_)))
    }

    /// Whether a read would return at once: always, except on an empty pipe that has writers.
    pub fn can_read(&self, pid: Pid, fd: u32) -> bool {
        let Ok(d) = self.description(pid, fd) else { return true };
        match &self.inodes[d.inode as usize].node {
            Node::Pipe(pipe) if d.read => !pipe.bytes.is_empty() || pipe.writers == 0,
            _ => true,
        }
    }

    /// Whether a write of `len` bytes would return at once: always, except to a pipe that has readers and no room.
    pub fn can_write(&self, pid: Pid, fd: u32, len: usize) -> bool {
        let Ok(d) = self.description(pid, fd) else { return true };
        match &self.inodes[d.inode as usize].node {
            Node::Pipe(pipe) if d.write && pipe.readers > 0 => {
                let room = PIPE_CAPACITY - pipe.bytes.len();
                room >= len || (len > PIPE_ATOMIC && room > 0)
            }
            _ => true,
        }
    }

    /// The inode behind a descriptor.
    pub fn inode_of(&self, pid: Pid, fd: u32) -> Call<Ino> {
        Ok(self.description(pid, fd)?.inode)
    }

    /// Whether a process has a writing (or else a reading) end of a pipe.
    pub fn has_end(&self, pid: Pid, pipe: Ino, writing: bool) -> bool {
        let is_end = |d: &Description| d.inode == pipe && if writing { d.write } else { d.read };
        self.descriptors(pid).any(|d| is_end(&self.descriptions[d.description as usize]))
    }

    /// read(2); on a pipe only after [`can_read`](Kernel::can_read).
    pub fn read(&mut self, pid: Pid, fd: u32, len: usize) -> Call<Vec<u8>> {
        let ofd = self.ofd(pid, fd)? as usize;
        let d = &mut self.descriptions[ofd];
        if !d.read {
            return Err(Errno::BadF);
        }
        match &mut self.inodes[d.inode as usize].node {
            Node::File(bytes) => {
                let from = (d.offset as usize).min(bytes.len());
                let to = from.saturating_add(len).min(bytes.len());
                d.offset += (to - from) as u64;
                Ok(bytes[from..to].to_vec())
            }
            Node::Dir { .. } => Err(Errno::IsDir),
            Node::Pipe(pipe) => {
                let n = len.min(pipe.bytes.len());
                let bytes = pipe.bytes.drain(..n).collect();
                self.touched.push(Touched::Pipe(d.inode));
                Ok(bytes)
            }
            _ => Ok(Vec::new()),
        }
    }

    /// write(2); to a pipe only after [`can_write`](Kernel::can_write).
    pub fn write(&mut self, pid: Pid, fd: u32, data: &[u8]) -> Call<usize> {
        let ofd = self.ofd(pid, fd)? as usize;
        let d = &mut self.descriptions[ofd];
        if !d.write {
            return Err(Errno::BadF);
        }
        match &mut self.inodes[d.inode as usize].node {
            Node::File(bytes) => {
                let from = if d.append { bytes.len() } else { d.offset as usize };
                let to = from + data.len();
                if bytes.len() < to {
                    bytes.resize(to, 0);
                }
                bytes[from..to].copy_from_slice(data);
                d.offset = to as u64;
                Ok(data.len())
            }
            Node::Pipe(pipe) if pipe.readers == 0 => Err(Errno::Pipe),
            Node::Pipe(pipe) => {
                let n = data.len().min(PIPE_CAPACITY - pipe.bytes.len());
                pipe.bytes.extend(&data[..n]);
                self.touched.push(Touched::Pipe(d.inode));
                Ok(n)
            }
            _ => Ok(data.len()),
        }
    }

    /// lseek(2) with SEEK_SET.
    pub fn seek(&mut self, pid: Pid, fd: u32, offset: u64) -> Call<()> {
        let ofd = self.ofd(pid, fd)? as usize;
        let d = &mut self.descriptions[ofd];
        if matches!(self.inodes[d.inode as usize].node, Node::Pipe(_)) {
            return Err(Errno::SPipe);
        }
        d.offset = offset;
        Ok(())
    }

    /// ftruncate(2).
    pub fn truncate(&mut self, pid: Pid, fd: u32, len: u64) -> Call<()> {
        let d = self.description(pid, fd)?;
        let (write, inode) = (d.write, d.inode);
        match &mut self.inodes[inode as usize].node {
            Node::File(bytes) if write => {
                bytes.resize(usize::try_from(len).map_err(|_| Errno::FBig)?, 0);
                Ok(())
            }
            _ => Err(Errno::Inval),
        }
    }

    /// fstat(2).
    pub fn fstat(&self, pid: Pid, fd: u32) -> Call<Stat> {
        Ok(self.stat_of(self.description(pid, fd)?.inode))
    }

    /// fsync(2): there is no power loss to survive, so it only checks its descriptor.
    pub fn fsync(&self, pid: Pid, fd: u32) -> Call<()> {
        let d = self.description(pid, fd)?;
        match self.inodes[d.inode as usize].node {
            Node::Pipe(_) | Node::Null => Err(Errno::Inval),
            _ => Ok(()),
        }
    }

    /// The mode that the description behind a descriptor has locked, if any.
    pub fn lock_mode(&self, pid: Pid, fd: u32) -> Option<LockMode> {
        self.description(pid, fd).ok()?.lock
    }
}
