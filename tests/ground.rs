//! Other ground than a local filesystem: what is sound at home and breaks there, and what the sound protocol does about it.

use flockstep::protocol::{self, Cache, Order, Recipe, Settings, Work, obtain};
use flockstep::sim::kernel::Ground;
use flockstep::world::{Errno, Files, LockMode, Locks, OpenOptions, World, write_all};
use flockstep::{Scenario, SimWorld, Strategy, Verdict, scenario};

fn two<F>(name: &str, ground: Ground, body: fn(SimWorld) -> F) -> Scenario
where
    F: Future<Output = flockstep::world::Result<()>> + Send + 'static,
{
    scenario(name).file("/lock", "").ground(ground).workers(1).blocking_threads(1).process("a", body).process("b", body)
}

/// Reads under a shared lock, and upgrades it to write: at home the first to ask loses its shared lock, and the second goes on.
async fn upgrade(world: SimWorld) -> flockstep::world::Result<()> {
    let file = world.open("/lock", OpenOptions::lock_file()).await?;
    world.flock(&file, LockMode::Shared).await?;
    world.flock(&file, LockMode::Exclusive).await?;
    world.close(file).await
}

/// Locks through a descriptor that is open for reading, because the content of a lock file is nobody's business.
async fn read_only(world: SimWorld) -> flockstep::world::Result<()> {
    let file = world.open("/lock", OpenOptions::read()).await?;
    world.flock(&file, LockMode::Exclusive).await?;
    world.close(file).await
}

#[test]
fn upgrades_wait_for_each_other_on_nfs() {
    two("upgrade at home", Ground::Local, upgrade).explore(Strategy::exhaustive()).assert_exhausted();
    let Verdict::Violated(failure) = two("upgrade", Ground::Nfs, upgrade).explore(Strategy::exhaustive()).verdict
    else {
        panic!("two upgraders on NFS wait for each other");
    };
    assert!(failure.report().contains("deadlock (lock cycle)"), "{}", failure.report());
}

#[test]
fn a_lock_file_open_for_reading_is_refused_on_nfs() {
    two("read-only at home", Ground::Local, read_only).explore(Strategy::exhaustive()).assert_exhausted();
    let Verdict::Violated(failure) = two("read-only", Ground::Nfs, read_only).explore(Strategy::exhaustive()).verdict
    else {
        panic!("NFS has no exclusive lock for a descriptor that cannot write");
    };
    assert!(failure.report().contains("EBADF"), "{}", failure.report());
}

/// A result of one file.
struct Build;

impl<W: World> Recipe<W> for Build {
    type Needs = ();
    fn key(&self) -> &str {
        "one"
    }
    async fn prepare(&self, _: &W, _: &mut protocol::Task<W>) -> protocol::Result<()> {
        Ok(())
    }
    async fn produce(&self, world: &W, _: &(), work: &mut Work<'_, W>) -> protocol::Result<()> {
        let file = world.open(&format!("{}/result", work.dir()), OpenOptions::create_new()).await?;
        write_all(world, &file, b"whole").await?;
        Ok(world.close(file).await?)
    }
}

async fn build(world: &SimWorld) -> protocol::Result<()> {
    let cache = Cache::new(world, Settings { lock_timeout: None, ..Settings::new("/cache", "/tmp") })?;
    let mut task = cache.task(world, &Order::new(), protocol::budget::BUILD).await?;
    obtain(world, &mut task, &Build).await.map(drop)
}

fn cache(name: &str, ground: Ground) -> Scenario {
    scenario(name).directory("/cache/tmp").directory("/tmp").ground(ground).workers(1).blocking_threads(1)
}

#[test]
fn the_protocol_holds_on_nfs() {
    cache("the protocol on NFS", Ground::Nfs)
        .process("a", |world| async move { build(&world).await })
        .process("b", |world| async move { build(&world).await })
        .finally("built once", |fs| fs.exists("/cache/one/rev-1/result") && !fs.exists("/cache/one/rev-2"))
        .explore(Strategy::random(1_000))
        .assert_upheld();
}

#[test]
fn the_protocol_refuses_a_ground_without_locks() {
    for errno in [Errno::NoLck, Errno::NoSys, Errno::OpNotSupp] {
        cache("the protocol without locks", Ground::NoLocks(errno))
            .process("a", |world| async move {
                let refused = build(&world).await.expect_err("no lock, no operation");
                assert!(matches!(refused, protocol::Error::NoLocks { .. }), "{refused}");
            })
            .finally("nothing was built", |fs| !fs.exists("/cache/one/marker"))
            .explore(Strategy::random(100))
            .assert_upheld();
    }
}
