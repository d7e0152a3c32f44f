//! How fast the engines are: `cargo bench --bench engines`.
//!
//! Three tasks on two locks, each: lock, two effects, unlock. Ours opens a file for each task first, and runs that through the whole kernel (names, inodes,
//! descriptions, descriptor tables), the executor model and the oracles; bare shuttle runs two of its own mutexes and
//! atomics. Rounds of all contestants are interleaved, so that a busy machine is unfair to all alike, and medians are compared.
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

mod lock_model;

use std::sync::Arc;

use flockstep::engine::{self, Engine};
use flockstep::sim::kernel::{Kernel, Pid};
use flockstep::world::*;
use flockstep::{Scenario, SimWorld, Strategy, scenario};
use lock_model::{median, timed};

const ROUNDS: u64 = 7;
const TASKS: usize = 3;
const LOCKS: usize = 2;

/// Lock, two effects, unlock. The descriptor is closed as the task ends.
async fn one_task(world: SimWorld, file: <SimWorld as Files>::File) -> Result<()> {
    world.flock(&file, LockMode::Exclusive).await?;
    world.write(&file, b"+").await?;
    world.write(&file, b"-").await?;
    world.unlock(&file).await
}

/// A process whose tasks share that many locks, on as many workers as it takes to let none of them starve. Everybody's descriptor is open
/// before they start, as shuttle's mutexes are there before its threads.
fn contest(tasks: usize, locks: usize) -> Scenario {
    let names: Vec<_> = (0..tasks).map(|n| [format!("t{n}"), format!("/lock-{}", n % locks)]).collect();
    let names = Arc::new(names);
    let scene = scenario("contest").workers(tasks as u32 + 1).nofile(4 * tasks as u32 + 16);
    scene.process("p", move |world| {
        let names = names.clone();
        async move {
            let mut all = Vec::with_capacity(names.len());
            for [_, path] in &*names {
                all.push(world.open(path, OpenOptions::lock_file()).await?);
            }
            let spawn = |([name, _], file): (&[String; 2], _)| world.spawn(name, one_task(world.clone(), file));
            let all: Vec<_> = names.iter().zip(all).map(spawn).collect();
            for task in all {
                task.await.expect("not aborted")?;
            }
            Result::Ok(())
        }
    })
}

/// The same with every oracle that applies to it: in what order locks are taken, how many are held, who owns a path, what blocks while a lock is
/// held, how many descriptors there are, whether they suffice. (That nothing leaks is always watched.)
fn judged_contest(tasks: usize, locks: usize) -> Scenario {
    use flockstep::oracle::{BlockingWhileHeld, DescriptorBound, LockBound, LockOrder, NoEmfile, PathExclusion};
    contest(tasks, locks)
        .oracle(|| LockOrder::ranked([("/lock-*", "lock", 0)]))
        .oracle(move || LockBound::at_most(locks))
        .oracle(|| PathExclusion::of("/lock-*"))
        .oracle(BlockingWhileHeld::default)
        .oracle(move || DescriptorBound::at_most(3 + tasks as u32))
        .oracle(NoEmfile::default)
}

/// Shuttle with its own primitives.
fn bare_shuttle(executions: usize, seed: u64) -> f64 {
    let scheduler = shuttle::scheduler::RandomScheduler::new_from_seed(seed, executions);
    timed(|| shuttle::Runner::new(scheduler, lock_model::config()).run(|| lock_model::under_shuttle(TASKS, LOCKS, 1))).1
}

/// The kernel's share of the time is found out by making the kernel calls of one execution, one task after another, without executor, oracles or choices.
fn kernel_alone(executions: u64) -> f64 {
    let start = Kernel::default();
    let paths: Vec<Arc<str>> = (0..TASKS).map(|n| format!("/lock-{}", n % LOCKS).into()).collect();
    let mut kernel = Kernel::default();
    let mut touched = Vec::new();
    let execution = |kernel: &mut Kernel, touched: &mut Vec<_>| {
        kernel.reset_to(&start);
        let pid: Pid = kernel.new_process(1024);
        for (task, path) in paths.iter().enumerate() {
            let by = task as u32;
            let fd = kernel.open(pid, path, OpenOptions::lock_file()).expect("open").descriptor;
            kernel.used_by(pid, fd, by);
            assert!(kernel.can_lock(pid, fd, LockMode::Exclusive));
            assert_eq!(kernel.begin_conversion(pid, fd, LockMode::Exclusive), Ok(None));
            assert_eq!(kernel.grant(pid, fd, LockMode::Exclusive, by, 0), Ok(true));
            kernel.take_touched(touched);
            for data in [b"+", b"-"] {
                assert!(kernel.can_write(pid, fd, data.len()));
                assert_eq!(kernel.write(pid, fd, data), Ok(1));
            }
            kernel.unlock(pid, fd).expect("open");
            kernel.take_touched(touched);
            kernel.close(pid, fd).expect("open");
            touched.clear();
        }
        kernel.end(pid, Status::Exited(0));
        let mut closed = Vec::new();
        while kernel.close_next(pid, &mut closed) {}
        kernel.take_touched(touched);
        touched.clear();
        std::hint::black_box(&*kernel);
    };
    timed(|| (0..executions).for_each(|_| execution(&mut kernel, &mut touched))).1
}

/// Executions per second, and steps per second.
fn rate(engine: &dyn Engine, scene: &Scenario, executions: u64, seed: u64) -> (f64, f64) {
    let strategy = Strategy::random(executions).seed(seed);
    let (found, seconds) = timed(|| engine.explore(scene, &strategy, &mut |_| true));
    let found = found.expect("every engine here holds it");
    found.assert_upheld();
    (found.executions as f64 / seconds, found.steps as f64 / seconds)
}

#[expect(clippy::disallowed_methods, reason = "the command line of a benchmark")]
fn main() {
    // `cargo bench --bench engines -- seeded 100000 3`, or `judged` for all oracles: so many executions of so many tasks, only that, for a profiler, and without a look at the
    // clock (valgrind does not survive how it is read).
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "seeded" || argument == "judged") {
        let executions = arguments.get(at + 1).and_then(|n| n.parse().ok()).unwrap_or(400_000);
        let tasks = arguments.get(at + 2).and_then(|n| n.parse().ok()).unwrap_or(TASKS);
        let locks = tasks.div_ceil(2);
        let scene = if arguments[at] == "judged" { judged_contest(tasks, locks) } else { contest(tasks, locks) };
        let found = scene.explore(Strategy::random(executions));
        println!("{}: {} executions, {} steps", arguments[at], found.executions, found.steps);
        return;
    }
    let (ours, theirs) = (&engine::Seeded, engine::by_name("shuttle").expect("built with it"));
    let scenes = [
        ("oracles: the default ones only", contest(TASKS, LOCKS)),
        ("oracles: all that apply are on", judged_contest(TASKS, LOCKS)),
    ];
    let [mut bare, mut kernel] = [const { Vec::new() }; 2];
    // By scene, then: executions and steps a second, of our engine and of shuttle.
    let mut rates = [const { [const { Vec::new() }; 4] }; 2];
    for seed in 0..ROUNDS {
        bare.push(60_000.0 / bare_shuttle(60_000, seed));
        for ((_, scene), rates) in scenes.iter().zip(&mut rates) {
            let (executions, steps) = rate(ours, scene, 80_000, seed);
            let (under, under_steps) = rate(theirs, scene, 20_000, seed);
            rates.iter_mut().zip([executions, steps, under, under_steps]).for_each(|(all, one)| all.push(one));
        }
        kernel.push(300_000.0 / kernel_alone(300_000));
    }
    let [bare, kernel] = [bare, kernel].map(median);
    println!("{TASKS} tasks on {LOCKS} locks, random, medians of {ROUNDS} rounds, per second of processor time");
    println!("  bare shuttle, its own mutexes  {bare:>10.0} executions/s");
    println!("  kernel calls alone             {kernel:>10.0} executions/s");
    for ((name, _), rates) in scenes.iter().zip(rates) {
        let [seeded, steps, under, under_steps] = rates.map(median);
        println!("whole kernel, {name}");
        println!("  seeded                         {seeded:>10.0} executions/s {steps:>12.0} steps/s");
        println!("  the same scenario, shuttle     {under:>10.0} executions/s {under_steps:>12.0} steps/s");
        println!("  seeded / bare shuttle          {:>10.2}", seeded / bare);
        println!("  seeded / same under shuttle    {:>10.2}", seeded / under);
        println!("  the kernel's share of the seeded engine's time {:>3.0} %", 100.0 * seeded / kernel);
    }
    println!("  (required with all oracles on: 2 and 4 times, later 3 and 6)");

    let search = contest(4, LOCKS);
    let states = |_| {
        let (found, seconds) = timed(|| search.explore(Strategy::dfs(10_000_000)));
        found.assert_exhausted();
        found.states.expect("the cache is on") as f64 / seconds
    };
    println!(
        "depth first with the state cache, 4 tasks on {LOCKS} locks: {:.0} states/s",
        median((0..3).map(states).collect())
    );

    println!("cost of a step, seeded, random");
    let mut first = 0.0;
    for (tasks, executions) in [(10, 15_000), (100, 1_500), (1_000, 150)] {
        let scene = contest(tasks, tasks.div_ceil(2));
        let costs = (0..5).map(|seed| 1e9 / rate(ours, &scene, executions, seed).1).collect();
        let cost = median(costs);
        first = if tasks == 10 { cost } else { first };
        println!("  {tasks:>5} tasks {cost:>8.0} ns, {:.2} times that of 10", cost / first);
    }
}
