//! What a task is, and the tasks of an execution, by number. Their slots are kept for those of the next one, with all that is allocated
//! in them: a task is a few hundred bytes, and to put each together on the stack and move it here took as long as to poll it.

use std::ops::{Deref, DerefMut, Index, IndexMut};
use std::sync::Arc;

use smallvec::SmallVec;

use super::depend::Moment;
use super::forget::Forgetting;
use super::job::Job;
use super::kernel::Pid;
use super::operation::OpId;
use super::symmetry::Label;
use crate::world::Thread;

/// A task or section: its number is its slot, in order of creation.
pub type TaskId = u32;

/// How far a task has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    /// A section that stands in the queue of the pool, or has not joined it yet.
    Queued,
    /// Woken, and waiting for a worker.
    Ready,
    /// Has its thread and will be polled before anything else happens.
    Scheduled,
    /// Being polled.
    Running,
    /// Waits for its operations.
    Suspended,
    Finished,
    /// Its process is dead: its destructors have no effect.
    Dead,
}

pub(crate) struct Task {
    pub(crate) pid: Pid,
    pub(crate) name: Arc<str>,
    /// The how many'th task of its process it is, from 1.
    pub(crate) birth: u32,
    /// What it is called in a fingerprint, if anybody takes one.
    pub(crate) label: Label,
    /// Those with the same number are declared to be alike.
    pub(crate) alike: Option<u64>,
    /// What it did first, and what it knew then, if it is like others.
    pub(crate) began_with: Option<(u64, u64)>,
    /// Who spawned it, or gave the section away.
    pub(crate) parent: Option<TaskId>,
    pub(crate) thread: Thread,
    pub(crate) phase: Phase,
    /// Owns its thread now.
    pub(crate) has_thread: bool,
    /// Its slot in the table of operations: most tasks announce one at a time. See [`State::ops_of`](super::state::State::ops_of).
    pub(crate) home: u32,
    /// What it has announced beside that.
    pub(crate) others: Vec<OpId>,
    /// The synchronous operation that keeps the thread.
    pub(crate) occupied: Option<OpId>,
    /// Futures of this task that found the thread occupied.
    pub(crate) deferred: Vec<std::task::Waker>,
    pub(crate) has_deferred: bool,
    /// Woken while it ran.
    pub(crate) poll_again: bool,
    pub(crate) aborting: bool,
    pub(crate) joiners: SmallVec<[OpId; 2]>,
    pub(crate) announced: u32,
    pub(crate) forgetting: Forgetting,
    /// Hash of all results that it has seen and not forgotten: with the machine's state, it determines what the task does next.
    pub(crate) past: u64,
    /// The same of those that its operations came to, whatever it has forgotten; kept where somebody asks what steps touch.
    pub(crate) told: u64,
    pub(crate) completed: bool,
    /// Once it has completed, until somebody takes its value.
    pub(crate) job: Option<Box<dyn Job>>,
    /// Nobody will.
    pub(crate) is_detached: bool,
    /// Nobody will ask for it any more.
    pub(crate) is_settled: bool,
    /// In which step it was last woken, and in which parts of it, bit by bit.
    pub(crate) woken_in: (u64, u64),
    /// When it began to wait for a worker.
    pub(crate) in_line_since: Moment,
}

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
    pub(crate) told: u64,
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
        let Spawned { pid, name, parent, thread, home, past, told, label, alike } = spawned;
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
            told,
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
            told,
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
        (*home, *past, *told) = (spawned.home, spawned.past, spawned.told);
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
