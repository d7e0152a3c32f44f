//! `publish`: two who write one entry at once, and one who reads it.
//!
//! The lock of a shard makes this rare, not impossible: a lock file that somebody removed by hand, a filesystem that lost the lock when its
//! server restarted, a program that goes on without. Fourteen of the 93 bugs in our catalogue are entries that were read half-done: written
//! under their final name, announced before they were there, made under a temporary name that two had, removed by the loser of a race. So
//! nobody here has a lock, and the order of the steps alone must do.

use flockstep::oracle::Publish;
use flockstep::protocol::entry::{Revision, lookup};
use flockstep::protocol::publish::{publish, result_dir};
use flockstep::protocol::{self, Cache, Settings, Temp};
use flockstep::scenario::Policy;
use flockstep::world::{
    Errno, OpenOptions, Process, Result, World, create_dir_all, read_file, remove_dir_all, write_all,
};
use flockstep::{KernelView, Scenario, SimWorld, ViolationKind, scenario};

const KEY: &str = "wheels/demo";
const SHARD: &str = "/cache/wheels/demo";
const MARKER: &str = "/cache/wheels/demo/marker";

/// A wheel that says by whom it is.
fn content<W: Process>(world: &W) -> String {
    format!("by {}", world.process_id())
}

/// What the marker stands for: the wheel in the revision that it names.
fn whole_revision(fs: &KernelView<'_>) -> bool {
    let revision = Revision::parse(fs.read(MARKER).bytes());
    revision
        .is_some_and(|revision| fs.read(&format!("{SHARD}/{}/wheel", revision.dir_name())).text().starts_with("by "))
}

async fn write<W: World>(world: &W, path: &str, content: &str) -> Result<()> {
    let file = world.open(path, OpenOptions::replace()).await?;
    write_all(world, &file, content.as_bytes()).await?;
    world.close(file).await
}

async fn write_result<W: World>(world: &W, dir: &str) -> Result<()> {
    create_dir_all(world, dir).await?;
    write(world, &format!("{dir}/wheel"), &content(world)).await
}

/// Replaces the marker in one step, as the sound one does: each of the historic policies has one mistake, and this is none of them.
async fn mark<W: World>(world: &W) -> Result<()> {
    let temp = format!("{SHARD}/marker-{}", world.process_id());
    write(world, &temp, &Revision(1).marker()).await?;
    world.rename(&temp, MARKER).await
}

/// Writes the wheel where it will be read, and the marker last: right for one writer, and for nobody beside another.
pub(crate) async fn in_place<W: World>(world: W) -> Result<()> {
    write_result(&world, &format!("{SHARD}/rev-1")).await?;
    mark(&world).await
}

/// Announces the wheel, then writes it.
pub(crate) async fn marker_first<W: World>(world: W) -> Result<()> {
    mark(&world).await?;
    write_result(&world, &format!("{SHARD}/rev-1")).await
}

/// Writes the wheel in a temporary directory, and renames it; the name is everybody's.
pub(crate) async fn fixed_temp_name<W: World>(world: W) -> Result<()> {
    let temp = format!("{SHARD}/new");
    let moved = async {
        write_result(&world, &temp).await?;
        world.rename(&temp, &format!("{SHARD}/rev-1")).await
    };
    match moved.await {
        // Somebody else has published, from this very directory.
        Err(error) if matches!(error.errno, Errno::NoEnt | Errno::Exist | Errno::NotEmpty) => Ok(()),
        Err(error) => Err(error),
        Ok(()) => mark(&world).await,
    }
}

/// Writes the wheel in a temporary directory of its own; where it finds another's result in the place of its own, it tidies that up.
pub(crate) async fn loser_removes_winner<W: World>(world: W) -> Result<()> {
    let (temp, place) = (format!("{SHARD}/new-{}", world.process_id()), format!("{SHARD}/rev-1"));
    write_result(&world, &temp).await?;
    while let Err(error) = world.rename(&temp, &place).await {
        if !matches!(error.errno, Errno::Exist | Errno::NotEmpty) {
            return Err(error);
        }
        remove_dir_all(&world, &place).await?;
    }
    mark(&world).await
}

/// That of `src/protocol`, without the lock that it is meant to run under.
pub(crate) async fn sound<W: World>(world: W) -> protocol::Result<()> {
    let cache = Cache::new(&world, Settings::new("/cache", "/tmp"))?;
    let temp = Temp::create(&world, &cache.command()).await?;
    write_result(&world, &result_dir(&temp)).await?;
    let entry = publish(&world, &cache, KEY, &temp).await?;
    // Whatever the other one did meanwhile, what this one has published is there, and is its own.
    assert_eq!(read_file(&world, &format!("{}/wheel", entry.path)).await?, content(&world).as_bytes());
    temp.remove(&world).await
}

/// Marker first, then what it names.
pub(crate) async fn read<W: World>(world: W) -> protocol::Result<()> {
    let Some(entry) = lookup(&world, SHARD).await? else { return Ok(()) };
    match read_file(&world, &format!("{}/wheel", entry.path)).await {
        // It is for the oracles to say what became of it.
        Err(error) if error.errno == Errno::NoEnt => Ok(()),
        other => Ok(other.map(drop)?),
    }
}

fn writers<F, Fut, E>(count: u64, body: F) -> Scenario
where
    F: Fn(SimWorld) -> Fut + Copy + Send + Sync + 'static,
    Fut: Future<Output = std::result::Result<(), E>> + Send + 'static,
    E: std::fmt::Display + 'static,
{
    let scene = scenario("").directory(SHARD).directory("/cache/tmp").workers(1).blocking_threads(1);
    (1..=count).fold(scene, |scene, n| scene.process(&format!("writer{n}"), body))
}

fn with_reader(scene: Scenario) -> Scenario {
    scene.process("reader", read)
}

/// Nobody reads what somebody is writing, and nothing disappears.
fn untorn(scene: Scenario) -> Scenario {
    scene.oracle(|| Publish::of(format!("{SHARD}/rev-*/*")))
}

/// Where the marker is, all is.
fn complete(scene: Scenario) -> Scenario {
    scene.oracle(|| Publish::of(MARKER).marked(MARKER, whole_revision))
}

pub(crate) fn policies() -> Vec<Policy> {
    let policy = |name, why| Policy::new("publish", name, why);
    let broken = || [ViolationKind::Publish];
    let size = |writers, readers| [("writers", writers), ("readers", readers)];
    let killed = |writers, readers| [("writers", writers), ("readers", readers), ("kills", 1)];
    let promised = |scene| complete(untorn(scene));
    let there = |scene: Scenario| scene.finally("there is an entry", |fs| fs.exists(MARKER));
    vec![
        policy("in-place", "written where it is read: the second writer tears what the first has published")
            .upheld(size(1, 1), promised(with_reader(writers(1, in_place))))
            .violated(size(2, 1), broken(), untorn(with_reader(writers(2, in_place)))),
        policy("marker-first", "announced before it is there; whoever dies in between leaves it so for ever").violated(
            size(1, 0),
            broken(),
            complete(writers(1, marker_first)),
        ),
        policy("fixed-temp-name", "two write in one temporary directory, and one of them goes on in the published one")
            .upheld(size(1, 1), promised(with_reader(writers(1, fixed_temp_name))))
            .violated(size(2, 0), broken(), complete(writers(2, fixed_temp_name)))
            .violated(size(2, 1), broken(), untorn(with_reader(writers(2, fixed_temp_name)))),
        policy("loser-removes-winner", "who comes second removes what is in his place, with a reader in it")
            .upheld(size(1, 1), promised(with_reader(writers(1, loser_removes_winner))))
            .violated(size(2, 1), broken(), untorn(with_reader(writers(2, loser_removes_winner)))),
        policy("sound", "a revision of one's own, a temporary directory of one's own, the marker last, by rename")
            .upheld(size(2, 0), there(promised(writers(2, sound))))
            .upheld(size(2, 1), there(promised(with_reader(writers(2, sound)))))
            .upheld(killed(1, 1), promised(with_reader(writers(1, sound))).kill("writer1"))
            .upheld(killed(2, 1), there(promised(with_reader(writers(2, sound)))).kill("writer1")),
    ]
}
