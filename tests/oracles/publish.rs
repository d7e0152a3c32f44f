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

#[test]
fn without_a_published_name_there_is_nothing_to_judge() {
    vacuous(&written(true, true).oracle(|| Publish::of("/elsewhere")));
}
