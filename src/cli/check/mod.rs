//! `flockstep check`: explores, and compares what comes out with what is expected.

mod ahead;
mod idle;
mod keep;
mod memory;
pub(super) mod part_file;
mod pictures;
mod progress;
mod smaller;
mod watch;
mod work;

use super::{BadInput, Exit, select};
use crate::report::{JUnit, JsonLines, Judged, Judgement, Report, Row, Table};
use ahead::Ahead;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, ValueEnum};
use flockstep::engine::{self, CannotHold, Engine};
use flockstep::scenario::{Expected, Policy};
use flockstep::{Method, Part, Strategy};
use progress::Progress;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;
use watch::Watch;
use work::{Outcome, Planned};

/// The arguments of `check`.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// What to check: a scenario, one policy of it, or how the name of either begins [default: everything].
    #[arg(value_name = "SCENARIO[/POLICY]")]
    wanted: Vec<String>,
    /// Who picks the next step; may be given several times [default: seeded].
    #[arg(long, value_name = "ENGINE", value_parser = engine_parser())]
    engine: Vec<&'static str>,
    /// How schedules are found [default: portfolio; with --exhaustive, dfs].
    #[arg(long, value_name = "STRATEGY", value_parser = method_parser())]
    strategy: Option<Method>,
    /// At most that many executions of each case [default: 20000, or 200 if these have three million steps; with --exhaustive, ten million].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    schedules: Option<u64>,
    /// Where random numbers start.
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// Nothing less than every schedule counts: what limits cut short is inconclusive.
    #[arg(long)]
    exhaustive: bool,
    /// Cases to explore at once [default: the number of processors].
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Stop after that long; what is not done by then is inconclusive.
    #[arg(long, value_name = "SECONDS", value_parser = super::seconds)]
    time_limit: Option<Duration>,
    /// At most that many MiB for the state caches of all jobs together; a search that would need more is inconclusive, or goes over
    /// to sampling [default: half of what the machine or the control group has].
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..))]
    memory: Option<u64>,
    /// Count which operations of different agents met at a resource, and in which order.
    #[arg(long)]
    coverage: bool,
    /// Only the Ith of N parts; with --format json, `flockstep merge` joins them.
    #[arg(long, value_name = "I/N")]
    shard: Option<Part>,
    /// How to report.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Draw there, as SVG, how many descriptors the policies take: as inputs get more, and over time.
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
}

/// How rows are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// A table; with a whole report if a single policy is asked for.
    Text,
    /// One JSON object a line, for each scenario, policy and engine.
    Json,
    /// A JUnit document.
    Junit,
}

const AFTER_HELP: &str = "\
Examples:
  flockstep check                                  everything, with our own engine
  flockstep check shard-lock                       the scenarios whose names begin like that
  flockstep check shard-lock/none                  one policy, with a report of what it breaks
  flockstep check --engine seeded --engine loom    two opinions
  flockstep check --exhaustive --time-limit 600    a proof for these sizes, or no answer
  flockstep check --report pictures descriptors    and draw what it costs, as SVG
  flockstep check --strategy pct --schedules 50000 --seed 7
  flockstep check --shard 1/4 --format json > part1.json    and so on; then flockstep merge part*.json
  flockstep check --format json | jq -c 'select(any(.cases[]; .as_expected | not))'

Merged parts equal one run but for times; with --exhaustive, the verdict does, and the parts together may take more executions, because
each has a state cache of its own. --schedules and --memory are limits of each part then. One part alone is never exhaustive.

Keys longer than 400 characters are written to proptest-regressions/keys/ in the current directory; the file stands for the key.

Exit codes (the most severe counts, in the order 2, 1, 3, 0):
  0  every row is as expected: historic policies violated in the expected way, sound ones upheld
  1  a row is not: a violation, an unexpected pass, or a violation of another kind
  2  bad input: an unknown name, or an engine that holds no case of what was asked for
  3  a row is inconclusive: cut short by --exhaustive's demand, --time-limit or Ctrl-C";

fn engine_parser() -> impl clap::builder::TypedValueParser<Value = &'static str> {
    let names: Vec<&'static str> = engine::all().into_iter().map(Engine::name).collect();
    PossibleValuesParser::new(names).map(|name| engine::by_name(&name).expect("one of all").name())
}

fn method_parser() -> impl clap::builder::TypedValueParser<Value = Method> {
    PossibleValuesParser::new(Method::ALL.map(Method::name)).map(|name| Method::from_name(&name).expect("one of all"))
}

/// Checks what is wanted of `policies`.
///
/// # Errors
/// If there is no such thing, or if it cannot be checked in this way.
pub(crate) fn main(arguments: Arguments, policies: &[Policy]) -> Result<Exit, BadInput> {
    let asked = Asked {
        wanted: arguments.wanted,
        engines: engines(&arguments.engine).iter().map(|engine| engine.name().to_owned()).collect(),
        strategy: arguments.strategy.map(|method| method.name().to_owned()),
        schedules: arguments.schedules,
        seed: arguments.seed,
        exhaustive: arguments.exhaustive,
        coverage: arguments.coverage,
    };
    let watch = Watch::start(arguments.time_limit);
    let jobs = arguments.jobs.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
    let memory = memory::budget(arguments.memory) / jobs as u64;
    let strategy = asked.strategy()?.memory(memory);
    if let Some(part) = arguments.shard {
        if arguments.format == Format::Json {
            return part_file::write(&asked, &strategy.part(part), policies, jobs, &watch);
        }
        return tell(&asked, arguments.format, None, policies, &watch, |plan, progress, each| {
            progress.note("note: only what --format json writes can be merged");
            work::run(plan, &strategy.clone().part(part), jobs, &watch, progress, each);
            Ok(())
        });
    }
    tell(&asked, arguments.format, arguments.report, policies, &watch, |plan, progress, each| {
        work::run(plan, &strategy, jobs, &watch, progress, each);
        Ok(())
    })
}

/// What was asked for: the same for all parts of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Asked {
    wanted: Vec<String>,
    engines: Vec<String>,
    strategy: Option<String>,
    schedules: Option<u64>,
    seed: u64,
    exhaustive: bool,
    coverage: bool,
}

impl Asked {
    fn plan<'p>(&self, policies: &'p [Policy]) -> Result<Vec<Planned<'p>>, BadInput> {
        let selected = select::all_matching(&self.wanted, policies)?;
        let engines = self.engines();
        Ok(selected.iter().flat_map(|policy| engines.iter().map(|&engine| Planned { policy, engine })).collect())
    }

    fn engines(&self) -> Vec<&'static dyn Engine> {
        engines(&self.engines.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn progress(&self, plan: &[Planned<'_>], strategy: &Strategy) -> Progress {
        let cases = plan.iter().map(|row| row.policy.cases.len() as u64).sum();
        Progress::new(cases, Ahead::new(cases, strategy), self.coverage)
    }

    fn strategy(&self) -> Result<Strategy, BadInput> {
        let method = self.strategy.as_deref().and_then(Method::from_name);
        let strategy = strategy(method, self.schedules, self.seed, self.exhaustive)?;
        Ok(if self.coverage { strategy.with_coverage() } else { strategy })
    }
}

/// Tells what comes of a check, as it comes out of `explore`, which hands over one row after the other.
fn tell(
    asked: &Asked,
    format: Format,
    pictures: Option<PathBuf>,
    policies: &[Policy],
    watch: &Watch,
    explore: impl FnOnce(&[Planned<'_>], &Progress, &mut dyn FnMut(&Planned<'_>, Vec<Outcome>)) -> Result<(), BadInput>,
) -> Result<Exit, BadInput> {
    let selected = select::all_matching(&asked.wanted, policies)?;
    let (plan, strategy) = (asked.plan(policies)?, asked.strategy()?);
    let names: Vec<&'static str> = asked.engines().iter().map(|engine| engine.name()).collect();
    let detailed = !asked.wanted.is_empty() && selected.len() == 1;
    let mut report: Box<dyn Report> = match format {
        Format::Text => Box::new(Table::new(&selected, &names, detailed)),
        Format::Json => Box::new(JsonLines),
        Format::Junit => Box::new(JUnit::default()),
    };
    let progress = asked.progress(&plan, &strategy);
    let (mut worst, mut rows, mut left_out) = (Judgement::Expected, Vec::new(), LeftOut::default());

    progress.print(&report.head());
    explore(&plan, &progress, &mut |planned, outcomes| {
        if let Some(row) = row(planned, &strategy, outcomes, &mut left_out, watch, &progress) {
            worst = worst.max(row.judgement());
            rows.push((row.policy.full_name(), row.engine));
            progress.print(&report.row(&row));
        }
    })?;
    progress.print(&report.end(watch.elapsed()));
    left_out.tell(&progress);
    if let Some(directory) = &pictures {
        for file in pictures::draw(&selected, directory)? {
            progress.note(&format!("drew {}", file.display()));
        }
    }
    progress.end();

    demand_rows(&asked.wanted, &names, policies, &rows, &left_out)?;
    Ok(exit(worst))
}

fn exit(worst: Judgement) -> Exit {
    match worst {
        Judgement::Expected => Exit::Expected,
        Judgement::Inconclusive => Exit::Inconclusive,
        Judgement::Unexpected => Exit::Unexpected,
    }
}

/// How many executions of each case there are at most, if nobody says: all scenarios together take about a minute.
const SCHEDULES: u64 = 20_000;

fn strategy(method: Option<Method>, schedules: Option<u64>, seed: u64, exhaustive: bool) -> Result<Strategy, BadInput> {
    if exhaustive && let Some(method) = method.filter(|method| method.samples()) {
        let what = format!("--strategy {} draws schedules: it never knows that it has tried them all", method.name());
        return Err(BadInput::new(what, "leave out --exhaustive, or use --strategy dfs, dpor or bounded"));
    }
    let usual =
        if exhaustive { Strategy::exhaustive() } else { Strategy { schedules: SCHEDULES, ..Strategy::default() } };
    let usual = Strategy { method: method.unwrap_or(usual.method), seed, ..usual };
    Ok(match schedules {
        Some(schedules) => usual.schedules(schedules),
        None => usual,
    })
}

/// Those of these names, each once; our own without any.
fn engines(names: &[&str]) -> Vec<&'static dyn Engine> {
    let wanted = if names.is_empty() { &["seeded"] } else { names };
    engine::all().into_iter().filter(|engine| wanted.contains(&engine.name())).collect()
}

/// What came out of a policy under an engine. Nothing if the engine holds none of its cases, or of a historic policy none that is
/// violated: what remains would show nothing.
fn row<'p>(
    planned: &Planned<'p>,
    strategy: &Strategy,
    outcomes: Vec<Outcome>,
    left_out: &mut LeftOut,
    watch: &Watch,
    progress: &Progress,
) -> Option<Row<'p>> {
    let &Planned { policy, engine } = planned;
    let mut held = Vec::new();
    for (case, outcome) in policy.cases.iter().zip(outcomes) {
        match outcome {
            Ok(exploration) => held.push(Judged { case, exploration, key: None }),
            Err(cannot) => left_out.add(policy, cannot),
        }
    }
    let shows = |expected: &Expected| policy.expected() == Expected::Upheld || *expected != Expected::Upheld;
    if !held.iter().any(|judged| shows(&judged.case.expected)) {
        return None;
    }
    smaller::look(&mut held, engine, strategy, watch, progress);
    let with_key = |judged: Judged<'p>| {
        let key = keep::key(&judged.exploration, engine.name(), progress);
        Judged { key, ..judged }
    };
    let cases = held.into_iter().map(with_key).collect();
    let (method, coverage) = (strategy.method.name(), strategy.coverage);
    Some(Row { policy, engine: engine.name(), strategy: method, coverage, cases })
}

/// What engines cannot hold.
#[derive(Default)]
struct LeftOut {
    /// Why, by policy and engine: the reason of the first case.
    reasons: BTreeMap<(String, &'static str), String>,
    /// How many cases, by engine and reason.
    cases: BTreeMap<(&'static str, String), u64>,
}

impl LeftOut {
    fn add(&mut self, policy: &Policy, cannot: CannotHold) {
        let CannotHold { engine, why, .. } = cannot;
        self.reasons.entry((policy.full_name(), engine)).or_insert_with(|| why.clone());
        *self.cases.entry((engine, why)).or_default() += 1;
    }

    fn tell(&self, progress: &Progress) {
        for ((engine, why), cases) in &self.cases {
            progress.note(&format!("note: {engine} cannot hold {cases} of the cases, which are left out: {why}"));
        }
    }
}

/// Whoever asks for something is never answered with nothing.
fn demand_rows(
    wanted: &[String],
    engines: &[&'static str],
    policies: &[Policy],
    rows: &[(String, &'static str)],
    left_out: &LeftOut,
) -> Result<(), BadInput> {
    let everything = [String::new()];
    for wanted in if wanted.is_empty() { &everything } else { wanted } {
        let names: Vec<String> = select::matching(wanted, policies)?.into_iter().map(Policy::full_name).collect();
        for &engine in engines {
            if rows.iter().any(|(name, by)| *by == engine && names.contains(name)) {
                continue;
            }
            let why = names.iter().find_map(|name| left_out.reasons.get(&(name.clone(), engine)));
            let why = why.map(|why| format!(": {why}")).unwrap_or_default();
            let wanted = if wanted.is_empty() { "any scenario" } else { wanted };
            let what = format!("the {engine} engine holds no case of {wanted} that would show something{why}");
            return Err(BadInput::new(what, "leave out this --engine; seeded holds everything"));
        }
    }
    Ok(())
}
