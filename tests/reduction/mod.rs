//! Partial-order reduction covers what the search without it covers, in fewer executions.

mod alike;
mod dependent;
mod handing;
mod programs;
mod tasks;
mod watched;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use flockstep::explore::Method;
use flockstep::sim::kernel::Quirk;
use flockstep::world::{Children, Clock, Command, Files, LockMode, Locks, OpenOptions, Result, Tasks};
use flockstep::{Scenario, SimWorld, Strategy, Verdict, scenario};
use futures::future::{Either, pending, select};

use programs::{Outcome, Program};

type File = <SimWorld as Files>::File;

async fn contender(world: SimWorld, lock: File, counter: File) -> Result<()> {
    world.flock(&lock, LockMode::Exclusive).await?;
    world.write(&counter, b"+").await?;
    world.write(&counter, b"-").await?;
    world.unlock(&lock).await
}

/// Tasks that share locks, and all of them a counter.
fn contest(tasks: usize, locks: usize) -> Scenario {
    let names: Arc<Vec<_>> = Arc::new((0..tasks).map(|n| [format!("t{n}"), format!("/lock-{}", n % locks)]).collect());
    scenario("contest").tasks_share_nothing().workers(tasks as u32 + 1).process("p", move |world: SimWorld| {
        let names = names.clone();
        async move {
            let mut all = Vec::new();
            for [name, path] in &*names {
                let lock = world.open(path, OpenOptions::lock_file()).await?;
                let counter = world.open("/counter", OpenOptions::lock_file()).await?;
                all.push((name.clone(), lock, counter));
            }
            let spawn =
                |(name, lock, counter): (String, _, _)| world.spawn(&name, contender(world.clone(), lock, counter));
            let all: Vec<_> = all.into_iter().map(spawn).collect();
            for task in all {
                task.await.expect("not aborted")?;
            }
            Result::Ok(())
        }
    })
}

fn count(scene: &Scenario, method: Method) -> u64 {
    let strategy = Strategy { method, ..Strategy::exhaustive() };
    let found = scene.explore(strategy);
    assert!(matches!(found.verdict, Verdict::Upheld { exhaustive: true, .. }), "{:?}", found.verdict);
    found.executions
}

#[test]
#[expect(clippy::print_stdout, reason = "the table says more than that it holds")]
fn hardly_more_executions_than_there_are_traces() {
    // Orders of two writes each of those who hold different locks at once, and of those who share a lock.
    for (tasks, locks, traces) in [(2, 1, 2), (2, 2, 6), (3, 1, 6), (3, 2, 30), (4, 2, 280)] {
        let executions = count(&contest(tasks, locks), Method::Dpor);
        println!("{tasks} tasks, {locks} locks: {executions} executions, {traces} traces");
        assert!(executions >= traces && executions * 10 <= traces * 11 + 10, "{executions} for {traces} traces");
    }
}

/// The programs of these seeds were once left with too few schedules: an abort of what had just ended, the wait of a `select` that was given
/// up, a child whose parent had died, tasks that end because of several others, and a clock that only the dead had read.
const ONCE_WRONG: [u64; 7] = [12_503, 24_836, 26_192, 27_809, 34_518, 95_948, 2_029_280];

/// Larger programs are left out.
const EXECUTIONS_MAX: u64 = 20_000;

/// How many programs are compared: so many, or FLOCKSTEP_PROGRAMS.
pub(crate) fn programs_asked_for(usually: u64) -> u64 {
    #[expect(clippy::disallowed_methods, reason = "how long a test runs is asked of the real environment")]
    std::env::var("FLOCKSTEP_PROGRAMS").ok().and_then(|n| n.parse().ok()).unwrap_or(usually)
}

/// Whether the search without reduction, that with it, and that with the state cache come to the same; how many executions the first two
/// took. Nothing if the program is too large.
fn compare(program: &Program) -> Option<(Outcome, [u64; 2])> {
    let (all, plain) = programs::outcome(program, Method::Dfs { cache: false }, EXECUTIONS_MAX);
    if all == Outcome::TooLarge {
        return None;
    }
    let (some, reduced) = programs::outcome(program, Method::Dpor, EXECUTIONS_MAX);
    assert_eq!(some, all, "with reduction: {program:#?}");
    let (cached, _) = programs::outcome(program, Method::Dfs { cache: true }, EXECUTIONS_MAX);
    assert_eq!(cached, all, "with the state cache: {program:#?}");
    let (bounded, _) = programs::outcome(program, Method::Bounded, EXECUTIONS_MAX);
    // With whose turn it is there are more states than there may be executions for now and then.
    assert!(bounded == all || bounded == Outcome::TooLarge, "by bounds: {bounded:?} and not {all:?}: {program:#?}");
    Some((all, [plain, reduced]))
}

#[test]
fn random_programs_come_to_the_same_with_and_without_reduction() {
    // A longer run: FLOCKSTEP_PROGRAMS=100000 cargo test --release --test tests random_programs -- --nocapture
    let count = programs_asked_for(300);
    compare_all((0..count).chain(ONCE_WRONG).map(Program::random));
}

#[test]
fn random_programs_that_wait_for_several_tasks_together_come_to_the_same() {
    // A longer run: FLOCKSTEP_PROGRAMS=100000 cargo test --release --test tests tasks_together -- --nocapture
    let count = programs_asked_for(100);
    compare_all((0..).filter_map(Program::joining).take(count as usize));
}

#[expect(clippy::print_stdout, reason = "the long run tells how long it was")]
fn compare_all(programs: impl Iterator<Item = Program>) {
    let [mut compared, mut violated, mut plain, mut reduced] = [0u64; 4];
    for program in programs {
        let Some((outcome, executions)) = compare(&program) else { continue };
        compared += 1;
        violated += u64::from(outcome == Outcome::Violated);
        plain += executions[0];
        reduced += executions[1];
    }
    println!(
        "{compared} programs, {violated} of them violated: {plain} executions without reduction, {reduced} with it"
    );
    assert!(compared > 0 && violated > 0 && violated < compared);
    assert!(reduced < plain);
}

/// Whose end is waited for.
#[derive(Clone, Copy, Debug)]
enum End {
    Task,
    AllTasks,
    Child,
}

/// Somebody waits for an end and, if he has chosen to, for something else, and takes what comes first, after that many steps; what ends has
/// that many others. All that can be left behind.
fn first_of_two(of: End, before: usize, others: usize, method: Method) -> BTreeSet<String> {
    let works = move |world: SimWorld| async move {
        for _ in 0..others {
            world.stat("/").await?;
        }
        Result::Ok(())
    };
    let main = move |world: SimWorld| async move {
        let looks = async {
            for _ in 0..before {
                world.stat("/").await?;
            }
            Result::Ok(())
        };
        let is_alone = world.choose(2).await == 0;
        let other = Box::pin(async {
            if is_alone {
                pending().await
            }
            world.mkdir("/other").await
        });
        let is_first = match of {
            End::Child => {
                let child = world.spawn_child(Command::new("child", ["child"])).await?;
                looks.await?;
                matches!(select(Box::pin(world.wait(child)), other).await, Either::Left(_))
            }
            End::Task => {
                let task = world.spawn("t", works(world.clone()));
                looks.await?;
                matches!(select(task, other).await, Either::Left(_))
            }
            End::AllTasks => {
                let mut tasks = [world.spawn("t", works(world.clone())), world.spawn("u", works(world.clone()))];
                looks.await?;
                matches!(select(Box::pin(world.join_all(&mut tasks)), other).await, Either::Left(_))
            }
        };
        world.mkdir(["/other-first", "/end-first", "/alone"][if is_alone { 2 } else { usize::from(is_first) }]).await
    };
    let left = Arc::new(Mutex::new(BTreeSet::new()));
    let into = left.clone();
    let scene = scenario("first of two").tasks_share_nothing().program("child", works).process("p", main);
    let scene = scene.finally("it is noted", move |fs| {
        into.lock().unwrap().insert(fs.list("/").join(" "));
        true
    });
    count(&scene, method);
    std::mem::take(&mut *left.lock().unwrap())
}

/// Whoever finds that it has ended never begins the other thing; and whoever gives the waiting up has seen that it had not. Both once had
/// no part in what steps depend on.
#[test]
fn who_waits_for_an_end_and_something_else_may_get_either_first() {
    for of in [End::Task, End::AllTasks, End::Child] {
        for (before, others) in (0..4).flat_map(|before| (1..4).map(move |others| (before, others))) {
            let all = first_of_two(of, before, others, Method::Dfs { cache: false });
            // Without a step before, it cannot have ended when it is first looked at.
            assert_eq!(all.len(), if before == 0 { 3 } else { 4 }, "{all:?}");
            assert_eq!(first_of_two(of, before, others, Method::Dpor), all, "{of:?} {before} {others}");
        }
    }
}

#[test]
fn a_wrong_dependency_is_found_by_random_programs() {
    let found = (0..400).find(|&seed| {
        let mut program = Program::random(seed);
        program.quirk = Some(Quirk::UnlinkUndeclared);
        // Where debug assertions are on, swapped neighbours may tell first.
        std::panic::catch_unwind(|| compare(&program)).is_err()
    });
    let seed = found.expect("one of them unlinks what another one looks at");
    assert!(compare(&Program::random(seed)).is_some(), "it is the dependency, not the program");
}
