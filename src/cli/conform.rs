//! `flockstep conform`: cases about the kernel, put to either world.

use super::Exit;
use clap::{Args, ValueEnum};
use flockstep::conform::{self, Machine, Simulated, Verdict, case};
use flockstep::os::puppets::{self, Puppets};
use std::path::PathBuf;

/// Of a file in which more lines are wrong than these, it is not each line that is.
const WRONG_MAX: usize = 3;

#[derive(Args)]
pub(crate) struct Arguments {
    /// The cases: one JSON object a line.
    #[arg(long, value_name = "FILE.jsonl")]
    cases: PathBuf,
    /// Whose kernel.
    #[arg(long, value_enum, default_value_t = Which::Sim)]
    world: Which,
    /// Where the real processes work, and so on which filesystem [default: /dev/shm, or else the temporary directory]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Do not accept the results that only other filesystems give.
    #[arg(long)]
    strict: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    /// The simulated kernel.
    Sim,
    /// Real processes on the kernel underneath.
    Os,
}

#[derive(Args)]
pub(crate) struct Puppet {
    #[command(subcommand)]
    role: puppets::Role,
}

pub(crate) fn puppet_main(puppet: &Puppet) -> Exit {
    puppets::main(&puppet.role);
    Exit::Expected
}

#[expect(clippy::disallowed_methods, reason = "the case file is the user's, on the real filesystem")]
pub(crate) fn main(arguments: &Arguments) -> Exit {
    let path = arguments.cases.display();
    let file = match std::fs::read(&arguments.cases) {
        Ok(file) => file,
        Err(error) => {
            anstream::eprintln!("{path}: {error}");
            return Exit::BadInput;
        }
    };
    let cases = match case::parse(&file) {
        Ok(cases) => cases,
        Err(wrong) => {
            for malformed in wrong.iter().take(WRONG_MAX) {
                anstream::eprintln!("{path}: {malformed}");
            }
            if wrong.len() > WRONG_MAX {
                anstream::eprintln!("{path}: and {} more lines that are no case", wrong.len() - WRONG_MAX);
            }
            return Exit::BadInput;
        }
    };
    match arguments.world {
        Which::Sim => put(&cases, &mut Simulated::new(), arguments.strict),
        Which::Os => match Puppets::start(arguments.dir.as_deref()) {
            Ok(mut puppets) => put(&cases, &mut puppets, arguments.strict),
            Err(trouble) => {
                anstream::eprintln!("cannot start processes to try the kernel with: {trouble}");
                Exit::BadInput
            }
        },
    }
}

fn put(cases: &[case::Case], machine: &mut impl Machine, strict: bool) -> Exit {
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for case in cases {
        match conform::run(case, machine, strict) {
            Verdict::Passed => passed += 1,
            Verdict::Failed(mismatch) => {
                failed += 1;
                let conform::Mismatch { step, text, expected, got } = mismatch;
                anstream::println!("{}: step {step}: expected {expected}, got {got}\n    {text}", case.name);
            }
            Verdict::Skipped(why) => {
                skipped += 1;
                anstream::println!("{}: skipped: {why}", case.name);
            }
        }
    }
    anstream::println!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed == 0 { Exit::Expected } else { Exit::Unexpected }
}
