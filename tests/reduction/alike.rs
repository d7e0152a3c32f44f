//! Random programs of processes and tasks that are alike: what their schedules come to if it does not matter which is which, and if it does.

use std::sync::{Arc, Mutex};

use flockstep::explore::Method;
use flockstep::sim::kernel::Ground;
use flockstep::world::Tasks;
use flockstep::{Scenario, SimWorld, Strategy, Verdict, scenario};

use super::programs::{Dice, Logs, Outcome, Step, Theme, forget_some, noting, step};
use super::tasks::{Shared, Slots, run};

/// What each process does, and what each of its tasks.
#[derive(Clone, Debug)]
struct Program {
    processes: usize,
    tasks: usize,
    /// By the first task of each process, while the others go on.
    first: Vec<Step>,
    /// By each of the others.
    each: Vec<Step>,
    workers: u32,
    pool: u32,
    nofile: u32,
    kill: bool,
    expire: bool,
    lose: bool,
}

impl Program {
    fn random(seed: u64) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        (0..4).for_each(|_| _ = dice.below(2));
        use Theme::*;
        let theme = dice.of(&[Locks, Names, Memory, Descriptors, Everything]);
        let (processes, tasks) = dice.of(&[(1, 2), (1, 2), (1, 3), (2, 0), (2, 0), (3, 0), (2, 1), (2, 2)]);
        let all = [6, 4, 2, 2][processes * tasks.max(1) - 1];
        let mut steps = |count: usize| {
            let mut steps: Vec<Step> = (0..count).map(|_| anonymous(step(&mut dice, theme, true))).collect();
            if dice.below(3) == 0 {
                forget_some(&mut steps, &mut dice);
            }
            steps
        };
        let (each, first) = (steps(if tasks > 0 { all } else { 0 }), steps(if tasks > 0 { 0 } else { all }));
        Program {
            processes,
            tasks,
            first,
            each,
            workers: dice.of(&[1, 2, 4]),
            pool: dice.of(&[1, 8]),
            nofile: dice.of(&[5, 1024]),
            kill: dice.below(6) == 0,
            expire: dice.below(6) == 0,
            lose: dice.below(8) == 0,
        }
    }

    /// With `alike`, it is said of those who are.
    fn scene(&self, logs: &Logs, alike: bool) -> Scenario {
        let mut scene = scenario("alike")
            .ground(if self.lose { Ground::Nfs } else { Ground::default() })
            .leaks_allowed()
            .directory("/d")
            .file("/a", "one")
            .workers(self.workers)
            .blocking_threads(self.pool)
            .nofile(self.nofile);
        let names: Vec<String> = (0..self.processes).map(|which| format!("p{which}")).collect();
        let (program, logs) = (self.clone(), logs.clone());
        let body = move |world: SimWorld| main(world, program.clone(), logs.clone());
        if alike {
            scene = scene.alike(&names, body).alike_tasks("same ");
        } else {
            let body = Arc::new(body);
            for name in &names {
                let body = body.clone();
                scene = scene.process(name, move |world| body(world));
            }
        }
        if self.kill {
            scene = names.iter().fold(scene, |scene, name| scene.kill(name));
        }
        if self.expire {
            scene = scene.timeouts(1);
        }
        if self.lose {
            scene = scene.lost_locks(1);
        }
        scene
    }

    fn outcome(&self, alike: bool) -> (Outcome, u64) {
        let (logs, ends) = (Logs::default(), Arc::new(Mutex::default()));
        let scene = noting(self.scene(&logs, alike), &logs, &ends, false);
        let strategy = Strategy { method: Method::Dfs { cache: true }, ..Strategy::exhaustive() };
        let found = scene.explore(strategy.schedules(EXECUTIONS_MAX));
        let outcome = match found.verdict {
            Verdict::Upheld { exhaustive: true, .. } => Outcome::Ends(std::mem::take(&mut *ends.lock().unwrap())),
            Verdict::Violated(_) => Outcome::Violated,
            _ => Outcome::TooLarge,
        };
        (outcome, found.states.unwrap_or_default())
    }
}

/// Larger programs are left out.
const EXECUTIONS_MAX: u64 = 5_000;

/// Without what names somebody.
fn anonymous(step: Step) -> Step {
    match step {
        Step::Child(_) | Step::Kill(_) | Step::Abort(_) => Step::Yield,
        step => step,
    }
}

async fn main(world: SimWorld, program: Program, logs: Logs) {
    // Whoever speaks first is the first; nobody looks at it again.
    let name = || {
        let mut logs = logs.lock().unwrap();
        let name = format!("{:03}", logs.len());
        logs.insert(name.clone(), String::new());
        name
    };
    let shared = Shared::of(&world, true);
    let one = |n| {
        let task = run(world.clone(), shared.clone(), logs.clone(), name(), Slots::default(), program.each.clone());
        world.spawn(&format!("same {n}"), task)
    };
    let mut all: Vec<_> = (0..program.tasks).map(one).collect();
    run(world.clone(), shared.clone(), logs.clone(), name(), Slots::default(), program.first.clone()).await;
    world.join_all(&mut all).await;
}

#[test]
#[expect(clippy::print_stdout, reason = "the long run tells how long it was")]
fn random_programs_come_to_the_same_whoever_is_who() {
    // A longer run: FLOCKSTEP_PROGRAMS=100000 cargo test --release --test tests whoever_is_who -- --nocapture
    let count = super::programs_asked_for(2_500);
    let [mut compared, mut violated, mut fewer, mut all, mut some] = [0u64; 5];
    for program in (0..count).map(Program::random) {
        let (each_by_itself, states) = program.outcome(false);
        if each_by_itself == Outcome::TooLarge {
            continue;
        }
        let (alike, left) = program.outcome(true);
        assert_eq!(alike, each_by_itself, "{program:#?}");
        compared += 1;
        match alike {
            // Which violation comes first, and after how many states, is another thing.
            Outcome::Violated => violated += 1,
            _ => {
                assert!(left <= states, "{left} and not {states} states: {program:#?}");
                (fewer, all, some) = (fewer + u64::from(left < states), all + states, some + left);
            }
        }
    }
    println!(
        "{compared} programs, {violated} of them violated: {all} states, and {some} if it does not matter who is who"
    );
    assert!(violated > 0 && violated < compared);
    assert!(fewer * 2 > compared - violated && some * 5 < all * 4, "{fewer} with fewer states");
}
