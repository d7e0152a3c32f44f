//! Why something could not be built, as the user is told.

use crate::protocol::Error;
use crate::world;
use std::fmt;

/// One clear error: what it is about, what went wrong, what to do, and the end of what the program at fault said.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Failure {
    /// The file, directory or program that it is about.
    pub path: String,
    /// What went wrong.
    pub cause: String,
    /// What can be done about it.
    pub remedy: String,
    /// The last lines that a failed program wrote; often empty.
    pub output: Vec<String>,
}

impl Failure {
    /// A failure without output.
    pub fn new(path: impl Into<String>, cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Failure { path: path.into(), cause: cause.into(), remedy: remedy.into(), output: Vec::new() }
    }

    /// A World operation that failed where nothing else is known about the reason.
    pub fn of_world(error: &world::Error) -> Self {
        let remedy = match error.errno {
            world::Errno::MFile | world::Errno::NFile => "raise `ulimit -n`, or give a smaller --jobs",
            world::Errno::NoSpc => "make room on that disk, or choose another place with --cache and TMPDIR",
            world::Errno::Acces | world::Errno::Perm | world::Errno::RoFs => {
                "make it accessible to you, or choose another place with --cache, --out or TMPDIR"
            }
            _ => "see that it exists and is accessible",
        };
        Failure::new(error.subject.to_string(), format!("{} failed: {}", error.call, error.errno), remedy)
    }

    /// The same, with the last `lines` lines of a program's output.
    pub fn with_output(mut self, output: &[u8], lines: usize) -> Self {
        let text = String::from_utf8_lossy(output);
        let all: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        self.output = all[all.len().saturating_sub(lines)..].iter().map(ToString::to_string).collect();
        self
    }
}

impl From<world::Error> for Failure {
    fn from(error: world::Error) -> Self {
        Failure::of_world(&error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Error::recipe(failure)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.cause)?;
        for line in &self.output {
            write!(f, "\n    | {line}")?;
        }
        write!(f, "\n  remedy: {}", self.remedy)
    }
}

impl std::error::Error for Failure {}
