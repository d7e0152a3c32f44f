//! Semaphores, mutexes and notifications: tokio's, and parking_lot's for threads.
//!
//! tokio's semaphore gives what is released to the first waiter in the queue bit by bit, so nobody overtakes one that asks for many
//! (S1); its mutex is one of one permit. parking_lot's mutex is what blocks a worker in real programs, and it has no queue to speak of:
//! whoever comes at the right instant gets it.

use super::OsWorld;
use crate::world::InProcess;
use parking_lot::{ArcMutexGuard, RawMutex};
use std::sync::Arc;
use tokio::sync::{Mutex, Notify, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

/// A counting semaphore; clones are the same one.
#[derive(Clone)]
pub struct OsSemaphore {
    semaphore: Arc<Semaphore>,
    permits: u32,
}

impl InProcess for OsWorld {
    type Semaphore = OsSemaphore;
    type Permit = OwnedSemaphorePermit;
    type Mutex<T: Send + 'static> = Arc<Mutex<T>>;
    type Guard<T: Send + 'static> = OwnedMutexGuard<T>;
    type ThreadMutex<T: Send + 'static> = Arc<parking_lot::Mutex<T>>;
    type ThreadGuard<T: Send + 'static> = ArcMutexGuard<RawMutex, T>;
    type Notify = Arc<Notify>;

    fn semaphore(&self, _name: &str, permits: u32) -> OsSemaphore {
        OsSemaphore { semaphore: Arc::new(Semaphore::new(permits as usize)), permits }
    }

    async fn acquire(&self, semaphore: &OsSemaphore, permits: u32) -> OwnedSemaphorePermit {
        assert!(permits <= semaphore.permits, "asked for {permits} permits of {}: for ever", semaphore.permits);
        Arc::clone(&semaphore.semaphore).acquire_many_owned(permits).await.expect("never closed")
    }

    async fn try_acquire(&self, semaphore: &OsSemaphore, permits: u32) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&semaphore.semaphore).try_acquire_many_owned(permits).ok()
    }

    fn mutex<T: Send + 'static>(&self, _name: &str, value: T) -> Arc<Mutex<T>> {
        Arc::new(Mutex::new(value))
    }

    async fn lock<T: Send + 'static>(&self, mutex: &Arc<Mutex<T>>) -> OwnedMutexGuard<T> {
        Arc::clone(mutex).lock_owned().await
    }

    fn thread_mutex<T: Send + 'static>(&self, _name: &str, value: T) -> Arc<parking_lot::Mutex<T>> {
        Arc::new(parking_lot::Mutex::new(value))
    }

    async fn lock_thread<T: Send + 'static>(&self, mutex: &Arc<parking_lot::Mutex<T>>) -> ArcMutexGuard<RawMutex, T> {
        mutex.lock_arc()
    }

    fn notify(&self, _name: &str) -> Arc<Notify> {
        Arc::new(Notify::new())
    }

    /// tokio's `Notified` sees `notify_waiters` from its creation and `notify_one` from its first poll. Made and polled in the first
    /// poll of this function, it stands in line for both from there (S4).
    async fn notified(&self, notify: &Arc<Notify>) {
        notify.notified().await;
    }

    async fn notify_one(&self, notify: &Arc<Notify>) {
        notify.notify_one();
    }

    async fn notify_all(&self, notify: &Arc<Notify>) {
        notify.notify_waiters();
    }
}
