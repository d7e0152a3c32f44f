//! `PathExclusion` and `RegionExclusion`: one owner of a path, one in a region.

use flockstep::oracle::{PathExclusion, RegionExclusion};
use flockstep::world::{Files, LockMode, Locks, Notes, Result, Tasks};
use flockstep::{Scenario, SimWorld, ViolationKind, scenario};

use super::{caught, lock, open, passes, shared, vacuous};

/// Takes the lock, works, and unlinks the lock file before it lets go.
async fn tidy(world: SimWorld, looks: bool) -> Result<()> {
    let mut file = lock(&world, "/lock").await?;
    // Is it still the file that the name points to?
    while looks && world.stat("/lock").await.map(|stat| stat.id) != world.fstat(&file).await.map(|stat| stat.id) {
        file = lock(&world, "/lock").await?;
    }
    world.note("work", "");
    world.unlink("/lock").await?;
    world.close(file).await
}

fn tidy_ones(looks: bool) -> Scenario {
    let s = scenario("tidy").oracle(|| PathExclusion::of("/lock"));
    let tidier = move |world| tidy(world, looks);
    let newcomer = move |world: SimWorld| async move {
        let mut file = lock(&world, "/lock").await?;
        while looks && world.stat("/lock").await.map(|stat| stat.id) != world.fstat(&file).await.map(|stat| stat.id) {
            file = lock(&world, "/lock").await?;
        }
        world.note("work", "");
        world.close(file).await
    };
    s.process("tidy", tidier).process("p", newcomer).process("q", newcomer)
}

#[test]
fn an_unlinked_lock_file_has_two_owners() {
    caught(&tidy_ones(false), ViolationKind::Exclusion, &["/lock has two owners", "p", "q", "inode"]);
    passes(&tidy_ones(true));
}

/// Each locks a lock file, works and, if it `tidies`, unlinks it before it lets go.
fn by_these_paths(paths: [&'static str; 3], tidies: bool) -> Scenario {
    let s = scenario("paths")
        .oracle(|| PathExclusion::of("**/lock"))
        .directory("/l")
        .directory("/m")
        .symlink("/link", "/l");
    ["p", "q", "r"].iter().zip(paths).fold(s, |s, (name, path)| {
        s.process(name, move |world: SimWorld| async move {
            let file = lock(&world, path).await?;
            world.note("work", "");
            world.yield_now().await;
            if tidies {
                world.unlink(path).await.ok();
            }
            world.close(file).await
        })
    })
}

#[test]
fn a_path_is_one_however_it_is_spelled() {
    let spellings = ["/l/lock", "/link/lock", "/m/../l/lock"];
    caught(&by_these_paths(spellings, true), ViolationKind::Exclusion, &["has two owners", " as /"]);
    passes(&by_these_paths(spellings, false));
    // A name in another directory is another one.
    passes(&by_these_paths(["/l/lock", "/m/lock", "/lock"], true));
}

#[test]
fn shared_owners_are_fine_while_all_are_shared() {
    // The second opens the same path on another file, because the first has been moved away.
    let moved = |exclusive: bool| {
        scenario("moved").oracle(|| PathExclusion::of("/lock")).process("p", move |world| async move {
            let _old = shared(&world, "/lock").await?;
            world.note("work", "");
            let w = world.clone();
            let mover = world.spawn("mover", async move { w.rename("/lock", "/gone").await });
            mover.await.expect("not aborted")?;
            world.note("work", "");
            let _new = if exclusive { lock(&world, "/lock").await? } else { shared(&world, "/lock").await? };
            world.note("work", "");
            Result::Ok(())
        })
    };
    caught(&moved(true), ViolationKind::Exclusion, &["/lock has two owners"]);
    passes(&moved(false));
}

/// Two processes in one region, each under a lock on that path.
fn in_region(kinds: [&'static str; 2], paths: [&'static str; 2]) -> Scenario {
    let enters = |kind: &'static str, path: &'static str| {
        move |world: SimWorld| async move {
            let file = lock(&world, path).await?;
            let region = world.region(kind, "index");
            world.yield_now().await;
            drop(region);
            world.close(file).await
        }
    };
    let s = scenario("region").process("p", enters(kinds[0], paths[0])).process("q", enters(kinds[1], paths[1]));
    s.oracle(|| RegionExclusion::of("write").readers("read"))
}

#[test]
fn two_in_one_region() {
    let (same, different) = (["/a", "/a"], ["/a", "/b"]);
    let words = ["two at once in write index", "p", "q"];
    caught(&in_region(["write", "write"], different), ViolationKind::Exclusion, &words);
    caught(&in_region(["read", "write"], different), ViolationKind::Exclusion, &["write index"]);
    passes(&in_region(["read", "read"], different));
    passes(&in_region(["write", "write"], same));
}

#[test]
fn a_region_ends_with_its_process() {
    let s = in_region(["write", "write"], ["/a", "/a"]);
    passes(&s.kill("p"));
}

#[test]
fn who_only_looks_owns_nothing() {
    let s = scenario("looks").process("p", |world| async move {
        let file = open(&world, "/lock").await?;
        world.flock(&file, LockMode::Exclusive).await?;
        world.fstat(&file).await?;
        world.close(file).await
    });
    vacuous(&s.clone().oracle(|| PathExclusion::of("/lock")));
    vacuous(&s.oracle(|| RegionExclusion::of("write")));
}
