//! How many descriptors and locks a process had at once.
//!
//! Why it counts, instead of reading /proc/self/fd: a listing is taken at some instant, and the peak is at another. A process that
//! dies at `ulimit -n 256` was fine in every listing before. The gauge sees each number when the kernel gives it out; as the kernel
//! gives out the lowest free one, the highest number ever seen, plus one, is the limit under which the same run would just have fitted.
//!
//! The scar: a maximum kept by "load, compare, store" loses the higher of two simultaneous peaks, seldom enough that no stress test
//! shows it. So the counters are behind [`Counter`], which the tests also implement on loom's atomics, where every interleaving that
//! the C11 memory model allows is tried.

use std::array;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// An atomic number as the gauge needs it.
///
/// Each method must be one atomic read-modify-write. Nothing else is published through a counter, so relaxed order is enough: the
/// modifications of one atomic are totally ordered in any case, and whoever reads a final value has joined the threads before.
pub trait Counter: Send + Sync {
    /// A counter with that value.
    fn new(value: u32) -> Self;
    /// Its value.
    fn load(&self) -> u32;
    /// Adds one; the value *before*.
    fn increment(&self) -> u32;
    /// Subtracts one.
    fn decrement(&self);
    /// Makes it at least that.
    fn raise(&self, least: u32);
}

impl Counter for AtomicU32 {
    fn new(value: u32) -> Self {
        AtomicU32::new(value)
    }
    fn load(&self) -> u32 {
        self.load(Relaxed)
    }
    fn increment(&self) -> u32 {
        self.fetch_add(1, Relaxed)
    }
    fn decrement(&self) {
        self.fetch_sub(1, Relaxed);
    }
    fn raise(&self, least: u32) {
        self.fetch_max(least, Relaxed);
    }
}

/// What is counted separately.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Descriptors of files.
    File,
    /// Descriptors of directories.
    Dir,
    /// Ends of pipes that the protocol made itself.
    Pipe,
    /// What the process holds for its children: a pidfd each, and the pipes of captured output.
    Child,
    /// Not descriptors but advisory locks held; counted by open file description, as the kernel does.
    Lock,
}

impl Class {
    const COUNT: usize = Class::Lock as usize + 1;
}

struct Level<C> {
    now: C,
    peak: C,
}

/// Counts what is open now, and remembers the peaks. All methods may be called from any thread at any time.
///
/// A peak is exact if entering is reported after the system call that gives something out, and leaving before the one that gives it
/// back: the interval counted then lies inside the real one, and a lock that goes from one holder to the next never counts twice.
pub struct DescriptorGauge<C = AtomicU32> {
    numbers: C,
    levels: [Level<C>; Class::COUNT],
}

impl<C: Counter> Default for DescriptorGauge<C> {
    fn default() -> Self {
        DescriptorGauge { numbers: C::new(0), levels: array::from_fn(|_| Level { now: C::new(0), peak: C::new(0) }) }
    }
}

impl<C: Counter> DescriptorGauge<C> {
    /// The kernel gave out this descriptor number.
    pub fn saw(&self, number: u32) {
        self.numbers.raise(number + 1);
    }

    /// One more of that class.
    pub fn enter(&self, class: Class) {
        let level = &self.levels[class as usize];
        level.peak.raise(level.now.increment() + 1);
    }

    /// One less of that class.
    pub fn leave(&self, class: Class) {
        self.levels[class as usize].now.decrement();
    }

    /// The highest descriptor number seen, plus one; 0 if none.
    pub fn descriptors_peak(&self) -> u32 {
        self.numbers.load()
    }

    /// How many of that class there are now.
    pub fn now(&self, class: Class) -> u32 {
        self.levels[class as usize].now.load()
    }

    /// How many of that class there were at once, at most.
    pub fn peak(&self, class: Class) -> u32 {
        self.levels[class as usize].peak.load()
    }
}
