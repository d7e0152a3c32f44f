//! How long an exploration takes: told, compared with a limit, never seen by a schedule.
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "the one clock outside of a World: it measures the exploration, and no execution can read it"
)]

use std::time::{Duration, Instant};

/// Started when it is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Stopwatch(Instant::now())
    }
    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}
