//! This process, and its children.

use super::{Files, Result};
use std::future::Future;
use std::sync::Arc;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// By itself, with that exit code.
    Exited(i32),
    /// By a signal.
    Killed(i32),
}

impl Status {
    /// Exit code 0.
    pub fn success(self) -> bool {
        self == Status::Exited(0)
    }
}

/// What becomes of a child's standard output and error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Stdio {
    /// Goes where the parent's goes.
    Inherit,
    /// Goes nowhere.
    #[default]
    Null,
    /// Goes into two pipes, which [`Children::wait`] reads to the end. Two descriptors of the parent while the child lives.
    Capture,
}

/// A program to start. The real world runs `argv[0]` as execvp(3) would; the simulated one runs the program that the scenario
/// registered under the last path component of `argv[0]`.
pub struct Command<'a, F> {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Variables that differ from the parent's; `None` removes one.
    pub env: Vec<(String, Option<String>)>,
    /// Working directory; the parent's if absent.
    pub current_dir: Option<String>,
    /// Standard output and error.
    pub output: Stdio,
    /// Descriptors that the child inherits, under the same numbers, close-on-exec or not. All others that are not close-on-exec
    /// are inherited as well, as everywhere.
    pub inherit: Vec<&'a F>,
}

impl<'a, F> Command<'a, F> {
    /// `program` with `arguments`, everything else as the parent has it and no output.
    pub fn new(program: impl Into<String>, arguments: impl IntoIterator<Item: Into<String>>) -> Self {
        let mut argv = vec![program.into()];
        argv.extend(arguments.into_iter().map(Into::into));
        Command { argv, env: Vec::new(), current_dir: None, output: Stdio::Null, inherit: Vec::new() }
    }
    /// The same, with a variable set.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), Some(value.into())));
        self
    }
    /// The same, in that working directory.
    pub fn current_dir(mut self, path: impl Into<String>) -> Self {
        self.current_dir = Some(path.into());
        self
    }
    /// The same, with that output.
    pub fn output(mut self, output: Stdio) -> Self {
        self.output = output;
        self
    }
    /// The same, with a descriptor that the child inherits.
    pub fn inherit(mut self, file: &'a F) -> Self {
        self.inherit.push(file);
        self
    }
}

/// How a child ended, and what it said.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Output {
    /// How it ended.
    pub status: Status,
    /// What it wrote to standard output, if captured.
    pub stdout: Arc<[u8]>,
    /// What it wrote to standard error, if captured.
    pub stderr: Arc<[u8]>,
}

/// Child processes.
///
/// # Contract
///
/// * **P1** Starting is two steps, fork and exec: between them the child holds a copy of *every* descriptor of the parent, and
///   with it every lock. After exec it holds those without close-on-exec and those named in [`Command::inherit`].
/// * **P2** `spawn_child` returns after the exec, or with the error of the exec. It keeps the calling thread meanwhile.
/// * **P3** While the child is not waited for, the parent holds one descriptor for it (a pidfd) and two more for captured output;
///   during the spawn itself some more.
/// * **P4** `wait` is asynchronous and returns when the child has ended and all that it inherited is closed.
/// * **P5** A [`Child`](Children::Child) that is dropped without having been waited for is killed (SIGKILL) and reaped in the background.
/// * **P6** A child outlives a parent that dies; the locks that it inherited live on with it.
pub trait Children: Files {
    /// A child that has not been waited for.
    type Child: Send + 'static;
    /// fork(2) and execve(2).
    fn spawn_child(&self, command: Command<'_, Self::File>) -> impl Future<Output = Result<Self::Child>> + Send;
    /// waitpid(2), and the captured output.
    fn wait(&self, child: Self::Child) -> impl Future<Output = Result<Output>> + Send;
    /// SIGKILL. Wait for it afterwards.
    fn kill(&self, child: &Self::Child) -> impl Future<Output = Result<()>> + Send;
    /// The child's process number.
    fn child_id(&self, child: &Self::Child) -> u32;
}

/// This process.
pub trait Process: Sync {
    /// getpid(2).
    fn process_id(&self) -> u32;
    /// Program and arguments.
    fn args(&self) -> Vec<String>;
    /// A variable of the environment.
    fn var(&self, name: &str) -> Option<String>;
    /// The soft RLIMIT_NOFILE: descriptor numbers are below it.
    fn descriptor_limit(&self) -> u32;
}
