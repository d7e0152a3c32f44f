//! `BlockingWhileHeld`: no worker blocks while a lock is held across an await.

use flockstep::oracle::BlockingWhileHeld;
use flockstep::world::{Files, LockMode, Locks, Result, Tasks};
use flockstep::{Deadlock, Scenario, SimWorld, ViolationKind, scenario};

use super::{caught, open, passes, vacuous};

/// Two tasks with many workers: each takes the lock, on its worker or on a thread of its own, and awaits something or not.
fn tasks(own_thread: bool, awaits: bool) -> Scenario {
    scenario("blocking").workers(8).oracle(BlockingWhileHeld::default).process("p", move |world: SimWorld| async move {
        let task = |name: &str| {
            let w = world.clone();
            world.spawn(name, async move {
                let file = open(&w, "/lock").await?;
                let inner = w.clone();
                let lock = async move { inner.flock(&file, LockMode::Exclusive).await.map(|()| file) };
                let file = if own_thread { w.on_thread(lock).await? } else { lock.await? };
                if awaits {
                    w.yield_now().await;
                }
                w.close(file).await
            })
        };
        let (a, b) = (task("a"), task("b"));
        a.await.expect("not aborted")?;
        b.await.expect("not aborted")
    })
}

#[test]
fn a_worker_blocks_while_a_suspended_task_holds_a_lock() {
    let words = ["blocks a worker thread until it can lock /lock", "is suspended and holds /lock"];
    caught(&tasks(false, true), ViolationKind::BlockingWhileHeld, &words);
    passes(&tasks(true, true));
    passes(&tasks(false, false));
}

#[test]
fn it_is_the_deadlock_of_a_smaller_machine() {
    let small = |own_thread| {
        scenario("small").workers(1).process("p", move |world: SimWorld| async move {
            let task = |name: &str| {
                let w = world.clone();
                world.spawn(name, async move {
                    let file = open(&w, "/lock").await?;
                    let inner = w.clone();
                    let lock = async move { inner.flock(&file, LockMode::Exclusive).await.map(|()| file) };
                    let file = if own_thread { w.on_thread(lock).await? } else { lock.await? };
                    w.yield_now().await;
                    w.close(file).await
                })
            };
            let (a, b) = (task("a"), task("b"));
            a.await.expect("not aborted")?;
            b.await.expect("not aborted")
        })
    };
    caught(&small(false), ViolationKind::Deadlock(Deadlock::WorkerStarvation), &["worker thread"]);
    passes(&small(true));
}

#[test]
fn other_processes_do_not_need_this_one_s_workers() {
    let holds = |world: SimWorld| async move {
        let file = super::lock(&world, "/lock").await?;
        world.yield_now().await;
        world.close(file).await
    };
    passes(&scenario("processes").process("p", holds).process("q", holds).oracle(BlockingWhileHeld::default));
}

#[test]
fn without_a_blocking_lock_there_is_nothing_to_judge() {
    let s = scenario("tries").process("p", |world| async move {
        let file = open(&world, "/lock").await?;
        assert!(world.try_flock(&file, LockMode::Exclusive).await?);
        Result::Ok(())
    });
    vacuous(&s.oracle(BlockingWhileHeld::default));
}
