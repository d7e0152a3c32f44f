//! What the tasks of a process share, and what each of them carries.

use super::budget::{Budget, Permit, RESERVE};
use super::discipline::{Discipline, Moment};
use super::lock_file::{self, Lock, LockTable};
use super::{Order, Rank, Result};
use crate::world::{LockMode, World};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// Told the path of a lock file before a task starts to wait for it, and whether it is another task of this process that it waits for.
pub type OnWait = Arc<dyn Fn(&str, bool) + Send + Sync>;

/// How a process uses a cache.
#[derive(Clone)]
pub struct Settings {
    /// The cache: one directory on one filesystem, by its canonical path (a second name of it would be a second set of locks).
    pub cache_dir: String,
    /// The user's temporary directory, by its canonical path: for the locks of source trees, which do not depend on the cache.
    pub temp_dir: String,
    /// How long to wait for a lock, or for a permit; `None` is for ever.
    pub lock_timeout: Option<Duration>,
    /// Descriptors that the budget leaves alone.
    pub reserve: u32,
    /// The sound protocol, or a historic one.
    pub discipline: Discipline,
    /// Told whenever a task starts to wait.
    pub on_wait: Option<OnWait>,
}

impl Settings {
    /// Five minutes for a lock, as uv has it, the usual [`RESERVE`], and the sound protocol.
    pub fn new(cache_dir: impl Into<String>, temp_dir: impl Into<String>) -> Self {
        Settings {
            cache_dir: cache_dir.into(),
            temp_dir: temp_dir.into(),
            lock_timeout: Some(Duration::from_secs(300)),
            reserve: RESERVE,
            discipline: Discipline::default(),
            on_wait: None,
        }
    }
}

/// A cache as one process sees it: its place, the locks that the process uses in it, its descriptor budget. Clones are the same one,
/// and a process has one: two would be two descriptors for one lock.
pub struct Cache<W: World>(Arc<Shared<W>>);

struct Shared<W: World> {
    settings: Settings,
    locks: LockTable<W>,
    budget: Budget<W>,
    spawning: W::Semaphore,
    numbers: Mutex<BTreeSet<u32>>,
}

impl<W: World> Clone for Cache<W> {
    fn clone(&self) -> Self {
        Cache(self.0.clone())
    }
}

impl<W: World> Cache<W> {
    /// Nothing is opened or created yet.
    ///
    /// # Errors
    /// [`TooFewDescriptors`](super::Error::TooFewDescriptors) if the limit on open files does not allow a single build.
    pub fn new(world: &W, settings: Settings) -> Result<Self> {
        Ok(Cache(Arc::new(Shared {
            locks: LockTable::default(),
            budget: Budget::new(world, settings.reserve)?,
            spawning: world.semaphore("start of a child", 1),
            numbers: Mutex::default(),
            settings,
        })))
    }

    /// Its directory.
    pub fn dir(&self) -> &str {
        &self.0.settings.cache_dir
    }

    /// How it is used.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Its descriptor budget.
    pub fn budget(&self) -> &Budget<W> {
        &self.0.budget
    }

    /// The lock file of the whole cache: shared for every command as long as it uses a path in it, exclusive for `clean`.
    pub fn lock_path(&self) -> String {
        format!("{}/.lock", self.dir())
    }

    /// The task of the command itself. The [`RESERVE`] pays for it: at most one lock each of the cache root, the project and the
    /// environment, and one file.
    pub fn command(&self) -> Task<W> {
        let order = self.held_to_order(Order::new());
        Task { cache: self.clone(), order, weight: 0, permit: Permit::reserved(), waits: true }
    }

    /// Waits for a permit of that weight, such as [`BUILD`](super::budget::BUILD), and starts with it a task below what `parent` holds.
    ///
    /// # Errors
    /// [`TooFewDescriptors`](super::Error::TooFewDescriptors) if the whole budget is less than that; [`PermitTimeout`](super::Error::PermitTimeout) if it is in use for longer than
    /// one waits for a lock.
    pub async fn task(&self, world: &W, parent: &Order, weight: u32) -> Result<Task<W>> {
        let order = self.held_to_order(parent.fork());
        let task = Task { cache: self.clone(), order, weight, permit: Permit::reserved(), waits: true };
        task.asking_at(world, Moment::Task).await
    }

    fn held_to_order(&self, order: Order) -> Order {
        if self.settings().discipline.is_ordered() { order } else { order.lawless() }
    }

    pub(super) fn locks(&self) -> &LockTable<W> {
        &self.0.locks
    }

    /// Whoever starts a child holds it, for the [`SPAWN`](super::budget::SPAWN) descriptors that this takes.
    pub(super) fn spawning(&self) -> &W::Semaphore {
        &self.0.spawning
    }

    /// The lowest number that nobody else in this process has.
    pub(super) fn number(&self) -> Number<W> {
        Number { cache: self.clone(), value: take_number(&mut self.0.numbers.lock(), 0) }
    }
}

/// The lowest number that is not taken, from `first` on. Not one after the other for ever: then a name would tell how many there
/// have been before.
fn take_number(taken: &mut BTreeSet<u32>, first: u32) -> u32 {
    let number = (first..).find(|number| !taken.contains(number)).expect("fewer at once than numbers");
    taken.insert(number);
    number
}

/// Tells what several tasks of a process make at once apart, in the names of their files.
pub(super) struct Number<W: World> {
    cache: Cache<W>,
    value: u32,
}

impl<W: World> Number<W> {
    /// A higher one instead: a file has this name although nobody here has the number.
    pub(super) fn advance(&mut self) {
        let mut taken = self.cache.0.numbers.lock();
        let next = take_number(&mut taken, self.value + 1);
        taken.remove(&std::mem::replace(&mut self.value, next));
    }
}

impl<W: World> fmt::Display for Number<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<W: World> Drop for Number<W> {
    fn drop(&mut self) {
        self.cache.0.numbers.lock().remove(&self.value);
    }
}

/// A task at work: its permit, and what it holds. Without one nothing is locked, so the permit always comes before the lock; and
/// since work needs it as `&mut`, one task does one thing at a time and never exceeds its weight.
pub struct Task<W: World> {
    cache: Cache<W>,
    order: Order,
    /// What its permit weighs, whenever it has one.
    weight: u32,
    permit: Permit<W>,
    waits: bool,
}

impl<W: World> Task<W> {
    /// The cache it works in.
    pub fn cache(&self) -> &Cache<W> {
        &self.cache
    }

    /// What it holds.
    pub fn order(&self) -> &Order {
        &self.order
    }

    /// Whether a shard that somebody else is building is waited for; otherwise it is [`Busy`](super::Error::Busy). A new task waits.
    pub fn waits(&self) -> bool {
        self.waits
    }

    /// Sets [`waits`](Self::waits).
    pub fn set_waits(&mut self, waits: bool) {
        self.waits = waits;
    }

    /// The task as it goes on from that moment: with a permit that it waits for, if it asks for one then; otherwise with the one it has.
    pub(super) async fn asking_at(&self, world: &W, moment: Moment) -> Result<Self> {
        let Settings { discipline, lock_timeout, .. } = self.cache.settings();
        let permit = if discipline.permits.are_asked_for_at(moment) {
            self.cache.budget().permit(world, self.weight, *lock_timeout).await?
        } else {
            self.permit.clone()
        };
        Ok(Task {
            cache: self.cache.clone(),
            order: self.order.clone(),
            weight: self.weight,
            permit,
            waits: self.waits,
        })
    }

    pub(super) fn permit(&self) -> &Permit<W> {
        &self.permit
    }

    /// Locks the lock file at `path`, and waits for it as long as the settings allow.
    ///
    /// # Errors
    /// [`OutOfOrder`](super::Error::OutOfOrder) and [`Reentry`](super::Error::Reentry) before anything is tried; [`LockTimeout`](super::Error::LockTimeout); [`NoLocks`](super::Error::NoLocks);
    /// [`NotALockFile`](super::Error::NotALockFile); [`System`](super::Error::System) from open and stat. After a time-out the permit belongs to the wait that goes on:
    /// end the task and begin another.
    #[track_caller]
    pub fn lock(
        &mut self,
        world: &W,
        rank: Rank,
        path: &str,
        mode: LockMode,
    ) -> impl Future<Output = Result<Lock<W>>> + Send {
        let claim = self.order.claim(rank, path);
        async move { lock_file::acquire(world, self, claim?, mode).await }
    }

    /// The same without waiting: `None` if somebody else has it.
    ///
    /// # Errors
    /// Those of [`lock`](Self::lock), except that there is no time-out.
    #[track_caller]
    pub fn try_lock(
        &mut self,
        world: &W,
        rank: Rank,
        path: &str,
        mode: LockMode,
    ) -> impl Future<Output = Result<Option<Lock<W>>>> + Send {
        let claim = self.order.claim(rank, path);
        async move { lock_file::try_acquire(world, self, claim?, mode).await }
    }
}
