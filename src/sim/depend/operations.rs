//! What each operation touches: declared here, once.

use std::hash::Hash;

use super::{Access, Footprint, Resource};
use crate::sim::fingerprint;
use crate::sim::kernel::{Ino, Pid, Quirk, Visited};
use crate::sim::operation::Op;
use crate::sim::state::{State, TaskId};

impl State {
    /// An operation is given up that somebody else could have let happen.
    pub(crate) fn touch_in_vain(&mut self, task: TaskId, op: &Op) {
        // A look first: to take away what is not there moves all of it.
        if self.footprint.is_none() {
            return;
        }
        let Some(mut footprint) = self.footprint.take() else { return };
        self.declare(task, op, &mut footprint);
        self.footprint = Some(footprint);
    }

    /// An exec begins in a directory.
    pub(super) fn declare_entering(&self, pid: Pid, directory: &str, into: &mut Footprint) {
        if let Some(ino) = self.declare_walk(pid, directory, true, into).found {
            into.add(Resource::Alive(ino), Access::Read);
        }
    }

    /// A path is followed.
    fn declare_walk(&self, pid: Pid, path: &str, follow: bool, into: &mut Footprint) -> Visited {
        let visited = self.kernel.visit(pid, path, follow);
        for (dir, component) in &visited.names {
            into.add(Resource::Entry(*dir, hash(component)), Access::Read);
        }
        into.add(Resource::Tree, Access::Read);
        visited
    }

    /// A process closes what it has open.
    pub(crate) fn touch_process(&mut self, pid: Pid) {
        // A look first: to take away what is not there moves all of it.
        if self.footprint.is_none() {
            return;
        }
        let Some(mut footprint) = self.footprint.take() else { return };
        self.declare_process(pid, &mut footprint);
        self.footprint = Some(footprint);
    }

    /// Everything that a process has open, as its end touches it.
    pub(super) fn declare_process(&self, pid: Pid, into: &mut Footprint) {
        into.add(Resource::Table(pid), Access::Write);
        for (fd, _) in self.kernel.descriptions_of(pid) {
            self.declare_close(pid, fd, into);
        }
    }

    fn declare_close(&self, pid: Pid, fd: u32, into: &mut Footprint) {
        let Some(stake) = self.kernel.at_stake(pid, fd) else { return };
        if stake.last && self.kernel.is_known_and_ends(stake.inode, 0, 1) {
            into.add(Resource::Numbers, Access::Add);
        }
        into.add(Resource::Description(stake.ofd), Access::Write);
        if let Some(mode) = stake.lock.filter(|_| stake.last) {
            into.add(Resource::Lock(stake.inode), Access::Release(mode));
        }
        if stake.pipe && stake.last {
            into.add(Resource::Content(stake.inode), Access::Write);
        }
    }

    /// A descriptor is closed by a destructor.
    pub(crate) fn touch_close(&mut self, pid: Pid, fd: u32) {
        // A look first: to take away what is not there moves all of it.
        if self.footprint.is_none() {
            return;
        }
        let Some(mut footprint) = self.footprint.take() else { return };
        if !self.off {
            footprint.add(Resource::Table(pid), self.table_access(pid));
            self.declare_close(pid, fd, &mut footprint);
        }
        self.footprint = Some(footprint);
    }

    fn table_access(&self, pid: Pid) -> Access {
        if self.dials.matter().peaks || self.dials.matter().descriptors {
            return Access::Write;
        }
        // A spawn takes seven descriptors at once for a while.
        let margin = 8 * (self.hosts[pid as usize].worker_tasks + self.hosts[pid as usize].pool_tasks + 1);
        if self.kernel.is_short_of_descriptors(pid, margin) { Access::Write } else { Access::Add }
    }

    /// What an operation of a task touches when it acts.
    pub(super) fn declare(&self, task: TaskId, op: &Op, into: &mut Footprint) {
        use Access::{Acquire, Add, Read, Refused, Write};
        use Resource::*;
        let pid = self.tasks[task as usize].pid;
        into.add(Task(task), Write);
        into.add(Life(pid), Read);
        if self.shared_memory {
            into.add(Memory(pid), Write);
        }
        let host = &self.hosts[pid as usize];
        if host.worker_tasks > host.workers {
            into.add(Workers(pid), Write);
        }
        let walk = |name, follow, into: &mut Footprint| self.declare_walk(pid, &self.names[name], follow, into);
        // A file is made, and given the lowest number that is free.
        let number =
            |into: &mut Footprint| into.add(Numbers, if self.kernel.gives_a_known_number() { Write } else { Read });
        // A name goes, and with it the file if nothing else holds it.
        let end = |ino: Option<Ino>, into: &mut Footprint| {
            if ino.is_some_and(|ino| self.kernel.is_known_and_ends(ino, 1, 0)) {
                into.add(Numbers, Add);
            }
        };
        // A name that comes or goes.
        let change = |visited: &Visited, into: &mut Footprint| {
            if let Some((dir, component)) = visited.names.last() {
                into.add(Entry(*dir, hash(component)), Write);
                into.add(Listing(*dir), Add);
                into.add(Alive(*dir), Read);
            }
            if let Some(ino) = visited.found {
                into.add(Links(ino), Write);
            }
        };
        let stake = |fd: u32| self.kernel.at_stake(pid, fd);
        match *op {
            Op::Open { path, options } => {
                let follow = !(options.create_new || options.no_follow);
                let visited = walk(path, follow, into);
                match visited.found {
                    None if options.create || options.create_new => {
                        change(&visited, into);
                        number(into);
                    }
                    Some(ino) if options.truncate => into.add(Content(ino), Write),
                    _ => {}
                }
                into.add(Table(pid), self.table_access(pid));
            }
            Op::Close { fd } => {
                into.add(Table(pid), self.table_access(pid));
                self.declare_close(pid, fd, into);
            }
            Op::Dup { fd } => {
                into.add(Table(pid), self.table_access(pid));
                if let Some(stake) = stake(fd) {
                    into.add(Description(stake.ofd), Write);
                }
            }
            Op::Pipe => {
                into.add(Table(pid), self.table_access(pid));
                number(into);
            }
            Op::Read { fd, .. } => {
                if let Some(stake) = stake(fd) {
                    into.add(Description(stake.ofd), Write);
                    into.add(Content(stake.inode), if stake.pipe { Write } else { Read });
                }
            }
            Op::Write { fd, .. } | Op::Truncate { fd, .. } => {
                if let Some(stake) = stake(fd) {
                    into.add(Description(stake.ofd), Write);
                    into.add(Content(stake.inode), Write);
                }
            }
            Op::Seek { fd, .. } => {
                if let Some(stake) = stake(fd) {
                    into.add(Description(stake.ofd), Write);
                    into.add(Content(stake.inode), Read);
                }
            }
            Op::Sync { .. } => {}
            Op::Fstat { fd } => {
                if let Some(stake) = stake(fd) {
                    into.add(Content(stake.inode), Read);
                    into.add(Links(stake.inode), Read);
                    into.add(Listing(stake.inode), Read);
                }
            }
            Op::Stat { path, follow } => {
                if let Some(ino) = walk(path, follow, into).found {
                    into.add(Content(ino), Read);
                    into.add(Links(ino), Read);
                    into.add(Listing(ino), Read);
                }
            }
            Op::ReadLink { path } => drop(walk(path, false, into)),
            Op::ReadDir { path } => {
                if let Some(ino) = walk(path, true, into).found {
                    into.add(Listing(ino), Read);
                }
                into.add(Table(pid), if self.table_access(pid) == Write { Write } else { Add });
            }
            Op::Rename { from, to, .. } => {
                let (old, new) = (walk(from, false, into), walk(to, false, into));
                change(&old, into);
                change(&new, into);
                end(new.found, into);
                if old.found.is_some_and(|ino| self.kernel.is_directory(ino)) {
                    into.add(Tree, Write);
                }
                for ino in [old.found, new.found].into_iter().flatten() {
                    into.add(Listing(ino), Read);
                    into.add(Alive(ino), Write);
                }
            }
            Op::Link { existing, new } => {
                if let Some(ino) = walk(existing, false, into).found {
                    into.add(Links(ino), Write);
                }
                change(&walk(new, false, into), into);
            }
            Op::Unlink { .. } if self.kernel.has(Quirk::UnlinkUndeclared) => {}
            Op::Symlink { path, .. } | Op::MakeDir { path } => {
                change(&walk(path, false, into), into);
                number(into);
            }
            Op::Unlink { path } => {
                let visited = walk(path, false, into);
                change(&visited, into);
                end(visited.found, into);
            }
            Op::RemoveDir { path } => {
                let visited = walk(path, false, into);
                change(&visited, into);
                end(visited.found, into);
                if let Some(ino) = visited.found {
                    into.add(Listing(ino), Read);
                    into.add(Alive(ino), Write);
                }
            }
            Op::Flock { fd, mode, converted } => {
                if let Some(stake) = stake(fd) {
                    into.add(Description(stake.ofd), Write);
                    let plain = stake.lock.is_none() || converted;
                    into.add(Lock(stake.inode), if plain { Acquire(mode) } else { Write });
                }
            }
            Op::TryFlock { fd, mode } => {
                if let Some(stake) = stake(fd) {
                    into.add(Description(stake.ofd), Write);
                    let refused = stake.lock.is_none() && !self.kernel.can_lock(pid, fd, mode);
                    into.add(Lock(stake.inode), if refused { Refused } else { Write });
                }
            }
            Op::Unlock { fd } => {
                if let Some(stake) = stake(fd) {
                    into.add(Description(stake.ofd), Write);
                    if let Some(mode) = stake.lock {
                        into.add(Lock(stake.inode), Access::Release(mode));
                    }
                }
            }
            Op::Fork { .. } => {
                into.add(Table(pid), Write);
                into.add(Life(Pid::MAX), Write); // numbers of processes
                number(into); // of the pipes
                for (_, ofd) in self.kernel.descriptions_of(pid) {
                    into.add(Description(ofd), Write);
                }
            }
            Op::KillChild { pid } => {
                into.add(Life(pid), Write);
                self.declare_process(pid, into);
            }
            Op::Acquire { semaphore, .. } | Op::TryAcquire { semaphore, .. } => into.add(Semaphore(semaphore), Write),
            Op::LockMutex { mutex } | Op::LockThread { mutex } => into.add(Mutex(mutex), Write),
            Op::Notified { notify } | Op::Notify { notify, .. } => into.add(Notify(notify), Write),
            Op::Section { .. } => into.add(Pool(pid), Write),
            Op::Sleep { .. } | Op::Deadline { .. } if self.dials.matter().clock => into.add(Clock, Write),
            Op::Sleep { .. } | Op::Deadline { .. } => {}
            // That it has not ended: whoever gives it up has seen that.
            Op::Join { task, .. } => into.add(End(task), Read),
            Op::Wait { pid } => into.add(Ended(pid), Read),
            Op::Choose { .. } | Op::Yield => {}
            Op::Exec { .. } | Op::Die { .. } => unreachable!("of a process"),
        }
    }
}

fn hash(name: &impl Hash) -> u64 {
    fingerprint::hash(name)
}
