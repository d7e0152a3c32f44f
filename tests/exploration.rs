//! Exploration: the state cache loses nothing, a seed is a schedule, and what an engine says of itself is true.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flockstep::world::*;
use flockstep::{Deadlock, Method, Scenario, SimWorld, Strategy, Time, Verdict, ViolationKind, scenario};
use proptest::prelude::{Just, ProptestConfig, prop, prop_assert, prop_assert_eq, prop_assume, prop_oneof, proptest};
use proptest::strategy::Strategy as Generator;

/// One step of a random program.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Lock(u8, LockMode),
    Try(u8, LockMode),
    Unlock(u8),
    Append(u8),
    /// What a file contains decides what is written: results must matter.
    Copy(u8, u8),
    Rename(u8, u8),
    Unlink(u8),
    Yield,
    Permit,
    OnPool(u8),
    Choose(u8),
}

fn path(n: u8) -> String {
    format!("/{}", char::from(b'a' + n))
}

async fn append(world: &SimWorld, at: u8, byte: u8) -> Result<()> {
    let options = OpenOptions { append: true, ..OpenOptions::lock_file() };
    let file = world.open(&path(at), options).await?;
    world.write(&file, &[byte]).await?;
    world.close(file).await
}

async fn run(world: SimWorld, steps: Vec<Step>, permits: SemaphoreOf, me: u8) {
    let mut locks: Vec<(u8, FileOf)> = Vec::new();
    for step in steps {
        match step {
            Step::Lock(at, mode) | Step::Try(at, mode) => {
                let held = locks.iter().position(|(other, _)| *other == at);
                let file = match held {
                    Some(held) => locks.remove(held).1,
                    None => match world.open(&path(at), OpenOptions::lock_file()).await {
                        Ok(file) => file,
                        Err(_) => continue,
                    },
                };
                let got = match step {
                    Step::Lock(..) => world.flock(&file, mode).await.is_ok(),
                    _ => world.try_flock(&file, mode).await.unwrap_or(false),
                };
                if got {
                    locks.push((at, file));
                } else {
                    let _ = append(&world, 2, b'0' + me).await;
                }
            }
            Step::Unlock(at) => locks.retain(|(other, _)| *other != at),
            Step::Append(at) => drop(append(&world, at, b'A' + me).await),
            Step::Copy(from, to) => {
                if let Ok(bytes) = read_file(&world, &path(from)).await
                    && bytes.len() % 2 == 1
                {
                    let _ = append(&world, to, b'x').await;
                }
            }
            Step::Rename(from, to) => drop(world.rename(&path(from), &path(to)).await),
            Step::Unlink(at) => drop(world.unlink(&path(at)).await),
            Step::Yield => world.yield_now().await,
            Step::Permit => {
                let _permit = world.acquire(&permits, 1).await;
                world.yield_now().await;
            }
            Step::OnPool(at) => {
                let inner = world.clone();
                world.on_pool(async move { drop(append(&inner, at, b'p').await) }).await;
            }
            Step::Choose(at) => {
                if world.choose(2).await == 1 {
                    let _ = append(&world, at, b'c').await;
                }
            }
        }
    }
}
type FileOf = <SimWorld as Files>::File;
type SemaphoreOf = <SimWorld as InProcess>::Semaphore;

pub(crate) fn step() -> impl Generator<Value = Step> {
    let mode = prop_oneof![Just(LockMode::Shared), Just(LockMode::Exclusive)];
    let at = 0..2u8;
    prop_oneof![
        (at.clone(), mode.clone()).prop_map(|(at, mode)| Step::Lock(at, mode)),
        (at.clone(), mode).prop_map(|(at, mode)| Step::Try(at, mode)),
        at.clone().prop_map(Step::Unlock),
        at.clone().prop_map(Step::Append),
        (0..3u8, 0..3u8).prop_map(|(from, to)| Step::Copy(from, to)),
        (at.clone(), at.clone()).prop_map(|(from, to)| Step::Rename(from, to)),
        at.clone().prop_map(Step::Unlink),
        Just(Step::Yield),
        Just(Step::Permit),
        at.clone().prop_map(Step::OnPool),
        at.prop_map(Step::Choose),
    ]
}

/// What executions come to: the files and their contents.
#[derive(Clone, Default)]
struct Ends(Arc<Mutex<BTreeSet<String>>>);

impl Ends {
    /// The scenario, with a note of how each of its executions ends.
    fn of(&self, scene: &Scenario) -> Scenario {
        let ends = self.0.clone();
        scene.clone().finally("ends are noted", move |kernel| {
            let names = kernel.list("/").into_iter();
            let end: Vec<_> = names.map(|name| (kernel.read(&format!("/{name}")).text().into_owned(), name)).collect();
            ends.lock().unwrap().insert(format!("{end:?}"));
            true
        })
    }

    fn seen(&self) -> BTreeSet<String> {
        self.0.lock().unwrap().clone()
    }
}

pub(crate) fn scene(programs: &[Vec<Vec<Step>>], workers: u32, kill: bool, cancel: bool) -> Scenario {
    let mut scene = scenario("random").workers(workers).blocking_threads(1).leaks_allowed();
    for (pid, tasks) in programs.iter().enumerate() {
        let tasks = tasks.clone();
        scene = scene.process(&format!("p{pid}"), move |world| {
            let tasks = tasks.clone();
            async move {
                let permits = world.semaphore("permits", 1);
                let tasks = tasks.into_iter().enumerate().map(|(n, steps)| {
                    let me = pid as u8 * 2 + n as u8;
                    world.spawn(&format!("t{n}"), run(world.clone(), steps, permits.clone(), me))
                });
                for task in tasks.collect::<Vec<_>>() {
                    let _ = task.await;
                }
            }
        });
    }
    if kill {
        scene = scene.kill("p0");
    }
    if cancel {
        scene = scene.cancel("t0");
    }
    scene
}

fn explored(scene: &Scenario, cache: bool) -> (Verdict, BTreeSet<String>, u64) {
    let ends = Ends::default();
    let strategy = Strategy {
        method: Method::Dfs { cache },
        ..Strategy::dfs(if cfg!(feature = "exhaustive") { 30_000 } else { 5_000 })
    };
    let exploration = ends.of(scene).explore(strategy);
    (exploration.verdict, ends.seen(), exploration.executions)
}

/// How many random programs a test tries.
fn programs() -> u32 {
    if cfg!(feature = "exhaustive") { 400 } else { 100 }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: programs(), max_global_rejects: 1_000_000, ..ProptestConfig::default() })]

    /// The search with the cache comes to the same ends as the search without, and to the same verdict.
    #[test]
    fn the_cache_loses_nothing(
        programs in prop::collection::vec(prop::collection::vec(prop::collection::vec(step(), 1..4), 1..3), 1..3),
        workers in 1..3u32,
        kill: bool,
        cancel: bool,
    ) {
        let scene = scene(&programs, workers, kill, cancel);
        let (plain, ends, executions) = explored(&scene, false);
        prop_assume!(!matches!(plain, Verdict::Upheld { exhaustive: false, .. }));
        let (cached, ends_cached, executions_cached) = explored(&scene, true);
        prop_assert_eq!(plain.word(), cached.word());
        if matches!(plain, Verdict::Upheld { .. }) {
            prop_assert_eq!(ends, ends_cached);
            prop_assert!(executions_cached <= executions);
        }
    }
}

#[test]
fn a_seed_is_a_schedule() {
    let steps = vec![Step::Append(0), Step::Copy(0, 1), Step::Yield, Step::Append(1)];
    let scene = scene(&[vec![steps.clone(), steps.clone()], vec![steps]], 1, true, true);
    let story = |seed| {
        let ends = Ends::default();
        let exploration = ends.of(&scene).explore(Strategy::random(50).seed(seed));
        (exploration.steps, ends.seen())
    };
    assert_eq!(story(7), story(7));
    assert_ne!(story(7), story(8));
}

#[test]
fn less_than_everything_is_never_called_exhaustive() {
    let steps = vec![Step::Append(0), Step::Append(1)];
    let scene = scene(&[vec![steps.clone()], vec![steps]], 1, false, false);
    let cut = scene.explore(Strategy::exhaustive().schedules(1));
    assert!(matches!(cut.verdict, Verdict::Inconclusive(_)), "{:?}", cut.verdict);
    let sampled = scene.explore(Strategy::random(500));
    assert!(matches!(sampled.verdict, Verdict::Upheld { exhaustive: false, executions: 500 }));
    scene.explore(Strategy::exhaustive()).assert_exhausted();
    let interrupted = scene.explore_with(&Strategy::random(100_000), &mut |_| false);
    assert!(matches!(interrupted.verdict, Verdict::Inconclusive(_)));
}

/// Polls for a lock as tools without flock do; `tries` is how often it looks before it gives up.
async fn poll_for(world: SimWorld, tries: u32) -> Result<()> {
    for _ in 0..tries {
        match world.open("/lock", OpenOptions::create_new()).await {
            Ok(file) => {
                world.close(file).await?;
                world.yield_now().await;
                return world.unlink("/lock").await;
            }
            Err(error) if error.errno == Errno::Exist => world.sleep(Duration::from_millis(10)).await,
            Err(error) => return Err(error),
        }
    }
    Err(Error::new(Errno::Again, "poll", "/lock"))
}

#[test]
fn polling_is_no_livelock_and_a_livelock_is_endless() {
    let two = scenario("polling").process("a", |w| poll_for(w, u32::MAX)).process("b", |w| poll_for(w, u32::MAX));
    two.explore(Strategy::default()).assert_upheld();
    two.clone().time(Time::Urgent).explore(Strategy::exhaustive()).assert_exhausted();
    let stale = two.file("/lock", "").steps_max(2_000);
    stale.explore(Strategy::default()).assert_violated(ViolationKind::Endless);
}

/// The end of a process closes what it has; a report of twelve events has better things to tell.
#[test]
fn a_report_tells_who_did_it_and_not_what_ends_close() {
    let scene =
        scenario("deleted").file("/entry", "").process("cleaner", |world| async move { world.unlink("/entry").await });
    let scene =
        scene.process("reader", |world| async move { world.open("/entry", OpenOptions::read()).await.map(drop) });
    let found = scene.explore(Strategy::exhaustive());
    let failure = found.assert_violated(ViolationKind::Failed);
    let report = failure.report();
    assert!(report.contains("cleaner unlinks /entry") && report.contains("fails to open /entry"), "{report}");
    assert!(!report.contains("/dev/null"), "{report}");
    assert!(failure.story.iter().any(|line| line.contains("/dev/null")), "it is all there for those who ask");
}

/// Two inodes under one path are told apart by their numbers, so the argument and the lock table have to mean the same by them.
#[test]
fn the_lock_table_has_the_numbers_that_stat_tells() {
    let scene = scenario("numbers").process("p", |world| async move {
        let file = world.open("/lock", OpenOptions::lock_file()).await?;
        world.flock(&file, LockMode::Exclusive).await?;
        world.note("inode", &world.fstat(&file).await?.id.inode.to_string());
        let again = world.open("/lock", OpenOptions::lock_file()).await?;
        world.flock(&again, LockMode::Exclusive).await
    });
    let found = scene.explore(Strategy::exhaustive());
    let failure = found.assert_violated(ViolationKind::Deadlock(Deadlock::LockCycle));
    let number = failure.events.iter().find_map(|event| match &event.what {
        What::Note { kind: "inode", subject } => Some(subject.to_string()),
        _ => None,
    });
    assert!(failure.lslocks.contains(&number.expect("it was noted")), "{}", failure.lslocks);
}

#[test]
fn a_budget_of_tries_can_run_out_while_the_holder_is_slow() {
    let two = scenario("budget").process("a", |w| poll_for(w, 3)).process("b", |w| poll_for(w, 3));
    two.explore(Strategy::default()).assert_violated(ViolationKind::Failed);
}

/// The reduction was told nothing of an execution that was looked at, and called two of a hundred exhaustive.
#[test]
fn to_look_at_what_meets_changes_nothing_of_what_is_tried() {
    let mut scene = scenario("two writers").file("/a", "");
    for name in ["one", "other"] {
        scene = scene.process(name, |world| async move {
            for _ in 0..2 {
                let file = world.open("/a", OpenOptions::lock_file()).await?;
                world.write(&file, b"+").await?;
            }
            Result::Ok(())
        });
    }
    for method in [Method::Dfs { cache: false }, Method::Dfs { cache: true }, Method::Dpor, Method::Bounded] {
        let strategy = Strategy { method, ..Strategy::exhaustive() };
        let unseen = scene.explore(strategy.clone());
        let seen = scene.explore(strategy.with_coverage());
        unseen.assert_exhausted();
        seen.assert_exhausted();
        assert_eq!(seen.executions, unseen.executions, "{method:?}");
        assert!(seen.executions > 1 && seen.coverage.pairs().len() > 0, "{method:?}");
    }
}

/// Of a step that chooses a value, only what it touches with the last one was known: whoever had been tried with all of them slept on while
/// somebody did what the first one would have changed.
#[test]
fn what_a_step_touches_is_what_it_touches_whatever_it_chooses() {
    let scene = scenario("choose").file("/lock", "").file("/told", "");
    let scene = scene.process("holder", |world| async move {
        let lock = world.open("/lock", OpenOptions::write()).await?;
        world.flock(&lock, LockMode::Exclusive).await?;
        let gone = world.choose(2).await == 0;
        let _held = (!gone).then_some(lock);
        let told = world.open("/told", OpenOptions::write()).await?;
        world.write(&told, if gone { b"gone" } else { b"held" }).await
    });
    let scene = scene.process("other", |world| async move {
        let lock = world.open("/lock", OpenOptions::write()).await?;
        world.stat("/").await?; // so that the first schedule is not the one
        world.stat("/").await?;
        let refused = !world.try_flock(&lock, LockMode::Exclusive).await?;
        if refused { world.mkdir("/refused").await } else { Ok(()) }
    });
    let scene = scene.finally("whoever was refused was not before one that was gone", |fs| {
        !(fs.exists("/refused") && fs.read("/told").contains_all(["gone"]))
    });
    for method in [Method::Dfs { cache: false }, Method::Dfs { cache: true }, Method::Dpor, Method::Bounded] {
        let found = scene.explore(Strategy { method, ..Strategy::exhaustive() });
        assert!(matches!(found.verdict, Verdict::Violated(_)), "{method:?}: {:?}", found.verdict);
    }
}

/// Whoever does nothing that others depend on is not tried in every order with them, and yet every state is come to.
#[test]
fn a_search_with_the_cache_tries_one_order_of_what_is_independent() {
    let walks = |path: &'static str| {
        move |world: SimWorld| async move {
            for _ in 0..3 {
                world.stat(path).await?;
            }
            Result::Ok(())
        }
    };
    let scene = |paths: [&'static str; 3]| {
        let scene = scenario("walkers").file("/a", "").file("/b", "").file("/c", "");
        paths.into_iter().fold(scene, |scene, path| scene.process(path, walks(path)))
    };
    let found = scene(["/a", "/b", "/c"]).explore(Strategy::dfs(1_000));
    found.assert_exhausted();
    // Three steps each, in any combination; at the last one there is nothing left to choose.
    let (states, steps) = (4 * 4 * 4 - 1, 3 * (3 * 4 * 4));
    assert_eq!(found.states, Some(states));
    let every_step = steps - (states - 1);
    assert!(3 * found.executions < every_step, "{} instead of {every_step}", found.executions);
}
