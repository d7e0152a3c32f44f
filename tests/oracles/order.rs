//! `LockOrder`: one order, in all executions together.

use flockstep::oracle::{LockOrder, Siblings};
use flockstep::world::{Clock, Locks, Result, Tasks};
use flockstep::{Deadlock, Scenario, SimWorld, Strategy, ViolationKind, scenario};

use super::{caught, lock, open, passes, shared, vacuous};

fn ranks() -> LockOrder {
    LockOrder::ranked([("/cache/.lock", "cache", 0), ("/cache/*/.lock", "shard", 3)])
}

fn two_names() -> LockOrder {
    LockOrder::consistent([("/a", "A"), ("/b", "B")])
}

fn world() -> Scenario {
    scenario("order").directory("/cache/x").directory("/cache/y")
}

/// One process that takes two locks.
fn nested(first: &'static str, second: &'static str) -> Scenario {
    world().process("p", move |world| async move {
        let _first = lock(&world, first).await?;
        lock(&world, second).await.map(drop)
    })
}

#[test]
fn against_the_ranks() {
    let words = ["/cache/.lock", "/cache/x/.lock", "(cache)", "(shard)", "step 2", "step 3", "rank 0"];
    caught(&nested("/cache/x/.lock", "/cache/.lock").oracle(ranks), ViolationKind::LockOrder, &words);
    passes(&nested("/cache/.lock", "/cache/x/.lock").oracle(ranks));
}

#[test]
fn the_same_path_again() {
    // It would be a deadlock; that it is against the order is said first.
    let again = nested("/cache/.lock", "/cache/.lock");
    caught(&again.clone().oracle(ranks), ViolationKind::LockOrder, &["waits for itself"]);
    caught(&again, ViolationKind::Deadlock(Deadlock::LockCycle), &["held by p"]);
    let released = world().process("p", |world| async move {
        drop(lock(&world, "/cache/.lock").await?);
        lock(&world, "/cache/.lock").await.map(drop)
    });
    passes(&released.oracle(ranks));
    let both_shared = world().process("p", |world| async move {
        let _first = shared(&world, "/cache/.lock").await?;
        shared(&world, "/cache/.lock").await.map(drop)
    });
    passes(&both_shared.oracle(ranks));
}

#[test]
fn two_locks_of_one_class() {
    let up = || nested("/cache/x/.lock", "/cache/y/.lock");
    let down = || nested("/cache/y/.lock", "/cache/x/.lock");
    caught(&up().oracle(ranks), ViolationKind::LockOrder, &["at most one lock of this class"]);
    caught(&down().oracle(|| ranks().siblings(Siblings::Sorted)), ViolationKind::LockOrder, &["order of their paths"]);
    passes(&up().oracle(|| ranks().siblings(Siblings::Sorted)));
    passes(&down().oracle(|| ranks().siblings(Siblings::Any)));
}

/// One process; chance decides in which order it takes the locks.
fn either_order(first: [&'static str; 2], second: [&'static str; 2]) -> Scenario {
    scenario("either").process("p", move |world| async move {
        let order = if world.choose(2).await == 0 { first } else { second };
        let _first = lock(&world, order[0]).await?;
        lock(&world, order[1]).await.map(drop)
    })
}

#[test]
fn a_cycle_over_two_executions_that_both_end_well() {
    passes(&either_order(["/a", "/b"], ["/b", "/a"]));
    let s = either_order(["/a", "/b"], ["/b", "/a"]).oracle(two_names);
    let failure = caught(&s, ViolationKind::LockOrder, &["B → A → B", "A → B: p took /a (A) at step"]);
    assert_eq!(failure.more_keys.len(), 1, "a key for each edge");
    for key in failure.more_keys.iter().chain(&failure.key) {
        assert!(s.replay(key).0.is_none(), "a single edge is no cycle");
    }
    passes(&either_order(["/a", "/b"], ["/a", "/b"]).oracle(two_names));
}

#[test]
fn a_cycle_of_three_has_three_keys() {
    let s = scenario("three").process("p", |world| async move {
        let [first, second] = [["/a", "/b"], ["/b", "/c"], ["/c", "/a"]][world.choose(3).await as usize];
        let _first = lock(&world, first).await?;
        lock(&world, second).await.map(drop)
    });
    let s = s.oracle(|| LockOrder::consistent([("/a", "A"), ("/b", "B"), ("/c", "C")]));
    let failure = caught(&s, ViolationKind::LockOrder, &["A → B:", "B → C:", "C → A:"]);
    assert_eq!(failure.more_keys.len(), 2);
    let sampled = s.explore(Strategy::random(1000));
    assert_eq!(sampled.assert_violated(ViolationKind::LockOrder).more_keys.len(), 2);
}

#[test]
fn a_deadlock_does_not_hide_the_order_that_it_is_made_of() {
    let crossing = |second: [&'static str; 2]| {
        let takes = |order: [&'static str; 2]| {
            move |world: SimWorld| async move {
                let _first = lock(&world, order[0]).await?;
                lock(&world, order[1]).await.map(drop)
            }
        };
        scenario("crossing").process("p", takes(["/a", "/b"])).process("q", takes(second))
    };
    caught(&crossing(["/b", "/a"]), ViolationKind::Deadlock(Deadlock::LockCycle), &["p", "q"]);
    caught(&crossing(["/b", "/a"]).oracle(two_names), ViolationKind::LockOrder, &["p took /a", "q took /b"]);
    passes(&crossing(["/a", "/b"]).oracle(two_names));
}

#[test]
fn upgrading_different_ones_of_two_shared_locks() {
    let upgrades = |second: &'static str| {
        let upgrade = |which: &'static str| {
            move |world: SimWorld| async move {
                let (m1, m2) = (shared(&world, "/a").await?, shared(&world, "/b").await?);
                let which = if which == "/a" { &m1 } else { &m2 };
                world.flock(which, flockstep::world::LockMode::Exclusive).await
            }
        };
        scenario("upgrade").process("p", upgrade("/b")).process("q", upgrade(second))
    };
    caught(&upgrades("/a").oracle(two_names), ViolationKind::LockOrder, &["A → B", "B → A"]);
    passes(&upgrades("/b").oracle(two_names));
}

#[test]
fn a_try_lock_waits_for_nobody_but_polling_does() {
    // q takes a, then b. p has b and looks whether a is free.
    let looks = |times: u32, keeps: bool| {
        let p = move |world: SimWorld| async move {
            let mut b = Some(lock(&world, "/b").await?);
            for _ in 0..times {
                let a = open(&world, "/a").await?;
                if world.try_flock(&a, flockstep::world::LockMode::Exclusive).await? {
                    break;
                }
                if !keeps {
                    b = None;
                }
                world.yield_now().await;
            }
            drop(b);
            Result::Ok(())
        };
        scenario("polling").process("p", p).process("q", |world| async move {
            let _a = lock(&world, "/a").await?;
            lock(&world, "/b").await.map(drop)
        })
    };
    passes(&looks(1, true).oracle(two_names));
    caught(&looks(2, true).oracle(two_names), ViolationKind::LockOrder, &["p took /b", "q took /a"]);
    passes(&looks(2, false).oracle(two_names));
}

#[test]
fn a_section_takes_locks_for_its_caller_and_tasks_for_themselves() {
    let on_the_pool = |swap: bool| {
        scenario("sections").process("p", move |world: SimWorld| async move {
            let order = if swap && world.choose(2).await == 1 { ["/b", "/a"] } else { ["/a", "/b"] };
            let mut held = Vec::new();
            for path in order {
                let w = world.clone();
                held.push(world.on_pool(async move { lock(&w, path).await }).await?);
            }
            Result::Ok(())
        })
    };
    caught(&on_the_pool(true).oracle(two_names), ViolationKind::LockOrder, &["A → B", "B → A"]);
    passes(&on_the_pool(false).oracle(two_names));
    // Two tasks that hold one lock each at the same time.
    let apart = scenario("apart").process("p", |world: SimWorld| async move {
        let task = |path: &'static str| {
            let w = world.clone();
            world.spawn(path, async move { lock(&w, path).await.map(drop) })
        };
        let (a, b) = (task("/a"), task("/b"));
        a.await.expect("not aborted")?;
        b.await.expect("not aborted")
    });
    passes(&apart.oracle(two_names));
}

#[test]
fn without_a_lock_there_is_no_order() {
    vacuous(&scenario("idle").process("p", |_| async {}).oracle(two_names));
}
