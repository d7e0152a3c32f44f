//! `LostUpdate`: who writes what it has read before writes on top of what is there now.

use flockstep::oracle::{LOST_UPDATE, LostUpdate};
use flockstep::world::{Files, Result, read_file};
use flockstep::{Scenario, SimWorld, scenario};

use super::{caught, lock, passes, vacuous, write};

/// When the file is read: under the lock in which it is written, before it, or without any.
#[derive(Clone, Copy, PartialEq)]
enum Reads {
    Unlocked,
    BeforeTheLock,
    UnderTheLock,
}

fn two_adds(reads: Reads, by_rename: bool) -> Scenario {
    let add = move |line: &'static str| {
        move |world: SimWorld| async move {
            let mut early = None;
            if reads != Reads::UnderTheLock {
                early = Some(read_file(&world, "/list").await?);
            }
            let _lock = if reads == Reads::Unlocked { None } else { Some(lock(&world, "/lock").await?) };
            let old = match early {
                Some(old) => old,
                None => read_file(&world, "/list").await?,
            };
            let new = String::from_utf8_lossy(&old).into_owned() + line;
            if by_rename {
                let temporary = format!("/tmp-{line}");
                write(&world, &temporary, &new).await?;
                return world.rename(&temporary, "/list").await;
            }
            write(&world, "/list", &new).await
        }
    };
    let s = scenario("adds").file("/list", "0").process("p", add("a")).process("q", add("b"));
    s.oracle(|| LostUpdate::of("/list"))
}

#[test]
fn a_line_is_lost() {
    for by_rename in [false, true] {
        let words = ["changes /list", "is lost"];
        caught(&two_adds(Reads::Unlocked, by_rename), LOST_UPDATE, &words);
        caught(&two_adds(Reads::BeforeTheLock, by_rename), LOST_UPDATE, &words);
        passes(&two_adds(Reads::UnderTheLock, by_rename));
    }
}

#[test]
fn a_file_that_the_name_has_left() {
    // q opens the file and writes to it after p has put another in its place.
    let s = |wait: bool| {
        let p = move |world: SimWorld| async move {
            write(&world, "/new", "p").await?;
            let _lock = lock(&world, "/lock").await?;
            world.rename("/new", "/list").await
        };
        let q = move |world: SimWorld| async move {
            let _lock = if wait { Some(lock(&world, "/lock").await?) } else { None };
            let file = world.open("/list", flockstep::world::OpenOptions::write()).await?;
            world.write(&file, b"q").await.map(drop)
        };
        scenario("left").file("/list", "0").process("p", p).process("q", q).oracle(|| LostUpdate::of("/list"))
    };
    caught(&s(false), LOST_UPDATE, &["q writes to a file that is no longer /list"]);
    passes(&s(true).process("r", |world| async move {
        let _lock = lock(&world, "/lock").await?;
        let old = read_file(&world, "/list").await?;
        write(&world, "/list", &String::from_utf8_lossy(&old)).await
    }));
}

#[test]
fn who_never_reads_updates_nothing() {
    let s = scenario("blind").process("p", |world| async move {
        write(&world, "/list", "x").await?;
        Result::Ok(())
    });
    vacuous(&s.oracle(|| LostUpdate::of("/list")));
}
