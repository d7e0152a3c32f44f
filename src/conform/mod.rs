//! Conformance: facts about the kernel, written as cases, and machines that they are put to.
//!
//! A proof on a wrong kernel is worth nothing, and a kernel written from the manual pages is wrong: a widely used second one differs from
//! Linux in 54 of 310 such cases. So what the simulated kernel does is compared with what test suites of others assert
//! ([`case`] reads them), and with what the kernel underneath does. Both are a [`Machine`]: [`Simulated`] is our kernel with its sleepers
//! in the very order of fs/locks.c ([`waiters`]), which an exploration does not promise and therefore does not use, and [`Possible`] all of
//! its states where that leaves an order open; [`Puppets`](crate::os::puppets::Puppets) are real processes.

pub mod call;
mod calls;
pub mod case;
mod deed;
mod possible;
mod run;
pub mod simulated;
pub mod waiters;

pub use possible::{Possible, STATES_MAX, TooMany};
pub use run::{Mismatch, Verdict, run};
pub use simulated::Simulated;

use std::fmt;

use call::{Call, Outcome};

use crate::world::{FileId, LockMode};

/// What came of a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// It has returned.
    Returned(Outcome),
    /// It sleeps.
    Asleep,
}

/// The machine itself failed: nothing is said about the kernel.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Trouble(pub String);

/// What [`Machine`] operations return.
pub type Result<T> = std::result::Result<T, Trouble>;

/// The flock(2) locks on a file, as multisets, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LockTable {
    /// Held.
    pub held: Vec<LockMode>,
    /// Waited for.
    pub waiting: Vec<LockMode>,
}

impl fmt::Display for LockTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |mode: &LockMode| if *mode == LockMode::Shared { "SH" } else { "EX" };
        let words = |modes: &[LockMode]| modes.iter().map(word).collect::<Vec<_>>().join(" ");
        write!(f, "held [{}] waiting [{}]", words(&self.held), words(&self.waiting))
    }
}

/// Processes that do as they are told, one call at a time, each finished or known to sleep before the next is made. They are named by
/// small numbers; every one starts with descriptors 0, 1 and 2, umask 022 and the case's empty directory as its own.
pub trait Machine {
    /// Starts over: an empty directory, and these processes.
    fn begin(&mut self, processes: &[u32]) -> Result<()>;
    /// A call by a process that does not sleep.
    fn call(&mut self, process: u32, call: &Call) -> Result<Progress>;
    /// fork(2).
    fn fork(&mut self, process: u32, child: u32) -> Result<Outcome>;
    /// execve(2) of `path`, or of some program that exists.
    fn exec(&mut self, process: u32, path: Option<&str>) -> Result<Outcome>;
    /// _exit(2), until the process can be reaped.
    fn exit(&mut self, process: u32) -> Result<()>;
    /// SIGKILL, until the process can be reaped.
    fn kill(&mut self, process: u32) -> Result<()>;
    /// SIGUSR1; whether the process survives it.
    fn signal(&mut self, process: u32) -> Result<bool>;
    /// What the call that a process sleeps in has returned meanwhile, once all that can move has moved; said once.
    fn returned(&mut self, process: u32) -> Result<Option<Outcome>>;
    /// The flock(2) locks on a file; `None` if this machine cannot tell.
    fn locks(&mut self, file: FileId) -> Result<Option<LockTable>>;
}
