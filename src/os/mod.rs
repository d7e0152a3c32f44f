//! The real world: every [`World`](crate::world::World) operation is the system call, or the tokio primitive, that it is named after.
//!
//! This is the only place in the library that touches the operating system; everywhere else `clippy.toml` forbids it and names the
//! World operation to use. What is here must add nothing of its own, because what it adds is not in the simulation: no retry (but
//! for EINTR), no cache of handles, no thread that nobody asked for.
//!
//! # Which thread does what
//!
//! * All of [`Files`](crate::world::Files) and [`Locks`](crate::world::Locks), and starting a child, are direct system calls on the
//!   calling thread. `tokio::fs` is not used: it would move each call to the blocking pool, and with it each waiting flock, which is
//!   how an executor with one waiter too many stops for good. Whoever wants the pool says so with `on_pool`.
//! * `spawn` is a task on the runtime's workers; `on_pool` is one of its blocking threads; `on_thread` is a thread made for it.
//! * Semaphores, mutexes and notifications are tokio's; `thread_mutex` is parking_lot's.
//! * Waiting for a child, and reading what it says, is done by the runtime's reactor and takes no thread.
//!
//! # What is not promised
//!
//! F1 says EMFILE comes before the path is looked at, L3 that a refused conversion has lost the lock: Linux keeps both on local
//! filesystems; where a kernel keeps the lock (macOS, FreeBSD, NFS version 4) OsWorld gives it up itself. Paths, names and link texts
//! that are not UTF-8 are refused with EINVAL, never altered. Windows is not supported.
//!
//! T1 does not say that a free worker takes every task that could move. tokio keeps the task that a worker spawned or woke last in a
//! slot of that worker's own, from which no other steals (tokio issue 4941): if the worker then blocks in a synchronous operation,
//! that task waits with it, however many others are idle. And if it was the worker that watched the clock, timers have been seen to
//! stop for everybody, deadlines included. The simulation lets an idle worker have the task. So a wait of unknown length belongs on
//! the pool or on a thread even where there are workers to spare.
//!
//! # Protocol code that is spawned
//!
//! The compiler proves that the future of generic code is `Send` from what the traits promise. For a future that names OsWorld itself
//! it looks inside, and in places gives up ("implementation of `Send` is not general enough"). Let the
//! outermost function be generic as well, `fn main<W: World>(world: W) -> impl Future<Output = …> + Send`, and pass that to
//! [`OsWorld::run`].

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the one place that may: everything else goes through the World"
)]

mod children;
mod errno;
mod files;
mod gauge;
mod locks;
#[cfg(feature = "cli")]
pub mod puppets;
mod sync;
mod tasks;
mod time;

pub use children::{OsChild, SPAWN_DESCRIPTORS};
pub use files::OsFile;
pub use gauge::{Class, Counter, DescriptorGauge};
pub use sync::OsSemaphore;
pub use tasks::OsJoining;
pub use time::OsRegion;

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

/// The real world, as seen by this process; see the [module documentation](self). Clones are the same world.
///
/// Its asynchronous operations need a tokio runtime with time and I/O enabled: that of [`OsWorld::run`], or the caller's own.
#[derive(Clone)]
pub struct OsWorld {
    machine: Arc<Machine>,
}

/// What the clones of a world share.
struct Machine {
    gauge: DescriptorGauge,
    chance: time::Chance,
}

/// The most that a process had at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Peaks {
    /// The highest descriptor number that was given out for a World operation, plus one: the smallest RLIMIT_NOFILE under which all
    /// of them would have succeeded. The numbers that starting a child needs ([`SPAWN_DESCRIPTORS`]) count.
    pub descriptors: u32,
    /// Advisory locks held by descriptions that this process opened. One that lives on in a child only is not counted.
    pub locks: u32,
}

impl OsWorld {
    /// A world with a seed for [`choose`](crate::world::Clock::choose) from the operating system.
    pub fn new() -> Self {
        // The keys of a RandomState are the portable way to the system's random numbers.
        Self::seeded(RandomState::new().hash_one(0))
    }

    /// A world that makes the same sequence of choices for the same seed. (Which task makes which of them is up to the scheduler.)
    pub fn seeded(seed: u64) -> Self {
        time::start();
        OsWorld { machine: Arc::new(Machine { gauge: DescriptorGauge::default(), chance: time::Chance::new(seed) }) }
    }

    /// The peaks so far.
    pub fn peaks(&self) -> Peaks {
        let gauge = self.gauge();
        Peaks { descriptors: gauge.descriptors_peak(), locks: gauge.peak(Class::Lock) }
    }

    /// What is open now, by class, and what was.
    pub fn gauge(&self) -> &DescriptorGauge {
        &self.machine.gauge
    }
}

impl Default for OsWorld {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for OsWorld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OsWorld").field("peaks", &self.peaks()).finish_non_exhaustive()
    }
}
