//! S1 to S5: what the tasks of one process share.

use super::patience;
use flockstep::world::{Join, World, timeout};
use futures::future::{Either, select};
use futures::poll;
use std::pin::pin;
use std::time::Duration;

/// Until a waiter that asks for more than there is stands in the semaphore's queue: what is free is then not given out.
async fn until_queued<W: World>(world: &W, semaphore: &W::Semaphore) {
    while world.try_acquire(semaphore, 1).await.is_some() {
        patience(world).await;
    }
}

pub(crate) async fn s1_nobody_overtakes_who_asks_for_many<W: World>(world: &W, _dir: &str) {
    let (permits, order) = (world.semaphore("permits", 2), world.thread_mutex("order", Vec::new()));
    let one = world.acquire(&permits, 1).await;
    let waiter = |name: &'static str, count| {
        let (here, permits, order) = (world.clone(), permits.clone(), order.clone());
        world.spawn(name, async move {
            let _permit = here.acquire(&permits, count).await;
            here.lock_thread(&order).await.push(name);
        })
    };
    let many = waiter("many", 2);
    until_queued(world, &permits).await;
    let few = waiter("few", 1);
    patience(world).await;
    assert!(world.lock_thread(&order).await.is_empty());
    drop(one);
    many.await.unwrap();
    few.await.unwrap();
    assert_eq!(*world.lock_thread(&order).await, ["many", "few"]);
}

pub(crate) async fn s2_a_release_goes_to_the_first_waiter<W: World>(world: &W, _dir: &str) {
    let (permits, go) = (world.semaphore("permits", 2), world.notify("go"));
    let one = world.acquire(&permits, 1).await;
    let waiter = world.spawn("waiter", {
        let (world, permits, go) = (world.clone(), permits.clone(), go.clone());
        async move {
            let _both = world.acquire(&permits, 2).await;
            world.notified(&go).await;
        }
    });
    until_queued(world, &permits).await;
    drop(one);
    assert!(world.try_acquire(&permits, 1).await.is_none(), "it was handed over, not put down");
    world.notify_one(&go).await;
    waiter.await.unwrap();
    assert!(world.try_acquire(&permits, 2).await.is_some());

    let mutex = world.mutex("count", 0);
    let mut tasks = Vec::new();
    for task in 0..4 {
        let (here, mutex) = (world.clone(), mutex.clone());
        tasks.push(world.spawn(&format!("task {task}"), async move {
            for _ in 0..5 {
                let mut count = here.lock(&mutex).await;
                let before = *count;
                here.yield_now().await;
                *count = before + 1;
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(*world.lock(&mutex).await, 20, "a mutex excludes");
}

pub(crate) async fn s3_a_dropped_waiter_leaves_nothing<W: World>(world: &W, _dir: &str) {
    for granted in [false, true] {
        let permits = world.semaphore("permits", 2);
        let mut one = Some(world.acquire(&permits, 1).await);
        let waiter = world.spawn("waiter", {
            let (world, permits) = (world.clone(), permits.clone());
            async move { drop(world.acquire(&permits, 2).await) }
        });
        until_queued(world, &permits).await;
        if granted {
            // The permits are the waiter's within this step; it may never come to fetch them.
            one = None;
        }
        waiter.abort();
        let _ = waiter.await;
        assert!(world.try_acquire(&permits, 1).await.is_some(), "it has left the queue");
        drop(one);
        assert!(world.try_acquire(&permits, 2).await.is_some(), "and kept nothing");
    }
    for stored in [false, true] {
        let notify = world.notify("notify");
        if stored {
            world.notify_one(&notify).await;
        }
        let waiter = world.spawn("waiter", {
            let (world, notify) = (world.clone(), notify.clone());
            async move { world.notified(&notify).await }
        });
        world.yield_now().await;
        if !stored {
            world.notify_one(&notify).await;
        }
        waiter.abort();
        if waiter.await.is_err() {
            // It has not seen it, so it is there for somebody else.
            world.notified(&notify).await;
        }
    }
}

pub(crate) async fn s4_notifications_wake_in_line_and_are_remembered_once<W: World>(world: &W, _dir: &str) {
    let notify = world.notify("notify");
    let short = Some(Duration::from_millis(10));

    world.notify_one(&notify).await;
    world.notify_one(&notify).await;
    world.notified(&notify).await;
    assert!(timeout(world, short, world.notified(&notify)).await.is_err(), "two are one");
    world.notify_all(&notify).await;
    assert!(timeout(world, short, world.notified(&notify)).await.is_err(), "not remembered");

    let (mut first, mut second) = (pin!(world.notified(&notify)), pin!(world.notified(&notify)));
    assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
    world.notify_one(&notify).await;
    match select(first, second).await {
        Either::Left(((), second)) => {
            let mut third = pin!(world.notified(&notify));
            assert!(poll!(&mut third).is_pending());
            world.notify_all(&notify).await;
            second.await;
            third.await;
        }
        Either::Right(_) => panic!("the one that has waited longest comes first"),
    }
}

pub(crate) async fn s5_a_thread_mutex_blocks_its_thread<W: World>(world: &W, _dir: &str) {
    let (count, began) = (world.thread_mutex("count", 0), world.notify("began"));
    let guard = world.lock_thread(&count).await;
    let waiter = world.spawn("waiter", {
        let (world, count, began) = (world.clone(), count.clone(), began.clone());
        async move {
            let here = world.clone();
            let section = async move {
                here.notify_one(&began).await;
                *here.lock_thread(&count).await += 1;
            };
            world.on_thread(section).await;
        }
    });
    world.notified(&began).await;
    patience(world).await;
    assert_eq!(*guard, 0);
    drop(guard);
    waiter.await.unwrap();
    assert_eq!(*world.lock_thread(&count).await, 1);
}
