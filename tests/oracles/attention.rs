//! What an oracle does not attend to cannot matter to it: it judges the same when it is told all the same.

use flockstep::oracle::{BlockingWhileHeld, DescriptorBound, LockBound, LockOrder, Oracle, PathExclusion, Violation};
use flockstep::world::{Event, Files, Kinds, LockMode, Locks, Notes, OpenOptions, Tasks, What};
use flockstep::{KernelView, Scenario, SimWorld, Strategy, Verdict, scenario};
use proptest::prelude::{ProptestConfig, any, proptest};
use proptest::{collection, prop_assert_eq};
use std::sync::{Arc, Mutex};

use super::File;

/// The oracle inside, told of everything that it asks for.
struct ToldAll<O>(O);

impl<O: Oracle> Oracle for ToldAll<O> {
    fn name(&self) -> &str {
        self.0.name()
    }
    fn kinds(&self) -> Kinds {
        self.0.kinds()
    }
    fn begin(&mut self) {
        self.0.begin();
    }
    fn on(&mut self, event: &Event, kernel: &KernelView<'_>) -> Result<(), Violation> {
        self.0.on(event, kernel)
    }
    fn finish(&mut self, kernel: &KernelView<'_>) -> Result<(), Violation> {
        self.0.finish(kernel)
    }
    fn evidence(&self) -> Vec<Arc<str>> {
        self.0.evidence()
    }
    fn state(&self) -> Option<u64> {
        self.0.state()
    }
    fn judged(&self) -> u64 {
        self.0.judged()
    }
}

const PATHS: [&str; 3] = ["/a", "/b", "/c"];

/// A few calls, whatever comes of them, on the file that was opened last.
async fn calls(world: SimWorld, calls: Vec<(u8, usize)>) {
    let mut files: Vec<File> = Vec::new();
    for (call, path) in calls {
        let path = PATHS[path];
        let Some(file) = files.last().filter(|_| call > 1) else {
            files.extend(world.open(path, OpenOptions::lock_file()).await);
            continue;
        };
        match call {
            2 | 3 => drop(world.flock(file, LockMode::Exclusive).await),
            4 => drop(world.flock(file, LockMode::Shared).await),
            5 => drop(world.try_flock(file, LockMode::Exclusive).await),
            6 => drop(world.unlock(file).await),
            7 => drop(world.write(file, b"x").await),
            8 => drop(world.unlink(path).await),
            9 => drop(world.rename(path, PATHS[0]).await),
            10 => files.extend(world.dup(file).await),
            11 => world.note("did", path),
            12 => {
                let (w, file) = (world.clone(), files.pop().expect("there is one"));
                let locked = world.on_thread(async move { w.flock(&file, LockMode::Exclusive).await.map(|()| file) });
                files.extend(locked.await);
            }
            13 => drop(files.pop()),
            _ => world.yield_now().await,
        }
    }
}

type Program = Vec<Vec<Vec<(u8, usize)>>>;

/// Processes, their tasks, their calls.
fn program(processes: &Program) -> Scenario {
    let mut scene = scenario("calls").workers(2).leaks_allowed();
    for (number, tasks) in processes.iter().enumerate() {
        let tasks = tasks.clone();
        scene = scene.process(&format!("p{number}"), move |world: SimWorld| {
            let tasks = tasks.clone();
            async move {
                let spawn = |(n, task)| world.spawn(&format!("t{n}"), calls(world.clone(), task));
                let all: Vec<_> = tasks.into_iter().enumerate().map(spawn).collect();
                for task in all {
                    task.await.expect("not aborted");
                }
            }
        });
    }
    scene
}

/// What is found, with how many executions.
fn found(scene: &Scenario, seed: u64) -> (Option<Violation>, u64) {
    let found = scene.explore(Strategy::random(40).seed(seed).unshortened());
    let violation = match found.verdict {
        Verdict::Violated(failure) => Some(failure.violation),
        Verdict::Upheld { .. } | Verdict::Inconclusive(_) => None,
    };
    (violation, found.executions)
}

/// What it finds by itself, and told everything.
fn both<O: Oracle + 'static>(
    program: &Program,
    seed: u64,
    make: impl Fn() -> O + Copy + Send + Sync + 'static,
) -> [(Option<Violation>, u64); 2] {
    let scene = || self::program(program);
    [found(&scene().oracle(make), seed), found(&scene().oracle(move || ToldAll(make())), seed)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(feature = "exhaustive") { 3_000 } else { 150 }, ..ProptestConfig::default() })]

    #[test]
    fn what_is_not_attended_to_does_not_matter(
        processes in collection::vec(collection::vec(collection::vec((0..15u8, 0..3usize), 0..9), 1..3), 1..3),
        seed in any::<u64>(),
    ) {
        let order = || LockOrder::consistent([("/a", "a"), ("/b", "b")]);
        for [quiet, told] in [
            both(&processes, seed, order),
            both(&processes, seed, || LockBound::at_most(1)),
            both(&processes, seed, || PathExclusion::of("/*")),
            both(&processes, seed, BlockingWhileHeld::default),
            both(&processes, seed, || DescriptorBound::at_most(5)),
        ] {
            prop_assert_eq!(quiet, told);
        }
    }
}

/// Attends to content only while somebody has locked something.
struct UnderLock {
    locked: bool,
    told: Arc<Mutex<Vec<String>>>,
}

impl Oracle for UnderLock {
    fn name(&self) -> &str {
        "under lock"
    }
    fn kinds(&self) -> Kinds {
        Kinds::LOCKS | Kinds::CONTENT
    }
    fn attends(&self) -> Option<Kinds> {
        Some(if self.locked { self.kinds() } else { Kinds::LOCKS })
    }
    fn begin(&mut self) {
        self.locked = false;
        self.told.lock().expect("no panic").clear();
    }
    fn on(&mut self, event: &Event, _: &KernelView<'_>) -> Result<(), Violation> {
        self.locked = matches!(event.what, What::Lock { .. }) || self.locked && event.what.kind() != Kinds::LOCKS;
        self.told.lock().expect("no panic").push(event.what.to_string());
        Ok(())
    }
    fn state(&self) -> Option<u64> {
        Some(u64::from(self.locked))
    }
    fn judged(&self) -> u64 {
        1 // it judges nothing
    }
}

#[test]
fn it_is_told_only_of_what_it_attends_to_and_others_of_what_they_do() {
    let [told, all] = [const { Mutex::new(Vec::new()) }; 2].map(Arc::new);
    let inner = |told: &Arc<Mutex<Vec<String>>>| {
        let told = told.clone();
        move || UnderLock { locked: false, told: told.clone() }
    };
    let (quiet, everything) = (inner(&told), inner(&all));
    let s = scenario("told").oracle(quiet).oracle(move || ToldAll(everything())).process(
        "p",
        |world: SimWorld| async move {
            let file = world.open("/a", OpenOptions::lock_file()).await?;
            world.write(&file, b"1").await?;
            world.flock(&file, LockMode::Exclusive).await?;
            world.write(&file, b"12").await?;
            world.unlock(&file).await?;
            world.write(&file, b"123").await?;
            world.close(file).await
        },
    );
    let [locks, writes, unlocks] = ["locks /a exclusive", "writes 2 bytes to /a", "no longer locks /a"];
    for strategy in [Strategy::random(1), Strategy::dfs(1), Strategy::dpor(1)] {
        s.explore(strategy);
        assert_eq!(*told.lock().expect("no panic"), [locks, writes, unlocks]);
        assert_eq!(
            *all.lock().expect("no panic"),
            ["writes 1 bytes to /a", locks, writes, unlocks, "writes 3 bytes to /a"]
        );
    }
}
