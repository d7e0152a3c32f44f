//! Sampling strategies: each does what it promises, measured over fixed seeds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flockstep::world::*;
use flockstep::{KernelView, Method, Oracle, Scenario, SimWorld, Strategy, Violation, ViolationKind, scenario};

/// Who took a step after whom, and what became of it: how often, over all executions.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<BTreeMap<String, u64>>>);

impl Seen {
    fn counts(&self) -> BTreeMap<String, u64> {
        self.0.lock().unwrap().clone()
    }
}

/// Watches who looks at names, one letter for each look: the first of the name of the task.
struct Order {
    seen: Seen,
    order: String,
}

impl Oracle for Order {
    fn name(&self) -> &str {
        "order"
    }
    fn kinds(&self) -> Kinds {
        Kinds::OTHER
    }
    fn begin(&mut self) {
        self.order.clear();
    }
    fn on(&mut self, event: &Event, kernel: &KernelView<'_>) -> std::result::Result<(), Violation> {
        if let What::Stat { .. } = event.what {
            let name = kernel.who(event);
            self.order.push_str(&name[name.len() - 1..]);
        }
        Ok(())
    }
    fn finish(&mut self, _: &KernelView<'_>) -> std::result::Result<(), Violation> {
        *self.seen.0.lock().unwrap().entry(self.order.clone()).or_default() += 1;
        Ok(())
    }
    fn state(&self) -> Option<u64> {
        None
    }
    fn judged(&self) -> u64 {
        1
    }
}

async fn look(world: &SimWorld, times: u32) {
    for _ in 0..times {
        world.stat("/").await.expect("there is a root");
    }
}

/// Every order that there is, by enumeration, and how often a strategy takes each.
fn orders(scene: &Scenario, strategy: Strategy) -> (usize, BTreeMap<String, u64>) {
    let watched = |seen: &Seen| {
        let seen = seen.clone();
        scene.clone().oracle(move || Order { seen: seen.clone(), order: String::new() })
    };
    let (all, drawn) = (Seen::default(), Seen::default());
    let everything = Strategy { method: Method::Dfs { cache: false }, ..Strategy::exhaustive() };
    watched(&all).explore(everything).assert_exhausted();
    watched(&drawn).explore(strategy).assert_upheld();
    (all.counts().len(), drawn.counts())
}

/// Pearson's statistic against the uniform distribution over that many orders.
fn chi_square(kinds: usize, drawn: &BTreeMap<String, u64>) -> f64 {
    let total: u64 = drawn.values().sum();
    let expected = total as f64 / kinds as f64;
    let seen: f64 = drawn.values().map(|&n| (n as f64 - expected).powi(2) / expected).sum();
    seen + (kinds - drawn.len()) as f64 * expected
}

/// Three processes of uneven length.
fn straight() -> Scenario {
    [("a", 4), ("b", 2), ("c", 1)].into_iter().fold(scenario("straight"), |scene, (name, times)| {
        scene.process(name, move |world| async move { look(&world, times).await })
    })
}

/// Tasks that are spawned one after the other, by one that does something in between.
fn spawning() -> Scenario {
    scenario("spawning").process("m", |world: SimWorld| async move {
        let spawn = |name: &str, times| {
            let inner = world.clone();
            world.spawn(name, async move { look(&inner, times).await })
        };
        look(&world, 1).await;
        let first = spawn("x", 3);
        look(&world, 1).await;
        let second = spawn("y", 2);
        let _ = (first.await, second.await);
    })
}

#[test]
fn urw_takes_every_interleaving_equally_often() {
    // 105 orders of the first; of 104 degrees of freedom, fewer than one in ten thousand samples is above 164.
    for (scene, kinds, limit) in [(straight(), 105, 164.0), (spawning(), 10 + 10, 50.0)] {
        let method = |method| Strategy { method, ..Strategy::random(100 * kinds as u64) };
        let (all, drawn) = orders(&scene, method(Method::Urw));
        assert_eq!(all, kinds, "{drawn:?}");
        let (uniform, walk) = (chi_square(all, &drawn), chi_square(all, &orders(&scene, method(Method::Random)).1));
        assert!(uniform < limit, "{}: {uniform}, {drawn:?}", scene.name());
        assert!(walk > 2.0 * limit, "a random walk is not uniform, and this would see it: {walk}");
    }
}

#[test]
fn bursts_switch_less_often() {
    let scene = ["a", "b", "c"]
        .into_iter()
        .fold(scenario("bursts"), |scene, name| scene.process(name, |world| async move { look(&world, 8).await }));
    let switches = |method| {
        let seen = Seen::default();
        let into = seen.clone();
        let watched = scene.clone().oracle(move || Order { seen: into.clone(), order: String::new() });
        watched.explore(Strategy { method, ..Strategy::random(500) }).assert_upheld();
        let switches = |order: &str| order.as_bytes().windows(2).filter(|two| two[0] != two[1]).count() as u64;
        seen.counts().iter().map(|(order, times)| switches(order) * times).sum::<u64>()
    };
    let (burst, random) = (switches(Method::Burst), switches(Method::Random));
    assert!(2 * burst < random, "{burst} against {random}");
}

/// Adds a byte without a lock; an update is lost if the other one writes in between.
async fn add(world: &SimWorld, byte: u8) -> Result<()> {
    let mut content = read_file(world, "/list").await?;
    content.push(byte);
    let file = world.open("/list", OpenOptions::replace()).await?;
    write_all(world, &file, &content).await?;
    world.close(file).await
}

/// In how many of that many schedules an update is lost.
fn losses(scene: &Scenario, of: usize, method: Method, schedules: u64) -> u64 {
    let seen = Seen::default();
    let into = seen.clone();
    let watched = scene.clone().finally("losses are counted", move |kernel| {
        let word = if kernel.read("/list").bytes().len() == of { "whole" } else { "lost" };
        *into.0.lock().unwrap().entry(word.into()).or_default() += 1;
        true
    });
    let exploration = watched.explore(Strategy { method, ..Strategy::random(schedules) });
    exploration.assert_upheld();
    seen.counts().get("lost").copied().unwrap_or(0)
}

#[test]
fn pct_finds_what_needs_two_constraints_as_often_as_it_promises() {
    let add = |name| move |world: SimWorld| async move { add(&world, name).await };
    let scene = scenario("two").file("/list", "").process("a", add(b'a')).process("b", add(b'b'));
    let steps = scene.explore(Strategy::random(1)).steps;
    // One reads, the other writes, and only then does the first: two constraints, so 1 / (n k) with n agents and k steps.
    let found = losses(&scene, 2, Method::Pct { depth: 2 }, 4_000);
    assert!(found >= 4_000 / (2 * steps), "{found} of 4,000, with {steps} steps");
    // With the priorities of the start alone, nothing is ever lost, but in the two random schedules that every seed begins with.
    assert!(losses(&scene, 2, Method::Pct { depth: 1 }, 4_000) <= 2);
}

#[test]
fn pos_does_not_mind_what_comes_before_a_race() {
    // Twenty steps that race with nothing, then one that does, against one that is about to happen from the start: it comes last only if its
    // priority is lower than 21 others, so one in 22 times. In a random walk it would be one in two million.
    let scene = scenario("late")
        .file("/list", "")
        .process("long", |world: SimWorld| async move {
            look(&world, 20).await;
            world.unlink("/list").await
        })
        .process("short", |world: SimWorld| async move { world.stat("/list").await.map(drop) })
        .may_fail();
    let fails = |method| {
        let seen = Seen::default();
        let into = seen.clone();
        let watched = scene.clone().oracle(move || Failures { seen: into.clone(), failed: false });
        watched.explore(Strategy { method, ..Strategy::random(2_200) }).assert_upheld();
        seen.counts().get("failed").copied().unwrap_or(0)
    };
    let (pos, random) = (fails(Method::Pos), fails(Method::Random));
    assert!(pos >= 60, "about 100 of 2,200 are expected, not {pos}");
    assert!(random <= 2, "{random}");
}

/// In how many executions something fails.
struct Failures {
    seen: Seen,
    failed: bool,
}

impl Oracle for Failures {
    fn name(&self) -> &str {
        "failures"
    }
    fn kinds(&self) -> Kinds {
        Kinds::FAILURES
    }
    fn begin(&mut self) {
        self.failed = false;
    }
    fn on(&mut self, _: &Event, _: &KernelView<'_>) -> std::result::Result<(), Violation> {
        self.failed = true;
        Ok(())
    }
    fn finish(&mut self, _: &KernelView<'_>) -> std::result::Result<(), Violation> {
        let word = if self.failed { "failed" } else { "went well" };
        *self.seen.0.lock().unwrap().entry(word.into()).or_default() += 1;
        Ok(())
    }
    fn state(&self) -> Option<u64> {
        None
    }
    fn judged(&self) -> u64 {
        1
    }
}

/// A short update that is lost only if it stands still for the whole of a long one's preparations, among others who are busy.
fn uneven() -> Scenario {
    let scene = scenario("uneven").file("/list", "");
    let scene = scene.process("short", |world: SimWorld| async move { add(&world, b's').await });
    let scene = scene.process("long", |world: SimWorld| async move {
        look(&world, 40).await;
        add(&world, b'l').await
    });
    ["x", "y", "z"]
        .into_iter()
        .fold(scene, |scene, name| scene.process(name, |world| async move { look(&world, 20).await }))
}

#[test]
fn surw_finds_what_uneven_lengths_hide_from_a_random_walk() {
    let surw = losses(&uneven(), 2, Method::Surw, 1_000);
    let random = losses(&uneven(), 2, Method::Random, 5_000);
    assert!(surw >= 100, "{surw} of 1,000");
    assert_eq!(random, 0, "of 5,000");
    assert!(losses(&uneven(), 2, Method::Mixed, 1_000) >= 20);
}

/// Polls as tools without flock do.
async fn poll_for(world: SimWorld) -> Result<()> {
    loop {
        match world.open("/lock", OpenOptions::create_new()).await {
            Ok(file) => {
                world.close(file).await?;
                return world.unlink("/lock").await;
            }
            Err(error) if error.errno == Errno::Exist => world.sleep(Duration::from_millis(10)).await,
            Err(error) => return Err(error),
        }
    }
}

/// Takes two locks by polling, and says when it is done.
async fn take_both(world: SimWorld, first: &'static str, second: &'static str) -> Result<()> {
    let mut held = Vec::new();
    for path in [first, second] {
        let file = world.open(path, OpenOptions::lock_file()).await?;
        while !world.try_flock(&file, LockMode::Exclusive).await? {
            world.yield_now().await;
        }
        held.push(file);
    }
    drop(held);
    match world.mkdir("/ready").await {
        Err(error) if error.errno != Errno::Exist => Err(error),
        _ => Ok(()),
    }
}

/// Somebody who waits for others, and comes first; two who take two locks.
fn watched(order: [&'static str; 2]) -> Scenario {
    let scene = scenario("watched").steps_max(2_000).process("watch", |world: SimWorld| async move {
        while world.stat("/ready").await.is_err() {
            world.yield_now().await;
        }
    });
    let scene = scene.process("a", |world| take_both(world, "/1", "/2"));
    scene.process("b", move |world| take_both(world, order[0], order[1]))
}

/// The first of the schedules that are drawn lets whoever runs go on until it blocks, and who polls never blocks: that was a livelock in every
/// seed of every method.
#[test]
fn who_polls_and_comes_first_is_no_livelock() {
    for method in Method::ALL.into_iter().filter(|method| method.samples()) {
        watched(["/1", "/2"]).explore(Strategy { method, ..Strategy::random(300) }).assert_upheld();
    }
}

/// What is left of a livelock's schedule is one, too: not somebody who polls while nobody else goes on, which is no end for a sound program
/// either.
#[test]
fn the_smallest_livelock_is_a_livelock() {
    for method in Method::ALL.into_iter().filter(|method| method.samples()) {
        let found = watched(["/2", "/1"]).explore(Strategy { method, ..Strategy::random(300) });
        let key = found.assert_violated(ViolationKind::Endless).key.clone().expect("one schedule shows it");
        assert!(watched(["/2", "/1"]).replay(&key).0.is_some(), "{key}");
        assert!(watched(["/1", "/2"]).replay(&key).0.is_none(), "{key} is none of those who take them in one order");
    }
}

#[test]
fn no_strategy_takes_polling_for_a_livelock_and_none_misses_one() {
    let two = scenario("polling").steps_max(3_000).process("a", poll_for).process("b", poll_for).process("c", poll_for);
    for method in Method::ALL.into_iter().filter(|method| method.samples()) {
        two.explore(Strategy { method, ..Strategy::random(3_000) }).assert_upheld();
        let stale = two.clone().file("/lock", "");
        stale.explore(Strategy { method, ..Strategy::random(10) }).assert_violated(ViolationKind::Endless);
    }
}

/// A yield is how a protocol stands still in the middle of something, and that it is over before another has begun is one of its schedules.
#[test]
fn who_yields_goes_on_first_under_every_strategy_as_well() {
    let scene = scenario("yields").process("patient", |world: SimWorld| async move {
        world.yield_now().await;
        world.mkdir("/patient").await
    });
    let scene = scene.process("late", |world: SimWorld| async move {
        if world.stat("/patient").await.is_err() { world.mkdir("/late").await } else { Result::Ok(()) }
    });
    let scene = scene.finally("the other one is first", |fs| fs.exists("/late"));
    for method in Method::ALL.into_iter().filter(|method| method.samples()) {
        let found = scene.explore(Strategy { method, ..Strategy::random(1_000) });
        found.assert_violated(ViolationKind::Promise("the other one is first".into()));
    }
}

#[test]
fn faults_strike_under_every_strategy() {
    for method in Method::ALL.into_iter().filter(|method| method.samples()) {
        let scene = scenario("struck").process("p", |world: SimWorld| async move {
            look(&world, 6).await;
            world.mkdir("/done").await
        });
        let early = |kernel: &KernelView<'_>| !kernel.alive(0) && !kernel.exists("/done");
        let killed = scene.kill("p").sometimes("it dies early", early).sometimes("it is done", |k| k.exists("/done"));
        killed.explore(Strategy { method, ..Strategy::random(200) }).assert_upheld();
    }
}

#[test]
fn methods_have_names() {
    for method in Method::ALL {
        assert_eq!(Method::from_name(method.name()), Some(method));
    }
    assert_eq!(Method::from_name("luck"), None);
}
