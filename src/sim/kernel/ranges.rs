//! fcntl(2) record locks, as posix_lock_inode (fs/locks.c) does them.
//!
//! Not for protocols of ours, but what tools meet: SQLite uses them, and NFS makes them of flock(2). Two kinds share one list and exclude
//! each other. POSIX locks are owned by the *process*: closing any descriptor of the file drops all of them, which is the trap that
//! every library which merely reads a locked file sets for its host. Open-file-description locks are owned as flock's are. Unlike flock,
//! a refused conversion keeps what it had. Neither kind sees flock's locks.

use super::{Call, Ino, Kernel, Ofd, Pid, Touched};
use crate::world::{Errno, LockMode};

/// Bytes of a file, the last one included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// The first byte.
    pub start: u64,
    /// The last byte; [`Span::END`] for "to the end, wherever it will be".
    pub end: u64,
}

impl Span {
    /// The last byte that a file can have.
    pub const END: u64 = i64::MAX as u64;
    /// The whole file.
    pub const ALL: Span = Span { start: 0, end: Span::END };

    /// From `l_start` and `l_len`, counted from the start of the file (flock64_to_posix_lock).
    pub fn new(start: i64, len: i64) -> Call<Span> {
        let end = match len {
            0 => Span::END as i64,
            1.. => start.checked_add(len - 1).ok_or(Errno::Overflow)?,
            _ => start.saturating_sub(1),
        };
        let start = if len < 0 { start.saturating_add(len) } else { start };
        match (u64::try_from(start), u64::try_from(end)) {
            (Ok(start), Ok(end)) => Ok(Span { start, end }),
            _ => Err(Errno::Inval),
        }
    }

    /// Whether they have a byte in common.
    pub fn overlaps(self, other: Span) -> bool {
        self.start <= other.end && other.start <= self.end
    }

    fn touches(self, other: Span) -> bool {
        self.start <= other.end.saturating_add(1) && other.start <= self.end.saturating_add(1)
    }
}

/// Who holds a record lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RangeOwner {
    /// A POSIX lock (F_SETLK).
    Process(Pid),
    /// An open-file-description lock (F_OFD_SETLK).
    Description(Ofd),
}

/// A record lock. Its number tells it from others; it stays when the lock grows or shrinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RangeLock {
    /// Its number.
    pub number: u64,
    /// Who holds it.
    pub owner: RangeOwner,
    /// F_RDLCK or F_WRLCK.
    pub mode: LockMode,
    /// Which bytes.
    pub span: Span,
}

/// What somebody wants locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RangeRequest {
    /// On which file.
    pub inode: Ino,
    /// By whom.
    pub owner: RangeOwner,
    /// F_RDLCK, F_WRLCK, or `None` for F_UNLCK.
    pub mode: Option<LockMode>,
    /// Which bytes.
    pub span: Span,
}

impl RangeRequest {
    /// Whether a lock of that owner would be in the way of it.
    pub fn conflicts(&self, owner: RangeOwner, mode: Option<LockMode>, span: Span) -> bool {
        let exclusive = [self.mode, mode].contains(&Some(LockMode::Exclusive));
        self.owner != owner && exclusive && self.mode.is_some() && mode.is_some() && self.span.overlaps(span)
    }
}

fn new_number(next: &mut u64) -> u64 {
    *next += 1;
    *next
}

impl Kernel {
    /// Checks an fcntl(2) request: a descriptor that allows it (reading for F_RDLCK, writing for F_WRLCK), bytes that exist.
    pub fn range_request(
        &self,
        pid: Pid,
        fd: u32,
        by_description: bool,
        mode: Option<LockMode>,
        (start, len): (i64, i64),
    ) -> Call<RangeRequest> {
        let ofd = self.usable(pid, fd)?;
        let span = Span::new(start, len)?;
        let d = &self.descriptions[ofd as usize];
        let allowed = match mode {
            Some(LockMode::Shared) => d.read,
            Some(LockMode::Exclusive) => d.write,
            None => true,
        };
        if !allowed {
            return Err(Errno::BadF);
        }
        let owner = if by_description { RangeOwner::Description(ofd) } else { RangeOwner::Process(pid) };
        Ok(RangeRequest { inode: d.inode, owner, mode, span })
    }

    /// The first lock in the way of a request, if any.
    pub fn range_in_the_way(&self, request: &RangeRequest) -> Option<RangeLock> {
        let held = &self.inodes[request.inode as usize].ranges;
        held.iter().find(|lock| request.conflicts(lock.owner, Some(lock.mode), lock.span)).copied()
    }

    /// Locks or unlocks; nothing may be in the way. What the owner had there is replaced: locks of the same mode that touch become
    /// one, others are cut, split or removed. The number of the lock that covers the span now.
    pub fn set_range(&mut self, request: &RangeRequest) -> Option<u64> {
        let RangeRequest { inode, owner, mode, mut span } = *request;
        let wanted = span;
        let held = &mut self.inodes[inode as usize].ranges;
        let at = held.iter().position(|lock| lock.owner == owner).unwrap_or(held.len());
        let mut others = std::mem::take(held);
        let theirs: Vec<RangeLock> = others.extract_if(.., |lock| lock.owner == owner).collect();
        let mut kept = None;
        let mut result = Vec::new();
        for lock in theirs {
            if Some(lock.mode) == mode {
                if !lock.span.touches(span) {
                    result.push(lock);
                    continue;
                }
                // The first one of them grows, the others go.
                span = Span { start: span.start.min(lock.span.start), end: span.end.max(lock.span.end) };
                kept.get_or_insert(lock.number);
                continue;
            }
            if !lock.span.overlaps(wanted) {
                result.push(lock);
                continue;
            }
            let (before, after) = (lock.span.start < wanted.start, lock.span.end > wanted.end);
            if before {
                // Split in two, the number stays with the second half.
                let number = if after { new_number(&mut self.next_range) } else { lock.number };
                result.push(RangeLock { number, span: Span { end: wanted.start - 1, ..lock.span }, ..lock });
            }
            if after {
                result.push(RangeLock { span: Span { start: wanted.end + 1, ..lock.span }, ..lock });
            }
        }
        if let Some(mode) = mode {
            let number = kept.unwrap_or_else(|| new_number(&mut self.next_range));
            kept = Some(number);
            result.push(RangeLock { number, owner, mode, span });
        }
        result.sort_by_key(|lock| lock.span);
        others.splice(at..at, result);
        self.inodes[inode as usize].ranges = others;
        self.touched.push(Touched::Locks(inode));
        kept
    }

    /// What closing *any* descriptor of a file does to the POSIX locks that the process has on it (locks_remove_posix). Whether there
    /// were any.
    pub(crate) fn drop_posix_locks(&mut self, pid: Pid, inode: Ino) -> bool {
        self.drop_ranges(inode, RangeOwner::Process(pid))
    }

    /// What closing the last descriptor of a description does (locks_remove_file). Whether there were any.
    pub(super) fn drop_ofd_locks(&mut self, ofd: Ofd) -> bool {
        self.drop_ranges(self.descriptions[ofd as usize].inode, RangeOwner::Description(ofd))
    }

    /// The record locks that closing a descriptor would end: those of the process first, or else, if it is the last one, those of the
    /// description. Whether there were any.
    #[cfg(feature = "cli")]
    pub(crate) fn drop_record_locks(&mut self, pid: Pid, fd: u32) -> bool {
        let Ok(ofd) = self.usable(pid, fd) else { return false };
        let super::Description { inode, refs, .. } = self.descriptions[ofd as usize];
        self.drop_posix_locks(pid, inode) || (refs == 1 && self.drop_ofd_locks(ofd))
    }

    fn drop_ranges(&mut self, inode: Ino, owner: RangeOwner) -> bool {
        let ranges = &mut self.inodes[inode as usize].ranges;
        let before = ranges.len();
        ranges.retain(|lock| lock.owner != owner);
        let dropped = ranges.len() < before;
        if dropped {
            self.touched.push(Touched::Locks(inode));
        }
        dropped
    }

    /// Every record lock, by inode.
    pub fn range_locks(&self) -> impl Iterator<Item = (Ino, RangeLock)> + '_ {
        let of = |(ino, inode): (usize, &'_ super::Inode)| {
            inode.ranges.iter().map(move |&lock| (ino as Ino, lock)).collect::<Vec<_>>()
        };
        self.inodes.iter().enumerate().filter(|(_, inode)| !inode.ranges.is_empty()).flat_map(of)
    }
}
