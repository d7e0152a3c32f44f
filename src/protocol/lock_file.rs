//! One lock file: how it is opened, waited for, checked, given up.
//!
//! Each rule has its scar.
//!
//! * **In a process, one open file description per path; tasks queue in memory.** flock(2) belongs to the description (contract L1):
//!   two tasks that each open the file exclude one another in the kernel, where each waiter pins a thread. uv with 512 such waiters
//!   has no blocking thread left with which a holder could finish its work: two `uv sync` of 1200 editables stand still until a
//!   time-out ends one of them.
//! * **A kernel wait runs on a thread of its own**, never on a worker, whose other tasks (the holder among them) would stop with it
//!   (uv PR 3525), and never on the pool. The first task in the queue of a path waits for all behind it, so there is at most one thread
//!   per contended path; and since each waiter holds a permit, at most one per permit. Nobody queues for a thread.
//! * **A wait cannot be cancelled** (L7). One that times out, or whose future is dropped, is abandoned: the thread waits on, and keeps the
//!   permit of whoever began it, for its descriptor is still open. The next waiter of the path adopts it, descriptor and all; if there
//!   is none, the lock is given up as soon as it is granted. A lock that is granted to nobody and never given up is a hang for everybody
//!   else.
//! * **After locking, the inode must still be the one that the path names**, by device and number, while the descriptor is open; if not,
//!   or if the path names nothing, start again. Otherwise two own "the" lock: one of a file that was removed and one of its
//!   successor (twelve bugs in our catalogue). Comparing nlink with zero is not the same: it fails on overlayfs and for renamed files.
//! * **Users of a lock never remove its file.** Only `clean` may, and how is written down there.
//! * **Never O_TRUNC**: the content belongs to the holder. **O_NOFOLLOW always**: a lock file is never a symbolic link, least of all
//!   one in a temporary directory that others can write.
//! * **No lock, no operation.** cargo goes on without a lock on filesystems that say ENOLCK or ENOSYS, and corrupts its cache there.
//! * **LOCK_UN first, then close**: between a fork and its exec a child holds copies of all descriptors (P1), and a closed lock lives on in
//!   them. In the other direction the inherited lock is what we want: a hook keeps the locks that it works under alive after its
//!   parent was killed.
//!
//! A shard's lock file is `.lock` in its directory; the name of every other lock file ends in `.lock`.
//!
//! What is in memory here changes only in the steps around World operations on the same path (whose turn it is, flock), and when a
//! waiter is dropped; no lock of it is held across an await, and the order in which it changes decides only *which* descriptor waits.

use super::budget::Permit;
use super::order::Claim;
use super::{Error, Result, Task};
use crate::world::{self, Errno, FileKind, LockMode, OpenOptions, World, create_dir_all, timeout};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

/// The lock files that this process has used.
pub(super) struct LockTable<W: World>(Mutex<BTreeMap<Arc<str>, Arc<Slot<W>>>>);

/// One path: whose turn it is among the tasks of this process, and the wait that nobody wanted any more.
struct Slot<W: World> {
    turn: W::Semaphore,
    abandoned: Mutex<Option<Arc<Wait<W>>>>,
}

impl<W: World> Default for LockTable<W> {
    fn default() -> Self {
        LockTable(Mutex::default())
    }
}

impl<W: World> LockTable<W> {
    fn slot(&self, world: &W, path: &Arc<str>) -> Arc<Slot<W>> {
        let new = || Arc::new(Slot { turn: world.semaphore(path, 1), abandoned: Mutex::new(None) });
        self.0.lock().entry(path.clone()).or_insert_with(new).clone()
    }
}

/// A lock that is held.
///
/// [`release`](Self::release) is the normal way to give it up. Dropping it (cancellation!) closes the file within the step that drops,
/// which does the same unless a child is between fork and exec.
pub struct Lock<W: World> {
    // Dropped in this order: the file is closed before the next task of this process has its turn.
    file: W::File,
    _turn: W::Permit,
    claim: Claim,
    world: W,
    _permit: Permit<W>,
}

impl<W: World> Lock<W> {
    /// The path of the lock file.
    pub fn path(&self) -> &str {
        &self.claim.site().path
    }

    /// The open lock file, for a child to inherit.
    pub fn file(&self) -> &W::File {
        &self.file
    }

    /// LOCK_UN, then close. Neither can fail in a way that leaves the lock held: closing the last descriptor ends it in any case.
    pub async fn release(self) {
        let Lock { claim: _claim, _turn, _permit, world, file } = self;
        world.unlock(&file).await.ok();
        world.close(file).await.ok();
    }
}

/// Locks the file of `claim`, and waits for it. See [`Task::lock`].
pub(super) async fn acquire<W: World>(world: &W, task: &Task<W>, claim: Claim, mode: LockMode) -> Result<Lock<W>> {
    let path = claim.site().path.clone();
    let slot = task.cache().locks().slot(world, &path);
    let mut patience = Patience::new(world, task, &claim);
    let turn = match world.try_acquire(&slot.turn, 1).await {
        Some(turn) => turn,
        None => patience.spend(world, true, world.acquire(&slot.turn, 1)).await?,
    };
    loop {
        let (file, got) = match slot.adopt(world, &path, task.permit()) {
            Some((wait, granted)) => {
                let waiter = Waiter { slot: &slot, wait };
                patience.spend(world, false, world.notified(&granted)).await?;
                (waiter.fetch(&path)?, waiter.wait.mode)
            }
            None => {
                let file = open(world, &path).await?;
                match world.try_flock(&file, mode).await.map_err(|error| refused(&path, error))? {
                    true => (file, mode),
                    false => {
                        let (waiter, section) = slot.begin(world, file, mode, task.permit());
                        patience.spend(world, false, world.on_thread(section)).await?;
                        (waiter.fetch(&path)?, mode)
                    }
                }
            }
        };
        if is_current(world, &path, &file).await? && converts(world, &path, &file, got, mode).await? {
            return Ok(Lock { file, _turn: turn, claim, world: world.clone(), _permit: task.permit().clone() });
        }
        give_up(world, file).await;
    }
}

/// Locks the file of `claim` if nobody has it. See [`Task::try_lock`].
pub(super) async fn try_acquire<W: World>(
    world: &W,
    task: &Task<W>,
    claim: Claim,
    mode: LockMode,
) -> Result<Option<Lock<W>>> {
    let path = claim.site().path.clone();
    let slot = task.cache().locks().slot(world, &path);
    let Some(turn) = world.try_acquire(&slot.turn, 1).await else { return Ok(None) };
    loop {
        let file = open(world, &path).await?;
        if !world.try_flock(&file, mode).await.map_err(|error| refused(&path, error))? {
            world.close(file).await?;
            return Ok(None);
        }
        if is_current(world, &path, &file).await? {
            return Ok(Some(Lock { file, _turn: turn, claim, world: world.clone(), _permit: task.permit().clone() }));
        }
        give_up(world, file).await;
    }
}

/// Opens a lock file, and makes it and the directories above it if they are missing; again, if somebody removes them meanwhile.
async fn open<W: World>(world: &W, path: &str) -> Result<W::File> {
    world
        .forgetting(async {
            let above = path.rsplit_once('/').map(|(parent, _)| parent).filter(|parent| !parent.is_empty());
            loop {
                world.keeping(&());
                let error = match world.open(path, OpenOptions::lock_file().no_follow()).await {
                    Ok(file) => return Ok(file),
                    Err(error) => error,
                };
                match (error.errno, above) {
                    (Errno::NoEnt, Some(parent)) => create_dir_all(world, parent).await?,
                    (Errno::Loop, _) => {
                        return Err(Error::NotALockFile { path: path.into(), found: "a symbolic link" });
                    }
                    (Errno::IsDir, _) => return Err(Error::NotALockFile { path: path.into(), found: "a directory" }),
                    _ => return Err(error.into()),
                }
            }
        })
        .await
}

/// Whether the path still names the file that was locked.
pub(super) async fn is_current<W: World>(world: &W, path: &str, file: &W::File) -> Result<bool> {
    world
        .forgetting(async {
            let locked = world.fstat(file).await?;
            match world.lstat(path).await {
                Err(error) if error.errno == Errno::NoEnt => Ok(false),
                Err(error) => Err(error.into()),
                Ok(named) if named.id != locked.id => Ok(false),
                Ok(_) if locked.kind == FileKind::Other => {
                    Err(Error::NotALockFile { path: path.into(), found: "a pipe, socket or device" })
                }
                Ok(_) => Ok(true),
            }
        })
        .await
}

/// An adopted wait may have been for the other mode. From exclusive to shared is a step that never waits; from shared to exclusive
/// means to give the shared lock up and to wait again (L3), so that is `false`.
async fn converts<W: World>(world: &W, path: &str, file: &W::File, got: LockMode, wanted: LockMode) -> Result<bool> {
    match (got, wanted) {
        (LockMode::Exclusive, LockMode::Shared) => {
            world.try_flock(file, wanted).await.map_err(|error| refused(path, error))
        }
        (got, wanted) => Ok(got == wanted),
    }
}

async fn give_up<W: World>(world: &W, file: W::File) {
    world.unlock(&file).await.ok();
    world.close(file).await.ok();
}

/// What a failed flock(2) means.
pub(super) fn refused(path: &str, error: world::Error) -> Error {
    match error.errno {
        Errno::NoLck | Errno::NoSys | Errno::OpNotSupp => Error::NoLocks { path: path.into(), errno: error.errno },
        _ => error.into(),
    }
}

/// How much longer an acquisition may take, over all its waits.
struct Patience<'a, W: World> {
    task: &'a Task<W>,
    claim: &'a Claim,
    until: Option<Duration>,
    announced: bool,
}

impl<'a, W: World> Patience<'a, W> {
    fn new(world: &W, task: &'a Task<W>, claim: &'a Claim) -> Self {
        let until = task.cache().settings().lock_timeout.map(|limit| world.now() + limit);
        Patience { task, claim, until, announced: false }
    }

    /// Waits, in the queue of this process (`own`) or in that of the kernel.
    async fn spend<T>(&mut self, world: &W, own: bool, wait: impl Future<Output = T> + Send) -> Result<T> {
        let path = &self.claim.site().path;
        if !mem::replace(&mut self.announced, true) {
            world.note("waiting", path);
            if let Some(on_wait) = &self.task.cache().settings().on_wait {
                on_wait(path, own);
            }
        }
        let left = self.until.map(|until| until.saturating_sub(world.now()));
        timeout(world, left, wait).await.map_err(|_| Error::LockTimeout {
            site: self.claim.site().clone(),
            waited: self.task.cache().settings().lock_timeout.unwrap_or_default(),
            own,
        })
    }
}

/// A wait in the kernel, shared by the thread that waits and whoever wants the outcome.
struct Wait<W: World> {
    mode: LockMode,
    progress: Mutex<Progress<W>>,
}

struct Progress<W: World> {
    state: State<W>,
    /// Pays for the descriptor while the thread has it.
    permit: Option<Permit<W>>,
}

enum State<W: World> {
    /// Whoever began it waits for the thread.
    Awaited,
    /// Somebody else took it over, and waits to be notified.
    Adopted(W::Notify),
    /// Nobody wants it.
    Abandoned,
    /// Over, and not fetched yet.
    Granted(world::Result<W::File>),
    /// Over.
    Over,
}

impl<W: World> Slot<W> {
    /// Begins a wait: the right to its outcome, and the section that a thread runs. Only the task whose turn it is does that.
    fn begin(
        &self,
        world: &W,
        file: W::File,
        mode: LockMode,
        permit: &Permit<W>,
    ) -> (Waiter<'_, W>, impl Future<Output = ()> + Send + 'static) {
        let progress = Mutex::new(Progress { state: State::Awaited, permit: Some(permit.clone()) });
        let wait = Arc::new(Wait { mode, progress });
        let section = wait_in_kernel(world.clone(), Ending(wait.clone()), file);
        (Waiter { slot: self, wait }, section)
    }

    /// Takes the abandoned wait over, unless there is none or it has ended.
    fn adopt(&self, world: &W, path: &str, permit: &Permit<W>) -> Option<(Arc<Wait<W>>, W::Notify)> {
        let wait = self.abandoned.lock().take()?;
        let mut progress = wait.progress.lock();
        if !matches!(progress.state, State::Abandoned) {
            return None;
        }
        let granted = world.notify(path);
        progress.state = State::Adopted(granted.clone());
        let previous = progress.permit.replace(permit.clone());
        drop(progress);
        drop(previous);
        Some((wait, granted))
    }
}

/// The section that a thread of its own runs.
async fn wait_in_kernel<W: World>(world: W, ending: Ending<W>, file: W::File) {
    let wait = &ending.0;
    let result = world.flock(&file, wait.mode).await;
    let (unwanted, adopted) = {
        let mut progress = wait.progress.lock();
        match mem::replace(&mut progress.state, State::Over) {
            State::Abandoned => (Some(file), None),
            state => {
                progress.state = State::Granted(result.map(|()| file));
                (None, if let State::Adopted(granted) = state { Some(granted) } else { None })
            }
        }
    };
    if let Some(file) = unwanted {
        give_up(&world, file).await;
    }
    if let Some(granted) = adopted {
        world.notify_one(&granted).await;
    }
}

/// The thread's end of a wait. Gives the permit back however the section ends; also if it was dropped before a thread had it.
struct Ending<W: World>(Arc<Wait<W>>);

impl<W: World> Drop for Ending<W> {
    fn drop(&mut self) {
        let mut progress = self.0.progress.lock();
        if !matches!(progress.state, State::Granted(_)) {
            progress.state = State::Over;
        }
        let permit = progress.permit.take();
        drop(progress);
        drop(permit);
    }
}

/// The right to the outcome of a wait. Dropped before it was fetched, it abandons the wait.
struct Waiter<'a, W: World> {
    slot: &'a Slot<W>,
    wait: Arc<Wait<W>>,
}

impl<W: World> Waiter<'_, W> {
    fn fetch(&self, path: &str) -> Result<W::File> {
        match mem::replace(&mut self.wait.progress.lock().state, State::Over) {
            State::Granted(result) => result.map_err(|error| refused(path, error)),
            _ => unreachable!("a wait is fetched once, when it is over"),
        }
    }
}

impl<W: World> Drop for Waiter<'_, W> {
    fn drop(&mut self) {
        let mut progress = self.wait.progress.lock();
        let unfetched = match &progress.state {
            State::Awaited | State::Adopted(_) => {
                progress.state = State::Abandoned;
                None
            }
            _ => Some(mem::replace(&mut progress.state, State::Over)),
        };
        drop(progress);
        if unfetched.is_none() {
            *self.slot.abandoned.lock() = Some(self.wait.clone());
        }
        // A lock that was granted in the same instant is closed here, with the file in it.
        drop(unfetched);
    }
}
