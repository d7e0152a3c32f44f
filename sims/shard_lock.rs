//! `shard-lock`: many processes want the same result.
//!
//! Eight uv processes that install one sdist built it eight times into one place: 8 of 40 runs failed, and two "succeeded" without the
//! package (uv 3512, PR 3525). An advisory lock per cache shard, taken even when the cache may turn out to be warm, lets one build and
//! the others wait and reuse.

use std::sync::Arc;

use flockstep::oracle::{Builds, Leak, Publish};
use flockstep::protocol::{self, Cache, Plan, Recipe, Settings, Task, Work, build_all};
use flockstep::scenario::Policy;
use flockstep::world::{Errno, OpenOptions, Result, World, create_dir_all, write_all};
use flockstep::{Scenario, SimWorld, ViolationKind, scenario};

const KEY: &str = "wheels/demo";
const SHARD: &str = "/cache/wheels/demo";
const FILES: [&str; 2] = ["code", "metadata"];
/// What a whole file contains; a file is written in two halves.
const WHOLE: &[u8] = b"whole";

/// No lock at all: looks for the marker, and builds in place if there is none.
pub(crate) async fn none<W: World>(world: W) -> Result<()> {
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
    let inputs = keys.iter().map(|key| Demo(key)).collect();
    let plan = Plan { inputs, jobs, offset: world.process_id() as usize };
    for result in build_all(&world, &cache, command.order(), plan, Arc::new(|_, _: &_| ())).await {
        result?;
    }
    Ok(())
}

fn machine() -> Scenario {
    scenario("").directory("/cache").directory("/tmp").workers(1).blocking_threads(1)
}

fn unlocked(processes: u64) -> Scenario {
    let mut scene = machine();
    for n in 1..=processes {
        scene = scene.process(&format!("install{n}"), none);
    }
    scene
}

fn locked(processes: u64, keys: &'static [&'static str], jobs: u32) -> Scenario {
    let mut scene = machine().oracle(Builds::new).oracle(|| Leak::of_temporary_files("rev-tmp"));
    for n in 1..=processes {
        scene = scene.process(&format!("install{n}"), move |world: SimWorld| sound(world, keys, jobs));
    }
    scene
}

pub(crate) fn policies() -> Vec<Policy> {
    let policy = |name, why| Policy::new("shard-lock", name, why);
    let size = |processes| [("processes", processes)];
    let killed = |processes| [("processes", processes), ("kills", 1)];
    vec![
        policy("none", "no lock: whoever finds no marker builds, in place")
            .upheld(size(1), unlocked(1).oracle(Builds::new))
            .violated(size(2), [ViolationKind::DuplicateBuild], unlocked(2).oracle(Builds::new)),
        policy("sound", "a lock per shard, over the whole build; temp, fsync, rename, marker last")
            .upheld(size(1), locked(1, &[KEY], 1))
            .upheld(size(2), locked(2, &[KEY], 1)),
    ]
}
