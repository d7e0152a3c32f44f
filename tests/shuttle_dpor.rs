//! Partial-order reduction as a scheduler of shuttle's: it finds what shuttle's own depth-first search finds, in fewer executions.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex};

use flockstep::engine::dpor::{DporScheduler, Op, Report, announce, choose, spawn, switch};
use shuttle::scheduler::{DfsScheduler, RandomScheduler, Schedule, Scheduler, Task, TaskId};
use shuttle::sync::atomic::{AtomicU64, Ordering::SeqCst};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};

fn config() -> Config {
    let mut config = Config::new();
    config.silence_warnings = true;
    config.failure_persistence = FailurePersistence::None;
    config
}

/// At the point of an operation.
fn at(op: Op) -> bool {
    announce(op);
    switch()
}

/// Explores everything.
fn explore(body: impl Fn() + Send + Sync + 'static) -> Report {
    let scheduler = DporScheduler::new(None);
    Runner::new(scheduler.clone(), config()).run(body);
    let report = scheduler.report();
    assert!(report.exhausted, "{report:?}");
    report
}

const COUNTER: u64 = 100;

/// So many threads, each takes one of so many locks, changes a counter twice and lets go.
fn contest(threads: u64, locks: u64) {
    let counter = Arc::new(Mutex::new((0, 0)));
    let change = |counter: &Mutex<(i32, i32)>, by: i32| {
        at(Op::Write(COUNTER));
        let (now, most) = &mut *counter.lock().unwrap();
        *now += by;
        *most = (*most).max(*now);
    };
    let thread = |n: u64| {
        let counter = counter.clone();
        spawn(move || {
            at(Op::Lock(n % locks));
            change(&counter, 1);
            change(&counter, -1);
            at(Op::Unlock(n % locks));
        })
    };
    let all: Vec<_> = (0..threads).map(thread).collect();
    all.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(counter.lock().unwrap().1 <= locks as i32);
}

#[test]
#[expect(clippy::print_stdout, reason = "the table says more than that it holds")]
fn hardly_more_executions_than_there_are_traces() {
    for (threads, locks, traces) in [(2, 1, 2), (2, 2, 6), (3, 1, 6), (3, 2, 30), (4, 2, 280)] {
        let Report { executions, abandoned, .. } = explore(move || contest(threads, locks));
        println!("{threads} threads, {locks} locks: {executions} executions ({abandoned} abandoned), {traces} traces");
        assert!(executions >= traces && executions * 10 <= traces * 11, "{executions} for {traces} traces");
    }
}

/// One thing that a thread does.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Unless it has it.
    Lock(u64),
    TryLock(u64),
    /// If it has it.
    Unlock(u64),
    /// Adds to a variable, and looks at what was there.
    Add(u64),
    /// The same, of which nothing is said.
    AddUnsaid(u64),
    /// The same with the point of shuttle's own atomic.
    AddOwn(u64),
    Read(u64),
    /// Adds to the other variable if there is an even number in this one.
    IfEven(u64),
    Choose,
    /// A mutex of shuttle's, of which nothing is said.
    OwnMutex,
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) % n
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Threads {
    Joined,
    /// The main thread does not wait for them.
    Left,
    /// Nothing is said of their beginning and end.
    Bare,
    /// Futures that end with the main thread.
    Detached,
}

/// Threads, the first of which is the main one.
#[derive(Clone, Debug)]
struct Program {
    threads: Vec<Vec<Step>>,
    /// At its end a thread gives up what it has.
    tidy: bool,
    threads_are: Threads,
    /// A mistake: adding is announced as reading.
    wrong: bool,
    /// What is chosen, bit by bit, where it is not for the scheduler to choose.
    chosen: Option<u64>,
}

impl Program {
    fn random(seed: u64) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        (0..4).for_each(|_| _ = dice.below(2));
        let said_only = dice.below(3) > 0;
        let step = |dice: &mut Dice| {
            let what = dice.below(2);
            match dice.below(if said_only { 12 } else { 15 }) {
                0..=2 => Step::Lock(what),
                3 | 4 => Step::TryLock(what),
                5 | 6 => Step::Unlock(what),
                7 | 8 => Step::Add(what),
                9 => Step::Read(what),
                10 => Step::IfEven(what),
                11 if dice.below(3) == 0 => Step::Choose,
                11 => Step::AddOwn(what),
                12 | 13 => Step::AddUnsaid(what),
                _ => Step::OwnMutex,
            }
        };
        let threads = 2 + dice.below(2);
        let most = if threads == 2 { 4 } else { 3 };
        let body = |dice: &mut Dice| (0..dice.below(most) + 1).map(|_| step(dice)).collect();
        Program {
            threads: (0..threads).map(|_| body(&mut dice)).collect(),
            tidy: dice.below(3) > 0,
            threads_are: match dice.below(if said_only { 8 } else { 10 }) {
                0 => Threads::Left,
                8 => Threads::Bare,
                9 => Threads::Detached,
                _ => Threads::Joined,
            },
            wrong: false,
            chosen: None,
        }
    }
}

impl Program {
    /// Where something is chosen: in which thread, at which step.
    fn choices(&self) -> impl Iterator<Item = (usize, usize)> {
        let choices = |steps: &Vec<Step>| {
            let steps = steps.iter().enumerate();
            steps.filter(|(_, step)| matches!(step, Step::Choose)).map(|(at, _)| at).collect::<Vec<_>>()
        };
        self.threads.iter().enumerate().flat_map(move |(n, steps)| choices(steps).into_iter().map(move |at| (n, at)))
    }
}

/// What the threads of an execution have seen, each in its own line, and the variables.
#[derive(Debug, Default)]
struct Seen {
    logs: BTreeMap<usize, String>,
    variables: [u64; 2],
}

impl Seen {
    fn add(&mut self, what: u64) -> u64 {
        let before = self.variables[what as usize];
        self.variables[what as usize] = before + 1;
        before
    }
}

/// What the threads share.
#[derive(Clone)]
struct Shared {
    program: Arc<Program>,
    seen: Arc<Mutex<Seen>>,
    atomics: Arc<[AtomicU64; 2]>,
    mutex: Arc<shuttle::sync::Mutex<u64>>,
    #[expect(dead_code, reason = "for when it is dropped")]
    end: Arc<End>,
}

/// Goes with the last thread of an execution that was not given up.
struct End {
    seen: Arc<Mutex<Seen>>,
    all: Arc<Mutex<BTreeSet<String>>>,
}

impl Drop for End {
    fn drop(&mut self) {
        self.all.lock().unwrap().insert(format!("{:?}", self.seen.lock().unwrap()));
    }
}

fn thread(shared: &Shared, n: usize) {
    let see = |what: &dyn std::fmt::Debug| {
        shared.seen.lock().unwrap().logs.entry(n).or_default().push_str(&format!("{what:?};"));
    };
    let variable = |what: u64| 10 + what;
    let mut locks = BTreeSet::new();
    for (at_step, &step) in shared.program.threads[n].iter().enumerate() {
        match step {
            Step::Lock(lock) => {
                if locks.insert(lock) {
                    at(Op::Lock(lock));
                }
            }
            Step::TryLock(lock) => {
                let got = at(Op::TryLock(lock));
                if got {
                    locks.insert(lock);
                }
                see(&got);
            }
            Step::Unlock(lock) => {
                if locks.remove(&lock) {
                    at(Op::Unlock(lock));
                }
            }
            Step::Add(what) => {
                at(if shared.program.wrong { Op::Read(variable(what)) } else { Op::Write(variable(what)) });
                let before = shared.seen.lock().unwrap().add(what);
                see(&before);
            }
            Step::AddUnsaid(what) => {
                switch();
                let before = shared.seen.lock().unwrap().add(what);
                see(&before);
            }
            Step::AddOwn(what) => {
                announce(Op::Write(20 + what));
                see(&shared.atomics[what as usize].fetch_add(1, SeqCst));
            }
            Step::Read(what) => {
                at(Op::Read(variable(what)));
                let value = shared.seen.lock().unwrap().variables[what as usize];
                see(&value);
            }
            Step::IfEven(what) => {
                at(Op::Read(variable(what)));
                if shared.seen.lock().unwrap().variables[what as usize].is_multiple_of(2) {
                    at(Op::Write(variable(1 - what)));
                    shared.seen.lock().unwrap().add(1 - what);
                }
            }
            Step::Choose => {
                let choice = shared.program.choices().position(|choice| choice == (n, at_step)).expect("one of them");
                let fixed = shared.program.chosen.map(|chosen| (chosen >> choice & 1) as u32);
                see(&fixed.unwrap_or_else(|| choose(2)));
            }
            Step::OwnMutex => {
                let mut value = shared.mutex.lock().unwrap();
                see(&*value);
                *value += 1;
            }
        }
    }
    if shared.program.tidy {
        locks.into_iter().for_each(|lock| _ = at(Op::Unlock(lock)));
    }
}

fn execution(program: &Arc<Program>, seen: &Arc<Mutex<Seen>>, all: &Arc<Mutex<BTreeSet<String>>>) {
    *seen.lock().unwrap() = Seen::default();
    let shared = Shared {
        program: program.clone(),
        seen: seen.clone(),
        atomics: Arc::new([AtomicU64::new(0), AtomicU64::new(0)]),
        mutex: Arc::new(shuttle::sync::Mutex::new(0)),
        end: Arc::new(End { seen: seen.clone(), all: all.clone() }),
    };
    let body = |n: usize| {
        let shared = shared.clone();
        move || thread(&shared, n)
    };
    let others = 1..program.threads.len();
    match program.threads_are {
        how @ (Threads::Joined | Threads::Left) => {
            let all: Vec<_> = others.map(|n| spawn(body(n))).collect();
            thread(&shared, 0);
            let joined = all.into_iter().filter(|_| how == Threads::Joined);
            joined.for_each(|thread| thread.join().unwrap());
        }
        Threads::Bare => {
            let all: Vec<_> = others.map(|n| shuttle::thread::spawn(body(n))).collect();
            thread(&shared, 0);
            all.into_iter().for_each(|thread| thread.join().unwrap());
        }
        Threads::Detached => {
            others.map(body).for_each(|body| drop(shuttle::future::spawn(async move { body() })));
            thread(&shared, 0);
        }
    }
}

/// How all executions of a program end. shuttle stops at a deadlock, and goes on with the next schedule if it is asked to.
fn ends(program: &Program, scheduler: impl Scheduler + Clone + 'static) -> BTreeSet<String> {
    let (program, seen, all) =
        (Arc::new(program.clone()), Arc::<Mutex<Seen>>::default(), Arc::<Mutex<BTreeSet<_>>>::default());
    loop {
        let (program, now, ended) = (program.clone(), seen.clone(), all.clone());
        let run = || Runner::new(scheduler.clone(), config()).run(move || execution(&program, &now, &ended));
        let Err(why) = catch_unwind(AssertUnwindSafe(run)) else { break };
        match why.downcast_ref::<String>().filter(|text| text.starts_with("deadlock!")) {
            Some(text) => all.lock().unwrap().insert(format!("{:?} {text}", seen.lock().unwrap())),
            None => resume_unwind(why),
        };
    }
    std::mem::take(&mut *all.lock().unwrap())
}

/// shuttle's own depth-first search, on which several runners can go on, and a count of its executions.
#[derive(Clone)]
struct Plain(Arc<Mutex<(DfsScheduler, u64)>>);

/// Larger programs are left out.
const EXECUTIONS_MAX: u64 = 10_000;

impl Plain {
    /// How all executions of a program end, and how many there are; nothing if there are too many. It does not enumerate values, so every
    /// combination of them is searched by itself.
    fn ends(program: &Program) -> Option<(BTreeSet<String>, u64)> {
        let (mut all, mut executions) = (BTreeSet::new(), 0);
        for chosen in 0..1 << program.choices().count() {
            let search = DfsScheduler::new(Some(EXECUTIONS_MAX as usize), false);
            let plain = Plain(Arc::new(Mutex::new((search, 0))));
            all.extend(ends(&Program { chosen: Some(chosen), ..program.clone() }, plain.clone()));
            executions += plain.0.lock().unwrap().1;
            if executions >= EXECUTIONS_MAX {
                return None;
            }
        }
        Some((all, executions))
    }
}

impl Scheduler for Plain {
    fn new_execution(&mut self) -> Option<Schedule> {
        let (dfs, executions) = &mut *self.0.lock().unwrap();
        let schedule = dfs.new_execution();
        *executions += u64::from(schedule.is_some());
        schedule
    }
    fn next_task(&mut self, runnable: &[&Task], current: Option<TaskId>, yielding: bool) -> Option<TaskId> {
        self.0.lock().unwrap().0.next_task(runnable, current, yielding)
    }
    fn next_u64(&mut self) -> u64 {
        self.0.lock().unwrap().0.next_u64()
    }
}

#[derive(Default)]
struct Compared {
    programs: u64,
    deadlocked: u64,
    plain: u64,
    reduced: u64,
}

/// Whether both searches see the same ends; nothing if the program is too large.
fn compare(program: &Program, sum: &mut Compared) -> Option<bool> {
    let (all, executions) = Plain::ends(program)?;
    let scheduler = DporScheduler::new(None);
    let some = ends(program, scheduler.clone());
    assert!(scheduler.report().exhausted, "{program:#?}");
    sum.programs += 1;
    sum.deadlocked += u64::from(all.iter().any(|end| end.contains("deadlock!")));
    sum.plain += executions;
    sum.reduced += scheduler.report().executions;
    Some(some == all)
}

#[test]
#[expect(clippy::print_stdout, reason = "the long run tells how long it was")]
fn random_programs_end_as_under_shuttles_own_search() {
    // A longer run: FLOCKSTEP_PROGRAMS=10000 cargo test --release --test tests shuttles_own_search -- --nocapture
    let count = crate::reduction::programs_asked_for(300);
    let mut sum = Compared::default();
    for seed in 0..count {
        let program = Program::random(seed);
        let agree = compare(&program, &mut sum);
        assert!(agree.unwrap_or(true), "{seed}: {program:#?}");
    }
    let Compared { programs, deadlocked, plain, reduced } = sum;
    println!(
        "{programs} programs, {deadlocked} with a deadlock: {plain} executions of shuttle's search, {reduced} with reduction"
    );
    assert!(programs > count / 3 && deadlocked > 0 && deadlocked < programs);
    assert!(reduced * 3 < plain);
}

#[test]
fn a_wrong_announcement_is_found_by_random_programs() {
    let mut sum = Compared::default();
    let found = (0..300).find(|&seed| {
        let program = Program { wrong: true, ..Program::random(seed) };
        compare(&program, &mut sum) == Some(false)
    });
    let seed = found.expect("two threads add to one variable");
    assert_eq!(compare(&Program::random(seed), &mut sum), Some(true), "it is the announcement, not the program");
}

#[test]
fn a_deadlock_is_shuttles_and_its_schedule_replays() {
    let body = || {
        let thread = |first, second| {
            move || _ = (at(Op::Lock(first)), at(Op::Lock(second)), at(Op::Unlock(second)), at(Op::Unlock(first)))
        };
        let all = [spawn(thread(1, 2)), spawn(thread(2, 1))];
        all.into_iter().for_each(|thread| thread.join().unwrap());
    };
    let file = tempfile::tempdir().expect("a temporary directory");
    let why = catch_unwind(|| {
        let mut config = config();
        config.failure_persistence = FailurePersistence::File(Some(file.path().to_owned()));
        Runner::new(DporScheduler::new(None), config).run(body);
    });
    let text = |why: Box<dyn std::any::Any + Send>| *why.downcast::<String>().expect("a text");
    let why = text(why.expect_err("one order of two ends in a deadlock"));
    assert!(why.starts_with("deadlock! blocked tasks: ["), "{why}");
    let schedule = file.path().join("schedule000.txt");
    let again = catch_unwind(|| shuttle::replay_from_file(body, schedule)).expect_err("the same again");
    assert_eq!(text(again), why);
}

/// The same code under a scheduler that knows nothing of announcements: locks exclude, and values are drawn.
#[test]
fn other_schedulers_take_the_same_code() {
    let drawn = Arc::new(Mutex::new(BTreeSet::new()));
    let all = drawn.clone();
    let scheduler = RandomScheduler::new_from_seed(0, 200);
    Runner::new(scheduler, config()).run(move || {
        contest(3, 2);
        all.lock().unwrap().insert(choose(3));
    });
    assert_eq!(*drawn.lock().unwrap(), BTreeSet::from([0, 1, 2]));
}

#[test]
fn less_than_everything_is_not_called_everything() {
    let explored = |most: u64, longest: MaxSteps, body: fn()| {
        let scheduler = DporScheduler::new(Some(most));
        let mut config = config();
        config.max_steps = longest;
        Runner::new(scheduler.clone(), config).run(body);
        scheduler.report()
    };
    let body = || contest(3, 2);
    assert_eq!(explored(29, MaxSteps::None, body), Report { executions: 29, abandoned: 0, exhausted: false });
    assert_eq!(explored(30, MaxSteps::None, body), Report { executions: 30, abandoned: 0, exhausted: true });
    assert!(!explored(1_000, MaxSteps::ContinueAfter(10), body).exhausted);
    let values = explored(1_000, MaxSteps::None, || _ = choose(3) + choose(2));
    assert_eq!(values, Report { executions: 6, abandoned: 0, exhausted: true });
}

#[test]
fn random_values_are_refused() {
    let body = || _ = shuttle::rand::RngCore::next_u64(&mut shuttle::rand::thread_rng());
    let refused = catch_unwind(|| Runner::new(DporScheduler::new(None), config()).run(body));
    let why = refused.expect_err("nothing enumerates these");
    assert!(why.downcast_ref::<String>().is_some_and(|text| text.contains("cannot be enumerated")));
}
