//! Who polls never blocks, so what is a deadlock for others is a livelock for him: found by every search, and never taken for a protocol
//! that holds.

use flockstep::world::*;
use flockstep::{Deadlock, Method, Part, Scenario, SimWorld, Strategy, Time, Verdict, ViolationKind, scenario};
use proptest::prelude::{ProptestConfig, any, prop, prop_assert, prop_assert_eq, proptest};
use std::time::Duration;

/// How a lock is waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    Blocking,
    /// Round after round, of which nothing is left but that the lock was not to be had.
    Polling,
    /// The same with pauses, and every round is remembered.
    Sleeping,
}

async fn lock(world: &SimWorld, path: &str, wait: Wait) -> Result<FileOf> {
    let file = world.open(path, OpenOptions::lock_file()).await?;
    match wait {
        Wait::Blocking => world.flock(&file, LockMode::Exclusive).await?,
        Wait::Polling => {
            let rounds = async {
                while !world.try_flock(&file, LockMode::Exclusive).await? {
                    world.yield_now().await;
                    world.keeping(&());
                }
                Result::Ok(())
            };
            world.forgetting(rounds).await?;
        }
        Wait::Sleeping => {
            while !world.try_flock(&file, LockMode::Exclusive).await? {
                world.sleep(Duration::from_secs(1)).await;
            }
        }
    }
    Ok(file)
}

type FileOf = <SimWorld as Files>::File;

/// Takes locks one after the other, and keeps each until the end or until that many more have been taken.
async fn take(world: SimWorld, locks: Vec<(u8, bool)>, wait: Wait) -> Result<()> {
    let mut held: Vec<(u8, FileOf)> = Vec::new();
    for (at, keeps) in locks {
        if held.iter().all(|(other, _)| *other != at) {
            held.push((at, lock(&world, &format!("/{at}.lock"), wait).await?));
        }
        if !keeps {
            held.clear();
        }
    }
    Ok(())
}

fn takers(programs: &[Vec<(u8, bool)>], wait: Wait) -> Scenario {
    let add = |scene: Scenario, (n, program): (usize, &Vec<(u8, bool)>)| {
        let program = program.clone();
        scene.process(&format!("p{n}"), move |world| take(world, program.clone(), wait))
    };
    programs.iter().enumerate().fold(scenario("takers").steps_max(20_000), add)
}

const FORTH: [(u8, bool); 2] = [(1, true), (2, true)];
const BACK: [(u8, bool); 2] = [(2, true), (1, true)];

fn searches() -> [Strategy; 4] {
    [Strategy::exhaustive(), Strategy::dfs(100_000), Strategy::bounded(100_000), Strategy::default()]
}

#[test]
fn two_who_poll_for_each_others_lock_never_end() {
    let scene = takers(&[FORTH.to_vec(), BACK.to_vec()], Wait::Polling);
    for strategy in searches().into_iter().chain([Strategy::random(100)]) {
        let found = scene.explore(strategy.clone());
        let key = found.assert_violated(ViolationKind::Endless).key.as_ref().expect("one schedule shows it");
        assert!(scene.replay(key).0.is_some_and(|failure| failure.violation.kind == ViolationKind::Endless), "{key}");
    }
}

/// The near-twin: they go round as well, and there is always a way out.
#[test]
fn who_polls_in_one_order_holds() {
    let scene = takers(&[FORTH.to_vec(), FORTH.to_vec()], Wait::Polling);
    searches().into_iter().for_each(|strategy| scene.explore(strategy).assert_exhausted());
}

/// What a poller waits for is never done, since whoever would have is killed, or cancelled. The search has seen the poller go round before that,
/// and he slept behind it: every state was come to, and no execution went round.
#[test]
fn who_polls_for_the_dead_never_ends() {
    let polls = |world: SimWorld| async move {
        let rounds = async {
            loop {
                match world.mkdir("/d/lock").await {
                    Err(error) if error.errno == Errno::Exist => {}
                    other => return other,
                }
                world.keeping(&());
                world.yield_now().await;
            }
        };
        world.forgetting(rounds).await
    };
    let removes = |world: SimWorld| async move { world.rmdir("/d/lock").await };
    let by_a_task = move |world: SimWorld| async move {
        let there = world.clone();
        let task = world.spawn("t", async move {
            there.yield_now().await;
            there.rmdir("/d/lock").await
        });
        task.await.ok();
        Result::Ok(())
    };
    let scene = |dies: bool| {
        let scene = scenario("stale").steps_max(2_000).directory("/d/lock").process("a", removes);
        let scene = if dies { scene.kill("a") } else { scene };
        scene.process("b", polls)
    };
    let cancelled = scenario("stale").steps_max(2_000).directory("/d/lock").process("a", by_a_task).cancel("t");
    for strategy in searches() {
        for scene in [scene(true), cancelled.clone().process("b", polls)] {
            scene.explore(strategy.clone()).assert_violated(ViolationKind::Endless);
        }
        scene(false).explore(strategy).assert_exhausted();
    }
}

/// Of so small a round all is looked over before it is dealt out, and nobody is left to go it.
#[test]
fn a_livelock_is_found_in_parts() {
    let polls = |world: SimWorld| async move {
        let rounds = async {
            while world.stat("/lock").await.is_ok() {
                world.keeping(&());
                world.yield_now().await;
            }
        };
        world.forgetting(rounds).await
    };
    let alone = scenario("alone").steps_max(2_000).file("/lock", "").process("p", polls);
    let [across, along] = [BACK, FORTH].map(|other| takers(&[FORTH.to_vec(), other.to_vec()], Wait::Polling));
    let all = Strategy::exhaustive();
    for of in [2, 3, 5] {
        let in_parts = |scene: &Scenario| {
            let part = |k| scene.explore(all.clone().part(Part::new(k, of).expect("one of them")));
            let parts = (1..=of).map(|k| *part(k).part.expect("it is one of several"));
            scene.join(&all, parts).expect("all of one exploration")
        };
        for scene in [&alone, &across] {
            in_parts(scene).assert_violated(ViolationKind::Endless);
        }
        in_parts(&along).assert_exhausted();
    }
}

/// A search that meets an execution without an end has tried less than it was asked to, and does not say that all is well.
#[test]
fn a_search_that_gives_up_is_inconclusive() {
    for time in [Time::Free, Time::Urgent] {
        let scene = takers(&[FORTH.to_vec(), BACK.to_vec()], Wait::Sleeping).time(time);
        for method in [Method::Dfs { cache: true }, Method::Dfs { cache: false }, Method::Dpor, Method::Bounded] {
            let found = scene.clone().steps_max(500).explore(Strategy { method, ..Strategy::dfs(1_000) });
            assert!(
                matches!(&found.verdict, Verdict::Inconclusive(why) if why.contains("500 steps")),
                "{:?}",
                found.verdict
            );
        }
        // Which has something else to try.
        scene.explore(Strategy::default()).assert_violated(ViolationKind::Endless);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(60) })]

    /// Those who poll have no end exactly where those who block have a deadlock.
    #[test]
    fn polling_is_endless_where_blocking_is_a_deadlock(
        programs in prop::collection::vec(prop::collection::vec((0..3_u8, any::<bool>()), 1..4), 2..4)
    ) {
        let blocked = takers(&programs, Wait::Blocking).explore(Strategy::exhaustive());
        let expected = match &blocked.verdict {
            Verdict::Violated(failure) => {
                prop_assert_eq!(&failure.violation.kind, &ViolationKind::Deadlock(Deadlock::LockCycle));
                true
            }
            other => {
                prop_assert!(matches!(other, Verdict::Upheld { exhaustive: true, .. }), "{:?}", other);
                false
            }
        };
        for strategy in [Strategy::dfs(200_000), Strategy::bounded(200_000)] {
            let polled = takers(&programs, Wait::Polling).explore(strategy.unshortened());
            match polled.verdict {
                Verdict::Violated(failure) => {
                    prop_assert!(expected, "{}", failure.violation.summary);
                    prop_assert_eq!(failure.violation.kind, ViolationKind::Endless);
                }
                other => prop_assert!(!expected && matches!(other, Verdict::Upheld { exhaustive: true, .. }), "{:?}", other),
            }
        }
    }
}
