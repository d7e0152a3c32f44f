//! At which steps faults strike.

use super::super::rng::Rng;
use super::Horizon;
use crate::sim::State;

/// Drawn over the whole length of the execution: as one choice among the others a kill would strike within the first few steps of
/// almost every schedule, and the end of the program would never be seen dying. All strategies have it, so that none has to rank faults among
/// the steps of tasks.
pub(super) struct Strikes {
    rng: Rng,
    at: Vec<u64>,
    step: u64,
}

impl Strikes {
    pub(super) fn new(mut rng: Rng, horizon: Horizon) -> Self {
        let length = usize::try_from(horizon.steps).unwrap_or(usize::MAX).max(1);
        // One in four does not strike at all.
        let strike = |_| if rng.below(4) > 0 { Some(rng.below(length) as u64) } else { None };
        let mut at: Vec<u64> = (0..horizon.faults).filter_map(strike).collect();
        at.sort_unstable_by(|a, b| b.cmp(a));
        Strikes { rng, at, step: 0 }
    }

    /// There will be no more.
    #[inline(always)]
    pub(super) fn are_over(&self) -> bool {
        self.at.is_empty()
    }

    /// The position of the fault that strikes now, if one does.
    pub(super) fn due(&mut self, state: &State) -> Option<usize> {
        let now = self.step;
        self.step += 1;
        let faults = state.fault_count();
        if faults == 0 || self.at.last().is_none_or(|&at| at > now) {
            return None;
        }
        self.at.pop();
        Some(state.choice_count() - faults + self.rng.below(faults))
    }
}
