//! `flockstep run uninstall`: removing trees.

use super::build::{Format, prepare};
use super::historic::{self, Command};
use super::workload::{self, Taken, tell_error, tell_summary};
use crate::cli::{BadInput, Exit};
use camino::{Utf8Path, Utf8PathBuf};
use clap::Args;
use flockstep::protocol::Order;
use flockstep::protocol::uninstall::uninstall;
use flockstep::scenario::Policy;
use serde::Serialize;
use std::fmt::Display;

/// The arguments of `run uninstall`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The directories, which go with all that is in them.
    #[arg(required = true, value_name = "DIR")]
    dirs: Vec<Utf8PathBuf>,
    /// How many of them at once; the limit on open files may allow fewer [default: the number of processors].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=512))]
    jobs: Option<u32>,
    /// Remove by a historic policy of that name, to watch how it fails.
    #[arg(long, value_name = "SCENARIO/NAME")]
    policy: Vec<String>,
    /// How to report.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

const EXAMPLES: &str = "\
Examples:
  flockstep run uninstall pythons/3.12.1 pythons/3.13.0   two at once
  flockstep run uninstall --format json tree              the summary as JSON
  flockstep run uninstall --policy python-uninstall/unbounded pythons/*
                                                          by a recursion, to watch it run out of descriptors

Refused are symbolic links, your home, this directory, all above these, and the directories at the top of the filesystem.
Exit codes: 0 all removed; 1 some are not; 2 one is refused, and none was touched; 130 interrupted.";

/// The last line of `--format json`.
#[derive(Debug, Serialize)]
struct Summary {
    trees: u64,
    removed: u64,
    failed: u64,
    #[serde(flatten)]
    taken: Taken,
}

/// Removes, and says what could not be.
pub(crate) fn main(arguments: Arguments, policies: &[Policy]) -> Result<Exit, BadInput> {
    let discipline = historic::check(Command::Uninstall, &arguments.policy, policies)?;
    let trees: Vec<String> = arguments.dirs.iter().map(|dir| removable(dir)).collect::<Result<_, _>>()?;
    let count = trees.len() as u64;
    let jobs = arguments.jobs.unwrap_or_else(prepare::processors);
    let ran = workload::run(discipline, move |world, cache| async move {
        uninstall(&world, &cache, &Order::new(), trees, jobs).await
    });
    let (results, taken) = match ran {
        Ok(ran) => ran,
        Err(exit) => return Ok(exit),
    };
    let errors: Vec<String> = results.into_iter().filter_map(|result| Some(result.err()?.to_string())).collect();
    errors.iter().for_each(|error| tell_error(error));
    let failed = errors.len() as u64;
    tell_summary(arguments.format, &Summary { trees: count, removed: count - failed, failed, taken });
    Ok(if failed == 0 { Exit::Expected } else { Exit::Unexpected })
}

/// The canonical path of a directory whose loss would not surprise anybody who named it.
fn removable(dir: &Utf8Path) -> Result<String, BadInput> {
    let refused =
        |why: &str| BadInput::new(format!("{dir} is not removed: {why}"), "name the directory itself, in full");
    // Without a slash at the end, behind which nothing looks like a link.
    if prepare::is_symlink(dir.components().as_path()) {
        return Err(refused("it is a symbolic link, and what it points to may be anything"));
    }
    let path = prepare::existing_directory(dir)?;
    let path = Utf8Path::new(&path);
    if path.parent().is_none_or(|parent| parent.parent().is_none()) {
        return Err(refused("it is at the top of the filesystem"));
    }
    let precious = [("your home directory", prepare::home()), ("this directory", prepare::working_directory())];
    for (what, place) in precious {
        if place.is_some_and(|place| place.starts_with(path)) {
            return Err(refused(&format!("{what} is in it, or it is that")));
        }
    }
    Ok(path.to_string())
}

impl Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} removed, {} failed {}", self.removed, self.failed, self.taken)
    }
}
