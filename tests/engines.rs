//! Engines: one kernel, and the verdicts of all who can hold a scenario agree.

use std::time::Duration;

use flockstep::engine::{self, CannotHold};
use flockstep::world::*;
use flockstep::{Deadlock, Exploration, Key, Method, Scenario, SimWorld, Strategy, Verdict, ViolationKind, scenario};

type File = <SimWorld as Files>::File;

async fn locked(world: &SimWorld, path: &str) -> Result<File> {
    let file = world.open(path, OpenOptions::lock_file()).await?;
    world.flock(&file, LockMode::Exclusive).await?;
    Ok(file)
}

fn explore(engine: &str, scene: &Scenario, strategy: &Strategy) -> std::result::Result<Exploration, CannotHold> {
    let engine = engine::by_name(engine).unwrap_or_else(|| panic!("built without {engine}"));
    engine.explore(scene, strategy, &mut |_| true)
}

/// The seeded engine exhausts the scenario; those named find the same, each with its strategies.
#[track_caller]
fn agree(scene: &Scenario, violation: Option<ViolationKind>, engines: &[&str]) {
    let judge = |found: &Exploration, who: &str| {
        let Some(kind) = &violation else { return found.assert_upheld() };
        let failure = found.assert_violated(kind.clone());
        let key = failure.key.as_ref().unwrap_or_else(|| panic!("{who} gives no key")).to_string();
        let key: Key = key.parse().expect("a key reads back");
        let again = scene.replay(&key).0.unwrap_or_else(|| panic!("the key of {who} does not replay: {key}"));
        assert_eq!((&again.violation, &again.events), (&failure.violation, &failure.events), "{who}");
    };
    judge(&scene.explore(Strategy::exhaustive()), "seeded");
    for &engine in engines {
        let strategies: &[_] = match engine {
            "loom" => &[Strategy::random(3_000)],
            _ => &[
                Strategy::random(1_000),
                Strategy::pct(3, 1_000),
                Strategy::default(),
                Strategy::dfs(1_000),
                Strategy::dpor(100_000),
            ],
        };
        for strategy in strategies {
            let found = explore(engine, scene, strategy);
            let found = match found {
                // Its depth-first search goes wrong last what should go wrong first.
                Ok(found) if strategy.method.name() == "dfs" && matches!(found.verdict, Verdict::Upheld { .. }) => {
                    found
                }
                Ok(found) => {
                    judge(&found, engine);
                    found
                }
                Err(CannotHold { why, .. }) if strategy.method.name() == "dfs" => {
                    assert!(why.contains("enumerate"), "{why}");
                    continue;
                }
                Err(why) => panic!("{why}"),
            };
            assert!(found.executions > 0 && found.steps >= found.executions, "{engine}: {}", found.executions);
            if strategy.method == Method::Dpor {
                // It is our reduction on shuttle's threads: the same executions, to the step.
                let ours = scene.explore(strategy.clone());
                let came_to = |found: &Exploration| (found.verdict.clone(), found.executions, found.steps);
                assert_eq!(came_to(&found), came_to(&ours));
                assert!(matches!(found.verdict, Verdict::Violated(_) | Verdict::Upheld { exhaustive: true, .. }));
            }
            if violation.is_none() {
                assert!(found.executions > 1, "{engine} tried one schedule");
            }
        }
    }
}

const BOTH: &[&str] = &["shuttle", "loom"];

async fn hold_across_await(world: SimWorld) -> Result<()> {
    let file = locked(&world, "/lock").await?;
    world.yield_now().await;
    world.close(file).await
}

fn starve(workers: u32) -> Scenario {
    scenario("starve").workers(workers).process("p", |world| async move {
        let a = world.spawn("a", hold_across_await(world.clone()));
        let b = world.spawn("b", hold_across_await(world.clone()));
        a.await.expect("not aborted")?;
        b.await.expect("not aborted")
    })
}

#[test]
fn worker_starvation() {
    agree(&starve(1), Some(ViolationKind::Deadlock(Deadlock::WorkerStarvation)), BOTH);
    agree(&starve(3), None, BOTH);
}

/// The holder needs the pool, which its waiters fill.
fn exhaust(threads: u32) -> Scenario {
    scenario("exhaust").workers(2).blocking_threads(threads).process("p", |world| async move {
        let w = world.clone();
        let waiter = world.spawn("waiter", async move {
            let inner = w.clone();
            w.on_pool(async move { locked(&inner, "/lock").await.map(drop) }).await
        });
        let file = locked(&world, "/lock").await?;
        world.on_pool(async {}).await;
        world.close(file).await?;
        waiter.await.expect("not aborted")
    })
}

#[test]
fn pool_exhaustion() {
    agree(&exhaust(1), Some(ViolationKind::Deadlock(Deadlock::PoolExhaustion)), BOTH);
    agree(&exhaust(2), None, BOTH);
}

fn abba(second: [&'static str; 2]) -> Scenario {
    let body = |paths: [&'static str; 2]| {
        move |world: SimWorld| async move {
            let first = locked(&world, paths[0]).await?;
            let second = locked(&world, paths[1]).await?;
            world.close(second).await?;
            world.close(first).await
        }
    };
    scenario("abba").process("p", body(["/a", "/b"])).process("q", body(second))
}

#[test]
fn two_locks_in_two_orders() {
    agree(&abba(["/b", "/a"]), Some(ViolationKind::Deadlock(Deadlock::LockCycle)), BOTH);
    agree(&abba(["/a", "/b"]), None, BOTH);
}

fn update(with_lock: bool) -> Scenario {
    let body = move |line: &'static str| {
        move |world: SimWorld| async move {
            let lock = if with_lock { Some(locked(&world, "/lock").await?) } else { None };
            let mut content = read_file(&world, "/list").await?;
            content.extend(line.as_bytes());
            let file = world.open("/list", OpenOptions::replace()).await?;
            write_all(&world, &file, &content).await?;
            world.close(file).await?;
            drop(lock);
            Result::Ok(())
        }
    };
    scenario("update")
        .file("/list", "")
        .process("a", body("a"))
        .process("b", body("b"))
        .finally("both", |fs| fs.read("/list").contains_all(["a", "b"]))
}

#[test]
fn lost_update() {
    agree(&update(false), Some(ViolationKind::Promise("both".into())), BOTH);
    agree(&update(true), None, BOTH);
}

/// Written in place by a process that may be killed: half of it may stay. With a rename it may not.
fn killed(in_place: bool) -> Scenario {
    scenario("killed")
        .process("writer", move |world| async move {
            let file = world.open(if in_place { "/x" } else { "/tmp" }, OpenOptions::replace()).await?;
            world.write(&file, b"first").await?;
            world.write(&file, b"second").await?;
            world.close(file).await?;
            if !in_place {
                world.rename("/tmp", "/x").await?;
            }
            Result::Ok(())
        })
        .kill("writer")
        .finally("all or nothing", |fs| {
            let content = fs.read("/x");
            !content.exists() || content == "firstsecond"
        })
        .sometimes("it is there", |fs| fs.read("/x") == "firstsecond")
        .sometimes("it is not killed", |fs| fs.read("/x") == "firstsecond" && !fs.alive(0) && !fs.exists("/tmp"))
}

#[test]
fn a_kill() {
    agree(&killed(true), Some(ViolationKind::Promise("all or nothing".into())), BOTH);
    agree(&killed(false), None, BOTH);
}

/// Two futures of one task, each with an await in the middle.
fn several(order_matters: bool) -> Scenario {
    scenario("several")
        .process("p", |world| async move {
            let w = &world;
            let make = |path: &'static str| async move {
                w.yield_now().await;
                w.mkdir(path).await
            };
            let (one, two) = futures::future::join(make("/one"), make("/two")).await;
            one.and(two)
        })
        .always("one before two", move |fs| !order_matters || fs.exists("/one") || !fs.exists("/two"))
}

#[test]
fn several_operations_in_a_task() {
    agree(&several(true), Some(ViolationKind::Promise("one before two".into())), &["shuttle"]);
    agree(&several(false), None, &["shuttle"]);
    let why = explore("loom", &several(true), &Strategy::default()).unwrap_err().why;
    assert!(why.contains("several operations"), "{why}");
}

/// A child that inherits a lock by design keeps it after its parent has let go.
fn child(inherit: bool) -> Scenario {
    let scene = scenario("child").program("hook", |world| async move {
        world.mkdir("/busy").await?;
        world.rmdir("/busy").await
    });
    let scene = scene.process("parent", move |world| async move {
        let lock = locked(&world, "/lock").await?;
        let command = Command::new("hook", [""; 0]);
        let command = if inherit { command.inherit(&lock) } else { command };
        let child = world.spawn_child(command).await?;
        drop(lock);
        let output = world.wait(child).await?;
        assert!(output.status.success());
        Result::Ok(())
    });
    scene
        .process("other", |world| async move {
            let lock = locked(&world, "/lock").await?;
            let busy = world.stat("/busy").await.is_ok();
            world.note("entered", if busy { "while busy" } else { "alone" });
            if busy {
                world.mkdir("/met").await?;
            }
            world.close(lock).await
        })
        .finally("they do not meet", |fs| !fs.exists("/met"))
}

#[test]
fn children() {
    agree(&child(false), Some(ViolationKind::Promise("they do not meet".into())), BOTH);
    agree(&child(true), None, BOTH);
}

fn crowd(tasks: u32) -> Scenario {
    scenario("crowd").workers(8).process("p", move |world| async move {
        let all: Vec<_> = (0..tasks).map(|n| world.spawn(&format!("t{n}"), hold_across_await(world.clone()))).collect();
        for task in all {
            task.await.expect("not aborted")?;
        }
        Result::Ok(())
    })
}

#[test]
fn loom_says_how_many_are_too_many() {
    let refused = explore("loom", &crowd(5), &Strategy::default()).unwrap_err();
    assert_eq!((refused.engine, refused.scenario.as_str()), ("loom", "crowd"));
    assert!(refused.why.contains("6 agents at once") || refused.why.contains("5 agents at once"), "{}", refused.why);
}

/// A choice of values is one more thing that only some can enumerate.
#[test]
fn choices_of_values() {
    let scene = scenario("values").process("p", |world| async move {
        assert!(world.choose(3).await != 2, "two");
    });
    agree(&scene, Some(ViolationKind::Panic), &["shuttle"]);
    let why = explore("loom", &scene, &Strategy::default()).unwrap_err().why;
    assert!(why.contains("values"), "{why}");
}

fn panicking() -> Scenario {
    scenario("panic")
        .process("p", |world| async move {
            world.yield_now().await;
            assert!(world.stat("/made").await.is_err(), "boom");
        })
        .process("q", |world| async move { world.mkdir("/made").await })
}

/// Twice in one process: what the engines install for all of it must not get in the way of the next exploration.
#[test]
fn a_panic_is_reported_by_every_engine_again_and_again() {
    for _ in 0..2 {
        for engine in engine::all() {
            let found = engine.explore(&panicking(), &Strategy::random(500), &mut |_| true).expect("it holds it");
            let failure = found.assert_violated(ViolationKind::Panic);
            assert!(failure.violation.summary.contains("boom"), "{}: {}", engine.name(), failure.violation.summary);
            assert!(failure.key.is_some(), "{}", engine.name());
            assert!(found.executions > 0);
        }
    }
}

#[test]
fn exhaustive_is_said_only_when_it_is() {
    let tiny = scenario("tiny")
        .process("a", |world| async move { world.mkdir("/a").await })
        .process("b", |world| async move { world.mkdir("/b").await });
    for engine in ["shuttle", "loom"] {
        let found = explore(engine, &tiny, &Strategy::dfs(1_000)).expect("it holds it");
        assert_eq!(found.verdict, Verdict::Upheld { executions: found.executions, exhaustive: true }, "{engine}");
        let found = explore(engine, &busy(), &Strategy::dfs(20)).expect("it holds it");
        assert_eq!((found.executions, found.verdict), (20, Verdict::Upheld { executions: 20, exhaustive: false }));
        let all = Strategy { exhaustive: true, ..Strategy::dfs(20) };
        let found = explore(engine, &busy(), &all).expect("it holds it");
        assert_eq!(found.verdict.word(), "inconclusive", "{engine}");
    }
    // Two tasks that open, lock, yield, close: ten schedules, as one can count on paper.
    let plain = Method::Dfs { cache: false };
    let ten = starve(3).explore(Strategy { method: plain, ..Strategy::exhaustive() });
    assert_eq!(ten.executions, 10);
    assert_eq!(explore("shuttle", &starve(3), &Strategy::dfs(1_000)).expect("it holds it").executions, 10);
    let found = explore("loom", &starve(3), &Strategy::dfs(1_000)).expect("it holds it");
    found.assert_exhausted();
    assert!(found.executions >= 10);
    let found = explore("shuttle", &tiny, &Strategy::random(1_000)).expect("it holds it");
    assert_eq!(found.verdict, Verdict::Upheld { executions: 1_000, exhaustive: false });
}

/// 184,756 schedules.
fn busy() -> Scenario {
    let body = |path: &'static str| {
        move |world: SimWorld| async move {
            for _ in 0..5 {
                world.mkdir(path).await?;
                world.rmdir(path).await?;
            }
            Result::Ok(())
        }
    };
    scenario("busy").process("a", body("/a")).process("b", body("/b"))
}

#[test]
fn explorations_can_be_interrupted() {
    for engine in engine::all() {
        let strategy = Strategy { exhaustive: true, ..Strategy::random(10_000_000) };
        let mut told = 0;
        let found = engine.explore(&busy(), &strategy, &mut |pace| {
            told = pace.executions;
            false
        });
        let found = found.expect("it holds it");
        assert!(told > 0 && found.executions < 10_000_000);
        assert_eq!(found.verdict.word(), "inconclusive", "{}", engine.name());
        let strategy = strategy.clone().time_limit(Duration::from_millis(5));
        let found = engine.explore(&busy(), &strategy, &mut |_| true).expect("it holds it");
        assert_eq!(found.verdict.word(), "inconclusive", "{}", engine.name());
    }
}

/// Who polls lets nobody else go on in a search; that is no livelock, and not all that was asked for either.
#[test]
fn polling_is_no_livelock() {
    let scene = scenario("polling")
        .process("poller", |world| async move {
            while world.stat("/ready").await.is_err() {
                world.yield_now().await;
            }
        })
        .process("worker", |world| async move { world.mkdir("/ready").await });
    for strategy in [Strategy::random(200), Strategy::pct(3, 200), Strategy::default().schedules(200)] {
        explore("shuttle", &scene, &strategy).expect("it holds it").assert_upheld();
    }
    let tries_all_or_says_so = |found: Exploration| match &found.verdict {
        Verdict::Upheld { executions: 200, .. } => {}
        Verdict::Inconclusive(why) if why.contains("steps") => {}
        other => panic!("{other:?}"),
    };
    for strategy in [Strategy::dfs(200), Strategy::dpor(200)] {
        tries_all_or_says_so(explore("shuttle", &scene, &strategy).expect("it holds it"));
    }
    match explore("loom", &scene, &Strategy::default().schedules(200)) {
        Ok(found) => tries_all_or_says_so(found),
        Err(refused) => assert!(refused.why.contains("steps"), "{}", refused.why),
    }
}
