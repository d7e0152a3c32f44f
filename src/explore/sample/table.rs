//! What a strategy remembers of agents, and of what they have announced.

use crate::sim::State;
use crate::sim::agent::place;
use crate::sim::state::Choice;

/// Something for each announced operation, and for each task that waits for a worker.
pub(super) struct PerChoice<T> {
    /// By slot in the table of operations, with the generation that tells an operation from the next one there.
    acts: Vec<Option<(u32, T)>>,
    /// By number of the task.
    resumes: Vec<Option<(u32, T)>>,
}

impl<T> Default for PerChoice<T> {
    fn default() -> Self {
        PerChoice { acts: Vec::new(), resumes: Vec::new() }
    }
}

impl<T> PerChoice<T> {
    fn place(&mut self, choice: Choice) -> (&mut Option<(u32, T)>, u32) {
        let (list, at, generation) = match choice {
            Choice::Act(op) => (&mut self.acts, op.slot as usize, op.generation),
            Choice::Resume(task) => (&mut self.resumes, task as usize, 0),
            fault => unreachable!("{fault:?} strikes, and is not drawn among the steps"),
        };
        if list.len() <= at {
            list.resize_with(at + 1, || None);
        }
        (&mut list[at], generation)
    }

    /// What is remembered of it, if anything.
    pub(super) fn get(&mut self, choice: Choice) -> Option<&mut T> {
        let (place, generation) = self.place(choice);
        place.as_mut().filter(|(known, _)| *known == generation).map(|(_, value)| value)
    }

    pub(super) fn insert(&mut self, choice: Choice, value: T) {
        let (place, generation) = self.place(choice);
        *place = Some((generation, value));
    }

    pub(super) fn remove(&mut self, choice: Choice) -> Option<T> {
        let (place, generation) = self.place(choice);
        place.take().filter(|(known, _)| *known == generation).map(|(_, value)| value)
    }
}

/// Something for each task, and each process as a whole.
pub(super) struct PerAgent<T>([Vec<Option<T>>; 2]);

impl<T> Default for PerAgent<T> {
    fn default() -> Self {
        PerAgent([Vec::new(), Vec::new()])
    }
}

impl<T> PerAgent<T> {
    pub(super) fn get_mut(&mut self, agent: u64) -> Option<&mut T> {
        let (block, at) = place(agent);
        self.0[block].get_mut(at)?.as_mut()
    }

    /// Makes room for an agent that has not been seen, and for those that it stems from: calls `make` with each and with the one whose
    /// child it is, the oldest first.
    pub(super) fn meet(&mut self, state: &State, agent: u64, make: &mut impl FnMut(&mut Self, u64, Option<u64>) -> T) {
        let (block, at) = place(agent);
        if self.0[block].get(at).is_some_and(Option::is_some) {
            return;
        }
        let origin = state.origin(agent);
        if let Some(origin) = origin {
            self.meet(state, origin, make);
        }
        let value = make(self, agent, origin);
        let list = &mut self.0[block];
        if list.len() <= at {
            list.resize_with(at + 1, || None);
        }
        list[at] = Some(value);
    }

    /// Each with its number, tasks first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().flatten().flatten()
    }
}
