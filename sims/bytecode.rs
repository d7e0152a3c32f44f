//! `bytecode`: a tree of Python files, compiled by interpreters that cost three descriptors each.
//!
//! One interpreter for each processor is the obvious number, and on a machine with many processors it is more than the limit on open
//! files allows (uv 11296). As a bounded workload it gets a permit for each interpreter from the descriptor budget, and their number
//! is the smaller of the two.

use flockstep::oracle::{DescriptorBound, NoEmfile};
use flockstep::protocol::budget::{CHILD, FILE, RESERVE, SPAWN};
use flockstep::protocol::bytecode::{Compile, compile};
use flockstep::protocol::{Cache, Discipline, Error, Result, Settings};
use flockstep::scenario::Policy;
use flockstep::world::{Clock as _, Files as _, OpenOptions, Process as _, World, read_file};
use flockstep::{Scenario, SimWorld, Time, ViolationKind, scenario};
use std::time::Duration;

const TREE: &str = "/venv/lib";
/// The usual limit, and one that is not in the way.
const NOFILE_DEFAULT: u64 = 256;
const NOFILE_RAISED: u64 = 20_000;
/// How many processors there are in pictures.
const PROFILE: [u64; 6] = [1, 4, 16, 48, 72, 128];
/// How long an interpreter compiles.
const COMPILE: Duration = Duration::from_secs(1);

async fn install<W: World>(world: W, files: u64, processors: u32, discipline: Discipline) -> Result<()> {
    let cache = Cache::new(&world, Settings { discipline, lock_timeout: None, ..Settings::new("/cache", "/tmp") })?;
    let command = cache.command();
    let what = Compile { tree: TREE.to_owned(), python: "python".to_owned(), workers: processors, chunk: 1 };
    let compiled = compile(&world, &cache, command.order(), what).await;
    if let Some(error) = compiled.stopped {
        return Err(error);
    }
    let all = compiled.files == files && compiled.failures.is_empty();
    if all { Ok(()) } else { Err(Error::recipe(format!("{} of {files} files are compiled", compiled.files))) }
}

/// The interpreter: after `-I -c PROGRAM` comes the file.
async fn python(world: SimWorld) -> flockstep::world::Result<()> {
    let path = world.args()[4].clone();
    read_file(&world, &path).await?;
    world.sleep(COMPILE).await;
    let bytecode = world.open(&format!("{path}c"), OpenOptions::create_new()).await?;
    world.close(bytecode).await
}

/// A tree of two levels with so many files.
fn machine(files: u64, nofile: u64, processors: u64, discipline: Discipline) -> Scenario {
    let mut scene = scenario("").directory("/cache").directory("/tmp").workers(1).blocking_threads(1);
    for n in 0..files {
        scene = scene.file(&format!("{TREE}/{}/m{n}.py", if n % 2 == 0 { "even" } else { "odd" }), "ONE = 1\n");
    }
    scene
        .nofile(nofile as u32)
        .program("python", python)
        .process("install", move |world: SimWorld| install(world, files, processors as u32, discipline))
}

/// The standard three, one start of a child, one directory, and so many interpreters.
fn bound(nofile: u64, processors: u64) -> u32 {
    let fit = (nofile as u32).saturating_sub(RESERVE) / CHILD;
    3 + SPAWN + FILE + fit.min(processors as u32) * CHILD
}

pub(crate) fn policies() -> Vec<Policy> {
    let size = |files, nofile, processors| [("files", files), ("nofile", nofile), ("processors", processors)];
    let enough = |scene: Scenario, nofile, processors| {
        scene
            .oracle(move || DescriptorBound::at_most(bound(nofile, processors)).in_process("install"))
            .oracle(NoEmfile::default)
    };
    // Compiling takes longer than starting to, so all interpreters there may be are at work at the same time.
    let slow = |scene: Scenario| scene.time(Time::Urgent);
    let unbounded = Discipline::of(["bytecode/unbounded"]).expect("there is one");
    let why = "an interpreter for each processor, whatever the limit on open files is";
    let profile = |nofile, discipline| {
        let scene = move |processors| slow(machine(2 * processors, nofile, processors, discipline)).leaks_allowed();
        PROFILE.map(|processors| (processors, scene(processors)))
    };
    let mut historic =
        Policy::new("bytecode", "unbounded", why).profile("processors", profile(NOFILE_RAISED, unbounded));
    for (files, nofile, processors) in [(4, 64, 2), (40, 256, 32)] {
        let scene = slow(machine(files, nofile, processors, unbounded));
        historic = historic.upheld(size(files, nofile, processors), enough(scene, nofile, processors));
    }
    for (files, nofile, processors) in [(16, 40, 16), (32, 64, 32), (128, 256, 128)] {
        let scene = slow(machine(files, nofile, processors, unbounded)).oracle(NoEmfile::default);
        let exhausted = [ViolationKind::DescriptorsExhausted];
        historic = historic.violated(size(files, nofile, processors), exhausted, scene);
    }

    let mut sound = Policy::new("bytecode", "sound", "an interpreter for each permit: three descriptors of the budget")
        .profile("processors", profile(NOFILE_DEFAULT, Discipline::default()));
    for (files, nofile, processors) in [(1, 40, 1), (2, 40, 2), (3, 40, 2)] {
        let scene = machine(files, nofile, processors, Discipline::default());
        sound = sound.upheld(size(files, nofile, processors), enough(scene, nofile, processors));
    }
    for (files, nofile, processors) in [(16, 40, 16), (32, 64, 32), (128, 256, 128)] {
        let scene = slow(machine(files, nofile, processors, Discipline::default()));
        sound = sound.upheld(size(files, nofile, processors), enough(scene, nofile, processors));
    }
    vec![historic, sound]
}
