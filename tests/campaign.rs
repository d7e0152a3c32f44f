//! Campaigns: an exploration that is cut into parts comes to what one run comes to.

use std::sync::atomic::{AtomicU32, Ordering};

use flockstep::explore::{Cores, Findings, JoinError};
use flockstep::oracle::{LockOrder, Siblings};
use flockstep::world::{Clock, Files, LockMode, Locks, OpenOptions, Result};
use flockstep::{Enough, Exploration, Method, Part, Scenario, SimWorld, Strategy, Verdict, ViolationKind, scenario};
use proptest::prelude::{ProptestConfig, any, prop, proptest};

use crate::exploration::{scene, step};

fn parts(of: u32) -> impl Iterator<Item = Part> {
    (1..=of).map(move |number| Part::new(number, of).unwrap())
}

fn in_parts(scene: &Scenario, strategy: &Strategy, of: u32) -> Vec<Findings> {
    let explored = parts(of).map(|part| scene.explore(strategy.clone().part(part)));
    explored.map(|exploration| *exploration.part.expect("it says which part it is")).collect()
}

/// Threads that come as soon as they are asked for.
struct Threads(u32);

impl Cores for Threads {
    #[expect(clippy::disallowed_methods, reason = "threads that explore, outside of any world")]
    fn share(&self, others: &(dyn Fn() + Sync), mine: &mut dyn FnMut()) {
        std::thread::scope(|scope| {
            (1..self.0).for_each(|_| drop(scope.spawn(others)));
            mine();
        });
    }
}

#[track_caller]
fn assert_same(one: &Exploration, other: &Exploration, how: &str) {
    let told = |exploration: &Exploration| match &exploration.verdict {
        Verdict::Violated(failure) => failure.report(),
        verdict => format!("{verdict:?}"),
    };
    assert_eq!(told(one), told(other), "{how}");
    assert_eq!(one.verdict, other.verdict, "{how}");
    let counted = |exploration: &Exploration| (exploration.executions, exploration.steps, exploration.states);
    assert_eq!(counted(one), counted(other), "{how}");
    assert_eq!((one.peaks, one.makespan), (other.peaks, other.makespan), "{how}");
    assert_eq!(one.coverage, other.coverage, "{how}");
}

/// A scenario whose promise may or may not hold, and whose locks may or may not be taken in one order.
fn promising(scene: Scenario, short: usize) -> Scenario {
    let scene = scene.finally("a is short", move |fs| fs.read("/a").bytes().len() <= short);
    scene.oracle(|| LockOrder::consistent([("/a", "a"), ("/b", "b")]).siblings(Siblings::Any))
}

fn cases() -> u32 {
    if cfg!(feature = "exhaustive") { 400 } else { 60 }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn parts_together_are_one_run(
        programs in prop::collection::vec(prop::collection::vec(prop::collection::vec(step(), 1..5), 1..3), 1..3),
        workers in 1..3u32,
        kill: bool,
        short in 0..4usize,
        of in 1..6u32,
        seed in any::<u64>(),
        schedules in 1..400u64,
    ) {
        let scene = promising(scene(&programs, workers, kill, false), short);
        for method in [Method::Random, Method::Pct { depth: 3 }, Method::Portfolio, Method::Dfs { cache: true }] {
            // Few enough for the search of the portfolio to be cut short now and then.
            let strategy = Strategy { method, coverage: true, ..Strategy::random(schedules).seed(seed) };
            let one = scene.explore(strategy.clone());
            let mut found = in_parts(&scene, &strategy, of);
            found.reverse();
            assert_same(&one, &scene.join(&strategy, found).unwrap(), &format!("{method:?} in {of} parts"));
            let threads = scene.explore_on(&strategy, &mut |_| true, &Threads(of));
            assert_same(&one, &threads, &format!("{method:?} on {of} threads"));
        }
    }

    #[test]
    fn an_exhaustive_search_in_parts_comes_to_the_same(
        programs in prop::collection::vec(prop::collection::vec(prop::collection::vec(step(), 1..4), 1..3), 1..3),
        workers in 1..3u32,
        kill: bool,
        short in 0..4usize,
        of in 2..6u32,
    ) {
        let scene = promising(scene(&programs, workers, kill, false), short);
        let strategy = Strategy::exhaustive().schedules(3_000);
        let one = scene.explore(strategy.clone());
        if !matches!(one.verdict, Verdict::Inconclusive(_)) {
            // Parts have a cache each, so a part may take more than all of one run.
            let strategy = Strategy::exhaustive();
            let joined = scene.join(&strategy, in_parts(&scene, &strategy, of)).unwrap();
            assert_eq!(one.verdict.word(), joined.verdict.word(), "{one:?}\n{joined:?}");
            let exhaustive = |exploration: &Exploration| matches!(exploration.verdict, Verdict::Upheld { exhaustive: true, .. });
            assert_eq!(exhaustive(&one), exhaustive(&joined));
        }
    }
}

async fn take<W: Locks>(world: W, first: &'static str, second: &'static str) -> Result<()> {
    let outer = world.open(first, OpenOptions::lock_file()).await?;
    world.flock(&outer, LockMode::Exclusive).await?;
    let inner = world.open(second, OpenOptions::lock_file()).await?;
    world.flock(&inner, LockMode::Exclusive).await?;
    world.close(inner).await?;
    world.close(outer).await
}

const ORDERS: [(&str, &str); 3] = [("/a", "/b"), ("/b", "/c"), ("/c", "/a")];

/// Each execution takes one of three orders, so it takes three of them to make a cycle.
fn any_order() -> Scenario {
    let scene = scenario("any").process("p", |world: SimWorld| async move {
        let (first, second) = ORDERS[world.choose(3).await as usize];
        take(world, first, second).await
    });
    scene.oracle(|| LockOrder::consistent([("/a", "a"), ("/b", "b"), ("/c", "c")]))
}

#[test]
fn what_takes_executions_of_several_parts_is_found_by_joining_them() {
    // Three schedules that take one order each.
    let scene = any_order();
    let violated = |seed: &u64| matches!(scene.explore(Strategy::random(3).seed(*seed)).verdict, Verdict::Violated(_));
    let strategy = Strategy::random(3).seed((0..).find(violated).unwrap());
    for part in parts(3) {
        scene.explore(strategy.clone().part(part)).assert_upheld();
    }
    let joined = scene.join(&strategy, in_parts(&scene, &strategy, 3)).unwrap();
    let failure = joined.assert_violated(ViolationKind::LockOrder);
    assert_eq!(failure.more_keys.len(), 2, "each of the three executions has its key");
    assert_same(&scene.explore(strategy.clone()), &joined, "three parts");
}

/// The fifth of six values decides in which order locks are taken, `turned` or not. Of two parts that have the first five values dealt out
/// between them, each knows one value of the fifth.
fn by_the_fifth(turned: bool) -> Scenario {
    let scene = scenario("fifth").process("p", move |world: SimWorld| async move {
        let mut values = Vec::new();
        for _ in 0..6 {
            values.push(world.choose(2).await);
        }
        let (first, second) = if turned && values[4] == 1 { ("/b", "/a") } else { ("/a", "/b") };
        take(world, first, second).await
    });
    scene.oracle(|| LockOrder::consistent([("/a", "a"), ("/b", "b")]))
}

#[test]
fn what_takes_two_subtrees_is_found_by_joining_them() {
    let (scene, strategy) = (by_the_fifth(true), Strategy::exhaustive());
    for part in parts(2) {
        scene.explore(strategy.clone().part(part)).assert_upheld();
    }
    let joined = scene.join(&strategy, in_parts(&scene, &strategy, 2)).unwrap();
    joined.assert_violated(ViolationKind::LockOrder);
    let twin = by_the_fifth(false);
    twin.join(&strategy, in_parts(&twin, &strategy, 2)).unwrap().assert_exhausted();
}

#[test]
fn parts_are_exhaustive_only_together() {
    let scene = scenario("two").process("a", |w| take(w, "/a", "/b")).process("b", |w| take(w, "/a", "/b"));
    let strategy = Strategy::exhaustive();
    let found = in_parts(&scene, &strategy, 3);
    for part in parts(3) {
        let alone = scene.explore(strategy.clone().part(part));
        assert!(matches!(alone.verdict, Verdict::Upheld { exhaustive: false, .. }), "{:?}", alone.verdict);
    }
    scene.join(&strategy, found.clone()).unwrap().assert_exhausted();
    let two = scene.join_partial(&strategy, found[1..].to_vec()).unwrap();
    assert!(matches!(&two.verdict, Verdict::Inconclusive(why) if why.contains("part 1/3 is missing")), "{two:?}");
    // With so few states that looking over the first decisions comes to the end, there would be nothing to cut.
    let scene = scene.process("c", |w| take(w, "/c", "/d")).process("d", |w| take(w, "/e", "/f"));
    let cut = strategy.schedules(1);
    let joined = scene.join(&cut, in_parts(&scene, &cut, 3)).unwrap();
    assert!(matches!(joined.verdict, Verdict::Inconclusive(_)), "{:?}", joined.verdict);
}

#[test]
fn what_a_part_looks_over_first_counts_like_what_one_search_looks_over_first() {
    let pairs = [("a", "/a", "/b"), ("b", "/a", "/b"), ("c", "/c", "/d"), ("d", "/e", "/f")];
    let scene = pairs.into_iter().fold(scenario("four"), |scene, (name, first, second)| {
        scene.process(name, move |world| take(world, first, second))
    });
    for schedules in [1, 20, 100, 400] {
        let strategy = Strategy::exhaustive().schedules(schedules);
        let counted = |part| scene.explore(strategy.clone().part(part)).executions;
        let counted: Vec<u64> = [Part::WHOLE].into_iter().chain(parts(3)).map(counted).collect();
        assert_eq!(
            counted[..2],
            [schedules, schedules],
            "there are more, and the first part counts all that it has run"
        );
        assert!(counted.iter().all(|&executions| executions <= schedules), "{counted:?}");
    }
}

#[test]
fn what_is_not_all_of_one_exploration_is_refused() {
    let scene = any_order();
    let strategy = Strategy::random(10);
    let found = in_parts(&scene, &strategy, 3);
    let join = |found: &[Findings]| scene.join(&strategy, found.to_vec()).map(|joined| joined.executions);
    assert_eq!(join(&[]), Err(JoinError::Nothing));
    assert_eq!(join(&found[..2]), Err(JoinError::Missing(vec![Part::new(3, 3).unwrap()])));
    assert_eq!(join(&[&found[..], &found[..1]].concat()), Err(JoinError::Twice(Part::new(1, 3).unwrap())));
    let halves = in_parts(&scene, &strategy, 2);
    assert!(matches!(join(&[&found[..], &halves[..1]].concat()), Err(JoinError::Unlike(..))));
    for other in [strategy.clone().seed(1), strategy.clone().schedules(11), Strategy::pct(3, 10)] {
        let mut mixed = found.clone();
        mixed[1] = in_parts(&scene, &other, 3).swap_remove(1);
        assert_eq!(join(&mixed), Err(JoinError::Asked(Part::new(2, 3).unwrap())));
    }
    let other = in_parts(&scene.clone().case("n=2"), &strategy, 3);
    assert!(matches!(join(&other), Err(JoinError::Asked(_))));
}

#[test]
fn long_schedules_are_enough_for_parts_as_well() {
    let long = scenario("long").process("p", |world: SimWorld| async move {
        for _ in 0..50 {
            let file = world.open("/a", OpenOptions::lock_file()).await?;
            world.close(file).await?;
        }
        Ok::<(), flockstep::world::Error>(())
    });
    let enough = Some(Enough { schedules: 5, steps: 2_000 });
    let strategy = Strategy { enough, ..Strategy::random(1_000) };
    let one = long.explore(strategy.clone());
    assert!((15..25).contains(&one.executions), "of 100 steps each, 20 have 2,000: {}", one.executions);
    assert_same(&one, &long.join(&strategy, in_parts(&long, &strategy, 4)).unwrap(), "four parts");
}

#[test]
fn a_cache_that_is_full_is_inconclusive_and_a_portfolio_samples() {
    let three = ["a", "b", "c"]
        .into_iter()
        .fold(scenario("three"), |scene, name| scene.process(name, |world| take(world, "/a", "/b")));
    let full = three.explore(Strategy::exhaustive().memory(1_000));
    assert!(matches!(&full.verdict, Verdict::Inconclusive(why) if why.contains("state cache was full")), "{full:?}");
    three.explore(Strategy::exhaustive().memory(1 << 24)).assert_exhausted();
    let sampled = three.explore(Strategy { memory: Some(1_000), ..Strategy::default() });
    assert!(matches!(sampled.verdict, Verdict::Upheld { exhaustive: false, executions: 1_001.. }), "{sampled:?}");
}

#[test]
fn an_interrupt_stops_every_thread_and_the_rest_is_inconclusive() {
    let scene = scenario("sleepers").process("a", |world: SimWorld| async move {
        world.sleep(std::time::Duration::from_secs(1)).await;
    });
    let strategy = Strategy::random(10_000_000).part(Part::new(1, 2).unwrap());
    let told = AtomicU32::new(0);
    let cut = scene.explore_on(&strategy, &mut |_| told.fetch_add(1, Ordering::Relaxed) < 3, &Threads(3));
    assert!(matches!(&cut.verdict, Verdict::Inconclusive(why) if why.contains("interrupted")), "{cut:?}");
    let other =
        scene.explore(Strategy::random(10_000_000).part(Part::new(2, 2).unwrap()).time_limit(Default::default()));
    let both = [cut, other].map(|exploration| *exploration.part.unwrap());
    let joined = scene.join(&strategy, both).unwrap();
    assert!(matches!(joined.verdict, Verdict::Inconclusive(_)));
    assert!(joined.executions > 0);
}
