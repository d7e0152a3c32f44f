//! What a choice would touch, by class and name: for strategies that care who competes for what.
//!
//! Coarse, and that is all they need: resources are told apart by the paths and names that protocols use, so that a number means the same in
//! every execution, and two operations race if they touch one resource and one of them writes. A file that has two names is two resources
//! here. Nothing is proved from it: a race that is missed, or seen where there is none, makes sampling a little less even.

use smallvec::SmallVec;

use super::fingerprint::hash;
use super::kernel::Pid;
use super::operation::{Op, Owner};
use super::state::{Choice, State};
use crate::world::LockMode;

/// Kinds of resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// What a path leads to.
    Name,
    /// Which names a directory has.
    Directory,
    /// What is in a file.
    Content,
    /// The lock of a file.
    Lock,
    /// A semaphore.
    Permits,
    /// A mutex of a process.
    Mutex,
    /// What tasks of a process are notified by.
    Notification,
    /// Whether a process lives.
    Process,
    /// The blocking threads of a process.
    Pool,
    /// Its worker threads.
    Workers,
    /// Its descriptor numbers, when they are about to run out.
    Descriptors,
}

/// An access to a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Touch {
    pub(crate) class: Class,
    /// Which of its class: a hash of its name, so the same in every execution.
    pub(crate) resource: u64,
    /// Whether it changes it, rather than looking at it.
    pub(crate) writes: bool,
}

/// Those of one operation.
pub(crate) type Touches = SmallVec<[Touch; 3]>;

/// Whether the order of two operations could matter.
pub(crate) fn race(one: &[Touch], other: &[Touch]) -> bool {
    let meets = |a: &Touch, b: &Touch| a.class == b.class && a.resource == b.resource && (a.writes || b.writes);
    one.iter().any(|a| other.iter().any(|b| meets(a, b)))
}

fn directory_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}

impl State {
    /// What a choice would touch; nothing, if it is a fault.
    pub(crate) fn touches(&self, choice: Choice) -> Touches {
        let mut touches = Touches::new();
        match choice {
            Choice::Act(id) => {
                let pending = &self.ops[id.slot as usize];
                let pid = match pending.owner {
                    Owner::Task(task) => self.tasks[task as usize].pid,
                    Owner::Process(pid) => pid,
                };
                self.touches_of(pid, &pending.op, &mut touches);
            }
            Choice::Resume(task) => touches.push(self.of_process(Class::Workers, self.tasks[task as usize].pid)),
            _ => {}
        }
        touches
    }

    fn of_process(&self, class: Class, pid: Pid) -> Touch {
        Touch { class, resource: hash(&self.hosts[pid as usize].name), writes: true }
    }

    /// A number is only worth competing for when there are fewer than tasks that may want one.
    fn touch_descriptors(&self, pid: Pid, touches: &mut Touches) {
        let free = self.kernel.descriptor_limit(pid).saturating_sub(self.kernel.descriptors_open(pid));
        let host = &self.hosts[pid as usize];
        if free <= host.worker_tasks + host.pool_tasks {
            touches.push(self.of_process(Class::Descriptors, pid));
        }
    }

    fn touches_of(&self, pid: Pid, op: &Op, touches: &mut Touches) {
        let path = |class, path: &str, writes| Touch { class, resource: hash(&path), writes };
        let file = |class, fd: u32, writes| {
            let described = self.kernel.describe(pid, fd).ok();
            described.map(|(name, ..)| path(class, &name, writes))
        };
        let within =
            |class, name: &str| Touch { class, resource: hash(&(&*self.hosts[pid as usize].name, name)), writes: true };
        // A name that comes or goes, in its directory.
        let changed = |name: &str| [path(Class::Name, name, true), path(Class::Directory, directory_of(name), true)];
        match *op {
            Op::Open { path: name, options } => {
                let name = &*self.names[name];
                if options.create || options.create_new {
                    touches.extend(changed(name));
                } else {
                    touches.push(path(Class::Name, name, false));
                }
                if options.truncate {
                    touches.push(path(Class::Content, name, true));
                }
                self.touch_descriptors(pid, touches);
            }
            Op::Close { fd } => {
                let is_locked = self.kernel.lock_mode(pid, fd).is_some();
                touches.extend(file(Class::Lock, fd, true).filter(|_| is_locked));
                self.touch_descriptors(pid, touches);
            }
            Op::Dup { .. } | Op::Pipe | Op::Fork { .. } => self.touch_descriptors(pid, touches),
            Op::Read { fd, .. } | Op::Fstat { fd } => touches.extend(file(Class::Content, fd, false)),
            Op::Write { fd, .. } | Op::Truncate { fd, .. } => touches.extend(file(Class::Content, fd, true)),
            Op::Stat { path: name, .. } | Op::ReadLink { path: name } => {
                touches.push(path(Class::Name, &self.names[name], false));
            }
            Op::ReadDir { path: name } => touches.push(path(Class::Directory, &self.names[name], false)),
            Op::Rename { from, to, .. } => {
                touches.extend(changed(&self.names[from]));
                touches.extend(changed(&self.names[to]));
            }
            Op::Link { existing, new } => {
                touches.push(path(Class::Name, &self.names[existing], false));
                touches.extend(changed(&self.names[new]));
            }
            Op::Symlink { path: name, .. } | Op::Unlink { path: name } => touches.extend(changed(&self.names[name])),
            Op::MakeDir { path: name } => touches.extend(changed(&self.names[name])),
            Op::RemoveDir { path: name } => {
                touches.extend(changed(&self.names[name]));
                touches.push(path(Class::Directory, &self.names[name], false));
            }
            Op::Flock { fd, mode, .. } | Op::TryFlock { fd, mode } => {
                touches.extend(file(Class::Lock, fd, mode == LockMode::Exclusive));
            }
            Op::Unlock { fd } => touches.extend(file(Class::Lock, fd, true)),
            Op::Acquire { semaphore, .. } | Op::TryAcquire { semaphore, .. } => {
                touches.push(within(Class::Permits, &self.semaphores[semaphore as usize].name));
            }
            Op::LockMutex { mutex } | Op::LockThread { mutex } => {
                touches.push(within(Class::Mutex, &self.mutexes[mutex as usize].name));
            }
            Op::Notified { notify } | Op::Notify { notify, .. } => {
                touches.push(within(Class::Notification, &self.notifies[notify as usize].name));
            }
            Op::Section { .. } => touches.push(self.of_process(Class::Pool, pid)),
            Op::Wait { pid } | Op::KillChild { pid } | Op::Exec { child: pid } => {
                touches.push(self.of_process(Class::Process, pid));
            }
            Op::Die { pid } => {
                touches.push(self.of_process(Class::Process, pid));
                // Its descriptors go from the highest down, and their locks with them.
                let next = self.kernel.descriptors(pid).last().filter(|next| next.lock.is_some());
                touches.extend(next.map(|next| path(Class::Lock, &next.path, true)));
            }
            Op::Seek { .. } | Op::Sync { .. } | Op::Join { .. } => {}
            Op::Sleep { .. } | Op::Deadline { .. } | Op::Choose { .. } | Op::Yield => {}
        }
    }
}
