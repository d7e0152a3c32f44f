//! `ground`: what is sound on a local filesystem of Linux, and what becomes of it elsewhere.
//!
//! flock(2) is not the same everywhere. On NFS it is a byte-range lock of the server's: it wants a descriptor that may write, a conversion that
//! is refused or waits keeps what it had, and a lock can be lost without its holder being told. macOS keeps what a refused conversion had
//! as well, and gives a process 256 descriptors. Some filesystems have no locks at all, and cargo goes on without one there. Each
//! protocol here is fine at home and breaks on some ground; the protocol of `src/protocol` is put on all of them.
//!
//! What it can promise when a lock is lost is less than at home: two may build the same, because no protocol on locks can know better. What
//! is published is whole all the same, and everybody is served, since the marker is replaced by rename and no revision is ever changed.

use std::collections::VecDeque;

use flockstep::oracle::{Builds, Publish};
use flockstep::protocol;
use flockstep::scenario::Policy;
use flockstep::sim::kernel::Ground;
use flockstep::world::{Errno, LockMode, OpenOptions, Result, World, read_file, write_all};
use flockstep::{Deadlock, Scenario, SimWorld, ViolationKind, scenario};

use super::shard_lock;

const LOCK: &str = "/project/.lock";
const COUNT: &str = "/project/count";
const DONE: &str = "/project/done";

/// More lock files than macOS gives descriptors, and fewer than Linux does.
const FILES: u32 = 300;

async fn put<W: World>(world: &W, path: &str, content: &[u8]) -> Result<()> {
    let file = world.open(path, OpenOptions::replace()).await?;
    write_all(world, &file, content).await?;
    world.close(file).await
}

/// Reads under a shared lock and converts it to write. At home the first to ask loses its shared lock, and the second goes on.
pub(crate) async fn upgrade<W: World>(world: W) -> Result<()> {
    let lock = world.open(LOCK, OpenOptions::lock_file()).await?;
    world.flock(&lock, LockMode::Shared).await?;
    world.flock(&lock, LockMode::Exclusive).await?;
    world.close(lock).await
}

/// Whoever is granted the conversion does the work. At home one always is: who was refused has lost its shared lock, and with that is out
/// of the other's way.
pub(crate) async fn elect_by_upgrade<W: World>(world: W) -> Result<()> {
    let lock = world.open(LOCK, OpenOptions::lock_file()).await?;
    world.flock(&lock, LockMode::Shared).await?;
    if world.try_flock(&lock, LockMode::Exclusive).await? {
        put(&world, DONE, b"").await?;
    }
    world.close(lock).await
}

/// The same without a conversion: who is refused was refused by somebody who does the work.
pub(crate) async fn elect<W: World>(world: W) -> Result<()> {
    let lock = world.open(LOCK, OpenOptions::lock_file()).await?;
    if world.try_flock(&lock, LockMode::Exclusive).await? {
        put(&world, DONE, b"").await?;
    }
    world.close(lock).await
}

/// Locks through a descriptor that is open for reading, because the content of a lock file is nobody's business.
pub(crate) async fn read_only<W: World>(world: W) -> Result<()> {
    let lock = world.open(LOCK, OpenOptions::read()).await?;
    world.flock(&lock, LockMode::Exclusive).await?;
    world.close(lock).await
}

/// Reads a number and writes the next one.
async fn count<W: World>(world: &W) -> Result<()> {
    let number = read_file(world, COUNT).await?.len();
    put(world, COUNT, &vec![b'|'; number + 1]).await
}

/// Counts under the lock, and believes in it.
pub(crate) async fn trust<W: World>(world: W) -> Result<()> {
    let lock = world.open(LOCK, OpenOptions::lock_file()).await?;
    world.flock(&lock, LockMode::Exclusive).await?;
    count(&world).await?;
    world.close(lock).await
}

/// Counts under the lock if there are locks, and without one if not.
pub(crate) async fn regardless<W: World>(world: W) -> Result<()> {
    let lock = world.open(LOCK, OpenOptions::lock_file()).await?;
    match world.flock(&lock, LockMode::Exclusive).await {
        Err(error) if matches!(error.errno, Errno::NoLck | Errno::NoSys | Errno::OpNotSupp) => {}
        other => other?,
    }
    count(&world).await?;
    world.close(lock).await
}

/// Locks each of many things, and holds that many of the locks at a time.
pub(crate) async fn hold<W: World>(world: W, at_a_time: u32) -> Result<()> {
    let mut held = VecDeque::new();
    for n in 0..FILES {
        if n >= at_a_time
            && let Some(lock) = held.pop_front()
        {
            world.close(lock).await?;
        }
        let lock = world.open(&format!("/project/{n}.lock"), OpenOptions::lock_file()).await?;
        world.flock(&lock, LockMode::Exclusive).await?;
        held.push_back(lock);
    }
    for lock in held {
        world.close(lock).await?;
    }
    Ok(())
}

/// The protocol of `src/protocol`, which says that there are no locks, and does nothing.
async fn refuses(world: SimWorld) {
    let refused = shard_lock::sound(world, &[shard_lock::KEY], 1).await.expect_err("no lock, no operation");
    assert!(matches!(refused, protocol::Error::NoLocks { .. }), "{refused}");
}

fn on(ground: Ground) -> Scenario {
    let scene = scenario("").ground(ground).directory("/cache").directory("/tmp").directory("/project").file(LOCK, "");
    scene.file(COUNT, "").workers(1).blocking_threads(1)
}

fn two<F, Fut, E>(scene: Scenario, body: F) -> Scenario
where
    F: Fn(SimWorld) -> Fut + Send + Sync + Copy + 'static,
    Fut: Future<Output = E> + Send + 'static,
    E: Into<flockstep::sim::Exit>,
{
    scene.process("p1", body).process("p2", body)
}

fn holding(scene: Scenario, at_a_time: u32) -> Scenario {
    scene.process("p1", move |world: SimWorld| hold(world, at_a_time))
}

fn done(scene: Scenario) -> Scenario {
    scene.finally("somebody does the work", |fs| fs.exists(DONE))
}

fn counted(scene: Scenario) -> Scenario {
    scene.finally("both are counted", |fs| fs.read(COUNT).bytes() == b"||")
}

fn installs(scene: Scenario) -> Scenario {
    shard_lock::installs(scene, 2, &[shard_lock::KEY], 1)
}

/// What is left to promise when a lock is lost.
fn whole(scene: Scenario) -> Scenario {
    let published = || {
        Publish::of(format!("{}/rev-*/*", shard_lock::SHARD))
            .marked(&format!("{}/marker", shard_lock::SHARD), shard_lock::whole_revision)
    };
    scene.oracle(published).finally("there is a result", shard_lock::whole_revision)
}

fn once(scene: Scenario) -> Scenario {
    scene.oracle(|| Builds::once().all_served())
}

pub(crate) fn policies() -> Vec<Policy> {
    let policy = |name, why| Policy::new("ground", name, why);
    let (home, nfs, macos) = (|| on(Ground::Local), || on(Ground::Nfs), || on(Ground::MacOs));
    let lossy = || nfs().lost_locks(1);
    let (at_home, on_nfs, on_macos) = ([("local", 1)], [("nfs", 1)], [("macos", 1)]);
    let losing = [("nfs", 1), ("lost", 1)];
    let promise = |name: &str| [ViolationKind::Promise(name.to_owned())];
    let without = |errno, number| (Ground::NoLocks(errno), [("errno", number)]);
    let lockless = [without(Errno::NoLck, 37), without(Errno::NoSys, 38), without(Errno::OpNotSupp, 95)];

    let mut regardless_of_locks = policy("regardless", "goes on without a lock where there is none")
        .upheld(at_home, counted(two(home(), regardless)));
    let mut sound = policy(
        "sound",
        "the protocol of src/protocol: never converts, can write its lock files, refuses to go on without a lock",
    )
    .upheld(at_home, once(whole(installs(home()))))
    .upheld(on_nfs, once(whole(installs(nfs()))))
    .upheld(on_macos, once(whole(installs(macos()))))
    .upheld(losing, whole(installs(lossy())));
    for (ground, size) in lockless {
        regardless_of_locks =
            regardless_of_locks.violated(size, promise("both are counted"), counted(two(on(ground), regardless)));
        let refused =
            two(on(ground), refuses).finally("nothing is built", |fs| !fs.exists("/cache/wheels/demo/marker"));
        sound = sound.upheld(size, refused);
    }
    vec![
        policy("upgrade", "converts a shared lock, and waits for that")
            .upheld(at_home, two(home(), upgrade))
            .upheld(on_macos, two(macos(), upgrade))
            .violated(on_nfs, [ViolationKind::Deadlock(Deadlock::LockCycle)], two(nfs(), upgrade)),
        policy("elect-by-upgrade", "whoever is refused the conversion leaves the work to the other")
            .upheld(at_home, done(two(home(), elect_by_upgrade)))
            .violated(on_macos, promise("somebody does the work"), done(two(macos(), elect_by_upgrade)))
            .violated(on_nfs, promise("somebody does the work"), done(two(nfs(), elect_by_upgrade))),
        policy("elect", "the same without a conversion")
            .upheld(at_home, done(two(home(), elect)))
            .upheld(on_macos, done(two(macos(), elect)))
            .upheld(on_nfs, done(two(nfs(), elect))),
        policy("read-only", "locks through a descriptor that is open for reading")
            .upheld(at_home, two(home(), read_only))
            .upheld(on_macos, two(macos(), read_only))
            .violated(on_nfs, [ViolationKind::Failed], two(nfs(), read_only)),
        policy("many-held", "holds so many locks at a time, of 300")
            .upheld([("local", 1), ("held", 300)], holding(home(), 300))
            .upheld([("macos", 1), ("held", 253)], holding(macos(), 253))
            .violated([("macos", 1), ("held", 254)], [ViolationKind::Failed], holding(macos(), 254)),
        regardless_of_locks,
        policy("trust", "reads and writes under a lock, as if it could not be lost")
            .upheld(at_home, counted(two(home(), trust)))
            .upheld(on_nfs, counted(two(nfs(), trust)))
            .violated(losing, promise("both are counted"), counted(two(lossy(), trust))),
        policy("one-build", "promises that nothing is built twice, whatever the ground")
            .upheld(on_nfs, once(installs(nfs())))
            .violated(losing, [ViolationKind::DuplicateBuild], once(installs(lossy()))),
        sound,
    ]
}
