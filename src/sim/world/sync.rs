//! What tasks share in memory.

use std::hash::Hash;

use super::*;
use crate::sim::fingerprint::hash;
use crate::sim::sync;

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
        if let Some(mut state) = self.world.acting() {
            state.release_permits(self.semaphore, self.holder, self.permits);
        }
    }
}

/// A simulated mutex.
pub struct SimMutex<T> {
    id: u32,
    value: Arc<Mutex<T>>,
    /// What its value is known by, if nothing else matters.
    hash: Option<fn(&T) -> u64>,
}

impl<T> Clone for SimMutex<T> {
    fn clone(&self) -> Self {
        SimMutex { id: self.id, value: self.value.clone(), hash: self.hash }
    }
}

/// The lock on a simulated mutex.
pub struct SimGuard<T: Send + 'static> {
    world: SimWorld,
    mutex: u32,
    /// Never contended: the simulated mutex is what is waited for.
    value: parking_lot::ArcMutexGuard<parking_lot::RawMutex, T>,
    hash: Option<fn(&T) -> u64>,
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
        if let Some(mut state) = self.world.acting() {
            let known_by = self.hash.filter(|_| state.remember).map(|hash| hash(&self.value));
            state.release_mutex(self.mutex, known_by);
        }
    }
}

/// A simulated notification.
#[derive(Clone)]
pub struct SimNotify(u32);

impl SimWorld {
    fn new_mutex<T>(&self, name: &str, value: T, hash: Option<fn(&T) -> u64>) -> SimMutex<T> {
        let mut state = self.machine();
        let remember = state.remember;
        state.mutexes.push(sync::Mutex {
            pid: self.pid,
            name: name.into(),
            holder: None,
            queue: Default::default(),
            blocked: Vec::new(),
            is_of_value: hash.is_some(),
            past: hash.filter(|_| remember).map_or(0, |hash| hash(&value)),
        });
        SimMutex { id: (state.mutexes.len() - 1) as u32, value: Arc::new(Mutex::new(value)), hash }
    }

    fn guard<T: Send>(&self, mutex: &SimMutex<T>) -> SimGuard<T> {
        let value = mutex.value.try_lock_arc().expect("the simulated mutex lets one in at a time");
        SimGuard { world: self.clone(), mutex: mutex.id, value, hash: mutex.hash }
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
        let mut state = self.machine();
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
            let state = self.machine();
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
        self.new_mutex(name, value, None)
    }
    fn value_mutex<T: Hash + Send + 'static>(&self, name: &str, value: T) -> SimMutex<T> {
        self.new_mutex(name, value, Some(|value| hash(value)))
    }
    async fn lock<T: Send + 'static>(&self, mutex: &SimMutex<T>) -> SimGuard<T> {
        self.infallible(Op::LockMutex { mutex: mutex.id }).await;
        self.guard(mutex)
    }
    fn thread_mutex<T: Send + 'static>(&self, name: &str, value: T) -> SimMutex<T> {
        self.new_mutex(name, value, None)
    }
    async fn lock_thread<T: Send + 'static>(&self, mutex: &SimMutex<T>) -> SimGuard<T> {
        self.infallible(Op::LockThread { mutex: mutex.id }).await;
        self.guard(mutex)
    }
    fn notify(&self, name: &str) -> SimNotify {
        let mut state = self.machine();
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
