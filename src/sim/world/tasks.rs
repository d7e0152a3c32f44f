//! Tasks and sections.

use super::*;

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
        let mut state = this.world.machine();
        let ended = match this.op {
            Some(id) => state.fetch(id, cx.waker()).is_some(),
            None => match state.announce(Op::Join { task: this.task }, cx.waker()) {
                Announced::Done(_) => true,
                Announced::Waits(id) => {
                    this.op = Some(id);
                    false
                }
                Announced::Deferred => false,
            },
        };
        drop(state);
        if !ended {
            return Poll::Pending;
        }
        this.op = None;
        Poll::Ready(this.slot.lock().take().ok_or(JoinError::Aborted))
    }
}

impl<T> Drop for SimJoining<T> {
    fn drop(&mut self) {
        if let Some(id) = self.op {
            self.world.retract(id);
        }
    }
}

impl<T: Send + 'static> Join<T> for SimJoining<T> {
    fn abort(&self) {
        if let Some(mut state) = self.world.acting() {
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
        let mut machine = self.machine();
        let name = machine.name(name);
        let name = machine.names[name].clone();
        let task = machine.new_task(self.pid, name, Thread::Worker, future);
        drop(machine);
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
