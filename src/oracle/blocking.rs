//! No worker thread blocks on a lock while a task of the same process is suspended with a lock in its hands.
//!
//! The scar: uv, PR 3525. Task A takes the file lock and awaits; task B asks for one on the same worker thread and blocks it; A is never
//! polled again. With more workers than such waiters it ends well, so it passes every test on a large machine; that this schedule got
//! away with it does not make it less of a bug.
//!
//! It asks the machine which tasks own a thread, and is told when one that holds a lock gives its thread up or gets one: so it does not
//! matter who came first, the one that blocks or the one that awaits. Of a recording, where the tasks are threads, it has nothing to say.

use std::sync::Arc;

use super::held::Held;
use super::{Oracle, Violation, ViolationKind, state_of};
use crate::sim::{KernelView, Renamed};
use crate::world::{Event, Kinds, Thread, What};

/// See the [module documentation](self).
#[derive(Debug, Default)]
pub struct BlockingWhileHeld {
    /// Who blocks a worker, in no order.
    blocked: Vec<Blocked>,
    judged: u64,
}

/// A task of a process that blocks a worker until it can lock a path.
type Blocked = (u32, u32, Arc<str>);

impl BlockingWhileHeld {
    fn place(&self, process: u32, task: u32, path: &Arc<str>) -> Option<usize> {
        self.blocked.iter().position(|blocked| (blocked.0, blocked.1) == (process, task) && blocked.2 == *path)
    }

    /// Somebody waits.
    #[inline(never)]
    fn waits(&mut self, event: &Event, path: &Arc<str>, thread: Thread) {
        let Some(task) = event.task else { return };
        self.judged += 1;
        if thread == Thread::Worker && self.place(event.process, task, path).is_none() {
            self.blocked.push((event.process, task, path.clone()));
        }
    }

    /// Learns who blocks no longer, and judges those who still do.
    #[inline(never)]
    fn goes_on(&mut self, event: &Event, kernel: &KernelView<'_>) -> Result<(), Violation> {
        match (&event.what, event.task) {
            (What::Lock { path, .. }, Some(task)) => {
                if let Some(at) = self.place(event.process, task, path) {
                    self.blocked.swap_remove(at);
                }
            }
            (What::TaskEnded { .. }, Some(task)) => self.blocked.retain(|(_, blocked, _)| *blocked != task),
            (What::Ending { .. }, _) => self.blocked.retain(|(process, ..)| *process != event.process),
            _ => {}
        }
        // In most cases everybody who has a lock is at work.
        let suspended = |held: &Held| held.by.is_some_and(|by| !kernel.task_on_thread(by));
        if !self.blocked.is_empty() && kernel.locks.iter().any(suspended) { self.check(event, kernel) } else { Ok(()) }
    }

    #[inline(never)]
    fn check(&self, event: &Event, kernel: &KernelView<'_>) -> Result<(), Violation> {
        // What ends with this event is not held any more.
        let ended = if let What::Unlock { description, .. } = event.what { Some(description) } else { None };
        let mut blocked: Vec<_> = self.blocked.iter().collect();
        blocked.sort_unstable();
        for (process, task, path) in blocked {
            let suspended = |held: &&Held| {
                held.taken.process == *process
                    && held.by.is_some_and(|by| by != *task && !kernel.task_on_thread(by))
                    && Some(held.description) != ended
            };
            if let Some(held) = kernel.locks.iter().find(suspended) {
                return Err(Self::wrong(event, *task, path, held, kernel));
            }
        }
        Ok(())
    }

    #[cold]
    fn wrong(event: &Event, task: u32, path: &str, held: &Held, kernel: &KernelView<'_>) -> Violation {
        let holder = kernel.name_of(held.taken.process, held.by);
        let text = format!(
            "{} blocks a worker thread until it can lock {path}, while {holder} is suspended and holds {}",
            kernel.task_name(task),
            held.path,
        );
        let argument = format!(
            "{holder} locked {} at step {} and awaits something at step {}; it needs a worker thread to go on",
            held.path, held.taken.step, event.step
        );
        Violation::new(ViolationKind::BlockingWhileHeld, text).because(argument)
    }
}

impl Oracle for BlockingWhileHeld {
    fn name(&self) -> &str {
        "no blocking while held"
    }
    fn kinds(&self) -> Kinds {
        Kinds::LOCKS | Kinds::PROCESSES | Kinds::TASK_ENDS | Kinds::AWAITS
    }
    fn attends(&self) -> Option<Kinds> {
        // Unless somebody blocks, nobody does while somebody else holds something; one lock shows that it is watched.
        Some(match (self.blocked.is_empty(), self.judged) {
            (true, 0) => Kinds::LOCK_WAITS | Kinds::LOCKED,
            (true, _) => Kinds::LOCK_WAITS,
            (false, _) => self.kinds(),
        })
    }
    fn begin(&mut self) {
        self.blocked.clear();
    }
    fn on(&mut self, event: &Event, kernel: &KernelView<'_>) -> Result<(), Violation> {
        match &event.what {
            What::LockWait { path, thread, .. } => self.waits(event, path, *thread),
            What::Lock { blocking, .. } => self.judged += u64::from(*blocking && event.task.is_some()),
            _ => {}
        }
        if self.blocked.is_empty() { Ok(()) } else { self.goes_on(event, kernel) }
    }
    fn state(&self) -> Option<u64> {
        self.state_as(&Renamed::default())
    }
    fn state_as(&self, names: &Renamed<'_>) -> Option<u64> {
        let blocked = self.blocked.iter().map(|(_, task, path)| (names.task(*task), names.path(path)));
        let mut blocked: Vec<_> = blocked.collect();
        blocked.sort_unstable();
        state_of(blocked)
    }
    fn judged(&self) -> u64 {
        self.judged
    }
}
