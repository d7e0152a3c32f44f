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
use crate::world::*;

/// The value of an operation, by the variant that it always has.
macro_rules! expect {
    ($ret:expr, $pattern:pat => $value:expr) => {
        match $ret {
            $pattern => $value,
            other => unreachable!("an operation returned {other:?}"),
        }
    };
}

mod children;
mod files;
mod sync;
mod tasks;

pub use children::SimChild;
pub use files::SimFile;
pub use sync::{SimGuard, SimMutex, SimNotify, SimPermit, SimSemaphore};
pub use tasks::SimJoining;

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
