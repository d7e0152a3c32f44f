//! `leftovers`: what a process that was killed leaves behind, and who removes it.
//!
//! A temporary directory whose writer was killed looks like any other. A sweeper that removes all of them, or the old ones, takes a slow
//! build's directory away; one that removes none fills the disk. Here each carries a lock, and the sweeper removes what it can lock.
//!
//! SIGKILL of a front end does not reach its hook, which works on, in its temporary directory and in the source tree. If the locks died
//! with the parent, the next process would remove the one and start a second hook in the other. So the hook inherits them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use flockstep::oracle::{Oracle, RegionExclusion, Violation, state_of};
use flockstep::protocol::discipline::{Discipline, Hooks};
use flockstep::protocol::{self, Cache, Settings, sweep};
use flockstep::scenario::Policy;
use flockstep::world::{Errno, Event, Kinds, LockMode, OpenOptions, What, World, remove_dir_all};
use flockstep::{KernelView, Renamed, Scenario, SimWorld, ViolationKind, scenario};

use super::backend::{Backend, MODULE, WORKS, WRITES, Wheel, build, with_backends};

const TEMPORARY: &str = "/cache/tmp";
const GATE: &str = "/gate";
const IN_USE: ViolationKind = ViolationKind::Other("removed-in-use");
/// Older than that is taken for left behind, where age is what counts.
const OLD: Duration = Duration::from_secs(3600);

/// How leftovers are told from what is in use.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sweeper {
    /// Not at all.
    Everything,
    /// By age: what was there an hour ago, and still is.
    Old,
    /// By the lock: the protocol's.
    Unlocked,
}

impl Sweeper {
    /// How many it removed.
    async fn sweep<W: World>(self, world: &W, cache: &Cache<W>) -> protocol::Result<usize> {
        if self == Sweeper::Unlocked {
            return sweep(world, &mut cache.command()).await;
        }
        let mut found = world.read_dir(TEMPORARY).await?;
        if self == Sweeper::Old {
            world.sleep(OLD).await;
            let still = world.read_dir(TEMPORARY).await?;
            found.retain(|entry| still.iter().any(|other| other.name == entry.name));
        }
        for entry in &found {
            match remove_dir_all(world, &format!("{TEMPORARY}/{}", entry.name)).await {
                // Somebody makes new files in it meanwhile.
                Err(error) if error.errno == Errno::NotEmpty => {}
                other => other?,
            }
        }
        Ok(found.len())
    }
}

/// Builds. The gate is shut for as long as this process or a hook of its lives.
async fn first(world: SimWorld, settings: Settings, wheel: Wheel) -> protocol::Result<()> {
    use flockstep::world::{Files as _, Locks as _};
    let gate = world.open(GATE, OpenOptions::lock_file().inheritable()).await?;
    world.flock(&gate, LockMode::Exclusive).await?;
    world.mkdir("/started").await?;
    let built = build(world.clone(), settings, wheel).await;
    world.close(gate).await?;
    built
}

/// Sweeps and builds, as every command does; and sweeps again when nothing of the first one lives any more.
async fn next(world: SimWorld, settings: Settings, wheel: Wheel, sweeper: Sweeper) -> protocol::Result<()> {
    use flockstep::world::{Files as _, Locks as _};
    let cache = Cache::new(&world, settings.clone())?;
    sweeper.sweep(&world, &cache).await?;
    build(world.clone(), settings, wheel).await?;
    if world.stat("/started").await.is_err() {
        return Ok(());
    }
    let gate = world.open(GATE, OpenOptions::lock_file()).await?;
    world.flock(&gate, LockMode::Exclusive).await?;
    if sweeper.sweep(&world, &cache).await? > 0 {
        world.mkdir("/found").await?;
    }
    world.mkdir("/swept").await?;
    Ok(world.close(gate).await?)
}

/// Nobody removes a temporary directory, or what is in it, while its writer has it locked or a hook works in it.
#[derive(Default)]
struct NotInUse {
    /// By region: where, and the process.
    at_work: BTreeMap<u64, (Arc<str>, u32)>,
    judged: u64,
}

impl Oracle for NotInUse {
    fn name(&self) -> &str {
        "nothing in use is removed"
    }
    fn kinds(&self) -> Kinds {
        Kinds::NAMES | Kinds::REMARKS | Kinds::LOCKS
    }
    fn begin(&mut self) {
        self.at_work.clear();
    }
    fn on(&mut self, event: &Event, kernel: &KernelView<'_>) -> Result<(), Violation> {
        let (path, file) = match &event.what {
            What::Entered { kind, subject, region } if *kind == WORKS => {
                self.at_work.insert(*region, (subject.clone(), event.process));
                return Ok(());
            }
            What::Left { region, .. } => {
                self.at_work.remove(region);
                return Ok(());
            }
            What::Unlink { path, file } | What::RemoveDir { path, file } => (path, file),
            _ => return Ok(()),
        };
        let Some(name) = path.strip_prefix("/cache/tmp/").and_then(|path| path.split('/').next()) else {
            return Ok(());
        };
        self.judged += 1;
        let dir = format!("{TEMPORARY}/{name}");
        // Not by its name: another directory may have had it, and its lock lasts until its owner closes it.
        let inode = if **path == *dir { Some(file.inode) } else { kernel.inode(&dir) };
        let mut locks = kernel.locks().into_iter();
        let lock = locks.find(|lock| Some(lock.inode) == inode && !lock.processes.contains(&event.process));
        let locked_by = lock.and_then(|lock| lock.processes.first().copied());
        let hook = self.at_work.values().find(|(at, process)| at.starts_with(&dir) && *process != event.process);
        let Some(user) = locked_by.or(hook.map(|(_, process)| *process)) else { return Ok(()) };
        let text = format!(
            "{} {} at step {}, where {} is at work",
            kernel.who(event),
            event.what,
            event.step,
            kernel.process_name(user)
        );
        Err(Violation::new(IN_USE, text))
    }
    fn state(&self) -> Option<u64> {
        self.state_as(&Renamed::default())
    }
    fn state_as(&self, names: &Renamed<'_>) -> Option<u64> {
        let named = |(path, process)| (names.path(path), names.process(process));
        let mut at_work: Vec<_> = self.at_work.values().map(|(path, process)| named((path, *process))).collect();
        at_work.sort_unstable();
        state_of(at_work)
    }
    fn judged(&self) -> u64 {
        self.judged
    }
}

/// A process and the next one, on one cache and one source tree.
fn two(hooks: Hooks, backend: Backend, sweeper: Sweeper) -> Scenario {
    let discipline = Discipline { hooks, ..Discipline::default() };
    let settings = Settings { discipline, lock_timeout: None, ..Settings::new("/cache", "/tmp") };
    // Not reusable: so nothing but the lock of the tree keeps the hooks apart.
    let wheel = Wheel { tree: "/src/app", backend, asks: false, takes: Duration::ZERO, reusable: false };
    let scene = scenario("").file("/src/app/module", MODULE).directory(TEMPORARY).directory("/tmp");
    let again = settings.clone();
    with_backends(scene.workers(1).blocking_threads(1))
        .process("first", move |world: SimWorld| first(world, settings.clone(), wheel))
        .process("next", move |world: SimWorld| next(world, again.clone(), wheel, sweeper))
}

fn nothing_in_use_is_removed(scene: Scenario) -> Scenario {
    scene.oracle(NotInUse::default)
}

/// One at a time writes into the tree.
fn alone(scene: Scenario) -> Scenario {
    scene.oracle(|| RegionExclusion::of(WRITES))
}

/// What the dead have left is removed, by somebody who comes after them.
fn removed(scene: Scenario) -> Scenario {
    scene
        .finally("nothing temporary is left", |fs| !fs.exists("/swept") || fs.list(TEMPORARY).is_empty())
        .sometimes("the dead have left something", |fs| fs.exists("/found"))
}

pub(crate) fn policies() -> Vec<Policy> {
    use Backend::{Hatchling, Setuptools};
    let policy = |name, why| Policy::new("leftovers", name, why);
    let kills = |kills| [("kills", kills)];
    let sweeping = |sweeper| nothing_in_use_is_removed(two(Hooks::Inherit, Hatchling, sweeper)).kill("first");
    let inheriting = |hooks, backend| two(hooks, backend, Sweeper::Unlocked).kill("first");
    let sound = |backend| removed(nothing_in_use_is_removed(inheriting(Hooks::Inherit, backend)));
    vec![
        policy("sweep-everything", "temporary directories are removed, whoever is at work in them").violated(
            kills(1),
            [IN_USE],
            sweeping(Sweeper::Everything),
        ),
        policy("sweep-by-age", "old temporary directories are removed; a slow build's is old").violated(
            kills(1),
            [IN_USE],
            sweeping(Sweeper::Old),
        ),
        policy(
            "close-on-exec",
            "the locks die with the process, and its hook works on: in the tree, and in what is swept",
        )
        // The hook may be faster, and the directory that is swept no longer empty when it comes to remove it: not what is judged in these two.
        .violated(kills(1), [ViolationKind::Exclusion], alone(inheriting(Hooks::CloseOnExec, Setuptools).may_fail()))
        .violated(
            [("kills", 1), ("hatchling", 1)],
            [IN_USE],
            nothing_in_use_is_removed(inheriting(Hooks::CloseOnExec, Hatchling).may_fail()),
        ),
        policy("sound", "a lock on each, which hooks inherit; what can be locked is swept")
            .upheld(kills(1), alone(sound(Setuptools)))
            .upheld([("kills", 1), ("hatchling", 1)], sound(Hatchling)),
    ]
}

#[cfg(test)]
mod tests {
    use flockstep::world::{Files as _, Locks as _, Result};

    use super::*;

    /// One has a directory locked, and has removed it and made another of that name or not. The other removes what has the name.
    fn removed(made_again: bool) -> Scenario {
        const DIR: &str = "/cache/tmp/1";
        const IN_IT: &str = "/cache/tmp/1/file";
        let owner = move |world: SimWorld| async move {
            world.mkdir(DIR).await?;
            let lock = world.open(DIR, OpenOptions::directory()).await?;
            world.flock(&lock, LockMode::Shared).await?;
            if made_again {
                world.rmdir(DIR).await?;
                world.mkdir(DIR).await?;
            }
            let file = world.open(IN_IT, OpenOptions::create_new()).await?;
            world.close(file).await?;
            world.mkdir("/made").await?;
            world.close(lock).await
        };
        let other = |world: SimWorld| async move {
            if world.stat("/made").await.is_ok() {
                world.unlink(IN_IT).await?;
                world.rmdir(DIR).await?;
            }
            Result::Ok(())
        };
        let scene = scenario("removed").directory(TEMPORARY).process("owner", owner).process("other", other);
        nothing_in_use_is_removed(scene)
    }

    #[test]
    fn a_lock_is_on_a_directory_and_not_on_its_name() {
        use flockstep::Strategy;
        removed(false).explore(Strategy::exhaustive()).assert_violated(IN_USE);
        removed(true).explore(Strategy::exhaustive()).assert_exhausted();
    }
}
