//! Who sleeps behind whom: the forest of fs/locks.c.
//!
//! A request that cannot be granted hangs under the lock in its way, or under a request that already hangs there and conflicts with it, so
//! exclusive waiters form a chain of which one release wakes one, and shared ones under the same lock wake together
//! (`__locks_insert_block`, `__locks_wake_up_blocks`). Nothing promises this order, and an exploration does not rely on it: there any
//! compatible waiter may win. It is what the kernel does, though, and the cases of level `impl` say so.

use std::collections::BTreeMap;

use crate::sim::kernel::Ofd;

/// A sleeping request.
pub type RequestId = u64;

/// What a request can hang under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Blocker {
    /// The record lock of that number.
    Range(u64),
    /// The flock(2) lock of a description.
    Flock(Ofd),
    /// A request that sleeps.
    Request(RequestId),
}

/// See the [module documentation](self).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Waiters {
    /// In order of arrival.
    under: BTreeMap<Blocker, Vec<RequestId>>,
}

impl Waiters {
    /// Puts `request` to sleep behind `lock`. Those who slept behind the request are woken: they may not conflict with what it waits for.
    #[must_use = "they have to try again"]
    pub fn insert(
        &mut self,
        lock: Blocker,
        request: RequestId,
        conflicts: impl Fn(RequestId) -> bool,
    ) -> Vec<RequestId> {
        let mut blocker = lock;
        let in_the_way = |waiters: &Self, blocker| {
            waiters.under.get(&blocker).and_then(|all| all.iter().copied().find(|&other| conflicts(other)))
        };
        while let Some(other) = in_the_way(self, blocker) {
            blocker = Blocker::Request(other);
        }
        self.under.entry(blocker).or_default().push(request);
        self.wake(Blocker::Request(request))
    }

    /// Wakes those who sleep directly behind a lock or request.
    #[must_use = "they have to try again"]
    pub fn wake(&mut self, blocker: Blocker) -> Vec<RequestId> {
        self.under.remove(&blocker).unwrap_or_default()
    }

    /// The request was granted as that lock: who slept behind the one sleeps behind the other (`locks_move_blocks`).
    pub fn granted(&mut self, request: RequestId, lock: Blocker) {
        let moved = self.wake(Blocker::Request(request));
        if !moved.is_empty() {
            self.under.entry(lock).or_default().extend(moved);
        }
    }

    /// The request is gone (`locks_delete_block`); those behind it are woken.
    #[must_use = "they have to try again"]
    pub fn remove(&mut self, request: RequestId) -> Vec<RequestId> {
        self.under.retain(|_, requests| {
            requests.retain(|&other| other != request);
            !requests.is_empty()
        });
        self.wake(Blocker::Request(request))
    }

    /// Whether somebody sleeps directly behind a lock or request.
    pub fn has(&self, blocker: Blocker) -> bool {
        self.under.contains_key(&blocker)
    }

    /// What a request hangs under, directly.
    pub fn blocker(&self, request: RequestId) -> Option<Blocker> {
        self.under.iter().find_map(|(&blocker, requests)| requests.contains(&request).then_some(blocker))
    }

    /// The lock that a request waits for in the end.
    pub fn root(&self, request: RequestId) -> Option<Blocker> {
        let mut blocker = self.blocker(request)?;
        while let Blocker::Request(other) = blocker {
            blocker = self.blocker(other)?;
        }
        Some(blocker)
    }
}
