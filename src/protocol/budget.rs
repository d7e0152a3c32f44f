//! The descriptor budget: how much may be open at once, decided before anything is opened.
//!
//! uv takes its shard locks first and its build permits later, so N editables hold N locks, N temporary files and the descriptors of
//! their children, and 145 editables break `ulimit -n 256` (uv 17512, 11296). The other way round the peak does not depend on N:
//! **the permit comes before the lock**. It is not left to good will: locks are asked for through a [`Task`](super::Task), and a
//! task *is* a permit.
//!
//! A permit weighs as many descriptors as its task may ever have open at once. It is taken whole, once, while the task holds
//! nothing: asking for a second one while holding the first is how limiting concurrency "earlier" deadlocks as soon as a build needs
//! another build. Nested work borrows its parent's (`&mut Task`), and since it is then nested in time as well, the weight does not
//! grow.
//!
//! The weight also pays for the one thread on which a task may wait for a lock of another process. A separate, smaller number of such
//! threads would be one more thing to wait for while holding locks: two processes whose waiters for shards occupy all of them, while
//! the holders of these shards want one for a source tree, wait for each other for ever.

use super::{Error, Result};
use crate::world::{World, timeout};
use std::sync::Arc;
use std::time::Duration;

/// An open lock file, or the directory lock of a temporary directory.
pub const LOCK: u32 = 1;
/// A file that is being read, written or synced, or a directory that is being listed; one at a time.
pub const FILE: u32 = 1;
/// A child with captured output: a pidfd and two pipes (contract P3 of [`Children`](crate::world::Children)).
pub const CHILD: u32 = 3;
/// What a child needs on top while it is being started: seven in all (measured: its standard input, both ends of two pipes, and the pipe
/// through which the error of an exec comes back), of which its own weight pays for three. One child at a time is started in a
/// process, so this is part of the [`RESERVE`] and not of the weight of each.
pub const SPAWN: u32 = 7 - CHILD;

/// One build: the locks of its shard, its source tree and its temporary directory, a file, and a hook.
pub const BUILD: u32 = 3 * LOCK + FILE + CHILD;

/// What is left out of the budget: standard input, output and error (3), the async runtime (8: epoll, eventfd and signal pipe, with
/// room for a second instance), the locks of the command itself (3: cache root, project, environment) with a file (1), the start of a
/// child ([`SPAWN`]), and five for what libraries open without asking.
pub const RESERVE: u32 = 3 + 8 + 3 + FILE + SPAWN + 5;

/// More than any process needs, and well within what semaphores count: stands for "unlimited".
const CAPACITY_MAX: u32 = 1 << 16;

/// The descriptors that the tasks of this process may use.
pub struct Budget<W: World> {
    semaphore: W::Semaphore,
    capacity: u32,
    limit: u32,
    reserve: u32,
}

impl<W: World> Budget<W> {
    /// All that the limit on open files leaves beside `reserve`.
    ///
    /// # Errors
    /// [`Error::TooFewDescriptors`] if that is not enough for a single build.
    pub fn new(world: &W, reserve: u32) -> Result<Self> {
        let limit = world.descriptor_limit();
        let capacity = limit.saturating_sub(reserve).min(CAPACITY_MAX);
        let budget = Budget { semaphore: world.semaphore("descriptor budget", capacity), capacity, limit, reserve };
        budget.check(BUILD)?;
        Ok(budget)
    }

    /// How many permits of that weight fit at once.
    pub fn fits(&self, weight: u32) -> u32 {
        self.capacity / weight.max(1)
    }

    /// The weight of which so many fit at once, and no more.
    pub(super) fn share(&self, permits: u32) -> u32 {
        self.capacity / permits.max(1)
    }

    /// Waits for a permit, first in, first out. The caller must hold neither a permit nor a lock that the holder of a permit may be
    /// waiting for.
    ///
    /// The wait has the limit of a lock's: what it may be waiting for is one, when all permits are with waits that were abandoned.
    ///
    /// # Errors
    /// [`Error::TooFewDescriptors`] if the whole budget is less than that; [`Error::PermitTimeout`].
    pub(super) async fn permit(&self, world: &W, weight: u32, limit: Option<Duration>) -> Result<Permit<W>> {
        self.check(weight)?;
        let permit = timeout(world, limit, world.acquire(&self.semaphore, weight)).await;
        let waited = limit.unwrap_or_default();
        Ok(Permit(Some(Arc::new(permit.map_err(|_| Error::PermitTimeout { waited })?))))
    }

    fn check(&self, weight: u32) -> Result<()> {
        if weight <= self.capacity {
            return Ok(());
        }
        Err(Error::TooFewDescriptors { limit: self.limit, minimum: self.reserve.saturating_add(weight) })
    }
}

/// The right to have that many descriptors open. Clones are the same permit, which is given back with the last of them: a task keeps
/// one, and so does everything that it has opened and that may outlive it.
pub(super) struct Permit<W: World>(Option<Arc<W::Permit>>);

impl<W: World> Permit<W> {
    /// Paid for by the [`RESERVE`].
    pub(super) fn reserved() -> Self {
        Permit(None)
    }
}

impl<W: World> Clone for Permit<W> {
    fn clone(&self) -> Self {
        Permit(self.0.clone())
    }
}
