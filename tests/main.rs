//! Tests of what belongs to no single module.

mod protocol;
mod run_build;
