//! What each operation does: whether it has to be chosen at all, when it could act, and the act; that of system calls is in `calls`.

use super::depend::Resource;
use super::kernel::Ino;
use super::operation::{Large, Op, OpId, Owner, Pending, Ret, Stage};
use super::state::{State, Task, TaskId, Time};
use crate::world::{Kinds, LockMode, Thread, What};

impl State {
    /// Operations in which there is nothing to choose are done at their announcement.
    pub(crate) fn immediately(&mut self, id: TaskId, op: &Op) -> Option<Ret> {
        // A little earlier it would have had to wait, and its worker would have been free for others.
        self.touch_scarce_threads(self.tasks[id as usize].pid);
        match *op {
            // Those that are waited for together have been looked at together.
            Op::Join { task, group: 0 } => {
                let ended = self.has_ended(task);
                self.touch(Resource::End(task), self.access_of_end(id, ended));
                let Task { past, completed, .. } = self.tasks[task as usize];
                ended.then(|| {
                    self.remember_value(id, past);
                    self.remember_value(id, completed.into());
                    Ret::Flag(completed)
                })
            }
            Op::Wait { pid } => {
                let has_ended = self.hosts[pid as usize].status.is_some();
                self.touch(Resource::Ended(pid), self.access_of_end(id, has_ended));
                self.child_output(pid).map(|output| Large::Output(output).into())
            }
            Op::Choose { of: 1 } => Some(Ret::Number(0)),
            _ => None,
        }
    }

    /// Puts a fresh announcement where it will be found.
    pub(crate) fn watch(&mut self, id: OpId) {
        let Pending { owner, op, .. } = &self.ops[id.slot as usize];
        let Owner::Task(task) = *owner else { return self.enable(id) };
        let pid = self.tasks[task as usize].pid;
        match *op {
            Op::Flock { fd, mode, .. } => {
                let (inode, could) = self.kernel.lock_asked_by(pid, fd, mode, task);
                self.watch_inode(id, inode);
                // Whoever wants to know of waits is told of this one as soon as somebody else is faster, and is not if that was before.
                self.touch_whoever_hears_of(Kinds::LOCK_WAITS);
                if could { self.enable(id) } else { self.lock_waits(id, pid, task, fd, mode) }
            }
            Op::Read { fd, .. } | Op::Write { fd, .. } => {
                if let Some(pipe) = self.kernel.pipe_used_by(pid, fd, task) {
                    self.watch_pipe(id, pipe);
                } else {
                    self.enable(id);
                }
            }
            Op::LockThread { mutex } => {
                self.mutexes[mutex as usize].blocked.push(id);
                self.evaluate(id);
            }
            Op::Join { task, .. } => {
                self.tasks[task as usize].joiners.push(id);
                self.queue_up(id);
            }
            // To stand in line is a step, as with everything that has a line: what was looked at before may be different by then.
            Op::Notified { .. } if self.ops_of(task).count() == 1 => self.enable(id),
            Op::Notified { notify } => self.stand_in_line(id, notify),
            Op::Wait { pid } => {
                self.hosts[pid as usize].waiters.push(id);
                self.queue_up(id);
            }
            Op::Sleep { .. } if self.time == Time::Free => self.enable(id),
            Op::Sleep { due } | Op::Deadline { due } => {
                self.is_plain = false;
                self.timers.insert((due, id));
            }
            Op::Section { task: section } => {
                self.touch_scarce_threads(pid);
                let host = &self.hosts[pid as usize];
                // With threads for everybody, the order of the queue is nobody's concern.
                let scarce = host.worker_tasks + host.pool_tasks > host.pool;
                if scarce && self.tasks[section as usize].thread == Thread::Pool {
                    self.enable(id);
                } else {
                    self.begin_section(id, section);
                }
            }
            _ => self.enable(id),
        }
    }

    /// A flock(2) blocks its thread from here on.
    fn lock_waits(&mut self, id: OpId, pid: u32, task: TaskId, fd: u32, mode: LockMode) {
        let thread = self.tasks[task as usize].thread;
        if thread == Thread::Worker {
            self.blocks(id, pid);
        }
        if self.wants(Kinds::LOCK_WAITS)
            && let Ok((path, file, _)) = self.kernel.describe(pid, fd)
        {
            self.emit(pid, Some(task), What::LockWait { path, descriptor: fd, file, mode, thread });
        }
    }

    fn begin_section(&mut self, id: OpId, section: TaskId) {
        self.queue_up(id);
        self.tasks[section as usize].joiners.push(id);
        if self.tasks[section as usize].thread == Thread::Pool {
            self.enqueue_section(section);
        }
    }

    pub(crate) fn watch_pipe(&mut self, id: OpId, pipe: Ino) {
        self.watch_inode(id, pipe);
        self.evaluate(id);
    }

    fn watch_inode(&mut self, id: OpId, ino: Ino) {
        if self.watching.len() <= ino as usize {
            self.watching.resize_with(ino as usize + 1, Vec::new);
        }
        self.watching[ino as usize].push(id);
        self.ops[id.slot as usize].watches = Some(ino);
    }

    /// It is told of no more changes.
    #[inline(always)]
    pub(crate) fn unwatch_inode(&mut self, id: OpId) {
        if let Some(ino) = self.ops[id.slot as usize].watches.take() {
            self.watching[ino as usize].retain(|&other| other != id);
        }
    }

    /// Looks whether an announced operation could act now, and keeps the list of those that could.
    pub(crate) fn evaluate(&mut self, id: OpId) -> bool {
        let Some(Pending { owner: Owner::Task(task), op, stage: Stage::Announced, place, .. }) = self.pending(id)
        else {
            return false;
        };
        let (task, was_enabled) = (*task, place.is_some());
        let pid = self.tasks[task as usize].pid;
        let mut blocks = None;
        let could = match *op {
            Op::Flock { fd, mode, converted } => {
                // The attempt of a conversion can always be made; what it leads to may have to wait.
                let attempt = !converted && self.kernel.lock_mode(pid, fd).is_some_and(|held| held != mode);
                blocks = Some((fd, mode));
                attempt || self.kernel.can_lock(pid, fd, mode)
            }
            Op::Read { fd, .. } => self.kernel.can_read(pid, fd),
            Op::Write { fd, data } => self.kernel.can_write(pid, fd, self.written.bytes(&data).len()),
            Op::LockThread { mutex } => self.mutexes[mutex as usize].holder.is_none(),
            _ => true,
        };
        if could {
            self.enable(id);
        } else {
            self.disable(id);
            // It was about to be granted, and somebody else was faster.
            if let Some((fd, mode)) = blocks.filter(|_| was_enabled) {
                self.lock_waits(id, pid, task, fd, mode);
            }
        }
        could
    }

    /// The engine chose this operation: it acts. `choose` picks among the alternatives that some operations have.
    /// Returns the task, if it is to be polled before anything else.
    #[inline(always)]
    pub(crate) fn act(&mut self, id: OpId, choose: &mut dyn FnMut(u32) -> u32) -> Option<TaskId> {
        let pending = &self.ops[id.slot as usize];
        let goes_on = match (pending.owner, &pending.op) {
            (Owner::Task(task), op) if op.is_system_call() => self.system_call(id, task),
            _ => {
                self.attribute_to(id);
                self.act_slowly(id, choose);
                None
            }
        };
        self.settle();
        goes_on
    }

    fn act_slowly(&mut self, id: OpId, choose: &mut dyn FnMut(u32) -> u32) {
        let pending = &self.ops[id.slot as usize];
        match (pending.owner, &pending.op) {
            (Owner::Process(_), &Op::Exec { child }) => {
                self.forget(id);
                self.exec_child(child);
            }
            (Owner::Process(_), &Op::Die { pid }) => {
                if !self.close_next(pid) {
                    self.forget(id);
                    self.process_ended(pid);
                }
            }
            (Owner::Process(_), op) => unreachable!("{op:?} is no operation of a process"),
            (Owner::Task(task), _) => self.act_in_process(id, task, choose),
        }
    }

    /// What happens among the tasks of a process, and around it.
    fn act_in_process(&mut self, id: OpId, task: TaskId, choose: &mut dyn FnMut(u32) -> u32) {
        let op = self.ops[id.slot as usize].op;
        match op {
            Op::Acquire { semaphore, permits } => self.acquire(id, semaphore, permits),
            Op::TryAcquire { semaphore, permits } => {
                let s = &self.semaphores[semaphore as usize];
                if s.queue.is_empty() && s.free >= permits {
                    self.grant_permits(id, semaphore, permits);
                } else {
                    self.complete(id, Ok(Ret::Unit));
                }
            }
            Op::LockMutex { mutex } => self.lock_mutex(id, mutex),
            Op::LockThread { mutex } => self.grant_mutex(id, mutex),
            Op::Notified { notify } => self.stand_in_line(id, notify),
            Op::Notify { notify, all } => {
                self.notify(notify, all);
                self.complete(id, Ok(Ret::Unit));
            }
            Op::Section { task: section } => self.begin_section(id, section),
            Op::Sleep { due } | Op::Deadline { due } => {
                self.timers.remove(&(due, id));
                self.dials.pass(due);
                let what = if matches!(op, Op::Sleep { .. }) { What::Slept } else { What::TimedOut };
                self.emit(self.tasks[task as usize].pid, Some(task), what);
                self.complete(id, Ok(Ret::Unit));
            }
            Op::Choose { of } => {
                let value = choose(of);
                self.emit(self.tasks[task as usize].pid, Some(task), What::Chose { value, of });
                self.complete(id, Ok(Ret::Number(value.into())));
            }
            Op::Yield => self.complete(id, Ok(Ret::Unit)),
            Op::Fork { launch } => {
                let command = self.launches[launch].clone();
                self.fork_child(id, task, &command);
            }
            op => unreachable!("{op:?} is a system call"),
        }
    }

    /// The future of an operation was dropped.
    pub(crate) fn retract(&mut self, id: OpId) {
        let Some(pending) = self.pending(id) else { return };
        let (owner, stage, op) = (pending.owner, pending.stage, pending.op);
        let outcome = pending.outcome.clone();
        let Owner::Task(task) = owner else { return };
        let pid = self.tasks[task as usize].pid;
        if !self.acts(pid) {
            return self.forget(id);
        }
        if stage != Stage::Acted {
            self.touch_in_vain(task, &op);
        }
        self.forget(id);
        match (op, stage) {
            (Op::Acquire { semaphore, permits } | Op::TryAcquire { semaphore, permits }, Stage::Acted) => {
                if let Ok(Ret::Number(holder)) = outcome {
                    self.release_permits(semaphore, holder as TaskId, permits);
                }
            }
            (Op::Acquire { semaphore, .. }, Stage::Queued) => self.leave_semaphore(id, semaphore),
            (Op::LockMutex { mutex } | Op::LockThread { mutex }, Stage::Acted) => self.release_mutex(mutex, None),
            (Op::LockMutex { mutex } | Op::LockThread { mutex }, _) => {
                self.mutexes[mutex as usize].queue.retain(|&other| other != id);
                self.mutexes[mutex as usize].blocked.retain(|&other| other != id);
            }
            (Op::Notified { notify }, Stage::Acted) if outcome == Ok(Ret::Flag(true)) => {
                self.pass_notification_on(notify);
            }
            (Op::Notified { notify }, Stage::Queued) => {
                self.notifies[notify as usize].queue.retain(|&other| other != id);
            }
            (Op::Join { task: joined, .. } | Op::Section { task: joined }, Stage::Queued) => {
                self.tasks[joined as usize].joiners.retain(|&mut other| other != id);
            }
            // Giving a section away cannot be taken back (T3).
            (Op::Section { task: section }, Stage::Announced) => self.enqueue_section(section),
            (Op::Wait { pid: child }, Stage::Queued) => {
                self.hosts[child as usize].waiters.retain(|&other| other != id);
            }
            (Op::Sleep { due } | Op::Deadline { due }, Stage::Announced) => {
                self.timers.remove(&(due, id));
            }
            _ => {}
        }
        self.settle();
    }
}
