//! The simulated kernel as a machine: its calls are made directly, and who would sleep is kept in the kernel's own order.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::call::{self, Call, Done, Outcome, RangeKind, RangeType};
use super::calls::{dup3_knows, number};
use super::deed::Deed;
use super::waiters::{Blocker, RequestId, Waiters};
use super::{LockTable, Machine, Progress, Result};
use crate::sim::kernel::{Kernel, Pid, Quirk, RangeRequest, Span};
use crate::world::{Errno, FileId, LockMode, Status};

const SIGUSR1: i32 = 10;
/// No limit on descriptors is higher (fs.nr_open).
const NR_OPEN: u64 = 1 << 20;

/// What a process does on SIGUSR1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Disposition {
    Default,
    Handled { restart: bool },
}

#[derive(Clone, Debug)]
pub(super) struct Process {
    pub(super) pid: Pid,
    pub(super) on_signal: Disposition,
    hard_limit: u64,
    pub(super) sleeping: Option<RequestId>,
    pub(super) returned: Option<Outcome>,
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Wish {
    Flock { fd: u32, mode: LockMode },
    Range(RangeRequest),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Request {
    pub(super) process: u32,
    pub(super) wish: Wish,
    pub(super) waits: bool,
}

/// See the [module documentation](self).
#[derive(Clone, Debug, Default)]
pub struct Simulated {
    pub(super) kernel: Kernel,
    pub(super) processes: BTreeMap<u32, Process>,
    pub(super) requests: BTreeMap<RequestId, Request>,
    next_request: RequestId,
    pub(super) waiters: Waiters,
    /// What each process is about to do, in the order in which they were woken; none has nothing to do.
    pub(super) to_do: Vec<(u32, VecDeque<Deed>)>,
    /// Whose call it is that is being made.
    pub(super) acting: Option<u32>,
    pub(super) quirk: Option<Quirk>,
    /// The locks that were held when somebody last looked.
    pub(super) held: BTreeMap<Blocker, (LockMode, Span)>,
}

impl Simulated {
    /// A machine on which nothing runs.
    pub fn new() -> Self {
        Self::default()
    }

    /// One with a mistake in its kernel.
    pub fn with_quirk(quirk: Quirk) -> Self {
        Simulated { kernel: Kernel::default().with_quirk(quirk), quirk: Some(quirk), ..Self::default() }
    }

    /// What is behind the calls.
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    pub(super) fn process(&mut self, name: u32) -> &mut Process {
        self.processes.get_mut(&name).unwrap_or_else(|| panic!("there is no process {name}"))
    }

    pub(super) fn descriptors(&self, process: u32) -> Vec<u32> {
        self.kernel.descriptors(self.processes[&process].pid).map(|descriptor| descriptor.number).collect()
    }

    /// The file that a path leads a process to.
    pub(super) fn file(&self, process: u32, path: &str) -> Option<FileId> {
        let pid = self.processes.get(&process)?.pid;
        self.kernel.stat(pid, path, true).ok().map(|stat| stat.id)
    }

    /// What can influence the future, hashed.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut state = DefaultHasher::new();
        self.kernel.fingerprint(&mut state);
        for (name, Process { pid, on_signal, hard_limit, sleeping, returned }) in &self.processes {
            // Who has returned is part of what was seen, and of what the process may be asked to do.
            let returned = returned.as_ref().map(|outcome| outcome.as_ref().map(|done| done.ret));
            (name, pid, on_signal, hard_limit, sleeping, returned).hash(&mut state);
        }
        (&self.requests, &self.waiters).hash(&mut state);
        let mut to_do: Vec<_> = self.to_do.iter().collect();
        to_do.sort_unstable_by_key(|(process, _)| *process);
        to_do.hash(&mut state);
        state.finish()
    }

    pub(super) fn set_limit(&mut self, process: u32, soft: u64, hard: Option<u64>) -> std::result::Result<(), Errno> {
        let process = self.process(process);
        let hard = hard.unwrap_or(process.hard_limit);
        if soft > hard {
            return Err(Errno::Inval);
        }
        if hard > NR_OPEN {
            return Err(Errno::Perm);
        }
        process.hard_limit = hard;
        let pid = process.pid;
        self.kernel.set_descriptor_limit(pid, u32::try_from(soft).unwrap_or(u32::MAX));
        Ok(())
    }

    // ---- what a call is made of ---------------------------------------------------------------------------------------------------

    fn ask(&mut self, process: u32, wish: Wish, waits: bool) -> Vec<Deed> {
        let id = self.next_request;
        self.next_request += 1;
        self.requests.insert(id, Request { process, wish, waits });
        self.process(process).sleeping = Some(id);
        vec![Deed::Attempt(id)]
    }

    /// The deeds of a call, or why it fails at once.
    fn deeds(&mut self, process: u32, call: &Call) -> std::result::Result<Vec<Deed>, Errno> {
        let pid = self.process(process).pid;
        let plain = Deed::Call(call.clone());
        Ok(match call {
            Call::Flock { fd, how } => {
                let bits = call::flock_operation(how).expect("its words are known");
                let mode = match bits & !call::LOCK_NB {
                    bits if bits & call::LOCK_MAND != 0 => return Ok(Vec::new()),
                    call::LOCK_SH => LockMode::Shared,
                    call::LOCK_EX => LockMode::Exclusive,
                    call::LOCK_UN => return Ok(vec![plain]),
                    _ => return Err(Errno::Inval),
                };
                let fd = number(fd);
                self.kernel.check_lockable(pid, fd)?;
                self.ask(process, Wish::Flock { fd, mode }, bits & call::LOCK_NB == 0)
            }
            Call::Lock { fd, kind, mode, wait, start, len } => {
                let mode = match mode {
                    RangeType::Rd => Some(LockMode::Shared),
                    RangeType::Wr => Some(LockMode::Exclusive),
                    RangeType::Un | RangeType::Unknown => None,
                };
                let by_description = *kind == RangeKind::Ofd;
                let request = self.kernel.range_request(pid, number(fd), by_description, mode, (*start, *len))?;
                self.ask(process, Wish::Range(request), *wait)
            }
            Call::Close { fd } => vec![Deed::Release(pid, number(fd)), plain],
            // What is replaced is closed, if it comes to that.
            Call::Dup3 { flags, .. } if !dup3_knows(flags) => vec![plain],
            Call::Dup2 { fd, to } | Call::Dup3 { fd, to, .. }
                if fd != to
                    && number(to) < self.kernel.descriptor_limit(pid)
                    && self.kernel.inode_of(pid, number(fd)).is_ok() =>
            {
                vec![Deed::Release(pid, number(to)), plain]
            }
            _ => vec![plain],
        })
    }

    /// Begins a call; what it comes to is there once everybody has done what they have to.
    pub(super) fn begin_call(&mut self, process: u32, call: &Call) {
        self.acting = Some(process);
        self.process(process).returned = None; // nobody asks for that of the last one any more
        match self.deeds(process, call) {
            Ok(deeds) if !deeds.is_empty() => self.queue(process, deeds),
            outcome => {
                let outcome = outcome.map(|_| Done::default()).map_err(call::errno_word);
                self.process(process).returned = Some(outcome);
            }
        }
    }

    pub(super) fn begin_death(&mut self, name: u32, status: Status) {
        self.acting = Some(name);
        let process = self.processes.remove(&name).unwrap_or_else(|| panic!("there is no process {name}"));
        let pid = process.pid;
        let open: Vec<u32> = self.kernel.descriptors(pid).map(|descriptor| descriptor.number).collect();
        let closing = Self::closing(&self.kernel, pid, &open);
        let (records, rest) = closing.split_at(closing.len() - 2 * open.len());
        let deeds = process.sleeping.map(Deed::Withdraw).into_iter().chain(records.iter().cloned());
        let deeds = deeds.chain([Deed::End(pid, status)]).chain(rest.iter().cloned()).chain([Deed::Ended(pid)]);
        self.queue(name, deeds.collect::<Vec<_>>());
    }

    pub(super) fn begin_exec(&mut self, process: u32, path: Option<&str>) {
        self.acting = Some(process);
        let pid = self.process(process).pid;
        if let Some(path) = path
            && let Err(errno) = self.kernel.check_executable(pid, path)
        {
            self.process(process).returned = Some(Err(call::errno_word(errno)));
            return;
        }
        let doomed = self.kernel.descriptors(pid).filter(|descriptor| descriptor.close_on_exec);
        let doomed: Vec<u32> = doomed.map(|descriptor| descriptor.number).collect();
        let closing = Self::closing(&self.kernel, pid, &doomed);
        self.queue(process, closing.into_iter().chain([Deed::Executed]));
    }

    /// Whether the process will survive it.
    pub(super) fn begin_signal(&mut self, name: u32) -> bool {
        let process = self.process(name);
        let (on_signal, sleeping) = (process.on_signal, process.sleeping);
        let Disposition::Handled { restart } = on_signal else {
            self.begin_death(name, Status::Killed(SIGUSR1));
            return false;
        };
        self.acting = Some(name);
        if let Some(id) = sleeping {
            if restart {
                // The old request is gone, and with it its place; the call is made once more.
                self.queue(name, [Deed::Withdraw(id), Deed::Attempt(id)]);
            } else {
                self.queue(name, [Deed::Finish(id, Err(Errno::Intr))]);
            }
        }
        true
    }

    /// What has come of a call, once everybody has done what they had to; said once.
    pub(super) fn progress(&mut self, process: u32) -> Progress {
        self.process(process).returned.take().map_or(Progress::Asleep, Progress::Returned)
    }

    /// fork(2), which takes no lock.
    pub(super) fn make_fork(&mut self, process: u32, child: u32) {
        let parent = self.process(process).clone();
        let pid = self.kernel.fork(parent.pid);
        self.processes.insert(child, Process { pid, ..parent });
    }

    pub(super) fn make_processes(&mut self, processes: &[u32]) {
        *self = self.quirk.map_or_else(Simulated::default, Simulated::with_quirk);
        self.kernel.place_directory("/case");
        for &name in processes {
            let pid = self.kernel.new_process(1024);
            self.kernel.start_in(pid, "/case");
            let on_signal = Disposition::Default;
            let process = Process { pid, on_signal, hard_limit: NR_OPEN, sleeping: None, returned: None };
            self.processes.insert(name, process);
        }
    }

    /// The flock(2) locks on a file.
    pub(super) fn table(&self, file: FileId) -> LockTable {
        let of = |(ino, _, mode)| (self.kernel.file_id(ino) == file).then_some(mode);
        let mut held: Vec<LockMode> = self.kernel.held_locks().filter_map(of).collect();
        let waits = |request: &Request| match request.wish {
            Wish::Flock { fd, mode } => {
                let on = self.kernel.describe(self.processes[&request.process].pid, fd);
                on.is_ok_and(|(_, id, _)| id == file).then_some(mode)
            }
            Wish::Range(_) => None,
        };
        let mut waiting: Vec<LockMode> = self.requests.values().filter_map(waits).collect();
        held.sort_unstable();
        waiting.sort_unstable();
        LockTable { held, waiting }
    }
}

impl Machine for Simulated {
    fn begin(&mut self, processes: &[u32]) -> Result<()> {
        self.make_processes(processes);
        Ok(())
    }

    fn call(&mut self, process: u32, call: &Call) -> Result<Progress> {
        self.begin_call(process, call);
        self.settle();
        Ok(self.progress(process))
    }

    fn fork(&mut self, process: u32, child: u32) -> Result<Outcome> {
        self.make_fork(process, child);
        Ok(Ok(Done::default()))
    }

    fn exec(&mut self, process: u32, path: Option<&str>) -> Result<Outcome> {
        self.begin_exec(process, path);
        self.settle();
        Ok(self.process(process).returned.take().expect("an exec does not sleep"))
    }

    fn exit(&mut self, process: u32) -> Result<()> {
        self.begin_death(process, Status::Exited(0));
        self.settle();
        Ok(())
    }

    fn kill(&mut self, process: u32) -> Result<()> {
        self.begin_death(process, Status::Killed(9));
        self.settle();
        Ok(())
    }

    fn signal(&mut self, name: u32) -> Result<bool> {
        let survives = self.begin_signal(name);
        self.settle();
        Ok(survives)
    }

    fn returned(&mut self, process: u32) -> Result<Option<Outcome>> {
        Ok(self.process(process).returned.take())
    }

    fn locks(&mut self, file: FileId) -> Result<Option<LockTable>> {
        Ok(Some(self.table(file)))
    }
}
