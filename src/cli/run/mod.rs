//! `flockstep run`: the protocols of [`flockstep::protocol`] on the real machine.

mod build;
mod compile;
mod historic;
mod orphans;
mod uninstall;
mod workload;

use super::{BadInput, Exit};
use clap::Subcommand;
use flockstep::scenario::Policy;

#[derive(Subcommand)]
pub(crate) enum Run {
    /// Build Python source trees and sdists into wheels, each once, through a cache that any number of processes may share.
    Build(build::Arguments),
    /// Compile a tree of Python files to bytecode, with no more interpreters at once than the limit on open files has room for.
    Compile(compile::Arguments),
    /// Remove whole trees, whatever their width and depth, with a bounded number of open directories.
    Uninstall(uninstall::Arguments),
    /// One of the processes of `run build --processes`; started by it, never by a user.
    #[command(hide = true)]
    BuildWorker,
}

impl Run {
    pub(super) fn main(self, policies: &[Policy]) -> Result<Exit, BadInput> {
        match self {
            Run::Build(arguments) => build::main(arguments, policies),
            Run::Compile(arguments) => compile::main(arguments, policies),
            Run::Uninstall(arguments) => uninstall::main(arguments, policies),
            Run::BuildWorker => Ok(build::worker_main()),
        }
    }
}
