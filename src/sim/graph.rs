//! Why nothing moves: the wait-for graph over tasks, worker threads, blocking threads, permits, children, pipes and locks.
//!
//! A graph over locks alone misses every third public deadlock: the second resource of the cycle is a worker, a permit, a child.

use std::fmt::Write;

use super::operation::{Op, Stage};
use super::state::{Phase, State, TaskId};
use crate::oracle::{Deadlock, Violation, ViolationKind};
use crate::world::{LockMode, Thread};

/// What an edge runs through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Through {
    Lock,
    Worker,
    Pool,
    Permit,
    Child,
    Pipe,
    Task,
    Notification,
    Time,
}

/// One task waits for one thing.
struct Wait {
    task: TaskId,
    through: Through,
    /// In words: "flock exclusive on /cache/a/.lock".
    what: String,
    /// In a word or two, for the line that tells the cycle.
    short: String,
    /// Who could end the wait, with an addition such as "since step 5".
    by: Vec<(TaskId, String)>,
    /// Who else holds it: a process none of whose tasks is to blame.
    by_process: Option<String>,
}

impl State {
    fn waits(&self) -> Vec<Wait> {
        let mut waits = Vec::new();
        for (id, task) in self.tasks.iter().enumerate() {
            let id = id as TaskId;
            let owners_of = |thread: Thread| -> Vec<(TaskId, String)> {
                let owns = |t: &super::state::Task| t.pid == task.pid && t.thread == thread && t.has_thread;
                let owners = self.tasks.iter().enumerate().filter(|(_, t)| owns(t));
                owners.map(|(owner, _)| (owner as TaskId, String::new())).collect()
            };
            let host = &self.hosts[task.pid as usize];
            match task.phase {
                Phase::Ready => waits.push(Wait {
                    task: id,
                    through: Through::Worker,
                    what: format!("a worker thread of {} (it has {})", host.name, host.workers),
                    short: "worker thread".into(),
                    by: owners_of(Thread::Worker),
                    by_process: None,
                }),
                Phase::Queued => waits.push(Wait {
                    task: id,
                    through: Through::Pool,
                    what: format!("a blocking thread of {} (it has {})", host.name, host.pool),
                    short: "blocking thread".into(),
                    by: owners_of(Thread::Pool),
                    by_process: None,
                }),
                Phase::Suspended => {
                    let ops = self.ops_of(id).filter_map(|op| self.pending(op));
                    let unfinished = ops.filter(|p| !matches!(p.stage, Stage::Acted));
                    waits.extend(unfinished.filter_map(|p| self.wait_of(id, &p.op)));
                }
                _ => {}
            }
        }
        waits
    }

    fn wait_of(&self, task: TaskId, op: &Op) -> Option<Wait> {
        let pid = self.tasks[task as usize].pid;
        let subject = self.subject(pid, op);
        let blank = |task: TaskId| (task, String::new());
        let live = |id: &TaskId| !matches!(self.tasks[*id as usize].phase, Phase::Finished | Phase::Dead);
        let all_of = |pid: u32| {
            let live = (0..self.tasks.len() as TaskId).filter(live).filter(|&id| self.tasks[id as usize].pid == pid);
            live.map(blank).collect::<Vec<_>>()
        };
        let mut by_process = None;
        let (through, what, by) = match *op {
            Op::Flock { fd, mode, .. } => {
                let mode_word = if mode == LockMode::Shared { "shared" } else { "exclusive" };
                let mut by = Vec::new();
                for (ofd, locker, since) in self.kernel.in_the_way(pid, fd, mode) {
                    let since = format!(" since step {since}");
                    if let Some(heir) = self.heir(locker) {
                        by.push((heir, since));
                        continue;
                    }
                    // Left to others: any task of a process that has the description could release it.
                    let has = |&pid: &u32| self.kernel.descriptors(pid).any(|d| d.description == ofd);
                    for holder in (0..self.kernel.process_count()).filter(has) {
                        by_process = Some(format!("{}{since}", self.hosts[holder as usize].name));
                        by.extend(all_of(holder).into_iter().map(|(task, _)| (task, since.clone())));
                    }
                }
                (Through::Lock, format!("flock {mode_word} on {subject} (descriptor {fd})"), by)
            }
            Op::LockMutex { mutex } | Op::LockThread { mutex } => {
                let holder = self.mutexes[mutex as usize].holder.and_then(|holder| self.heir(holder));
                (Through::Lock, format!("mutex {subject}"), holder.into_iter().map(blank).collect())
            }
            Op::Acquire { semaphore, permits } => {
                let s = &self.semaphores[semaphore as usize];
                let holders = s.holders.iter().filter_map(|&(task, n)| Some((self.heir(task)?, format!(" ({n})"))));
                let mut by: Vec<_> = holders.collect();
                by.dedup();
                (Through::Permit, format!("{permits} of the {} permits of {subject}, {} free", s.total, s.free), by)
            }
            Op::Notified { .. } => (Through::Notification, format!("a notification of {subject}"), Vec::new()),
            Op::Join { task: other, .. } => (Through::Task, format!("task {subject}"), vec![blank(other)]),
            Op::Section { task: other } => (Through::Task, format!("its section {subject}"), vec![blank(other)]),
            Op::Wait { pid: child } => (Through::Child, format!("child {subject} to end"), all_of(child)),
            Op::Fork { .. } => (Through::Child, format!("{subject} to exec"), Vec::new()),
            Op::Read { fd, .. } | Op::Write { fd, .. } => {
                let ino = self.kernel.inode_of(pid, fd).ok()?;
                let other_end = matches!(op, Op::Read { .. });
                let peers = (0..self.kernel.process_count()).filter(|&p| self.kernel.has_end(p, ino, other_end));
                let mut by: Vec<_> = peers.flat_map(all_of).collect();
                // Who holds the other end itself waits for itself, unless somebody else could end it.
                if by.iter().any(|&(id, _)| id != task) {
                    by.retain(|&(id, _)| id != task);
                }
                let word = if other_end { "bytes from" } else { "room in" };
                (Through::Pipe, format!("{word} {subject} (descriptor {fd})"), by)
            }
            Op::Deadline { .. } => (Through::Time, "its deadline".into(), Vec::new()),
            _ => return None,
        };
        let short = if subject.is_empty() { what.clone() } else { subject.to_string() };
        Some(Wait { task, through, what, short, by, by_process })
    }

    /// Who has what a task has taken: the task itself, or if it has ended, whoever spawned it and got it as the result.
    fn heir(&self, task: TaskId) -> Option<TaskId> {
        let parent = |&id: &TaskId| self.tasks.get(id as usize).and_then(|task| task.parent);
        let live = |id: &TaskId| {
            self.tasks.get(*id as usize).is_some_and(|t| !matches!(t.phase, Phase::Finished | Phase::Dead))
        };
        std::iter::successors(Some(task), parent).find(live)
    }

    /// The violation to report when work is left and nothing can move.
    pub(crate) fn deadlock(&self) -> Violation {
        let waits = self.waits();
        let cycle = shortest_cycle(&waits);
        let class = classify(&waits, cycle.as_deref());
        let only_by_time_out = waits.iter().any(|w| w.through == Through::Time);
        let stuck: std::collections::BTreeSet<TaskId> = waits.iter().map(|w| w.task).collect();
        let words = match class {
            Deadlock::LockCycle => "lock cycle",
            Deadlock::WorkerStarvation => "worker starvation",
            Deadlock::PoolExhaustion => "pool exhaustion",
            Deadlock::Permits => "permits",
            Deadlock::Child => "child",
            Deadlock::Pipe => "pipe",
            Deadlock::LostWakeUp => "lost wake-up",
        };
        let mut summary =
            format!("deadlock ({words}) at step {}: {} can never go on", self.step, number_of(stuck.len()));
        if only_by_time_out {
            summary.push_str("; it ends only by time-out");
        }
        let mut text = String::new();
        for wait in waits.iter().filter(|w| w.through != Through::Time) {
            let _ = writeln!(text, "{}", self.tell_wait(wait));
        }
        if let Some(cycle) = &cycle {
            let name = |at: &usize| format!("{} → {}", self.task_name(waits[*at].task), waits[*at].short);
            let line: Vec<String> = cycle.iter().map(name).collect();
            let _ = writeln!(text, "the cycle: {} → {}", line.join(" → "), self.task_name(waits[cycle[0]].task));
        }
        Violation::new(ViolationKind::Deadlock(class), summary).because(text)
    }

    fn tell_wait(&self, wait: &Wait) -> String {
        let task = &self.tasks[wait.task as usize];
        let place = match (task.has_thread, task.thread) {
            (true, Thread::Worker) => "blocks a worker thread and waits for",
            (true, Thread::Pool) => "blocks a blocking thread and waits for",
            (true, Thread::Own) => "on a thread of its own, waits for",
            (false, _) if task.phase == Phase::Ready => "could go on and waits for",
            (false, _) => "is suspended and waits for",
        };
        let mut line = format!("{} {place} {}", self.task_name(wait.task), wait.what);
        let mut holders: Vec<String> =
            wait.by.iter().map(|(task, more)| format!("{}{more}", self.task_name(*task))).collect();
        holders.extend(wait.by_process.clone());
        holders.dedup();
        let more = holders.len().saturating_sub(8);
        holders.truncate(8);
        match (wait.through, holders.is_empty()) {
            (Through::Task | Through::Child, _) => {}
            (Through::Pipe, true) => line.push_str("; nobody has the other end"),
            (_, true) => line.push_str("; nobody holds it"),
            (Through::Pipe, false) => {
                let _ = write!(line, "; the other end: {}", holders.join(", "));
            }
            (_, false) => {
                let _ = write!(line, "; held by {}", holders.join(", "));
            }
        }
        if more > 0 {
            let _ = write!(line, " and {more} more");
        }
        line
    }
}

fn number_of(tasks: usize) -> String {
    if tasks == 1 { "1 task".into() } else { format!("{tasks} tasks") }
}

/// The positions of the waits on a shortest cycle.
fn shortest_cycle(waits: &[Wait]) -> Option<Vec<usize>> {
    let of_task = |task: TaskId| waits.iter().enumerate().filter(move |(_, w)| w.task == task).map(|(at, _)| at);
    let mut best: Option<Vec<usize>> = None;
    // A machine that is stuck with a thousand tasks is stuck with the first hundred as well.
    for start in 0..waits.len().min(128) {
        let mut came_from = vec![None; waits.len()];
        let mut queue = std::collections::VecDeque::from([start]);
        'search: while let Some(at) = queue.pop_front() {
            for &(holder, _) in &waits[at].by {
                for next in of_task(holder) {
                    if next == start {
                        let mut path = vec![at];
                        while let Some(previous) = came_from[*path.last().expect("not empty")] {
                            path.push(previous);
                        }
                        path.reverse();
                        if best.as_ref().is_none_or(|b| path.len() < b.len()) {
                            best = Some(path);
                        }
                        break 'search;
                    }
                    if came_from[next].is_none() {
                        came_from[next] = Some(at);
                        queue.push_back(next);
                    }
                }
            }
        }
    }
    best
}

/// The class is that of the least lock-like thing on the cycle.
fn classify(waits: &[Wait], cycle: Option<&[usize]>) -> Deadlock {
    let through: Vec<Through> = match cycle {
        Some(cycle) => cycle.iter().map(|&at| waits[at].through).collect(),
        None => waits.iter().map(|w| w.through).collect(),
    };
    let order = [
        (Through::Worker, Deadlock::WorkerStarvation),
        (Through::Pool, Deadlock::PoolExhaustion),
        (Through::Permit, Deadlock::Permits),
        (Through::Child, Deadlock::Child),
        (Through::Pipe, Deadlock::Pipe),
    ];
    let found = order.iter().find(|(kind, _)| through.contains(kind)).map(|&(_, class)| class);
    match cycle {
        Some(_) => found.unwrap_or(Deadlock::LockCycle),
        // Nobody who could end the wait is waiting: what they wait for has been lost.
        None if through.contains(&Through::Pipe) => Deadlock::Pipe,
        None => Deadlock::LostWakeUp,
    }
}
