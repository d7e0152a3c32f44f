//! Locks and permits: who waits for one, until when, and what becomes of a wait that was given up.

use super::*;

async fn adoption<W: World>(world: W, root: String, open_files: impl Fn() -> u32 + Send) {
    let path = format!("{root}/p.lock");
    let mut holder = task(&world, &cache(&world, &root)).await;
    let held = lock(&world, &mut holder, &path).await.unwrap();

    let impatient = Settings { lock_timeout: Some(SOON), ..settings(&root) };
    let cache = Cache::new(&world, impatient).unwrap();
    for attempt in 0..2 {
        let error = lock(&world, &mut task(&world, &cache).await, &path).await.err().expect("it is held");
        assert!(matches!(&error, Error::LockTimeout { own: false, .. }), "attempt {attempt}: {error}");
        for part in [&*path, "project", "protocol.rs:"] {
            assert!(error.to_string().contains(part), "{part} is missing in: {error}");
        }
    }
    assert_eq!(open_files(), 2, "the holder's, and that of the one wait that was handed on");
    let mut waiter = task(&world, &cache).await;
    let (_, adopted) = join(held.release(), lock(&world, &mut waiter, &path)).await;
    let adopted = adopted.unwrap();
    assert!(!is_free(&world, &root, &path).await);
    adopted.release().await;
    assert!(is_free(&world, &root, &path).await);
}

#[test]
fn a_wait_that_timed_out_is_adopted_by_the_next_waiter() {
    on_os(|world, root| adoption(world.clone(), root, move || world.gauge().now(Class::File)));
}

async fn abandonment<W: World>(world: W, root: String) {
    let path = format!("{root}/p.lock");
    let mut holder = task(&world, &cache(&world, &root)).await;
    let held = lock(&world, &mut holder, &path).await.unwrap();
    // Room for one build in the whole process: as long as the wait goes on, nothing else may start.
    let reserve = world.descriptor_limit().saturating_sub(BUILD);
    let cache = Cache::new(&world, Settings { reserve, ..settings(&root) }).unwrap();
    let mut waiter = task(&world, &cache).await;
    assert!(timeout(&world, Some(SOON), lock(&world, &mut waiter, &path)).await.is_err(), "cancelled");
    drop(waiter);
    assert!(timeout(&world, Some(SOON), task(&world, &cache)).await.is_err(), "the wait keeps its weight");
    held.release().await;
    // The thread gets the lock, finds nobody, gives it up, and then its weight.
    task(&world, &cache).await;
    assert!(is_free(&world, &root, &path).await);
}

#[test]
fn an_abandoned_wait_keeps_its_weight_until_it_ends_and_leaks_nothing() {
    on_os(abandonment);
}

async fn impatience<W: World>(world: &W, root: &str) -> usize {
    let paths = [format!("{root}/a.lock"), format!("{root}/b.lock")];
    let inside = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let mut tasks = Vec::new();
    for process in 0..3 {
        let timed = Settings { lock_timeout: Some(Duration::from_millis(3)), ..settings(root) };
        let cache = Cache::new(world, timed).unwrap();
        for number in 0..4 {
            let (world, cache, paths, inside) = (world.clone(), cache.clone(), paths.clone(), inside.clone());
            tasks.push(world.clone().spawn(&format!("{process}.{number}"), async move {
                let mut granted = 0;
                for _ in 0..40 {
                    let which = world.choose(2).await as usize;
                    let limit = Duration::from_micros(u64::from(world.choose(6000).await));
                    let mut task = task(&world, &cache).await;
                    match timeout(&world, Some(limit), lock(&world, &mut task, &paths[which])).await {
                        Ok(Ok(lock)) => {
                            assert_eq!(inside[which].fetch_add(1, Ordering::SeqCst), 0, "two owners");
                            world.sleep(Duration::from_micros(u64::from(world.choose(1500).await))).await;
                            inside[which].fetch_sub(1, Ordering::SeqCst);
                            match world.choose(3).await {
                                0 => drop(lock),
                                _ => lock.release().await,
                            }
                            granted += 1;
                        }
                        Ok(Err(Error::LockTimeout { .. })) | Err(_) => {}
                        Ok(Err(error)) => panic!("{error}"),
                    }
                }
                granted
            }));
        }
    }
    let mut granted = 0;
    for task in tasks {
        granted += task.await.unwrap();
    }
    // The last of the abandoned waits ends when it is granted; whoever waits behind it in the kernel gets the lock afterwards.
    for path in &paths {
        lock(world, &mut task(world, &cache(world, root)).await, path).await.unwrap().release().await;
    }
    granted
}

#[test]
fn no_lock_is_lost_or_shared_among_time_outs_and_cancellations() {
    on_os(|world, root| async move {
        let granted = impatience(&world, &root).await;
        assert!(granted > 0);
        let nothing_is_open = async {
            while world.gauge().now(Class::Lock) + world.gauge().now(Class::File) > 0 {
                world.sleep(SOON / 10).await;
            }
        };
        timeout(&world, Some(Duration::from_secs(20)), nothing_is_open).await.expect("a descriptor leaked");
    });
}

async fn unlink_race<W: World>(world: W, root: String, replaced: bool) {
    let path = format!("{root}/p.lock");
    let (first, second) = (cache(&world, &root), cache(&world, &root));
    let (mut first, mut second) = (task(&world, &first).await, task(&world, &second).await);
    let held = lock(&world, &mut first, &path).await.unwrap();
    let removed = async {
        world.sleep(SOON).await;
        world.unlink(&path).await.unwrap();
        if replaced {
            write(&world, &path, b"").await;
        }
        held.release().await;
    };
    let (_, lock) = join(removed, lock(&world, &mut second, &path)).await;
    let lock = lock.unwrap();
    assert_eq!(world.fstat(lock.file()).await.unwrap().id, world.stat(&path).await.unwrap().id);
    assert!(!is_free(&world, &root, &path).await);
    lock.release().await;
}

#[test]
fn a_lock_file_that_was_removed_or_replaced_meanwhile_is_opened_again() {
    on_os(|world, root| unlink_race(world, root, false));
    on_os(|world, root| unlink_race(world, root, true));
}

async fn planted_files<W: World>(world: W, root: String) {
    let mut task = task(&world, &cache(&world, &root)).await;
    world.symlink("/etc/passwd", &format!("{root}/link.lock")).await.unwrap();
    world.mkdir(&format!("{root}/dir.lock")).await.unwrap();
    for (name, found) in [("link.lock", "a symbolic link"), ("dir.lock", "a directory")] {
        let error = lock(&world, &mut task, &format!("{root}/{name}")).await.err().expect("refused");
        assert!(error.to_string().contains(name) && error.to_string().contains(found), "{error}");
    }
    assert!(task.order().held().is_empty(), "what failed is not held");
}

#[test]
fn what_is_no_lock_file_is_refused() {
    on_os(planted_files);
}

async fn shared<W: World>(world: W, root: String) {
    let (user, cleaner) = (cache(&world, &root), cache(&world, &root));
    let other = cache(&world, &root);
    let path = user.lock_path();
    let held = user.command().lock(&world, Rank::CacheRoot, &path, LockMode::Shared).await.unwrap();
    let mut other = other.command();
    let too = other.try_lock(&world, Rank::CacheRoot, &path, LockMode::Shared).await.unwrap().expect("shared");
    let mut cleaner = cleaner.command();
    assert!(cleaner.try_lock(&world, Rank::CacheRoot, &path, LockMode::Exclusive).await.unwrap().is_none());
    held.release().await;
    too.release().await;
    assert!(cleaner.try_lock(&world, Rank::CacheRoot, &path, LockMode::Exclusive).await.unwrap().is_some());
}

#[test]
fn users_share_the_cache_root_and_the_cleaner_has_it_alone() {
    on_os(shared);
}

async fn exhaustion<W: World>(world: W, root: String) {
    let reserve = world.descriptor_limit().saturating_sub(BUILD);
    let impatient = Settings { reserve, lock_timeout: Some(SOON), ..settings(&root) };
    let cache = Cache::new(&world, impatient).unwrap();
    let mut holder = task(&world, &cache).await;
    assert!(lock(&world, &mut holder, &format!("{root}/p.lock")).await.is_ok());
    let error = cache.task(&world, &Order::new(), BUILD).await.err().expect("the only permit is taken");
    assert!(matches!(error, Error::PermitTimeout { .. }), "{error}");
}

#[test]
fn a_permit_is_not_waited_for_longer_than_a_lock() {
    on_os(exhaustion);
}
