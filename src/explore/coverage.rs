//! Coverage: which meetings of two agents at one resource the schedules have brought about.
//!
//! A concurrency bug needs two accesses to one resource in an unlucky order. So what is counted is pairs: an operation of one agent, and the
//! next operation on the same resource by another agent, by the class of the resource. A pair that was seen says little; that sampling
//! has stopped finding new ones says that it goes in circles, and a pair that is missing says what was never tried.
//!
//! What is done to one resource by two agents can mostly be done in either order, and one order alone is half of what there is to try. Not
//! always: what is created must be there before it is removed. So [`Orders`] counts what was met in both orders, and which pairs in one only;
//! it does not say that the other one is possible. An operation that meets its own like has no order that could be told apart.
//!
//! Writing names down costs more than a step, so of many executions only every [`EVERY`]th is looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Strategy;
use super::findings::Position;
use crate::sim::{Choice, Chooser, State};
#[cfg(feature = "cli")]
use serde::{Deserialize, Serialize};

/// The first so many executions are looked at,
pub const FIRST: u64 = 1_024;
/// and of the others one of so many, by number.
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

/// In which orders operations met, of one exploration or of several together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orders<'c> {
    /// How many classes of resources they met at.
    pub classes: usize,
    /// Operations that met their own like there.
    pub alike: usize,
    /// Two different operations that met there in both orders.
    pub both: usize,
    /// Those that met in this order only.
    pub one: Vec<&'c Pair>,
}

impl<'c> Orders<'c> {
    /// In which orders the pairs of these were seen.
    pub fn of(coverage: impl IntoIterator<Item = &'c Coverage>) -> Self {
        let met: BTreeSet<&Pair> = coverage.into_iter().flat_map(Coverage::pairs).collect();
        let classes = met.iter().map(|pair| &pair.class).collect::<BTreeSet<_>>().len();
        let mut orders = Orders { classes, ..Orders::default() };
        for &pair in &met {
            let turned = Pair { before: pair.after.clone(), after: pair.before.clone(), class: pair.class.clone() };
            if turned == *pair {
                orders.alike += 1;
            } else if !met.contains(&turned) {
                orders.one.push(pair);
            } else if pair.before < pair.after {
                orders.both += 1;
            }
        }
        orders
    }
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
        strategy.coverage && (n < FIRST || n.is_multiple_of(EVERY))
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
    fn watches(&self) -> bool {
        self.chooser.watches()
    }
    fn ended(&mut self, state: &State) {
        self.chooser.ended(state);
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
    fn two_orders_of_two_operations_are_one_pair_and_an_operation_has_none_with_its_like() {
        let seen = |before: &str, after: &str, class: &str| {
            let pair = Pair { before: before.into(), after: after.into(), class: class.into() };
            Coverage { pairs: BTreeMap::from([(pair, Position::Sample(0))]) }
        };
        let all = [
            seen("open", "flock", "/a"),
            seen("flock", "open", "/a"),
            seen("flock", "flock", "/a"),
            seen("open", "flock", "/b"),
            seen("flock", "open", "/c"),
        ];
        let orders = Orders::of(&all);
        assert_eq!((orders.classes, orders.alike, orders.both), (3, 1, 1));
        let one: Vec<String> = orders.one.iter().map(|pair| format!("{} {}", pair.before, pair.class)).collect();
        assert_eq!(one, ["flock /c", "open /b"]);
    }

    #[test]
    fn of_few_executions_all_are_looked_at_and_of_many_some() {
        let strategy = Strategy::default().with_coverage();
        let looked_at = |n: &u64| Position::Sample(*n).is_looked_at(&strategy);
        assert_eq!((0..FIRST).filter(looked_at).count() as u64, FIRST);
        assert_eq!((FIRST..FIRST + 160).filter(looked_at).count(), 10);
        assert!(!Position::Sample(0).is_looked_at(&Strategy::default()));
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
