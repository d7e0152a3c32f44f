//! The shrinker: the smallest counterexample there is, where that is known, and nothing that changes what it says.

use flockstep::world::*;
use flockstep::{Failure, Scenario, SimWorld, Strategy, Verdict, ViolationKind, scenario};

/// Adds a byte without a lock: an update is lost if somebody else writes between the reading and the writing.
async fn add(world: SimWorld, byte: u8) -> Result<()> {
    let mut content = read_file(&world, "/list").await?;
    content.push(byte);
    let file = world.open("/list", OpenOptions::replace()).await?;
    write_all(&world, &file, &content).await?;
    world.close(file).await
}

/// Two who lose updates, and that many who have nothing to do with it.
fn lossy(bystanders: usize) -> Scenario {
    let scene = scenario("lossy").file("/list", "");
    let scene = scene.process("a", |world| add(world, b'a')).process("b", |world| add(world, b'b'));
    let scene = (0..bystanders).fold(scene, |scene, n| {
        scene.process(&format!("bystander{n}"), |world: SimWorld| async move {
            for _ in 0..4 {
                world.stat("/").await?;
            }
            Result::Ok(())
        })
    });
    scene.finally("both are listed", |fs| fs.read("/list").contains_all(["a", "b"]))
}

fn failure(scene: &Scenario, seed: u64) -> Failure {
    let exploration = scene.explore(Strategy::random(5_000).seed(seed));
    match exploration.verdict {
        Verdict::Violated(failure) => *failure,
        other => panic!("{other:?}"),
    }
}

/// Two switches: one of them reads, the other does everything, the first goes on. One switch runs them one after the other, and none is
/// not enough to let both run, so there is nothing smaller.
#[test]
fn the_smallest_number_of_switches_is_reached_from_every_seed() {
    let promise = ViolationKind::Promise("both are listed".into());
    for seed in 0..20 {
        let scene = lossy(0);
        let failure = failure(&scene, seed);
        assert_eq!((failure.switches, &failure.violation.kind), (2, &promise), "{}", failure.report());
    }
}

#[test]
fn bystanders_are_left_out_and_those_that_the_promise_is_about_are_not() {
    for seed in 0..5 {
        let scene = lossy(3);
        let failure = failure(&scene, seed);
        let key = failure.key.clone().expect("one schedule shows it").to_string();
        for n in 0..3 {
            assert!(key.contains(&format!("without@bystander{n}")), "{key}");
        }
        assert!(!key.contains("without@a") && !key.contains("without@b,"), "{key}");
        assert_eq!(failure.switches, 2, "{}", failure.report());
        let again = scene.replay(&key.parse().expect("a key")).0.expect("it fails again");
        assert_eq!(again.events, failure.events);
        // The schedule that was found can be had as well.
        let original = failure.original.expect("it was made smaller");
        assert_eq!(scene.replay(&original).0.expect("it fails, too").violation.kind, failure.violation.kind);
    }
}

#[test]
fn without_a_process_is_another_scenario() {
    let alone = lossy(1).without_process("bystander0").without_process("b");
    assert_eq!(alone.process_count(), 1);
    alone.explore(Strategy::exhaustive()).assert_violated(ViolationKind::Promise("both are listed".into()));
}

#[test]
fn what_is_not_to_be_shortened_is_reported_as_it_was_found() {
    let found = lossy(1).explore(Strategy::random(5_000).unshortened());
    let failure = found.assert_violated(ViolationKind::Promise("both are listed".into()));
    assert_eq!(failure.original, None);
}

#[test]
fn how_many_were_tried_is_told_and_whoever_has_enough_gets_what_there_is() {
    let (scene, strategy) = (lossy(3), Strategy::random(5_000));
    let promise = ViolationKind::Promise("both are listed".into());
    let mut tries = Vec::new();
    let found = scene.explore_with(&strategy, &mut |pace| {
        tries.extend(pace.tries);
        true
    });
    let smallest = found.assert_violated(promise.clone());
    assert!(tries.len() > 10 && tries.iter().copied().eq(1..=tries.len() as u64), "{tries:?}");
    let found = scene.explore_with(&strategy, &mut |pace| pace.tries.is_none());
    let as_found = found.assert_violated(promise);
    assert_eq!((&as_found.original, &as_found.key), (&None, &smallest.original), "it is the same schedule");
}
