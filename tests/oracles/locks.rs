//! `LockBound`: at most so many locks at once.

use flockstep::oracle::LockBound;
use flockstep::world::{Files, LockMode, Locks, Result, Tasks};
use flockstep::{Scenario, SimWorld, ViolationKind, scenario};

use super::{caught, lock, passes, vacuous};

/// Two processes with a lock each.
fn two_locks(first: &'static str, second: &'static str) -> Scenario {
    let takes = |path: &'static str| {
        move |world: SimWorld| async move {
            let file = lock(&world, path).await?;
            world.yield_now().await;
            world.close(file).await
        }
    };
    scenario("two locks").process("p", takes(first)).process("q", takes(second))
}

#[test]
fn one_lock_too_many() {
    let one = || LockBound::at_most(1);
    caught(&two_locks("/a", "/b").oracle(one), ViolationKind::LockPeak, &["2 locks", "/a: p since", "/b: q since"]);
    passes(&two_locks("/a", "/a").oracle(one));
    passes(&two_locks("/a", "/b").oracle(|| LockBound::at_most(2)));
    passes(&two_locks("/a", "/b").oracle(move || one().of("/a")));
}

#[test]
fn a_duplicate_is_no_second_lock() {
    let s = scenario("dup").process("p", |world| async move {
        let file = lock(&world, "/a").await?;
        let _again = world.dup(&file).await?;
        world.flock(&file, LockMode::Exclusive).await?;
        Result::Ok(())
    });
    passes(&s.oracle(|| LockBound::at_most(1)));
}

#[test]
fn without_such_a_lock_there_is_nothing_to_bound() {
    vacuous(&two_locks("/a", "/b").oracle(|| LockBound::at_most(1).of("/cache/**")));
}
