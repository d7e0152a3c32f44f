//! Under [shuttle](https://docs.rs/shuttle): its schedulers decide who goes next.
//!
//! What shuttle would do by itself, and does not get to do here: a task is a thread to it, so it knows nothing of workers (they are the
//! machine's); a deadlock panics, as does a failed assertion, and a panic ends the exploration with half of the threads on their
//! stacks (here every execution runs out, and what it found is noted); its panic hook, installed once for the whole process, prints
//! a schedule for every panic anywhere (taken out again, see [`quiet`]); its depth-first search cannot enumerate values.
//!
//! A thread is blocked, in shuttle's eyes, exactly while its agent has no choice, so shuttle wastes no step on finding out. Under
//! partial-order reduction, which is ours and asks the machine what steps touch, all but the thread of whoever it has chosen are blocked.

use std::collections::BTreeMap;
use std::panic::Location;
use std::sync::{Arc, Once};

use parking_lot::Mutex;
use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler, Schedule, Scheduler, Task, TaskId};
use shuttle_engine::runtime::execution::ExecutionState;
use shuttle_engine::runtime::thread::switch;

use super::turns::{self, Shared, Stop};
use super::{CannotHold, Engine};
use crate::explore::{Exploration, Method, Progress, Strategy};
use crate::scenario::Scenario;

/// Protocol code runs on the stacks of shuttle's threads; only what is touched of them is ever memory.
const STACK: usize = 1 << 20;

/// Shuttle as a second opinion. `random` and `pct` are its own schedulers, `portfolio` and `mixed` alternate between them, `dfs` is its plain
/// depth-first search, which says "exhaustive" if it came to its end. `dpor` is our reduction, on shuttle's threads.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shuttle;

impl Engine for Shuttle {
    fn name(&self) -> &'static str {
        "shuttle"
    }

    fn explore(
        &self,
        scenario: &Scenario,
        strategy: &Strategy,
        progress: Progress<'_>,
    ) -> Result<Exploration, CannotHold> {
        let (method, seed) = (strategy.method, strategy.seed);
        let own = [Method::Burst, Method::Urw, Method::Surw, Method::Pos, Method::Bounded];
        if own.contains(&method) {
            let why = format!("its strategies are random, pct, portfolio, dfs and dpor, not {}", method.name());
            return Err(CannotHold { engine: self.name(), scenario: scenario.name_with_case(), why });
        }
        quiet();
        let is_search = matches!(method, Method::Dfs { .. } | Method::Dpor);
        turns::explore(self.name(), scenario, strategy, progress, is_search, move |turns| {
            let mut config = shuttle::Config::new();
            config.stack_size = STACK;
            config.failure_persistence = shuttle::FailurePersistence::None;
            config.max_steps = shuttle::MaxSteps::None; // the machine counts its own
            config.silence_warnings = true;
            let run = Run { turns: turns.clone(), crew: Arc::default(), values: !is_search };
            if method == Method::Dpor {
                turns.lock().reduce();
            }
            let scheduler = Chosen::new(method, seed, turns.clone());
            shuttle::Runner::new(scheduler, config).run(move || run.execution());
        })
    }
}

/// Lets shuttle install its panic hook, which it does once a process, and puts back the one before: panics are reported by whoever
/// catches them, and most of them have nothing to do with shuttle.
fn quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let hook = std::panic::take_hook();
        let mut config = shuttle::Config::new();
        config.silence_warnings = true;
        shuttle::Runner::new(RandomScheduler::new_from_seed(0, 1), config).run(|| {});
        std::panic::set_hook(hook);
    });
}

/// The schedulers behind a strategy, as one that stops when the exploration does.
struct Chosen {
    turns: Shared,
    method: Method,
    seed: u64,
    n: u64,
    /// Made anew for every execution: one that is dropped before it has run as often as it was told to prints its seed.
    random: RandomScheduler,
    pct: PctScheduler,
    dfs: DfsScheduler,
    now: Now,
    /// PCT samples where to change priorities from the steps at which its first execution had a choice, and panics if it had none.
    piloted: bool,
    contended: bool,
}

/// Who chooses in the present execution.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Now {
    Random,
    Pct,
    Dfs,
    /// Whoever may go on is the only one.
    Dpor,
}

impl Chosen {
    fn new(method: Method, seed: u64, turns: Shared) -> Self {
        let depth = if let Method::Pct { depth } = method { depth.max(1) } else { 3 };
        Chosen {
            turns,
            method,
            seed,
            n: 0,
            random: RandomScheduler::new_from_seed(seed, 0),
            pct: PctScheduler::new_from_seed(seed, depth as usize, usize::MAX),
            dfs: DfsScheduler::new(None, false),
            now: Now::Random,
            piloted: false,
            contended: false,
        }
    }
}

impl Scheduler for Chosen {
    fn new_execution(&mut self) -> Option<Schedule> {
        let mut turns = self.turns.lock();
        let _ = self.random.new_execution(); // it has had its one execution, and learns so here
        if turns.stop.is_some() {
            return None;
        }
        self.n += 1;
        self.now = match self.method {
            Method::Dfs { .. } => Now::Dfs,
            Method::Dpor => Now::Dpor,
            Method::Random => Now::Random,
            Method::Portfolio | Method::Mixed if self.n % 2 == 1 => Now::Random,
            _ if std::mem::replace(&mut self.piloted, true) && !self.contended => Now::Random,
            _ => Now::Pct,
        };
        // Sampling strikes sooner or later if it can; one execution in four must do without.
        turns.faultless = self.n.is_multiple_of(4) && !matches!(self.now, Now::Dfs | Now::Dpor);
        let schedule = match self.now {
            Now::Dfs => self.dfs.new_execution(),
            Now::Dpor => Some(Schedule::new(0)),
            Now::Pct => self.pct.new_execution(),
            Now::Random => {
                self.random = RandomScheduler::new_from_seed(self.seed.wrapping_add(self.n << 32), 1);
                self.random.new_execution()
            }
        };
        if schedule.is_none() {
            turns.stop = Some(Stop::Exhausted);
        }
        schedule
    }
    fn next_task(&mut self, runnable: &[&Task], current: Option<TaskId>, yielding: bool) -> Option<TaskId> {
        match self.now {
            Now::Random => self.random.next_task(runnable, current, yielding),
            Now::Pct => {
                self.contended |= runnable.len() > 1;
                self.pct.next_task(runnable, current, yielding)
            }
            Now::Dfs => self.dfs.next_task(runnable, current, yielding),
            Now::Dpor => runnable.first().map(|task| task.id()),
        }
    }
    fn next_u64(&mut self) -> u64 {
        match self.now {
            Now::Random => self.random.next_u64(),
            Now::Pct => self.pct.next_u64(),
            Now::Dfs => self.dfs.next_u64(),
            Now::Dpor => unreachable!("the reduction chooses values by itself"),
        }
    }
}

/// The threads of an execution.
#[derive(Default)]
struct Crew {
    main: Option<TaskId>,
    threads: BTreeMap<u64, Member>,
}

struct Member {
    id: TaskId,
    /// Shuttle may let it go on.
    free: bool,
}

impl Crew {
    fn set(&mut self, agent: u64, free: bool) {
        let Some(member) = self.threads.get_mut(&agent) else { return };
        if std::mem::replace(&mut member.free, free) != free {
            let id = member.id;
            ExecutionState::with(
                |state| if free { state.get_mut(id).unblock() } else { state.get_mut(id).block(false) },
            );
        }
    }

    fn hold_all_but(&mut self, free: impl Fn(u64) -> bool) {
        let agents: Vec<u64> = self.threads.keys().copied().collect();
        agents.into_iter().filter(|&agent| !free(agent)).for_each(|agent| self.set(agent, false));
    }
}

#[derive(Clone)]
struct Run {
    turns: Shared,
    /// Not held across a switch either.
    crew: Arc<Mutex<Crew>>,
    /// Random values can be had.
    values: bool,
}

impl Run {
    /// Shuttle's main thread.
    fn execution(&self) {
        *self.crew.lock() = Crew { main: Some(ExecutionState::me()), threads: BTreeMap::new() };
        self.turns.lock().begin();
        self.publish(None);
        while !self.turns.lock().is_over() {
            ExecutionState::with(|state| state.current_mut().block(false));
            switch();
        }
        self.turns.lock().finish();
    }

    /// Tells shuttle whose turn it can be now.
    fn publish(&self, me: Option<u64>) {
        let offers = self.turns.lock().offers();
        let offered = |agent: u64| offers.iter().any(|&(other, _)| other == agent);
        let known: Vec<u64> = self.crew.lock().threads.keys().copied().collect();
        let mut fresh: Vec<u64> =
            offers.iter().map(|&(agent, _)| agent).filter(|agent| !known.contains(agent)).collect();
        fresh.dedup();
        for agent in fresh {
            // To spawn is a switch to shuttle. Nobody else may go on at this one: who can is only known once all are there.
            self.crew.lock().hold_all_but(|other| Some(other) == me);
            let run = self.clone();
            let id =
                ExecutionState::spawn_thread(Box::new(move || run.drive(agent)), STACK, None, None, Location::caller());
            let mut crew = self.crew.lock();
            crew.threads.insert(agent, Member { id, free: true });
            crew.set(agent, false);
        }
        let mut turns = self.turns.lock();
        if turns.is_reduced() && !turns.is_over() {
            let next = turns.decide();
            drop(turns);
            let Some(next) = next else { return self.dismiss_next() };
            let mut crew = self.crew.lock();
            crew.hold_all_but(|agent| agent == next);
            crew.set(next, true);
            return;
        }
        drop(turns);
        let mut crew = self.crew.lock();
        crew.hold_all_but(offered);
        offers.iter().for_each(|&(agent, _)| crew.set(agent, true));
    }

    /// The thread of an agent.
    fn drive(&self, agent: u64) {
        while self.turn(agent) {
            if self.turns.lock().gone(agent) {
                break;
            }
            self.publish(Some(agent));
            switch();
        }
        self.crew.lock().threads.remove(&agent);
        if self.turns.lock().is_over() {
            self.dismiss_next();
        } else {
            self.publish(None);
        }
    }

    /// One choice of an agent, if the execution still goes on afterwards.
    fn turn(&self, agent: u64) -> bool {
        let mut turns = self.turns.lock();
        if turns.is_reduced() {
            if !turns.is_over() {
                turns.take_decided();
            }
            return !turns.is_over();
        }
        let mut mine = turns.offers();
        mine.retain(|&(other, _)| other == agent);
        let draw = |of: u32| {
            let value = || ((u128::from(ExecutionState::next_u64()) * u128::from(of)) >> 64) as u32;
            self.values.then(value).ok_or("shuttle's depth-first search does not enumerate values")
        };
        let which = if mine.len() > 1 { draw(mine.len() as u32) } else { Ok(0) };
        match (which, mine.is_empty()) {
            (_, true) => {}
            (Ok(which), _) => {
                if turns.take(mine[which as usize].1, &mut |of| draw(of)) {
                    ExecutionState::request_yield(); // so that PCT lets others go first
                }
            }
            (Err(why), _) => turns.give_up(format!("a task has several operations at once, and {why}")),
        }
        !turns.is_over()
    }

    /// At the end the threads leave one after another, so that there is nothing to choose any more.
    fn dismiss_next(&self) {
        let mut crew = self.crew.lock();
        crew.hold_all_but(|_| false);
        match crew.threads.keys().next().copied() {
            Some(agent) => crew.set(agent, true),
            None => {
                let main = crew.main.expect("set at the start");
                ExecutionState::with(|state| state.get_mut(main).unblock());
            }
        }
    }
}
