//! Corners of the machine: ends, kills and cancellations in the middle of something. Each of them is exhausted, so a task that is
//! polled when it is gone, a queue that keeps the dead, or a wait that nobody ends shows.

use flockstep::oracle::{Oracle, Violation};
use flockstep::world::{
    Children, Clock, Command, Errno, Event, Files, InProcess, Join, Kinds, LockMode, Locks, OpenOptions, Result, Stdio,
    Tasks, What,
};
use flockstep::{Deadlock, KernelView, Scenario, SimWorld, Strategy, ViolationKind, scenario};
use futures::future::{Either, join, select};
use std::pin::pin;

use super::{File, caught, lock, open, passes, shared};

#[test]
fn a_task_is_woken_by_a_destructor_while_it_is_being_dropped() {
    // The first task ends; the two others are dropped, and what the one gives back would be the other's.
    let s = scenario("dropped").process("p", |world: SimWorld| async move {
        let permit = world.semaphore("permit", 1);
        for name in ["a", "b"] {
            let (w, permit) = (world.clone(), permit.clone());
            drop(world.spawn(name, async move {
                let _permit = w.acquire(&permit, 1).await;
                w.notified(&w.notify("never")).await;
            }));
        }
        world.yield_now().await;
    });
    passes(&s);
}

#[test]
fn a_cancelled_task_wakes_itself() {
    // It holds the permit that another of its own futures waits for.
    let s = scenario("itself").cancel("t").process("p", |world: SimWorld| async move {
        let (w, permit) = (world.clone(), world.semaphore("permit", 1));
        let task = world.spawn("t", async move {
            let held = w.acquire(&permit, 1).await;
            let more = w.acquire(&permit, 1);
            let wait = async {
                w.yield_now().await;
                drop(held);
            };
            drop(join(wait, more).await);
        });
        let _ = task.await;
    });
    passes(&s);
}

/// Spawns when it is dropped, as many a clean-up does.
struct SpawnsOnDrop(SimWorld);

impl Drop for SpawnsOnDrop {
    fn drop(&mut self) {
        let w = self.0.clone();
        drop(self.0.spawn("clean-up", async move { w.mkdir("/cleaned").await }));
    }
}

#[test]
fn a_destructor_spawns() {
    let s = scenario("clean-up").process("p", |world: SimWorld| async move {
        let w = world.clone();
        let task = world.spawn("t", async move {
            let _guard = SpawnsOnDrop(w.clone());
            w.yield_now().await;
            w.notified(&w.notify("never")).await;
        });
        world.yield_now().await;
        task.abort();
        let _ = task.await;
    });
    passes(&s);
    // The dead do nothing more.
    let killed = scenario("killed").process("q", |world: SimWorld| async move {
        let _guard = SpawnsOnDrop(world.clone());
        world.yield_now().await;
        world.mkdir("/ended").await
    });
    let of_the_living = |fs: &KernelView<'_>| fs.alive(0) || fs.exists("/ended") || !fs.exists("/cleaned");
    passes(&killed.kill("q").always("only the living clean up", of_the_living));
}

#[test]
fn a_section_behind_a_synchronous_call_is_dropped_before_it_was_given_away() {
    let s = scenario("behind").process("p", |world: SimWorld| async move {
        let w = world.clone();
        let section = world.on_pool(async move { w.mkdir("/section").await });
        let made = world.mkdir("/made");
        match select(pin!(made), pin!(section)).await {
            Either::Left((made, _)) => made,
            Either::Right((made, _)) => made,
        }
    });
    passes(&s);
}

/// Counts waits.
#[derive(Default)]
struct Waits(u64);

impl Oracle for Waits {
    fn name(&self) -> &str {
        "waits"
    }
    fn kinds(&self) -> Kinds {
        Kinds::LOCKS
    }
    fn begin(&mut self) {}
    fn on(&mut self, event: &Event, _: &KernelView<'_>) -> std::result::Result<(), Violation> {
        self.0 += u64::from(matches!(event.what, What::LockWait { .. }));
        Ok(())
    }
    fn state(&self) -> Option<u64> {
        Some(0)
    }
    fn judged(&self) -> u64 {
        self.0
    }
}

#[test]
fn who_is_overtaken_waits_too() {
    // Both ask while the lock is free; one of them is faster.
    let s = scenario("overtaken").oracle(Waits::default).process("p", |world: SimWorld| async move {
        let task = |name: &str, file: File| {
            let w = world.clone();
            world.spawn(name, async move { w.flock(&file, LockMode::Exclusive).await })
        };
        let (first, second) = (open(&world, "/lock").await?, open(&world, "/lock").await?);
        let (a, b) = (task("a", first), task("b", second));
        a.await.expect("not aborted")?;
        b.await.expect("not aborted")
    });
    let found = s.explore(Strategy::exhaustive());
    found.assert_exhausted();
    assert_eq!(found.peaks.workers_blocked, 1);
}

#[test]
fn a_parent_is_killed_between_fork_and_exec() {
    let s = scenario("spawn")
        .program("child", |world: SimWorld| async move { world.mkdir("/ran").await })
        .process("p", |world| async move {
            let child = world.spawn_child(Command::new("child", [""; 0]).output(Stdio::Capture)).await?;
            assert!(world.wait(child).await?.status.success());
            world.mkdir("/waited").await
        })
        .kill("p");
    passes(
        &s.sometimes("the child outlives its parent", |fs| !fs.alive(0) && fs.exists("/ran") && !fs.exists("/waited")),
    );
}

#[test]
fn a_program_that_does_not_exist() {
    let s = scenario("nothing").process("p", |world| async move {
        let _lock = lock(&world, "/lock").await?;
        let error = world.spawn_child(Command::new("nothing", [""; 0]).output(Stdio::Capture)).await.err();
        assert_eq!(error.expect("it fails").errno, Errno::NoEnt);
        Result::Ok(())
    });
    passes(&s);
}

#[test]
fn a_spawn_at_every_limit_works_or_fails_without_a_trace() {
    for limit in 3..12 {
        let s = scenario("limit").nofile(limit).program("child", |_| async {}).process("p", move |world| async move {
            match world.spawn_child(Command::new("child", [""; 0]).output(Stdio::Capture)).await {
                Ok(child) => assert!(world.wait(child).await?.status.success()),
                Err(error) => assert_eq!((error.errno, limit < 10), (Errno::MFile, true)),
            }
            // Everything that the spawn took is free again.
            for expected in 3..limit {
                let file = open(&world, "/x").await?;
                assert_eq!(world.descriptor(&file), 3, "{expected}");
            }
            Result::Ok(())
        });
        passes(&s);
    }
}

#[test]
fn an_aborted_task_leaves_the_queue_and_gives_back_what_it_never_fetched() {
    let s = |workers| {
        scenario("aborted").workers(workers).process("p", |world: SimWorld| async move {
            let permit = world.semaphore("permit", 1);
            let held = world.acquire(&permit, 1).await;
            let (w, p) = (world.clone(), permit.clone());
            let queued = world.spawn("queued", async move { drop(w.acquire(&p, 1).await) });
            world.yield_now().await;
            // Granted and aborted in one step, in either order.
            if world.choose(2).await == 0 {
                drop(held);
                queued.abort();
            } else {
                queued.abort();
                drop(held);
            }
            drop(world.acquire(&permit, 1).await);
            let _ = queued.await;
            drop(world.acquire(&permit, 1).await);
        })
    };
    passes(&s(4));
    passes(&s(1));
}

#[test]
fn a_mutex_that_was_granted_to_an_aborted_task_is_free() {
    let s = scenario("mutex").process("p", |world: SimWorld| async move {
        let mutex = world.mutex("m", 0);
        let guard = world.lock(&mutex).await;
        let (w, m) = (world.clone(), mutex.clone());
        let queued = world.spawn("queued", async move { *w.lock(&m).await += 1 });
        world.yield_now().await;
        drop(guard);
        queued.abort();
        let _ = queued.await;
        *world.lock(&mutex).await += 1;
    });
    passes(&s);
}

/// Two wait for a notification, and the first is aborted, which may be before it gets a worker to see what is its own.
fn two_wait(scene: Scenario, and_one_more: bool) -> Scenario {
    scene.process("p", move |world: SimWorld| async move {
        let ready = world.notify("ready");
        let waiter = |name: &str| {
            let (w, ready) = (world.clone(), ready.clone());
            world.spawn(name, async move { w.notified(&ready).await })
        };
        let (first, second) = (waiter("first"), waiter("second"));
        world.yield_now().await;
        world.notify_one(&ready).await;
        first.abort();
        // If the first saw it, the second needs one of its own.
        if first.await.is_ok() && and_one_more {
            world.notify_one(&ready).await;
        }
        let _ = second.await;
    })
}

#[test]
fn a_notification_that_nobody_saw_goes_to_the_next() {
    passes(&two_wait(scenario("notified"), true));
}

/// tokio takes a stored one in the poll that returns: who is aborted has seen it, or has not taken it.
#[test]
fn a_stored_notification_that_its_taker_did_not_see_is_not_lost() {
    for strategy in [Strategy::exhaustive(), Strategy::dpor(10_000)] {
        let stored = |and_one_more| two_wait(scenario("stored").workers(1), and_one_more);
        stored(true).explore(strategy.clone()).assert_exhausted();
        stored(false).explore(strategy).assert_violated(ViolationKind::Deadlock(Deadlock::LostWakeUp));
    }
}

#[test]
fn a_section_whose_caller_is_cancelled_in_the_queue_runs_all_the_same() {
    let s = scenario("queue").blocking_threads(1).cancel("caller").process("p", |world: SimWorld| async move {
        let w = world.clone();
        let caller = world.spawn("caller", async move {
            let inner = w.clone();
            w.on_pool(async move { inner.mkdir("/ran").await }).await
        });
        let w = world.clone();
        world.on_pool(async move { w.mkdir("/other").await }).await?;
        let _ = caller.await;
        Result::Ok(())
    });
    passes(&s.sometimes("it ran", |fs| fs.exists("/ran")));
}

#[test]
fn a_process_ends_while_its_pool_is_busy() {
    let s = scenario("busy").process("p", |world: SimWorld| async move {
        let w = world.clone();
        drop(world.spawn("caller", async move {
            let inner = w.clone();
            w.on_pool(async move {
                let _file = lock(&inner, "/lock").await?;
                inner.yield_now().await;
                inner.mkdir("/ran").await
            })
            .await
        }));
        world.yield_now().await;
    });
    let s = s.process("q", |world| async move { lock(&world, "/lock").await.map(drop) });
    passes(&s.sometimes("it ran", |fs| fs.exists("/ran")));
}

#[test]
fn two_upgrades_of_one_lock_both_finish() {
    let upgrade = |world: SimWorld| async move {
        let file = shared(&world, "/lock").await?;
        world.flock(&file, LockMode::Exclusive).await
    };
    passes(&scenario("upgrade").process("p", upgrade).process("q", upgrade));
}

#[test]
fn an_unlock_through_a_duplicate_releases() {
    let s = scenario("dup").process("p", |world| async move {
        let file = lock(&world, "/lock").await?;
        let duplicate = world.dup(&file).await?;
        let other = open(&world, "/lock").await?;
        world.close(file).await?;
        assert!(!world.try_flock(&other, LockMode::Exclusive).await?, "the duplicate keeps it");
        world.unlock(&duplicate).await?;
        assert!(world.try_flock(&other, LockMode::Exclusive).await?);
        Result::Ok(())
    });
    passes(&s);
}

#[test]
fn an_inherited_lock_outlives_the_parent() {
    let s = scenario("outlives")
        .program("hook", |world: SimWorld| async move {
            world.mkdir("/under the lock").await?;
            world.rmdir("/under the lock").await
        })
        .process("p", |world| async move {
            let file = lock(&world, "/lock").await?;
            let child = world.spawn_child(Command::new("hook", [""; 0]).inherit(&file)).await?;
            world.wait(child).await.map(drop)
        })
        .kill("p")
        .process("q", |world| async move {
            let _file = lock(&world, "/lock").await?;
            assert!(world.stat("/under the lock").await.is_err(), "the hook still runs");
            Result::Ok(())
        });
    passes(&s.sometimes("orphaned", |fs| !fs.alive(0) && fs.exists("/under the lock")));
}

#[test]
fn everything_at_once_in_one_task() {
    // A joined section, permit and child, one of which is given up.
    let s = scenario("joined").program("child", |_| async {}).process("p", |world: SimWorld| async move {
        let permits = world.semaphore("permits", 1);
        let w = world.clone();
        let section = world.on_pool(async move { w.yield_now().await });
        let permit = world.acquire(&permits, 1);
        let child = async {
            let child = world.spawn_child(Command::new("child", [""; 0])).await?;
            world.wait(child).await
        };
        match select(pin!(join(section, permit)), pin!(child)).await {
            Either::Left((_, child)) => drop(child.await?),
            Either::Right((output, _)) => drop(output?),
        }
        Result::Ok(())
    });
    passes(&s);
}

#[test]
fn the_machine_can_be_asked_of_processes_that_are_not_there() {
    let s = scenario("nobody").process("p", |world: SimWorld| async move { world.stat("/").await.map(drop) });
    let s = s.always("nobody has nothing", |fs| {
        [1, 9, u32::MAX].into_iter().all(|pid| {
            let has = (fs.descriptors(pid).len(), fs.descriptor_count(pid), fs.descriptor_peak(pid), fs.parent(pid));
            !fs.alive(pid) && has == (0, 0, 0, None) && fs.process_name(pid) == "?"
        })
    });
    let s = s.always("and the one who is there has its name", |fs| {
        let (p, nobody) = (fs.process_named("p"), fs.process_named("q"));
        (p, nobody) == (Some(0), None) && fs.process_name(0) == "p" && fs.descriptor_peak(0) >= 3
    });
    passes(&s);
}

/// Whoever is in line for the only worker when the first task ends has done nothing yet, and never will.
#[test]
fn who_is_in_line_is_lost_with_the_first_task() {
    let scene = |waits: bool| {
        let scene = scenario("in line").workers(1).process("p", move |world: SimWorld| async move {
            let there = world.clone();
            let task = world.spawn("t", async move {
                let section = there.clone();
                there.on_pool(async move { section.mkdir("/late").await }).await
            });
            world.mkdir("/done").await?;
            match waits {
                true => task.await.expect("not aborted"),
                false => Ok(()),
            }
        });
        scene.finally("all is done", |fs| fs.exists("/late"))
    };
    caught(&scene(false), ViolationKind::Promise("all is done".into()), &[]);
    passes(&scene(true));
}

/// A promise that takes for granted what need not be there is broken where it is not; nobody else is to blame.
#[test]
fn a_promise_that_panics_is_broken_by_a_schedule() {
    let number = |fs: &KernelView<'_>| fs.read("/number").text().parse::<u32>().expect("a number");
    let scene = scenario("number").file("/number", "0").process("p", |world: SimWorld| async move {
        let file = world.open("/number", OpenOptions::replace()).await?;
        world.write(&file, b"1").await?;
        world.close(file).await
    });
    passes(&scene.clone().finally("it is one", move |fs| number(fs) == 1));
    caught(
        &scene.always("it is a number", move |fs| number(fs) < 2),
        ViolationKind::Panic,
        &["it is a number", "a number"],
    );
}
