//! Tasks and sections.

use std::marker::PhantomData;

use super::*;
use crate::sim::State;

/// The right to the value of a task. Without one, it is dropped as soon as it is there.
pub(super) struct Claim<T> {
    world: SimWorld,
    pub(super) task: TaskId,
    is_settled: bool,
    of: PhantomData<fn() -> T>,
}

impl<T: 'static> Claim<T> {
    pub(super) fn on(world: &SimWorld, task: TaskId) -> Self {
        Claim { world: world.clone(), task, is_settled: false, of: PhantomData }
    }

    /// The value, if the task has completed; the first time.
    pub(super) fn take(&mut self, machine: &mut State) -> Option<T> {
        self.is_settled = true;
        machine.take_value(self.task)
    }
}

impl<T> Drop for Claim<T> {
    fn drop(&mut self) {
        if self.is_settled {
            return;
        }
        let Some(mut machine) = self.world.own_machine() else { return };
        let job = machine.detach(self.task);
        drop(machine);
        if let Some(mut job) = job {
            job.clear();
            self.world.own_machine().expect("it was there").jobs.keep(job);
        }
    }
}

/// The right to wait for a simulated task.
pub struct SimJoining<T> {
    claim: Claim<T>,
    op: Option<OpId>,
}

impl<T: Send + 'static> Future for SimJoining<T> {
    type Output = std::result::Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let SimJoining { claim, op } = &mut *self;
        let mut machine = claim.world.machine();
        if op.is_none() {
            machine.check_joined(&[claim.task]);
        }
        let ended = match *op {
            Some(id) => machine.fetch(id, cx.waker()).is_some(),
            None => match machine.announce(&Op::Join { task: claim.task, group: 0 }, cx.waker()) {
                Announced::Done(_) => true,
                Announced::Waits(id) => {
                    *op = Some(id);
                    false
                }
                Announced::Deferred => false,
            },
        };
        if !ended {
            return Poll::Pending;
        }
        *op = None;
        Poll::Ready(claim.take(&mut machine).ok_or(JoinError::Aborted))
    }
}

impl<T: Send + 'static> SimJoining<T> {
    /// Waits for it together with others.
    fn announce_among(&mut self, machine: &mut State, group: u32, cx: &Context<'_>) {
        let Announced::Waits(id) = machine.announce(&Op::Join { task: self.claim.task, group }, cx.waker()) else {
            unreachable!("it has not ended, and nothing keeps the thread");
        };
        self.op = Some(id);
    }
}

/// Waits for several tasks together.
struct JoiningAll<'j, T> {
    world: SimWorld,
    tasks: &'j mut [SimJoining<T>],
    announced: bool,
}

impl<T: Send + 'static> Future for JoiningAll<'_, T> {
    type Output = Vec<std::result::Result<T, JoinError>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let JoiningAll { world, tasks, announced } = &mut *self;
        let mut machine = world.machine();
        if machine.thread_is_occupied(None, cx.waker()) {
            return Poll::Pending;
        }
        if !*announced {
            *announced = true;
            let group = machine.begin_to_join(tasks.iter().map(|task| task.claim.task));
            for task in tasks.iter_mut() {
                if !machine.has_ended(task.claim.task) {
                    task.announce_among(&mut machine, group, cx);
                }
            }
        }
        if tasks.iter().any(|task| !machine.has_ended(task.claim.task)) {
            return Poll::Pending;
        }
        for task in tasks.iter() {
            machine.touch(Resource::End(task.claim.task), Access::Await);
        }
        let values = tasks.iter_mut().map(|SimJoining { claim, op }| {
            op.take().map(|id| machine.fetch(id, cx.waker()));
            claim.take(&mut machine).ok_or(JoinError::Aborted)
        });
        Poll::Ready(values.collect())
    }
}

impl<T> Drop for JoiningAll<'_, T> {
    fn drop(&mut self) {
        // Whoever waits for one of them alone from now on is not to be woken by the last.
        for id in self.tasks.iter_mut().filter_map(|task| task.op.take()) {
            self.world.retract(id);
        }
    }
}

impl<T> Drop for SimJoining<T> {
    fn drop(&mut self) {
        if let Some(id) = self.op {
            self.claim.world.retract(id);
        }
    }
}

impl<T: Send + 'static> Join<T> for SimJoining<T> {
    fn abort(&self) {
        if let Some(mut state) = self.claim.world.acting() {
            state.abort(self.claim.task);
        }
    }
}

impl Tasks for SimWorld {
    type Joining<T: Send + 'static> = SimJoining<T>;

    fn spawn<T: Send + 'static>(&self, name: &str, task: impl Future<Output = T> + Send + 'static) -> SimJoining<T> {
        let mut machine = self.machine();
        let job = machine.jobs.take(task);
        let name = machine.names.shared(name);
        let task = machine.new_task(self.pid, name, Thread::Worker, job);
        drop(machine);
        SimJoining { claim: Claim::on(self, task), op: None }
    }
    fn join_all<T: Send + 'static>(
        &self,
        tasks: &mut [SimJoining<T>],
    ) -> impl Future<Output = Vec<std::result::Result<T, JoinError>>> + Send {
        JoiningAll { world: self.clone(), tasks, announced: false }
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
