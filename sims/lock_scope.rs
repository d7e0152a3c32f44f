//! `lock-scope`: what the lock of a shard covers.
//!
//! uv locks the shard of an editable over its whole build. Two CI runners with checkouts of their own, and a result that neither can reuse
//! (a forced rebuild, native code), wait for each other for nothing: a hook of 3 s takes 7 s (uv 15380; measured on uv 0.9.26). Locking the
//! publish alone is faster, and takes away what kept two hooks of setuptools out of one source tree; and it builds twice what
//! could have been reused.
//!
//! Hooks take three seconds here, and time passes only when nothing else can happen, so the makespan tells what each policy costs.

use flockstep::oracle::{AvoidableWait, Builds, RegionExclusion};
use flockstep::protocol::Settings;
use flockstep::protocol::discipline::Discipline;
use flockstep::scenario::Policy;
use flockstep::{Scenario, SimWorld, Time, ViolationKind, scenario};
use std::time::Duration;

use super::backend::{Backend, MODULE, WRITES, Wheel, build, with_backends};

const HOOK: Duration = Duration::from_secs(3);

/// Two processes that want the same wheel, on one cache.
fn two(discipline: Discipline, backend: Backend, reusable: bool) -> Scenario {
    let wheel = Wheel { tree: "/src/app", backend, asks: false, takes: HOOK, reusable };
    let scene = scenario("").file("/src/app/module", MODULE).directory("/cache/tmp").directory("/tmp");
    let scene = with_backends(scene.workers(1).blocking_threads(1).time(Time::Urgent));
    [1, 2].into_iter().fold(scene, |scene, n| {
        scene.process(&format!("runner{n}"), move |world: SimWorld| {
            let settings = Settings { discipline, lock_timeout: None, ..Settings::new("/cache", "/tmp") };
            build(world, settings, wheel)
        })
    })
}

fn no_avoidable_wait(scene: Scenario) -> Scenario {
    scene.oracle(|| AvoidableWait::of("/cache/*/*/.lock"))
}

/// No execution takes longer.
fn within(scene: Scenario, limit: Duration) -> Scenario {
    scene.always(&format!("done in {} s", limit.as_secs()), move |fs| fs.now() <= limit)
}

pub(crate) fn policies() -> Vec<Policy> {
    use Backend::{Hatchling, Setuptools};
    let policy = |name, why| Policy::new("lock-scope", name, why);
    let size = |what| [("processes", 2), (what, 1)];
    let alone = |scene: Scenario| scene.oracle(|| RegionExclusion::of(WRITES));
    let once = |scene: Scenario| scene.oracle(|| Builds::once().all_served());
    let historic = |name| Discipline::of([name]).expect("it is one of the historic ones");
    let whole_build = historic("lock-scope/whole-build");
    let publish_only = historic("lock-scope/publish-only");
    let sound = Discipline::default();
    vec![
        policy(
            "whole-build",
            "a shard locked over a build that nobody else can use: two take as long as one after the other",
        )
        .upheld(size("rebuild"), two(whole_build, Hatchling, false))
        .violated(
            [("processes", 2), ("rebuild", 1), ("watched", 1)],
            [ViolationKind::AvoidableWait],
            no_avoidable_wait(two(whole_build, Hatchling, false)),
        )
        .upheld(size("reusable"), once(no_avoidable_wait(two(whole_build, Hatchling, true)))),
        policy(
            "publish-only",
            "the publish alone is locked: two hooks of setuptools are in one tree, and both build what one could",
        )
        .upheld(size("rebuild"), within(no_avoidable_wait(two(publish_only, Hatchling, false)), HOOK))
        .violated(size("setuptools"), [ViolationKind::Exclusion], alone(two(publish_only, Setuptools, false)))
        .violated(size("reusable"), [ViolationKind::DuplicateBuild], once(two(publish_only, Hatchling, true))),
        policy(
            "sound",
            "the whole build if its result can be reused, else the publish; the tree by the hooks that write into it",
        )
        .upheld(size("rebuild"), within(no_avoidable_wait(two(sound, Hatchling, false)), HOOK))
        .upheld(size("setuptools"), within(alone(two(sound, Setuptools, false)), 2 * HOOK))
        .upheld(size("reusable"), within(once(no_avoidable_wait(two(sound, Hatchling, true))), HOOK)),
    ]
}
