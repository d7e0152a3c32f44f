//! Clock, chance, and remarks.

use super::OsWorld;
use crate::world::{Clock, Notes};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// When the process started, which is when its first world was made: tokio has no earlier instant to offer either.
static START: OnceLock<Instant> = OnceLock::new();

pub(super) fn start() -> Instant {
    *START.get_or_init(Instant::now)
}

/// SplitMix64 (Steele, Lea, Flood 2014). Its state is a counter, so one atomic addition makes it a generator for any number of
/// threads, none of which sees the number of another.
pub(super) struct Chance(AtomicU64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Chance(AtomicU64::new(seed))
    }

    fn next(&self) -> u64 {
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
        let state = self.0.fetch_add(GOLDEN, Ordering::Relaxed).wrapping_add(GOLDEN);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `n`, by the high half of the product (Lemire): its bias of n / 2^64 is not measurable.
    fn below(&self, n: u32) -> u32 {
        assert!(n > 0, "a choice among none");
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u32
    }
}

impl Clock for OsWorld {
    fn now(&self) -> Duration {
        start().elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    async fn deadline(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    /// # Panics
    /// If `n` is zero.
    async fn choose(&self, n: u32) -> u32 {
        self.machine.chance.below(n)
    }
}

/// Leaves the region on drop. Empty if nobody listened when it was entered.
pub struct OsRegion(Option<(&'static str, Box<str>)>);

impl Drop for OsRegion {
    fn drop(&mut self) {
        if let Some((kind, subject)) = &self.0 {
            tracing::debug!(target: "flockstep::note", kind, subject = &**subject, "leave");
        }
    }
}

/// Remarks are `tracing` events of level debug under the target `flockstep::note`, with the fields `kind` and `subject` and the
/// message "enter", "leave" or "note".
impl Notes for OsWorld {
    type Region = OsRegion;

    fn region(&self, kind: &'static str, subject: &str) -> OsRegion {
        if !tracing::enabled!(target: "flockstep::note", tracing::Level::DEBUG) {
            return OsRegion(None);
        }
        tracing::debug!(target: "flockstep::note", kind, subject, "enter");
        OsRegion(Some((kind, subject.into())))
    }

    fn note(&self, kind: &'static str, subject: &str) {
        tracing::debug!(target: "flockstep::note", kind, subject, "note");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published test vector of SplitMix64 for seed 1234567.
    #[test]
    fn chance_is_splitmix64() {
        let chance = Chance::new(1_234_567);
        assert_eq!(chance.next(), 6_457_827_717_110_365_317);
        assert_eq!(chance.next(), 3_203_168_211_198_807_973);
        assert_eq!((0..1000).map(|_| chance.below(3)).max(), Some(2));
    }
}
