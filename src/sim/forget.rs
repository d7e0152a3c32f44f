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

use super::SimWorld;
use super::fingerprint::{hash, mix};
use super::state::{State, TaskId};

/// What a task is about to forget.
#[derive(Debug, Default)]
pub(crate) struct Forgetting {
    /// Begun, and not ended.
    open: u32,
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
        let Forgetting { open, inside, spoiled, learnt, operations } = self;
        (*open, *inside, *spoiled, *operations) = (0, 0, false, 0);
        learnt.clear();
    }

    /// Whether the task is about to forget something.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.open > 0
    }
}

/// Where a task was when it began what it will forget.
struct Begun {
    world: SimWorld,
    task: TaskId,
    past: u64,
    announced: u32,
    operations: u32,
    learnt: usize,
}

impl State {
    /// A future of the running task moves.
    #[inline]
    pub(crate) fn note_strand(&mut self, task: TaskId) {
        let forgetting = &mut self.tasks[task as usize].forgetting;
        forgetting.spoiled |= forgetting.inside < forgetting.open;
    }

    /// A task has seen the number of an inode.
    pub(crate) fn learn(&mut self, task: TaskId, inode: u64) {
        if self.remember {
            self.kernel.learn(inode);
            let forgetting = &mut self.tasks[task as usize].forgetting;
            if forgetting.open > 0 {
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

    /// Nothing, if nobody remembers.
    fn begin_to_forget(&self) -> Option<Begun> {
        let mut state = self.machine();
        if !state.remember {
            return None;
        }
        let task = state.current();
        state.note_strand(task);
        let alone = state.ops_of(task).next().is_none();
        let one = &mut state.tasks[task as usize];
        one.forgetting.open += 1;
        one.forgetting.spoiled |= !alone;
        let (past, announced) = (one.past, one.announced);
        let (operations, learnt) = (one.forgetting.operations, one.forgetting.learnt.len());
        Some(Begun { world: self.clone(), task, past, announced, operations, learnt })
    }

    fn step_inside(&self, begun: Option<&Begun>, enters: bool) {
        if let Some(begun) = begun {
            let inside = &mut self.machine().tasks[begun.task as usize].forgetting.inside;
            *inside = if enters { *inside + 1 } else { *inside - 1 };
        }
    }

    fn end_to_forget(&self, begun: &Begun, result: &impl Hash) {
        let mut state = self.machine();
        let alone = state.ops_of(begun.task).next().is_none();
        let State { tasks, kernel, .. } = &mut *state;
        let task = &mut tasks[begun.task as usize];
        if alone && !task.forgetting.spoiled {
            task.past = mix(begun.past, hash(result));
            // Those that steps within these have forgotten are among them.
            task.forgetting.operations = begun.operations + (task.announced - begun.announced);
            task.forgetting.learnt.drain(begun.learnt..).for_each(|inode| kernel.unlearn(inode));
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if let Some(mut state) = self.world.acting() {
            let forgetting = &mut state.tasks[self.task as usize].forgetting;
            forgetting.open -= 1;
            if forgetting.open == 0 {
                forgetting.spoiled = false;
                forgetting.learnt.clear();
            }
        }
    }
}
