//! One execution after another: the machine polls tasks, and asks a [`Chooser`] for every step.
//!
//! Polling is local: between two announcements a task touches nothing that others see. So whatever has become runnable is polled at
//! once, without a choice, until every task has announced what it will do next; only then is there something to choose.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use super::job::Job;
use super::kernel::Pid;
use super::plan::Plan;
use super::stage::perform;
use super::state::{Body, Choice, Faults, Host, Phase, State, TaskId};
use super::world::SimWorld;
use crate::oracle::{Violation, ViolationKind};

/// Who picks the next step.
pub(crate) trait Chooser {
    /// The position of the next choice among [`State::choice_count`]; `None` gives the execution up.
    fn pick(&mut self, state: &State) -> Option<usize>;
    /// A number below `of`.
    fn value(&mut self, of: u32) -> u32;
    /// Whether it wants to know what the step touches that it has picked. Once it does, it does of all that come after.
    fn watches(&self) -> bool {
        false
    }
    /// The execution is over, and this is how the machine stands.
    fn ended(&mut self, state: &State) {
        let _ = state;
    }
    /// Whether it gave the execution up at a state from which it could go round for ever, for all that is known: at one of its own, or where
    /// nobody went on who had not done so elsewhere. It says so once of each such state.
    fn came_round(&mut self) -> bool {
        false
    }
}

/// How an execution ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Every process has ended, and no oracle objects.
    Done,
    /// The chooser gave it up.
    Cut,
    Violated(Violation),
}

/// Futures that are woken from within a poll set it; the machine then polls again.
struct SelfWake(AtomicBool);

impl Wake for SelfWake {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }
    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How often a task may wake itself within one step before it counts as spinning.
const SELF_WAKES_MAX: u32 = 10_000;

/// See the [module documentation](self).
pub(crate) struct Machine {
    /// Always there, but for the duration of a poll.
    state: Option<Box<State>>,
    /// Of the tasks that have not ended.
    jobs: Vec<Option<Box<dyn Job>>>,
    woken: Arc<SelfWake>,
    waker: Waker,
    /// How many processes of the plan have been started.
    started: Pid,
}

impl Default for Machine {
    fn default() -> Self {
        let woken = Arc::new(SelfWake(AtomicBool::new(false)));
        let waker = Waker::from(woken.clone());
        Machine { state: Some(Box::default()), jobs: Vec::new(), woken, waker, started: 0 }
    }
}

impl Machine {
    /// What it consists of between two polls.
    pub(crate) fn state(&self) -> &State {
        self.state.as_ref().expect("back after every poll")
    }

    /// The same, to change it.
    pub(crate) fn state_mut(&mut self) -> &mut State {
        self.state.as_mut().expect("back after every poll")
    }

    /// Loads the plan and lets every process come to its first announcements.
    #[cfg(any(feature = "shuttle", feature = "loom"))]
    pub(crate) fn begin(&mut self, plan: &Plan) {
        self.load(plan);
        self.catching(|machine| machine.start(plan));
    }

    /// The machine as it is before anything has happened.
    fn load(&mut self, plan: &Plan) {
        let waker = &self.waker;
        let state = self.state.as_mut().expect("back after every poll");
        state.reset(&plan.files);
        state.polls.get_or_insert_with(|| waker.clone());
        state.faults = plan.faults;
        state.is_plain = plan.faults == Faults::default();
        state.time = plan.time;
        state.shared_memory = plan.shared_memory;
        plan.classes(&mut state.alike);
        // Who may be cancelled is said by name.
        let alike_tasks = if plan.cancellable.is_empty() { plan.alike_tasks.clone() } else { Arc::from([]) };
        state.alike_tasks = alike_tasks;
        // What is shared is counted, and most executions are of the plan of the one before.
        if !Arc::ptr_eq(&state.cancellable, &plan.cancellable) {
            state.cancellable = plan.cancellable.clone();
        }
        if !Arc::ptr_eq(&state.programs, &plan.programs) {
            state.programs = plan.programs.clone();
        }
        state.hosts.truncate(plan.processes.len());
        for (pid, process) in plan.processes.iter().enumerate() {
            match process.ended() {
                Some(status) => state.kernel.new_ended_process(process.nofile, status),
                None => state.kernel.new_process(process.nofile),
            };
            match state.hosts.get_mut(pid) {
                Some(host) if host.is_of(process) => host.restart(process),
                other => {
                    let host = Host::of(process);
                    match other {
                        Some(host_before) => *host_before = host,
                        None => state.hosts.push(host),
                    }
                }
            }
        }
        self.started = 0;
    }

    /// Starts the first tasks of the processes that are left to be started, one after the other, and lets them come to their first
    /// announcements.
    fn start(&mut self, plan: &Plan) {
        loop {
            self.settle();
            let pid = self.started;
            let Some(process) = plan.processes.get(pid as usize) else { return };
            self.started += 1;
            if !process.left_out {
                self.start_main(pid, &process.body);
            }
        }
    }

    fn start_main(&mut self, pid: Pid, body: &Body) {
        let state = self.state_mut();
        let world = SimWorld::new(state.execution, pid);
        let job = perform(&mut self.state, || body(world));
        let state = self.state_mut();
        if state.hosts[pid as usize].alive {
            state.start_main(pid, job);
        }
    }

    /// Does `work`, which can be interrupted by the panic of a task, and is then gone on with by doing it once more. One net for a whole
    /// execution, so that a poll need not spread its own.
    #[inline(always)]
    fn catching<T>(&mut self, mut work: impl FnMut(&mut Machine) -> T) -> T {
        loop {
            match catch_unwind(AssertUnwindSafe(|| work(self))) {
                Ok(value) => return value,
                Err(why) => self.panicked(why),
            }
        }
    }

    /// The task that was being polled has panicked. If there was none, it is not for us to catch.
    #[cold]
    fn panicked(&mut self, why: Box<dyn Any + Send>) {
        let state = self.state.as_mut().expect("back after every poll");
        let Some(id) = state.current.take() else { resume_unwind(why) };
        let (name, text) = (state.task_name(id), panic_text(why.as_ref()));
        state.violate(Violation::new(ViolationKind::Panic, format!("{name} panicked: {text}")));
        state.doom(id);
    }

    /// Polls whatever can be polled, until there is something to choose.
    fn settle(&mut self) {
        loop {
            let state = self.state.as_mut().expect("back after every poll");
            while let Some((id, job)) = state.fresh.pop() {
                let slot = id as usize;
                if self.jobs.len() == slot {
                    self.jobs.push(Some(job));
                    continue;
                }
                if self.jobs.len() < slot {
                    self.jobs.resize_with(slot + 1, || None);
                }
                self.jobs[slot] = Some(job);
            }
            if let Some(id) = state.doomed.pop() {
                self.drop_task(id);
            } else if let Some(id) = state.run_queue.pop_front() {
                if state.enter(id) { self.poll(id) } else { self.drop_task(id) }
            } else if let Some((pid, body)) = state.pending_mains.pop_front() {
                self.start_main(pid, &body);
            } else {
                return;
            }
        }
    }

    /// Polls a task that has entered.
    #[inline(always)]
    fn poll(&mut self, id: TaskId) {
        let mut wakes = 0;
        loop {
            self.woken.0.store(false, Ordering::Relaxed);
            let job = self.jobs[id as usize].as_mut().expect("a live task has a job");
            let waker = &self.waker;
            // Destructors of what the task captured belong to its last step.
            let ended = perform(&mut self.state, || job.poll(&mut Context::from_waker(waker)));
            if ended {
                return self.ended(id);
            }
            let state = self.state.as_mut().expect("back after every poll");
            state.settle();
            if self.woken.0.load(Ordering::Relaxed) {
                state.tasks[id as usize].poll_again = true;
                wakes += 1;
            }
            if !state.leave_pending(id) {
                return;
            }
            if wakes > SELF_WAKES_MAX {
                let name = state.task_name(id);
                let text = format!("{name} wakes itself for ever without doing anything");
                state.violate(Violation::new(ViolationKind::ForeignAwait, text));
                state.current = None;
                return;
            }
        }
    }

    /// The future of a task has ended.
    fn ended(&mut self, id: TaskId) {
        let mut job = self.jobs[id as usize].take().expect("it was polled");
        if self.state().tasks[id as usize].is_detached {
            perform(&mut self.state, || job.clear());
            self.state_mut().jobs.keep(job);
        } else {
            self.state_mut().leave_value(id, job);
        }
        let state = self.state_mut();
        state.finished(id, true);
        state.settle();
    }

    /// Drops the future of a task on stage: its destructors act, unless its process is dead.
    fn drop_task(&mut self, id: TaskId) {
        let mut job = self.jobs.get_mut(id as usize).and_then(Option::take);
        let state = self.state_mut();
        state.current = (state.tasks[id as usize].phase != Phase::Dead).then_some(id);
        state.begin_part(id);
        let clear = || {
            if let Some(job) = &mut job {
                job.clear()
            }
        };
        let dropped = perform(&mut self.state, || catch_unwind(AssertUnwindSafe(clear)));
        let state = self.state_mut();
        match (dropped, job) {
            (Ok(()), Some(job)) => state.jobs.keep(job),
            (Ok(()), None) => {}
            (Err(why), _) => {
                let (name, text) = (state.task_name(id), panic_text(why.as_ref()));
                state.violate(Violation::new(ViolationKind::Panic, format!("dropping {name} panicked: {text}")));
            }
        }
        state.finished(id, false);
        state.settle();
    }

    /// Does what was chosen, and lets everybody come to the next announcement.
    #[cfg(any(feature = "shuttle", feature = "loom"))]
    pub(crate) fn take(&mut self, choice: Choice, value: &mut dyn FnMut(u32) -> u32) {
        let mut choice = Some(choice);
        self.catching(|machine| match choice.take() {
            Some(choice) => machine.step(choice, value),
            None => machine.settle(),
        });
    }

    /// The same, if no task panics.
    #[inline(always)]
    fn step(&mut self, choice: Choice, value: &mut dyn FnMut(u32) -> u32) {
        let state = self.state_mut();
        state.step += 1;
        state.touch_by(choice);
        match choice {
            Choice::Act(op) => {
                if let Some(task) = state.act(op, value) {
                    if state.go_on(task) { self.poll(task) } else { self.drop_task(task) }
                }
            }
            Choice::Resume(task) => state.resume(task),
            fault => state.strike(fault),
        }
        if self.state_mut().has_work() {
            self.settle();
        }
    }

    /// How the execution stands: `Some` once it is over, otherwise the choices are ready.
    #[cfg(any(feature = "shuttle", feature = "loom"))]
    pub(crate) fn standing(&mut self, steps_max: u64) -> Option<End> {
        self.state_mut().standing(steps_max)
    }

    /// One execution from start to end.
    pub(crate) fn run(&mut self, plan: &Plan, chooser: &mut (impl Chooser + ?Sized)) -> End {
        self.load(plan);
        let end = self.catching(|machine| {
            machine.start(plan);
            loop {
                let state = machine.state_mut();
                if let Some(end) = state.standing(plan.steps_max) {
                    return end;
                }
                let Some(at) = chooser.pick(state) else { return End::Cut };
                if chooser.watches() {
                    state.watch_steps();
                }
                let choice = state.choice(at);
                machine.step(choice, &mut |of| chooser.value(of));
            }
        });
        chooser.ended(self.state());
        self.switch_off();
        end
    }

    /// Ends an execution: what is left is dropped without effect.
    pub(crate) fn switch_off(&mut self) {
        let state = self.state_mut();
        if state.judges.recording.is_some() {
            let hosts = &state.hosts;
            let table = state.kernel.lslocks(&|pid| hosts[pid as usize].name.to_string());
            state.lslocks_at_end = table;
        }
        state.off = true;
        // On stage, because destructors may ask for things or spawn. One that panics on a machine that is off says nothing about the
        // protocol.
        loop {
            while let Some(job) = self.jobs.pop() {
                job.into_iter().for_each(|job| self.discard(job));
            }
            // A task has its job again from its end until somebody takes the value.
            let mut at = 0;
            while let Some(task) = self.state_mut().tasks.get_mut(at) {
                task.job.take().into_iter().for_each(|job| self.discard(job));
                at += 1;
            }
            let Some((_, job)) = self.state_mut().fresh.pop() else { return };
            self.discard(job);
        }
    }

    /// Empties a job without effect.
    fn discard(&mut self, mut job: Box<dyn Job>) {
        if perform(&mut self.state, || catch_unwind(AssertUnwindSafe(|| job.clear()))).is_ok() {
            self.state_mut().jobs.keep(job);
        }
    }
}

/// What a panic said.
pub(crate) fn panic_text(why: &(dyn Any + Send)) -> String {
    let text = why.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| why.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}

impl State {
    /// Whether there is anybody to poll, or to drop.
    #[inline(always)]
    fn has_work(&self) -> bool {
        !(self.run_queue.is_empty() && self.fresh.is_empty() && self.doomed.is_empty() && self.pending_mains.is_empty())
    }

    /// How the execution stands: `Some` once it is over, otherwise the choices are ready.
    #[inline(always)]
    fn standing(&mut self, steps_max: u64) -> Option<End> {
        let in_the_middle = self.judges.violation.is_none() && self.live > 0 && self.step < steps_max;
        if in_the_middle && self.is_plain && !self.enabled.is_empty() {
            // The usual case: nothing to choose but who goes on.
            debug_assert!(self.timers.is_empty() && self.due.is_empty() && self.fault_choices.is_empty());
            return None;
        }
        self.standing_in_detail(steps_max)
    }

    fn standing_in_detail(&mut self, steps_max: u64) -> Option<End> {
        if self.judges.violation.is_some() {
            return self.judges.violation.take().map(End::Violated);
        }
        if self.live == 0 {
            return Some(self.finish());
        }
        if self.step >= steps_max {
            let text = format!("no end after {steps_max} steps: a livelock, or a scenario that is too large");
            return Some(End::Violated(Violation::new(ViolationKind::Endless, text)));
        }
        self.offer().map(End::Violated)
    }

    /// Prepares the choices of this step. A violation if there are none: work is left, and nothing can move.
    fn offer(&mut self) -> Option<Violation> {
        self.due.clear();
        let sleeps = |op: &super::OpId| matches!(self.ops[op.slot as usize].op, super::Op::Sleep { .. });
        if self.enabled.is_empty() && self.hungry.is_empty() {
            let Some(&(next, _)) = self.timers.first().filter(|_| self.timers.iter().any(|(_, op)| sleeps(op))) else {
                return Some(self.deadlock());
            };
            let due = self.timers.iter().take_while(|(due, _)| *due == next).map(|&(_, op)| op);
            let due: Vec<_> = due.collect();
            self.due.extend(due);
        } else {
            // Its time has come with another one's that was picked first: no time passes if it wakes as well.
            let come = self.timers.iter().take_while(|(due, _)| *due <= self.dials.now()).map(|&(_, op)| op);
            let come: Vec<_> = come.filter(sleeps).collect();
            self.due.extend(come);
        }
        self.list_faults();
        None
    }

    /// Every process has ended: the oracles have the last word.
    fn finish(&mut self) -> End {
        let (kernel, hosts, tasks, dials) = (&self.kernel, &*self.hosts, &*self.tasks, &self.dials);
        let view = super::KernelView { kernel, hosts, tasks, dials, locks: &self.judges.locks };
        for judge in &mut self.judges.all {
            if let Err(violation) = judge.oracle.finish(&view) {
                return End::Violated(violation);
            }
        }
        End::Done
    }
}
