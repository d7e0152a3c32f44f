//! Scenarios: processes, limits, what may go wrong, and what is promised.
//!
//! ```
//! use flockstep::world::{Files, OpenOptions, read_file, write_all};
//! use flockstep::{Strategy, ViolationKind};
//!
//! // Reads, then writes: two of them lose an update.
//! async fn add<W: Files>(world: &W, line: &str) -> flockstep::world::Result<()> {
//!     let mut content = read_file(world, "/list").await?;
//!     content.extend(line.as_bytes());
//!     let file = world.open("/list", OpenOptions::replace()).await?;
//!     write_all(world, &file, &content).await?;
//!     world.close(file).await
//! }
//!
//! let exploration = flockstep::scenario("two adds")
//!     .file("/list", "")
//!     .process("a", |world| async move { add(&world, "a").await })
//!     .process("b", |world| async move { add(&world, "b").await })
//!     .finally("both are listed", |fs| fs.read("/list").contains_all(["a", "b"]))
//!     .explore(Strategy::exhaustive());
//! let failure = exploration.assert_violated(ViolationKind::Promise("both are listed".into()));
//! println!("{}", failure.report());
//! ```

mod explore;
mod promise;
mod suite;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use crate::oracle::Oracle;
use crate::sim::kernel::{Ground, Kernel, Quirk};
use crate::sim::{Body, Exit, Faults, KernelView, PlannedProcess, Program, SimWorld, Time};
use promise::{Always, Finally, Sometimes};
pub use suite::{Case, Expected, Policy, Profile};

type MakeOracle = Arc<dyn Fn() -> Box<dyn Oracle> + Send + Sync>;

/// An empty scenario of that name.
pub fn scenario(name: impl Into<String>) -> Scenario {
    Scenario::new(name)
}

/// Processes on one simulated machine, what may happen to them, and what is promised. Built by methods that return it changed; cheap to
/// clone; [`explore`](Scenario::explore) can be called any number of times.
#[derive(Clone)]
pub struct Scenario {
    name: String,
    case: String,
    files: Kernel,
    processes: Vec<PlannedProcess>,
    programs: BTreeMap<String, Program>,
    oracles: Vec<(bool, MakeOracle)>,
    leaks: bool,
    faults: Faults,
    cancellable: Vec<String>,
    time: Time,
    steps_max: u64,
    shared_memory: bool,
    alike_tasks: Vec<String>,
    workers: u32,
    pool: u32,
    nofile: Option<u32>,
}

fn body<F, Fut, E>(body: F) -> Body
where
    F: Fn(SimWorld) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = E> + Send + 'static,
    E: Into<Exit>,
{
    Arc::new(move |world| {
        let future = body(world.clone());
        let main = world.clone();
        world.job(async move {
            let exit = future.await.into();
            main.set_exit(exit);
        })
    })
}

impl Scenario {
    /// An empty scenario of that name.
    pub fn new(name: impl Into<String>) -> Self {
        Scenario {
            name: name.into(),
            case: String::new(),
            files: Kernel::default(),
            processes: Vec::new(),
            programs: BTreeMap::new(),
            oracles: Vec::new(),
            leaks: true,
            faults: Faults::default(),
            cancellable: Vec::new(),
            time: Time::default(),
            steps_max: 100_000,
            shared_memory: true,
            alike_tasks: Vec::new(),
            workers: 4,
            pool: 512,
            nofile: None,
        }
    }

    /// The name of this size of the scenario, such as `"workers=1,tasks=2"`; part of its replay keys.
    pub fn case(mut self, name: impl Into<String>) -> Self {
        self.case = name.into();
        self
    }

    // ---- the machine ------------------------------------------------------------------------------------------------------------

    /// A file that exists from the start, with the directories above it.
    ///
    /// # Panics
    /// If the path is not absolute, or something else than a directory is above it.
    pub fn file(mut self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.files.place_file(path, content.as_ref());
        self
    }

    /// A directory that exists from the start, with those above it.
    ///
    /// # Panics
    /// If the path is not absolute, or something else than a directory is in the way.
    pub fn directory(mut self, path: &str) -> Self {
        self.files.place_directory(path);
        self
    }

    /// A symbolic link that exists from the start.
    ///
    /// # Panics
    /// As [`file`](Scenario::file).
    pub fn symlink(mut self, path: &str, target: &str) -> Self {
        self.files.place_symlink(path, target);
        self
    }

    /// The kind of filesystem that everything is on, and of the machine; a local one, and Linux, unless set. Processes added from here on
    /// have the descriptor limit that is usual there, unless [`nofile`](Scenario::nofile) says otherwise.
    pub fn ground(mut self, ground: Ground) -> Self {
        self.files.set_ground(ground);
        self
    }

    /// A mistake in the kernel: for tests of tests.
    pub fn quirk(mut self, quirk: Quirk) -> Self {
        self.files = self.files.with_quirk(quirk);
        self
    }

    /// Worker threads of each process added from here on, as tokio's `worker_threads`; 4 unless set.
    ///
    /// # Panics
    /// If there are none.
    pub fn workers(mut self, workers: u32) -> Self {
        assert!(workers > 0, "a process needs a worker thread");
        self.workers = workers;
        self
    }

    /// Blocking threads of each process added from here on, as tokio's `max_blocking_threads`; 512 unless set.
    ///
    /// # Panics
    /// If there are none.
    pub fn blocking_threads(mut self, threads: u32) -> Self {
        assert!(threads > 0, "a process needs a blocking thread");
        self.pool = threads;
        self
    }

    /// RLIMIT_NOFILE of each process added from here on; that of the [ground](Ground::descriptor_limit) unless set, on Linux 1024.
    /// Descriptors 0, 1 and 2 are taken.
    pub fn nofile(mut self, limit: u32) -> Self {
        self.nofile = Some(limit);
        self
    }

    /// Tasks of one process are alike if one task has spawned them, their names begin like that, and their futures are of one type: what
    /// they have captured is the same in each, none of them knows which it is, nobody aborts one of them and not the others, and who waits
    /// for them waits for all together ([`join_all`](crate::world::Tasks::join_all)). An exhaustive search then takes states that differ only in
    /// which of them is which for one. It is a violation if they begin with different operations, or if one is waited for without the others;
    /// that they differ later nobody sees.
    ///
    /// Where a task may be cancelled, it changes nothing.
    pub fn alike_tasks(mut self, named: &str) -> Self {
        self.alike_tasks.push(named.to_owned());
        self
    }

    /// When timers fire.
    pub fn time(mut self, time: Time) -> Self {
        self.time = time;
        self
    }

    /// How many steps an execution may have before it counts as endless; 100,000 unless set.
    pub fn steps_max(mut self, steps: u64) -> Self {
        self.steps_max = steps;
        self
    }

    /// The tasks of a process share nothing but what is behind the World. Without that being said,
    /// [`Strategy::dpor`](crate::Strategy::dpor) takes every two steps of one process for dependent, since it cannot see what they do to memory
    /// of their own.
    pub fn tasks_share_nothing(mut self) -> Self {
        self.shared_memory = false;
        self
    }

    // ---- processes --------------------------------------------------------------------------------------------------------------

    /// A process: `body` is its first task, and the process ends with it. It may return nothing, an exit code or a `Result`; an error
    /// is a violation unless the process [`may_fail`](Scenario::may_fail).
    ///
    /// # Panics
    /// If another process has that name.
    pub fn process<F, Fut, E>(mut self, name: &str, main: F) -> Self
    where
        F: Fn(SimWorld) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = E> + Send + 'static,
        E: Into<Exit>,
    {
        assert!(self.processes.iter().all(|p| *p.name != *name), "two processes are called {name:?}");
        self.processes.push(PlannedProcess {
            name: name.into(),
            body: body(main),
            workers: self.workers,
            pool: self.pool,
            nofile: self.nofile.unwrap_or(self.files.ground().descriptor_limit()),
            may_fail: false,
            killable: false,
            args: vec![name.to_owned()].into(),
            env: Arc::default(),
            alike: None,
            left_out: false,
        });
        self
    }

    /// Several processes that do the same, and of which nobody says which is which: no promise tells them apart, and they do not ask
    /// their World for their arguments. Each is alone in a container, so to speak: all of them have the same process id, and what they
    /// name after it they name alike. An exhaustive search then takes states that differ only in who is who for one: with
    /// three of them there are up to six times fewer. They may be killed, if all of them may.
    ///
    /// # Panics
    /// If another process has one of the names; and a process that asks for its arguments, does.
    pub fn alike<F, Fut, E>(mut self, names: impl IntoIterator<Item: AsRef<str>>, main: F) -> Self
    where
        F: Fn(SimWorld) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = E> + Send + 'static,
        E: Into<Exit>,
    {
        let (main, class) = (Arc::new(main), self.processes.len() as u32);
        for name in names {
            let main = main.clone();
            self = self.process(name.as_ref(), move |world| main(world));
            self.last("alike").alike = Some(class);
        }
        self
    }

    fn last(&mut self, what: &str) -> &mut PlannedProcess {
        self.processes
            .last_mut()
            .unwrap_or_else(|| panic!("{what} is said of the process before it, and there is none"))
    }

    /// The same without one process: what is left of a failure then is easier to read.
    ///
    /// # Panics
    /// If there is no process of that name.
    pub fn without_process(mut self, name: &str) -> Self {
        let before = self.processes.len();
        self.processes.retain(|process| *process.name != *name);
        assert!(self.processes.len() < before, "there is no process {name:?} to leave out");
        self
    }

    /// How many processes exist from the start.
    pub fn process_count(&self) -> usize {
        self.processes.len()
    }

    /// The arguments of the process added last, after its name.
    pub fn args(mut self, arguments: impl IntoIterator<Item: Into<String>>) -> Self {
        Arc::make_mut(&mut self.last("args").args).extend(arguments.into_iter().map(Into::into));
        self
    }

    /// A variable of the environment of the process added last.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        let env = &mut self.last("env").env;
        Arc::make_mut(env).insert(name.to_owned(), value.to_owned());
        self
    }

    /// An error of the process added last is no violation.
    pub fn may_fail(mut self) -> Self {
        self.last("may_fail").may_fail = true;
        self
    }

    /// A program that processes can start as a child, by the last component of its path. Its process has the workers and blocking threads
    /// set here, and the descriptor limit of its parent; what it was given is in its World's `args`, `var` and `inherited`. An error of it is no
    /// violation, but exit code 1, as its parent is told.
    pub fn program<F, Fut, E>(mut self, name: &str, main: F) -> Self
    where
        F: Fn(SimWorld) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = E> + Send + 'static,
        E: Into<Exit>,
    {
        let program = Program { body: body(main), workers: self.workers, pool: self.pool, killable: false };
        self.programs.insert(name.to_owned(), program);
        self
    }

    // ---- what may go wrong ------------------------------------------------------------------------------------------------------

    /// The process of that name may be killed (SIGKILL) at any step; or one that runs the [program](Scenario::program) of that name, from
    /// its exec(2) on. Said of several, at most one of them is, unless [`kills`](Scenario::kills) allows more.
    ///
    /// # Panics
    /// If there is neither such a process nor such a program yet.
    pub fn kill(mut self, name: &str) -> Self {
        let process = self.processes.iter_mut().find(|process| *process.name == *name);
        let killable = match process {
            Some(process) => Some(&mut process.killable),
            None => self.programs.get_mut(name).map(|program| &mut program.killable),
        };
        *killable.unwrap_or_else(|| panic!("there is no process or program {name:?} to kill")) = true;
        self.faults.kills = self.faults.kills.max(1);
        self
    }

    /// At most that many kills in an execution.
    pub fn kills(mut self, at_most: u32) -> Self {
        self.faults.kills = at_most;
        self
    }

    /// A task of that name (`task`, or `process/task`, or the name of a process for its first task) may be cancelled at any
    /// await: its future is dropped. At most one is in an execution, unless [`cancels`](Scenario::cancels) allows more.
    pub fn cancel(mut self, task: &str) -> Self {
        self.cancellable.push(task.to_owned());
        self.faults.cancels = self.faults.cancels.max(1);
        self
    }

    /// At most that many cancellations in an execution.
    pub fn cancels(mut self, at_most: u32) -> Self {
        self.faults.cancels = at_most;
        self
    }

    /// At most that many deadlines are reached while others could still move; without, a deadline is reached only when time passes
    /// because nothing else can happen.
    pub fn timeouts(mut self, at_most: u32) -> Self {
        self.faults.timeouts = at_most;
        self
    }

    /// At most that many locks are lost: the ground takes one away at any step, and its holder is not told.
    ///
    /// # Panics
    /// If the ground is none that [loses locks](Ground::loses_locks); it has to be set before.
    pub fn lost_locks(mut self, at_most: u32) -> Self {
        let ground = self.files.ground();
        assert!(at_most == 0 || ground.loses_locks(), "no lock is ever lost on {ground:?}: set the ground first");
        self.faults.lost_locks = at_most;
        self
    }

    // ---- what is promised -------------------------------------------------------------------------------------------------------

    /// Holds after every event.
    pub fn always(self, name: &str, holds: impl Fn(&KernelView<'_>) -> bool + Send + Sync + 'static) -> Self {
        let (name, holds) = (name.to_owned(), Arc::new(holds));
        self.oracle(move || Always::new(name.clone(), holds.clone()))
    }

    /// Holds after some event of some schedule: the test of the test.
    pub fn sometimes(self, name: &str, holds: impl Fn(&KernelView<'_>) -> bool + Send + Sync + 'static) -> Self {
        let (name, holds) = (name.to_owned(), Arc::new(holds));
        self.oracle(move || Sometimes::new(name.clone(), holds.clone()))
    }

    /// Holds when every process has ended.
    pub fn finally(self, name: &str, holds: impl Fn(&KernelView<'_>) -> bool + Send + Sync + 'static) -> Self {
        let (name, holds) = (name.to_owned(), Arc::new(holds));
        self.oracle(move || Finally::new(name.clone(), holds.clone()))
    }

    /// A promise that an oracle watches. If it never has anything to judge, that is a violation.
    pub fn oracle<O: Oracle + 'static>(mut self, make: impl Fn() -> O + Send + Sync + 'static) -> Self {
        self.oracles.push((true, Arc::new(move || Box::new(make()))));
        self
    }

    /// Processes may end by themselves and leave descriptors, locks or temporary files behind. Without this they may not.
    pub fn leaks_allowed(mut self) -> Self {
        self.leaks = false;
        self
    }

    // ---- what it is called ------------------------------------------------------------------------------------------------------

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of this size of it.
    pub fn case_name(&self) -> &str {
        &self.case
    }

    /// Both, as people read them.
    pub fn name_with_case(&self) -> String {
        if self.case.is_empty() { self.name.clone() } else { format!("{} ({})", self.name, self.case) }
    }

    /// The same under another name.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Whether durations mean what they say.
    pub(crate) fn is_timed(&self) -> bool {
        self.time == Time::Urgent
    }
}
