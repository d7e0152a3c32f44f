//! No worker thread blocks on a lock while a task of the same process is suspended with a lock in its hands.
//!
//! The scar: uv, PR 3525. Task A takes the file lock and awaits; task B asks for one on the same worker thread and blocks it; A is never
//! polled again. With more workers than such waiters it ends well, so it passes every test on a large machine; that this schedule got
//! away with it does not make it less of a bug.
//!
//! It asks the machine which tasks own a thread, because no event tells of an await: of a recording, where the tasks are threads, it
//! has nothing to say.

use std::sync::Arc;

use super::held::HeldLocks;
use super::map::Map;
use super::{Oracle, Violation, ViolationKind, state_of};
use crate::sim::KernelView;
use crate::world::{Event, Kinds, Thread, What};

/// See the [module documentation](self).
#[derive(Debug, Default)]
pub struct BlockingWhileHeld {
    held: HeldLocks<Holder>,
    /// Who blocks a worker: process, task, path.
    blocked: Map<(u32, u32, Arc<str>), ()>,
    judged: u64,
}

/// Who has a lock.
#[derive(Clone, Copy, Debug)]
struct Holder {
    process: u32,
    task: u32,
    since: u64,
}

impl BlockingWhileHeld {
    /// Learns who holds and who blocks what.
    #[inline(never)]
    fn follow(&mut self, event: &Event, kernel: &KernelView<'_>) {
        match (&event.what, event.task) {
            (What::LockWait { path, thread, .. }, Some(task)) => {
                self.judged += 1;
                if *thread == Thread::Worker {
                    self.blocked.insert((event.process, task, path.clone()), ());
                }
            }
            (What::Lock { path, description, blocking, .. }, Some(task)) => {
                self.judged += u64::from(*blocking);
                if !self.blocked.is_empty() {
                    self.blocked.remove(&(event.process, task, path.clone()));
                }
                if self.held.get(*description).is_none() {
                    self.held.insert(*description, path, Holder { process: event.process, task, since: event.step });
                }
            }
            (What::Unlock { description, .. }, _) => drop(self.held.remove(*description)),
            (What::TaskEnded { .. }, Some(task)) => {
                self.blocked.retain(|(_, blocked, _), ()| *blocked != task);
                if let Some(parent) = kernel.tasks.get(task as usize).and_then(|task| task.parent) {
                    let left = self.held.iter_mut().map(|(_, _, holder)| holder).filter(|holder| holder.task == task);
                    left.for_each(|holder| holder.task = parent);
                }
            }
            (What::Ending { .. }, _) => {
                self.blocked.retain(|(process, ..), ()| *process != event.process);
                self.held.retain(|holder| holder.process != event.process);
            }
            _ => {}
        }
    }

    #[inline(never)]
    fn check(&self, event: &Event, kernel: &KernelView<'_>) -> Result<(), Violation> {
        for (process, task, path) in self.blocked.keys() {
            let suspended = |(_, _, holder): &(u64, &Arc<str>, &Holder)| {
                holder.process == *process && holder.task != *task && !kernel.task_on_thread(holder.task)
            };
            if let Some((_, holds, &Holder { task: holder, since, .. })) = self.held.iter().find(suspended) {
                let text = format!(
                    "{} blocks a worker thread until it can lock {path}, while {} is suspended and holds {holds}",
                    kernel.task_name(*task),
                    kernel.task_name(holder),
                );
                let argument = format!(
                    "{} locked {holds} at step {since} and awaits something at step {}; it needs a worker thread to go on",
                    kernel.task_name(holder),
                    event.step
                );
                return Err(Violation::new(ViolationKind::BlockingWhileHeld, text).because(argument));
            }
        }
        Ok(())
    }
}

impl Oracle for BlockingWhileHeld {
    fn name(&self) -> &str {
        "no blocking while held"
    }
    fn kinds(&self) -> Kinds {
        Kinds::LOCKS | Kinds::PROCESSES | Kinds::TASK_ENDS
    }
    fn begin(&mut self) {
        self.held.clear();
        self.blocked.clear();
    }
    fn on(&mut self, event: &Event, kernel: &KernelView<'_>) -> Result<(), Violation> {
        match (&event.what, event.task) {
            // Without a lock there is nothing to follow.
            (What::TaskEnded { .. } | What::Ending { .. }, _) if self.held.is_empty() && self.blocked.is_empty() => {}
            _ => self.follow(event, kernel),
        }
        if self.blocked.is_empty() { Ok(()) } else { self.check(event, kernel) }
    }
    fn state(&self) -> Option<u64> {
        let held: Vec<_> = self.held.iter().map(|(at, _, holder)| (at, holder.process, holder.task)).collect();
        state_of((held, self.blocked.keys().collect::<Vec<_>>()))
    }
    fn judged(&self) -> u64 {
        self.judged
    }
}
