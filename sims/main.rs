//! Every case of every scenario as a test: what is expected of it comes out, and the key of every violation replays.
//!
//! With `--features exhaustive` the limits are raised, and a table tells at the end which cases were covered to the last schedule.

mod calibration;
#[path = "mod.rs"]
#[allow(dead_code, unreachable_pub, reason = "the command includes the same files, and uses more of them")]
mod sims;

use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flockstep::scenario::{Case, Expected};
use flockstep::{Enough, Exploration, Strategy, Verdict};
use libtest_mimic::{Arguments, Failed, Trial};

/// How many executions of a sound case the exhaustive run tries to come to the end with.
const SCHEDULES: u64 = 3_000_000;

/// And no longer than this for one case: what is not covered by then is said not to be.
const PATIENCE: Duration = Duration::from_secs(45);

/// But for these, the largest that are covered to the last schedule: half a million executions, which a slow machine has to be given.
const LARGEST: [&str; 2] = ["shard-lock/sound processes=2,tasks=2", "nested-builds/sound permits=2,inputs=2,depth=3"];
const LONG: Duration = Duration::from_secs(300);

/// And of a large one in the usual run: `flockstep check` explores more of them.
const ENOUGH: Enough = Enough { schedules: 20, steps: 1_000_000 };

/// What the exhaustive run tells of one case.
type Rows = Arc<Mutex<Vec<(String, String)>>>;

fn check(case: &Case, rows: &Rows) -> Result<(), Failed> {
    let sound = case.expected == Expected::Upheld;
    let name = format!("{} {}", case.scenario.name(), case.scenario.case_name());
    let strategy = if cfg!(feature = "exhaustive") && sound {
        Strategy::dfs(SCHEDULES).time_limit(if LARGEST.contains(&&*name) { LONG } else { PATIENCE })
    } else {
        Strategy { enough: Some(ENOUGH), ..Strategy::default() }
    };
    let exploration = case.scenario.explore(strategy);
    rows.lock().expect("no test panics while it holds this").push((name, tell(&exploration)));
    let cut = cfg!(feature = "exhaustive") && matches!(exploration.verdict, Verdict::Inconclusive(_));
    if !cut && !case.expected.is_met_by(&exploration.verdict) {
        let came_out = match &exploration.verdict {
            Verdict::Violated(failure) => failure.report(),
            other => format!("{other:?}"),
        };
        return Err(format!("expected: {}\ncame out: {came_out}", case.expected.word()).into());
    }
    let Verdict::Violated(failure) = &exploration.verdict else { return Ok(()) };
    let key = failure.key.as_ref().ok_or("a violation without a replay key")?;
    let key = key.to_string().parse().map_err(|error| format!("{key}: {error}"))?;
    match case.scenario.replay(&key).0 {
        Some(again) if again.events == failure.events => Ok(()),
        _ => Err(format!("{key} does not replay to the same events").into()),
    }
}

fn tell(exploration: &Exploration) -> String {
    let Exploration { verdict, executions, states, elapsed, .. } = exploration;
    let states = states.map_or_else(String::new, |states| format!(", {states} states"));
    let word = match verdict {
        Verdict::Upheld { exhaustive: true, .. } => "exhaustive".to_owned(),
        Verdict::Upheld { exhaustive: false, .. } => "NOT exhausted".to_owned(),
        Verdict::Violated(failure) => format!("violated ({})", failure.violation.kind),
        Verdict::Inconclusive(why) => format!("NOT exhausted, {why}"),
    };
    format!("{word}: {executions} executions{states}, {:.1} s", elapsed.as_secs_f64())
}

#[expect(clippy::print_stdout, reason = "a test target without a harness tells its own results")]
fn main() -> ExitCode {
    let rows = Rows::default();
    let mut trials = Vec::new();
    for policy in sims::all() {
        for case in policy.cases {
            let name = format!("{} {}", case.scenario.name(), case.scenario.case_name());
            let rows = rows.clone();
            trials.push(Trial::test(name, move || check(&case, &rows)));
        }
    }
    trials.push(Trial::test("calibration", calibration::check));
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials);
    if cfg!(feature = "exhaustive") && conclusion.num_passed > 0 {
        let mut rows = rows.lock().expect("every test has ended").clone();
        rows.sort();
        println!("covered by the search with the state cache:");
        for (name, told) in rows {
            println!("  {name:60} {told}");
        }
    }
    conclusion.exit_code()
}
