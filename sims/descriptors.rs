//! `descriptors`: many packages, one process, a limit on open files.
//!
//! uv locks every package's cache shard first and limits how many are built later, so N editables hold N locks, and 145 of them break
//! `ulimit -n 256` (uv 17512, 11296). Before 0.10.12 the number of children was not limited either: three descriptors each. The other
//! way round, the permit before the lock, the peak does not depend on N, and can be promised in advance.
//!
//! The same protocol throughout, with another [`Discipline`] each. Half of the packages have a setuptools-like backend, whose hooks
//! lock the source tree as well.

use std::sync::Arc;

use flockstep::oracle::{Builds, DescriptorBound, NoEmfile};
use flockstep::protocol::budget::{BUILD, LOCK, RESERVE, SPAWN};
use flockstep::protocol::{Cache, Discipline, Plan, Rank, Result, Settings, build_all};
use flockstep::scenario::Policy;
use flockstep::world::{LockMode, World};
use flockstep::{Scenario, SimWorld, Time, ViolationKind, scenario};

use super::package::{Backend, Package, backends};

/// The limit with which the sound protocol has to do, whatever the number of packages.
const NOFILE: u64 = 64;
/// As on most systems for a program that does not raise it; and as raised as far as a usual hard limit goes.
const NOFILE_DEFAULT: u64 = 256;
const NOFILE_RAISED: u64 = 20_000;

/// Half of the packages each.
const MIXED: [Backend; 2] = [Backend::Setuptools, Backend::Hatchling];
/// How many packages there are in pictures.
const PROFILE: [u64; 7] = [2, 5, 20, 80, 145, 400, 919];

/// How many builds at once; uv's default is the number of processors.
const JOBS: u64 = 2;

/// One process that wants all of `inputs` packages, as `sync` of a workspace does. Their backends take turns.
pub(crate) async fn sync<W: World>(
    world: W,
    inputs: u64,
    jobs: u64,
    discipline: Discipline,
    backends: [Backend; 2],
) -> Result<()> {
    let settings = Settings { discipline, lock_timeout: None, ..Settings::new("/cache", "/tmp") };
    let cache = Cache::new(&world, settings)?;
    let mut command = cache.command();
    let root = command.lock(&world, Rank::CacheRoot, &cache.lock_path(), LockMode::Shared).await?;
    let package = |n: u64| Package::new(&format!("p{n:03}"), backends[(n % 2) as usize]);
    let plan = Plan { inputs: (0..inputs).map(package).collect(), jobs: jobs as u32, offset: 0 };
    for result in build_all(&world, &cache, command.order(), plan, Arc::new(|_, _: &_| ())).await {
        result?;
    }
    root.release().await;
    Ok(())
}

/// What the sound protocol promises: the standard three, the cache root, one start of a child, and so many builds.
pub(crate) fn bound(nofile: u64, jobs: u64) -> u32 {
    let fit = (nofile as u32).saturating_sub(RESERVE) / BUILD;
    3 + LOCK + SPAWN + fit.min(jobs as u32) * BUILD
}

/// Without promises.
pub(crate) fn workspace(inputs: u64, nofile: u64, jobs: u64, discipline: Discipline, of: [Backend; 2]) -> Scenario {
    let machine = scenario("").directory("/cache").directory("/tmp").workers(1).blocking_threads(1);
    backends(machine)
        .steps_max(1_000 + inputs * 1_000)
        .nofile(nofile as u32)
        .process("sync", move |world: SimWorld| sync(world, inputs, jobs, discipline, of))
}

/// A workspace that is measured: nothing stands in its way, and a build takes longer than what is done before it, so that all builds
/// there may be go on at the same time.
pub(crate) fn measured(inputs: u64, discipline: Discipline, of: [Backend; 2]) -> Scenario {
    workspace(inputs, NOFILE_RAISED, JOBS, discipline, of).time(Time::Urgent).leaks_allowed()
}

pub(crate) fn policies() -> Vec<Policy> {
    let size = |inputs, nofile, jobs| [("inputs", inputs), ("nofile", nofile), ("jobs", jobs)];
    let bounded = |scene: Scenario, nofile, jobs| {
        scene.oracle(move || DescriptorBound::at_most(bound(nofile, jobs)).in_process("sync"))
    };
    let profile = |discipline| PROFILE.map(|inputs| (inputs, measured(inputs, discipline, MIXED)));
    let historic = |name: &'static str, why| {
        let discipline = Discipline::of([format!("descriptors/{name}").as_str()]).expect("there is one");
        let mut policy = Policy::new("descriptors", name, why).profile("inputs", profile(discipline));
        let scene = move |inputs, nofile| workspace(inputs, nofile, JOBS, discipline, MIXED).time(Time::Urgent);
        for inputs in [20, 80, 145, 919] {
            policy = policy.violated(
                size(inputs, NOFILE_RAISED, JOBS),
                [ViolationKind::DescriptorPeak],
                bounded(scene(inputs, NOFILE_RAISED), NOFILE_RAISED, JOBS),
            );
        }
        policy.violated(
            size(919, NOFILE_DEFAULT, JOBS),
            [ViolationKind::DescriptorsExhausted],
            scene(919, NOFILE_DEFAULT).oracle(NoEmfile::default),
        )
    };
    let sound = |inputs, jobs| {
        bounded(workspace(inputs, NOFILE, jobs, Discipline::default(), MIXED), NOFILE, jobs)
            .oracle(NoEmfile::default)
            .oracle(Builds::once)
    };
    let mut flat = Policy::new("descriptors", "sound", "the permit, weighed in descriptors, comes before the lock")
        .profile("inputs", profile(Discipline::default()));
    for (inputs, jobs) in [(1, 1), (2, 1), (2, 2), (3, 2), (20, 8), (80, 8), (145, 8), (919, 8)] {
        flat = flat.upheld(size(inputs, NOFILE, jobs), sound(inputs, jobs));
    }
    vec![
        historic("lock-before-permit", "the lock of each shard first, then the permit to build: N locks are open"),
        historic("per-build-limit", "a limit for each build, so none for all: N locks and 3 N descriptors of children"),
        flat,
    ]
}
