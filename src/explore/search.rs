//! The searches: execution after execution in an order that leaves nothing out, with all that a search needs.

use super::cheapest::{Cheapest, Order};
use super::dfs::Dfs;
use super::dpor::Dpor;
use super::findings::{Position, Searched};
use super::run::{Run, Then};
use super::{Method, Strategy};
use crate::oracle::ViolationKind;
use crate::sim::{Chooser, Dialed};

/// A depth-first search gives up when an execution has more steps than that: it would not come back from there.
pub(crate) const SEARCH_STEPS_MAX: u64 = 10_000;
/// An exhaustive search begins with so many executions in the order of preemptions and faults, or with this part of all: most of what is wrong is
/// found there, and a depth-first search may never come out of the corner where it begins. What parts of one look over first is no more than
/// that part of all either.
const SHALLOW: u64 = 1_000;
pub(super) const SHALLOW_PART: u64 = 16;
/// How a search ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// There is nothing left to try.
    Exhausted,
    /// A limit was reached.
    Count,
    /// A promise was broken, or the time is over.
    Over,
}

/// Why a search is over that has come to an execution without an end.
pub(crate) fn no_end(steps: u64) -> String {
    format!("a search cannot go on behind an execution of {steps} steps, as of somebody who polls alone,")
}

impl Run<'_> {
    /// One of all schedules that differ only in the order of independent steps.
    pub(super) fn reduce(&mut self, until: &Strategy) -> Searched {
        let mut searched = Searched::default();
        let ended = self.searching(false, SEARCH_STEPS_MAX, |run| run.reduce_with(until, &mut searched));
        searched.exhausted = ended == Ended::Exhausted;
        searched
    }

    fn reduce_with(&mut self, until: &Strategy, found: &mut Searched) -> Ended {
        let mut dpor = Dpor::new();
        for k in 0.. {
            if until.is_done(found.tally.executions, found.tally.steps) {
                return Ended::Count;
            }
            if let Some(ended) = self.execute_searching(Position::Search(0, k), &mut dpor, until, found) {
                return ended;
            }
            if cfg!(debug_assertions)
                && let Some(pair) = dpor.pair(k)
                && let Some(difference) = pair.difference(&mut self.machine, &self.plan)
            {
                panic!("{difference}");
            }
            if !dpor.advance() {
                break;
            }
        }
        Ended::Exhausted
    }

    pub(super) fn search(&mut self, cache: bool, until: &Strategy, longest: u64) -> (Ended, Searched) {
        let mut searched = Searched::default();
        let search = |run: &mut Self| {
            let mut dfs = Dfs::new(cache);
            let ended = run.search_below(&mut dfs, 0, until, &mut searched);
            searched.states = dfs.states();
            ended
        };
        let ended = match cache {
            true => self.searching(true, longest, search),
            // It takes nothing for equal.
            false => self.remembering(false, longest, search),
        };
        searched.exhausted = ended == Ended::Exhausted;
        (ended, searched)
    }

    /// The schedules with the fewest preemptions and faults first.
    pub(super) fn search_by_bound(&mut self, until: &Strategy, position: impl Fn(u64) -> Position) -> Searched {
        let mut searched = Searched::default();
        let ended = self.searching(true, SEARCH_STEPS_MAX, |run| {
            let mut search = Cheapest::new(Order::Bound, None);
            for k in 0.. {
                if until.is_done(searched.tally.executions, searched.tally.steps) {
                    return Ended::Count;
                }
                if let Some(ended) = run.is_full(search.bytes(), until) {
                    return ended;
                }
                let Some(mut trip) = search.next() else { break };
                let ended = run.execute_searching(position(k), &mut trip, until, &mut searched);
                trip.end();
                (searched.bound, searched.states) = (search.bound(ended.is_some()), search.states());
                if let Some(ended) = ended {
                    return ended;
                }
            }
            Ended::Exhausted
        });
        searched.exhausted = ended == Ended::Exhausted;
        searched
    }

    /// Everything, beginning with what takes few preemptions and faults.
    pub(super) fn search_shallow_first(&mut self, all: &Strategy) -> Searched {
        // As in a portfolio, a cache that is full is not the end: there is something else to try.
        let few = Strategy { method: Method::Portfolio, ..all.clone() };
        let few = few.schedules_max(SHALLOW.min(all.schedules / SHALLOW_PART));
        let shallow = self.search_by_bound(&few, Position::Look);
        if shallow.exhausted || self.findings.violated.is_some() || self.is_over() {
            return shallow;
        }
        let rest = Strategy { schedules: all.schedules - shallow.tally.executions, ..all.clone() };
        let (_, mut searched) = self.search(true, &rest, SEARCH_STEPS_MAX);
        searched.tally.join(&shallow.tally);
        searched.bound = shallow.bound.filter(|_| !searched.exhausted);
        searched
    }

    /// How a search ends whose state cache takes more bytes than it may: all of it, unless there is something else to try.
    fn is_full(&mut self, bytes: u64, until: &Strategy) -> Option<Ended> {
        let budget = until.memory.filter(|&budget| bytes > budget)?;
        if until.method == Method::Portfolio {
            return Some(Ended::Count);
        }
        self.cut(format!("the state cache was full ({} MiB)", budget >> 20));
        Some(Ended::Over)
    }

    /// A search that takes states or schedules for equal whatever a dial shows; and if somebody reads one, another search that minds it.
    pub(super) fn searching(&mut self, cache: bool, longest: u64, mut search: impl FnMut(&mut Self) -> Ended) -> Ended {
        loop {
            let dialed = self.dialed;
            let ended = self.remembering(cache, longest, |run| {
                run.machine.state_mut().dials.let_matter(dialed);
                let ended = search(run);
                run.dialed = run.machine.state().dials.should_matter();
                run.machine.state_mut().dials.let_matter(Dialed::ALL);
                ended
            });
            let is_over = self.findings.violated.is_some() || self.is_over();
            if is_over || dialed == self.dialed {
                return ended;
            }
        }
    }

    /// With all that a search needs.
    pub(super) fn remembering<T>(&mut self, cache: bool, longest: u64, search: impl FnOnce(&mut Self) -> T) -> T {
        let steps_max = self.plan.steps_max;
        self.plan.steps_max = steps_max.min(longest);
        self.machine.state_mut().remember = cache;
        let result = search(self);
        self.machine.state_mut().remember = false;
        self.plan.steps_max = steps_max;
        result
    }

    /// One execution of a search; how the search ended, if it did.
    fn execute_searching(
        &mut self,
        at: Position,
        chooser: &mut impl Chooser,
        until: &Strategy,
        found: &mut Searched,
    ) -> Option<Ended> {
        let before = found.tally;
        let then = self.execute(at, chooser, &mut found.tally);
        let dials = &self.machine.state().dials;
        let is_begun_again = dials.should_matter() != dials.matter();
        let violation = match then {
            Then::Next if is_begun_again => return Some(Ended::Over),
            Then::Next if chooser.came_round() => self.cannot_end(at)?,
            Then::Next => return None,
            Then::Over => return Some(Ended::Over),
            // Somebody polls, and the search lets nobody else go on: only a fair scheduler comes to an end here. Given up, so it does not
            // count as tried.
            Then::Violated(violation) if violation.kind == ViolationKind::Endless => {
                found.tally = before;
                return Some(self.has_no_end(until));
            }
            Then::Violated(violation) => violation,
        };
        self.violated(at, violation);
        Some(Ended::Over)
    }

    /// How a search ends that has come to an execution without an end: all of it, unless there is something else to try.
    fn has_no_end(&mut self, until: &Strategy) -> Ended {
        if until.method == Method::Portfolio {
            return Ended::Count;
        }
        self.cut(no_end(self.plan.steps_max));
        Ended::Over
    }

    /// Searches what lies below the first decisions that `dfs` has fixed, the `nth` of all.
    pub(super) fn search_below(&mut self, dfs: &mut Dfs, nth: u64, until: &Strategy, found: &mut Searched) -> Ended {
        for k in 0.. {
            if until.is_done(found.tally.executions, found.tally.steps) {
                return Ended::Count;
            }
            if let Some(ended) = self.is_full(dfs.bytes(), until) {
                return ended;
            }
            if let Some(ended) = self.execute_searching(Position::Search(nth, k), dfs, until, found) {
                return ended;
            }
            self.pace.explored = Some(dfs.explored());
            if !dfs.advance() {
                break;
            }
        }
        Ended::Exhausted
    }
}
