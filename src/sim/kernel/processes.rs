//! Processes as the kernel sees them: a descriptor table, a limit, a life.

use super::{Call, Closed, Descriptor, Ino, Kernel, Node, Ofd, Quirk, ROOT};
use crate::world::{Errno, LockMode, Status};

/// A process: its number is its slot. Slots are not used again within an execution.
pub type Pid = u32;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Life {
    Running,
    /// It has ended or was killed, and its descriptors are being closed one after another.
    Dying(Status),
    /// Everything is closed; the status waits for the parent.
    Ended(Status),
}

#[derive(Clone, Debug)]
pub(super) struct Proc {
    parent: Option<Pid>,
    pub(super) table: Vec<Option<Descriptor>>,
    pub(super) limit: u32,
    pub(super) cwd: Ino,
    pub(super) life: Life,
    open: u32,
    peak: u32,
}

impl Proc {
    /// What is worth keeping of a process that nobody looks at any more.
    pub(super) fn into_table(self) -> Vec<Option<Descriptor>> {
        self.table
    }
    pub(super) fn get(&self, fd: u32) -> Option<Descriptor> {
        self.table.get(fd as usize).copied().flatten()
    }
    pub(super) fn get_mut(&mut self, fd: u32) -> Option<&mut Descriptor> {
        self.table.get_mut(fd as usize)?.as_mut()
    }
    pub(super) fn lowest_free(&self) -> u32 {
        self.lowest_free_from(0)
    }
    pub(super) fn lowest_free_from(&self, min: u32) -> u32 {
        if self.open as usize == self.table.len() {
            return min.max(self.table.len() as u32); // no gap: the usual case, without a scan
        }
        let from = (min as usize).min(self.table.len());
        let gap = self.table[from..].iter().position(Option::is_none);
        gap.map_or(self.table.len().max(min as usize), |at| from + at) as u32
    }
    pub(super) fn put(&mut self, fd: u32, descriptor: Descriptor) {
        if self.table.len() <= fd as usize {
            self.table.resize(fd as usize + 1, None);
        }
        self.table[fd as usize] = Some(descriptor);
        self.open += 1;
        self.peak = self.peak.max(fd + 1);
    }
    /// The first descriptors of a process that has none.
    pub(super) fn start_with<const N: usize>(&mut self, descriptors: [Descriptor; N]) {
        self.table.extend(descriptors.map(Some));
        (self.open, self.peak) = (N as u32, N as u32);
    }
    /// The lowest free number is used for a moment.
    pub(super) fn lend_lowest(&mut self) {
        self.peak = self.peak.max(self.lowest_free() + 1);
    }
    pub(super) fn take(&mut self, fd: u32) -> Option<Descriptor> {
        let descriptor = self.table.get_mut(fd as usize)?.take()?;
        self.open -= 1;
        while let Some(None) = self.table.last() {
            self.table.pop();
        }
        Some(descriptor)
    }
}

/// A descriptor, for reports and oracles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescriptorView {
    /// Its number.
    pub number: u32,
    /// As it was opened.
    pub path: std::sync::Arc<str>,
    /// Its description; equal numbers share it.
    pub description: Ofd,
    /// The lock of the description.
    pub lock: Option<LockMode>,
    /// Close-on-exec.
    pub close_on_exec: bool,
    /// The process was meant to inherit it (`Command::inherit`).
    pub passed: bool,
    /// Who used it last, in the caller's numbering.
    pub user: u32,
}

impl Kernel {
    pub(super) fn process(&self, pid: Pid) -> &Proc {
        &self.processes[pid as usize]
    }
    pub(super) fn process_mut(&mut self, pid: Pid) -> &mut Proc {
        &mut self.processes[pid as usize]
    }
    pub(super) fn cwd(&self, pid: Pid) -> Ino {
        self.process(pid).cwd
    }

    /// A process that nobody forked, with descriptors 0, 1, 2 and a limit of `nofile`.
    pub fn new_process(&mut self, nofile: u32) -> Pid {
        let table = self.spare_tables.pop().unwrap_or_default();
        self.processes.push(Proc {
            parent: None,
            table,
            limit: nofile.max(3),
            cwd: ROOT,
            life: Life::Running,
            open: 0,
            peak: 0,
        });
        let pid = (self.processes.len() - 1) as Pid;
        self.open_standard(pid);
        self.process_mut(pid).limit = nofile;
        pid
    }

    /// The same, that has done nothing and has ended: its three descriptors are closed.
    pub(crate) fn new_ended_process(&mut self, nofile: u32, status: Status) -> Pid {
        let (table, life) = (Vec::new(), Life::Ended(status));
        self.processes.push(Proc { parent: None, table, limit: nofile, cwd: ROOT, life, open: 0, peak: 3 });
        (self.processes.len() - 1) as Pid
    }

    /// fork(2): the child has a copy of every descriptor.
    pub fn fork(&mut self, parent: Pid) -> Pid {
        let mut child = self.process(parent).clone();
        child.parent = Some(parent);
        child.peak = child.table.len() as u32;
        for descriptor in child.table.iter_mut().flatten() {
            descriptor.passed = false;
            descriptor.user = u32::MAX;
            self.descriptions[descriptor.ofd as usize].refs += 1;
        }
        self.processes.push(child);
        (self.processes.len() - 1) as Pid
    }

    /// What execve(2) says of a path, before anything else happens: EACCES if it is nothing that can be executed, ETXTBSY if it can but
    /// somebody has it open for writing, ENOEXEC if it is no program. (Programs are not files in the simulation, so nothing that its
    /// processes write is one.)
    pub fn check_executable(&self, pid: Pid, path: &str) -> Call<()> {
        let ino = self.lookup(pid, path, true)?;
        let inode = &self.inodes[ino as usize];
        let written = || self.descriptions.iter().any(|d| d.refs > 0 && d.inode == ino && d.write);
        match inode.node {
            Node::File(_) if inode.executable && written() => Err(Errno::TxtBsy),
            Node::File(_) if inode.executable => Err(Errno::Exec),
            _ => Err(Errno::Acces),
        }
    }

    /// execve(2): descriptors with close-on-exec are closed, except `passed`, which the child clears the flag of before.
    /// What was closed, in the order of the numbers.
    pub fn exec(&mut self, pid: Pid, passed: &[u32], directory: Option<&str>) -> Call<Vec<(u32, Closed)>> {
        if let Some(path) = directory {
            let dir = self.lookup(pid, path, true)?;
            self.entries(dir)?;
            self.process_mut(pid).cwd = dir;
        }
        for &fd in passed {
            let descriptor = self.process_mut(pid).get_mut(fd).ok_or(Errno::BadF)?;
            (descriptor.close_on_exec, descriptor.passed) = (false, true);
        }
        let doomed: Vec<u32> = self.descriptors(pid).filter(|d| d.close_on_exec).map(|d| d.number).collect();
        Ok(doomed.into_iter().map(|fd| (fd, self.close(pid, fd).expect("listed as open"))).collect())
    }

    /// The process does nothing more, and its POSIX locks are gone (close_files calls filp_close, which drops them, for every descriptor
    /// before the first one is put); what it has open is closed by [`close_next`](Kernel::close_next).
    pub fn end(&mut self, pid: Pid, status: Status) {
        let process = self.process_mut(pid);
        if process.life == Life::Running {
            process.life = Life::Dying(status);
            // If there has been any.
            let inodes = if self.next_range > 0 { self.inodes.len() } else { 0 };
            for inode in 0..inodes {
                self.drop_posix_locks(pid, inode as Ino);
            }
        }
    }

    /// Closes the descriptors of a dying process from the highest number down, up to and including the next one that others
    /// can notice: the last descriptor of a lock, or of an end of a pipe. The order is the kernel's (task work is last in,
    /// first out); closing what nobody can notice is no step. `false` once nothing is left: the process has ended.
    pub fn close_next(&mut self, pid: Pid, closed: &mut Vec<(u32, Closed)>) -> bool {
        self.close_next_telling(pid, |fd, one| closed.push((fd, one)))
    }

    /// The same, telling of each that was closed.
    #[inline]
    pub(crate) fn close_next_telling(&mut self, pid: Pid, mut tell: impl FnMut(u32, Closed)) -> bool {
        while let Some(fd) = self.process(pid).table.len().checked_sub(1) {
            let touched = self.touched.len();
            let one = self.close(pid, fd as u32).expect("the table ends with an open descriptor");
            let noticed = self.touched.len() > touched;
            tell(fd as u32, one);
            if noticed && !self.process(pid).table.is_empty() && !self.has(Quirk::DeathIsOneStep) {
                return true;
            }
        }
        if let Life::Dying(status) = self.process(pid).life {
            self.process_mut(pid).life = Life::Ended(status);
        }
        false
    }

    /// Whether the process still does anything itself.
    pub fn running(&self, pid: Pid) -> bool {
        self.process(pid).life == Life::Running
    }

    /// How it ended, once everything that it had open is closed.
    pub fn ended(&self, pid: Pid) -> Option<Status> {
        match self.process(pid).life {
            Life::Ended(status) => Some(status),
            _ => None,
        }
    }

    /// Who forked it.
    pub fn parent_of(&self, pid: Pid) -> Option<Pid> {
        self.process(pid).parent
    }

    /// Its limit of open descriptors.
    pub fn descriptor_limit(&self, pid: Pid) -> u32 {
        self.process(pid).limit
    }

    /// setrlimit(2) of RLIMIT_NOFILE; closes nothing.
    pub fn set_descriptor_limit(&mut self, pid: Pid, nofile: u32) {
        self.process_mut(pid).limit = nofile;
    }

    /// The working directory of a process that has not done anything yet.
    ///
    /// # Panics
    /// If it is no directory.
    pub fn start_in(&mut self, pid: Pid, directory: &str) {
        let dir = self.lookup(pid, directory, true).expect("the directory exists");
        assert!(self.is_dir(dir), "{directory:?} is no directory");
        self.process_mut(pid).cwd = dir;
    }

    /// Descriptors open now.
    pub fn descriptors_open(&self, pid: Pid) -> u32 {
        self.process(pid).open
    }

    /// Highest descriptor number that is open now, plus one.
    pub(crate) fn descriptors_end(&self, pid: Pid) -> u32 {
        self.process(pid).table.len() as u32
    }

    /// Highest descriptor number that the process ever had, plus one.
    pub fn descriptors_peak(&self, pid: Pid) -> u32 {
        self.process(pid).peak
    }

    /// How many processes there have been.
    pub fn process_count(&self) -> u32 {
        self.processes.len() as u32
    }

    /// The open descriptors of a process, by number.
    pub fn descriptors(&self, pid: Pid) -> impl Iterator<Item = DescriptorView> + '_ {
        self.process(pid).table.iter().enumerate().filter_map(move |(number, descriptor)| {
            let d = descriptor.as_ref()?;
            let description = &self.descriptions[d.ofd as usize];
            Some(DescriptorView {
                number: number as u32,
                path: description.path().clone(),
                description: d.ofd,
                lock: description.lock,
                close_on_exec: d.close_on_exec,
                passed: d.passed,
                user: d.user,
            })
        })
    }
}
