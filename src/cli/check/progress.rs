//! Progress on standard error, and everything that is printed meanwhile.

use super::ahead::{Ahead, Left};
use flockstep::explore::Pace;
use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// Where nobody watches a bar, a line is written after so many seconds, and again.
const PERIOD: u64 = 10;

/// How far the work is: a bar on a terminal, otherwise a line now and then if it takes long.
pub(super) struct Progress {
    bar: ProgressBar,
    watched: bool,
    ahead: Mutex<Ahead>,
    /// Whether it is counted which pairs of operations met.
    coverage: bool,
    /// When the next line is due, in seconds.
    due: AtomicU64,
}

/// A case that is being explored.
pub(super) struct Going<'p> {
    progress: &'p Progress,
    case: u64,
}

impl Going<'_> {
    pub(super) fn is_at(&self, pace: &Pace) {
        self.progress.ahead().is_at(self.case, pace);
    }

    pub(super) fn end(self, executions: u64, pairs: u64) {
        self.progress.ahead().is_done(self.case, executions, pairs);
    }
}

impl Progress {
    /// Of so many cases, of which that much is known beforehand.
    pub(super) fn new(cases: u64, ahead: Ahead, coverage: bool) -> Self {
        let watched = std::io::stderr().is_terminal();
        let target = if watched { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template("{spinner} {bar:30} {pos}/{len} cases, {msg}");
        let style = style.expect("the template is constant");
        let bar = ProgressBar::with_draw_target(Some(cases), target).with_style(style);
        Progress { bar, watched, ahead: Mutex::new(ahead), coverage, due: AtomicU64::new(PERIOD) }
    }

    fn ahead(&self) -> MutexGuard<'_, Ahead> {
        self.ahead.lock().expect("nobody panics with it")
    }

    /// A case is begun; called by every thread.
    pub(super) fn begin(&self) -> Going<'_> {
        Going { progress: self, case: self.ahead().begin() }
    }

    pub(super) fn case_done(&self) {
        self.bar.inc(1);
    }

    /// Called now and then, with what is left of the time if it is limited.
    pub(super) fn tick(&self, limit: Option<Duration>) {
        let elapsed = self.bar.elapsed();
        let mut ahead = self.ahead();
        let rate = ahead.rate(elapsed);
        let pairs = self.coverage.then(|| ahead.pairs());
        let (executions, left) = (ahead.executions(), ahead.left(rate, limit));
        let (rate, tries) = (Some(rate).filter(|_| !ahead.only_shrinks()), ahead.tries());
        drop(ahead);
        let told = tell(executions, rate, tries, pairs, elapsed, left);
        if self.watched {
            self.bar.set_message(told);
            self.bar.tick();
        } else if elapsed.as_secs() >= self.due.load(Ordering::Relaxed) {
            self.due.store(elapsed.as_secs() + PERIOD, Ordering::Relaxed);
            let (done, all) = (self.bar.position(), self.bar.length().unwrap_or_default());
            self.note(&format!("{done} of {all} cases, {told}"));
        }
    }

    /// To standard output, above the bar.
    pub(super) fn print(&self, text: &str) {
        // Nobody may read it, as in `| head`; the exit code is worth having all the same.
        self.bar.suspend(|| anstream::stdout().write_all(text.as_bytes())).ok();
    }

    /// A line to standard error, above the bar.
    pub(super) fn note(&self, line: &str) {
        self.bar.suspend(|| writeln!(anstream::stderr(), "{line}")).ok();
    }

    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}

/// `12,345 executions, 678/s, shrinking, 40 tries, 90 pairs, 12 s, ~30 s left`.
fn tell(
    executions: u64,
    rate: Option<f64>,
    tries: Option<u64>,
    pairs: Option<u64>,
    elapsed: Duration,
    left: Option<Left>,
) -> String {
    let mut told = format!("{} executions", HumanCount(executions));
    if let Some(rate) = rate {
        told += &format!(", {}/s", HumanCount(rate.round() as u64));
    }
    if let Some(tries) = tries {
        told += &format!(", shrinking, {} tries", HumanCount(tries));
    }
    if let Some(pairs) = pairs {
        told += &format!(", {} pairs", HumanCount(pairs));
    }
    told += &format!(", {} s", elapsed.as_secs());
    // Rounded up: what is left is not nothing.
    let seconds = |time: Duration| HumanCount(time.as_secs_f64().ceil() as u64);
    match left {
        Some(Left::AtMost(time)) => told += &format!(", at most {} s left", seconds(time)),
        Some(Left::About(time)) => told += &format!(", ~{} s left", seconds(time)),
        None => {}
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_is_marked_and_what_is_not_known_is_not_told() {
        let told = |pairs, left| tell(12_345, Some(678.4), None, pairs, Duration::from_millis(12_900), left);
        assert_eq!(told(None, None), "12,345 executions, 678/s, 12 s");
        let time = Duration::from_millis(29_100);
        assert_eq!(told(Some(90), Some(Left::About(time))), "12,345 executions, 678/s, 90 pairs, 12 s, ~30 s left");
        assert_eq!(told(None, Some(Left::AtMost(time))), "12,345 executions, 678/s, 12 s, at most 30 s left");
    }

    #[test]
    fn what_is_made_smaller_is_said_instead_of_a_rate() {
        let told = |rate, tries| tell(12_345, rate, tries, None, Duration::from_secs(12), None);
        assert_eq!(told(None, Some(1_040)), "12,345 executions, shrinking, 1,040 tries, 12 s");
        assert_eq!(told(Some(678.4), Some(40)), "12,345 executions, 678/s, shrinking, 40 tries, 12 s");
    }
}
