//! Probabilistic concurrency testing (Burckhardt, Kothari, Musuvathi, Nagarakatte: A randomized scheduler with probabilistic guarantees of
//! finding bugs, ASPLOS 2010).

use super::super::rng::Rng;
use super::Horizon;
use crate::sim::State;

/// Whoever has the highest priority goes on; at `depth` - 1 random steps, whoever is about to go on gets the lowest instead. A bug that needs
/// `depth` ordering constraints among n agents and k steps is found with probability at least 1 / (n k^(depth - 1)) a schedule.
///
/// Whoever sleeps or yields gets the lowest priority as well: a task that polls would otherwise poll for ever, and nobody
/// else go on.
pub(super) struct Pct {
    rng: Rng,
    priorities: Vec<(u64, u64)>,
    changes: Vec<u64>,
    step: u64,
    lowest: u64,
}

impl Pct {
    pub(super) fn new(mut rng: Rng, depth: u32, horizon: Horizon) -> Self {
        let length = usize::try_from(horizon.steps.max(1)).unwrap_or(usize::MAX);
        let mut changes: Vec<u64> = (1..depth).map(|_| rng.below(length) as u64).collect();
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

    fn highest(&mut self, state: &State, among: usize) -> (usize, u64) {
        let candidates = (0..among).map(|at| (at, state.agent(state.choice(at))));
        let ranked = candidates.map(|(at, agent)| (self.priority(agent), std::cmp::Reverse(at), agent));
        let (_, std::cmp::Reverse(at), agent) = ranked.max().expect("there is something to choose");
        (at, agent)
    }

    pub(super) fn pick(&mut self, state: &State, among: usize) -> usize {
        let (mut at, agent) = self.highest(state, among);
        while self.changes.first() == Some(&self.step) {
            self.changes.remove(0);
            self.lower(agent);
            at = self.highest(state, among).0;
        }
        self.step += 1;
        let choice = state.choice(at);
        if state.is_patience(choice) {
            self.lower(state.agent(choice));
        }
        at
    }
}
