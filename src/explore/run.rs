//! One exploration by our own engine: execution after execution, as the strategy says, until there is a reason to stop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::dfs::Dfs;
use super::sample::Samples;
use super::{Exploration, Method, Peaks, Stopwatch, Strategy, conclude, replay};
use crate::oracle::{Violation, ViolationKind};
use crate::scenario::Scenario;
use crate::sim::{Chooser, End, Machine, Plan, State};

/// A depth-first search gives up when an execution has more steps than that: it would not come back from there.
pub(crate) const SEARCH_STEPS_MAX: u64 = 10_000;
/// And the search of a portfolio, which has sampling to fall back on, when one has more than that: what has so many steps has more
/// schedules than it could come to the end of, and remembering the states of a large machine is slow.
const PORTFOLIO_STEPS_MAX: u64 = 500;
/// How much happens between two reports of progress.
const TICK_EXECUTIONS: u64 = 256;
const TICK_STEPS: u64 = 500_000;

/// Adds up executions. Engines count for themselves, whatever the libraries that they stand on believe.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) executions: u64,
    pub(crate) steps: u64,
    pub(crate) makespan: Duration,
    pub(crate) peaks: Peaks,
    /// For each piece of evidence, the positions chosen in the first execution that showed it.
    pub(crate) evidence: BTreeMap<Arc<str>, Vec<u32>>,
}

impl Tally {
    /// Keeps the schedule of an execution for the evidence that it was the first to show.
    pub(crate) fn keep_evidence(&mut self, state: &State, tape: &[u32]) {
        for judge in &state.judges.all {
            for fact in judge.oracle.evidence() {
                self.evidence.entry(fact).or_insert_with(|| tape.to_vec());
            }
        }
    }

    pub(crate) fn add(&mut self, state: &State) {
        self.executions += 1;
        self.steps += state.step;
        self.makespan = self.makespan.max(state.clock);
        for pid in 0..state.kernel.process_count() {
            self.peaks.descriptors = self.peaks.descriptors.max(state.kernel.descriptors_peak(pid));
        }
        self.peaks.locks = self.peaks.locks.max(state.kernel.locks_peak());
        self.peaks.workers_blocked = self.peaks.workers_blocked.max(state.workers_blocked_peak);
    }
}

/// What stopped an exploration.
pub(crate) enum Stop {
    /// All schedules there are have been tried.
    Exhausted,
    /// As many as were asked for.
    Count,
    /// The time was over, or somebody interrupted.
    Early(String),
    /// A violation, and the positions chosen on the way to it.
    Violated(Violation, Vec<u32>),
}

/// Called now and then with the number of executions; `false` interrupts.
pub type Progress<'p> = &'p mut dyn FnMut(u64) -> bool;

/// The seeded engine: our own executor of futures, and the strategy picks.
pub(crate) fn explore(scenario: &Scenario, strategy: &Strategy, progress: Progress<'_>) -> Exploration {
    let mut run = Run {
        plan: scenario.plan(),
        machine: Machine::default(),
        tally: Tally::default(),
        start: Stopwatch::start(),
        strategy,
        progress,
        ticked: (0, 0),
        tape: Vec::new(),
    };
    run.machine.state_mut().judges = scenario.judges();
    let (stop, states) = run.explore();
    let Run { machine, tally, start, .. } = run;
    conclude(scenario, strategy, machine, tally, stop, states, start)
}

struct Run<'a> {
    plan: Plan,
    machine: Machine,
    tally: Tally,
    start: Stopwatch,
    strategy: &'a Strategy,
    progress: Progress<'a>,
    /// Executions and steps when somebody was last told of progress.
    ticked: (u64, u64),
    tape: Vec<u32>,
}

impl Run<'_> {
    fn explore(&mut self) -> (Stop, Option<u64>) {
        let all = self.strategy.clone();
        match self.strategy.method {
            Method::Dfs { cache } => self.search(cache, &all, SEARCH_STEPS_MAX),
            Method::Portfolio => match self.search(true, &all.half(), PORTFOLIO_STEPS_MAX) {
                (Stop::Count, _) => (self.sample(&all), None),
                stopped => stopped,
            },
            _ => (self.sample(&all), None),
        }
    }

    /// One execution; `Some` if the exploration is over.
    fn execute(&mut self, chooser: &mut impl Chooser) -> Option<Stop> {
        self.tape.clear();
        let end = self.machine.run(&self.plan, &mut replay::Taping { chooser, tape: &mut self.tape });
        let state = self.machine.state();
        self.tally.add(state);
        self.tally.keep_evidence(state, &self.tape);
        if let End::Violated(violation) = end {
            return Some(Stop::Violated(violation, std::mem::take(&mut self.tape)));
        }
        let (executions, steps) = (self.tally.executions, self.tally.steps);
        if executions - self.ticked.0 >= TICK_EXECUTIONS || steps - self.ticked.1 >= TICK_STEPS {
            self.ticked = (executions, steps);
            if self.strategy.time_limit.is_some_and(|limit| self.start.elapsed() >= limit) {
                return Some(Stop::Early("the time was over".into()));
            }
            if !(self.progress)(self.tally.executions) {
                return Some(Stop::Early("interrupted".into()));
            }
        }
        None
    }

    /// One schedule of the seed after the other.
    fn sample(&mut self, until: &Strategy) -> Stop {
        let mut samples = Samples::new(until.method, until.seed, self.plan.faults.total());
        let mut n = 0;
        while !until.is_done(self.tally.executions, self.tally.steps) {
            let stop = match samples.flight(n) {
                Some(mut flight) => {
                    let stop = self.execute(&mut flight);
                    samples.learn(flight);
                    stop
                }
                None => self.execute(&mut samples.schedule(n)),
            };
            if let Some(stop) = stop {
                return stop;
            }
            n += 1;
        }
        Stop::Count
    }

    fn search(&mut self, cache: bool, until: &Strategy, longest: u64) -> (Stop, Option<u64>) {
        let mut dfs = Dfs::new(cache);
        let steps_max = self.plan.steps_max;
        self.plan.steps_max = steps_max.min(longest);
        self.machine.state_mut().remember = cache;
        let stop = loop {
            if until.is_done(self.tally.executions, self.tally.steps) {
                break Stop::Count;
            }
            match self.execute(&mut dfs) {
                // Somebody polls, and the search lets nobody else go on: only a fair scheduler comes to an end here.
                Some(Stop::Violated(violation, _)) if violation.kind == ViolationKind::Endless => {
                    // Given up, so it does not count as tried.
                    self.tally.executions -= 1;
                    break Stop::Count;
                }
                Some(stop) => break stop,
                None => {}
            }
            if !dfs.advance() {
                break Stop::Exhausted;
            }
        };
        self.machine.state_mut().remember = false;
        self.plan.steps_max = steps_max;
        (stop, (cache && !dfs.cache_refused).then(|| dfs.states()))
    }
}
