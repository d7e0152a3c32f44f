//! JSON lines: one object for each row. Field names and meanings are stable; scripts read them.

use super::{Judged, Judgement, Report, Row, row::exhaustive, seconds};
use flockstep::explore::{Orders, Pair, Peaks};
use flockstep::{Exploration, Verdict};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// One object a line, one line for each scenario, policy and engine.
pub(crate) struct JsonLines;

impl Report for JsonLines {
    fn row(&mut self, row: &Row<'_>) -> String {
        serde_json::to_string(&Line::of(row)).expect("plain data") + "\n"
    }
    fn end(&mut self, _: Duration) -> String {
        String::new()
    }
}

/// A row.
#[derive(Serialize)]
struct Line<'a> {
    scenario: &'a str,
    policy: &'a str,
    engine: &'a str,
    strategy: &'a str,
    /// `upheld`; or `violated`, if any case is expected to be.
    expected: &'a str,
    /// That of the worst case: `violated`, `inconclusive` or `upheld`.
    verdict: &'a str,
    /// Whether every schedule of every case was tried; never true of what is violated.
    exhaustive: bool,
    /// Of all cases together.
    executions: u64,
    /// Of all executions together.
    steps: u64,
    /// Of all cases together, however many ran at the same time.
    seconds: f64,
    /// The longest virtual time of an execution, in milliseconds; null where time means nothing.
    makespan: Option<u64>,
    /// Those that the engine holds.
    cases: Vec<CaseObject<'a>>,
    /// The highest of any case.
    peaks: PeaksObject,
    /// Null unless asked for.
    coverage: Option<CoverageObject<'a>>,
    /// An unexpected one if there is one, else that of the first violated case.
    violation: Option<ViolationObject<'a>>,
}

/// A size of the policy.
#[derive(Serialize)]
struct CaseObject<'a> {
    size: BTreeMap<&'a str, u64>,
    expected: &'a str,
    /// The kinds that it may be violated in; empty if it is expected to be upheld.
    expected_kinds: Vec<&'a str>,
    verdict: &'a str,
    /// False also for a violation of another kind than the expected ones, and for what is inconclusive.
    as_expected: bool,
    /// Why it is inconclusive.
    why: Option<&'a str>,
    exhaustive: bool,
    /// Within how many preemptions and faults every schedule was tried; null if that is not known, and where that is all there are.
    bound: Option<u32>,
    executions: u64,
    steps: u64,
    /// Different states that were reached, if the engine kept count.
    states: Option<u64>,
    seconds: f64,
    makespan: Option<u64>,
    peaks: PeaksObject,
    violation: Option<ViolationObject<'a>>,
}

/// The highest that was seen in any execution.
#[derive(Serialize)]
struct PeaksObject {
    /// Of one process: the highest number plus one.
    descriptors: u32,
    /// Held at once, over all processes.
    locks: u32,
    /// Worker threads of one process blocked in a lock at once.
    workers_blocked: u32,
}

/// Which operations of different agents met at a resource, one next after the other, in all cases together.
#[derive(Serialize)]
struct CoverageObject<'a> {
    /// Classes of resources.
    classes: usize,
    /// Operations that met their own like there.
    alike: usize,
    /// Pairs of two different operations that met there in both orders.
    both_orders: usize,
    /// And those that did so in one order only.
    one_order: Vec<PairObject<'a>>,
}

#[derive(Serialize)]
struct PairObject<'a> {
    before: &'a str,
    after: &'a str,
    /// A path with every number in it as `#`.
    class: &'a str,
}

impl<'a> From<Orders<'a>> for CoverageObject<'a> {
    fn from(orders: Orders<'a>) -> Self {
        let Orders { classes, alike, both, one } = orders;
        let pair = |pair: &'a Pair| PairObject { before: &pair.before, after: &pair.after, class: &pair.class };
        CoverageObject { classes, alike, both_orders: both, one_order: one.into_iter().map(pair).collect() }
    }
}

/// A broken promise.
#[derive(Serialize)]
struct ViolationObject<'a> {
    kind: &'a str,
    /// One sentence.
    summary: &'a str,
    /// What to hand to `flockstep replay`: a key; keys with blanks between them, if it follows from several schedules; or a file. Null
    /// if it follows from all schedules together.
    key: Option<&'a str>,
    /// The schedule as it was found, before it was made smaller; null if that is the same.
    original_key: Option<String>,
    /// How often another agent goes on than the one that went last; of the key's schedule.
    switches: u32,
}

impl<'a> Line<'a> {
    fn of(row: &'a Row<'_>) -> Self {
        Line {
            scenario: row.policy.scenario,
            policy: row.policy.name,
            engine: row.engine,
            strategy: row.strategy,
            expected: row.policy.expected().word(),
            verdict: row.verdict(),
            exhaustive: row.exhaustive(),
            executions: row.executions(),
            steps: row.steps(),
            seconds: seconds(row.elapsed()),
            makespan: row.makespan().map(milliseconds),
            cases: row.cases.iter().map(CaseObject::of).collect(),
            peaks: row.peaks().into(),
            coverage: row.coverage.then(|| row.orders().into()),
            violation: row.violated().and_then(ViolationObject::of),
        }
    }
}

impl<'a> CaseObject<'a> {
    fn of(judged: &'a Judged<'_>) -> Self {
        let Judged { case, exploration, .. } = judged;
        let Exploration { verdict, executions, steps, states, bound, elapsed, makespan, peaks, .. } = exploration;
        CaseObject {
            size: case.size.iter().copied().collect(),
            expected: case.expected.word(),
            expected_kinds: case.expected.kinds().iter().map(|kind| kind.word()).collect(),
            verdict: verdict.word(),
            as_expected: judged.judgement() == Judgement::Expected,
            why: if let Verdict::Inconclusive(why) = verdict { Some(why) } else { None },
            exhaustive: exhaustive(exploration),
            bound: *bound,
            executions: *executions,
            steps: *steps,
            states: *states,
            seconds: seconds(*elapsed),
            makespan: makespan.map(milliseconds),
            peaks: (*peaks).into(),
            violation: ViolationObject::of(judged),
        }
    }
}

impl<'a> ViolationObject<'a> {
    fn of(judged: &'a Judged<'_>) -> Option<Self> {
        let failure = judged.failure()?;
        Some(ViolationObject {
            kind: failure.violation.kind.word(),
            summary: &failure.violation.summary,
            key: judged.key.as_deref(),
            original_key: failure.original.as_ref().map(ToString::to_string),
            switches: failure.switches,
        })
    }
}

impl From<Peaks> for PeaksObject {
    fn from(peaks: Peaks) -> Self {
        let Peaks { descriptors, locks, workers_blocked } = peaks;
        PeaksObject { descriptors, locks, workers_blocked }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    duration.as_millis() as u64
}
