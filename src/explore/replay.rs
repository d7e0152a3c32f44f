//! Schedules by name: recording one, and replaying it.
//!
//! A schedule is told as its *deviations* from running whoever runs until it blocks: "before `a` unlocks `.lock`, `b` goes on". Steps are
//! named by task, operation and resource, not by number, so a recorded schedule survives small edits of the program: what it does not
//! find it leaves out. The scar: shuttle's schedules are lists of task numbers, one inserted log line breaks them all, and sixteen
//! of its own replay tests are switched off.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use crate::sim::{Choice, Chooser, State};

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
    /// A process is left out: it keeps its number, and has ended before anything happens.
    Without { process: String },
}

/// The position of the choice that needs no deviation: whoever went last goes on; if it cannot, the oldest that can. Faults never
/// happen by themselves.
pub(super) fn default_choice(state: &State, last: Option<u64>) -> usize {
    if let Some(at) = state.goes_on(last) {
        return at;
    }
    let rank = |at: usize| {
        let choice = state.choice(at);
        let agent = state.agent(choice);
        (choice.is_fault(), Some(agent) != last, agent, state.age(choice), at)
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

/// Some steps of one agent without anybody else's in between; or a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    /// As in the names of its steps.
    pub(crate) agent: String,
    steps: u32,
    /// Which fault it is; none, if they are steps of the agent's own.
    fault: Option<StepName>,
}

/// Follows a list of positions, and writes down how it deviates, and whose turn it was.
pub(crate) struct Recorder<'t> {
    tape: std::slice::Iter<'t, u32>,
    last: Option<u64>,
    count: Count,
    values: u32,
    pub(crate) deviations: Vec<Deviation>,
    pub(crate) turns: Vec<Turn>,
}

impl<'t> Recorder<'t> {
    pub(crate) fn new(tape: &'t [u32]) -> Self {
        let (deviations, turns) = (Vec::new(), Vec::new());
        Recorder { tape: tape.iter(), last: None, count: Count::default(), values: 0, deviations, turns }
    }

    fn take_turn(&mut self, choice: Choice, step: &StepName) {
        let fault = choice.is_fault().then(|| step.clone());
        match self.turns.last_mut().filter(|turn| fault.is_none() && turn.fault.is_none() && turn.agent == step.agent) {
            Some(turn) => turn.steps += 1,
            None => self.turns.push(Turn { agent: step.agent.clone(), steps: 1, fault }),
        }
    }
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
        self.take_turn(state.choice(at), &take);
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
                Deviation::Without { .. } => {} // it had ended when the machine was loaded
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

/// Lets one agent after the other go on for as many steps as it is told, and passes over those that cannot. Then whoever can goes on.
pub(crate) struct Guide<'t> {
    turns: std::slice::Iter<'t, Turn>,
    now: Option<&'t Turn>,
    left: u32,
    last: Option<u64>,
}

impl<'t> Guide<'t> {
    pub(crate) fn new(turns: &'t [Turn]) -> Self {
        Guide { turns: turns.iter(), now: None, left: 0, last: None }
    }

    fn find(&self, state: &State, turn: &Turn) -> Option<usize> {
        let choices = (0..state.choice_count()).map(|at| (at, state.choice(at)));
        match &turn.fault {
            Some(fault) => {
                choices.filter(|&(_, choice)| choice.is_fault()).find(|&(_, c)| StepName::of(state, c) == *fault)
            }
            None => {
                let own = choices.filter(|&(_, c)| !c.is_fault() && state.describe(c).0 == turn.agent);
                own.min_by_key(|&(_, choice)| state.age(choice))
            }
        }
        .map(|(at, _)| at)
    }
}

impl Chooser for Guide<'_> {
    fn pick(&mut self, state: &State) -> Option<usize> {
        let at = loop {
            if self.left == 0 {
                let Some(turn) = self.turns.next() else { break default_choice(state, self.last) };
                (self.now, self.left) = (Some(turn), turn.steps);
            }
            if let Some(at) = self.now.and_then(|turn| self.find(state, turn)) {
                self.left -= 1;
                break at;
            }
            self.left = 0;
        };
        self.last = Some(state.agent(state.choice(at)));
        Some(at)
    }
    fn value(&mut self, _: u32) -> u32 {
        0
    }
}

/// Passes choices on and notes their positions.
pub(crate) struct Taping<'c, C: ?Sized> {
    pub(crate) chooser: &'c mut C,
    pub(crate) tape: &'c mut Vec<u32>,
}

impl<C: Chooser + ?Sized> Chooser for Taping<'_, C> {
    #[inline(always)]
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
    fn watches(&self) -> bool {
        self.chooser.watches()
    }
    fn ended(&mut self, state: &State) {
        self.chooser.ended(state);
    }
}

impl fmt::Display for StepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.agent, self.op)?;
        if self.subject.is_empty() { Ok(()) } else { write!(f, " {}", self.subject) }
    }
}
