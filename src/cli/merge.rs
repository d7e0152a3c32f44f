//! `flockstep merge`: joins the parts of a check that were explored apart.

use super::check::{Format, part_file};
use super::{BadInput, Exit};
use clap::Args;
use flockstep::scenario::Policy;
use std::path::PathBuf;

/// The arguments of `merge`.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// What `flockstep check --shard I/N --format json` has written, of all N parts, in any order.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Parts may be missing: what is not violated is inconclusive then.
    #[arg(long)]
    partial: bool,
    /// How to report.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

const AFTER_HELP: &str = "\
Examples:
  flockstep check --shard 1/2 --format json > part1.json
  flockstep check --shard 2/2 --format json > part2.json
  flockstep merge part1.json part2.json

The result is that of one `flockstep check` but for times; of an exhaustive one, the verdicts are. Exit codes are those of `check`; 2 also
if a part is missing or there twice, or if a file is not one of these.";

/// Joins.
///
/// # Errors
/// If the files are not all parts of one check.
pub(crate) fn main(arguments: &Arguments, policies: &[Policy]) -> Result<Exit, BadInput> {
    part_file::merge(&arguments.files, arguments.partial, arguments.format, policies)
}
