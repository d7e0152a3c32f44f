//! The smallest counterexample: a search in the order of what a schedule costs.
//!
//! Iterative bounding (Musuvathi, Qadeer: Iterative context bounding for systematic testing of multithreaded programs, PLDI 2007) tries every schedule
//! with 0 preemptions, then with 1, and so on, each time from the beginning. With a state cache nothing need be tried twice: schedules wait in
//! line by their cost, and a state that is reached again, with the same agent having gone last, was reached at no more cost before (Dijkstra's
//! algorithm, over prefixes of schedules instead of nodes). So the first violation is one of the smallest there are.
//!
//! A schedule costs its faults, deadlines and sleeps that end early included, and then its switches from one agent to another. Every switch
//! counts, also where whoever went last cannot go on: what people have to follow is who goes next.
//!
//! *Who went last* is part of a state here, so there are more of them than in the plain depth-first search, and every turn is an execution of its
//! own. So the plain search finds out whether there is anything to find, and this one makes it small. How much it would cost as the search
//! half of the portfolio has not been measured.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::replay::default_choice;
use crate::sim::{Chooser, State};

/// What a schedule costs; what counts more comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cost {
    /// Kills, cancellations, lost locks; deadlines and sleeps that end although somebody could go on.
    pub(crate) faults: u32,
    /// How often another agent goes on than the one that went last.
    pub(crate) switches: u32,
}

impl Cost {
    /// What it costs in all once the choice at that position is taken, too; faults leave `last` as it was.
    pub(crate) fn with(self, state: &State, at: usize, last: &mut Option<u64>) -> Self {
        let choice = state.choice(at);
        if choice.is_fault() {
            return Cost { faults: self.faults + 1, ..self };
        }
        let agent = state.agent(choice);
        let switches = self.switches + u32::from(last.is_some_and(|last| last != agent));
        *last = Some(agent);
        Cost { faults: self.faults + u32::from(state.is_early(choice)), switches }
    }
}

/// A schedule to be tried: the first choices of one that was, and another one after them.
struct Branch {
    tape: Rc<[u32]>,
    kept: usize,
    then: Option<u32>,
}

/// The search, from one execution to the next.
pub(crate) struct Cheapest {
    line: BTreeMap<Cost, Vec<Branch>>,
    /// States, each with who went last, that have been reached.
    seen: BTreeSet<u128>,
    /// Nothing that costs so much is of interest.
    below: Cost,
}

impl Cheapest {
    /// Looks for what costs less than that.
    pub(crate) fn new(below: Cost) -> Self {
        let start = Branch { tape: Rc::from([]), kept: 0, then: None };
        Cheapest { line: BTreeMap::from([(Cost::default(), vec![start])]), seen: BTreeSet::new(), below }
    }

    /// The next execution; `None` if there is none left that costs less.
    pub(crate) fn next(&mut self) -> Option<Trip<'_>> {
        let mut first = self.line.first_entry()?;
        let branch = first.get_mut().pop().expect("a place in line without anybody is given up");
        if first.get().is_empty() {
            first.remove();
        }
        let Branch { tape, kept, then } = branch;
        let start = tape[..kept].iter().copied().chain(then).collect();
        let cost = Cost::default();
        Some(Trip { search: self, known: start, tape: Vec::new(), last: None, cost, alternatives: Vec::new() })
    }
}

/// One execution of the search.
pub(crate) struct Trip<'c> {
    search: &'c mut Cheapest,
    /// What it begins with.
    known: Vec<u32>,
    /// What was chosen.
    tape: Vec<u32>,
    last: Option<u64>,
    cost: Cost,
    /// What else could be chosen, after how many choices, and at what cost.
    alternatives: Vec<(Cost, usize, u32)>,
}

impl Trip<'_> {
    /// Ends it: puts what else could have been chosen in line. What was chosen.
    pub(crate) fn end(self) -> Vec<u32> {
        let tape: Rc<[u32]> = self.tape.into();
        for (cost, kept, then) in self.alternatives {
            let branch = Branch { tape: tape.clone(), kept, then: Some(then) };
            self.search.line.entry(cost).or_default().push(branch);
        }
        tape.to_vec()
    }

    fn offer(&mut self, cost: Cost, then: u32) {
        if cost < self.search.below {
            self.alternatives.push((cost, self.tape.len(), then));
        }
    }
}

impl Chooser for Trip<'_> {
    fn pick(&mut self, state: &State) -> Option<usize> {
        let at = match self.known.get(self.tape.len()) {
            Some(&at) => at as usize,
            None => {
                if let Some(fingerprint) = state.fingerprint() {
                    let last = u128::from(self.last.map_or(0, |last| state.name_in_fingerprint(last)));
                    if !self.search.seen.insert(fingerprint ^ last ^ (last.rotate_left(77))) {
                        return None;
                    }
                }
                let goes_on = default_choice(state, self.last);
                for at in 0..state.choice_count() {
                    let cost = self.cost.with(state, at, &mut self.last.clone());
                    if at != goes_on || cost > self.cost {
                        self.offer(cost, at as u32);
                    }
                }
                if self.cost.with(state, goes_on, &mut self.last.clone()) > self.cost {
                    return None; // others may come first
                }
                goes_on
            }
        };
        self.cost = self.cost.with(state, at, &mut self.last);
        self.tape.push(at as u32);
        Some(at)
    }
    fn value(&mut self, of: u32) -> u32 {
        let value = match self.known.get(self.tape.len()) {
            Some(&value) => value,
            None => {
                (1..of).for_each(|other| self.offer(self.cost, other));
                0
            }
        };
        self.tape.push(value);
        value
    }
}
