//! Bursts: whoever went last goes on, with a probability that is drawn for each schedule.
//!
//! A random walk gives everybody a step in turn, more or less, and hardly ever lets one come to its end while another stands still. Real
//! machines do: a time slice is thousands of steps. Ours; no source.

use super::super::rng::Rng;
use crate::sim::State;

/// Whoever went last, a task or any task of a process, goes on most of the time.
pub(super) struct Burst {
    rng: Rng,
    /// Of 64 steps, how many are left to whoever went last, if it can go on.
    stay: usize,
    /// Whether it is the process that goes on, rather than the task.
    by_process: bool,
    last: Option<u64>,
}

impl Burst {
    pub(super) fn new(mut rng: Rng) -> Self {
        // Bursts of 2, 4, 8, 16, 32 and 64 steps on average.
        let stay = 64 - (32 >> rng.below(6));
        let by_process = rng.below(2) == 1;
        Burst { rng, stay, by_process, last: None }
    }

    fn whose(&self, state: &State, at: usize) -> u64 {
        let agent = state.agent(state.choice(at));
        if self.by_process { state.process_of(agent).into() } else { agent }
    }

    fn of(&self, state: &State, among: usize, whose: Option<u64>) -> impl Iterator<Item = usize> {
        (0..among).filter(move |&at| Some(self.whose(state, at)) == whose)
    }

    pub(super) fn pick(&mut self, state: &State, among: usize) -> usize {
        let stays = self.rng.below(64) < self.stay;
        let last = self.last.filter(|_| stays);
        let at = match self.of(state, among, last).count() {
            0 => self.rng.below(among),
            some => {
                let which = self.rng.below(some);
                self.of(state, among, last).nth(which).expect("as many as were counted")
            }
        };
        // Whoever polls lets others go on.
        self.last = (!state.is_patience(state.choice(at))).then(|| self.whose(state, at));
        at
    }
}
