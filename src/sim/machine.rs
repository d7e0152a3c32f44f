//! One execution after another: the machine polls tasks, and asks a [`Chooser`] for every step.
//!
//! Polling is local: between two announcements a task touches nothing that others see. So whatever has become runnable is polled at
//! once, without a choice, until every task has announced what it will do next; only then is there something to choose.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use super::kernel::Kernel;
use super::stage::perform;
use super::state::{Body, Choice, Faults, Phase, Program, State, TaskFuture, TaskId, Time};
use super::world::SimWorld;
use crate::oracle::{Violation, ViolationKind};

/// What the machine is loaded with at the start of every execution.
#[derive(Clone)]
pub(crate) struct Plan {
    /// Files and directories.
    pub(crate) files: Kernel,
    pub(crate) processes: Vec<PlannedProcess>,
    pub(crate) programs: Arc<BTreeMap<String, Program>>,
    pub(crate) faults: Faults,
    pub(crate) cancellable: Arc<[String]>,
    pub(crate) time: Time,
    pub(crate) steps_max: u64,
    /// See [`Scenario::tasks_share_nothing`](crate::Scenario::tasks_share_nothing).
    pub(crate) shared_memory: bool,
}

impl Plan {
    /// The same without a process; the same, if there is none of that name.
    pub(crate) fn without(mut self, process: &str) -> Self {
        self.processes.retain(|planned| *planned.name != *process);
        self
    }
}

/// A process that exists from the start.
#[derive(Clone)]
pub(crate) struct PlannedProcess {
    pub(crate) name: Arc<str>,
    pub(crate) body: Body,
    pub(crate) workers: u32,
    pub(crate) pool: u32,
    pub(crate) nofile: u32,
    pub(crate) may_fail: bool,
    pub(crate) killable: bool,
    pub(crate) args: Arc<Vec<String>>,
    pub(crate) env: Arc<BTreeMap<String, String>>,
}

/// Who picks the next step.
pub(crate) trait Chooser {
    /// The position of the next choice among [`State::choice_count`]; `None` gives the execution up.
    fn pick(&mut self, state: &State) -> Option<usize>;
    /// A number below `of`.
    fn value(&mut self, of: u32) -> u32;
    /// The execution is over, and this is how the machine stands.
    fn ended(&mut self, state: &State) {
        let _ = state;
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
    futures: Vec<Option<TaskFuture>>,
    woken: Arc<SelfWake>,
    waker: Waker,
}

impl Default for Machine {
    fn default() -> Self {
        let woken = Arc::new(SelfWake(AtomicBool::new(false)));
        let waker = Waker::from(woken.clone());
        Machine { state: Some(Box::default()), futures: Vec::new(), woken, waker }
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
    pub(crate) fn begin(&mut self, plan: &Plan) {
        let polls = self.waker.clone();
        let state = self.state_mut();
        state.reset(&plan.files);
        state.polls = Some(polls);
        state.faults = plan.faults;
        state.time = plan.time;
        state.shared_memory = plan.shared_memory;
        state.cancellable = plan.cancellable.clone();
        state.programs = plan.programs.clone();
        for process in &plan.processes {
            state.kernel.new_process(process.nofile);
            let (args, env) = (process.args.clone(), process.env.clone());
            let host = state.add_host(process.name.clone(), process.workers, process.pool, args, env);
            (host.may_fail, host.killable) = (process.may_fail, process.killable);
        }
        for (pid, process) in plan.processes.iter().enumerate() {
            state.pending_mains.push_back((pid as u32, process.body.clone()));
        }
        self.settle();
    }

    /// Polls whatever can be polled, until there is something to choose.
    fn settle(&mut self) {
        loop {
            let state = self.state.as_mut().expect("back after every poll");
            while let Some((id, future)) = state.fresh.pop() {
                let slot = id as usize;
                if self.futures.len() == slot {
                    self.futures.push(Some(future));
                    continue;
                }
                if self.futures.len() < slot {
                    self.futures.resize_with(slot + 1, || None);
                }
                self.futures[slot] = Some(future);
            }
            if let Some(id) = state.doomed.pop() {
                self.drop_task(id);
            } else if let Some(id) = state.run_queue.pop_front() {
                self.poll(id);
            } else if let Some((pid, body)) = state.pending_mains.pop_front() {
                let world = SimWorld::new(state.execution, pid);
                let future = perform(&mut self.state, || body(world));
                let state = self.state_mut();
                if state.hosts[pid as usize].alive {
                    state.start_main(pid, future);
                }
            } else {
                return;
            }
        }
    }

    #[inline(always)]
    fn poll(&mut self, id: TaskId) {
        let state = self.state.as_mut().expect("back after every poll");
        if !state.enter(id) {
            return self.drop_task(id);
        }
        let future = &mut self.futures[id as usize];
        let mut wakes = 0;
        loop {
            self.woken.0.store(false, Ordering::Relaxed);
            let polled = perform(&mut self.state, || {
                catch_unwind(AssertUnwindSafe(|| {
                    let polling = future.as_mut().expect("a live task has a future").as_mut();
                    let ended = polling.poll(&mut Context::from_waker(&self.waker)).is_ready();
                    if ended {
                        // Destructors of what the task captured belong to its last step.
                        *future = None;
                    }
                    ended
                }))
            });
            let state = self.state.as_mut().expect("back after every poll");
            match polled {
                Ok(false) => {}
                Ok(true) => {
                    state.finished(id, true);
                    state.settle();
                    return;
                }
                Err(why) => {
                    let text = panic_text(why.as_ref());
                    let name = state.task_name(id);
                    state.violate(Violation::new(ViolationKind::Panic, format!("{name} panicked: {text}")));
                    state.doom(id);
                    state.current = None;
                    return;
                }
            }
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

    /// Drops the future of a task on stage: its destructors act, unless its process is dead.
    fn drop_task(&mut self, id: TaskId) {
        let future = self.futures.get_mut(id as usize).and_then(Option::take);
        let state = self.state_mut();
        state.current = (state.tasks[id as usize].phase != Phase::Dead).then_some(id);
        state.begin_part(id);
        let dropped = perform(&mut self.state, || catch_unwind(AssertUnwindSafe(|| drop(future))));
        let state = self.state_mut();
        if let Err(why) = dropped {
            let (name, text) = (state.task_name(id), panic_text(why.as_ref()));
            state.violate(Violation::new(ViolationKind::Panic, format!("dropping {name} panicked: {text}")));
        }
        state.finished(id, false);
        state.settle();
    }

    /// Does what was chosen, and lets everybody come to the next announcement.
    #[inline(always)]
    pub(crate) fn take(&mut self, choice: Choice, value: &mut dyn FnMut(u32) -> u32) {
        let state = self.state_mut();
        state.step += 1;
        state.touch_by(choice);
        match choice {
            Choice::Act(op) => {
                if let Some(task) = state.act(op, value) {
                    self.poll(task);
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
    #[inline(always)]
    pub(crate) fn standing(&mut self, steps_max: u64) -> Option<End> {
        self.state_mut().standing(steps_max)
    }

    /// One execution from start to end.
    pub(crate) fn run(&mut self, plan: &Plan, chooser: &mut (impl Chooser + ?Sized)) -> End {
        self.begin(plan);
        let end = loop {
            if let Some(end) = self.standing(plan.steps_max) {
                break end;
            }
            let state = self.state_mut();
            let Some(at) = chooser.pick(state) else { break End::Cut };
            let choice = state.choice(at);
            self.take(choice, &mut |of| chooser.value(of));
        };
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
            if self.state_mut().fresh.is_empty() && self.futures.is_empty() {
                break;
            }
            let fresh: Vec<_> = self.state_mut().fresh.drain(..).collect();
            let futures = &mut self.futures;
            perform(&mut self.state, || {
                let _ = catch_unwind(AssertUnwindSafe(|| drop(fresh)));
                let _ = catch_unwind(AssertUnwindSafe(|| futures.clear()));
            });
        }
    }
}

/// What a panic said.
pub(crate) fn panic_text(why: &(dyn std::any::Any + Send)) -> String {
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
        let plain = self.timers.is_empty() && self.faults == Faults::default();
        if in_the_middle && plain && !self.enabled.is_empty() {
            // The usual case: nothing to choose but who goes on.
            self.due.clear();
            self.fault_choices.clear();
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
            let come = self.timers.iter().take_while(|(due, _)| *due <= self.clock).map(|&(_, op)| op);
            let come: Vec<_> = come.filter(sleeps).collect();
            self.due.extend(come);
        }
        self.list_faults();
        None
    }

    /// Every process has ended: the oracles have the last word.
    fn finish(&mut self) -> End {
        let (kernel, hosts, tasks, clock) = (&self.kernel, &*self.hosts, &*self.tasks, self.clock);
        let view = super::KernelView { kernel, hosts, tasks, clock, locks: &self.judges.locks };
        for judge in &mut self.judges.all {
            if let Err(violation) = judge.oracle.finish(&view) {
                return End::Violated(violation);
            }
        }
        End::Done
    }
}
