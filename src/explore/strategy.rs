//! How to explore: which schedules, how many, from which seed.

use std::time::Duration;

/// How the next schedule is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Method {
    /// First exhaustively with the state cache; if that does not come to an end within half of the schedules, the other half
    /// [mixed](Method::Mixed).
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
    /// Depth first. With the cache, an execution is cut as soon as it reaches a state that has been explored.
    Dfs {
        /// Whether to use the state cache.
        cache: bool,
    },
}

impl Method {
    /// Every method, as the command line names them.
    pub const ALL: [Method; 9] = [
        Method::Portfolio,
        Method::Mixed,
        Method::Random,
        Method::Burst,
        Method::Urw,
        Method::Surw,
        Method::Pos,
        Method::Pct { depth: 3 },
        Method::Dfs { cache: true },
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
        }
    }

    /// The method of that name.
    pub fn from_name(name: &str) -> Option<Method> {
        Method::ALL.into_iter().find(|method| method.name() == name)
    }

    /// Whether it draws schedules, and so never knows whether it has tried them all.
    pub fn samples(self) -> bool {
        !matches!(self, Method::Portfolio | Method::Dfs { .. })
    }
}

/// When a large scenario has been explored enough: an execution with a thousand tasks has as many steps as a thousand small ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enough {
    /// At least that many executions,
    pub schedules: u64,
    /// and at least that many steps in all of them together.
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
        }
    }
}

impl Strategy {
    /// Every schedule, up to ten million executions.
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

    /// The same, but no longer than that.
    pub fn time_limit(self, limit: Duration) -> Self {
        Strategy { time_limit: Some(limit), ..self }
    }
}
