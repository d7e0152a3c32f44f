//! P1 to P6: child processes.

use super::{drain, lock_file};
use flockstep::world::{Command, Errno, LockMode, OpenOptions, Status, Stdio, World};

const NO_ARGUMENTS: [&str; 0] = [];

pub(crate) async fn p1_exec_leaves_what_is_inherited<W: World>(world: &W, dir: &str) {
    let path = |name: &str| format!("{dir}/{name}");
    let (reader, writer) = world.pipe().await.unwrap();
    let (named, unnamed) = (lock_file(world, &path("named")).await, lock_file(world, &path("unnamed")).await);
    let inheritable = world.open(&path("inheritable"), OpenOptions::lock_file().inheritable()).await.unwrap();
    for file in [&named, &unnamed, &inheritable] {
        world.flock(file, LockMode::Exclusive).await.unwrap();
    }
    assert!(world.inherited(world.descriptor(&inheritable)).is_err(), "ours, not our parent's");
    let command =
        Command::new("until-closed", [world.descriptor(&reader).to_string()]).inherit(&reader).inherit(&named);
    let child = world.spawn_child(command).await.unwrap();
    drop((named, unnamed, inheritable));

    for (name, free) in [("named", false), ("unnamed", true), ("inheritable", false)] {
        let file = lock_file(world, &path(name)).await;
        assert_eq!(world.try_flock(&file, LockMode::Exclusive).await.unwrap(), free, "{name}");
    }
    world.close(writer).await.unwrap();
    assert_eq!(world.wait(child).await.unwrap().status, Status::Exited(0));
    for name in ["named", "inheritable"] {
        let file = lock_file(world, &path(name)).await;
        assert!(world.try_flock(&file, LockMode::Exclusive).await.unwrap(), "{name} after the child");
    }
}

pub(crate) async fn p2_spawn_reports_the_exec<W: World>(world: &W, dir: &str) {
    let missing = world.spawn_child(Command::new("no-such-program", NO_ARGUMENTS)).await;
    assert_eq!(missing.err().map(|error| error.errno), Some(Errno::NoEnt));

    let file = lock_file(world, &format!("{dir}/lock")).await;
    world.flock(&file, LockMode::Exclusive).await.unwrap();
    let missing = world.spawn_child(Command::new("no-such-program", NO_ARGUMENTS).inherit(&file)).await;
    assert_eq!(missing.err().map(|error| error.errno), Some(Errno::NoEnt));

    for (program, code) in [("true", 0), ("false", 1)] {
        let child = world.spawn_child(Command::new(program, NO_ARGUMENTS)).await.unwrap();
        assert_ne!(world.child_id(&child), world.process_id());
        let output = world.wait(child).await.unwrap();
        assert_eq!(output.status, Status::Exited(code));
        assert_eq!(output.status.success(), code == 0);
    }
    let echo = Command::new("echo", ["one", "two"]).output(Stdio::Capture);
    let child = world.spawn_child(echo).await.unwrap();
    let output = world.wait(child).await.unwrap();
    assert_eq!((&*output.stdout, &*output.stderr), (&b"one two\n"[..], &b""[..]));
}

pub(crate) async fn p3_a_child_costs_descriptors<W: World>(world: &W, dir: &str) {
    const WINDOW: usize = 10;
    for (output, cost) in [(Stdio::Null, 1), (Stdio::Capture, 3)] {
        let (reader, writer) = world.pipe().await.unwrap();
        let mut files = Vec::new();
        for _ in 0..WINDOW {
            files.push(lock_file(world, &format!("{dir}/file")).await);
        }
        let highest = world.descriptor(&files[WINDOW - 1]);
        files.clear();

        let number = world.descriptor(&reader).to_string();
        let command = Command::new("until-closed", [number]).inherit(&reader).output(output);
        let child = world.spawn_child(command).await.unwrap();
        loop {
            let file = lock_file(world, &format!("{dir}/file")).await;
            if world.descriptor(&file) > highest {
                break;
            }
            files.push(file);
        }
        assert_eq!(files.len(), WINDOW - cost);
        drop(writer);
        world.wait(child).await.unwrap();
        let file = lock_file(world, &format!("{dir}/file")).await;
        assert!(world.descriptor(&file) <= highest, "given back");
    }
}

pub(crate) async fn p4_wait_returns_when_all_is_closed<W: World>(world: &W, dir: &str) {
    let path = format!("{dir}/lock");
    let other = lock_file(world, &path).await;
    for _ in 0..10 {
        let (reader, writer) = world.pipe().await.unwrap();
        let file = lock_file(world, &path).await;
        world.flock(&file, LockMode::Exclusive).await.unwrap();
        let child =
            world.spawn_child(Command::new("true", NO_ARGUMENTS).inherit(&file).inherit(&writer)).await.unwrap();
        drop((file, writer));
        world.wait(child).await.unwrap();
        assert!(world.try_flock(&other, LockMode::Exclusive).await.unwrap(), "its lock is gone");
        world.unlock(&other).await.unwrap();
        assert_eq!(drain(world, &reader).await, b"", "its end of the pipe is closed");
    }
}

pub(crate) async fn p5_a_dropped_child_is_killed<W: World>(world: &W, dir: &str) {
    let path = format!("{dir}/lock");
    let (reader, _writer) = world.pipe().await.unwrap();
    let file = lock_file(world, &path).await;
    world.flock(&file, LockMode::Exclusive).await.unwrap();
    let command = Command::new("until-closed", [world.descriptor(&reader).to_string()]).inherit(&reader).inherit(&file);
    let child = world.spawn_child(command).await.unwrap();
    drop(file);
    let other = lock_file(world, &path).await;
    assert!(!world.try_flock(&other, LockMode::Exclusive).await.unwrap());
    drop(child);
    let granted = world.on_thread({
        let world = world.clone();
        async move { world.flock(&other, LockMode::Exclusive).await }
    });
    granted.await.unwrap();
}

pub(crate) async fn p6_a_child_outlives_its_parent<W: World>(world: &W, dir: &str) {
    let path = format!("{dir}/lock");
    let (reader, writer) = world.pipe().await.unwrap();
    let (heard, ready) = world.pipe().await.unwrap();
    let file = lock_file(world, &path).await;
    world.flock(&file, LockMode::Exclusive).await.unwrap();
    let numbers = [&reader, &file, &ready].map(|file| world.descriptor(file).to_string());
    let command = Command::new("foster", numbers).inherit(&reader).inherit(&file).inherit(&ready);
    let parent = world.spawn_child(command).await.unwrap();
    drop((file, reader, ready));

    assert_eq!(world.read(&heard, 1).await.unwrap(), b"!", "the grandchild runs");
    world.kill(&parent).await.unwrap();
    assert_eq!(world.wait(parent).await.unwrap().status, Status::Killed(9));
    let other = lock_file(world, &path).await;
    assert!(!world.try_flock(&other, LockMode::Exclusive).await.unwrap(), "the lock lives on");
    drop(writer);
    let granted = world.on_thread({
        let world = world.clone();
        async move { world.flock(&other, LockMode::Exclusive).await }
    });
    granted.await.unwrap();
}
