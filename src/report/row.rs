//! A row: a policy under an engine, with what came out of each of its cases.

use flockstep::explore::{Orders, Peaks};
use flockstep::scenario::{Case, Expected, Policy};
use flockstep::{Exploration, Failure, Verdict};
use std::time::Duration;

/// A case that was explored, and what it is expected to come to.
pub(crate) struct Judged<'p> {
    /// The case.
    pub(crate) case: &'p Case,
    /// What came out.
    pub(crate) exploration: Exploration,
    /// What to hand to `flockstep replay`, if it failed in a way that can be replayed: the keys of all schedules that it takes, or the
    /// file that they are in.
    pub(crate) key: Option<String>,
}

/// Whether something is as expected; the later, the worse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Judgement {
    /// It is.
    #[default]
    Expected,
    /// It was cut short before that could be told.
    Inconclusive,
    /// It is not.
    Unexpected,
}

impl Judged<'_> {
    pub(crate) fn judgement(&self) -> Judgement {
        match &self.exploration.verdict {
            Verdict::Inconclusive(_) => Judgement::Inconclusive,
            verdict if self.case.expected.is_met_by(verdict) => Judgement::Expected,
            // Another part may find it.
            Verdict::Upheld { .. } if !self.exploration.which_part().is_whole() => Judgement::Expected,
            _ => Judgement::Unexpected,
        }
    }

    pub(crate) fn failure(&self) -> Option<&Failure> {
        match &self.exploration.verdict {
            Verdict::Violated(failure) => Some(failure),
            _ => None,
        }
    }

    /// What is not as expected, in half a sentence.
    pub(crate) fn complaint(&self) -> Option<String> {
        match (self.judgement(), &self.case.expected, &self.exploration.verdict) {
            (Judgement::Expected, ..) => None,
            (_, _, Verdict::Inconclusive(why)) => Some(format!("inconclusive: {why}")),
            (_, Expected::Upheld, _) => Some("violated, though it is expected to be upheld".into()),
            (_, Expected::Violated(kinds), verdict) => {
                let kinds: Vec<&str> = kinds.iter().map(|kind| kind.word()).collect();
                let otherwise = if verdict.word() == "violated" { "violated otherwise than" } else { "upheld, though" };
                Some(format!("{otherwise} expected: {}", kinds.join(" or ")))
            }
        }
    }

    pub(crate) fn size(&self) -> String {
        size(&self.case.size)
    }

    /// The whole report of the failure, with what to replay.
    pub(crate) fn report(&self) -> Option<String> {
        let failure = self.failure()?;
        let report = failure.report();
        Some(match (&failure.key, &self.key) {
            (Some(key), Some(shown)) => report.replace(&key.to_string(), shown),
            _ => report,
        })
    }
}

/// The size of a case in words.
pub(crate) fn size(size: &[(&str, u64)]) -> String {
    let each: Vec<String> = size.iter().map(|(what, n)| format!("{what}={n}")).collect();
    if each.is_empty() { "its only size".into() } else { each.join(",") }
}

/// A policy under an engine.
pub(crate) struct Row<'p> {
    /// The policy.
    pub(crate) policy: &'p Policy,
    /// The engine's name.
    pub(crate) engine: &'static str,
    /// The strategy's name.
    pub(crate) strategy: &'static str,
    /// Whether it was counted which operations met.
    pub(crate) coverage: bool,
    /// Those of its cases that the engine holds.
    pub(crate) cases: Vec<Judged<'p>>,
}

impl Row<'_> {
    /// The worst of its cases.
    pub(crate) fn judgement(&self) -> Judgement {
        self.cases.iter().map(Judged::judgement).max().unwrap_or_default()
    }

    /// The verdict of its worst case: violated before inconclusive before upheld.
    pub(crate) fn verdict(&self) -> &'static str {
        let any = |word: &str| self.cases.iter().any(|case| case.exploration.verdict.word() == word);
        ["violated", "inconclusive"].into_iter().find(|word| any(word)).unwrap_or("upheld")
    }

    /// The violation that matters most: an unexpected one before an expected one, a smaller case before a larger one.
    pub(crate) fn violated(&self) -> Option<&Judged<'_>> {
        let unexpected = |case: &&Judged<'_>| case.judgement() == Judgement::Unexpected;
        let violated = || self.cases.iter().filter(|case| case.failure().is_some());
        let size = |case: &&Judged<'_>| case.case.magnitude();
        violated().filter(unexpected).min_by_key(size).or_else(|| violated().min_by_key(size))
    }

    /// Whether every schedule of every case was tried.
    pub(crate) fn exhaustive(&self) -> bool {
        self.cases.iter().all(|case| exhaustive(&case.exploration))
    }

    /// Within how many preemptions and faults every schedule of every case was tried, if that is less than all and known of each.
    pub(crate) fn bound(&self) -> Option<u32> {
        let cut = self.cases.iter().map(|case| &case.exploration).filter(|exploration| !exhaustive(exploration));
        cut.map(|exploration| exploration.bound).min().flatten()
    }

    /// In which orders operations met, in all of its cases together.
    pub(crate) fn orders(&self) -> Orders<'_> {
        Orders::of(self.cases.iter().map(|case| &case.exploration.coverage))
    }

    pub(crate) fn executions(&self) -> u64 {
        self.cases.iter().map(|case| case.exploration.executions).sum()
    }

    pub(crate) fn steps(&self) -> u64 {
        self.cases.iter().map(|case| case.exploration.steps).sum()
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.cases.iter().map(|case| case.exploration.elapsed).sum()
    }

    pub(crate) fn makespan(&self) -> Option<Duration> {
        self.cases.iter().filter_map(|case| case.exploration.makespan).max()
    }

    pub(crate) fn peaks(&self) -> Peaks {
        self.cases.iter().map(|case| case.exploration.peaks).fold(Peaks::default(), Peaks::max)
    }
}

/// Whether every schedule was tried.
pub(crate) fn exhaustive(exploration: &Exploration) -> bool {
    matches!(exploration.verdict, Verdict::Upheld { exhaustive: true, .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use flockstep::{Violation, ViolationKind, scenario};

    fn upheld() -> Verdict {
        Verdict::Upheld { executions: 1, exhaustive: true }
    }

    fn violated(kind: ViolationKind) -> Verdict {
        Verdict::Violated(Box::new(Failure {
            violation: Violation::new(kind, "it is broken"),
            key: None,
            more_keys: Vec::new(),
            original: None,
            switches: 0,
            story: Vec::new(),
            events: Vec::new(),
            lslocks: String::new(),
            executions: 1,
        }))
    }

    fn inconclusive() -> Verdict {
        Verdict::Inconclusive("interrupted".into())
    }

    fn exploration(verdict: Verdict) -> Exploration {
        let (elapsed, peaks) = (Duration::from_secs(1), Peaks { descriptors: 4, locks: 1, workers_blocked: 0 });
        Exploration { verdict, executions: 10, steps: 100, elapsed, peaks, ..Exploration::nothing("") }
    }

    /// A policy that is expected to leak at size 2 and nowhere else.
    fn policy() -> Policy {
        let policy = Policy::new("locks", "historic", "forgets to unlock").upheld([("tasks", 1)], scenario(""));
        policy.violated([("tasks", 2)], [ViolationKind::Leak], scenario("")).upheld([("tasks", 3)], scenario(""))
    }

    fn row(policy: &Policy, verdicts: [Verdict; 3]) -> Row<'_> {
        let judged = |(case, verdict)| Judged { case, exploration: exploration(verdict), key: None };
        let cases = policy.cases.iter().zip(verdicts).map(judged).collect();
        Row { policy, engine: "seeded", strategy: "dfs", coverage: false, cases }
    }

    #[test]
    fn a_row_is_as_expected_if_every_case_is() {
        let policy = policy();
        let row = row(&policy, [upheld(), violated(ViolationKind::Leak), upheld()]);
        assert_eq!((row.judgement(), row.verdict()), (Judgement::Expected, "violated"));
        assert_eq!((row.executions(), row.peaks().descriptors), (30, 4));
    }

    #[test]
    fn the_unexpected_outweighs_the_inconclusive() {
        let policy = policy();
        let cut = row(&policy, [inconclusive(), violated(ViolationKind::Leak), upheld()]);
        assert_eq!((cut.judgement(), cut.verdict()), (Judgement::Inconclusive, "violated"));
        let passes = row(&policy, [inconclusive(), upheld(), upheld()]);
        assert_eq!((passes.judgement(), passes.verdict()), (Judgement::Unexpected, "inconclusive"));
        assert_eq!(passes.cases[1].complaint().unwrap(), "upheld, though expected: leak");
    }

    #[test]
    fn a_violation_of_another_kind_is_unexpected_and_told_first() {
        let policy = policy();
        let elsewhere = row(&policy, [upheld(), violated(ViolationKind::Leak), violated(ViolationKind::Publish)]);
        assert_eq!(elsewhere.judgement(), Judgement::Unexpected);
        assert_eq!(elsewhere.violated().unwrap().size(), "tasks=3");
        let other = row(&policy, [upheld(), violated(ViolationKind::Publish), upheld()]);
        assert_eq!(other.cases[1].complaint().unwrap(), "violated otherwise than expected: leak");
    }
}
