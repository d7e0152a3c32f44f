//! Whether an execution that has come back to a state of its own can still come to its end.
//!
//! A search with a cache cuts an execution at a state that it knows. That is right for promises about states, and wrong for the one that there
//! *is* an end: two who poll for each other's lock come back to the same state for ever, each cut there, and nothing is left to try. The
//! scar: such a pair, in the order that is a deadlock for those who block, was upheld in every schedule there is, while the first schedule
//! drawn at random never ended.
//!
//! States from which no end can be reached lead only to each other. So the first execution that comes to one of them goes on until it comes
//! back to a state of its own (an execution that does not is cut at a state that others have been to, and these others were there first), or
//! until all who could go on are asleep: they have done the same before somebody else was killed, say, so every state is come to, and no
//! round is ever closed. From there it is continued by chance, faults aside: what does not end that way, several times, is a livelock, as
//! it is for those who sample.

use super::findings::Position;
use super::replay::Taping;
use super::rng::Rng;
use super::run::Run;
use crate::oracle::{Violation, ViolationKind};
use crate::sim::{Chooser, End, Machine, Plan, State};

/// How often an execution that came round is continued without coming to an end before there is taken to be none.
const TRIES: u64 = 8;

impl Run<'_> {
    /// Continues the execution that was run last, which has come round: the promise that is broken if it never ends, or on the way to its end.
    pub(super) fn cannot_end(&mut self, at: Position) -> Option<Violation> {
        let came_round = std::mem::take(&mut self.tape);
        let searched_steps_max = std::mem::replace(&mut self.plan.steps_max, self.sampled_steps_max);
        let broken = self.go_onward(at, &came_round);
        self.plan.steps_max = searched_steps_max;
        broken
    }

    fn go_onward(&mut self, at: Position, came_round: &[u32]) -> Option<Violation> {
        let mut endless = None;
        for mut onward in Onward::all(came_round) {
            self.tape.clear();
            let end = self.machine.run(&self.plan, &mut Taping { chooser: &mut onward, tape: &mut self.tape });
            self.findings.keep_evidence(at, self.machine.state(), &self.tape);
            match end {
                End::Violated(violation) if violation.kind == ViolationKind::Endless => endless = Some(violation),
                End::Violated(violation) => return Some(violation),
                End::Done | End::Cut => return None,
            }
        }
        endless
    }
}

/// Whether an execution that had no end could not have come to one: continued by chance from its middle on, it has none either. Somebody
/// who polls while nobody else goes on has no end, and no livelock either.
pub(super) fn is_for_ever(machine: &mut Machine, plan: &Plan, tape: &[u32]) -> bool {
    Onward::all(&tape[..tape.len() / 2]).all(|mut onward| {
        matches!(machine.run(plan, &mut onward), End::Violated(broken) if broken.kind == ViolationKind::Endless)
    })
}

/// Repeats what was chosen, and draws the rest.
struct Onward<'t> {
    past: std::slice::Iter<'t, u32>,
    rng: Rng,
}

impl<'t> Onward<'t> {
    /// The ways in which an execution is continued.
    fn all(past: &'t [u32]) -> impl Iterator<Item = Self> {
        (0..TRIES).map(|nth| Onward { past: past.iter(), rng: Rng::stream(nth, "onward") })
    }
}

impl Chooser for Onward<'_> {
    fn pick(&mut self, state: &State) -> Option<usize> {
        Some(match self.past.next() {
            Some(&at) => at as usize,
            None => self.rng.below(state.usual_count().max(1)),
        })
    }
    fn value(&mut self, of: u32) -> u32 {
        self.past.next().copied().unwrap_or_else(|| self.rng.below(of as usize) as u32)
    }
}
