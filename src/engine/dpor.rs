//! Partial-order reduction for those who stay with [shuttle](https://docs.rs/shuttle): a scheduler of shuttle's that takes one of all
//! schedules that differ only in the order of independent steps.
//!
//! shuttle tells a scheduler who can go on, and not what they would do. So the code under test says it: it [announces](announce) what its
//! next step touches, and then comes to a scheduling point: that of [`switch`], or of an operation of shuttle's own. The step lasts up to
//! the next point of that task. **What it announces must be all that others can see of the step.** Of a step of which nothing was said,
//! everything is taken to depend: that is always right, and as slow as shuttle's own depth-first search.
//!
//! ```
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
//!
//! use flockstep::engine::dpor::{DporScheduler, Op, announce, spawn, switch};
//!
//! const LOCK: u64 = 1;
//! const BALANCE: u64 = 2;
//!
//! fn at(op: Op) {
//!     announce(op);
//!     switch();
//! }
//! fn pay(balance: &AtomicU32) {
//!     at(Op::Lock(LOCK)); // comes back with the lock
//!     at(Op::Read(BALANCE));
//!     let before = balance.load(SeqCst);
//!     at(Op::Write(BALANCE));
//!     balance.store(before + 1, SeqCst);
//!     at(Op::Unlock(LOCK));
//! }
//! let scheduler = DporScheduler::new(None);
//! shuttle::Runner::new(scheduler.clone(), shuttle::Config::new()).run(|| {
//!     let balance = Arc::new(AtomicU32::new(0)); // not shuttle's: the points are those above
//!     let threads = [(); 3].map(|()| balance.clone()).map(|balance| spawn(move || pay(&balance)));
//!     threads.into_iter().for_each(|thread| thread.join().unwrap());
//!     assert_eq!(balance.load(SeqCst), 3);
//! });
//! // The three can take the lock in six orders. shuttle's own depth-first search runs 53,715 executions.
//! assert!(scheduler.report().exhausted && scheduler.report().executions == 6);
//! ```
//!
//! The same code runs under every other scheduler of shuttle's, and a schedule that has failed is replayed as always. What is not here: as
//! with [`DfsScheduler`](shuttle::scheduler::DfsScheduler), random values cannot be enumerated ([`choose`] can); an execution that
//! goes on for ever is for `Config::max_steps` to end, by failing; and of an execution that is abandoned because nothing new was to come, shuttle
//! leaks the stacks, with all that is on them.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use shuttle::current::{set_label_for_task, with_labels_for_task};
use shuttle::scheduler::{Schedule, Scheduler, Task, TaskId};
use shuttle_engine::runtime::execution::ExecutionState;
use smallvec::SmallVec;

use crate::explore::Dpor;
use crate::sim::depend::{Access, Actor, Footprint, Moment, Resource, Standing, Waiting};
use crate::world::LockMode;

/// What a step does. The number names what it does it to: whatever two steps must not swap at has the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Nothing that others could see.
    Local,
    /// Looks at it. Two that do may be swapped.
    Read(u64),
    /// Changes it, or may change it.
    Write(u64),
    /// Takes a lock, which nobody has at the beginning of an execution. Until it is free the task is blocked, in shuttle's eyes as well, so
    /// that nothing is tried in vain and a deadlock is reported as such.
    Lock(u64),
    /// Takes a lock if it is free. [`switch`] says whether it was.
    TryLock(u64),
    /// Gives up a lock that the task has.
    Unlock(u64),
}

/// What is said of the next step of a task, part by part.
type Said = SmallVec<[Part; 2]>;

#[derive(Clone, Copy, Debug)]
enum Part {
    Op(Op),
    Spawn,
    Join(TaskId),
}

/// What the tasks of an execution have said, and who has which lock. It hangs on the first task as a label, so that shuttle throws it away with the
/// execution, whoever schedules it, and so that a scheduler can read it, which cannot read the state of the execution.
#[derive(Debug, Default)]
struct Board {
    said: BTreeMap<TaskId, Said>,
    locks: BTreeMap<u64, TaskId>,
    /// Those of which it is known that they have ended.
    ended: Vec<TaskId>,
    /// Of how many values one is being chosen.
    choosing: Option<u32>,
}

#[derive(Clone, Debug, Default)]
struct Label(Arc<Mutex<Board>>);

fn first() -> TaskId {
    TaskId::from(0)
}

/// The board of this execution, if there is one yet.
fn found() -> Option<Label> {
    with_labels_for_task(first(), |labels| labels.get::<Label>().cloned())
}

fn board() -> Label {
    found().unwrap_or_else(|| {
        let label = Label::default();
        set_label_for_task(first(), label.clone());
        label
    })
}

impl Label {
    fn lock(&self) -> MutexGuard<'_, Board> {
        self.0.lock()
    }
}

impl Board {
    /// Whether a task that has announced this would have to wait.
    fn is_held_up(&self, said: &Said) -> bool {
        said.iter().any(|part| matches!(part, Part::Op(Op::Lock(lock)) if self.locks.contains_key(lock)))
    }

    /// What the next step of a task touches, as things stand.
    fn footprint(&self, task: TaskId) -> Footprint {
        let said = self.said.get(&task);
        let unsaid = (Resource::Unsaid, if said.is_some() { Access::Read } else { Access::Write });
        // It could be its last, for which somebody waits.
        let end = (Resource::End(number(task)), Access::End);
        let parts = said.into_iter().flatten().filter_map(|part| match *part {
            Part::Spawn => Some((Resource::Spawns, Access::Write)),
            Part::Join(other) => Some((Resource::End(number(other)), Access::Await)),
            Part::Op(Op::Local) => None,
            Part::Op(Op::Read(what)) => Some((Resource::Named(what), Access::Read)),
            Part::Op(Op::Write(what)) => Some((Resource::Named(what), Access::Write)),
            Part::Op(Op::Lock(lock)) => Some((Resource::Named(lock), Access::Acquire(LockMode::Exclusive))),
            Part::Op(Op::Unlock(lock)) => Some((Resource::Named(lock), Access::Release(LockMode::Exclusive))),
            Part::Op(Op::TryLock(lock)) => {
                let refused = self.locks.contains_key(&lock);
                Some((Resource::Named(lock), if refused { Access::Refused } else { Access::Write }))
            }
        });
        Footprint::of([unsaid, end].into_iter().chain(parts))
    }
}

fn number(task: TaskId) -> u32 {
    usize::from(task) as u32
}

/// Whether there is nobody to schedule any more: a destructor runs after the end, or there is no execution.
fn is_over() -> bool {
    ExecutionState::try_with(|state| state.in_cleanup()).unwrap_or(true)
}

/// Says what the next step of the present task does. Several announcements before one point add up.
///
/// Nothing happens outside of an execution of shuttle's, and in destructors after its end.
pub fn announce(op: Op) {
    say(Part::Op(op));
}

fn say(part: Part) {
    if !is_over() {
        board().lock().said.entry(ExecutionState::me()).or_default().push(part);
    }
}

/// A scheduling point. It comes back when the announced step is to be taken, with the locks that were announced; `false` only if one of them
/// was [tried](Op::TryLock) in vain.
///
/// Nothing happens outside of an execution of shuttle's, and in destructors after its end.
///
/// # Panics
/// If a lock is given up that the task does not have.
#[track_caller]
pub fn switch() -> bool {
    if is_over() {
        return true;
    }
    let (me, label) = (ExecutionState::me(), board());
    let (said, waits) = {
        let board = label.lock();
        let said = board.said.get(&me).cloned().unwrap_or_default();
        let waits = board.is_held_up(&said);
        (said, waits)
    };
    if waits {
        ExecutionState::with(|state| state.current_mut().block(false));
    }
    shuttle_engine::runtime::thread::switch();
    let mut board = label.lock();
    board.said.remove(&me); // the scheduler has done it already if it is ours
    let mut got = true;
    for part in said {
        match part {
            Part::Op(op @ (Op::Lock(lock) | Op::TryLock(lock))) => {
                let free = !board.locks.contains_key(&lock);
                assert!(free || op == Op::TryLock(lock), "somebody else has woken a task that waits for lock {lock}");
                got &= free;
                if free {
                    board.locks.insert(lock, me);
                }
            }
            Part::Op(Op::Unlock(lock)) => {
                let holder = board.locks.remove(&lock);
                assert!(holder == Some(me), "{me:?} gives up lock {lock}, which it does not have");
            }
            _ => {}
        }
    }
    // Who waits for a lock can go on exactly if it is free.
    for (&task, said) in &board.said {
        if said.iter().any(|part| matches!(part, Part::Op(Op::Lock(_)))) {
            let held_up = board.is_held_up(said);
            ExecutionState::with(|state| match state.get_mut(task) {
                waiter if held_up => waiter.block(false),
                waiter => waiter.unblock(),
            });
        }
    }
    got
}

/// Runs what has one point in it, of which this is said.
fn at_point<T>(part: Part, run: impl FnOnce() -> T) -> T {
    say(part);
    let value = run();
    if !is_over() {
        board().lock().said.remove(&ExecutionState::me());
    }
    value
}

/// A value below `of`; every one is tried.
///
/// # Panics
/// If `of` is 0.
pub fn choose(of: u32) -> u32 {
    assert!(of > 0, "a choice of nothing");
    let label = board();
    label.lock().choosing = Some(of);
    let value = ExecutionState::next_u64();
    label.lock().choosing = None;
    (value % u64::from(of)) as u32
}

/// A thread, to be waited for.
#[derive(Debug)]
pub struct JoinHandle<T> {
    task: TaskId,
    handle: shuttle::thread::JoinHandle<T>,
}

/// [`shuttle::thread::spawn`] for a thread that does nothing that others could see before its first scheduling point, and with what there is to
/// say about its start and its end said.
#[track_caller]
pub fn spawn<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let body = move || {
        let value = body();
        board().lock().ended.push(ExecutionState::me());
        value
    };
    let handle = at_point(Part::Spawn, || shuttle::thread::spawn(body));
    let task = TaskId::from(usize::from(handle.thread().id()));
    board().lock().said.insert(task, Said::new());
    JoinHandle { task, handle }
}

impl<T> JoinHandle<T> {
    /// Waits until it has ended.
    ///
    /// # Errors
    /// As that of [`shuttle::thread::JoinHandle::join`].
    pub fn join(self) -> shuttle::thread::Result<T> {
        at_point(Part::Join(self.task), || self.handle.join())
    }
}

/// What an exploration has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Executions, the abandoned ones included.
    pub executions: u64,
    /// Those of them that were given up half-way because nothing new was to come.
    pub abandoned: u64,
    /// Whether every schedule is covered. An execution that was stopped from outside, by `MaxSteps::ContinueAfter` or a panic while others could
    /// go on, leaves open what would have come after.
    pub exhausted: bool,
}

/// Source-DPOR with sleep sets, as a scheduler of shuttle's: see the [module](self).
///
/// A clone is another handle on the same exploration, since a [`Runner`](shuttle::Runner) keeps the scheduler that it is given. It is also how one goes on after a
/// failure: shuttle stops at the first, and a new runner with a clone takes the next schedule.
#[derive(Clone)]
pub struct DporScheduler(Arc<Mutex<Search>>);

impl std::fmt::Debug for DporScheduler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("DporScheduler").field(&self.report()).finish()
    }
}

struct Search {
    dpor: Dpor,
    max_executions: Option<u64>,
    report: Report,
    /// An execution was stopped from outside.
    stopped: bool,
    scene: Option<Scene>,
}

impl DporScheduler {
    /// Explores everything, or stops after that many executions.
    pub fn new(max_executions: Option<u64>) -> Self {
        let (dpor, report) = (Dpor::new(), Report::default());
        DporScheduler(Arc::new(Mutex::new(Search { dpor, max_executions, report, stopped: false, scene: None })))
    }

    /// What it has come to so far.
    pub fn report(&self) -> Report {
        self.0.lock().report
    }
}

impl Scheduler for DporScheduler {
    fn new_execution(&mut self) -> Option<Schedule> {
        let search = &mut *self.0.lock();
        if let Some(scene) = search.scene.take() {
            search.stopped |= scene.was_stopped();
            search.dpor.ended(&scene);
            if !search.dpor.advance() {
                search.report.exhausted = !search.stopped;
                search.max_executions = Some(0); // there is no next one
            }
        }
        if search.max_executions.is_some_and(|most| search.report.executions >= most) {
            return None;
        }
        search.report.executions += 1;
        search.scene = Some(Scene::default());
        Some(Schedule::new(0))
    }

    fn next_task(&mut self, runnable: &[&Task], _: Option<TaskId>, _: bool) -> Option<TaskId> {
        let search = &mut *self.0.lock();
        let scene = search.scene.as_mut().expect("an execution has begun");
        scene.look(runnable);
        match search.dpor.next(scene) {
            Some(at) => Some(scene.take(at)),
            None => {
                search.report.abandoned += 1;
                scene.abandoned = true;
                None
            }
        }
    }

    fn next_u64(&mut self) -> u64 {
        let of = found().and_then(|label| label.lock().choosing);
        let of = of.expect("random values cannot be enumerated; `flockstep::engine::dpor::choose` can");
        self.0.lock().dpor.value(of).into()
    }
}

/// An execution as the search sees it.
#[derive(Default)]
struct Scene {
    tasks: Vec<Known>,
    /// Who can go on.
    runnable: Vec<TaskId>,
    /// Those of them without which an execution does not end.
    attached: Vec<TaskId>,
    chosen: Option<TaskId>,
    steps: u64,
    footprint: Footprint,
    label: Option<Label>,
    abandoned: bool,
}

/// What is known of a task.
#[derive(Clone, Copy)]
struct Known {
    steps: u32,
    /// It came to its present point in that step.
    since: u64,
}

impl Scene {
    /// At a scheduling point.
    fn look(&mut self, runnable: &[&Task]) {
        self.label = self.label.take().or_else(found);
        self.runnable.clear();
        self.runnable.extend(runnable.iter().map(|task| task.id()));
        self.attached.clear();
        self.attached.extend(runnable.iter().filter(|task| !task.is_detached()).map(|task| task.id()));
        // A new task can go on at once, and numbers are given in order.
        let count = self.runnable.last().map_or(0, |&last| usize::from(last) + 1);
        if count > self.tasks.len() {
            self.tasks.resize(count, Known { steps: 0, since: self.steps });
        }
    }

    /// Whoever is at that position takes a step.
    fn take(&mut self, at: usize) -> TaskId {
        let task = self.runnable[at];
        self.footprint = self.touched_by(task);
        if let Some(label) = &self.label {
            label.lock().said.remove(&task);
        }
        self.steps += 1;
        let known = &mut self.tasks[usize::from(task)];
        *known = Known { steps: known.steps + 1, since: self.steps };
        self.chosen = Some(task);
        task
    }

    fn touched_by(&self, task: TaskId) -> Footprint {
        match &self.label {
            Some(label) => label.lock().footprint(task),
            None => Board::default().footprint(task),
        }
    }

    fn actor(&self, task: TaskId) -> Actor {
        Actor::Operation(number(task), self.tasks[usize::from(task)].steps)
    }

    fn moment(&self, task: TaskId) -> Moment {
        Moment { step: self.tasks[usize::from(task)].since, part: 0 }
    }

    fn has_ended(&self, task: TaskId) -> bool {
        self.label.as_ref().is_some_and(|label| label.lock().ended.contains(&task))
    }

    /// After its end: whether somebody could have gone on who had to.
    fn was_stopped(&self) -> bool {
        let board = self.label.as_ref().map(Label::lock);
        // Whoever was chosen may have taken the lock that others were about to take.
        let held_up =
            |task| board.as_ref().is_some_and(|board| board.said.get(task).is_some_and(|s| board.is_held_up(s)));
        !self.abandoned && self.attached.iter().any(|task| Some(*task) != self.chosen && !held_up(task))
    }
}

impl Standing for Scene {
    fn offered(&self) -> Vec<Actor> {
        self.runnable.iter().map(|&task| self.actor(task)).collect()
    }
    fn since(&self, at: usize) -> Moment {
        self.moment(self.runnable[at])
    }
    fn faults(&self) -> Vec<(Actor, Footprint)> {
        Vec::new()
    }
    fn is_at_rest(&self) -> bool {
        false
    }
    fn has_choice(&self, _: Actor) -> bool {
        true
    }
    /// At the end that is everybody who is left: blocked for ever, or cut off by the end of those who matter.
    fn blocked(&self) -> Vec<Waiting> {
        let tasks = (0..self.tasks.len()).map(TaskId::from);
        let left = tasks.filter(|task| !(self.has_ended(*task) || self.abandoned && self.runnable.contains(task)));
        let waiting =
            |task| Waiting { actor: self.actor(task), since: self.moment(task), footprint: self.touched_by(task) };
        left.map(waiting).collect()
    }
    fn footprint(&self) -> &Footprint {
        &self.footprint
    }
}
