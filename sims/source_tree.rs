//! `source-tree`: one source tree, two builds, two caches.
//!
//! setuptools writes `build/` and `*.egg-info` into the sources, wherever the wheel is to go. Ten `uv build` of one tree into ten
//! directories: 11 of 40 failed, and 10 of 40 said that all was well and had built a wheel without its module (uv PR 14174; measured on
//! uv 0.7.10). Locking the output directory parts them further, and the lock must be held by every hook: the ones that are only asked
//! for requirements or metadata run `egg_info` as well. A backend that only reads, as hatchling does, has nothing to wait for.

use flockstep::oracle::RegionExclusion;
use flockstep::protocol::Settings;
use flockstep::protocol::discipline::{Discipline, TreeLock};
use flockstep::protocol::entry::Revision;
use flockstep::scenario::Policy;
use flockstep::{KernelView, Scenario, SimWorld, ViolationKind, scenario};
use std::time::Duration;

use super::backend::{Backend, MODULE, WRITES, Wheel, build, with_backends};

const TREE: &str = "/src/app";
const WHOLE: &str = "every wheel has its module";

/// Two processes, each with a cache and an output of its own, build the tree.
fn two(tree: TreeLock, backend: Backend, asks: bool) -> Scenario {
    let discipline = Discipline { tree, ..Discipline::default() };
    let wheel = Wheel { tree: TREE, backend, asks, takes: Duration::ZERO, reusable: true };
    let scene = scenario("").file("/src/app/module", MODULE).directory("/tmp").workers(1).blocking_threads(1);
    [1, 2].into_iter().fold(with_backends(scene), |scene, n| {
        let cache = format!("/cache{n}");
        scene.directory(&format!("{cache}/tmp")).process(&format!("build{n}"), move |world: SimWorld| {
            let settings = Settings { discipline, ..Settings::new(&*cache, "/tmp") };
            build(world, settings, wheel)
        })
    })
}

/// One at a time writes into the tree.
fn alone(scene: Scenario) -> Scenario {
    scene.oracle(|| RegionExclusion::of(WRITES))
}

fn wheel_is_whole(fs: &KernelView<'_>, cache: &str) -> bool {
    let shard = format!("{cache}/wheels/app");
    let marker = Revision::parse(fs.read(&format!("{shard}/marker")).bytes());
    marker.is_some_and(|revision| fs.read(&format!("{shard}/{}/wheel", revision.dir_name())) == MODULE)
}

fn whole(scene: Scenario) -> Scenario {
    scene.finally(WHOLE, |fs| ["/cache1", "/cache2"].into_iter().all(|cache| wheel_is_whole(fs, cache)))
}

/// Some schedule has two hooks at once.
fn side_by_side(scene: Scenario) -> Scenario {
    scene.sometimes("two hooks run at once", |fs| {
        let hooks = (0..fs.processes()).filter(|&pid| fs.alive(pid) && fs.process_name(pid).starts_with("hatchling"));
        hooks.count() == 2
    })
}

pub(crate) fn policies() -> Vec<Policy> {
    let policy = |name, why| Policy::new("source-tree", name, why);
    let both_write = || [ViolationKind::Exclusion];
    let hooks = |asks: bool| [("processes", 2), ("hooks", if asks { 3 } else { 1 })];
    let setuptools = |tree, asks| two(tree, Backend::Setuptools, asks);
    let hatchling = |tree, asks| two(tree, Backend::Hatchling, asks);
    let with = |asks, what| hooks(asks).into_iter().chain([(what, 1)]);
    vec![
        policy("none", "no lock: two hooks of setuptools write into one tree")
            .violated(hooks(false), both_write(), alone(setuptools(TreeLock::Nothing, false)))
            .violated(
                with(false, "wheels"),
                [ViolationKind::Promise(WHOLE.into())],
                whole(setuptools(TreeLock::Nothing, false)),
            ),
        policy("output-dir-lock", "the output directory is locked, and each has its own").violated(
            hooks(false),
            both_write(),
            alone(setuptools(TreeLock::OutputDir, false)),
        ),
        policy("build-hook-only", "the tree is locked, but not by the hooks that are only asked: they write as well")
            .violated(hooks(true), both_write(), alone(setuptools(TreeLock::BuildHook, true))),
        policy("sound", "the tree is locked by every hook of a backend that writes into it, and by no other")
            .upheld(hooks(false), whole(alone(setuptools(TreeLock::EveryHook, false))))
            .upheld(hooks(true), whole(alone(setuptools(TreeLock::EveryHook, true))))
            .upheld(with(false, "hatchling"), whole(side_by_side(hatchling(TreeLock::EveryHook, false)))),
    ]
}
