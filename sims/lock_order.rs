//! `lock-order`: two locks, taken in two orders.
//!
//! flock(2) knows nothing of deadlocks: two tasks that take the same two locks in different orders wait for each other for ever, and a
//! task that opens a file it has locked and locks it again waits for itself. An order that is written in one file and enforced at every
//! acquisition (`src/protocol/order.rs`) ends both before they begin.

use flockstep::oracle::LockOrder;
use flockstep::protocol::{Cache, Rank, Settings};
use flockstep::scenario::Policy;
use flockstep::world::{LockMode, OpenOptions, Result, World};
use flockstep::{Deadlock, Scenario, SimWorld, ViolationKind, scenario};

const PROJECT: &str = "/locks/project.lock";
const VENV: &str = "/locks/venv.lock";

async fn open_and_lock<W: World>(world: &W, path: &str) -> Result<W::File> {
    let file = world.open(path, OpenOptions::lock_file()).await?;
    world.flock(&file, LockMode::Exclusive).await?;
    Ok(file)
}

/// Takes both, in the order given.
pub(crate) async fn take_both<W: World>(world: W, first: &'static str, second: &'static str) -> Result<()> {
    let outer = open_and_lock(&world, first).await?;
    let inner = open_and_lock(&world, second).await?;
    world.close(inner).await?;
    world.close(outer).await
}

/// Two tasks of one process.
async fn abba<W: World>(world: W) -> Result<()> {
    let there = world.spawn("there", take_both(world.clone(), PROJECT, VENV));
    let back = world.spawn("back", take_both(world.clone(), VENV, PROJECT));
    there.await.expect("nobody aborts it")?;
    back.await.expect("nobody aborts it")
}

/// By the protocol: whoever asked the other way round would be told so before anything was tried.
pub(crate) async fn sound<W: World>(world: W) -> flockstep::protocol::Result<()> {
    let cache = Cache::new(&world, Settings::new("/cache", "/tmp"))?;
    let mut task = cache.command();
    let project = task.lock(&world, Rank::Project, PROJECT, LockMode::Exclusive).await?;
    let venv = task.lock(&world, Rank::Environment, VENV, LockMode::Exclusive).await?;
    let refused = task.try_lock(&world, Rank::Project, "/locks/other.lock", LockMode::Exclusive).await;
    assert!(refused.is_err(), "the wrong order is refused even where it could not deadlock");
    venv.release().await;
    project.release().await;
    Ok(())
}

fn machine() -> Scenario {
    scenario("").directory("/locks").directory("/cache")
}

fn watched(scene: Scenario) -> Scenario {
    scene.oracle(|| LockOrder::ranked([(PROJECT, "project", 1), (VENV, "environment", 2)]))
}

fn across() -> Scenario {
    machine()
        .process("sync", |world: SimWorld| take_both(world, PROJECT, VENV))
        .process("add", |world: SimWorld| take_both(world, VENV, PROJECT))
}

pub(crate) fn policies() -> Vec<Policy> {
    let cycle = || [ViolationKind::Deadlock(Deadlock::LockCycle)];
    let policy = |name, why| Policy::new("lock-order", name, why);
    let in_one = || machine().process("sync", abba);
    let again = || machine().process("sync", |world: SimWorld| take_both(world, PROJECT, PROJECT));
    let alone = || machine().process("sync", |world: SimWorld| take_both(world, PROJECT, VENV));
    let mut sound_policy = policy("sound", "one order, refused at the first attempt to break it");
    for processes in 1..=2 {
        let mut scene = watched(machine());
        for n in 1..=processes {
            scene = scene.process(&format!("sync{n}"), sound);
        }
        sound_policy = sound_policy.upheld([("processes", processes)], scene);
    }
    vec![
        policy("abba", "two tasks of one process take two locks in two orders")
            .violated([("tasks", 2)], cycle(), in_one())
            .violated([("tasks", 2), ("watched", 1)], [ViolationKind::LockOrder], watched(in_one())),
        policy("abba-across-processes", "the same in two processes")
            .upheld([("processes", 1)], alone())
            .violated([("processes", 2)], cycle(), across())
            .violated([("processes", 2), ("watched", 1)], [ViolationKind::LockOrder], watched(across())),
        policy(
            "self-reentry",
            "a task locks a file again that it has locked: another description, so it waits for itself",
        )
        .violated([("tasks", 1)], cycle(), again()),
        sound_policy,
    ]
}
