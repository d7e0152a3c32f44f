//! The Python side: an interpreter, and our program that runs in it.

use super::{BuildSystem, Failure};
use crate::world::{Command, Errno, Output, Status, Stdio, World};

/// Everything that flockstep asks of Python; given to the interpreter as text.
const PROGRAM: &str = include_str!("hook.py");
/// The exit code with which the program says that it refuses, for the reason in its last line.
const REFUSED: Status = Status::Exited(3);
/// How much of a failed program's output is shown.
const LINES_SHOWN: usize = 20;

/// A Python interpreter, asked once who it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Interpreter {
    /// Where it says it is (what it was started by may be a wrapper).
    pub executable: String,
    /// Where its packages are.
    pub prefix: String,
    /// The interpreter that environments made with it are links to.
    pub base: String,
    /// Implementation, version, ABI and platform.
    pub identity: String,
}

impl Interpreter {
    /// Asks `python`.
    ///
    /// # Errors
    /// If there is none, or what is there is no CPython 3.9 or later.
    pub async fn ask<W: World>(world: &W, python: &str) -> Result<Self, Failure> {
        let remedy = "name a Python of version 3.9 or later with --python";
        let failure = |cause: String| Failure::new(python, cause, remedy);
        let command = Command::new(python, ["-c", PROGRAM, "interpreter"]).output(Stdio::Capture);
        let output = match run(world, command).await {
            Ok(output) => output,
            Err(error) if matches!(error.errno, Errno::NoEnt | Errno::Acces | Errno::NotDir | Errno::Exec) => {
                return Err(failure(format!("this Python cannot be started: {}", error.errno)));
            }
            Err(error) => return Err(error.into()),
        };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut lines = text.lines().map(str::to_owned);
        match (output.status.success(), lines.next(), lines.next(), lines.next(), lines.next()) {
            (true, Some(executable), Some(prefix), Some(base), Some(identity)) => {
                Ok(Interpreter { executable, prefix, base, identity })
            }
            _ => Err(failure("this is no usable Python".to_owned()).with_output(&output.stderr, LINES_SHOWN)),
        }
    }

    /// Reads off an archive how it wants to be built.
    ///
    /// # Errors
    /// If it is no source distribution that can be unpacked safely, or has no build system.
    pub async fn describe<W: World>(&self, world: &W, archive: &str) -> Result<BuildSystem, Failure> {
        let output = self.ask_about(world, "describe", &[archive]).await?;
        let text = String::from_utf8_lossy(&output);
        let mut lines = text.splitn(3, '\n');
        let (_top, kind, pyproject) = (lines.next(), lines.next(), lines.next());
        BuildSystem::of(archive, pyproject.filter(|_| kind == Some("pyproject")), kind == Some("setup"))
    }

    /// Unpacks an archive into a directory; the path of the tree that was in it.
    ///
    /// # Errors
    /// If it is no source distribution that can be unpacked safely.
    pub async fn unpack<W: World>(&self, world: &W, archive: &str, directory: &str) -> Result<String, Failure> {
        let output = self.ask_about(world, "unpack", &[archive, directory]).await?;
        Ok(format!("{directory}/{}", String::from_utf8_lossy(&output).trim_end()))
    }

    async fn ask_about<W: World>(&self, world: &W, command: &str, arguments: &[&str]) -> Result<Vec<u8>, Failure> {
        let argv = ["-I", "-c", PROGRAM, command].iter().chain(arguments).copied();
        let output = run(world, Command::new(&*self.executable, argv).output(Stdio::Capture)).await?;
        if output.status.success() {
            return Ok(output.stdout.to_vec());
        }
        let remedy = "name a complete .tar.gz source distribution, or a source tree";
        Err(failure_of(&output, arguments[0], "it could not be read", remedy))
    }
}

/// A run of our program in which foreign code runs: pip, or a backend.
pub struct Hook<'a, F> {
    /// The interpreter to run it with.
    pub python: &'a str,
    /// The prefix of its environment if that is one of ours, which nothing of the user's may leak into.
    pub environment: Option<&'a str>,
    /// The program's command.
    pub command: &'static str,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The working directory.
    pub directory: &'a str,
    /// Where it may leave temporary files: a directory that is removed afterwards, however it ends.
    pub temporary: &'a str,
    /// Locks that must outlive us if we are killed while it runs.
    pub locks: Vec<&'a F>,
}

impl<F: Send + Sync + 'static> Hook<'_, F> {
    /// Runs it to its end.
    ///
    /// # Errors
    /// A failure about `subject` with the end of what it wrote.
    pub async fn run<W: World<File = F>>(self, world: &W, subject: &str, remedy: &str) -> Result<(), Failure> {
        let mut argv = vec!["-c".to_owned(), PROGRAM.to_owned(), self.command.to_owned()];
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
        command.inherit = self.locks;
        let output = run(world, command).await?;
        if output.status.success() {
            return Ok(());
        }
        Err(failure_of(&output, subject, &format!("{} failed", self.command), remedy))
    }
}

async fn run<W: World>(world: &W, command: Command<'_, W::File>) -> crate::world::Result<Output> {
    let child = world.spawn_child(command).await?;
    world.wait(child).await
}

/// A refusal of our own program speaks for itself; anything else is shown.
fn failure_of(output: &Output, subject: &str, what: &str, remedy: &str) -> Failure {
    let shown = String::from_utf8_lossy(&output.stderr).into_owned();
    let mut lines: Vec<&str> = shown.lines().collect();
    if output.status == REFUSED {
        let cause = lines.pop().unwrap_or(what).to_owned();
        return Failure::new(subject, cause, remedy).with_output(lines.join("\n").as_bytes(), LINES_SHOWN);
    }
    let cause = match output.status {
        Status::Exited(code) => format!("{what} with exit code {code}"),
        Status::Killed(signal) => format!("{what}, killed by signal {signal}"),
    };
    Failure::new(subject, cause, remedy).with_output(shown.as_bytes(), LINES_SHOWN)
}
