//! What the tasks of one process share in memory.

use std::future::Future;
use std::hash::Hash;
use std::ops::DerefMut;

/// Semaphores, mutexes and notifications between the tasks of one process. They come from the World so that they take part in
/// exploration and in the wait-for graph; on the real one they are tokio's and parking_lot's.
///
/// # Contract
///
/// * **S1** `acquire` is first-in first-out, as `tokio::sync::Semaphore`: one that asks for many permits is not overtaken by one that
///   asks for few. Joining the queue is an act of its own.
/// * **S2** A permit or guard that is dropped is released within that step, and goes straight to the first waiter.
/// * **S3** A waiter that is dropped leaves the queue; a permit that was granted to it and never fetched is released, and a notification
///   goes to the next, or is stored again.
/// * **S4** `notify_one` wakes one waiter, the one that has waited longest; without one, the next `notified` returns at once; two such
///   notifications are one. `notify_all` wakes those who wait now and is not remembered. To begin to wait is an act of its own: what a task
///   has looked at before may be different by then. One that polls `notified` by hand and goes on with something else stands in line
///   from that poll on, so it can look again and miss nothing.
/// * **S5** `lock_thread` blocks the *thread* that it is called on (a mutex of parking_lot's), and is not fair.
pub trait InProcess: Sync {
    /// A counting semaphore; clones are the same one.
    type Semaphore: Clone + Send + Sync + 'static;
    /// Some of its permits; released on drop.
    type Permit: Send + Sync + 'static;
    /// A mutex whose waiters suspend; clones are the same one.
    type Mutex<T: Send + 'static>: Clone + Send + Sync + 'static;
    /// The lock on it; released on drop.
    type Guard<T: Send + 'static>: DerefMut<Target = T> + Send + 'static;
    /// A mutex whose waiters block their thread; clones are the same one.
    type ThreadMutex<T: Send + 'static>: Clone + Send + Sync + 'static;
    /// The lock on it; released on drop.
    type ThreadGuard<T: Send + 'static>: DerefMut<Target = T> + Send + 'static;
    /// See [`notified`](InProcess::notified).
    type Notify: Clone + Send + Sync + 'static;

    /// A new semaphore with that many permits. The name is for reports.
    fn semaphore(&self, name: &str, permits: u32) -> Self::Semaphore;
    /// Waits for `permits` of them at once.
    ///
    /// # Panics
    /// If `permits` is more than the semaphore was made with: it could never be granted.
    fn acquire(&self, semaphore: &Self::Semaphore, permits: u32) -> impl Future<Output = Self::Permit> + Send;
    /// Takes them if they are free now and nobody waits.
    fn try_acquire(
        &self,
        semaphore: &Self::Semaphore,
        permits: u32,
    ) -> impl Future<Output = Option<Self::Permit>> + Send;

    /// A new mutex whose waiters suspend.
    fn mutex<T: Send + 'static>(&self, name: &str, value: T) -> Self::Mutex<T>;
    /// The same, of which only the value matters, as its hash tells it: who had the mutex before, and what for, does not. That says that
    /// equal hashes are equal values, that what the value leads to elsewhere is in no way different either, and that it has no
    /// [`FileId`](super::FileId) in it.
    ///
    /// An exploration of every schedule then takes those for one that left the same value by different ways, as
    /// [`forgetting`](super::Files::forgetting) does for what a task knows.
    fn value_mutex<T: Hash + Send + 'static>(&self, name: &str, value: T) -> Self::Mutex<T> {
        self.mutex(name, value)
    }
    /// Waits for it; first-in first-out.
    fn lock<T: Send + 'static>(&self, mutex: &Self::Mutex<T>) -> impl Future<Output = Self::Guard<T>> + Send;

    /// A new mutex whose waiters block their thread.
    fn thread_mutex<T: Send + 'static>(&self, name: &str, value: T) -> Self::ThreadMutex<T>;
    /// Waits for it, blocking the thread.
    fn lock_thread<T: Send + 'static>(
        &self,
        mutex: &Self::ThreadMutex<T>,
    ) -> impl Future<Output = Self::ThreadGuard<T>> + Send;

    /// A new notification.
    fn notify(&self, name: &str) -> Self::Notify;
    /// Waits to be notified. Who looks, finds that there is something to wait for, and then awaits this, misses a `notify_all` in
    /// between: poll the future once, look again, and then await it.
    fn notified(&self, notify: &Self::Notify) -> impl Future<Output = ()> + Send;
    /// Wakes one waiter, or the next.
    fn notify_one(&self, notify: &Self::Notify) -> impl Future<Output = ()> + Send;
    /// Wakes all that wait now.
    fn notify_all(&self, notify: &Self::Notify) -> impl Future<Output = ()> + Send;
}
