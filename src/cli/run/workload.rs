//! What `run compile` and `run uninstall` have in common: one protocol in this process, its peaks, and an interrupt that stops it.

use super::build::Format;
use super::orphans;
use crate::cli::Exit;
use crate::cli::interrupt::Interrupt;
use anstyle::{AnsiColor, Style};
use flockstep::os::OsWorld;
use flockstep::protocol::{Cache, Discipline, Settings};
use flockstep::world::Clock as _;
use serde::Serialize;
use std::fmt::Display;
use std::future::Future;
use std::io::Write as _;
use std::time::Duration;

/// As many as there may be directories read at once; everything that takes long is in children.
const WORKERS: usize = 4;
/// tokio's usual number. Only a historic protocol uses them.
const BLOCKING_THREADS: usize = 512;

/// What a workload took.
#[derive(Debug, Serialize)]
pub(super) struct Taken {
    peaks: Peaks,
    seconds: f64,
}

#[derive(Debug, Serialize)]
struct Peaks {
    descriptors: u32,
    locks: u32,
}

/// Runs `work` to its end, or until it is interrupted: then its children are ended.
///
/// # Errors
/// If it did not come to its end, and why was told: with what to exit.
pub(super) fn run<T, Fut>(
    discipline: Discipline,
    work: impl FnOnce(OsWorld, Cache<OsWorld>) -> Fut + Send + 'static,
) -> Result<(T, Taken), Exit>
where
    T: Send + 'static,
    Fut: Future<Output = T> + Send + 'static,
{
    orphans::adopt();
    let ended = OsWorld::run(WORKERS, BLOCKING_THREADS, move |world| async move {
        let mut interrupt = Interrupt::listen().map_err(|error| format!("signals: {error}"))?;
        // There is no cache in it: it is about permits.
        let settings = Settings { discipline, ..Settings::new("/nonexistent", "/nonexistent") };
        let cache = Cache::new(&world, settings).map_err(|error| error.to_string())?;
        tokio::select! {
            done = work(world.clone(), cache) => {
                let peaks = world.peaks();
                let peaks = Peaks { descriptors: peaks.descriptors, locks: peaks.locks };
                Ok(Some((done, Taken { peaks, seconds: rounded(world.now()) })))
            }
            () = interrupt.requested() => Ok(None),
        }
    });
    match ended.unwrap_or_else(|error| Err(format!("{error}\n  remedy: raise `ulimit -n` and `ulimit -u`"))) {
        Ok(Some(done)) => Ok(done),
        Ok(None) => {
            orphans::end_all();
            Err(Exit::Interrupted)
        }
        Err(error) => {
            tell_error(&error);
            Err(Exit::Unexpected)
        }
    }
}

/// Says it on standard error.
pub(super) fn tell_error(text: &str) {
    let red = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
    // Without anybody to read it, the exit code still says it.
    writeln!(anstream::stderr(), "{red}error{red:#}: {text}").ok();
}

/// One object on a line of its own.
pub(super) fn tell_line(line: &impl Serialize) {
    writeln!(anstream::stdout(), "{}", serde_json::to_string(line).expect("plain data")).ok();
}

/// The last line, in either format.
pub(super) fn tell_summary(format: Format, summary: &(impl Serialize + Display)) {
    let text = match format {
        Format::Json => serde_json::to_string(summary).expect("plain data"),
        Format::Text => summary.to_string(),
    };
    // Nobody may read it; what it is about is done all the same.
    writeln!(anstream::stdout(), "{text}").ok();
}

/// Milliseconds are all that is worth saying.
fn rounded(time: Duration) -> f64 {
    time.as_millis() as f64 / 1000.0
}

impl Display for Taken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "in {:.1} s, with at most {} descriptors", self.seconds, self.peaks.descriptors)
    }
}
