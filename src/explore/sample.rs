//! Sampling: random, and PCT.

use super::replay::Replay;
use super::rng::Rng;
use crate::sim::{Chooser, State};

/// One of them.
pub(crate) enum Sampler {
    /// The first schedule: without faults and from task to task.
    Pilot(Replay<'static>),
    Random(Random),
    Pct(Pct),
}

impl Chooser for Sampler {
    #[inline(always)]
    fn pick(&mut self, state: &State) -> Option<usize> {
        match self {
            Sampler::Pilot(pilot) => pilot.pick(state),
            Sampler::Random(random) => random.pick(state),
            Sampler::Pct(pct) => pct.pick(state),
        }
    }
    fn value(&mut self, of: u32) -> u32 {
        match self {
            Sampler::Pilot(pilot) => pilot.value(of),
            Sampler::Random(random) => random.value(of),
            Sampler::Pct(pct) => pct.value(of),
        }
    }
}

/// What a sampler knows of an execution before it begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Horizon {
    /// About how many steps it will have.
    pub(crate) steps: u64,
    /// How many faults may strike in it.
    pub(crate) faults: u32,
}

/// At which steps faults strike. Drawn over the whole length of the execution: as one choice among the others a kill would strike within
/// the first few steps of almost every schedule, and the end of the program would never be seen dying.
struct Strikes {
    rng: Rng,
    at: Vec<u64>,
    step: u64,
}

impl Strikes {
    fn new(mut rng: Rng, horizon: Horizon) -> Self {
        let length = usize::try_from(horizon.steps).unwrap_or(usize::MAX).max(1);
        // One in four does not strike at all.
        let strike = |_| if rng.below(4) > 0 { Some(rng.below(length) as u64) } else { None };
        let mut at: Vec<u64> = (0..horizon.faults).filter_map(strike).collect();
        at.sort_unstable_by(|a, b| b.cmp(a));
        Strikes { rng, at, step: 0 }
    }

    /// The position of the fault that strikes now, if one does.
    #[inline(always)]
    fn due(&mut self, state: &State) -> Option<usize> {
        let now = self.step;
        self.step += 1;
        let faults = state.fault_count();
        if faults == 0 || self.at.last().is_none_or(|&at| at > now) {
            return None;
        }
        self.at.pop();
        Some(state.choice_count() - faults + self.rng.below(faults))
    }
}

/// Every possible step with the same probability.
pub(crate) struct Random {
    steps: Rng,
    values: Rng,
    strikes: Strikes,
}

impl Random {
    /// The schedule number `n` of a seed.
    pub(crate) fn new(seed: u64, n: u64, horizon: Horizon) -> Self {
        let own = Rng::stream(seed ^ n.wrapping_mul(0xd134_2543_de82_ef95), "execution").next();
        let strikes = Strikes::new(Rng::stream(own, "strikes"), horizon);
        Random { steps: Rng::stream(own, "steps"), values: Rng::stream(own, "values"), strikes }
    }
}

impl Chooser for Random {
    #[inline(always)]
    fn pick(&mut self, state: &State) -> Option<usize> {
        let strike = self.strikes.due(state);
        Some(strike.unwrap_or_else(|| self.steps.below(state.choice_count() - state.fault_count())))
    }
    fn value(&mut self, of: u32) -> u32 {
        self.values.below(of as usize) as u32
    }
}

/// Probabilistic concurrency testing (Burckhardt, Kothari, Musuvathi, Nagarakatte: A randomized scheduler with probabilistic
/// guarantees of finding bugs, ASPLOS 2010). Whoever has the highest priority goes on; at `depth` - 1 random steps, whoever
/// is about to go on gets the lowest instead. A bug that needs `depth` ordering constraints among n agents and k steps is found
/// with probability at least 1 / (n k^(depth - 1)) a schedule.
///
/// Whoever sleeps or yields gets the lowest priority as well: a task that polls would otherwise poll for ever, and nobody
/// else go on.
///
/// Faults have no priority: they strike at steps of their own, as in [`Random`].
pub(crate) struct Pct {
    strikes: Strikes,
    rng: Rng,
    priorities: Vec<(u64, u64)>,
    changes: Vec<u64>,
    step: u64,
    lowest: u64,
}

impl Pct {
    /// The schedule number `n` of a seed.
    pub(crate) fn new(seed: u64, n: u64, depth: u32, horizon: Horizon) -> Self {
        let own = Rng::stream(seed ^ n.wrapping_mul(0xd134_2543_de82_ef95), "pct").next();
        let mut rng = Rng::stream(own, "steps");
        let mut changes: Vec<u64> =
            (1..depth).map(|_| rng.below(usize::try_from(horizon.steps.max(1)).unwrap_or(usize::MAX)) as u64).collect();
        changes.sort_unstable();
        let strikes = Strikes::new(Rng::stream(own, "strikes"), horizon);
        Pct { strikes, rng, priorities: Vec::new(), changes, step: 0, lowest: 1 << 62 }
    }

    fn priority(&mut self, agent: u64) -> u64 {
        match self.priorities.binary_search_by_key(&agent, |&(agent, _)| agent) {
            Ok(at) => self.priorities[at].1,
            Err(at) => {
                let priority = self.rng.next() | (1 << 63); // above every changed one
                self.priorities.insert(at, (agent, priority));
                priority
            }
        }
    }

    fn lower(&mut self, agent: u64) {
        self.lowest -= 1;
        let place = self.priorities.binary_search_by_key(&agent, |&(agent, _)| agent).expect("ranked before");
        self.priorities[place].1 = self.lowest;
    }

    fn highest(&mut self, state: &State) -> (usize, u64) {
        let candidates = (0..state.choice_count() - state.fault_count()).map(|at| (at, state.agent(state.choice(at))));
        let ranked = candidates.map(|(at, agent)| (self.priority(agent), std::cmp::Reverse(at), agent));
        let (_, std::cmp::Reverse(at), agent) = ranked.max().expect("there is something to choose");
        (at, agent)
    }
}

impl Chooser for Pct {
    fn pick(&mut self, state: &State) -> Option<usize> {
        if let Some(strike) = self.strikes.due(state) {
            return Some(strike);
        }
        let (mut at, agent) = self.highest(state);
        while self.changes.first() == Some(&self.step) {
            self.changes.remove(0);
            self.lower(agent);
            at = self.highest(state).0;
        }
        self.step += 1;
        let choice = state.choice(at);
        if state.is_patience(choice) {
            self.lower(state.agent(choice));
        }
        Some(at)
    }
    fn value(&mut self, of: u32) -> u32 {
        self.rng.below(of as usize) as u32
    }
}
