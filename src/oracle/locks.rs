//! At most so many locks are held at once.
//!
//! Every held lock is a held descriptor, and every waiter behind it one more. The scar: a workspace of 145 editables holds 145
//! shard locks at once in uv, because the locks are taken before the build permits, and dies at `ulimit -n 256`; a rule that bounds
//! the locks bounds the descriptors whatever the size of the project.

use std::fmt::Write;

use super::glob::Memo;
use super::{Glob, Oracle, Violation, ViolationKind};
use crate::sim::{KernelView, Renamed};
use crate::world::{Event, Kinds, What};

/// See the [module documentation](self). A lock is counted once, however many descriptors share it, for as long as it is held.
#[derive(Debug)]
pub struct LockBound {
    at_most: usize,
    of: Memo,
    judged: u64,
}

impl LockBound {
    /// At most that many, over all processes.
    pub fn at_most(locks: usize) -> Self {
        LockBound { at_most: locks, of: Glob::new("**").into(), judged: 0 }
    }

    /// Only locks on paths of that form count.
    pub fn of(self, pattern: impl Into<Glob>) -> Self {
        LockBound { of: Memo::from(pattern.into()), ..self }
    }
}

impl LockBound {
    fn count(&mut self, kernel: &KernelView<'_>) -> Result<(), Violation> {
        let count = kernel.locks.iter().filter(|held| self.of.matches(&held.path)).count();
        if count <= self.at_most {
            return Ok(());
        }
        let text =
            format!("{count} locks on {} are held at once, promised were at most {}", self.of.glob, self.at_most);
        let mut argument = String::new();
        for held in kernel.locks.iter().filter(|held| self.of.glob.matches(&held.path)) {
            let _ = writeln!(argument, "{}: {} since step {}", held.path, held.taken.who(kernel), held.taken.step);
        }
        Err(Violation::new(ViolationKind::LockPeak, text).because(argument))
    }
}

impl Oracle for LockBound {
    fn name(&self) -> &str {
        "lock bound"
    }
    fn kinds(&self) -> Kinds {
        Kinds::LOCKS
    }
    fn attends(&self) -> Option<Kinds> {
        Some(Kinds::LOCKED)
    }
    fn begin(&mut self) {}
    fn on(&mut self, event: &Event, kernel: &KernelView<'_>) -> Result<(), Violation> {
        let What::Lock { path, .. } = &event.what else { return Ok(()) };
        if !self.of.matches(path) {
            return Ok(());
        }
        self.judged += 1;
        // The usual case, in which it is no matter on which paths they are.
        if kernel.locks.len() <= self.at_most { Ok(()) } else { self.count(kernel) }
    }
    fn state(&self) -> Option<u64> {
        Some(0) // who holds what is remembered for all
    }
    fn state_as(&self, _: &Renamed<'_>) -> Option<u64> {
        self.state()
    }
    fn judged(&self) -> u64 {
        self.judged
    }
}
