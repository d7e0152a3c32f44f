//! `SimWorld`: the capabilities of the World over the simulated machine.
//!
//! Every operation is one small future, [`Operation`]: its first poll announces, the engine's step acts, a later poll fetches. A handle is
//! two numbers, a process and an execution: the machine that polls is found on the [thread](super::stage). Destructors act within
//! the step that drops them, and do nothing once their process is dead or their execution over.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;

use super::Exit;
use super::announce::Announced;
use super::depend::{Access, Resource};
use super::job::Job;
use super::kernel::{Pid, RenameFlags};
use super::names::Name;
use super::operation::{Large, Launch, Op, OpId, Ret};
use super::stage::OnStage;
use super::state::TaskId;
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
use tasks::Claim;
pub use tasks::SimJoining;

/// The World of one simulated process.
#[derive(Clone, Debug)]
pub struct SimWorld {
    execution: u64,
    pid: Pid,
}

enum Stage {
    New(Op),
    Announced(OpId),
    Ended,
}

/// One operation, from announcement to value.
struct Operation<F> {
    world: SimWorld,
    stage: Stage,
    /// What its result is to the caller.
    value: F,
}

impl<T, F: Fn(&SimWorld, Ret) -> T + Unpin> Future for Operation<F> {
    type Output = Result<T>;

    // Within the task that awaits it: a step polls two of them, and should not pay for two calls.
    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        let this = &mut *self;
        let mut machine = this.world.machine();
        let outcome = match this.stage {
            Stage::Announced(id) => match machine.fetch(id, cx.waker()) {
                None => return Poll::Pending,
                Some(Err(errno)) => Err(machine.error(id, errno)),
                Some(Ok(ret)) => Ok(ret),
            },
            Stage::New(ref op) => {
                let id = machine.announce_call(op, cx.waker());
                if id != OpId::NONE {
                    this.stage = Stage::Announced(id);
                    return Poll::Pending;
                }
                match machine.announce(op, cx.waker()) {
                    Announced::Done(ret) => Ok(ret),
                    Announced::Waits(id) => {
                        this.stage = Stage::Announced(id);
                        return Poll::Pending;
                    }
                    Announced::Deferred => return Poll::Pending,
                }
            }
            Stage::Ended => unreachable!("polled after its end"),
        };
        drop(machine);
        this.stage = Stage::Ended;
        Poll::Ready(outcome.map(|ret| (this.value)(&this.world, ret)))
    }
}

impl<F> Drop for Operation<F> {
    fn drop(&mut self) {
        if let Stage::Announced(id) = self.stage {
            self.world.retract(id);
        }
    }
}

impl SimWorld {
    pub(crate) fn new(execution: u64, pid: Pid) -> Self {
        SimWorld { execution, pid }
    }

    /// The machine.
    ///
    /// # Panics
    /// If it is not polling on this thread: somebody else's executor is, or a handle has outlived its execution.
    #[inline(always)]
    pub(super) fn machine(&self) -> OnStage {
        let machine = OnStage::enter().filter(|machine| machine.execution == self.execution);
        machine.expect("an operation of SimWorld was polled outside of a scenario: it works only in a task of one")
    }

    /// The machine, if what the process does still has an effect: for destructors.
    pub(super) fn acting(&self) -> Option<OnStage> {
        OnStage::enter().filter(|machine| machine.execution == self.execution && machine.acts(self.pid))
    }

    /// The machine, if it is polling and its execution is this one.
    fn own_machine(&self) -> Option<OnStage> {
        OnStage::enter().filter(|machine| machine.execution == self.execution)
    }

    fn retract(&self, id: OpId) {
        if let Some(mut machine) = self.own_machine() {
            machine.retract(id);
        }
    }

    pub(crate) fn set_exit(&self, exit: Exit) {
        self.machine().hosts[self.pid as usize].ending = Some(exit);
    }

    /// An operation, and what its result is to the caller. An error names what it was about.
    #[inline(always)]
    fn call<T, F: Fn(&SimWorld, Ret) -> T + Unpin>(&self, op: Op, value: F) -> Operation<F> {
        Operation { world: self.clone(), stage: Stage::New(op), value }
    }

    /// What the first task of a process is made of.
    pub(crate) fn job(&self, main: impl Future<Output = ()> + Send + 'static) -> Box<dyn Job> {
        self.machine().jobs.take(main)
    }

    fn name(&self, name: &str) -> Name {
        self.machine().name(name)
    }

    /// One without a value.
    #[inline(always)]
    fn effect(&self, op: Op) -> impl Future<Output = Result<()>> + Send + use<> {
        self.call(op, |_, _| ())
    }

    /// One that cannot fail.
    async fn infallible(&self, op: Op) -> Ret {
        self.call(op, |_, ret| ret).await.expect("this operation has no errors")
    }

    /// Gives a section away to a thread and waits for its value.
    async fn section<T: Send + 'static>(
        &self,
        thread: Thread,
        name: &'static str,
        section: impl Future<Output = T> + Send + 'static,
    ) -> T {
        // While a synchronous call of another future keeps the thread, this one has not been polled yet: it gives nothing away.
        std::future::poll_fn(|cx| match self.machine().thread_is_occupied(None, cx.waker()) {
            true => Poll::Pending,
            false => Poll::Ready(()),
        })
        .await;
        let mut claim = {
            let mut state = self.machine();
            let job = state.jobs.take(section);
            let parent = &state.tasks[state.current() as usize];
            let name: Arc<str> = format!("{}@{name}", parent.name).into();
            let task = state.new_task(self.pid, name, thread, job);
            drop(state);
            Claim::<T>::on(self, task)
        };
        self.infallible(Op::Section { task: claim.task }).await;
        let value = claim.take(&mut self.machine());
        value.expect("a section that was not dropped has left its value")
    }
}

impl SimWorld {
    /// The first of the processes that it is like, if it is declared to be.
    fn is_like(&self) -> Option<Pid> {
        OnStage::enter().and_then(|machine| machine.alike.get(self.pid as usize).copied().flatten())
    }
}

impl Clock for SimWorld {
    fn now(&self) -> Duration {
        let mut state = self.machine();
        let now = state.dials.read_clock();
        state.is_told(now);
        now
    }
    async fn sleep(&self, duration: Duration) {
        let due = self.machine().due_in(duration);
        self.infallible(Op::Sleep { due }).await;
    }
    async fn deadline(&self, duration: Duration) {
        let due = self.machine().due_in(duration);
        self.infallible(Op::Deadline { due }).await;
    }
    async fn choose(&self, n: u32) -> u32 {
        assert!(n > 0, "a choice among nothing");
        expect!(self.infallible(Op::Choose { of: n }).await, Ret::Number(value) => value as u32)
    }
}

impl Process for SimWorld {
    fn process_id(&self) -> u32 {
        self.is_like().unwrap_or(self.pid)
    }
    fn args(&self) -> Vec<String> {
        let alike = self.is_like().is_some();
        assert!(!alike, "a process that is declared to be like others asked who it is: see Scenario::alike");
        self.machine().hosts[self.pid as usize].args.to_vec()
    }
    fn var(&self, name: &str) -> Option<String> {
        self.machine().hosts[self.pid as usize].env.get(name).cloned()
    }
    fn descriptor_limit(&self) -> u32 {
        self.machine().kernel.descriptor_limit(self.pid)
    }
}

/// A region of a simulated process.
pub struct SimRegion {
    world: SimWorld,
    id: u64,
}

impl Drop for SimRegion {
    fn drop(&mut self) {
        if let Some(mut state) = self.world.acting() {
            state.leave_region(self.id);
        }
    }
}

impl Notes for SimWorld {
    type Region = SimRegion;

    fn region(&self, kind: &'static str, subject: &str) -> SimRegion {
        let id = self.machine().enter_region(self.pid, kind, subject);
        SimRegion { world: self.clone(), id }
    }
    fn note(&self, kind: &'static str, subject: &str) {
        let mut state = self.machine();
        let by = state.current;
        state.emit(self.pid, by, What::Note { kind, subject: subject.into() });
    }
}
