//! Processes that are alike: fewer states, and nothing lost.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use flockstep::oracle::LockOrder;
use flockstep::world::*;
use flockstep::{Method, Scenario, SimWorld, Strategy, Verdict, ViolationKind, scenario};

const NAMES: [&str; 3] = ["a", "b", "c"];

/// Two rounds: lock, two effects, unlock.
async fn contend(world: SimWorld) -> Result<()> {
    let lock = world.open("/lock", OpenOptions::lock_file()).await?;
    for _ in 0..2 {
        world.flock(&lock, LockMode::Exclusive).await?;
        world.yield_now().await;
        world.unlock(&lock).await?;
    }
    Ok(())
}

/// Leaves something behind that tells how it met the others.
async fn write_down(world: SimWorld) -> Result<()> {
    let file = world.open("/log", OpenOptions { append: true, ..OpenOptions::lock_file() }).await?;
    let before = read_file(&world, "/log").await?.len();
    let lock = world.open("/lock", OpenOptions::lock_file()).await?;
    let alone = world.try_flock(&lock, LockMode::Exclusive).await?;
    let chosen = world.choose(2).await;
    world.write(&file, format!("{before}{}{chosen} ", if alone { '!' } else { '?' }).as_bytes()).await?;
    Ok(())
}

fn alike<F, Fut>(count: usize, body: F) -> Scenario
where
    F: Fn(SimWorld) -> Fut + Copy + Send + Sync + 'static,
    Fut: Future<Output = Result<()>> + Send + 'static,
{
    scenario("alike").file("/log", "").alike(&NAMES[..count], body)
}

fn each_by_itself<F, Fut>(count: usize, body: F) -> Scenario
where
    F: Fn(SimWorld) -> Fut + Copy + Send + Sync + 'static,
    Fut: Future<Output = Result<()>> + Send + 'static,
{
    NAMES[..count].iter().fold(scenario("alike").file("/log", ""), |scene, name| scene.process(name, body))
}

fn states(scene: &Scenario) -> u64 {
    let found = scene.explore(Strategy::exhaustive());
    assert!(matches!(found.verdict, Verdict::Upheld { exhaustive: true, .. }), "{:?}", found.verdict);
    found.states.expect("it keeps count")
}

#[test]
fn those_who_are_alike_have_fewer_states() {
    let (few, many) = (states(&alike(3, contend)), states(&each_by_itself(3, contend)));
    assert!(few * 4 < many && few * 6 >= many, "{few} of {many} states, and there are six ways to tell who is who");
}

/// With somebody who remembers numbers there is nothing to gain, and nothing is lost.
#[test]
fn an_oracle_that_names_processes_switches_it_off() {
    let watched = |scene: Scenario| states(&scene.oracle(|| LockOrder::ranked([("/lock", "lock", 0)])));
    assert_eq!(watched(alike(2, contend)), watched(each_by_itself(2, contend)));
}

/// All that can be in the log at the end.
fn logs(scene: Scenario, method: Method) -> BTreeSet<String> {
    let logs = Arc::new(Mutex::new(BTreeSet::new()));
    let into = logs.clone();
    let scene = scene.finally("it is noted", move |fs| {
        into.lock().unwrap().insert(fs.read("/log").text().into_owned());
        true
    });
    let found = scene.explore(Strategy { method, ..Strategy::exhaustive() });
    assert!(matches!(found.verdict, Verdict::Upheld { exhaustive: true, .. }), "{:?}", found.verdict);
    std::mem::take(&mut *logs.lock().unwrap())
}

#[test]
fn everything_that_can_come_of_it_still_does() {
    let all = logs(each_by_itself(2, write_down), Method::Dfs { cache: false });
    assert!(all.len() > 10, "{all:?}");
    assert_eq!(logs(alike(2, write_down), Method::Dfs { cache: true }), all);
}

#[test]
fn who_is_like_others_does_not_ask_who_it_is() {
    let asks = |world: SimWorld| async move {
        world.process_id();
        Ok(())
    };
    alike(2, asks).explore(Strategy::exhaustive()).assert_violated(ViolationKind::Panic);
}
