//! `shard-lock`: many processes want the same result.
//!
//! Eight uv processes that install one sdist built it eight times into one place: 8 of 40 runs failed, and two "succeeded" without the
//! package (uv 3512, PR 3525). An advisory lock per cache shard, taken even when the cache may turn out to be warm, lets one build and
//! the others wait and reuse.

use std::sync::Arc;

use flockstep::oracle::{Builds, Publish};
use flockstep::protocol::{self, Cache, Plan, Recipe, Settings, Task, Work, build_all, entry};
use flockstep::scenario::Policy;
use flockstep::world::{Errno, OpenOptions, Result, World, create_dir_all, read_file, write_all};
use flockstep::{KernelView, Scenario, SimWorld, ViolationKind, scenario};

pub(crate) const KEY: &str = "wheels/demo";
pub(crate) const SHARD: &str = "/cache/wheels/demo";
const FILES: [&str; 2] = ["code", "metadata"];
/// What a whole file contains; a file is written in two halves.
const WHOLE: &[u8] = b"whole";

/// What the marker stands for, in the layout of the historic policy.
fn whole_in_place(fs: &KernelView<'_>) -> bool {
    FILES.iter().all(|name| fs.read(&format!("{SHARD}/{name}")).bytes() == WHOLE)
}

/// What the marker stands for, in that of the sound one: it names a revision.
pub(crate) fn whole_revision(fs: &KernelView<'_>) -> bool {
    let marker = fs.read(&format!("{SHARD}/marker"));
    let revision = format!("{SHARD}/{}", marker.text().trim_end());
    FILES.iter().all(|name| fs.read(&format!("{revision}/{name}")).bytes() == WHOLE)
}

/// No lock at all: looks for the marker, and builds in place if there is none.
pub(crate) async fn none<W: World>(world: W) -> Result<()> {
    world.note("wanted", KEY);
    match world.stat(&format!("{SHARD}/marker")).await {
        Ok(_) => {
            world.note("reused", KEY);
            return Ok(());
        }
        Err(error) if error.errno == Errno::NoEnt => {}
        Err(error) => return Err(error),
    }
    create_dir_all(&world, SHARD).await?;
    let region = world.region("build", KEY);
    for name in FILES {
        let file = world.open(&format!("{SHARD}/{name}"), OpenOptions::replace()).await?;
        let (first, second) = WHOLE.split_at(2);
        write_all(&world, &file, first).await?;
        write_all(&world, &file, second).await?;
        world.close(file).await?;
    }
    drop(region);
    let marker = world.open(&format!("{SHARD}/marker"), OpenOptions::replace()).await?;
    world.close(marker).await?;
    world.note("published", KEY);
    Ok(())
}

/// A result of two files.
struct Demo(&'static str);

impl<W: World> Recipe<W> for Demo {
    type Needs = ();

    fn key(&self) -> &str {
        self.0
    }
    async fn prepare(&self, _: &W, _: &mut Task<W>) -> protocol::Result<()> {
        Ok(())
    }
    async fn produce(&self, world: &W, _: &(), work: &mut Work<'_, W>) -> protocol::Result<()> {
        for name in FILES {
            let file = world.open(&format!("{}/{name}", work.dir()), OpenOptions::create_new()).await?;
            write_all(world, &file, WHOLE).await?;
            world.close(file).await?;
        }
        Ok(())
    }
}

/// The protocol of `src/protocol`.
pub(crate) async fn sound<W: World>(world: W, keys: &'static [&'static str], jobs: u32) -> protocol::Result<()> {
    let cache = Cache::new(&world, Settings::new("/cache", "/tmp"))?;
    let command = cache.command();
    keys.iter().for_each(|key| world.note("wanted", key));
    let inputs = keys.iter().map(|key| Demo(key)).collect();
    let plan = Plan { inputs, jobs, offset: world.process_id() as usize };
    for result in build_all(&world, &cache, command.order(), plan, Arc::new(|_, _: &_| ())).await {
        result?;
    }
    Ok(())
}

/// Somebody who only reads, without a lock: marker first, then what it names.
pub(crate) async fn read<W: World>(world: W) -> protocol::Result<()> {
    let Some(entry) = entry::lookup(&world, SHARD).await? else { return Ok(()) };
    for name in FILES {
        let content = read_file(&world, &format!("{}/{name}", entry.path)).await?;
        assert_eq!(content, WHOLE, "a published file is whole");
    }
    Ok(())
}

fn machine() -> Scenario {
    scenario("").directory("/cache").directory("/tmp").workers(1).blocking_threads(1).alike_tasks("build ")
}

fn unlocked(processes: u64) -> Scenario {
    let mut scene = machine();
    for n in 1..=processes {
        scene = scene.process(&format!("install{n}"), none);
    }
    scene
}

fn locked(processes: u64, keys: &'static [&'static str], jobs: u32) -> Scenario {
    let scene = machine().oracle(|| Builds::once().all_served()).oracle(|| {
        Publish::of(format!("{SHARD}/rev-*/*"))
            .marked(&format!("{SHARD}/marker"), whole_revision)
            .beside("/cache/**/.lock")
    });
    let body = move |world: SimWorld| sound(world, keys, jobs);
    match keys.iter().any(|key| *key != keys[0]) {
        // Where to begin is a question of who it is.
        true => installs(scene, processes, keys, jobs),
        false => scene.alike((1..=processes).map(|n| format!("install{n}")), body),
    }
}

/// That many processes of the sound policy, each with a process id of its own.
pub(crate) fn installs(mut scene: Scenario, processes: u64, keys: &'static [&'static str], jobs: u32) -> Scenario {
    for n in 1..=processes {
        scene = scene.process(&format!("install{n}"), move |world: SimWorld| sound(world, keys, jobs));
    }
    scene
}

/// Nothing temporary is left if nobody was killed.
fn tidy(scene: Scenario) -> Scenario {
    scene.finally("no temporary directory is left", |fs| fs.list("/cache/tmp").is_empty())
}

pub(crate) fn policies() -> Vec<Policy> {
    let policy = |name, why| Policy::new("shard-lock", name, why);
    let size = |processes| [("processes", processes)];
    let built_once = |scene: Scenario| scene.oracle(|| Builds::once().all_served());
    let marked = |scene: Scenario| {
        scene.oracle(|| Publish::of(format!("{SHARD}/*")).marked(&format!("{SHARD}/marker"), whole_in_place))
    };
    let torn = [("processes", 2), ("published", 1)];
    let two_tasks = tidy(locked(1, &[KEY, "wheels/other"], 2));
    let reader = locked(1, &[KEY], 1).process("reader", read);
    vec![
        policy("none", "no lock: whoever finds no marker builds, in place")
            .upheld(size(1), marked(built_once(unlocked(1))))
            .violated(size(2), [ViolationKind::DuplicateBuild], built_once(unlocked(2)))
            .violated(torn, [ViolationKind::Publish], marked(unlocked(2))),
        policy("sound", "a lock per shard, over the whole build; temp, fsync, rename, marker last")
            .upheld(size(1), tidy(locked(1, &[KEY], 1)))
            .upheld(size(2), tidy(locked(2, &[KEY], 1)))
            .upheld([("processes", 1), ("keys", 2), ("tasks", 2)], two_tasks)
            .upheld([("processes", 2), ("keys", 2)], tidy(locked(2, &[KEY, "wheels/other"], 1)))
            .upheld([("processes", 2), ("tasks", 2)], tidy(locked(2, &[KEY, KEY], 2)))
            .upheld([("processes", 1), ("tasks", 2)], tidy(locked(1, &[KEY, KEY], 2)))
            .upheld([("processes", 1), ("readers", 1)], reader)
            .upheld([("processes", 1), ("kills", 1)], locked(1, &[KEY], 1).kill("install1"))
            .upheld([("processes", 2), ("kills", 1)], locked(2, &[KEY], 1).kill("install1").kill("install2")),
    ]
}
