//! What an execution begins with: files, processes, programs, and what may go wrong.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::kernel::Kernel;
use super::state::{Body, Faults, Program, Time};
use crate::world::Status;

/// What the machine is loaded with at the start of every execution.
#[derive(Clone)]
pub(crate) struct Plan {
    /// Files and directories.
    pub(crate) files: Kernel,
    pub(crate) processes: Vec<PlannedProcess>,
    pub(crate) programs: Arc<BTreeMap<String, Program>>,
    pub(crate) faults: Faults,
    pub(crate) cancellable: Arc<[String]>,
    pub(crate) time: Time,
    pub(crate) steps_max: u64,
    /// See [`Scenario::tasks_share_nothing`](crate::Scenario::tasks_share_nothing).
    pub(crate) shared_memory: bool,
    /// See [`Scenario::alike_tasks`](crate::Scenario::alike_tasks).
    pub(crate) alike_tasks: Arc<[String]>,
}

impl Plan {
    /// For each process, the first one that it could change places with, if they are declared to be alike.
    pub(super) fn classes(&self, classes: &mut Vec<Option<u32>>) {
        classes.clear();
        // Who may be cancelled is said by name.
        if self.processes.iter().all(|process| process.alike.is_none()) || !self.cancellable.is_empty() {
            return;
        }
        let what = |process: &PlannedProcess| {
            let PlannedProcess { workers, pool, nofile, may_fail, killable, env, alike, .. } = process;
            (*workers, *pool, *nofile, *may_fail, *killable, env.clone(), *alike)
        };
        let first = |process| self.processes.iter().position(|other| what(other) == what(process));
        classes.extend(self.processes.iter().map(|process| process.alike.and(first(process)).map(|pid| pid as u32)));
    }

    /// The same without a process; the same, if there is none of that name. It keeps its number, and so does everybody else: promises
    /// may be about numbers.
    pub(crate) fn without(mut self, process: &str) -> Self {
        for planned in self.processes.iter_mut().filter(|planned| *planned.name == *process) {
            // Nobody who runs can change places with it.
            (planned.left_out, planned.alike) = (true, None);
        }
        self
    }

    /// How many processes are not left out.
    pub(crate) fn left(&self) -> usize {
        self.processes.iter().filter(|planned| !planned.left_out).count()
    }
}

/// A process that exists from the start.
#[derive(Clone)]
pub(crate) struct PlannedProcess {
    pub(crate) name: Arc<str>,
    pub(crate) body: Body,
    pub(crate) workers: u32,
    pub(crate) pool: u32,
    pub(crate) nofile: u32,
    pub(crate) may_fail: bool,
    pub(crate) killable: bool,
    pub(crate) args: Arc<Vec<String>>,
    pub(crate) env: Arc<BTreeMap<String, String>>,
    /// Those with the same number run the same body, and do not know which they are.
    pub(crate) alike: Option<u32>,
    /// It has ended before anything happens, as one that had nothing to do and exited with 0.
    pub(crate) left_out: bool,
}

impl PlannedProcess {
    /// How it has ended, if it has before anything happens.
    pub(crate) fn ended(&self) -> Option<Status> {
        self.left_out.then_some(Status::Exited(0))
    }
}
