//! The real world: the contract, and what only the real one promises.
//!
//! Each clause runs in a process of its own, which is this test binary once more with one test selected. In one process they would
//! meet: descriptor numbers are the process's, and a child that one test forks holds for an instant a copy of every lock of all others
//! (P1), so that a lock just released is still held. A clause that hangs is killed after a minute.

use crate::contract::{self, Limits, clauses};
use flockstep::os::{Class, OsFile, OsWorld, SPAWN_DESCRIPTORS};
use flockstep::world::{
    Children, Clock, Command, Files, InProcess, JoinError, LockMode, Locks, Notes, OpenOptions, Process, Stdio, Tasks,
    World, timeout,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::future::Future;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// In the process that cargo started: starts another for `test`, and demands that it succeeds. In that one: runs `body`.
fn in_its_own_process<F>(test: &str, limits: Limits, body: impl FnOnce(OsWorld, String) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (workers, blocking_threads) = (limits.workers, limits.blocking_threads);
    let started_for = OsWorld::new().var("FLOCKSTEP_TEST");
    if started_for.as_deref() == Some(test) {
        if limits.nofile.is_some() {
            let maximum = getrlimit(Resource::Nofile).maximum;
            setrlimit(Resource::Nofile, Rlimit { current: limits.nofile, maximum }).unwrap();
        }
        return OsWorld::run(workers, blocking_threads, |world| {
            let dir = world.var("FLOCKSTEP_DIR").unwrap();
            body(world, dir)
        })
        .unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    let binary = std::env::current_exe().unwrap().into_os_string().into_string().unwrap();
    let path = format!("{}/tests/programs:{}", env!("CARGO_MANIFEST_DIR"), OsWorld::new().var("PATH").unwrap());
    let command = Command::new(&binary, ["--exact", &format!("os::{test}"), "--nocapture"])
        .env("FLOCKSTEP_TEST", test)
        .env("FLOCKSTEP_TESTS", &binary)
        .env("FLOCKSTEP_DIR", dir.path().to_str().unwrap())
        .env("PATH", path)
        .output(Stdio::Capture);
    let ended = OsWorld::run(1, 1, |world| async move {
        let child = world.spawn_child(command).await.unwrap();
        timeout(&world, Some(MINUTE), world.wait(child)).await
    });
    let output = ended.unwrap().expect("hangs").unwrap();
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    assert!(output.status.success(), "{:?}\n{}", output.status, String::from_utf8_lossy(&said));
    assert!(String::from_utf8_lossy(&said).contains("1 passed"), "no test {test}");
}

/// Not a test: how the scripts in `tests/programs` get at the programs that are written as World code.
#[test]
fn program() {
    let world = OsWorld::new();
    if let Some(name) = world.var("FLOCKSTEP_PROGRAM") {
        let arguments = world.var("FLOCKSTEP_ARGUMENTS").unwrap().split_whitespace().map(str::to_owned).collect();
        OsWorld::run(2, 2, move |world| async move { contract::programs::run(world, &name, arguments).await }).unwrap();
    }
}

macro_rules! on_os {
    ($($module:ident :: $clause:ident { $($limit:tt)* };)*) => {
        $(
            #[test]
            fn $clause() {
                #[allow(clippy::needless_update, reason = "most clauses change none of the limits")]
                let limits = Limits { $($limit)* ..Limits::USUAL };
                fn body<W: World>(world: W, dir: String) -> impl Future<Output = ()> + Send {
                    async move { contract::$module::$clause(&world, &dir).await }
                }
                in_its_own_process(stringify!($clause), limits, body);
            }
        )*
    };
}

clauses!(on_os);

#[test]
fn a_panic_in_a_section_is_passed_on() {
    OsWorld::run(1, 1, |world| async move {
        for on_pool in [true, false] {
            let here = world.clone();
            let task = world.spawn("task", async move {
                if on_pool {
                    here.on_pool(async { panic!("expected") }).await
                } else {
                    here.on_thread(async { panic!("expected") }).await
                }
            });
            assert_eq!(task.await, Err::<(), _>(JoinError::Panicked));
        }
    })
    .unwrap();
}

#[test]
fn the_pool_is_first_in_first_out() {
    OsWorld::run(1, 1, |world| async move {
        let (order, go) = (world.thread_mutex("order", Vec::new()), world.notify("go"));
        let section = |number: u32| {
            let (world, order, go) = (world.clone(), order.clone(), go.clone());
            async move {
                if number == 0 {
                    world.notified(&go).await;
                }
                world.lock_thread(&order).await.push(number);
            }
        };
        // join polls them in this order, and OsWorld acts at the first poll.
        let sections = (0..5).map(|number| world.on_pool(section(number)));
        futures::join!(futures::future::join_all(sections), world.notify_one(&go));
        assert_eq!(*world.lock_thread(&order).await, [0, 1, 2, 3, 4]);
    })
    .unwrap();
}

#[test]
fn a_seed_repeats_the_choices() {
    let choices =
        |seed| {
            let world = OsWorld::seeded(seed);
            OsWorld::run(1, 1, |_| async move {
                [world.choose(1000).await, world.choose(1000).await, world.choose(1000).await]
            })
            .unwrap()
        };
    assert_eq!(choices(1), choices(1));
    assert_ne!(choices(1), choices(2));
}

/// Takes all numbers that are free between those in use; the next ones are then in a row.
async fn fill(world: &OsWorld, dir: &str) -> Vec<OsFile> {
    let mut files = Vec::new();
    for _ in 0..20 {
        files.push(world.open(&format!("{dir}/fill"), OpenOptions::lock_file()).await.unwrap());
    }
    files
}

#[test]
fn the_gauge_sees_every_descriptor_and_lock() {
    in_its_own_process("the_gauge_sees_every_descriptor_and_lock", Limits::USUAL, |world, dir| async move {
        let gauge = world.gauge();
        let open = async |name: &str| world.open(&format!("{dir}/{name}"), OpenOptions::lock_file()).await.unwrap();
        let (one, other) = (open("one").await, open("other").await);
        let copy = world.dup(&one).await.unwrap();
        assert_eq!(world.peaks().descriptors, world.descriptor(&copy) + 1);
        assert_eq!((gauge.now(Class::File), gauge.peak(Class::File)), (3, 3));

        world.flock(&one, LockMode::Exclusive).await.unwrap();
        world.flock(&copy, LockMode::Exclusive).await.unwrap();
        assert_eq!(gauge.now(Class::Lock), 1, "one description, one lock");
        world.flock(&other, LockMode::Shared).await.unwrap();
        assert_eq!(gauge.now(Class::Lock), 2);
        let third = open("other").await;
        world.flock(&third, LockMode::Shared).await.unwrap();
        assert!(!world.try_flock(&other, LockMode::Exclusive).await.unwrap());
        assert_eq!(gauge.now(Class::Lock), 2, "a refused conversion has lost its lock");
        drop(one);
        assert_eq!(gauge.now(Class::Lock), 2, "the duplicate keeps it");
        drop((copy, other, third));
        assert_eq!((gauge.now(Class::Lock), gauge.now(Class::File)), (0, 0));
        assert_eq!(world.peaks().locks, 3);

        let below = fill(&world, &dir).await;
        let next = world.descriptor(below.last().unwrap()) + 1;
        let child = world.spawn_child(Command::new("true", [""; 0]).output(Stdio::Capture)).await.unwrap();
        assert_eq!(world.peaks().descriptors, next + SPAWN_DESCRIPTORS);
        assert_eq!(gauge.now(Class::Child), 3);
        world.wait(child).await.unwrap();
        assert_eq!(gauge.now(Class::Child), 0);
    });
}

/// The figure that [`SPAWN_DESCRIPTORS`] charges is what std takes: with one number less free, it fails.
#[test]
#[expect(clippy::disallowed_types, reason = "measures std's own way of starting a child")]
fn a_spawn_takes_the_descriptors_that_it_is_charged() {
    use std::os::unix::process::CommandExt;
    in_its_own_process("a_spawn_takes_the_descriptors_that_it_is_charged", Limits::USUAL, |world, dir| async move {
        let below = fill(&world, &dir).await;
        let next = world.descriptor(below.last().unwrap()) + 1;
        let starts_with = |free: u32| {
            let maximum = getrlimit(Resource::Nofile).maximum;
            setrlimit(Resource::Nofile, Rlimit { current: Some(u64::from(next + free)), maximum }).unwrap();
            let mut command = std::process::Command::new("true");
            command.stdin(std::process::Stdio::null());
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
            // Setting the user, here to the same one, takes std off posix_spawn, as inheriting a descriptor does.
            command.uid(rustix::process::getuid().as_raw());
            command.spawn().map(|mut child| child.wait().unwrap()).is_ok()
        };
        assert!(!starts_with(SPAWN_DESCRIPTORS - 1));
        assert!(starts_with(SPAWN_DESCRIPTORS));
    });
}

/// Dropped means killed *and* reaped: no zombie is left, which would keep the number and an entry in the process table.
#[test]
#[cfg(target_os = "linux")]
fn a_dropped_child_is_reaped() {
    in_its_own_process("a_dropped_child_is_reaped", Limits::USUAL, |world, _dir| async move {
        let (reader, _writer) = world.pipe().await.unwrap();
        let command = Command::new("until-closed", [world.descriptor(&reader).to_string()]).inherit(&reader);
        let child = world.spawn_child(command).await.unwrap();
        let entry = format!("/proc/{}", world.child_id(&child));
        assert!(world.stat(&entry).await.is_ok());
        drop(child);
        while world.stat(&entry).await.is_ok() {
            world.sleep(Duration::from_millis(1)).await;
        }
    });
}

/// What F7 leaves open and the simulated kernel takes from here: the locks of a killed process go one by one, from the highest
/// descriptor down. An observer sees the second lock free while the first is held, and never the reverse.
#[test]
#[cfg(target_os = "linux")]
fn death_takes_one_lock_at_a_time() {
    in_its_own_process("death_takes_one_lock_at_a_time", Limits::USUAL, |world, dir| async move {
        let open = async |name: &str| world.open(&format!("{dir}/{name}"), OpenOptions::lock_file()).await.unwrap();
        let mut one_by_one = 0;
        for _ in 0..100 {
            let (first, second) = (open("first").await, open("second").await);
            world.flock(&first, LockMode::Exclusive).await.unwrap();
            world.flock(&second, LockMode::Exclusive).await.unwrap();
            let command = Command::new("sleep", ["60"]).inherit(&first).inherit(&second);
            let child = world.spawn_child(command).await.unwrap();
            drop((first, second));
            let (here, first, second) = (world.clone(), open("first").await, open("second").await);
            let observer = world.on_thread(async move {
                let is_free = async |file| {
                    let free = here.try_flock(file, LockMode::Exclusive).await.unwrap();
                    here.unlock(file).await.unwrap();
                    free
                };
                let mut seen = false;
                loop {
                    let (before, free, after) = (is_free(&second).await, is_free(&first).await, is_free(&second).await);
                    assert!(after || !free, "the first lock is gone before the second");
                    seen |= before && !free;
                    if free {
                        return seen;
                    }
                }
            });
            let (seen, killed) = futures::join!(observer, world.kill(&child));
            killed.unwrap();
            one_by_one += u32::from(seen);
            world.wait(child).await.unwrap();
        }
        // How often the observer gets in between is up to the machine; never the other way round is what counts.
        world.note("seen between", &one_by_one.to_string());
    });
}

mod notes {
    use super::*;
    use std::fmt::{self, Write};
    use std::sync::{Arc, Mutex};
    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    /// Writes down what is said under one target.
    struct Listener(Arc<Mutex<String>>);

    struct Line<'a>(&'a mut String);

    impl Visit for Line<'_> {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            write!(self.0, "{field}={value:?} ").unwrap();
        }
    }

    impl Subscriber for Listener {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target() == "flockstep::note"
        }
        fn event(&self, event: &Event<'_>) {
            event.record(&mut Line(&mut self.0.lock().unwrap()));
        }
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn remarks_are_heard_in_order() {
        let said = Arc::new(Mutex::new(String::new()));
        tracing::subscriber::with_default(Listener(Arc::clone(&said)), || {
            let world = OsWorld::new();
            let region = world.region("build", "key");
            world.note("reused", "other");
            drop(region);
        });
        let expected = "message=enter kind=\"build\" subject=\"key\" message=note kind=\"reused\" subject=\"other\" \
                        message=leave kind=\"build\" subject=\"key\" ";
        assert_eq!(*said.lock().unwrap(), expected);
    }
}
