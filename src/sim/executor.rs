//! Tasks, worker threads, blocking threads.
//!
//! The scar: shuttle and its tokio model a task as a thread of its own, so an flock that blocks the only worker passes there in
//! all 145 executions of the smallest program that hangs in production. Here a worker is a resource: a task moves only while it
//! owns one, gives it up when it suspends, and keeps it through a synchronous call however long that blocks.

use std::sync::Arc;
use std::task::Waker;

use smallvec::SmallVec;

use super::kernel::Pid;
use super::operation::{Op, OpId, Outcome, Owner, Pending, Ret, Stage};
use super::state::{Choice, Phase, State, Task, TaskFuture, TaskId};
use crate::oracle::{Violation, ViolationKind};
use crate::world::{Errno, Error, Kinds, Thread, What};

/// What an announcement came to.
pub(crate) enum Announced {
    /// There was nothing to choose, and here is the result.
    Done(Ret),
    /// The engine will say when.
    Waits(OpId),
}

impl State {
    /// A new task; its future is handed to the machine with the next [`fresh`](State::fresh).
    pub(crate) fn new_task(&mut self, pid: Pid, name: Arc<str>, thread: Thread, future: TaskFuture) -> TaskId {
        let id = self.tasks.len() as TaskId;
        // A section runs for the task that gave it away: it starts with that task's past.
        let parent = self.current;
        let past = parent.map_or(0, |parent| self.tasks[parent as usize].past);
        let home = self.vacant_slot();
        self.tasks.push(Task {
            pid,
            name,
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
            joiners: SmallVec::new(),
            announced: 0,
            past,
            completed: false,
        });
        self.fresh.push((id, future));
        if !self.acts(pid) {
            // Spawned by a destructor of the dead: dropped without having run.
            self.tasks[id as usize].phase = Phase::Dead;
            self.doomed.push(id);
            return id;
        }
        self.live += 1;
        // An executor that shuts down drops what is spawned on it now.
        self.tasks[id as usize].aborting = self.hosts[pid as usize].ending.is_some() && thread == Thread::Worker;
        let host = &mut self.hosts[pid as usize];
        match thread {
            Thread::Worker => host.worker_tasks += 1,
            Thread::Pool => host.pool_tasks += 1,
            Thread::Own => {}
        }
        if self.wants(Kinds::TASKS) {
            let name = self.tasks[id as usize].name.clone();
            self.emit(pid, Some(id), What::TaskStarted { name, thread, parent });
        }
        if thread != Thread::Pool {
            self.schedule(id);
        }
        id
    }

    /// A task that has something to do gets its thread, or stands in line for one. With no more tasks than workers there is nothing to
    /// choose; otherwise who gets the next idle worker is a step of its own.
    fn schedule(&mut self, id: TaskId) {
        let task = &mut self.tasks[id as usize];
        let host = &mut self.hosts[task.pid as usize];
        if task.has_thread || task.thread == Thread::Own {
            task.has_thread = true;
        } else if host.worker_tasks <= host.workers {
            debug_assert!(host.idle > 0, "fewer tasks than workers, and none is idle");
            host.idle -= 1;
            task.has_thread = true;
        } else {
            task.phase = Phase::Ready;
            host.ready.push(id);
            let pid = task.pid;
            self.feed(pid);
            return;
        }
        task.phase = Phase::Scheduled;
        self.run_queue.push_back(id);
    }

    /// Keeps the list of processes that could resume a task.
    fn feed(&mut self, pid: Pid) {
        let host = &mut self.hosts[pid as usize];
        // Fewer tasks than before: those in line need not be chosen any more.
        while host.idle > 0 && host.worker_tasks <= host.workers && !host.ready.is_empty() {
            let id = host.ready.remove(0);
            host.idle -= 1;
            let task = &mut self.tasks[id as usize];
            (task.has_thread, task.phase) = (true, Phase::Scheduled);
            self.run_queue.push_back(id);
        }
        let hungry = host.alive && host.idle > 0 && !host.ready.is_empty();
        match self.hungry.binary_search(&pid) {
            Ok(at) if !hungry => drop(self.hungry.remove(at)),
            Err(at) if hungry => self.hungry.insert(at, pid),
            _ => {}
        }
    }

    /// The engine gave a worker to a task that is in line for one.
    pub(crate) fn resume(&mut self, id: TaskId) {
        let task = &mut self.tasks[id as usize];
        let host = &mut self.hosts[task.pid as usize];
        host.ready.retain(|&other| other != id);
        host.idle -= 1;
        (task.has_thread, task.phase) = (true, Phase::Scheduled);
        self.run_queue.push_back(id);
        let pid = task.pid;
        self.feed(pid);
    }

    /// Something that the task waits for has happened.
    pub(crate) fn wake(&mut self, id: TaskId) {
        let task = &mut self.tasks[id as usize];
        match task.phase {
            Phase::Running => task.poll_again = true,
            Phase::Suspended if task.occupied.is_none() => self.schedule(id),
            _ => {}
        }
    }

    fn give_thread_up(&mut self, id: TaskId) {
        let task = &mut self.tasks[id as usize];
        if !std::mem::take(&mut task.has_thread) {
            return;
        }
        let (pid, thread) = (task.pid, task.thread);
        match thread {
            Thread::Worker => {
                self.hosts[pid as usize].idle += 1;
                self.feed(pid);
            }
            Thread::Pool => {
                self.hosts[pid as usize].pool_idle += 1;
                self.serve_pool(pid);
            }
            Thread::Own => {}
        }
    }

    /// Idle blocking threads take what has been in the queue longest.
    fn serve_pool(&mut self, pid: Pid) {
        let host = &mut self.hosts[pid as usize];
        while host.pool_idle > 0
            && let Some(id) = host.pool_queue.pop_front()
        {
            host.pool_idle -= 1;
            let task = &mut self.tasks[id as usize];
            (task.has_thread, task.phase) = (true, Phase::Scheduled);
            self.run_queue.push_back(id);
        }
    }

    /// A section joins the queue of the pool.
    pub(crate) fn enqueue_section(&mut self, id: TaskId) {
        let pid = self.tasks[id as usize].pid;
        self.hosts[pid as usize].pool_queue.push_back(id);
        self.serve_pool(pid);
    }

    /// Before a poll.
    #[inline(always)]
    pub(crate) fn enter(&mut self, id: TaskId) {
        let task = &mut self.tasks[id as usize];
        debug_assert!(task.has_thread && task.phase == Phase::Scheduled);
        (task.phase, task.poll_again) = (Phase::Running, false);
        self.current = Some(id);
    }

    /// After a poll that came to no end. `true`: poll again at once.
    #[inline(always)]
    pub(crate) fn leave_pending(&mut self, id: TaskId) -> bool {
        self.current = None;
        let task = &mut self.tasks[id as usize];
        if task.phase != Phase::Running {
            return false; // killed while it was polled, by its own act
        }
        let woken = std::mem::take(&mut task.poll_again);
        if woken && task.occupied.is_none() {
            (task.phase, self.current) = (Phase::Running, Some(id));
            return true;
        }
        task.phase = Phase::Suspended;
        if !self.ops[task.home as usize].live && task.others.is_empty() {
            let name = self.task_name(id);
            self.violate(Violation::new(
                ViolationKind::ForeignAwait,
                format!(
                    "{name} waits for something that is no operation of the World: the simulation cannot know what"
                ),
            ));
        } else if task.occupied.is_none() && task.thread == Thread::Worker {
            self.give_thread_up(id);
            if self.hosts[self.tasks[id as usize].pid as usize].ending.is_some() {
                self.doom(id);
            }
        }
        false
    }

    /// The future of a task is gone: it ended, or it was dropped.
    pub(crate) fn finished(&mut self, id: TaskId, completed: bool) {
        self.current = None;
        let task = &mut self.tasks[id as usize];
        if matches!(task.phase, Phase::Finished | Phase::Dead) {
            return;
        }
        (task.phase, task.completed) = (Phase::Finished, completed);
        let (pid, thread, past) = (task.pid, task.thread, task.past);
        let joiners = std::mem::take(&mut task.joiners);
        self.live -= 1;
        let host = &mut self.hosts[pid as usize];
        match thread {
            Thread::Worker => host.worker_tasks -= 1,
            Thread::Pool => host.pool_tasks -= 1,
            Thread::Own => {}
        }
        host.ready.retain(|&other| other != id);
        // Another destructor, or one of its own, may have woken it while it was being dropped.
        self.run_queue.retain(|&other| other != id);
        self.give_thread_up(id);
        self.feed(pid);
        if self.wants(Kinds::TASKS) {
            self.emit(pid, Some(id), What::TaskEnded { completed });
        }
        for op in joiners {
            if let Some(Owner::Task(joiner)) = self.pending(op).map(|p| p.owner) {
                self.remember_value(joiner, past);
            }
            self.complete(op, Ok(Ret::Flag(completed)));
        }
        self.task_of_process_ended(pid, id, completed);
    }

    /// Mixes something that a task has learnt into its past.
    pub(crate) fn remember_value(&mut self, id: TaskId, value: u64) {
        if self.remember {
            let task = &mut self.tasks[id as usize];
            task.past = super::fingerprint::mix(task.past, value);
        }
    }

    /// The future of a task is to be dropped as soon as nobody holds the state.
    pub(crate) fn doom(&mut self, id: TaskId) {
        let task = &self.tasks[id as usize];
        if task.phase != Phase::Finished {
            self.doomed.push(id);
        }
    }

    /// Aborts a task: it is dropped when it would next get a thread, which for a suspended one is now a question of getting one.
    pub(crate) fn abort(&mut self, id: TaskId) {
        let task = &mut self.tasks[id as usize];
        if !matches!(task.phase, Phase::Finished | Phase::Dead) && task.thread == Thread::Worker {
            task.aborting = true;
            self.wake(id);
        }
    }

    // ---- announcements --------------------------------------------------------------------------------------------------------

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
    fn vacant_slot(&mut self) -> u32 {
        self.free_ops.pop().unwrap_or_else(|| {
            self.ops.push(Pending::vacant());
            (self.ops.len() - 1) as u32
        })
    }

    /// Puts an operation into a slot.
    #[inline(always)]
    fn fill(&mut self, slot: u32, owner: Owner, op: Op, seq: u32, waker: Option<Waker>) -> OpId {
        let pending = &mut self.ops[slot as usize];
        debug_assert!(!pending.live && pending.place.is_none() && !pending.blocks);
        pending.generation += 1;
        (pending.owner, pending.op, pending.waker, pending.live) = (owner, op, waker, true);
        (pending.stage, pending.seq) = (Stage::Announced, seq);
        OpId { slot, generation: pending.generation }
    }

    /// Announces what a process does as a whole.
    pub(crate) fn announce_of_process(&mut self, pid: Pid, op: Op) {
        let slot = self.vacant_slot();
        let id = self.fill(slot, Owner::Process(pid), op, 0, None);
        self.enable(id);
    }

    /// Whether a future of the running task must wait because a synchronous call of another one keeps the thread; if so,
    /// it is polled again when that has returned.
    #[inline(always)]
    pub(crate) fn thread_is_occupied(&mut self, by_other_than: Option<OpId>, waker: &Waker) -> bool {
        let id = self.current();
        let task = &mut self.tasks[id as usize];
        if task.occupied.is_none() || task.occupied == by_other_than {
            return false;
        }
        task.deferred.push(waker.clone());
        task.has_deferred = true;
        true
    }

    /// The first poll of an operation.
    #[inline(always)]
    pub(crate) fn announce(&mut self, op: Op, waker: &Waker) -> Announced {
        let id = self.current();
        if op.may_need_no_step()
            && let Some(ret) = self.immediately(id, &op)
        {
            return Announced::Done(ret);
        }
        let (synchronous, waits) = (op.is_synchronous(), op.may_have_to_wait());
        let waker = self.others_waker(waker);
        let task = &mut self.tasks[id as usize];
        let (home, seq) = (task.home, task.announced);
        task.announced += 1;
        let op = if self.ops[home as usize].live {
            let slot = self.vacant_slot();
            let op = self.fill(slot, Owner::Task(id), op, seq, waker);
            self.tasks[id as usize].others.push(op);
            op
        } else {
            self.fill(home, Owner::Task(id), op, seq, waker)
        };
        if synchronous {
            self.tasks[id as usize].occupied = Some(op);
        }
        if waits {
            self.watch(op)
        } else {
            self.enable(op)
        }
        Announced::Waits(op)
    }

    /// A waker that is to be woken: that of a future within a task, which somebody else polls.
    #[inline(always)]
    fn others_waker(&self, waker: &Waker) -> Option<Waker> {
        let ours = self.polls.as_ref().is_some_and(|polls| polls.will_wake(waker));
        (!ours).then(|| waker.clone())
    }

    /// A later poll: the result, if it has acted. An error names what it was about.
    #[inline(always)]
    pub(crate) fn fetch(&mut self, id: OpId, waker: &Waker) -> Option<Result<Ret, Error>> {
        let pending = &mut self.ops[id.slot as usize];
        debug_assert!(pending.live && pending.generation == id.generation, "it lives until it is fetched or dropped");
        if pending.stage != Stage::Acted {
            if !pending.waker.as_ref().is_some_and(|w| w.will_wake(waker)) {
                self.ops[id.slot as usize].waker = self.others_waker(waker);
            }
            return None;
        }
        let outcome = std::mem::replace(&mut pending.outcome, Ok(Ret::Unit));
        // It has been in no list since it acted.
        (pending.live, pending.waker) = (false, None);
        let Owner::Task(task) = pending.owner else { unreachable!("processes fetch nothing") };
        self.free(id, task);
        Some(outcome.map_err(|errno| self.error(id, task, errno)))
    }

    #[cold]
    fn error(&self, id: OpId, task: TaskId, errno: Errno) -> Error {
        let op = &self.ops[id.slot as usize].op;
        Error::new(errno, op.name(), self.subject_of_error(self.tasks[task as usize].pid, op))
    }

    /// The slot of an operation of a task is free again. A task keeps its home.
    #[inline(always)]
    fn free(&mut self, id: OpId, task: TaskId) {
        let task = &mut self.tasks[task as usize];
        if task.home != id.slot {
            task.others.retain(|other| *other != id);
            self.free_ops.push(id.slot);
        }
    }

    /// Takes an operation out of every list.
    pub(crate) fn forget(&mut self, id: OpId) {
        self.disable(id);
        self.no_longer_blocks(id);
        let pending = &mut self.ops[id.slot as usize];
        (pending.live, pending.waker) = (false, None);
        match pending.owner {
            Owner::Process(_) => self.free_ops.push(id.slot),
            Owner::Task(task) => {
                self.free(id, task);
                if self.tasks[task as usize].occupied == Some(id) {
                    self.tasks[task as usize].occupied = None;
                    self.end_occupation(task);
                }
            }
        }
    }

    fn end_occupation(&mut self, id: TaskId) {
        let task = &mut self.tasks[id as usize];
        if std::mem::take(&mut task.has_deferred) {
            let deferred = std::mem::take(&mut task.deferred);
            task.poll_again = true;
            // Wakers of FuturesUnordered and its like: they only mark which future to poll.
            deferred.iter().for_each(Waker::wake_by_ref);
        }
    }

    /// An operation has its result; its task is told.
    pub(crate) fn complete(&mut self, id: OpId, outcome: Outcome) {
        if self.pending(id).is_some()
            && let Some(task) = self.conclude(id, outcome)
        {
            self.wake(task);
        }
    }

    /// The same for a system call of a task, which has kept its thread: the task, if it can be polled at once.
    #[inline(always)]
    pub(crate) fn return_from_call(&mut self, id: OpId, outcome: Outcome) -> Option<TaskId> {
        let id = self.conclude(id, outcome)?;
        let task = &mut self.tasks[id as usize];
        if task.phase == Phase::Suspended {
            debug_assert!(task.has_thread && task.occupied.is_none());
            task.phase = Phase::Scheduled;
            return Some(id);
        }
        self.wake(id);
        None
    }

    /// Leaves the result of an operation for its task to fetch: the task.
    #[inline(always)]
    fn conclude(&mut self, id: OpId, outcome: Outcome) -> Option<TaskId> {
        let pending = &mut self.ops[id.slot as usize];
        let Owner::Task(task_id) = pending.owner else { return None };
        if self.remember {
            // Its arguments too: what tasks share beside the World shows in what they ask for.
            let value = super::fingerprint::hash(&(pending.seq, &pending.op, &outcome));
            let task = &mut self.tasks[task_id as usize];
            task.past = super::fingerprint::mix(task.past, value);
        }
        (pending.stage, pending.outcome) = (Stage::Acted, outcome);
        if let Some(waker) = &pending.waker {
            waker.wake_by_ref();
        }
        if let Some(place) = pending.place.take() {
            self.close_gap(place);
        }
        let task = &mut self.tasks[task_id as usize];
        if task.occupied == Some(id) {
            task.occupied = None;
            self.end_occupation(task_id);
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

    /// How many of them, the last ones, are faults.
    pub(crate) fn fault_count(&self) -> usize {
        self.fault_choices.len()
    }

    /// The choice at a position.
    #[inline(always)]
    pub(crate) fn choice(&self, mut at: usize) -> Choice {
        for list in [&self.enabled, &self.due] {
            match list.get(at) {
                Some(&op) => return Choice::Act(op),
                None => at -= list.len(),
            }
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
