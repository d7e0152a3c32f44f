//! One exploration by our own engine: execution after execution, as the strategy says, until there is a reason to stop.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::cheapest::{Cheapest, Order};
use super::conclude::conclude;
use super::coverage::Looking;
use super::dfs::Dfs;
use super::dpor::Dpor;
use super::findings::{Chunk, Position, Searched, Tally};
use super::sample::{PILOTS, Samples};
use super::stopwatch::Stopwatch;
use super::{Cores, Exploration, Findings, Method, Strategy, replay};
use crate::oracle::{Violation, ViolationKind};
use crate::scenario::Scenario;
use crate::sim::{Chooser, End, Machine, Plan, Time};

/// A depth-first search gives up when an execution has more steps than that: it would not come back from there.
pub(crate) const SEARCH_STEPS_MAX: u64 = 10_000;
/// And the search of a portfolio, which has sampling to fall back on, when one has more than that: what has so many steps has more
/// schedules than it could come to the end of, and remembering the states of a large machine is slow.
const PORTFOLIO_STEPS_MAX: u64 = 500;
/// So many executions of the search of a portfolio are run by every part, though only one counts them: most searches come to their end
/// within, and then there is nothing to sample.
const LOOK_AHEAD: u64 = 1_000;
/// An exhaustive search begins with so many executions in the order of preemptions and faults, or with this part of all: most of what is wrong is
/// found there, and a depth-first search may never come out of the corner where it begins. What parts of one look over first is no more than
/// that part of all either.
const SHALLOW: u64 = 1_000;
pub(super) const SHALLOW_PART: u64 = 16;
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
    /// Whether searches tell states apart by how late it is, from the beginning.
    clock_matters: bool,
    pub(super) findings: Findings,
    /// Only one thread tells.
    progress: Option<Progress<'a>>,
    pace: Pace,
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

/// Why a search is over that has come to an execution without an end.
pub(crate) fn no_end(steps: u64) -> String {
    format!("a search cannot go on behind an execution of {steps} steps, as of somebody who polls alone,")
}

/// How a search ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// There is nothing left to try.
    Exhausted,
    /// A limit was reached.
    Count,
    /// A promise was broken, or the time is over.
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
            clock_matters: plan.time != Time::Free,
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

    /// One of all schedules that differ only in the order of independent steps.
    fn reduce(&mut self, until: &Strategy) -> Searched {
        let mut searched = Searched::default();
        let ended = self.searching(false, SEARCH_STEPS_MAX, |run| run.reduce_with(until, &mut searched));
        searched.exhausted = ended == Ended::Exhausted;
        searched
    }

    fn reduce_with(&mut self, until: &Strategy, found: &mut Searched) -> Ended {
        let mut dpor = Dpor::new();
        for k in 0.. {
            if until.is_done(found.tally.executions, found.tally.steps) {
                return Ended::Count;
            }
            if let Some(ended) = self.execute_searching(Position::Search(0, k), &mut dpor, until, found) {
                return ended;
            }
            if cfg!(debug_assertions)
                && let Some(pair) = dpor.pair(k)
                && let Some(difference) = pair.difference(&mut self.machine, &self.plan)
            {
                panic!("{difference}");
            }
            if !dpor.advance() {
                break;
            }
        }
        Ended::Exhausted
    }

    fn search(&mut self, cache: bool, until: &Strategy, longest: u64) -> (Ended, Searched) {
        let mut searched = Searched::default();
        let search = |run: &mut Self| {
            let mut dfs = Dfs::new(cache);
            let ended = run.search_below(&mut dfs, 0, until, &mut searched);
            searched.states = dfs.states();
            ended
        };
        let ended = match cache {
            true => self.searching(true, longest, search),
            // It takes nothing for equal.
            false => self.remembering(false, longest, search),
        };
        searched.exhausted = ended == Ended::Exhausted;
        (ended, searched)
    }

    /// The schedules with the fewest preemptions and faults first.
    fn search_by_bound(&mut self, until: &Strategy, position: impl Fn(u64) -> Position) -> Searched {
        let mut searched = Searched::default();
        let ended = self.searching(true, SEARCH_STEPS_MAX, |run| {
            let mut search = Cheapest::new(Order::Bound, None);
            for k in 0.. {
                if until.is_done(searched.tally.executions, searched.tally.steps) {
                    return Ended::Count;
                }
                if let Some(ended) = run.is_full(search.bytes(), until) {
                    return ended;
                }
                let Some(mut trip) = search.next() else { break };
                let ended = run.execute_searching(position(k), &mut trip, until, &mut searched);
                trip.end();
                (searched.bound, searched.states) = (search.bound(ended.is_some()), search.states());
                if let Some(ended) = ended {
                    return ended;
                }
            }
            Ended::Exhausted
        });
        searched.exhausted = ended == Ended::Exhausted;
        searched
    }

    /// Everything, beginning with what takes few preemptions and faults.
    fn search_shallow_first(&mut self, all: &Strategy) -> Searched {
        // As in a portfolio, a cache that is full is not the end: there is something else to try.
        let few = Strategy { method: Method::Portfolio, ..all.clone() };
        let few = few.schedules_max(SHALLOW.min(all.schedules / SHALLOW_PART));
        let shallow = self.search_by_bound(&few, Position::Look);
        if shallow.exhausted || self.findings.violated.is_some() || self.common.over.load(Ordering::Relaxed) {
            return shallow;
        }
        let rest = Strategy { schedules: all.schedules - shallow.tally.executions, ..all.clone() };
        let (_, mut searched) = self.search(true, &rest, SEARCH_STEPS_MAX);
        searched.tally.join(&shallow.tally);
        searched.bound = shallow.bound.filter(|_| !searched.exhausted);
        searched
    }

    /// How a search ends whose state cache takes more bytes than it may: all of it, unless there is something else to try.
    fn is_full(&mut self, bytes: u64, until: &Strategy) -> Option<Ended> {
        let budget = until.memory.filter(|&budget| bytes > budget)?;
        if until.method == Method::Portfolio {
            return Some(Ended::Count);
        }
        self.cut(format!("the state cache was full ({} MiB)", budget >> 20));
        Some(Ended::Over)
    }

    /// A search that takes states or schedules for equal whatever the clock says; and if somebody reads it, another one that minds it.
    pub(super) fn searching(&mut self, cache: bool, longest: u64, mut search: impl FnMut(&mut Self) -> Ended) -> Ended {
        loop {
            let clock_matters = self.clock_matters;
            let ended = self.remembering(cache, longest, |run| {
                run.machine.state_mut().clock.let_it_matter(clock_matters);
                let ended = search(run);
                run.clock_matters |= run.machine.state().clock.has_come_to_matter();
                run.machine.state_mut().clock.let_it_matter(true);
                ended
            });
            let is_over = self.findings.violated.is_some() || self.common.over.load(Ordering::Relaxed);
            if is_over || clock_matters == self.clock_matters {
                return ended;
            }
        }
    }

    /// With all that a search needs.
    pub(super) fn remembering<T>(&mut self, cache: bool, longest: u64, search: impl FnOnce(&mut Self) -> T) -> T {
        let steps_max = self.plan.steps_max;
        self.plan.steps_max = steps_max.min(longest);
        self.machine.state_mut().remember = cache;
        let result = search(self);
        self.machine.state_mut().remember = false;
        self.plan.steps_max = steps_max;
        result
    }

    /// One execution of a search; how the search ended, if it did.
    fn execute_searching(
        &mut self,
        at: Position,
        chooser: &mut impl Chooser,
        until: &Strategy,
        found: &mut Searched,
    ) -> Option<Ended> {
        let before = found.tally;
        let then = self.execute(at, chooser, &mut found.tally);
        let is_begun_again = self.machine.state().clock.has_come_to_matter();
        let violation = match then {
            Then::Next if is_begun_again => return Some(Ended::Over),
            Then::Next if chooser.came_round() => self.cannot_end(at)?,
            Then::Next => return None,
            Then::Over => return Some(Ended::Over),
            // Somebody polls, and the search lets nobody else go on: only a fair scheduler comes to an end here. Given up, so it does not
            // count as tried.
            Then::Violated(violation) if violation.kind == ViolationKind::Endless => {
                found.tally = before;
                return Some(self.has_no_end(until));
            }
            Then::Violated(violation) => violation,
        };
        self.violated(at, violation);
        Some(Ended::Over)
    }

    /// How a search ends that has come to an execution without an end: all of it, unless there is something else to try.
    fn has_no_end(&mut self, until: &Strategy) -> Ended {
        if until.method == Method::Portfolio {
            return Ended::Count;
        }
        self.cut(no_end(self.plan.steps_max));
        Ended::Over
    }

    /// Searches what lies below the first decisions that `dfs` has fixed, the `nth` of all.
    pub(super) fn search_below(&mut self, dfs: &mut Dfs, nth: u64, until: &Strategy, found: &mut Searched) -> Ended {
        for k in 0.. {
            if until.is_done(found.tally.executions, found.tally.steps) {
                return Ended::Count;
            }
            if let Some(ended) = self.is_full(dfs.bytes(), until) {
                return ended;
            }
            if let Some(ended) = self.execute_searching(Position::Search(nth, k), dfs, until, found) {
                return ended;
            }
            self.pace.explored = Some(dfs.explored());
            if !dfs.advance() {
                break;
            }
        }
        Ended::Exhausted
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
