//! Schedules by name: recording one, replaying it, making it shorter.
//!
//! A schedule is told as its *deviations* from running whoever runs until it blocks: "before `a` unlocks `.lock`, `b` goes on". Steps are
//! named by task, operation and resource, not by number, so a recorded schedule survives small edits of the program: what it does not
//! find it leaves out. The scar: shuttle's schedules are lists of task numbers, one inserted log line breaks them all, and sixteen
//! of its own replay tests are switched off.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use super::Enough;
use crate::oracle::ViolationKind;
use crate::scenario::Scenario;
use crate::sim::{Choice, Chooser, End, Machine, Plan, State};

/// A step by name: who does what to what.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct StepName {
    pub(crate) agent: String,
    pub(crate) op: String,
    pub(crate) subject: String,
}

impl StepName {
    pub(crate) fn of(state: &State, choice: Choice) -> Self {
        let (agent, op, subject) = state.describe(choice);
        // The last component tells resources apart well enough, and survives a move of the directory.
        let last = subject.rsplit('/').next().unwrap_or_default();
        // Several futures of one task may be about to do the same: they are told apart by age.
        let twin = |other: &Choice| {
            let older = state.agent(*other) == state.agent(choice) && state.age(*other) < state.age(choice);
            older && state.describe(*other) == (agent.clone(), op, subject.clone())
        };
        let elder = (0..state.choice_count()).map(|at| state.choice(at)).filter(twin).count();
        let op = if elder == 0 { op.to_owned() } else { format!("{op}.{}", elder + 1) };
        StepName { agent, op, subject: last.to_owned() }
    }
}

/// One deviation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Deviation {
    /// Before the `nth` occurrence of a step, another one is taken.
    Step { before: StepName, nth: u32, take: StepName },
    /// The `nth` value that somebody chooses is not zero.
    Value { nth: u32, value: u32 },
}

/// The position of the choice that needs no deviation: whoever went last goes on; if it cannot, the oldest that can. Faults never
/// happen by themselves.
fn default_choice(state: &State, last: Option<u64>) -> usize {
    let rank = |at: usize| {
        let choice = state.choice(at);
        let agent = state.agent(choice);
        let fault = !matches!(choice, Choice::Act(_) | Choice::Resume(_));
        (fault, Some(agent) != last, agent, state.age(choice), at)
    };
    (0..state.choice_count()).map(rank).min().expect("there is something to choose").4
}

/// Counts how often each step has been taken.
#[derive(Default)]
struct Count(BTreeMap<StepName, u32>);

impl Count {
    fn next(&self, step: &StepName) -> u32 {
        self.0.get(step).copied().unwrap_or(0) + 1
    }
    fn taken(&mut self, step: StepName) {
        *self.0.entry(step).or_default() += 1;
    }
}

/// Follows a list of positions and writes down how it deviates.
struct Recorder<'t> {
    tape: std::slice::Iter<'t, u32>,
    last: Option<u64>,
    count: Count,
    values: u32,
    deviations: Vec<Deviation>,
}

impl Chooser for Recorder<'_> {
    fn pick(&mut self, state: &State) -> Option<usize> {
        let at = *self.tape.next()? as usize;
        let default = default_choice(state, self.last);
        let take = StepName::of(state, state.choice(at));
        if at != default {
            let before = StepName::of(state, state.choice(default));
            let nth = self.count.next(&before);
            self.deviations.push(Deviation::Step { before, nth, take: take.clone() });
        }
        self.count.taken(take);
        self.last = Some(state.agent(state.choice(at)));
        Some(at)
    }
    fn value(&mut self, _: u32) -> u32 {
        let value = self.tape.next().copied().unwrap_or(0);
        self.values += 1;
        if value != 0 {
            self.deviations.push(Deviation::Value { nth: self.values, value });
        }
        value
    }
}

/// Follows deviations.
pub(crate) struct Replay<'d> {
    /// By what they come before, and which occurrence of it; each is taken out when it is used, the first of two first.
    steps: BTreeMap<&'d StepName, BTreeMap<u32, VecDeque<&'d StepName>>>,
    chosen: BTreeMap<u32, u32>,
    last: Option<u64>,
    count: Count,
    values: u32,
}

impl<'d> Replay<'d> {
    pub(crate) fn new(deviations: &'d [Deviation]) -> Self {
        let (mut steps, mut chosen) = (BTreeMap::<_, BTreeMap<_, VecDeque<_>>>::new(), BTreeMap::new());
        for deviation in deviations {
            match deviation {
                Deviation::Step { before, nth, take } => {
                    steps.entry(before).or_default().entry(*nth).or_default().push_back(take)
                }
                Deviation::Value { nth, value } => drop(chosen.entry(*nth).or_insert(*value)),
            }
        }
        Replay { steps, chosen, last: None, count: Count::default(), values: 0 }
    }
}

impl Chooser for Replay<'_> {
    fn pick(&mut self, state: &State) -> Option<usize> {
        let mut at = default_choice(state, self.last);
        let default = StepName::of(state, state.choice(at));
        let count = self.count.next(&default);
        let due = self.steps.get_mut(&default).and_then(|by_count| by_count.get_mut(&count));
        if let Some(take) = due.and_then(VecDeque::pop_front) {
            let wanted = |&other: &usize| StepName::of(state, state.choice(other)) == *take;
            if let Some(other) = (0..state.choice_count()).find(wanted) {
                at = other;
            }
        }
        let choice = state.choice(at);
        self.count.taken(StepName::of(state, choice));
        self.last = Some(state.agent(choice));
        Some(at)
    }
    fn value(&mut self, of: u32) -> u32 {
        self.values += 1;
        self.chosen.get(&self.values).copied().filter(|&value| value < of).unwrap_or(0)
    }
}

/// Passes choices on and notes their positions.
pub(crate) struct Taping<'c, C> {
    pub(crate) chooser: &'c mut C,
    pub(crate) tape: &'c mut Vec<u32>,
}

impl<C: Chooser> Chooser for Taping<'_, C> {
    fn pick(&mut self, state: &State) -> Option<usize> {
        let at = self.chooser.pick(state)?;
        self.tape.push(at as u32);
        Some(at)
    }
    fn value(&mut self, of: u32) -> u32 {
        let value = self.chooser.value(of);
        self.tape.push(value);
        value
    }
    fn ended(&mut self, state: &State) {
        self.chooser.ended(state);
    }
}

/// What a schedule is to show when it is run again.
#[derive(Clone, Copy)]
pub(crate) enum Goal<'g> {
    /// A violation of that kind.
    Kind(&'g ViolationKind),
    /// That piece of evidence, whatever the execution comes to.
    Fact(&'g str),
}

/// Runs schedules of a scenario again, each before oracles that have seen nothing else: what they merge over executions must not make a
/// schedule fail that does not do so by itself.
pub(crate) struct Retrial<'r> {
    pub(crate) scenario: &'r Scenario,
    pub(crate) machine: &'r mut Machine,
    pub(crate) plan: &'r Plan,
    pub(crate) goal: Goal<'r>,
    pub(crate) steps: u64,
}

impl Retrial<'_> {
    fn run(&mut self, chooser: &mut dyn Chooser) -> bool {
        self.machine.state_mut().judges = self.scenario.judges();
        let end = self.machine.run(self.plan, chooser);
        self.steps += self.machine.state().step;
        match self.goal {
            Goal::Kind(kind) => matches!(end, End::Violated(violation) if violation.kind == *kind),
            Goal::Fact(fact) => self.machine.state().judges.evidence().any(|shown| *shown == *fact),
        }
    }

    /// Runs deviations; whether they show it.
    fn replay(&mut self, deviations: &[Deviation]) -> bool {
        self.run(&mut Replay::new(deviations))
    }

    /// The deviations of a list of positions, as few as show it, after trying to leave some out until either limit is reached. `None`
    /// if they do not show it by name.
    pub(crate) fn deviations(&mut self, tape: &[u32], limits: Enough) -> Option<Vec<Deviation>> {
        let mut recorder =
            Recorder { tape: tape.iter(), last: None, count: Count::default(), values: 0, deviations: Vec::new() };
        let shown = self.run(&mut recorder) && self.replay(&recorder.deviations);
        shown.then(|| self.shorten(recorder.deviations, limits))
    }

    /// Leaves out every deviation that is not needed, larger blocks first, until either limit is reached.
    fn shorten(&mut self, mut deviations: Vec<Deviation>, limits: Enough) -> Vec<Deviation> {
        let mut block = deviations.len().max(1);
        let (mut tries, last) = (0, self.steps + limits.steps);
        while tries < limits.schedules && self.steps < last {
            let mut shorter = false;
            let mut from = 0;
            while from < deviations.len() && tries < limits.schedules && self.steps < last {
                let mut without = deviations.clone();
                without.drain(from..(from + block).min(deviations.len()));
                tries += 1;
                if self.replay(&without) {
                    deviations = without;
                    shorter = true;
                } else {
                    from += block;
                }
            }
            if block > 1 {
                block /= 2;
            } else if !shorter {
                break;
            }
        }
        deviations
    }
}

impl fmt::Display for StepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.agent, self.op)?;
        if self.subject.is_empty() { Ok(()) } else { write!(f, " {}", self.subject) }
    }
}
