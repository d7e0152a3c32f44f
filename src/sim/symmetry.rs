//! Processes and tasks that are alike: which of them is which does not matter.
//!
//! Of processes that run the same body and never ask who they are, any two can change places, and the machine goes on as before under other
//! names. So a fingerprint calls them not by their numbers but by their ranks, in the order of what each has seen and has open. That is one
//! way to put them in an order, and any would be right, as everything else in the fingerprint is named after it; a poor one
//! only takes two states for two that are one. With n of them there are up to n! states where there is one.
//!
//! Tasks of one process that are alike change their labels in the same way, and what they have spawned is called after them. Their
//! places in queues are part of what puts them in order. Not covered, so that such states are only taken for two: what a task remembers of
//! which other it has waited for by itself, and a process in which tasks have outlived the one that spawned them.
//!
//! What oracles remember is named the same way ([`Oracle::state_as`](crate::oracle::Oracle::state_as)). If one of them cannot, nobody has
//! a rank.

use std::borrow::Cow;
use std::hash::Hash;
use std::sync::Arc;

use super::fingerprint::{hash, unordered};
use super::job::Job;
use super::kernel::{Kernel, Labels, Pid};
use super::operation::{OpId, Owner};
use super::state::{State, Task, TaskId};
use crate::oracle::{Violation, ViolationKind};
use crate::world::{FileId, Thread};

/// What processes are called in a fingerprint.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ranks {
    /// By process; those without are called by their numbers.
    ranks: Vec<Pid>,
    /// By task; without, they have their own labels.
    labels: Vec<u64>,
}

/// What a task is called within its process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Label {
    /// Made of those of the task that has spawned it, or given it away, of whether it is a task or a section, and of its number.
    name: u64,
    /// The lowest that none of that one's has. Counted for ever, it would tell how many there have been.
    pub(crate) number: u32,
}

impl Label {
    fn new(parent: u64, thread: Thread, number: u32) -> Self {
        Label { name: hash(&(parent, thread == Thread::Worker, number)), number }
    }
}

impl Ranks {
    /// The rank of a process.
    pub(crate) fn of(&self, pid: Pid) -> Pid {
        self.ranks.get(pid as usize).copied().unwrap_or(pid)
    }

    /// What a task is called within its process.
    pub(crate) fn label(&self, id: TaskId, task: &Task) -> u64 {
        self.labels.get(id as usize).copied().unwrap_or(task.label.name)
    }

    /// Of that many processes, in the order of their ranks.
    pub(crate) fn in_order(&self, count: usize) -> Vec<Pid> {
        let mut all: Vec<Pid> = (0..count as Pid).collect();
        all.sort_by_key(|&pid| self.of(pid));
        all
    }
}

/// What processes, tasks, files and paths are called where it does not matter which of those that are alike is which, nor who came first;
/// see [`Oracle::state_as`](crate::oracle::Oracle::state_as). By default everything is called by its number.
#[derive(Clone, Copy, Default)]
pub struct Renamed<'s> {
    machine: Option<(&'s Ranks, &'s [Task], &'s Kernel, &'s Labels)>,
}

impl std::fmt::Debug for Renamed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Renamed({:?})", self.machine.map(|(ranks, ..)| ranks))
    }
}

impl<'s> Renamed<'s> {
    pub(super) fn new(ranks: &'s Ranks, state: &'s State, names: &'s Labels) -> Self {
        Renamed { machine: Some((ranks, &state.tasks, &state.kernel, names)) }
    }

    /// A process, by the number that events have of it.
    pub fn process(&self, number: u32) -> u32 {
        self.machine.map_or(number, |(ranks, ..)| ranks.of(number))
    }

    /// A task, by the number that events have of it: its process, and a name within that.
    pub fn task(&self, number: u32) -> (u32, u64) {
        let known = self.machine.and_then(|(ranks, tasks, ..)| Some((ranks, tasks.get(number as usize)?)));
        known.map_or((0, number.into()), |(ranks, task)| (ranks.of(task.pid), ranks.label(number, task)))
    }

    /// A task, by its process and the how many'th of that it is.
    pub(crate) fn actor(&self, (process, birth): (u32, u32)) -> (u32, u64) {
        let named = self
            .machine
            .and_then(|(_, tasks, ..)| tasks.iter().position(|task| (task.pid, task.birth) == (process, birth)));
        named.map_or((self.process(process), birth.into()), |task| self.task(task as u32))
    }

    /// A file, by what leads to it. `None` if nothing does any more.
    pub fn file(&self, id: FileId) -> Option<u64> {
        self.machine.map_or(Some(id.inode), |(_, _, kernel, names)| kernel.name_of_number(names, id.inode))
    }

    /// An open description, by what leads to it.
    pub(crate) fn description(&self, number: u64) -> u64 {
        self.machine.map_or(number, |(.., names)| names.description(number))
    }

    /// A path, or whatever else has one in it.
    pub fn path<'p>(&self, path: &'p Arc<str>) -> Cow<'p, str> {
        Cow::Borrowed(path)
    }
}

impl State {
    /// Gives those who are alike their ranks, and the others none. Nothing, if nobody is.
    pub(super) fn ranks(&self, names: &Labels) -> Option<Ranks> {
        let labels = self.labels_of_alike();
        let nobody = self.alike.iter().all(Option::is_none);
        if nobody && labels.is_none() {
            return None;
        }
        let mut ranks = Ranks { ranks: Vec::new(), labels: labels.unwrap_or_default() };
        if nobody {
            return Some(ranks);
        }
        let alike = |pid: &usize| self.alike.get(*pid).copied().flatten();
        let colours: Vec<u64> = (0..self.alike.len() as Pid).map(|pid| self.colour(names, pid, &ranks)).collect();
        ranks.ranks = (0..self.alike.len() as Pid).collect();
        let mut left: Vec<usize> = (0..self.alike.len()).filter(|pid| alike(pid).is_some()).collect();
        while let Some(&first) = left.first() {
            let (class, others): (Vec<usize>, _) = left.iter().partition(|pid| alike(pid) == alike(&first));
            let mut by_colour = class.clone();
            by_colour.sort_by_key(|&pid| colours[pid]);
            class.iter().zip(by_colour).for_each(|(&rank, pid)| ranks.ranks[pid] = rank as Pid);
            left = others;
        }
        Some(ranks)
    }

    /// What a process has come to, without a word about which it is.
    fn colour(&self, names: &Labels, pid: Pid, ranks: &Ranks) -> u64 {
        let own = (0..self.tasks.len() as TaskId).filter(|&id| self.tasks[id as usize].pid == pid);
        let tasks = unordered(own, |id, one| {
            ranks.label(id, &self.tasks[id as usize]).hash(one);
            self.feed_task(id, ranks, one);
        });
        hash(&(self.hosts[pid as usize].alive, tasks, self.kernel.colour(names, pid)))
    }

    // ---- tasks ------------------------------------------------------------------------------------------------------------------

    /// What a new task of a process is called.
    pub(super) fn new_label(&self, pid: Pid, thread: Thread) -> Label {
        if !self.remember {
            return Label::default();
        }
        let parent = self.current.map_or(0, |parent| self.tasks[parent as usize].label.name);
        let others = || self.tasks.iter().filter(|task| task.pid == pid && !task.is_over());
        let siblings = others().filter(|task| {
            task.parent == self.current && (task.thread == Thread::Worker) == (thread == Thread::Worker)
        });
        let mut taken: Vec<u32> = siblings.map(|task| task.label.number).collect();
        taken.sort_unstable();
        let free =
            (0..).zip(&taken).find(|(number, taken)| number != *taken).map_or(taken.len() as u32, |(free, _)| free);
        // Those of one that is over, and had the name of this one's parent, may have some of its names.
        let mut labels = (free..).map(|number| Label::new(parent, thread, number));
        labels.find(|label| others().all(|task| task.label.name != label.name)).expect("fewer tasks than numbers")
    }

    /// Which others a new task is like, if it is declared to be like any: spawned by the same one, at the same moment of its life, under a
    /// name that begins alike, with a future of the same type.
    pub(super) fn class_of_task(&self, name: &str, past: u64, thread: Thread, job: &dyn Job) -> Option<u64> {
        if !self.remember || thread != Thread::Worker {
            return None;
        }
        let begins = self.alike_tasks.iter().position(|begins| name.starts_with(&**begins))?;
        Some(hash(&(begins, self.current, past, job.kind())))
    }

    /// A task that is declared to be like others has announced what it does first: it is what they did first.
    #[cold]
    pub(super) fn check_beginning(&mut self, id: TaskId) {
        let nobody = Ranks::default();
        let told = |op| self.pending(op).map(|pending| self.op_in_fingerprint(&pending.op, &nobody));
        let begins = hash(&unordered(self.ops_of(id).filter_map(told), |told, one| told.hash(one)));
        let Task { alike, past, .. } = self.tasks[id as usize];
        // One that has looked at the clock, say, may have seen another time.
        let unlike = |other: &Task| {
            other.alike == alike && other.began_with.is_some_and(|(known, did)| known == past && did != begins)
        };
        let unlike = self.tasks.iter().position(unlike).map(|other| other as TaskId);
        self.tasks[id as usize].began_with = Some((past, begins));
        if let Some(other) = unlike {
            let (one, other) = (self.task_name(id), self.task_name(other));
            let text = format!(
                "{one} and {other} are declared to be alike, and begin with different operations: see Scenario::alike_tasks"
            );
            self.violate(Violation::new(ViolationKind::Panic, text));
        }
    }

    /// The running task waits for these: for all of those that are alike, or for none.
    ///
    /// # Panics
    /// If it does not.
    pub(super) fn check_joined(&self, joined: &[TaskId]) {
        let alone = |task: &TaskId| {
            let alike = self.tasks[*task as usize].alike;
            let mut others = (0..).zip(self.tasks.iter()).filter(|(_, other)| other.alike == alike && !other.is_over());
            alike.is_some() && others.any(|(other, _)| !joined.contains(&other))
        };
        assert!(
            !joined.iter().any(alone),
            "a task is waited for without those that it is declared to be like: see Scenario::alike_tasks"
        );
    }

    /// What tasks are called if those that are alike are named in the order of what each has come to. Nothing, if that changes nothing.
    fn labels_of_alike(&self) -> Option<Vec<u64>> {
        let alive = |task: &Task| !task.is_over() && self.hosts[task.pid as usize].alive;
        let mut classes: Vec<(u64, TaskId)> = (0..)
            .zip(self.tasks.iter())
            .filter(|(_, task)| alive(task))
            .filter_map(|(id, task)| Some((task.alike?, id)))
            .collect();
        classes.sort_unstable();
        let mut numbers: Vec<Option<u32>> = Vec::new();
        for class in classes.chunk_by(|one, other| one.0 == other.0).filter(|class| class.len() > 1) {
            if self.has_orphans(self.tasks[class[0].1 as usize].pid) {
                continue;
            }
            numbers.resize(self.tasks.len(), None);
            let mut by_colour: Vec<_> = class.iter().map(|&(_, id)| (self.colour_of_task(id), id)).collect();
            by_colour.sort_unstable();
            let mut theirs: Vec<u32> = class.iter().map(|&(_, id)| self.tasks[id as usize].label.number).collect();
            theirs.sort_unstable();
            by_colour.iter().zip(theirs).for_each(|((_, id), number)| numbers[*id as usize] = Some(number));
        }
        if numbers.is_empty() {
            return None;
        }
        // Whoever was spawned by one of them is called after it. Parents come before their children.
        let mut labels: Vec<u64> = Vec::with_capacity(self.tasks.len());
        for (task, number) in self.tasks.iter().zip(numbers) {
            let parent = task.parent.map_or(0, |parent| labels[parent as usize]);
            labels.push(Label::new(parent, task.thread, number.unwrap_or(task.label.number)).name);
        }
        Some(labels)
    }

    /// Whether a process has a task whose parent is over: another may have got the parent's name, and its children the names of others.
    fn has_orphans(&self, pid: Pid) -> bool {
        let mut own = self.tasks.iter().filter(|task| task.pid == pid && !task.is_over());
        own.any(|task| task.parent.is_some_and(|parent| self.tasks[parent as usize].is_over()))
    }

    /// What a task has come to, and what those have that it has spawned, without a word about which it is.
    fn colour_of_task(&self, id: TaskId) -> u64 {
        let (nobody, pid) = (Ranks::default(), self.tasks[id as usize].pid);
        let kin = |&other: &TaskId| {
            let task = &self.tasks[other as usize];
            other == id || task.parent == Some(id) && !task.is_over()
        };
        let itself = unordered((0..self.tasks.len() as TaskId).filter(kin), |other, one| {
            let which = (other != id).then(|| self.tasks[other as usize].label.number);
            which.hash(one);
            self.feed_task(other, &nobody, one);
        });
        let is_its = |op: &OpId| self.pending(*op).is_some_and(|pending| pending.owner == Owner::Task(id));
        let semaphores = self.semaphores.iter().filter(|s| s.pid == pid);
        let permits: Vec<_> = semaphores.map(|s| s.queue.iter().position(|(op, _)| is_its(op))).collect();
        let mutexes = self.mutexes.iter().filter(|m| m.pid == pid);
        let turns: Vec<_> = mutexes.map(|m| (m.holder == Some(id), m.queue.iter().position(is_its))).collect();
        let notifies = self.notifies.iter().filter(|n| n.pid == pid);
        let calls: Vec<_> = notifies.map(|n| n.queue.iter().position(is_its)).collect();
        hash(&(itself, permits, turns, calls))
    }
}
