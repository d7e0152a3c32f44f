//! Oracles: each watches the events of an execution for one promise.
//!
//! An oracle sees what happened, in order, and a read-only view of the machine. It knows neither engine nor schedule, nor whether the
//! machine is simulated.

pub mod avoidable_wait;
pub mod blocking;
pub mod builds;
mod deed;
pub mod descriptors;
pub mod exclusion;
mod glob;
mod held;
mod judges;
mod kin;
pub mod leak;
pub mod locks;
pub mod lost_update;
mod map;
pub mod order;
pub mod publish;
mod table;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::sim::{KernelView, Renamed};
use crate::world::{Event, Kinds};
pub use avoidable_wait::AvoidableWait;
pub use blocking::BlockingWhileHeld;
pub use builds::Builds;
pub use descriptors::{DescriptorBound, NoEmfile};
pub use exclusion::{PathExclusion, RegionExclusion};
pub use glob::Glob;
pub(crate) use held::HeldLocks;
pub(crate) use judges::{Judge, Judges};
pub use leak::Leak;
pub use locks::LockBound;
pub use lost_update::{LOST_UPDATE, LostUpdate};
pub use order::{LockOrder, Siblings};
pub use publish::Publish;

/// A promise, watched. Implement it for promises of your own and hand it to
/// [`Scenario::oracle`](crate::scenario::Scenario::oracle).
pub trait Oracle: Send {
    /// What it is called in reports.
    fn name(&self) -> &str;

    /// Which events it wants to see. Exploration treats operations whose events fall under the kinds of one oracle as dependent on each
    /// other, so ask for no more than is needed; and for all that what it looks at depends on, since others may be told in any order.
    fn kinds(&self) -> Kinds;

    /// What of its [`kinds`](Oracle::kinds) can matter to it as things stand: an event of another kind would neither be a violation nor
    /// change what it remembers, so it need not be told of it. Asked after [`begin`](Oracle::begin) and again after each event that it
    /// was told of. `None`, for ever: all of them.
    ///
    /// It saves the making of events, and nothing else: steps depend on each other by `kinds`.
    fn attends(&self) -> Option<Kinds> {
        None
    }

    /// Forgets the last execution. What is meant to be merged over executions stays.
    fn begin(&mut self);

    /// Judges an event.
    ///
    /// # Errors
    /// The violation; the execution ends there.
    fn on(&mut self, event: &Event, kernel: &KernelView<'_>) -> Result<(), Violation>;

    /// Judges the end of an execution in which every process has ended.
    ///
    /// # Errors
    /// The violation.
    fn finish(&mut self, kernel: &KernelView<'_>) -> Result<(), Violation> {
        let _ = kernel;
        Ok(())
    }

    /// Facts that this execution has shown and that count together with those of other executions, such as the edges of a graph that is
    /// merged over all of them. Exploration keeps the first schedule that showed each, and gives a violation that
    /// [follows from](Violation::follows_from) several a replay key for each.
    fn evidence(&self) -> Vec<Arc<str>> {
        Vec::new()
    }

    /// A hash of what it remembers of this execution, for the state cache: two executions that reach the same state of the machine and
    /// of every oracle have the same futures. `None` switches the cache off for the scenario. Numbers of processes, tasks, descriptions
    /// and regions may be in it; states in which others have them are different then, unless [`state_as`](Oracle::state_as) says otherwise.
    /// Not those of steps: it is another one on every way to a state.
    fn state(&self) -> Option<u64>;

    /// The same hash, with processes, tasks, files and paths called by `names` instead of by what events call them: what two executions
    /// agree in, in which [like](crate::Scenario::alike) processes, tasks or paths have changed places. `None`, unless it is
    /// overridden: no two states are taken for one on account of such a change then.
    fn state_as(&self, names: &Renamed<'_>) -> Option<u64> {
        let _ = names;
        None
    }

    /// How many events it has actually judged, over all executions since it was made: an oracle that a scenario names and that had
    /// nothing to judge is itself a failure. Nobody asks more of it than whether it is zero, so an oracle need not
    /// [attend](Oracle::attends) to what would only add to it.
    fn judged(&self) -> u64;
}

/// The hash of `value`, for [`Oracle::state`]. The same on every machine and in every run.
pub fn state_of(value: impl Hash) -> Option<u64> {
    let mut hasher = crate::sim::fingerprint::Fold::new(0);
    value.hash(&mut hasher);
    Some(hasher.finish())
}

/// Why nothing can move any more, by what the cycle of waits runs through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Deadlock {
    /// File locks and in-process mutexes only.
    LockCycle,
    /// Every worker thread is blocked, and whoever could unblock them needs one.
    WorkerStarvation,
    /// The same with the threads of the blocking pool.
    PoolExhaustion,
    /// Permits of a semaphore, held by those who wait for more or for somebody who does.
    Permits,
    /// A child process that is waited for.
    Child,
    /// A pipe that nobody will write to, or read from.
    Pipe,
    /// Nobody holds what is waited for: a notification that has been, or never comes.
    LostWakeUp,
}

/// The kinds of violations.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ViolationKind {
    /// Nothing can move and work is left.
    Deadlock(Deadlock),
    /// A lock was taken against the documented order, or classes of locks form a cycle.
    LockOrder,
    /// More descriptors than promised.
    DescriptorPeak,
    /// A call failed with EMFILE.
    DescriptorsExhausted,
    /// More locks than promised.
    LockPeak,
    /// Two at once where there may be one.
    Exclusion,
    /// A key was built twice at once, or published twice.
    DuplicateBuild,
    /// A published entry was incomplete, torn, or disappeared.
    Publish,
    /// A process ended by itself and left something behind.
    Leak,
    /// A wait for a lock that did nobody any good.
    AvoidableWait,
    /// A worker thread blocks in a call while a lock is held across an await.
    BlockingWhileHeld,
    /// A task panicked.
    Panic,
    /// A process failed that was not expected to.
    Failed,
    /// A task waits for something that is no World operation.
    ForeignAwait,
    /// A promise of the scenario, by its name.
    Promise(String),
    /// The scenario takes too many steps.
    Endless,
    /// An oracle that the scenario names never had anything to judge.
    Vacuous,
    /// Anything that somebody else's oracle finds, by a name of its choice.
    Other(&'static str),
}

impl ViolationKind {
    /// The word for it in machine-readable output.
    pub fn word(&self) -> &str {
        match self {
            ViolationKind::Deadlock(Deadlock::LockCycle) => "deadlock/lock-cycle",
            ViolationKind::Deadlock(Deadlock::WorkerStarvation) => "deadlock/worker-starvation",
            ViolationKind::Deadlock(Deadlock::PoolExhaustion) => "deadlock/pool-exhaustion",
            ViolationKind::Deadlock(Deadlock::Permits) => "deadlock/permits",
            ViolationKind::Deadlock(Deadlock::Child) => "deadlock/child",
            ViolationKind::Deadlock(Deadlock::Pipe) => "deadlock/pipe",
            ViolationKind::Deadlock(Deadlock::LostWakeUp) => "deadlock/lost-wake-up",
            ViolationKind::LockOrder => "lock-order",
            ViolationKind::DescriptorPeak => "descriptor-peak",
            ViolationKind::DescriptorsExhausted => "descriptors-exhausted",
            ViolationKind::LockPeak => "lock-peak",
            ViolationKind::Exclusion => "exclusion",
            ViolationKind::DuplicateBuild => "duplicate-build",
            ViolationKind::Publish => "publish",
            ViolationKind::Leak => "leak",
            ViolationKind::AvoidableWait => "avoidable-wait",
            ViolationKind::BlockingWhileHeld => "blocking-while-held",
            ViolationKind::Panic => "panic",
            ViolationKind::Failed => "failed",
            ViolationKind::ForeignAwait => "foreign-await",
            ViolationKind::Promise(name) => name,
            ViolationKind::Endless => "endless",
            ViolationKind::Vacuous => "vacuous",
            ViolationKind::Other(word) => word,
        }
    }
}

impl fmt::Display for ViolationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub kind: ViolationKind,
    /// One sentence.
    pub summary: String,
    /// The argument, if a sentence does not tell it all: the wait-for graph, the cycle, the two owners. Lines.
    pub argument: String,
    /// The [evidence](Oracle::evidence) of several executions that it follows from, if no single one need show it; that of the
    /// execution that made it complete comes first.
    pub follows_from: Vec<Arc<str>>,
}

impl Violation {
    /// A violation told in one sentence.
    pub fn new(kind: ViolationKind, summary: impl Into<String>) -> Self {
        Violation { kind, summary: summary.into(), argument: String::new(), follows_from: Vec::new() }
    }
    /// The same, with an argument.
    pub fn because(mut self, argument: impl Into<String>) -> Self {
        self.argument = argument.into();
        self
    }
}
