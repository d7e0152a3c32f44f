//! At most so many locks are held at once.
//!
//! Every held lock is a held descriptor, and every waiter behind it one more. The scar: a workspace of 145 editables holds 145
//! shard locks at once in uv, because the locks are taken before the build permits, and dies at `ulimit -n 256`; a rule that bounds
//! the locks bounds the descriptors whatever the size of the project.

use std::fmt::Write;

use super::deed::Deed;
use super::glob::Memo;
use super::held::HeldLocks;
use super::{Glob, Oracle, Violation, ViolationKind, state_of};
use crate::sim::KernelView;
use crate::world::{Event, Kinds, What};

/// See the [module documentation](self). A lock is counted once, however many descriptors share it, for as long as it is held.
#[derive(Debug)]
pub struct LockBound {
    at_most: usize,
    of: Memo,
    /// For the report: who took it when.
    held: HeldLocks<Deed>,
    judged: u64,
}

impl LockBound {
    /// At most that many, over all processes.
    pub fn at_most(locks: usize) -> Self {
        LockBound { at_most: locks, of: Glob::new("**").into(), held: HeldLocks::default(), judged: 0 }
    }

    /// Only locks on paths of that form count.
    pub fn of(self, pattern: impl Into<Glob>) -> Self {
        LockBound { of: Memo::from(pattern.into()), ..self }
    }
}

impl Oracle for LockBound {
    fn name(&self) -> &str {
        "lock bound"
    }
    fn kinds(&self) -> Kinds {
        Kinds::LOCKS
    }
    fn begin(&mut self) {
        self.held.clear();
    }
    fn on(&mut self, event: &Event, kernel: &KernelView<'_>) -> Result<(), Violation> {
        match &event.what {
            What::Lock { path, description, .. } if self.of.matches(path) => {
                self.judged += 1;
                if self.held.get(*description).is_none() {
                    self.held.insert(*description, path, Deed::of(event));
                }
                if self.held.len() > self.at_most {
                    let text = format!(
                        "{} locks on {} are held at once, promised were at most {}",
                        self.held.len(),
                        self.of.glob,
                        self.at_most
                    );
                    let mut argument = String::new();
                    for (_, path, taken) in self.held.iter() {
                        let _ = writeln!(argument, "{path}: {} since step {}", taken.who(kernel), taken.step);
                    }
                    return Err(Violation::new(ViolationKind::LockPeak, text).because(argument));
                }
            }
            What::Unlock { description, .. } => drop(self.held.remove(*description)),
            _ => {}
        }
        Ok(())
    }
    fn state(&self) -> Option<u64> {
        state_of(self.held.iter().map(|(description, ..)| description).collect::<Vec<_>>())
    }
    fn judged(&self) -> u64 {
        self.judged
    }
}
