//! `nested-builds`: a build that needs another build first, and a limit on how many there are at once.
//!
//! Against N open locks the first thing that comes to mind is to ask for the permit earlier, before the lock (proposed in uv 17512).
//! But a package may require one that has to be built as well: as soon as all permits are with builds that wait for a build of theirs,
//! none of them ever gets on. One input, one permit and one requirement are enough. In the sound protocol a build that another one
//! requires borrows that one's permit: it runs while its parent does not.

use std::sync::Arc;

use flockstep::oracle::Builds;
use flockstep::protocol::budget::{BUILD, RESERVE};
use flockstep::protocol::{Cache, Discipline, Error, Plan, Recipe, Result, Settings, Task, Work, build_all, obtain};
use flockstep::scenario::Policy;
use flockstep::world::World;
use flockstep::{Deadlock, Scenario, SimWorld, ViolationKind, scenario};

use super::package::{Backend, Package, backends};

/// More than there are permits, so that these are the limit.
const JOBS: u32 = 8;

fn settings(discipline: Discipline) -> Settings {
    Settings { discipline, lock_timeout: None, ..Settings::new("/cache", "/tmp") }
}

/// One process that wants `inputs` packages. Each requires a package that requires one, `depth` packages in all; below the first they
/// are the same ones.
pub(crate) async fn install<W: World>(world: W, inputs: u64, depth: u64, discipline: Discipline) -> Result<()> {
    let cache = Cache::new(&world, settings(discipline))?;
    let command = cache.command();
    let chain = |n: u64| {
        let below = (1..depth).rev().map(|level| format!("level{level}"));
        let names = below.chain([format!("app{n}")]).map(|name| Package::new(&name, Backend::Hatchling));
        names.reduce(|required, package| package.requires(required)).expect("depth is at least 1")
    };
    let plan = Plan { inputs: (0..inputs).map(chain).collect(), jobs: JOBS, offset: world.process_id() as usize };
    for result in build_all(&world, &cache, command.order(), plan, Arc::new(|_, _: &_| ())).await {
        result?;
    }
    Ok(())
}

/// A package that, a few steps further on, requires itself.
struct Link(&'static str);

impl<W: World> Recipe<W> for Link {
    type Needs = ();

    fn key(&self) -> &str {
        self.0
    }
    async fn prepare(&self, world: &W, task: &mut Task<W>) -> Result<()> {
        let next = match self.0 {
            "app" => "a",
            "a" => "b",
            "b" => "c",
            _ => "a",
        };
        obtain(world, task, &Link(next)).await.map(drop)
    }
    async fn produce(&self, _: &W, _: &(), _: &mut Work<'_, W>) -> Result<()> {
        Ok(())
    }
}

/// Wants such a package, and must be told which ones go round.
async fn install_cycle<W: World>(world: W) -> Result<()> {
    let cache = Cache::new(&world, settings(Discipline::default()))?;
    let mut task = cache.task(&world, cache.command().order(), BUILD).await?;
    match obtain(&world, &mut task, &Link("app")).await {
        Err(Error::Cycle { keys }) if keys == ["a", "b", "c", "a"] => Ok(()),
        Err(other) => Err(other),
        Ok(_) => Err(Error::recipe("what requires itself was built")),
    }
}

fn machine(permits: u64) -> Scenario {
    let machine = scenario("").directory("/cache").directory("/tmp").workers(1).blocking_threads(1);
    backends(machine).nofile(RESERVE + permits as u32 * BUILD)
}

fn nested(permits: u64, processes: u64, inputs: u64, depth: u64, discipline: Discipline) -> Scenario {
    let mut scene = machine(permits).oracle(Builds::once);
    for n in 1..=processes {
        let main = move |world: SimWorld| install(world, inputs, depth, discipline);
        scene = scene.process(&format!("install{n}"), main);
    }
    scene
}

pub(crate) fn policies() -> Vec<Policy> {
    let size = |permits, inputs, depth| [("permits", permits), ("inputs", inputs), ("depth", depth)];
    let earlier = Discipline::of(["nested-builds/limit-earlier"]).expect("there is one");
    let why = "every build has a permit, also one that is waiting for a build: all permits end up with those";
    let mut limit_earlier = Policy::new("nested-builds", "limit-earlier", why);
    for (permits, inputs, depth) in [(1, 1, 2), (2, 2, 2), (2, 1, 3), (3, 3, 2), (3, 2, 3)] {
        let deadlock = [ViolationKind::Deadlock(Deadlock::Permits)];
        let scene = nested(permits, 1, inputs, depth, earlier);
        limit_earlier = limit_earlier.violated(size(permits, inputs, depth), deadlock, scene);
    }
    // It needs one more permit than there are builds that can be waiting for one.
    for (permits, inputs, depth) in [(1, 2, 1), (2, 1, 2), (3, 1, 3), (3, 2, 2)] {
        limit_earlier = limit_earlier.upheld(size(permits, inputs, depth), nested(permits, 1, inputs, depth, earlier));
    }

    let sound = |permits, processes, inputs| nested(permits, processes, inputs, 3, Discipline::default());
    let both =
        |permits, processes, inputs| [("permits", permits), ("processes", processes), ("inputs", inputs), ("depth", 3)];
    let mut borrows = Policy::new("nested-builds", "sound", "a build that another one requires borrows its permit");
    for (permits, inputs) in [(1, 1), (1, 2), (2, 2), (3, 3)] {
        borrows = borrows.upheld(size(permits, inputs, 3), sound(permits, 1, inputs));
    }
    for permits in [1, 2] {
        borrows = borrows.upheld(both(permits, 2, 2), sound(permits, 2, 2));
    }
    let cycle = machine(1).process("install1", |world: SimWorld| install_cycle(world));
    borrows = borrows.upheld([("permits", 1), ("cycle", 3)], cycle);
    vec![limit_earlier, borrows]
}
