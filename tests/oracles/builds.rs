//! `Builds`: one build of a key, and everybody gets it.

use flockstep::oracle::Builds;
use flockstep::world::{Files, LockMode, Locks, Notes, Result};
use flockstep::{Scenario, SimWorld, ViolationKind, scenario};

use super::{caught, open, passes, vacuous};

/// How to get a key.
#[derive(Clone, Copy, PartialEq)]
enum How {
    Unlocked,
    /// Looks into the cache, then locks.
    LooksBefore,
    /// Locks, then looks.
    LooksAfter,
    /// Goes without if somebody else has the lock.
    GivesUp,
}

async fn get(world: SimWorld, how: How) -> Result<()> {
    world.note("wanted", "k");
    let mut there = world.stat("/k").await.is_ok();
    let lock = open(&world, "/lock").await?;
    match how {
        How::Unlocked => {}
        How::GivesUp if !world.try_flock(&lock, LockMode::Exclusive).await? => return Ok(()),
        _ => world.flock(&lock, LockMode::Exclusive).await?,
    }
    if how != How::LooksBefore {
        there = world.stat("/k").await.is_ok();
    }
    if there {
        world.note("reused", "k");
        return Ok(());
    }
    let _build = world.region("build", "k");
    let _ = world.mkdir("/k").await;
    world.note("published", "k");
    Ok(())
}

fn two(how: How) -> Scenario {
    let one = move |world| get(world, how);
    scenario("builds").process("p", one).process("q", one).oracle(|| Builds::once().all_served())
}

#[test]
fn two_builds_of_one_key() {
    let kind = || ViolationKind::DuplicateBuild;
    caught(&two(How::Unlocked), kind(), &["k is built twice at once", "p", "q"]);
    caught(&two(How::LooksBefore), kind(), &["k is built and published twice", "p", "q"]);
    passes(&two(How::LooksAfter));
    caught(&two(How::GivesUp), kind(), &["wanted k and ends without it"]);
}

#[test]
fn who_dies_before_it_publishes_does_not_count() {
    passes(&two(How::LooksAfter).kill("p"));
}

#[test]
fn without_a_build_there_is_nothing_to_judge() {
    vacuous(&scenario("idle").process("p", |_| async {}).oracle(Builds::once));
}
