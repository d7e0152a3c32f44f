//! The protocol, in worlds that nobody controls: builds here, the locks beneath them in `locks`. The bodies are generic over the World
//! and prepare everything through it; two caches in one process stand for two processes: a lock belongs to the open file description, not
//! to the process.

mod locks;

use flockstep::os::{Class, OsWorld};
use flockstep::protocol::budget::{BUILD, RESERVE};
use flockstep::protocol::entry::{lookup, marker_path, shard_dir};
use flockstep::protocol::tree::lock_path;
use flockstep::protocol::{
    Cache, Error, Lock, Obtained, Order, Plan, Rank, Recipe, Result, Settings, Task, Temp, Tree, Work, build_all,
    obtain, sweep,
};
use flockstep::world::{
    Clock, Command, LockMode, OpenOptions, Process, Stdio, World, create_dir_all, read_file, remove_dir_all, timeout,
    write_all,
};
use futures::future::join;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const SOON: Duration = Duration::from_millis(50);

/// With one worker and with two; with one blocking thread, because the protocol needs none.
fn on_os<F: Future<Output = ()> + Send + 'static>(body: impl Fn(OsWorld, String) -> F) {
    for workers in [1, 2] {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_str().unwrap().to_owned();
        OsWorld::run(workers, 1, |world| body(world, root)).unwrap();
    }
}

fn settings(root: &str) -> Settings {
    Settings { lock_timeout: Some(Duration::from_secs(60)), ..Settings::new(format!("{root}/cache"), root) }
}

fn cache<W: World>(world: &W, root: &str) -> Cache<W> {
    Cache::new(world, settings(root)).unwrap()
}

async fn task<W: World>(world: &W, cache: &Cache<W>) -> Task<W> {
    cache.task(world, &Order::new(), BUILD).await.unwrap()
}

async fn lock<W: World>(world: &W, task: &mut Task<W>, path: &str) -> Result<Lock<W>> {
    task.lock(world, Rank::Project, path, LockMode::Exclusive).await
}

async fn is_free<W: World>(world: &W, root: &str, path: &str) -> bool {
    let mut task = task(world, &cache(world, root)).await;
    match task.try_lock(world, Rank::Project, path, LockMode::Exclusive).await.unwrap() {
        Some(lock) => {
            lock.release().await;
            true
        }
        None => false,
    }
}

async fn write<W: World>(world: &W, path: &str, content: &[u8]) {
    let file = world.open(path, OpenOptions::replace()).await.unwrap();
    write_all(world, &file, content).await.unwrap();
    world.close(file).await.unwrap();
}

/// Builds that count themselves, and require others.
#[derive(Clone, Default)]
struct Counted {
    key: String,
    forced: bool,
    fails: bool,
    requires: Vec<Counted>,
    takes: Duration,
    built: Arc<AtomicUsize>,
    at_once: Arc<AtomicUsize>,
    at_once_peak: Arc<AtomicUsize>,
}

impl Counted {
    fn new(key: &str) -> Self {
        Counted { key: key.to_owned(), ..Counted::default() }
    }
}

impl<W: World> Recipe<W> for Counted {
    type Needs = usize;
    fn key(&self) -> &str {
        &self.key
    }
    fn reusable(&self) -> bool {
        !self.forced
    }
    async fn prepare(&self, world: &W, task: &mut Task<W>) -> Result<usize> {
        for required in &self.requires {
            obtain(world, task, required).await?;
        }
        Ok(self.requires.len())
    }
    async fn produce(&self, world: &W, needs: &usize, work: &mut Work<'_, W>) -> Result<()> {
        assert_eq!(*needs, self.requires.len());
        self.at_once_peak.fetch_max(self.at_once.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        write(world, &format!("{}/result", work.dir()), b"half").await;
        world.sleep(self.takes).await;
        self.at_once.fetch_sub(1, Ordering::Relaxed);
        if self.fails {
            return Err(Error::recipe("the backend says no"));
        }
        write(world, &format!("{}/result", work.dir()), b"whole").await;
        self.built.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

async fn each_key_is_built_once<W: World>(world: W, root: String) {
    let inputs: Vec<_> =
        (0..12).map(|n| Counted { takes: SOON / 10, ..Counted::new(&format!("wheels/{n}")) }).collect();
    let mut processes = Vec::new();
    for number in 0..4 {
        let (inputs, cache, process) = (inputs.clone(), cache(&world, &root), world.clone());
        processes.push(world.spawn(&format!("process {number}"), async move {
            let plan = Plan { inputs, jobs: 3, offset: 3 * number };
            let report = Arc::new(|_, _: &Result<Obtained>| ());
            let results = build_all(&process, &cache, &Order::new(), plan, report).await;
            for result in &results {
                let path = format!("{}/result", result.as_ref().unwrap().entry().path);
                assert_eq!(read_file(&process, &path).await.unwrap(), b"whole");
            }
            results.iter().filter(|result| matches!(result, Ok(Obtained::Built(_)))).count()
        }));
    }
    let mut built = 0;
    for process in processes {
        built += process.await.unwrap();
    }
    assert_eq!(built, inputs.len());
    for input in &inputs {
        assert_eq!(input.built.load(Ordering::Relaxed), 1, "{}", input.key);
    }
    let left = world.read_dir(&format!("{root}/cache/tmp")).await.unwrap();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn each_key_is_built_once_over_all_processes() {
    on_os(each_key_is_built_once);
}

async fn an_error_stops_nobody_else<W: World>(world: W, root: String) {
    let inputs = vec![Counted { fails: true, ..Counted::new("bad") }, Counted::new("good"), Counted::new("good")];
    let reported = Arc::new(AtomicUsize::new(0));
    let count = reported.clone();
    let report = Arc::new(move |_, _: &Result<Obtained>| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    let plan = Plan { inputs, jobs: 2, offset: 0 };
    let results = build_all(&world, &cache(&world, &root), &Order::new(), plan, report).await;
    assert_eq!(results[0].as_ref().unwrap_err().to_string(), "the backend says no");
    let built = |result: &Result<Obtained>| matches!(result.as_ref().unwrap(), Obtained::Built(_));
    assert!(built(&results[1]) != built(&results[2]), "one builds, the other one reuses");
    assert_eq!(reported.load(Ordering::Relaxed), 3);
    assert_eq!(lookup(&world, &shard_dir(&format!("{root}/cache"), "bad")).await.unwrap(), None);
    assert!(world.read_dir(&format!("{root}/cache/tmp")).await.unwrap().is_empty());
}

#[test]
fn an_error_of_one_input_stops_no_other() {
    on_os(an_error_stops_nobody_else);
}

async fn nested_builds<W: World>(world: W, root: String) {
    // Room for a single build: a second permit for the nested one would never come.
    let reserve = world.descriptor_limit().saturating_sub(BUILD);
    let cache = Cache::new(&world, Settings { reserve, ..settings(&root) }).unwrap();
    let leaf = Counted::new("c");
    let middle = Counted { requires: vec![leaf.clone()], ..Counted::new("b") };
    let inputs = vec![Counted { requires: vec![middle.clone(), leaf.clone()], ..Counted::new("a") }, middle, leaf];
    let plan = Plan { inputs: inputs.clone(), jobs: 3, offset: 0 };
    let report = Arc::new(|_, _: &Result<Obtained>| ());
    for result in build_all(&world, &cache, &Order::new(), plan, report).await {
        result.unwrap();
    }
    for input in &inputs {
        assert_eq!(input.built.load(Ordering::Relaxed), 1, "{}", input.key);
    }
}

#[test]
fn nested_builds_borrow_the_permit_of_their_parent() {
    on_os(nested_builds);
}

async fn cyclic_requirements<W: World>(world: W, root: String) {
    let inner = Counted { requires: vec![Counted::new("a")], ..Counted::new("b") };
    let outer = Counted { requires: vec![inner], ..Counted::new("a") };
    let error = obtain(&world, &mut task(&world, &cache(&world, &root)).await, &outer).await.unwrap_err();
    assert!(error.to_string().contains("a → b → a"), "{error}");
}

#[test]
fn cyclic_requirements_are_named() {
    on_os(cyclic_requirements);
}

async fn forced_rebuilds<W: World>(world: W, root: String) {
    let build = Counted { forced: true, takes: SOON, ..Counted::new("native") };
    let (left, right) = (cache(&world, &root), cache(&world, &root));
    let (mut left, mut right) = (task(&world, &left).await, task(&world, &right).await);
    right.set_waits(false);
    let (left, right) = join(obtain(&world, &mut left, &build), obtain(&world, &mut right, &build)).await;
    let mut revisions = [left.unwrap().entry().revision.0, right.unwrap().entry().revision.0];
    revisions.sort();
    assert_eq!(revisions, [1, 2], "each has a revision of its own");
    assert_eq!(build.at_once_peak.load(Ordering::Relaxed), 2, "they built side by side");
    let current = lookup(&world, &shard_dir(&format!("{root}/cache"), "native")).await.unwrap().unwrap();
    assert_eq!(current.revision.0, 2);
}

#[test]
fn forced_rebuilds_meet_only_in_the_publish() {
    on_os(forced_rebuilds);
}

async fn leftovers<W: World>(world: W, root: String) {
    let shard = shard_dir(&format!("{root}/cache"), "key");
    // A publisher died between its two renames, another one in the middle of a marker without fsync.
    create_dir_all(&world, &format!("{shard}/rev-1")).await.unwrap();
    write(&world, &format!("{shard}/rev-1/result"), b"half").await;
    write(&world, &marker_path(&shard), b"rev-").await;
    let build = Counted::new("key");
    let mut task = task(&world, &cache(&world, &root)).await;
    let built = obtain(&world, &mut task, &build).await.unwrap();
    assert_eq!(built.entry().path, format!("{shard}/rev-2"));
    assert_eq!(read_file(&world, &marker_path(&shard)).await.unwrap(), b"rev-2\n");
    // Somebody removes it by hand: that heals, too.
    remove_dir_all(&world, &built.entry().path).await.unwrap();
    assert!(matches!(obtain(&world, &mut task, &build).await.unwrap(), Obtained::Built(_)));
    assert!(matches!(obtain(&world, &mut task, &build).await.unwrap(), Obtained::Reused(_)));
}

#[test]
fn what_a_crash_leaves_is_never_an_entry() {
    on_os(leftovers);
}

async fn sweeping<W: World>(world: W, root: String) {
    let cache = cache(&world, &root);
    let mut task = task(&world, &cache).await;
    assert_eq!(sweep(&world, &mut task).await.unwrap(), 0, "no such directory yet");
    let in_use = Temp::create(&world, &task).await.unwrap();
    let left = Temp::create(&world, &task).await.unwrap();
    write(&world, &format!("{}/file", left.path()), b"").await;
    let path = left.path().to_owned();
    world.unlock(left.file()).await.unwrap(); // as if its writer had died
    drop(left);
    assert_eq!(sweep(&world, &mut task).await.unwrap(), 1);
    assert!(world.stat(&path).await.is_err());
    assert!(world.stat(in_use.path()).await.is_ok());
    in_use.remove(&world).await.unwrap();
    assert!(world.read_dir(&format!("{root}/cache/tmp")).await.unwrap().is_empty());
}

#[test]
fn the_sweeper_removes_what_nobody_holds() {
    on_os(sweeping);
}

/// A build whose hook lists the descriptors that it has.
struct Listing {
    tree: String,
}

impl<W: World> Recipe<W> for Listing {
    type Needs = ();
    fn key(&self) -> &str {
        "listing"
    }
    async fn prepare(&self, _: &W, _: &mut Task<W>) -> Result<()> {
        Ok(())
    }
    async fn produce(&self, world: &W, _: &(), work: &mut Work<'_, W>) -> Result<()> {
        let hook = Command::new("ls", ["-l", "/proc/self/fd"]).output(Stdio::Capture);
        let output = work.run(world, Some(Tree::built(&self.tree)), hook).await?;
        write(world, &format!("{}/listing", work.dir()), &output.stdout).await;
        Ok(())
    }
}

#[test]
fn a_hook_inherits_the_locks_that_it_works_under_and_no_other() {
    on_os(|world, root| async move {
        let cache = cache(&world, &root);
        let mut command = cache.command();
        let held = command.lock(&world, Rank::CacheRoot, &cache.lock_path(), LockMode::Shared).await.unwrap();
        let mut task = cache.task(&world, command.order(), BUILD).await.unwrap();
        let tree = "/some/tree".to_owned();
        let built = obtain(&world, &mut task, &Listing { tree: tree.clone() }).await.unwrap();
        let listing = read_file(&world, &format!("{}/listing", built.entry().path)).await.unwrap();
        let listing = String::from_utf8(listing).unwrap();
        let shown = |path: &str| listing.lines().filter(|line| line.ends_with(&format!("-> {path}"))).count();
        assert_eq!(shown(&format!("{root}/cache/listing/.lock")), 1, "{listing}");
        assert_eq!(shown(&lock_path(&root, &tree)), 1, "{listing}");
        assert_eq!(listing.matches(&format!("{root}/cache/tmp/")).count(), 1, "{listing}");
        assert_eq!(shown(&cache.lock_path()), 0, "{listing}");
        held.release().await;
        assert_eq!(world.peaks().locks, 4);
    });
}

#[test]
fn the_peak_of_descriptors_does_not_depend_on_the_number_of_inputs() {
    for count in [8, 40] {
        on_os(move |world, root| async move {
            let environment = Counted { takes: SOON, ..Counted::new("environment") };
            let input = |n| Counted { requires: vec![environment.clone()], ..Counted::new(&format!("wheels/{n}")) };
            let inputs: Vec<_> = (0..count).map(input).collect();
            let reserve = world.descriptor_limit().saturating_sub(3 * BUILD);
            let cache = Cache::new(&world, Settings { reserve, ..settings(&root) }).unwrap();
            let plan = Plan { inputs, jobs: u32::MAX, offset: 0 };
            let report = Arc::new(|_, result: &Result<Obtained>| assert!(result.is_ok()));
            build_all(&world, &cache, &Order::new(), plan, report).await;
            let open: u32 = [Class::File, Class::Dir].map(|class| world.gauge().peak(class)).iter().sum();
            assert!(open <= 3 * BUILD, "{open} at {count} inputs");
            assert!(world.peaks().locks <= 3 * 2);
        });
    }
}

#[test]
fn too_few_descriptors_for_anything_is_said_at_once() {
    on_os(|world, root| async move {
        let limit = world.descriptor_limit();
        let Err(error) = Cache::new(&world, Settings { reserve: limit - BUILD + 1, ..settings(&root) }) else {
            panic!("accepted")
        };
        assert!(error.to_string().contains(&format!("ulimit -n {}", limit + 1)), "{error}");
    });
    const { assert!(RESERVE + BUILD <= 64, "the real backend runs under `ulimit -n 64`") };
}
