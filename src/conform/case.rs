//! Case files: one JSON object a line.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

use super::call::{Call, Fd, canonical};

/// A case: steps in order, each with what is expected of it.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name; no other of the file has it.
    pub name: String,
    /// What it does.
    pub steps: Vec<Step>,
}

/// A step of a case.
#[derive(Clone, Debug)]
pub struct Step {
    /// Which process.
    pub process: u32,
    /// What it does.
    pub operation: Operation,
    /// `"ok"`, `"blocks"` or the name of an errno.
    pub expect: String,
    /// What other filesystems give.
    pub alternatives: Vec<String>,
    /// What else is expected of the result.
    pub checks: Checks,
    /// The step as it stands in the file.
    pub text: String,
}

/// What a step does.
#[derive(Clone, Debug)]
pub enum Operation {
    /// A system call of the process; the descriptor that it makes gets that name.
    Call(Call, Option<String>),
    /// Something that is done to or asked of the process.
    Action(Action),
    /// Not known here.
    Unknown(String),
}

/// Operations that are no plain call.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names are those of the case files")]
pub enum Action {
    Fork {
        child: u32,
    },
    Exec {
        #[serde(default)]
        path: Option<String>,
    },
    Exit,
    Kill,
    Signal {
        target: u32,
    },
    SameFile {
        a: Reference,
        b: Reference,
        #[serde(default)]
        value: Option<bool>,
    },
    Locks {
        #[serde(default)]
        fd: Option<Fd>,
        #[serde(default)]
        path: Option<String>,
        #[serde(default)]
        held: Vec<Mode>,
        #[serde(default)]
        waiting: Vec<Mode>,
    },
    ExpectBlocked,
    ExpectUnblocked,
    ExpectOneUnblocked {
        procs: Vec<u32>,
    },
    #[serde(other)]
    None,
}

/// The mode of a lock in the lock table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Mode {
    /// Shared.
    Sh,
    /// Exclusive.
    Ex,
}

/// A file, by path or by descriptor.
#[derive(Clone, Debug, Deserialize)]
pub struct Reference {
    /// By descriptor.
    #[serde(default)]
    pub fd: Option<Fd>,
    /// By path.
    #[serde(default)]
    pub path: Option<String>,
    /// Whether a symbolic link is followed.
    #[serde(default)]
    pub follow: Option<bool>,
}

/// What is expected of a result besides success. Some words are arguments of other operations, so these are as they stand in the file.
#[derive(Clone, Debug, Default, Deserialize)]
#[allow(missing_docs, reason = "the names are those of the case files")]
pub struct Checks {
    pub num: Option<Value>,
    pub ret: Option<Value>,
    pub data: Option<Value>,
    pub target: Option<Value>,
    pub names: Option<BTreeSet<String>>,
    #[serde(rename = "type")]
    pub kind: Option<Value>,
    pub nlink: Option<Value>,
    pub size: Option<Value>,
    pub cloexec: Option<Value>,
}

/// What is wrong with a case file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct Malformed {
    /// Where, from 1.
    pub line: usize,
    /// What.
    pub what: String,
}

#[derive(Deserialize)]
struct RawCase {
    name: String,
    steps: Vec<Value>,
}

#[derive(Deserialize)]
struct RawStep {
    op: String,
    #[serde(default)]
    proc: u32,
    #[serde(default)]
    expect: Option<String>,
    #[serde(default)]
    alt: Vec<String>,
    #[serde(default, rename = "as")]
    name: Option<String>,
}

/// The cases of a file, or everything that is wrong with it: never an empty list.
pub fn parse(file: &[u8]) -> Result<Vec<Case>, Vec<Malformed>> {
    let text = std::str::from_utf8(file).map_err(|error| {
        let line = 1 + file[..error.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count();
        let what = "not text (a byte that is not UTF-8); expected one JSON object a line".to_owned();
        vec![Malformed { line, what }]
    })?;
    if let Some(at) = text.find('\0') {
        let line = 1 + text[..at].matches('\n').count();
        let what = "not text (a zero byte); expected one JSON object a line".to_owned();
        return Err(vec![Malformed { line, what }]);
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text); // as some editors begin a file
    let (mut cases, mut wrong, mut names) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let malformed = |what: String| Malformed { line: number + 1, what };
        match parse_case(line) {
            Ok(case) if !names.insert(case.name.clone()) => {
                wrong.push(malformed(format!("a second case is called {:?}", case.name)));
            }
            Ok(case) => cases.push(case),
            Err(what) => wrong.push(malformed(what)),
        }
    }
    if cases.is_empty() && wrong.is_empty() {
        wrong.push(Malformed { line: 1, what: "no case in the file; expected one JSON object a line".into() });
    }
    if wrong.is_empty() { Ok(cases) } else { Err(wrong) }
}

fn parse_case(line: &str) -> Result<Case, String> {
    let case: RawCase = serde_json::from_str(line).map_err(|error| {
        // It says "line 1", which is not the line of the file.
        let what = error.to_string();
        let what = what.split(" at line ").next().unwrap_or_default();
        let column = error.column();
        if error.is_eof() {
            format!("column {column}: the line ends within a case (truncated?)")
        } else {
            format!("column {column}: expected a case with name and steps: {what}")
        }
    })?;
    let name = case.name;
    if case.steps.is_empty() {
        return Err(format!("case {name:?} has no steps"));
    }
    let step = |(number, value)| parse_step(value).map_err(|what| format!("case {name:?}, step {number}: {what}"));
    let steps = case.steps.into_iter().enumerate().map(step).collect::<Result<_, _>>()?;
    Ok(Case { name, steps })
}

fn parse_step(value: Value) -> Result<Step, String> {
    let text = value.to_string();
    let plain = |error: serde_json::Error| error.to_string();
    let raw = RawStep::deserialize(&value).map_err(plain)?;
    let call = Call::deserialize(&value).map_err(|error| format!("{}: {error}", raw.op))?;
    let action = Action::deserialize(&value).map_err(|error| format!("{}: {error}", raw.op))?;
    let operation = match (call, action) {
        (Call::Unknown, Action::None) => Operation::Unknown(raw.op),
        (Call::Unknown, action) => {
            check_action(&action)?;
            Operation::Action(action)
        }
        (call, _) if call.is_known() => Operation::Call(call, raw.name),
        _ => Operation::Unknown(format!("{} with an unknown word", raw.op)),
    };
    let checks = match &operation {
        Operation::Unknown(_) => Checks::default(),
        _ => Checks::deserialize(&value).map_err(plain)?,
    };
    let expect = canonical(raw.expect.as_deref().unwrap_or("ok")).to_owned();
    let alternatives = raw.alt.iter().map(|word| canonical(word).to_owned()).collect();
    Ok(Step { process: raw.proc, operation, expect, alternatives, checks, text })
}

fn check_action(action: &Action) -> Result<(), String> {
    let one = |fd: &Option<Fd>, path: &Option<String>| fd.is_some() != path.is_some();
    let fine = match action {
        Action::SameFile { a, b, .. } => one(&a.fd, &a.path) && one(&b.fd, &b.path),
        Action::Locks { fd, path, .. } => one(fd, path),
        _ => true,
    };
    if fine { Ok(()) } else { Err("expected either fd or path".into()) }
}

impl Case {
    /// The processes that exist from the start: those that no fork makes.
    pub fn roots(&self) -> Vec<u32> {
        let (mut all, mut children) = (BTreeSet::new(), BTreeSet::new());
        for step in &self.steps {
            all.insert(step.process);
            match &step.operation {
                Operation::Action(Action::Fork { child }) => drop(children.insert(*child)),
                Operation::Action(Action::Signal { target }) => drop(all.insert(*target)),
                Operation::Action(Action::ExpectOneUnblocked { procs }) => all.extend(procs),
                _ => {}
            }
        }
        all.difference(&children).copied().collect()
    }

    /// The first operation that is not known here.
    pub fn unknown(&self) -> Option<&str> {
        self.steps.iter().find_map(|step| match &step.operation {
            Operation::Unknown(what) => Some(what.as_str()),
            _ => None,
        })
    }
}
