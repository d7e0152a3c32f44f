//! Replay keys: a schedule as one word for a shell.
//!
//! `SCENARIO:CASE:DEVIATIONS`, where the deviations are separated by commas and each reads `AGENT@OP@SUBJECT@NTH=AGENT@OP@SUBJECT`:
//! before the nth occurrence of the first step, the second is taken. An `NTH` of one and an empty subject are left out; `-` stands for
//! no deviation at all; `choose@NTH=VALUE` for a value; `without@PROCESS` for a process that is left out. Every byte that a shell or this grammar could mistake is written `%XX`.

use std::fmt::{self, Write};
use std::str::FromStr;

use super::replay::{Deviation, StepName};

/// Keys longer than this are kept in files.
pub const KEY_LENGTH_MAX: usize = 400;

/// What a deviation begins with that leaves a process out.
const WITHOUT: &str = "without@";

/// A schedule of a case of a scenario that can be replayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The scenario's name.
    pub scenario: String,
    /// The case's name; may be empty.
    pub case: String,
    pub(crate) deviations: Vec<Deviation>,
}

/// Why a word is no replay key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a replay key: {what} (expected SCENARIO:CASE:DEVIATIONS, as printed with a violation)")]
pub struct KeyError {
    what: String,
}

fn error(what: impl Into<String>) -> KeyError {
    KeyError { what: what.into() }
}

fn escape(text: &str, also: &[u8], into: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"._/-".contains(&byte) || also.contains(&byte) {
            into.push(byte as char);
        } else {
            let _ = write!(into, "%{byte:02x}");
        }
    }
}

fn unescape(text: &str) -> Result<String, KeyError> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next(), rest.next()].map(|d| d.and_then(|d| (d as char).to_digit(16)));
        let [Some(high), Some(low)] = digits else { return Err(error(format!("a broken %XX in {text:?}"))) };
        bytes.push((high * 16 + low) as u8);
    }
    String::from_utf8(bytes).map_err(|_| error(format!("{text:?} is not UTF-8")))
}

fn write_step(step: &StepName, nth: u32, into: &mut String) {
    escape(&step.agent, b"", into);
    into.push('@');
    escape(&step.op, b"", into);
    if !step.subject.is_empty() || nth > 1 {
        into.push('@');
        escape(&step.subject, b"", into);
    }
    if nth > 1 {
        let _ = write!(into, "@{nth}");
    }
}

fn read_step(text: &str) -> Result<(StepName, u32), KeyError> {
    let parts: Vec<&str> = text.split('@').collect();
    let nth = match parts.get(3) {
        None => 1,
        Some(digits) => digits.parse().map_err(|_| error(format!("{digits:?} is no number in {text:?}")))?,
    };
    let (Some(agent), Some(op)) = (parts.first(), parts.get(1)) else {
        return Err(error(format!("{text:?} names no operation")));
    };
    let subject = unescape(parts.get(2).copied().unwrap_or_default())?;
    Ok((StepName { agent: unescape(agent)?, op: unescape(op)?, subject }, nth))
}

impl Key {
    /// The processes that are left out.
    pub(crate) fn without(&self) -> impl Iterator<Item = &str> {
        self.deviations.iter().filter_map(|deviation| match deviation {
            Deviation::Without { process } => Some(&**process),
            _ => None,
        })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        escape(&self.scenario, b"", &mut text);
        text.push(':');
        escape(&self.case, b"=,", &mut text);
        text.push(':');
        if self.deviations.is_empty() {
            text.push('-');
        }
        for (at, deviation) in self.deviations.iter().enumerate() {
            if at > 0 {
                text.push(',');
            }
            match deviation {
                Deviation::Step { before, nth, take } => {
                    write_step(before, *nth, &mut text);
                    text.push('=');
                    write_step(take, 1, &mut text);
                }
                Deviation::Value { nth, value } => {
                    let _ = write!(text, "choose@{nth}={value}");
                }
                Deviation::Without { process } => {
                    text.push_str(WITHOUT);
                    escape(process, b"", &mut text);
                }
            }
        }
        f.write_str(&text)
    }
}

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Key, KeyError> {
        let mut parts = text.trim().splitn(3, ':');
        let (Some(scenario), Some(case), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(error(format!("{text:?} has fewer than two colons")));
        };
        let mut deviations = Vec::new();
        for deviation in rest.split(',').filter(|d| *d != "-") {
            if let Some(process) = deviation.strip_prefix(WITHOUT).filter(|name| !name.contains(['=', '@'])) {
                deviations.push(Deviation::Without { process: unescape(process)? });
                continue;
            }
            let Some((before, take)) = deviation.split_once('=') else {
                return Err(error(format!("{deviation:?} has no equals sign")));
            };
            if let Some(nth) = before.strip_prefix("choose@")
                && let (Ok(nth), Ok(value)) = (nth.parse(), take.parse())
            {
                deviations.push(Deviation::Value { nth, value });
                continue;
            }
            let ((before, nth), (take, _)) = (read_step(before)?, read_step(take)?);
            deviations.push(Deviation::Step { before, nth, take });
        }
        Ok(Key { scenario: unescape(scenario)?, case: unescape(case)?, deviations })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(agent: &str, op: &str, subject: &str) -> StepName {
        StepName { agent: agent.into(), op: op.into(), subject: subject.into() }
    }

    #[test]
    fn a_key_reads_back_as_itself() {
        let deviations = vec![
            Deviation::Without { process: "add c=@".into() },
            Deviation::Step { before: step("without", "flock", ""), nth: 1, take: step("without", "kill", "") },
            Deviation::Step { before: step("add a", "flock", ".lock"), nth: 3, take: step("b/t,1", "kill", "") },
            Deviation::Value { nth: 2, value: 7 },
            Deviation::Step { before: step("a", "sleep", ""), nth: 2, take: step("ü", "open", "x=y:z") },
        ];
        let key = Key { scenario: "a b/c".into(), case: "workers=1,tasks=2".into(), deviations };
        let text = key.to_string();
        assert_eq!(text.parse(), Ok(key));
        assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._/-%:=,@".contains(&b)), "{text} needs quotes");
    }

    #[test]
    fn a_key_without_deviations_reads_back() {
        let key = Key { scenario: "s".into(), case: String::new(), deviations: Vec::new() };
        assert_eq!(key.to_string(), "s::-");
        assert_eq!("s::-".parse(), Ok(key));
    }

    #[test]
    fn what_is_no_key_says_why() {
        for (text, part) in [("x", "colons"), ("a:b:c", "equals"), ("a:b:c=d", "operation"), ("a%f:b:-", "%XX")] {
            let error = text.parse::<Key>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
