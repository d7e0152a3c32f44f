//! `flockstep run build`: arguments in, one job, its tally out.

mod job;
pub(super) mod prepare;
mod processes;
mod tally;
mod work;

use super::historic::{self, Command};
use super::{BadInput, Exit};
use camino::Utf8PathBuf;
use clap::{Args, ValueEnum};
use flockstep::scenario::Policy;
use job::{Job, Line};
use std::time::Duration;
use tally::Tally;
use work::Ended;

/// The arguments of `run build`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Source trees, and source distributions (.tar.gz).
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<Utf8PathBuf>,
    /// The cache, which any number of processes may share [default: $FLOCKSTEP_CACHE, else flockstep in the user's cache directory].
    #[arg(long, value_name = "DIR")]
    cache: Option<Utf8PathBuf>,
    /// Where to put the wheels; without it they stay in the cache, and their paths are printed.
    #[arg(long, value_name = "DIR")]
    out: Option<Utf8PathBuf>,
    /// Builds at once in each process [default: the number of processors].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=512))]
    jobs: Option<u32>,
    /// How many processes share the work; each of them wants every input.
    #[arg(long, value_name = "P", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    processes: u32,
    /// The Python to build with [default: python3, else python, on PATH].
    #[arg(long, value_name = "PATH")]
    python: Option<Utf8PathBuf>,
    /// Build with the packages that this Python has, instead of in an environment of its own.
    #[arg(long)]
    no_build_isolation: bool,
    /// Build everything again, even if the cache has it.
    #[arg(long)]
    rebuild: bool,
    /// Build by a historic policy of that name, to watch how it fails; `flockstep list` has them.
    #[arg(long, value_name = "SCENARIO/NAME")]
    policy: Vec<String>,
    /// Give up when a lock is not to be had for so long [default: wait for ever].
    #[arg(long, value_name = "SECONDS", value_parser = crate::cli::seconds)]
    lock_timeout: Option<Duration>,
    /// How to report.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// How results are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A line for each input, and a summary.
    Text,
    /// One JSON object a line; the last is the summary.
    Json,
}

const EXAMPLES: &str = "\
Examples:
  flockstep run build .                           this tree; its wheel stays in the cache
  flockstep run build --out wheels lib/* a.tar.gz several at once
  flockstep run build --processes 4 lib/*         four processes that share the work
  flockstep run build --rebuild lib/broken        again, whatever the cache has
  flockstep run build --policy descriptors/lock-before-permit lib/*
                                                  as uv did, to watch it run out of descriptors
  flockstep run build --format json lib/* | tail -n 1";

/// Runs it in this process or in several.
pub(crate) fn main(arguments: Arguments, policies: &[Policy]) -> Result<Exit, BadInput> {
    historic::check(Command::Build, &arguments.policy, policies)?;
    let processes = arguments.processes as usize;
    let names = arguments.inputs.iter().map(ToString::to_string).collect();
    let mut tally = Tally::new(names, processes, arguments.format);
    let ended = match prepare::job(arguments) {
        Err(failure) => {
            (0..processes).for_each(|process| tally.fail_the_rest(process, &failure.to_string()));
            Ended::Finished
        }
        Ok(job) if processes == 1 => alone(job, &mut tally),
        Ok(job) => processes::run(&job, processes, &mut tally).unwrap_or_else(|error| {
            let reason = format!("flockstep: a process could not be started: {error}\n  remedy: use fewer --processes");
            (0..processes).for_each(|process| tally.fail_the_rest(process, &reason));
            Ended::Finished
        }),
    };
    let all_well = tally.finish(ended);
    Ok(match ended {
        Ended::Stopped => Exit::Interrupted,
        Ended::Finished if all_well => Exit::Expected,
        Ended::Finished => Exit::Unexpected,
    })
}

/// The whole job in this process: the work on a thread of its own, the telling on this one.
#[expect(clippy::disallowed_methods, reason = "the world is made on that thread, and this one is outside of it")]
fn alone(job: Job, tally: &mut Tally) -> Ended {
    let (said, lines) = std::sync::mpsc::channel();
    let say = move |line: &Line| drop(said.send(line.clone()));
    let working = std::thread::spawn(|| work::run(job, std::future::ready(()), std::future::pending(), say));
    lines.into_iter().for_each(|line| tally.take(0, line));
    working.join().expect("the work does not panic")
}

/// The hidden side of `--processes`.
pub(crate) fn worker_main() -> Exit {
    match processes::worker() {
        Ended::Finished => Exit::Expected,
        Ended::Stopped => Exit::Interrupted,
    }
}
