//! The simulated kernel as a machine: its calls are made directly, and who would sleep is kept in the kernel's own order.

use std::collections::{BTreeMap, VecDeque};

use super::call::{self, Attributes, Call, Done, Fd, OpenFlag, Outcome, RangeKind, RangeType, RenameFlag};
use super::waiters::{Blocker, RequestId, Waiters};
use super::{LockTable, Machine, Progress, Result};
use crate::sim::kernel::{Kernel, OpenHow, Pid, RangeLock, RangeOwner, RangeRequest, RenameFlags, Span, Whence};
use crate::world::{Errno, FileId, LockMode, Stat, Status};

/// How far the search for deadlocks follows who waits for whom (MAX_DEADLK_ITERATIONS).
const DEADLOCK_DEPTH: u32 = 10;
const SIGUSR1: i32 = 10;

/// Descriptor numbers that are negative or beyond every limit.
fn number(fd: &Fd) -> u32 {
    u32::try_from(fd.number()).unwrap_or(u32::MAX)
}

/// What a process does on SIGUSR1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disposition {
    Default,
    Handled { restart: bool },
}

#[derive(Clone, Debug)]
struct Process {
    pid: Pid,
    on_signal: Disposition,
    hard_limit: u32,
    sleeping: Option<RequestId>,
    returned: Option<Outcome>,
}

/// What a request is for.
#[derive(Clone, Copy, Debug)]
enum Wish {
    Flock { fd: u32, mode: LockMode },
    Range(RangeRequest),
}

#[derive(Clone, Copy, Debug)]
struct Request {
    process: u32,
    wish: Wish,
    waits: bool,
}

/// See the [module documentation](self).
#[derive(Debug, Default)]
pub struct Simulated {
    kernel: Kernel,
    processes: BTreeMap<u32, Process>,
    requests: BTreeMap<RequestId, Request>,
    next_request: RequestId,
    waiters: Waiters,
    /// Awake, and about to try again.
    woken: VecDeque<RequestId>,
    /// The locks that were held when somebody last looked.
    held: BTreeMap<Blocker, (LockMode, Span)>,
}

impl Simulated {
    /// A machine on which nothing runs.
    pub fn new() -> Self {
        Self::default()
    }

    /// What is behind the calls.
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    fn process(&mut self, name: u32) -> &mut Process {
        self.processes.get_mut(&name).unwrap_or_else(|| panic!("there is no process {name}"))
    }

    // ---- locks ------------------------------------------------------------------------------------------------------------------

    /// Wakes whoever hung under a lock that is gone, or that gave up bytes.
    fn notice(&mut self) {
        let whole = |(_, ofd, mode)| (Blocker::Flock(ofd), (mode, Span::ALL));
        let part = |(_, lock): (_, RangeLock)| (Blocker::Range(lock.number), (lock.mode, lock.span));
        let now = self.kernel.range_locks().map(part).chain(self.kernel.held_locks().map(whole)).collect();
        let before = std::mem::replace(&mut self.held, now);
        for (lock, (mode, was)) in before {
            let stays = self
                .held
                .get(&lock)
                .is_some_and(|&(now, is)| now == mode && is.start <= was.start && is.end >= was.end);
            if !stays {
                self.woken.extend(self.waiters.wake(lock));
            }
        }
    }

    /// Lets everybody try who can.
    fn settle(&mut self) {
        self.notice();
        while let Some(request) = self.woken.pop_front() {
            if let Some(outcome) = self.attempt(request) {
                self.finish(request, outcome);
            }
            self.notice();
        }
    }

    /// The system call of a request is over.
    fn finish(&mut self, id: RequestId, outcome: Outcome) {
        self.woken.extend(self.waiters.remove(id));
        let request = self.requests.remove(&id).expect("it is under way");
        let process = self.process(request.process);
        (process.sleeping, process.returned) = (None, Some(outcome));
    }

    /// One pass through flock_lock_inode or posix_lock_inode. `None`: it sleeps.
    fn attempt(&mut self, id: RequestId) -> Option<Outcome> {
        let Request { process, wish, waits } = self.requests[&id];
        let pid = self.process(process).pid;
        let granted = match wish {
            Wish::Flock { fd, mode } => self.attempt_flock(id, pid, fd, mode, waits),
            Wish::Range(request) => self.attempt_range(id, request, waits),
        };
        match granted {
            Ok(true) => Some(Ok(Done::default())),
            Ok(false) => None,
            Err(errno) => Some(Err(call::errno_word(errno))),
        }
    }

    fn attempt_flock(
        &mut self,
        id: RequestId,
        pid: Pid,
        fd: u32,
        mode: LockMode,
        waits: bool,
    ) -> std::result::Result<bool, Errno> {
        if self.kernel.lock_mode(pid, fd) == Some(mode) {
            return Ok(true);
        }
        self.kernel.begin_conversion(pid, fd, mode)?;
        self.notice();
        let (_, _, ofd) = self.kernel.describe(pid, fd)?;
        let Some(&(blocker, ..)) = self.kernel.in_the_way(pid, fd, mode).first() else {
            self.kernel.grant(pid, fd, mode, u32::MAX, 0)?;
            self.waiters.granted(id, Blocker::Flock(ofd));
            return Ok(true);
        };
        if !waits {
            return Err(Errno::Again);
        }
        let (requests, kernel, processes) = (&self.requests, &self.kernel, &self.processes);
        let conflicts = |other: RequestId| match requests[&other] {
            Request { process, wish: Wish::Flock { fd, mode: theirs }, .. } => {
                let of = kernel.describe(processes[&process].pid, fd).map(|(_, _, ofd)| ofd);
                of != Ok(ofd) && [mode, theirs].contains(&LockMode::Exclusive)
            }
            _ => false,
        };
        let woken = self.waiters.insert(Blocker::Flock(blocker), id, conflicts);
        self.woken.extend(woken);
        Ok(false)
    }

    fn attempt_range(&mut self, id: RequestId, request: RangeRequest, waits: bool) -> std::result::Result<bool, Errno> {
        let Some(blocker) = self.kernel.range_in_the_way(&request) else {
            let lock = self.kernel.set_range(&request).map(Blocker::Range);
            if let Some(lock) = lock.filter(|lock| !self.held.contains_key(lock)) {
                self.waiters.granted(id, lock);
            }
            return Ok(true);
        };
        if !waits {
            return Err(Errno::Again);
        }
        self.woken.extend(self.waiters.wake(Blocker::Request(id)));
        if self.would_deadlock(request.owner, blocker.owner) {
            return Err(Errno::DeadLk);
        }
        let requests = &self.requests;
        let conflicts = |other: RequestId| match requests[&other].wish {
            Wish::Range(theirs) => request.conflicts(theirs.owner, theirs.mode, theirs.span),
            Wish::Flock { .. } => false,
        };
        let woken = self.waiters.insert(Blocker::Range(blocker.number), id, conflicts);
        self.woken.extend(woken);
        Ok(false)
    }

    /// posix_locks_deadlock: whether the holder of what is in the way waits, directly or not, for the one who asks. Only for POSIX locks:
    /// descriptions belong to nobody.
    fn would_deadlock(&self, asks: RangeOwner, mut holder: RangeOwner) -> bool {
        if matches!(asks, RangeOwner::Description(_)) {
            return false;
        }
        for _ in 0..=DEADLOCK_DEPTH {
            let waits = |(&id, request): (&RequestId, &Request)| match request.wish {
                Wish::Range(wish) if wish.owner == holder => self.root_owner(id),
                _ => None,
            };
            match self.requests.iter().find_map(waits) {
                None => return false,
                Some(owner) if owner == asks => return true,
                Some(owner) => holder = owner,
            }
        }
        false
    }

    /// Who holds the lock that a request waits for in the end; only if what it hangs under directly is a POSIX one
    /// (`locks_insert_global_blocked`).
    fn root_owner(&self, request: RequestId) -> Option<RangeOwner> {
        let owner = |blocker| match blocker {
            Blocker::Range(number) => {
                self.kernel.range_locks().find(|(_, lock)| lock.number == number).map(|(_, lock)| lock.owner)
            }
            Blocker::Request(other) => match self.requests[&other].wish {
                Wish::Range(wish) => Some(wish.owner),
                Wish::Flock { .. } => None,
            },
            Blocker::Flock(_) => None,
        };
        match owner(self.waiters.blocker(request)?) {
            Some(RangeOwner::Process(_)) => owner(self.waiters.root(request)?),
            _ => None,
        }
    }

    fn ask(&mut self, process: u32, wish: Wish, waits: bool) -> Progress {
        let id = self.next_request;
        self.next_request += 1;
        self.requests.insert(id, Request { process, wish, waits });
        self.process(process).sleeping = Some(id);
        self.woken.push_back(id);
        self.settle();
        match self.process(process).returned.take() {
            Some(outcome) => Progress::Returned(outcome),
            None => Progress::Asleep,
        }
    }

    fn flock(&mut self, process: u32, fd: u32, bits: i32) -> std::result::Result<Progress, Errno> {
        let pid = self.process(process).pid;
        if bits & call::LOCK_MAND != 0 {
            return Ok(Progress::Returned(Ok(Done::default())));
        }
        let mode = match bits & !call::LOCK_NB {
            call::LOCK_SH => LockMode::Shared,
            call::LOCK_EX => LockMode::Exclusive,
            call::LOCK_UN => {
                self.kernel.unlock(pid, fd)?;
                return Ok(Progress::Returned(Ok(Done::default())));
            }
            _ => return Err(Errno::Inval),
        };
        self.kernel.check_lockable(pid, fd)?;
        Ok(self.ask(process, Wish::Flock { fd, mode }, bits & call::LOCK_NB == 0))
    }

    // ---- the other calls --------------------------------------------------------------------------------------------------------

    fn made(&mut self, pid: Pid, call: &Call) -> std::result::Result<Done, Errno> {
        let kernel = &mut self.kernel;
        let nothing = Done::default;
        let closes = |flags: &[OpenFlag]| flags.contains(&OpenFlag::Cloexec);
        Ok(match call {
            Call::Open { path, flags, mode } => {
                let how = OpenHow { mode: *mode, ..open_how(flags) };
                Done::returning(kernel.open(pid, &path.as_str().into(), how)?.descriptor)
            }
            Call::Close { fd } => kernel.close(pid, number(fd)).map(|_| nothing())?,
            Call::Dup { fd } => Done::returning(kernel.dup(pid, number(fd), 0, false)?),
            Call::Dup2 { fd, to } => {
                kernel.dup2(pid, number(fd), number(to))?;
                Done::returning(to.number())
            }
            Call::Dup3 { fd, to, flags } => {
                kernel.dup3(pid, number(fd), number(to), closes(flags))?;
                Done::returning(to.number())
            }
            Call::Dupfd { fd, min, cloexec } => {
                let min = u32::try_from(*min).unwrap_or(u32::MAX);
                Done::returning(kernel.dup(pid, number(fd), min, *cloexec)?)
            }
            Call::Getfd { fd } => {
                let cloexec = kernel.closes_on_exec(pid, number(fd))?;
                Done { cloexec: Some(cloexec), ..Done::returning(i64::from(cloexec)) }
            }
            Call::Setfd { fd, cloexec } => kernel.set_close_on_exec(pid, number(fd), *cloexec).map(|()| nothing())?,
            Call::Read { fd, len } => read(kernel.read(pid, number(fd), *len as usize)?),
            Call::Pread { fd, len, off } => read(kernel.read_at(pid, number(fd), *len as usize, *off)?),
            Call::Write { fd, data } => written(kernel.write(pid, number(fd), &call::bytes(data))?),
            Call::Pwrite { fd, data, off } => written(kernel.write_at(pid, number(fd), &call::bytes(data), *off)?),
            Call::Lseek { fd, off, whence } => {
                let whence = match whence {
                    call::Whence::Set => Whence::Start,
                    call::Whence::Cur => Whence::Current,
                    call::Whence::End => Whence::End,
                    call::Whence::Unknown => return Err(Errno::Inval),
                };
                let offset = kernel.seek_from(pid, number(fd), whence, *off)?;
                Done::returning(i64::try_from(offset).unwrap_or(i64::MAX))
            }
            Call::Ftruncate { fd, len } => {
                kernel.truncate(pid, number(fd), *len as u64)?;
                nothing()
            }
            Call::Rename { from, to } => kernel.rename(pid, from, to, RenameFlags::default()).map(|_| nothing())?,
            Call::Renameat2 { from, to, flags } => {
                let no_replace = flags.contains(&RenameFlag::Noreplace);
                let flags = RenameFlags { no_replace, exchange: flags.contains(&RenameFlag::Exchange) };
                kernel.rename(pid, from, to, flags).map(|_| nothing())?
            }
            Call::Link { from, to } => kernel.link(pid, from, to).map(|_| nothing())?,
            Call::Symlink { target, path } => kernel.symlink(pid, target, path).map(|_| nothing())?,
            Call::Readlink { path } => {
                let target = kernel.read_link(pid, path)?.to_string();
                Done { target: Some(target), ..nothing() }
            }
            Call::Unlink { path } => kernel.unlink(pid, path).map(|_| nothing())?,
            Call::Mkdir { path } => kernel.mkdir(pid, path).map(|_| nothing())?,
            Call::Rmdir { path } => kernel.rmdir(pid, path).map(|_| nothing())?,
            Call::Stat { path, follow } => attributes(kernel.stat(pid, path, *follow)?),
            Call::Fstat { fd } => attributes(kernel.fstat(pid, number(fd))?),
            Call::Readdir { path } => {
                let names = kernel.read_dir(pid, path)?.into_iter().map(|entry| entry.name).collect();
                Done { names: Some(names), ..nothing() }
            }
            Call::Setrlimit { .. } | Call::Sighandler { .. } | Call::Flock { .. } | Call::Lock { .. } => {
                unreachable!("made elsewhere")
            }
            Call::Unknown => return Err(Errno::NoSys),
        })
    }

    fn set_limit(&mut self, process: u32, soft: u32, hard: Option<u32>) -> std::result::Result<(), Errno> {
        let process = self.process(process);
        let hard = hard.unwrap_or(process.hard_limit);
        if soft > hard {
            return Err(Errno::Inval);
        }
        process.hard_limit = hard;
        let pid = process.pid;
        self.kernel.set_descriptor_limit(pid, soft);
        Ok(())
    }

    fn die(&mut self, name: u32, status: Status) {
        if let Some(id) = self.process(name).sleeping.take() {
            self.woken.extend(self.waiters.remove(id));
            self.requests.remove(&id);
            self.woken.retain(|&other| other != id);
            self.settle();
        }
        let pid = self.process(name).pid;
        self.kernel.end(pid, status);
        self.settle();
        while self.kernel.close_next(pid, &mut Vec::new()) {
            self.settle();
        }
        self.settle();
        self.processes.remove(&name);
    }
}

fn open_how(flags: &[OpenFlag]) -> OpenHow {
    let has = |flag| flags.contains(&flag);
    // O_WRONLY | O_RDWR is access mode 3.
    let neither = has(OpenFlag::Accmode3) || (has(OpenFlag::Wronly) && has(OpenFlag::Rdwr));
    OpenHow {
        read: !neither && !has(OpenFlag::Wronly),
        write: !neither && (has(OpenFlag::Wronly) || has(OpenFlag::Rdwr)),
        neither,
        path_only: has(OpenFlag::Path),
        append: has(OpenFlag::Append),
        create: has(OpenFlag::Creat),
        exclusive: has(OpenFlag::Excl),
        truncate: has(OpenFlag::Trunc),
        directory: has(OpenFlag::Directory),
        no_follow: has(OpenFlag::Nofollow),
        close_on_exec: has(OpenFlag::Cloexec),
        mode: 0,
    }
}

fn read(bytes: Vec<u8>) -> Done {
    Done { data: Some(call::latin1(&bytes)), ..written(bytes.len()) }
}

fn written(len: usize) -> Done {
    Done::returning(i64::try_from(len).unwrap_or(i64::MAX))
}

fn attributes(stat: Stat) -> Done {
    let Stat { id, kind, nlink, size } = stat;
    let kind = call::kind_word(kind).to_owned();
    Done { stat: Some(Attributes { kind, nlink, size, id: (id.device, id.inode) }), ..Done::default() }
}

impl Machine for Simulated {
    fn begin(&mut self, processes: &[u32]) -> Result<()> {
        *self = Simulated::default();
        self.kernel.place_directory("/case");
        for &name in processes {
            let pid = self.kernel.new_process(1024);
            self.kernel.start_in(pid, "/case");
            let on_signal = Disposition::Default;
            let process = Process { pid, on_signal, hard_limit: u32::MAX, sleeping: None, returned: None };
            self.processes.insert(name, process);
        }
        Ok(())
    }

    fn call(&mut self, process: u32, call: &Call) -> Result<Progress> {
        let pid = self.process(process).pid;
        let progress = match call {
            Call::Flock { fd, how } => {
                self.flock(process, number(fd), call::flock_operation(how).expect("its words are known"))
            }
            Call::Lock { fd, kind, mode, wait, start, len } => {
                let mode = match mode {
                    RangeType::Rd => Some(LockMode::Shared),
                    RangeType::Wr => Some(LockMode::Exclusive),
                    RangeType::Un | RangeType::Unknown => None,
                };
                let by_description = *kind == RangeKind::Ofd;
                let request = self.kernel.range_request(pid, number(fd), by_description, mode, (*start, *len));
                request.map(|request| self.ask(process, Wish::Range(request), *wait))
            }
            Call::Sighandler { restart } => {
                self.process(process).on_signal = Disposition::Handled { restart: *restart };
                Ok(Progress::Returned(Ok(Done::default())))
            }
            Call::Setrlimit { soft, hard } => {
                self.set_limit(process, *soft, *hard).map(|()| Progress::Returned(Ok(Done::default())))
            }
            call => self.made(pid, call).map(|done| Progress::Returned(Ok(done))),
        };
        self.settle();
        Ok(progress.unwrap_or_else(|errno| Progress::Returned(Err(call::errno_word(errno)))))
    }

    fn fork(&mut self, process: u32, child: u32) -> Result<Outcome> {
        let parent = self.process(process).clone();
        let pid = self.kernel.fork(parent.pid);
        self.processes.insert(child, Process { pid, ..parent });
        Ok(Ok(Done::default()))
    }

    fn exec(&mut self, process: u32, path: Option<&str>) -> Result<Outcome> {
        let pid = self.process(process).pid;
        if let Some(path) = path
            && let Err(errno) = self.kernel.check_executable(pid, path)
        {
            return Ok(Err(call::errno_word(errno)));
        }
        self.process(process).on_signal = Disposition::Default;
        let outcome = self.kernel.exec(pid, &[], None);
        self.settle();
        Ok(outcome.map(|_| Done::default()).map_err(call::errno_word))
    }

    fn exit(&mut self, process: u32) -> Result<()> {
        self.die(process, Status::Exited(0));
        Ok(())
    }

    fn kill(&mut self, process: u32) -> Result<()> {
        self.die(process, Status::Killed(9));
        Ok(())
    }

    fn signal(&mut self, name: u32) -> Result<bool> {
        let process = self.process(name).clone();
        let Disposition::Handled { restart } = process.on_signal else {
            self.die(name, Status::Killed(SIGUSR1));
            return Ok(false);
        };
        if let Some(id) = process.sleeping {
            if restart {
                // The old request is gone, and with it its place; the call is made once more.
                self.woken.extend(self.waiters.remove(id));
                self.woken.push_back(id);
            } else {
                self.finish(id, Err(call::errno_word(Errno::Intr)));
            }
            self.settle();
        }
        Ok(true)
    }

    fn returned(&mut self, process: u32) -> Result<Option<Outcome>> {
        Ok(self.process(process).returned.take())
    }

    fn locks(&mut self, file: FileId) -> Result<Option<LockTable>> {
        let of = |(ino, _, mode)| (Kernel::file_id(ino) == file).then_some(mode);
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
        Ok(Some(LockTable { held, waiting }))
    }
}
