//! `LostUpdate`: who writes what it has read before writes on top of what is there now.

use flockstep::oracle::{LOST_UPDATE, LostUpdate};
use flockstep::world::{Files, Process, Result, read_file};
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

/// The lock that `p` takes is named after the path by which it knows the file; `q` knows it by another one.
fn two_names(right_lock: bool, by_rename: bool, of: &'static str) -> Scenario {
    let add = move |root: &'static str| {
        move |world: SimWorld| async move {
            let name = if right_lock { "/real" } else { root };
            let _lock = lock(&world, &format!("/locks{name}")).await?;
            let path = format!("{root}/list");
            let new = String::from_utf8_lossy(&read_file(&world, &path).await?).into_owned() + root;
            if by_rename {
                let temporary = format!("{root}/tmp{}", world.process_id());
                write(&world, &temporary, &new).await?;
                return world.rename(&temporary, &path).await;
            }
            write(&world, &path, &new).await
        }
    };
    let s = scenario("two names").directory("/locks").file("/real/list", "").symlink("/link", "/real");
    s.process("p", add("/real")).process("q", add("/link")).oracle(move || LostUpdate::of(of))
}

#[test]
fn a_file_is_the_same_under_another_name() {
    for by_rename in [false, true] {
        for of in ["/*/list", "/real/list", "/link/list"] {
            caught(&two_names(false, by_rename, of), LOST_UPDATE, &["is lost"]);
            passes(&two_names(true, by_rename, of));
        }
    }
}

/// The near-twin: who replaces one of two hard links leaves the other one, and what is in it, as it was.
#[test]
fn what_replaces_a_hard_link_changes_nothing_for_the_other() {
    let s = |in_place: bool| {
        let store = |world: SimWorld| async move {
            let old = read_file(&world, "/store/x").await?;
            write(&world, "/store/x", &(String::from_utf8_lossy(&old).into_owned() + "s")).await
        };
        let project = move |world: SimWorld| async move {
            world.link("/store/x", "/project/x").await?;
            if in_place {
                return write(&world, "/project/x", "p").await;
            }
            write(&world, "/project/new", "p").await?;
            world.rename("/project/new", "/project/x").await
        };
        let s = scenario("hard links").file("/store/x", "").directory("/project");
        s.process("store", store).process("project", project).oracle(|| LostUpdate::of("/store/x"))
    };
    caught(&s(true), LOST_UPDATE, &["is lost"]);
    passes(&s(false));
}
