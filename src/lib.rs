//! Deterministic concurrency simulation of file-lock protocols.

#[cfg(feature = "cli")]
pub mod conform;
pub mod engine;
pub mod explore;
pub mod oracle;
pub mod os;
pub mod protocol;
pub mod scenario;
pub mod sim;
pub mod world;

pub use explore::{Enough, Exploration, Failure, Key, Method, Part, Strategy, Verdict};
pub use oracle::{Deadlock, Oracle, Violation, ViolationKind};
pub use scenario::{Scenario, scenario};
pub use sim::kernel::Ground;
pub use sim::{KernelView, Renamed, SimWorld, Time};

/// The examples of the README compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
