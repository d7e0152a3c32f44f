//! One exploration by our own engine: execution after execution, as the strategy says, until there is a reason to stop.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::conclude::conclude;
use super::coverage::Looking;
use super::findings::{Chunk, Position, Tally};
use super::sample::{PILOTS, Samples};
use super::search::{Ended, SEARCH_STEPS_MAX};
use super::stopwatch::Stopwatch;
use super::{Cores, Exploration, Findings, Method, Strategy, replay};
use crate::oracle::Violation;
use crate::scenario::Scenario;
use crate::sim::{Chooser, Dialed, End, Machine, Plan};

/// And the search of a portfolio, which has sampling to fall back on, when one has more than that: what has so many steps has more
/// schedules than it could come to the end of, and remembering the states of a large machine is slow.
const PORTFOLIO_STEPS_MAX: u64 = 500;
/// So many executions of the search of a portfolio are run by every part, though only one counts them: most searches come to their end
/// within, and then there is nothing to sample.
const LOOK_AHEAD: u64 = 1_000;
/// How much happens between two reports of progress.
const TICK_EXECUTIONS: u64 = 256;
const TICK_STEPS: u64 = 500_000;
/// How much is sampled at a stretch by one thread.
const CHUNK_EXECUTIONS: u64 = 1_024;
const CHUNK_STEPS: u64 = 200_000;

/// How far an exploration is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pace {
    /// Executions so far.
    pub executions: u64,
    /// How many there will be, where that is known: when sampling.
    pub expected: Option<u64>,
    /// Of a search, the fraction of the tree of choices that lies behind, if all branches were equally large. They are not, and what
    /// the state cache cuts is not known beforehand, so this is an estimate and often far off.
    pub explored: Option<f64>,
    /// How many [pairs](super::Pair) of operations have met, if that is counted; on several threads, those that this one has seen.
    pub pairs: u64,
    /// How many schedules were tried so far to make one that breaks a promise smaller, once that has begun. To interrupt that is to be content
    /// with what there is.
    pub tries: Option<u64>,
}

/// Called now and then; `false` interrupts.
pub type Progress<'p> = &'p mut dyn FnMut(&Pace) -> bool;

/// The seeded engine: our own executor of futures, and the strategy picks.
pub(crate) fn explore(
    scenario: &Scenario,
    strategy: &Strategy,
    progress: Progress<'_>,
    cores: &dyn Cores,
) -> Exploration {
    let common = Common {
        scenario,
        strategy,
        start: Stopwatch::start(),
        executions: AtomicU64::new(0),
        over: AtomicBool::new(false),
    };
    let mut run = Run::new(&common, Some(&mut *progress));
    let others = run.explore(cores);
    run.findings.elapsed = common.start.elapsed();
    let mut findings = vec![run.end()];
    findings.extend(others);
    conclude(scenario, strategy, findings, progress)
}

/// What all threads of an exploration see.
struct Common<'a> {
    scenario: &'a Scenario,
    strategy: &'a Strategy,
    start: Stopwatch,
    executions: AtomicU64,
    /// Somebody has found a reason for all to stop.
    over: AtomicBool,
}

/// The executions of one thread.
pub(super) struct Run<'a> {
    common: &'a Common<'a>,
    pub(super) plan: Plan,
    /// How many steps an execution may have that is drawn; a search may have set the plan a narrower bound.
    pub(super) sampled_steps_max: u64,
    pub(super) machine: Machine,
    /// By which dials searches tell states apart.
    pub(super) dialed: Dialed,
    pub(super) findings: Findings,
    /// Only one thread tells.
    progress: Option<Progress<'a>>,
    pub(super) pace: Pace,
    /// Executions and steps since the last look at the clock.
    unticked: (u64, u64),
    /// What was chosen in the last execution.
    pub(super) tape: Vec<u32>,
}

/// How an execution ended, for the exploration.
pub(super) enum Then {
    /// On to the next.
    Next,
    /// It broke a promise.
    Violated(Violation),
    /// It was cut, and so is the exploration.
    Over,
}

/// The schedules that the threads of a part divide among themselves.
struct Lots {
    samples: Samples,
    /// How many are this part's business.
    share: u64,
    chunk: u64,
    next: AtomicU64,
    /// The lowest number of one that broke a promise: those above are not needed.
    lowest: AtomicU64,
}

impl<'a> Run<'a> {
    fn new(common: &'a Common<'a>, progress: Option<Progress<'a>>) -> Self {
        let mut machine = Machine::default();
        machine.state_mut().judges = common.scenario.judges();
        let plan = common.scenario.plan();
        Run {
            common,
            sampled_steps_max: plan.steps_max,
            dialed: Dialed::always(plan.time),
            plan,
            machine,
            findings: Findings::of(common.scenario, common.strategy),
            progress,
            pace: Pace::default(),
            unticked: (0, 0),
            tape: Vec::new(),
        }
    }

    /// What it has found.
    fn end(mut self) -> Findings {
        self.findings.judged = self.machine.state().judges.judged();
        self.findings
    }

    /// Explores; returns what other threads have found.
    fn explore(&mut self, cores: &dyn Cores) -> Vec<Findings> {
        let (all, part) = (self.common.strategy.clone(), self.common.strategy.part);
        let mine = part.owns(self.common.scenario);
        match all.method {
            Method::Dfs { cache } if all.exhaustive && !part.is_whole() => {
                self.search_in_parts(&all, cache);
                Vec::new()
            }
            Method::Dfs { cache } => {
                if mine {
                    let searched = if cache && all.exhaustive {
                        self.search_shallow_first(&all)
                    } else {
                        self.search(cache, &all, SEARCH_STEPS_MAX).1
                    };
                    self.findings.search = Some(searched);
                }
                Vec::new()
            }
            Method::Dpor => {
                if mine {
                    let searched = self.reduce(&all);
                    self.findings.search = Some(searched);
                }
                Vec::new()
            }
            Method::Bounded => {
                if mine {
                    let searched = self.search_by_bound(&all, |k| Position::Search(0, k));
                    self.findings.search = Some(searched);
                }
                Vec::new()
            }
            Method::Portfolio => {
                let half = all.half();
                let until = if mine { half.clone() } else { half.clone().schedules_max(LOOK_AHEAD) };
                let (ended, searched) = self.search(true, &until, PORTFOLIO_STEPS_MAX);
                let at_once = searched.tally.executions == 0;
                if mine && !at_once {
                    self.findings.search = Some(searched);
                }
                match ended {
                    // What is sampled must not depend on how far the search came: the other parts do not know.
                    Ended::Count if at_once => self.sample(&all, cores),
                    Ended::Count => self.sample(&all.without(&half), cores),
                    Ended::Exhausted | Ended::Over => Vec::new(),
                }
            }
            _ => self.sample(&all, cores),
        }
    }

    /// One execution.
    pub(super) fn execute(&mut self, at: Position, chooser: &mut impl Chooser, tally: &mut Tally) -> Then {
        self.tape.clear();
        let mut taping = replay::Taping { chooser, tape: &mut self.tape };
        let end = if at.is_looked_at(self.common.strategy) {
            let mut looking = Looking::new(&mut taping, &mut self.findings.coverage, at);
            self.machine.run(&self.plan, &mut looking)
        } else {
            self.machine.run(&self.plan, &mut taping)
        };
        let state = self.machine.state();
        let steps = state.step;
        tally.add(state);
        self.findings.keep_evidence(at, state, &self.tape);
        if let End::Violated(violation) = end {
            return Then::Violated(violation);
        }
        self.unticked = (self.unticked.0 + 1, self.unticked.1 + steps);
        let due = self.unticked.0 >= TICK_EXECUTIONS || self.unticked.1 >= TICK_STEPS;
        if due && self.tick() { Then::Over } else { Then::Next }
    }

    /// Looks at the clock and at who may interrupt. Whether all is over.
    fn tick(&mut self) -> bool {
        let common = self.common;
        let (executed, _) = std::mem::take(&mut self.unticked);
        self.pace.pairs = self.findings.coverage.pairs().len() as u64;
        self.pace.executions = common.executions.fetch_add(executed, Ordering::Relaxed) + executed;
        if common.strategy.time_limit.is_some_and(|limit| common.start.elapsed() >= limit) {
            self.cut("the time was over".into());
        } else if self.progress.as_mut().is_some_and(|progress| !progress(&self.pace)) {
            self.cut("interrupted".into());
        }
        common.over.load(Ordering::Relaxed)
    }

    /// Whether somebody has found a reason for all to stop.
    pub(super) fn is_over(&self) -> bool {
        self.common.over.load(Ordering::Relaxed)
    }

    /// Stops this thread and the others.
    pub(super) fn cut(&mut self, why: String) {
        self.findings.cut.get_or_insert(why);
        self.common.over.store(true, Ordering::Relaxed);
    }

    /// The execution just run broke a promise.
    pub(super) fn violated(&mut self, at: Position, violation: Violation) {
        self.findings.violate(at, violation, &self.tape);
    }

    /// Samples as much as that, and returns what other threads have found meanwhile.
    fn sample(&mut self, until: &Strategy, cores: &dyn Cores) -> Vec<Findings> {
        let (found, part) = (Mutex::new(Vec::new()), until.part);
        let samples = samples(&self.plan, until);
        let steps = samples.steps();
        let lots = Lots {
            samples,
            share: part.share(until.sampled(steps)),
            chunk: (CHUNK_STEPS / steps).clamp(1, CHUNK_EXECUTIONS),
            next: AtomicU64::new(0),
            lowest: AtomicU64::new(u64::MAX),
        };
        let so_far = self.findings.search.as_ref().map_or(0, |searched| searched.tally.executions);
        self.pace = Pace { expected: Some(so_far + lots.share), explored: None, ..self.pace };
        let common = self.common;
        let others = || {
            let mut run = Run::new(common, None);
            run.sample_chunks(&lots);
            found.lock().push(run.end());
        };
        cores.share(&others, &mut || self.sample_chunks(&lots));
        found.into_inner()
    }

    fn sample_chunks(&mut self, lots: &Lots) {
        let part = self.common.strategy.part;
        while !self.common.over.load(Ordering::Relaxed) {
            let from = lots.next.fetch_add(1, Ordering::Relaxed) * lots.chunk;
            let needed = |n: u64| n <= lots.lowest.load(Ordering::Relaxed);
            if from >= lots.share || !needed(part.schedule(from)) {
                return;
            }
            let every = part.of().into();
            let mut chunk = Chunk { first: part.schedule(from), every, tally: Tally::default() };
            for n in (from..lots.share.min(from + lots.chunk)).map(|k| part.schedule(k)).take_while(|&n| needed(n)) {
                let at = Position::Sample(n);
                let then = match lots.samples.flight(n) {
                    Some(mut pilot) => self.execute(at, &mut pilot, &mut chunk.tally),
                    None => self.execute(at, &mut lots.samples.schedule(n), &mut chunk.tally),
                };
                match then {
                    Then::Next => {}
                    Then::Over => break,
                    Then::Violated(violation) => {
                        lots.lowest.fetch_min(n, Ordering::Relaxed);
                        self.violated(at, violation);
                        break;
                    }
                }
            }
            self.findings.sampled.push(chunk);
            if self.findings.violated.is_some() {
                return;
            }
        }
    }
}

/// The schedules of a strategy. Every part flies the pilots to know them, before no oracle: what oracles remember must not depend on who asks.
pub(super) fn samples(plan: &Plan, strategy: &Strategy) -> Samples {
    let mut samples = Samples::new(strategy.method, strategy.seed, plan.faults.total());
    let mut machine = Machine::default();
    for n in 0..PILOTS {
        let mut flight = samples.flight(n).expect("a pilot");
        machine.run(plan, &mut flight);
        samples.learn(flight);
    }
    samples
}
