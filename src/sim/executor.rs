//! Tasks, worker threads, blocking threads.
//!
//! The scar: shuttle and its tokio model a task as a thread of its own, so an flock that blocks the only worker passes there in
//! all 145 executions of the smallest program that hangs in production. Here a worker is a resource: a task moves only while it
//! owns one, gives it up when it suspends, and keeps it through a synchronous call however long that blocks.

use std::hash::Hash;
use std::sync::Arc;

use smallvec::SmallVec;

use super::depend::{Access, Resource};
use super::fingerprint::{Wide, hash, unordered};
use super::job::Job;
use super::kernel::Pid;
use super::operation::{Op, OpId, Owner, Pending, Ret, Stage};
use super::state::{Phase, State, Task, TaskId};
use super::tasks::Spawned;
use crate::oracle::{Violation, ViolationKind};
use crate::world::{Kinds, Thread, What};

impl Task {
    /// Whether nothing of it matters any more: what it came to is in the past of whoever asked, or nobody will. A section that has ended is
    /// part of the past of whoever gave it away.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Finished | Phase::Dead) && (self.thread != Thread::Worker || self.is_settled)
    }
}

impl State {
    /// A new task; the machine finds it among the [`fresh`](State::fresh).
    pub(crate) fn new_task(&mut self, pid: Pid, name: Arc<str>, thread: Thread, job: Box<dyn Job>) -> TaskId {
        // A section runs for the task that gave it away: it starts with that task's past.
        let parent = self.current;
        let (past, told) = parent.map_or((0, 0), |parent| {
            let Task { past, told, .. } = self.tasks[parent as usize];
            (past, told)
        });
        let home = self.vacant_slot();
        let (label, alike) = (self.new_label(pid, thread), self.class_of_task(&name, past, thread, &*job));
        let id = self.tasks.add(Spawned { pid, name, parent, thread, home, past, told, label, alike });
        self.note_cause(id);
        self.fresh.push((id, job));
        if !self.acts(pid) {
            // Spawned by a destructor of the dead: dropped without having run.
            self.tasks[id as usize].phase = Phase::Dead;
            self.doomed.push(id);
            return id;
        }
        self.live += 1;
        let host = &mut self.hosts[pid as usize];
        host.births += 1;
        self.tasks[id as usize].birth = host.births;
        // An executor that shuts down drops what is spawned on it now.
        self.tasks[id as usize].aborting = self.hosts[pid as usize].ending.is_some() && thread == Thread::Worker;
        let host = &mut self.hosts[pid as usize];
        match thread {
            Thread::Worker => host.worker_tasks += 1,
            Thread::Pool => host.pool_tasks += 1,
            Thread::Own => {}
        }
        self.touch_scarce_threads(pid);
        if self.wants(Kinds::TASK_STARTS) {
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
        let now = self.moment();
        let task = &mut self.tasks[id as usize];
        let host = &mut self.hosts[task.pid as usize];
        let (pid, needs_one) = (task.pid, !(task.has_thread || task.thread == Thread::Own));
        if needs_one && host.worker_tasks > host.workers {
            (task.phase, task.in_line_since) = (Phase::Ready, now);
            host.ready.push(id);
            self.touch(Resource::Workers(pid), Access::Write);
            self.feed(pid);
            return;
        }
        if needs_one {
            debug_assert!(host.idle > 0, "fewer tasks than workers, and none is idle");
            host.idle -= 1;
        }
        self.give_thread(id);
        self.touch(Resource::Workers(pid), Access::Add);
    }

    /// A task has its thread and will be polled.
    #[inline(always)]
    fn give_thread(&mut self, id: TaskId) {
        let task = &mut self.tasks[id as usize];
        let had_none = !std::mem::replace(&mut task.has_thread, true);
        task.phase = Phase::Scheduled;
        self.run_queue.push_back(id);
        if had_none {
            self.tell_of_holder(id, What::Resumed);
        }
    }

    /// Tells what has become of a task that holds a lock; of others nobody needs to know.
    #[inline(always)]
    fn tell_of_holder(&mut self, id: TaskId, what: What) {
        if self.wants(Kinds::AWAITS) && self.judges.is_holder(id) {
            self.emit(self.tasks[id as usize].pid, Some(id), what);
        }
    }

    /// Keeps the list of processes that could resume a task.
    #[inline(always)]
    fn feed(&mut self, pid: Pid) {
        // With enough workers for everybody there is never a line, and nothing to keep.
        if !(self.hungry.is_empty() && self.hosts[pid as usize].ready.is_empty()) {
            self.feed_those_in_line(pid);
        }
    }

    fn feed_those_in_line(&mut self, pid: Pid) {
        // With its first task a process ends: who is in line for that one's worker does not get it.
        let ends = |main| self.tasks[main as usize].phase == Phase::Finished;
        let ends = self.hosts[pid as usize].main.is_some_and(ends);
        // Fewer tasks than before: those in line need not be chosen any more.
        while let host = &mut self.hosts[pid as usize]
            && !ends
            && host.idle > 0
            && host.worker_tasks <= host.workers
            && !host.ready.is_empty()
        {
            let id = host.ready.remove(0);
            host.idle -= 1;
            self.give_thread(id);
            self.touch(Resource::Workers(pid), Access::Write);
            self.touch(Resource::Task(id), Access::Write);
            self.miss_resumption(id);
        }
        let host = &self.hosts[pid as usize];
        let hungry = host.alive && !ends && host.idle > 0 && !host.ready.is_empty();
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
        let pid = task.pid;
        self.give_thread(id);
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
                self.touch_scarce_threads(pid);
                self.feed(pid);
            }
            Thread::Pool => {
                self.hosts[pid as usize].pool_idle += 1;
                self.serve_pool(pid);
            }
            Thread::Own => {}
        }
    }

    /// Who gets a thread, and when, matters where there are not enough of them.
    #[inline(always)]
    pub(crate) fn touch_scarce_threads(&mut self, pid: Pid) {
        if self.footprint.is_some() {
            self.touch_threads(pid);
        }
    }

    fn touch_threads(&mut self, pid: Pid) {
        let host = &self.hosts[pid as usize];
        let workers = host.worker_tasks > host.workers;
        let pool = host.worker_tasks + host.pool_tasks > host.pool;
        self.touch(Resource::Workers(pid), if workers { Access::Write } else { Access::Add });
        self.touch(Resource::Pool(pid), if pool { Access::Write } else { Access::Add });
    }

    /// Idle blocking threads take what has been in the queue longest.
    fn serve_pool(&mut self, pid: Pid) {
        self.touch_scarce_threads(pid);
        while let host = &mut self.hosts[pid as usize]
            && host.pool_idle > 0
            && let Some(id) = host.pool_queue.pop_front()
        {
            host.pool_idle -= 1;
            self.give_thread(id);
        }
    }

    /// A section joins the queue of the pool.
    pub(crate) fn enqueue_section(&mut self, id: TaskId) {
        let pid = self.tasks[id as usize].pid;
        self.hosts[pid as usize].pool_queue.push_back(id);
        self.serve_pool(pid);
    }

    /// Before a poll. `false`: the task is dropped instead.
    #[inline(always)]
    pub(crate) fn enter(&mut self, id: TaskId) -> bool {
        self.returned = OpId::NONE;
        self.go_on(id)
    }

    /// The same after the return of a system call.
    #[inline(always)]
    pub(crate) fn go_on(&mut self, id: TaskId) -> bool {
        let task = &mut self.tasks[id as usize];
        if task.aborting {
            return false;
        }
        debug_assert!(task.has_thread && task.phase == Phase::Scheduled);
        (task.phase, task.poll_again) = (Phase::Running, false);
        self.current = Some(id);
        self.begin_part(id);
        true
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
        if task.alike.is_some() && task.began_with.is_none() {
            self.check_beginning(id);
        }
        let task = &self.tasks[id as usize];
        if task.occupied.is_some() {
            return false; // in a synchronous call, so it keeps its thread
        }
        self.suspended(id);
        false
    }

    /// A task has been suspended in an await.
    fn suspended(&mut self, id: TaskId) {
        let task = &self.tasks[id as usize];
        if !self.ops[task.home as usize].live && task.others.is_empty() {
            let name = self.task_name(id);
            self.violate(Violation::new(
                ViolationKind::ForeignAwait,
                format!(
                    "{name} waits for something that is no operation of the World: the simulation cannot know what"
                ),
            ));
        } else if task.thread == Thread::Worker {
            let pid = task.pid;
            self.give_thread_up(id);
            self.tell_of_holder(id, What::Suspended);
            if self.hosts[pid as usize].ending.is_some() {
                self.doom(id);
            }
        }
    }

    /// The future of a task is gone: it ended, or it was dropped.
    pub(crate) fn finished(&mut self, id: TaskId, completed: bool) {
        self.current = None;
        let task = &mut self.tasks[id as usize];
        if matches!(task.phase, Phase::Finished | Phase::Dead) {
            return;
        }
        (task.phase, task.completed) = (Phase::Finished, completed);
        let (pid, thread) = (task.pid, task.thread);
        let is_awaited = !task.joiners.is_empty();
        self.live -= 1;
        self.touch_scarce_threads(pid);
        self.touch(Resource::End(id), Access::End);
        let host = &mut self.hosts[pid as usize];
        match thread {
            Thread::Worker => host.worker_tasks -= 1,
            Thread::Pool => host.pool_tasks -= 1,
            Thread::Own => {}
        }
        if !host.ready.is_empty() {
            host.ready.retain(|&other| other != id);
        }
        // Another destructor, or one of its own, may have woken it while it was being dropped.
        if !self.run_queue.is_empty() {
            self.run_queue.retain(|&other| other != id);
        }
        self.give_thread_up(id);
        self.feed(pid);
        self.judges.locks.inherit(id, self.tasks[id as usize].parent);
        self.emit(pid, Some(id), What::TaskEnded { completed });
        if is_awaited {
            self.tell_joiners(id);
        }
        self.task_of_process_ended(pid, id, completed);
    }

    /// The value of a task that has completed is left for whoever takes it.
    pub(crate) fn leave_value(&mut self, id: TaskId, job: Box<dyn Job>) {
        self.tasks[id as usize].job = Some(job);
    }

    /// The value of a task, if it has completed and nobody has taken it.
    pub(crate) fn take_value<T: 'static>(&mut self, id: TaskId) -> Option<T> {
        let task = &mut self.tasks[id as usize];
        task.is_settled = true;
        let mut job = task.job.take()?;
        let value: &mut Option<T> = job.value().downcast_mut().expect("the type that was spawned");
        let value = value.take();
        self.jobs.keep(job);
        value
    }

    /// Nobody will take the value of a task: the job that has it, if it has completed, for its value to be dropped on stage.
    pub(crate) fn detach(&mut self, id: TaskId) -> Option<Box<dyn Job>> {
        let task = &mut self.tasks[id as usize];
        (task.is_detached, task.is_settled) = (true, true);
        task.job.take()
    }

    /// Whoever waits for a task that has ended goes on.
    fn tell_joiners(&mut self, id: TaskId) {
        let task = &mut self.tasks[id as usize];
        let (past, completed) = (task.past, task.completed);
        for op in std::mem::take(&mut task.joiners) {
            let Some(&Pending { owner: Owner::Task(joiner), op: joins, .. }) = self.pending(op) else { continue };
            match joins {
                Op::Join { group, .. } if group > 0 => self.tell_of_one_among_all(joiner, op, group, completed),
                _ => {
                    self.remember_value(joiner, past);
                    self.complete(op, Ok(Ret::Flag(completed)));
                }
            }
        }
    }

    /// One of those has ended that a task waits for together: it is woken by the last.
    fn tell_of_one_among_all(&mut self, joiner: TaskId, op: OpId, group: u32, completed: bool) {
        self.conclude(op, Ok(Ret::Flag(completed)));
        let mut ended = SmallVec::<[TaskId; 8]>::new();
        for Pending { op, stage, .. } in self.ops_of(joiner).filter_map(|op| self.pending(op)) {
            match *op {
                Op::Join { task, group: other } if other == group && *stage == Stage::Acted => ended.push(task),
                Op::Join { group: other, .. } if other == group => return,
                _ => {}
            }
        }
        self.remember_ends(joiner, &ended);
        self.wake(joiner);
    }

    /// The running task is about to wait for all of these together: the number of their group.
    pub(crate) fn begin_to_join(&mut self, tasks: impl Iterator<Item = TaskId>) -> u32 {
        let joiner = self.current();
        self.note_strand(joiner);
        let tasks: SmallVec<[TaskId; 8]> = tasks.collect();
        self.check_joined(&tasks);
        let access = self.access_of_end(joiner, tasks.iter().all(|&task| self.has_ended(task)));
        tasks.iter().for_each(|&task| self.touch(Resource::End(task), access));
        let ended: SmallVec<[TaskId; 8]> = tasks.into_iter().filter(|&task| self.has_ended(task)).collect();
        self.remember_ends(joiner, &ended);
        self.tasks[joiner as usize].announced + 1
    }

    /// Whether there is nothing left to wait for.
    pub(crate) fn has_ended(&self, task: TaskId) -> bool {
        self.tasks[task as usize].phase == Phase::Finished
    }

    /// A task has learnt how these have ended, and not which of them was the last.
    pub(crate) fn remember_ends(&mut self, joiner: TaskId, ended: &[TaskId]) {
        if self.remember && !ended.is_empty() {
            let how = |&task: &TaskId, one: &mut Wide| {
                let Task { past, completed, .. } = self.tasks[task as usize];
                (past, completed).hash(one);
            };
            let all = unordered(ended, how);
            self.remember_value(joiner, hash(&all));
        }
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
        // Also if it has just ended: that could have been a little later.
        self.touch(Resource::Task(id), Access::Write);
        self.note_cause(id);
        let task = &mut self.tasks[id as usize];
        if !matches!(task.phase, Phase::Finished | Phase::Dead) && task.thread == Thread::Worker {
            task.aborting = true;
            self.wake(id);
        }
    }
}
