//! Other ground than a local filesystem, call by call. What becomes of protocols on it is in `sims/ground.rs`.

use flockstep::sim::kernel::{Ground, Kernel};
use flockstep::world::{Errno, Files, LockMode, Locks, OpenOptions, Process, Result, read_file, write_all};
use flockstep::{Scenario, SimWorld, Strategy, ViolationKind, scenario};

fn on(ground: Ground) -> Scenario {
    scenario("ground").file("/lock", "").ground(ground).workers(1).blocking_threads(1)
}

/// Locks, writes, unlocks; whether it could write.
async fn append(world: &SimWorld, file: &<SimWorld as Files>::File, byte: u8) -> Result<bool> {
    world.flock(file, LockMode::Exclusive).await?;
    let written = match write_all(world, file, &[byte]).await {
        Err(error) if error.errno == Errno::Io => false,
        other => other.map(|()| true)?,
    };
    world.unlock(file).await?;
    Ok(written)
}

/// EIO comes if a lock is lost, and only then; with the next lock it is over.
#[test]
fn writing_under_a_lost_lock_fails() {
    async fn body(world: SimWorld) -> Result<()> {
        let file = world.open("/lock", OpenOptions::lock_file()).await?;
        let written = [append(&world, &file, b'x').await?, append(&world, &file, b'y').await?];
        world.close(file).await?;
        let expected: Vec<u8> =
            [b'x', b'y'].into_iter().zip(written).filter_map(|(byte, was)| was.then_some(byte)).collect();
        assert_eq!(read_file(&world, "/lock").await?, expected);
        Ok(())
    }
    let held = on(Ground::Nfs).process("a", body).finally("written", |fs| fs.read("/lock").bytes() == b"xy");
    held.explore(Strategy::exhaustive()).assert_exhausted();
    let mut lossy = on(Ground::Nfs).lost_locks(1).process("a", body);
    for content in [&b"xy"[..], b"x", b"y"] {
        lossy = lossy.sometimes(&format!("{content:?}"), move |fs| fs.read("/lock").bytes() == content);
    }
    lossy.clone().explore(Strategy::exhaustive()).assert_exhausted();
    // Only one of them is lost: without the second fault, one byte is always there.
    let one = lossy.finally("one is there", |fs| !fs.read("/lock").bytes().is_empty());
    one.explore(Strategy::exhaustive()).assert_exhausted();
    let two = on(Ground::Nfs).lost_locks(2).process("a", body);
    let two = two.finally("one is there", |fs| !fs.read("/lock").bytes().is_empty());
    two.explore(Strategy::exhaustive()).assert_violated(ViolationKind::Promise("one is there".into()));
}

/// Whoever has lost a lock and releases it takes nothing from whoever has it now.
#[test]
fn the_loser_releases_nothing() {
    let mut kernel = Kernel::default();
    kernel.set_ground(Ground::Nfs);
    let mut open = || {
        let pid = kernel.new_process(64);
        (pid, kernel.open(pid, &"/lock".into(), OpenOptions::lock_file()).unwrap().descriptor)
    };
    let ((loser, lost), (next, held), (other, asks)) = (open(), open(), open());
    assert_eq!(kernel.grant(loser, lost, LockMode::Exclusive, 0, 0), Ok(true));
    let (_, _, description) = kernel.describe(loser, lost).unwrap();
    assert_eq!(kernel.lose_lock(description), Some(LockMode::Exclusive));
    assert_eq!(kernel.grant(next, held, LockMode::Exclusive, 0, 0), Ok(true));
    assert_eq!(kernel.unlock(loser, lost), Ok(Some(LockMode::Exclusive)), "it is told nothing");
    assert!(!kernel.can_lock(other, asks, LockMode::Exclusive), "and takes nothing away");
    assert_eq!(kernel.unlock(loser, lost), Ok(None));
}

#[test]
#[should_panic(expected = "no lock is ever lost on Local")]
fn locks_are_lost_only_where_they_can_be() {
    let _ = on(Ground::Local).lost_locks(1);
}

#[test]
fn a_process_has_as_many_descriptors_as_is_usual() {
    let limit = |scene: Scenario, limit: u32| {
        let scene =
            scene.process("a", move |world: SimWorld| async move { assert_eq!(world.descriptor_limit(), limit) });
        scene.explore(Strategy::exhaustive()).assert_exhausted();
    };
    limit(on(Ground::Local), 1024);
    limit(on(Ground::MacOs), 256);
    limit(on(Ground::MacOs).nofile(4096), 4096);
    limit(on(Ground::Local).nofile(64).ground(Ground::MacOs), 64);
}

/// A refused conversion has lost its lock everywhere once the call returns (L3): at home at once, elsewhere in a second step.
#[test]
fn a_refused_conversion_has_lost_its_lock_in_the_end() {
    async fn body(world: SimWorld) -> Result<()> {
        let [one, other] = [
            world.open("/lock", OpenOptions::lock_file()).await?,
            world.open("/lock", OpenOptions::lock_file()).await?,
        ];
        world.flock(&one, LockMode::Shared).await?;
        world.flock(&other, LockMode::Shared).await?;
        assert!(!world.try_flock(&one, LockMode::Exclusive).await?);
        assert!(world.try_flock(&other, LockMode::Exclusive).await?);
        world.close(one).await?;
        world.close(other).await
    }
    for ground in [Ground::Local, Ground::Nfs, Ground::MacOs] {
        on(ground).process("a", body).explore(Strategy::exhaustive()).assert_exhausted();
    }
}
