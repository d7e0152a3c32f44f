//! C1 to C3, N1 and N2: clock, chance, remarks.

use super::lock_file;
use flockstep::world::{Elapsed, LockMode, World, timeout};
use std::time::Duration;

pub(crate) async fn c1_now_never_goes_back<W: World>(world: &W, _dir: &str) {
    let mut last = world.now();
    for _ in 0..100 {
        world.yield_now().await;
        let now = world.now();
        assert!(now >= last);
        last = now;
    }
}

pub(crate) async fn c2_waiting_ends_no_earlier<W: World>(world: &W, _dir: &str) {
    let wait = Duration::from_micros(2_500);
    let start = world.now();
    world.sleep(wait).await;
    let middle = world.now();
    assert!(middle >= start + wait);
    world.deadline(wait).await;
    assert!(world.now() >= middle + wait);
}

pub(crate) async fn c3_a_deadline_limits_another_wait<W: World>(world: &W, _dir: &str) {
    let never = world.notify("never");
    assert_eq!(timeout(world, Some(Duration::from_millis(5)), world.notified(&never)).await, Err(Elapsed));
    assert_eq!(timeout(world, Some(Duration::from_secs(3600)), async { 1 }).await, Ok(1));
    assert_eq!(timeout(world, None, async { 2 }).await, Ok(2));
    for n in [1, 2, 7] {
        assert!(world.choose(n).await < n);
    }
}

pub(crate) async fn n1_a_region_is_left_on_drop<W: World>(world: &W, _dir: &str) {
    // Whoever watches regions would object to the second one of a subject, were the first not left.
    let outer = world.region("build", "a");
    let inner = world.region("build", "b");
    drop(outer);
    world.yield_now().await;
    let again = world.region("build", "a");
    drop(inner);
    world.yield_now().await;
    drop((again, world.region("build", "b")));
}

pub(crate) async fn n2_remarks_change_nothing<W: World>(world: &W, dir: &str) {
    let file = lock_file(world, &format!("{dir}/lock")).await;
    let number = world.descriptor(&file);
    drop(file);
    let _region = world.region("build", "key");
    world.note("reused", "key");
    let file = lock_file(world, &format!("{dir}/lock")).await;
    assert_eq!(world.descriptor(&file), number);
    assert!(world.try_flock(&file, LockMode::Exclusive).await.unwrap());
}
