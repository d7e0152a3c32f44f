//! What each oracle means: for every one a *mutant* that it catches, and a near-twin, as little different as possible, that it lets
//! pass. And what every class of deadlock looks like, and corners of the machine that once were bugs.

mod attention;
mod avoidable_wait;
mod blocking;
mod builds;
mod deadlock;
mod descriptors;
mod exclusion;
mod leak;
mod locks;
mod lost_update;
mod machine;
mod numbers;
mod order;
mod publish;

use flockstep::world::{Files, LockMode, Locks, OpenOptions, Result, write_all};
use flockstep::{Failure, Key, Scenario, SimWorld, Strategy, ViolationKind};

type File = <SimWorld as Files>::File;

/// Explores everything; the violation is of that kind, its report has these words, and its keys replay.
#[track_caller]
fn caught(s: &Scenario, kind: ViolationKind, words: &[&str]) -> Failure {
    let found = s.explore(Strategy::exhaustive());
    let failure = found.assert_violated(kind.clone()).clone();
    let report = failure.report();
    for word in words {
        assert!(report.contains(word), "{word:?} is missing in\n{report}");
    }
    let key = failure.key.as_ref().unwrap_or_else(|| panic!("it has no key:\n{report}"));
    let keys = failure.more_keys.iter().chain([key]);
    let keys: Vec<Key> = keys.map(|key| key.to_string().parse().expect("a key reads back")).collect();
    let again = s.replay_together(&keys).0.expect("it fails again");
    assert_eq!(again.violation.kind, kind);
    failure
}

/// Explores everything; nothing is broken, and every oracle had something to judge.
#[track_caller]
fn passes(s: &Scenario) {
    s.explore(Strategy::exhaustive()).assert_exhausted();
}

/// Explores everything; the oracle had nothing to judge, which is a failure of the scenario.
#[track_caller]
fn vacuous(s: &Scenario) {
    s.explore(Strategy::exhaustive()).assert_violated(ViolationKind::Vacuous);
}

async fn open(world: &SimWorld, path: &str) -> Result<File> {
    world.open(path, OpenOptions::lock_file()).await
}

async fn lock(world: &SimWorld, path: &str) -> Result<File> {
    let file = open(world, path).await?;
    world.flock(&file, LockMode::Exclusive).await?;
    Ok(file)
}

async fn shared(world: &SimWorld, path: &str) -> Result<File> {
    let file = open(world, path).await?;
    world.flock(&file, LockMode::Shared).await?;
    Ok(file)
}

/// Creates or replaces in place.
async fn write(world: &SimWorld, path: &str, content: &str) -> Result<()> {
    let file = world.open(path, OpenOptions::replace()).await?;
    write_all(world, &file, content.as_bytes()).await?;
    world.close(file).await
}
