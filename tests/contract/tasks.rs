//! T1 to T5: tasks, the pool, threads.

use super::{drain, lock_file, patience};
use flockstep::world::{Command, Join, JoinError, LockMode, OpenOptions, Status, World};
use futures::future::{Either, join3, select};
use std::pin::pin;

pub(crate) async fn t1_a_synchronous_operation_keeps_the_worker<W: World>(world: &W, dir: &str) {
    let order = world.thread_mutex("order", Vec::new());
    let other = world.spawn("other", {
        let (world, order) = (world.clone(), order.clone());
        async move { world.lock_thread(&order).await.push("other") }
    });
    for round in 0..10 {
        // The only worker is ours until we give it up.
        let file = world.open(&format!("{dir}/{round}"), OpenOptions::create_new()).await.unwrap();
        world.flock(&file, LockMode::Exclusive).await.unwrap();
        world.close(file).await.unwrap();
    }
    world.lock_thread(&order).await.push("first");
    other.await.unwrap();
    assert_eq!(*world.lock_thread(&order).await, ["first", "other"]);
}

pub(crate) async fn t2_the_pool_is_one_queue<W: World>(world: &W, _dir: &str) {
    let order = world.thread_mutex("order", Vec::new());
    let (began, go) = (world.notify("began"), world.notify("go"));
    let section = |name: &'static str| {
        let (world, order) = (world.clone(), order.clone());
        async move { world.lock_thread(&order).await.push(name) }
    };
    let first = world.spawn("first", {
        let (world, order, began, go) = (world.clone(), order.clone(), began.clone(), go.clone());
        async move {
            let here = world.clone();
            let section = async move {
                here.lock_thread(&order).await.push("first begins");
                here.notify_one(&began).await;
                here.notified(&go).await;
                here.lock_thread(&order).await.push("first ends");
            };
            world.on_pool(section).await;
        }
    });
    world.notified(&began).await;
    let release = async {
        patience(world).await;
        world.notify_one(&go).await;
    };
    let queue = join3(world.on_pool(section("second")), world.on_pool(section("third")), release);
    queue.await;
    first.await.unwrap();
    let mut order = world.lock_thread(&order).await.clone();
    assert_eq!(order[..2], ["first begins", "first ends"], "an await keeps the only thread");
    // Which of the two joined the queue first is the world's to say.
    order[2..].sort_unstable();
    assert_eq!(order[2..], ["second", "third"]);
}

pub(crate) async fn t3_a_dropped_section_goes_on<W: World>(world: &W, _dir: &str) {
    for on_pool in [true, false] {
        let (began, go, done) = (world.notify("began"), world.notify("go"), world.notify("done"));
        let section = {
            let (world, began, go, done) = (world.clone(), began.clone(), go.clone(), done.clone());
            async move {
                world.notify_one(&began).await;
                world.notified(&go).await;
                world.notify_one(&done).await;
            }
        };
        let caller = async { if on_pool { world.on_pool(section).await } else { world.on_thread(section).await } };
        match select(pin!(caller), pin!(world.notified(&began))).await {
            Either::Right(((), _caller)) => {}
            Either::Left(_) => panic!("ended before it was told to"),
        }
        world.notify_one(&go).await;
        world.notified(&done).await;
    }
}

pub(crate) async fn t4_a_process_ends_with_its_first_task<W: World>(world: &W, _dir: &str) {
    let (reader, writer) = world.pipe().await.unwrap();
    let command = Command::new("first-task-ends", [world.descriptor(&writer).to_string()]).inherit(&writer);
    let child = world.spawn_child(command).await.unwrap();
    world.close(writer).await.unwrap();
    let said = world.on_thread({
        let world = world.clone();
        async move { drain(&world, &reader).await }
    });
    assert_eq!(said.await, b"section", "the section was waited for, the task that waits for ever was not");
    assert_eq!(world.wait(child).await.unwrap().status, Status::Exited(0));
}

pub(crate) async fn t5_an_aborted_task_releases_and_withdraws<W: World>(world: &W, dir: &str) {
    let path = format!("{dir}/lock");
    let (permits, busy, ready) = (world.semaphore("permits", 2), world.semaphore("busy", 2), world.notify("ready"));
    let held = world.acquire(&busy, 1).await;
    let task = world.spawn("task", {
        let (world, permits, busy, ready, path) =
            (world.clone(), permits.clone(), busy.clone(), ready.clone(), path.clone());
        async move {
            let file = lock_file(&world, &path).await;
            world.flock(&file, LockMode::Exclusive).await.unwrap();
            let _permits = world.acquire(&permits, 2).await;
            world.notify_one(&ready).await;
            let _both = world.acquire(&busy, 2).await;
        }
    });
    world.notified(&ready).await;
    // Once it stands in line for two, the one that is free is not given to others.
    while world.try_acquire(&busy, 1).await.is_some() {
        patience(world).await;
    }
    task.abort();
    assert_eq!(task.await, Err(JoinError::Aborted));
    assert!(world.try_acquire(&busy, 1).await.is_some(), "it has left the queue");
    drop(held);
    assert!(world.try_acquire(&permits, 2).await.is_some(), "its permits are back");
    let file = lock_file(world, &path).await;
    assert!(world.try_flock(&file, LockMode::Exclusive).await.unwrap(), "its lock is released");
}
