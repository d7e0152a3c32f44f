//! What the tasks of one process share in memory: semaphores, mutexes, notifications.
//!
//! First-in first-out where tokio's are. Joining a queue is the act; being granted something later happens in the step of whoever
//! releases it.

use std::collections::VecDeque;
use std::sync::Arc;

use super::depend::{Access, Resource};
use super::kernel::Pid;
use super::operation::{Op, OpId, Owner, Ret, Stage};
use super::state::{State, TaskId};
use crate::world::{Kinds, What};

#[derive(Debug)]
pub(crate) struct Semaphore {
    pub(crate) pid: Pid,
    pub(crate) name: Arc<str>,
    pub(crate) total: u32,
    pub(crate) free: u32,
    /// Who has how many; for the wait-for graph.
    pub(crate) holders: Vec<(TaskId, u32)>,
    pub(crate) queue: VecDeque<(OpId, u32)>,
}

/// Of either kind; `queue` for waiters that suspend, `blocked` for those that block their thread, of whom any may be next.
#[derive(Debug)]
pub(crate) struct Mutex {
    pub(crate) pid: Pid,
    pub(crate) name: Arc<str>,
    pub(crate) holder: Option<TaskId>,
    pub(crate) queue: VecDeque<OpId>,
    pub(crate) blocked: Vec<OpId>,
    /// Hash of what it guards, if that is told; otherwise of the pasts of all who had it, who have made it what it is.
    pub(crate) past: u64,
    /// Whether that is told.
    pub(crate) is_of_value: bool,
}

#[derive(Debug)]
pub(crate) struct Notify {
    pub(crate) pid: Pid,
    pub(crate) name: Arc<str>,
    /// A notification that found nobody waiting.
    pub(crate) stored: bool,
    pub(crate) queue: VecDeque<OpId>,
}

impl State {
    fn owner_task(&self, id: OpId) -> TaskId {
        match self.pending(id).map(|p| p.owner) {
            Some(Owner::Task(task)) => task,
            other => unreachable!("tasks wait in queues, not {other:?}"),
        }
    }

    pub(crate) fn queue_up(&mut self, id: OpId) {
        self.disable(id);
        self.ops[id.slot as usize].stage = Stage::Queued;
    }

    // ---- semaphores -----------------------------------------------------------------------------------------------------------

    /// `acquire`: takes the permits, or joins the queue.
    pub(crate) fn acquire(&mut self, id: OpId, semaphore: u32, permits: u32) {
        let s = &self.semaphores[semaphore as usize];
        if s.queue.is_empty() && s.free >= permits {
            self.grant_permits(id, semaphore, permits);
        } else {
            self.semaphores[semaphore as usize].queue.push_back((id, permits));
            self.queue_up(id);
        }
    }

    pub(crate) fn grant_permits(&mut self, id: OpId, semaphore: u32, permits: u32) {
        let task = self.owner_task(id);
        let s = &mut self.semaphores[semaphore as usize];
        s.free -= permits;
        s.holders.push((task, permits));
        if self.wants(Kinds::MEMORY) {
            let s = &self.semaphores[semaphore as usize];
            let (pid, name) = (s.pid, s.name.clone());
            self.emit(pid, Some(task), What::Acquired { name, permits });
        }
        self.complete(id, Ok(Ret::Number(u64::from(task))));
    }

    /// A permit is dropped; `holder` is who it was granted to.
    pub(crate) fn release_permits(&mut self, semaphore: u32, holder: TaskId, permits: u32) {
        self.touch(Resource::Semaphore(semaphore), Access::Write);
        let s = &mut self.semaphores[semaphore as usize];
        let pid = s.pid;
        if !self.acts(pid) {
            return;
        }
        let s = &mut self.semaphores[semaphore as usize];
        s.free += permits;
        if let Some(at) = s.holders.iter().position(|&h| h == (holder, permits)) {
            s.holders.swap_remove(at);
        }
        if self.wants(Kinds::MEMORY) {
            let name = self.semaphores[semaphore as usize].name.clone();
            self.emit(pid, self.current, What::Released { name, permits });
        }
        self.serve_semaphore(semaphore);
    }

    fn serve_semaphore(&mut self, semaphore: u32) {
        while let Some(&(id, permits)) = self.semaphores[semaphore as usize].queue.front()
            && self.semaphores[semaphore as usize].free >= permits
        {
            self.semaphores[semaphore as usize].queue.pop_front();
            self.grant_permits(id, semaphore, permits);
        }
    }

    pub(crate) fn leave_semaphore(&mut self, id: OpId, semaphore: u32) {
        self.touch(Resource::Semaphore(semaphore), Access::Write);
        self.semaphores[semaphore as usize].queue.retain(|&(other, _)| other != id);
        self.serve_semaphore(semaphore); // it may have stood before one that asks for less
    }

    // ---- mutexes --------------------------------------------------------------------------------------------------------------

    /// `lock`: takes the mutex, or joins the queue.
    pub(crate) fn lock_mutex(&mut self, id: OpId, mutex: u32) {
        let m = &mut self.mutexes[mutex as usize];
        if m.holder.is_none() && m.queue.is_empty() {
            self.grant_mutex(id, mutex);
        } else {
            m.queue.push_back(id);
            self.queue_up(id);
        }
    }

    pub(crate) fn grant_mutex(&mut self, id: OpId, mutex: u32) {
        let task = self.owner_task(id);
        let m = &mut self.mutexes[mutex as usize];
        m.holder = Some(task);
        m.blocked.retain(|&other| other != id);
        let (pid, past) = (m.pid, m.past);
        self.remember_value(task, past);
        if self.wants(Kinds::MEMORY) {
            let name = self.mutexes[mutex as usize].name.clone();
            self.emit(pid, Some(task), What::MutexLocked { name });
        }
        self.complete(id, Ok(Ret::Unit));
        self.review_blocked(mutex);
    }

    /// A guard is dropped. `known_by`: the hash of what it guards, if that is told and may have changed.
    pub(crate) fn release_mutex(&mut self, mutex: u32, known_by: Option<u64>) {
        self.touch(Resource::Mutex(mutex), Access::Write);
        let pid = self.mutexes[mutex as usize].pid;
        if !self.acts(pid) {
            return;
        }
        let holder = self.mutexes[mutex as usize].holder.take();
        if let Some(holder) = holder.filter(|_| self.remember) {
            let past = self.tasks[holder as usize].past;
            let m = &mut self.mutexes[mutex as usize];
            match known_by {
                Some(value) => m.past = value,
                None if m.is_of_value => {}
                None => m.past = super::fingerprint::mix(m.past, past),
            }
        }
        if self.wants(Kinds::MEMORY) {
            let name = self.mutexes[mutex as usize].name.clone();
            self.emit(pid, self.current, What::MutexUnlocked { name });
        }
        if let Some(next) = self.mutexes[mutex as usize].queue.pop_front() {
            self.grant_mutex(next, mutex);
        }
        self.review_blocked(mutex);
    }

    /// Those who block their thread for it can go on as soon as nobody has it, in any order.
    pub(crate) fn review_blocked(&mut self, mutex: u32) {
        let list = std::mem::take(&mut self.mutexes[mutex as usize].blocked);
        for &id in &list {
            self.evaluate(id);
        }
        self.mutexes[mutex as usize].blocked = list;
    }

    // ---- notifications --------------------------------------------------------------------------------------------------------

    /// `notified`: takes the notification that is remembered, or stands in line.
    pub(crate) fn stand_in_line(&mut self, id: OpId, notify: u32) {
        self.touch(Resource::Notify(notify), Access::Write);
        let n = &mut self.notifies[notify as usize];
        if std::mem::take(&mut n.stored) {
            // It was meant for one, as one that is handed over: see `pass_notification_on`.
            self.complete(id, Ok(Ret::Flag(true)));
        } else {
            n.queue.push_back(id);
            self.queue_up(id);
        }
    }

    /// A task that polled its `notified` once, by hand, and goes on with something else relies on standing in line from that poll on (S4).
    /// Nobody has done anything since.
    pub(crate) fn stand_in_line_at_once(&mut self, id: OpId) {
        let pending = self.pending(id).map(|pending| (&pending.op, pending.stage));
        if let Some((&Op::Notified { notify }, Stage::Announced)) = pending {
            self.disable(id);
            self.stand_in_line(id, notify);
        }
    }

    /// `notify_one` or `notify_all`; how many were woken.
    pub(crate) fn notify(&mut self, notify: u32, all: bool) -> u32 {
        self.touch(Resource::Notify(notify), Access::Write);
        let n = &mut self.notifies[notify as usize];
        let count = if all { n.queue.len() } else { n.queue.len().min(1) };
        let woken: Vec<OpId> = n.queue.drain(..count).collect();
        n.stored |= !all && woken.is_empty();
        for &id in &woken {
            self.complete(id, Ok(Ret::Flag(!all)));
        }
        if self.wants(Kinds::MEMORY) {
            let n = &self.notifies[notify as usize];
            let (pid, name) = (n.pid, n.name.clone());
            self.emit(pid, self.current, What::Notified { name, woken: count as u32 });
        }
        count as u32
    }

    /// The future of a notified task was dropped before it saw the notification: it goes to the next, or is stored, as with tokio's. So
    /// does one that had been stored: tokio's are taken in the poll that returns, and here the task may have to wait for a worker first.
    pub(crate) fn pass_notification_on(&mut self, notify: u32) {
        self.notify(notify, false);
    }
}
