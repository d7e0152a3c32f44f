//! The command line: which command, and what the exit code means. Everything else is in the commands' own files.

mod conform;
mod run;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Deterministic concurrency simulation of file-lock protocols, and a build cache that runs on them for real.
#[derive(Parser)]
#[command(name = "flockstep", version, after_help = EXIT_CODES)]
struct CommandLine {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run a protocol on the real filesystem.
    #[command(subcommand)]
    Run(run::Run),
    /// Put cases about the kernel to the simulated kernel, or to the one underneath.
    Conform(conform::Arguments),
    /// The processes of `conform --world os`; started by it, never by a user.
    #[command(hide = true)]
    ConformPuppet(conform::Puppet),
}

const EXIT_CODES: &str =
    "Exit codes: 0 all as expected, 1 something was not, 2 bad input, 3 inconclusive, 130 interrupted.";

/// What the exit code says. Bad usage (2) ends in clap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All as expected.
    Expected = 0,
    /// Something was not.
    Unexpected = 1,
    /// What was given makes no sense.
    BadInput = 2,
    /// Stopped by SIGINT or SIGTERM.
    Interrupted = 130,
}

/// Parses the arguments and runs the command. Bad usage ends here, with exit code 2.
pub(crate) fn main() -> ExitCode {
    let exit = match CommandLine::parse().command {
        Verb::Run(what) => what.main(),
        Verb::Conform(arguments) => conform::main(&arguments),
        Verb::ConformPuppet(puppet) => conform::puppet_main(&puppet),
    };
    ExitCode::from(exit as u8)
}
