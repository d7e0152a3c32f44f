//! The tasks of an execution, by number. Their slots are kept for those of the next one, with all that is allocated in them: a task is a
//! few hundred bytes, and to put each together on the stack and move it here took as long as to poll it.

use std::ops::{Deref, DerefMut, Index, IndexMut};
use std::sync::Arc;

use super::depend::Moment;
use super::kernel::Pid;
use super::state::{Phase, Task, TaskId};
use super::symmetry::Label;
use crate::world::Thread;

/// See the [module documentation](self).
#[derive(Default)]
pub(crate) struct Tasks {
    slots: Vec<Task>,
    /// So many of them are of this execution.
    count: usize,
}

/// What a task begins with.
pub(crate) struct Spawned {
    pub(crate) pid: Pid,
    pub(crate) name: Arc<str>,
    pub(crate) parent: Option<TaskId>,
    pub(crate) thread: Thread,
    pub(crate) home: u32,
    pub(crate) past: u64,
    pub(crate) label: Label,
    pub(crate) alike: Option<u64>,
}

impl Tasks {
    /// Forgets them all.
    pub(crate) fn clear(&mut self) {
        self.count = 0;
    }

    /// One more: its number.
    #[inline]
    pub(crate) fn add(&mut self, spawned: Spawned) -> TaskId {
        let id = self.count;
        self.count += 1;
        match self.slots.get_mut(id) {
            Some(slot) => slot.begin(spawned),
            None => self.slots.push(Task::new(spawned)),
        }
        id as TaskId
    }
}

impl Deref for Tasks {
    type Target = [Task];
    #[inline(always)]
    fn deref(&self) -> &[Task] {
        &self.slots[..self.count]
    }
}

impl DerefMut for Tasks {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [Task] {
        &mut self.slots[..self.count]
    }
}

/// One of them; numbers are only given to those of this execution, so it need not be asked which are.
impl Index<usize> for Tasks {
    type Output = Task;
    #[inline(always)]
    fn index(&self, id: usize) -> &Task {
        debug_assert!(id < self.count, "a task of an earlier execution");
        &self.slots[id]
    }
}

impl IndexMut<usize> for Tasks {
    #[inline(always)]
    fn index_mut(&mut self, id: usize) -> &mut Task {
        debug_assert!(id < self.count, "a task of an earlier execution");
        &mut self.slots[id]
    }
}

impl Task {
    fn new(spawned: Spawned) -> Task {
        let Spawned { pid, name, parent, thread, home, past, label, alike } = spawned;
        Task {
            pid,
            name,
            birth: 0,
            label,
            alike,
            began_with: None,
            parent,
            thread,
            phase: Phase::Queued,
            has_thread: false,
            home,
            others: Vec::new(),
            occupied: None,
            deferred: Vec::new(),
            has_deferred: false,
            poll_again: false,
            aborting: false,
            joiners: Default::default(),
            announced: 0,
            forgetting: Default::default(),
            past,
            completed: false,
            job: None,
            is_detached: false,
            is_settled: false,
            woken_in: (0, 0),
            in_line_since: Moment::default(),
        }
    }

    /// The same in the place of one that is over.
    fn begin(&mut self, spawned: Spawned) {
        // By all fields, so that none is forgotten.
        let Task {
            pid,
            name,
            birth,
            label,
            alike,
            began_with,
            parent,
            thread,
            phase,
            has_thread,
            home,
            others,
            occupied,
            deferred,
            has_deferred,
            poll_again,
            aborting,
            joiners,
            announced,
            forgetting,
            past,
            completed,
            job,
            is_detached,
            is_settled,
            woken_in,
            in_line_since,
        } = self;
        if !Arc::ptr_eq(name, &spawned.name) {
            *name = spawned.name;
        }
        (*pid, *parent, *thread) = (spawned.pid, spawned.parent, spawned.thread);
        (*home, *past) = (spawned.home, spawned.past);
        (*label, *alike, *began_with, *is_settled) = (spawned.label, spawned.alike, None, false);
        (*birth, *phase, *has_thread, *occupied) = (0, Phase::Queued, false, None);
        (*has_deferred, *poll_again, *aborting) = (false, false, false);
        (*announced, *completed, *is_detached) = (0, false, false);
        (*woken_in, *in_line_since) = ((0, 0), Moment::default());
        others.clear();
        deferred.clear();
        joiners.clear();
        forgetting.begin_task();
        debug_assert!(job.is_none(), "it was taken when the machine was switched off");
    }
}
