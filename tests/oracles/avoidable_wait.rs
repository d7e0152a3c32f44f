//! `AvoidableWait`: nobody waits for a build that is of no use to him, or for somebody else's permit.

use std::time::Duration;

use flockstep::oracle::AvoidableWait;
use flockstep::world::{Clock, Errno, Error, Files, InProcess, LockMode, Locks, Notes, Result, Tasks};
use flockstep::{Scenario, SimWorld, Time, ViolationKind, scenario};

use super::{caught, lock, open, passes, vacuous};

/// How to get a result that is built under a lock.
#[derive(Clone, Copy, PartialEq)]
enum How {
    /// Looks under the lock, and builds if it is not there.
    Reuses,
    /// Builds under the lock, whatever is there.
    Rebuilds,
    /// Builds before it asks for the lock, and publishes under it.
    PublishesOnly,
    /// Looks under the lock, and says nothing of what it finds.
    Ignores,
    /// Builds under the lock, and comes to nothing.
    Fails,
}

async fn get(world: SimWorld, how: How) -> Result<()> {
    let build = async || {
        let _build = world.region("build", "k");
        world.yield_now().await;
    };
    if how == How::PublishesOnly {
        build().await;
    }
    let _lock = lock(&world, "/k.lock").await?;
    let there = world.stat("/k").await.is_ok();
    match how {
        How::Reuses | How::Fails if there => world.note("reused", "k"),
        How::Ignores if there => return Ok(()),
        How::PublishesOnly => {}
        _ => build().await,
    }
    if how == How::Fails && !there {
        return Err(Error { call: "build", subject: "k".into(), errno: Errno::Io });
    }
    if !there {
        world.mkdir("/k").await?;
    }
    if !(there && matches!(how, How::Reuses | How::Fails)) {
        world.note("published", "k");
    }
    world.stat("/k").await.map(drop)
}

fn two(first: How, second: How) -> Scenario {
    scenario("waits")
        .process("p", move |world| get(world, first))
        .may_fail()
        .process("q", move |world| get(world, second))
        .may_fail()
        .oracle(|| AvoidableWait::of("/*.lock"))
}

const KIND: ViolationKind = ViolationKind::AvoidableWait;

#[test]
fn a_wait_for_a_build_that_is_not_used() {
    caught(&two(How::Rebuilds, How::Rebuilds), KIND, &["waits for /k.lock", "builds", "and builds all the same"]);
    caught(&two(How::Reuses, How::Ignores), KIND, &["q waits for /k.lock", "while p builds", "lets go of it"]);
    caught(&two(How::Reuses, How::PublishesOnly), KIND, &["q waits", "publishes a result of its own"]);
    passes(&two(How::Reuses, How::Reuses));
}

#[test]
fn a_wait_for_a_publish_does_not_count() {
    passes(&two(How::PublishesOnly, How::PublishesOnly));
}

#[test]
fn a_wait_for_who_fails_or_dies_does_not_count() {
    passes(&two(How::Fails, How::Reuses));
    passes(&two(How::Fails, How::Rebuilds));
    passes(&two(How::Reuses, How::Reuses).kill("p"));
}

#[test]
fn a_wait_for_another_lock_does_not_count() {
    let s = |of: &'static str| {
        let builds = |world: SimWorld| async move {
            let _tree = lock(&world, "/tree.lock").await?;
            let build = world.region("build", "k");
            world.yield_now().await;
            drop(build);
            let shard = lock(&world, "/k.lock").await?;
            world.note("published", "k");
            world.close(shard).await
        };
        scenario("tree").process("p", builds).process("q", builds).oracle(move || AvoidableWait::of(of))
    };
    caught(&s("/tree.lock"), KIND, &["waits for /tree.lock"]);
    // Whoever has the tree has the shard to himself as well: nobody ever waits for it.
    vacuous(&s("/k.lock"));
}

/// Two builds of one process share one permit, and another process wants the result of the first.
fn permits(before_the_lock: bool) -> Scenario {
    let builds = move |world: SimWorld| async move {
        let permits = world.semaphore("builds", 1);
        let build = |key: &'static str| {
            let (world, permits) = (world.clone(), permits.clone());
            async move {
                let early = if before_the_lock { Some(world.acquire(&permits, 1).await) } else { None };
                let shard = lock(&world, &format!("/{key}.lock")).await?;
                let _permit = match early {
                    Some(permit) => permit,
                    None => world.acquire(&permits, 1).await,
                };
                let region = world.region("build", key);
                world.mkdir(&format!("/{key}")).await?;
                drop(region);
                world.note("published", key);
                world.close(shard).await
            }
        };
        let other = world.spawn("other", build("other"));
        build("k").await?;
        other.await.expect("not aborted")
    };
    let waits = |world: SimWorld| async move {
        let shard = open(&world, "/k.lock").await?;
        world.flock(&shard, LockMode::Exclusive).await?;
        let there = world.stat("/k").await.is_ok();
        world.note(if there { "reused" } else { "published" }, "k");
        world.close(shard).await
    };
    scenario("permits")
        .workers(2)
        .process("p", builds)
        .process("q", waits)
        .oracle(|| AvoidableWait::of("/*.lock").permits("builds"))
}

#[test]
fn a_wait_for_who_waits_for_a_permit() {
    caught(&permits(false), KIND, &["q waits for /k.lock", "waiting for a permit meanwhile"]);
    passes(&permits(true));
}

#[test]
fn a_wait_that_was_given_up_does_not_count() {
    // The queue in memory: a note says who waits, and a deadline ends it.
    let s = |patient: bool| {
        scenario("gives up")
            .workers(2)
            .time(Time::Urgent)
            // While somebody works, a time-out is no deadlock.
            .process("r", |world: SimWorld| async move { world.sleep(Duration::from_secs(2)).await })
            .process("p", |world: SimWorld| async move {
                let shard = lock(&world, "/k.lock").await?;
                let build = world.region("build", "k");
                world.yield_now().await;
                drop(build);
                world.note("published", "k");
                world.close(shard).await
            })
            .process("q", move |world: SimWorld| async move {
                let shard = open(&world, "/k.lock").await?;
                if world.try_flock(&shard, LockMode::Exclusive).await? {
                    return Ok(());
                }
                world.note("waiting", "/k.lock");
                if patient {
                    return world.flock(&shard, LockMode::Exclusive).await;
                }
                world.deadline(Duration::from_secs(1)).await;
                world.try_flock(&shard, LockMode::Exclusive).await.map(drop)
            })
            .oracle(|| AvoidableWait::of("/*.lock"))
    };
    caught(&s(true), KIND, &["q waits for /k.lock", "lets go of it"]);
    // What it gets later it has not waited for.
    passes(&s(false));
}

#[test]
fn without_a_wait_there_is_nothing_to_judge() {
    let alone = scenario("alone").process("p", |world| get(world, How::Reuses));
    vacuous(&alone.oracle(|| AvoidableWait::of("/*.lock")));
}
