//! Deadlocks are built in: every class of them, and what is just short of it.

use flockstep::world::{Children, Command, Files, InProcess, Process, Result, Tasks};
use flockstep::{Deadlock, Scenario, SimWorld, ViolationKind, scenario};

use super::{caught, lock, passes};

#[track_caller]
fn stuck(s: &Scenario, class: Deadlock, words: &[&str]) {
    caught(s, ViolationKind::Deadlock(class), words);
}

/// Two processes that each take two locks; `on_pool`: each wait on a blocking thread, so that the one who locked has ended.
fn crossing(orders: [[&'static str; 2]; 2], on_pool: bool) -> Scenario {
    let takes = |order: [&'static str; 2]| {
        move |world: SimWorld| async move {
            let mut held = Vec::new();
            for path in order {
                let w = world.clone();
                held.push(if on_pool {
                    world.on_pool(async move { lock(&w, path).await }).await?
                } else {
                    lock(&w, path).await?
                });
            }
            Result::Ok(())
        }
    };
    scenario("crossing").process("p", takes(orders[0])).process("q", takes(orders[1]))
}

#[test]
fn lock_cycle() {
    for on_pool in [false, true] {
        let words = ["/a", "/b", "held by p", "held by q", "the cycle:"];
        stuck(&crossing([["/a", "/b"], ["/b", "/a"]], on_pool), Deadlock::LockCycle, &words);
        passes(&crossing([["/a", "/b"], ["/a", "/b"]], on_pool));
    }
}

#[test]
fn a_lock_cycle_through_a_mutex() {
    let s = |same: bool| {
        scenario("mutex").process("p", move |world: SimWorld| async move {
            let mutex = world.mutex("table", ());
            let (w, m) = (world.clone(), mutex.clone());
            let task = world.spawn("t", async move {
                let _guard = w.lock(&m).await;
                let inner = w.clone();
                w.on_thread(async move { lock(&inner, "/a").await.map(drop) }).await
            });
            if same {
                let _guard = world.lock(&mutex).await;
                lock(&world, "/a").await.map(drop)?;
            } else {
                let _file = lock(&world, "/a").await?;
                let _guard = world.lock(&mutex).await;
            }
            task.await.expect("not aborted")
        })
    };
    stuck(&s(false), Deadlock::LockCycle, &["mutex table", "/a"]);
    passes(&s(true));
}

/// A task takes the lock and awaits; another one asks for it.
fn tasks(workers: u32) -> Scenario {
    scenario("workers").workers(workers).process("p", |world: SimWorld| async move {
        let task = |name: &str| {
            let w = world.clone();
            world.spawn(name, async move {
                let file = lock(&w, "/lock").await?;
                w.yield_now().await;
                w.close(file).await
            })
        };
        let (a, b) = (task("a"), task("b"));
        a.await.expect("not aborted")?;
        b.await.expect("not aborted")
    })
}

#[test]
fn worker_starvation() {
    stuck(&tasks(1), Deadlock::WorkerStarvation, &["blocks a worker thread", "could go on", "it has 1"]);
    passes(&tasks(2));
}

/// The holder needs a blocking thread, and so many waiters sit on them.
fn waiters(threads: u32) -> Scenario {
    scenario("pool").workers(4).blocking_threads(threads).process("p", |world: SimWorld| async move {
        let file = lock(&world, "/lock").await?;
        let w = world.clone();
        let waiter = world.spawn("waiter", async move {
            let inner = w.clone();
            w.on_pool(async move { lock(&inner, "/lock").await.map(drop) }).await
        });
        world.on_pool(async {}).await;
        world.close(file).await?;
        waiter.await.expect("not aborted")
    })
}

#[test]
fn pool_exhaustion() {
    stuck(&waiters(1), Deadlock::PoolExhaustion, &["blocks a blocking thread", "waits for a blocking thread of p"]);
    passes(&waiters(2));
}

/// Builds that need another permit while they hold one; `task`: the permit was fetched by a task that has ended.
fn nested(permits: u32, task: bool) -> Scenario {
    scenario("permits").process("p", move |world: SimWorld| async move {
        let jobs = world.semaphore("jobs", permits);
        let build = |name: &str| {
            let (w, jobs) = (world.clone(), jobs.clone());
            world.spawn(name, async move {
                let (inner, mine) = (w.clone(), jobs.clone());
                let _outer = if task {
                    w.spawn("fetch", async move { inner.acquire(&mine, 1).await }).await.expect("not aborted")
                } else {
                    w.acquire(&jobs, 1).await
                };
                drop(w.acquire(&jobs, 1).await);
            })
        };
        let (a, b) = (build("a"), build("b"));
        let _ = (a.await, b.await);
    })
}

#[test]
fn permits() {
    for task in [false, true] {
        stuck(&nested(2, task), Deadlock::Permits, &["1 of the 2 permits of jobs, 0 free", "p/a (1)", "p/b (1)"]);
        passes(&nested(3, task));
    }
}

/// A parent that holds a lock while it waits for a child that takes it.
fn parent(releases: bool) -> Scenario {
    let hook = |world: SimWorld| async move { lock(&world, "/lock").await.map(drop) };
    scenario("child").program("hook", hook).process("p", move |world| async move {
        let mut file = Some(lock(&world, "/lock").await?);
        if releases {
            file = None;
        }
        let child = world.spawn_child(Command::new("hook", [""; 0])).await?;
        let output = world.wait(child).await?;
        drop(file);
        assert!(output.status.success());
        Result::Ok(())
    })
}

#[test]
fn child() {
    stuck(&parent(false), Deadlock::Child, &["child hook.1 to end", "/lock", "held by p"]);
    passes(&parent(true));
}

/// Reads a pipe to its end, with or without having closed its own writing end.
fn reader(closes: bool) -> Scenario {
    scenario("pipe").process("p", move |world| async move {
        let (reader, writer) = world.pipe().await?;
        world.write(&writer, b"x").await?;
        let mut writer = Some(writer);
        if closes {
            writer = None;
        }
        while !world.read(&reader, 8).await?.is_empty() {}
        drop(writer);
        Result::Ok(())
    })
}

#[test]
fn pipe() {
    stuck(&reader(false), Deadlock::Pipe, &["bytes from pipe", "the other end: p"]);
    passes(&reader(true));
}

/// A jobserver: two children of which each takes one token, and then one more.
fn jobserver(tokens: usize) -> Scenario {
    let job = |world: SimWorld| async move {
        let number = |name: &str| world.var(name).expect("set by the parent").parse().expect("a number");
        let (reader, writer) = (world.inherited(number("READ"))?, world.inherited(number("WRITE"))?);
        let mut mine = world.read(&reader, 1).await?;
        mine.extend(world.read(&reader, 1).await?);
        world.write(&writer, &mine).await.map(drop)
    };
    scenario("jobserver").program("make", job).process("p", move |world| async move {
        let (reader, writer) = world.pipe().await?;
        world.write(&writer, &vec![b'+'; tokens]).await?;
        let mut children = Vec::new();
        for _ in 0..2 {
            let command = Command::new("make", [""; 0])
                .inherit(&reader)
                .inherit(&writer)
                .env("READ", world.descriptor(&reader).to_string())
                .env("WRITE", world.descriptor(&writer).to_string());
            children.push(world.spawn_child(command).await?);
        }
        for child in children {
            assert!(world.wait(child).await?.status.success());
        }
        Result::Ok(())
    })
}

#[test]
fn a_jobserver_without_a_token_left() {
    let found = jobserver(2).explore(flockstep::Strategy::exhaustive());
    let flockstep::Verdict::Violated(failure) = found.verdict else { panic!("two tokens are not enough") };
    let kind = failure.violation.kind.clone();
    assert!(
        matches!(kind, ViolationKind::Deadlock(Deadlock::Pipe | Deadlock::Child)),
        "not this:\n{}",
        failure.report()
    );
    passes(&jobserver(3));
}

/// Whoever is not waiting yet when all are woken sleeps for ever.
fn notified(one: bool) -> Scenario {
    scenario("notified").process("p", move |world: SimWorld| async move {
        let ready = world.notify("ready");
        let (w, n) = (world.clone(), ready.clone());
        let waiter = world.spawn("waiter", async move {
            w.yield_now().await;
            w.notified(&n).await;
        });
        if one {
            world.notify_one(&ready).await;
        } else {
            world.notify_all(&ready).await;
        }
        let _ = waiter.await;
    })
}

#[test]
fn lost_wake_up() {
    stuck(&notified(false), Deadlock::LostWakeUp, &["a notification of ready", "p/waiter"]);
    passes(&notified(true));
}
