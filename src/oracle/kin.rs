//! Who is who, from events alone: which task of its process somebody is, and for whom a section runs.

use smallvec::{SmallVec, smallvec};

use super::map::Map;
use crate::world::{Event, Thread, What};

/// A task by its process and the how many'th of that process it is (from 1): a name that does not depend on how processes interleave.
/// Zero for what a process does as a whole.
pub(super) type Actor = (u32, u32);

#[derive(Debug)]
struct Birth {
    actor: Actor,
    thread: Thread,
    parent: Option<u32>,
}

/// The tasks of an execution.
#[derive(Debug, Default)]
pub(super) struct Kin {
    tasks: Map<u32, Birth>,
    born: Map<u32, u32>,
}

impl Kin {
    pub(super) fn begin(&mut self) {
        self.tasks.clear();
        self.born.clear();
    }

    /// Learns of births; to be told every event of the lives of tasks, before anything is asked.
    #[inline(always)]
    pub(super) fn on(&mut self, event: &Event) {
        if let (What::TaskStarted { thread, parent, .. }, Some(task)) = (&event.what, event.task) {
            self.is_born(event.process, task, *thread, *parent);
        }
    }

    fn is_born(&mut self, process: u32, task: u32, thread: Thread, parent: Option<u32>) {
        let count = self.born.or_insert_with(process, || 0);
        *count += 1;
        self.tasks.insert(task, Birth { actor: (process, *count), thread, parent });
    }

    /// Whether it was done in somebody's name: see [`in_whose_name`](Kin::in_whose_name).
    pub(super) fn in_name_of(&self, event: &Event, whom: Actor) -> bool {
        match event.task.and_then(|task| self.tasks.get(&task)) {
            Some(birth) if birth.thread == Thread::Worker => birth.actor == whom,
            _ => self.in_whose_name(event).contains(&whom),
        }
    }

    /// Who did it. In a recording, where nobody tells of births, tasks are the threads of the program and keep their numbers.
    pub(super) fn actor(&self, event: &Event) -> Actor {
        let Some(task) = event.task else { return (event.process, 0) };
        self.tasks.get(&task).map_or((event.process, task.saturating_add(1)), |birth| birth.actor)
    }

    /// Everybody in whose name it was done: the task, and if that is a section, its caller, and so on.
    pub(super) fn in_whose_name(&self, event: &Event) -> SmallVec<[Actor; 4]> {
        let mut actors = smallvec![self.actor(event)];
        let mut at = event.task.and_then(|task| self.tasks.get(&task));
        while let Some(birth) = at.filter(|birth| birth.thread != Thread::Worker) {
            at = birth.parent.and_then(|parent| self.tasks.get(&parent));
            actors.extend(at.map(|birth| birth.actor));
        }
        actors
    }

    /// Who gets what a task leaves when it ends: who spawned it, or gave the section away.
    pub(super) fn heir(&self, event: &Event) -> Option<Actor> {
        let parent = self.tasks.get(&event.task?)?.parent?;
        self.tasks.get(&parent).map(|birth| birth.actor)
    }
}
