//! Partial-order reduction as a scheduler of shuttle's: it finds what shuttle's own depth-first search finds, in fewer executions.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use flockstep::engine::dpor::{DporScheduler, Op, Report, announce, choose, spawn, switch};
use shuttle::scheduler::{DfsScheduler, Schedule, Scheduler, Task, TaskId};
use shuttle::{Config, FailurePersistence, Runner};

fn config() -> Config {
    let mut config = Config::new();
    config.silence_warnings = true;
    config.failure_persistence = FailurePersistence::None;
    config
}

/// At the point of an operation.
fn at(op: Op) -> bool {
    announce(op);
    switch()
}

/// Explores everything.
fn explore(body: impl Fn() + Send + Sync + 'static) -> Report {
    let scheduler = DporScheduler::new(None);
    Runner::new(scheduler.clone(), config()).run(body);
    let report = scheduler.report();
    assert!(report.exhausted, "{report:?}");
    report
}

const COUNTER: u64 = 100;

/// So many threads, each takes one of so many locks, changes a counter twice and lets go.
fn contest(threads: u64, locks: u64) {
    let counter = Arc::new(Mutex::new((0, 0)));
    let change = |counter: &Mutex<(i32, i32)>, by: i32| {
        at(Op::Write(COUNTER));
        let (now, most) = &mut *counter.lock().unwrap();
        *now += by;
        *most = (*most).max(*now);
    };
    let thread = |n: u64| {
        let counter = counter.clone();
        spawn(move || {
            at(Op::Lock(n % locks));
            change(&counter, 1);
            change(&counter, -1);
            at(Op::Unlock(n % locks));
        })
    };
    let all: Vec<_> = (0..threads).map(thread).collect();
    all.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(counter.lock().unwrap().1 <= locks as i32);
}

#[test]
#[expect(clippy::print_stdout, reason = "the table says more than that it holds")]
fn hardly_more_executions_than_there_are_traces() {
    for (threads, locks, traces) in [(2, 1, 2), (2, 2, 6), (3, 1, 6), (3, 2, 30), (4, 2, 280)] {
        let Report { executions, abandoned, .. } = explore(move || contest(threads, locks));
        println!("{threads} threads, {locks} locks: {executions} executions ({abandoned} abandoned), {traces} traces");
        assert!(executions >= traces && executions * 10 <= traces * 11, "{executions} for {traces} traces");
    }
}
