//! What a task forgets makes states one state, and never two that have different futures.

use flockstep::world::*;
use flockstep::{Scenario, SimWorld, Strategy, Verdict, ViolationKind, scenario};
use futures::future::join;

fn states(scene: &Scenario) -> u64 {
    let found = scene.explore(Strategy::exhaustive());
    assert!(matches!(found.verdict, Verdict::Upheld { exhaustive: true, .. }), "{:?}", found.verdict);
    found.states.expect("it keeps count")
}

fn assert_differs(scene: Scenario) {
    let scene = scene.finally("nothing differs", |fs| !fs.exists("/differs"));
    scene.explore(Strategy::exhaustive()).assert_violated(ViolationKind::Promise("nothing differs".into()));
}

/// Makes a directory, or finds it, and then has something to do.
async fn make(world: SimWorld, forgets: bool) -> Result<()> {
    let made = async {
        match world.mkdir("/made").await {
            Err(error) if error.errno != Errno::Exist => Err(error),
            _ => Ok(()),
        }
    };
    if forgets {
        world.forgetting(made).await?
    } else {
        made.await?
    }
    for _ in 0..3 {
        world.yield_now().await;
    }
    Ok(())
}

#[test]
fn how_a_directory_came_to_be_is_forgotten() {
    let [remembering, forgetting] = [false, true].map(|forgets| {
        let scene = scenario("made").process("a", move |world| make(world, forgets));
        states(&scene.process("b", move |world| make(world, forgets)))
    });
    // Who was first doubles the states from there on.
    assert!(forgetting * 3 < remembering * 2, "{forgetting} of {remembering} states");
}

/// The near-twin: what the caller has learnt is part of the result, and so it counts.
#[test]
fn a_result_is_not_forgotten() {
    let watch = |world: SimWorld| async move {
        let there = world.forgetting(async { world.stat("/made").await.is_ok() }).await;
        if there { world.mkdir("/differs").await } else { Ok(()) }
    };
    assert_differs(scenario("told").process("a", |world| make(world, true)).process("b", watch));
}

/// While it runs, another future of the same task has seen something that is not in its result.
#[test]
fn what_another_future_of_the_task_has_seen_is_kept() {
    let watch = |world: SimWorld| async move {
        let looked = world.notify("looked");
        let other = async {
            let there = world.read_dir("/").await.is_ok_and(|entries| !entries.is_empty());
            world.notify_one(&looked).await;
            there
        };
        let steps = world.notified(&looked);
        let ((), there) = join(world.forgetting(steps), other).await;
        world.yield_now().await;
        if there { world.mkdir("/differs").await } else { Ok(()) }
    };
    assert_differs(scenario("both").process("a", watch).process("b", |world| make(world, true)));
}

/// Two files that differ in nothing but their numbers, one of which somebody remembers.
#[test]
fn a_number_that_is_remembered_counts() {
    let watch = |world: SimWorld| async move {
        let before = world.stat("/l").await?.id;
        world.yield_now().await;
        if world.stat("/l").await?.id != before { world.mkdir("/differs").await } else { Ok(()) }
    };
    let change = |world: SimWorld| async move {
        let changed = async {
            match world.choose(2).await {
                0 => world.unlink("/m").await,
                _ => world.rename("/m", "/l").await,
            }
        };
        world.forgetting(changed).await
    };
    let scene = scenario("numbers").file("/l", "same").file("/m", "same");
    assert_differs(scene.process("a", watch).process("b", change));
}

/// Makes and removes a directory again and again.
async fn go_round(world: SimWorld, keeps: bool) {
    let rounds = async {
        for round in 0..3 {
            if keeps {
                world.keeping(&round);
            }
            world.mkdir("/made").await.ok();
            world.rmdir("/made").await.ok();
        }
    };
    world.forgetting(rounds).await;
}

#[test]
fn a_round_forgets_those_before_it() {
    let [remembering, keeping] = [false, true].map(|keeps| {
        let scene = scenario("rounds").process("a", move |world| go_round(world, keeps));
        states(&scene.process("b", move |world| go_round(world, keeps)))
    });
    assert!(keeping * 2 < remembering, "{keeping} of {remembering} states");
}

/// The near-twin: what is kept counts.
#[test]
fn what_a_round_keeps_is_not_forgotten() {
    let watch = |world: SimWorld| async move {
        let rounds = async {
            let mut seen = false;
            for round in 0..3 {
                world.keeping(&(round, seen));
                seen |= world.stat("/made").await.is_ok();
            }
            seen
        };
        if world.forgetting(rounds).await { world.mkdir("/differs").await } else { Ok(()) }
    };
    assert_differs(scenario("kept").process("a", |world| go_round(world, true)).process("b", watch));
}

/// Two tasks that change what a mutex guards, and what became of it in the end.
fn guarded(by_value: bool, change: fn(u32, u32) -> u32) -> Scenario {
    scenario("guarded").workers(2).process("p", move |world: SimWorld| async move {
        let mutex = if by_value { world.value_mutex("m", 0) } else { world.mutex("m", 0) };
        let change = |n: u32| {
            let (own, mutex) = (world.clone(), mutex.clone());
            let task = async move {
                // From here on they are told apart.
                own.stat(&format!("/{n}")).await.ok();
                own.forgetting(async {
                    let mut value = own.lock(&mutex).await;
                    *value = change(*value, n);
                })
                .await;
                for _ in 0..3 {
                    own.yield_now().await;
                }
            };
            world.spawn(&format!("t{n}"), task)
        };
        world.join_all(&mut [change(1), change(2)]).await;
        if *world.lock(&mutex).await == 2 { world.mkdir("/differs").await } else { Result::Ok(()) }
    })
}

#[test]
fn who_has_made_a_value_what_it_is_is_forgotten() {
    let sum = |value, n| value + 10 * n;
    let [remembering, forgetting] = [false, true].map(|by_value| states(&guarded(by_value, sum)));
    assert!(forgetting * 6 < remembering * 5, "{forgetting} of {remembering} states");
}

/// The near-twin: the value counts.
#[test]
fn what_the_value_is_is_not_forgotten() {
    assert_differs(guarded(true, |value, n| if value == 0 { n } else { value }));
}
