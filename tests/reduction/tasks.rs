//! What the tasks of a random program do.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flockstep::SimWorld;
use flockstep::oracle::state_of;
use flockstep::world::{Children, Clock, Command, Files, InProcess, Join, Locks, Notes, Output, Stdio, Tasks};

use super::programs::{Logs, Step};

thread_local! {
    /// What children do, by the name that they are given.
    pub(super) static CHILDREN: RefCell<BTreeMap<String, Step>> = const { RefCell::new(BTreeMap::new()) };
}

/// What the tasks of a process share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) semaphore: <SimWorld as InProcess>::Semaphore,
    pub(super) mutex: <SimWorld as InProcess>::Mutex<()>,
    pub(super) thread_mutex: <SimWorld as InProcess>::ThreadMutex<()>,
    pub(super) notify: <SimWorld as InProcess>::Notify,
    pub(super) count: <SimWorld as InProcess>::Mutex<u8>,
    /// Where the first task keeps those that can be aborted.
    pub(super) joining: Arc<Mutex<Vec<<SimWorld as Tasks>::Joining<()>>>>,
}

impl Shared {
    /// What a process has that begins. Of its mutexes only what is in them may matter.
    pub(super) fn of(world: &SimWorld, by_value: bool) -> Self {
        let (mutex, count) = match by_value {
            true => (world.value_mutex("m", ()), world.value_mutex("n", 0)),
            false => (world.mutex("m", ()), world.mutex("n", 0)),
        };
        Shared {
            semaphore: world.semaphore("s", 2),
            mutex,
            thread_mutex: world.thread_mutex("t", ()),
            notify: world.notify("n"),
            count,
            joining: Arc::default(),
        }
    }
}

/// Descriptors by slot.
pub(super) type Slots = [Option<<SimWorld as Files>::File>; 2];

/// What a task has.
#[derive(Default)]
struct Own {
    slots: Slots,
    child: Option<<SimWorld as Children>::Child>,
    permits: Vec<<SimWorld as InProcess>::Permit>,
    guard: Option<<SimWorld as InProcess>::Guard<()>>,
    thread_guard: Option<<SimWorld as InProcess>::ThreadGuard<()>>,
    region: Option<<SimWorld as Notes>::Region>,
}

impl Own {
    /// What is left of the steps so far: all that the next ones depend on.
    fn left(&self) -> u64 {
        let held = (self.permits.len(), self.guard.is_some(), self.thread_guard.is_some(), self.region.is_some());
        state_of((&self.slots, held)).expect("it is told")
    }
}

/// Tasks that are waited for together. Who gives that up has to wait for them in another way.
struct Taken<'s> {
    all: Vec<<SimWorld as Tasks>::Joining<()>>,
    from: &'s Shared,
}

impl<'s> Taken<'s> {
    fn from(shared: &'s Shared) -> Self {
        Taken { all: std::mem::take(&mut *shared.joining.lock().unwrap()), from: shared }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.from.joining.lock().unwrap().append(&mut self.all);
    }
}

async fn act(world: &SimWorld, shared: &Shared, own: &Mutex<Own>, step: &Step) -> String {
    let take = |slot: usize| own.lock().unwrap().slots[slot].take();
    let put = |slot: usize, file| {
        let old = own.lock().unwrap().slots[slot].replace(file);
        drop(old);
    };
    fn told<T>(result: flockstep::world::Result<T>) -> String {
        result.map_or_else(|error| error.errno.to_string(), |_| "ok".into())
    }
    match step {
        Step::Open(slot, path, options) => match world.open(path, *options).await {
            Ok(file) => {
                put(*slot, file);
                "open".into()
            }
            Err(error) => error.errno.to_string(),
        },
        Step::Close(slot) => match take(*slot) {
            Some(file) => told(world.close(file).await),
            None => "-".into(),
        },
        Step::Flock(slot, _)
        | Step::TryFlock(slot, _)
        | Step::Unlock(slot)
        | Step::Write(slot)
        | Step::Read(slot)
        | Step::Dup(slot)
        | Step::Truncate(slot)
        | Step::Seek(slot)
        | Step::Fstat(slot)
        | Step::Sync(slot)
        | Step::Same(slot, _)
        | Step::Number(slot) => {
            let Some(file) = take(*slot) else { return "-".into() };
            let said = match step {
                Step::Flock(_, mode) => told(world.flock(&file, *mode).await),
                Step::TryFlock(_, mode) => format!("{:?}", world.try_flock(&file, *mode).await.map_err(|e| e.errno)),
                Step::Unlock(_) => told(world.unlock(&file).await),
                Step::Write(_) => told(world.write(&file, b"x").await),
                Step::Truncate(_) => told(world.truncate(&file, 1).await),
                Step::Seek(_) => told(world.seek(&file, 0).await),
                Step::Sync(_) => told(world.fsync(&file).await),
                Step::Number(_) => world.descriptor(&file).to_string(),
                Step::Same(_, path) => match (world.fstat(&file).await, world.stat(path).await) {
                    (Ok(one), Ok(other)) => (one.id == other.id).to_string(),
                    _ => "-".into(),
                },
                Step::Fstat(_) => match world.fstat(&file).await {
                    Ok(stat) => format!("{:?} {} {}", stat.kind, stat.nlink, stat.size),
                    Err(error) => error.errno.to_string(),
                },
                Step::Dup(_) => match world.dup(&file).await {
                    Ok(twin) => {
                        put(1 - *slot, twin);
                        "dup".into()
                    }
                    Err(error) => error.errno.to_string(),
                },
                _ => format!("{:?}", world.read(&file, 9).await.map_err(|e| e.errno)),
            };
            put(*slot, file);
            said
        }
        Step::Stat(path) => match world.stat(path).await {
            Ok(stat) => format!("{:?} {} {}", stat.kind, stat.nlink, stat.size),
            Err(error) => error.errno.to_string(),
        },
        Step::Symlink(target, path) => told(world.symlink(target, path).await),
        Step::ReadLink(path) => world.read_link(path).await.unwrap_or_else(|error| error.errno.to_string()),
        Step::Pipe => match world.pipe().await {
            Ok((reader, writer)) => {
                put(0, reader);
                put(1, writer);
                "pipe".into()
            }
            Err(error) => error.errno.to_string(),
        },
        Step::Abort(which) => {
            if let Some(task) = shared.joining.lock().unwrap().get(which - 1) {
                task.abort();
            }
            world.yield_now().await;
            "abort".into()
        }
        Step::JoinAll => {
            let mut joining = Taken::from(shared);
            let ended = world.join_all(&mut joining.all).await;
            joining.all.clear();
            format!("{ended:?}")
        }
        Step::Unlink(path) => told(world.unlink(path).await),
        Step::Rename(from, to) => told(world.rename(from, to).await),
        Step::Link(from, to) => told(world.link(from, to).await),
        Step::MakeDir(path) => told(world.mkdir(path).await),
        Step::RemoveDir(path) => told(world.rmdir(path).await),
        Step::ReadDir(path) => match world.read_dir(path).await {
            Ok(entries) => entries.into_iter().map(|entry| entry.name).collect::<Vec<_>>().join(","),
            Err(error) => error.errno.to_string(),
        },
        Step::Acquire(permits) => {
            let permit = world.acquire(&shared.semaphore, *permits).await;
            own.lock().unwrap().permits.push(permit);
            "permit".into()
        }
        Step::TryAcquire => match world.try_acquire(&shared.semaphore, 1).await {
            Some(permit) => {
                own.lock().unwrap().permits.push(permit);
                "permit".into()
            }
            None => "none".into(),
        },
        Step::Release => {
            let permit = own.lock().unwrap().permits.pop();
            drop(permit);
            world.yield_now().await;
            "released".into()
        }
        Step::Lock => {
            let guard = world.lock(&shared.mutex).await;
            let old = own.lock().unwrap().guard.replace(guard);
            drop(old);
            "locked".into()
        }
        Step::Unguard => {
            let guard = own.lock().unwrap().guard.take();
            drop(guard);
            world.yield_now().await;
            "unlocked".into()
        }
        Step::LockThread => {
            let guard = world.lock_thread(&shared.thread_mutex).await;
            let old = own.lock().unwrap().thread_guard.replace(guard);
            drop(old);
            "locked".into()
        }
        Step::Unthread => {
            let guard = own.lock().unwrap().thread_guard.take();
            drop(guard);
            world.yield_now().await;
            "unlocked".into()
        }
        Step::Notified => {
            let waited = flockstep::world::timeout(world, Some(Duration::from_secs(1)), world.notified(&shared.notify));
            if waited.await.is_ok() { "notified" } else { "timed out" }.into()
        }
        Step::NotifyOne => {
            world.notify_one(&shared.notify).await;
            "one".into()
        }
        Step::NotifyAll => {
            world.notify_all(&shared.notify).await;
            "all".into()
        }
        Step::Yield => {
            world.yield_now().await;
            "yield".into()
        }
        Step::Sleep => {
            world.sleep(Duration::from_millis(5)).await;
            format!("{:?}", world.now())
        }
        Step::ChildIn(directory) => {
            let begun = world.spawn_child(Command::new("nothing", [""; 0]).current_dir(*directory)).await;
            match begun {
                Ok(child) => ended(world.wait(child).await),
                Err(error) => error.errno.to_string(),
            }
        }
        Step::Doze => {
            world.sleep(Duration::from_millis(5)).await;
            "dozed".into()
        }
        Step::Choose => world.choose(2).await.to_string(),
        Step::Enter(kind) => {
            let region = world.region(kind, "k");
            let old = own.lock().unwrap().region.replace(region);
            drop(old);
            "in".into()
        }
        Step::Leave => {
            let region = own.lock().unwrap().region.take();
            drop(region);
            "out".into()
        }
        Step::Note(kind, subject) => {
            world.note(kind, subject);
            "noted".into()
        }
        Step::Add => {
            let mut count = world.lock(&shared.count).await;
            *count = (*count + 1) % 3;
            count.to_string()
        }
        Step::Look => world.lock(&shared.count).await.to_string(),
        Step::Reap => {
            let child = own.lock().unwrap().child.take();
            match child {
                Some(child) => ended(world.wait(child).await),
                None => "-".into(),
            }
        }
        Step::KillKept => {
            let child = own.lock().unwrap().child.take();
            let Some(child) = child else { return "-".into() };
            let said = told(world.kill(&child).await);
            own.lock().unwrap().child.replace(child);
            said
        }
        Step::LetGo => {
            let child = own.lock().unwrap().child.take();
            drop(child);
            world.yield_now().await;
            "let go".into()
        }
        Step::Pool(_)
        | Step::Thread(_)
        | Step::Start(_)
        | Step::Capture(_)
        | Step::Within(_)
        | Step::Both(..)
        | Step::Either(..)
        | Step::Child(_)
        | Step::Kill(_)
        | Step::Forget(..) => {
            unreachable!("done by whoever owns the task")
        }
    }
}

/// How a child has ended.
fn ended(output: flockstep::world::Result<Output>) -> String {
    match output {
        Ok(output) => format!("{:?} {}", output.status, String::from_utf8_lossy(&output.stdout)),
        Err(error) => error.errno.to_string(),
    }
}

pub(super) async fn run(world: SimWorld, shared: Shared, logs: Logs, name: String, slots: Slots, steps: Vec<Step>) {
    let own = Arc::new(Mutex::new(Own { slots, ..Own::default() }));
    let say = |said: String| logs.lock().unwrap().entry(name.clone()).or_default().push_str(&format!("{said};"));
    say("begun".into());
    for step in &steps {
        match step {
            Step::Pool(inner) => {
                let (in_pool, shared, own, inner) = (world.clone(), shared.clone(), own.clone(), inner.clone());
                let section = async move { act(&in_pool, &shared, &own, &inner).await };
                say(world.on_pool(section).await);
            }
            Step::Both(one, other) => {
                let both = futures::future::join(act(&world, &shared, &own, one), act(&world, &shared, &own, other));
                let (one, other) = both.await;
                say(format!("{one}+{other}"));
            }
            Step::Thread(inner) => {
                let (apart, shared, own, inner) = (world.clone(), shared.clone(), own.clone(), inner.clone());
                say(world.on_thread(async move { act(&apart, &shared, &own, &inner).await }).await);
            }
            Step::Either(one, other) => {
                use futures::future::{Either, select};
                let (one, other) = (act(&world, &shared, &own, one), act(&world, &shared, &own, other));
                let first = match select(Box::pin(one), Box::pin(other)).await {
                    Either::Left((said, _)) => format!("left {said}"),
                    Either::Right((said, _)) => format!("right {said}"),
                };
                say(first);
            }
            Step::Within(inner) => {
                let limit = Some(Duration::from_millis(10));
                let done = flockstep::world::timeout(&world, limit, act(&world, &shared, &own, inner));
                say(done.await.unwrap_or_else(|_| "timed out".into()));
            }
            Step::Child(inner) | Step::Kill(inner) | Step::Start(inner) | Step::Capture(inner) => {
                let number = steps.iter().position(|other| std::ptr::eq(other, step)).unwrap();
                let own_name = format!("{name}/c{number}");
                CHILDREN.with_borrow_mut(|children| children.insert(own_name.clone(), (**inner).clone()));
                let keeps = matches!(step, Step::Start(_) | Step::Capture(_));
                let slots = if keeps { std::mem::take(&mut own.lock().unwrap().slots) } else { Slots::default() };
                let number = |file: &Option<_>| file.as_ref().map_or(0, |file| world.descriptor(file)).to_string();
                let mut command = Command::new("child", [own_name, number(&slots[0]), number(&slots[1])]);
                if matches!(step, Step::Capture(_)) {
                    command = command.output(Stdio::Capture);
                }
                let command = slots.iter().flatten().fold(command, |command, file| command.inherit(file));
                let started = world.spawn_child(command).await;
                if keeps {
                    own.lock().unwrap().slots = slots;
                }
                say(match started {
                    Ok(child) if keeps => {
                        let old = own.lock().unwrap().child.replace(child);
                        drop(old);
                        "started".into()
                    }
                    Ok(child) => {
                        if matches!(step, Step::Kill(_)) {
                            world.kill(&child).await.ok();
                        }
                        world.wait(child).await.map_or_else(|e| e.errno.to_string(), |o| format!("{:?}", o.status))
                    }
                    Err(error) => error.errno.to_string(),
                });
            }
            Step::Forget(one, other) => {
                let steps = async {
                    act(&world, &shared, &own, one).await;
                    let said = act(&world, &shared, &own, other).await;
                    (said, own.lock().unwrap().left())
                };
                say(world.forgetting(steps).await.0);
            }
            step => say(act(&world, &shared, &own, step).await),
        }
    }
    say("ended".into());
    let own = std::mem::take(&mut *own.lock().unwrap());
    drop(own);
}
