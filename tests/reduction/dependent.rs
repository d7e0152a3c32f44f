//! Pairs of steps that were once taken for independent, each in a program where one of the two orders breaks a promise.

use flockstep::explore::Method;
use flockstep::world::*;
use flockstep::{Scenario, SimWorld, Strategy, Verdict, scenario};

const SEARCHES: [Method; 4] =
    [Method::Dfs { cache: false }, Method::Dfs { cache: true }, Method::Dpor, Method::Bounded];

/// Every search finds that something is left behind which must not be.
#[track_caller]
fn leaves(mark: &'static str, scene: Scenario) {
    let scene = scene.directory("/marks").finally(mark, move |fs| !fs.exists(&format!("/marks/{mark}")));
    for method in SEARCHES {
        let found = scene.explore(Strategy { method, ..Strategy::exhaustive() });
        assert!(matches!(found.verdict, Verdict::Violated(_)), "{mark} by {method:?}: {:?}", found.verdict);
    }
}

async fn mark(world: &SimWorld, mark: &str) -> Result<()> {
    world.mkdir(&format!("/marks/{mark}")).await
}

/// A directory has a link for each directory in it.
#[test]
fn to_look_at_an_open_directory_and_to_make_one_in_it() {
    let scene = scenario("links").directory("/d");
    let scene = scene.process("looks", |world: SimWorld| async move {
        let directory = world.open("/d", OpenOptions::directory()).await?;
        let [before, after] = [world.fstat(&directory).await?.nlink, world.fstat(&directory).await?.nlink];
        if before != after {
            mark(&world, "changed").await?;
        }
        world.close(directory).await
    });
    leaves("changed", scene.process("makes", |world: SimWorld| async move { world.mkdir("/d/new").await }));
}

/// The number of a file that is no more is given to the next that is made, wherever that is: who remembers it takes the new file for the old
/// one, unless somebody else was faster.
#[test]
fn to_remove_a_file_and_to_make_another_one() {
    let scene = scenario("numbers").file("/lock", "").directory("/elsewhere");
    let scene = scene.process("remembers", |world: SimWorld| async move {
        let Ok(before) = world.stat("/lock").await else { return Ok(()) };
        let Ok(after) = world.stat("/lock").await else { return Ok(()) };
        if before.size == 0 && after.size > 0 && after.id != before.id {
            mark(&world, "another").await?;
        }
        Result::Ok(())
    });
    let scene = scene.process("replaces", |world: SimWorld| async move {
        world.unlink("/lock").await?;
        let lock = world.open("/lock", OpenOptions::create_new()).await?;
        world.write(&lock, b"new").await?;
        world.close(lock).await
    });
    let scene = scene.process("makes", |world: SimWorld| async move {
        world.close(world.open("/elsewhere/file", OpenOptions::create_new()).await?).await
    });
    leaves("another", scene);
}

/// A child has what it inherits under the number that its parent has.
#[test]
fn to_open_two_files_of_which_one_is_known_by_its_number() {
    let scene = scenario("descriptors").tasks_share_nothing().program("child", |world: SimWorld| async move {
        if world.inherited(3).is_err() {
            mark(&world, "elsewhere").await?;
        }
        Result::Ok(())
    });
    let scene = scene.process("p", |world: SimWorld| async move {
        let [one, other] = [world.clone(), world.clone()];
        let one = world.spawn("one", async move {
            let file = one.open("/one", OpenOptions::lock_file()).await?;
            let child = one.spawn_child(Command::new("child", [""; 0]).inherit(&file)).await?;
            one.close(file).await?;
            one.wait(child).await.map(drop)
        });
        let other = world
            .spawn("other", async move { other.close(other.open("/other", OpenOptions::lock_file()).await?).await });
        one.await.expect("not aborted")?;
        other.await.expect("not aborted")
    });
    leaves("elsewhere", scene);
}

/// A child begins in a directory that it is told by its path.
#[test]
fn to_begin_in_a_directory_and_to_move_it_away() {
    let scene = scenario("beginning").directory("/d/here").directory("/away").program("child", |_: SimWorld| async {});
    let scene = scene.process("starts", |world: SimWorld| async move {
        match world.spawn_child(Command::new("child", [""; 0]).current_dir("/d/here")).await {
            Ok(child) => world.wait(child).await.map(drop),
            Err(_) => mark(&world, "nowhere").await,
        }
    });
    let scene = scene.process("moves", |world: SimWorld| async move {
        world.rename("/d/here", "/away/here").await?;
        world.stat("/marks").await.map(drop)
    });
    leaves("nowhere", scene);
}

/// What a step touches it touches as things are. In the execution that was, the link had been replaced by a file, so that nobody looked into the
/// directory behind it; it was taken for the first of those that are to be tried before the replacement, and should have come after the
/// removal of that directory.
#[test]
fn to_make_something_behind_a_link_that_is_replaced() {
    let scene = scenario("link").file("/d/file", "").directory("/d/old").symlink("/link", "/d/old").leaks_allowed();
    let scene = scene.process("replaces", |world: SimWorld| async move { world.rename("/d/file", "/link").await });
    let scene = scene.process("removes", |world: SimWorld| async move {
        world.stat("/d/file").await.ok();
        world.rmdir("/d/old").await.ok();
    });
    let scene = scene.process("makes", |world: SimWorld| async move {
        if world.mkdir("/link/new").await.is_err_and(|error| error.errno == Errno::NoEnt) {
            mark(&world, "missing").await?;
        }
        Result::Ok(())
    });
    leaves("missing", scene);
}
