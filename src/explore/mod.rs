//! Exploring: which schedules are tried, what they add up to, and how a failure is told and kept.

mod cheapest;
mod conclude;
mod cores;
mod coverage;
mod dfs;
mod dpor;
mod findings;
mod join;
mod key;
mod livelock;
mod part;
mod replay;
mod retell;
mod rng;
mod run;
mod sample;
mod search;
mod seen;
mod shrink;
mod sleep;
mod stopwatch;
mod strategy;
mod subtrees;
mod swap;

use std::time::Duration;

#[cfg(any(feature = "shuttle", feature = "loom"))]
pub(crate) use conclude::conclude;
pub(crate) use conclude::replay_keys;
pub use cores::{Cores, OneCore};
pub use coverage::{Coverage, EVERY, FIRST, Orders, Pair};
#[cfg(feature = "shuttle")]
pub(crate) use dpor::Dpor;
pub use findings::Findings;
#[cfg(any(feature = "shuttle", feature = "loom"))]
pub(crate) use findings::{Position, Searched};
pub use join::JoinError;
pub(crate) use join::join;
pub use key::{KEY_LENGTH_MAX, Key, KeyError};
pub use part::{NoPart, Part};
pub(crate) use retell::retell;
pub use retell::{Retold, Told};
pub(crate) use run::explore;
pub use run::{Pace, Progress};
#[cfg(any(feature = "shuttle", feature = "loom"))]
pub(crate) use search::{SEARCH_STEPS_MAX, no_end};
pub use strategy::{Enough, Method, Strategy};

use crate::oracle::{Violation, ViolationKind};
use crate::world::{Event, What};
#[cfg(feature = "loom")]
pub(crate) use sample::{Horizon, Sampler};
#[cfg(any(feature = "shuttle", feature = "loom"))]
pub(crate) use stopwatch::Stopwatch;

/// What an exploration came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// No schedule that was tried broke a promise.
    Upheld {
        /// How many were tried.
        executions: u64,
        /// Whether that was all there are.
        exhaustive: bool,
    },
    /// One did.
    Violated(Box<Failure>),
    /// Nothing was broken, but less was tried than was asked for.
    Inconclusive(String),
}

impl Verdict {
    /// Its word in machine-readable output.
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::Upheld { .. } => "upheld",
            Verdict::Violated(_) => "violated",
            Verdict::Inconclusive(_) => "inconclusive",
        }
    }
}

/// How much a report tells of what happened last.
const TOLD: usize = 12;
/// The paths of descriptors that no protocol has opened.
const STANDARD: [&str; 2] = ["/dev/null", "pipe to a child"];

/// A schedule that broke a promise.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// Which, and why.
    pub violation: Violation,
    /// Replays it; absent only for what is judged over all executions together. If the violation
    /// [follows from](Violation::follows_from) several executions, that of the one that made it complete.
    pub key: Option<Key>,
    /// Those of the other executions that it follows from, in the order of [`Violation::follows_from`] after its first.
    pub more_keys: Vec<Key>,
    /// The schedule as it was found, before it was made smaller; absent if that is the one of [`key`](Failure::key).
    pub original: Option<Key>,
    /// How often another agent goes on than the one that went last: a task, a section on the pool, or a process that starts or dies.
    pub switches: u32,
    /// Everything that happened in it, in order, told.
    pub story: Vec<String>,
    /// The same as events.
    pub events: Vec<Event>,
    /// The lock table at its end, in the columns of `lslocks(8)`.
    pub lslocks: String,
    /// How many executions it took to find it.
    pub executions: u64,
}

/// The highest that was seen in any execution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(serde::Serialize, serde::Deserialize))]
pub struct Peaks {
    /// Descriptors of one process: the highest number plus one.
    pub descriptors: u32,
    /// Locks held at once, over all processes.
    pub locks: u32,
    /// Worker threads of one process blocked in a lock at once.
    pub workers_blocked: u32,
}

impl Peaks {
    /// Those of both.
    pub fn max(self, other: Peaks) -> Peaks {
        Peaks {
            descriptors: self.descriptors.max(other.descriptors),
            locks: self.locks.max(other.locks),
            workers_blocked: self.workers_blocked.max(other.workers_blocked),
        }
    }
}

/// An exploration that has ended.
#[derive(Clone, Debug)]
pub struct Exploration {
    /// What it came to.
    pub verdict: Verdict,
    /// Executions, those cut short by the cache included.
    pub executions: u64,
    /// Steps of all executions together.
    pub steps: u64,
    /// Different states, if the state cache was on.
    pub states: Option<u64>,
    /// Of a [bounded](Method::Bounded) search, or an exhaustive one, that did not come to its end: every schedule with at most that many preemptions and faults,
    /// deadlines and sleeps that end early included, was tried. None if not even those without any were.
    pub bound: Option<u32>,
    /// How long it took.
    pub elapsed: Duration,
    /// The longest virtual time of an execution, if time was urgent.
    pub makespan: Option<Duration>,
    /// The highest that was seen.
    pub peaks: Peaks,
    /// Which pairs of operations met, if that was asked for.
    pub coverage: Coverage,
    /// What it has found, and which part of an exploration it is, to be [joined](crate::Scenario::join) with the others. The verdict of one
    /// of several parts is of that part alone: it is never exhaustive, and that an oracle had nothing to judge is not held against it.
    pub part: Option<Box<Findings>>,
}

impl Exploration {
    /// One that tried nothing.
    pub fn nothing(why: impl Into<String>) -> Self {
        Exploration {
            verdict: Verdict::Inconclusive(why.into()),
            executions: 0,
            steps: 0,
            states: None,
            bound: None,
            elapsed: Duration::ZERO,
            makespan: None,
            peaks: Peaks::default(),
            coverage: Coverage::default(),
            part: None,
        }
    }

    /// Which part of an exploration it is.
    pub fn which_part(&self) -> Part {
        self.part.as_ref().and_then(|findings| findings.part()).unwrap_or_default()
    }

    /// Panics unless the promises were upheld.
    ///
    /// # Panics
    /// With the whole report.
    #[track_caller]
    pub fn assert_upheld(&self) {
        match &self.verdict {
            Verdict::Upheld { .. } => {}
            Verdict::Violated(failure) => panic!("{}", failure.report()),
            Verdict::Inconclusive(why) => panic!("inconclusive: {why}"),
        }
    }

    /// Panics unless the promises were upheld in every schedule there is.
    ///
    /// # Panics
    /// With the whole report, or with what was cut.
    #[track_caller]
    pub fn assert_exhausted(&self) {
        self.assert_upheld();
        let part = self.which_part();
        assert!(part.is_whole(), "upheld in part {part} of the exploration: only all parts together are all schedules");
        let exhausted = matches!(self.verdict, Verdict::Upheld { exhaustive: true, .. });
        assert!(exhausted, "upheld in {} executions, but these are not all there are", self.executions);
    }

    /// Panics unless a promise of that kind was broken; returns the failure.
    ///
    /// # Panics
    /// With what came out instead.
    #[track_caller]
    pub fn assert_violated(&self, kind: ViolationKind) -> &Failure {
        match &self.verdict {
            Verdict::Violated(failure) if failure.violation.kind == kind => failure,
            Verdict::Violated(failure) => panic!("expected a violation of {kind}, not this:\n{}", failure.report()),
            other => panic!("expected a violation of {kind}, but it is {}", other.word()),
        }
    }
}

impl Failure {
    /// A failure that no single schedule shows.
    fn without_schedule(violation: Violation, executions: u64) -> Self {
        Failure {
            violation,
            key: None,
            more_keys: Vec::new(),
            original: None,
            switches: 0,
            story: Vec::new(),
            events: Vec::new(),
            lslocks: String::new(),
            executions,
        }
    }

    /// The story without what the end of every process and the start of every child is full of: that the standard descriptors, and the pipes
    /// that only a start needs, are there and closed. In the end of a failure there would be little else, unless it is about descriptors.
    fn worth_telling(&self) -> Vec<&str> {
        let counts = matches!(self.violation.kind, ViolationKind::DescriptorPeak | ViolationKind::DescriptorsExhausted);
        let is_noise = |event: &Event| match &event.what {
            What::Close { path, .. } => STANDARD.contains(&&**path),
            What::Descriptor { .. } => !counts,
            _ => false,
        };
        let noise = self.events.iter().map(is_noise).chain(std::iter::repeat(false));
        self.story.iter().zip(noise).filter(|(_, noise)| !noise).map(|(line, _)| line.as_str()).collect()
    }

    /// How small it is: what there is to follow, and what was left out.
    fn size(&self, key: &Key) -> String {
        let switches = match self.switches {
            0 => "no switch from one agent to another".to_owned(),
            1 => "1 switch from one agent to another".to_owned(),
            n => format!("{n} switches from one agent to another"),
        };
        let without: Vec<&str> = key.without().collect();
        let left_out = if without.is_empty() { String::new() } else { format!(", without {}", without.join(" and ")) };
        format!("{switches}{left_out}")
    }

    /// The failure as an argument: what was broken, why, what happened last, who held which lock, and the line to paste.
    pub fn report(&self) -> String {
        let mut text = format!("violated: {}\n", self.violation.summary);
        for line in self.violation.argument.lines() {
            text.push_str(&format!("  {line}\n"));
        }
        let told = self.worth_telling();
        let last = told.len().saturating_sub(TOLD);
        if last > 0 {
            text.push_str(&format!("what happened last (of {} events):\n", self.story.len()));
        } else {
            text.push_str("what happened:\n");
        }
        for line in &told[last..] {
            text.push_str(&format!("  {line}\n"));
        }
        if self.lslocks.lines().count() > 1 {
            text.push_str("locks:\n");
            for line in self.lslocks.lines() {
                text.push_str(&format!("  {line}\n"));
            }
        }
        match &self.key {
            Some(key) if self.more_keys.is_empty() => {
                text.push_str(&format!("{}\n", self.size(key)));
                text.push_str(&format!("replay key: {key}\n"));
                let original = self.original.as_ref().map(Key::to_string);
                if let Some(original) = original.filter(|original| original.len() <= KEY_LENGTH_MAX) {
                    text.push_str(&format!("as it was found: {original}\n"));
                }
            }
            Some(key) => {
                text.push_str("no single schedule shows it; each of these shows a part:\n");
                let keys = std::iter::once(key).chain(&self.more_keys);
                for (fact, key) in self.violation.follows_from.iter().zip(keys) {
                    text.push_str(&format!("replay key: {key} ({fact})\n"));
                }
            }
            None => text.push_str("no single schedule shows it: it follows from all of them together\n"),
        }
        text
    }
}
