//! `Leak`: a process that ends by itself leaves nothing behind. It watches every scenario that does not opt out.

use flockstep::oracle::Leak;
use flockstep::world::{Children, Clock, Command, Files, OpenOptions, Result, Tasks, timeout};
use flockstep::{Scenario, SimWorld, ViolationKind, scenario};
use std::time::Duration;

use super::{caught, lock, passes, vacuous, write};

#[test]
fn a_forgotten_guard() {
    let guard = |forgets: bool| {
        scenario("guard").process("p", move |world| async move {
            let file = lock(&world, "/lock").await?;
            if forgets {
                std::mem::forget(file);
            }
            Result::Ok(())
        })
    };
    caught(&guard(true), ViolationKind::Leak, &["/lock", "still locked", "p used it last"]);
    passes(&guard(false));
    passes(&guard(true).leaks_allowed());
}

#[test]
fn a_temporary_file() {
    let temporary = |tidies: bool| {
        let s = scenario("temporary").process("p", move |world| async move {
            write(&world, "/.tmp-1", "x").await?;
            if tidies { world.rename("/.tmp-1", "/entry").await } else { Ok(()) }
        });
        s.oracle(|| Leak::of_temporary_files(".tmp"))
    };
    caught(&temporary(false), ViolationKind::Leak, &["the temporary /.tmp-1 is left"]);
    passes(&temporary(true));
    // Who is killed cannot tidy up, and what is judged by chance of survival is judged where it survives.
    caught(&temporary(false).kill("p"), ViolationKind::Leak, &["/.tmp-1"]);
}

/// A parent that ends while its child still runs, with a lock that the child got by accident, on purpose, or not.
fn orphan(options: OpenOptions, passed: bool) -> Scenario {
    let program = |world: SimWorld| async move { world.sleep(Duration::from_secs(1)).await };
    scenario("orphan").program("server", program).process("p", move |world| async move {
        let file = world.open("/lock", options).await?;
        flockstep::world::Locks::flock(&world, &file, flockstep::world::LockMode::Exclusive).await?;
        let mut command = Command::new("server", [""; 0]);
        if passed {
            command = command.inherit(&file);
        }
        // Neither waited for nor killed.
        std::mem::forget(world.spawn_child(command).await?);
        Result::Ok(())
    })
}

#[test]
fn a_lock_that_lives_on_in_a_child() {
    let inheritable = OpenOptions::lock_file().inheritable();
    caught(&orphan(inheritable, false), ViolationKind::Leak, &["/lock", "server.1", "by accident"]);
    passes(&orphan(inheritable, true));
    passes(&orphan(OpenOptions::lock_file(), false));
}

#[test]
fn a_child_that_ends_leaves_its_parent_the_lock() {
    // The lock is the parent's; that the child had it too, and on purpose, is no leak of the child's.
    let s = scenario("hook").program("hook", |_| async {}).process("p", |world| async move {
        let file = lock(&world, "/lock").await?;
        let child = world.spawn_child(Command::new("hook", [""; 0]).inherit(&file)).await?;
        world.wait(child).await?;
        world.close(file).await
    });
    passes(&s);
}

#[test]
fn a_cancelled_task_leaves_nothing() {
    let s = scenario("cancelled").cancel("victim").process("p", |world: SimWorld| async move {
        let w = world.clone();
        let victim = world.spawn("victim", async move {
            let inner = w.clone();
            let _file = w.on_pool(async move { lock(&inner, "/lock").await }).await?;
            w.yield_now().await;
            Result::Ok(())
        });
        let _ = victim.await;
    });
    passes(&s);
}

#[test]
fn an_abandoned_wait_dies_with_its_process() {
    // The file was opened by a task that is gone, and waits on a thread of its own when the process ends.
    let s = scenario("abandoned").timeouts(1).process("holder", |world| async move {
        let file = lock(&world, "/lock").await?;
        world.yield_now().await;
        world.close(file).await
    });
    let s = s.process("p", |world: SimWorld| async move {
        let w = world.clone();
        let opener = world.spawn("opener", async move { super::open(&w, "/lock").await });
        let file = opener.await.expect("not aborted")?;
        let w = world.clone();
        let wait = world.on_thread(async move {
            flockstep::world::Locks::flock(&w, &file, flockstep::world::LockMode::Exclusive).await
        });
        let _ = timeout(&world, Some(Duration::from_secs(1)), wait).await;
        Result::Ok(())
    });
    passes(&s);
}

#[test]
fn without_a_process_that_ends_by_itself_nothing_is_judged() {
    vacuous(&scenario("nobody").oracle(Leak::default));
}
