//! How to explore: which schedules, how many, from which seed.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use super::Part;
use crate::scenario::Scenario;
use crate::sim::fingerprint::Fold;

/// How the next schedule is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Method {
    /// First exhaustively with the state cache; if that does not come to an end within half of the schedules, the other half
    /// [mixed](Method::Mixed). What is too large to be searched is sampled with all of them.
    Portfolio,
    /// All that follow, up to [`Pct`](Method::Pct), in turn: no single one is good at everything, and this is never much worse than the best.
    Mixed,
    /// Every step is drawn with equal probability from those that are possible.
    Random,
    /// As random, but whoever went last, a task or a process, goes on with a high probability, drawn for each schedule.
    Burst,
    /// Uniform random walk (Zhao et al., ASPLOS 2025): everybody's chance is the number of steps that it has left, as the first executions
    /// have shown it, so that every interleaving is equally likely.
    Urw,
    /// Selectively uniform random walk (same source): a resource is drawn for each schedule, and the order of what touches it is uniform
    /// among all such orders, however much else there is to do.
    Surw,
    /// Partial order sampling (Yuan, Yang, Gu: CAV 2018): a random priority for each *operation*, drawn again for those that race with what
    /// has just been done.
    Pos,
    /// Probabilistic concurrency testing (Burckhardt et al., ASPLOS 2010): random priorities, changed at `depth` - 1 random steps.
    Pct {
        /// The number of ordering constraints a bug may need; 2 or 3 for most.
        depth: u32,
    },
    /// Depth first. With the cache, an execution is cut as soon as it reaches a state that has been explored, and of steps that do not depend
    /// on each other one order is tried.
    Dfs {
        /// Whether to use the state cache.
        cache: bool,
    },
    /// Iterative bounding: every schedule without preemptions and faults, then those with one, and so on, cut as with the state cache. The
    /// first violation is one with the fewest, and what was tried is complete up to a [bound](super::Exploration::bound).
    Bounded,
    /// Dynamic partial-order reduction: of all schedules that differ only in the order of independent steps, one. Covers all there are.
    Dpor,
}

impl Method {
    /// Every method, as the command line names them.
    pub const ALL: [Method; 11] = [
        Method::Portfolio,
        Method::Mixed,
        Method::Random,
        Method::Burst,
        Method::Urw,
        Method::Surw,
        Method::Pos,
        Method::Pct { depth: 3 },
        Method::Dfs { cache: true },
        Method::Bounded,
        Method::Dpor,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Method::Portfolio => "portfolio",
            Method::Mixed => "mixed",
            Method::Random => "random",
            Method::Burst => "burst",
            Method::Urw => "urw",
            Method::Surw => "surw",
            Method::Pos => "pos",
            Method::Pct { .. } => "pct",
            Method::Dfs { .. } => "dfs",
            Method::Bounded => "bounded",
            Method::Dpor => "dpor",
        }
    }

    /// The method of that name.
    pub fn from_name(name: &str) -> Option<Method> {
        Method::ALL.into_iter().find(|method| method.name() == name)
    }

    /// Whether it draws schedules, and so never knows whether it has tried them all.
    pub fn samples(self) -> bool {
        !matches!(self, Method::Portfolio | Method::Dfs { .. } | Method::Bounded | Method::Dpor)
    }
}

/// When a large scenario has been explored enough: an execution with a thousand tasks has as many steps as a thousand small ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enough {
    /// At least that many executions,
    pub schedules: u64,
    /// and at least that many steps in all of them together; when sampling, if all are as long as the first.
    pub steps: u64,
}

/// How to explore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strategy {
    /// How the next schedule is found.
    pub method: Method,
    /// At most that many executions.
    pub schedules: u64,
    /// Fewer will do if each is long, unless only exhaustive counts.
    pub enough: Option<Enough>,
    /// Where random numbers start.
    pub seed: u64,
    /// Whether nothing less than every schedule counts: if the limits cut the exploration short, the verdict is inconclusive.
    pub exhaustive: bool,
    /// How much may be spent on making the schedule of a violation smaller; nothing: it is reported as it was found.
    pub shorten: Enough,
    /// Stop after that long, if at all; what is cut short by it is inconclusive.
    pub time_limit: Option<Duration>,
    /// How many bytes a state cache may take, if that is limited. A search that would need more is inconclusive; a portfolio goes over to
    /// sampling.
    pub memory: Option<u64>,
    /// Which part of the exploration to do; all of it unless set. Of a search that goes over the limits the part alone knows: `schedules`
    /// and `memory` are those of each part.
    pub part: Part,
    /// Whether to count which pairs of operations met at a resource: see [`Coverage`](super::Coverage).
    pub coverage: bool,
}

impl Default for Strategy {
    /// The portfolio with 2,000 schedules, or 200 if these have three million steps.
    fn default() -> Self {
        Strategy {
            method: Method::Portfolio,
            schedules: 2_000,
            enough: Some(Enough { schedules: 200, steps: 3_000_000 }),
            seed: 0,
            exhaustive: false,
            shorten: Enough { schedules: 8_000, steps: 1_000_000 },
            time_limit: None,
            memory: None,
            part: Part::WHOLE,
            coverage: false,
        }
    }
}

impl Strategy {
    /// Every schedule, up to ten million executions: the first few with few preemptions and faults, then depth first.
    pub fn exhaustive() -> Self {
        let method = Method::Dfs { cache: true };
        Strategy { method, schedules: 10_000_000, enough: None, exhaustive: true, ..Strategy::default() }
    }
    /// That many random schedules.
    pub fn random(schedules: u64) -> Self {
        Strategy { method: Method::Random, schedules, enough: None, ..Strategy::default() }
    }
    /// That many schedules with priorities that change at `depth` - 1 steps.
    pub fn pct(depth: u32, schedules: u64) -> Self {
        Strategy { method: Method::Pct { depth }, schedules, enough: None, ..Strategy::default() }
    }
    /// Depth first with the state cache, at most that many executions.
    pub fn dfs(schedules: u64) -> Self {
        Strategy { method: Method::Dfs { cache: true }, schedules, enough: None, ..Strategy::default() }
    }
    /// Those with the fewest preemptions and faults first, at most that many executions.
    pub fn bounded(schedules: u64) -> Self {
        Strategy { method: Method::Bounded, schedules, enough: None, ..Strategy::default() }
    }
    /// One of all schedules that differ only in the order of independent steps, at most that many executions.
    pub fn dpor(schedules: u64) -> Self {
        Strategy { method: Method::Dpor, schedules, enough: None, ..Strategy::default() }
    }
    /// The same, with that many executions, however long they are.
    pub fn schedules(self, schedules: u64) -> Self {
        Strategy { schedules, enough: None, ..self }
    }
    /// The same, and the schedule of a violation is reported as it was found.
    pub fn unshortened(self) -> Self {
        Strategy { shorten: Enough { schedules: 0, steps: 0 }, ..self }
    }
    /// The same, from that seed.
    pub fn seed(self, seed: u64) -> Self {
        Strategy { seed, ..self }
    }
    /// Whether that much is all that was asked for.
    pub(crate) fn is_done(&self, executions: u64, steps: u64) -> bool {
        let enough = self.enough.is_some_and(|enough| executions >= enough.schedules && steps >= enough.steps);
        enough || executions >= self.schedules
    }

    /// Half of it.
    pub(crate) fn half(&self) -> Self {
        let half = |enough: Enough| Enough { schedules: enough.schedules.div_ceil(2), steps: enough.steps / 2 };
        Strategy { schedules: self.schedules.div_ceil(2), enough: self.enough.map(half), ..self.clone() }
    }

    /// The rest of it.
    pub(crate) fn without(&self, some: &Strategy) -> Self {
        let rest = |(all, some): (Enough, Enough)| Enough {
            schedules: all.schedules - some.schedules,
            steps: all.steps - some.steps,
        };
        let enough = self.enough.zip(some.enough).map(rest);
        Strategy { schedules: self.schedules - some.schedules, enough, ..self.clone() }
    }

    /// The same, but no more executions than that.
    pub(crate) fn schedules_max(self, most: u64) -> Self {
        Strategy { schedules: self.schedules.min(most), ..self }
    }

    /// How many schedules are sampled if the first has so many steps. That is settled by the first, and not by adding up all of them, so
    /// that parts know it of each other.
    pub(crate) fn sampled(&self, pilot: u64) -> u64 {
        let enough = self.enough.map(|enough| enough.schedules.max(enough.steps.div_ceil(pilot)));
        enough.map_or(self.schedules, |enough| enough.min(self.schedules))
    }

    /// What has to be the same for parts to be of one exploration.
    pub(crate) fn asked(&self, scenario: &Scenario) -> u64 {
        let Strategy { method, schedules, enough, seed, exhaustive, coverage, .. } = self;
        let asked = format!("{method:?} {schedules} {enough:?} {seed} {exhaustive} {coverage}");
        let mut hash = Fold::new(0);
        (asked, scenario.name(), scenario.case_name()).hash(&mut hash);
        hash.finish()
    }

    /// The same, but only that part of it: [`Scenario::join`] joins what comes out of all parts.
    pub fn part(self, part: Part) -> Self {
        Strategy { part, ..self }
    }

    /// The same, with the part that the environment asks for: `FLOCKSTEP_SHARD=2/4` is the second of four. Without it, all.
    ///
    /// # Panics
    /// If the variable is set to what is no part.
    pub fn part_from_env(self) -> Self {
        let part = std::env::var_os("FLOCKSTEP_SHARD").map(|text| {
            let part = text.to_string_lossy().parse();
            part.unwrap_or_else(|error| panic!("FLOCKSTEP_SHARD: {error}"))
        });
        self.part(part.unwrap_or_default())
    }

    /// The same, with a state cache of at most that many bytes.
    pub fn memory(self, bytes: u64) -> Self {
        Strategy { memory: Some(bytes), ..self }
    }

    /// The same, and counts which pairs of operations met.
    pub fn with_coverage(self) -> Self {
        Strategy { coverage: true, ..self }
    }

    /// The same, but no longer than that.
    pub fn time_limit(self, limit: Duration) -> Self {
        Strategy { time_limit: Some(limit), ..self }
    }
}
