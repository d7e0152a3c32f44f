//! Suites: scenarios in several policies and sizes, with what is expected of each.
//!
//! A *policy* is a variant of a protocol: a historic one that is known to fail, or the sound one. A *case* is a size of it. What is
//! expected is written down per case, because a historic policy is fine at some sizes, and just where it ceases to be is part of
//! what is known about it.

use super::Scenario;
use crate::explore::Verdict;
use crate::oracle::ViolationKind;

/// What a case is expected to come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// No schedule breaks a promise.
    Upheld,
    /// Some schedule breaks one, in one of these ways.
    Violated(Vec<ViolationKind>),
}

impl Expected {
    /// Its word in machine-readable output.
    pub fn word(&self) -> &'static str {
        match self {
            Expected::Upheld => "upheld",
            Expected::Violated(_) => "violated",
        }
    }

    /// The kinds of violations that are expected; none if it is expected to be upheld.
    pub fn kinds(&self) -> &[ViolationKind] {
        match self {
            Expected::Upheld => &[],
            Expected::Violated(kinds) => kinds,
        }
    }

    /// Whether a verdict is what was expected; an inconclusive one never is.
    pub fn is_met_by(&self, verdict: &Verdict) -> bool {
        match (self, verdict) {
            (Expected::Upheld, Verdict::Upheld { .. }) => true,
            (Expected::Violated(kinds), Verdict::Violated(failure)) => kinds.contains(&failure.violation.kind),
            _ => false,
        }
    }
}

/// One size of a policy.
#[derive(Clone)]
pub struct Case {
    /// What was varied, such as `("workers", 1)`.
    pub size: Vec<(&'static str, u64)>,
    /// What it is expected to come to.
    pub expected: Expected,
    /// The scenario, named and with this case's name.
    pub scenario: Scenario,
}

impl Case {
    /// How large it is, to find the smallest that shows something: the processes that exist from the start, then the sum of what was
    /// varied.
    pub fn magnitude(&self) -> (usize, u64) {
        (self.scenario.process_count(), self.size.iter().map(|(_, n)| n).sum())
    }
}

/// A variant of a protocol, in all its sizes.
#[derive(Clone)]
pub struct Policy {
    /// The problem it is about, such as `"shard-lock"`.
    pub scenario: &'static str,
    /// Its own name, such as `"sound"`.
    pub name: &'static str,
    /// What it does, and why that is right or wrong, in a sentence.
    pub why: &'static str,
    /// Its sizes.
    pub cases: Vec<Case>,
    /// What it costs, if that is worth a picture.
    pub profile: Option<Profile>,
}

/// How much a policy takes as something grows. It is measured and not judged: these scenarios promise nothing, so that what breaks promises
/// elsewhere comes to its end here.
#[derive(Clone)]
pub struct Profile {
    /// What grows, such as `"inputs"`.
    pub of: &'static str,
    /// Its values in ascending order, with a scenario each. The first process is the one that is looked at.
    pub points: Vec<(u64, Scenario)>,
}

impl Policy {
    /// A policy without cases yet.
    pub fn new(scenario: &'static str, name: &'static str, why: &'static str) -> Self {
        Policy { scenario, name, why, cases: Vec::new(), profile: None }
    }

    /// Adds a size: what it varies, what is expected, and the scenario, which gets its names here.
    pub fn case(
        mut self,
        size: impl IntoIterator<Item = (&'static str, u64)>,
        expected: Expected,
        scenario: Scenario,
    ) -> Self {
        let size: Vec<_> = size.into_iter().collect();
        let case: Vec<String> = size.iter().map(|(what, n)| format!("{what}={n}")).collect();
        let scenario = scenario.named(self.full_name()).case(case.join(","));
        self.cases.push(Case { size, expected, scenario });
        self
    }

    /// Adds a size that is expected to be upheld.
    pub fn upheld(self, size: impl IntoIterator<Item = (&'static str, u64)>, scenario: Scenario) -> Self {
        self.case(size, Expected::Upheld, scenario)
    }

    /// Adds a size that is expected to be violated in one of these ways.
    pub fn violated(
        self,
        size: impl IntoIterator<Item = (&'static str, u64)>,
        kinds: impl IntoIterator<Item = ViolationKind>,
        scenario: Scenario,
    ) -> Self {
        self.case(size, Expected::Violated(kinds.into_iter().collect()), scenario)
    }

    /// With scenarios that show what it costs as `of` grows.
    pub fn profile(mut self, of: &'static str, points: impl IntoIterator<Item = (u64, Scenario)>) -> Self {
        let name = self.full_name();
        let named = |(value, scene): (u64, Scenario)| (value, scene.named(&*name).case(format!("{of}={value}")));
        self.profile = Some(Profile { of, points: points.into_iter().map(named).collect() });
        self
    }

    /// `scenario/name`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.scenario, self.name)
    }

    /// What is expected of the policy as a whole: violated if any case is.
    pub fn expected(&self) -> Expected {
        let violated = self.cases.iter().find(|case| case.expected != Expected::Upheld);
        violated.map_or(Expected::Upheld, |case| case.expected.clone())
    }
}
