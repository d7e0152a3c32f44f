//! Announcements: what tasks are about to do, from the first poll of an operation to the fetch of its result, and which of it could
//! act now.
//!
//! A step of the seeded engine is little more than a walk through here, so what is usual is on the short way, and what is not is out of
//! line: a second operation of one task, a future that finds the thread occupied, a waker of somebody else's.

use std::task::Waker;

use super::depend::{Access, Moment, Resource};
use super::kernel::Pid;
use super::operation::{Op, OpId, Outcome, Owner, Pending, Ret, Stage};
use super::state::{Choice, Phase, State, Task, TaskId};
use crate::world::{Errno, Error};

/// What an announcement came to.
pub(crate) enum Announced {
    /// There was nothing to choose, and here is the result.
    Done(Ret),
    /// The engine will say when.
    Waits(OpId),
    /// A synchronous call keeps the thread; the future is polled again when that has returned.
    Deferred,
}

impl State {
    #[inline(always)]
    pub(crate) fn pending(&self, id: OpId) -> Option<&Pending> {
        self.ops.get(id.slot as usize).filter(|p| p.live && p.generation == id.generation)
    }

    #[inline(always)]
    fn pending_mut(&mut self, id: OpId) -> Option<&mut Pending> {
        self.ops.get_mut(id.slot as usize).filter(|p| p.live && p.generation == id.generation)
    }

    /// What a task has announced and not yet fetched.
    pub(crate) fn ops_of(&self, id: TaskId) -> impl Iterator<Item = OpId> + '_ {
        let Task { home: slot, ref others, .. } = self.tasks[id as usize];
        let home = &self.ops[slot as usize];
        let one = home.live.then_some(OpId { slot, generation: home.generation });
        one.into_iter().chain(others.iter().copied())
    }

    /// A free slot in the table of operations.
    pub(super) fn vacant_slot(&mut self) -> u32 {
        self.free_ops.pop().unwrap_or_else(|| {
            self.ops.push(Pending::vacant());
            (self.ops.len() - 1) as u32
        })
    }

    /// Announces what a process does as a whole.
    pub(crate) fn announce_of_process(&mut self, pid: Pid, op: Op) {
        let (slot, now) = (self.vacant_slot(), self.moment());
        let id = self.ops[slot as usize].fill(slot, Owner::Process(pid), op, (0, now), None);
        self.enable(id);
    }

    /// Whether a future of the running task must wait because a synchronous call of another one keeps the thread; if so,
    /// it is polled again when that has returned.
    #[inline(always)]
    pub(crate) fn thread_is_occupied(&mut self, by_other_than: Option<OpId>, waker: &Waker) -> bool {
        let id = self.current();
        let occupied = self.tasks[id as usize].occupied;
        if occupied.is_none() || occupied == by_other_than {
            return false;
        }
        self.defer(id, waker);
        true
    }

    #[cold]
    fn defer(&mut self, id: TaskId, waker: &Waker) {
        let task = &mut self.tasks[id as usize];
        task.deferred.push(waker.clone());
        task.has_deferred = true;
    }

    /// The first poll of a system call of a task that has nothing else under way: the usual case, on the short way. Of anything else, it
    /// does nothing, and gives none; see [`announce`](State::announce).
    #[inline(never)]
    pub(crate) fn announce_call(&mut self, op: &Op, waker: &Waker) -> OpId {
        let id = self.current();
        self.returned = OpId::NONE;
        let usual = op.is_system_call() && self.footprint.is_none() && self.is_ours(waker);
        let State { tasks, ops, enabled, kernel, step, .. } = self;
        let task = &mut tasks[id as usize];
        let home = &mut ops[task.home as usize];
        if !usual || home.live || task.occupied.is_some() || task.forgetting.is_open() {
            return OpId::NONE;
        }
        let now = Moment { step: *step, part: 0 };
        let announced = home.fill(task.home, Owner::Task(id), *op, (task.announced, now), None);
        task.announced += 1;
        task.occupied = Some(announced);
        // What is on a file and no pipe need not wait.
        let waits = match *op {
            Op::Read { fd, .. } | Op::Write { fd, .. } => kernel.pipe_used_by(task.pid, fd, id).is_some(),
            op => op.may_have_to_wait(),
        };
        if waits {
            self.watch(announced);
        } else {
            home.place = Some(enabled.len() as u32);
            enabled.push(announced);
        }
        announced
    }

    /// The first poll of an operation.
    pub(crate) fn announce(&mut self, op: &Op, waker: &Waker) -> Announced {
        let (op, id) = (*op, self.current());
        self.returned = OpId::NONE;
        if self.tasks[id as usize].occupied.is_some() {
            self.defer(id, waker);
            return Announced::Deferred;
        }
        if op.may_need_no_step()
            && let Some(ret) = self.immediately(id, &op)
        {
            self.note_what_was_found(id, &ret);
            return Announced::Done(ret);
        }
        let waker = (!self.is_ours(waker)).then(|| waker.clone());
        let now = self.moment();
        self.note_strand(id);
        let State { tasks, ops, .. } = self;
        let task = &mut tasks[id as usize];
        let seq = task.announced;
        task.announced += 1;
        let home = &mut ops[task.home as usize];
        let announced = if home.live {
            self.announce_beside(id, op, seq, waker)
        } else {
            home.fill(task.home, Owner::Task(id), op, (seq, now), waker)
        };
        if op.is_synchronous() {
            self.tasks[id as usize].occupied = Some(announced);
        }
        if op.may_have_to_wait() {
            self.watch(announced)
        } else {
            self.enable(announced)
        }
        Announced::Waits(announced)
    }

    /// The same while the task has announced something else.
    fn announce_beside(&mut self, id: TaskId, op: Op, seq: u32, waker: Option<Waker>) -> OpId {
        // A deadline looks at nothing: it is not what somebody stands in line for before.
        if !matches!(op, Op::Deadline { .. }) {
            let slot = self.tasks[id as usize].home;
            self.stand_in_line_at_once(OpId { slot, generation: self.ops[slot as usize].generation });
        }
        let (slot, now) = (self.vacant_slot(), self.moment());
        let announced = self.ops[slot as usize].fill(slot, Owner::Task(id), op, (seq, now), waker);
        self.tasks[id as usize].others.push(announced);
        announced
    }

    /// Whether it is the machine's waker, which need not be woken. Others are: of futures within a task, which somebody else polls.
    #[inline(always)]
    fn is_ours(&self, waker: &Waker) -> bool {
        self.polls.as_ref().is_some_and(|polls| polls.will_wake(waker))
    }

    /// A later poll: the result, if it has acted, and if no synchronous call of another future keeps the thread.
    #[inline(always)]
    pub(crate) fn fetch(&mut self, id: OpId, waker: &Waker) -> Option<Outcome> {
        if self.returned != id {
            return self.fetch_in_detail(id, waker);
        }
        self.returned = OpId::NONE;
        let pending = &mut self.ops[id.slot as usize];
        debug_assert!(pending.live && pending.stage == Stage::Acted && pending.waker.is_none());
        pending.live = false;
        Some(std::mem::replace(&mut pending.outcome, Ok(Ret::Unit)))
    }

    #[inline(never)]
    fn fetch_in_detail(&mut self, id: OpId, waker: &Waker) -> Option<Outcome> {
        if self.thread_is_occupied(Some(id), waker) {
            return None;
        }
        self.stand_in_line_at_once(id);
        let pending = &mut self.ops[id.slot as usize];
        debug_assert!(pending.live && pending.generation == id.generation, "it lives until it is fetched or dropped");
        if pending.stage != Stage::Acted {
            self.poll_in_vain(id, waker);
            return None;
        }
        let outcome = std::mem::replace(&mut pending.outcome, Ok(Ret::Unit));
        // It has been in no list since it acted.
        (pending.live, pending.waker) = (false, None);
        let Owner::Task(task) = pending.owner else { unreachable!("processes fetch nothing") };
        self.free(id, task);
        Some(outcome)
    }

    /// It has not acted yet; somebody else may wait for it now.
    fn poll_in_vain(&mut self, id: OpId, waker: &Waker) {
        if !self.ops[id.slot as usize].waker.as_ref().is_some_and(|w| w.will_wake(waker)) {
            self.ops[id.slot as usize].waker = (!self.is_ours(waker)).then(|| waker.clone());
        }
    }

    /// What an operation failed with that has just been fetched: it names what it was about.
    #[cold]
    pub(crate) fn error(&self, id: OpId, errno: Errno) -> Error {
        let Pending { op, owner, .. } = &self.ops[id.slot as usize];
        let Owner::Task(task) = *owner else { unreachable!("processes fetch nothing") };
        Error::new(errno, op.name(), self.subject_of_error(self.tasks[task as usize].pid, op))
    }

    /// The slot of an operation of a task is free again. A task keeps its home.
    #[inline(always)]
    fn free(&mut self, id: OpId, task: TaskId) {
        if self.tasks[task as usize].home != id.slot {
            self.free_beside(id, task);
        }
    }

    fn free_beside(&mut self, id: OpId, task: TaskId) {
        self.tasks[task as usize].others.retain(|other| *other != id);
        self.free_ops.push(id.slot);
    }

    /// Takes an operation out of every list.
    pub(crate) fn forget(&mut self, id: OpId) {
        if self.footprint.is_some() {
            self.miss_operation(id);
        }
        self.disable(id);
        self.unwatch_inode(id);
        self.no_longer_blocks(id);
        let pending = &mut self.ops[id.slot as usize];
        (pending.live, pending.waker) = (false, None);
        match pending.owner {
            Owner::Process(_) => self.free_ops.push(id.slot),
            Owner::Task(task) => {
                self.free(id, task);
                if self.tasks[task as usize].occupied == Some(id) {
                    self.tasks[task as usize].occupied = None;
                    if self.tasks[task as usize].has_deferred {
                        self.wake_deferred(task);
                    }
                }
            }
        }
    }

    #[cold]
    fn wake_deferred(&mut self, id: TaskId) {
        let task = &mut self.tasks[id as usize];
        let deferred = std::mem::take(&mut task.deferred);
        (task.has_deferred, task.poll_again) = (false, true);
        // Wakers of FuturesUnordered and its like: they only mark which future to poll.
        deferred.iter().for_each(Waker::wake_by_ref);
    }

    /// An operation has its result; its task is told.
    pub(crate) fn complete(&mut self, id: OpId, outcome: Outcome) {
        if self.pending(id).is_some()
            && let Some(task) = self.conclude(id, outcome)
        {
            self.wake(task);
        }
    }

    /// The same for a system call of a task, which has kept its thread: whether the task is to be polled at once.
    #[inline(always)]
    pub(crate) fn return_from_call(&mut self, id: OpId, task_id: TaskId, outcome: Outcome) -> bool {
        let pending = &mut self.ops[id.slot as usize];
        let task = &mut self.tasks[task_id as usize];
        let watched = self.remember || self.footprint.is_some() || pending.waker.is_some();
        if watched || task.has_deferred || task.home != id.slot || task.phase != Phase::Suspended {
            return self.return_in_detail(id, outcome);
        }
        debug_assert!(task.has_thread && task.occupied == Some(id));
        (task.occupied, task.phase) = (None, Phase::Scheduled);
        (pending.stage, pending.outcome) = (Stage::Acted, outcome);
        if let Some(place) = pending.place.take() {
            self.close_gap(place);
        }
        self.returned = id;
        true
    }

    #[inline(never)]
    fn return_in_detail(&mut self, id: OpId, outcome: Outcome) -> bool {
        self.returned = OpId::NONE;
        let Some(id) = self.conclude(id, outcome) else { return false };
        let task = &mut self.tasks[id as usize];
        if task.phase == Phase::Suspended {
            debug_assert!(task.has_thread && task.occupied.is_none());
            task.phase = Phase::Scheduled;
            return true;
        }
        self.wake(id);
        false
    }

    /// Leaves the result of an operation for its task to fetch: the task.
    #[inline(always)]
    pub(super) fn conclude(&mut self, id: OpId, outcome: Outcome) -> Option<TaskId> {
        let Owner::Task(task_id) = self.ops[id.slot as usize].owner else { return None };
        if self.remember {
            self.remember_outcome(id, task_id, &outcome);
        }
        let pending = &mut self.ops[id.slot as usize];
        (pending.stage, pending.outcome) = (Stage::Acted, outcome);
        if let Some(waker) = &pending.waker {
            waker.wake_by_ref();
        }
        if let Some(place) = pending.place.take() {
            self.close_gap(place);
        }
        if self.footprint.is_some() {
            // What one operation of a task comes to is nothing to the others, if there are none.
            let alone = self.ops_of(task_id).count() == 1;
            self.touch(Resource::Task(task_id), if alone { Access::Add } else { Access::Write });
            self.note_cause(task_id);
        }
        self.note_how_it_waited(task_id, id);
        let task = &mut self.tasks[task_id as usize];
        if task.occupied == Some(id) {
            task.occupied = None;
            if task.has_deferred {
                self.wake_deferred(task_id);
            }
        }
        Some(task_id)
    }

    #[inline(always)]
    pub(crate) fn enable(&mut self, id: OpId) {
        let pending = &mut self.ops[id.slot as usize];
        if pending.place.is_none() {
            pending.place = Some(self.enabled.len() as u32);
            self.enabled.push(id);
            self.no_longer_blocks(id);
        }
    }

    /// A flock(2) blocks a worker from here on.
    pub(crate) fn blocks(&mut self, id: OpId, pid: Pid) {
        if !std::mem::replace(&mut self.ops[id.slot as usize].blocks, true) {
            let host = &mut self.hosts[pid as usize];
            host.blocked += 1;
            self.workers_blocked_peak = self.workers_blocked_peak.max(host.blocked);
        }
    }

    #[inline(always)]
    fn no_longer_blocks(&mut self, id: OpId) {
        let pending = &mut self.ops[id.slot as usize];
        if std::mem::take(&mut pending.blocks)
            && let Owner::Task(task) = pending.owner
        {
            self.hosts[self.tasks[task as usize].pid as usize].blocked -= 1;
        }
    }

    pub(crate) fn disable(&mut self, id: OpId) {
        if let Some(place) = self.pending_mut(id).and_then(|p| p.place.take()) {
            self.close_gap(place);
        }
    }

    /// An operation has left the list of those that could act.
    #[inline(always)]
    fn close_gap(&mut self, place: u32) {
        self.enabled.swap_remove(place as usize);
        if let Some(&moved) = self.enabled.get(place as usize) {
            self.ops[moved.slot as usize].place = Some(place);
        }
    }

    /// What an engine can choose among now, by position; see [`choice`](State::choice).
    #[inline(always)]
    pub(crate) fn choice_count(&self) -> usize {
        let ready: usize = self.hungry.iter().map(|&pid| self.hosts[pid as usize].ready.len()).sum();
        self.enabled.len() + self.due.len() + ready + self.fault_choices.len()
    }

    /// How many of them are no faults: the first ones.
    #[inline(always)]
    pub(crate) fn usual_count(&self) -> usize {
        self.choice_count() - self.fault_choices.len()
    }

    /// How many of them, the last ones, are faults.
    pub(crate) fn fault_count(&self) -> usize {
        self.fault_choices.len()
    }

    /// The choice at a position.
    #[inline(always)]
    pub(crate) fn choice(&self, at: usize) -> Choice {
        match self.enabled.get(at) {
            Some(&op) => Choice::Act(op),
            None => self.unusual_choice(at - self.enabled.len()),
        }
    }

    /// The same after the operations that could act.
    fn unusual_choice(&self, mut at: usize) -> Choice {
        match self.due.get(at) {
            Some(&op) => return Choice::Act(op),
            None => at -= self.due.len(),
        }
        for &pid in &self.hungry {
            let ready = &self.hosts[pid as usize].ready;
            match ready.get(at) {
                Some(&task) => return Choice::Resume(task),
                None => at -= ready.len(),
            }
        }
        self.fault_choices[at]
    }
}
