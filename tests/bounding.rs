//! Iterative bounding: fewest preemptions and faults first, and what that says of what was tried.

use std::time::Duration;

use flockstep::world::{Clock, Errno, Error, Event, Files, Kinds, LockMode, Locks, OpenOptions, Result, Tasks};
use flockstep::{KernelView, Oracle, Scenario, SimWorld, Strategy, Time, Verdict, Violation, ViolationKind, scenario};

/// Takes its own lock, then that of the next.
async fn philosopher(world: SimWorld, me: usize, of: usize) -> Result<()> {
    let mut held = Vec::new();
    for lock in [me, (me + 1) % of] {
        let file = world.open(&format!("/lock-{lock}"), OpenOptions::lock_file()).await?;
        world.flock(&file, LockMode::Exclusive).await?;
        held.push(file);
    }
    for file in held {
        world.close(file).await?;
    }
    Ok(())
}

fn philosophers(of: usize) -> Scenario {
    (0..of).fold(scenario("philosophers"), |scene, me| {
        scene.process(&format!("p{me}"), move |world| philosopher(world, me, of))
    })
}

/// One has to be stopped between its locks. The others take their turns so that each comes by itself to where it waits for the one before.
#[test]
fn a_cycle_of_locks_takes_one_preemption() {
    for of in 2..=4 {
        let found = philosophers(of).explore(Strategy::bounded(200_000).unshortened());
        assert_eq!(found.verdict.word(), "violated", "{of}: {:?}", found.verdict);
        assert_eq!(found.bound, Some(0), "{of} locks: nothing is wrong without a preemption");
    }
    let alone = philosophers(1).explore(Strategy::bounded(10));
    assert_eq!((alone.verdict.word(), alone.bound), ("violated", None), "whoever waits for itself need not be stopped");
}

/// Makes and removes a directory in turn.
async fn toggle(world: SimWorld, times: usize) -> Result<()> {
    for n in 0..times {
        if n % 2 == 0 { world.mkdir("/d").await? } else { world.rmdir("/d").await? }
    }
    Ok(())
}

/// Fails if it sees the directory there, gone, there and so on.
async fn watch(world: SimWorld, times: usize) -> Result<()> {
    let mut each_change = true;
    for n in 0..times {
        each_change &= world.stat("/d").await.is_ok() == (n % 2 == 0);
    }
    if each_change { Err(Error::new(Errno::Again, "watch", "/d")) } else { Ok(()) }
}

/// Before each look, and after each but the last, the other one has to go on, and neither of them is done: one look takes one preemption, and
/// each further one two.
#[test]
fn the_first_violation_has_the_fewest_preemptions() {
    for looks in 1..=3 {
        let scene = scenario("changes").process("toggle", move |world| toggle(world, looks + 1));
        let scene = scene.process("watch", move |world| watch(world, looks));
        let found = scene.explore(Strategy::bounded(100_000).unshortened());
        found.assert_violated(ViolationKind::Failed);
        assert_eq!(found.bound, Some(2 * looks as u32 - 2), "complete up to one less than it takes");
        // Others find it as well, and their first one may be any.
        scene.explore(Strategy::dfs(100_000)).assert_violated(ViolationKind::Failed);
    }
}

/// That many steps.
async fn walk(world: SimWorld, path: &'static str, steps: usize) -> Result<()> {
    for _ in 0..steps {
        world.stat(path).await?;
    }
    Ok(())
}

fn walkers(steps: usize) -> Scenario {
    let walker = move |world| walk(world, "/", steps);
    scenario("walkers").process("a", walker).process("b", walker).oracle(|| Reticent)
}

/// An oracle that does not tell its state, so that there is no cache, and every execution is a schedule to its end.
struct Reticent;

impl Oracle for Reticent {
    fn name(&self) -> &str {
        "reticent"
    }
    fn kinds(&self) -> Kinds {
        Kinds::NONE
    }
    fn begin(&mut self) {}
    fn on(&mut self, _: &Event, _: &KernelView<'_>) -> std::result::Result<(), Violation> {
        Ok(())
    }
    fn finish(&mut self, _: &KernelView<'_>) -> std::result::Result<(), Violation> {
        Ok(())
    }
    fn state(&self) -> Option<u64> {
        None
    }
    fn judged(&self) -> u64 {
        1
    }
}

fn choose(n: u64, k: u64) -> u64 {
    (1..=k).fold(1, |product, i| product * (n + 1 - i) / i)
}

/// Schedules of two who have `steps` steps each, with that many preemptions: whoever begins has `(preemptions + 2)` halves of the turns, the last
/// switch is free, and each divides its steps among its turns.
fn schedules(steps: u64, preemptions: u64) -> u64 {
    let turns = preemptions + 2;
    2 * choose(steps - 1, turns.div_ceil(2) - 1) * choose(steps - 1, turns / 2 - 1)
}

#[test]
fn a_bound_is_complete_when_all_its_schedules_were_tried_and_not_one_earlier() {
    let steps = 5;
    let mut sum = 0;
    for preemptions in 0..=7 {
        sum += schedules(steps, preemptions);
        let scene = walkers(steps as usize);
        let cut = scene.explore(Strategy::bounded(sum - 1));
        assert_eq!(cut.bound.map(u64::from), preemptions.checked_sub(1), "{} executions", sum - 1);
        let whole = scene.explore(Strategy::bounded(sum));
        assert_eq!(whole.executions, sum);
        assert_eq!(whole.bound.map(u64::from), Some(preemptions), "{sum} executions");
        assert!(matches!(whole.verdict, Verdict::Upheld { exhaustive: false, .. }));
    }
    sum += schedules(steps, 8);
    assert_eq!(sum, choose(2 * steps, steps), "these are all there are");
    let all = walkers(steps as usize).explore(Strategy::bounded(1_000));
    all.assert_exhausted();
    assert_eq!((all.executions, all.bound), (sum, None));
}

#[test]
fn less_than_everything_says_how_far_it_came() {
    let strategy = Strategy { exhaustive: true, ..Strategy::bounded(5) };
    let cut = walkers(5).explore(strategy);
    let Verdict::Inconclusive(why) = cut.verdict else { panic!("{:?}", cut.verdict) };
    assert_eq!(
        why,
        "5 executions were tried, and there are more, complete up to a bound of 0 on preemptions and faults"
    );
}

/// Whoever sleeps expects the other to be done by then.
fn hopeful(time: Time) -> Scenario {
    let scene = scenario("hopeful").time(time).process("hopeful", |world: SimWorld| async move {
        world.sleep(Duration::from_secs(1)).await;
        world.stat("/done").await
    });
    scene.process("other", |world: SimWorld| async move {
        world.stat("/").await?;
        world.mkdir("/done").await
    })
}

#[test]
fn a_sleep_that_ends_early_counts_once_and_a_kill_does() {
    let early = hopeful(Time::Free).explore(Strategy::bounded(100).unshortened());
    early.assert_violated(ViolationKind::Failed);
    assert_eq!(early.bound, Some(0));
    hopeful(Time::Urgent).explore(Strategy { exhaustive: true, ..Strategy::bounded(100) }).assert_exhausted();

    let stale = scenario("stale").process("p", |world: SimWorld| async move {
        let file = world.open("/lock", OpenOptions::create_new()).await?;
        world.close(file).await?;
        world.unlink("/lock").await
    });
    let stale = stale.finally("no lock is left", |fs| !fs.exists("/lock"));
    stale.explore(Strategy::bounded(100)).assert_exhausted();
    let killed = stale.kill("p").explore(Strategy::bounded(100).unshortened());
    killed.assert_violated(ViolationKind::Promise("no lock is left".into()));
    assert_eq!(killed.bound, Some(0));
}

/// Who polls would go round for ever if a yield were free where others could go on.
#[test]
fn polling_does_not_keep_a_bound_from_being_reached() {
    let scene = scenario("polling").process("poller", |world: SimWorld| async move {
        while world.stat("/ready").await.is_err() {
            world.yield_now().await;
        }
        Result::Ok(())
    });
    let scene = scene.process("worker", |world: SimWorld| async move { world.mkdir("/ready").await });
    let bounded = scene.explore(Strategy::bounded(100));
    bounded.assert_upheld();
    assert_eq!(bounded.executions, 100);
    assert!(bounded.bound >= Some(10), "{:?}", bounded.bound);
}

#[test]
fn a_cache_that_is_full_ends_it() {
    let full = philosophers(3).explore(Strategy { exhaustive: true, ..Strategy::bounded(100_000).memory(1_000) });
    assert!(matches!(&full.verdict, Verdict::Inconclusive(why) if why.contains("state cache was full")), "{full:?}");
}

/// Whoever walks far before it does something leaves a depth-first search in the corner where it begins.
#[test]
fn an_exhaustive_search_finds_first_what_takes_few_preemptions() {
    let far = |world: SimWorld| async move {
        walk(world.clone(), "/", 12).await?;
        world.mkdir("/d").await
    };
    let scene = scenario("far").process("a", far).process("b", far).process("c", |world| walk(world, "/", 12));
    let depth_first = scene.explore(Strategy::dfs(1_000_000).unshortened());
    let exhaustive = scene.explore(Strategy::exhaustive().unshortened());
    for found in [&depth_first, &exhaustive] {
        found.assert_violated(ViolationKind::Failed);
    }
    assert_eq!(exhaustive.executions, 1, "two directories of one name take no preemption");
    // Nothing is wrong: what a bound has tried does not get in the way of a proof, nor count twice as a state.
    let lock = |world: SimWorld| async move {
        let lock = world.open("/lock", OpenOptions::lock_file()).await?;
        for _ in 0..10 {
            world.flock(&lock, LockMode::Exclusive).await?;
            world.unlock(&lock).await?;
        }
        Result::Ok(())
    };
    let sound = |lockers: usize| {
        let scene = scenario("sound").file("/lock", "");
        (0..lockers).fold(scene, |scene, n| scene.process(&format!("p{n}"), lock))
    };
    let (depth_first, exhaustive) =
        (sound(3).explore(Strategy::dfs(1_000_000)), sound(3).explore(Strategy::exhaustive()));
    exhaustive.assert_exhausted();
    assert_eq!(exhaustive.states, depth_first.states);
    assert_eq!(exhaustive.executions, depth_first.executions + 1_000);
    let cut = sound(3).explore(Strategy::exhaustive().schedules(1_600));
    assert!(matches!(cut.verdict, Verdict::Inconclusive(_)));
    assert_eq!((cut.executions, cut.bound), (1_600, Some(0)));
}
