//! All oracles of a scenario, and what each of them is told.
//!
//! Executions are run by the hundred thousand a second, and most of what happens in one matters to nobody as things stand: a write, say,
//! only to those who wait for the first act under a lock. So an event is not even made unless somebody
//! [attends](super::Oracle::attends) to it now, and it goes to nobody else.

use std::sync::Arc;

use super::held::HeldLocks;
use super::{Oracle, Violation};
use crate::sim::kernel::Kernel;
use crate::sim::state::{Host, Task};
use crate::sim::{Dials, KernelView};
use crate::world::{Event, Kinds, What};

/// One who watches.
pub(crate) struct Judge {
    pub(crate) oracle: Box<dyn Oracle>,
    /// The scenario names it: it must have something to judge.
    pub(crate) named: bool,
    /// What it asks for.
    pub(crate) kinds: Kinds,
    /// What of that can matter to it now.
    attends: Kinds,
    /// Whether that changes.
    varies: bool,
}

/// Those who watch.
#[derive(Default)]
pub(crate) struct Judges {
    pub(crate) all: Vec<Judge>,
    /// What any of them asks for.
    kinds: Kinds,
    /// What must be told whether or not it matters to anybody.
    always: Kinds,
    /// That, and what any of them attends to now.
    asked: Kinds,
    /// And what may be the first act under a lock.
    attended: Kinds,
    /// Whether anybody wants to know of those.
    follow_acts: bool,
    /// Kept for all of them, if any asks for what happens to locks.
    pub(crate) locks: HeldLocks,
    pub(crate) recording: Option<Vec<Event>>,
    pub(crate) violation: Option<Violation>,
}

impl Judges {
    /// What the execution has shown that counts together with others, oracle by oracle.
    pub(crate) fn evidence(&self) -> impl Iterator<Item = Vec<Arc<str>>> {
        self.all.iter().map(|judge| judge.oracle.evidence())
    }

    /// For each oracle that the scenario names, whether it has had anything to judge.
    pub(crate) fn judged(&self) -> Vec<bool> {
        self.all.iter().filter(|judge| judge.named).map(|judge| judge.oracle.judged() > 0).collect()
    }

    /// One more.
    pub(crate) fn add(&mut self, oracle: Box<dyn Oracle>, named: bool) {
        let (kinds, attends) = (oracle.kinds(), oracle.attends());
        let (varies, attends) = (attends.is_some(), attends.unwrap_or(kinds));
        self.kinds = self.kinds | kinds;
        self.follow_acts |= kinds.contains(Kinds::OWNED);
        self.all.push(Judge { oracle, named, kinds, attends, varies });
        self.attend_as_needed();
    }

    /// Whether anybody remembers who holds which lock.
    pub(crate) fn follow_locks(&self) -> bool {
        self.kinds.contains(Kinds::LOCKS)
    }

    /// Whether a task is known to hold a lock.
    pub(crate) fn is_holder(&self, task: u32) -> bool {
        self.follow_locks() && self.locks.iter().any(|held| held.by == Some(task))
    }

    /// Forgets the last execution.
    pub(crate) fn begin(&mut self) {
        self.violation = None;
        self.locks.clear();
        if let Some(recording) = &mut self.recording {
            recording.clear();
        }
        for judge in &mut self.all {
            judge.oracle.begin();
            judge.look_up();
        }
        self.attend_as_needed();
    }

    fn attend_as_needed(&mut self) {
        self.always = match self.recording {
            Some(_) => Kinds::ALL,
            // And of the end of each, but that can be told in a word: see `unlocked`.
            None if self.follow_locks() => Kinds::LOCKED,
            None => Kinds::NONE,
        };
        self.gather();
    }

    /// From here on somebody wants to know which steps depend on each other: they do by whatever an oracle asks for, whether it matters to it
    /// or not, since in another order it might.
    pub(crate) fn attend_to_all(&mut self) {
        self.always = self.always | self.kinds;
        self.gather();
    }

    fn gather(&mut self) {
        self.asked = self.all.iter().fold(self.always, |all, judge| all | judge.attends);
        self.attended = self.asked | self.under_locks();
    }

    /// What can be the first act under a lock, or make one of it.
    fn under_locks(&self) -> Kinds {
        if self.follow_acts { self.locks.attends() } else { Kinds::NONE }
    }

    /// Whether anybody would look at an event of this kind.
    #[inline(always)]
    pub(crate) fn want(&self, kinds: Kinds) -> bool {
        self.attended.meets(kinds)
    }

    /// A lock has ended, and whoever attends to that has been told.
    #[inline]
    pub(crate) fn unlocked(&mut self, description: u64) {
        if self.follow_locks() {
            self.locks.unlocked(description);
            self.attended = self.asked | self.under_locks();
        }
    }

    /// Tells of an event whoever attends to that part of a kind. The lock of which it tells is held if it was granted, and still is if it
    /// has ended.
    #[inline]
    pub(crate) fn tell(
        &mut self,
        part: Kinds,
        event: &Event,
        kernel: &Kernel,
        hosts: &[Host],
        tasks: &[Task],
        dials: &Dials,
    ) {
        let (mut told, mut changed) = (part, false);
        if part == Kinds::LOCKED {
            self.locks.locked(event);
        }
        if self.follow_acts && part.meets(Kinds::ACTS) {
            told = told | self.locks.acts(event, tasks);
        }
        if self.asked.meets(told) {
            let view = KernelView { kernel, hosts, tasks, dials, locks: &self.locks };
            for judge in self.all.iter_mut().filter(|judge| judge.attends.meets(told)) {
                if let Err(violation) = judge.oracle.on(event, &view) {
                    self.violation.get_or_insert(violation);
                }
                changed |= judge.look_up();
            }
            if changed {
                self.gather();
            }
        }
        match event.what {
            What::Unlock { description, .. } => self.unlocked(description),
            _ if told.meets(Kinds::NAMES | Kinds::OWNED) => {
                self.locks.acted(event);
                self.attended = self.asked | self.under_locks();
            }
            _ if part == Kinds::LOCKED => self.attended = self.asked | self.under_locks(),
            _ => {}
        }
        if let Some(recording) = &mut self.recording {
            recording.push(event.clone());
        }
    }
}

impl Judge {
    /// Asks it anew what matters to it. Whether that has changed.
    #[inline(always)]
    fn look_up(&mut self) -> bool {
        if !self.varies {
            return false;
        }
        let before = std::mem::replace(&mut self.attends, self.oracle.attends().unwrap_or(self.kinds));
        self.attends != before
    }
}
