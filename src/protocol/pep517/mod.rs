//! Building wheels as PEP 517 has it.

mod build_system;
mod failure;
mod python;
mod source;

pub use build_system::BuildSystem;
pub use failure::Failure;
pub use python::{Hook, Interpreter};
pub use source::Source;
