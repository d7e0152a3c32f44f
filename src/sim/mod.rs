//! The simulated world: a kernel, the executors of its processes, and the [`World`](crate::world::World) that their tasks see.
//!
//! From the bottom up: [`kernel`] is plain data; `state` adds tasks, threads, timers and what every task has announced; `executor`, `act`,
//! `calls`, `lives` and `sync` say what each announcement and each choice does to it; `machine` is loaded with a `plan` and polls futures, each kept in a `job`;
//! `world` is the face that protocols see, and `stage` where it finds the machine; `graph` explains why nothing moves.

mod act;
pub(crate) mod agent;
mod announce;
mod calls;
pub(crate) mod depend;
mod dials;
mod executor;
pub(crate) mod fingerprint;
mod forget;
mod graph;
mod job;
pub mod kernel;
mod lives;
mod machine;
mod names;
mod operation;
mod plan;
mod stage;
pub(crate) mod state;
pub(crate) mod symmetry;
mod sync;
mod tasks;
pub(crate) mod touch;
mod view;
mod world;

pub(crate) use dials::{Dialed, Dials};
pub(crate) use machine::{Chooser, End, Machine, panic_text};
pub(crate) use operation::Op;
pub use operation::OpId;
pub(crate) use plan::{Plan, PlannedProcess};
pub(crate) use state::{Body, Faults, Program, State};
pub use state::{Choice, TaskId, Time};
pub use symmetry::Renamed;
pub use view::{Content, HeldLock, KernelView};
pub use world::{
    SimChild, SimFile, SimGuard, SimJoining, SimMutex, SimNotify, SimPermit, SimRegion, SimSemaphore, SimWorld,
};

/// How the first task of a process ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With an exit code.
    Code(i32),
    /// With an error, which is a violation unless the process may fail.
    Failed(String),
}

impl From<()> for Exit {
    fn from((): ()) -> Exit {
        Exit::Code(0)
    }
}

impl From<i32> for Exit {
    fn from(code: i32) -> Exit {
        Exit::Code(code)
    }
}

impl<T, E: std::fmt::Display> From<Result<T, E>> for Exit {
    fn from(result: Result<T, E>) -> Exit {
        result.map_or_else(|error| Exit::Failed(error.to_string()), |_| Exit::Code(0))
    }
}
