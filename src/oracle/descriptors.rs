//! Descriptors: no process has more than was promised, and no call fails for want of one.
//!
//! What counts is the highest *number* plus one, because that is what RLIMIT_NOFILE limits. The scars: 145 editables break `ulimit -n 256`
//! in uv (17512), and so do bytecode compilation (11296) and uninstalling Python versions (16999); nobody saw it coming, because
//! until the limit is reached nothing fails. A bound that holds in every schedule is a figure that does not depend on luck.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use super::deed::Deed;
use super::map::Map;
use super::{Glob, Oracle, Violation, ViolationKind};
use crate::sim::kernel::DescriptorView;
use crate::sim::{KernelView, Renamed};
use crate::world::{Errno, Event, Kinds, What};

/// A descriptor that is open, or was.
#[derive(Clone, Debug)]
struct Opened {
    execution: u64,
    /// None for what is no file of the protocol's.
    path: Option<Arc<str>>,
    by: Deed,
}

/// The highest descriptor number of a process, plus one, is never above a bound. The standard three count, as they do for the kernel; a
/// child between fork and exec has its parent's, which are the parent's peak already.
#[derive(Debug)]
pub struct DescriptorBound {
    at_most: u32,
    process: Glob,
    /// For the report: by process and number, who opened what when. What has been closed, or was opened in an earlier execution, may still
    /// be there.
    opened: Map<(u32, u32), Opened>,
    execution: u64,
    /// A machine tells what is open. A recording does not, so it is told what is closed.
    machine: bool,
    judged: u64,
}

impl DescriptorBound {
    /// At most that many, in every process.
    pub fn at_most(descriptors: u32) -> Self {
        let (process, opened) = (Glob::new("**"), Map::default());
        DescriptorBound { at_most: descriptors, process, opened, execution: 0, machine: false, judged: 0 }
    }

    /// Only processes of that name are judged. A child is called `program.number`, so `"cc.*"` stands for all of a program.
    pub fn in_process(self, name: impl Into<Glob>) -> Self {
        DescriptorBound { process: name.into(), ..self }
    }

    fn opens(&mut self, event: &Event, number: u32, path: Option<&Arc<str>>) {
        let (execution, by) = (self.execution, Deed::of(event));
        match self.opened.get_mut(&(event.process, number)) {
            Some(opened) => {
                // The same few paths have the same few numbers in every execution.
                if !matches!((&opened.path, path), (Some(known), Some(path)) if Arc::ptr_eq(known, path)) {
                    opened.path = path.cloned();
                }
                (opened.execution, opened.by) = (execution, by);
            }
            None => {
                let opened = Opened { execution, path: path.cloned(), by };
                self.opened.insert((event.process, number), opened);
            }
        }
    }

    /// What is known of the descriptors of a process.
    fn of(&self, process: u32) -> impl Iterator<Item = (u32, &Opened)> {
        let now = move |(at, opened): &(&(u32, u32), &Opened)| at.0 == process && opened.execution == self.execution;
        self.opened.iter().filter(now).map(|(at, opened)| (at.1, opened))
    }

    #[cold]
    fn follow(&mut self, event: &Event) {
        match event.what {
            What::Forked { child, .. } => {
                let copy = |(number, opened): (u32, &Opened)| ((child, number), opened.clone());
                let copies: Vec<_> = self.of(event.process).map(copy).collect();
                self.opened.extend(copies);
            }
            What::Close { descriptor, .. } => drop(self.opened.remove(&(event.process, descriptor))),
            What::Ended { .. } => self.opened.retain(|at, _| at.0 != event.process),
            _ => {}
        }
    }

    fn holdings(&self, process: u32, kernel: &KernelView<'_>) -> String {
        let mut classes: BTreeMap<&str, Vec<String>> = BTreeMap::from([("standard", vec!["0 to 2".into()])]);
        let open = self.machine.then(|| kernel.descriptors(process));
        for (number, opened) in self.of(process).filter(|&(number, _)| number > 2) {
            let is_it =
                |d: &DescriptorView| d.number == number && opened.path.as_ref().is_none_or(|path| d.path == *path);
            if open.as_ref().is_none_or(|open| open.iter().any(is_it)) {
                let (path, by) = (opened.path.as_deref().unwrap_or("child"), opened.by);
                let one = format!("{number} {path} ({} at step {})", by.who(kernel), by.step);
                classes.entry(class_of(path)).or_default().push(one);
            }
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
    fn attends(&self) -> Option<Kinds> {
        Some(if self.machine { Kinds::OPENED | Kinds::FORKED } else { self.kinds() })
    }
    fn begin(&mut self) {
        self.execution += 1;
    }
    fn on(&mut self, event: &Event, kernel: &KernelView<'_>) -> Result<(), Violation> {
        self.machine = event.process < kernel.processes();
        let (number, path) = match &event.what {
            What::Open { path, descriptor, .. } | What::Dup { path, descriptor, .. } => (*descriptor, Some(path)),
            What::Descriptor { number } => (*number, None),
            _ => {
                self.follow(event);
                return Ok(());
            }
        };
        self.opens(event, number, path);
        if !self.process.matches(kernel.process_name(event.process)) {
            return Ok(());
        }
        self.judged += 1;
        if number < self.at_most {
            return Ok(());
        }
        Err(self.too_many(event, number, kernel))
    }
    fn state(&self) -> Option<u64> {
        Some(0) // each number is judged by itself; the tables are for the report
    }
    fn state_as(&self, _: &Renamed<'_>) -> Option<u64> {
        self.state()
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
    fn attends(&self) -> Option<Kinds> {
        // One call that was given a descriptor shows that it is watched; the others can break nothing.
        Some(if self.judged == 0 { self.kinds() } else { Kinds::FAILURES })
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
    fn state_as(&self, _: &Renamed<'_>) -> Option<u64> {
        self.state()
    }
    fn judged(&self) -> u64 {
        self.judged
    }
}
