//! Which policies are meant by `SCENARIO[/POLICY]…`.

use super::BadInput;
use flockstep::scenario::Policy;

/// The policies that an argument means: those of exactly that name, or else those whose name begins with it.
///
/// # Errors
/// If there are none.
pub(super) fn matching<'p>(argument: &str, policies: &'p [Policy]) -> Result<Vec<&'p Policy>, BadInput> {
    let exactly = |policy: &&Policy| policy.scenario == argument || policy.full_name() == argument;
    let mut found: Vec<&Policy> = policies.iter().filter(exactly).collect();
    if found.is_empty() {
        found = policies.iter().filter(|policy| policy.full_name().starts_with(argument)).collect();
    }
    if found.is_empty() { Err(unknown(argument, policies)) } else { Ok(found) }
}

/// The policies that any argument means, in their own order and each once; all of them without arguments.
///
/// # Errors
/// If an argument means none.
pub(super) fn all_matching<'p>(arguments: &[String], policies: &'p [Policy]) -> Result<Vec<&'p Policy>, BadInput> {
    let mut wanted = Vec::new();
    for argument in arguments {
        wanted.extend(matching(argument, policies)?.into_iter().map(Policy::full_name));
    }
    Ok(policies.iter().filter(|policy| arguments.is_empty() || wanted.contains(&policy.full_name())).collect())
}

/// There is no such scenario or policy.
pub(super) fn unknown(name: &str, policies: &[Policy]) -> BadInput {
    let scenarios = policies.iter().map(|policy| policy.scenario.to_owned());
    let names: Vec<String> = scenarios.chain(policies.iter().map(Policy::full_name)).collect();
    BadInput::new(format!("there is no scenario or policy {name:?}"), "`flockstep list` says what there is")
        .near(name, names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policies() -> Vec<Policy> {
        [("lock", "sound"), ("lock", "sound-2"), ("lock-scope", "sound")]
            .map(|(scenario, name)| Policy::new(scenario, name, ""))
            .into()
    }

    fn names(arguments: &[&str]) -> Vec<String> {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        all_matching(&arguments, &policies()).unwrap().into_iter().map(Policy::full_name).collect()
    }

    #[test]
    fn an_exact_name_means_no_longer_one() {
        assert_eq!(names(&["lock"]), ["lock/sound", "lock/sound-2"]);
        assert_eq!(names(&["lock/sound"]), ["lock/sound"]);
    }

    #[test]
    fn a_prefix_means_all_that_begin_with_it() {
        assert_eq!(names(&["lo"]).len(), 3);
        assert_eq!(names(&["lock/s"]), ["lock/sound", "lock/sound-2"]);
    }

    #[test]
    fn every_policy_comes_once_and_in_order() {
        assert_eq!(names(&["lock-scope", "lock", "lock/sound"]), ["lock/sound", "lock/sound-2", "lock-scope/sound"]);
    }

    #[test]
    fn what_is_unknown_is_answered_with_the_nearest() {
        let error = all_matching(&["lok".into()], &policies()).err().expect("an error").to_string();
        assert!(error.contains("nearest: lock"), "{error}");
    }
}
