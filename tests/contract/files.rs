//! F1 to F8: files, directories, pipes; and what the calls on names do, as their manual pages say.

use super::{drain, lock_file, put};
use flockstep::world::{
    Command, Entry, Errno, FileKind, LockMode, OpenOptions, Status, World, create_dir_all, read_file, remove_dir_all,
    write_all,
};
use futures::future::join;

pub(crate) async fn f1_lowest_descriptor_and_emfile_first<W: World>(world: &W, dir: &str) {
    let full = format!("{dir}/full");
    put(world, &full, b"content").await;

    let (first, second, third) =
        (lock_file(world, &full).await, lock_file(world, &full).await, lock_file(world, &full).await);
    assert!(world.descriptor(&first) < world.descriptor(&second));
    assert!(world.descriptor(&second) < world.descriptor(&third));
    let freed = world.descriptor(&second);
    world.close(second).await.unwrap();
    let fourth = lock_file(world, &full).await;
    assert_eq!(world.descriptor(&fourth), freed, "the lowest free number");

    let mut held = Vec::new();
    let error = loop {
        match world.open(&full, OpenOptions::read()).await {
            Ok(file) => held.push(file),
            Err(error) => break error,
        }
        assert!(held.len() < world.descriptor_limit() as usize);
    };
    assert_eq!((error.errno, error.call), (Errno::MFile, "open"));
    assert_eq!(world.descriptor(held.last().unwrap()), world.descriptor_limit() - 1);

    let emfile = Some(Errno::MFile);
    let missing = world.open(&format!("{dir}/no/such"), OpenOptions::read()).await;
    assert_eq!(missing.err().map(|error| error.errno), emfile, "not ENOENT");
    let created = world.open(&format!("{dir}/new"), OpenOptions::create_new()).await;
    assert_eq!(created.err().map(|error| error.errno), emfile);
    assert_eq!(world.stat(&format!("{dir}/new")).await.unwrap_err().errno, Errno::NoEnt, "nothing was created");
    let emptied = world.open(&full, OpenOptions::replace()).await;
    assert_eq!(emptied.err().map(|error| error.errno), emfile);
    assert_eq!(world.stat(&full).await.unwrap().size, 7, "nothing was truncated");
    assert_eq!(world.dup(&first).await.err().map(|error| error.errno), emfile);
    assert_eq!(world.pipe().await.err().map(|error| error.errno), emfile);
    assert_eq!(world.read_dir(dir).await.err().map(|error| error.errno), emfile);
    assert_eq!(
        world.spawn_child(Command::new("true", [""; 0])).await.err().map(|error| error.errno),
        emfile,
        "starting a child needs descriptors"
    );
}

pub(crate) async fn f2_duplicates_share_the_description<W: World>(world: &W, dir: &str) {
    let path = format!("{dir}/file");
    put(world, &path, b"abcdef").await;
    let (one, other) =
        (world.open(&path, OpenOptions::read()).await.unwrap(), world.open(&path, OpenOptions::read()).await.unwrap());
    let copy = world.dup(&one).await.unwrap();
    assert_eq!(world.read(&one, 3).await.unwrap(), b"abc");
    assert_eq!(world.read(&copy, 3).await.unwrap(), b"def", "one offset");
    assert_eq!(world.read(&other, 3).await.unwrap(), b"abc", "an offset of its own");
    world.seek(&copy, 1).await.unwrap();
    assert_eq!(world.read(&one, 1).await.unwrap(), b"b");
    assert!(world.try_flock(&one, LockMode::Exclusive).await.unwrap());
    assert!(world.try_flock(&copy, LockMode::Exclusive).await.unwrap(), "one lock");
    assert!(!world.try_flock(&other, LockMode::Exclusive).await.unwrap(), "a lock of its own");
}

pub(crate) async fn f3_exclusive_creation_has_one_winner<W: World>(world: &W, dir: &str) {
    let path = format!("{dir}/file");
    let mut tasks = Vec::new();
    for caller in 0..8 {
        let (world, path) = (world.clone(), path.clone());
        tasks.push(world.clone().spawn(&format!("caller {caller}"), async move {
            world.open(&path, OpenOptions::create_new()).await.map(drop).map_err(|error| error.errno)
        }));
    }
    let mut winners = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(()) => winners += 1,
            Err(errno) => assert_eq!(errno, Errno::Exist),
        }
    }
    assert_eq!(winners, 1);
}

pub(crate) async fn f4_rename_replaces_in_one_step<W: World>(world: &W, dir: &str) {
    let (target, temp) = (format!("{dir}/target"), format!("{dir}/temp"));
    put(world, &target, &[0; 100]).await;
    let writer = world.spawn("writer", {
        let (world, target) = (world.clone(), target.clone());
        async move {
            for round in 1..=20 {
                put(&world, &temp, &[round; 100]).await;
                world.rename(&temp, &target).await.unwrap();
            }
        }
    });
    let mut newest = 0;
    for _ in 0..20 {
        let content = read_file(world, &target).await.expect("the name is always there");
        assert_eq!(content.len(), 100);
        assert!(content.iter().all(|byte| *byte == content[0]), "two files in one");
        assert!(content[0] >= newest, "back to an older file");
        newest = content[0];
    }
    writer.await.unwrap();
    assert_eq!(read_file(world, &target).await.unwrap(), [20; 100]);
    let names = world.read_dir(dir).await.unwrap();
    assert_eq!(names, [Entry { name: "target".into(), is_dir: false }]);
}

pub(crate) async fn f5_an_open_file_outlives_its_name<W: World>(world: &W, dir: &str) {
    let (path, other) = (format!("{dir}/file"), format!("{dir}/other"));
    put(world, &path, b"old").await;
    let file = lock_file(world, &path).await;
    world.link(&path, &other).await.unwrap();
    assert_eq!(world.fstat(&file).await.unwrap().nlink, 2);
    world.unlink(&other).await.unwrap();
    world.unlink(&path).await.unwrap();
    assert_eq!(world.stat(&path).await.unwrap_err().errno, Errno::NoEnt);

    assert_eq!(drain(world, &file).await, b"old");
    write_all(world, &file, b"er").await.unwrap();
    let stat = world.fstat(&file).await.unwrap();
    assert_eq!((stat.size, stat.kind), (5, FileKind::File));
    for _ in 0..10 {
        put(world, &path, b"new").await;
        assert_ne!(world.stat(&path).await.unwrap().id, stat.id, "the number of an open file, given to another");
        world.unlink(&path).await.unwrap();
    }
    world.seek(&file, 0).await.unwrap();
    assert_eq!(drain(world, &file).await, b"older");
    world.truncate(&file, 2).await.unwrap();
    world.fsync(&file).await.unwrap();
    assert_eq!(world.fstat(&file).await.unwrap().size, 2);
}

pub(crate) async fn f6_dropping_closes<W: World>(world: &W, dir: &str) {
    let path = format!("{dir}/file");
    let other = lock_file(world, &path).await;
    let file = lock_file(world, &path).await;
    let number = world.descriptor(&file);
    assert!(world.try_flock(&file, LockMode::Exclusive).await.unwrap());
    assert!(!world.try_flock(&other, LockMode::Exclusive).await.unwrap());
    drop(file);
    assert!(world.try_flock(&other, LockMode::Exclusive).await.unwrap(), "its lock is gone");
    let next = lock_file(world, &path).await;
    assert_eq!(world.descriptor(&next), number, "its number is free");
    world.close(next).await.unwrap();
    let next = lock_file(world, &path).await;
    assert_eq!(world.descriptor(&next), number, "closing does the same");
}

pub(crate) async fn f7_the_end_of_a_process_closes_all<W: World>(world: &W, dir: &str) {
    let (one, other) = (format!("{dir}/one"), format!("{dir}/other"));
    let (reader, writer) = world.pipe().await.unwrap();
    let (end, held) = world.pipe().await.unwrap();
    let (first, second) = (lock_file(world, &one).await, lock_file(world, &other).await);
    world.flock(&first, LockMode::Exclusive).await.unwrap();
    world.flock(&second, LockMode::Shared).await.unwrap();
    let command = Command::new("until-closed", [world.descriptor(&reader).to_string()])
        .inherit(&reader)
        .inherit(&held)
        .inherit(&first)
        .inherit(&second);
    let child = world.spawn_child(command).await.unwrap();
    drop((reader, held, first, second));

    let (first, second) = (lock_file(world, &one).await, lock_file(world, &other).await);
    assert!(!world.try_flock(&first, LockMode::Exclusive).await.unwrap(), "held by the child");
    assert!(!world.try_flock(&second, LockMode::Exclusive).await.unwrap(), "held by the child");
    world.kill(&child).await.unwrap();
    assert_eq!(world.wait(child).await.unwrap().status, Status::Killed(9));
    assert!(world.try_flock(&first, LockMode::Exclusive).await.unwrap());
    assert!(world.try_flock(&second, LockMode::Exclusive).await.unwrap());
    assert_eq!(drain(world, &end).await, b"");
    assert_eq!(world.write(&writer, b"x").await.unwrap_err().errno, Errno::Pipe);
}

pub(crate) async fn f8_pipes_wait_and_end<W: World>(world: &W, _dir: &str) {
    let (reader, writer) = world.pipe().await.unwrap();
    let sent: Vec<u8> = (0..300_000_u32).map(|byte| byte as u8).collect();
    let (here, there, copy) = (world.clone(), world.clone(), sent.clone());
    // More than any pipe holds, so the writer has to wait for the reader. Both block their threads, therefore not a worker's.
    let sender = world.on_thread(async move { write_all(&there, &writer, &copy).await.unwrap() });
    let receiver = world.on_thread(async move { (drain(&here, &reader).await, reader) });
    let ((), (received, reader)) = join(sender, receiver).await;
    assert_eq!(received, sent);
    assert_eq!(world.read(&reader, 1).await.unwrap(), b"", "all writers are closed");

    let (reader, writer) = world.pipe().await.unwrap();
    drop(reader);
    assert_eq!(world.write(&writer, b"x").await.unwrap_err().errno, Errno::Pipe);
}

pub(crate) async fn names_directories_and_links<W: World>(world: &W, dir: &str) {
    let path = |name: &str| format!("{dir}/{name}");
    let errno = |result: flockstep::world::Result<()>| result.unwrap_err().errno;
    create_dir_all(world, &path("a/b/c")).await.unwrap();
    create_dir_all(world, &path("a/b/c")).await.unwrap();
    assert_eq!(errno(world.mkdir(&path("a")).await), Errno::Exist);
    assert_eq!(errno(world.rmdir(&path("a")).await), Errno::NotEmpty);
    assert_eq!(errno(world.unlink(&path("missing")).await), Errno::NoEnt);
    put(world, &path("a/file"), b"content").await;
    assert_eq!(errno(world.mkdir(&path("a/file/d")).await), Errno::NotDir);
    assert_eq!(errno(world.link(&path("a/file"), &path("a/b")).await), Errno::Exist);

    world.symlink("file", &path("a/link")).await.unwrap();
    assert_eq!(world.read_link(&path("a/link")).await.unwrap(), "file");
    assert_eq!(world.lstat(&path("a/link")).await.unwrap().kind, FileKind::Symlink);
    assert_eq!(world.stat(&path("a/link")).await.unwrap().id, world.stat(&path("a/file")).await.unwrap().id);
    let refused = world.open(&path("a/link"), OpenOptions::read().no_follow()).await.err().unwrap();
    assert_eq!((refused.errno, refused.call, &*refused.subject), (Errno::Loop, "open", &*path("a/link")));

    let names = world.read_dir(&path("a")).await.unwrap();
    let entry = |name: &str, is_dir| Entry { name: name.into(), is_dir };
    assert_eq!(names, [entry("b", true), entry("file", false), entry("link", false)], "sorted, without . and ..");
    let directory = world.open(&path("a"), OpenOptions::directory()).await.unwrap();
    assert_eq!(world.fstat(&directory).await.unwrap().kind, FileKind::Dir);
    assert!(world.try_flock(&directory, LockMode::Exclusive).await.unwrap(), "a directory can be locked");
    world.fsync(&directory).await.unwrap();

    remove_dir_all(world, &path("a")).await.unwrap();
    assert_eq!(world.read_dir(dir).await.unwrap(), []);
}
