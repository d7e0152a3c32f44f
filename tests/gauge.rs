//! The descriptor gauge under the C11 memory model: loom tries every interleaving, and every value that a load may see.

use flockstep::os::{Class, Counter, DescriptorGauge};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering::Relaxed};
use loom::thread;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicUsize;

/// As the real one, on loom's atomics.
struct Sound(AtomicU32);

impl Counter for Sound {
    fn new(value: u32) -> Self {
        Sound(AtomicU32::new(value))
    }
    fn load(&self) -> u32 {
        self.0.load(Relaxed)
    }
    fn increment(&self) -> u32 {
        self.0.fetch_add(1, Relaxed)
    }
    fn decrement(&self) {
        self.0.fetch_sub(1, Relaxed);
    }
    fn raise(&self, least: u32) {
        self.0.fetch_max(least, Relaxed);
    }
}

/// A maximum by load and store.
struct TornMaximum(Sound);

impl Counter for TornMaximum {
    fn new(value: u32) -> Self {
        TornMaximum(Sound::new(value))
    }
    fn load(&self) -> u32 {
        self.0.load()
    }
    fn increment(&self) -> u32 {
        self.0.increment()
    }
    fn decrement(&self) {
        self.0.decrement();
    }
    fn raise(&self, least: u32) {
        if self.load() < least {
            self.0.0.store(least, Relaxed);
        }
    }
}

/// A sum by load and store.
struct TornSum(Sound);

impl Counter for TornSum {
    fn new(value: u32) -> Self {
        TornSum(Sound::new(value))
    }
    fn load(&self) -> u32 {
        self.0.load()
    }
    fn increment(&self) -> u32 {
        let before = self.load();
        self.0.0.store(before + 1, Relaxed);
        before
    }
    fn decrement(&self) {
        self.0.decrement();
    }
    fn raise(&self, least: u32) {
        self.0.raise(least);
    }
}

/// Two threads open a file each, with numbers 3 and 4, and keep it; a third lock comes and goes. How many executions that took.
fn explore<C: Counter + 'static>() -> usize {
    let executions = std::sync::Arc::new(AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&executions);
    loom::model(move || {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let gauge = Arc::new(DescriptorGauge::<C>::default());
        let opener = {
            let gauge = Arc::clone(&gauge);
            thread::spawn(move || {
                gauge.saw(4);
                gauge.enter(Class::File);
            })
        };
        gauge.saw(3);
        gauge.enter(Class::File);
        gauge.enter(Class::Lock);
        gauge.leave(Class::Lock);
        opener.join().unwrap();
        assert_eq!(gauge.descriptors_peak(), 5);
        assert_eq!((gauge.now(Class::File), gauge.peak(Class::File)), (2, 2));
        assert_eq!((gauge.now(Class::Lock), gauge.peak(Class::Lock)), (0, 1));
    });
    executions.load(std::sync::atomic::Ordering::Relaxed)
}

#[test]
fn the_gauge_is_exact_in_every_interleaving() {
    // loom stops without a word at limits of its own: that it went somewhere is for us to see.
    let executions = explore::<Sound>();
    assert!(executions > 10, "{executions}");
}

#[test]
fn a_torn_maximum_is_caught() {
    assert!(catch_unwind(AssertUnwindSafe(explore::<TornMaximum>)).is_err());
}

#[test]
fn a_torn_sum_is_caught() {
    assert!(catch_unwind(AssertUnwindSafe(explore::<TornSum>)).is_err());
}
