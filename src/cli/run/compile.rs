//! `flockstep run compile`: bytecode for a tree.

use super::build::{Format, prepare};
use super::historic::{self, Command};
use super::workload::{self, Taken, tell_error, tell_line, tell_summary};
use crate::cli::{BadInput, Exit};
use camino::Utf8PathBuf;
use clap::Args;
use flockstep::protocol::Order;
use flockstep::protocol::bytecode::{CHUNK, Compile, Compiled, compile};
use flockstep::scenario::Policy;
use serde::Serialize;
use std::fmt::Display;

/// The arguments of `run compile`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The directory: every file below it whose name ends in .py.
    dir: Utf8PathBuf,
    /// Interpreters at once; the limit on open files may allow fewer [default: the number of processors].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    jobs: Option<u32>,
    /// The Python to compile with, and for [default: python3, else python, on PATH].
    #[arg(long, value_name = "PATH")]
    python: Option<Utf8PathBuf>,
    /// Compile by a historic policy of that name, to watch how it fails.
    #[arg(long, value_name = "SCENARIO/NAME")]
    policy: Vec<String>,
    /// How to report.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

const EXAMPLES: &str = "\
Examples:
  flockstep run compile .venv/lib                       all that is installed there
  flockstep run compile --jobs 2 --python python3.12 lib
  flockstep run compile --jobs 256 --policy bytecode/unbounded lib
                                                        as uv did, to watch it run out of descriptors
  flockstep run compile --format json lib | tail -n 1   the summary

Exit codes: 0 all compiled; 1 some or all were not; 2 there is no such directory; 130 interrupted.";

/// The last line of `--format json`.
#[derive(Debug, Serialize)]
struct Summary {
    files: u64,
    compiled: u64,
    failed: u64,
    workers: u32,
    #[serde(flatten)]
    taken: Taken,
}

/// A file in `--format json` that could not be compiled.
#[derive(Serialize)]
struct FailedLine<'a> {
    file: &'a str,
    error: &'a str,
}

/// Compiles, and says what could not be.
pub(crate) fn main(arguments: Arguments, policies: &[Policy]) -> Result<Exit, BadInput> {
    let discipline = historic::check(Command::Compile, &arguments.policy, policies)?;
    let tree = prepare::existing_directory(&arguments.dir)?;
    let python = match prepare::python(arguments.python) {
        Ok(python) => python,
        Err(failure) => {
            tell_error(&failure.to_string());
            return Ok(Exit::Unexpected);
        }
    };
    let workers = arguments.jobs.unwrap_or_else(prepare::processors);
    let what = Compile { tree, python, workers, chunk: CHUNK };
    let ran =
        workload::run(
            discipline,
            move |world, cache| async move { compile(&world, &cache, &Order::new(), what).await },
        );
    let (Compiled { files, failures, workers, stopped }, taken) = match ran {
        Ok(ran) => ran,
        Err(exit) => return Ok(exit),
    };
    for (file, error) in &failures {
        if arguments.format == Format::Json {
            tell_line(&FailedLine { file, error });
        } else {
            tell_error(&format!("{file}: {error}"));
        }
    }
    if let Some(error) = &stopped {
        tell_error(&error.to_string());
    }
    let failed = failures.len() as u64;
    tell_summary(arguments.format, &Summary { files: files + failed, compiled: files, failed, workers, taken });
    Ok(if failed == 0 && stopped.is_none() { Exit::Expected } else { Exit::Unexpected })
}

impl Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Summary { compiled, failed, workers, taken, .. } = self;
        write!(f, "{compiled} compiled, {failed} failed, by at most {workers} interpreters at once {taken}")
    }
}
