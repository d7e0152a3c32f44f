//! The interpreter that everything is built with, and what it is asked where no foreign code runs.

use super::hook::{LINES_SHOWN, PROGRAM, failure_of};
use super::{BuildSystem, Failure};
use crate::protocol::{Error, Result, Task, Work};
use crate::world::{Command, Errno, Output, Stdio, World};

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
    pub async fn ask<W: World>(world: &W, task: &mut Task<W>, python: &str) -> Result<Self> {
        let remedy = "name a Python of version 3.9 or later with --python";
        let failure = |cause: String| Failure::new(python, cause, remedy);
        let command = Command::new(python, ["-I", "-c", PROGRAM, "interpreter"]).output(Stdio::Capture);
        let output = match task.run(world, command).await {
            Err(Error::System(error))
                if matches!(error.errno, Errno::NoEnt | Errno::Acces | Errno::NotDir | Errno::Exec) =>
            {
                return Err(failure(format!("this Python cannot be started: {}", error.errno)).into());
            }
            other => other?,
        };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut lines = text.lines().map(str::to_owned);
        match (output.status.success(), lines.next(), lines.next(), lines.next(), lines.next()) {
            (true, Some(executable), Some(prefix), Some(base), Some(identity)) => {
                Ok(Interpreter { executable, prefix, base, identity })
            }
            _ => Err(failure("this is no usable Python".to_owned()).with_output(&output.stderr, LINES_SHOWN).into()),
        }
    }

    /// Reads off an archive how it wants to be built.
    ///
    /// # Errors
    /// If it is no source distribution that can be unpacked safely, or has no build system.
    pub async fn describe<W: World>(&self, world: &W, task: &mut Task<W>, archive: &str) -> Result<BuildSystem> {
        let output = task.run(world, self.about(&["describe", archive])).await?;
        let text = about_archive(&output, archive)?;
        let mut lines = text.splitn(3, '\n');
        let (_top, kind, pyproject) = (lines.next(), lines.next(), lines.next());
        Ok(BuildSystem::of(archive, pyproject.filter(|_| kind == Some("pyproject")), kind == Some("setup"))?)
    }

    /// Unpacks an archive into a directory; the path of the tree that was in it.
    ///
    /// # Errors
    /// If it is no source distribution that can be unpacked safely.
    pub async fn unpack<W: World>(
        &self,
        world: &W,
        work: &mut Work<'_, W>,
        archive: &str,
        directory: &str,
    ) -> Result<String> {
        let output = work.run(world, None, self.about(&["unpack", archive, directory])).await?;
        Ok(format!("{directory}/{}", about_archive(&output, archive)?.trim_end()))
    }

    fn about<F>(&self, arguments: &[&str]) -> Command<'static, F> {
        let argv = ["-I", "-c", PROGRAM].iter().chain(arguments).copied();
        Command::new(&*self.executable, argv).output(Stdio::Capture)
    }
}

fn about_archive(output: &Output, archive: &str) -> Result<String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let remedy = "name a complete .tar.gz source distribution, or a source tree";
    Err(failure_of(output, archive, "reading it failed", remedy).into())
}
