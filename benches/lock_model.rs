//! What the benches share: how time is measured, and the lock model in shuttle's own primitives.

use std::sync::Arc;

use shuttle::sync::Mutex;
use shuttle::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// The processor time that this process has used, all threads together: on a machine that others use too, the time on the wall says
/// more about them. In seconds.
fn processor_time() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// What the work comes to, and the processor time that it takes, in seconds.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let start = processor_time();
    let value = work();
    (value, processor_time() - start)
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// One execution of shuttle's: so many threads, each takes one of so many mutexes, does two things that all can see, and lets go, so many times.
pub(crate) fn under_shuttle(threads: usize, locks: usize, rounds: usize) {
    let locks: Arc<Vec<Mutex<u32>>> = Arc::new((0..locks).map(|_| Mutex::new(0)).collect());
    let effect = Arc::new(AtomicUsize::new(0));
    let spawn = |n: usize| {
        let (locks, effect) = (locks.clone(), effect.clone());
        shuttle::thread::spawn(move || {
            for _ in 0..rounds {
                let guard = locks[n % locks.len()].lock().expect("nobody panics");
                effect.fetch_add(1, SeqCst);
                effect.fetch_sub(1, SeqCst);
                drop(guard);
            }
        })
    };
    let all: Vec<_> = (0..threads).map(spawn).collect();
    all.into_iter().for_each(|thread| thread.join().expect("nobody panics"));
}

/// Prints nothing about relaxed atomics.
pub(crate) fn config() -> shuttle::Config {
    let mut config = shuttle::Config::new();
    config.silence_warnings = true;
    config
}
