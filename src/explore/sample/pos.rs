//! Partial order sampling (Yuan, Yang, Gu: Partial order aware concurrency sampling, CAV 2018).

use super::super::rng::Rng;
use super::table::PerChoice;
use crate::sim::State;
use crate::sim::state::Choice;
use crate::sim::touch::{Touches, race};

/// Every *operation* gets a random priority when it is announced, and the highest acts. Those that race with it get a new one: no two
/// operations are ordered by an old draw that decided about others, and every order of those that race is about as likely.
///
/// Whoever sleeps or yields comes after everybody else every other time, so that who polls lets others go on. Not every time: what happens only if
/// he goes on first would never be drawn.
pub(super) struct Pos {
    rng: Rng,
    ranked: PerChoice<(u64, Touches)>,
    lowest: u64,
}

impl Pos {
    pub(super) fn new(rng: Rng) -> Self {
        Pos { rng, ranked: PerChoice::default(), lowest: 1 << 62 }
    }

    fn priority(&mut self, state: &State, choice: Choice) -> u64 {
        if let Some((priority, _)) = self.ranked.get(choice) {
            return *priority;
        }
        let priority = if state.is_patience(choice) && self.rng.next() >> 63 == 0 {
            self.lowest -= 1;
            self.lowest
        } else {
            self.rng.next() | (1 << 63)
        };
        self.ranked.insert(choice, (priority, state.touches(choice)));
        priority
    }

    pub(super) fn pick(&mut self, state: &State, among: usize) -> usize {
        let ranked = (0..among).map(|at| (self.priority(state, state.choice(at)), std::cmp::Reverse(at)));
        let std::cmp::Reverse(picked) = ranked.max().expect("there is something to choose").1;
        let (_, touches) = self.ranked.remove(state.choice(picked)).expect("it was ranked");
        for at in (0..among).filter(|&at| at != picked) {
            let choice = state.choice(at);
            if self.ranked.get(choice).is_some_and(|(_, others)| race(&touches, others)) {
                self.ranked.remove(choice);
            }
        }
        picked
    }
}
