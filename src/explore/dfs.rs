//! Depth-first search over the choice tape, with a cache of states.
//!
//! The search is stateless: a future cannot be copied, so an execution that differs from the last one only at its end is run again
//! from the start. The cache makes up for it: a state that has been reached before, by whatever path, has had all its futures
//! explored or is about to have them, so the execution is cut there. The scar: with the state of the machine alone in the key,
//! tasks that had *read* different things were taken for equal; the key must contain what each task has seen.

use std::collections::BTreeSet;

use crate::sim::{Chooser, State};

/// A decision: what was taken, of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Decision {
    pub(crate) taken: u32,
    pub(crate) of: u32,
}

/// The search, from one execution to the next.
pub(crate) struct Dfs {
    tape: Vec<Decision>,
    depth: usize,
    /// Up to here it is fixed.
    base: usize,
    /// Which fraction of all lies before what is below it, and how wide that is.
    share: (f64, f64),
    /// Up to here the tape repeats what has been seen.
    known: usize,
    seen: Option<Seen>,
    /// An oracle did not tell its state, so there is no cache.
    pub(crate) cache_refused: bool,
}

/// The states that have been reached. 128-bit fingerprints: with ten million of them, two different ones collide with a
/// probability below 10^-24.
type Seen = BTreeSet<u128>;

/// What a state takes in it: a node has room for eleven, and is two thirds full on the average.
pub(super) const STATE_BYTES: u64 = 16 * 3 / 2 + 4;

impl Dfs {
    pub(crate) fn new(cache: bool) -> Self {
        let seen = cache.then(Seen::new);
        Dfs { tape: Vec::new(), depth: 0, base: 0, share: (0.0, 1.0), known: 0, seen, cache_refused: false }
    }

    /// How many different states have been reached, if it keeps count.
    pub(crate) fn states(&self) -> Option<u64> {
        self.seen.as_ref().map(|seen| seen.len() as u64)
    }

    /// About how much memory it takes to know them.
    pub(crate) fn bytes(&self) -> u64 {
        self.states().unwrap_or(0) * STATE_BYTES
    }

    /// From now on only what begins like that, the `nth` of so many, with the states that are known already.
    pub(crate) fn turn_to(&mut self, prefix: Vec<Decision>, nth: usize, of: usize) {
        (self.depth, self.base, self.known) = (0, prefix.len(), prefix.len());
        self.share = (nth as f64 / of as f64, 1.0 / of as f64);
        self.tape = prefix;
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
        while let Some(last) = self.tape[self.base..].last_mut() {
            last.taken += 1;
            if last.taken < last.of {
                break;
            }
            self.tape.pop();
        }
        (self.known, self.depth) = (self.tape.len(), 0);
        self.tape.len() > self.base
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
}

impl Chooser for Dfs {
    fn pick(&mut self, state: &State) -> Option<usize> {
        if self.depth >= self.known
            && let Some(seen) = &mut self.seen
        {
            match state.fingerprint() {
                None => {
                    self.cache_refused = true;
                    self.seen = None;
                }
                // The first decision after the change of the tape leads to a new state; what was known before it is being explored.
                Some(fingerprint) if !seen.insert(fingerprint) => {
                    return None;
                }
                Some(_) => {}
            }
        }
        Some(self.decide(state.choice_count() as u32) as usize)
    }
    fn value(&mut self, of: u32) -> u32 {
        self.decide(of)
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
