//! Processes and tasks that are alike: fewer states, and nothing lost.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use flockstep::oracle::{AvoidableWait, LOST_UPDATE, LockBound, LockOrder, LostUpdate, Oracle, state_of};
use flockstep::world::*;
use flockstep::{KernelView, Method, Scenario, SimWorld, Strategy, Verdict, Violation, ViolationKind, scenario};

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

/// With somebody who remembers who did what there is as much to gain, if that is told without saying who is who.
#[test]
fn an_oracle_that_can_rename_processes_leaves_it_on() {
    let watched = |scene: Scenario| states(&scene.oracle(|| LockOrder::ranked([("/lock", "lock", 0)])));
    let (few, many) = (watched(alike(3, contend)), watched(each_by_itself(3, contend)));
    assert!(few * 4 < many, "{few} of {many} states");
}

/// Remembers who has locked last.
struct Last(Option<u32>);

impl Oracle for Last {
    fn name(&self) -> &str {
        "who has locked last"
    }
    fn kinds(&self) -> Kinds {
        Kinds::LOCKS
    }
    fn begin(&mut self) {
        self.0 = None;
    }
    fn on(&mut self, event: &Event, _: &KernelView<'_>) -> std::result::Result<(), Violation> {
        if let What::Lock { .. } = event.what {
            self.0 = Some(event.process);
        }
        Ok(())
    }
    fn state(&self) -> Option<u64> {
        state_of(self.0)
    }
    fn judged(&self) -> u64 {
        1
    }
}

/// The near-twin: with one that cannot there is nothing to gain, and nothing is lost.
#[test]
fn an_oracle_that_names_processes_switches_it_off() {
    let watched = |scene: Scenario| states(&scene.oracle(|| Last(None)));
    assert_eq!(watched(alike(2, contend)), watched(each_by_itself(2, contend)));
}

// ---- what oracles remember --------------------------------------------------------------------------------------------------------

/// Adds to a list under a lock, by way of another file. Which inode that is, and who was last, nobody can tell from the list.
async fn add(world: SimWorld) -> Result<()> {
    let lock = world.open("/lock", OpenOptions::lock_file()).await?;
    world.flock(&lock, LockMode::Exclusive).await?;
    let mut list = read_file(&world, "/list").await?;
    list.push(b'+');
    let new = world.open("/new", OpenOptions::replace()).await?;
    world.write(&new, &list).await?;
    world.close(new).await?;
    world.rename("/new", "/list").await?;
    world.unlock(&lock).await
}

#[test]
fn who_has_read_which_version_is_told_without_saying_who() {
    let watched = |scene: Scenario| states(&scene.file("/list", "").oracle(|| LostUpdate::of("/list")));
    let (few, many) = (watched(alike(3, add)), watched(each_by_itself(3, add)));
    assert!(few * 4 < many, "{few} of {many} states");
}

/// The near-twin: what is written is what was there, so that the machine is the same afterwards whether the other one has read it before or
/// after. It is no longer the same to the other one, who would lose it.
#[test]
fn whether_it_was_read_before_or_after_is_remembered() {
    let body = |world: SimWorld| async move {
        if world.choose(2).await == 0 {
            return read_file(&world, "/list").await.map(drop);
        }
        let lock = world.open("/lock", OpenOptions::lock_file()).await?;
        world.flock(&lock, LockMode::Exclusive).await?;
        let list = read_file(&world, "/list").await?;
        let file = world.open("/list", OpenOptions::write()).await?;
        world.write(&file, &list).await?;
        world.unlock(&lock).await
    };
    let scene = || alike(2, body).file("/list", "same");
    assert!(states(&scene().oracle(|| LostUpdate::of("/list"))) > states(&scene()));
}

/// Another one, in which nobody is like anybody: which file a name was last seen to point to.
#[test]
fn which_file_a_name_led_to_is_remembered() {
    let looks = |world: SimWorld| async move {
        let lock = world.open("/lock", OpenOptions::lock_file()).await?;
        world.flock(&lock, LockMode::Exclusive).await?;
        if let Ok(list) = world.open("/list", OpenOptions::read()).await {
            world.close(list).await?;
        }
        world.close(lock).await
    };
    let replaces = |world: SimWorld| async move {
        let list = world.open("/list", OpenOptions::write()).await?;
        world.unlink("/list").await?;
        world.link("/other", "/list").await?;
        let lock = world.open("/lock", OpenOptions::lock_file()).await?;
        world.flock(&lock, LockMode::Exclusive).await?;
        world.write(&list, b"lost").await.map(drop)
    };
    let scene = scenario("replaced").file("/list", "").file("/other", "").oracle(|| LostUpdate::of("/list"));
    let scene = scene.process("looks", looks).process("replaces", replaces);
    scene.explore(Strategy::dfs(10_000)).assert_violated(LOST_UPDATE);
}

/// Gets what is built under a lock. Or builds it again, but says at once that it needs what was built before.
async fn get(world: SimWorld, again: bool) -> Result<()> {
    let lock = world.open("/k.lock", OpenOptions::lock_file()).await?;
    world.flock(&lock, LockMode::Exclusive).await?;
    if again {
        world.note("reused", "k");
    }
    if again || world.stat("/k").await.is_err() {
        let build = world.region("build", "k");
        world.yield_now().await;
        drop(build);
        world.note("published", "k");
    }
    if !again {
        match world.mkdir("/k").await {
            Ok(()) => {}
            Err(_) => world.note("reused", "k"),
        }
    }
    world.close(lock).await
}

#[test]
fn who_waits_for_whom_is_told_without_saying_who() {
    let watched = |scene: Scenario| states(&scene.oracle(|| AvoidableWait::of("/k.lock")));
    let body = |world| get(world, false);
    let (few, many) = (watched(alike(3, body)), watched(each_by_itself(3, body)));
    assert!(few * 4 < many, "{few} of {many} states");
}

/// The near-twin: whoever waits stands in line in the same way whether he has come during the build or after it.
#[test]
fn whether_somebody_waited_for_a_build_is_remembered() {
    let scene = || alike(2, |world| get(world, true)).oracle(|| LockBound::at_most(1));
    assert!(states(&scene().oracle(|| AvoidableWait::of("/k.lock"))) > states(&scene()));
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
        world.args();
        Ok(())
    };
    alike(2, asks).explore(Strategy::exhaustive()).assert_violated(ViolationKind::Panic);
}

/// The near-twin: the process id is that of a container.
#[test]
fn those_who_are_alike_have_one_process_id() {
    let leaves_it = |world: SimWorld| async move { world.mkdir(&format!("/{}", world.process_id())).await };
    // The second one finds its name taken, as two containers that share a directory would.
    alike(2, leaves_it).explore(Strategy::exhaustive()).assert_violated(ViolationKind::Failed);
    each_by_itself(2, leaves_it).explore(Strategy::exhaustive()).assert_exhausted();
}

// ---- tasks ----------------------------------------------------------------------------------------------------------------------

/// Three tasks that contend, of which the `odd` one does it with another file.
fn tasks(odd: Option<usize>) -> Scenario {
    scenario("tasks").workers(1).process("p", move |world: SimWorld| async move {
        let spawn = |n: usize| {
            let (own, path) = (world.clone(), if odd == Some(n) { "/other" } else { "/lock" });
            let task = async move {
                let lock = own.open(path, OpenOptions::lock_file()).await?;
                let round = own.semaphore("round", 1);
                for _ in 0..2 {
                    let turn = own.acquire(&round, 1).await;
                    own.try_flock(&lock, LockMode::Exclusive).await?;
                    own.unlock(&lock).await?;
                    drop(turn);
                }
                own.close(lock).await
            };
            world.spawn(&format!("same {n}"), task)
        };
        let mut all: Vec<_> = (0..3).map(spawn).collect();
        world.join_all(&mut all).await.into_iter().try_for_each(|ended| ended.expect("not aborted"))
    })
}

#[test]
fn tasks_that_are_alike_have_fewer_states() {
    let (few, many) = (states(&tasks(None).alike_tasks("same ")), states(&tasks(None)));
    assert!(few * 4 < many && few * 6 >= many, "{few} of {many} states, and there are six ways to tell who is who");
}

#[test]
fn tasks_that_are_declared_to_be_alike_and_begin_otherwise_are_found_out() {
    let found = tasks(Some(2)).alike_tasks("same ").explore(Strategy::exhaustive());
    found.assert_violated(ViolationKind::Panic);
}

/// The near-twin: nobody says so.
#[test]
fn tasks_that_begin_otherwise_are_as_good_as_any() {
    assert!(states(&tasks(Some(2))) > states(&tasks(None).alike_tasks("same ")));
    assert_eq!(states(&tasks(Some(2)).alike_tasks("others ")), states(&tasks(Some(2))));
}

/// Waiting for one after the other tells them apart.
#[test]
fn who_waits_for_one_of_those_that_are_alike_is_found_out() {
    let scene = |together: bool| {
        let body = move |world: SimWorld| async move {
            let spawn = |n| {
                let own = world.clone();
                world.spawn(&format!("same {n}"), async move { own.yield_now().await })
            };
            let mut all: Vec<_> = (0..2).map(spawn).collect();
            if together {
                world.join_all(&mut all).await;
            } else {
                for task in all {
                    task.await.ok();
                }
            }
        };
        scenario("joined").process("p", body).alike_tasks("same ")
    };
    scene(false).explore(Strategy::exhaustive()).assert_violated(ViolationKind::Panic);
    scene(true).explore(Strategy::exhaustive()).assert_exhausted();
}

/// Another type of future is another body, whatever it is called.
#[test]
fn tasks_of_two_bodies_are_not_alike_under_one_name() {
    let scene = |alike: &str| {
        let body = |world: SimWorld| async move {
            let (one, other) = (world.clone(), world.clone());
            let one = world.spawn("same 1", async move { one.mkdir("/one").await.is_ok() });
            let other = world.spawn("same 2", async move { other.mkdir("/other").await.is_ok() });
            world.join_all(&mut [one]).await;
            world.join_all(&mut [other]).await;
        };
        scenario("bodies").process("p", body).alike_tasks(alike)
    };
    assert_eq!(states(&scene("same ")), states(&scene("nobody ")));
}
