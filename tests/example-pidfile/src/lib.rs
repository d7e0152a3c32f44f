//! A protocol that is not flockstep's: a daemon that runs at most once, by a pid file.
//!
//! Written once, generic over [`World`]: the tests explore it, and `OsWorld` would run it for real.

use flockstep::world::{Errno, LockMode, OpenOptions, Result, World, write_all};

/// Where the daemon says that it runs.
pub const PID_FILE: &str = "/run/daemon.pid";

/// What the daemon does; two at once is what nobody wants.
async fn serve<W: World>(world: &W) {
    let _running = world.region("daemon", PID_FILE);
    world.yield_now().await;
}

async fn write_pid<W: World>(world: &W, file: &W::File) -> Result<()> {
    world.truncate(file, 0).await?;
    write_all(world, file, world.process_id().to_string().as_bytes()).await
}

/// Looks whether the file is there, and makes it if it is not. Two that look at the same time both run; and after a crash the file is
/// there, and nobody ever runs again.
pub async fn by_existence<W: World>(world: &W) -> Result<bool> {
    match world.stat(PID_FILE).await {
        Ok(_) => return Ok(false),
        Err(error) if error.errno == Errno::NoEnt => {}
        Err(error) => return Err(error),
    }
    let file = world.open(PID_FILE, OpenOptions::replace()).await?;
    write_pid(world, &file).await?;
    world.close(file).await?;
    serve(world).await;
    world.unlink(PID_FILE).await?;
    Ok(true)
}

/// Whoever has the lock on the file runs. The kernel gives the lock up when its holder dies; the file stays, and its content is only
/// for people.
pub async fn by_lock<W: World>(world: &W) -> Result<bool> {
    let file = world.open(PID_FILE, OpenOptions::lock_file()).await?;
    if !world.try_flock(&file, LockMode::Exclusive).await? {
        world.close(file).await?;
        return Ok(false);
    }
    write_pid(world, &file).await?;
    serve(world).await;
    world.unlock(&file).await?;
    world.close(file).await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flockstep::world::{Event, Kinds, What};
    use flockstep::{KernelView, Oracle, Scenario, SimWorld, Strategy, Violation, ViolationKind, scenario};
    use std::future::Future;

    /// A promise of our own: at most one daemon at a time.
    #[derive(Default)]
    struct OneDaemon {
        running: u32,
        judged: u64,
    }

    impl Oracle for OneDaemon {
        fn name(&self) -> &str {
            "one daemon"
        }
        fn kinds(&self) -> Kinds {
            Kinds::REMARKS
        }
        fn begin(&mut self) {
            self.running = 0;
        }
        fn on(&mut self, event: &Event, kernel: &KernelView<'_>) -> std::result::Result<(), Violation> {
            match event.what {
                What::Entered { kind: "daemon", .. } => self.running += 1,
                What::Left { kind: "daemon", .. } => self.running -= 1,
                _ => return Ok(()),
            }
            self.judged += 1;
            if self.running <= 1 {
                return Ok(());
            }
            let text = format!("{} serves while another daemon does", kernel.who(event));
            Err(Violation::new(ViolationKind::Other("two daemons"), text))
        }
        fn state(&self) -> Option<u64> {
            Some(u64::from(self.running))
        }
        fn judged(&self) -> u64 {
            self.judged
        }
    }

    fn two<F, Fut>(start: F) -> Scenario
    where
        F: Fn(SimWorld) -> Fut + Copy + Send + Sync + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        scenario("pid file")
            .directory("/run")
            .process("first", start)
            .process("second", start)
            .oracle(OneDaemon::default)
    }

    #[test]
    fn a_check_and_then_a_create_let_two_in() {
        let scene = two(|world| async move { by_existence(&world).await.map(drop) });
        let found = scene.explore(Strategy::exhaustive());
        let failure = found.assert_violated(ViolationKind::Other("two daemons"));
        let key = failure.key.as_ref().expect("one schedule shows it");
        assert!(scene.replay(key).0.is_some(), "the key replays");
    }

    #[test]
    fn a_crash_leaves_a_file_that_stops_every_later_start() {
        let scene = scenario("stale pid file")
            .directory("/run")
            .process("first", |world| async move { by_existence(&world).await.map(drop) })
            .kill("first")
            .finally("the file is gone with its daemon", |fs| !fs.exists(PID_FILE));
        scene
            .explore(Strategy::exhaustive())
            .assert_violated(ViolationKind::Promise("the file is gone with its daemon".into()));
    }

    #[test]
    fn the_lock_lets_one_in_also_when_it_is_killed() {
        let scene = two(|world| async move { by_lock(&world).await.map(drop) });
        scene.explore(Strategy::exhaustive()).assert_exhausted();
        let killed = scene.kill("first").sometimes("the killed one was succeeded", |fs| {
            let [first, second] = ["first", "second"].map(|name| fs.process_named(name).expect("it is there"));
            !fs.alive(first) && fs.locks().iter().any(|lock| lock.processes == [second])
        });
        killed.explore(Strategy::exhaustive()).assert_exhausted();
    }
}
