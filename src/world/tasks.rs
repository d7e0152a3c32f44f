//! Tasks, the blocking pool, threads.

use std::future::Future;

/// Why a task has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum JoinError {
    /// It was aborted before it ended.
    #[error("the task was aborted")]
    Aborted,
    /// It panicked.
    #[error("the task panicked")]
    Panicked,
}

/// The right to wait for a task. Dropping it detaches the task, which goes on.
pub trait Join<T>: Future<Output = Result<T, JoinError>> + Send + Unpin + 'static {
    /// Asks for the end of the task: its future is dropped the next time it would get a thread, unless it ends by itself first.
    fn abort(&self);
}

/// Tasks of an executor with a fixed number of worker threads, and a bounded pool of blocking threads.
///
/// # Contract
///
/// * **T1** A task moves only while it owns a worker thread. It gives it up at an asynchronous await, never during a synchronous
///   operation, however long that blocks.
/// * **T2** A section given to `on_pool` waits in one first-in first-out queue until one of the blocking threads is free, and keeps it
///   from its start to its end, awaits included.
/// * **T3** Dropping the future of `on_pool` or `on_thread` does not stop the section: it goes on to its end.
/// * **T4** A process ends when its first task does: its other tasks are dropped where they are suspended, sections on the pool are
///   waited for (as tokio's `Runtime` does when dropped), threads of their own die with the process.
/// * **T5** A task that is aborted or dropped releases what it holds and withdraws from every queue it stood in.
pub trait Tasks: Sync {
    /// See [`Join`].
    type Joining<T: Send + 'static>: Join<T>;

    /// Starts a task on the workers. The name is for reports and replay keys: give siblings different names.
    fn spawn<T: Send + 'static>(&self, name: &str, task: impl Future<Output = T> + Send + 'static) -> Self::Joining<T>;
    /// Waits until all of them have ended; their values, in the order of the tasks. Like waiting for one after the other, except that the caller
    /// goes on once, after the last one, so that it makes no difference which of them that is.
    fn join_all<T: Send + 'static>(
        &self,
        tasks: &mut [Self::Joining<T>],
    ) -> impl Future<Output = Vec<Result<T, JoinError>>> + Send {
        async move {
            let mut values = Vec::with_capacity(tasks.len());
            for task in tasks {
                values.push(task.await);
            }
            values
        }
    }
    /// Runs `section` on a thread of the blocking pool. A section is a future, not a closure, so that each call in it can be a
    /// scheduling point; it owns its thread until it is done. A panic in it is passed on.
    fn on_pool<T: Send + 'static>(
        &self,
        section: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> + Send;
    /// The same on a thread made for it. The caller bounds how many.
    fn on_thread<T: Send + 'static>(
        &self,
        section: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> + Send;
    /// Gives the worker up and asks for one again.
    fn yield_now(&self) -> impl Future<Output = ()> + Send;
}
