//! From what was found to a verdict, and a failure with a name.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::coverage::Looking;
use super::findings::{Position, Tally};
use super::run::samples;
use super::shrink::{Goal, Retrial, Shrunk};
use super::{Coverage, Exploration, Failure, Findings, Key, Pace, Progress, Retold, Strategy, Told, Verdict, retell};
use crate::oracle::{Violation, ViolationKind};
use crate::scenario::Scenario;
use crate::sim::{Chooser, End, Machine, Plan, State};

/// Where one run would have stopped.
pub(super) struct First {
    pub(super) at: Position,
    pub(super) violation: Violation,
    /// What the execution came to, if that is not what was counted for it: before the oracles of its part alone it may have gone on.
    pub(super) again: Option<(Tally, Coverage)>,
}

impl First {
    /// What was counted, taken as it is.
    pub(super) fn as_found(findings: &Findings) -> Option<First> {
        let (at, violation) = findings.violated.zip(findings.violation.clone())?;
        Some(First { at, violation, again: None })
    }

    /// Runs again what is noted, in the order of one run and before the same oracles. What is not noted has shown nothing that an
    /// earlier execution had not, so it changes nothing.
    pub(super) fn by_running_again(scenario: &Scenario, strategy: &Strategy, findings: &Findings) -> Option<First> {
        let (plan, mut machine) = (scenario.plan(), Machine::default());
        machine.state_mut().judges = scenario.judges();
        let needed = |at: Position| findings.violated.is_none_or(|violated| at <= violated);
        findings.noted.iter().filter(|noted| needed(noted.at)).find_map(|noted| {
            let (mut tally, mut coverage, at) = (Tally::default(), Coverage::default(), noted.at);
            let mut again = Again(noted.tape.iter());
            let end = if at.is_looked_at(strategy) {
                machine.run(&plan, &mut Looking::new(&mut again, &mut coverage, at))
            } else {
                machine.run(&plan, &mut again)
            };
            let End::Violated(violation) = end else { return None };
            tally.add(machine.state());
            Some(First { at, violation, again: Some((tally, coverage)) })
        })
    }
}

/// What the threads of an exploration, or of a part of one, have found together.
pub(crate) fn conclude(
    scenario: &Scenario,
    strategy: &Strategy,
    found: Vec<Findings>,
    progress: Progress<'_>,
) -> Exploration {
    let alone = found.len() == 1;
    let mut pieces = found.into_iter();
    let mut findings = pieces.next().expect("there is at least one thread");
    pieces.for_each(|piece| findings.absorb(piece));
    let first = if alone { None } else { First::by_running_again(scenario, strategy, &findings) };
    // What is not shown again was found all the same: an oracle may merge what it does not tell.
    let first = first.or_else(|| First::as_found(&findings));
    conclude_with(scenario, strategy, findings, first, progress)
}

/// The same, if it is known which promise is broken first.
pub(super) fn conclude_with(
    scenario: &Scenario,
    strategy: &Strategy,
    mut findings: Findings,
    first: Option<First>,
    progress: Progress<'_>,
) -> Exploration {
    let plan = scenario.plan();
    let tally = add_up(strategy, &plan, &findings, first.as_ref());
    let exhausted = findings.search.as_ref().is_some_and(|search| search.exhausted);
    let sampled = !(findings.sampled.is_empty() || exhausted);
    let states = findings.search.as_ref().and_then(|search| search.states).filter(|_| !sampled);
    match &first {
        Some(First { at, again: Some((_, coverage)), .. }) => findings.coverage.end_with(*at, coverage.clone()),
        Some(First { at, .. }) => findings.coverage.up_to(*at),
        None if exhausted => findings.coverage.up_to(Position::Search(u64::MAX, u64::MAX)),
        None => {}
    }
    let bound = findings.search.as_ref().and_then(|search| search.bound);
    let whole = strategy.part.is_whole();
    let executions = tally.executions;
    let verdict = match (first, &findings.cut) {
        (Some(First { at, violation, .. }), _) => {
            let mut machine = Machine::default();
            let tape = findings.noted.iter().rfind(|noted| noted.at == at).map_or(&[][..], |noted| &noted.tape);
            let evidence = findings.evidence();
            let pace = Pace { executions, pairs: findings.coverage.pairs().len() as u64, ..Pace::default() };
            let mut retrials = Retrials { scenario, strategy, machine: &mut machine, pace, progress };
            Verdict::Violated(Box::new(retrials.tell(violation, tape, &evidence)))
        }
        (None, Some(why)) => Verdict::Inconclusive(format!("{why} after {executions} executions{}", with_bound(bound))),
        (None, None) if strategy.exhaustive && !exhausted && (whole || findings.search.is_some()) => {
            let tried = format!("{executions} executions were tried, and there are more{}", with_bound(bound));
            Verdict::Inconclusive(tried)
        }
        (None, None) => match vacuous(scenario, &findings.judged).filter(|_| whole) {
            Some(violation) => Verdict::Violated(Box::new(Failure::without_schedule(violation, executions))),
            None => Verdict::Upheld { executions, exhaustive: exhausted && whole },
        },
    };
    Exploration {
        verdict,
        executions,
        steps: tally.steps,
        states,
        bound,
        elapsed: findings.elapsed,
        makespan: scenario.is_timed().then_some(tally.makespan),
        peaks: tally.peaks,
        coverage: findings.coverage.clone(),
        part: Some(Box::new(findings)),
    }
}

/// What a search has tried to the end that has not come to its own.
fn with_bound(bound: Option<u32>) -> String {
    bound.map(|bound| format!(", complete up to a bound of {bound} on preemptions and faults")).unwrap_or_default()
}

/// Follows positions to their end.
struct Again<'t>(std::slice::Iter<'t, u32>);

impl Chooser for Again<'_> {
    fn pick(&mut self, state: &State) -> Option<usize> {
        let at = *self.0.next()? as usize;
        (at < state.choice_count()).then_some(at)
    }
    fn value(&mut self, of: u32) -> u32 {
        self.0.next().copied().filter(|&value| value < of).unwrap_or(0)
    }
}

/// What one run would have counted that stopped there.
fn add_up(strategy: &Strategy, plan: &Plan, findings: &Findings, first: Option<&First>) -> Tally {
    let mut tally = Tally::default();
    if let Some(search) = &findings.search {
        tally.join(&search.tally);
        if search.exhausted && first.is_none() {
            return tally; // whatever others have sampled meanwhile
        }
    }
    // Up to which schedule what was counted counts.
    let end = match first {
        None => u64::MAX,
        Some(First { at: Position::Sample(n), again: Some((again, _)), .. }) => {
            tally.join(again);
            *n
        }
        Some(First { at: Position::Sample(n), again: None, .. }) => n + 1,
        Some(_) => return tally,
    };
    let mut machine = Machine::default(); // without oracles: what they say of these is known
    let mut known = None;
    for chunk in findings.sampled.iter().filter(|chunk| chunk.first < end) {
        if chunk.last() < end {
            tally.join(&chunk.tally);
            continue;
        }
        // Another part, or thread, had gone on. How much of it one run would not have done is known only by doing it again.
        let samples = known.get_or_insert_with(|| samples(plan, strategy));
        for n in (chunk.first..end).step_by(usize::try_from(chunk.every).unwrap_or(usize::MAX)) {
            match samples.flight(n) {
                Some(mut pilot) => machine.run(plan, &mut pilot),
                None => machine.run(plan, &mut samples.schedule(n)),
            };
            tally.add(machine.state());
        }
    }
    tally
}

/// A violation if an oracle that the scenario names never had anything to judge.
fn vacuous(scenario: &Scenario, judged: &[bool]) -> Option<Violation> {
    let judges = scenario.judges();
    let mut named = judges.all.iter().filter(|judge| judge.named).zip(judged);
    let (idle, _) = named.find(|(_, judged)| !**judged)?;
    let name = idle.oracle.name();
    let text = format!("{name:?} never had anything to judge: what the scenario promises did not come up");
    Some(Violation::new(ViolationKind::Vacuous, text))
}

/// What it takes to make a failure smaller.
struct Retrials<'r> {
    scenario: &'r Scenario,
    strategy: &'r Strategy,
    machine: &'r mut Machine,
    /// That of the exploration when it had ended.
    pace: Pace,
    progress: Progress<'r>,
}

impl Retrials<'_> {
    fn shrunk(&mut self, goal: Goal<'_>, tape: &[u32]) -> Option<Shrunk> {
        let Retrials { scenario, strategy, machine, pace, progress } = self;
        let mut tried = |tries| progress(&Pace { tries: Some(tries), ..*pace });
        Retrial::new(scenario, machine, goal, strategy.shorten, &mut tried).shrink(tape)
    }

    /// Names the schedule of a failure, shortens it, and replays it for the report: no key is printed that has not failed again the
    /// same way. What follows from several executions gets a key for each, which has shown its part again, and all of them together fail.
    fn tell(&mut self, violation: Violation, tape: &[u32], evidence: &BTreeMap<Arc<str>, Vec<u32>>) -> Failure {
        let (scenario, executions) = (self.scenario, self.pace.executions);
        let (name, case) = (scenario.name(), scenario.case_name());
        let named = |deviations| Key { scenario: name.to_owned(), case: case.to_owned(), deviations };
        let (keys, original) = match self.shrunk(Goal::Kind(&violation.kind), tape) {
            Some(Shrunk { original, smallest }) => (vec![named(smallest)], Some(named(original))),
            None => {
                let parts = violation.follows_from.iter();
                let key = |fact: &Arc<str>| Some(named(self.shrunk(Goal::Fact(fact), evidence.get(fact)?)?.smallest));
                (parts.map(key).collect::<Option<Vec<Key>>>().unwrap_or_default(), None)
            }
        };
        let told = keys.split_first().and_then(|(_, others)| {
            // The one that made it complete comes last.
            let order: Vec<&Key> = others.iter().chain(&keys[..1]).collect();
            replay_keys(scenario, &order).0
        });
        match told {
            Some(mut failure) if failure.violation.kind == violation.kind => {
                failure.executions = executions;
                (failure.key, failure.more_keys) = (keys.first().cloned(), keys[1..].to_vec());
                failure.original = original.filter(|original| *original != keys[0]);
                failure
            }
            _ => Failure::without_schedule(violation, executions),
        }
    }
}

/// Replays schedules one after the other before the same oracles, until one fails: the failure, if one does, and everything that happened
/// in the last.
pub(crate) fn replay_keys(scenario: &Scenario, keys: &[&Key]) -> (Option<Failure>, Vec<String>) {
    let Retold { failure, story, .. } = retell(scenario, keys);
    (failure, story.iter().map(Told::to_string).collect())
}
