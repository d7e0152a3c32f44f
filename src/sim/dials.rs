//! What can be read off a machine and decides nothing by itself: how late it is, how many descriptors a process has had at most, and which
//! number a descriptor has.
//!
//! Where a sleep may end at any step, the clock can only be *read*, by a task or by an oracle; and a peak by an oracle. As long as nobody
//! does, states that differ in nothing else are one, and two sleeps, or two opens, come in either order to the same effect. The scars: a
//! process that sleeps between two tries at a lock never came back to a state of its own, since it was later each time, so no search of it
//! came to an end; and a promise about the peak was called kept, since of two states that differed in it only the first was gone on from.
//!
//! Nobody can know beforehand whether somebody will read a dial. So a search begins as if nobody did, and begins again if somebody has:
//! up to the first reading both are the same machine, so a search that saw none, and came to its end, has missed none.

use std::cell::Cell;
use std::time::Duration;

use super::depend::{Access, Resource};
use super::state::{State, Time};

/// Of which dials it matters what they show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dialed {
    pub(crate) clock: bool,
    pub(crate) peaks: bool,
    pub(crate) descriptors: bool,
}

impl Dialed {
    /// All of them, for those who take nothing for equal.
    pub(crate) const ALL: Dialed = Dialed { clock: true, peaks: true, descriptors: true };
    const NONE: Dialed = Dialed { clock: false, peaks: false, descriptors: false };

    /// What always matters, if time passes like that.
    pub(crate) fn always(time: Time) -> Self {
        Dialed { clock: time != Time::Free, ..Dialed::NONE }
    }

    fn or(self, other: Dialed) -> Dialed {
        Dialed {
            clock: self.clock | other.clock,
            peaks: self.peaks | other.peaks,
            descriptors: self.descriptors | other.descriptors,
        }
    }
}

/// The dials of a machine.
#[derive(Debug)]
pub(crate) struct Dials {
    now: Duration,
    matter: Dialed,
    were_read: Cell<Dialed>,
}

impl Default for Dials {
    fn default() -> Self {
        Dials { now: Duration::ZERO, matter: Dialed::ALL, were_read: Cell::new(Dialed::NONE) }
    }
}

impl Dials {
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
    pub(crate) fn read_clock(&self) -> Duration {
        self.were_read.set(Dialed { clock: true, ..self.were_read.get() });
        self.now
    }

    /// Somebody looks at a peak.
    pub(crate) fn read_peak(&self) {
        self.were_read.set(Dialed { peaks: true, ..self.were_read.get() });
    }

    /// Somebody asks which number a descriptor has, or has one by its number.
    pub(crate) fn read_descriptor(&self) {
        self.were_read.set(Dialed { descriptors: true, ..self.were_read.get() });
    }

    /// Of which it matters what they show: states in which they do not show the same are different states.
    pub(crate) fn matter(&self) -> Dialed {
        self.matter
    }

    /// From here on these matter, and the others do not as long as nobody reads them.
    pub(crate) fn let_matter(&mut self, these: Dialed) {
        (self.matter, self.were_read) = (these, Cell::new(Dialed::NONE));
    }

    /// Those that should have mattered, since somebody has read them, or did.
    pub(crate) fn should_matter(&self) -> Dialed {
        self.matter.or(self.were_read.get())
    }
}

impl State {
    /// When something is due that the running task begins to wait for.
    pub(super) fn due_in(&mut self, duration: Duration) -> Duration {
        let now = self.dials.now();
        self.is_told(if self.dials.matter().clock { now } else { duration });
        now + duration
    }

    /// The running task learns of a time; unless it is one that passes, it is the same whatever others do.
    pub(super) fn is_told(&mut self, time: Duration) {
        if self.dials.matter().clock {
            self.touch(Resource::Clock, Access::Read);
        }
        if let Some(task) = self.current {
            self.note_strand(task);
            self.remember_value(task, time.as_nanos() as u64);
        }
    }
}
