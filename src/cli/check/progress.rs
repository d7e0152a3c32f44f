//! Progress on standard error, and everything that is printed meanwhile.

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};

/// Where nobody watches a bar, a line is written after so many seconds, and again.
const PERIOD: u64 = 10;

/// How far the work is: a bar on a terminal, otherwise a line now and then if it takes long.
pub(super) struct Progress {
    bar: ProgressBar,
    watched: bool,
    executions: AtomicU64,
    /// When the next line is due, in seconds.
    due: AtomicU64,
}

impl Progress {
    pub(super) fn new(cases: u64) -> Self {
        let watched = std::io::stderr().is_terminal();
        let target = if watched { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template("{spinner} {bar:30} {pos}/{len} cases, {msg} {elapsed}");
        let style = style.expect("the template is constant");
        let bar = ProgressBar::with_draw_target(Some(cases), target).with_style(style);
        Progress { bar, watched, executions: AtomicU64::new(0), due: AtomicU64::new(PERIOD) }
    }

    /// So many executions more; called by every thread.
    pub(super) fn executed(&self, executions: u64) {
        self.executions.fetch_add(executions, Ordering::Relaxed);
    }

    pub(super) fn case_done(&self) {
        self.bar.inc(1);
    }

    /// Called now and then.
    pub(super) fn tick(&self) {
        let executions = HumanCount(self.executions.load(Ordering::Relaxed));
        if self.watched {
            self.bar.set_message(format!("{executions} executions"));
            self.bar.tick();
            return;
        }
        let elapsed = self.bar.elapsed().as_secs();
        if elapsed >= self.due.load(Ordering::Relaxed) {
            self.due.store(elapsed + PERIOD, Ordering::Relaxed);
            let (done, all) = (self.bar.position(), self.bar.length().unwrap_or_default());
            self.note(&format!("{done} of {all} cases, {executions} executions, {elapsed} s"));
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
