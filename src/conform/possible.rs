//! Every state that the simulated machine may be in: where the kernel promises no order, each order is followed.
//!
//! Woken sleepers race. Which of two shared ones returns first is of no consequence, but two that sleep for the *same* description, one
//! shared and one exclusive, both return, and the later one decides what is held; the request and the locks of a process that dies
//! asleep go separately, and wake separately. One run of the real kernel shows one of the outcomes. So a comparison keeps all states
//! that are possible, and each observation leaves those that agree with it: none left means that the kernel did what the model cannot.

use std::collections::{BTreeMap, BTreeSet};

use super::Simulated;
use super::call::Call;
use crate::world::{FileId, Status};

/// More states than these are not followed.
pub const STATES_MAX: usize = 5_000;

/// So many orders that they were not all followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {STATES_MAX} states are possible")]
pub struct TooMany;

/// All states that a [`Simulated`] may be in after what was done and seen so far.
#[derive(Clone, Debug)]
pub struct Possible {
    states: Vec<Simulated>,
}

impl Possible {
    /// These processes in an empty directory, on that machine.
    pub fn begin(mut machine: Simulated, processes: &[u32]) -> Self {
        machine.make_processes(processes);
        Possible { states: vec![machine] }
    }

    /// How many states are possible now.
    pub fn count(&self) -> usize {
        self.states.len()
    }

    /// The descriptors of a process; locks do not influence them.
    pub fn descriptors(&self, process: u32) -> Vec<i32> {
        let numbers = self.states.first().map(|machine| machine.descriptors(process));
        numbers.unwrap_or_default().into_iter().filter_map(|fd| i32::try_from(fd).ok()).collect()
    }

    /// A process makes a call.
    pub fn call(&mut self, process: u32, call: &Call) -> Result<(), TooMany> {
        self.make(|machine| machine.begin_call(process, call))
    }

    /// fork(2).
    pub fn fork(&mut self, process: u32, child: u32) {
        self.states.iter_mut().for_each(|machine| machine.make_fork(process, child));
    }

    /// execve(2) of `path`, or of some program that exists.
    pub fn exec(&mut self, process: u32, path: Option<&str>) -> Result<(), TooMany> {
        self.make(|machine| machine.begin_exec(process, path))
    }

    /// The process ends, or is killed.
    pub fn end(&mut self, process: u32, status: Status) -> Result<(), TooMany> {
        self.make(|machine| machine.begin_death(process, status))
    }

    /// SIGUSR1.
    pub fn signal(&mut self, process: u32) -> Result<(), TooMany> {
        self.make(|machine| _ = machine.begin_signal(process))
    }

    /// Begins something in every state, and follows every order in which it and whoever it wakes can go on.
    fn make(&mut self, begin: impl Fn(&mut Simulated)) -> Result<(), TooMany> {
        let mut open = std::mem::take(&mut self.states);
        open.iter_mut().for_each(begin);
        let mut seen = BTreeSet::new();
        while let Some(mut machine) = open.pop() {
            // Alone, there is nothing to choose; states in which several can go on are compared with those seen.
            while machine.movers() == 1 {
                machine.step(0);
            }
            if (machine.movers() > 0 || !open.is_empty() || !seen.is_empty()) && !seen.insert(machine.fingerprint()) {
                continue;
            }
            if seen.len() > STATES_MAX {
                return Err(TooMany);
            }
            if machine.movers() == 0 {
                self.states.push(machine);
                continue;
            }
            for mover in 1..machine.movers() {
                let mut other = machine.clone();
                other.step(mover);
                open.push(other);
            }
            machine.step(0);
            open.push(machine);
        }
        Ok(())
    }

    /// Leaves the states in which `look` sees what was seen.
    ///
    /// # Errors
    /// Every sight that was possible, if it was none of them; no state is left then.
    pub fn observe<T: Clone + Ord>(&mut self, look: impl Fn(&mut Simulated) -> T, seen: &T) -> Result<(), BTreeSet<T>> {
        let mut sights = BTreeSet::new();
        self.states.retain_mut(|machine| {
            let sight = look(machine);
            let agrees = sight == *seen;
            sights.insert(sight);
            agrees
        });
        if self.states.is_empty() { Err(sights) } else { Ok(()) }
    }
}

/// What to look at.
impl Simulated {
    /// What has come of the calls of these processes, in words; each is told once.
    pub fn words(&mut self, processes: &BTreeSet<u32>) -> BTreeMap<u32, String> {
        let word = |&process: &u32| match self.progress(process) {
            super::Progress::Asleep => None,
            super::Progress::Returned(outcome) => Some((process, super::call::shown(&outcome))),
        };
        processes.iter().filter_map(word).collect()
    }

    /// Whether a process has neither ended nor been killed.
    pub fn lives(&self, process: u32) -> bool {
        self.processes.contains_key(&process)
    }

    /// The flock(2) locks on the file that a path leads a process to, in words; `None` if there is no such file.
    pub fn locks_at(&self, process: u32, path: &str) -> Option<String> {
        let file: FileId = self.file(process, path)?;
        Some(self.table(file).to_string())
    }
}
