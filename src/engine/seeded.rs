//! Our own engine: an executor of futures without stacks or queues, driven by a strategy.

use super::{CannotHold, Engine};
use crate::explore::{Cores, Exploration, Progress, Strategy};
use crate::scenario::Scenario;

/// Holds every scenario and every strategy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seeded;

impl Engine for Seeded {
    fn name(&self) -> &'static str {
        "seeded"
    }

    fn explore(
        &self,
        scenario: &Scenario,
        strategy: &Strategy,
        progress: Progress<'_>,
    ) -> Result<Exploration, CannotHold> {
        Ok(scenario.explore_with(strategy, progress))
    }

    fn explore_on(
        &self,
        scenario: &Scenario,
        strategy: &Strategy,
        progress: Progress<'_>,
        cores: &dyn Cores,
    ) -> Result<Exploration, CannotHold> {
        Ok(scenario.explore_on(strategy, progress, cores))
    }
}
