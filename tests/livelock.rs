//! Who polls never blocks, so what is a deadlock for others is a livelock for him: found by every search, and never taken for a protocol
//! that holds.

use flockstep::world::*;
use flockstep::{Deadlock, Method, Scenario, SimWorld, Strategy, Time, Verdict, ViolationKind, scenario};
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
