//! `executor`: a file lock held across an await, and a blocking flock on the threads that the holder needs to go on.
//!
//! The review of uv PR 3525 found it by thinking: task A has the flock and awaits; task B calls a blocking flock on the same worker
//! thread; A is never polled again. The first fix moves the blocking call to the blocking pool, where it works until the waiters
//! fill the pool, which the holder needs as well to write its result. With the 512 threads that tokio has, two uv processes with 1,200
//! editables stand still. The sizes here are small because the bugs are: one more waiter than threads.

use flockstep::protocol::{Cache, Rank, Settings};
use flockstep::scenario::Policy;
use flockstep::world::{LockMode, OpenOptions, Result, World};
use flockstep::{Deadlock, Scenario, SimWorld, ViolationKind, scenario};

/// Where a task waits for its lock.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Worker,
    Pool,
}

/// What is done under the lock: the result is written on the pool, as tokio's file operations are.
async fn publish<W: World>(world: &W, path: &str) -> Result<()> {
    let (inner, result) = (world.clone(), format!("{path}.result"));
    let write = async move {
        let file = inner.open(&result, OpenOptions::replace()).await?;
        inner.close(file).await
    };
    world.on_pool(write).await
}

/// One task of the historic policies: lock, publish, unlock.
pub(crate) async fn work<W: World>(world: W, path: String, place: Place) -> Result<()> {
    let file = world.open(&path, OpenOptions::lock_file()).await?;
    let file = if place == Place::Worker {
        world.flock(&file, LockMode::Exclusive).await?;
        file
    } else {
        let inner = world.clone();
        world.on_pool(async move { inner.flock(&file, LockMode::Exclusive).await.map(|()| file) }).await?
    };
    publish(&world, &path).await?;
    world.unlock(&file).await?;
    world.close(file).await
}

/// The same by the protocol of `src/protocol`: tasks queue in memory, and a wait in the kernel has a thread of its own.
pub(crate) async fn work_soundly<W: World>(world: W, cache: Cache<W>, path: String) -> flockstep::protocol::Result<()> {
    let mut task = cache.command();
    let lock = task.lock(&world, Rank::Environment, &path, LockMode::Exclusive).await?;
    publish(&world, &path).await?;
    lock.release().await;
    Ok(())
}

/// `x0` for the first task, which wants `/cache/x.lock`.
fn task_name(n: usize, path: &str) -> String {
    let name = path.trim_start_matches("/cache/").trim_end_matches(".lock");
    format!("{name}{n}")
}

/// A process whose tasks do `work`, each on the path given for it.
async fn all_of<W: World>(world: W, paths: Vec<&'static str>, place: Place) -> Result<()> {
    let start =
        |(n, path): (usize, &&str)| world.spawn(&task_name(n, path), work(world.clone(), (*path).to_owned(), place));
    let tasks: Vec<_> = paths.iter().enumerate().map(start).collect();
    for task in tasks {
        task.await.expect("nobody aborts it")?;
    }
    Ok(())
}

async fn all_of_soundly<W: World>(world: W, paths: Vec<&'static str>) -> flockstep::protocol::Result<()> {
    let cache = Cache::new(&world, Settings::new("/cache", "/tmp"))?;
    let start = |(n, path): (usize, &&str)| {
        let work = work_soundly(world.clone(), cache.clone(), (*path).to_owned());
        world.spawn(&task_name(n, path), work)
    };
    let tasks: Vec<_> = paths.iter().enumerate().map(start).collect();
    for task in tasks {
        task.await.expect("nobody aborts it")?;
    }
    Ok(())
}

fn machine(workers: u64, blocking: u64) -> Scenario {
    scenario("").directory("/cache").workers(workers as u32).blocking_threads(blocking as u32)
}

/// `tasks` tasks of one process on one path.
fn one_process(workers: u64, blocking: u64, tasks: u64, place: Place) -> Scenario {
    let paths = vec!["/cache/x.lock"; tasks as usize];
    machine(workers, blocking).process("sync", move |world: SimWorld| all_of(world, paths.clone(), place))
}

/// Two processes: each has a task that holds one lock and needs the pool, and tasks that fill the pool waiting for the other's lock.
fn crosswise(blocking: u64, place: Place) -> Scenario {
    let paths = |own: &'static str, other: &'static str| {
        let mut paths = vec![own];
        paths.extend(vec![other; blocking as usize]);
        paths
    };
    let (left, right) = (paths("/cache/x.lock", "/cache/y.lock"), paths("/cache/y.lock", "/cache/x.lock"));
    machine(4, blocking)
        .process("left", move |world: SimWorld| all_of(world, left.clone(), place))
        .process("right", move |world: SimWorld| all_of(world, right.clone(), place))
}

/// Two processes that want the same locks, each with a task for each of them.
fn both_want_all(blocking: u64, locks: u64) -> Scenario {
    const ALL: [&str; 6] =
        ["/cache/a.lock", "/cache/b.lock", "/cache/c.lock", "/cache/d.lock", "/cache/e.lock", "/cache/f.lock"];
    let paths = &ALL[..locks as usize];
    let all = move |world: SimWorld| all_of(world, paths.to_vec(), Place::Pool);
    machine(4, blocking).process("left", all).process("right", all)
}

fn sound(workers: u64, blocking: u64, tasks: u64, processes: u64) -> Scenario {
    let mut scene = machine(workers, blocking);
    for n in 1..=processes {
        let paths = vec!["/cache/x.lock"; tasks as usize];
        scene = scene.process(&format!("sync{n}"), move |world: SimWorld| all_of_soundly(world, paths.clone()));
    }
    scene
}

fn sound_crosswise() -> Scenario {
    machine(1, 1)
        .process("left", |world: SimWorld| all_of_soundly(world, vec!["/cache/x.lock", "/cache/y.lock"]))
        .process("right", |world: SimWorld| all_of_soundly(world, vec!["/cache/y.lock", "/cache/x.lock"]))
}

pub(crate) fn policies() -> Vec<Policy> {
    let starved = || [ViolationKind::Deadlock(Deadlock::WorkerStarvation)];
    let exhausted = || [ViolationKind::Deadlock(Deadlock::PoolExhaustion)];
    let size = |workers, blocking, tasks| [("workers", workers), ("blocking", blocking), ("tasks", tasks)];
    let both = |workers, blocking, tasks, processes| {
        [("workers", workers), ("blocking", blocking), ("tasks", tasks), ("processes", processes)]
    };

    let why = "a blocking flock on a worker: the holder needs one to go on";
    let mut on_worker = Policy::new("executor", "flock-on-worker", why);
    for workers in 1..=3 {
        let fits = one_process(workers, 2, workers, Place::Worker);
        on_worker = on_worker.upheld(size(workers, 2, workers), fits);
        let starves = one_process(workers, 2, workers + 1, Place::Worker);
        on_worker = on_worker.violated(size(workers, 2, workers + 1), starved(), starves);
    }

    let why = "a blocking flock on the pool: the holder needs one of its threads to publish";
    let mut on_pool = Policy::new("executor", "flock-on-pool", why);
    for blocking in 1..=3 {
        // The holder gave its thread back, so only the waiters fill the pool.
        let fits = one_process(4, blocking, blocking, Place::Pool);
        on_pool = on_pool.upheld(size(4, blocking, blocking), fits);
        let fills = one_process(4, blocking, blocking + 1, Place::Pool);
        on_pool = on_pool.violated(size(4, blocking, blocking + 1), exhausted(), fills);
    }
    on_pool = on_pool.violated(both(4, 1, 2, 2), exhausted(), crosswise(1, Place::Pool));

    // Both want all locks, and a wait costs a thread of the pool: they stand still once each waits for as many of the other's as it has
    // threads. With the 512 of tokio, that is from 1,024 locks on (docs/calibration.md).
    for blocking in 1..=3 {
        let sizes = [(2 * blocking - 1, false), (2 * blocking, true)];
        for (locks, stands_still) in sizes {
            let size = [("workers", 4), ("blocking", blocking), ("processes", 2), ("locks", locks)];
            let scene = both_want_all(blocking, locks);
            on_pool =
                if stands_still { on_pool.violated(size, exhausted(), scene) } else { on_pool.upheld(size, scene) };
        }
    }

    let why = "tasks queue in memory; a wait in the kernel has a thread of its own";
    let sound_policy = Policy::new("executor", "sound", why)
        .upheld(both(1, 1, 2, 1), sound(1, 1, 2, 1))
        .upheld(both(1, 1, 3, 1), sound(1, 1, 3, 1))
        .upheld(both(2, 1, 3, 1), sound(2, 1, 3, 1))
        .upheld(both(1, 1, 1, 2), sound(1, 1, 1, 2))
        .upheld([("workers", 1), ("blocking", 1), ("tasks", 2), ("processes", 2), ("locks", 2)], sound_crosswise());
    vec![on_worker, on_pool, sound_policy]
}
