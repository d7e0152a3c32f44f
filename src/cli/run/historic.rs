//! `--policy SCENARIO/NAME`: the historic protocols, on the real filesystem.

use crate::cli::BadInput;
use flockstep::protocol::discipline::{Discipline, HISTORIC};
use flockstep::scenario::Policy;

/// Refuses names that nothing real stands behind; `policies` are those of the simulation.
pub(super) fn check(names: &[String], policies: &[Policy]) -> Result<(), BadInput> {
    let Err(name) = Discipline::of(names.iter().map(String::as_str)) else { return Ok(()) };
    let real = || HISTORIC.iter().map(|(real, _)| *real);
    if let Some(policy) = policies.iter().find(|policy| policy.full_name() == name) {
        let what = format!("{name} is only simulated ({}): nothing real runs that way", policy.why);
        let all = real().collect::<Vec<_>>().join(", ");
        return Err(BadInput::new(what, format!("`flockstep check {name}` explores it; for real there are {all}")));
    }
    let scenario = policies.iter().any(|policy| policy.scenario == name);
    let what = if scenario {
        format!("{name} is a scenario, and --policy takes one policy of it")
    } else {
        format!("there is no policy {name:?}")
    };
    let known = real().map(str::to_owned).chain(policies.iter().map(Policy::full_name));
    Err(BadInput::new(what, "`flockstep list` says what there is").near(name, known))
}
