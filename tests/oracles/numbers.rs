//! An oracle of somebody's own may remember whatever an event tells, numbers as well. They are handed out in turn: a task that has number 2 on
//! one way to a state may have number 3 on another one.

use flockstep::oracle::{Oracle, Violation, ViolationKind, state_of};
use flockstep::world::*;
use flockstep::{KernelView, Method, Scenario, SimWorld, Strategy, Verdict, scenario};

/// What was claimed is used by whoever has claimed it first.
#[derive(Default)]
struct FirstCome {
    claimed_by: Option<u32>,
    judged: u64,
}

impl Oracle for FirstCome {
    fn name(&self) -> &str {
        "first come"
    }
    fn kinds(&self) -> Kinds {
        Kinds::REMARKS
    }
    fn begin(&mut self) {
        self.claimed_by = None;
    }
    fn on(&mut self, event: &Event, kernel: &KernelView<'_>) -> std::result::Result<(), Violation> {
        self.judged += 1;
        match &event.what {
            What::Note { kind: "claimed", .. } => _ = self.claimed_by.get_or_insert(event.task.expect("a task's")),
            What::Note { kind: "used", .. } if self.claimed_by != event.task => {
                let summary = format!("{} uses what is another one's", kernel.who(event));
                return Err(Violation::new(ViolationKind::Other("first-come"), summary));
            }
            _ => {}
        }
        Ok(())
    }
    fn state(&self) -> Option<u64> {
        state_of(self.claimed_by)
    }
    fn judged(&self) -> u64 {
        self.judged
    }
}

/// A task that is born under a lock claims something; that it was the first is nowhere written. It uses it once both have left their marks,
/// if it does, and was the first if it minds.
async fn claims(world: SimWorld, mark: &'static str, uses: bool, minds: bool) -> Result<()> {
    let lock = world.open("/lock", OpenOptions::lock_file()).await?;
    world.flock(&lock, LockMode::Exclusive).await?;
    let there = world.clone();
    let task = world.spawn("t", async move {
        let is_first = minds && there.read_dir("/marks").await?.is_empty();
        there.note("claimed", "it");
        there.mkdir(&format!("/marks/{mark}")).await?;
        there.close(lock).await?;
        if uses && there.read_dir("/marks").await?.len() == 2 && (is_first || !minds) {
            there.note("used", "it");
            there.yield_now().await;
        }
        Result::Ok(())
    });
    task.await.expect("not aborted")
}

fn claimers(user: &str, minds: bool) -> Scenario {
    let scene = scenario("claimers").directory("/marks").oracle(FirstCome::default);
    ["a", "b"].into_iter().fold(scene, |scene, name| {
        let uses = name == user;
        scene.process(name, move |world| claims(world, name, uses, minds))
    })
}

#[test]
fn who_has_a_number_is_part_of_a_state() {
    for user in ["a", "b"] {
        for method in [Method::Dfs { cache: false }, Method::Dfs { cache: true }, Method::Dpor, Method::Bounded] {
            let explore = |minds| claimers(user, minds).explore(Strategy { method, ..Strategy::exhaustive() }).verdict;
            assert!(matches!(explore(false), Verdict::Violated(_)), "{user} by {method:?}: {:?}", explore(false));
            let minds = explore(true);
            assert!(matches!(minds, Verdict::Upheld { exhaustive: true, .. }), "{user} by {method:?}: {minds:?}");
        }
    }
}
