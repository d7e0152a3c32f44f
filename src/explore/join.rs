//! Joining the parts of an exploration to what one run would have come to.

use super::conclude::{First, conclude_with};
use super::{Exploration, Findings, Part, Strategy};
use crate::scenario::Scenario;

/// Why parts cannot be joined.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// There are none.
    #[error("there is no part")]
    Nothing,
    /// One has no number, or others are of another number of parts.
    #[error("the parts are not cut alike: {0} and {1}")]
    Unlike(String, String),
    /// One is there more than once.
    #[error("part {0} is there twice")]
    Twice(Part),
    /// Some are not there.
    #[error("{} missing", parts(.0))]
    Missing(Vec<Part>),
    /// They are of another scenario or case, or were found by another method, with other limits, or from another seed.
    #[error("part {0} was asked for something else")]
    Asked(Part),
    /// It says that a promise is broken, and running the schedule again does not show it.
    #[error("what part {0} found does not happen again: it was found in another version of the scenario")]
    NotAgain(Part),
}

/// `part 2/4 is`, `parts 2/4, 3/4 are`.
fn parts(parts: &[Part]) -> String {
    let each: Vec<String> = parts.iter().map(Part::to_string).collect();
    if let [part] = &each[..] { format!("part {part} is") } else { format!("parts {} are", each.join(", ")) }
}

/// Joins parts, in any order. What the strategy says of parts does not matter; if `partial`, some of them may be missing, and what was
/// not violated is inconclusive then.
pub(crate) fn join(
    scenario: &Scenario,
    strategy: &Strategy,
    mut found: Vec<Findings>,
    partial: bool,
) -> Result<Exploration, JoinError> {
    let whole = strategy.clone().part(Part::WHOLE);
    found.sort_by_key(|findings| (findings.of, findings.number));
    let missing = missing(&found)?;
    if !(partial || missing.is_empty()) {
        return Err(JoinError::Missing(missing));
    }
    let asked = whole.asked(scenario);
    let mut violated = None;
    let mut joined = Findings::of(scenario, &whole);
    for findings in found {
        let part = findings.part().ok_or(JoinError::Nothing)?;
        if findings.asked != asked {
            return Err(JoinError::Asked(part));
        }
        if findings.violated.is_some_and(|at| violated.is_none_or(|(earlier, _)| at < earlier)) {
            violated = findings.violated.map(|at| (at, part));
        }
        joined.absorb(findings);
    }
    if !missing.is_empty() {
        joined.cut.get_or_insert(format!("{} missing", parts(&missing)));
    }
    // What is not shown again was found all the same: an oracle may merge what it does not tell.
    let first = First::by_running_again(scenario, &whole, &joined).or_else(|| First::as_found(&joined));
    if let (None, Some((_, part))) = (&first, violated) {
        return Err(JoinError::NotAgain(part));
    }
    Ok(conclude_with(scenario, &whole, joined, first, &mut |_| true))
}

/// The parts that are not there. They are in order.
fn missing(found: &[Findings]) -> Result<Vec<Part>, JoinError> {
    let (Some(first), Some(last)) = (found.first(), found.last()) else { return Err(JoinError::Nothing) };
    let name = |findings: &Findings| format!("{}/{}", findings.number, findings.of);
    if first.of != last.of || found.iter().any(|findings| findings.part().is_none()) {
        return Err(JoinError::Unlike(name(first), name(last)));
    }
    if let Some(twice) = found.windows(2).find(|pair| pair[0].number == pair[1].number) {
        return Err(JoinError::Twice(twice[0].part().expect("looked at above")));
    }
    let there = |part: &Part| found.binary_search_by_key(&part.number(), |findings| findings.number).is_ok();
    Ok((1..=first.of).filter_map(|number| Part::new(number, first.of)).filter(|part| !there(part)).collect())
}
