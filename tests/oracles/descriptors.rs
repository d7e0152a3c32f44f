//! `DescriptorBound` and `NoEmfile`: descriptors are bounded, and suffice.

use flockstep::oracle::{DescriptorBound, NoEmfile};
use flockstep::world::{Children, Command, Errno, Files, Result};
use flockstep::{Scenario, ViolationKind, scenario};

use super::{caught, open, passes, vacuous};

/// Two files, at once or one after the other. 0, 1 and 2 are open.
fn two_files(at_once: bool) -> Scenario {
    scenario("two files").process("p", move |world| async move {
        let mut first = Some(open(&world, "/a.lock").await?);
        if !at_once {
            world.close(first.take().expect("opened above")).await?;
        }
        open(&world, "/b").await.map(drop)
    })
}

#[test]
fn one_descriptor_too_many() {
    let bound = || DescriptorBound::at_most(4);
    let words = ["peak is 5", "at most 4", "lock: 3 /a.lock (p at step 1)", "file: 4 /b"];
    caught(&two_files(true).oracle(bound), ViolationKind::DescriptorPeak, &words);
    passes(&two_files(false).oracle(bound));
    passes(&two_files(true).oracle(|| DescriptorBound::at_most(5)));
    // Nobody of that name opens anything.
    vacuous(&two_files(true).oracle(move || bound().in_process("q*")));
}

#[test]
fn a_spawn_needs_more_than_the_child_that_it_makes() {
    let s = scenario("spawn").program("cc", |_| async {}).process("p", |world| async move {
        let child = world.spawn_child(Command::new("cc", [""; 0])).await?;
        world.wait(child).await.map(drop)
    });
    caught(&s.clone().oracle(|| DescriptorBound::at_most(9)), ViolationKind::DescriptorPeak, &["peak is 10"]);
    passes(&s.oracle(|| DescriptorBound::at_most(10)));
}

#[test]
fn an_open_that_fails() {
    let ignores = |limit: u32| {
        scenario("limit").nofile(limit).process("p", |world| async move {
            let _a = open(&world, "/a").await;
            // The program shrugs it off; the promise does not.
            if let Err(error) = open(&world, "/b").await {
                assert_eq!(error.errno, Errno::MFile);
            }
        })
    };
    caught(&ignores(4).oracle(NoEmfile::default), ViolationKind::DescriptorsExhausted, &["open /b", "EMFILE"]);
    passes(&ignores(5).oracle(NoEmfile::default));
    // Another error is none of its business.
    let missing = scenario("missing").process("p", |world| async move {
        assert!(open(&world, "/no/where").await.is_err());
        open(&world, "/a").await.map(drop)
    });
    passes(&missing.oracle(NoEmfile::default));
}

#[test]
fn without_a_descriptor_there_is_nothing_to_bound() {
    let idle = || scenario("idle").process("p", |_| async { Result::Ok(()) });
    vacuous(&idle().oracle(|| DescriptorBound::at_most(9)));
    vacuous(&idle().oracle(NoEmfile::default));
}
