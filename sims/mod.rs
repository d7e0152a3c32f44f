//! The scenarios: one file per problem, with its historic policies, its mutants and the sound one.
//!
//! `cargo test` runs all of them (`sims/main.rs`), and so does `flockstep check`, whose binary includes this module: what the command
//! lists is what the tests run.

mod executor;
mod ground;
mod lock_file;
mod lock_order;
mod shard_lock;

use flockstep::scenario::Policy;

/// Every policy of every scenario, in the order of the table.
pub fn all() -> Vec<Policy> {
    [shard_lock::policies(), executor::policies(), lock_file::policies(), lock_order::policies(), ground::policies()]
        .concat()
}
