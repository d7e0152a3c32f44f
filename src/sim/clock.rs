//! What time it is on the machine, and whether that makes a difference.
//!
//! Where a sleep may end at any step, how late it is decides nothing: it can only be *read*, by a task or by an oracle. As long as nobody
//! reads it, states that differ in nothing else are one, and two sleeps end in either order to the same effect. The scar: a process that
//! sleeps between two tries at a lock never came back to a state of its own, since it was later each time, so no search of it came to an
//! end.
//!
//! Nobody can know beforehand whether somebody will read the clock. So a search begins as if nobody did, and begins again if somebody has:
//! up to the first reading both are the same machine, so a search that saw none, and came to its end, has missed none.

use std::cell::Cell;
use std::time::Duration;

use super::depend::{Access, Resource};
use super::state::State;

/// The clock of a machine.
#[derive(Debug)]
pub(crate) struct Clock {
    now: Duration,
    matters: bool,
    was_read: Cell<bool>,
}

impl Default for Clock {
    /// One that matters.
    fn default() -> Self {
        Clock { now: Duration::ZERO, matters: true, was_read: Cell::new(false) }
    }
}

impl Clock {
    /// An execution begins.
    pub(crate) fn begin(&mut self) {
        self.now = Duration::ZERO;
    }

    /// It is no earlier than that.
    pub(crate) fn pass(&mut self, due: Duration) {
        self.now = self.now.max(due);
    }

    /// What time it is, for the machine itself.
    #[inline(always)]
    pub(crate) fn now(&self) -> Duration {
        self.now
    }

    /// What time it is, for those who may do something else at another time.
    pub(crate) fn read(&self) -> Duration {
        self.was_read.set(true);
        self.now
    }

    /// Whether states in which it is not equally late are different states.
    pub(crate) fn matters(&self) -> bool {
        self.matters
    }

    /// From here on it matters, or does not as long as nobody reads it.
    pub(crate) fn let_it_matter(&mut self, matters: bool) {
        (self.matters, self.was_read) = (matters, Cell::new(false));
    }

    /// Whether somebody has read it although it was to make no difference.
    pub(crate) fn has_come_to_matter(&self) -> bool {
        !self.matters && self.was_read.get()
    }
}

impl State {
    /// When something is due that the running task begins to wait for.
    pub(super) fn due_in(&mut self, duration: Duration) -> Duration {
        let now = self.clock.now();
        self.is_told(if self.clock.matters() { now } else { duration });
        now + duration
    }

    /// The running task learns of a time; unless it is one that passes, it is the same whatever others do.
    pub(super) fn is_told(&mut self, time: Duration) {
        if self.clock.matters() {
            self.touch(Resource::Clock, Access::Read);
        }
        if let Some(task) = self.current {
            self.note_strand(task);
            self.remember_value(task, time.as_nanos() as u64);
        }
    }
}
