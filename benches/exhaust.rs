//! How much it takes to try everything: `cargo bench --bench exhaust`.
//!
//! One model in every engine: so many tasks, each takes one of so many locks, changes something that all share twice, and lets go. Every search
//! runs to its end or to its cap, in executions; a row says `>` where that came first. Then the verdict on what is asked of ours:
//!
//! * partial-order reduction runs at most 1.1 executions for each of the schedules that differ in more than the order of independent steps;
//! * with three tasks on two locks it takes at least twenty times fewer than loom;
//! * with six on three, two rounds each, a state costs at most five times what it costs stateright, which runs a hand-written table of
//!   transitions where ours runs the code of the tasks on a kernel.
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

mod lock_model;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use flockstep::engine::dpor::{DporScheduler, Op, announce, spawn, switch};
use flockstep::oracle::LockBound;
use flockstep::world::*;
use flockstep::{Method, Scenario, SimWorld, Strategy, Verdict, scenario};
use lock_model::{config, median, timed};
use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler, Scheduler, UrwRandomScheduler};
use stateright::{Checker, Model, Property};

#[derive(Clone, Copy, PartialEq)]
struct Size {
    tasks: usize,
    locks: usize,
    rounds: usize,
}

const fn size(tasks: usize, locks: usize, rounds: usize) -> Size {
    Size { tasks, locks, rounds }
}

const SIZES: [Size; 6] = [size(2, 1, 1), size(2, 2, 1), size(3, 1, 1), size(3, 2, 1), size(4, 2, 1), size(6, 3, 2)];

/// Of the first five, how many orders there are of two changes each by those who hold different locks at once, and of those who share a lock.
const TRACES: [u64; 5] = [2, 6, 6, 30, 280];

/// What a search has come to.
#[derive(Clone, Copy)]
struct Found {
    /// Executions, or states where it has no executions.
    count: u64,
    states: Option<u64>,
    exhausted: bool,
    seconds: f64,
}

/// A search: of that size, with at most so many executions; nothing if it cannot hold it.
type Search = fn(Size, u64) -> Option<Found>;

fn run(scheduler: impl Scheduler + 'static, size: Size) -> u64 {
    let Size { tasks, locks, rounds } = size;
    shuttle::Runner::new(scheduler, config()).run(move || lock_model::under_shuttle(tasks, locks, rounds)) as u64
}

fn shuttle_dfs(size: Size, most: u64) -> Option<Found> {
    let (count, seconds) = timed(|| run(DfsScheduler::new(Some(most as usize), false), size));
    Some(Found { count, states: None, exhausted: count < most, seconds })
}

/// The model for our scheduler of shuttle's: locks are what it announces, and the rest is atomics of the standard library.
fn announced(size: Size) {
    const SHARED: u64 = u64::MAX;
    let effect = Arc::new(AtomicU64::new(0));
    let at = |op| {
        announce(op);
        switch();
    };
    let thread = |n: usize| {
        let effect = effect.clone();
        spawn(move || {
            for _ in 0..size.rounds {
                at(Op::Lock((n % size.locks) as u64));
                at(Op::Write(SHARED));
                effect.fetch_add(1, Relaxed);
                at(Op::Write(SHARED));
                effect.fetch_sub(1, Relaxed);
                at(Op::Unlock((n % size.locks) as u64));
            }
        })
    };
    let all: Vec<_> = (0..size.tasks).map(thread).collect();
    all.into_iter().for_each(|thread| thread.join().expect("nobody panics"));
}

fn shuttle_dpor(size: Size, most: u64) -> Option<Found> {
    let scheduler = DporScheduler::new(Some(most));
    let (_, seconds) = timed(|| shuttle::Runner::new(scheduler.clone(), config()).run(move || announced(size)));
    let report = scheduler.report();
    Some(Found { count: report.executions, states: None, exhausted: report.exhausted, seconds })
}

/// Thrown where loom is to stop, which it cannot be told.
struct Enough;

fn under_loom(size: Size, most: u64) -> Option<Found> {
    use loom::sync::Mutex;
    use loom::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    let mut model = loom::model::Builder::new();
    (model.max_permutations, model.max_duration, model.preemption_bound) = (None, None, None);
    model.checkpoint_interval = usize::MAX;
    if size.tasks >= model.max_threads {
        return None;
    }
    let executions = Arc::new(AtomicU64::new(0));
    let counted = executions.clone();
    let body = move || {
        if counted.fetch_add(1, Relaxed) == most {
            resume_unwind(Box::new(Enough));
        }
        let locks: Arc<Vec<Mutex<u32>>> = Arc::new((0..size.locks).map(|_| Mutex::new(0)).collect());
        let effect = Arc::new(AtomicUsize::new(0));
        let thread = |n: usize| {
            let (locks, effect) = (locks.clone(), effect.clone());
            loom::thread::spawn(move || {
                for _ in 0..size.rounds {
                    let guard = locks[n % locks.len()].lock().expect("nobody panics");
                    effect.fetch_add(1, SeqCst);
                    effect.fetch_sub(1, SeqCst);
                    drop(guard);
                }
            })
        };
        let all: Vec<_> = (0..size.tasks).map(thread).collect();
        all.into_iter().for_each(|thread| thread.join().expect("nobody panics"));
    };
    let (ended, seconds) = timed(|| catch_unwind(AssertUnwindSafe(|| model.check(body))));
    let exhausted = match ended {
        Ok(()) => true,
        Err(why) if why.is::<Enough>() => false,
        Err(why) => resume_unwind(why),
    };
    Some(Found { count: executions.load(Relaxed).min(most), states: None, exhausted, seconds })
}

/// The model as stateright has it: a table of transitions.
#[derive(Clone)]
struct Table(Size);

/// Those who share a lock: whether somebody has it, and for each the rounds that it has done and where it is in the present one.
#[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    held: bool,
    tasks: Vec<(u8, u8)>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct Now {
    groups: Vec<Group>,
    effect: u8,
}

impl Now {
    /// The same for all that differ in which task, or which lock, is which.
    fn representative(&self) -> Now {
        let mut now = self.clone();
        now.groups.iter_mut().for_each(|group| group.tasks.sort_unstable());
        now.groups.sort_unstable_by(|a, b| b.tasks.len().cmp(&a.tasks.len()).then_with(|| a.cmp(b)));
        now
    }
}

impl Model for Table {
    type State = Now;
    type Action = (usize, usize);

    fn init_states(&self) -> Vec<Now> {
        let Size { tasks, locks, .. } = self.0;
        let group =
            |lock| Group { held: false, tasks: (0..tasks).filter(|n| n % locks == lock).map(|_| (0, 0)).collect() };
        vec![Now { groups: (0..locks).map(group).collect(), effect: 0 }]
    }

    fn actions(&self, now: &Now, actions: &mut Vec<(usize, usize)>) {
        for (lock, group) in now.groups.iter().enumerate() {
            for (n, &(round, place)) in group.tasks.iter().enumerate() {
                if usize::from(round) < self.0.rounds && !(place == 0 && group.held) {
                    actions.push((lock, n));
                }
            }
        }
    }

    fn next_state(&self, now: &Now, (lock, n): (usize, usize)) -> Option<Now> {
        let mut next = now.clone();
        let group = &mut next.groups[lock];
        let (round, place) = group.tasks[n];
        match place {
            0 => group.held = true,
            1 => next.effect += 1,
            2 => next.effect -= 1,
            _ => group.held = false,
        }
        group.tasks[n] = if place == 3 { (round + 1, 0) } else { (round, place + 1) };
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always("no more at once than locks", |table: &Table, now: &Now| {
            usize::from(now.effect) <= table.0.locks
        })]
    }
}

fn stateright(size: Size, symmetric: bool) -> Option<Found> {
    let (states, seconds) = timed(|| {
        let checker = Table(size).checker().threads(1);
        let checker = if symmetric { checker.symmetry_fn(Now::representative) } else { checker };
        let checker = checker.spawn_dfs().join();
        checker.assert_properties();
        checker.unique_state_count() as u64
    });
    Some(Found { count: states, states: Some(states), exhausted: true, seconds })
}

/// Lock, two changes of what all share, unlock, so many times.
async fn one_task(world: SimWorld, [lock, shared]: [<SimWorld as Files>::File; 2], rounds: usize) -> Result<()> {
    for _ in 0..rounds {
        world.flock(&lock, LockMode::Exclusive).await?;
        world.write(&shared, b"+").await?;
        world.write(&shared, b"-").await?;
        world.unlock(&lock).await?;
    }
    Ok(())
}

/// A process with those tasks, and workers enough for all.
fn contest(size: Size) -> Scenario {
    let Size { tasks, locks, rounds } = size;
    let names: Vec<_> = (0..tasks).map(|n| [format!("t{n}"), format!("/lock-{}", n % locks)]).collect();
    let names = Arc::new(names);
    scenario("contest").tasks_share_nothing().workers(tasks as u32 + 1).process("p", move |world: SimWorld| {
        let names = names.clone();
        async move {
            let mut files = Vec::new();
            for [_, path] in &*names {
                let lock = world.open(path, OpenOptions::lock_file()).await?;
                files.push([lock, world.open("/shared", OpenOptions::lock_file()).await?]);
            }
            let spawn =
                |([name, _], files): (&[String; 2], _)| world.spawn(name, one_task(world.clone(), files, rounds));
            let all: Vec<_> = names.iter().zip(files).map(spawn).collect();
            for task in all {
                task.await.expect("not aborted")?;
            }
            Result::Ok(())
        }
    })
}

/// The same with a process for each task: those on one lock are alike.
fn contest_of_processes(size: Size) -> Scenario {
    let Size { tasks, locks, rounds } = size;
    (0..locks).fold(scenario("contest of processes"), |scene, lock| {
        let names = (0..tasks).filter(|n| n % locks == lock).map(|n| format!("t{n}"));
        scene.alike(names, move |world: SimWorld| async move {
            let own = world.open(&format!("/lock-{lock}"), OpenOptions::lock_file()).await?;
            let shared = world.open("/shared", OpenOptions::lock_file()).await?;
            one_task(world, [own, shared], rounds).await
        })
    })
}

fn ours(scene: &Scenario, method: Method, most: u64) -> Option<Found> {
    // Not `Strategy::exhaustive()`, which would first look for small counterexamples.
    let strategy = Strategy { method, ..Strategy::default() }.schedules(most);
    let (found, seconds) = timed(|| scene.explore(strategy));
    let exhausted = match found.verdict {
        Verdict::Upheld { exhaustive, .. } => exhaustive,
        Verdict::Inconclusive(_) => false,
        Verdict::Violated(failure) => panic!("{}", failure.report()),
    };
    Some(Found { count: found.executions, states: found.states, exhausted, seconds })
}

/// A row of the table: the search, and its cap for up to three tasks; a tenth of that for more.
struct Row {
    name: &'static str,
    search: Search,
    most: u64,
}

/// The searches that keep states, those with symmetry last.
const STATES: [Row; 4] = [
    Row { name: "stateright", search: |size, _| stateright(size, false), most: u64::MAX },
    Row { name: "stateright, symmetry", search: |size, _| stateright(size, true), most: u64::MAX },
    // The promise that stateright's model has, too.
    Row {
        name: "ours, state cache",
        search: |size, most| {
            let scene = contest(size).oracle(move || LockBound::at_most(size.locks));
            ours(&scene, Method::Dfs { cache: true }, most)
        },
        most: 50_000_000,
    },
    // With a process for each task there is more to do, and so there are more states.
    Row {
        name: "ours, symmetry",
        search: |size, most| {
            let scene = contest_of_processes(size).oracle(move || LockBound::at_most(size.locks));
            ours(&scene, Method::Dfs { cache: true }, most)
        },
        most: 50_000_000,
    },
];

const EXECUTIONS: [Row; 6] = [
    Row { name: "shuttle, depth-first", search: shuttle_dfs, most: 4_000_000 },
    Row { name: "loom", search: under_loom, most: 1_000_000 },
    Row { name: "shuttle with our reduction", search: shuttle_dpor, most: 500_000 },
    Row {
        name: "ours, depth-first",
        search: |size, most| ours(&contest(size), Method::Dfs { cache: false }, most),
        most: 1_000_000,
    },
    Row {
        name: "ours, partial-order reduction",
        search: |size, most| ours(&contest(size), Method::Dpor, most),
        most: 500_000,
    },
    Row {
        name: "ours, state cache",
        search: |size, most| ours(&contest(size), Method::Dfs { cache: true }, most),
        most: 50_000_000,
    },
];

const NAME: usize = 32;
const CELL: usize = 18;

/// With commas.
fn number(n: u64) -> String {
    let digits = n.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).expect("digits")).collect();
    groups.join(",")
}

fn time(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.1} ms", seconds * 1e3) } else { format!("{seconds:.1} s") }
}

/// Runs a search at every size, and prints what `cell` says of each.
fn row(row: &Row, most: Option<u64>, cell: impl Fn(Found) -> String) -> [Option<Found>; 6] {
    let found = SIZES.map(|size| {
        let cap = most.unwrap_or(if size.tasks > 3 { row.most / 10 } else { row.most });
        (row.search)(size, cap)
    });
    let told = |found: Option<Found>| match found {
        None => "cannot".to_owned(),
        Some(found) if found.exhausted => cell(found),
        Some(found) => format!("> {}", number(found.count)),
    };
    let cells: String = found.iter().map(|found| format!("{:>CELL$}", told(*found))).collect();
    println!("{:NAME$}{cells}", row.name);
    found
}

/// Executions a second with three tasks on two locks.
fn rates() {
    const SMALL: Size = size(3, 2, 1);
    const EXECUTIONS: u64 = 30_000;
    const ROUNDS: u64 = 3;
    let sample = |method| ours(&contest(SMALL), method, EXECUTIONS).map_or(0, |found| found.count);
    let count = |search: Search| search(SMALL, EXECUTIONS).map_or(0, |found| found.count);
    let engines: [(&str, &dyn Fn(u64) -> u64); 10] = [
        ("shuttle, random", &|seed| run(RandomScheduler::new_from_seed(seed, EXECUTIONS as usize), SMALL)),
        ("shuttle, pct", &|seed| run(PctScheduler::new_from_seed(seed, 3, EXECUTIONS as usize), SMALL)),
        ("shuttle, urw", &|seed| run(UrwRandomScheduler::new_from_seed(seed, EXECUTIONS as usize), SMALL)),
        ("shuttle, depth-first", &|_| count(shuttle_dfs)),
        ("shuttle with our reduction", &|_| count(shuttle_dpor)),
        ("loom", &|_| count(under_loom)),
        ("ours, random", &|_| sample(Method::Random)),
        ("ours, pct", &|_| sample(Method::Pct { depth: 3 })),
        ("ours, urw", &|_| sample(Method::Urw)),
        ("ours, partial-order reduction", &|_| sample(Method::Dpor)),
    ];
    let mut all = engines.map(|_| Vec::new());
    for seed in 0..ROUNDS {
        for ((_, run), rates) in engines.iter().zip(&mut all) {
            let (mut executions, mut seconds) = (0, 0.0);
            while seconds < 0.2 {
                let (more, took) = timed(|| run(seed));
                (executions, seconds) = (executions + more, seconds + took);
            }
            rates.push(executions as f64 / seconds);
        }
    }
    println!("3 tasks, 2 locks: executions per second of processor time, medians of {ROUNDS} rounds");
    for ((name, _), rates) in engines.iter().zip(all) {
        println!("{name:NAME$}{:>CELL$}", number(median(rates) as u64));
    }
}

#[expect(clippy::disallowed_methods, reason = "the command line of a benchmark")]
fn main() {
    // `cargo bench --bench exhaust -- 1000`: no search takes more executions than that.
    let most = std::env::args().find_map(|argument| argument.parse().ok());
    rates();
    let head: String = SIZES
        .iter()
        .map(|size| format!("{:>CELL$}", format!("{},{} x{}", size.tasks, size.locks, size.rounds)))
        .collect();
    println!("\nexecutions to try everything, and processor time\n{:NAME$}{head}", "tasks,locks xrounds");
    let traces: String = TRACES.iter().map(|&traces| format!("{:>CELL$}", number(traces))).collect();
    println!("{:NAME$}{traces}", "(traces: the least there can be)");
    let executions = EXECUTIONS.map(|search| {
        let cell = |found: Found| format!("{} {}", number(found.count), time(found.seconds));
        row(&search, most, cell)
    });
    println!("\nstates to try everything, and processor time for each\n{:NAME$}{head}", "tasks,locks xrounds");
    let per_state = |found: Found| found.seconds / found.states.map_or(f64::NAN, |states| states as f64);
    let states = STATES.map(|search| {
        let cell = |found: Found| format!("{} {:.2} us", number(found.states.unwrap_or(0)), per_state(found) * 1e6);
        row(&search, most, cell)
    });

    println!();
    let word = |holds: bool| if holds { "holds" } else { "DOES NOT HOLD" };
    let [_, loom, announced, _, reduced, _] = &executions;
    for (name, found) in [("shuttle with our reduction", announced), ("ours, partial-order reduction", reduced)] {
        let ratio = |(found, traces): (&Option<Found>, u64)| {
            let found = found.expect("ours holds it");
            if found.exhausted { found.count as f64 / traces as f64 } else { f64::INFINITY }
        };
        let worst = found.iter().zip(TRACES).map(ratio).fold(0.0, f64::max);
        println!("{name}: at most 1.1 times the traces: {worst:.3}: {}", word(worst <= 1.1));
    }
    if let (Some(loom), Some(ours)) = (loom[3], reduced[3]) {
        let fewer = loom.count as f64 / ours.count as f64;
        println!(
            "3,2 x1: 20 times fewer executions than loom: {fewer:.0} times: {}",
            word(ours.exhausted && fewer >= 20.0)
        );
    }
    let last = |found: &[Option<Found>; 6]| found[5].filter(|found| found.exhausted);
    let [plain, symmetric, ours, ours_symmetric] = &states;
    for (name, theirs, ours) in
        [("stateright", plain, ours), ("stateright, symmetry in both", symmetric, ours_symmetric)]
    {
        let Some((ours, theirs)) = last(ours).zip(last(theirs)) else { continue };
        let times = per_state(ours) / per_state(theirs);
        println!("6,3 x2: a state at most 5 times what it costs {name}: {times:.1}: {}", word(times <= 5.0));
    }
}
