//! Engines: who picks the next step.
//!
//! One kernel, many engines. The machine, its tasks and its oracles are the same under each; an engine only decides which of the
//! possible steps comes next. Our own ([`Seeded`]) owns the main loop; the others are second opinions, whose verdicts must agree.

#[cfg(feature = "shuttle")]
pub mod dpor;
#[cfg(feature = "loom")]
mod loom;
mod seeded;
#[cfg(feature = "shuttle")]
mod shuttle;
#[cfg(any(feature = "shuttle", feature = "loom"))]
mod turns;

#[cfg(feature = "loom")]
pub use loom::Loom;
pub use seeded::Seeded;
#[cfg(feature = "shuttle")]
pub use shuttle::Shuttle;

use crate::explore::{Cores, Exploration, Progress, Strategy};
use crate::scenario::Scenario;

/// Why an engine cannot run a scenario.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {engine} engine cannot hold {scenario}: {why}")]
pub struct CannotHold {
    /// The engine's name.
    pub engine: &'static str,
    /// The scenario and its case.
    pub scenario: String,
    /// What is too much for it.
    pub why: String,
}

/// Who picks the next step.
pub trait Engine: Sync {
    /// Its name on the command line.
    fn name(&self) -> &'static str;

    /// Explores a scenario. `progress` is called now and then, and interrupts by returning `false`.
    ///
    /// # Errors
    /// If the scenario, or the strategy, is not one that this engine can run.
    fn explore(
        &self,
        scenario: &Scenario,
        strategy: &Strategy,
        progress: Progress<'_>,
    ) -> Result<Exploration, CannotHold>;

    /// The same on as many threads as are free, if the engine can make use of them.
    ///
    /// # Errors
    /// As [`explore`](Engine::explore).
    fn explore_on(
        &self,
        scenario: &Scenario,
        strategy: &Strategy,
        progress: Progress<'_>,
        cores: &dyn Cores,
    ) -> Result<Exploration, CannotHold> {
        let _ = cores;
        self.explore(scenario, strategy, progress)
    }
}

/// Every engine that this build has, our own first.
pub fn all() -> Vec<&'static dyn Engine> {
    vec![
        &Seeded,
        #[cfg(feature = "shuttle")]
        &Shuttle,
        #[cfg(feature = "loom")]
        &Loom,
    ]
}

/// The engine of that name.
pub fn by_name(name: &str) -> Option<&'static dyn Engine> {
    all().into_iter().find(|engine| engine.name() == name)
}
