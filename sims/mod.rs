//! The scenarios: one file per problem, with its historic policies, its mutants and the sound one.
//!
//! `cargo test` runs all of them (`sims/main.rs`), and so does `flockstep check`, whose binary includes this module: what the command
//! lists is what the tests run.

mod backend;
mod bytecode;
pub(crate) mod descriptors;
mod executor;
mod ground;
mod leftovers;
mod lock_file;
mod lock_order;
mod lock_scope;
mod nested_builds;
pub(crate) mod package;
mod publish;
mod python_uninstall;
mod shard_lock;
mod source_tree;

use flockstep::scenario::Policy;

/// Every policy of every scenario, in the order of the table.
pub fn all() -> Vec<Policy> {
    [
        shard_lock::policies(),
        executor::policies(),
        descriptors::policies(),
        nested_builds::policies(),
        lock_scope::policies(),
        source_tree::policies(),
        publish::policies(),
        leftovers::policies(),
        bytecode::policies(),
        python_uninstall::policies(),
        lock_file::policies(),
        lock_order::policies(),
        ground::policies(),
    ]
    .concat()
}
