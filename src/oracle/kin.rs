//! Who is who: which task of its process somebody is, and for whom a section runs.
//!
//! Asked of the machine, which knows its tasks. In a recording there are none: tasks are the threads of the program and keep their
//! numbers, and nobody runs for anybody else.

use smallvec::{SmallVec, smallvec};

use crate::sim::KernelView;
use crate::world::{Event, Thread};

/// A task by its process and the how many'th of that process it is (from 1): a name that does not depend on how processes interleave.
/// Zero for what a process does as a whole.
pub(super) type Actor = (u32, u32);

/// Who did it.
#[inline]
pub(super) fn actor(event: &Event, kernel: &KernelView<'_>) -> Actor {
    let Some(task) = event.task else { return (event.process, 0) };
    kernel.tasks.get(task as usize).map_or((event.process, task.saturating_add(1)), |task| (task.pid, task.birth))
}

/// Whether it was done in somebody's name: see [`in_whose_name`].
#[inline]
pub(super) fn in_name_of(event: &Event, whom: Actor, kernel: &KernelView<'_>) -> bool {
    match event.task.and_then(|task| kernel.tasks.get(task as usize)) {
        Some(task) if task.thread == Thread::Worker => (task.pid, task.birth) == whom,
        _ => in_whose_name(event, kernel).contains(&whom),
    }
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

/// Who gets what a task leaves when it ends: who spawned it, or gave the section away.
#[inline]
pub(super) fn heir(event: &Event, kernel: &KernelView<'_>) -> Option<Actor> {
    let parent = kernel.tasks.get(event.task? as usize)?.parent?;
    kernel.tasks.get(parent as usize).map(|parent| (parent.pid, parent.birth))
}
