//! Who did what when, put into words only when a report asks.

use crate::sim::KernelView;
use crate::world::Event;

/// Who did something, and at which step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deed {
    pub(super) process: u32,
    task: Option<u32>,
    pub(super) step: u64,
}

impl Deed {
    pub(super) fn of(event: &Event) -> Self {
        Deed { process: event.process, task: event.task, step: event.step }
    }
    /// The task if there is one, else the process.
    pub(super) fn who(self, kernel: &KernelView<'_>) -> String {
        kernel.name_of(self.process, self.task)
    }
}
