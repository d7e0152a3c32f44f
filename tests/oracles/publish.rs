//! `Publish`: what is published is whole, and stays.

use flockstep::oracle::Publish;
use flockstep::world::{Files, OpenOptions, Result, read_file, write_all};
use flockstep::{Scenario, SimWorld, ViolationKind, scenario};

use super::{caught, lock, passes, vacuous, write};

/// Writes an entry in two parts, in place or beside it.
async fn publish(world: &SimWorld, beside: bool) -> Result<()> {
    let file = world.open(if beside { "/tmp" } else { "/entry" }, OpenOptions::replace()).await?;
    write_all(world, &file, b"one").await?;
    write_all(world, &file, b"two").await?;
    world.close(file).await?;
    if beside { world.rename("/tmp", "/entry").await } else { Ok(()) }
}

/// An entry and who reads it, each under a lock or not.
fn written(beside: bool, locked: bool) -> Scenario {
    let s = scenario("publish").oracle(|| Publish::of("/entry")).process("writer", move |world| async move {
        let _lock = if locked { Some(lock(&world, "/lock").await?) } else { None };
        publish(&world, beside).await
    });
    s.process("reader", move |world| async move {
        let _lock = if locked { Some(lock(&world, "/lock").await?) } else { None };
        let _ = read_file(&world, "/entry").await;
        Result::Ok(())
    })
}

#[test]
fn a_torn_read() {
    caught(&written(false, false), ViolationKind::Publish, &["torn read", "reader read /entry", "writer"]);
    passes(&written(true, false));
    passes(&written(false, true));
}

#[test]
fn a_crash_leaves_half_an_entry_for_ever() {
    let s = |beside| written(beside, true).kill("writer");
    caught(&s(false), ViolationKind::Publish, &["reader read /entry", "was killed before it was done"]);
    passes(&s(true));
}

#[test]
fn the_marker_comes_last() {
    let marked = |last: bool| {
        let s = scenario("marker").process("p", move |world| async move {
            if !last {
                write(&world, "/done", "").await?;
            }
            write(&world, "/wheel", "whole").await?;
            if last { write(&world, "/done", "").await } else { Ok(()) }
        });
        s.oracle(|| Publish::of("/done").marked("/done", |fs| fs.read("/wheel") == "whole"))
    };
    caught(&marked(false), ViolationKind::Publish, &["/done is there", "not complete", "step 1"]);
    passes(&marked(true));
}

#[test]
fn the_loser_deletes_the_winner_s_entry() {
    let race = |deletes: &'static str| {
        let one = move |name: &'static str| {
            move |world: SimWorld| async move {
                write(&world, name, "x").await?;
                // Somebody else was faster: tidy up.
                match world.link(name, "/entry").await {
                    Ok(()) => world.unlink(name).await,
                    Err(_) if deletes == "own" => world.unlink(name).await,
                    Err(_) => world.unlink("/entry").await,
                }
            }
        };
        scenario("loser").process("p", one("/tmp1")).process("q", one("/tmp2"))
    };
    let words = ["the published /entry disappears"];
    caught(&race("other").oracle(|| Publish::of("/entry")), ViolationKind::Publish, &words);
    passes(&race("other").oracle(|| Publish::of("/entry").cleaner("?").cleaner("p").cleaner("q")));
    let s = race("own").oracle(|| Publish::of("/entry").marked("/entry", |fs| fs.read("/entry") == "x"));
    passes(&s);
}

/// Something in the directory of what is published, in place: written, read and removed again. And something that is published there, so
/// that there is something to judge.
fn in_place(name: &'static str, removes: bool) -> Scenario {
    let publishes = move |world: SimWorld| async move {
        write(&world, "/tmp", "whole").await?;
        world.rename("/tmp", "/cache/whole").await?;
        write(&world, name, "who has it").await?;
        if removes { world.unlink(name).await } else { Ok(()) }
    };
    let reads = move |world: SimWorld| async move {
        let _ = read_file(&world, "/cache/whole").await;
        if !removes {
            let _ = read_file(&world, name).await;
        }
        Result::Ok(())
    };
    let s = scenario("in place").directory("/cache").process("writer", publishes).process("reader", reads);
    s.oracle(|| Publish::of("/cache/*").beside("/cache/*.lock"))
}

#[test]
fn a_lock_file_lies_beside_what_is_published() {
    caught(&in_place("/cache/entry", false), ViolationKind::Publish, &["torn read", "reader read /cache/entry"]);
    passes(&in_place("/cache/entry.lock", false));
    caught(&in_place("/cache/entry", true), ViolationKind::Publish, &["the published /cache/entry disappears"]);
    passes(&in_place("/cache/entry.lock", true));
}

#[test]
fn what_lies_beside_is_never_published() {
    let moves = |to: &'static str, links: bool| {
        let s = scenario("moves").directory("/cache").process("p", move |world: SimWorld| async move {
            write(&world, "/cache/entry.lock", "x").await?;
            let from = "/cache/entry.lock";
            if links {
                world.link(from, to).await?
            } else {
                world.rename(from, to).await?
            }
            read_file(&world, "/cache/whole").await.map(drop)
        });
        s.file("/cache/whole", "").oracle(|| Publish::of("/cache/*").beside("/cache/*.lock"))
    };
    for links in [false, true] {
        let words = ["/cache/entry.lock lies beside what is published", "p publishes it as /cache/entry at step"];
        caught(&moves("/cache/entry", links), ViolationKind::Publish, &words);
        passes(&moves("/cache/other.lock", links));
    }
}

#[test]
fn without_a_published_name_there_is_nothing_to_judge() {
    vacuous(&written(true, true).oracle(|| Publish::of("/elsewhere")));
}
