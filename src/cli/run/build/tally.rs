//! Adds up what the processes say, and tells the user.

use super::Format;
use super::job::{Line, Outcome};
use super::work::Ended;
use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

/// The last line of `--format json`.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    inputs: usize,
    processes: usize,
    built: u64,
    reused: u64,
    failed: u64,
    waited: u64,
    built_by: Vec<u64>,
    peaks: Peaks,
    seconds: f64,
}

#[derive(Debug, Default, Serialize)]
struct Peaks {
    descriptors: u32,
    locks: u32,
}

/// A result in `--format json`, before the summary.
#[derive(Serialize)]
struct ResultLine<'a> {
    input: &'a str,
    process: usize,
    result: Outcome,
    seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    wheel: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

/// What is known so far of a run. One line is printed for each input, however many processes there are: when it is built or has
/// failed, or when all processes have taken it from the cache.
pub(super) struct Tally {
    format: Format,
    inputs: Vec<String>,
    /// By process, then by input.
    outcomes: Vec<Vec<Option<Outcome>>>,
    /// Inputs that have their line.
    told: BTreeSet<usize>,
    /// By input, why it failed first.
    failures: BTreeMap<usize, String>,
    waited: u64,
    /// Locks that somebody was seen to wait for.
    waits: BTreeSet<String>,
    peaks: Peaks,
    bar: ProgressBar,
}

impl Tally {
    pub(super) fn new(inputs: Vec<String>, processes: usize, format: Format) -> Self {
        let target =
            if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style =
            ProgressStyle::with_template("{spinner} {bar:30} {pos}/{len} {elapsed}").expect("the template is constant");
        let bar = ProgressBar::with_draw_target(Some((inputs.len() * processes) as u64), target).with_style(style);
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Tally {
            format,
            outcomes: vec![vec![None; inputs.len()]; processes],
            inputs,
            told: BTreeSet::new(),
            failures: BTreeMap::new(),
            waited: 0,
            waits: BTreeSet::new(),
            peaks: Peaks::default(),
            bar,
        }
    }

    /// Takes in what a process said.
    pub(super) fn take(&mut self, process: usize, line: Line) {
        match line {
            Line::Waiting { path } => {
                self.waited += 1;
                if self.waits.insert(path.clone()) {
                    self.note(&format!("waiting for {path} (held by another process)"));
                }
            }
            Line::Done { input, outcome, seconds, text } => {
                self.outcomes[process][input] = Some(outcome);
                self.bar.inc(1);
                self.tell(process, input, outcome, seconds, &text);
            }
            Line::Ready => {}
            Line::Slow { text } => self.note(&text),
            Line::Refused { text } => self.fail_the_rest(process, &text),
            Line::End { descriptors, locks } => {
                self.peaks.descriptors = self.peaks.descriptors.max(descriptors);
                self.peaks.locks = self.peaks.locks.max(locks);
            }
        }
    }

    /// All inputs that a process has said nothing about have failed, for that reason.
    pub(super) fn fail_the_rest(&mut self, process: usize, reason: &str) {
        for input in 0..self.inputs.len() {
            if self.outcomes[process][input].is_none() {
                let text = reason.to_owned();
                self.take(process, Line::Done { input, outcome: Outcome::Failed, seconds: 0.0, text });
            }
        }
    }

    fn tell(&mut self, process: usize, input: usize, outcome: Outcome, seconds: f64, text: &str) {
        if outcome == Outcome::Failed {
            // The same is said once, whichever process and however many inputs it hits.
            let said = self.failures.contains_key(&input) || self.failures.values().any(|said| said == text);
            self.failures.entry(input).or_insert_with(|| text.to_owned());
            if !said {
                self.error(text);
            }
        }
        let name = &self.inputs[input];
        if self.format == Format::Json {
            let (wheel, error) = if outcome == Outcome::Failed { (None, Some(text)) } else { (Some(text), None) };
            let line = ResultLine { input: name, process, result: outcome, seconds: rounded(seconds), wheel, error };
            return self.print(&serde_json::to_string(&line).expect("plain data"));
        }
        let everybody = self.outcomes.iter().all(|outcomes| outcomes[input].is_some());
        if (outcome != Outcome::Reused || everybody) && self.told.insert(input) {
            let by = match (outcome, self.outcomes.len()) {
                (_, 1) => String::new(),
                (Outcome::Reused, n) => format!(", by all {n} processes"),
                (_, _) => format!(", by process {process}"),
            };
            let style = style(outcome);
            let word = format!("{outcome:?}").to_lowercase();
            // Why it failed was said above.
            let wheel = if outcome == Outcome::Failed { String::new() } else { format!(": {text}") };
            self.print(&format!("{style}{word:<6}{style:#} {name} ({seconds:.1} s{by}){wheel}"));
        }
    }

    /// Prints the summary, and repeats what failed; whether nothing did.
    pub(super) fn finish(mut self, ended: Ended) -> bool {
        self.bar.finish_and_clear();
        let count =
            |outcomes: &Vec<Option<Outcome>>, of| outcomes.iter().filter(|found| **found == Some(of)).count() as u64;
        let total = |of| self.outcomes.iter().map(|outcomes| count(outcomes, of)).sum();
        let summary = Summary {
            inputs: self.inputs.len(),
            processes: self.outcomes.len(),
            built: total(Outcome::Built),
            reused: total(Outcome::Reused),
            failed: total(Outcome::Failed),
            waited: self.waited,
            built_by: self.outcomes.iter().map(|outcomes| count(outcomes, Outcome::Built)).collect(),
            peaks: std::mem::take(&mut self.peaks),
            seconds: rounded(self.bar.elapsed().as_secs_f64()),
        };
        if ended == Ended::Stopped {
            self.note("interrupted: what was under way is stopped and removed, what was built stays in the cache");
        }
        if !self.failures.is_empty() {
            let names: Vec<&str> = self.failures.keys().map(|input| &*self.inputs[*input]).collect();
            self.note(&format!("not built: {}", names.join(", ")));
        }
        self.print(&match self.format {
            Format::Json => serde_json::to_string(&summary).expect("plain data"),
            Format::Text => summary.to_string(),
        });
        summary.failed == 0
    }

    /// To standard output, above the bar.
    fn print(&self, line: &str) {
        // Nobody may read it, as in `| head`; the work is worth finishing all the same.
        self.bar.suspend(|| writeln!(anstream::stdout(), "{line}")).ok();
    }

    fn error(&self, text: &str) {
        let style = style(Outcome::Failed);
        self.note(&format!("{style}error{style:#}: {text}"));
    }

    /// To standard error, above the bar.
    fn note(&self, line: &str) {
        self.bar.suspend(|| writeln!(anstream::stderr(), "{line}")).ok();
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} built, {} reused, {} failed in {:.1} s", self.built, self.reused, self.failed, self.seconds)?;
        if self.processes > 1 {
            let by: Vec<String> = self.built_by.iter().map(ToString::to_string).collect();
            write!(f, "; {} processes built {}", self.processes, by.join(", "))?;
        }
        if self.waited > 0 {
            write!(f, "; waited {} times", self.waited)?;
        }
        write!(f, "; at most {} descriptors and {} locks in a process", self.peaks.descriptors, self.peaks.locks)
    }
}

fn style(outcome: Outcome) -> Style {
    let colour = match outcome {
        Outcome::Built => AnsiColor::Green,
        Outcome::Reused => AnsiColor::Cyan,
        Outcome::Failed => AnsiColor::Red,
    };
    Style::new().bold().fg_color(Some(colour.into()))
}

/// Milliseconds are all that is worth saying.
fn rounded(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}
