//! What the kernel does in one go: the deeds that a call of the simulated machine is made of.
//!
//! A call is not one step where locks are concerned. A close gives up the process' record locks, then the description's, then its flock;
//! a dying process gives up what it has open one by one; and whoever sleeps for one of these is awake from then on and makes its next attempt
//! when it gets to it, on another processor perhaps: while the rest of the call is still to come, and beside others that were woken.
//! So a call is cut into deeds, each a critical section of fs/locks.c, and every process has a list of those that it will do next.
//! [`Simulated`] lets whoever was woken go first, in the order of waking; [`Possible`](super::Possible) tries every order.

use std::collections::VecDeque;

use super::call::{self, Call, Done, Outcome};
use super::calls::{make, number};
use super::simulated::{Disposition, Request, Simulated, Wish};
use super::waiters::{Blocker, RequestId};
use crate::sim::kernel::{Ino, Kernel, Pid, Quirk, RangeLock, RangeOwner, RangeRequest, Span};
use crate::world::{Errno, LockMode, Status};

/// How far the search for deadlocks follows who waits for whom (MAX_DEADLK_ITERATIONS).
const DEADLOCK_DEPTH: u32 = 10;

/// One critical section.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) enum Deed {
    /// A call that takes no lock.
    Call(Call),
    /// A pass through flock_lock_inode or posix_lock_inode.
    Attempt(RequestId),
    /// locks_delete_block, and the call returns.
    Finish(RequestId, Result<(), Errno>),
    /// locks_delete_block, and the call begins anew or its process dies.
    Withdraw(RequestId),
    /// The process' record locks on a file (locks_remove_posix).
    DropPosix(Pid, Ino),
    /// What a close gives up before flock's lock: the record locks of the process, then those of a description without another descriptor.
    Release(Pid, u32),
    /// The rest of a close.
    Close(Pid, u32),
    /// The process is a new program.
    Executed,
    /// The process does nothing more itself.
    End(Pid, Status),
    /// Nothing is left of it but its status.
    Ended(Pid),
}

impl Simulated {
    /// `process` will do these, after what it has to do already.
    pub(super) fn queue(&mut self, process: u32, deeds: impl IntoIterator<Item = Deed>) {
        let at = self.to_do.iter().position(|(other, _)| *other == process).unwrap_or_else(|| {
            self.to_do.push((process, VecDeque::new()));
            self.to_do.len() - 1
        });
        self.to_do[at].1.extend(deeds);
    }

    /// The requests are awake, and will be attempted again.
    fn wake(&mut self, requests: Vec<RequestId>) {
        for id in requests {
            let process = self.requests[&id].process;
            let knows =
                |(other, deeds): &(u32, VecDeque<Deed>)| *other == process && deeds.contains(&Deed::Attempt(id));
            if !self.to_do.iter().any(knows) {
                self.queue(process, [Deed::Attempt(id)]);
            }
        }
    }

    /// Whoever has something to do, by position.
    pub(super) fn movers(&self) -> usize {
        self.to_do.len()
    }

    /// Lets everybody do what they have to, those who were woken first.
    pub(super) fn settle(&mut self) {
        while !self.to_do.is_empty() {
            let woken = |(process, _): &(u32, _)| Some(*process) != self.acting;
            self.step(self.to_do.iter().position(woken).unwrap_or(0));
        }
    }

    /// The mover at that position does one deed.
    pub(super) fn step(&mut self, mover: usize) {
        let (process, deeds) = &mut self.to_do[mover];
        let process = *process;
        let deed = deeds.pop_front().expect("it has something to do");
        self.perform(process, deed);
        self.to_do.retain(|(_, deeds)| !deeds.is_empty());
        self.notice();
    }

    fn at_once(&mut self, process: u32, deed: Deed) {
        let own = self.to_do.iter_mut().find(|(other, _)| *other == process);
        own.expect("it is at work").1.push_front(deed);
    }

    fn perform(&mut self, process: u32, deed: Deed) {
        match deed {
            Deed::Call(call) => {
                let outcome = self.plain(process, &call).map_err(call::errno_word);
                self.process(process).returned = Some(outcome);
            }
            Deed::Attempt(id) => match self.attempt(id) {
                // The second half of the call is a deed of its own only if somebody can tell.
                Some(outcome) if self.waiters.has(Blocker::Request(id)) => {
                    self.at_once(process, Deed::Finish(id, outcome));
                }
                Some(outcome) => self.finish(id, outcome),
                None => {}
            },
            Deed::Finish(id, outcome) => self.finish(id, outcome),
            Deed::Withdraw(id) => {
                let woken = self.waiters.remove(id);
                self.wake(woken);
                if !self.processes.contains_key(&process) {
                    self.requests.remove(&id);
                }
            }
            Deed::DropPosix(pid, inode) => drop(self.kernel.drop_posix_locks(pid, inode)),
            Deed::Release(pid, fd) => {
                if self.kernel.drop_record_locks(pid, fd) {
                    self.at_once(process, Deed::Release(pid, fd));
                }
            }
            Deed::Close(pid, fd) => drop(self.kernel.close(pid, fd)),
            Deed::Executed => {
                let process = self.process(process);
                (process.on_signal, process.returned) = (Disposition::Default, Some(Ok(Done::default())));
            }
            Deed::End(pid, status) => self.kernel.end(pid, status),
            Deed::Ended(pid) => drop(self.kernel.close_next(pid, &mut Vec::new())),
        }
    }

    /// The calls that take no lock.
    fn plain(&mut self, process: u32, call: &Call) -> Result<Done, Errno> {
        let pid = self.process(process).pid;
        match call {
            Call::Flock { fd, .. } => self.kernel.unlock(pid, number(fd)).map(|_| Done::default()),
            Call::Sighandler { restart } => {
                self.process(process).on_signal = Disposition::Handled { restart: *restart };
                Ok(Done::default())
            }
            Call::Setrlimit { soft, hard } => self.set_limit(process, *soft, *hard).map(|()| Done::default()),
            call => make(&mut self.kernel, pid, call),
        }
    }

    /// Wakes whoever hung under a lock that is gone, or that gave up bytes.
    fn notice(&mut self) {
        let whole = |(_, ofd, mode)| (Blocker::Flock(ofd), (mode, Span::ALL));
        let part = |(_, lock): (_, RangeLock)| (Blocker::Range(lock.number), (lock.mode, lock.span));
        let now = self.kernel.range_locks().map(part).chain(self.kernel.held_locks().map(whole)).collect();
        let before = std::mem::replace(&mut self.held, now);
        for (lock, (mode, was)) in before {
            let downgraded = matches!(self.held.get(&lock), Some((LockMode::Shared, _))) && mode == LockMode::Exclusive;
            if downgraded && self.quirk == Some(Quirk::DowngradeWakesNobody) {
                continue;
            }
            let stays = self
                .held
                .get(&lock)
                .is_some_and(|&(now, is)| now == mode && is.start <= was.start && is.end >= was.end);
            if !stays {
                let woken = self.waiters.wake(lock);
                self.wake(woken);
            }
        }
    }

    /// The system call of a request is over.
    fn finish(&mut self, id: RequestId, outcome: Result<(), Errno>) {
        let woken = self.waiters.remove(id);
        self.wake(woken);
        let request = self.requests.remove(&id).expect("it is under way");
        let outcome: Outcome = outcome.map(|()| Done::default()).map_err(call::errno_word);
        let process = self.process(request.process);
        (process.sleeping, process.returned) = (None, Some(outcome));
    }

    /// `None`: it sleeps.
    fn attempt(&mut self, id: RequestId) -> Option<Result<(), Errno>> {
        let Request { process, wish, waits } = self.requests[&id];
        let pid = self.process(process).pid;
        let granted = match wish {
            Wish::Flock { fd, mode } => self.attempt_flock(id, pid, fd, mode, waits),
            Wish::Range(request) => self.attempt_range(id, request, waits),
        };
        match granted {
            Ok(true) => Some(Ok(())),
            Ok(false) => None,
            Err(errno) => Some(Err(errno)),
        }
    }

    fn attempt_flock(&mut self, id: RequestId, pid: Pid, fd: u32, mode: LockMode, waits: bool) -> Result<bool, Errno> {
        if self.kernel.lock_mode(pid, fd) == Some(mode) {
            return Ok(true);
        }
        let given_up = if waits {
            self.kernel.begin_conversion(pid, fd, mode)?
        } else {
            self.kernel.begin_attempt(pid, fd, mode)?
        };
        if given_up != Some(LockMode::Exclusive) || self.quirk != Some(Quirk::DowngradeWakesNobody) {
            self.notice();
        }
        let (_, _, ofd) = self.kernel.describe(pid, fd)?;
        let Some(&(blocker, ..)) = self.kernel.in_the_way(pid, fd, mode).first() else {
            self.kernel.grant(pid, fd, mode, u32::MAX, 0)?;
            self.waiters.granted(id, Blocker::Flock(ofd));
            return Ok(true);
        };
        if !waits {
            return Err(Errno::Again);
        }
        let (requests, kernel, processes) = (&self.requests, &self.kernel, &self.processes);
        let conflicts = |other: RequestId| match requests[&other] {
            Request { process, wish: Wish::Flock { fd, mode: theirs }, .. } => {
                let of = kernel.describe(processes[&process].pid, fd).map(|(_, _, ofd)| ofd);
                of != Ok(ofd) && [mode, theirs].contains(&LockMode::Exclusive)
            }
            _ => false,
        };
        let woken = self.waiters.insert(Blocker::Flock(blocker), id, conflicts);
        self.wake(woken);
        Ok(false)
    }

    fn attempt_range(&mut self, id: RequestId, request: RangeRequest, waits: bool) -> Result<bool, Errno> {
        let Some(blocker) = self.kernel.range_in_the_way(&request) else {
            let lock = self.kernel.set_range(&request).map(Blocker::Range);
            if let Some(lock) = lock.filter(|lock| !self.held.contains_key(lock)) {
                self.waiters.granted(id, lock);
            }
            return Ok(true);
        };
        if !waits {
            return Err(Errno::Again);
        }
        let woken = self.waiters.wake(Blocker::Request(id));
        self.wake(woken);
        if self.would_deadlock(request.owner, blocker.owner) {
            return Err(Errno::DeadLk);
        }
        let requests = &self.requests;
        let conflicts = |other: RequestId| match requests[&other].wish {
            Wish::Range(theirs) => request.conflicts(theirs.owner, theirs.mode, theirs.span),
            Wish::Flock { .. } => false,
        };
        let woken = self.waiters.insert(Blocker::Range(blocker.number), id, conflicts);
        self.wake(woken);
        Ok(false)
    }

    /// posix_locks_deadlock: whether the holder of what is in the way waits, directly or not, for the one who asks. Only for POSIX locks:
    /// descriptions belong to nobody.
    fn would_deadlock(&self, asks: RangeOwner, mut holder: RangeOwner) -> bool {
        if matches!(asks, RangeOwner::Description(_)) {
            return false;
        }
        for _ in 0..=DEADLOCK_DEPTH {
            let waits = |(&id, request): (&RequestId, &Request)| match request.wish {
                Wish::Range(wish) if wish.owner == holder => self.root_owner(id),
                _ => None,
            };
            match self.requests.iter().find_map(waits) {
                None => return false,
                Some(owner) if owner == asks => return true,
                Some(owner) => holder = owner,
            }
        }
        false
    }

    /// Who holds the lock that a request waits for in the end; only if what it hangs under directly is a POSIX one
    /// (`locks_insert_global_blocked`).
    fn root_owner(&self, request: RequestId) -> Option<RangeOwner> {
        let owner = |blocker| match blocker {
            Blocker::Range(number) => {
                self.kernel.range_locks().find(|(_, lock)| lock.number == number).map(|(_, lock)| lock.owner)
            }
            Blocker::Request(other) => match self.requests[&other].wish {
                Wish::Range(wish) => Some(wish.owner),
                Wish::Flock { .. } => None,
            },
            Blocker::Flock(_) => None,
        };
        match owner(self.waiters.blocker(request)?) {
            Some(RangeOwner::Process(_)) => owner(self.waiters.root(request)?),
            _ => None,
        }
    }

    /// What a process that closes `doomed` has to do: with the files of one program that becomes another, or ends, the record locks go first
    /// and in order (filp_close), the rest once all is done, last in first out (task_work).
    pub(super) fn closing(kernel: &Kernel, pid: Pid, doomed: &[u32]) -> Vec<Deed> {
        let records = doomed.iter().filter_map(|&fd| Some(Deed::DropPosix(pid, kernel.inode_of(pid, fd).ok()?)));
        let rest = doomed.iter().rev().flat_map(|&fd| [Deed::Release(pid, fd), Deed::Close(pid, fd)]);
        records.chain(rest).collect()
    }
}
