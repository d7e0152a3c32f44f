//! The executor model: workers, the blocking pool, several operations in one task, cancellation, time-outs.

use std::pin::pin;
use std::time::Duration;

use flockstep::world::*;
use flockstep::{Deadlock, Key, Scenario, SimWorld, Strategy, Time, ViolationKind, scenario};
use futures::poll;
use futures::stream::{FuturesUnordered, StreamExt};

async fn locked(world: &SimWorld, path: &str) -> Result<SimFileOf> {
    let file = world.open(path, OpenOptions::lock_file()).await?;
    world.flock(&file, LockMode::Exclusive).await?;
    Ok(file)
}
type SimFileOf = <SimWorld as Files>::File;

async fn hold_across_await(world: SimWorld) -> Result<()> {
    let file = locked(&world, "/lock").await?;
    world.yield_now().await;
    world.close(file).await
}

/// Two tasks on one worker: the second blocks the worker that the first needs to go on.
async fn two_tasks(world: SimWorld) -> Result<()> {
    let a = world.spawn("a", hold_across_await(world.clone()));
    let b = world.spawn("b", hold_across_await(world.clone()));
    a.await.expect("not aborted")?;
    b.await.expect("not aborted")
}

#[test]
fn flock_on_the_only_worker_starves_it() {
    let found = scenario("starve").workers(1).process("p", two_tasks).explore(Strategy::exhaustive());
    let failure = found.assert_violated(ViolationKind::Deadlock(Deadlock::WorkerStarvation));
    let report = failure.report();
    for part in ["/lock", "p/a", "p/b", "worker thread", "replay key"] {
        assert!(report.contains(part), "{part} is missing in\n{report}");
    }
}

#[test]
fn a_key_replays_to_the_same_failure() {
    let s = scenario("starve").workers(1).process("p", two_tasks);
    let found = s.explore(Strategy::random(100).seed(3));
    let failure = found.assert_violated(ViolationKind::Deadlock(Deadlock::WorkerStarvation)).clone();
    let key: Key = failure.key.as_ref().expect("a single execution shows it").to_string().parse().expect("a key");
    let (again, story) = s.replay(&key);
    let again = again.expect("it fails again");
    assert_eq!(again.events, failure.events);
    assert_eq!(story, failure.story);
}

#[test]
fn three_workers_are_enough_for_two_tasks() {
    let s = scenario("enough").workers(3).process("p", two_tasks);
    s.explore(Strategy::exhaustive()).assert_exhausted();
}

#[test]
fn the_pool_is_a_queue_with_so_many_threads() {
    // The holder needs the pool, and the waiters fill it.
    let scene = |waiters: u32| {
        scenario("pool").workers(8).blocking_threads(2).process("p", move |world| async move {
            let file = locked(&world, "/lock").await?;
            let tasks: Vec<_> = (0..waiters)
                .map(|n| {
                    let w = world.clone();
                    world.spawn(&format!("w{n}"), async move {
                        let inner = w.clone();
                        w.on_pool(async move { locked(&inner, "/lock").await.map(drop) }).await
                    })
                })
                .collect();
            world.on_pool(async {}).await;
            world.close(file).await?;
            for task in tasks {
                task.await.expect("not aborted")?;
            }
            Result::Ok(())
        })
    };
    scene(1).explore(Strategy::exhaustive()).assert_exhausted();
    scene(2).explore(Strategy::exhaustive()).assert_violated(ViolationKind::Deadlock(Deadlock::PoolExhaustion));
}

#[test]
fn many_operations_in_one_task() {
    let s = scenario("unordered").process("p", |world| async move {
        let w = &world;
        let mut all: FuturesUnordered<_> = (0..3)
            .map(|n| async move {
                w.yield_now().await;
                w.mkdir(&format!("/d{n}")).await
            })
            .collect();
        while let Some(done) = all.next().await {
            done?;
        }
        Result::Ok(())
    });
    let s = s.finally("all made", |fs| fs.list("/").len() == 3);
    s.explore(Strategy::exhaustive()).assert_exhausted();
    s.explore(Strategy::random(200)).assert_upheld();
}

#[test]
fn synchronous_calls_of_one_task_do_not_interleave() {
    // In join!, the second future moves only when the first gives the thread up.
    let s = scenario("join").process("p", |world| async move {
        let w = &world;
        let one = async {
            w.mkdir("/a").await?;
            w.rmdir("/a").await
        };
        let two = async { Result::Ok(w.stat("/a").await.is_err()) };
        let (one, two) = futures::future::join(one, two).await;
        one?;
        assert!(two?, "the directory was seen while a synchronous call was under way");
        Result::Ok(())
    });
    s.explore(Strategy::exhaustive()).assert_exhausted();
}

#[test]
fn a_foreign_await_is_reported() {
    let s = scenario("foreign").process("p", |_| std::future::pending::<()>());
    s.explore(Strategy::exhaustive()).assert_violated(ViolationKind::ForeignAwait);
}

#[test]
fn a_panic_is_reported() {
    let s = scenario("panic").process("p", |world| async move {
        world.yield_now().await;
        assert!(world.process_id() > 9, "boom");
    });
    let s = s.process("q", |world: SimWorld| async move { world.yield_now().await });
    let found = s.explore(Strategy::random(10));
    assert!(found.assert_violated(ViolationKind::Panic).violation.summary.contains("boom"));
}

#[test]
fn a_cancelled_task_gives_back_what_it_holds() {
    let s = scenario("cancel").workers(2).cancel("victim").process("p", |world| async move {
        let permits = world.semaphore("permits", 1);
        let (w, p) = (world.clone(), permits.clone());
        let victim = world.spawn("victim", async move {
            let _permit = w.acquire(&p, 1).await;
            w.yield_now().await;
        });
        let _permit = world.acquire(&permits, 1).await;
        drop(_permit);
        let _ = victim.await;
    });
    s.explore(Strategy::exhaustive()).assert_exhausted();
}

/// What a task comes to may be a lock. It is given up when nobody has the right to it any more: as the task ends, or later.
#[test]
fn a_value_that_nobody_takes_is_dropped() {
    let unclaimed = |keeps: bool| {
        scenario("unclaimed").workers(2).process("p", move |world| async move {
            let w = world.clone();
            let mut task = Some(world.spawn("task", async move { locked(&w, "/lock").await }));
            world.yield_now().await; // it may have ended, or be about to
            if !keeps {
                task = None;
            }
            let own = locked(&world, "/lock").await?;
            world.close(own).await?;
            drop(task);
            Result::Ok(())
        })
    };
    unclaimed(false).explore(Strategy::exhaustive()).assert_exhausted();
    let kept = unclaimed(true).explore(Strategy::exhaustive());
    kept.assert_violated(ViolationKind::Deadlock(Deadlock::LockCycle));
}

/// How somebody looks for a value and waits for it if it is not there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Once, and then waits.
    Once,
    /// The same, and gives up after a while.
    WithDeadline,
    /// Gets ready to wait, looks again, and waits.
    Again,
    /// Gets ready to wait before anybody else can look.
    UnderTheLock,
}

fn looks(look: Look, one: bool) -> Scenario {
    scenario("once map").process("p", move |world| async move {
        let (value, filled) = (world.mutex("value", false), world.notify("filled"));
        let (w, v, f) = (world.clone(), value.clone(), filled.clone());
        let waiter = world.spawn("waiter", async move {
            let guard = w.lock(&v).await;
            if *guard {
                return;
            }
            let mut notified = pin!(w.notified(&f));
            if look == Look::UnderTheLock && poll!(&mut notified).is_ready() {
                return;
            }
            drop(guard);
            match look {
                Look::Again if poll!(&mut notified).is_ready() || *w.lock(&v).await => {}
                Look::WithDeadline => drop(timeout(&w, Some(Duration::from_secs(1)), notified).await),
                _ => notified.await,
            }
        });
        *world.lock(&value).await = true;
        if one {
            world.notify_one(&filled).await;
        } else {
            world.notify_all(&filled).await;
        }
        waiter.await.expect("nobody aborts it");
    })
}

/// What was looked at may be different by the time that somebody stands in line (uv 3987). That both were one step hid every lost wake-up
/// of somebody who looks right before he waits.
#[test]
fn who_looks_once_and_then_waits_misses_what_happens_in_between() {
    for strategy in [Strategy::exhaustive(), Strategy::dpor(1_000), Strategy::random(100)] {
        for look in [Look::Once, Look::WithDeadline] {
            let found = looks(look, false).explore(strategy.clone());
            found.assert_violated(ViolationKind::Deadlock(Deadlock::LostWakeUp));
        }
    }
    for strategy in [Strategy::exhaustive(), Strategy::dpor(1_000)] {
        for scene in [looks(Look::Again, false), looks(Look::UnderTheLock, false), looks(Look::Once, true)] {
            scene.explore(strategy.clone()).assert_exhausted();
        }
    }
}

#[test]
fn a_lost_notification_is_a_lost_wake_up() {
    let s = scenario("lost").process("p", |world| async move {
        let notify = world.notify("ready");
        let (w, n) = (world.clone(), notify.clone());
        let waiter = world.spawn("waiter", async move {
            w.yield_now().await;
            w.notified(&n).await;
        });
        world.notify_all(&notify).await;
        let _ = waiter.await;
    });
    s.explore(Strategy::exhaustive()).assert_violated(ViolationKind::Deadlock(Deadlock::LostWakeUp));
    let kept = scenario("kept").process("p", |world| async move {
        let notify = world.notify("ready");
        let (w, n) = (world.clone(), notify.clone());
        let waiter = world.spawn("waiter", async move {
            w.yield_now().await;
            w.notified(&n).await;
        });
        world.notify_one(&notify).await;
        let _ = waiter.await;
    });
    kept.explore(Strategy::exhaustive()).assert_exhausted();
}

#[test]
fn only_a_time_out_ends_this_deadlock() {
    let s = scenario("timeout").process("p", |world| async move {
        let semaphore = world.semaphore("never", 1);
        let _all = world.acquire(&semaphore, 1).await;
        let more = timeout(&world, Some(Duration::from_secs(300)), world.acquire(&semaphore, 1)).await;
        assert!(more.is_err());
    });
    let found = s.explore(Strategy::exhaustive());
    let failure = found.assert_violated(ViolationKind::Deadlock(Deadlock::Permits));
    assert!(failure.violation.summary.contains("only by time-out"), "{}", failure.violation.summary);
}

#[test]
fn a_deadline_is_reached_while_others_sleep() {
    let s = scenario("sleeper").time(Time::Urgent).process("p", |world| async move {
        let semaphore = world.semaphore("slow", 1);
        let permit = world.acquire(&semaphore, 1).await;
        let w = world.clone();
        let sleeper = world.spawn("sleeper", async move {
            w.sleep(Duration::from_secs(10)).await;
            drop(permit);
        });
        let more = timeout(&world, Some(Duration::from_secs(1)), world.acquire(&semaphore, 1)).await;
        assert!(more.is_err());
        assert_eq!(world.now(), Duration::from_secs(1));
        sleeper.await.expect("not aborted");
    });
    let found = s.explore(Strategy::exhaustive());
    found.assert_exhausted();
    assert_eq!(found.makespan, Some(Duration::from_secs(10)));
}

#[test]
fn who_wakes_at_the_same_instant_goes_on_side_by_side() {
    let sleeps = |first: &'static str, second: &'static str| {
        move |world: SimWorld| async move {
            world.sleep(Duration::from_secs(1)).await;
            world.mkdir(first).await?;
            world.mkdir(second).await
        }
    };
    let s =
        scenario("sleepers").time(Time::Urgent).process("p", sleeps("/p1", "/p2")).process("q", sleeps("/q1", "/q2"));
    let s = s.sometimes("both are half done", |fs| {
        ["/p1", "/q1"].into_iter().all(|path| fs.exists(path))
            && !["/p2", "/q2"].into_iter().any(|path| fs.exists(path))
    });
    let found = s.explore(Strategy::exhaustive());
    found.assert_exhausted();
    assert_eq!(found.makespan, Some(Duration::from_secs(1)));
}

#[test]
fn a_section_on_the_pool_goes_on_when_its_caller_is_cancelled() {
    let s = scenario("section").cancel("caller").time(Time::Free).process("p", |world| async move {
        let w = world.clone();
        let caller = world.spawn("caller", async move {
            let inner = w.clone();
            w.on_pool(async move { inner.mkdir("/made").await.expect("mkdir") }).await;
        });
        let _ = caller.await;
    });
    let s = s.sometimes("it was made", |fs| fs.exists("/made"));
    s.explore(Strategy::exhaustive()).assert_exhausted();
}

#[test]
fn a_forgotten_descriptor_is_a_leak() {
    let s = scenario("leak").process("p", |world| async move {
        let file = world.open("/x", OpenOptions::lock_file()).await?;
        std::mem::forget(file);
        Result::Ok(())
    });
    s.explore(Strategy::exhaustive()).assert_violated(ViolationKind::Leak);
}

#[test]
fn a_child_inherits_the_lock_until_it_execs() {
    // The parent closes its descriptor while the child is between fork and exec: the lock is still held.
    let s = scenario("fork").program("true", |_| async {}).process("p", |world| async move {
        let w = world.clone();
        let file = locked(&world, "/lock").await?;
        let spawn = world.spawn("spawn", async move {
            let child = w.spawn_child(Command::new("true", [""; 0])).await?;
            w.wait(child).await
        });
        world.close(file).await?;
        let again = world.open("/lock", OpenOptions::lock_file()).await?;
        if !world.try_flock(&again, LockMode::Exclusive).await? {
            world.note("still held", "/lock");
            world.mkdir("/window").await?;
        }
        assert!(spawn.await.expect("not aborted")?.status.success());
        Result::Ok(())
    });
    let s = s.sometimes("the window was seen", |fs| fs.exists("/window"));
    s.explore(Strategy::exhaustive()).assert_exhausted();
}

#[test]
fn a_killed_process_releases_its_locks_one_by_one_highest_descriptor_first() {
    let s = scenario("kill")
        .process("victim", |world| async move {
            let _a = locked(&world, "/a").await?;
            let _b = locked(&world, "/b").await?;
            let forever = world.semaphore("forever", 1);
            let _held = world.acquire(&forever, 1).await;
            world.mkdir("/both").await?;
            world.sleep(Duration::from_secs(1)).await;
            Result::Ok(())
        })
        .kill("victim")
        .process("observer", |world| async move {
            let a = world.open("/a", OpenOptions::lock_file()).await?;
            let b = world.open("/b", OpenOptions::lock_file()).await?;
            if world.stat("/both").await.is_err() {
                return Result::Ok(());
            }
            // b was opened later, so its number is higher, so it is free first.
            if world.try_flock(&a, LockMode::Exclusive).await? {
                assert!(world.try_flock(&b, LockMode::Exclusive).await?, "a is free before b");
            } else if world.try_flock(&b, LockMode::Exclusive).await?
                && !world.try_flock(&a, LockMode::Exclusive).await?
            {
                world.mkdir("/between").await?;
            }
            Result::Ok(())
        })
        .sometimes("b free, a held", |fs| fs.exists("/between"));
    s.explore(Strategy::exhaustive()).assert_exhausted();
}

/// Found by exploring `lock-file/lock-in-deleted-dir`: mkdir says EEXIST, and the directory is gone when it is looked at.
#[test]
fn create_dir_all_lives_with_somebody_who_removes() {
    let s = scenario("mkdir -p").process("maker", |world| async move { create_dir_all(&world, "/a/b").await }).process(
        "remover",
        |world| async move {
            let _ = world.mkdir("/a").await;
            let _ = world.rmdir("/a/b").await;
            let _ = world.rmdir("/a").await;
        },
    );
    s.explore(Strategy::exhaustive()).assert_exhausted();
    let dangling = scenario("dangling").symlink("/a", "/nowhere").process("maker", |world| async move {
        assert_eq!(create_dir_all(&world, "/a/b").await.unwrap_err().errno, Errno::Exist);
        assert_eq!(create_dir_all(&world, "/a").await.unwrap_err().errno, Errno::Exist);
    });
    dangling.explore(Strategy::exhaustive()).assert_exhausted();
}

/// The killer of out-of-memory situations chooses children: a build, a hook.
#[test]
fn a_program_may_be_killed_from_its_exec_on() {
    let scene = scenario("killed child").process("parent", |world: SimWorld| async move {
        let child = world.spawn_child(Command::new("cc", [""; 0])).await?;
        let killed = world.wait(child).await?.status == Status::Killed(9);
        world.mkdir(if killed { "/killed" } else { "/ended" }).await
    });
    let scene = scene.program("cc", |world: SimWorld| async move {
        world.mkdir("/half").await?;
        world.mkdir("/done").await
    });
    let unharmed = scene.clone().finally("it ends by itself", |fs| fs.exists("/ended") && fs.exists("/done"));
    unharmed.explore(Strategy::exhaustive()).assert_exhausted();
    let killed = scene
        .kill("cc")
        .sometimes("killed before it does anything", |fs| fs.exists("/killed") && !fs.exists("/half"))
        .sometimes("killed half-way", |fs| fs.exists("/killed") && fs.exists("/half") && !fs.exists("/done"))
        .sometimes("not killed", |fs| fs.exists("/ended"));
    for strategy in [Strategy::exhaustive(), Strategy::dpor(10_000), Strategy::dfs(10_000), Strategy::bounded(10_000)] {
        killed.explore(strategy).assert_exhausted();
    }
    killed.explore(Strategy::random(200)).assert_upheld();
}

#[test]
#[should_panic(expected = "no process or program \"ld\"")]
fn who_is_to_be_killed_is_there() {
    drop(scenario("killed child").program("cc", |_| async {}).kill("ld"));
}
