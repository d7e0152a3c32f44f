//! `python-uninstall`: several installed Python versions, each a deep and wide tree, are removed.
//!
//! All of them at once, each by a recursion that keeps every directory on its way down open, takes as many descriptors as there are
//! trees times their depth (uv 16999). By name, a directory is closed before anything in it is removed: what is open depends on how many
//! trees are worked on, and that is a matter of permits.

use flockstep::oracle::NoEmfile;
use flockstep::protocol::budget::{FILE, RESERVE};
use flockstep::protocol::uninstall::uninstall;
use flockstep::protocol::{Cache, Discipline, Result, Settings};
use flockstep::scenario::Policy;
use flockstep::world::World;
use flockstep::{Scenario, SimWorld, ViolationKind, scenario};

const PYTHONS: &str = "/data/python";
const NOFILE: u64 = 40;
const PROMISE: &str = "no more descriptors than trees";

async fn remove<W: World>(world: W, trees: u64, at_once: u32, discipline: Discipline) -> Result<()> {
    let cache = Cache::new(&world, Settings { discipline, lock_timeout: None, ..Settings::new("/cache", "/tmp") })?;
    let command = cache.command();
    let trees = (0..trees).map(|n| format!("{PYTHONS}/3.{n}")).collect();
    uninstall(&world, &cache, command.order(), trees, at_once).await.into_iter().collect()
}

/// So many trees; each is a chain of `depth` directories, and each of these has a file and `width` directories more.
fn machine(trees: u64, width: u64, depth: u64, nofile: u64, discipline: Discipline) -> Scenario {
    let mut scene = scenario("").directory("/cache").directory("/tmp").workers(4).blocking_threads(512);
    for tree in 0..trees {
        let mut path = format!("{PYTHONS}/3.{tree}");
        for level in 0..depth {
            scene = scene.file(&format!("{path}/file"), "");
            for n in 0..width {
                scene = scene.directory(&format!("{path}/empty{n}"));
            }
            path = format!("{path}/level{level}");
        }
    }
    scene
        .nofile(nofile as u32)
        .process("uninstall", move |world: SimWorld| remove(world, trees, trees as u32, discipline))
        .finally("nothing is left of any of them", move |fs| {
            !(0..trees).any(|n| fs.exists(&format!("{PYTHONS}/3.{n}")))
        })
}

/// The standard three, and a directory for each permit.
fn bound(trees: u64) -> u32 {
    3 + (trees as u32 * FILE).min(NOFILE as u32 - RESERVE)
}

pub(crate) fn policies() -> Vec<Policy> {
    let size = |trees, width, depth| [("trees", trees), ("width", width), ("depth", depth), ("nofile", NOFILE)];
    let scene = |trees, width, depth, discipline| {
        machine(trees, width, depth, NOFILE, discipline)
            .always(PROMISE, move |fs| fs.descriptor_peak(0) <= bound(trees))
    };
    let unbounded = Discipline::of(["python-uninstall/unbounded"]).expect("there is one");
    let why = "all trees at once, each by a recursion that keeps every directory open on its way down";
    let exhausting = |trees, width, depth| machine(trees, width, depth, NOFILE, unbounded).oracle(NoEmfile::default);
    let mut historic = Policy::new("python-uninstall", "unbounded", why)
        .upheld(size(1, 1, 30), exhausting(1, 1, 30))
        .upheld(size(4, 1, 6), exhausting(4, 1, 6));
    for (trees, width, depth) in [(1, 0, 1), (2, 1, 3)] {
        let peak = [ViolationKind::Promise(PROMISE.into())];
        historic = historic.violated(size(trees, width, depth), peak, scene(trees, width, depth, unbounded));
    }
    for (trees, width, depth) in [(1, 1, 50), (1, 3, 40)] {
        let exhausted = [ViolationKind::DescriptorsExhausted];
        historic = historic.violated(size(trees, width, depth), exhausted, exhausting(trees, width, depth));
    }

    let mut sound =
        Policy::new("python-uninstall", "sound", "by name: a directory is closed before what is in it goes");
    for (trees, width, depth) in [(1, 0, 1), (2, 0, 2), (2, 1, 3), (1, 1, 50), (3, 0, 20)] {
        let scene = scene(trees, width, depth, Discipline::default());
        sound = sound.upheld(size(trees, width, depth), scene);
    }
    vec![historic, sound]
}
