//! Where the futures of a scenario find their machine: on the thread that polls them.
//!
//! A handle could hold the machine behind a mutex, and did: three locks and two counts of references a step, a fifth of the time of
//! a step, to share what only one thread ever has. Now whoever polls puts the machine on its thread's stage for as long as the poll
//! lasts, and a handle is two numbers. What is dropped while no machine is on stage is dropped after the end of its execution,
//! and has no effect.

use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};

use super::state::State;

struct Stage {
    /// Without a destructor, so that the thread keeps no list of what to destroy and a look here is a plain load: the machine is with its
    /// owner again before the thread ends.
    machine: Cell<ManuallyDrop<Option<Box<State>>>>,
    /// Somebody polls on this thread. If the machine is not here then, somebody further up the stack is at it.
    performing: Cell<bool>,
}

thread_local! {
    static STAGE: Stage = const { Stage { machine: Cell::new(ManuallyDrop::new(None)), performing: Cell::new(false) } };
}

/// Puts a machine, or nobody, on stage: who was there before.
#[inline(always)]
fn replace(machine: Option<Box<State>>) -> Option<Box<State>> {
    ManuallyDrop::into_inner(STAGE.with(|stage| stage.machine.replace(ManuallyDrop::new(machine))))
}

/// The machine on this thread's stage, for as long as this lives. One at a time.
pub(crate) struct OnStage(Option<Box<State>>);

impl OnStage {
    /// `None` if nobody polls on this thread.
    #[inline(always)]
    pub(crate) fn enter() -> Option<Self> {
        let machine = replace(None);
        if machine.is_none() {
            Self::check_vacant();
            return None;
        }
        Some(OnStage(machine))
    }

    #[cold]
    fn check_vacant() {
        let performing = STAGE.with(|stage| stage.performing.get());
        assert!(!performing, "the machine is asked something while it is busy with something else");
    }
}

impl Drop for OnStage {
    #[inline(always)]
    fn drop(&mut self) {
        let nobody = replace(self.0.take());
        debug_assert!(nobody.is_none(), "it was taken from there");
        std::mem::forget(nobody); // spares the code that would drop a machine here
    }
}

impl Deref for OnStage {
    type Target = State;
    #[inline(always)]
    fn deref(&self) -> &State {
        self.0.as_ref().expect("there until it is dropped")
    }
}

impl DerefMut for OnStage {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut State {
        self.0.as_mut().expect("there until it is dropped")
    }
}

/// Puts a machine on stage while `poll` runs. What was there before (a scenario explored within a scenario) is there again afterwards,
/// also after a panic.
#[inline(always)]
pub(super) fn perform<T>(state: &mut Option<Box<State>>, poll: impl FnOnce() -> T) -> T {
    let before = replace(state.take());
    let was_performing = STAGE.with(|stage| stage.performing.replace(true));
    let _turn = Turn { state, before, was_performing };
    poll()
}

/// Ends with the machine back with its owner.
struct Turn<'s> {
    state: &'s mut Option<Box<State>>,
    before: Option<Box<State>>,
    was_performing: bool,
}

impl Drop for Turn<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        STAGE.with(|stage| stage.performing.set(self.was_performing));
        let nobody = std::mem::replace(self.state, replace(self.before.take()));
        std::mem::forget(nobody); // as above
    }
}
