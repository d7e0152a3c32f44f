//! What is done with a scenario: it is explored, in one or in parts, and schedules of it are replayed.

use std::sync::Arc;

use super::Scenario;
use crate::explore::{
    Cores, Exploration, Failure, Findings, JoinError, Key, OneCore, Pace, Progress, Retold, Strategy,
};
use crate::oracle::{Judges, Leak};
use crate::sim::Plan;

impl Scenario {
    /// Explores with our own engine.
    pub fn explore(&self, strategy: Strategy) -> Exploration {
        self.explore_with(&strategy, &mut |_: &Pace| true)
    }

    /// The same; `progress` is called now and then, and interrupts by returning `false`.
    pub fn explore_with(&self, strategy: &Strategy, progress: Progress<'_>) -> Exploration {
        self.explore_on(strategy, progress, &OneCore)
    }

    /// The same, on as many threads as there are; it comes to the same with any number of them.
    pub fn explore_on(&self, strategy: &Strategy, progress: Progress<'_>, cores: &dyn Cores) -> Exploration {
        crate::explore::explore(self, strategy, progress, cores)
    }

    /// Joins what the [parts](Strategy::part) of an exploration have found, in any order, to what one run would have come to: the
    /// same verdict, the same executions, the same key. A search that was cut into parts (by [`Strategy::exhaustive`]) comes to the
    /// same verdict and may have taken more executions.
    ///
    /// # Errors
    /// If they are not all the parts of one exploration of this scenario by this strategy.
    pub fn join(
        &self,
        strategy: &Strategy,
        parts: impl IntoIterator<Item = Findings>,
    ) -> Result<Exploration, JoinError> {
        crate::explore::join(self, strategy, parts.into_iter().collect(), false)
    }

    /// The same of those parts that are there: unless a promise was broken, it is inconclusive.
    ///
    /// # Errors
    /// If they are not parts of one exploration of this scenario by this strategy.
    pub fn join_partial(
        &self,
        strategy: &Strategy,
        parts: impl IntoIterator<Item = Findings>,
    ) -> Result<Exploration, JoinError> {
        crate::explore::join(self, strategy, parts.into_iter().collect(), true)
    }

    /// Replays a schedule: the failure, if it still fails, and everything that happened, told.
    pub fn replay(&self, key: &Key) -> (Option<Failure>, Vec<String>) {
        crate::explore::replay_keys(self, &[key])
    }

    /// Replays several schedules one after the other before the same oracles, which may merge what they see: the failure, if one
    /// fails, and everything that happened in the last. For what [follows from](crate::Violation::follows_from) several executions, hand
    /// over [`more_keys`](Failure::more_keys) first.
    pub fn replay_together<'k>(&self, keys: impl IntoIterator<Item = &'k Key>) -> (Option<Failure>, Vec<String>) {
        crate::explore::replay_keys(self, &keys.into_iter().collect::<Vec<_>>())
    }

    /// The same with every event by itself, and the lock table at the end whether it fails or not.
    pub fn retell<'k>(&self, keys: impl IntoIterator<Item = &'k Key>) -> Retold {
        crate::explore::retell(self, &keys.into_iter().collect::<Vec<_>>())
    }

    pub(crate) fn plan(&self) -> Plan {
        Plan {
            files: self.files.clone(),
            processes: self.processes.clone(),
            programs: Arc::new(self.programs.clone()),
            faults: self.faults,
            cancellable: self.cancellable.clone().into(),
            time: self.time,
            steps_max: self.steps_max,
            shared_memory: self.shared_memory,
            alike_tasks: self.alike_tasks.clone().into(),
        }
    }

    pub(crate) fn judges(&self) -> Judges {
        let mut judges = Judges::default();
        for (named, make) in &self.oracles {
            judges.add(make(), *named);
        }
        if self.leaks {
            judges.add(Box::new(Leak::default()), false);
        }
        judges
    }
}
