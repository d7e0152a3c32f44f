//! The programs that bodies start, by name. The real world finds them in `tests/programs`, the simulated one in its register.
//!
//! Descriptors are named by number in the arguments. Besides these, bodies start `true`, `false` and `echo`.

use super::drain;
use flockstep::world::{Command, World, write_all};

/// Runs the program of that name.
pub(crate) async fn run<W: World>(world: W, name: &str, arguments: Vec<String>) {
    let arguments = arguments.iter().map(|number| number.parse().expect("a descriptor number")).collect::<Vec<u32>>();
    match (name, &arguments[..]) {
        ("until-closed", &[reader]) => until_closed(&world, reader).await,
        ("unlock", &[lock]) => unlock(&world, lock).await,
        ("foster", &[reader, lock, ready]) => foster(&world, reader, lock, ready).await,
        ("first-task-ends", &[writer]) => first_task_ends(&world, writer).await,
        _ => panic!("no program {name} {arguments:?}"),
    }
}

/// Lives until nobody can write to that pipe any more.
async fn until_closed<W: World>(world: &W, reader: u32) {
    let reader = world.inherited(reader).unwrap();
    drain(world, &reader).await;
}

/// Releases the lock of a description that it inherited; nothing else of it can be taken, and it not twice.
async fn unlock<W: World>(world: &W, lock: u32) {
    let file = world.inherited(lock).unwrap();
    assert!(world.inherited(lock).is_err(), "taken twice");
    assert!(world.inherited(world.descriptor_limit() - 1).is_err(), "never opened");
    world.unlock(&file).await.unwrap();
}

/// Has a child that lives until the pipe is closed and holds the lock, says so on `ready`, and lives as long.
async fn foster<W: World>(world: &W, reader: u32, lock: u32, ready: u32) {
    let (pipe, lock, ready) =
        (world.inherited(reader).unwrap(), world.inherited(lock).unwrap(), world.inherited(ready).unwrap());
    let command = Command::new("until-closed", [reader.to_string()]).inherit(&pipe).inherit(&lock);
    let child = world.spawn_child(command).await.unwrap();
    write_all(world, &ready, b"!").await.unwrap();
    drain(world, &pipe).await;
    world.wait(child).await.unwrap();
}

/// Ends while one of its tasks waits for ever, and a section on the pool waits for that task to be dropped: it reads a pipe that the
/// task has open, and only then says "section".
async fn first_task_ends<W: World>(world: &W, writer: u32) {
    let writer = world.inherited(writer).unwrap();
    let (dropped, held) = world.pipe().await.unwrap();
    let (began, never) = (world.notify("began"), world.notify("never"));
    let (here, there) = (world.clone(), world.clone());
    let began_too = began.clone();
    // Detached, both.
    drop(world.spawn("for ever", async move {
        let _held = held;
        here.notify_one(&began).await;
        here.notified(&never).await;
    }));
    world.notified(&began_too).await;
    let (here, began) = (world.clone(), began_too.clone());
    let section = async move {
        here.notify_one(&began).await;
        drain(&here, &dropped).await;
        write_all(&here, &writer, b"section").await.unwrap();
    };
    drop(world.spawn("section", async move { there.on_pool(section).await }));
    world.notified(&began_too).await;
}
