//! The promises that scenarios make in a closure: always, sometimes, finally.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::oracle::{Oracle, Violation, ViolationKind};
use crate::sim::{KernelView, Renamed, panic_text};
use crate::world::{Event, Kinds};

type Holds = Arc<dyn Fn(&KernelView<'_>) -> bool + Send + Sync>;

fn broken(name: &str, when: &str) -> Violation {
    Violation::new(ViolationKind::Promise(name.to_owned()), format!("{name:?} does not hold {when}"))
}

/// Whether it holds. One that panics, over a file that is not what it takes it for, say, is broken: in this schedule, which is to be told, and
/// not in the process that explores.
fn ask(name: &str, holds: &Holds, kernel: &KernelView<'_>) -> Result<bool, Violation> {
    catch_unwind(AssertUnwindSafe(|| holds(kernel))).map_err(|why| {
        let text = format!("{name:?} cannot be asked, it panics: {}", panic_text(why.as_ref()));
        Violation::new(ViolationKind::Panic, text)
    })
}

/// Holds after every event.
pub(super) struct Always {
    name: String,
    holds: Holds,
    judged: u64,
}

impl Always {
    pub(super) fn new(name: String, holds: Holds) -> Self {
        Always { name, holds, judged: 0 }
    }
}

impl Oracle for Always {
    fn name(&self) -> &str {
        &self.name
    }
    fn kinds(&self) -> Kinds {
        Kinds::ALL
    }
    fn begin(&mut self) {}
    fn on(&mut self, event: &Event, kernel: &KernelView<'_>) -> Result<(), Violation> {
        self.judged += 1;
        if ask(&self.name, &self.holds, kernel)? {
            return Ok(());
        }
        Err(broken(&self.name, &format!("after step {}: {} {}", event.step, kernel.who(event), event.what)))
    }
    fn state(&self) -> Option<u64> {
        Some(0) // a question about the machine, which remembers itself
    }
    fn state_as(&self, _: &Renamed<'_>) -> Option<u64> {
        self.state()
    }
    fn judged(&self) -> u64 {
        self.judged
    }
}

/// Holds after some event of some execution: how often it did is what it has "judged", so never is a vacuous oracle.
pub(super) struct Sometimes {
    name: String,
    holds: Holds,
    seen: u64,
}

impl Sometimes {
    pub(super) fn new(name: String, holds: Holds) -> Self {
        Sometimes { name, holds, seen: 0 }
    }
}

impl Oracle for Sometimes {
    fn name(&self) -> &str {
        &self.name
    }
    fn kinds(&self) -> Kinds {
        Kinds::ALL
    }
    fn begin(&mut self) {}
    fn on(&mut self, _: &Event, kernel: &KernelView<'_>) -> Result<(), Violation> {
        if self.seen == 0 && ask(&self.name, &self.holds, kernel)? {
            self.seen += 1;
        }
        Ok(())
    }
    fn state(&self) -> Option<u64> {
        Some(0)
    }
    fn state_as(&self, _: &Renamed<'_>) -> Option<u64> {
        self.state()
    }
    fn judged(&self) -> u64 {
        self.seen
    }
}

/// Holds when every process has ended.
pub(super) struct Finally {
    name: String,
    holds: Holds,
    judged: u64,
}

impl Finally {
    pub(super) fn new(name: String, holds: Holds) -> Self {
        Finally { name, holds, judged: 0 }
    }
}

impl Oracle for Finally {
    fn name(&self) -> &str {
        &self.name
    }
    fn kinds(&self) -> Kinds {
        Kinds::NONE
    }
    fn begin(&mut self) {}
    fn on(&mut self, _: &Event, _: &KernelView<'_>) -> Result<(), Violation> {
        Ok(())
    }
    fn finish(&mut self, kernel: &KernelView<'_>) -> Result<(), Violation> {
        self.judged += 1;
        if ask(&self.name, &self.holds, kernel)? {
            Ok(())
        } else {
            Err(broken(&self.name, "when every process has ended"))
        }
    }
    fn state(&self) -> Option<u64> {
        Some(0)
    }
    fn state_as(&self, _: &Renamed<'_>) -> Option<u64> {
        self.state()
    }
    fn judged(&self) -> u64 {
        self.judged
    }
}
