//! When to stop: when the time is over, or somebody says so.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "how long the user waits; no schedule depends on it"
)]

use crate::cli::interrupt::Interrupt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// The exit code of those who are interrupted and do not even report: 128 + SIGINT.
const INTERRUPTED: i32 = 130;

/// Runs from the start of a check.
pub(super) struct Watch {
    start: Instant,
    limit: Option<Duration>,
    interrupted: Arc<AtomicBool>,
}

impl Watch {
    /// Starts, and from now on Ctrl-C is only noted the first time; the second ends the process.
    pub(super) fn start(limit: Option<Duration>) -> Self {
        let interrupted = Arc::new(AtomicBool::new(false));
        let note = interrupted.clone();
        let (listening, begun) = mpsc::channel();
        std::thread::spawn(move || listen(&note, listening));
        // What is interrupted from now on tells what it has found. If listening fails, nobody says that it has begun.
        begun.recv().ok();
        Watch { start: Instant::now(), limit, interrupted }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// What is left of the time, if it is limited.
    pub(super) fn left(&self) -> Option<Duration> {
        self.limit.map(|limit| limit.saturating_sub(self.elapsed()))
    }

    pub(super) fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// Why nothing more should be begun.
    pub(super) fn over(&self) -> Option<&'static str> {
        if self.interrupted() {
            Some("interrupted")
        } else if self.left() == Some(Duration::ZERO) {
            Some("the time was over")
        } else {
            None
        }
    }
}

/// Notes the first interrupt; the second ends the process. Where this fails, already the first does.
fn listen(note: &AtomicBool, listening: mpsc::Sender<()>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let mut interrupt = Interrupt::listen()?;
        drop(listening);
        interrupt.requested().await;
        note.store(true, Ordering::Relaxed);
        interrupt.requested().await;
        std::process::exit(INTERRUPTED)
    })
}
