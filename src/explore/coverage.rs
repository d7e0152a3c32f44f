//! Coverage: which meetings of two agents at one resource the schedules have brought about.
//!
//! A concurrency bug needs two accesses to one resource in an unlucky order. So what is counted is pairs: an operation of one agent, and the
//! next operation on the same resource by another agent, by the class of the resource. A pair that was seen says little; that sampling
//! has stopped finding new ones says that it goes in circles, and a pair that is missing says what was never tried.
//!
//! Writing names down costs more than a step, so only every [`EVERY`]th execution is looked at.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Strategy;
use super::findings::Position;
use crate::sim::{Choice, Chooser, State};
#[cfg(feature = "cli")]
use serde::{Deserialize, Serialize};

/// One execution of so many is looked at: the first, and then by number.
pub const EVERY: u64 = 16;

/// An operation, and the next one on the same resource by somebody else.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "cli", derive(Serialize, Deserialize))]
pub struct Pair {
    /// What was done first.
    pub before: Arc<str>,
    /// What somebody else did next.
    pub after: Arc<str>,
    /// The class of the resource: its path with every number in it as `#`.
    pub class: Arc<str>,
}

/// The pairs that have been seen. Empty unless [`Strategy::coverage`](super::Strategy::coverage) is on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// When each was first seen, in the order of one run.
    pairs: BTreeMap<Pair, Position>,
}

impl Coverage {
    /// The pairs in order.
    pub fn pairs(&self) -> impl ExactSizeIterator<Item = &Pair> {
        self.pairs.keys()
    }

    fn add(&mut self, pair: Pair, at: Position) {
        self.pairs.entry(pair).and_modify(|first| *first = at.min(*first)).or_insert(at);
    }

    pub(crate) fn join(&mut self, other: Coverage) {
        other.pairs.into_iter().for_each(|(pair, at)| self.add(pair, at));
    }

    /// Leaves what one run would have seen that stopped there.
    pub(crate) fn up_to(&mut self, last: Position) {
        self.pairs.retain(|_, at| *at <= last);
    }

    /// The same, if that is what the last execution saw.
    pub(crate) fn end_with(&mut self, last: Position, seen: Coverage) {
        self.pairs.retain(|_, at| *at < last);
        self.join(seen);
    }
}

impl Position {
    /// Whether the execution there is one of those that are looked at.
    pub(crate) fn is_looked_at(self, strategy: &Strategy) -> bool {
        let (Position::Look(n) | Position::Search(_, n) | Position::Sample(n)) = self;
        strategy.coverage && n.is_multiple_of(EVERY)
    }
}

/// JSON has no pairs as keys.
#[cfg(feature = "cli")]
impl Serialize for Coverage {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(&self.pairs)
    }
}

#[cfg(feature = "cli")]
impl<'de> Deserialize<'de> for Coverage {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Coverage { pairs: Vec::deserialize(from)?.into_iter().collect() })
    }
}

/// Passes choices on, and looks at what they bring together.
pub(crate) struct Looking<'c, C> {
    chooser: &'c mut C,
    coverage: &'c mut Coverage,
    at: Position,
    /// Who was last at each resource, and did what.
    last: BTreeMap<Arc<str>, (u64, &'static str)>,
}

impl<'c, C> Looking<'c, C> {
    /// For the execution at that position.
    pub(crate) fn new(chooser: &'c mut C, coverage: &'c mut Coverage, at: Position) -> Self {
        Looking { chooser, coverage, at, last: BTreeMap::new() }
    }

    fn look(&mut self, state: &State, choice: Choice) {
        let (_, after, subject) = state.describe(choice);
        if subject.is_empty() {
            return;
        }
        let (agent, class) = (state.agent(choice), class(&subject));
        if let Some((other, before)) = self.last.insert(subject, (agent, after))
            && other != agent
        {
            self.coverage.add(Pair { before: before.into(), after: after.into(), class }, self.at);
        }
    }
}

impl<C: Chooser> Chooser for Looking<'_, C> {
    fn pick(&mut self, state: &State) -> Option<usize> {
        let at = self.chooser.pick(state)?;
        self.look(state, state.choice(at));
        Some(at)
    }
    fn value(&mut self, of: u32) -> u32 {
        self.chooser.value(of)
    }
}

/// A name with every run of digits as `#`: what there is many of is one class.
fn class(subject: &str) -> Arc<str> {
    let mut class = String::with_capacity(subject.len());
    for c in subject.chars() {
        match c {
            '0'..='9' if class.ends_with('#') => {}
            '0'..='9' => class.push('#'),
            c => class.push(c),
        }
    }
    class.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_do_not_make_classes() {
        assert_eq!(&*class("/cache/k12/rev-3/out"), "/cache/k#/rev-#/out");
        assert_eq!(&*class("/project/pyproject.toml"), "/project/pyproject.toml");
    }

    #[test]
    fn the_first_sight_counts_whoever_had_it() {
        let pair = Pair { before: "flock".into(), after: "flock".into(), class: "/l".into() };
        let seen = |at| Coverage { pairs: BTreeMap::from([(pair.clone(), Position::Sample(at))]) };
        let mut coverage = seen(32);
        coverage.join(seen(16));
        coverage.up_to(Position::Sample(20));
        assert_eq!(coverage.pairs().len(), 1);
        coverage.up_to(Position::Sample(15));
        assert_eq!(coverage.pairs().len(), 0);
    }
}
