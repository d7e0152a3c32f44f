//! The lives of processes: start, fork and exec, exit, SIGKILL.
//!
//! fork and exec are two steps, because between them the child holds every descriptor of its parent and with it every lock: a lock
//! that the parent releases by `close` in that window is still held. Death is many steps: a killed process is marked dead first,
//! so that no destructor of it has an effect, and then its descriptors go one by one.

use std::collections::BTreeMap;
use std::sync::Arc;

use smallvec::SmallVec;

use super::Exit;
use super::depend::{Access, Resource};
use super::job::Job;
use super::kernel::Pid;
use super::operation::{Large, Launch, Op, OpId, Ret, Stage};
use super::plan::PlannedProcess;
use super::state::{Choice, Host, Phase, State, TaskId};
use crate::oracle::{Violation, ViolationKind};
use crate::world::{Errno, Kinds, Output, Status, Thread, What};

/// The signal number of SIGKILL.
const SIGKILL: i32 = 9;

impl Host {
    /// A process as it starts.
    fn new(
        name: Arc<str>,
        workers: u32,
        pool: u32,
        args: Arc<Vec<String>>,
        env: Arc<BTreeMap<String, String>>,
    ) -> Host {
        Host {
            name,
            workers,
            idle: workers,
            pool,
            pool_idle: pool,
            pool_queue: Default::default(),
            blocked: 0,
            ready: Vec::new(),
            worker_tasks: 0,
            pool_tasks: 0,
            births: 0,
            main: None,
            ending: None,
            alive: true,
            may_fail: false,
            killable: false,
            args,
            env,
            inherited: Vec::new(),
            waiters: Vec::new(),
            status: None,
            launch: None,
            stdout: Vec::new(),
        }
    }

    /// The same of a process of the plan.
    pub(crate) fn of(planned: &PlannedProcess) -> Host {
        let PlannedProcess { name, args, env, .. } = planned;
        let host = Host::new(name.clone(), planned.workers, planned.pool, args.clone(), env.clone());
        let (alive, status) = (!planned.left_out, planned.ended());
        Host { may_fail: planned.may_fail, killable: planned.killable, alive, status, ..host }
    }

    /// Whether it is what was made of that process, in this execution or an earlier one.
    pub(crate) fn is_of(&self, planned: &PlannedProcess) -> bool {
        let same_name = Arc::ptr_eq(&self.name, &planned.name);
        same_name && Arc::ptr_eq(&self.args, &planned.args) && Arc::ptr_eq(&self.env, &planned.env)
    }

    /// Makes it again, keeping what is allocated.
    pub(crate) fn restart(&mut self, planned: &PlannedProcess) {
        // By all fields, so that none is forgotten.
        let Host {
            name: _,
            args: _,
            env: _,
            workers,
            idle,
            pool,
            pool_idle,
            pool_queue,
            blocked,
            ready,
            worker_tasks,
            pool_tasks,
            births,
            main,
            ending,
            alive,
            may_fail,
            killable,
            inherited,
            waiters,
            status,
            launch,
            stdout,
        } = self;
        (*workers, *idle, *pool, *pool_idle) = (planned.workers, planned.workers, planned.pool, planned.pool);
        (*blocked, *worker_tasks, *pool_tasks, *births) = (0, 0, 0, 0);
        (*alive, *may_fail, *killable) = (!planned.left_out, planned.may_fail, planned.killable);
        (*main, *ending, *status, *launch) = (None, None, planned.ended(), None);
        pool_queue.clear();
        ready.clear();
        inherited.clear();
        waiters.clear();
        stdout.clear();
    }
}

impl State {
    /// Starts the first task of a process.
    pub(crate) fn start_main(&mut self, pid: Pid, job: Box<dyn Job>) {
        let (name, parent) = (self.hosts[pid as usize].name.clone(), self.kernel.parent_of(pid));
        self.emit(pid, None, What::Started { name: name.clone(), parent });
        let id = self.tasks.len() as TaskId;
        self.hosts[pid as usize].main = Some(id);
        self.new_task(pid, name, Thread::Worker, job);
    }

    /// A task of a process is gone: the process may be, too.
    pub(crate) fn task_of_process_ended(&mut self, pid: Pid, id: TaskId, completed: bool) {
        let host = &mut self.hosts[pid as usize];
        if host.main == Some(id) {
            // A first task that was cancelled ends its process as an interrupt would.
            let exit = host.ending.take().filter(|_| completed).unwrap_or(Exit::Code(130));
            host.ending = Some(exit);
            for other in 0..self.tasks.len() as TaskId {
                let task = &self.tasks[other as usize];
                if task.pid == pid && task.thread == Thread::Worker && !task.has_thread {
                    self.doom(other);
                }
            }
        }
        let host = &self.hosts[pid as usize];
        if host.alive && host.ending.is_some() && host.worker_tasks == 0 && host.pool_tasks == 0 {
            self.exit(pid);
        }
    }

    fn exit(&mut self, pid: Pid) {
        let (name, may_fail) = (self.hosts[pid as usize].name.clone(), self.hosts[pid as usize].may_fail);
        let code = match self.hosts[pid as usize].ending.take().expect("only a process that ends exits") {
            Exit::Code(code) => code,
            Exit::Failed(why) => {
                if !may_fail {
                    self.violate(Violation::new(ViolationKind::Failed, format!("process {name} failed: {why}")));
                }
                1
            }
        };
        self.depart(pid, Status::Exited(code));
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self, pid: Pid) {
        // Also if it has just ended: that could have been a little later.
        self.touch(Resource::Life(pid), Access::Write);
        if self.hosts[pid as usize].alive {
            self.depart(pid, Status::Killed(SIGKILL));
        }
    }

    /// The process does nothing more. Its destructors have no effect from here on.
    fn depart(&mut self, pid: Pid, status: Status) {
        self.touch(Resource::Life(pid), Access::Write);
        self.emit(pid, None, What::Ending { status });
        self.hosts[pid as usize].alive = false;
        self.hungry.retain(|&other| other != pid);
        for id in 0..self.tasks.len() as TaskId {
            let task = &mut self.tasks[id as usize];
            if task.pid != pid || matches!(task.phase, Phase::Finished | Phase::Dead) {
                continue;
            }
            let was_in_line = task.phase == Phase::Ready;
            task.phase = Phase::Dead;
            self.live -= 1;
            if was_in_line {
                self.miss_resumption(id);
            }
            for op in self.ops_of(id).collect::<SmallVec<[OpId; 4]>>() {
                self.withdraw_dead(op);
            }
            self.run_queue.retain(|&other| other != id);
            self.doomed.push(id);
        }
        if !self.regions.is_empty() {
            let regions: Vec<u64> = self.regions.iter().filter(|(_, r)| r.0 == pid).map(|(&id, _)| id).collect();
            regions.into_iter().for_each(|region| self.leave_region(region));
        }
        self.kernel.end(pid, status);
        if self.close_next(pid) {
            self.live += 1;
            self.announce_of_process(pid, Op::Die { pid });
        } else {
            self.live += 1;
            self.process_ended(pid);
        }
        self.settle();
    }

    /// An operation of a dead task is in no list any more.
    fn withdraw_dead(&mut self, id: OpId) {
        let Some(pending) = self.pending(id) else { return };
        match pending.op {
            Op::Sleep { due } | Op::Deadline { due } => drop(self.timers.remove(&(due, id))),
            Op::Wait { pid } => self.hosts[pid as usize].waiters.retain(|&other| other != id),
            _ => {}
        }
        self.forget(id);
    }

    /// One step of dying; `false` once everything is closed.
    pub(crate) fn close_next(&mut self, pid: Pid) -> bool {
        self.touch_process(pid);
        let mut closed = std::mem::take(&mut self.closed);
        let all = self.wants(Kinds::CLOSED);
        let more = self.kernel.close_next_telling(pid, |fd, one| {
            if all || one.lock_ended.is_some() {
                closed.push((fd, one));
            }
        });
        for (fd, one) in closed.drain(..) {
            self.emit_closed(pid, None, fd, one);
        }
        self.closed = closed;
        more
    }

    /// Everything is closed: who waits for the process is told.
    pub(crate) fn process_ended(&mut self, pid: Pid) {
        self.touch(Resource::Ended(pid), Access::End);
        let status = self.kernel.ended(pid).expect("everything is closed");
        self.live -= 1;
        self.hosts[pid as usize].status = Some(status);
        self.emit(pid, None, What::Ended { status });
        for waiter in std::mem::take(&mut self.hosts[pid as usize].waiters) {
            let output = self.child_output(pid).expect("it has ended");
            self.complete(waiter, Ok(Large::Output(output).into()));
        }
    }

    /// What waiting for a process gives, once it has ended.
    pub(crate) fn child_output(&self, pid: Pid) -> Option<Output> {
        let host = &self.hosts[pid as usize];
        Some(Output { status: host.status?, stdout: host.stdout.as_slice().into(), stderr: Arc::from([]) })
    }

    // ---- children -------------------------------------------------------------------------------------------------------------

    /// The first half of a spawn. While it lasts the parent has seven more descriptors open, as measured on the real world: its standard
    /// input, both ends of two pipes for the output, and of one over which the child tells that its exec failed. Each spawn is charged
    /// all of them, captured output or not.
    pub(crate) fn fork_child(&mut self, id: OpId, task: TaskId, command: &Arc<Launch>) {
        let pid = self.tasks[task as usize].pid;
        let transient = match self.open_for_spawn(pid) {
            Ok(transient) => transient,
            Err(errno) => {
                self.emit_failed(pid, Some(task), "fork", command.program().into(), errno);
                self.complete(id, Err(errno));
                return;
            }
        };
        for &number in &transient {
            self.kernel.used_by(pid, number, task);
            self.emit(pid, Some(task), What::Descriptor { number });
        }
        let child = self.kernel.fork(pid);
        let parent = &self.hosts[pid as usize];
        let mut env = (*parent.env).clone();
        for (name, value) in &command.env {
            match value {
                Some(value) => drop(env.insert(name.clone(), value.clone())),
                None => drop(env.remove(name)),
            }
        }
        let programs = self.programs.clone();
        let (workers, pool) = programs.get(command.program()).map_or((1, 1), |program| (program.workers, program.pool));
        let name = format!("{}.{child}", command.program());
        let mut host = Host::new(name.into(), workers, pool, command.argv.clone().into(), env.into());
        host.may_fail = true;
        host.launch = Some((command.clone(), Some(id), transient));
        self.hosts.push(host);
        self.emit(pid, Some(task), What::Forked { child, program: command.program().into() });
        self.live += 1; // the child between fork and exec
        self.queue_up(id);
        self.announce_of_process(child, Op::Exec { child });
    }

    /// The output pipes first, so that numbers 0 and 2 of the list are the ends to read from.
    fn open_for_spawn(&mut self, pid: Pid) -> Result<Vec<u32>, Errno> {
        let mut numbers = Vec::new();
        let opened = (0..3).try_for_each(|_| {
            let (reader, writer) = self.kernel.pipe(pid, &"pipe to a child".into(), true)?;
            numbers.extend([reader, writer]);
            Ok(())
        });
        let opened = opened.and_then(|()| {
            numbers.push(self.kernel.open_anonymous(pid, &"/dev/null".into())?);
            Ok(())
        });
        if let Err(errno) = opened {
            for fd in numbers {
                self.kernel.close(pid, fd).expect("just made");
            }
            return Err(errno);
        }
        Ok(numbers)
    }

    /// The second half, in the child.
    pub(crate) fn exec_child(&mut self, child: Pid) {
        self.live -= 1;
        let (command, waiting, transient) = self.hosts[child as usize].launch.clone().expect("forked");
        if let Some((_, waiting, transient)) = &mut self.hosts[child as usize].launch {
            (*waiting, *transient) = (None, Vec::new());
        }
        let program = self.programs.get(command.program()).cloned().ok_or(Errno::NoEnt);
        let started = program.and_then(|program| {
            let closed = self.kernel.exec(child, &command.passed, command.current_dir.as_deref())?;
            Ok((program, closed))
        });
        let parent = self.kernel.parent_of(child).expect("forked");
        let parent_waits = waiting.filter(|&id| self.acts(parent) && self.pending(id).is_some());
        if parent_waits.is_some() {
            // What only the spawn needed is closed; two reading ends stay if the output is captured.
            let keep = if command.capture { vec![transient[0], transient[2]] } else { Vec::new() };
            for &fd in transient.iter().filter(|fd| !keep.contains(fd)) {
                let closed = self.kernel.close(parent, fd).expect("open since the fork");
                self.emit_closed(parent, None, fd, closed);
            }
        }
        let outcome = match started {
            Ok((program, closed)) => {
                for (fd, one) in closed {
                    self.emit_closed(child, None, fd, one);
                }
                self.hosts[child as usize].inherited = self.kernel.descriptors(child).map(|d| d.number).collect();
                self.hosts[child as usize].killable = program.killable;
                self.pending_mains.push_back((child, program.body));
                parent_waits.map(|_| self.child_handle(parent, child, &command, &transient))
            }
            Err(errno) => {
                self.depart(child, Status::Exited(127));
                if parent_waits.is_some() && command.capture {
                    for fd in [transient[0], transient[2]] {
                        let closed = self.kernel.close(parent, fd).expect("open since the fork");
                        self.emit_closed(parent, None, fd, closed);
                    }
                }
                self.emit_failed(parent, None, "execve", command.program().into(), errno);
                Some(Err(errno))
            }
        };
        if let (Some(id), Some(outcome)) = (parent_waits, outcome) {
            self.ops[id.slot as usize].stage = Stage::Announced;
            self.complete(id, outcome);
        }
    }

    /// The parent's descriptors for a child that runs: the reading ends, and a pidfd.
    fn child_handle(&mut self, parent: Pid, child: Pid, command: &Launch, transient: &[u32]) -> Result<Ret, Errno> {
        let mut descriptors = if command.capture { vec![transient[0], transient[2]] } else { Vec::new() };
        let pidfd = self.kernel.open_anonymous(parent, &"pidfd".into());
        match pidfd {
            Ok(number) => {
                self.emit(parent, None, What::Descriptor { number });
                descriptors.push(number);
                Ok(Large::Child { pid: child, descriptors }.into())
            }
            Err(errno) => {
                self.emit_failed(parent, None, "pidfd_open", command.program().into(), errno);
                self.kill(child);
                for fd in descriptors {
                    let closed = self.kernel.close(parent, fd).expect("open since the fork");
                    self.emit_closed(parent, None, fd, closed);
                }
                Err(errno)
            }
        }
    }

    // ---- regions --------------------------------------------------------------------------------------------------------------

    pub(crate) fn enter_region(&mut self, pid: Pid, kind: &'static str, subject: &str) -> u64 {
        let (region, subject): (u64, Arc<str>) = (self.next_region, subject.into());
        self.next_region += 1;
        self.regions.insert(region, (pid, kind, subject.clone()));
        self.emit(pid, self.current, What::Entered { kind, subject, region });
        region
    }

    pub(crate) fn leave_region(&mut self, region: u64) {
        if let Some((pid, kind, subject)) = self.regions.remove(&region) {
            self.emit(pid, self.current, What::Left { kind, subject, region });
        }
    }

    // ---- what may go wrong ----------------------------------------------------------------------------------------------------

    /// Lists the faults that could happen now.
    pub(crate) fn list_faults(&mut self) {
        self.fault_choices.clear();
        let faults = self.faults;
        if faults.kills > 0 {
            let killable = self.hosts.iter().enumerate().filter(|(_, host)| host.alive && host.killable);
            self.fault_choices.extend(killable.map(|(pid, _)| Choice::Kill(pid as Pid)));
        }
        if faults.cancels > 0 {
            for id in 0..self.tasks.len() as TaskId {
                let task = &self.tasks[id as usize];
                let suspended = matches!(task.phase, Phase::Suspended | Phase::Ready) && !task.has_thread;
                if suspended && task.thread == Thread::Worker && self.is_cancellable(id) {
                    self.fault_choices.push(Choice::Cancel(id));
                }
            }
        }
        if faults.timeouts > 0 {
            let deadline = |&(_, op): &(_, OpId)| {
                matches!(self.ops[op.slot as usize].op, Op::Deadline { .. }).then_some(Choice::Expire(op))
            };
            let expiring: Vec<Choice> = self.timers.iter().filter_map(deadline).collect();
            self.fault_choices.extend(expiring);
        }
        if faults.lost_locks > 0 {
            let held = self.kernel.held_locks().map(|(_, ofd, _)| Choice::Lose(ofd));
            self.fault_choices.extend(held);
        }
    }

    fn is_cancellable(&self, id: TaskId) -> bool {
        let name = self.task_name(id);
        self.cancellable.iter().any(|wanted| *wanted == name || *wanted == *self.tasks[id as usize].name)
    }

    /// A fault happens.
    pub(crate) fn strike(&mut self, choice: Choice) {
        match choice {
            Choice::Kill(pid) => {
                self.faults.kills -= 1;
                self.kill(pid);
            }
            Choice::Cancel(id) => {
                self.faults.cancels -= 1;
                self.doom(id);
            }
            Choice::Expire(op) => {
                self.faults.timeouts -= 1;
                let goes_on = self.act(op, &mut |_| 0);
                debug_assert!(goes_on.is_none(), "a deadline is no system call");
            }
            Choice::Lose(ofd) => {
                self.faults.lost_locks -= 1;
                let task = self.kernel.locker(ofd);
                let (path, file) = (self.kernel.opened_as(ofd), self.kernel.file_of(ofd));
                if let Some(mode) = self.kernel.lose_lock(ofd) {
                    let what = What::LockLost { path, file, description: ofd.into(), mode };
                    self.emit(self.tasks[task as usize].pid, Some(task), what);
                }
                self.settle();
            }
            Choice::Act(_) | Choice::Resume(_) => unreachable!("not a fault"),
        }
    }
}
