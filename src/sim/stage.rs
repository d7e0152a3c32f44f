//! Where the futures of a scenario find their machine: on the thread that polls them.
//!
//! A handle could hold the machine behind a mutex, and did: three locks and two counts of references a step, a fifth of the time of
//! a step, to share what only one thread ever has. Now whoever polls puts the machine on its thread's stage for as long as the poll
//! lasts, and a handle is two numbers. What is dropped while no machine is on stage is dropped after the end of its execution,
//! and has no effect.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};

use super::state::State;

enum Slot {
    Vacant,
    Machine(Box<State>),
    /// Somebody further up the stack is at it.
    Taken,
}

thread_local! {
    static STAGE: Cell<Slot> = const { Cell::new(Slot::Vacant) };
}

/// The machine on this thread's stage, for as long as this lives. One at a time.
pub(crate) struct OnStage(Option<Box<State>>);

impl OnStage {
    /// `None` if nobody polls on this thread.
    #[inline]
    pub(crate) fn enter() -> Option<Self> {
        match STAGE.replace(Slot::Taken) {
            Slot::Machine(state) => Some(OnStage(Some(state))),
            Slot::Vacant => {
                STAGE.set(Slot::Vacant);
                None
            }
            Slot::Taken => panic!("the machine is asked something while it is busy with something else"),
        }
    }
}

impl Drop for OnStage {
    #[inline]
    fn drop(&mut self) {
        STAGE.set(self.0.take().map_or(Slot::Vacant, Slot::Machine));
    }
}

impl Deref for OnStage {
    type Target = State;
    #[inline]
    fn deref(&self) -> &State {
        self.0.as_ref().expect("there until it is dropped")
    }
}

impl DerefMut for OnStage {
    #[inline]
    fn deref_mut(&mut self) -> &mut State {
        self.0.as_mut().expect("there until it is dropped")
    }
}

/// Puts a machine on stage while `poll` runs, which must not panic. What was there before (a scenario explored within a scenario) is
/// there again afterwards.
#[inline]
pub(super) fn perform<T>(state: &mut Option<Box<State>>, poll: impl FnOnce() -> T) -> T {
    let before = STAGE.replace(state.take().map_or(Slot::Vacant, Slot::Machine));
    let value = poll();
    if let Slot::Machine(back) = STAGE.replace(before) {
        *state = Some(back);
    }
    value
}
