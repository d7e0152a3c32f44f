//! Descriptors: no process has more than was promised, and no call fails for want of one.
//!
//! What counts is the highest *number* plus one, because that is what RLIMIT_NOFILE limits. The scars: 145 editables break `ulimit -n 256`
//! in uv (17512), and so do bytecode compilation (11296) and uninstalling Python versions (16999); nobody saw it coming, because
//! until the limit is reached nothing fails. A bound that holds in every schedule is a figure that does not depend on luck.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::deed::Deed;
use super::table::Tables;
use super::{Glob, Oracle, Violation, ViolationKind};
use crate::sim::KernelView;
use crate::world::{Errno, Event, Kinds, What};

/// The highest descriptor number of a process, plus one, is never above a bound. The standard three count, as they do for the kernel; a
/// child between fork and exec has its parent's, which are the parent's peak already.
#[derive(Debug)]
pub struct DescriptorBound {
    at_most: u32,
    process: Glob,
    /// For the report: who opened it when.
    tables: Tables<Deed>,
    judged: u64,
}

impl DescriptorBound {
    /// At most that many, in every process.
    pub fn at_most(descriptors: u32) -> Self {
        DescriptorBound { at_most: descriptors, process: Glob::new("**"), tables: Tables::default(), judged: 0 }
    }

    /// Only processes of that name are judged. A child is called `program.number`, so `"cc.*"` stands for all of a program.
    pub fn in_process(self, name: impl Into<Glob>) -> Self {
        DescriptorBound { process: name.into(), ..self }
    }

    fn holdings(&self, process: u32, kernel: &KernelView<'_>) -> String {
        let mut classes: BTreeMap<&str, Vec<String>> = BTreeMap::from([("standard", vec!["0 to 2".into()])]);
        for (number, entry) in self.tables.of(process).filter(|&(number, _)| number > 2) {
            let Deed { step, .. } = entry.note;
            let one = format!("{number} {} ({} at step {step})", entry.path, entry.note.who(kernel));
            classes.entry(class_of(&entry.path)).or_default().push(one);
        }
        let mut text = String::new();
        for (class, mut all) in classes {
            let count = all.len();
            all.truncate(8);
            let more = if count > 8 { format!(" and {} more", count - 8) } else { String::new() };
            let _ = writeln!(text, "{class}: {}{more}", all.join(", "));
        }
        text
    }
}

/// What a descriptor is for, by the path it was opened under.
fn class_of(path: &str) -> &'static str {
    let name = path.rsplit('/').next().unwrap_or(path);
    match name {
        "child" | "pidfd" => "child",
        name if name.starts_with("pipe") => "pipe",
        name if name.ends_with(".lock") => "lock",
        name if name.contains("tmp") || name.contains("temp") => "temp",
        _ => "file",
    }
}

impl Oracle for DescriptorBound {
    fn name(&self) -> &str {
        "descriptor bound"
    }
    fn kinds(&self) -> Kinds {
        Kinds::DESCRIPTORS | Kinds::PROCESSES
    }
    fn begin(&mut self) {
        self.tables.begin();
    }
    fn on(&mut self, event: &Event, kernel: &KernelView<'_>) -> Result<(), Violation> {
        let opened = self.tables.on(event, || Deed::of(event));
        let Some(number) = opened.filter(|_| self.process.matches(kernel.process_name(event.process))) else {
            return Ok(());
        };
        self.judged += 1;
        if number < self.at_most {
            return Ok(());
        }
        Err(self.too_many(event, number, kernel))
    }
    fn state(&self) -> Option<u64> {
        Some(0) // each number is judged by itself; the tables are for the report
    }
    fn judged(&self) -> u64 {
        self.judged
    }
}

impl DescriptorBound {
    #[cold]
    fn too_many(&self, event: &Event, number: u32, kernel: &KernelView<'_>) -> Violation {
        let text = format!(
            "process {} has descriptor {number}, so its peak is {}; promised were at most {}",
            kernel.process_name(event.process),
            number + 1,
            self.at_most
        );
        Violation::new(ViolationKind::DescriptorPeak, text).because(self.holdings(event.process, kernel))
    }
}

/// No call fails with EMFILE or ENFILE.
#[derive(Debug, Default)]
pub struct NoEmfile {
    judged: u64,
}

impl Oracle for NoEmfile {
    fn name(&self) -> &str {
        "enough descriptors"
    }
    fn kinds(&self) -> Kinds {
        Kinds::FAILURES | Kinds::OPENED
    }
    fn begin(&mut self) {}
    fn on(&mut self, event: &Event, kernel: &KernelView<'_>) -> Result<(), Violation> {
        match &event.what {
            What::Failed { call, subject, errno } if matches!(errno, Errno::MFile | Errno::NFile) => {
                let text = format!("{} fails to {call} {subject}: {errno}", kernel.who(event));
                Err(Violation::new(ViolationKind::DescriptorsExhausted, text))
            }
            // A call that was given a descriptor is one that has not failed.
            What::Open { .. } | What::Dup { .. } | What::Descriptor { .. } => {
                self.judged += 1;
                Ok(())
            }
            _ => Ok(()),
        }
    }
    fn state(&self) -> Option<u64> {
        Some(0)
    }
    fn judged(&self) -> u64 {
        self.judged
    }
}
