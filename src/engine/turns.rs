//! Executions whose steps are taken by the threads of somebody else's engine.
//!
//! The machine owns and polls every task, as under our own engine; a thread of the engine owns nothing. There is one for each *agent*:
//! whoever makes choices, be it a task, a process that is exec'd or dies, or a fault. A thread that the engine lets go on takes a
//! choice of its agent, if the machine offers one, and waits until there is another. So the engine decides who goes next and
//! nothing else, its own idea of blocking, deadlock and panics never comes into play, and every execution is a tape that our own
//! engine can run again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};

use parking_lot::Mutex;

use super::CannotHold;
#[cfg(feature = "shuttle")]
use crate::explore::Dpor;
use crate::explore::{
    Exploration, Findings, Pace, Position, Progress, SEARCH_STEPS_MAX, Searched, Stopwatch, Strategy, conclude, no_end,
};
use crate::oracle::ViolationKind;
use crate::scenario::Scenario;
use crate::sim::{End, Machine, Plan, State, panic_text};

/// Executions between two looks at the clock and at whoever may interrupt.
const TICK: u64 = 64;

/// The machine and what has come out so far. Behind a mutex that no thread holds while it lets the engine switch.
pub(super) struct Turns {
    plan: Plan,
    machine: Machine,
    strategy: Strategy,
    start: Stopwatch,
    findings: Findings,
    searched: Searched,
    /// The positions taken in this execution.
    tape: Vec<u32>,
    /// Executions are enumerated, not sampled.
    is_search: bool,
    /// How this execution ended, once it has.
    end: Option<End>,
    /// Faults are not offered in this execution.
    pub(super) faultless: bool,
    /// Why there is no next execution.
    pub(super) stop: Option<Stop>,
    /// Our own reduction, where it is not the engine that decides.
    #[cfg(feature = "shuttle")]
    reduction: Option<Reduction>,
    /// What has come up that the engine cannot do.
    unable: Option<String>,
    ticks: Option<Sender<u64>>,
    interrupted: Arc<AtomicBool>,
}

/// Partial-order reduction, and the position of the choice that it has decided on.
#[cfg(feature = "shuttle")]
#[derive(Default)]
struct Reduction {
    dpor: Dpor,
    decided: Option<u32>,
}

/// Why there is no next execution.
pub(super) enum Stop {
    /// All schedules there are have been tried.
    Exhausted,
    /// As many as were asked for.
    Count,
    /// The time was over, somebody interrupted, or a search cannot go on.
    Early(String),
    /// One broke a promise.
    Violated,
}

pub(super) type Shared = Arc<Mutex<Turns>>;

impl Turns {
    /// Starts the next execution.
    pub(super) fn begin(&mut self) {
        self.tape.clear();
        self.machine.begin(&self.plan);
        self.end = self.machine.standing(self.plan.steps_max);
    }

    /// Whether this execution has ended, and its threads should, too.
    pub(super) fn is_over(&self) -> bool {
        self.end.is_some()
    }

    /// How many executions have ended.
    #[cfg(feature = "loom")]
    pub(super) fn executions(&self) -> u64 {
        self.searched.tally.executions
    }

    /// How many there may be.
    #[cfg(feature = "loom")]
    pub(super) fn schedules(&self) -> u64 {
        self.strategy.schedules
    }

    /// What could be done next: who, and the position of the choice.
    pub(super) fn offers(&self) -> Vec<(u64, u32)> {
        if self.is_over() { Vec::new() } else { offers(self.machine.state(), self.faultless) }
    }

    /// Whether an agent will never have a choice again.
    #[cfg(feature = "shuttle")]
    pub(super) fn gone(&self, agent: u64) -> bool {
        self.machine.state().gone(agent)
    }

    /// Reads the state of the machine.
    #[cfg(feature = "loom")]
    pub(super) fn with_state<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(self.machine.state())
    }

    /// Takes the choice at that position. Whether it was one by which a task gives others the time to do something.
    pub(super) fn take(&mut self, at: u32, value: &mut dyn FnMut(u32) -> Result<u32, &'static str>) -> bool {
        let (choice, patient) = {
            let state = self.machine.state();
            let choice = state.choice(at as usize);
            (choice, state.is_patience(choice))
        };
        let (tape, mut unable) = (&mut self.tape, None);
        tape.push(at);
        self.machine.take(choice, &mut |of| {
            let value = value(of).unwrap_or_else(|why| {
                unable = Some(why);
                0
            });
            tape.push(value);
            value
        });
        self.end = self.machine.standing(self.plan.steps_max);
        if let Some(why) = unable {
            self.give_up(why);
        }
        patient
    }

    /// From now on our own reduction decides.
    #[cfg(feature = "shuttle")]
    pub(super) fn reduce(&mut self) {
        self.reduction = Some(Reduction::default());
    }

    /// Whether it does.
    #[cfg(feature = "shuttle")]
    pub(super) fn is_reduced(&self) -> bool {
        self.reduction.is_some()
    }

    /// Who is to go on; if nothing new comes of it, nobody, and the execution is over.
    #[cfg(feature = "shuttle")]
    pub(super) fn decide(&mut self) -> Option<u64> {
        let state = self.machine.state();
        let reduction = self.reduction.as_mut().expect("somebody decides");
        let Some(at) = reduction.dpor.next(state) else {
            self.end = Some(End::Cut);
            return None;
        };
        reduction.decided = Some(at as u32);
        Some(state.agent(state.choice(at)))
    }

    /// Takes the choice that was decided on.
    #[cfg(feature = "shuttle")]
    pub(super) fn take_decided(&mut self) {
        let mut reduction = self.reduction.take().expect("somebody has decided");
        self.machine.state_mut().watch_steps();
        let at = reduction.decided.take().expect("it was decided");
        self.take(at, &mut |of| Ok(reduction.dpor.value(of)));
        self.reduction = Some(reduction);
    }

    /// Ends the exploration: the engine cannot do what the scenario asks for.
    pub(super) fn give_up(&mut self, why: impl Into<String>) {
        self.unable = Some(why.into());
        self.end = Some(End::Cut);
        self.stop = Some(Stop::Count);
    }

    /// After the end of an execution: adds it up, and says why there is no next one, if there is none.
    pub(super) fn finish(&mut self) {
        #[cfg(feature = "shuttle")]
        if let Some(Reduction { dpor, .. }) = &mut self.reduction {
            dpor.ended(self.machine.state());
        }
        self.machine.switch_off();
        let state = self.machine.state();
        let at = Position::Search(0, self.searched.tally.executions);
        self.searched.tally.add(state);
        self.findings.keep_evidence(at, state, &self.tape);
        if let Some(End::Violated(violation)) = self.end.take() {
            // Somebody polls, and a search lets nobody else go on: only a fair scheduler comes to an end here.
            let unfair = self.is_search && violation.kind == ViolationKind::Endless;
            self.stop = Some(if unfair { Stop::Early(no_end(self.plan.steps_max)) } else { Stop::Violated });
            if !unfair {
                self.findings.violate(at, violation, &self.tape);
            }
        }
        #[cfg(feature = "shuttle")]
        if let Some(Reduction { dpor, .. }) = &mut self.reduction
            && self.stop.is_none()
            && !dpor.advance()
        {
            self.stop = Some(Stop::Exhausted);
        }
        let executions = self.searched.tally.executions;
        let due = executions.is_multiple_of(TICK);
        if self.stop.is_some() {
        } else if self.strategy.is_done(executions, self.searched.tally.steps) {
            self.stop = Some(Stop::Count);
        } else if due && self.strategy.time_limit.is_some_and(|limit| self.start.elapsed() >= limit) {
            self.stop = Some(Stop::Early("the time was over".into()));
        } else if due && self.interrupted.load(Ordering::Relaxed) {
            self.stop = Some(Stop::Early("interrupted".into()));
        } else if due && let Some(ticks) = &self.ticks {
            let _ = ticks.send(executions);
        }
    }
}

/// Who could do what next.
pub(super) fn offers(state: &State, faultless: bool) -> Vec<(u64, u32)> {
    let choices = (0..state.choice_count()).map(|at| (state.choice(at), at as u32));
    let offered = choices.filter(|(choice, _)| !(faultless && choice.is_fault()));
    offered.map(|(choice, at)| (state.agent(choice), at)).collect()
}

/// Explores by `drive`, which runs executions until there is a reason to stop; `is_search` if it enumerates them instead of sampling.
///
/// It runs on a thread of its own: both engines demand closures that own everything, so that neither the scenario nor `progress` can be
/// borrowed, and keep what is theirs in thread-locals, which are gone afterwards whatever became of the exploration.
pub(super) fn explore(
    engine: &'static str,
    scenario: &Scenario,
    strategy: &Strategy,
    progress: Progress<'_>,
    is_search: bool,
    drive: impl FnOnce(&Shared) + Send + 'static,
) -> Result<Exploration, CannotHold> {
    let start = Stopwatch::start();
    let mut findings = Findings::of(scenario, strategy);
    if !strategy.part.owns(scenario) {
        // These engines cannot be told to begin somewhere else.
        findings.judged = scenario.judges().judged();
        return Ok(conclude(scenario, strategy, vec![findings], progress));
    }
    let (ticks, told) = channel();
    let interrupted = Arc::new(AtomicBool::new(false));
    let mut turns = Turns {
        plan: scenario.plan(),
        machine: Machine::default(),
        strategy: strategy.clone(),
        start,
        findings,
        searched: Searched::default(),
        tape: Vec::new(),
        is_search,
        end: None,
        faultless: false,
        stop: None,
        #[cfg(feature = "shuttle")]
        reduction: None,
        unable: None,
        ticks: Some(ticks),
        interrupted: interrupted.clone(),
    };
    turns.machine.state_mut().judges = scenario.judges();
    if turns.is_search {
        turns.plan.steps_max = turns.plan.steps_max.min(SEARCH_STEPS_MAX);
    }
    let turns = Arc::new(Mutex::new(turns));
    let shared = turns.clone();
    #[expect(clippy::disallowed_methods, reason = "not a thread of a protocol but one that simulates them all")]
    let thread = std::thread::spawn(move || {
        let result = catch_unwind(AssertUnwindSafe(|| drive(&shared)));
        shared.lock().ticks = None;
        result
    });
    for executions in told {
        if !progress(&Pace { executions, ..Pace::default() }) {
            interrupted.store(true, Ordering::Relaxed);
        }
    }
    let result = thread.join().unwrap_or_else(Err);
    let mut turns = turns.lock();
    if let Some(why) = turns.unable.take() {
        return Err(CannotHold { engine, scenario: scenario.name_with_case(), why });
    }
    turns.searched.exhausted = matches!(turns.stop, Some(Stop::Exhausted));
    turns.findings.cut = match (turns.stop.take(), result) {
        (Some(Stop::Early(why)), _) => Some(why),
        (None, Err(why)) => Some(format!("{engine} itself panicked ({})", panic_text(why.as_ref()))),
        _ => None,
    };
    turns.findings.search = Some(std::mem::take(&mut turns.searched));
    turns.findings.judged = turns.machine.state().judges.judged();
    turns.findings.elapsed = start.elapsed();
    Ok(conclude(scenario, strategy, vec![std::mem::take(&mut turns.findings)], progress))
}
