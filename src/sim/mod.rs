//! The simulated machine.

pub mod kernel;
