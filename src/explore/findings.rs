//! What executions have come to, in a form that can be added up: in another order, from several threads, on another machine.
//!
//! Sums and maxima are not enough, for two reasons. What a violation found means depends on what came before it: one run stops at the
//! first, so all that parts have counted beyond it must be taken off again. And some oracles merge what they see over executions, so two
//! parts can show together what neither does alone. So the executions that showed something first are kept, as the positions that were
//! chosen in them: joining runs these few again, in the order of the one run, before the same oracles.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::{Coverage, Part, Peaks, Strategy};
use crate::oracle::Violation;
use crate::scenario::Scenario;
use crate::sim::State;
#[cfg(feature = "cli")]
use serde::{Deserialize, Serialize};

/// Adds up executions. Engines count for themselves, whatever the libraries that they stand on believe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(Serialize, Deserialize))]
pub(crate) struct Tally {
    pub(crate) executions: u64,
    pub(crate) steps: u64,
    pub(crate) makespan: Duration,
    pub(crate) peaks: Peaks,
}

impl Tally {
    pub(crate) fn add(&mut self, state: &State) {
        self.executions += 1;
        self.steps += state.step;
        self.makespan = self.makespan.max(state.dials.now());
        for pid in 0..state.kernel.process_count() {
            self.peaks.descriptors = self.peaks.descriptors.max(state.kernel.descriptors_peak(pid));
        }
        self.peaks.locks = self.peaks.locks.max(state.kernel.locks_peak());
        self.peaks.workers_blocked = self.peaks.workers_blocked.max(state.workers_blocked_peak);
    }

    pub(crate) fn join(&mut self, other: &Tally) {
        self.executions += other.executions;
        self.steps += other.steps;
        self.makespan = self.makespan.max(other.makespan);
        self.peaks = self.peaks.max(other.peaks);
    }
}

/// When, in the order of one run, an execution is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "cli", derive(Serialize, Deserialize))]
pub(crate) enum Position {
    /// While the first steps of a search in parts are looked over: which look. Before an exhaustive search: which execution of the search by
    /// bounds.
    Look(u64),
    /// In the search below so many first steps: which of them, and which execution there.
    Search(u64, u64),
    /// The schedule of that number.
    Sample(u64),
}

/// An execution that was the first to show something, or one that broke a promise.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(Serialize, Deserialize))]
pub(crate) struct Noted {
    pub(crate) at: Position,
    /// The [evidence](crate::Oracle::evidence) that it was the first to show.
    pub(crate) facts: Vec<Arc<str>>,
    /// The positions chosen in it.
    pub(crate) tape: Vec<u32>,
}

/// What a search has tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(Serialize, Deserialize))]
pub(crate) struct Searched {
    pub(crate) tally: Tally,
    /// Different states, if the state cache was on.
    pub(crate) states: Option<u64>,
    /// It has come to its end.
    pub(crate) exhausted: bool,
    /// Within how many preemptions and faults it has tried everything, if it looks at that.
    pub(crate) bound: Option<u32>,
}

/// Some of the schedules of a part, in their order, without a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(Serialize, Deserialize))]
pub(crate) struct Chunk {
    /// The number of the first.
    pub(crate) first: u64,
    /// How much higher the number of the next one is.
    pub(crate) every: u64,
    /// What they add up to, and how many there are.
    pub(crate) tally: Tally,
}

impl Chunk {
    /// The number of the last.
    pub(crate) fn last(&self) -> u64 {
        self.first + self.tally.executions.saturating_sub(1) * self.every
    }
}

/// What a part of an exploration has found. [`Exploration::part`](super::Exploration::part) has it, and
/// [`Scenario::join`](crate::Scenario::join) makes an exploration of all of them. With the feature `cli` it can be serialized; its form may
/// change with every version.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "cli", derive(Serialize, Deserialize))]
pub struct Findings {
    /// What was asked for: a hash.
    pub(crate) asked: u64,
    pub(crate) number: u32,
    pub(crate) of: u32,
    pub(crate) search: Option<Searched>,
    pub(crate) sampled: Vec<Chunk>,
    pub(crate) noted: Vec<Noted>,
    /// The evidence that has been noted.
    #[cfg_attr(feature = "cli", serde(skip))]
    facts: BTreeSet<Arc<str>>,
    /// When a promise was broken: that execution is among those noted.
    pub(crate) violated: Option<Position>,
    /// Which. What was written to a file is run again instead.
    #[cfg_attr(feature = "cli", serde(skip))]
    pub(crate) violation: Option<Violation>,
    /// For each oracle that the scenario names, whether it had anything to judge.
    pub(crate) judged: Vec<bool>,
    /// Why less was tried than was asked for.
    pub(crate) cut: Option<String>,
    pub(crate) elapsed: Duration,
    pub(crate) coverage: Coverage,
}

impl Findings {
    /// Nothing yet.
    pub(crate) fn of(scenario: &Scenario, strategy: &Strategy) -> Self {
        let (asked, part) = (strategy.asked(scenario), strategy.part);
        Findings { asked, number: part.number(), of: part.of(), ..Findings::default() }
    }

    /// Which part it is; none if it was read from where it had not been written to.
    pub fn part(&self) -> Option<Part> {
        Part::new(self.number, self.of)
    }

    /// Keeps an execution if it was the first to show something.
    pub(crate) fn keep_evidence(&mut self, at: Position, state: &State, tape: &[u32]) {
        let mut facts = Vec::new();
        for shown in state.judges.evidence().filter(|shown| !shown.is_empty()) {
            facts.extend(shown.into_iter().filter(|fact| self.facts.insert(fact.clone())));
        }
        if !facts.is_empty() {
            self.noted.push(Noted { at, facts, tape: tape.to_vec() });
        }
    }

    /// Keeps the execution that broke a promise; its evidence has been kept.
    pub(crate) fn violate(&mut self, at: Position, violation: Violation, tape: &[u32]) {
        if self.noted.last().is_none_or(|noted| noted.at != at || noted.tape != tape) {
            self.noted.push(Noted { at, facts: Vec::new(), tape: tape.to_vec() });
        }
        (self.violated, self.violation) = (Some(at), Some(violation));
    }

    /// Adds what another thread has found of the same part.
    pub(crate) fn absorb(&mut self, other: Findings) {
        match (&mut self.search, other.search) {
            (Some(search), Some(other)) => {
                search.tally.join(&other.tally);
                search.states = search.states.zip(other.states).map(|(states, more)| states + more);
                search.exhausted &= other.exhausted;
            }
            (search @ None, other) => *search = other,
            (Some(_), None) => {}
        }
        self.sampled.extend(other.sampled);
        self.sampled.sort_by_key(|chunk| chunk.first);
        self.noted.extend(other.noted);
        self.noted.sort_by_key(|noted| noted.at);
        if other.violated.is_some_and(|at| self.violated.is_none_or(|earlier| at < earlier)) {
            (self.violated, self.violation) = (other.violated, other.violation);
        }
        if self.judged.len() < other.judged.len() {
            self.judged.resize(other.judged.len(), false);
        }
        self.judged.iter_mut().zip(&other.judged).for_each(|(judged, other)| *judged |= other);
        self.cut = self.cut.take().or(other.cut);
        self.elapsed += other.elapsed;
        self.coverage.join(other.coverage);
    }

    /// For each piece of evidence, the positions chosen in the first execution that showed it.
    pub(crate) fn evidence(&self) -> BTreeMap<Arc<str>, Vec<u32>> {
        let mut evidence = BTreeMap::new();
        for noted in &self.noted {
            for fact in &noted.facts {
                evidence.entry(fact.clone()).or_insert_with(|| noted.tape.clone());
            }
        }
        evidence
    }
}
