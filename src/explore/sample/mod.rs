//! Sampling: schedules that are drawn, one number after the other. One file a strategy.
//!
//! Schedule number n of a seed depends on the seed, on n and on what the [pilots](pilot) have shown, which are the first schedules of the
//! seed: never on what came out of others.

mod burst;
mod pct;
mod pilot;
mod pos;
mod strikes;
mod table;
mod urw;

use std::sync::Arc;

use super::Method;
use super::rng::Rng;
use crate::sim::{Chooser, State};
use burst::Burst;
use pct::Pct;
pub(crate) use pilot::{Flight, PILOTS, Pilot};
use pos::Pos;
use strikes::Strikes;
use urw::{Surw, Urw};

/// What a sampler knows of an execution before it begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Horizon {
    /// About how many steps it will have.
    pub(crate) steps: u64,
    /// How many faults may strike in it.
    pub(crate) faults: u32,
}

/// How the next step is drawn.
enum Walk {
    /// Every possible step with the same probability.
    Random(Rng),
    Burst(Burst),
    Pct(Pct),
    Pos(Pos),
    Urw(Urw, Arc<Pilot>),
    Surw(Surw, Arc<Pilot>),
}

/// Draws one schedule: the steps by its strategy, faults and values alike under each.
pub(crate) struct Sampler {
    walk: Walk,
    strikes: Strikes,
    values: Rng,
}

/// Where the random numbers of schedule number `n` of a seed start.
fn own(seed: u64, n: u64) -> u64 {
    Rng::stream(seed ^ n.wrapping_mul(0xd134_2543_de82_ef95), "execution").next()
}

impl Sampler {
    fn new(own: u64, horizon: Horizon, walk: impl FnOnce(Rng) -> Walk) -> Self {
        Sampler {
            walk: walk(Rng::stream(own, "steps")),
            strikes: Strikes::new(Rng::stream(own, "strikes"), horizon),
            values: Rng::stream(own, "values"),
        }
    }

    /// The random schedule number `n` of a seed.
    #[cfg(feature = "loom")]
    pub(crate) fn random(seed: u64, n: u64, horizon: Horizon) -> Self {
        Sampler::new(own(seed, n), horizon, Walk::Random)
    }
}

impl Chooser for Sampler {
    #[inline(always)]
    fn pick(&mut self, state: &State) -> Option<usize> {
        match &mut self.walk {
            Walk::Random(rng) if self.strikes.are_over() => Some(rng.below(state.usual_count())),
            _ => self.pick_otherwise(state),
        }
    }
    fn value(&mut self, of: u32) -> u32 {
        self.values.below(of as usize) as u32
    }
}

impl Sampler {
    #[inline(never)]
    fn pick_otherwise(&mut self, state: &State) -> Option<usize> {
        if let Some(strike) = self.strikes.due(state) {
            return Some(strike);
        }
        let among = state.usual_count();
        Some(match &mut self.walk {
            Walk::Random(rng) => rng.below(among),
            Walk::Burst(burst) => burst.pick(state, among),
            Walk::Pct(pct) => pct.pick(state, among),
            Walk::Pos(pos) => pos.pick(state, among),
            Walk::Urw(urw, pilot) => urw.pick(pilot, state, among),
            Walk::Surw(surw, pilot) => surw.pick(pilot, state, among),
        })
    }
}

/// The strategies that are mixed, in turn.
const MIX: [Method; 6] =
    [Method::Surw, Method::Pos, Method::Random, Method::Urw, Method::Burst, Method::Pct { depth: 3 }];

/// The schedules of a seed.
pub(crate) struct Samples {
    method: Method,
    seed: u64,
    faults: u32,
    pilot: Arc<Pilot>,
}

impl Samples {
    /// Those of a seed, in which that many faults may strike each.
    pub(crate) fn new(method: Method, seed: u64, faults: u32) -> Self {
        Samples { method, seed, faults, pilot: Arc::default() }
    }

    /// The pilot number `n`, if that schedule is one. All of them come before the others, and are [learnt](Samples::learn) from.
    pub(crate) fn flight(&self, n: u64) -> Option<Flight> {
        (n < PILOTS).then(|| Flight::new(own(self.seed, n), n))
    }

    /// Learns from a pilot that has been run.
    pub(crate) fn learn(&mut self, flight: Flight) {
        Arc::make_mut(&mut self.pilot).learn(flight);
    }

    /// The steps of the longest pilot, at least one.
    pub(crate) fn steps(&self) -> u64 {
        self.pilot.steps.max(1)
    }

    /// Schedule number `n`.
    pub(crate) fn schedule(&self, n: u64) -> Sampler {
        let horizon = Horizon { steps: self.pilot.steps, faults: self.faults };
        let pilot = &self.pilot;
        let method = match self.method {
            Method::Portfolio | Method::Mixed => MIX[(n % MIX.len() as u64) as usize],
            one => one,
        };
        Sampler::new(own(self.seed, n), horizon, |rng| match method {
            Method::Burst => Walk::Burst(Burst::new(rng)),
            Method::Pct { depth } => Walk::Pct(Pct::new(rng, depth, horizon)),
            Method::Pos => Walk::Pos(Pos::new(rng)),
            Method::Urw => Walk::Urw(Urw::new(rng), pilot.clone()),
            Method::Surw => Walk::Surw(Surw::new(pilot, rng), pilot.clone()),
            // The rest is no way of drawing.
            _ => Walk::Random(rng),
        })
    }
}
