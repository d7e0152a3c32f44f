//! What the World costs where it matters most: taking an uncontended lock.
//!
//! Both sides make the same six system calls per lock: open, flock, fstat and stat (is it still the file that the name points to?),
//! unlock, close; one through OsWorld inside an async fn, one bare. Rounds alternate, so that a change of the machine's mood hits both,
//! and the median of the ratios of neighbouring rounds is what is judged: at most 1.2.
//!
//! `cargo bench --bench lock_cost`; exit code 1 if it is more. `cargo test --benches` runs two short rounds and judges nothing.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "measures what OsWorld adds to the bare calls"
)]
#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

use flockstep::os::OsWorld;
use flockstep::world::{LockMode, OpenOptions, Result, World};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat, open, stat};
use std::process::ExitCode;
use std::time::Instant;

const LIMIT: f64 = 1.2;

async fn through_the_world<W: World>(world: &W, path: &str, locks: u32) -> Result<()> {
    for _ in 0..locks {
        let file = world.open(path, OpenOptions::lock_file()).await?;
        assert!(world.try_flock(&file, LockMode::Exclusive).await?);
        assert_eq!(world.fstat(&file).await?.id, world.stat(path).await?.id);
        world.unlock(&file).await?;
        world.close(file).await?;
    }
    Ok(())
}

fn bare(path: &str, locks: u32) -> rustix::io::Result<()> {
    for _ in 0..locks {
        let file = open(path, OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC, Mode::from_raw_mode(0o666))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let (held, named) = (fstat(&file)?, stat(path)?);
        assert_eq!((held.st_dev, held.st_ino), (named.st_dev, named.st_ino));
        flock(&file, FlockOperation::Unlock)?;
        drop(file);
    }
    Ok(())
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn main() -> ExitCode {
    let measured = std::env::args().any(|argument| argument == "--bench");
    let (rounds, locks) = if measured { (101, 2_000) } else { (2, 10) };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("shard.lock").to_str().expect("UTF-8").to_owned();

    let (mut world_ns, mut bare_ns) = OsWorld::run(1, 1, move |world| async move {
        let (mut world_ns, mut bare_ns) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let start = Instant::now();
            through_the_world(&world, &path, locks).await.expect("locks on this filesystem");
            let middle = Instant::now();
            bare(&path, locks).expect("locks on this filesystem");
            world_ns.push((middle - start).as_nanos() as f64 / f64::from(locks));
            bare_ns.push(middle.elapsed().as_nanos() as f64 / f64::from(locks));
        }
        (world_ns, bare_ns)
    })
    .expect("a runtime");

    let mut ratios: Vec<f64> = world_ns.iter().zip(&bare_ns).map(|(world, bare)| world / bare).collect();
    let ratio = median(&mut ratios);
    println!(
        "lock and unlock: {:.0} ns through OsWorld, {:.0} ns bare: {ratio:.3} times (at most {LIMIT})",
        median(&mut world_ns),
        median(&mut bare_ns)
    );
    if measured && ratio > LIMIT { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
