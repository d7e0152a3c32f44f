//! Real processes that do as they are told, one system call at a time: the kernel underneath as a [`Machine`].
//!
//! One child, the *stage*, forks the processes of every case; it is single-threaded, which this process need not be, so that forking is
//! safe, and it adopts and reaps what their parents leave behind. Each process is told what to do over a socket of its own at a
//! descriptor number far above those of the cases (which start at 3), all made before the first process, because a process whose limit
//! is down to four descriptors cannot make one.
//!
//! Nothing waits for time to pass. A process sleeps in a lock if /proc says that it is asleep in that system call; a release has woken
//! whom it wakes before it returns; and everything that can move has moved once all sleepers were seen asleep twice, without any
//! having been switched to in between.

mod process;
mod syscalls;

pub use process::{Role, main};

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::conform::call::{Call, Outcome};
use crate::conform::{LockTable, Machine, Progress, Result, Trouble};
use crate::world::{FileId, LockMode};

/// The descriptor of the socket of process 0; those of the others follow.
const FIRST_SOCKET: i32 = 240;
/// How many processes a case may have.
const PROCESSES: u32 = 16;
/// The stage is told what to do over a socket of its own.
const STAGE: u32 = PROCESSES;
/// A call that has not returned by then, and does not sleep either, never will.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a process is told.
#[derive(Debug, Serialize, Deserialize)]
enum Order {
    /// Make that call.
    Call(Call),
    /// Fork; the child listens to the socket of that number. Answered with its process number.
    Fork { child: u32 },
    /// The same in that directory; told to the stage.
    Start { child: u32, directory: PathBuf },
    /// Execute a program; without a path, this one again.
    Exec { path: Option<String> },
    /// Exit.
    Exit,
    /// Reap every child there is; told to the stage, when all are dead or dying.
    Reap,
}

struct Process {
    pid: Pid,
    /// Asleep in a call when last looked at.
    asleep: bool,
    returned: Option<Outcome>,
}

/// See the [module documentation](self).
pub struct Puppets {
    stage: Child,
    sockets: Vec<BufReader<UnixStream>>,
    processes: BTreeMap<u32, Process>,
    /// Every process of this case.
    pids: Vec<Pid>,
    base: TempDir,
    cases: u64,
    /// Whether the locks of this filesystem are in /proc/locks.
    table: bool,
}

fn trouble(what: &str) -> impl FnOnce(std::io::Error) -> Trouble + '_ {
    move |error| Trouble(format!("{what}: {error}"))
}

impl Puppets {
    /// Processes that work below `directory`, or in a tmpfs if there is one, and are started from this very program.
    pub fn start(directory: Option<&Path>) -> Result<Self> {
        let program = std::env::current_exe().map_err(trouble("this program"))?;
        Self::start_from(&program, directory)
    }

    /// The same, started from the `flockstep` program at `program`.
    pub fn start_from(program: &Path, directory: Option<&Path>) -> Result<Self> {
        let shared_memory = Path::new("/dev/shm");
        let usual = if shared_memory.is_dir() { shared_memory.to_owned() } else { std::env::temp_dir() };
        let base = tempfile::Builder::new()
            .prefix("flockstep-conform-")
            .tempdir_in(directory.unwrap_or(&usual))
            .map_err(trouble("a directory to work in"))?;
        // A socket's name must be short, which the directory need not be.
        let meeting = TempDir::new().map_err(trouble("a directory for a socket"))?;
        let name = meeting.path().join("s");
        let listener = UnixListener::bind(&name).map_err(trouble("a socket"))?;
        let mut stage = Command::new(program)
            .args(["conform-puppet", "stage"])
            .arg(&name)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(trouble("a process"))?;
        listener.set_nonblocking(true).map_err(trouble("a socket"))?;
        let mut sockets = Vec::new();
        let until = Instant::now() + PATIENCE;
        while sockets.len() <= STAGE as usize {
            match listener.accept() {
                Ok((socket, _)) => {
                    socket.set_nonblocking(false).map_err(trouble("a socket"))?;
                    sockets.push(BufReader::new(socket));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if Instant::now() > until || stage.try_wait().is_ok_and(|ended| ended.is_some()) {
                        let _ = stage.kill();
                        let _ = stage.wait();
                        return Err(Trouble("the first process does not start".into()));
                    }
                    std::thread::yield_now();
                }
                Err(error) => return Err(trouble("a socket")(error)),
            }
        }
        let (processes, pids) = (BTreeMap::new(), Vec::new());
        let mut puppets = Puppets { stage, sockets, processes, pids, base, cases: 0, table: true };
        puppets.table = puppets.sees_locks()?;
        Ok(puppets)
    }

    /// Whether /proc/locks shows a lock that is there for certain.
    fn sees_locks(&self) -> Result<bool> {
        let file = tempfile::tempfile_in(self.base.path()).map_err(trouble("a file"))?;
        file.lock().map_err(trouble("a lock"))?;
        let stat = rustix::fs::fstat(&file).map_err(|error| Trouble(format!("fstat: {error}")))?;
        let table = lock_table(FileId { device: stat.st_dev, inode: stat.st_ino })?;
        Ok(table == LockTable { held: vec![LockMode::Exclusive], waiting: Vec::new() })
    }

    fn tell(&mut self, socket: u32, order: &Order) -> Result<()> {
        let mut line = serde_json::to_string(order).map_err(|error| Trouble(error.to_string()))?;
        line.push('\n');
        self.sockets[socket as usize].get_mut().write_all(line.as_bytes()).map_err(trouble("telling a process"))
    }

    /// The next answer.
    fn hear(&mut self, socket: u32) -> Result<Outcome> {
        let socket = &mut self.sockets[socket as usize];
        socket.get_mut().set_read_timeout(Some(PATIENCE)).map_err(trouble("a socket"))?;
        let mut line = String::new();
        socket.read_line(&mut line).map_err(trouble("no answer"))?;
        serde_json::from_str(&line).map_err(|error| Trouble(format!("no answer but {line:?}: {error}")))
    }

    /// An answer that is there already.
    fn overhear(&mut self, process: u32) -> Result<Option<Outcome>> {
        let socket = &mut self.sockets[process as usize];
        socket.get_mut().set_nonblocking(true).map_err(trouble("a socket"))?;
        let there = match socket.fill_buf() {
            Ok(bytes) => !bytes.is_empty(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => return Err(trouble("an answer")(error)),
        };
        socket.get_mut().set_nonblocking(false).map_err(trouble("a socket"))?;
        if there { self.hear(process).map(Some) } else { Ok(None) }
    }

    fn pid(&self, process: u32) -> Result<Pid> {
        let process = self.processes.get(&process).ok_or_else(|| Trouble(format!("there is no process {process}")))?;
        Ok(process.pid)
    }

    fn add(&mut self, process: u32, outcome: Outcome) -> Result<Outcome> {
        if let Ok(done) = &outcome {
            let pid = i32::try_from(done.ret).ok().and_then(Pid::from_raw);
            let pid = pid.ok_or_else(|| Trouble("a process without a number".into()))?;
            self.processes.insert(process, Process { pid, asleep: false, returned: None });
            self.pids.push(pid);
        }
        Ok(outcome)
    }

    /// Until a call has returned or sleeps.
    fn returned_or_asleep(&mut self, process: u32) -> Result<Progress> {
        let (pid, until) = (self.pid(process)?, Instant::now() + PATIENCE);
        loop {
            if let Some(outcome) = self.overhear(process)? {
                return Ok(Progress::Returned(outcome));
            }
            if Look::at(pid)?.is_some_and(|look| look.asleep_in_a_lock) {
                return Ok(Progress::Asleep);
            }
            if Instant::now() > until {
                return Err(Trouble("a call neither returns nor sleeps".into()));
            }
            std::thread::yield_now();
        }
    }

    /// Until everything that can move has moved.
    fn settle(&mut self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        let mut before = None;
        loop {
            let asleep: Vec<u32> = self.processes.iter().filter(|(_, p)| p.asleep).map(|(&name, _)| name).collect();
            if asleep.is_empty() {
                return Ok(());
            }
            let mut looks = Some(Vec::new());
            for name in asleep {
                if let Some(outcome) = self.overhear(name)? {
                    let process = self.processes.get_mut(&name).expect("listed above");
                    (process.asleep, process.returned) = (false, Some(outcome));
                    looks = None;
                    continue;
                }
                let look = Look::at(self.pid(name)?)?.ok_or_else(|| Trouble(format!("process {name} is gone")))?;
                looks = looks.filter(|_| look.asleep_in_a_lock);
                if let Some(looks) = &mut looks {
                    looks.push((name, look.switches));
                }
            }
            if looks.is_some() && looks == before {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(Trouble("the sleepers never come to rest".into()));
            }
            if looks.is_none() {
                std::thread::yield_now();
            }
            before = looks;
        }
    }

    fn until_dead(&mut self, process: u32) -> Result<()> {
        let (pid, until) = (self.pid(process)?, Instant::now() + PATIENCE);
        while Look::at(pid)?.is_some() {
            if Instant::now() > until {
                return Err(Trouble(format!("process {process} does not die")));
            }
            std::thread::yield_now();
        }
        self.processes.remove(&process);
        self.settle()
    }

    /// No process of the last case is left, nor anything that one said.
    fn clear(&mut self) -> Result<()> {
        for pid in std::mem::take(&mut self.pids) {
            // Those that died before are reaped by nobody yet, so the number is still theirs.
            let _ = kill_process(pid, Signal::KILL);
        }
        self.processes.clear();
        self.tell(STAGE, &Order::Reap)?;
        self.hear(STAGE)?.map_err(|errno| Trouble(format!("reaping: {errno}")))?;
        for socket in 0..PROCESSES {
            while self.overhear(socket)?.is_some() {}
        }
        Ok(())
    }
}

impl Drop for Puppets {
    fn drop(&mut self) {
        let _ = self.clear();
        let _ = self.stage.kill();
        let _ = self.stage.wait();
    }
}

impl Machine for Puppets {
    fn begin(&mut self, processes: &[u32]) -> Result<()> {
        self.clear()?;
        let before = self.base.path().join(self.cases.to_string());
        let _ = std::fs::remove_dir_all(before);
        self.cases += 1;
        let directory = self.base.path().join(self.cases.to_string());
        std::fs::create_dir(&directory).map_err(trouble("a directory"))?;
        for &child in processes {
            check_number(child)?;
            self.tell(STAGE, &Order::Start { child, directory: directory.clone() })?;
            let outcome = self.hear(STAGE)?;
            self.add(child, outcome)?.map_err(|errno| Trouble(format!("fork: {errno}")))?;
        }
        Ok(())
    }

    fn call(&mut self, process: u32, call: &Call) -> Result<Progress> {
        self.pid(process)?;
        self.tell(process, &Order::Call(call.clone()))?;
        let progress =
            if call.can_sleep() { self.returned_or_asleep(process)? } else { Progress::Returned(self.hear(process)?) };
        if progress == Progress::Asleep {
            self.processes.get_mut(&process).expect("it was there").asleep = true;
        }
        self.settle()?;
        let process = self.processes.get_mut(&process).expect("it was there");
        Ok(process.returned.take().map_or(progress, Progress::Returned))
    }

    fn fork(&mut self, process: u32, child: u32) -> Result<Outcome> {
        check_number(child)?;
        self.tell(process, &Order::Fork { child })?;
        let outcome = self.hear(process)?;
        self.add(child, outcome)
    }

    fn exec(&mut self, process: u32, path: Option<&str>) -> Result<Outcome> {
        self.tell(process, &Order::Exec { path: path.map(str::to_owned) })?;
        let outcome = self.hear(process)?;
        self.settle()?;
        Ok(outcome)
    }

    fn exit(&mut self, process: u32) -> Result<()> {
        self.tell(process, &Order::Exit)?;
        self.until_dead(process)
    }

    fn kill(&mut self, process: u32) -> Result<()> {
        kill_process(self.pid(process)?, Signal::KILL).map_err(|error| Trouble(format!("kill: {error}")))?;
        self.until_dead(process)
    }

    fn signal(&mut self, process: u32) -> Result<bool> {
        let pid = self.pid(process)?;
        let look = Look::at(pid)?.ok_or_else(|| Trouble(format!("process {process} is gone")))?;
        kill_process(pid, Signal::USR1).map_err(|error| Trouble(format!("kill: {error}")))?;
        if look.catches_usr1 {
            self.settle()?
        } else {
            self.until_dead(process)?
        }
        Ok(look.catches_usr1)
    }

    fn returned(&mut self, process: u32) -> Result<Option<Outcome>> {
        self.settle()?;
        Ok(self.processes.get_mut(&process).and_then(|process| process.returned.take()))
    }

    fn locks(&mut self, file: FileId) -> Result<Option<LockTable>> {
        if self.table { lock_table(file).map(Some) } else { Ok(None) }
    }
}

fn check_number(process: u32) -> Result<()> {
    if process < PROCESSES { Ok(()) } else { Err(Trouble(format!("no more than {PROCESSES} processes, from 0 on"))) }
}

/// What /proc says of a process that lives.
struct Look {
    asleep_in_a_lock: bool,
    /// How often it was switched away from.
    switches: u64,
    catches_usr1: bool,
}

impl Look {
    /// `None`: it is dead, reaped or not.
    fn at(pid: Pid) -> Result<Option<Look>> {
        let read = |what: &str| std::fs::read_to_string(format!("/proc/{}/{what}", pid.as_raw_pid()));
        // The call first: who was in it before the state was looked at, and is asleep then, is asleep in it or in one that follows.
        let call = read("syscall").unwrap_or_default();
        let Ok(status) = read("status") else { return Ok(None) };
        let field = |name: &str| {
            status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map_or("", str::trim)
        };
        let state = field("State").chars().next().unwrap_or('X');
        if matches!(state, 'Z' | 'X' | 'x') {
            return Ok(None);
        }
        let number = call.split(' ').next().and_then(|number| number.parse().ok());
        let in_a_lock = number.is_some_and(syscalls::is_a_lock);
        let switches = |name| field(name).parse().unwrap_or(0);
        let caught = u64::from_str_radix(field("SigCgt"), 16).unwrap_or(0);
        Ok(Some(Look {
            asleep_in_a_lock: state == 'S' && in_a_lock,
            switches: switches("voluntary_ctxt_switches"),
            catches_usr1: caught >> (Signal::USR1.as_raw() - 1) & 1 == 1,
        }))
    }
}

/// /proc/locks is read in pieces while others lock, so an entry can be missed or seen twice: a table counts once it is seen twice.
fn lock_table(file: FileId) -> Result<LockTable> {
    let mut before = None;
    loop {
        let text = std::fs::read_to_string("/proc/locks").map_err(trouble("/proc/locks"))?;
        let now = parse_locks(&text, file);
        if before.as_ref() == Some(&now) {
            return Ok(now);
        }
        before = Some(now);
    }
}

fn parse_locks(text: &str, file: FileId) -> LockTable {
    let (major, minor) = (rustix::fs::major(file.device), rustix::fs::minor(file.device));
    let exact = format!("{major:02x}:{minor:02x}:{}", file.inode);
    let inode = format!(":{}", file.inode);
    let find = |is_it: &dyn Fn(&str) -> bool| {
        let mut table = LockTable::default();
        for line in text.lines() {
            let mut words = line.split_whitespace().skip(1).peekable();
            let waits = words.next_if_eq(&"->").is_some();
            let words: Vec<&str> = words.collect();
            if let ["FLOCK", _, mode, _, place, ..] = words[..]
                && is_it(place)
            {
                let mode = if mode == "READ" { LockMode::Shared } else { LockMode::Exclusive };
                if waits { table.waiting.push(mode) } else { table.held.push(mode) }
            }
        }
        table.held.sort_unstable();
        table.waiting.sort_unstable();
        table
    };
    let table = find(&|place| place == exact);
    // On btrfs and overlayfs the device shown here is not that of stat(2).
    if table == LockTable::default() { find(&|place| place.ends_with(&inode)) } else { table }
}

/// The sockets that every process of a case holds.
fn socket_numbers() -> BTreeSet<i32> {
    (0..=STAGE as i32).map(|process| FIRST_SOCKET + process).collect()
}
