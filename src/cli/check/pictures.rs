//! `--report DIR`: what policies cost, as pictures.
//!
//! For each scenario whose policies have a [`Profile`](flockstep::scenario::Profile) there are two: the peak of descriptors as something
//! grows, and what is open over time at one size. Both are measured by running the scenarios, which promise nothing and therefore come
//! to their end.

use crate::cli::BadInput;
use crate::report::{Chart, Line};
use flockstep::oracle::{Oracle, Violation};
use flockstep::scenario::{Policy, Profile, Scenario};
use flockstep::world::{Event, Kinds};
use flockstep::{KernelView, Strategy};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How many schedules the peak is taken from.
const SCHEDULES: u64 = 4;
/// The size whose course over time is drawn, or the largest below it: the workspace of uv 17512.
const COURSE_AT: u64 = 145;
/// Limits that users have.
const LIMITS: [u32; 2] = [64, 256];

/// What the first process has open: when, and how many; of the last execution.
#[derive(Clone, Default)]
struct Gauge(Arc<Mutex<Vec<(Duration, u64, u32)>>>, Arc<Mutex<u32>>);

impl Oracle for Gauge {
    fn name(&self) -> &str {
        "gauge"
    }
    fn kinds(&self) -> Kinds {
        Kinds::DESCRIPTORS | Kinds::NAMES
    }
    fn begin(&mut self) {
        self.0.lock().expect("no panic").clear();
    }
    fn on(&mut self, event: &Event, kernel: &KernelView<'_>) -> Result<(), Violation> {
        if event.process == 0 {
            self.0.lock().expect("no panic").push((kernel.now(), event.step, kernel.descriptor_count(0)));
            let mut peak = self.1.lock().expect("no panic");
            *peak = kernel.descriptor_peak(0).max(*peak);
        }
        Ok(())
    }
    fn state(&self) -> Option<u64> {
        Some(0)
    }
    fn judged(&self) -> u64 {
        1 // it judges nothing
    }
}

/// The peak over some schedules.
fn peak(scene: &Scenario) -> f64 {
    let gauge = Gauge::default();
    let seen = gauge.clone();
    scene.clone().oracle(move || gauge.clone()).explore(Strategy::random(SCHEDULES));
    let peak = *seen.1.lock().expect("no panic");
    peak.into()
}

/// What is open over the time of one schedule; over its steps, if time does not pass in it.
fn course(scene: &Scenario) -> (Vec<(f64, f64)>, bool) {
    let gauge = Gauge::default();
    let seen = gauge.clone();
    scene.clone().oracle(move || gauge.clone()).explore(Strategy::random(1));
    let seen = seen.0.lock().expect("no panic");
    let timed = seen.last().is_some_and(|last| !last.0.is_zero());
    let at = |(time, step, _): (Duration, u64, u32)| if timed { time.as_secs_f64() } else { step as f64 };
    // Of several at one instant the highest, so that no peak is lost in the picture, and the last, from which it goes on.
    let mut points: Vec<(f64, f64)> = Vec::new();
    for instant in seen.chunk_by(|a, b| at(*a) == at(*b)) {
        let highest = instant.iter().map(|seen| seen.2).max().expect("chunks are not empty");
        points.push((at(instant[0]), highest.into()));
        points.push((at(instant[0]), instant[instant.len() - 1].2.into()));
    }
    (points, timed)
}

/// Draws all that these policies have to show, into files in `directory`; which those are.
///
/// # Errors
/// If there is nothing to draw, or the directory cannot be written to.
pub(super) fn draw(policies: &[&Policy], directory: &Path) -> Result<Vec<PathBuf>, BadInput> {
    let with: Vec<(&Policy, &Profile)> = policies.iter().filter_map(|&p| Some((p, p.profile.as_ref()?))).collect();
    if with.is_empty() {
        return Err(BadInput::new(
            "--report has nothing to draw: none of these policies has a profile",
            "`flockstep check descriptors --report DIR` has",
        ));
    }
    let mut files = Vec::new();
    for of_scenario in with.chunk_by(|a, b| a.0.scenario == b.0.scenario) {
        let (scenario, of) = (of_scenario[0].0.scenario, of_scenario[0].1.of);
        let growth = |(policy, profile): &(&Policy, &Profile)| Line {
            name: policy.name.to_owned(),
            points: profile.points.iter().map(|(value, scene)| (*value as f64, peak(scene))).collect(),
            stairs: false,
        };
        let chart = Chart {
            title: format!("{scenario}: the most that one process has open at once"),
            along: of.to_owned(),
            up: "descriptors".to_owned(),
            logarithmic: true,
            lines: of_scenario.iter().map(growth).collect(),
            limits: LIMITS.iter().map(|limit| ((*limit).into(), format!("ulimit -n {limit}"))).collect(),
        };
        files.push((format!("{scenario}-by-{of}.svg"), chart));

        let mut at = 0;
        let mut over_time = true;
        let mut lines = Vec::new();
        for (policy, profile) in of_scenario {
            let below = profile.points.iter().rev().find(|(value, _)| *value <= COURSE_AT);
            let (value, scene) = below.or(profile.points.first()).expect("a profile has points");
            let (points, timed) = course(scene);
            (at, over_time) = (*value, over_time && timed);
            lines.push(Line { name: policy.name.to_owned(), points, stairs: true });
        }
        let chart = Chart {
            title: format!("{scenario}: what one process has open over time, {of} = {at}"),
            along: if over_time { "virtual seconds" } else { "steps of one schedule" }.to_owned(),
            up: "descriptors".to_owned(),
            logarithmic: false,
            lines,
            limits: Vec::new(),
        };
        files.push((format!("{scenario}-over-time.svg"), chart));
    }
    files.into_iter().map(|(name, chart)| write(directory.join(name), &chart)).collect()
}

#[expect(clippy::disallowed_methods, reason = "a report of the command's; no protocol has anything to do with it")]
fn write(path: PathBuf, chart: &Chart) -> Result<PathBuf, BadInput> {
    let failed =
        |why: String| BadInput::new(format!("{}: {why}", path.display()), "name another directory with --report");
    let text = chart.svg().map_err(&failed)?;
    let parent = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).and_then(|()| std::fs::write(&path, text)).map_err(|e| failed(e.to_string()))?;
    Ok(path)
}
