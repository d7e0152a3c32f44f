//! `flockstep replay`: the schedule of a violation again. The same key prints the same bytes, on every machine.

use super::quiet::quietly;
use super::{BadInput, Exit, select};
use crate::report::{size, story};
use clap::Args;
use flockstep::Key;
use flockstep::scenario::{Case, Policy};
use std::io::{ErrorKind, Write as _};

/// The arguments of `replay`.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// A replay key as `check` prints it, or a file that it has written one to. Of what follows from several schedules, all keys.
    #[arg(value_name = "KEY|FILE", required = true)]
    keys: Vec<String>,
    /// Tell everything that happens, step by step; of several schedules, in the last.
    #[arg(long)]
    trace: bool,
    /// Print the lock table at the end, in the columns of lslocks(8).
    #[arg(long)]
    lslocks: bool,
}

const AFTER_HELP: &str = "\
Examples:
  flockstep replay KEY                              the report of the violation
  flockstep replay KEY --trace | less               how it came about
  flockstep replay proptest-regressions/keys/X.key  a key that is too long for a shell

Exit codes:
  0  the violation recurs
  1  the schedule runs without a violation
  2  this is no key, or it names a scenario or case that is unknown";

/// Runs the schedule of a key.
///
/// # Errors
/// If it is no key, or one of an unknown case.
pub(crate) fn main(arguments: &Arguments, policies: &[Policy]) -> Result<Exit, BadInput> {
    let keys = keys(&arguments.keys)?;
    let (policy, case) = find(&keys, policies)?;
    let mut retold = quietly(|| case.scenario.retell(&keys));
    if let (Some(failure), [others @ .., last]) = (&mut retold.failure, &keys[..]) {
        (failure.key, failure.more_keys) = (Some(last.clone()), others.to_vec());
    }

    let mut text = format!("{}, {}: ", policy.full_name(), size(&case.size));
    text += &match &retold.failure {
        Some(failure) => format!("{}\n{}", failure.violation.kind, shown(failure.report(), &keys, arguments)),
        None => "no violation: the schedule runs to its end\n".into(),
    };
    if arguments.trace {
        text += &format!("\n{}", story(&retold.story));
    }
    if arguments.lslocks {
        text += &format!("\nlocks at the end:\n{}", retold.lslocks);
    }
    // Nobody may read it to its end, as in `| head`; the exit code is worth having all the same.
    anstream::stdout().write_all(text.as_bytes()).ok();
    Ok(if retold.failure.is_some() { Exit::Expected } else { Exit::Unexpected })
}

/// A report with what was given to replay, be it a file, in place of the key.
fn shown(report: String, keys: &[Key], arguments: &Arguments) -> String {
    match (keys, &arguments.keys[..]) {
        ([key], [given]) => report.replace(&key.to_string(), given),
        _ => report,
    }
}

/// Reads keys, from files where an argument is the name of one.
#[expect(clippy::disallowed_methods, reason = "files of the user's, outside of any world")]
fn keys(arguments: &[String]) -> Result<Vec<Key>, BadInput> {
    const REMEDY: &str = "paste a key, or the name of a .key file, as `flockstep check` prints them";
    let mut keys = Vec::new();
    for argument in arguments {
        let text = match std::fs::read_to_string(argument) {
            Ok(text) => text,
            Err(error) if is_no_file(&error) => argument.clone(),
            Err(error) => return Err(BadInput::new(format!("{argument} cannot be read: {error}"), REMEDY)),
        };
        for word in text.split_whitespace() {
            let key = word.parse();
            keys.push(key.map_err(|error| BadInput::new(format!("{argument} is no file, and {error}"), REMEDY))?);
        }
    }
    if keys.is_empty() { Err(BadInput::new("there is no key in what was given", REMEDY)) } else { Ok(keys) }
}

/// Whether a word is just not the name of a file, as few keys are.
fn is_no_file(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidFilename)
}

/// The case that all keys are of.
fn find<'p>(keys: &[Key], policies: &'p [Policy]) -> Result<(&'p Policy, &'p Case), BadInput> {
    let key = &keys[0];
    if let Some(other) = keys.iter().find(|other| (&other.scenario, &other.case) != (&key.scenario, &key.case)) {
        let what = format!(
            "the keys are not of one case: {}:{} and {}:{}",
            key.scenario, key.case, other.scenario, other.case
        );
        return Err(BadInput::new(what, "replay them one by one"));
    }
    let policy = policies.iter().find(|policy| policy.full_name() == key.scenario);
    let policy = policy.ok_or_else(|| select::unknown(&key.scenario, policies))?;
    let case = policy.cases.iter().find(|case| case.scenario.case_name() == key.case);
    let case = case.ok_or_else(|| {
        let what = format!("{} has no case {:?}", key.scenario, key.case);
        let names = policy.cases.iter().map(|case| case.scenario.case_name());
        BadInput::new(what, "`flockstep list` says which cases there are").near(&key.case, names)
    })?;
    Ok((policy, case))
}
