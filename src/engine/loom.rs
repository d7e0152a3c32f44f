//! Under [loom](https://docs.rs/loom): its dynamic partial-order reduction decides who goes next.
//!
//! loom has four threads beside the main one, whatever is asked for, so a scenario may have no more agents than that at once. An agent
//! has a *seat*, which is a thread; it leaves it when it is gone for good, and the next newcomer gets it. A section on the pool or on
//! an own thread sits with the task that waits for it, a child between fork and exec with its parent: these cannot move meanwhile.
//!
//! What loom sees of an operation is one access to an atomic, the *token*, just before it. The scar: a thread that found its agent
//! without a choice first went to sleep without touching it, for nothing had happened, and loom called 6 of 70 executions exhaustive.
//! Whether somebody can go on is a read. One token for everything makes every two operations dependent, so there is no reduction to
//! speak of, and the search is bounded by preemptions: two at most, then three, then any number, as far as the schedules reach. Only
//! the last of these, come to its end, is called exhaustive.
//!
//! loom's own limits stop silently or panic, and are out of reach here: executions and steps are counted by ourselves.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use ::loom::sync::atomic::{AtomicUsize, Ordering};
use ::loom::thread::Thread;
use parking_lot::Mutex;

use super::turns::{self, Shared, Stop, offers};
use super::{CannotHold, Engine};
use crate::explore::{Exploration, Horizon, Progress, Sampler, Strategy};
use crate::scenario::Scenario;
use crate::sim::{Chooser, Machine, State};

/// loom's threads beside the main one.
const SEATS: usize = 4;
/// Stacks, in words; only what is touched of them is ever memory.
const STACK: usize = (1 << 20) / size_of::<usize>();
/// An execution with more accesses to the token is too long.
const TOUCHES_MAX: u32 = 4_000;
/// loom's own limit; an access to the token is a few of its branches.
const BRANCHES_MAX: usize = 10 * TOUCHES_MAX as usize;
/// Schedules that are looked at beforehand, for how many seats it takes.
const LOOKS: u64 = 50;
/// The next bound is tried if all before took no more than this part of the schedules.
const CHEAP: u64 = 8;

/// loom as a second opinion. Whatever method is asked for, its search is its own. It holds scenarios with at most four agents at once,
/// one operation at a time each, and no choice of values.
#[derive(Clone, Copy, Debug, Default)]
pub struct Loom;

impl Engine for Loom {
    fn name(&self) -> &'static str {
        "loom"
    }

    fn explore(
        &self,
        scenario: &Scenario,
        strategy: &Strategy,
        progress: Progress<'_>,
    ) -> Result<Exploration, CannotHold> {
        look_around(scenario).map_err(|why| CannotHold {
            engine: self.name(),
            scenario: scenario.name_with_case(),
            why,
        })?;
        turns::explore(self.name(), scenario, strategy, progress, true, |turns| {
            for bound in [Some(2), Some(3), None] {
                search(turns, bound);
                let mut turns = turns.lock();
                let rest = turns.schedules() / CHEAP;
                if turns.stop.is_some() {
                    return;
                }
                if bound.is_none() || turns.executions() > rest {
                    turns.stop = Some(if bound.is_none() { Stop::Exhausted } else { Stop::Count });
                    return;
                }
            }
        })
    }
}

/// Thrown by the main thread when there is to be no next execution: loom itself has no way to stop.
struct Finished;

fn search(turns: &Shared, preemptions: Option<usize>) {
    let mut model = ::loom::model::Builder::new();
    model.max_threads = SEATS + 1;
    model.max_branches = BRANCHES_MAX;
    (model.max_permutations, model.max_duration) = (None, None);
    model.preemption_bound = preemptions;
    (model.checkpoint_file, model.checkpoint_interval) = (None, usize::MAX);
    (model.location, model.log, model.expect_explicit_explore) = (false, false, false);
    let shared = turns.clone();
    let model = || {
        model.check(move || {
            let token = Arc::new(AtomicUsize::new(0));
            let run = Run { turns: shared.clone(), crew: Arc::default(), token };
            run.execution();
            if shared.lock().stop.is_some() {
                resume_unwind(Box::new(Finished));
            }
        });
    };
    match catch_unwind(AssertUnwindSafe(model)) {
        Err(why) if !why.is::<Finished>() => {
            let text = format!("loom gave up ({})", crate::sim::panic_text(why.as_ref()));
            turns.lock().stop.get_or_insert(Stop::Early(text));
        }
        _ => {}
    }
}

/// Who sits where.
#[derive(Default)]
struct Seats(Vec<Vec<u64>>);

impl Seats {
    /// Gives everybody who can do something a seat.
    fn seat(&mut self, state: &State, offers: &[(u64, u32)]) {
        for seat in &mut self.0 {
            seat.retain(|&agent| !state.gone(agent));
        }
        for &(agent, _) in offers {
            if self.of(agent).is_some() {
                continue;
            }
            let at = state.waiter(agent).and_then(|waiter| self.of(waiter));
            let at = at.or_else(|| self.0.iter().position(Vec::is_empty)).unwrap_or(self.0.len());
            if at == self.0.len() {
                self.0.push(Vec::new());
            }
            self.0[at].push(agent);
        }
    }

    fn of(&self, agent: u64) -> Option<usize> {
        self.0.iter().position(|seat| seat.contains(&agent))
    }
}

/// Runs some schedules with our own engine and counts seats.
fn look_around(scenario: &Scenario) -> Result<(), String> {
    struct Look {
        random: Sampler,
        seats: Seats,
        crowded: bool,
    }
    impl Chooser for Look {
        fn pick(&mut self, state: &State) -> Option<usize> {
            let offers = offers(state, false);
            self.seats.seat(state, &offers);
            let mut taken: Vec<_> = offers.iter().map(|&(agent, _)| self.seats.of(agent)).collect();
            taken.sort_unstable();
            self.crowded |= taken.windows(2).any(|two| two[0] == two[1]);
            self.random.pick(state)
        }
        fn value(&mut self, of: u32) -> u32 {
            self.random.value(of)
        }
    }
    let (plan, mut machine) = (scenario.plan(), Machine::default());
    machine.state_mut().judges = scenario.judges();
    let mut horizon = Horizon { steps: 1, faults: 0 };
    for n in 0..LOOKS {
        let mut look = Look { random: Sampler::random(0, n, horizon), seats: Seats::default(), crowded: false };
        machine.run(&plan, &mut look);
        horizon = Horizon { steps: horizon.steps.max(machine.state().step), faults: plan.faults.total() };
        let seats = look.seats.0.len();
        if seats > SEATS {
            return Err(format!("{seats} agents at once, and loom has {SEATS} threads for them"));
        }
        if look.crowded {
            return Err(SEVERAL.into());
        }
    }
    Ok(())
}

const SEVERAL: &str = "somebody has several operations at once, and loom chooses among threads only";

/// The threads of an execution.
#[derive(Default)]
struct Crew {
    seats: Seats,
    threads: Vec<Sleeper>,
    main: Sleeper,
    left: usize,
    touches: u32,
}

/// A thread of loom's that may be asleep; only then is it woken, for loom would remember it otherwise.
#[derive(Default)]
struct Sleeper(Option<Thread>);

#[derive(Clone)]
struct Run {
    turns: Shared,
    /// Not held across a switch either.
    crew: Arc<Mutex<Crew>>,
    token: Arc<AtomicUsize>,
}

impl Run {
    /// loom's main thread, whose stack is too small for anything else.
    fn execution(&self) {
        let run = self.clone();
        self.crew.lock().threads.push(Sleeper::default());
        self.spawn(move || {
            run.turns.lock().begin();
            run.publish();
            run.drive(0);
        });
        loop {
            {
                let mut crew = self.crew.lock();
                if crew.left == crew.threads.len() {
                    break;
                }
                crew.main.0 = Some(::loom::thread::current());
            }
            ::loom::thread::park();
        }
        self.turns.lock().finish();
    }

    fn spawn(&self, body: impl FnOnce() + Send + 'static) {
        let thread = ::loom::thread::Builder::new().stack_size(STACK);
        drop(thread.spawn(body).expect("loom's spawn has no errors"));
    }

    /// After a step: seats for those who are new, and a call for those who sleep and could go on.
    fn publish(&self) {
        let (fresh, woken) = {
            let mut turns = self.turns.lock();
            let mut crew = self.crew.lock();
            let crew = &mut *crew;
            let offers = turns.offers();
            turns.with_state(|state| crew.seats.seat(state, &offers));
            let seats = crew.seats.0.len();
            if seats > SEATS {
                turns.give_up(format!("{seats} agents at once, and loom has {SEATS} threads for them"));
            }
            let over = turns.is_over();
            let fresh = if over { 0..0 } else { crew.threads.len()..seats.max(crew.threads.len()) };
            crew.threads.extend(fresh.clone().map(|_| Sleeper::default()));
            let called = |seat: usize| over || offers.iter().any(|&(agent, _)| crew.seats.of(agent) == Some(seat));
            let sleepers = crew.threads.iter_mut().enumerate().filter(|&(seat, _)| called(seat));
            let woken: Vec<Thread> = sleepers.filter_map(|(_, sleeper)| sleeper.0.take()).collect();
            (fresh, woken)
        };
        for seat in fresh {
            let run = self.clone();
            self.spawn(move || run.drive(seat));
        }
        woken.iter().for_each(Thread::unpark);
    }

    /// The thread of a seat.
    fn drive(&self, seat: usize) {
        loop {
            self.token.fetch_add(1, Ordering::AcqRel);
            let taken = self.turn(seat);
            if taken {
                self.publish();
            }
            if self.turns.lock().is_over() {
                break;
            }
            // After a step of its own it knows by the same touch whether it has another one.
            let sleeps = !self.can_move(seat);
            if sleeps {
                self.crew.lock().threads[seat].0 = Some(::loom::thread::current());
                ::loom::thread::park();
            }
        }
        let main = {
            let mut crew = self.crew.lock();
            crew.left += 1;
            if crew.left == crew.threads.len() { crew.main.0.take() } else { None }
        };
        if let Some(main) = main {
            main.unpark();
        }
    }

    fn can_move(&self, seat: usize) -> bool {
        let offers = self.turns.lock().offers();
        let crew = self.crew.lock();
        offers.iter().any(|&(agent, _)| crew.seats.of(agent) == Some(seat))
    }

    /// One choice of whoever sits there; `false` if there is none.
    fn turn(&self, seat: usize) -> bool {
        let mut turns = self.turns.lock();
        let mut mine = turns.offers();
        {
            let mut crew = self.crew.lock();
            crew.touches += 1;
            if crew.touches > TOUCHES_MAX {
                turns.give_up(format!("an execution takes more than {TOUCHES_MAX} steps"));
                return true;
            }
            mine.retain(|&(agent, _)| crew.seats.of(agent) == Some(seat));
        }
        match mine[..] {
            [] => return false,
            [(_, at)] => {
                turns.take(at, &mut |_| Err("loom does not enumerate values"));
            }
            _ => turns.give_up(SEVERAL),
        }
        true
    }
}
