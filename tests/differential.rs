//! The simulated kernel against the real one: random calls by several processes, made on both, outcome by outcome.
//!
//! Compared are results and errors, descriptor numbers, data, link counts, who sleeps and who is woken, and after each step the flock
//! table of every file as /proc/locks has it. Where the kernel promises no order (semantics of a signal with SA_RESTART among several
//! sleepers, the death of a process that holds and waits for the same file) the sequence ends. What differs only sometimes is a race of the
//! real kernel's, so a difference counts if it is there three times in a row.

use flockstep::conform::call::{Call, Fd, OpenFlag, Outcome, RangeKind, RangeType, RenameFlag, Whence};
use flockstep::conform::{Machine, Progress, Simulated, Trouble};
use flockstep::os::OsWorld;
use flockstep::os::puppets::Puppets;
use flockstep::sim::kernel::{Kernel, Quirk};
use flockstep::world::{LockMode, OpenOptions, Process, Status};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// How many sequences the usual run makes; PROPTEST_CASES asks for more.
const SEQUENCES: u32 = 40;
const STEPS: std::ops::Range<usize> = 20..80;
/// Processes of a sequence, dead ones included.
const PROCESSES: u32 = 12;
/// Files whose lock tables are compared.
const FILES: [&str; 3] = ["a", "b", "d/a"];

/// A step; the process is the how many'th of those that could make it.
#[derive(Clone, Debug)]
struct Step {
    process: usize,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Call(Call),
    Fork,
    Exec,
    Exit,
    Kill,
    Signal,
}

fn path() -> impl Strategy<Value = String> {
    const PATHS: [&str; 17] =
        ["a", "a", "a", "b", "b", "d", "d/a", "d/b", "s", "s/", "d/", "a/", "e", "d/e", ".", "d/..", "e/a"];
    prop::sample::select(&PATHS[..]).prop_map(str::to_owned)
}

fn fd() -> impl Strategy<Value = Fd> {
    prop_oneof![12 => 3..8, 2 => 8..12, 1 => Just(-1)].prop_map(Fd::Number)
}

fn flags() -> impl Strategy<Value = Vec<OpenFlag>> {
    use OpenFlag::{Accmode3, Append, Cloexec, Creat, Directory, Excl, Nofollow, Path, Rdonly, Rdwr, Trunc, Wronly};
    let access = prop_oneof![3 => Just(Rdonly), 2 => Just(Wronly), 6 => Just(Rdwr), 1 => Just(Accmode3)];
    let more = prop::sample::subsequence(vec![Excl, Trunc, Append, Directory, Nofollow, Path], 0..=2);
    let more = prop_oneof![3 => Just(Vec::new()), 1 => more];
    (access, more, prop::bool::weighted(0.7), prop::bool::weighted(0.2)).prop_map(
        |(access, mut more, create, cloexec)| {
            more.push(access);
            more.extend(create.then_some(Creat));
            more.extend(cloexec.then_some(Cloexec));
            more
        },
    )
}

fn how() -> impl Strategy<Value = String> {
    const USUAL: [&str; 5] = ["SH", "EX", "SH|NB", "EX|NB", "UN"];
    const ODD: [&str; 7] = ["", "SH|EX", "NB", "UN|NB", "EX|UN", "MAND|SH", "SH|EX|NB"];
    prop_oneof![12 => prop::sample::select(&USUAL[..]), 1 => prop::sample::select(&ODD[..])].prop_map(str::to_owned)
}

fn lock() -> impl Strategy<Value = Call> {
    let kind = prop_oneof![Just(RangeKind::Posix), Just(RangeKind::Ofd)];
    let mode = prop_oneof![2 => Just(RangeType::Rd), 3 => Just(RangeType::Wr), 2 => Just(RangeType::Un)];
    (fd(), kind, mode, any::<bool>(), -1_i64..8, -2_i64..6).prop_map(|(fd, kind, mode, wait, start, len)| Call::Lock {
        fd,
        kind,
        mode,
        wait,
        start,
        len,
    })
}

fn on_descriptors() -> impl Strategy<Value = Call> {
    let text = "[a-z]{0,5}";
    let whence = prop_oneof![Just(Whence::Set), Just(Whence::Cur), Just(Whence::End)];
    prop_oneof![
        4 => fd().prop_map(|fd| Call::Close { fd }),
        3 => fd().prop_map(|fd| Call::Dup { fd }),
        2 => (fd(), fd()).prop_map(|(fd, to)| Call::Dup2 { fd, to }),
        1 => (fd(), fd(), any::<bool>()).prop_map(|(fd, to, cloexec)| {
            Call::Dup3 { fd, to, flags: cloexec.then_some(OpenFlag::Cloexec).into_iter().collect() }
        }),
        1 => (fd(), -1..12, any::<bool>()).prop_map(|(fd, min, cloexec)| Call::Dupfd { fd, min, cloexec }),
        1 => fd().prop_map(|fd| Call::Getfd { fd }),
        1 => (fd(), any::<bool>()).prop_map(|(fd, cloexec)| Call::Setfd { fd, cloexec }),
        1 => (fd(), 0_u32..6).prop_map(|(fd, len)| Call::Read { fd, len }),
        1 => (fd(), 0_u32..6, -1_i64..9).prop_map(|(fd, len, off)| Call::Pread { fd, len, off }),
        1 => (fd(), text).prop_map(|(fd, data)| Call::Write { fd, data }),
        1 => (fd(), text, -1_i64..9).prop_map(|(fd, data, off)| Call::Pwrite { fd, data, off }),
        1 => (fd(), -3_i64..9, whence).prop_map(|(fd, off, whence)| Call::Lseek { fd, off, whence }),
        1 => (fd(), -1_i64..9).prop_map(|(fd, len)| Call::Ftruncate { fd, len }),
        1 => fd().prop_map(|fd| Call::Fstat { fd }),
    ]
}

fn on_names() -> impl Strategy<Value = Call> {
    let rename_flags = prop::sample::subsequence(vec![RenameFlag::Noreplace, RenameFlag::Exchange], 0..=2);
    prop_oneof![
        2 => path().prop_map(|path| Call::Unlink { path }),
        2 => path().prop_map(|path| Call::Mkdir { path }),
        1 => path().prop_map(|path| Call::Rmdir { path }),
        2 => (path(), path()).prop_map(|(from, to)| Call::Rename { from, to }),
        1 => (path(), path(), rename_flags).prop_map(|(from, to, flags)| Call::Renameat2 { from, to, flags }),
        1 => (path(), path()).prop_map(|(from, to)| Call::Link { from, to }),
        1 => (path(), path()).prop_map(|(target, path)| Call::Symlink { target, path }),
        1 => path().prop_map(|path| Call::Readlink { path }),
        1 => (path(), any::<bool>()).prop_map(|(path, follow)| Call::Stat { path, follow }),
        1 => path().prop_map(|path| Call::Readdir { path }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let open = (path(), flags()).prop_map(|(path, flags)| Call::Open { path, flags, mode: 0o644 });
    let flock = (fd(), how()).prop_map(|(fd, how)| Call::Flock { fd, how });
    let limit = prop_oneof![4_u32..14, Just(64)].prop_map(|soft| Call::Setrlimit { soft, hard: None });
    let what = prop_oneof![
        20 => open.prop_map(What::Call),
        30 => flock.prop_map(What::Call),
        6 => lock().prop_map(What::Call),
        20 => on_descriptors().prop_map(What::Call),
        12 => on_names().prop_map(What::Call),
        1 => limit.prop_map(What::Call),
        1 => any::<bool>().prop_map(|restart| What::Call(Call::Sighandler { restart })),
        4 => Just(What::Fork),
        1 => Just(What::Exec),
        1 => Just(What::Exit),
        2 => Just(What::Kill),
        1 => Just(What::Signal),
    ];
    (0_usize..8, what).prop_map(|(process, what)| Step { process, what })
}

/// Outcomes as they are compared: which file it is has another number on every machine, and the size of a directory means nothing.
fn comparable(outcome: Outcome) -> Outcome {
    outcome.map(|mut done| {
        if let Some(stat) = &mut done.stat {
            stat.id = (0, 0);
            if stat.kind == "dir" {
                stat.size = 0;
            }
        }
        done
    })
}

enum Fault {
    Differs(String),
    Trouble(Trouble),
}

impl From<Trouble> for Fault {
    fn from(trouble: Trouble) -> Self {
        Fault::Trouble(trouble)
    }
}

fn same<T: PartialEq + std::fmt::Debug>(number: usize, what: &str, model: T, kernel: T) -> Result<(), Fault> {
    if model == kernel {
        return Ok(());
    }
    Err(Fault::Differs(format!("step {number}, {what}: the model has {model:?}, the kernel {kernel:?}")))
}

struct Pair<'a> {
    model: Simulated,
    kernel: &'a mut Puppets,
    awake: BTreeSet<u32>,
    asleep: BTreeSet<u32>,
    restarts: BTreeMap<u32, bool>,
    next: u32,
}

impl Pair<'_> {
    /// How many steps were made.
    fn run(&mut self, steps: &[Step]) -> Result<u64, Fault> {
        self.model.begin(&[0, 1])?;
        self.kernel.begin(&[0, 1])?;
        let mut made = 0;
        for (number, step) in steps.iter().enumerate() {
            let everybody: Vec<u32> = self.awake.union(&self.asleep).copied().collect();
            let awake: Vec<u32> = self.awake.iter().copied().collect();
            let goes_on = match &step.what {
                What::Kill if everybody.len() > 2 => self.kill(everybody[step.process % everybody.len()])?,
                What::Signal if everybody.len() > 1 => {
                    self.signal(number, everybody[step.process % everybody.len()])?
                }
                What::Kill | What::Signal => continue,
                _ if awake.is_empty() => break,
                what => self.step(number, awake[step.process % awake.len()], what)?,
            };
            made += 1;
            self.compare_sleepers(number)?;
            if !goes_on {
                break;
            }
            self.compare_tables(number)?;
        }
        Ok(made)
    }

    fn step(&mut self, number: usize, process: u32, what: &What) -> Result<bool, Fault> {
        match what {
            // What offsets of directories mean is the filesystem's secret.
            What::Call(Call::Lseek { fd, .. }) if self.is_directory(process, fd)? => {}
            What::Call(call) => {
                let (model, kernel) = (self.model.call(process, call)?, self.kernel.call(process, call)?);
                let comparable = |progress| match progress {
                    Progress::Returned(outcome) => Progress::Returned(comparable(outcome)),
                    Progress::Asleep => Progress::Asleep,
                };
                if kernel == Progress::Asleep {
                    self.awake.remove(&process);
                    self.asleep.insert(process);
                }
                if let Call::Sighandler { restart } = call {
                    self.restarts.insert(process, *restart);
                }
                same(number, &format!("process {process}, {call:?}"), comparable(model), comparable(kernel))?;
            }
            What::Fork if self.next < PROCESSES => {
                let child = self.next;
                let (model, kernel) = (self.model.fork(process, child)?, self.kernel.fork(process, child)?);
                same(number, "fork", model.is_ok(), kernel.is_ok())?;
                self.next += 1;
                self.awake.insert(child);
                if let Some(&restart) = self.restarts.get(&process) {
                    self.restarts.insert(child, restart);
                }
            }
            What::Exec => {
                // A program that is linked dynamically does not start without a free descriptor.
                self.step(number, process, &What::Call(Call::Setrlimit { soft: 64, hard: None }))?;
                let (model, kernel) = (self.model.exec(process, None)?, self.kernel.exec(process, None)?);
                same(number, "exec", model.is_ok(), kernel.is_ok())?;
                self.restarts.remove(&process);
            }
            What::Exit if self.awake.len() > 1 => {
                self.model.exit(process)?;
                self.kernel.exit(process)?;
                self.awake.remove(&process);
            }
            What::Fork | What::Exit | What::Kill | What::Signal => {}
        }
        Ok(true)
    }

    fn is_directory(&mut self, process: u32, fd: &Fd) -> Result<bool, Fault> {
        let outcome = self.kernel.call(process, &Call::Fstat { fd: fd.clone() })?;
        let Progress::Returned(Ok(done)) = outcome else { return Ok(false) };
        Ok(done.stat.is_some_and(|stat| stat.kind == "dir"))
    }

    fn kill(&mut self, process: u32) -> Result<bool, Fault> {
        let settled = !self.asleep.contains(&process);
        self.model.kill(process)?;
        self.kernel.kill(process)?;
        self.awake.remove(&process);
        self.asleep.remove(&process);
        // Its request and its locks go separately, and who is woken by which may win.
        Ok(settled || self.asleep.len() < 2)
    }

    fn signal(&mut self, number: usize, process: u32) -> Result<bool, Fault> {
        let requeues = self.asleep.contains(&process) && self.restarts.get(&process) == Some(&true);
        let (model, kernel) = (self.model.signal(process)?, self.kernel.signal(process)?);
        same(number, "a signal is survived", model, kernel)?;
        if !kernel {
            self.awake.remove(&process);
            self.asleep.remove(&process);
        }
        Ok(!requeues || self.asleep.len() < 2)
    }

    /// As sets: who of those that wake together is first is nobody's promise.
    fn compare_sleepers(&mut self, number: usize) -> Result<(), Fault> {
        let (mut model, mut kernel) = (BTreeMap::new(), BTreeMap::new());
        for &process in &self.asleep {
            let outcome = self.model.returned(process)?;
            model.extend(outcome.map(|outcome| (process, format!("{outcome:?}"))));
            let outcome = self.kernel.returned(process)?;
            kernel.extend(outcome.map(|outcome| (process, format!("{outcome:?}"))));
        }
        for &process in kernel.keys() {
            self.asleep.remove(&process);
            self.awake.insert(process);
        }
        same(number, "woken", model, kernel)
    }

    fn compare_tables(&mut self, number: usize) -> Result<(), Fault> {
        let Some(&process) = self.awake.first() else { return Ok(()) };
        for path in FILES {
            let look = Call::Stat { path: path.to_owned(), follow: true };
            let (model, kernel) = (self.model.call(process, &look)?, self.kernel.call(process, &look)?);
            let (Progress::Returned(Ok(model)), Progress::Returned(Ok(kernel))) = (model, kernel) else { continue };
            let (model, kernel) = (model.stat.unwrap().file(), kernel.stat.unwrap().file());
            let (model, kernel) = (self.model.locks(model)?, self.kernel.locks(kernel)?);
            if kernel.is_some() {
                same(number, &format!("locks on {path}"), model, kernel)?;
            }
        }
        Ok(())
    }
}

fn once(model: Simulated, kernel: &mut Puppets, steps: &[Step]) -> Result<u64, Fault> {
    let awake = BTreeSet::from([0, 1]);
    let asleep = BTreeSet::new();
    Pair { model, kernel, awake, asleep, restarts: BTreeMap::new(), next: 2 }.run(steps)
}

/// How much was compared.
#[derive(Default)]
struct Tally {
    calls: u64,
    sequences: u64,
    /// What differed, and did not when the sequence was repeated.
    races: Vec<String>,
}

/// Compares; what differs that many times in a row is shrunk.
fn compare(config: Config, times: u32, model: impl Fn() -> Simulated) -> (Tally, Option<String>) {
    let program = Path::new(env!("CARGO_BIN_EXE_flockstep"));
    let kernel = RefCell::new(Puppets::start_from(program, None).unwrap());
    let tally = RefCell::new(Tally::default());
    let result = TestRunner::new(config).run(&vec(step(), STEPS), |steps| {
        tally.borrow_mut().sequences += 1;
        let mut differs = String::new();
        for _ in 0..times {
            let result = once(model(), &mut kernel.borrow_mut(), &steps);
            match result {
                Ok(calls) => {
                    tally.borrow_mut().calls += calls;
                    tally.borrow_mut().races.extend((!differs.is_empty()).then_some(differs));
                    return Ok(());
                }
                Err(Fault::Differs(how)) => differs = how,
                Err(Fault::Trouble(trouble)) => {
                    // What the processes do next is anybody's guess.
                    *kernel.borrow_mut() = Puppets::start_from(program, None).unwrap();
                    return Err(TestCaseError::fail(format!("the machine failed: {trouble}")));
                }
            }
        }
        Err(TestCaseError::fail(differs))
    });
    (tally.into_inner(), result.err().map(|error| error.to_string()))
}

#[test]
#[expect(clippy::print_stdout, reason = "the long run tells how long it was")]
fn the_model_is_the_kernel() {
    // proptest's own variable asks for more sequences without building everything again.
    let cases = OsWorld::new().var("PROPTEST_CASES").map_or(SEQUENCES, |cases| cases.parse().unwrap());
    // The usual run makes the same sequences every time; the long one makes new ones.
    let rng_seed = if cases == SEQUENCES { RngSeed::Fixed(1) } else { RngSeed::Random };
    let config = Config { cases, source_file: Some(file!()), max_shrink_iters: 5_000, rng_seed, ..Config::default() };
    let (tally, differs) = compare(config, 3, Simulated::new);
    println!("{} calls in {} sequences, {} races {:?}", tally.calls, tally.sequences, tally.races.len(), tally.races);
    assert_eq!(differs, None);
}

/// The test of the test: each mistake is found, by a sequence shrunk to a few steps.
#[test]
#[expect(clippy::print_stdout, reason = "the shrunk sequences are worth reading")]
fn mistakes_are_found() {
    let quirks = [
        Quirk::RefusedUpgradeKeeps,
        Quirk::CloseOfDuplicateReleases,
        Quirk::UnlockByChildIgnored,
        Quirk::NumbersNotReused,
        Quirk::EmfileAfterCreation,
        Quirk::DowngradeWakesNobody,
    ];
    let max_shrink_iters = if cfg!(feature = "exhaustive") { 5_000 } else { 100 };
    for quirk in quirks {
        let config = Config { cases: 20_000, failure_persistence: None, max_shrink_iters, ..Config::default() };
        let (tally, differs) = compare(config, 1, || Simulated::with_quirk(quirk));
        let found = differs.unwrap_or_else(|| panic!("{quirk:?} was not found in {} sequences", tally.sequences));
        println!("{quirk:?}, after {} sequences:\n{found}\n", tally.sequences);
    }
}

/// A dying process loses its locks one by one, the highest descriptor first: an observer who polls sees the second one free while the
/// first is held, and never the other way round.
#[test]
fn death_takes_one_lock_at_a_time() {
    let seen = |quirk: Option<Quirk>| {
        let mut kernel = Kernel::default();
        if let Some(quirk) = quirk {
            kernel = kernel.with_quirk(quirk);
        }
        let (dying, observer) = (kernel.new_process(64), kernel.new_process(64));
        let mut open = |pid, path: &str| kernel.open(pid, &path.into(), OpenOptions::lock_file()).unwrap().descriptor;
        let locks = [open(dying, "/a"), open(dying, "/b")];
        let looks = [open(observer, "/a"), open(observer, "/b")];
        for fd in locks {
            assert_eq!(kernel.grant(dying, fd, LockMode::Exclusive, 0, 0), Ok(true));
        }
        kernel.end(dying, Status::Killed(9));
        let mut seen = Vec::new();
        loop {
            let more = kernel.close_next(dying, &mut Vec::new());
            seen.push(looks.map(|fd| kernel.can_lock(observer, fd, LockMode::Exclusive)));
            if !more {
                seen.dedup();
                return seen;
            }
        }
    };
    assert_eq!(seen(None), [[false, true], [true, true]]);
    assert_eq!(seen(Some(Quirk::DeathIsOneStep)), [[true, true]], "and this is how it would look otherwise");
}
