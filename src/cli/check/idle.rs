//! Threads that have run out of cases and help with those that others are at.

use crate::cli::quiet::quietly;
use flockstep::explore::Cores;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};

/// How many of the `--jobs` have nothing to do.
pub(super) struct Idle {
    jobs: usize,
    idle: Mutex<usize>,
    changed: Condvar,
}

impl Idle {
    /// None yet, of so many.
    pub(super) fn new(jobs: usize) -> Self {
        Idle { jobs, idle: Mutex::new(0), changed: Condvar::new() }
    }

    /// One more has nothing to do.
    pub(super) fn give(&self) {
        *self.idle.lock().expect("nobody panics with it") += 1;
        self.changed.notify_all();
    }

    /// Waits for one that has nothing to do, unless it is no longer needed.
    fn take(&self, ended: &AtomicBool) -> bool {
        let idle = self.idle.lock().expect("nobody panics with it");
        let wanted = |idle: &mut usize| *idle == 0 && !ended.load(Ordering::SeqCst);
        let mut idle = self.changed.wait_while(idle, wanted).expect("nobody panics with it");
        let taken = *idle > 0 && !ended.load(Ordering::SeqCst);
        *idle -= usize::from(taken);
        taken
    }
}

/// Says that there is nothing left to help with, also when what was helped with panics.
struct Ended<'i>(&'i Idle, &'i AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        // Under the lock: who has looked and not yet begun to wait must not miss it.
        let idle = self.0.idle.lock();
        self.1.store(true, Ordering::SeqCst);
        drop(idle);
        self.0.changed.notify_all();
    }
}

impl Cores for Idle {
    #[expect(clippy::disallowed_methods, reason = "each thread explores machines of its own; none runs in a world")]
    fn share(&self, others: &(dyn Fn() + Sync), mine: &mut dyn FnMut()) {
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let end = Ended(self, &ended);
            for _ in 1..self.jobs {
                scope.spawn(|| {
                    if self.take(&ended) {
                        quietly(others);
                        self.give();
                    }
                });
            }
            mine();
            drop(end);
        });
    }
}
