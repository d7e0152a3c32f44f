//! Part files: what `check --shard I/N --format json` writes, and `merge` reads. The first line says what was asked for and how many
//! rows follow, so that a file that lacks its end is noticed.

use super::work::{self, Outcome, Planned};
use super::{Asked, Format, Judgement, Watch, exit, tell};
use crate::cli::{BadInput, Exit};
use crate::report::Judged;
use flockstep::engine::CannotHold;
use flockstep::explore::{Findings, JoinError};
use flockstep::scenario::Policy;
use flockstep::{Exploration, Part, Strategy};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

const REMEDY: &str =
    "merge files that `flockstep check --shard I/N --format json` of this version has written to their end";

/// The first line.
#[derive(Serialize, Deserialize)]
struct Head {
    flockstep: String,
    shard: String,
    rows: usize,
    asked: Asked,
}

/// A row.
#[derive(Serialize, Deserialize)]
struct Line {
    scenario: String,
    policy: String,
    engine: String,
    cases: Vec<Case>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Case {
    Found {
        /// Of this part alone.
        verdict: String,
        findings: Box<Findings>,
    },
    /// Why the engine cannot hold it.
    Cannot(String),
    /// Why nothing was tried.
    Nothing(String),
}

/// Explores a part, and prints it as a part file. The exit code says what the part alone can tell.
pub(super) fn write(
    asked: &Asked,
    strategy: &Strategy,
    policies: &[Policy],
    jobs: usize,
    watch: &Watch,
) -> Result<Exit, BadInput> {
    let plan = asked.plan(policies)?;
    let progress = asked.progress(&plan, strategy);
    let head = Head {
        flockstep: env!("CARGO_PKG_VERSION").into(),
        shard: strategy.part.to_string(),
        rows: plan.len(),
        asked: asked.clone(),
    };
    progress.print(&line(&head));
    let mut worst = Judgement::Expected;
    work::run(&plan, strategy, jobs, watch, &progress, &mut |planned: &Planned<'_>, outcomes: Vec<Outcome>| {
        let cases = planned.policy.cases.iter().zip(outcomes).map(|(case, outcome)| match outcome {
            Err(cannot) => Case::Cannot(cannot.why),
            Ok(exploration) => {
                let judged = Judged { case, exploration, key: None };
                worst = worst.max(judged.judgement());
                let Exploration { verdict, part, .. } = judged.exploration;
                match part {
                    Some(findings) => Case::Found { verdict: verdict.word().into(), findings },
                    None => Case::Nothing(format!("{verdict:?}")),
                }
            }
        });
        let (scenario, policy) = (planned.policy.scenario.into(), planned.policy.name.into());
        let row = Line { scenario, policy, engine: planned.engine.name().into(), cases: cases.collect() };
        progress.print(&line(&row));
    });
    progress.end();
    Ok(exit(worst))
}

fn line(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain data") + "\n"
}

/// A part file that was read.
struct File {
    path: PathBuf,
    part: Part,
    asked: Asked,
    rows: Vec<Line>,
}

/// Joins part files, and tells what comes of it as a check would.
///
/// # Errors
/// If they are not all parts of one check of these policies.
pub(in crate::cli) fn merge(
    paths: &[PathBuf],
    partial: bool,
    format: Format,
    policies: &[Policy],
) -> Result<Exit, BadInput> {
    let mut files = paths.iter().map(|path| read(path)).collect::<Result<Vec<File>, BadInput>>()?;
    agree(&files, partial)?;
    let asked = files[0].asked.clone();
    let strategy = asked.strategy()?;
    let watch = Watch::start(None);
    tell(&asked, format, None, policies, &watch, |plan, _, each| {
        if let Some(file) = files.iter().find(|file| file.rows.len() != plan.len()) {
            return Err(bad(&file.path, "it has the rows of other scenarios than this version"));
        }
        for (nth, planned) in plan.iter().enumerate() {
            let mut lines = Vec::new();
            for file in &mut files {
                let line = &mut file.rows[nth];
                let name = (line.scenario.as_str(), line.policy.as_str(), line.engine.as_str(), line.cases.len());
                let Planned { policy, engine } = planned;
                if name != (policy.scenario, policy.name, engine.name(), policy.cases.len()) {
                    return Err(bad(&file.path, format!("its row {} is not {}", nth + 1, policy.full_name())));
                }
                lines.push((file.path.clone(), std::mem::take(&mut line.cases)));
            }
            let mut lines: Vec<_> = lines.into_iter().map(|(path, cases)| (path, cases.into_iter())).collect();
            let mut outcomes = Vec::new();
            for case in 0..planned.policy.cases.len() {
                let cases = lines.iter_mut().map(|(path, cases)| (&*path, cases.next().expect("as many as cases")));
                outcomes.push(join(planned, case, &strategy, partial, cases.collect())?);
            }
            each(planned, outcomes);
        }
        Ok(())
    })
}

fn join(
    planned: &Planned<'_>,
    case: usize,
    strategy: &Strategy,
    partial: bool,
    parts: Vec<(&PathBuf, Case)>,
) -> Result<Outcome, BadInput> {
    let scenario = &planned.policy.cases[case].scenario;
    let mut found: Vec<(&PathBuf, Findings)> = Vec::new();
    let mut nothing = None;
    for (path, case) in parts {
        match case {
            Case::Found { findings, .. } => found.push((path, *findings)),
            Case::Nothing(why) => nothing = Some(why),
            Case::Cannot(why) => {
                let engine = planned.engine.name();
                return Ok(Err(CannotHold { engine, scenario: scenario.name_with_case(), why }));
            }
        }
    }
    if found.is_empty() {
        return Ok(Ok(Exploration::nothing(nothing.unwrap_or_default())));
    }
    let findings: Vec<Findings> = found.iter().map(|(_, findings)| findings.clone()).collect();
    let partial = partial || nothing.is_some();
    let joined = if partial { scenario.join_partial(strategy, findings) } else { scenario.join(strategy, findings) };
    joined.map(Ok).map_err(|error| {
        let of = |part: Part| found.iter().find(|(_, findings)| findings.part() == Some(part)).map(|(path, _)| *path);
        let path = match &error {
            JoinError::Asked(part) | JoinError::NotAgain(part) | JoinError::Twice(part) => of(*part),
            _ => None,
        };
        bad(path.unwrap_or(found[0].0), format!("{}: {error}", scenario.name_with_case()))
    })
}

/// All are parts of one check, and none is missing or there twice.
fn agree(files: &[File], partial: bool) -> Result<(), BadInput> {
    let first = &files[0];
    for (nth, file) in files.iter().enumerate() {
        if file.asked != first.asked || file.part.of() != first.part.of() {
            let what = format!(
                "it is of another check than {} (seed, strategy, scenarios or number of parts)",
                first.path.display()
            );
            return Err(bad(&file.path, what));
        }
        if let Some(twin) = files[..nth].iter().find(|twin| twin.part == file.part) {
            return Err(bad(&file.path, format!("part {} is also in {}", file.part, twin.path.display())));
        }
    }
    let there = |number: &u32| files.iter().any(|file| file.part.number() == *number);
    let missing =
        (1..=first.part.of()).filter(|number| !there(number)).map(|number| format!("{number}/{}", first.part.of()));
    let missing: Vec<String> = missing.collect();
    if partial || missing.is_empty() {
        return Ok(());
    }
    let what = format!("{}: of the parts that it belongs to, {} is missing", first.path.display(), missing.join(", "));
    Err(BadInput::new(what, "merge all parts, or say --partial: what is not violated is inconclusive then"))
}

fn bad(path: &Path, why: impl std::fmt::Display) -> BadInput {
    BadInput::new(format!("{}: {why}", path.display()), REMEDY)
}

#[expect(clippy::disallowed_methods, reason = "files of the user's, outside of any world")]
fn read(path: &Path) -> Result<File, BadInput> {
    let text = std::fs::read_to_string(path).map_err(|error| bad(path, format!("it cannot be read: {error}")))?;
    let mut lines = text.lines();
    let head: Head = serde_json::from_str(lines.next().unwrap_or_default())
        .map_err(|error| bad(path, format!("line 1 is not the head of a part file: {error}")))?;
    if head.flockstep != env!("CARGO_PKG_VERSION") {
        let what = format!("version {} wrote it, and this is {}", head.flockstep, env!("CARGO_PKG_VERSION"));
        return Err(bad(path, what));
    }
    let part = head.shard.parse().map_err(|error| bad(path, error))?;
    let mut rows = Vec::new();
    for (nth, line) in lines.enumerate() {
        let row: Line = serde_json::from_str(line)
            .map_err(|error| bad(path, format!("line {} is no row, or not all of one: {error}", nth + 2)))?;
        rows.push(row);
    }
    if rows.len() != head.rows {
        return Err(bad(path, format!("it ends after {} of {} rows", rows.len(), head.rows)));
    }
    Ok(File { path: path.to_owned(), part, asked: head.asked, rows })
}
