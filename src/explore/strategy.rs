//! How to explore: which schedules, how many, from which seed.

use std::time::Duration;

/// How the next schedule is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Method {
    /// First exhaustively with the state cache; if that does not come to an end within half of the schedules, the other half by
    /// random and PCT sampling in turn.
    Portfolio,
    /// Every step is drawn with equal probability from those that are possible.
    Random,
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
    /// Dynamic partial-order reduction: of all schedules that differ only in the order of independent steps, one. Covers all there are.
    Dpor,
}

impl Method {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Method::Portfolio => "portfolio",
            Method::Random => "random",
            Method::Pct { .. } => "pct",
            Method::Dfs { .. } => "dfs",
            Method::Dpor => "dpor",
        }
    }

    /// The method of that name.
    pub fn from_name(name: &str) -> Option<Method> {
        [Method::Portfolio, Method::Random, Method::Pct { depth: 3 }, Method::Dfs { cache: true }, Method::Dpor]
            .into_iter()
            .find(|method| method.name() == name)
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
    /// One of all schedules that differ only in the order of independent steps, at most that many executions.
    pub fn dpor(schedules: u64) -> Self {
        Strategy { method: Method::Dpor, schedules, enough: None, ..Strategy::default() }
    }
    /// The same, with that many executions, however long they are.
    pub fn schedules(self, schedules: u64) -> Self {
        Strategy { schedules, enough: None, ..self }
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
