//! Telling a schedule again, from its key: everything that happened, by name.

use std::fmt;
use std::time::Duration;

use super::replay::Replay;
use super::shrink::Measured;
use super::{Failure, Key};
use crate::scenario::Scenario;
use crate::sim::{End, Machine};

/// A schedule that was run again.
#[derive(Clone, Debug, PartialEq)]
pub struct Retold {
    /// The failure, if it fails.
    pub failure: Option<Failure>,
    /// Everything that happened, in order.
    pub story: Vec<Told>,
    /// The lock table at the end, in the columns of `lslocks(8)`.
    pub lslocks: String,
}

/// An event with names instead of numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The step in which it happened.
    pub step: u64,
    /// When, by the clock of the machine.
    pub at: Duration,
    /// `process`, or `process/task`.
    pub who: String,
    /// What happened, as a sentence that begins with its verb.
    pub what: String,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {}", self.step)?;
        if !self.at.is_zero() {
            write!(f, " at {:?}", self.at)?;
        }
        write!(f, ": {} {}", self.who, self.what)
    }
}

/// Runs schedules again, one after the other before the same oracles, until one fails, and writes down everything that happened in the
/// last.
pub(crate) fn retell(scenario: &Scenario, keys: &[&Key]) -> Retold {
    let mut machine = Machine::default();
    let judges = &mut machine.state_mut().judges;
    *judges = scenario.judges();
    judges.recording = Some(Vec::new());
    let mut failed = None;
    for &key in keys {
        let plan = key.without().fold(scenario.plan(), |plan, process| plan.without(process));
        let mut replay = Replay::new(&key.deviations);
        let mut measured = Measured::new(&mut replay);
        if let End::Violated(violation) = machine.run(&plan, &mut measured) {
            failed = Some((violation, key, measured.cost().switches));
            break;
        }
    }
    let state = machine.state_mut();
    let events = state.judges.recording.take().unwrap_or_default();
    let view = state.view();
    let tell = |event: &crate::world::Event| Told {
        step: event.step,
        at: event.at,
        who: view.who(event),
        what: event.what.to_string(),
    };
    let story: Vec<Told> = events.iter().map(tell).collect();
    let lslocks = state.lslocks_at_end.clone();
    let failure = failed.map(|(violation, key, switches)| Failure {
        violation,
        key: Some(key.clone()),
        more_keys: Vec::new(),
        original: None,
        switches,
        story: story.iter().map(Told::to_string).collect(),
        events,
        lslocks: lslocks.clone(),
        executions: 1,
    });
    Retold { failure, story, lslocks }
}
