//! What is done through descriptors: reading, writing, offsets, sizes.

use super::{Call, Description, Ino, Kernel, Node, PIPE_CAPACITY, Pid, Touched};
use crate::world::{Errno, LockMode, Stat};

/// Writes of at most this many bytes to a pipe are not torn apart (PIPE_BUF, pipe(7)).
const PIPE_ATOMIC: usize = 4096;

/// A file can be no larger, because all of it is kept in memory; a real one ends with EFBIG as well, only later.
const FILE_MAX: u64 = 1 << 28;

/// Where lseek(2) counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Whence {
    /// SEEK_SET.
    Start,
    /// SEEK_CUR.
    Current,
    /// SEEK_END.
    End,
}

/// At most `len` bytes from `offset` on.
fn at(bytes: &[u8], offset: u64, len: usize) -> &[u8] {
    let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
    &bytes[from..from.saturating_add(len).min(bytes.len())]
}

/// Puts `data` at `from`, after zeros if that is beyond the end. Nothing written leaves the size as it is.
fn put(bytes: &mut Vec<u8>, from: u64, data: &[u8]) -> Call<()> {
    if data.is_empty() {
        return Ok(());
    }
    let to = small(from.saturating_add(data.len() as u64))?;
    let from = to - data.len();
    if from == bytes.len() {
        bytes.extend_from_slice(data);
        return Ok(());
    }
    if bytes.len() < to {
        bytes.resize(to, 0);
    }
    bytes[from..to].copy_from_slice(data);
    Ok(())
}

fn small(len: u64) -> Call<usize> {
    if len > FILE_MAX { Err(Errno::FBig) } else { Ok(len as usize) }
}

impl Kernel {
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

    /// Whether a process has a writing (or else a reading) end of a pipe.
    pub fn has_end(&self, pid: Pid, pipe: Ino, writing: bool) -> bool {
        let is_end = |d: &Description| d.inode == pipe && if writing { d.write } else { d.read };
        self.descriptors(pid).any(|d| is_end(&self.descriptions[d.description as usize]))
    }

    /// read(2); on a pipe only after [`can_read`](Kernel::can_read).
    pub fn read(&mut self, pid: Pid, fd: u32, len: usize) -> Call<Vec<u8>> {
        let ofd = self.usable(pid, fd)?;
        self.check_not_lost(ofd)?;
        let d = &mut self.descriptions[ofd as usize];
        if !d.read {
            return Err(Errno::BadF);
        }
        match &mut self.inodes[d.inode as usize].node {
            Node::File(bytes) => {
                let bytes = at(bytes, d.offset, len);
                d.offset += bytes.len() as u64;
                Ok(bytes.to_vec())
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

    /// pread(2).
    pub fn read_at(&self, pid: Pid, fd: u32, len: usize, offset: i64) -> Call<Vec<u8>> {
        let offset = u64::try_from(offset).map_err(|_| Errno::Inval)?;
        let ofd = self.usable(pid, fd)?;
        self.check_not_lost(ofd)?;
        let d = &self.descriptions[ofd as usize];
        match &self.inodes[d.inode as usize].node {
            Node::Pipe(_) => Err(Errno::SPipe),
            _ if !d.read => Err(Errno::BadF),
            Node::File(bytes) => Ok(at(bytes, offset, len).to_vec()),
            Node::Dir { .. } => Err(Errno::IsDir),
            _ => Ok(Vec::new()),
        }
    }

    /// write(2); to a pipe only after [`can_write`](Kernel::can_write). Nothing written changes nothing: O_APPEND does not move to the end
    /// (generic_write_checks), and a pipe without readers does not mind (pipe_write).
    pub fn write(&mut self, pid: Pid, fd: u32, data: &[u8]) -> Call<usize> {
        let descriptor = self.processes[pid as usize].get_mut(fd).ok_or(Errno::BadF)?;
        let d = &mut self.descriptions[descriptor.ofd as usize];
        if d.path_only {
            return Err(Errno::BadF);
        }
        if d.lost.is_some() {
            return Err(Errno::Io);
        }
        if !d.write {
            return Err(Errno::BadF);
        }
        if data.is_empty() {
            return Ok(0);
        }
        match &mut self.inodes[d.inode as usize].node {
            Node::File(bytes) => {
                let from = if d.append { bytes.len() as u64 } else { d.offset };
                put(bytes, from, data)?;
                d.offset = from + data.len() as u64;
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

    /// pwrite(2). With O_APPEND the data goes to the end whatever the offset (its manual page, BUGS).
    pub fn write_at(&mut self, pid: Pid, fd: u32, data: &[u8], offset: i64) -> Call<usize> {
        let offset = u64::try_from(offset).map_err(|_| Errno::Inval)?;
        let ofd = self.usable(pid, fd)?;
        self.check_not_lost(ofd)?;
        let d = &self.descriptions[ofd as usize];
        match &mut self.inodes[d.inode as usize].node {
            Node::Pipe(_) => Err(Errno::SPipe),
            _ if !d.write => Err(Errno::BadF),
            Node::File(bytes) => {
                let from = if d.append { bytes.len() as u64 } else { offset };
                put(bytes, from, data)?;
                Ok(data.len())
            }
            _ => Ok(data.len()),
        }
    }

    /// lseek(2) with SEEK_SET.
    pub fn seek(&mut self, pid: Pid, fd: u32, offset: u64) -> Call<()> {
        let offset = i64::try_from(offset).map_err(|_| Errno::Inval)?;
        self.seek_from(pid, fd, Whence::Start, offset).map(drop)
    }

    /// lseek(2): the offset that results.
    pub fn seek_from(&mut self, pid: Pid, fd: u32, whence: Whence, offset: i64) -> Call<u64> {
        let ofd = self.usable(pid, fd)? as usize;
        let d = &mut self.descriptions[ofd];
        let node = &self.inodes[d.inode as usize].node;
        if matches!(node, Node::Pipe(_)) {
            return Err(Errno::SPipe);
        }
        let base = match (whence, node) {
            (Whence::Start, _) => 0,
            (Whence::Current, _) => d.offset,
            (Whence::End, Node::File(bytes)) => bytes.len() as u64,
            (Whence::End, _) => 0,
        };
        d.offset = base.checked_add_signed(offset).filter(|&to| i64::try_from(to).is_ok()).ok_or(Errno::Inval)?;
        Ok(d.offset)
    }

    /// ftruncate(2).
    pub fn truncate(&mut self, pid: Pid, fd: u32, len: u64) -> Call<()> {
        if i64::try_from(len).is_err() {
            return Err(Errno::Inval);
        }
        let d = &self.descriptions[self.usable(pid, fd)? as usize];
        match &mut self.inodes[d.inode as usize].node {
            Node::File(bytes) if d.write => {
                bytes.resize(small(len)?, 0);
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
        let d = &self.descriptions[self.usable(pid, fd)? as usize];
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
