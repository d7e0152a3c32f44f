//! Who is who: which task of its process somebody is, and for whom a section runs.
//!
//! Asked of the machine, which knows its tasks. In a recording there are none: tasks are the threads of the program and keep their
//! numbers, and nobody runs for anybody else.

use smallvec::{SmallVec, smallvec};

use super::held::Held;
use crate::sim::KernelView;
use crate::sim::state::Task;
use crate::world::{Event, Thread};

/// A task by its process and the how many'th of that process it is (from 1): a name that does not depend on how processes interleave.
/// Zero for what a process does as a whole.
pub(super) type Actor = (u32, u32);

/// Who did it.
#[inline]
pub(super) fn actor(event: &Event, kernel: &KernelView<'_>) -> Actor {
    named(event.process, event.task, kernel.tasks)
}

/// A task of a process, or the process itself.
#[inline]
pub(super) fn named(process: u32, task: Option<u32>, tasks: &[Task]) -> Actor {
    let Some(task) = task else { return (process, 0) };
    tasks.get(task as usize).map_or((process, task.saturating_add(1)), |task| (task.pid, task.birth))
}

/// Whether it was done in the name of whoever has a lock: see [`in_whose_name`].
#[inline]
pub(super) fn in_name_of(event: &Event, held: &Held, tasks: &[Task]) -> bool {
    let task = |number: u32| tasks.get(number as usize);
    let mut at = event.task.and_then(task);
    if event.task == held.by {
        // Only the machine's tasks are numbered without regard to their process.
        return at.is_some() || event.process == held.taken.process;
    }
    while let Some(section) = at.filter(|section| section.thread != Thread::Worker) {
        if section.parent.is_some() && section.parent == held.by {
            return true;
        }
        at = section.parent.and_then(task);
    }
    false
}

/// Everybody in whose name it was done: the task, and if that is a section, its caller, and so on.
pub(super) fn in_whose_name(event: &Event, kernel: &KernelView<'_>) -> SmallVec<[Actor; 4]> {
    let task = |number: u32| kernel.tasks.get(number as usize);
    let mut actors = smallvec![actor(event, kernel)];
    let mut at = event.task.and_then(task);
    while let Some(section) = at.filter(|section| section.thread != Thread::Worker) {
        at = section.parent.and_then(task);
        actors.extend(at.map(|caller| (caller.pid, caller.birth)));
    }
    actors
}
