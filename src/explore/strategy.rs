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
}

impl Method {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Method::Portfolio => "portfolio",
            Method::Random => "random",
            Method::Pct { .. } => "pct",
            Method::Dfs { .. } => "dfs",
        }
    }

    /// The method of that name.
    pub fn from_name(name: &str) -> Option<Method> {
        [Method::Portfolio, Method::Random, Method::Pct { depth: 3 }, Method::Dfs { cache: true }]
            .into_iter()
            .find(|method| method.name() == name)
    }
}

/// How to explore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strategy {
    /// How the next schedule is found.
    pub method: Method,
    /// At most that many executions.
    pub schedules: u64,
    /// Where random numbers start.
    pub seed: u64,
    /// Whether nothing less than every schedule counts: if the limits cut the exploration short, the verdict is inconclusive.
    pub exhaustive: bool,
    /// Stop after that long, if at all; what is cut short by it is inconclusive.
    pub time_limit: Option<Duration>,
}

impl Default for Strategy {
    /// The portfolio with 2,000 schedules.
    fn default() -> Self {
        Strategy { method: Method::Portfolio, schedules: 2_000, seed: 0, exhaustive: false, time_limit: None }
    }
}

impl Strategy {
    /// Every schedule, up to ten million executions.
    pub fn exhaustive() -> Self {
        Strategy { method: Method::Dfs { cache: true }, schedules: 10_000_000, exhaustive: true, ..Strategy::default() }
    }
    /// That many random schedules.
    pub fn random(schedules: u64) -> Self {
        Strategy { method: Method::Random, schedules, ..Strategy::default() }
    }
    /// That many schedules with priorities that change at `depth` - 1 steps.
    pub fn pct(depth: u32, schedules: u64) -> Self {
        Strategy { method: Method::Pct { depth }, schedules, ..Strategy::default() }
    }
    /// Depth first with the state cache, at most that many executions.
    pub fn dfs(schedules: u64) -> Self {
        Strategy { method: Method::Dfs { cache: true }, schedules, ..Strategy::default() }
    }
    /// The same, with at most that many executions.
    pub fn schedules(self, schedules: u64) -> Self {
        Strategy { schedules, ..self }
    }
    /// The same, from that seed.
    pub fn seed(self, seed: u64) -> Self {
        Strategy { seed, ..self }
    }
    /// The same, but no longer than that.
    pub fn time_limit(self, limit: Duration) -> Self {
        Strategy { time_limit: Some(limit), ..self }
    }
}
