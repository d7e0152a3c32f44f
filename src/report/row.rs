//! A row: a policy under an engine, with what came out of each of its cases.

use flockstep::explore::Peaks;
use flockstep::scenario::{Case, Expected, Policy};
use flockstep::{Exploration, Failure, Verdict};
use std::time::Duration;

/// A case that was explored, and what it is expected to come to.
pub(crate) struct Judged<'p> {
    /// The case.
    pub(crate) case: &'p Case,
    /// What came out.
    pub(crate) exploration: Exploration,
    /// What to hand to `flockstep replay`, if it failed in a way that can be replayed: a key, or the file that it is in.
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
        violated().find(unexpected).or_else(|| violated().next())
    }

    /// Whether every schedule of every case was tried.
    pub(crate) fn exhaustive(&self) -> bool {
        self.cases.iter().all(|case| exhaustive(&case.exploration))
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
        self.cases.iter().map(|case| case.exploration.peaks).fold(Peaks::default(), |a, b| Peaks {
            descriptors: a.descriptors.max(b.descriptors),
            locks: a.locks.max(b.locks),
            workers_blocked: a.workers_blocked.max(b.workers_blocked),
        })
    }
}

/// Whether every schedule was tried.
pub(crate) fn exhaustive(exploration: &Exploration) -> bool {
    matches!(exploration.verdict, Verdict::Upheld { exhaustive: true, .. })
}
