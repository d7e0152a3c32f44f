//! The work: the cases of all rows in parallel, the rows in order.

use super::idle::Idle;
use super::{Progress, Watch};
use crate::cli::quiet::quietly;
use flockstep::engine::{CannotHold, Engine};
use flockstep::explore::Pace;
use flockstep::scenario::{Policy, Scenario};
use flockstep::{Exploration, Strategy};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

/// A row to come.
pub(super) struct Planned<'p> {
    pub(super) policy: &'p Policy,
    pub(super) engine: &'static dyn Engine,
}

/// What comes out of a case.
pub(super) type Outcome = Result<Exploration, CannotHold>;

/// Explores every case of every row of the plan, `jobs` at once, and hands each row to `each` once it and all before it are done.
#[expect(clippy::disallowed_methods, reason = "each thread explores machines of its own; none runs in a world")]
pub(super) fn run<'p>(
    plan: &[Planned<'p>],
    strategy: &Strategy,
    jobs: usize,
    watch: &Watch,
    progress: &Progress,
    each: &mut dyn FnMut(&Planned<'p>, Vec<Outcome>),
) {
    let cases = |row: usize| (0..plan[row].policy.cases.len()).map(move |case| (row, case));
    let queue: Vec<(usize, usize)> = (0..plan.len()).flat_map(cases).collect();
    let (next, cores) = (AtomicUsize::new(0), Idle::new(jobs));
    let work = |done: mpsc::Sender<(usize, usize, Outcome)>| {
        while let Some(&(row, case)) = queue.get(next.fetch_add(1, Ordering::Relaxed)) {
            let Planned { policy, engine } = &plan[row];
            let outcome = explore(*engine, &policy.cases[case].scenario, strategy, watch, progress, &cores);
            if done.send((row, case, outcome)).is_err() {
                return;
            }
        }
        cores.give();
    };
    let work = &work;
    std::thread::scope(|scope| {
        let (done, arriving) = mpsc::channel();
        (queue.len()..jobs).for_each(|_| cores.give());
        for _ in 0..jobs.min(queue.len()) {
            let done = done.clone();
            scope.spawn(move || work(done));
        }
        drop(done);
        let mut rows: Vec<Vec<Option<Outcome>>> =
            plan.iter().map(|row| row.policy.cases.iter().map(|_| None).collect()).collect();
        let (mut told, mut interrupted) = (0, false);
        loop {
            match arriving.recv_timeout(Duration::from_millis(200)) {
                Ok((row, case, outcome)) => {
                    rows[row][case] = Some(outcome);
                    progress.case_done();
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
            while told < plan.len() && rows[told].iter().all(Option::is_some) {
                each(&plan[told], rows[told].drain(..).flatten().collect());
                told += 1;
            }
            if watch.interrupted() && !std::mem::replace(&mut interrupted, true) {
                progress.note("interrupted: telling what there is; once more ends it at once");
            }
            progress.tick(watch.left());
        }
    });
}

/// Explores one case until it is done or the watch says stop.
fn explore(
    engine: &dyn Engine,
    scenario: &Scenario,
    strategy: &Strategy,
    watch: &Watch,
    progress: &Progress,
    cores: &Idle,
) -> Outcome {
    if let Some(why) = watch.over() {
        return Ok(Exploration::nothing(format!("{why} before it began")));
    }
    let strategy = Strategy { time_limit: watch.left(), ..strategy.clone() };
    let going = progress.begin();
    let mut count = |pace: &Pace| {
        going.is_at(pace);
        !watch.interrupted()
    };
    let explored =
        quietly(|| catch_unwind(AssertUnwindSafe(|| engine.explore_on(scenario, &strategy, &mut count, cores))));
    let outcome = explored.unwrap_or_else(|why| {
        let text = why.downcast_ref::<String>().cloned();
        let text = text.or_else(|| why.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default();
        Ok(Exploration::nothing(format!("the {} engine panicked: {text}", engine.name())))
    });
    let come_to = |exploration: &Exploration| (exploration.executions, exploration.coverage.pairs().len() as u64);
    let (executions, pairs) = outcome.as_ref().map(come_to).unwrap_or_default();
    going.end(executions, pairs);
    outcome
}
