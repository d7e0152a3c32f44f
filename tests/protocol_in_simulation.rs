//! The protocol, in the simulated world: every schedule of what is small, samples of what is not.

use flockstep::protocol::budget::BUILD;
use flockstep::protocol::{Cache, Order, Plan, Recipe, Result, Settings, Task, Work, build_all, obtain};
use flockstep::world::{OpenOptions, Process, Tasks, World, write_all};
use flockstep::{Scenario, SimWorld, Strategy, scenario};
use std::sync::Arc;

/// A result of one file in two pieces, and what it requires.
#[derive(Clone)]
struct Build {
    key: &'static str,
    requires: Vec<Build>,
}

const ONE: Build = Build { key: "one", requires: Vec::new() };

impl<W: World> Recipe<W> for Build {
    type Needs = ();
    fn key(&self) -> &str {
        self.key
    }
    async fn prepare(&self, world: &W, task: &mut Task<W>) -> Result<()> {
        for required in &self.requires {
            obtain(world, task, required).await?;
        }
        Ok(())
    }
    async fn produce(&self, world: &W, _: &(), work: &mut Work<'_, W>) -> Result<()> {
        let file = world.open(&format!("{}/result", work.dir()), OpenOptions::create_new()).await?;
        write_all(world, &file, b"wh").await?;
        write_all(world, &file, b"ole").await?;
        Ok(world.close(file).await?)
    }
}

/// A cache with room for `builds` at once.
fn cache(world: &SimWorld, builds: u32) -> Result<Cache<SimWorld>> {
    let reserve = world.descriptor_limit().saturating_sub(builds * BUILD);
    Cache::new(world, Settings { reserve, lock_timeout: None, ..Settings::new("/cache", "/tmp") })
}

async fn build_one(world: SimWorld) -> Result<()> {
    let cache = cache(&world, 1)?;
    let mut task = cache.task(&world, &Order::new(), BUILD).await?;
    obtain(&world, &mut task, &ONE).await.map(drop)
}

async fn build_many(world: SimWorld, offset: usize) -> Result<()> {
    let middle = Build { key: "two", requires: vec![ONE] };
    let inputs = vec![ONE, middle.clone(), Build { key: "three", requires: vec![ONE, middle] }];
    let plan = Plan { inputs, jobs: 2, offset };
    let cache = cache(&world, 2)?;
    for result in build_all(&world, &cache, &Order::new(), plan, Arc::new(|_, _| ())).await {
        result?;
    }
    Ok(())
}

/// Never a marker without what it names, and that whole.
fn promising(scenario: Scenario) -> Scenario {
    let scenario = scenario.directory("/cache/tmp").directory("/tmp");
    ["one", "two", "three"].into_iter().fold(scenario, |scenario, key| {
        scenario.always(&format!("what the marker of {key} names is whole"), move |fs| {
            let shard = format!("/cache/{key}");
            let marker = format!("{shard}/marker");
            !fs.exists(&marker) || {
                let marker = fs.read(&marker).text().into_owned();
                fs.read(&format!("{shard}/{}/result", marker.trim_end())).text() == "whole"
            }
        })
    })
}

fn built_once(scenario: Scenario, keys: &'static [&'static str]) -> Scenario {
    scenario.finally("each key was built once", |fs| {
        keys.iter().all(|key| {
            fs.read(&format!("/cache/{key}/marker")).text() == "rev-1\n" && !fs.exists(&format!("/cache/{key}/rev-2"))
        })
    })
}

#[test]
fn two_processes_build_one_key_once_under_every_schedule() {
    let two =
        promising(scenario("one key").workers(1).blocking_threads(1)).process("a", build_one).process("b", build_one);
    built_once(two, &["one"]).explore(Strategy::exhaustive()).assert_exhausted();
}

#[test]
fn a_process_killed_at_any_step_leaves_the_old_entry_or_the_new_one() {
    promising(scenario("one key, a kill").workers(1).blocking_threads(1))
        .process("a", build_one)
        .kill("a")
        .process("b", build_one)
        .finally("the other one has its result", |fs| fs.exists("/cache/one/marker"))
        .leaks_allowed()
        .explore(Strategy::random(3_000))
        .assert_upheld();
}

#[test]
fn processes_with_nested_builds_share_the_work() {
    let two = promising(scenario("many keys").workers(2).blocking_threads(1))
        .process("a", |world| build_many(world, 0))
        .process("b", |world| build_many(world, 1));
    built_once(two, &["one", "two", "three"]).explore(Strategy::random(2_000)).assert_upheld();
}

#[test]
fn a_cancelled_task_leaves_nothing_that_others_wait_for() {
    promising(scenario("one key, a cancellation").workers(1).blocking_threads(1))
        .process("a", build_one)
        .process("b", |world: SimWorld| async move {
            let cancelled = world.spawn("cancelled", build_one(world.clone()));
            drop(cancelled.await);
            build_one(world).await
        })
        .cancel("cancelled")
        .finally("there is a result", |fs| fs.exists("/cache/one/marker"))
        .leaks_allowed()
        .explore(Strategy::random(3_000))
        .assert_upheld();
}
