//! flock(2), as fs/locks.c does it on a local filesystem.
//!
//! The owner of a lock is the open file description, its object the inode. `conflict` is: another description, and one of the two
//! exclusive. A newcomer is tested against *held* locks only, so nothing is fair, and any compatible waiter may win: who does is
//! the engine's choice.

use super::{Call, Ground, Ino, Kernel, Ofd, Pid, Quirk, Touched};
use std::sync::Arc;

use crate::world::{Errno, FileId, LockMode};

impl Kernel {
    /// EBADF if the descriptor cannot be locked: not open, made by O_PATH, or without any access (access mode 3). Nothing else counts:
    /// exclusive locks on what is open for reading, and locks on directories, are fine.
    pub fn check_lockable(&self, pid: Pid, fd: u32) -> Call<()> {
        let d = &self.descriptions[self.usable(pid, fd)? as usize];
        if d.read || d.write { Ok(()) } else { Err(Errno::BadF) }
    }

    /// Whether a request would be granted now.
    pub fn can_lock(&self, pid: Pid, fd: u32, mode: LockMode) -> bool {
        // What fails does not wait.
        self.ofd(pid, fd).is_ok_and(|ofd| !self.conflicts(ofd, mode) || self.check_ground(ofd, mode).is_err())
    }

    #[inline]
    fn conflicts(&self, ofd: Ofd, mode: LockMode) -> bool {
        self.inodes[self.descriptions[ofd as usize].inode as usize].locks.iter().any(|&held| {
            held != ofd
                && (mode == LockMode::Exclusive || self.descriptions[held as usize].lock == Some(LockMode::Exclusive))
        })
    }

    /// The descriptions whose locks are in the way of a request, with who locked them and since when.
    pub fn in_the_way(&self, pid: Pid, fd: u32, mode: LockMode) -> Vec<(Ofd, u32, u64)> {
        let Ok(ofd) = self.ofd(pid, fd) else { return Vec::new() };
        let held = &self.inodes[self.descriptions[ofd as usize].inode as usize].locks;
        held.iter()
            .filter(|&&other| other != ofd)
            .map(|&other| (other, &self.descriptions[other as usize]))
            .filter(|(_, d)| mode == LockMode::Exclusive || d.lock == Some(LockMode::Exclusive))
            .map(|(other, d)| (other, d.locker, d.since))
            .collect()
    }

    /// Somebody is about to ask for a lock: the inode, and whether the attempt could be made now.
    #[inline]
    pub(crate) fn lock_asked_by(&mut self, pid: Pid, fd: u32, mode: LockMode, user: u32) -> (Ino, bool) {
        let Some(descriptor) = self.processes[pid as usize].get_mut(fd) else { return (Ino::default(), false) };
        descriptor.user = user;
        let d = &self.descriptions[descriptor.ofd as usize];
        let free = self.inodes[d.inode as usize].locks.is_empty();
        // The attempt of a conversion can always be made.
        (d.inode, free || d.lock.is_some_and(|held| held != mode) || self.can_lock(pid, fd, mode))
    }

    /// flock(2) where there is nothing to it: no lock on the file, none believed in. `false` if there is: the two halves tell.
    #[inline]
    pub(crate) fn lock_at_once(&mut self, pid: Pid, fd: u32, mode: LockMode, by: u32, step: u64) -> bool {
        let Some(descriptor) = self.processes[pid as usize].get_mut(fd) else { return false };
        let ofd = descriptor.ofd;
        let d = &mut self.descriptions[ofd as usize];
        let inode = &mut self.inodes[d.inode as usize];
        if !inode.locks.is_empty() || d.lost.is_some() || self.ground != Ground::Local {
            return false;
        }
        descriptor.user = by;
        (d.lock, d.locker, d.since) = (Some(mode), by, step);
        inode.locks.push(ofd);
        self.touched.push(Touched::Locks(d.inode));
        self.locks_held += 1;
        self.locks_peak = self.locks_peak.max(self.locks_held);
        true
    }

    /// The first half of flock(2): the lock of the *other* mode, if the description holds one, is given up before conflicts are
    /// looked at (on a local filesystem). What was given up.
    pub fn begin_conversion(&mut self, pid: Pid, fd: u32, mode: LockMode) -> Call<Option<LockMode>> {
        self.convert(pid, fd, mode, self.keeps_while_waiting())
    }

    /// The same with LOCK_NB, of a request that is refused rather than kept waiting.
    pub fn begin_attempt(&mut self, pid: Pid, fd: u32, mode: LockMode) -> Call<Option<LockMode>> {
        self.convert(pid, fd, mode, self.keeps_refused())
    }

    fn convert(&mut self, pid: Pid, fd: u32, mode: LockMode, keeps: bool) -> Call<Option<LockMode>> {
        let ofd = self.ofd(pid, fd)?;
        self.check_ground(ofd, mode)?;
        if let Some(lost) = self.descriptions[ofd as usize].lost.take() {
            return Ok(Some(lost));
        }
        if (keeps || self.has(Quirk::RefusedUpgradeKeeps)) && self.conflicts(ofd, mode) {
            return Ok(None);
        }
        match self.descriptions[ofd as usize].lock {
            Some(held) if held != mode => Ok(self.drop_lock(ofd)),
            _ => Ok(None),
        }
    }

    /// The second half: takes the lock if nothing is in the way. `by` and `step` are for reports.
    pub fn grant(&mut self, pid: Pid, fd: u32, mode: LockMode, by: u32, step: u64) -> Call<bool> {
        let ofd = self.ofd(pid, fd)?;
        if self.descriptions[ofd as usize].lock == Some(mode) {
            return Ok(true);
        }
        if self.conflicts(ofd, mode) {
            return Ok(false);
        }
        let d = &mut self.descriptions[ofd as usize];
        (d.lock, d.locker, d.since) = (Some(mode), by, step);
        let inode = d.inode;
        self.inodes[inode as usize].locks.push(ofd);
        self.touched.push(Touched::Locks(inode));
        self.locks_held += 1;
        self.locks_peak = self.locks_peak.max(self.locks_held);
        Ok(true)
    }

    /// LOCK_UN, through any descriptor of the description. The mode of the lock that ended.
    pub fn unlock(&mut self, pid: Pid, fd: u32) -> Call<Option<LockMode>> {
        let ofd = self.usable(pid, fd)?;
        if self.has(Quirk::UnlockByChildIgnored) && self.parent_of(pid).is_some() {
            return Ok(None);
        }
        Ok(self.give_up(ofd))
    }

    /// Ends the lock of a description, or the belief that it has one.
    pub(super) fn give_up(&mut self, ofd: Ofd) -> Option<LockMode> {
        self.drop_lock(ofd).or(self.descriptions[ofd as usize].lost.take())
    }

    pub(super) fn drop_lock(&mut self, ofd: Ofd) -> Option<LockMode> {
        let d = &mut self.descriptions[ofd as usize];
        let mode = d.lock.take()?;
        let inode = d.inode;
        self.inodes[inode as usize].locks.retain(|held| *held != ofd);
        self.touched.push(Touched::Locks(inode));
        self.locks_held -= 1;
        Some(mode)
    }

    /// How many locks are held now, over all processes.
    pub fn locks_held(&self) -> u32 {
        self.locks_held
    }

    /// Whether a description has a lock.
    pub fn is_locked(&self, ofd: Ofd) -> bool {
        self.descriptions[ofd as usize].lock.is_some()
    }

    /// The path that a description was opened under.
    pub fn opened_as(&self, ofd: Ofd) -> Arc<str> {
        self.descriptions[ofd as usize].path().clone()
    }

    /// The file of a description.
    pub fn file_of(&self, ofd: Ofd) -> FileId {
        self.file_id(self.descriptions[ofd as usize].inode)
    }

    /// Who took the lock of a description, in the caller's numbering.
    pub fn locker(&self, ofd: Ofd) -> u32 {
        self.descriptions[ofd as usize].locker
    }

    /// Every held lock: (inode, description, mode), in order of inode, then of grant.
    pub fn held_locks(&self) -> impl Iterator<Item = (Ino, Ofd, LockMode)> + '_ {
        self.inodes.iter().enumerate().flat_map(move |(ino, inode)| {
            inode.locks.iter().map(move |&ofd| {
                let mode = self.descriptions[ofd as usize].lock.expect("listed descriptions hold a lock");
                (ino as Ino, ofd, mode)
            })
        })
    }
}
