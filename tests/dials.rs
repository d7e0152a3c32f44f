//! Where nobody looks at the clock, or at a peak, a search need not tell states apart by it; where somebody does, it must.

use std::time::Duration;

use flockstep::explore::Method;
use flockstep::oracle::RegionExclusion;
use flockstep::world::{Clock, Errno, Error, Files, LockMode, Locks, Notes, OpenOptions, Result, Tasks};
use flockstep::{Exploration, Scenario, SimWorld, Strategy, Verdict, scenario};

const SEARCHES: [Method; 4] =
    [Method::Dfs { cache: false }, Method::Dfs { cache: true }, Method::Dpor, Method::Bounded];

fn search(scene: &Scenario, method: Method) -> Exploration {
    scene.explore(Strategy { method, ..Strategy::exhaustive() })
}

const NAP: Duration = Duration::from_millis(50);

/// Tries, and sleeps a while before it tries again.
async fn polls(world: SimWorld) -> Result<()> {
    let lock = world.open("/lock", OpenOptions::lock_file()).await?;
    let got = world.forgetting(async {
        while !world.try_flock(&lock, LockMode::Exclusive).await? {
            world.sleep(NAP).await;
            world.keeping(&());
        }
        Ok::<_, Error>(())
    });
    got.await?;
    let build = world.region("build", "k");
    world.yield_now().await;
    drop(build);
    world.close(lock).await
}

fn pollers(count: usize) -> Scenario {
    let scene = scenario("pollers").oracle(|| RegionExclusion::of("build"));
    (0..count).fold(scene, |scene, n| scene.process(&format!("p{n}"), polls))
}

/// It is later each time that somebody has slept, so he never came back to a state of his own, and no search came to an end.
#[test]
fn a_search_of_those_who_sleep_between_two_tries_comes_to_its_end() {
    for method in [Method::Dfs { cache: true }, Method::Bounded] {
        search(&pollers(2), method).assert_exhausted();
        search(&pollers(3), method).assert_exhausted();
    }
}

/// Two who sleep, and one who does what he was given with what has come of it.
fn sleepers(then: impl Fn(SimWorld) -> Result<()> + Clone + Send + Sync + 'static) -> Scenario {
    let sleeps = |world: SimWorld| async move {
        world.sleep(NAP).await;
        world.sleep(NAP).await;
        Result::Ok(())
    };
    let looks = move |world: SimWorld| {
        let then = then.clone();
        async move {
            world.sleep(NAP / 5).await;
            then(world)
        }
    };
    scenario("sleepers").process("one", sleeps).process("other", sleeps).process("looks", looks)
}

#[test]
fn who_looks_at_the_clock_can_see_every_time() {
    let late = |world: SimWorld| match world.now() < 2 * NAP {
        true => Ok(()),
        false => Err(Error::new(Errno::Again, "look", "it is late")),
    };
    for method in SEARCHES {
        let found = search(&sleepers(late), method);
        assert!(matches!(found.verdict, Verdict::Violated(_)), "{method:?}: {:?}", found.verdict);
        // An oracle is somebody, too.
        let late = sleepers(|_| Ok(())).always("it is early", |fs| fs.now() < 2 * NAP);
        let found = search(&late, method);
        assert!(matches!(found.verdict, Verdict::Violated(_)), "{method:?}: {:?}", found.verdict);
    }
}

#[test]
fn two_sleeps_are_in_nobodys_way_unless_somebody_looks_at_the_clock() {
    let [asleep, awake] = [sleepers(|_| Ok(())), sleepers(|world| Ok(_ = world.now()))];
    for method in SEARCHES {
        let executions = [&asleep, &awake].map(|scene| {
            let found = search(scene, method);
            found.assert_exhausted();
            found.executions
        });
        match method {
            Method::Dfs { cache: false } => assert_eq!(executions, [30, 30], "{method:?}"),
            // In which order the three end is told to an oracle.
            Method::Dpor => assert!(executions[0] == 6 && executions[1] > 10, "{method:?}: {executions:?}"),
            _ => assert!(executions[0] < executions[1], "{method:?}: {executions:?}"),
        }
    }
}

/// Somebody opens one file more if he comes second, and forgets it.
async fn opens(world: SimWorld) -> Result<()> {
    let lock = world.open("/lock", OpenOptions::lock_file()).await?;
    world.flock(&lock, LockMode::Exclusive).await?;
    let opened = world.forgetting(async {
        if world.mkdir("/done").await.is_err() {
            world.close(world.open("/", OpenOptions::directory()).await?).await?;
        }
        Result::Ok(())
    });
    opened.await?;
    world.close(lock).await?;
    // Which of them was the second is nowhere to be seen by now, but in his peak.
    world.stat("/other").await.ok();
    world.mkdir("/other").await.ok();
    Ok(())
}

/// Two files at once, if both are open before one is closed.
async fn opens_in_two_tasks(world: SimWorld) -> Result<()> {
    let there = world.clone();
    let task = world.spawn("t", async move { there.close(there.open("/a", OpenOptions::lock_file()).await?).await });
    world.close(world.open("/b", OpenOptions::lock_file()).await?).await?;
    task.await.expect("not aborted")
}

#[test]
fn who_looks_at_the_peak_can_see_every_peak() {
    let two = scenario("two").process("p", opens).process("q", opens);
    let one = scenario("one").tasks_share_nothing().process("p", opens_in_two_tasks);
    for scene in [two, one] {
        for method in SEARCHES {
            let peak = |at_most: u32| {
                let scene = scene.clone();
                search(&scene.finally("few are open", move |fs| fs.descriptor_peak(0) <= at_most), method)
            };
            assert!(matches!(peak(4).verdict, Verdict::Violated(_)), "{method:?}: {:?}", peak(4).verdict);
            peak(5).assert_exhausted();
        }
    }
}
