//! L1 to L8: advisory locks.

use super::{lock_file, patience};
use flockstep::world::LockMode::{Exclusive, Shared};
use flockstep::world::{Command, Errno, Status, World, timeout};
use std::time::Duration;

pub(crate) async fn l1_the_description_owns_and_the_inode_is_locked<W: World>(world: &W, dir: &str) {
    let (path, name) = (format!("{dir}/lock"), format!("{dir}/name"));
    let (one, other) = (lock_file(world, &path).await, lock_file(world, &path).await);
    world.link(&path, &name).await.unwrap();
    let linked = lock_file(world, &name).await;
    let copy = world.dup(&one).await.unwrap();

    assert!(world.try_flock(&one, Exclusive).await.unwrap());
    assert!(!world.try_flock(&other, Exclusive).await.unwrap(), "of the same process, too");
    assert!(!world.try_flock(&linked, Shared).await.unwrap(), "by another name, too");
    assert!(world.try_flock(&copy, Exclusive).await.unwrap(), "shares the lock");
    world.rename(&path, &format!("{dir}/moved")).await.unwrap();
    let newcomer = lock_file(world, &path).await;
    assert!(world.try_flock(&newcomer, Exclusive).await.unwrap(), "the lock went with the inode");
}

pub(crate) async fn l2_unlock_or_last_close_ends_it<W: World>(world: &W, dir: &str) {
    let path = format!("{dir}/lock");
    let (one, other) = (lock_file(world, &path).await, lock_file(world, &path).await);
    let copy = world.dup(&one).await.unwrap();
    world.flock(&one, Exclusive).await.unwrap();
    world.unlock(&copy).await.unwrap();
    assert!(world.try_flock(&other, Exclusive).await.unwrap(), "released through the duplicate");
    world.unlock(&other).await.unwrap();

    world.flock(&one, Exclusive).await.unwrap();
    world.close(one).await.unwrap();
    assert!(!world.try_flock(&other, Exclusive).await.unwrap(), "the duplicate keeps it");
    world.close(copy).await.unwrap();
    assert!(world.try_flock(&other, Exclusive).await.unwrap(), "the last descriptor is gone");

    let command = Command::new("unlock", [world.descriptor(&other).to_string()]).inherit(&other);
    let child = world.spawn_child(command).await.unwrap();
    assert_eq!(world.wait(child).await.unwrap().status, Status::Exited(0));
    let third = lock_file(world, &path).await;
    assert!(world.try_flock(&third, Exclusive).await.unwrap(), "released by a child through what it inherited");
}

pub(crate) async fn l3_a_refused_conversion_has_lost_the_lock<W: World>(world: &W, dir: &str) {
    let path = format!("{dir}/lock");
    let (one, other) = (lock_file(world, &path).await, lock_file(world, &path).await);
    world.flock(&one, Shared).await.unwrap();
    assert!(world.try_flock(&one, Exclusive).await.unwrap(), "nobody is in the way");
    assert!(!world.try_flock(&other, Shared).await.unwrap());
    assert!(world.try_flock(&one, Shared).await.unwrap(), "a downgrade");

    assert!(world.try_flock(&other, Shared).await.unwrap());
    assert!(!world.try_flock(&one, Exclusive).await.unwrap(), "refused");
    assert!(world.try_flock(&other, Exclusive).await.unwrap(), "the shared lock of the refused one is gone");
    world.close(one).await.unwrap();
    world.close(other).await.unwrap();

    // One that waits has lost its lock as well. If it does not wait yet, the other is refused, and everything begins anew.
    loop {
        let (one, other) = (lock_file(world, &path).await, lock_file(world, &path).await);
        world.flock(&one, Shared).await.unwrap();
        world.flock(&other, Shared).await.unwrap();
        let here = world.clone();
        let converting = world.spawn("converts", async move {
            let there = here.clone();
            here.on_thread(async move { there.flock(&one, Exclusive).await.unwrap() }).await;
        });
        patience(world).await;
        let granted = world.try_flock(&other, Exclusive).await.unwrap();
        world.close(other).await.unwrap();
        converting.await.unwrap();
        if granted {
            return;
        }
    }
}

pub(crate) async fn l4_asking_again_is_not_counted<W: World>(world: &W, dir: &str) {
    let path = format!("{dir}/lock");
    let (one, other) = (lock_file(world, &path).await, lock_file(world, &path).await);
    for mode in [Exclusive, Shared] {
        for _ in 0..3 {
            world.flock(&one, mode).await.unwrap();
        }
        world.unlock(&one).await.unwrap();
        assert!(world.try_flock(&other, Exclusive).await.unwrap(), "one unlock is enough");
        world.unlock(&other).await.unwrap();
    }
}

pub(crate) async fn l5_newcomers_pass_those_who_wait<W: World>(world: &W, dir: &str) {
    let path = format!("{dir}/lock");
    let (holder, waiter, newcomer) =
        (lock_file(world, &path).await, lock_file(world, &path).await, lock_file(world, &path).await);
    world.flock(&holder, Shared).await.unwrap();
    let began = world.notify("began");
    let waiting = world.spawn("waiter", {
        let (world, began) = (world.clone(), began.clone());
        async move {
            let here = world.clone();
            let section = async move {
                here.notify_one(&began).await;
                here.flock(&waiter, Exclusive).await.unwrap();
            };
            world.on_thread(section).await;
        }
    });
    world.notified(&began).await;
    patience(world).await;
    assert!(world.try_flock(&newcomer, Shared).await.unwrap(), "tested against the holder only");
    world.unlock(&holder).await.unwrap();
    world.unlock(&newcomer).await.unwrap();
    waiting.await.unwrap();
}

pub(crate) async fn l6_unlock_without_a_lock<W: World>(world: &W, dir: &str) {
    let file = lock_file(world, &format!("{dir}/lock")).await;
    world.unlock(&file).await.unwrap();
    world.flock(&file, Shared).await.unwrap();
    world.unlock(&file).await.unwrap();
    world.unlock(&file).await.unwrap();
}

pub(crate) async fn l7_a_wait_is_neither_detected_nor_cancelled<W: World>(world: &W, dir: &str) {
    let path = format!("{dir}/lock");
    let (holder, waiter) = (lock_file(world, &path).await, lock_file(world, &path).await);
    world.flock(&holder, Exclusive).await.unwrap();
    let granted = world.notify("granted");
    let section = {
        let (world, granted) = (world.clone(), granted.clone());
        async move {
            // A process that waits for itself.
            world.flock(&waiter, Exclusive).await.unwrap();
            world.notify_one(&granted).await;
        }
    };
    assert!(timeout(world, Some(Duration::from_millis(20)), world.on_thread(section)).await.is_err());
    // Nobody waits for the section any more, but it still waits for the lock.
    world.unlock(&holder).await.unwrap();
    world.notified(&granted).await;
}

pub(crate) async fn l8_locks_exclude_or_fail<W: World>(world: &W, dir: &str) {
    let path = format!("{dir}/lock");
    let (one, other) = (lock_file(world, &path).await, lock_file(world, &path).await);
    match world.try_flock(&one, Exclusive).await {
        Ok(granted) => {
            assert!(granted);
            assert!(!world.try_flock(&other, Shared).await.unwrap(), "a lock that excludes nobody is a pretence");
        }
        Err(error) => assert!(matches!(error.errno, Errno::NoLck | Errno::NoSys | Errno::OpNotSupp), "{error}"),
    }
}
