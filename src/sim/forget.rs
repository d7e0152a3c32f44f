//! What tasks may forget, so that more states are one state.
//!
//! A future cannot be looked into. The state cache therefore takes a task for what it has seen: every result of every operation, in its
//! order. That is exact, and too much: whether a task made a directory itself or found it made, whether it waited for a lock or tried a
//! second time, is in its past for ever, and doubles the states each time, although nothing comes of it any more: of 46,221 states of two processes on
//! one shard, 30,401 were such doubles. Hence
//! [`Files::forgetting`](crate::world::Files::forgetting): the caller says that only the result of some steps matters, and the past
//! goes on from there with the result alone.
//!
//! It is forgotten only if no other future of the task moved meanwhile, since that one's memories would be lost too.

use std::hash::Hash;
use std::pin::pin;
use std::task::Poll;

use smallvec::SmallVec;

use super::SimWorld;
use super::fingerprint::{hash, mix};
use super::state::{State, Task, TaskId};

/// What a task is about to forget.
#[derive(Debug, Default)]
pub(crate) struct Forgetting {
    /// Where it was when it began each that has not ended.
    begun: SmallVec<[Since; 4]>,
    /// Of these, those that are being polled.
    inside: u32,
    /// Another future of the task has moved: nothing is forgotten until all have ended.
    spoiled: bool,
    /// Inode numbers that it has seen since the first of them began.
    learnt: Vec<u64>,
    /// How many operations it has forgotten.
    pub(crate) operations: u32,
}

impl Forgetting {
    /// A task begins.
    pub(crate) fn begin_task(&mut self) {
        let Forgetting { begun, inside, spoiled, learnt, operations } = self;
        (*inside, *spoiled, *operations) = (0, false, 0);
        begun.clear();
        learnt.clear();
    }

    /// Whether the task is about to forget something.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        !self.begun.is_empty()
    }
}

/// Where a task was when it began what it will forget.
#[derive(Clone, Copy, Debug)]
struct Since {
    past: u64,
    announced: u32,
    operations: u32,
    learnt: usize,
}

/// A task is about to forget something, for as long as this lives.
struct Begun {
    world: SimWorld,
    task: TaskId,
}

impl State {
    /// A future of the running task moves.
    #[inline]
    pub(crate) fn note_strand(&mut self, task: TaskId) {
        let forgetting = &mut self.tasks[task as usize].forgetting;
        forgetting.spoiled |= (forgetting.inside as usize) < forgetting.begun.len();
    }

    /// A task forgets what it has seen since then, but for what is left of it.
    fn forget_since(&mut self, task: TaskId, since: Since, left: &impl Hash) {
        let alone = self.ops_of(task).next().is_none();
        let State { tasks, kernel, .. } = self;
        let task = &mut tasks[task as usize];
        if alone && !task.forgetting.spoiled {
            task.past = mix(since.past, hash(left));
            // Those that steps within these have forgotten are among them.
            task.forgetting.operations = since.operations + (task.announced - since.announced);
            task.forgetting.learnt.drain(since.learnt..).for_each(|inode| kernel.unlearn(inode));
        }
    }

    /// A task has seen the number of an inode.
    pub(crate) fn learn(&mut self, task: TaskId, inode: u64) {
        if self.notes_results() {
            self.kernel.learn(inode);
            let forgetting = &mut self.tasks[task as usize].forgetting;
            if forgetting.is_open() {
                forgetting.learnt.push(inode);
            }
        }
    }
}

impl SimWorld {
    /// See [`Files::forgetting`](crate::world::Files::forgetting).
    pub(super) async fn forget<T: Hash + Send>(&self, steps: impl Future<Output = T> + Send) -> T {
        let mut steps = pin!(steps);
        let begun = self.begin_to_forget();
        let result = std::future::poll_fn(|cx| {
            self.step_inside(begun.as_ref(), true);
            let polled: Poll<T> = steps.as_mut().poll(cx);
            self.step_inside(begun.as_ref(), false);
            polled
        })
        .await;
        if let Some(begun) = begun {
            self.end_to_forget(&begun, &result);
        }
        result
    }

    /// See [`Files::keeping`](crate::world::Files::keeping).
    pub(super) fn keep(&self, left: &impl Hash) {
        let mut state = self.machine();
        let task = state.current();
        if let Some(&since) = state.tasks[task as usize].forgetting.begun.last() {
            state.note_strand(task);
            state.forget_since(task, since, left);
        }
    }

    /// Nothing, if nobody remembers.
    fn begin_to_forget(&self) -> Option<Begun> {
        let mut state = self.machine();
        if !state.remember {
            return None;
        }
        let task = state.current();
        state.note_strand(task);
        let alone = state.ops_of(task).next().is_none();
        let Task { forgetting, past, announced, .. } = &mut state.tasks[task as usize];
        forgetting.spoiled |= !alone;
        let (operations, learnt) = (forgetting.operations, forgetting.learnt.len());
        forgetting.begun.push(Since { past: *past, announced: *announced, operations, learnt });
        Some(Begun { world: self.clone(), task })
    }

    fn step_inside(&self, begun: Option<&Begun>, enters: bool) {
        if let Some(begun) = begun {
            let inside = &mut self.machine().tasks[begun.task as usize].forgetting.inside;
            *inside = if enters { *inside + 1 } else { *inside - 1 };
        }
    }

    fn end_to_forget(&self, begun: &Begun, result: &impl Hash) {
        let mut state = self.machine();
        if let Some(&since) = state.tasks[begun.task as usize].forgetting.begun.last() {
            state.forget_since(begun.task, since, result);
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if let Some(mut state) = self.world.acting() {
            let forgetting = &mut state.tasks[self.task as usize].forgetting;
            // If it was not the last to begin, they are spoiled.
            forgetting.begun.pop();
            if forgetting.begun.is_empty() {
                forgetting.spoiled = false;
                forgetting.learnt.clear();
            }
        }
    }
}
