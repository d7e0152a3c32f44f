//! `--policy SCENARIO/NAME`: the historic protocols, on the real filesystem.

use crate::cli::BadInput;
use flockstep::protocol::discipline::{Discipline, HISTORIC};
use flockstep::scenario::Policy;

/// The commands that take `--policy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Build,
    Compile,
    Uninstall,
}

impl Command {
    /// Whether what a policy decides matters to it.
    fn is_for(self, policy: &str) -> bool {
        let command = match policy.split_once('/').map_or(policy, |(scenario, _)| scenario) {
            "bytecode" => Command::Compile,
            "python-uninstall" => Command::Uninstall,
            _ => Command::Build,
        };
        self == command
    }

    fn name(self) -> &'static str {
        match self {
            Command::Build => "build",
            Command::Compile => "compile",
            Command::Uninstall => "uninstall",
        }
    }
}

/// Refuses the names of policies that there are not for real, or that decide nothing in this command; `policies` are those of the
/// simulation.
///
/// # Errors
/// For the first of these.
pub(super) fn check(command: Command, names: &[String], policies: &[Policy]) -> Result<Discipline, BadInput> {
    let real: Vec<&str> = HISTORIC.iter().map(|(real, _)| *real).filter(|real| command.is_for(real)).collect();
    let Some(name) = names.iter().find(|name| !real.contains(&name.as_str())) else {
        return Ok(Discipline::of(names.iter().map(String::as_str)).expect("all of them are known"));
    };
    let verb = command.name();
    let there_are = format!("for `run {verb}` there are: {}", real.join(", "));
    if HISTORIC.iter().any(|(real, _)| real == name) {
        return Err(BadInput::new(format!("{name} decides nothing that `run {verb}` does"), there_are));
    }
    if let Some(policy) = policies.iter().find(|policy| policy.full_name() == *name) {
        let what = format!("{name} is only simulated ({}): nothing real runs that way", policy.why);
        return Err(BadInput::new(what, format!("`flockstep check {name}` explores it; {there_are}")));
    }
    let scenario = policies.iter().any(|policy| policy.scenario == name);
    let what = if scenario {
        format!("{name} is a scenario, and --policy takes one policy of it")
    } else {
        format!("there is no policy {name:?}")
    };
    Err(BadInput::new(what, there_are).near(name, real))
}
