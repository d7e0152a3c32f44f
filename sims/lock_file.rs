//! `lock-file`: a lock file that is removed by those who use it.
//!
//! flock(2) locks an inode, and programs meet at a path. A tidy program that removes its lock file parts the two: whoever opened the old
//! file owns a lock on something that nobody can find any more, and the next one makes a new file and owns that. Twelve public
//! bugs are of this class, almost none was diagnosed by those who met it. Three processes and one path are enough for all of them.

use std::future::Future;

use flockstep::oracle::{PathExclusion, RegionExclusion};
use flockstep::protocol::{Cache, Rank, Settings};
use flockstep::scenario::Policy;
use flockstep::world::{Errno, LockMode, OpenOptions, Result, World, create_dir_all};
use flockstep::{Scenario, SimWorld, ViolationKind, scenario};

const DIR: &str = "/run/tool";
const LOCK: &str = "/run/tool/lock";

/// What the lock is for. Two at once are what nobody wants.
async fn owned<W: World>(world: &W) {
    let _region = world.region("owner", LOCK);
    world.yield_now().await;
}

async fn open_and_lock<W: World>(world: &W) -> Result<W::File> {
    let file = world.open(LOCK, OpenOptions::lock_file()).await?;
    world.flock(&file, LockMode::Exclusive).await?;
    Ok(file)
}

/// Somebody else may have been quicker to remove it.
fn or_gone(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if error.errno == Errno::NoEnt => Ok(()),
        other => other,
    }
}

/// Unlocks, then tidies up: the file that it removes may be somebody else's by then.
pub(crate) async fn unlink_after_unlock<W: World>(world: W) -> Result<()> {
    let file = open_and_lock(&world).await?;
    owned(&world).await;
    world.unlock(&file).await?;
    world.close(file).await?;
    or_gone(world.unlink(LOCK).await)
}

/// Tidies up while it holds the lock. Those who wait for it get a lock on a file without a name, and do not look.
pub(crate) async fn unlink_before_unlock_unvalidated<W: World>(world: W) -> Result<()> {
    let file = open_and_lock(&world).await?;
    owned(&world).await;
    or_gone(world.unlink(LOCK).await)?;
    world.unlock(&file).await?;
    world.close(file).await
}

/// The lock file lies in the directory that it protects, and the directory is removed when its time is over.
pub(crate) async fn lock_in_deleted_dir<W: World>(world: W) -> Result<()> {
    let file = loop {
        create_dir_all(&world, DIR).await?;
        match open_and_lock(&world).await {
            Err(error) if error.errno == Errno::NoEnt => {}
            other => break other?,
        }
    };
    owned(&world).await;
    or_gone(world.unlink(LOCK).await)?;
    match world.rmdir(DIR).await {
        Err(error) if matches!(error.errno, Errno::NoEnt | Errno::NotEmpty) => {}
        other => other?,
    }
    world.close(file).await
}

/// Tidies up while it holds the lock, and after locking looks whether the path still names what it has locked.
pub(crate) async fn unlink_validated<W: World>(world: W) -> Result<()> {
    let file = loop {
        let file = open_and_lock(&world).await?;
        let locked = world.fstat(&file).await?;
        match world.stat(LOCK).await {
            Ok(named) if named.id == locked.id => break file,
            Ok(_) => {}
            Err(error) if error.errno == Errno::NoEnt => {}
            Err(error) => return Err(error),
        }
        world.close(file).await?;
    };
    owned(&world).await;
    world.unlink(LOCK).await?;
    world.unlock(&file).await?;
    world.close(file).await
}

/// The protocol of `src/protocol`: the file stays.
pub(crate) async fn never_unlink<W: World>(world: W) -> flockstep::protocol::Result<()> {
    let cache = Cache::new(&world, Settings::new("/cache", "/tmp"))?;
    let mut task = cache.command();
    let lock = task.lock(&world, Rank::Environment, LOCK, LockMode::Exclusive).await?;
    owned(&world).await;
    lock.release().await;
    Ok(())
}

fn scene<F, Fut, E>(processes: u64, body: F) -> Scenario
where
    F: Fn(SimWorld) -> Fut + Copy + Send + Sync + 'static,
    Fut: Future<Output = std::result::Result<(), E>> + Send + 'static,
    E: std::fmt::Display + 'static,
{
    let mut scene =
        scenario("").directory(DIR).oracle(|| RegionExclusion::of("owner")).oracle(|| PathExclusion::of(LOCK));
    for n in 1..=processes {
        scene = scene.process(&format!("tool{n}"), body);
    }
    scene
}

pub(crate) fn policies() -> Vec<Policy> {
    let two_owners = [ViolationKind::Exclusion];
    let size = |processes| [("processes", processes)];
    let policy = |name, why| Policy::new("lock-file", name, why);
    vec![
        policy("unlink-after-unlock", "removes the lock file after unlocking: it may be another one's by then")
            .upheld(size(1), scene(1, unlink_after_unlock))
            .violated(size(3), two_owners.clone(), scene(3, unlink_after_unlock)),
        policy("unlink-before-unlock-unvalidated", "removes it while locked, but waiters do not notice").violated(
            size(3),
            two_owners.clone(),
            scene(3, unlink_before_unlock_unvalidated),
        ),
        policy("lock-in-deleted-dir", "the lock file goes with the directory that it protects").violated(
            size(3),
            two_owners,
            scene(3, lock_in_deleted_dir),
        ),
        policy("unlink-validated", "removes it while locked, and every waiter compares inode and path")
            .upheld(size(2), scene(2, unlink_validated))
            .upheld(size(3), scene(3, unlink_validated)),
        policy("never-unlink", "the lock file stays for ever")
            .upheld(size(2), scene(2, never_unlink))
            .upheld(size(3), scene(3, never_unlink)),
    ]
}
