//! The command line: which command, and what the exit code means. Everything else is in the commands' own files.

mod bad_input;
mod check;
mod conform;
mod interrupt;
mod list;
mod merge;
mod quiet;
mod replay;
mod run;
mod select;

use bad_input::BadInput;
use clap::{Parser, Subcommand};
use flockstep::scenario::Policy;
use std::process::ExitCode;
use std::time::Duration;

/// Deterministic concurrency simulation of file-lock protocols, and a build cache that runs on them for real.
///
/// Without a command: `check` over everything.
#[derive(Parser)]
#[command(name = "flockstep", version, after_help = AFTER_HELP)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// Explore scenarios, and compare what comes out with what is expected.
    Check(check::Arguments),
    /// Say which scenarios and policies there are, in which sizes, and what is expected of each.
    List(list::Arguments),
    /// Join the parts of a check that were explored apart.
    Merge(merge::Arguments),
    /// Run the schedule of a violation again.
    Replay(replay::Arguments),
    /// Run a protocol on the real filesystem.
    #[command(subcommand)]
    Run(run::Run),
    /// Put cases about the kernel to the simulated kernel, or to the one underneath.
    Conform(conform::Arguments),
    /// The processes of `conform --world os`; started by it, never by a user.
    #[command(hide = true)]
    ConformPuppet(conform::Puppet),
}

const AFTER_HELP: &str = "\
Examples:
  flockstep                               check everything
  flockstep list                          what there is to check
  flockstep check SCENARIO/POLICY         one policy, with the whole report of what it breaks
  flockstep replay KEY --trace            a violation again, step by step
  flockstep run build .                   build this source tree, through a shared cache

Exit codes:
  0  all as expected
  1  something was not: a violation, an unexpected pass, or a failure
  2  bad input
  3  inconclusive: a limit, the time or an interrupt cut the exploration short
  130  a run was interrupted
If several apply to a check, the most severe counts, in the order 2, 1, 3, 0.";

/// What the exit code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All as expected.
    Expected = 0,
    /// Something was not.
    Unexpected = 1,
    /// What was asked for does not exist, or makes no sense.
    BadInput = 2,
    /// Cut short before it could be told.
    Inconclusive = 3,
    /// Stopped by SIGINT or SIGTERM.
    Interrupted = 130,
}

/// Parses the arguments and runs the command, over these policies if it is about scenarios. Bad usage ends in clap, also with exit
/// code 2.
pub(crate) fn main(policies: &[Policy]) -> ExitCode {
    let command = CommandLine::parse().command;
    let command = command.or_else(|| CommandLine::parse_from(["flockstep", "check"]).command);
    let exit = match command.expect("check is a command") {
        Verb::Check(arguments) => check::main(arguments, policies),
        Verb::List(arguments) => Ok(list::main(&arguments, policies)),
        Verb::Merge(arguments) => merge::main(&arguments, policies),
        Verb::Replay(arguments) => replay::main(&arguments, policies),
        Verb::Run(what) => what.main(policies),
        Verb::Conform(arguments) => Ok(conform::main(&arguments)),
        Verb::ConformPuppet(puppet) => Ok(conform::puppet_main(&puppet)),
    };
    ExitCode::from(exit.unwrap_or_else(|error| error.tell()) as u8)
}

/// A number of seconds, with a fraction if need be.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "it is not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}
