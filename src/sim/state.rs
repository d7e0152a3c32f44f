//! The state of the simulated machine: the kernel, the executors of its processes, and what its tasks are about to do.
//!
//! One mutex guards it (see [`SimWorld`]); it is never held while a future is polled or dropped.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::depend::Footprint;
use super::job::{Job, Jobs};
use super::kernel::{Closed, Kernel, Ofd, Pid, Touched};
use super::names::{Launches, Name, Names, Written};
use super::operation::{Launch, LaunchId, OpId, Owner, Pending};
use super::sync::{Mutex, Notify, Semaphore};
pub use super::tasks::TaskId;
use super::tasks::Tasks;
pub(crate) use super::tasks::{Phase, Task};
use super::view::KernelView;
use super::{Dials, Exit, SimWorld};
use crate::oracle::{Judges, Violation};
use crate::world::{Errno, Event, Kinds, Status, What};

/// Tells its World how the process ends.
pub(crate) type Body = Arc<dyn Fn(SimWorld) -> Box<dyn Job> + Send + Sync>;

/// A process as an executor: worker threads, blocking threads, tasks.
pub(crate) struct Host {
    pub(crate) name: Arc<str>,
    pub(crate) workers: u32,
    pub(crate) idle: u32,
    pub(crate) pool: u32,
    pub(crate) pool_idle: u32,
    pub(crate) pool_queue: VecDeque<TaskId>,
    /// Workers that are blocked in flock(2).
    pub(crate) blocked: u32,
    /// Woken tasks without a worker.
    pub(crate) ready: Vec<TaskId>,
    /// Live tasks on workers; on the pool or in its queue.
    pub(crate) worker_tasks: u32,
    pub(crate) pool_tasks: u32,
    /// Tasks that it ever had.
    pub(crate) births: u32,
    pub(crate) main: Option<TaskId>,
    pub(crate) ending: Option<Exit>,
    pub(crate) alive: bool,
    pub(crate) may_fail: bool,
    pub(crate) killable: bool,
    pub(crate) args: Arc<Vec<String>>,
    pub(crate) env: Arc<BTreeMap<String, String>>,
    pub(crate) inherited: Vec<u32>,
    pub(crate) waiters: Vec<OpId>,
    pub(crate) status: Option<Status>,
    pub(crate) launch: Option<(Arc<super::operation::Launch>, Option<OpId>, Vec<u32>)>,
    pub(crate) stdout: Vec<u8>,
}

/// What a program is started as in the simulated world.
#[derive(Clone)]
pub(crate) struct Program {
    pub(crate) body: Body,
    pub(crate) workers: u32,
    pub(crate) pool: u32,
    pub(crate) killable: bool,
}

/// When timers fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Time {
    /// A sleep may end at any step from now on: every speed of every machine is explored. The clock itself moves only as a sleep or a deadline
    /// ends, and to when that was due: what takes no sleep takes no time, so no lease runs out under somebody who is merely slow. Let him
    /// sleep where he may be.
    #[default]
    Free,
    /// Time passes only when nothing else can happen: durations mean what they say, and the clock at the end is the makespan.
    Urgent,
}

/// What may go wrong in an execution, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct Faults {
    pub(crate) kills: u32,
    pub(crate) cancels: u32,
    pub(crate) timeouts: u32,
    pub(crate) lost_locks: u32,
}

impl Faults {
    /// How many faults of all kinds there may be.
    pub(crate) fn total(self) -> u32 {
        self.kills + self.cancels + self.timeouts + self.lost_locks
    }
}

/// What an engine can choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Choice {
    /// An announced operation acts.
    Act(OpId),
    /// A woken task gets an idle worker thread.
    Resume(TaskId),
    /// SIGKILL.
    Kill(Pid),
    /// A suspended task is cancelled: its future is dropped where it waits.
    Cancel(TaskId),
    /// A deadline is reached although others could still move.
    Expire(OpId),
    /// The ground takes the lock of a description away.
    Lose(Ofd),
}

impl Choice {
    /// Whether it is a fault: these need not happen.
    pub(crate) fn is_fault(self) -> bool {
        !matches!(self, Choice::Act(_) | Choice::Resume(_))
    }
}

/// How many executions there have been in this program. Nothing but the identity of handles depends on it.
static EXECUTIONS: AtomicU64 = AtomicU64::new(1);
/// How many numbers a machine takes of it at a time: threads that all count with it wait for each other.
const NUMBERS: u64 = 1 << 16;

/// See the [module documentation](self).
pub(crate) struct State {
    /// Tells the handles of this execution from those of earlier ones.
    pub(crate) execution: u64,
    /// The numbers of the next ones.
    numbers: std::ops::Range<u64>,
    pub(crate) kernel: Kernel,
    /// Kept from one execution to the next, as are `written` and `launches`.
    pub(crate) names: Names,
    pub(crate) written: Written,
    pub(crate) launches: Launches,
    pub(crate) jobs: Jobs,
    pub(crate) hosts: Vec<Host>,
    pub(crate) tasks: Tasks,
    pub(crate) ops: Vec<Pending>,
    pub(crate) free_ops: Vec<u32>,
    pub(crate) semaphores: Vec<Semaphore>,
    pub(crate) mutexes: Vec<Mutex>,
    pub(crate) notifies: Vec<Notify>,
    pub(crate) dials: Dials,
    pub(crate) step: u64,
    pub(crate) regions: BTreeMap<u64, (Pid, &'static str, Arc<str>)>,
    pub(crate) next_region: u64,

    /// Operations that could act now.
    pub(crate) enabled: Vec<OpId>,
    /// There has been no timer yet, and there can be no fault: all that is offered is who goes on.
    pub(crate) is_plain: bool,
    /// Timers that are due next, offered when nothing else can happen.
    pub(crate) due: Vec<OpId>,
    pub(crate) timers: BTreeSet<(Duration, OpId)>,
    /// Processes with an idle worker and a task that wants one.
    pub(crate) hungry: Vec<Pid>,
    pub(crate) fault_choices: Vec<Choice>,
    /// Announced operations that care about an inode's locks or a pipe.
    pub(crate) watching: Vec<Vec<OpId>>,

    pub(crate) current: Option<TaskId>,
    /// The operation whose return the running task is polled for, until it fetches the result or announces something else: nothing is in
    /// the way of that.
    pub(crate) returned: OpId,
    pub(crate) run_queue: VecDeque<TaskId>,
    /// Tasks that the machine does not know yet.
    pub(crate) fresh: Vec<(TaskId, Box<dyn Job>)>,
    pub(crate) doomed: Vec<TaskId>,
    /// First tasks of processes that have just been exec'd.
    pub(crate) pending_mains: VecDeque<(Pid, Body)>,
    /// What must end before the execution does: tasks, children between fork and exec, dying processes.
    pub(crate) live: u32,

    pub(crate) faults: Faults,
    pub(crate) cancellable: Arc<[String]>,
    /// By process of the scenario: which others it is like.
    pub(crate) alike: Vec<Option<u32>>,
    /// How the names of tasks begin that are alike.
    pub(crate) alike_tasks: Arc<[String]>,
    pub(crate) time: Time,
    pub(crate) programs: Arc<BTreeMap<String, Program>>,
    /// What the machine polls with. A task that waits with it need not be told through it: the machine knows whom to poll.
    pub(crate) polls: Option<std::task::Waker>,
    /// What the step under way has touched so far, if anybody wants to know.
    pub(crate) footprint: Option<Footprint>,
    /// Where tasks were seen to wait for an end and for nothing else, by process, task, operation and what was told by then: in any
    /// execution. See [`access_of_end`](State::access_of_end).
    pub(crate) waits_alone: BTreeSet<(Pid, u32, u32, u64)>,
    /// The tasks of a process may share memory that the World does not see.
    pub(crate) shared_memory: bool,
    /// Whether results are hashed into the pasts of tasks.
    pub(crate) remember: bool,
    pub(crate) judges: Judges,
    /// The machine is switched off: whatever is dropped now has no effect.
    pub(crate) off: bool,
    pub(crate) workers_blocked_peak: u32,
    /// The lock table when a violation ended the execution, if it is recorded.
    pub(crate) lslocks_at_end: String,
    /// What a dying process has just closed: empty between its steps.
    pub(crate) closed: Vec<(u32, Closed)>,
}

impl Default for State {
    fn default() -> Self {
        State {
            execution: 0,
            numbers: 0..0,
            kernel: Kernel::default(),
            names: Names::default(),
            written: Written::default(),
            launches: Launches::default(),
            jobs: Jobs::default(),
            hosts: Vec::new(),
            tasks: Tasks::default(),
            ops: Vec::new(),
            free_ops: Vec::new(),
            semaphores: Vec::new(),
            mutexes: Vec::new(),
            notifies: Vec::new(),
            dials: Dials::default(),
            step: 0,
            regions: BTreeMap::new(),
            next_region: 0,
            enabled: Vec::new(),
            is_plain: true,
            due: Vec::new(),
            timers: BTreeSet::new(),
            hungry: Vec::new(),
            fault_choices: Vec::new(),
            watching: Vec::new(),
            current: None,
            returned: OpId::NONE,
            run_queue: VecDeque::new(),
            fresh: Vec::new(),
            doomed: Vec::new(),
            pending_mains: VecDeque::new(),
            live: 0,
            faults: Faults::default(),
            cancellable: Arc::from([]),
            alike: Vec::new(),
            alike_tasks: Arc::from([]),
            time: Time::Free,
            programs: Arc::default(),
            polls: None,
            footprint: None,
            waits_alone: BTreeSet::new(),
            shared_memory: true,
            remember: false,
            judges: Judges::default(),
            off: false,
            workers_blocked_peak: 0,
            lslocks_at_end: String::new(),
            closed: Vec::new(),
        }
    }
}

impl State {
    /// Forgets the last execution and starts from `start`, keeping what is allocated.
    pub(crate) fn reset(&mut self, start: &Kernel) {
        self.footprint = None;
        self.execution = self.numbers.next().unwrap_or_else(|| {
            let first = EXECUTIONS.fetch_add(NUMBERS, Ordering::Relaxed);
            self.numbers = first + 1..first + NUMBERS;
            first
        });
        self.kernel.reset_to(start);
        self.tasks.clear();
        // The same slots in the same order, whatever the last execution needed.
        self.free_ops.clear();
        self.free_ops.extend((0..self.ops.len() as u32).rev());
        self.ops.iter_mut().for_each(Pending::vacate);
        self.semaphores.clear();
        self.mutexes.clear();
        self.notifies.clear();
        self.dials.begin();
        (self.step, self.next_region) = (0, 0);
        if !self.regions.is_empty() {
            self.regions.clear();
        }
        self.enabled.clear();
        self.due.clear();
        if !self.timers.is_empty() {
            self.timers.clear();
        }
        self.hungry.clear();
        self.fault_choices.clear();
        self.watching.iter_mut().for_each(Vec::clear);
        (self.current, self.returned, self.live) = (None, OpId::NONE, 0);
        (self.off, self.workers_blocked_peak) = (false, 0);
        self.run_queue.clear();
        self.fresh.clear();
        self.doomed.clear();
        self.pending_mains.clear();
        self.judges.begin();
    }

    /// The number of a name.
    pub(crate) fn name(&mut self, name: &str) -> Name {
        self.names.number(name)
    }

    /// The number of a launch.
    pub(crate) fn launch(&mut self, launch: Launch) -> LaunchId {
        self.launches.number(launch)
    }

    /// From here on every step tells what it touches.
    pub(crate) fn watch_steps(&mut self) {
        if self.footprint.is_none() {
            self.footprint = Some(Footprint::default());
            self.judges.attend_to_all();
        }
    }

    /// Whether anybody would look at an event of this kind.
    #[inline(always)]
    pub(crate) fn wants(&self, kinds: Kinds) -> bool {
        self.judges.want(kinds)
    }

    /// Tells everybody who watches what happened.
    #[inline(always)]
    pub(crate) fn emit(&mut self, pid: Pid, task: Option<TaskId>, what: What) {
        let kind = what.part();
        if self.wants(kind) {
            let event = Event { step: self.step, at: self.dials.now(), process: pid, task, what };
            self.pass_on(kind, &event);
        }
    }

    /// What oracles may look at.
    pub(crate) fn view(&self) -> KernelView<'_> {
        let (kernel, hosts, tasks, dials) = (&self.kernel, &*self.hosts, &*self.tasks, &self.dials);
        KernelView { kernel, hosts, tasks, dials, locks: &self.judges.locks }
    }

    /// To whoever watches for that kind.
    #[inline(never)]
    fn pass_on(&mut self, kind: Kinds, event: &Event) {
        self.touch_whoever_hears_of(kind);
        self.judges.tell(kind, event, &self.kernel, &self.hosts, &self.tasks, &self.dials);
    }

    /// The same for what is costly to say: only if anybody wants to know. `kind` is the part of a kind that `what` is of.
    #[inline(always)]
    pub(crate) fn tell(&mut self, pid: Pid, task: Option<TaskId>, kind: Kinds, what: impl FnOnce(&State) -> What) {
        if self.wants(kind) {
            // Said where it stays: what is put together piece by piece and then moved as a whole has to wait for the last piece.
            let event = Event { step: self.step, at: self.dials.now(), process: pid, task, what: what(self) };
            debug_assert_eq!(event.what.part(), kind);
            self.pass_on(kind, &event);
        }
    }

    /// The first violation stays.
    pub(crate) fn violate(&mut self, violation: Violation) {
        self.judges.violation.get_or_insert(violation);
    }

    /// Tells of a descriptor that was closed, and of the lock that went with it.
    pub(crate) fn emit_closed(&mut self, pid: Pid, task: Option<TaskId>, fd: u32, closed: Closed) {
        if let Some((ofd, mode)) = closed.lock_ended {
            let (path, file, description) = (&closed.path, closed.file, ofd.into());
            self.tell_unlocked(pid, task, description, |_| What::Unlock {
                path: path.clone(),
                file,
                description,
                mode,
            });
        }
        if self.wants(Kinds::CLOSED) {
            self.emit(pid, task, What::Close { path: closed.path, descriptor: fd, file: closed.file });
        }
    }

    /// Tells of a lock that has ended, in a word if nobody attends to it.
    #[inline(always)]
    pub(crate) fn tell_unlocked(
        &mut self,
        pid: Pid,
        task: Option<TaskId>,
        description: u64,
        what: impl FnOnce(&State) -> What,
    ) {
        if self.wants(Kinds::UNLOCKED) {
            self.tell(pid, task, Kinds::UNLOCKED, what);
        } else {
            self.judges.unlocked(description);
        }
    }

    /// Tells of a call that failed.
    pub(crate) fn emit_failed(
        &mut self,
        pid: Pid,
        task: Option<TaskId>,
        call: &'static str,
        subject: Arc<str>,
        errno: Errno,
    ) {
        if self.wants(Kinds::FAILURES) {
            self.emit(pid, task, What::Failed { call, subject, errno });
        }
    }

    /// Looks again at every operation that waits for what the kernel has just changed.
    #[inline]
    pub(crate) fn settle(&mut self) {
        if self.kernel.has_touched() {
            self.settle_touched();
        }
    }

    fn settle_touched(&mut self) {
        // By position: to look at an operation again touches nothing, and changes no list of watchers.
        let mut first = 0;
        while let Some(&(Touched::Locks(ino) | Touched::Pipe(ino))) = self.kernel.touched().get(first) {
            let mut at = 0;
            while let Some(&id) = self.watching.get(ino as usize).and_then(|watching| watching.get(at)) {
                self.evaluate(id);
                at += 1;
            }
            first += 1;
        }
        self.kernel.forget_touched();
    }

    /// Whether a process still acts, and with it the destructors of its tasks.
    pub(crate) fn acts(&self, pid: Pid) -> bool {
        !self.off && self.hosts.get(pid as usize).is_some_and(|host| host.alive)
    }

    /// The task being polled.
    ///
    /// # Panics
    /// Outside of a step: a World operation was awaited by somebody else's executor.
    #[inline(always)]
    pub(crate) fn current(&self) -> TaskId {
        self.current.expect("an operation of SimWorld was polled outside of a scenario: it works only in a task of one")
    }

    /// How the one who could make a choice is called: `process` or `process/task`.
    pub(crate) fn owner_name(&self, owner: Owner) -> String {
        match owner {
            Owner::Task(task) => self.task_name(task),
            Owner::Process(pid) => self.hosts[pid as usize].name.to_string(),
        }
    }

    /// `process` for the first task of a process, `process/task` for the others.
    pub(crate) fn task_name(&self, id: TaskId) -> String {
        let task = &self.tasks[id as usize];
        let host = &self.hosts[task.pid as usize];
        if host.main == Some(id) { host.name.to_string() } else { format!("{}/{}", host.name, task.name) }
    }
}
