//! The `flockstep` command.

mod cli;
mod report;
#[path = "../sims/mod.rs"]
#[allow(dead_code, unreachable_pub, reason = "the same files are a test target, which uses more of them")]
mod sims;

fn main() -> std::process::ExitCode {
    cli::main(&sims::all())
}
