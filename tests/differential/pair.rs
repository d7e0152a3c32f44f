//! A sequence of steps, made on both kernels and compared after each.

use super::steps::{Step, What};
use flockstep::conform::call::{Call, Fd, shown};
use flockstep::conform::{LockTable, Machine, Possible, Progress, Simulated, TooMany, Trouble};
use flockstep::os::puppets::Puppets;
use flockstep::world::{LockMode, Status};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Processes of a sequence, dead ones included.
const PROCESSES: u32 = 12;
/// Files whose lock tables are compared.
const FILES: [&str; 3] = ["a", "b", "d/a"];

/// Why a sequence ends early.
pub(super) enum Fault {
    /// The real kernel did what the model cannot.
    Differs(String),
    /// The real kernel could not be asked.
    Trouble(Trouble),
    /// The model can do too much to follow it.
    TooMany,
}

impl From<Trouble> for Fault {
    fn from(trouble: Trouble) -> Self {
        Fault::Trouble(trouble)
    }
}

impl From<TooMany> for Fault {
    fn from(TooMany: TooMany) -> Self {
        Fault::TooMany
    }
}

/// How much was compared.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) calls: u64,
    pub(super) sequences: u64,
    /// Calls that slept.
    pub(super) sleeps: u64,
    /// Observations that told which of several possible states it was.
    pub(super) told_apart: u64,
    /// Most states that were possible at once.
    pub(super) states: usize,
    /// Sequences that were given up because too many states were possible.
    pub(super) given_up: u64,
}

/// Both kernels, and who can be asked to do something.
pub(super) struct Pair<'a> {
    model: Possible,
    kernel: &'a mut Puppets,
    awake: BTreeSet<u32>,
    asleep: BTreeSet<u32>,
    next: u32,
    tally: &'a mut Tally,
    /// The steps that were made.
    made: Vec<Step>,
    /// The same and what the real kernel said to each, as the steps of a case.
    case: Vec<Value>,
}

impl<'a> Pair<'a> {
    pub(super) fn new(model: Simulated, kernel: &'a mut Puppets, tally: &'a mut Tally) -> Result<Self, Fault> {
        kernel.begin(&[0, 1])?;
        let model = Possible::begin(model, &[0, 1]);
        Ok(Pair {
            model,
            kernel,
            awake: [0, 1].into(),
            asleep: [].into(),
            next: 2,
            tally,
            made: Vec::new(),
            case: Vec::new(),
        })
    }

    /// Makes the steps.
    pub(super) fn run(&mut self, steps: &[Step]) -> Result<(), Fault> {
        for (number, step) in steps.iter().enumerate() {
            if self.awake.is_empty() {
                break;
            }
            let sleepers_too = matches!(step.what, What::Kill | What::Signal);
            let able = self.awake.iter().chain(self.asleep.iter().filter(|_| sleepers_too)).copied();
            let able: BTreeSet<u32> = able.collect();
            let process = if step.exact {
                able.get(&(step.process as u32)).copied()
            } else {
                able.iter().nth(step.process % able.len()).copied()
            };
            let Some(process) = process else { continue };
            let differs = self.step(process, &step.what, step.open).and_then(|()| {
                self.tally.calls += 1;
                self.compare_sleepers()?;
                self.compare_tables()
            });
            differs.map_err(|fault| match fault {
                Fault::Differs(how) => Fault::Differs(format!("step {number}: {how}")),
                other => other,
            })?;
        }
        Ok(())
    }

    /// What the real kernel said to all of it, as the steps of a case: the lock tables last.
    pub(super) fn into_case(mut self) -> Result<Vec<Value>, Fault> {
        for &process in &self.asleep {
            self.case.push(json!({"proc": process, "op": "expect_blocked"}));
        }
        if let Some(&process) = self.awake.first() {
            for path in FILES {
                if let Some(LockTable { held, waiting }) = self.kernel_table(process, path)? {
                    let words = |modes: Vec<LockMode>| {
                        let word = |mode| if mode == LockMode::Shared { "SH" } else { "EX" };
                        modes.into_iter().map(word).collect::<Vec<_>>()
                    };
                    let (held, waiting) = (words(held), words(waiting));
                    self.case
                        .push(json!({"proc": process, "op": "locks", "path": path, "held": held, "waiting": waiting}));
                } else if self.case.iter().any(|step| step["path"] == path) {
                    self.case.push(json!({"proc": process, "op": "stat", "path": path, "expect": "ENOENT"}));
                }
            }
        }
        Ok(self.case)
    }

    /// The steps that were made, by the numbers of processes and descriptors.
    pub(super) fn into_steps(self) -> Vec<Step> {
        self.made
    }

    /// Compares what was seen with what the model may show.
    fn same<T: Clone + Ord + std::fmt::Debug>(
        &mut self,
        look: impl Fn(&mut Simulated) -> T,
        seen: &T,
    ) -> Result<(), Fault> {
        let before = self.model.count();
        self.tally.states = self.tally.states.max(before);
        let agrees = self.model.observe(look, seen).map_err(|sights| {
            let sights = sights.iter().map(|sight| format!("{sight:?}")).collect::<Vec<_>>();
            Fault::Differs(format!("the kernel shows {seen:?}, the model {}", sights.join(" or ")))
        });
        self.tally.told_apart += u64::from(agrees.is_ok() && self.model.count() < before);
        agrees
    }

    fn step(&mut self, process: u32, what: &What, open: bool) -> Result<(), Fault> {
        match what {
            What::Call(call) => {
                let mut call = call.clone();
                let mut numbers = if open { self.model.descriptors(process) } else { Vec::new() };
                // The first three are nobody's, unless they were closed and opened anew.
                numbers.retain(|&fd| fd > 2);
                for fd in call.descriptors_mut().into_iter().take(1).filter(|_| !numbers.is_empty()) {
                    *fd = Fd::Number(numbers[fd.number().unsigned_abs() as usize % numbers.len()]);
                }
                // What offsets of directories mean is the filesystem's secret.
                if let Call::Lseek { fd, .. } = &call
                    && self.is_directory(process, fd)?
                {
                    return Ok(());
                }
                self.call(process, &call)?;
            }
            What::Fork if self.next < PROCESSES => {
                let child = self.next;
                self.model.fork(process, child);
                let forked = self.kernel.fork(process, child)?;
                self.next += 1;
                self.awake.insert(child);
                self.made(process, what, json!({"op": "fork", "child": child}));
                self.same(|_| "ok".to_owned(), &forked.map_or_else(|errno| errno, |_| "ok".to_owned()))?;
            }
            What::Execute(path) => {
                self.model.exec(process, Some(path))?;
                let outcome = shown(&self.kernel.exec(process, Some(path))?);
                let expect = if outcome.starts_with("ok") { "ok" } else { &outcome };
                self.made(process, what, json!({"op": "exec", "path": path, "expect": expect}));
                self.same(move |machine| machine.words(&[process].into()), &[(process, outcome)].into())?;
            }
            What::Exec => {
                // A program that is linked dynamically does not start without a free descriptor.
                self.call(process, &Call::Setrlimit { soft: 64, hard: None })?;
                self.model.exec(process, None)?;
                let outcome = shown(&self.kernel.exec(process, None)?);
                self.made(process, what, json!({"op": "exec"}));
                self.same(move |machine| machine.words(&[process].into()), &[(process, outcome)].into())?;
            }
            What::Exit if self.awake.len() > 1 => {
                self.model.end(process, Status::Exited(0))?;
                self.kernel.exit(process)?;
                self.gone(process);
                self.made(process, what, json!({"op": "exit"}));
            }
            What::Kill if self.awake.len() + self.asleep.len() > 2 => {
                self.model.end(process, Status::Killed(9))?;
                self.kernel.kill(process)?;
                self.gone(process);
                self.made(process, what, json!({"op": "kill"}));
            }
            What::Signal if self.awake.len() + self.asleep.len() > 1 => self.signal(process)?,
            What::Fork | What::Exit | What::Kill | What::Signal => {}
        }
        Ok(())
    }

    /// Remembers a step as it was made, and as it stands in a case.
    fn made(&mut self, process: u32, what: &What, mut step: Value) {
        if let Value::Object(fields) = &mut step {
            fields.retain(|_, value| !value.is_null());
            fields.entry("proc").or_insert(process.into());
        }
        self.case.push(step);
        self.made.push(Step { process: process as usize, exact: true, open: false, what: what.clone() });
    }

    fn call(&mut self, process: u32, call: &Call) -> Result<(), Fault> {
        self.model.call(process, call)?;
        let progress = self.kernel.call(process, call)?;
        let mut step = json!(call);
        let mut returned = BTreeMap::new();
        match progress {
            Progress::Asleep => {
                self.awake.remove(&process);
                self.asleep.insert(process);
                self.tally.sleeps += 1;
                step["expect"] = json!("blocks");
            }
            Progress::Returned(outcome) => {
                match &outcome {
                    Ok(done) if makes_a_descriptor(call) => step["num"] = json!(done.ret),
                    Ok(_) => {}
                    Err(errno) => step["expect"] = json!(errno),
                }
                returned.insert(process, shown(&outcome));
            }
        }
        self.made(process, &What::Call(call.clone()), step);
        self.same(move |machine| machine.words(&[process].into()), &returned)
    }

    fn is_directory(&mut self, process: u32, fd: &Fd) -> Result<bool, Fault> {
        let outcome = self.kernel.call(process, &Call::Fstat { fd: fd.clone() })?;
        let Progress::Returned(Ok(done)) = outcome else { return Ok(false) };
        Ok(done.stat.is_some_and(|stat| stat.kind == "dir"))
    }

    fn signal(&mut self, process: u32) -> Result<(), Fault> {
        self.model.signal(process)?;
        let survives = self.kernel.signal(process)?;
        if !survives {
            self.gone(process);
        }
        // A case wants somebody to send it; the one who gets it may be asleep.
        let by = self.awake.first().copied().unwrap_or(process);
        self.made(process, &What::Signal, json!({"proc": by, "op": "signal", "target": process}));
        self.same(move |machine| machine.lives(process), &survives)
    }

    fn gone(&mut self, process: u32) {
        self.awake.remove(&process);
        self.asleep.remove(&process);
    }

    /// Who was woken, and what their calls returned.
    fn compare_sleepers(&mut self) -> Result<(), Fault> {
        let asleep = self.asleep.clone();
        let mut woken = BTreeMap::new();
        for &process in &asleep {
            let Some(outcome) = self.kernel.returned(process)? else { continue };
            let expect = outcome.as_ref().map_or_else(|errno| errno.as_str(), |_| "ok");
            self.case.push(json!({"proc": process, "op": "expect_unblocked", "expect": expect}));
            woken.insert(process, shown(&outcome));
            self.asleep.remove(&process);
            self.awake.insert(process);
        }
        self.same(move |machine| machine.words(&asleep), &woken)
    }

    fn kernel_table(&mut self, process: u32, path: &str) -> Result<Option<LockTable>, Fault> {
        let look = Call::Stat { path: path.to_owned(), follow: true };
        match self.kernel.call(process, &look)? {
            Progress::Returned(Ok(done)) => {
                let file = done.stat.expect("stat gives attributes").file();
                Ok(self.kernel.locks(file)?)
            }
            _ => Ok(None),
        }
    }

    fn compare_tables(&mut self) -> Result<(), Fault> {
        let Some(&process) = self.awake.first() else { return Ok(()) };
        for path in FILES {
            let table = self.kernel_table(process, path)?.map(|table| format!("locks on {path}: {table}"));
            let look = move |machine: &mut Simulated| {
                machine.locks_at(process, path).map(|table| format!("locks on {path}: {table}"))
            };
            self.same(look, &table)?;
        }
        Ok(())
    }
}

fn makes_a_descriptor(call: &Call) -> bool {
    matches!(call, Call::Open { .. } | Call::Dup { .. } | Call::Dup2 { .. } | Call::Dup3 { .. } | Call::Dupfd { .. })
}
