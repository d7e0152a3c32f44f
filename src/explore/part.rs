//! Which part of an exploration: it can be cut into any number of parts that do not overlap, and joined again.
//!
//! What is cut is known beforehand and depends on nobody's speed. The schedules of a sampling method are numbered, and number `n` is the
//! business of part `n` modulo the number of parts. A search with one cache cannot be cut without trying things twice, so it is as a
//! whole the business of one part, which the name of the case decides; but if only every schedule counts, what the first steps
//! lead to is dealt out (see `subtrees.rs`).

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use crate::scenario::Scenario;
use crate::sim::fingerprint::Fold;

/// A part of an exploration, such as `2/4`: the second of four.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Part {
    of: u32,
    /// From zero.
    index: u32,
}

/// Why something is no part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no part: expected I/N with 1 <= I <= N, such as 2/4 for the second of four parts")]
pub struct NoPart(String);

impl Part {
    /// All of it.
    pub const WHOLE: Part = Part { of: 1, index: 0 };

    /// The `number`th of `of` parts, from 1; none if there is no such part.
    pub const fn new(number: u32, of: u32) -> Option<Part> {
        if number == 0 || number > of { None } else { Some(Part { of, index: number - 1 }) }
    }

    /// From 1.
    pub const fn number(self) -> u32 {
        self.index + 1
    }

    /// How many parts there are.
    pub const fn of(self) -> u32 {
        self.of
    }

    /// Whether it is all of it.
    pub const fn is_whole(self) -> bool {
        self.of == 1
    }

    /// Whether what has that number in a list is its business.
    pub(crate) fn takes(self, n: u64) -> bool {
        n % u64::from(self.of) == u64::from(self.index)
    }

    /// Whether what cannot be cut is its business.
    pub(crate) fn owns(self, scenario: &Scenario) -> bool {
        let mut hash = Fold::new(0);
        (scenario.name(), scenario.case_name()).hash(&mut hash);
        self.takes(hash.finish())
    }

    /// The number of the `k`th schedule that is its business.
    pub(crate) fn schedule(self, k: u64) -> u64 {
        k * u64::from(self.of) + u64::from(self.index)
    }

    /// How many of the first `schedules` are its business.
    pub(crate) fn share(self, schedules: u64) -> u64 {
        schedules.saturating_sub(self.index.into()).div_ceil(self.of.into())
    }
}

impl Default for Part {
    fn default() -> Self {
        Part::WHOLE
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number(), self.of)
    }
}

impl FromStr for Part {
    type Err = NoPart;

    fn from_str(text: &str) -> Result<Self, NoPart> {
        let numbers = text.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
        numbers.and_then(|(number, of)| Part::new(number, of)).ok_or_else(|| NoPart(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schedule_is_the_business_of_exactly_one_part() {
        for of in 1..=7 {
            for schedules in [0, 1, 5, 6, 7, 100] {
                let parts = (1..=of).map(|number| Part::new(number, of).unwrap());
                let dealt = parts.flat_map(|part| (0..part.share(schedules)).map(move |k| part.schedule(k)));
                let mut dealt: Vec<u64> = dealt.collect();
                dealt.sort_unstable();
                assert_eq!(dealt, (0..schedules).collect::<Vec<u64>>(), "{schedules} in {of} parts");
            }
        }
    }

    #[test]
    fn a_part_reads_back_as_itself_and_what_is_none_says_what_was_expected() {
        assert_eq!("2/4".parse(), Ok(Part::new(2, 4).unwrap()));
        assert_eq!(Part::new(2, 4).unwrap().to_string(), "2/4");
        for text in ["", "1", "0/4", "5/4", "a/b", "1/0", "-1/2", "1/2/3"] {
            assert!(text.parse::<Part>().unwrap_err().to_string().contains("1 <= I <= N"), "{text}");
        }
    }
}
