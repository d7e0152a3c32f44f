//! The shrinker: the smallest counterexample there is, where that is known, and nothing that changes what it says.

use flockstep::oracle::RegionExclusion;
use flockstep::world::*;
use flockstep::{Failure, Key, Scenario, SimWorld, Strategy, Verdict, ViolationKind, scenario};

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

/// One that was made busy by another, and may be killed while it is; and one that has nothing to do with it and comes before them.
fn busy() -> Scenario {
    let look = |world: SimWorld| async move { world.stat("/").await.map(drop) };
    let work = |world: SimWorld| async move {
        if world.stat("/wanted").await.is_ok() {
            world.mkdir("/busy").await?;
            world.rmdir("/busy").await?;
        }
        Result::Ok(())
    };
    let scene = scenario("busy").process("bystander", look).process("worker", work).kill("worker");
    let scene = scene.process("asker", |world: SimWorld| async move { world.mkdir("/wanted").await });
    scene.always("who is busy lives", |fs| !fs.exists("/busy") || fs.alive(1))
}

/// Were the numbers given anew without the bystander, number 1 would be the asker, which may have ended by itself.
#[test]
fn a_promise_judges_the_process_of_the_same_number_whoever_is_left_out() {
    for strategy in [Strategy::exhaustive(), Strategy::bounded(5_000), Strategy::random(5_000)] {
        let scene = busy();
        let found = scene.explore(strategy);
        let failure = found.assert_violated(ViolationKind::Promise("who is busy lives".into()));
        let report = failure.report();
        assert!(report.contains(", without bystander\n"), "{report}");
        let killed = |event: &&Event| matches!(event.what, What::Ending { status: Status::Killed(_) });
        let killed: Vec<u32> = failure.events.iter().filter(killed).map(|event| event.process).collect();
        assert_eq!(killed, [1], "{report}");
        let key = failure.key.as_ref().expect("one schedule shows it").to_string();
        let again = scene.replay(&key.parse().expect("a key")).0.expect("it fails again");
        assert_eq!(again.events, failure.events);
    }
}

/// Without it, its number would be nobody's, who is not alive: a promise broken without any concurrency, as if it were about the bystander.
#[test]
fn a_bystander_that_comes_first_is_not_needed_for_its_number() {
    let work = |world: SimWorld| async move {
        world.mkdir("/busy").await?;
        world.rmdir("/busy").await
    };
    let scene = scenario("busy").process("bystander", |world: SimWorld| async move { world.stat("/").await.map(drop) });
    let scene = scene.process("worker", work).kill("worker");
    let scene = scene.always("who is busy lives", |fs| !fs.exists("/busy") || fs.alive(1));
    let report = failure(&scene, 0).report();
    assert!(report.contains(", without bystander\n"), "{report}");
}

#[test]
fn a_promise_about_the_descriptors_of_one_who_is_left_out_is_judged() {
    let open = |world: SimWorld| async move { read_file(&world, "/x").await.map(drop) };
    let scene = scenario("peak").file("/x", "").process("a", open).process("b", open);
    let scene = scene.finally("b opens nothing", |fs| fs.descriptor_peak(1) == 3);
    let found = scene.explore(Strategy::exhaustive());
    let failure = found.assert_violated(ViolationKind::Promise("b opens nothing".into()));
    assert!(!failure.report().contains("without"), "{}", failure.report());
}

/// Two are enough to meet, and two are left.
#[test]
fn of_those_who_are_alike_all_but_the_needed_are_left_out() {
    let cross = |world: SimWorld| async move {
        world.stat("/").await?;
        let _here = world.region("bridge", "north");
        world.stat("/").await.map(drop)
    };
    let scene = scenario("bridge").alike(["p", "q", "r", "s"], cross).oracle(|| RegionExclusion::of("bridge"));
    for strategy in [Strategy::exhaustive(), Strategy::random(100)] {
        let found = scene.explore(strategy);
        let Verdict::Violated(failure) = found.verdict else { panic!("{:?}", found.verdict) };
        let key = failure.key.clone().expect("one schedule shows it").to_string();
        assert_eq!(key.matches("without@").count(), 2, "{key}");
        let again = scene.replay(&key.parse().expect("a key")).0.expect("it fails again");
        assert_eq!(again.events, failure.events);
    }
}

/// Exited with 0 before anything has happened; and whoever is there keeps the number that it has with everybody.
#[test]
fn one_who_is_left_out_is_there_and_has_ended() {
    let look = |world: SimWorld| async move { world.stat("/").await.map(drop) };
    let scene = scenario("left out").process("a", look).process("b", look).kill("b").process("c", look);
    let scene = scene.finally("only c did anything", |fs| {
        let [a, b, c] = ["a", "b", "c"].map(|name| fs.process_named(name));
        let gone = |pid: u32| !fs.alive(pid) && fs.descriptors(pid).is_empty() && fs.descriptor_count(pid) == 0;
        (a, b, c, fs.processes()) == (Some(0), Some(1), Some(2), 3) && [0, 1].into_iter().all(gone)
    });
    let scene = scene.always("b was never alive", |fs| !fs.alive(1));
    let retold = |key: &str| scene.retell([&key.parse::<Key>().expect("a key")]);
    let all = retold("left out::-").failure.expect("b lives").violation.kind;
    assert_eq!(all, ViolationKind::Promise("b was never alive".into()));
    let some = retold("left out::without@a,without@b");
    assert_eq!(some.failure, None);
    assert!(some.story.iter().all(|told| told.who == "c") && some.story.len() > 2, "{:?}", some.story);
    let nobody = retold("left out::without@a,without@b,without@c");
    assert_eq!((nobody.failure, nobody.story), (None, vec![]));
}
