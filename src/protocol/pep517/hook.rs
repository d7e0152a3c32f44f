//! Running our program where foreign code runs in it: pip, or a backend.

use super::Failure;
use crate::protocol::{Result, Tree, Work};
use crate::world::{Command, Output, Status, Stdio, World};

/// Everything that flockstep asks of Python; given to the interpreter as text.
pub(super) const PROGRAM: &str = include_str!("hook.py");
/// The exit code with which the program says that it refuses, for the reason in its last line.
const REFUSED: Status = Status::Exited(3);
/// How much of a failed program's output is shown.
pub(super) const LINES_SHOWN: usize = 20;

/// One run of it.
pub(super) struct Hook<'a> {
    /// The interpreter to run it with.
    pub(super) python: &'a str,
    /// The prefix of its environment if that is one of ours, which nothing of the user's may leak into.
    pub(super) environment: Option<&'a str>,
    /// The working directory.
    pub(super) directory: &'a str,
    /// Where it may leave temporary files: a directory that is removed afterwards, however it ends.
    pub(super) temporary: &'a str,
    /// The source tree that it writes into, if its backend does.
    pub(super) lock: Option<Tree<'a>>,
    /// The program's command and its arguments.
    pub(super) arguments: Vec<String>,
}

impl Hook<'_> {
    /// Runs it to its end, as part of the build `work`.
    ///
    /// # Errors
    /// A failure about `subject` with the end of what it wrote; those of [`Work::run`].
    pub(super) async fn run<W: World>(
        self,
        world: &W,
        work: &mut Work<'_, W>,
        subject: &str,
        remedy: &str,
    ) -> Result<()> {
        let what = format!("{} failed", self.arguments[0]);
        let mut argv = vec!["-c".to_owned(), PROGRAM.to_owned()];
        argv.extend(self.arguments);
        if self.environment.is_some() {
            argv.insert(0, "-I".to_owned());
        }
        let mut command = Command::new(self.python, argv)
            .current_dir(self.directory)
            .output(Stdio::Capture)
            .env("TMPDIR", self.temporary);
        if let Some(environment) = self.environment {
            let path = world.var("PATH").map_or(String::new(), |path| format!(":{path}"));
            command = command
                .env("PATH", format!("{environment}/bin{path}"))
                .env("VIRTUAL_ENV", environment)
                .env("PYTHONNOUSERSITE", "1");
            command.env.extend(["PYTHONPATH", "PYTHONHOME"].map(|name| (name.to_owned(), None)));
        }
        let output = work.run(world, self.lock, command).await?;
        if output.status.success() {
            return Ok(());
        }
        Err(failure_of(&output, subject, &what, remedy).into())
    }
}

/// A refusal of our own program speaks for itself; anything else is shown.
pub(super) fn failure_of(output: &Output, subject: &str, what: &str, remedy: &str) -> Failure {
    let shown = String::from_utf8_lossy(&output.stderr).into_owned();
    let mut lines: Vec<&str> = shown.lines().collect();
    let cause = match output.status {
        REFUSED => lines.pop().unwrap_or(what).to_owned(),
        Status::Exited(code) => format!("{what} with exit code {code}"),
        Status::Killed(signal) => format!("{what}, killed by signal {signal}"),
    };
    Failure::new(subject, cause, remedy).with_output(lines.join("\n").as_bytes(), LINES_SHOWN)
}
