//! A process that ends by itself leaves nothing behind: no descriptor that nobody owns, no lock that outlives it in somebody else's
//! hands, no temporary file.
//!
//! The kernel would close the descriptors anyway; the promise is about the *program*. A guard that was forgotten, a lock that a
//! cancelled task took and nobody gave back, a descriptor that a child inherited by accident: each works until the process lives
//! longer than expected.

use crate::sim::{KernelView, Renamed};
use crate::world::{Event, Kinds, Status, Thread, What};

use super::{Oracle, Violation, ViolationKind, state_of};

/// Descriptors below that number are standard input, output and error.
const STANDARD: u32 = 3;

/// See the [module documentation](self).
#[derive(Debug, Default)]
pub struct Leak {
    /// Names that begin so are temporary; none unless set.
    temporary: Option<String>,
    /// Processes that end by themselves, and are closing what they have.
    ending: Vec<u32>,
    killed: bool,
    judged: u64,
}

impl Leak {
    /// Also watches for files whose name begins with `prefix`: none may be left once every process has ended by itself.
    pub fn of_temporary_files(prefix: impl Into<String>) -> Self {
        Leak { temporary: Some(prefix.into()), ..Leak::default() }
    }

    fn check_descriptors(&self, process: u32, kernel: &KernelView<'_>) -> Result<(), Violation> {
        if kernel.kernel.descriptors_end(process) <= STANDARD {
            return Ok(()); // the usual case, for which no list is made
        }
        for d in kernel.descriptors(process) {
            let standard = d.number < STANDARD || d.passed;
            // A thread of its own that still waits dies with the process, and takes its descriptor along.
            let waiting = d.user != u32::MAX && kernel.task_thread(d.user) == Some(Thread::Own);
            if standard || waiting || d.user == u32::MAX {
                continue;
            }
            let lock = if d.lock.is_some() { ", still locked" } else { "" };
            let text = format!(
                "process {} ends with descriptor {} ({}{lock}) open that nothing owns; {} used it last",
                kernel.process_name(process),
                d.number,
                d.path,
                kernel.task_name(d.user),
            );
            return Err(Violation::new(ViolationKind::Leak, text));
        }
        Ok(())
    }

    fn check_orphans(&self, process: u32, kernel: &KernelView<'_>) -> Result<(), Violation> {
        if kernel.lock_count() == 0 {
            return Ok(()); // the usual case again
        }
        let descends =
            |holder: u32| std::iter::successors(kernel.parent(holder), |&p| kernel.parent(p)).any(|p| p == process);
        for lock in kernel.locks().into_iter().filter(|lock| lock.taken_by == Some(process)) {
            for &holder in lock.processes.iter().filter(|&&holder| descends(holder)) {
                // What it opened itself it has used. Whoever has not reached its exec yet has a copy of everything, and closes it there.
                let mut descriptors = kernel.descriptors(holder).into_iter().filter(|d| !d.close_on_exec);
                let accident = descriptors.any(|d| {
                    u64::from(d.description) == lock.description
                        && !d.passed
                        && d.number >= STANDARD
                        && d.user == u32::MAX
                });
                if accident && kernel.alive(holder) {
                    let text = format!(
                        "process {} has ended, but its lock on {} lives on in process {}, which inherited the descriptor by accident",
                        kernel.process_name(process),
                        lock.path,
                        kernel.process_name(holder),
                    );
                    return Err(Violation::new(ViolationKind::Leak, text));
                }
            }
        }
        Ok(())
    }
}

impl Oracle for Leak {
    fn name(&self) -> &str {
        "leak"
    }
    fn kinds(&self) -> Kinds {
        Kinds::PROCESSES
    }
    fn attends(&self) -> Option<Kinds> {
        Some(Kinds::ENDED)
    }
    fn begin(&mut self) {
        self.killed = false;
        self.ending.clear();
    }
    fn on(&mut self, event: &Event, kernel: &KernelView<'_>) -> Result<(), Violation> {
        match event.what {
            What::Ending { status: Status::Exited(_) } => {
                self.judged += 1;
                self.ending.push(event.process);
                self.check_descriptors(event.process, kernel)
            }
            What::Ending { status: Status::Killed(_) } => {
                self.killed = true;
                Ok(())
            }
            What::Ended { .. } => match self.ending.iter().position(|&process| process == event.process) {
                Some(at) => {
                    self.ending.swap_remove(at);
                    self.check_orphans(event.process, kernel)
                }
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }
    fn finish(&mut self, kernel: &KernelView<'_>) -> Result<(), Violation> {
        let Some(prefix) = self.temporary.as_deref().filter(|_| !self.killed) else { return Ok(()) };
        let mut left = None;
        kernel.walk(|path, _| {
            let name = path.rsplit('/').next().unwrap_or_default();
            if name.starts_with(prefix) && left.is_none() {
                left = Some(path.to_owned());
            }
        });
        match left {
            None => Ok(()),
            Some(path) => {
                let text = format!("every process has ended by itself, and the temporary {path} is left");
                Err(Violation::new(ViolationKind::Leak, text))
            }
        }
    }
    fn state(&self) -> Option<u64> {
        self.state_as(&Renamed::default())
    }
    fn state_as(&self, names: &Renamed<'_>) -> Option<u64> {
        let mut ending: Vec<u32> = self.ending.iter().map(|&process| names.process(process)).collect();
        ending.sort_unstable();
        state_of((self.killed, ending))
    }
    fn judged(&self) -> u64 {
        self.judged
    }
}
