//! The contract, in the simulated world: each clause under some hundreds of schedules.
//!
//! A clause says what holds however things fall out, so one schedule that breaks it is a bug of the simulation (or a body that assumes
//! more than its clause says). Time is urgent: sleeps in the bodies are patience, and a timer that fires before others could move would
//! take it away.

use crate::contract::{self, Limits, clauses};
use flockstep::oracle::RegionExclusion;
use flockstep::sim::kernel::Quirk;
use flockstep::world::{Clock, Files, Process, World, write_all};
use flockstep::{Scenario, SimWorld, Strategy, Time, Verdict, scenario};
use std::future::Future;
use std::time::Duration;

const SCHEDULES: u64 = if cfg!(feature = "exhaustive") { 20_000 } else { 200 };

fn upheld<F>(clause: &str, limits: Limits, body: impl Fn(SimWorld) -> F + Clone + Send + Sync + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    for strategy in [Strategy::random(SCHEDULES), Strategy::pct(3, SCHEDULES), Strategy::dfs(SCHEDULES)] {
        of_clause(clause, limits, &body).explore(strategy).assert_upheld();
    }
}

fn of_clause<F>(
    clause: &str,
    limits: Limits,
    body: &(impl Fn(SimWorld) -> F + Clone + Send + Sync + 'static),
) -> Scenario
where
    F: Future<Output = ()> + Send + 'static,
{
    let nofile = limits.nofile.map_or(1024, |limit| u32::try_from(limit).unwrap());
    let scenario = scenario(clause).workers(2).blocking_threads(2).time(Time::Urgent).directory("/dir").leaks_allowed();
    let scenario = with_programs(scenario)
        .workers(u32::try_from(limits.workers).unwrap())
        .blocking_threads(u32::try_from(limits.blocking_threads).unwrap())
        .nofile(nofile)
        .process("process", body.clone())
        // A state that only a time-out can leave counts as a deadlock, and bodies about time-outs get there: so somebody sleeps.
        .process("sleeper", |world: SimWorld| async move { world.sleep(Duration::from_secs(3600)).await });
    // What only somebody who watches can tell.
    if clause.starts_with("n1") { scenario.oracle(|| RegionExclusion::of("build")) } else { scenario }
}

/// What the real world finds in `tests/programs` and in `/bin`.
fn with_programs(scenario: Scenario) -> Scenario {
    let ours = ["until-closed", "unlock", "foster", "first-task-ends"];
    let scenario = ours.into_iter().fold(scenario, |scenario, name| {
        scenario.program(name, move |world: SimWorld| async move {
            let arguments = world.args().split_off(1);
            contract::programs::run(world, name, arguments).await;
        })
    });
    scenario.program("true", |_| async { 0 }).program("false", |_| async { 1 }).program(
        "echo",
        |world: SimWorld| async move {
            let line = world.args()[1..].join(" ") + "\n";
            let output = world.inherited(1)?;
            write_all(&world, &output, line.as_bytes()).await
        },
    )
}

macro_rules! in_simulation {
    ($($module:ident :: $clause:ident { $($limit:tt)* };)*) => {
        $(
            #[test]
            fn $clause() {
                #[allow(clippy::needless_update, reason = "most clauses change none of the limits")]
                let limits = Limits { $($limit)* ..Limits::USUAL };
                fn body<W: World>(world: W) -> impl Future<Output = ()> + Send {
                    async move { contract::$module::$clause(&world, "/dir").await }
                }
                upheld(stringify!($clause), limits, body);
            }
        )*
    };
}

clauses!(in_simulation);

/// The test of the clauses: each of these mistakes of the kernel breaks one.
#[test]
fn mistakes_break_a_clause() {
    async fn f1(world: SimWorld) {
        contract::files::f1_lowest_descriptor_and_emfile_first(&world, "/dir").await;
    }
    async fn l2(world: SimWorld) {
        contract::locks::l2_unlock_or_last_close_ends_it(&world, "/dir").await;
    }
    async fn l3(world: SimWorld) {
        contract::locks::l3_a_refused_conversion_has_lost_the_lock(&world, "/dir").await;
    }
    let few = Limits { nofile: Some(64), ..Limits::USUAL };
    for (quirk, scenario) in [
        (Quirk::NumbersNotReused, of_clause("f1", few, &f1)),
        (Quirk::EmfileAfterCreation, of_clause("f1", few, &f1)),
        (Quirk::CloseOfDuplicateReleases, of_clause("l2", Limits::USUAL, &l2)),
        (Quirk::UnlockByChildIgnored, of_clause("l2", Limits::USUAL, &l2)),
        (Quirk::RefusedUpgradeKeeps, of_clause("l3", Limits::USUAL, &l3)),
    ] {
        let verdict = scenario.quirk(quirk).steps_max(2_000).explore(Strategy::random(1)).verdict;
        assert!(matches!(verdict, Verdict::Violated(_)), "{quirk:?}: {verdict:?}");
    }
}
