//! Sleep sets: who has been tried, and need not be tried again until something happens that depends on it.

use std::sync::Arc;

use crate::sim::depend::{Actor, Footprint};

/// Those who were tried, and what their steps touch, whatever values they choose.
#[derive(Debug, Default)]
pub(super) struct Sleep(Vec<(Actor, Arc<Footprint>)>);

impl Sleep {
    /// Somebody has been tried, and all that comes of it.
    pub(super) fn add(&mut self, actor: Actor, touched: Footprint) {
        self.0.push((actor, Arc::new(touched)));
    }

    /// Whether somebody sleeps.
    pub(super) fn has(&self, actor: Actor) -> bool {
        self.0.iter().any(|(other, _)| *other == actor)
    }

    /// Those who sleep on after a step: it does not depend on theirs, nor theirs on it.
    pub(super) fn after(&self, step: &Footprint) -> Sleep {
        Sleep(self.0.iter().filter(|(_, touched)| touched.commutes(step)).cloned().collect())
    }

    /// Everybody who sleeps.
    pub(super) fn actors(&self) -> impl Iterator<Item = Actor> + '_ {
        self.0.iter().map(|(actor, _)| *actor)
    }

    /// Wakes the others.
    pub(super) fn retain(&mut self, sleeps_on: impl Fn(Actor) -> bool) {
        self.0.retain(|&(actor, _)| sleeps_on(actor));
    }
}
