//! Random small programs over everything that a World can do, and what all their schedules come to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use flockstep::explore::Method;
use flockstep::oracle::{Oracle, state_of};
use flockstep::sim::kernel::{Ground, Quirk};
use flockstep::world::{Event, Files, Kinds, LockMode, OpenOptions, Process, Tasks};
use flockstep::{KernelView, Renamed, Scenario, SimWorld, Strategy, Time, Verdict, Violation, scenario};
use futures::FutureExt;
use futures::future::poll_fn;

use super::tasks::{CHILDREN, Shared, Slots, run};

/// One thing that a task does. Slots hold its descriptors, paths are few, so that tasks meet.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Open(usize, &'static str, OpenOptions),
    Close(usize),
    Flock(usize, LockMode),
    TryFlock(usize, LockMode),
    Unlock(usize),
    Write(usize),
    Read(usize),
    Stat(&'static str),
    Unlink(&'static str),
    Rename(&'static str, &'static str),
    Link(&'static str, &'static str),
    MakeDir(&'static str),
    RemoveDir(&'static str),
    ReadDir(&'static str),
    Acquire(u32),
    TryAcquire,
    Release,
    Lock,
    Unguard,
    LockThread,
    Unthread,
    Notified,
    NotifyOne,
    NotifyAll,
    Yield,
    Sleep,
    Choose,
    Dup(usize),
    Truncate(usize),
    Seek(usize),
    Fstat(usize),
    Sync(usize),
    Symlink(&'static str, &'static str),
    ReadLink(&'static str),
    /// Its ends are in the slots.
    Pipe,
    /// Runs a child that does it, and waits for it.
    Child(Box<Step>),
    /// The same, but kills it first.
    Kill(Box<Step>),
    /// Aborts the task of that number.
    Abort(usize),
    /// Waits for all tasks that the first one has spawned and not waited for yet, together.
    JoinAll,
    /// On the pool.
    Pool(Box<Step>),
    /// On a thread of its own.
    Thread(Box<Step>),
    /// Both at once.
    Both(Box<Step>, Box<Step>),
    /// Whichever is done first; the other one is dropped.
    Either(Box<Step>, Box<Step>),
    /// One after the other; what the first one said is forgotten.
    Forget(Box<Step>, Box<Step>),
    /// A region of that kind, until it is left.
    Enter(&'static str),
    Leave,
    /// A remark of that kind on that.
    Note(&'static str, &'static str),
    /// Starts a child that does it with what is in the slots, and keeps it. The one before is dropped.
    Start(Box<Step>),
    /// The same, and it is captured what it says.
    Capture(Box<Step>),
    /// Waits for the child that is kept.
    Reap,
    /// Kills it.
    KillKept,
    /// Drops it.
    LetGo,
    /// Gives it up after a while.
    Within(Box<Step>),
    /// Counts in what the tasks of a process share.
    Add,
    /// Looks at what they have counted.
    Look,
    /// Whether that is what is in the slot.
    Same(usize, &'static str),
    /// Under which number it is in the slot.
    Number(usize),
    /// Runs a child in that directory, and waits for it.
    ChildIn(&'static str),
    /// Sleeps, and does not look at the clock afterwards.
    Doze,
}

pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 33) as usize) % n
    }
    pub(super) fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }
}

const PATHS: [&str; 4] = ["/a", "/b", "/d/a", "/d"];

/// Which kind of thing a program is about: tasks that do unrelated things meet too seldom.
#[derive(Clone, Copy)]
pub(super) enum Theme {
    Locks,
    Names,
    Memory,
    Descriptors,
    Lives,
    Everything,
}

pub(super) fn step(dice: &mut Dice, theme: Theme, deep: bool) -> Step {
    let mode = dice.of(&[LockMode::Shared, LockMode::Exclusive]);
    let slot = dice.below(2);
    let path = dice.of(&PATHS);
    let kind = match theme {
        Theme::Locks => dice.of(&[0, 0, 1, 2, 2, 2, 3, 4, 5, 6, 20, 27, 29, 29, 41]),
        Theme::Names => dice.of(&[0, 1, 5, 6, 7, 8, 9, 10, 11, 12, 13, 34, 35]),
        Theme::Memory => dice.of(&[14, 14, 15, 16, 17, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 28, 40, 41, 41]),
        Theme::Descriptors => dice.of(&[0, 0, 1, 2, 5, 5, 6, 6, 29, 29, 30, 31, 32, 33, 36, 36, 28, 41]),
        Theme::Lives => dice.of(&[0, 2, 4, 5, 8, 12, 21, 22, 37, 37, 38, 39, 39, 41]),
        Theme::Everything => dice.below(42),
    };
    match kind {
        0 => Step::Open(
            slot,
            dice.of(&["/a", "/b"]),
            dice.of(&[OpenOptions::lock_file(), OpenOptions::replace(), OpenOptions::create_new()]),
        ),
        1 => Step::Close(slot),
        2 => Step::Flock(slot, mode),
        3 => Step::TryFlock(slot, mode),
        4 => Step::Unlock(slot),
        5 => Step::Write(slot),
        6 => Step::Read(slot),
        7 => Step::Stat(path),
        8 => Step::Unlink(path),
        9 => Step::Rename(path, dice.of(&PATHS)),
        10 => Step::Link(path, dice.of(&PATHS)),
        11 => Step::MakeDir(path),
        12 => Step::RemoveDir(path),
        13 => Step::ReadDir(dice.of(&["/", "/d"])),
        14 => Step::Acquire(dice.below(2) as u32 + 1),
        15 => Step::TryAcquire,
        16 => Step::Release,
        17 => Step::Lock,
        18 => Step::Unguard,
        19 => Step::LockThread,
        20 => Step::Unthread,
        21 => Step::Notified,
        22 => Step::NotifyOne,
        23 => Step::NotifyAll,
        24 => Step::Yield,
        25 => Step::Sleep,
        26 => Step::Choose,
        27 if deep => Step::Pool(Box::new(step(dice, theme, false))),
        28 if deep => Step::Both(Box::new(step(dice, theme, false)), Box::new(step(dice, theme, false))),
        29 => Step::Dup(slot),
        30 => Step::Truncate(slot),
        31 => Step::Seek(slot),
        32 => Step::Fstat(slot),
        33 => Step::Sync(slot),
        34 => Step::Symlink(path, dice.of(&PATHS)),
        35 => Step::ReadLink(path),
        36 => Step::Pipe,
        37 if deep => Step::Child(Box::new(step(dice, theme, false))),
        38 if deep => Step::Kill(Box::new(step(dice, theme, false))),
        39 => Step::Abort(1 + dice.below(2)),
        40 if deep => Step::Thread(Box::new(step(dice, theme, false))),
        41 if deep => Step::Either(Box::new(step(dice, theme, false)), Box::new(step(dice, theme, false))),
        _ => Step::Yield,
    }
}

/// Leaves a step out here and there, and puts another one in, each at one place in so many.
pub(super) fn vary(steps: &mut Vec<Step>, dice: &mut Dice, in_so_many: usize, another: impl Fn(&mut Dice) -> Step) {
    for at in (0..=steps.len()).rev() {
        match dice.below(in_so_many) {
            0 if at < steps.len() => drop(steps.remove(at)),
            1 => steps.insert(at, another(dice)),
            _ => {}
        }
    }
}

/// Makes one of two steps that come after each other, here and there.
pub(super) fn forget_some(steps: &mut Vec<Step>, dice: &mut Dice) {
    let whole = |step: &Step| {
        use Step::*;
        matches!(step, Pool(_) | Thread(_) | Both(..) | Either(..) | Child(_) | Kill(_) | Forget(..))
    };
    for at in (1..steps.len()).rev() {
        if at < steps.len() && !whole(&steps[at - 1]) && !whole(&steps[at]) && dice.below(2) == 0 {
            let other = steps.remove(at);
            let one = std::mem::replace(&mut steps[at - 1], Step::Yield);
            steps[at - 1] = Step::Forget(Box::new(one), Box::new(other));
        }
    }
}

/// Lets the first task wait for all others together, by itself, in a section, or beside something else.
fn join_all(tasks: &mut [Vec<Step>], dice: &mut Dice) {
    let (first, others) = tasks.split_first_mut().expect("a process has a first task");
    let at = dice.below(first.len() + 1);
    let beside = |dice: &mut Dice| {
        let theme = dice.of(&[Theme::Locks, Theme::Memory, Theme::Lives]);
        Box::new(step(dice, theme, false))
    };
    let step = match dice.below(8) {
        0 => Step::Pool(Box::new(Step::JoinAll)),
        1 => Step::Thread(Box::new(Step::JoinAll)),
        2 => Step::Both(Box::new(Step::JoinAll), beside(dice)),
        3 => Step::Either(Box::new(Step::JoinAll), beside(dice)),
        4 => Step::Either(beside(dice), Box::new(Step::JoinAll)),
        _ => Step::JoinAll,
    };
    first.insert(at, step);
    // Whoever waits for them has them: what others can still abort would depend on memory that the World does not see.
    others.iter_mut().flatten().for_each(without_abort);
}

/// Replaces the aborting of others, at any depth.
fn without_abort(step: &mut Step) {
    match step {
        Step::Abort(_) => *step = Step::Yield,
        Step::Child(one) | Step::Kill(one) | Step::Pool(one) | Step::Thread(one) => without_abort(one),
        Step::Both(one, other) | Step::Either(one, other) | Step::Forget(one, other) => {
            without_abort(one);
            without_abort(other);
        }
        _ => {}
    }
}

/// A program: the tasks of each process, the first being its first.
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub(super) processes: Vec<Vec<Vec<Step>>>,
    pub(super) workers: u32,
    pub(super) pool: u32,
    pub(super) nofile: u32,
    pub(super) kill: bool,
    pub(super) cancel: bool,
    pub(super) expire: bool,
    /// On a ground that may lose one.
    pub(super) lose: bool,
    pub(super) quirk: Option<Quirk>,
    pub(super) ground: Ground,
    pub(super) time: Time,
    /// What the tasks of a process share counts by its value only.
    pub(super) by_value: bool,
}

impl Program {
    /// The same as `random`, but for each process with several tasks its first one somewhere waits for all others together: what no other
    /// program does. `None` if there is no such process.
    pub(super) fn joining(seed: u64) -> Option<Self> {
        let mut program = Program::random(seed);
        let mut dice = Dice(seed.wrapping_mul(0xa076_1d64_78bd_642f) | 1);
        (0..4).for_each(|_| _ = dice.below(2));
        let several = program.processes.iter_mut().filter(|tasks| tasks.len() > 1);
        let joined = several.map(|tasks| join_all(tasks, &mut dice)).count();
        (joined > 0).then_some(program)
    }

    pub(super) fn random(seed: u64) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        (0..4).for_each(|_| _ = dice.below(2));
        use Theme::*;
        let theme = dice.of(&[Locks, Names, Memory, Descriptors, Lives, Everything]);
        let shape: &[usize] = [&[2][..], &[3], &[1, 1], &[2, 1], &[1, 1, 1]][dice.below(5)];
        let tasks: usize = shape.iter().sum();
        let mut left = 6 - usize::from(tasks == 3 && dice.below(2) == 0);
        let mut processes = Vec::new();
        for &count in shape {
            let mut process = Vec::new();
            for _ in 0..count {
                let steps = (1 + dice.below(3)).min(left.max(1));
                left = left.saturating_sub(steps);
                process.push((0..steps).map(|_| step(&mut dice, theme, true)).collect());
            }
            processes.push(process);
        }
        let mut also = Dice(seed.wrapping_mul(0xd1b5_4a32_d192_ed03) | 1);
        if also.below(3) == 0 {
            processes.iter_mut().flatten().for_each(|steps| forget_some(steps, &mut also));
        }
        Program {
            processes,
            workers: dice.of(&[1, 2, 4]),
            pool: dice.of(&[1, 8]),
            nofile: dice.of(&[4, 5, 1024]),
            kill: dice.below(6) == 0,
            cancel: dice.below(6) == 0,
            expire: dice.below(6) == 0,
            lose: dice.below(8) == 0,
            quirk: None,
            ground: Ground::default(),
            time: Time::default(),
            by_value: false,
        }
    }
}

/// What the tasks have seen, by name. Each writes its own line only.
pub(super) type Logs = Arc<Mutex<BTreeMap<String, String>>>;

/// What all executions of a program come to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The ends that were seen.
    Ends(BTreeSet<String>),
    /// Something was broken.
    Violated,
    /// Too many executions.
    TooLarge,
}

pub(super) fn outcome(program: &Program, method: Method, at_most: u64) -> (Outcome, u64) {
    let (logs, ends) = (Logs::default(), Arc::new(Mutex::new(BTreeSet::new())));
    let scene = noting(scene(program, &logs), &logs, &ends, true);
    let found = scene.explore(Strategy { method, ..Strategy::exhaustive() }.schedules(at_most));
    let outcome = match found.verdict {
        Verdict::Upheld { exhaustive: true, .. } => Outcome::Ends(std::mem::take(&mut *ends.lock().unwrap())),
        Verdict::Violated(_) => Outcome::Violated,
        _ => Outcome::TooLarge,
    };
    (outcome, found.executions)
}

pub(super) fn scene(program: &Program, logs: &Logs) -> Scenario {
    let mut scene = scenario("random")
        .ground(if program.lose { Ground::Nfs } else { program.ground })
        .time(program.time)
        .tasks_share_nothing()
        .leaks_allowed()
        .directory("/d")
        .file("/a", "one")
        .workers(program.workers)
        .blocking_threads(program.pool)
        .nofile(program.nofile);
    for (which, tasks) in program.processes.iter().enumerate() {
        let (tasks, logs, by_value) = (tasks.clone(), logs.clone(), program.by_value);
        let name = format!("p{which}");
        scene = scene.process(&name.clone(), move |world: SimWorld| {
            let (tasks, logs, name) = (tasks.clone(), logs.clone(), name.clone());
            async move {
                let shared = Shared::of(&world, by_value);
                for (n, steps) in tasks.iter().enumerate().skip(1) {
                    let task = run(
                        world.clone(),
                        shared.clone(),
                        logs.clone(),
                        format!("{name}/t{n}"),
                        Slots::default(),
                        steps.clone(),
                    );
                    let task = world.spawn(&format!("t{n}"), task);
                    shared.joining.lock().unwrap().push(task);
                }
                let joining = shared.joining.clone();
                run(world.clone(), shared, logs.clone(), name.clone(), Slots::default(), tasks[0].clone()).await;
                // Those that it has not waited for together.
                let left = joining.lock().unwrap().len();
                for n in 0..left {
                    // It stays where others can abort it.
                    let ended = poll_fn(|cx| joining.lock().unwrap()[n].poll_unpin(cx)).await;
                    logs.lock().unwrap().entry(name.clone()).or_default().push_str(&format!("{n}{ended:?};"));
                }
                logs.lock().unwrap().entry(name).or_default().push_str("all done");
            }
        });
    }
    let (children, by_value) = (logs.clone(), program.by_value);
    scene = scene.program("child", move |world: SimWorld| {
        let logs = children.clone();
        async move {
            let name = world.args()[1].clone();
            let step = CHILDREN.with_borrow(|children| children[&name].clone());
            let shared = Shared::of(&world, by_value);
            let given = |n: usize| match world.args()[n].parse().expect("a descriptor number") {
                0 => None,
                number => Some(world.inherited(number).expect("it is given")),
            };
            let slots = [given(2), given(3)];
            run(world, shared, logs, name, slots, vec![step]).await;
        }
    });
    scene = scene.program("nothing", |_: SimWorld| async {});
    if let Some(quirk) = program.quirk {
        scene = scene.quirk(quirk);
    }
    if program.lose {
        scene = scene.lost_locks(1);
    }
    if program.kill {
        scene = scene.kill("p0");
    }
    if program.cancel {
        scene = scene.cancel("t1");
    }
    if program.expire {
        scene = scene.timeouts(1);
    }
    scene
}

/// Notes what executions come to, with or without who said what.
pub(super) fn noting(scene: Scenario, logs: &Logs, ends: &Arc<Mutex<BTreeSet<String>>>, by_name: bool) -> Scenario {
    let (logs, ends) = (logs.clone(), ends.clone());
    scene.oracle(move || Ends { logs: logs.clone(), ends: ends.clone(), by_name })
}

/// Notes what executions come to. What the tasks have said is out of the machine's sight, so that it has to be in the state of an oracle.
struct Ends {
    logs: Logs,
    ends: Arc<Mutex<BTreeSet<String>>>,
    by_name: bool,
}

impl Ends {
    /// What was killed, aborted or cancelled has taken its memory with it, and nobody can tell how far it had come.
    fn said(&self) -> String {
        let mut logs = self.logs.lock().unwrap().clone();
        logs.retain(|_, log| log.ends_with("ended;") || log.ends_with("all done"));
        if self.by_name {
            return format!("{logs:?} ");
        }
        let mut logs: Vec<String> = logs.into_values().collect();
        logs.sort_unstable();
        format!("{logs:?} ")
    }
}

impl Oracle for Ends {
    fn name(&self) -> &str {
        "what it came to is noted"
    }
    fn kinds(&self) -> Kinds {
        Kinds::NONE
    }
    fn begin(&mut self) {
        self.logs.lock().unwrap().clear();
    }
    fn on(&mut self, _: &Event, _: &KernelView<'_>) -> Result<(), Violation> {
        Ok(())
    }
    fn finish(&mut self, fs: &KernelView<'_>) -> Result<(), Violation> {
        let mut end = self.said();
        fs.walk(|path, dir| {
            end.push_str(&format!("{path}{} ", if dir { "/" } else { "=" }));
            if !dir {
                end.push_str(&fs.read(path).text());
            }
        });
        self.ends.lock().unwrap().insert(end);
        Ok(())
    }
    fn state(&self) -> Option<u64> {
        state_of(self.said())
    }
    fn state_as(&self, _: &Renamed<'_>) -> Option<u64> {
        self.state().filter(|_| !self.by_name)
    }
    fn judged(&self) -> u64 {
        1
    }
}
