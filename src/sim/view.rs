//! What oracles and promises may look at: the machine, read-only.

use std::time::Duration;

use super::Dials;
use super::kernel::{DescriptorView, Kernel, Pid};
use super::state::{Host, Phase, Task, TaskId};
use crate::oracle::HeldLocks;
use crate::world::{LockMode, Thread};

/// The simulated machine at one instant, read-only.
pub struct KernelView<'a> {
    pub(crate) kernel: &'a Kernel,
    pub(crate) hosts: &'a [Host],
    pub(crate) tasks: &'a [Task],
    pub(crate) dials: &'a Dials,
    /// Who holds what, from what the oracles were told.
    pub(crate) locks: &'a HeldLocks,
}

/// A held lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldLock {
    /// The path that the description was opened under.
    pub path: std::sync::Arc<str>,
    /// st_ino of the file.
    pub inode: u64,
    /// The description that owns the lock.
    pub description: u64,
    /// How it excludes others.
    pub mode: LockMode,
    /// The process whose task took it; another one may have it by now.
    pub taken_by: Option<Pid>,
    /// The processes that have a descriptor of that description.
    pub processes: Vec<Pid>,
}

/// The content of a file; what tests ask of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content(Option<Vec<u8>>);

impl Content {
    /// Whether there is such a file.
    pub fn exists(&self) -> bool {
        self.0.is_some()
    }
    /// Its bytes; none if it does not exist.
    pub fn bytes(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
    /// Its text, with what is not UTF-8 replaced; empty if it does not exist.
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(self.bytes())
    }
    /// Whether the text contains `part`.
    pub fn contains(&self, part: &str) -> bool {
        self.text().contains(part)
    }
    /// Whether the text contains every one of `parts`.
    pub fn contains_all<'p>(&self, parts: impl IntoIterator<Item = &'p str>) -> bool {
        let text = self.text();
        parts.into_iter().all(|part| text.contains(part))
    }
}

impl PartialEq<&str> for Content {
    fn eq(&self, other: &&str) -> bool {
        self.0.as_deref() == Some(other.as_bytes())
    }
}

impl KernelView<'_> {
    /// The content of a file; follows symbolic links.
    pub fn read(&self, path: &str) -> Content {
        Content(self.kernel.content(path).map(<[u8]>::to_vec))
    }
    /// Whether something is there.
    pub fn exists(&self, path: &str) -> bool {
        self.kernel.find(path).is_some()
    }
    /// st_ino of what is there.
    pub fn inode(&self, path: &str) -> Option<u64> {
        self.kernel.find(path).map(|ino| self.kernel.file_id(ino).inode)
    }
    /// Which directory a path of a process leads to, and the name in there. Nothing in a recording, which has no directories.
    pub(crate) fn place(&self, process: Pid, path: &str) -> Option<(u64, String)> {
        self.has(process).then(|| self.kernel.place_of(process, path)).flatten()
    }
    /// The names in a directory, sorted; none if it is not one.
    pub fn list(&self, path: &str) -> Vec<String> {
        self.kernel.names_in(path)
    }
    /// Calls `visit` with every path and whether it is a directory.
    pub fn walk(&self, mut visit: impl FnMut(&str, bool)) {
        self.kernel.walk_tree(&mut visit);
    }
    /// The clock of the machine. A search that comes by somebody who asks for it tells states apart by it from then on.
    pub fn now(&self) -> Duration {
        self.dials.read_clock()
    }
    /// Locks held now, over all processes.
    pub fn lock_count(&self) -> u32 {
        self.kernel.locks_held()
    }
    /// Every held lock.
    pub fn locks(&self) -> Vec<HeldLock> {
        let mut locks = Vec::new();
        for (inode, description, mode) in self.kernel.held_locks() {
            let mut path = None;
            let mut processes = Vec::new();
            for pid in 0..self.kernel.process_count() {
                if let Some(d) = self.kernel.descriptors(pid).find(|d| d.description == description) {
                    path = Some(d.path);
                    processes.push(pid);
                }
            }
            let path = path.unwrap_or_else(|| "".into());
            let taken_by = self.tasks.get(self.kernel.locker(description) as usize).map(|task| task.pid);
            let (inode, description) = (self.kernel.file_id(inode).inode, description.into());
            locks.push(HeldLock { path, inode, description, mode, taken_by, processes });
        }
        locks
    }
    /// How many processes there have been; their numbers are below it. Whoever was left out of a schedule to make it smaller counts: it
    /// is there from the start, and has ended.
    pub fn processes(&self) -> u32 {
        self.kernel.process_count()
    }
    fn has(&self, pid: Pid) -> bool {
        pid < self.processes()
    }
    /// The number of the first process of that name. Those of the scenario are numbered from 0 on as they were added, and children
    /// (`program.number`) as they are forked. So a promise can be about a process without counting.
    pub fn process_named(&self, name: &str) -> Option<Pid> {
        self.hosts.iter().position(|host| *host.name == *name).map(|pid| pid as Pid)
    }
    /// The name of a process; `?` if there is none of that number.
    pub fn process_name(&self, pid: Pid) -> &str {
        self.hosts.get(pid as usize).map_or("?", |host| &host.name)
    }
    /// The name of a task, with that of its process.
    pub fn task_name(&self, id: TaskId) -> String {
        let Some(task) = self.tasks.get(id as usize) else { return "?".into() };
        let host = &self.hosts[task.pid as usize];
        if host.main == Some(id) { host.name.to_string() } else { format!("{}/{}", host.name, task.name) }
    }
    /// Who did it: the task if there is one, else the process.
    pub fn who(&self, event: &crate::world::Event) -> String {
        self.name_of(event.process, event.task)
    }
    /// A task of a process, or the process itself.
    pub(crate) fn name_of(&self, process: Pid, task: Option<TaskId>) -> String {
        task.map_or_else(|| self.process_name(process).to_owned(), |task| self.task_name(task))
    }
    /// Whether a task lives, and which kind of thread it runs on.
    pub fn task_thread(&self, id: TaskId) -> Option<Thread> {
        let task = self.tasks.get(id as usize)?;
        (!matches!(task.phase, Phase::Finished | Phase::Dead)).then_some(task.thread)
    }
    /// Whether a task owns a thread now: it runs, or blocks in a synchronous call. One that is suspended in an await, or waits for a
    /// worker, does not. No event tells of that but of those who hold locks ([`Kinds::AWAITS`](crate::world::Kinds::AWAITS)): an oracle that
    /// asks it of others may get another answer from one schedule than from another that counts as the same.
    pub fn task_on_thread(&self, id: TaskId) -> bool {
        self.tasks.get(id as usize).is_some_and(|task| task.has_thread)
    }
    /// Whether there is such a process, and it has neither ended nor been killed.
    pub fn alive(&self, pid: Pid) -> bool {
        self.hosts.get(pid as usize).is_some_and(|host| host.alive)
    }
    /// Who forked a process; nobody, if it was there from the start or is not there.
    pub fn parent(&self, pid: Pid) -> Option<Pid> {
        self.has(pid).then(|| self.kernel.parent_of(pid)).flatten()
    }
    /// The descriptors that a process has open, by number; none if there is no such process.
    pub fn descriptors(&self, pid: Pid) -> Vec<DescriptorView> {
        if self.has(pid) { self.kernel.descriptors(pid).collect() } else { Vec::new() }
    }
    /// How many descriptors a process has open; 0 if there is no such process.
    pub fn descriptor_count(&self, pid: Pid) -> u32 {
        if self.has(pid) { self.kernel.descriptors_open(pid) } else { 0 }
    }
    /// The highest descriptor number that a process ever had, plus one; 0 if there is no such process. A search takes notice of who asks, as
    /// with [`now`](Self::now).
    pub fn descriptor_peak(&self, pid: Pid) -> u32 {
        self.dials.read_peak();
        if self.has(pid) { self.kernel.descriptors_peak(pid) } else { 0 }
    }
    /// The lock table, in the columns of `lslocks(8)`.
    pub fn lslocks(&self) -> String {
        self.kernel.lslocks(&|pid| self.process_name(pid).to_owned())
    }
    /// The open files, in the columns of `lsof(8)`.
    pub fn lsof(&self) -> String {
        self.kernel.lsof(&|pid| self.process_name(pid).to_owned())
    }
}
