//! Puts one case to one machine.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::call::{Attributes, Call, Done, Fd, Outcome};
use super::case::{Action, Case, Mode, Operation, Reference, Step};
use super::{LockTable, Machine, Progress, Trouble};
use crate::world::LockMode;

/// What came of a case.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Everything as expected.
    Passed,
    /// The first step that was not.
    Failed(Mismatch),
    /// It uses something that is not known here, or cannot be looked at.
    Skipped(String),
}

/// A step with another result than expected.
#[derive(Clone, Debug, PartialEq)]
pub struct Mismatch {
    /// Which step, from 0.
    pub step: usize,
    /// The step as it stands in the file.
    pub text: String,
    /// What was expected.
    pub expected: String,
    /// What came out.
    pub got: String,
}

/// Why a case goes no further.
enum Stop {
    Differs { expected: String, got: String },
    CannotTell(&'static str),
}

impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Self {
        Stop::Differs { expected: "an answer".into(), got: trouble.to_string() }
    }
}

fn differs<T>(expected: impl Into<String>, got: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Differs { expected: expected.into(), got: got.into() })
}

/// Runs a case. Results that only other filesystems give count, unless `strict`.
pub fn run(case: &Case, machine: &mut impl Machine, strict: bool) -> Verdict {
    if let Some(what) = case.unknown() {
        return Verdict::Skipped(what.to_owned());
    }
    let stopped = |step: usize, stop| match stop {
        Stop::Differs { expected, got } => {
            Verdict::Failed(Mismatch { step, text: case.steps[step].text.clone(), expected, got })
        }
        Stop::CannotTell(why) => Verdict::Skipped(why.to_owned()),
    };
    let roots = case.roots();
    let mut run = Run { machine, strict, names: BTreeMap::new(), asleep: BTreeSet::new() };
    run.names.extend(roots.iter().map(|&root| (root, BTreeMap::new())));
    if let Err(trouble) = run.machine.begin(&roots) {
        return stopped(0, trouble.into());
    }
    for (number, step) in case.steps.iter().enumerate() {
        if let Err(stop) = run.step(step) {
            return stopped(number, stop);
        }
    }
    Verdict::Passed
}

struct Run<'a, M> {
    machine: &'a mut M,
    strict: bool,
    /// The names of descriptors, of each process that lives.
    names: BTreeMap<u32, BTreeMap<String, i32>>,
    asleep: BTreeSet<u32>,
}

impl<M: Machine> Run<'_, M> {
    fn exists(&self, process: u32) -> Result<(), Stop> {
        if self.names.contains_key(&process) {
            return Ok(());
        }
        differs("a case whose processes exist", format!("process {process} does not, or not any more"))
    }

    fn resolve(&self, process: u32, fd: &mut Fd) -> Result<(), Stop> {
        if let Fd::Name(name) = fd {
            match self.names[&process].get(name) {
                Some(&number) => *fd = Fd::Number(number),
                None => {
                    return differs("a case whose descriptors have names", format!("process {process} has no {name}"));
                }
            }
        }
        Ok(())
    }

    /// A call that does not sleep.
    fn plain(&mut self, process: u32, call: &Call) -> Result<Outcome, Stop> {
        match self.machine.call(process, call)? {
            Progress::Returned(outcome) => Ok(outcome),
            Progress::Asleep => differs("a call that does not sleep", format!("{call:?} does")),
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), Stop> {
        let process = step.process;
        if let Operation::Action(Action::ExpectOneUnblocked { procs }) = &step.operation {
            return self.expect_one(step, procs);
        }
        self.exists(process)?;
        match &step.operation {
            Operation::Action(Action::ExpectBlocked) => match self.wakes(process)? {
                None => Ok(()),
                Some(outcome) => differs("still asleep", word(&outcome)),
            },
            Operation::Action(Action::ExpectUnblocked) => match self.wakes(process)? {
                None => differs(&step.expect, "still asleep"),
                Some(outcome) => self.check(step, &outcome),
            },
            Operation::Action(Action::Kill) => {
                self.names.remove(&process);
                self.asleep.remove(&process);
                Ok(self.machine.kill(process)?)
            }
            Operation::Action(Action::Signal { target }) => {
                self.exists(*target)?;
                if !self.machine.signal(*target)? {
                    self.names.remove(target);
                    self.asleep.remove(target);
                }
                Ok(())
            }
            _ if self.asleep.contains(&process) => {
                differs("a case whose sleepers do nothing", format!("process {process} sleeps"))
            }
            Operation::Call(call, name) => self.call(step, call.clone(), name.as_deref()),
            Operation::Action(action) => self.action(step, action),
            Operation::Unknown(what) => unreachable!("{what} is skipped before"),
        }
    }

    fn call(&mut self, step: &Step, mut call: Call, name: Option<&str>) -> Result<(), Stop> {
        for fd in call.descriptors_mut() {
            self.resolve(step.process, fd)?;
        }
        let outcome = match self.machine.call(step.process, &call)? {
            Progress::Asleep
                if step.expect == "blocks" || (!self.strict && step.alternatives.contains(&"blocks".into())) =>
            {
                self.asleep.insert(step.process);
                return Ok(());
            }
            Progress::Asleep => return differs(&step.expect, "blocks"),
            Progress::Returned(outcome) => outcome,
        };
        if let (Some(name), Ok(done)) = (name, &outcome) {
            let number = i32::try_from(done.ret).unwrap_or(-1);
            self.names.entry(step.process).or_default().insert(name.to_owned(), number);
        }
        self.check(step, &outcome)
    }

    fn action(&mut self, step: &Step, action: &Action) -> Result<(), Stop> {
        let process = step.process;
        match action {
            Action::Fork { child } => {
                let outcome = self.machine.fork(process, *child)?;
                let names = self.names[&process].clone();
                self.names.insert(*child, names);
                self.check(step, &outcome)
            }
            Action::Exec { path } => {
                let outcome = self.machine.exec(process, path.as_deref())?;
                self.check(step, &outcome)
            }
            Action::Exit => {
                self.names.remove(&process);
                Ok(self.machine.exit(process)?)
            }
            Action::SameFile { a, b, value } => {
                let (a, b) = (self.look(process, a)?, self.look(process, b)?);
                match (a, b) {
                    (Ok(a), Ok(b)) if step.expect == "ok" => {
                        let same = a.id == b.id;
                        equal("the same file", value.unwrap_or(same), same)
                    }
                    (Ok(_), Ok(_)) => differs(&step.expect, "ok"),
                    (Err(errno), _) | (_, Err(errno)) => self.check(step, &Err(errno)),
                }
            }
            Action::Locks { fd, path, held, waiting } => {
                let reference = Reference { fd: fd.clone(), path: path.clone(), follow: None };
                let file = match self.look(process, &reference)? {
                    Ok(attributes) => attributes.file(),
                    Err(errno) => return differs("a file to look at", errno),
                };
                let Some(table) = self.machine.locks(file)? else {
                    return Err(Stop::CannotTell("the lock table cannot be read"));
                };
                let expected = LockTable { held: modes(held), waiting: modes(waiting) };
                equal("locks", expected.to_string(), table.to_string())
            }
            Action::Kill
            | Action::Signal { .. }
            | Action::ExpectBlocked
            | Action::ExpectUnblocked
            | Action::ExpectOneUnblocked { .. }
            | Action::None => unreachable!("done before"),
        }
    }

    fn wakes(&mut self, process: u32) -> Result<Option<Outcome>, Stop> {
        if !self.asleep.contains(&process) {
            return differs("a case that asks about sleepers", format!("process {process} does not sleep"));
        }
        let outcome = self.machine.returned(process)?;
        if outcome.is_some() {
            self.asleep.remove(&process);
        }
        Ok(outcome)
    }

    fn expect_one(&mut self, step: &Step, processes: &[u32]) -> Result<(), Stop> {
        let mut outcomes = Vec::new();
        for &process in processes {
            self.exists(process)?;
            outcomes.extend(self.wakes(process)?);
        }
        match &outcomes[..] {
            [one] => self.check(step, one),
            several => differs(format!("exactly one of {processes:?} returns"), format!("{} do", several.len())),
        }
    }

    fn look(&mut self, process: u32, reference: &Reference) -> Result<Result<Attributes, String>, Stop> {
        let call = match (&reference.fd, &reference.path) {
            (Some(fd), _) => {
                let mut fd = fd.clone();
                self.resolve(process, &mut fd)?;
                Call::Fstat { fd }
            }
            (None, Some(path)) => Call::Stat { path: path.clone(), follow: reference.follow.unwrap_or(true) },
            (None, None) => return differs("a file", "neither fd nor path"),
        };
        let outcome = self.plain(process, &call)?;
        Ok(outcome.map(|done| done.stat.expect("both give attributes")))
    }

    fn check(&self, step: &Step, outcome: &Outcome) -> Result<(), Stop> {
        let got = word(outcome);
        if got != step.expect {
            if !self.strict && step.alternatives.contains(&got) {
                return Ok(());
            }
            return differs(&step.expect, got);
        }
        let (Ok(done), Operation::Call(call, _)) = (outcome, &step.operation) else { return Ok(()) };
        check_result(step, call, done)
    }
}

fn check_result(step: &Step, call: &Call, done: &Done) -> Result<(), Stop> {
    let checks = &step.checks;
    let compare = |what: &str, expected: &Option<Value>, got: Value| match expected {
        Some(expected) => equal(what, expected.clone(), got),
        None => Ok(()),
    };
    match call {
        Call::Open { .. } | Call::Dup { .. } | Call::Dup2 { .. } | Call::Dup3 { .. } | Call::Dupfd { .. } => {
            compare("number", &checks.num, done.ret.into())
        }
        Call::Getfd { .. } => compare("close-on-exec", &checks.cloexec, done.cloexec.into()),
        Call::Read { .. } | Call::Pread { .. } => {
            compare("data", &checks.data, done.data.clone().into())?;
            compare("return value", &checks.ret, done.ret.into())
        }
        Call::Write { .. } | Call::Pwrite { .. } | Call::Lseek { .. } => {
            compare("return value", &checks.ret, done.ret.into())
        }
        Call::Readlink { .. } => compare("target", &checks.target, done.target.clone().into()),
        Call::Readdir { .. } => match &checks.names {
            Some(names) => {
                let got = done.names.clone().unwrap_or_default();
                equal("names", names.iter().cloned().collect::<Vec<_>>(), got)
            }
            None => Ok(()),
        },
        Call::Stat { .. } | Call::Fstat { .. } => {
            let stat = done.stat.as_ref().expect("stat gives attributes");
            compare("type", &checks.kind, stat.kind.clone().into())?;
            compare("nlink", &checks.nlink, stat.nlink.into())?;
            compare("size", &checks.size, stat.size.into())
        }
        _ => Ok(()),
    }
}

fn equal<T: PartialEq + std::fmt::Debug>(what: &str, expected: T, got: T) -> Result<(), Stop> {
    if expected == got { Ok(()) } else { differs(format!("{what} {expected:?}"), format!("{got:?}")) }
}

fn word(outcome: &Outcome) -> String {
    match outcome {
        Ok(_) => "ok".to_owned(),
        Err(errno) => errno.clone(),
    }
}

fn modes(words: &[Mode]) -> Vec<LockMode> {
    let mode = |word: &Mode| if *word == Mode::Sh { LockMode::Shared } else { LockMode::Exclusive };
    let mut modes: Vec<LockMode> = words.iter().map(mode).collect();
    modes.sort_unstable();
    modes
}
