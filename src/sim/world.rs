//! `SimWorld`: the capabilities of the World over the simulated machine.
//!
//! Every operation is one small future, [`Point`]: its first poll announces, the engine's step acts, a later poll fetches. All that the
//! handles hold is a number and the shared machine; their destructors act within the step that drops them, and do nothing once
//! their process is dead.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use super::Exit;
use super::executor::Announced;
use super::kernel::{Pid, RenameFlags};
use super::operation::{Launch, Op, OpId, Outcome, Ret};
use super::state::{State, TaskFuture, TaskId};
use super::sync;
use crate::world::*;

/// The simulated machine behind its one mutex.
#[derive(Default)]
pub(crate) struct Core(Mutex<State>);

impl Core {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }
}

/// The World of one simulated process.
#[derive(Clone)]
pub struct SimWorld {
    core: Arc<Core>,
    pid: Pid,
}

enum PointState {
    New(Op),
    Announced(OpId),
    Done,
}

/// One operation, from announcement to result.
struct Point<'w> {
    core: &'w Core,
    state: PointState,
}

impl Future for Point<'_> {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let mut state = self.core.lock();
        match self.state {
            PointState::New(_) => {
                if state.thread_is_occupied(None, cx.waker()) {
                    return Poll::Pending;
                }
                let PointState::New(op) = std::mem::replace(&mut self.state, PointState::Done) else { unreachable!() };
                match state.announce(op, cx.waker()) {
                    Announced::Done(outcome) => Poll::Ready(outcome),
                    Announced::Waits(id) => {
                        self.state = PointState::Announced(id);
                        // Some announcements are served at once.
                        Poll::Pending
                    }
                }
            }
            PointState::Announced(id) => {
                if state.thread_is_occupied(Some(id), cx.waker()) {
                    return Poll::Pending;
                }
                match state.fetch(id, cx.waker()) {
                    Some(outcome) => {
                        self.state = PointState::Done;
                        Poll::Ready(outcome)
                    }
                    None => Poll::Pending,
                }
            }
            PointState::Done => unreachable!("polled after its end"),
        }
    }
}

impl Drop for Point<'_> {
    fn drop(&mut self) {
        if let PointState::Announced(id) = self.state {
            self.core.lock().retract(id);
        }
    }
}

/// The same, with an error that names what it was about.
struct Call<'w, S> {
    point: Point<'w>,
    name: &'static str,
    subject: Option<S>,
}

impl<S: FnOnce() -> Arc<str> + Unpin> Future for Call<'_, S> {
    type Output = Result<Ret>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Ret>> {
        let outcome = std::task::ready!(Pin::new(&mut self.point).poll(cx));
        Poll::Ready(outcome.map_err(|errno| {
            let subject = self.subject.take().expect("polled after its end");
            Error::new(errno, self.name, subject())
        }))
    }
}

impl SimWorld {
    pub(crate) fn new(core: Arc<Core>, pid: Pid) -> Self {
        SimWorld { core, pid }
    }

    pub(crate) fn set_exit(&self, exit: Exit) {
        self.core.lock().hosts[self.pid as usize].ending = Some(exit);
    }

    fn op(&self, op: Op) -> Point<'_> {
        Point { core: &self.core, state: PointState::New(op) }
    }

    /// An operation that can fail; the error names `subject`.
    fn call<S: FnOnce() -> Arc<str> + Send>(&self, op: Op, subject: S) -> Call<'_, S> {
        Call { name: op.name(), point: self.op(op), subject: Some(subject) }
    }

    fn on_path<'w>(&'w self, op: Op, path: &'w Arc<str>) -> Call<'w, impl FnOnce() -> Arc<str> + Send + Unpin> {
        self.call(op, || path.clone())
    }

    fn on_file<'w>(&'w self, op: Op, file: &'w SimFile) -> Call<'w, impl FnOnce() -> Arc<str> + Send + Unpin> {
        self.call(op, || file.path())
    }

    /// An operation that cannot fail.
    async fn infallible(&self, op: Op) -> Ret {
        self.op(op).await.expect("this operation has no errors")
    }

    fn file(&self, fd: u32) -> SimFile {
        SimFile { world: self.clone(), fd: Some(fd) }
    }

    /// Gives a section away to a thread and waits for its value.
    async fn section<T: Send + 'static>(
        &self,
        thread: Thread,
        name: &'static str,
        section: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let slot = Arc::new(Mutex::new(None));
        let into = slot.clone();
        let future: TaskFuture = Box::pin(async move {
            let value = section.await;
            *into.lock() = Some(value);
        });
        // While a synchronous call of another future keeps the thread, this one has not been polled yet: it gives nothing away.
        std::future::poll_fn(|cx| match self.core.lock().thread_is_occupied(None, cx.waker()) {
            true => Poll::Pending,
            false => Poll::Ready(()),
        })
        .await;
        let task = {
            let mut state = self.core.lock();
            let parent = &state.tasks[state.current() as usize];
            let name: Arc<str> = format!("{}@{name}", parent.name).into();
            state.new_task(self.pid, name, thread, future)
        };
        self.infallible(Op::Section { task }).await;
        slot.lock().take().expect("a section that was not dropped has left its value")
    }
}

/// A descriptor of a simulated process.
pub struct SimFile {
    world: SimWorld,
    fd: Option<u32>,
}

impl SimFile {
    fn number(&self) -> u32 {
        self.fd.expect("open until it is closed")
    }
    fn path(&self) -> Arc<str> {
        let state = self.world.core.lock();
        state.kernel.describe(self.world.pid, self.number()).map_or_else(|_| "?".into(), |(path, _, _)| path)
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let Some(fd) = self.fd else { return };
        let mut state = self.world.core.lock();
        if state.acts(self.world.pid)
            && let Ok(closed) = state.kernel.close(self.world.pid, fd)
        {
            let by = state.current;
            state.emit_closed(self.world.pid, by, fd, closed);
            state.settle();
        }
    }
}

/// The value of an operation, by the variant that it always has.
macro_rules! expect {
    ($ret:expr, $pattern:pat => $value:expr) => {
        match $ret {
            $pattern => $value,
            other => unreachable!("an operation returned {other:?}"),
        }
    };
}

impl Files for SimWorld {
    type File = SimFile;

    async fn open(&self, path: &str, options: OpenOptions) -> Result<SimFile> {
        let path: Arc<str> = path.into();
        let ret = self.on_path(Op::Open { path: path.clone(), options }, &path).await?;
        Ok(self.file(expect!(ret, Ret::Fd(fd) => fd)))
    }
    async fn close(&self, mut file: SimFile) -> Result<()> {
        let op = Op::Close { fd: file.number() };
        // Dropped before the step: the drop of the file closes it.
        let ret = self.on_file(op, &file).await;
        file.fd = None;
        ret.map(drop)
    }
    async fn dup(&self, file: &SimFile) -> Result<SimFile> {
        let ret = self.on_file(Op::Dup { fd: file.number() }, file).await?;
        Ok(self.file(expect!(ret, Ret::Fd(fd) => fd)))
    }
    async fn read(&self, file: &SimFile, len: usize) -> Result<Vec<u8>> {
        let ret = self.on_file(Op::Read { fd: file.number(), len }, file).await?;
        Ok(expect!(ret, Ret::Bytes(bytes) => bytes))
    }
    async fn write(&self, file: &SimFile, bytes: &[u8]) -> Result<usize> {
        let ret = self.on_file(Op::Write { fd: file.number(), data: bytes.into() }, file).await?;
        Ok(expect!(ret, Ret::Number(n) => n as usize))
    }
    async fn seek(&self, file: &SimFile, offset: u64) -> Result<()> {
        self.on_file(Op::Seek { fd: file.number(), offset }, file).await.map(drop)
    }
    async fn truncate(&self, file: &SimFile, len: u64) -> Result<()> {
        self.on_file(Op::Truncate { fd: file.number(), len }, file).await.map(drop)
    }
    async fn fsync(&self, file: &SimFile) -> Result<()> {
        self.on_file(Op::Sync { fd: file.number() }, file).await.map(drop)
    }
    async fn fstat(&self, file: &SimFile) -> Result<Stat> {
        let ret = self.on_file(Op::Fstat { fd: file.number() }, file).await?;
        Ok(expect!(ret, Ret::Stat(stat) => *stat))
    }
    async fn stat(&self, path: &str) -> Result<Stat> {
        let path: Arc<str> = path.into();
        let ret = self.on_path(Op::Stat { path: path.clone(), follow: true }, &path).await?;
        Ok(expect!(ret, Ret::Stat(stat) => *stat))
    }
    async fn lstat(&self, path: &str) -> Result<Stat> {
        let path: Arc<str> = path.into();
        let ret = self.on_path(Op::Stat { path: path.clone(), follow: false }, &path).await?;
        Ok(expect!(ret, Ret::Stat(stat) => *stat))
    }
    async fn rename(&self, from: &str, to: &str) -> Result<()> {
        let (from, to): (Arc<str>, Arc<str>) = (from.into(), to.into());
        let op = Op::Rename { from: from.clone(), to: to.clone(), flags: RenameFlags::default() };
        self.call(op, || format!("{from} to {to}").into()).await.map(drop)
    }
    async fn link(&self, existing: &str, new: &str) -> Result<()> {
        let new: Arc<str> = new.into();
        self.on_path(Op::Link { existing: existing.into(), new: new.clone() }, &new).await.map(drop)
    }
    async fn symlink(&self, target: &str, path: &str) -> Result<()> {
        let path: Arc<str> = path.into();
        self.on_path(Op::Symlink { target: target.into(), path: path.clone() }, &path).await.map(drop)
    }
    async fn read_link(&self, path: &str) -> Result<String> {
        let path: Arc<str> = path.into();
        let ret = self.on_path(Op::ReadLink { path: path.clone() }, &path).await?;
        Ok(expect!(ret, Ret::Text(text) => text.to_string()))
    }
    async fn unlink(&self, path: &str) -> Result<()> {
        let path: Arc<str> = path.into();
        self.on_path(Op::Unlink { path: path.clone() }, &path).await.map(drop)
    }
    async fn mkdir(&self, path: &str) -> Result<()> {
        let path: Arc<str> = path.into();
        self.on_path(Op::MakeDir { path: path.clone() }, &path).await.map(drop)
    }
    async fn rmdir(&self, path: &str) -> Result<()> {
        let path: Arc<str> = path.into();
        self.on_path(Op::RemoveDir { path: path.clone() }, &path).await.map(drop)
    }
    async fn read_dir(&self, path: &str) -> Result<Vec<Entry>> {
        let path: Arc<str> = path.into();
        let ret = self.on_path(Op::ReadDir { path: path.clone() }, &path).await?;
        Ok(expect!(ret, Ret::Entries(entries) => entries))
    }
    async fn pipe(&self) -> Result<(SimFile, SimFile)> {
        let ret = self.call(Op::Pipe, || "pipe".into()).await?;
        Ok(expect!(ret, Ret::Fds(reader, writer) => (self.file(reader), self.file(writer))))
    }
    fn descriptor(&self, file: &SimFile) -> u32 {
        file.number()
    }
    fn inherited(&self, descriptor: u32) -> Result<SimFile> {
        let mut state = self.core.lock();
        let inherited = &mut state.hosts[self.pid as usize].inherited;
        let Some(at) = inherited.iter().position(|&number| number == descriptor) else {
            return Err(Error::new(Errno::BadF, "fcntl", format!("descriptor {descriptor}")));
        };
        inherited.swap_remove(at);
        Ok(self.file(descriptor))
    }
}

impl Locks for SimWorld {
    async fn flock(&self, file: &SimFile, mode: LockMode) -> Result<()> {
        self.on_file(Op::Flock { fd: file.number(), mode, converted: false }, file).await.map(drop)
    }
    async fn try_flock(&self, file: &SimFile, mode: LockMode) -> Result<bool> {
        let ret = self.on_file(Op::TryFlock { fd: file.number(), mode }, file).await?;
        Ok(expect!(ret, Ret::Flag(granted) => granted))
    }
    async fn unlock(&self, file: &SimFile) -> Result<()> {
        self.on_file(Op::Unlock { fd: file.number() }, file).await.map(drop)
    }
}

/// The right to wait for a simulated task.
pub struct SimJoining<T> {
    world: SimWorld,
    task: TaskId,
    slot: Arc<Mutex<Option<T>>>,
    op: Option<OpId>,
}

impl<T: Send + 'static> Future for SimJoining<T> {
    type Output = std::result::Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let mut state = this.world.core.lock();
        if state.thread_is_occupied(this.op, cx.waker()) {
            return Poll::Pending;
        }
        let outcome = match this.op {
            Some(id) => state.fetch(id, cx.waker()),
            None => match state.announce(Op::Join { task: this.task }, cx.waker()) {
                Announced::Done(outcome) => Some(outcome),
                Announced::Waits(id) => {
                    this.op = Some(id);
                    None
                }
            },
        };
        drop(state);
        if outcome.is_none() {
            return Poll::Pending;
        }
        this.op = None;
        Poll::Ready(this.slot.lock().take().ok_or(JoinError::Aborted))
    }
}

impl<T> Drop for SimJoining<T> {
    fn drop(&mut self) {
        if let Some(id) = self.op {
            self.world.core.lock().retract(id);
        }
    }
}

impl<T: Send + 'static> Join<T> for SimJoining<T> {
    fn abort(&self) {
        let mut state = self.world.core.lock();
        if state.acts(self.world.pid) {
            state.abort(self.task);
        }
    }
}

impl Tasks for SimWorld {
    type Joining<T: Send + 'static> = SimJoining<T>;

    fn spawn<T: Send + 'static>(&self, name: &str, task: impl Future<Output = T> + Send + 'static) -> SimJoining<T> {
        let slot = Arc::new(Mutex::new(None));
        let into = slot.clone();
        let future: TaskFuture = Box::pin(async move {
            let value = task.await;
            *into.lock() = Some(value);
        });
        let task = self.core.lock().new_task(self.pid, name.into(), Thread::Worker, future);
        SimJoining { world: self.clone(), task, slot, op: None }
    }
    async fn on_pool<T: Send + 'static>(&self, section: impl Future<Output = T> + Send + 'static) -> T {
        self.section(Thread::Pool, "pool", section).await
    }
    async fn on_thread<T: Send + 'static>(&self, section: impl Future<Output = T> + Send + 'static) -> T {
        self.section(Thread::Own, "thread", section).await
    }
    async fn yield_now(&self) {
        self.infallible(Op::Yield).await;
    }
}

/// A simulated semaphore.
#[derive(Clone)]
pub struct SimSemaphore(u32);

/// Permits of one.
pub struct SimPermit {
    world: SimWorld,
    semaphore: u32,
    holder: TaskId,
    permits: u32,
}

impl Drop for SimPermit {
    fn drop(&mut self) {
        self.world.core.lock().release_permits(self.semaphore, self.holder, self.permits);
    }
}

/// A simulated mutex.
pub struct SimMutex<T> {
    id: u32,
    value: Arc<Mutex<T>>,
}

impl<T> Clone for SimMutex<T> {
    fn clone(&self) -> Self {
        SimMutex { id: self.id, value: self.value.clone() }
    }
}

/// The lock on a simulated mutex.
pub struct SimGuard<T: Send + 'static> {
    world: SimWorld,
    mutex: u32,
    /// Never contended: the simulated mutex is what is waited for.
    value: parking_lot::ArcMutexGuard<parking_lot::RawMutex, T>,
}

impl<T: Send> std::ops::Deref for SimGuard<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Send> std::ops::DerefMut for SimGuard<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T: Send> Drop for SimGuard<T> {
    fn drop(&mut self) {
        self.world.core.lock().release_mutex(self.mutex);
    }
}

/// A simulated notification.
#[derive(Clone)]
pub struct SimNotify(u32);

impl SimWorld {
    fn new_mutex<T>(&self, name: &str, value: T) -> SimMutex<T> {
        let mut state = self.core.lock();
        state.mutexes.push(sync::Mutex {
            pid: self.pid,
            name: name.into(),
            holder: None,
            queue: Default::default(),
            blocked: Vec::new(),
            past: 0,
        });
        SimMutex { id: (state.mutexes.len() - 1) as u32, value: Arc::new(Mutex::new(value)) }
    }

    fn guard<T: Send>(&self, mutex: &SimMutex<T>) -> SimGuard<T> {
        let value = mutex.value.try_lock_arc().expect("the simulated mutex lets one in at a time");
        SimGuard { world: self.clone(), mutex: mutex.id, value }
    }
}

impl InProcess for SimWorld {
    type Semaphore = SimSemaphore;
    type Permit = SimPermit;
    type Mutex<T: Send + 'static> = SimMutex<T>;
    type Guard<T: Send + 'static> = SimGuard<T>;
    type ThreadMutex<T: Send + 'static> = SimMutex<T>;
    type ThreadGuard<T: Send + 'static> = SimGuard<T>;
    type Notify = SimNotify;

    fn semaphore(&self, name: &str, permits: u32) -> SimSemaphore {
        let mut state = self.core.lock();
        state.semaphores.push(sync::Semaphore {
            pid: self.pid,
            name: name.into(),
            total: permits,
            free: permits,
            holders: Vec::new(),
            queue: Default::default(),
        });
        SimSemaphore((state.semaphores.len() - 1) as u32)
    }
    async fn acquire(&self, semaphore: &SimSemaphore, permits: u32) -> SimPermit {
        {
            let state = self.core.lock();
            let s = &state.semaphores[semaphore.0 as usize];
            assert!(permits <= s.total, "{} of the {} permits of {} can never be had", permits, s.total, s.name);
        }
        let ret = self.infallible(Op::Acquire { semaphore: semaphore.0, permits }).await;
        let holder = expect!(ret, Ret::Number(holder) => holder as TaskId);
        SimPermit { world: self.clone(), semaphore: semaphore.0, holder, permits }
    }
    async fn try_acquire(&self, semaphore: &SimSemaphore, permits: u32) -> Option<SimPermit> {
        match self.infallible(Op::TryAcquire { semaphore: semaphore.0, permits }).await {
            Ret::Number(holder) => {
                let holder = holder as TaskId;
                Some(SimPermit { world: self.clone(), semaphore: semaphore.0, holder, permits })
            }
            _ => None,
        }
    }
    fn mutex<T: Send + 'static>(&self, name: &str, value: T) -> SimMutex<T> {
        self.new_mutex(name, value)
    }
    async fn lock<T: Send + 'static>(&self, mutex: &SimMutex<T>) -> SimGuard<T> {
        self.infallible(Op::LockMutex { mutex: mutex.id }).await;
        self.guard(mutex)
    }
    fn thread_mutex<T: Send + 'static>(&self, name: &str, value: T) -> SimMutex<T> {
        self.new_mutex(name, value)
    }
    async fn lock_thread<T: Send + 'static>(&self, mutex: &SimMutex<T>) -> SimGuard<T> {
        self.infallible(Op::LockThread { mutex: mutex.id }).await;
        self.guard(mutex)
    }
    fn notify(&self, name: &str) -> SimNotify {
        let mut state = self.core.lock();
        let notify = sync::Notify { pid: self.pid, name: name.into(), stored: false, queue: Default::default() };
        state.notifies.push(notify);
        SimNotify((state.notifies.len() - 1) as u32)
    }
    async fn notified(&self, notify: &SimNotify) {
        self.infallible(Op::Notified { notify: notify.0 }).await;
    }
    async fn notify_one(&self, notify: &SimNotify) {
        self.infallible(Op::Notify { notify: notify.0, all: false }).await;
    }
    async fn notify_all(&self, notify: &SimNotify) {
        self.infallible(Op::Notify { notify: notify.0, all: true }).await;
    }
}

impl Clock for SimWorld {
    fn now(&self) -> Duration {
        let mut state = self.core.lock();
        let now = state.clock;
        if let Some(task) = state.current {
            state.remember_value(task, now.as_nanos() as u64);
        }
        now
    }
    async fn sleep(&self, duration: Duration) {
        let due = self.core.lock().clock + duration;
        self.infallible(Op::Sleep { due }).await;
    }
    async fn deadline(&self, duration: Duration) {
        let due = self.core.lock().clock + duration;
        self.infallible(Op::Deadline { due }).await;
    }
    async fn choose(&self, n: u32) -> u32 {
        assert!(n > 0, "a choice among nothing");
        expect!(self.infallible(Op::Choose { of: n }).await, Ret::Number(value) => value as u32)
    }
}

/// A child that has not been waited for.
pub struct SimChild {
    world: SimWorld,
    pid: Pid,
    descriptors: Vec<SimFile>,
    waited: bool,
}

impl Drop for SimChild {
    fn drop(&mut self) {
        if self.waited {
            return;
        }
        let mut state = self.world.core.lock();
        if state.acts(self.world.pid) {
            state.kill(self.pid);
        }
    }
}

impl Children for SimWorld {
    type Child = SimChild;

    async fn spawn_child(&self, command: Command<'_, SimFile>) -> Result<SimChild> {
        let launch = Arc::new(Launch {
            argv: command.argv,
            env: command.env,
            current_dir: command.current_dir,
            capture: command.output == Stdio::Capture,
            passed: command.inherit.iter().map(|file| file.number()).collect(),
        });
        let program: Arc<str> = launch.program().into();
        let ret = self.call(Op::Fork { command: launch }, || program).await?;
        let (pid, descriptors) = expect!(ret, Ret::Child { pid, descriptors } => (pid, descriptors));
        let descriptors = descriptors.into_iter().map(|fd| self.file(fd)).collect();
        Ok(SimChild { world: self.clone(), pid, descriptors, waited: false })
    }
    async fn wait(&self, mut child: SimChild) -> Result<Output> {
        let ret = self.infallible(Op::Wait { pid: child.pid }).await;
        child.waited = true;
        child.descriptors.clear();
        Ok(expect!(ret, Ret::Output(output) => *output))
    }
    async fn kill(&self, child: &SimChild) -> Result<()> {
        self.infallible(Op::KillChild { pid: child.pid }).await;
        Ok(())
    }
    fn child_id(&self, child: &SimChild) -> u32 {
        child.pid
    }
}

impl Process for SimWorld {
    fn process_id(&self) -> u32 {
        self.pid
    }
    fn args(&self) -> Vec<String> {
        self.core.lock().hosts[self.pid as usize].args.to_vec()
    }
    fn var(&self, name: &str) -> Option<String> {
        self.core.lock().hosts[self.pid as usize].env.get(name).cloned()
    }
    fn descriptor_limit(&self) -> u32 {
        self.core.lock().kernel.descriptor_limit(self.pid)
    }
}

/// A region of a simulated process.
pub struct SimRegion {
    world: SimWorld,
    id: u64,
}

impl Drop for SimRegion {
    fn drop(&mut self) {
        let mut state = self.world.core.lock();
        if state.acts(self.world.pid) {
            state.leave_region(self.id);
        }
    }
}

impl Notes for SimWorld {
    type Region = SimRegion;

    fn region(&self, kind: &'static str, subject: &str) -> SimRegion {
        let id = self.core.lock().enter_region(self.pid, kind, subject);
        SimRegion { world: self.clone(), id }
    }
    fn note(&self, kind: &'static str, subject: &str) {
        let mut state = self.core.lock();
        let by = state.current;
        state.emit(self.pid, by, What::Note { kind, subject: subject.into() });
    }
}
