//! What fails at one size is looked for at the smaller ones.
//!
//! Every size of a policy is explored, and the smallest that fails is told. So what fails at a large size only is a miss at the smaller ones,
//! unless they are sound; where every schedule of them was tried, they are. The others are tried once more, those with few preemptions and
//! faults first, within what may be spent on making a schedule smaller. Only for what is not expected to fail: the sizes at which historic
//! policies begin to fail are known.

use super::{Progress, Watch};
use crate::cli::quiet::quietly;
use crate::report::{Judged, Judgement};
use flockstep::engine::Engine;
use flockstep::scenario::{Case, Expected};
use flockstep::{Exploration, Method, Strategy, Verdict};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Replaces what came out of the smallest size at which it is found, if it is.
pub(super) fn look(
    explored: &mut [Judged<'_>],
    engine: &dyn Engine,
    strategy: &Strategy,
    watch: &Watch,
    progress: &Progress,
) {
    let fails = |judged: &&Judged<'_>| judged.failure().is_some() && judged.judgement() == Judgement::Unexpected;
    let failing = explored.iter().filter(fails).map(|judged| judged.case).min_by_key(|case| case.magnitude());
    let Some(failing) = failing.filter(|case| case.expected == Expected::Upheld) else { return };
    let is_open = |judged: &&mut Judged<'_>| {
        let sampled = matches!(judged.exploration.verdict, Verdict::Upheld { exhaustive: false, .. });
        sampled && judged.case.expected == Expected::Upheld && judged.case.magnitude() < failing.magnitude()
    };
    let mut smaller: Vec<&mut Judged<'_>> = explored.iter_mut().filter(is_open).collect();
    smaller.sort_by_key(|judged| judged.case.magnitude());
    for judged in smaller {
        if watch.over().is_some() {
            return;
        }
        let Some(found) = violated(judged, engine, strategy, watch) else { continue };
        let (here, there) = (judged.size(), crate::report::size(&failing.size));
        let name = judged.case.scenario.name();
        progress.note(&format!("note: {name} fails at {there}; looked for at {here}, it was found there, too"));
        judged.exploration = found;
        return;
    }
}

/// What comes out of it by bounds, with the executions there were before, if a promise is broken.
fn violated(judged: &Judged<'_>, engine: &dyn Engine, strategy: &Strategy, watch: &Watch) -> Option<Exploration> {
    let Judged { case: Case { scenario, .. }, exploration: before, .. } = judged;
    let each = (before.steps / before.executions.max(1)).max(1);
    let most = strategy.shorten.schedules.min(strategy.shorten.steps / each);
    let bounded = Strategy { method: Method::Bounded, exhaustive: false, time_limit: watch.left(), ..strategy.clone() };
    let bounded = bounded.schedules(most.max(1));
    let explore = || engine.explore(scenario, &bounded, &mut |_| !watch.interrupted());
    let mut found = quietly(|| catch_unwind(AssertUnwindSafe(explore))).ok()?.ok()?;
    let Verdict::Violated(failure) = &mut found.verdict else { return None };
    failure.executions += before.executions;
    found.executions += before.executions;
    found.steps += before.steps;
    found.elapsed += before.elapsed;
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::super::ahead::Ahead;
    use super::*;
    use flockstep::engine::Seeded;
    use flockstep::scenario::Policy;
    use flockstep::world::{Files as _, Result};
    use flockstep::{Scenario, SimWorld, scenario};

    /// Whoever walks fails if the one that makes, if there is one, goes on just before the last step. With more walkers, one always fails.
    fn race(walkers: u64, maker: bool) -> Scenario {
        let scene = scenario("").process("walk", |world: SimWorld| async move {
            for _ in 0..20 {
                world.stat("/").await?;
            }
            if world.stat("/a").await.is_err() { world.mkdir("/a").await } else { Ok(()) }
        });
        let make = |world: SimWorld| async move {
            world.mkdir("/a").await.ok();
            Result::Ok(())
        };
        let scene = if maker { scene.process("make", make) } else { scene };
        (1..walkers).fold(scene, |scene, n| {
            scene.process(&format!("late{n}"), |world: SimWorld| async move { world.rmdir("/missing").await })
        })
    }

    fn looked_at(maker: bool) -> Vec<&'static str> {
        let policy = Policy::new("race", "new", "").upheld([("walkers", 1)], race(1, maker));
        let policy = policy.upheld([("walkers", 2)], race(2, maker)).upheld([("walkers", 3)], race(3, maker));
        // One schedule finds what always fails, and nothing else.
        let strategy = Strategy { shorten: Strategy::default().shorten, ..Strategy::random(1) };
        let explored = |case| Judged { case, exploration: case.scenario.explore(strategy.clone()), key: None };
        let mut explored: Vec<Judged<'_>> = policy.cases.iter().map(explored).collect();
        assert_eq!(explored.iter().filter(|judged| judged.failure().is_some()).count(), 2);
        let (watch, progress) = (Watch::start(None), Progress::new(0, Ahead::default(), false));
        look(&mut explored, &Seeded, &strategy, &watch, &progress);
        explored.iter().map(|judged| judged.exploration.verdict.word()).collect()
    }

    #[test]
    fn a_miss_at_a_smaller_size_is_made_good_and_what_is_sound_there_stays_so() {
        assert_eq!(looked_at(true), ["violated", "violated", "violated"]);
        assert_eq!(looked_at(false), ["upheld", "violated", "violated"]);
    }
}
