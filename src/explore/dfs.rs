//! Depth-first search over the choice tape, with a cache of states, and with sleep sets.
//!
//! The search is stateless: a future cannot be copied, so an execution that differs from the last one only at its end is run again
//! from the start. The cache makes up for it: a state that has been reached before, by whatever path, has had all its futures
//! explored or is about to have them, so the execution is cut there. The scar: with the state of the machine alone in the key,
//! tasks that had *read* different things were taken for equal; the key must contain what each task has seen.
//!
//! To find out that a state is known, one has to go there, from the start; and a state is entered once for each step that leads to it. Of
//! two steps that are [independent](crate::sim::depend) the second order leads to where the first one did, so it is not gone: whoever has
//! been tried at a node *sleeps* in the branches after it, until something happens that depends on it. What is left are about as many
//! executions as there are states where an order mattered. Sleep sets alone lose no state; together with a cache, one that is reached with
//! fewer asleep than before must make up for those (Godefroid: Partial-Order Methods for the Verification of Concurrent Systems, LNCS
//! 1032, 1996). Who sleeps at a state is remembered under names that are the same on every path to it, and so follow who has
//! changed places where processes or tasks are [alike](crate::Scenario::alike).

use std::collections::BTreeSet;

use smallvec::SmallVec;

use super::seen::{Called, Seen};
use super::sleep::Sleep;
use crate::sim::depend::{Actor, Footprint, Standing};
use crate::sim::{Chooser, State};

/// A decision: what was taken, of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Decision {
    pub(crate) taken: u32,
    pub(crate) of: u32,
}

/// A point at which somebody goes on.
struct Node {
    /// Where the decision is on the tape.
    at: usize,
    /// The state, if there is a cache.
    state: Option<u128>,
    offered: SmallVec<[Actor; 8]>,
    /// Those that are left to be tried, by position; the next one is the last.
    left: SmallVec<[u32; 8]>,
    /// Those that were tried, here or at a node before this one with nothing after it that depended on them, and what they touch.
    asleep: Sleep,
    /// What the step touches that is taken now,
    footprint: Footprint,
    /// and what it touches whatever values it chooses, as far as they have been tried.
    touched: Footprint,
}

/// The search, from one execution to the next.
pub(crate) struct Dfs {
    tape: Vec<Decision>,
    depth: usize,
    /// Up to here it is fixed.
    base: usize,
    /// Which fraction of all lies before what is below it, and how wide that is.
    share: (f64, f64),
    /// Without, every order of all steps is tried.
    reduces: bool,
    /// The decisions after the base that let somebody go on, if it reduces, and how many of them this execution has come by.
    nodes: Vec<Node>,
    passed: usize,
    /// Unless an oracle does not tell its state.
    seen: Option<Seen>,
    /// The state that this execution has come to last, and those at which one was given up that may have no end from there.
    here: Option<u128>,
    rounds: BTreeSet<u128>,
    came_round: bool,
}

impl Dfs {
    /// `cache`: and sleep sets.
    pub(crate) fn new(cache: bool) -> Self {
        Dfs {
            tape: Vec::new(),
            depth: 0,
            base: 0,
            share: (0.0, 1.0),
            reduces: cache,
            nodes: Vec::new(),
            passed: 0,
            seen: cache.then(Seen::new),
            here: None,
            rounds: BTreeSet::new(),
            came_round: false,
        }
    }

    /// How many different states have been reached, if it keeps count.
    pub(crate) fn states(&self) -> Option<u64> {
        self.seen.as_ref().map(Seen::len)
    }

    /// About how much memory it takes to know them.
    pub(crate) fn bytes(&self) -> u64 {
        self.seen.as_ref().map_or(0, Seen::bytes)
    }

    /// From now on only what begins like that, the `nth` of so many, with the states that are known already.
    pub(crate) fn turn_to(&mut self, prefix: Vec<Decision>, nth: usize, of: usize) {
        (self.depth, self.base, self.passed) = (0, prefix.len(), 0);
        self.share = (nth as f64 / of as f64, 1.0 / of as f64);
        self.tape = prefix;
        self.nodes.clear();
    }

    /// The fraction of the tree that lies behind, if all branches were equally large.
    pub(crate) fn explored(&self) -> f64 {
        let (before, mut width) = self.share;
        let behind = self.tape[self.base..].iter().map(|decision| {
            width /= f64::from(decision.of);
            width * f64::from(decision.taken)
        });
        before + behind.sum::<f64>()
    }

    /// Turns to the next execution; `false` once there is none left.
    pub(crate) fn advance(&mut self) -> bool {
        (self.depth, self.passed) = (0, 0);
        while let Some(last) = self.tape.len().checked_sub(1).filter(|last| *last >= self.base) {
            let decision = &mut self.tape[last];
            match self.nodes.last_mut().filter(|node| node.at == last) {
                Some(node) => {
                    let tried = node.offered[decision.taken as usize];
                    node.asleep.add(tried, std::mem::take(&mut node.touched));
                    if let Some(next) = node.left.pop() {
                        decision.taken = next;
                        return true;
                    }
                    self.nodes.pop();
                }
                None if decision.taken + 1 < decision.of => {
                    decision.taken += 1;
                    return true;
                }
                None => {}
            }
            self.tape.pop();
        }
        false
    }

    fn decide(&mut self, of: u32) -> u32 {
        if self.depth == self.tape.len() {
            self.tape.push(Decision { taken: 0, of });
        }
        let decision = self.tape[self.depth];
        assert_eq!(decision.of, of, "the scenario is not deterministic: the same choices led to another situation");
        self.depth += 1;
        decision.taken
    }

    /// What the last step has touched, if that is not known yet: it is the one that has changed on the tape, or comes after it.
    fn harvest(&mut self, state: &State) {
        if self.passed == self.nodes.len()
            && let Some(last) = self.nodes.last_mut()
        {
            last.footprint.clone_from(Standing::footprint(state));
            last.touched.join(&last.footprint);
        }
    }

    /// A point that has not been on the tape: whom to try there. `false` if nobody is left to be tried.
    fn come_to_a_node(&mut self, state: &State) -> bool {
        let mut asleep = self.nodes.last().map_or_else(Sleep::default, |last| last.asleep.after(&last.footprint));
        let made_up_for = self.come_to_a_state(state, &mut asleep);
        if made_up_for.as_ref().is_some_and(Vec::is_empty) {
            let round = self.here.filter(|_| self.nodes.iter().any(|node| node.state == self.here));
            self.came_round = round.is_some_and(|state| self.rounds.insert(state));
            return false;
        }
        let of = state.choice_count();
        let offered: SmallVec<[Actor; 8]> = (0..of).map(|at| state.actor(state.choice(at))).collect();
        let is_left = |at: &u32| match (&made_up_for, offered[*at as usize]) {
            (Some(awake), actor) => awake.contains(&actor),
            (None, actor) => !asleep.has(actor),
        };
        let mut left: SmallVec<[u32; 8]> = (0..of as u32).rev().filter(is_left).collect();
        let Some(first) = left.pop() else {
            // What they do was done before, from elsewhere. That this state has an end no execution has shown.
            self.came_round = made_up_for.is_none() && self.here.is_some_and(|state| self.rounds.insert(state));
            return false;
        };
        let at = self.tape.len();
        self.tape.push(Decision { taken: first, of: of as u32 });
        let (footprint, touched) = Default::default();
        self.nodes.push(Node { at, state: self.here, offered, left, asleep, footprint, touched });
        true
    }

    /// If that state has been come to before: who is to be tried now, and only those sleep from now on who slept each time. `None` if it is
    /// new, or if there is no cache.
    fn come_to_a_state(&mut self, state: &State, asleep: &mut Sleep) -> Option<Vec<Actor>> {
        let seen = self.seen.as_mut()?;
        let Some((fingerprint, naming)) = state.fingerprint_and_naming() else {
            (self.seen, self.here) = (None, None);
            return None;
        };
        self.here = Some(fingerprint);
        let called = |actor| state.called(actor, &naming);
        let mut sleepers: Vec<Called> = asleep.actors().map(called).collect();
        sleepers.sort_unstable();
        let awake = seen.come_to(fingerprint, &sleepers)?;
        if awake.is_empty() {
            return Some(Vec::new()); // the usual case
        }
        let still = seen.asleep_at(fingerprint);
        asleep.retain(|actor| still.contains(&called(actor)));
        let offered = (0..state.choice_count()).map(|at| state.actor(state.choice(at)));
        Some(offered.filter(|&actor| awake.contains(&called(actor))).collect())
    }
}

impl Chooser for Dfs {
    fn pick(&mut self, state: &State) -> Option<usize> {
        if self.reduces {
            self.harvest(state);
            if self.depth == self.tape.len() && !self.come_to_a_node(state) {
                return None;
            }
            self.passed += usize::from(self.depth >= self.base);
        }
        Some(self.decide(state.choice_count() as u32) as usize)
    }
    fn value(&mut self, of: u32) -> u32 {
        self.decide(of)
    }
    fn watches(&self) -> bool {
        // What steps before the last node touch is known.
        self.reduces && self.passed == self.nodes.len()
    }
    fn ended(&mut self, state: &State) {
        if self.reduces {
            self.harvest(state);
        }
    }
    fn came_round(&mut self) -> bool {
        std::mem::take(&mut self.came_round)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_behind_is_a_fraction_of_all_subtrees() {
        let mut dfs = Dfs::new(false);
        dfs.turn_to(vec![Decision { taken: 1, of: 2 }], 3, 4);
        assert_eq!(dfs.explored(), 0.75);
        dfs.tape.extend([Decision { taken: 1, of: 2 }, Decision { taken: 2, of: 4 }]);
        assert_eq!(dfs.explored(), 0.75 + 0.25 * (0.5 + 0.25));
    }
}
