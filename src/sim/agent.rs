//! Agents: whoever makes choices, and what a choice is called. A task, a process that is exec'd or dies, a fault that may happen to one of them.

use std::sync::Arc;

use super::fingerprint::hash;
use super::kernel::Pid;
use super::operation::{Op, OpId, Owner};
use super::state::{Choice, State, TaskId, Time};

/// Numbers of agents come in blocks of this size: tasks, processes, and four kinds of faults.
const BLOCK: u64 = 1 << 32;

/// The block of an agent, and its number therein.
pub(crate) fn place(agent: u64) -> (usize, usize) {
    ((agent / BLOCK) as usize, (agent % BLOCK) as usize)
}

impl State {
    /// A number for whoever makes a choice, for strategies that treat agents differently.
    pub(crate) fn agent(&self, choice: Choice) -> u64 {
        match choice {
            Choice::Act(op) => self.owner_agent(self.ops[op.slot as usize].owner),
            Choice::Resume(task) => task.into(),
            Choice::Kill(pid) => 2 * BLOCK + u64::from(pid),
            Choice::Cancel(task) => 3 * BLOCK + u64::from(task),
            Choice::Expire(op) => 4 * BLOCK + u64::from(op.slot),
            Choice::Lose(ofd) => 5 * BLOCK + u64::from(ofd),
        }
    }

    /// Whoever went last goes on, with the oldest of its operations, or else the first agent that can: the position, if there is nothing
    /// but operations to choose among. Of a task that can go on, this takes no look at the others'.
    pub(crate) fn goes_on(&self, last: Option<u64>) -> Option<usize> {
        if !(self.due.is_empty() && self.hungry.is_empty()) {
            return None;
        }
        if let Some(task) = last.filter(|&agent| agent < BLOCK) {
            let places = self.ops_of(task as TaskId).filter_map(|id| self.pending(id).map(|p| (p.seq, p.place)));
            if let Some((_, place)) = places.filter_map(|(seq, place)| Some((seq, place?))).min() {
                return Some(place as usize);
            }
        }
        let rank = |id: &OpId| {
            let pending = &self.ops[id.slot as usize];
            let agent = self.owner_agent(pending.owner);
            (if Some(agent) == last { 0 } else { agent + 1 }, pending.seq)
        };
        let ranked = self.enabled.iter().enumerate();
        ranked.min_by_key(|(_, id)| rank(id)).map(|(at, _)| at)
    }

    fn owner_agent(&self, owner: Owner) -> u64 {
        match owner {
            Owner::Task(task) => task.into(),
            Owner::Process(pid) => BLOCK + u64::from(pid),
        }
    }

    /// Who could make a choice, what it does, and to what.
    pub(crate) fn describe(&self, choice: Choice) -> (String, &'static str, Arc<str>) {
        match choice {
            Choice::Act(id) | Choice::Expire(id) => {
                let pending = &self.ops[id.slot as usize];
                let pid = match pending.owner {
                    Owner::Task(task) => self.tasks[task as usize].pid,
                    Owner::Process(pid) => pid,
                };
                let name = if matches!(choice, Choice::Act(_)) { pending.op.name() } else { "expire" };
                (self.owner_name(pending.owner), name, self.subject(pid, &pending.op))
            }
            Choice::Resume(task) => (self.task_name(task), "resume", "".into()),
            Choice::Cancel(task) => (self.task_name(task), "cancel", "".into()),
            Choice::Kill(pid) => (self.hosts[pid as usize].name.to_string(), "kill", "".into()),
            Choice::Lose(ofd) => (self.task_name(self.kernel.locker(ofd)), "lose", self.kernel.opened_as(ofd)),
        }
    }

    /// Whether a choice lets somebody go on who has just given others the time to.
    pub(crate) fn is_patience(&self, choice: Choice) -> bool {
        let Choice::Act(id) = choice else { return false };
        matches!(self.ops[id.slot as usize].op, Op::Sleep { .. } | Op::Yield)
    }

    /// Whether a sleep ends by this choice although somebody else could go on: its length is not what it says.
    pub(crate) fn is_early(&self, choice: Choice) -> bool {
        let sleeps = |id: OpId| matches!(self.ops[id.slot as usize].op, Op::Sleep { .. });
        let Choice::Act(id) = choice else { return false };
        self.time == Time::Free && sleeps(id) && (!self.hungry.is_empty() || !self.enabled.iter().all(|&op| sleeps(op)))
    }

    /// Orders the choices of one agent: by how long ago they were announced.
    pub(crate) fn age(&self, choice: Choice) -> u64 {
        match choice {
            Choice::Act(id) | Choice::Expire(id) => self.ops[id.slot as usize].seq.into(),
            _ => 0,
        }
    }

    /// A number for the name of a task, or of a process as a whole: the same in every execution, and shared by all of that name.
    pub(crate) fn identity(&self, agent: u64) -> u64 {
        let at = (agent % BLOCK) as usize;
        if agent < BLOCK {
            let task = &self.tasks[at];
            hash(&(&*self.hosts[task.pid as usize].name, &*task.name))
        } else {
            hash(&&*self.hosts[at].name)
        }
    }

    /// The process that a task, or a process as a whole, belongs to.
    pub(crate) fn process_of(&self, agent: u64) -> Pid {
        if agent < BLOCK { self.tasks[agent as usize].pid } else { (agent % BLOCK) as Pid }
    }

    /// In whose steps a task, or a process as a whole, came to be; nobody's, if it was there from the start. Asked when its first step
    /// is offered: of a process that starts that is to be exec'd, of others to die.
    pub(crate) fn origin(&self, agent: u64) -> Option<u64> {
        let pid = self.process_of(agent);
        let host = &self.hosts[pid as usize];
        if agent < BLOCK {
            let started = host.launch.is_some().then_some(BLOCK + u64::from(pid));
            return self.tasks[agent as usize].parent.map(u64::from).or(started);
        }
        let forking = host.launch.as_ref().and_then(|launch| self.pending(launch.1?));
        forking.map(|pending| self.owner_agent(pending.owner)).or(host.main.map(u64::from))
    }

    /// Whether an agent has no choice left, now or later. A process is gone between its exec and its death.
    #[cfg(any(feature = "shuttle", feature = "loom"))]
    pub(crate) fn gone(&self, agent: u64) -> bool {
        let at = (agent % BLOCK) as usize;
        use super::state::Phase::{Dead, Finished};
        let has_ended = |task: usize| matches!(self.tasks[task].phase, Finished | Dead);
        match agent / BLOCK {
            0 => has_ended(at),
            1 => !self.ops.iter().any(|p| p.live && p.owner == Owner::Process(at as u32)),
            2 => self.faults.kills == 0 || !self.hosts[at].alive,
            3 => self.faults.cancels == 0 || has_ended(at),
            4 => self.faults.timeouts == 0 || !self.ops[at].live,
            _ => self.faults.lost_locks == 0 || !self.kernel.is_locked(at as u32),
        }
    }

    /// Who does nothing but wait for an agent: for a section, the task that gave it away; for a child before its exec, the one that
    /// forked it.
    #[cfg(feature = "loom")]
    pub(crate) fn waiter(&self, agent: u64) -> Option<u64> {
        let owner = |id: OpId| self.pending(id).map(|p| self.owner_agent(p.owner));
        let at = (agent % BLOCK) as usize;
        match agent / BLOCK {
            0 => {
                let is_section = |id: &&OpId| self.pending(**id).is_some_and(|p| matches!(p.op, Op::Section { .. }));
                self.tasks[at].joiners.iter().find(is_section).and_then(|&id| owner(id))
            }
            1 => self.hosts[at].launch.as_ref().and_then(|launch| launch.1).and_then(owner),
            _ => None,
        }
    }
}
