//! Random programs that hand things on: descriptors and locks to children that go on beside their parent, tokens through pipes, numbers from
//! task to task under a mutex, and waits that are given up after a while. On every ground, and with time that is free or urgent.

use flockstep::explore::Method;
use flockstep::world::{Children, Command, Files, LockMode, OpenOptions, Process, Result, Tasks};
use flockstep::{Ground, SimWorld, Strategy, Time, Verdict, scenario};

use super::programs::{Dice, Outcome, Program, Step, Theme, step, vary};
use super::{compare, compare_all, programs_asked_for};

/// What a program is about.
#[derive(Clone, Copy)]
enum About {
    Locks,
    Tokens,
    Numbers,
    Patience,
    Places,
}

use Step::*;

/// What a child does with what it was given.
fn by_a_child(dice: &mut Dice, about: About) -> Box<Step> {
    let slot = dice.below(2);
    let mode = dice.of(&[LockMode::Exclusive, LockMode::Shared]);
    Box::new(match about {
        About::Tokens => dice.of(&[Read(0), Write(1), Close(1), Fstat(0), Yield]),
        _ => dice.of(&[Unlock(0), Close(0), Write(0), Read(slot), Flock(0, mode), TryFlock(0, mode), Yield, Doze]),
    })
}

/// What a task does that is about something.
fn script(dice: &mut Dice, about: About) -> Vec<Step> {
    let mode = dice.of(&[LockMode::Exclusive, LockMode::Exclusive, LockMode::Shared]);
    let path = dice.of(&["/a", "/a", "/b"]);
    let mut options = dice.of(&[OpenOptions::lock_file(), OpenOptions::lock_file(), OpenOptions::read()]);
    if dice.below(3) == 0 {
        options = options.inheritable();
    }
    let open = Open(0, path, options);
    match about {
        About::Locks => match dice.below(5) {
            0 => vec![open, Flock(0, mode), Start(by_a_child(dice, about)), Close(0)],
            1 => vec![open, Start(by_a_child(dice, about)), Flock(0, mode), dice.of(&[Reap, LetGo, KillKept])],
            2 => vec![open, Flock(0, mode), Start(by_a_child(dice, about)), dice.of(&[Unlock(0), Reap, Write(0)])],
            3 => vec![open, dice.of(&[Flock(0, mode), TryFlock(0, mode)]), Unlock(0)],
            _ => vec![open, Flock(0, mode), Capture(by_a_child(dice, about)), Close(0), Reap],
        },
        About::Tokens => match dice.below(3) {
            0 => vec![Pipe, Write(1), Start(by_a_child(dice, about)), Read(0)],
            1 => vec![Pipe, Start(by_a_child(dice, about)), dice.of(&[Close(1), Write(1)]), Read(0)],
            _ => vec![Pipe, Start(by_a_child(dice, about)), Close(0), Write(1), Reap],
        },
        About::Numbers => match dice.below(3) {
            0 => vec![Add, Look],
            1 => vec![Add, dice.of(&[NotifyOne, NotifyAll, Yield]), Add],
            _ => vec![Look, Choose, Add],
        },
        About::Places => match dice.below(5) {
            0 => vec![open, Same(0, "/a"), Close(0)],
            1 => vec![open, Close(0), dice.of(&[Unlink("/a"), Unlink("/b"), Rename("/b", "/a"), Rename("/a", "/b")])],
            2 => vec![dice.of(&[Unlink("/a"), Unlink("/b"), Rename("/a", "/d/a")]), open, Write(0)],
            3 => vec![ChildIn("/d"), dice.of(&[RemoveDir("/d"), Rename("/d", "/e"), Stat("/d")])],
            _ => {
                vec![Open(0, "/d", OpenOptions::directory()), Fstat(0), dice.of(&[MakeDir("/d/a"), RemoveDir("/d/a")])]
            }
        },
        About::Patience => match dice.below(4) {
            0 => vec![open, Within(Box::new(Flock(0, mode))), Write(0)],
            1 => vec![open, Flock(0, mode), dice.of(&[Sleep, Doze, Doze]), Unlock(0)],
            2 => vec![
                Within(Box::new(dice.of(&[Acquire(2), Lock, LockThread, Notified]))),
                dice.of(&[Sleep, Doze, Doze]),
            ],
            _ => vec![Within(Box::new(Doze)), NotifyOne, Within(Box::new(Choose))],
        },
    }
}

pub(super) fn program(seed: u64) -> Program {
    let mut dice = Dice(seed.wrapping_mul(0xbf58_476d_1ce4_e5b9) | 1);
    (0..4).for_each(|_| _ = dice.below(2));
    let about = dice.of(&[About::Locks, About::Locks, About::Tokens, About::Numbers, About::Patience, About::Places]);
    let has_children = matches!(about, About::Locks | About::Tokens);
    let shape = match has_children {
        true => dice.of(&[&[1][..], &[2], &[1, 1]]),
        false => dice.of(&[&[2][..], &[2], &[3], &[2, 1], &[1, 1]]),
    };
    let several = shape.iter().sum::<usize>() > 1 + usize::from(!has_children);
    let mut task = || {
        let mut steps = script(&mut dice, about);
        vary(&mut steps, &mut dice, if several { 4 } else { 8 }, |dice| {
            let theme = dice.of(&[Theme::Locks, Theme::Memory, Theme::Descriptors, Theme::Lives]);
            let other = [
                step(dice, theme, true),
                Reap,
                LetGo,
                Add,
                Look,
                Doze,
                Same(0, dice.of(&["/a", "/b", "/d"])),
                Number(0),
                script(dice, about).remove(0),
            ];
            dice.of(&other)
        });
        steps.truncate(if several { 4 } else { 6 });
        steps
    };
    let processes = shape.iter().map(|&count| (0..count).map(|_| task()).collect()).collect();
    Program {
        processes,
        workers: dice.of(&[1, 2, 4]),
        pool: dice.of(&[1, 8]),
        nofile: dice.of(&[5, 8, 1024, 1024]),
        kill: dice.below(6) == 0,
        cancel: dice.below(8) == 0,
        expire: dice.below(8) == 0,
        lose: dice.below(8) == 0,
        quirk: None,
        ground: dice.of(&[Ground::Local, Ground::Local, Ground::Nfs, Ground::MacOs]),
        time: dice.of(&[Time::Free, Time::Free, Time::Urgent]),
        by_value: dice.below(2) == 0,
    }
}

/// A child is dropped that had just ended, and could have been killed a little earlier.
const ONCE_WRONG: [u64; 1] = [6_211];

#[test]
fn random_programs_that_hand_things_on_come_to_the_same() {
    // A longer run: FLOCKSTEP_PROGRAMS=100000 cargo test --release --test tests hand_things_on -- --nocapture
    compare_all((0..programs_asked_for(300)).chain(ONCE_WRONG).map(program));
}

/// Whose wait ends with somebody else's life.
#[derive(Clone, Copy, Debug)]
enum GivenUp {
    Child,
    Thread,
}

/// Two want the only byte of a pipe. One of them who gets it ends, and with him the other one, who is still waiting: had that one come first,
/// he would wait for ever. In the execution where he does not, the other one's reading is no step that could be held against his.
#[test]
fn who_waits_until_it_is_given_up_could_have_come_first() {
    for given_up in [GivenUp::Child, GivenUp::Thread] {
        let scene = scenario("one byte").tasks_share_nothing().leaks_allowed().workers(3);
        let scene = scene.program("reader", |world: SimWorld| async move {
            let number = world.args()[1].parse().expect("a descriptor number");
            world.read(&world.inherited(number)?, 1).await.map(drop)
        });
        let scene = scene.process("p", move |world: SimWorld| async move {
            let (reader, writer) = world.pipe().await?;
            world.write(&writer, b"x").await?;
            let other = world.dup(&reader).await?;
            match given_up {
                GivenUp::Child => {
                    let command = Command::new("reader", [world.descriptor(&other).to_string()]).inherit(&other);
                    let child = world.spawn_child(command).await?;
                    world.read(&reader, 1).await?;
                    world.stat("/").await?;
                    drop(child);
                }
                GivenUp::Thread => {
                    let there = world.clone();
                    drop(world.spawn("t", async move {
                        let reads = there.clone();
                        there.on_thread(async move { reads.read(&other, 1).await.map(drop) }).await
                    }));
                    world.read(&reader, 1).await?;
                    world.stat("/").await?;
                }
            }
            Result::Ok(())
        });
        for method in [Method::Dfs { cache: false }, Method::Dfs { cache: true }, Method::Bounded, Method::Dpor] {
            let strategy = Strategy { method, ..Strategy::exhaustive() };
            let found = scene.explore(strategy);
            assert!(matches!(found.verdict, Verdict::Violated(_)), "{given_up:?} by {method:?}: {:?}", found.verdict);
        }
    }
}

/// What a task does because of a step goes where the step goes. Somebody waits until a moment that depends on when he began to; a deadline expires
/// early, and it is later from then on. That one who begins before it and one who begins after it are not in each other's way says nothing of
/// the one who is after it in an execution: he was taken for somebody who could as well have come first.
#[test]
fn a_step_is_taken_with_all_that_comes_of_it() {
    let within = |step| Within(Box::new(step));
    let p0 = vec![vec![Yield, Sleep], vec![Yield, within(LockThread), Sleep]];
    let processes = vec![p0, vec![vec![within(Yield)]]];
    let others = program(0);
    let program =
        Program { processes, workers: 4, expire: true, lose: false, kill: false, time: Time::Urgent, ..others };
    let Some((Outcome::Ends(ends), _)) = compare(&program) else { panic!("it is small, and nothing is broken") };
    for (first, second) in [(10, 10), (10, 15), (15, 10), (15, 15)] {
        let both =
            |end: &&String| end.contains(&format!("yield;{first}ms")) && end.contains(&format!("locked;{second}ms"));
        assert!(ends.iter().any(|end| both(&end)), "{first} and {second}: {ends:#?}");
    }
}
