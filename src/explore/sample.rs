//! Sampling: random, and PCT.

use super::rng::Rng;
use crate::sim::{Chooser, State};

/// One of them.
pub(crate) enum Sampler {
    Random(Random),
    Pct(Pct),
}

impl Chooser for Sampler {
    fn pick(&mut self, state: &State) -> Option<usize> {
        match self {
            Sampler::Random(random) => random.pick(state),
            Sampler::Pct(pct) => pct.pick(state),
        }
    }
    fn value(&mut self, of: u32) -> u32 {
        match self {
            Sampler::Random(random) => random.value(of),
            Sampler::Pct(pct) => pct.value(of),
        }
    }
}

/// Every possible step with the same probability.
pub(crate) struct Random {
    steps: Rng,
    values: Rng,
}

impl Random {
    /// The schedule number `n` of a seed.
    pub(crate) fn new(seed: u64, n: u64) -> Self {
        let own = Rng::stream(seed ^ n.wrapping_mul(0xd134_2543_de82_ef95), "execution").next();
        Random { steps: Rng::stream(own, "steps"), values: Rng::stream(own, "values") }
    }
}

impl Chooser for Random {
    fn pick(&mut self, state: &State) -> Option<usize> {
        Some(self.steps.below(state.choice_count()))
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
/// Faults are agents of their own here: a kill with a high priority strikes at once, one with a low priority never, and the steps at
/// which priorities change give it every step in between.
pub(crate) struct Pct {
    rng: Rng,
    priorities: Vec<(u64, u64)>,
    changes: Vec<u64>,
    step: u64,
    lowest: u64,
}

impl Pct {
    /// The schedule number `n` of a seed, for executions of about `length` steps.
    pub(crate) fn new(seed: u64, n: u64, depth: u32, length: u64) -> Self {
        let own = Rng::stream(seed ^ n.wrapping_mul(0xd134_2543_de82_ef95), "pct").next();
        let mut rng = Rng::stream(own, "steps");
        let mut changes: Vec<u64> =
            (1..depth).map(|_| rng.below(usize::try_from(length.max(1)).unwrap_or(usize::MAX)) as u64).collect();
        changes.sort_unstable();
        Pct { rng, priorities: Vec::new(), changes, step: 0, lowest: 1 << 62 }
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
        let candidates = (0..state.choice_count()).map(|at| (at, state.agent(state.choice(at))));
        let ranked = candidates.map(|(at, agent)| (self.priority(agent), std::cmp::Reverse(at), agent));
        let (_, std::cmp::Reverse(at), agent) = ranked.max().expect("there is something to choose");
        (at, agent)
    }
}

impl Chooser for Pct {
    fn pick(&mut self, state: &State) -> Option<usize> {
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
