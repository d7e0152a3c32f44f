//! Tasks, the blocking pool, threads: tokio's multi-thread runtime.
//!
//! A section on the pool is `spawn_blocking` around `block_on`, which is what people write by hand when they move a blocking flock off
//! a worker, with the same consequences: it keeps its thread while it awaits, it cannot be cancelled, and when all threads of the pool
//! wait for a lock, the section that would release it stands behind them in the queue. That is uv's deadlock (its pull request 3525)
//! one step further on, and OsWorld must be able to have it.

use super::OsWorld;
use super::errno::failed_in_std;
use crate::world::{Join, JoinError, Result, Tasks};
use std::future::{Future, pending};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};

impl OsWorld {
    /// Runs a process: a runtime of `workers` worker threads and a pool of at most `blocking_threads`, whose first task is what `first`
    /// makes. Returns when that task has ended and all others are dropped (T4), which waits for sections on the pool and for
    /// synchronous operations under way; threads of their own go on until the process exits. What is still under way then cannot
    /// wait for time or for children any more: tokio panics in a section that tries.
    ///
    /// # Errors
    /// If the runtime cannot be built: no descriptors or threads left.
    ///
    /// # Panics
    /// If the first task does, or if `workers` or `blocking_threads` is zero.
    pub fn run<T, F>(workers: usize, blocking_threads: usize, first: impl FnOnce(OsWorld) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let runtime = Builder::new_multi_thread()
            .worker_threads(workers)
            .max_blocking_threads(blocking_threads)
            .enable_all()
            .build()
            .map_err(|error| failed_in_std(&error, "epoll_create", "runtime"))?;
        // Spawned, because the future given to block_on would move on this thread, beside the workers (T1).
        match runtime.block_on(runtime.spawn(first(OsWorld::new()))) {
            Ok(value) => Ok(value),
            Err(error) => resume_unwind(error.into_panic()),
        }
    }
}

/// The right to wait for a task on the runtime; see [`Join`].
pub struct OsJoining<T>(JoinHandle<T>);

impl<T> Future for OsJoining<T> {
    type Output = std::result::Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(context)
            .map_err(|error| if error.is_cancelled() { JoinError::Aborted } else { JoinError::Panicked })
    }
}

impl<T: Send + 'static> Join<T> for OsJoining<T> {
    fn abort(&self) {
        self.0.abort();
    }
}

impl Tasks for OsWorld {
    type Joining<T: Send + 'static> = OsJoining<T>;

    fn spawn<T: Send + 'static>(&self, name: &str, task: impl Future<Output = T> + Send + 'static) -> OsJoining<T> {
        tracing::trace!(target: "flockstep::task", name, "spawn");
        OsJoining(tokio::spawn(task))
    }

    async fn on_pool<T: Send + 'static>(&self, section: impl Future<Output = T> + Send + 'static) -> T {
        // Dropping a JoinHandle detaches: the section goes on (T3).
        match spawn_blocking(|| Handle::current().block_on(section)).await {
            Ok(value) => value,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // The runtime is going down and has dropped the section unstarted: nobody comes back from here.
                Err(_) => pending().await,
            },
        }
    }

    /// # Panics
    /// If the operating system refuses to make a thread: the caller bounds how many there are.
    async fn on_thread<T: Send + 'static>(&self, section: impl Future<Output = T> + Send + 'static) -> T {
        let runtime = Handle::current();
        let (sender, receiver) = oneshot::channel();
        let thread = move || {
            // Whoever waited may have left meanwhile; the value is then dropped here.
            let _ = sender.send(catch_unwind(AssertUnwindSafe(|| runtime.block_on(section))));
        };
        thread::Builder::new().name("flockstep-section".into()).spawn(thread).expect("a thread for a section");
        match receiver.await.expect("the thread sends before it ends") {
            Ok(value) => value,
            Err(panic) => resume_unwind(panic),
        }
    }

    async fn yield_now(&self) {
        tokio::task::yield_now().await;
    }
}
