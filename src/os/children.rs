//! This process, and its children.
//!
//! # Groups and signals
//!
//! A child stays in the process group of its parent. At a terminal, Ctrl-C then reaches it and all that it started, from the kernel,
//! even when every worker thread of the parent is stuck, which is what this library is about. In a group of its own it would be left
//! behind by a parent that is stuck or has no handler. The price: killing a child does not kill what the child started.
//!
//! There is no PR_SET_PDEATHSIG: a build hook outlives a parent that was killed, and with it the locks that it inherited (P6).
//! A parent that is killed half-way through a build must not leave the source tree to the next builder while the compiler still writes.
//!
//! # Descriptors
//!
//! The child gets /dev/null as standard input. An inherited descriptor keeps its number: what is cleared, in the child between fork and
//! exec, is its close-on-exec flag. Clearing it in the parent would give the lock to every other child started in the same instant.

use super::errno::{failed, failed_in_std};
use super::{Class, Machine, OsFile, OsWorld};
use crate::world::{Children, Command, Errno, Error, Output, Process, Result, Status, Stdio};
use rustix::fs::{Mode, OFlags};
use rustix::io::{self, FdFlags};
use rustix::process::{Pid, Resource, Signal, getpid, getrlimit, kill_process};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio as Stream;
use std::sync::Arc;
use tokio::process;

/// How many descriptor numbers starting a child takes, at most, between the beginning and the end of
/// [`spawn_child`](Children::spawn_child): /dev/null for its input, two pipes for its output, and the pipe through which std learns whether
/// the exec succeeded (measured with strace: 1 + 4 + 2). Afterwards one is left, the pidfd, or three with captured output.
///
/// Every spawn is charged that many, and fails with EMFILE before anything is started if they are not there, so that whether a child can
/// be started depends neither on what becomes of its output nor on which of its ways (fork, posix_spawn) std chooses.
pub const SPAWN_DESCRIPTORS: u32 = 7;

/// A child that has not been waited for; killed and reaped on drop.
pub struct OsChild {
    child: process::Child,
    id: Pid,
    program: Box<str>,
    _descriptors: Descriptors,
}

/// What the gauge counts for a child.
struct Descriptors {
    machine: Arc<Machine>,
    count: usize,
}

impl Descriptors {
    fn new(machine: &Arc<Machine>, output: Stdio) -> Self {
        let count = if output == Stdio::Capture { 3 } else { 1 };
        (0..count).for_each(|_| machine.gauge.enter(Class::Child));
        Descriptors { machine: Arc::clone(machine), count }
    }
}

impl Drop for Descriptors {
    fn drop(&mut self) {
        (0..self.count).for_each(|_| self.machine.gauge.leave(Class::Child));
    }
}

impl OsWorld {
    /// Looks whether there are [`SPAWN_DESCRIPTORS`] free numbers, and which: the spawn that follows is given the same ones, unless
    /// another thread opens something in between.
    fn find_room(&self) -> io::Result<()> {
        let first = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mut room = vec![first];
        while room.len() < SPAWN_DESCRIPTORS as usize {
            room.push(io::fcntl_dupfd_cloexec(&room[0], 0)?);
        }
        room.iter().for_each(|fd: &OwnedFd| self.gauge().saw(fd.as_raw_fd().unsigned_abs()));
        Ok(())
    }
}

/// Has the child keep these descriptors over the exec.
#[expect(
    unsafe_code,
    reason = "only code that runs in the child, after the fork, can clear the flag for this child alone"
)]
fn keep(command: &mut process::Command, numbers: Vec<RawFd>) {
    let clear = move || {
        for &number in &numbers {
            // SAFETY: the parent borrows the files until the spawn has returned, and the child has a copy of each.
            io::fcntl_setfd(unsafe { BorrowedFd::borrow_raw(number) }, FdFlags::empty())?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed. This is fcntl(2) in a loop over memory that was allocated
    // before the fork; an error is a bare number. Nothing is allocated, locked or dropped.
    unsafe { command.pre_exec(clear) };
}

impl Children for OsWorld {
    type Child = OsChild;

    async fn spawn_child(&self, command: Command<'_, OsFile>) -> Result<OsChild> {
        let Some((program, arguments)) = command.argv.split_first() else {
            return Err(Error::new(Errno::Inval, "execve", "an empty argv"));
        };
        self.find_room().map_err(|error| failed(error, "execve", program))?;
        let stream = || match command.output {
            Stdio::Inherit => Stream::inherit(),
            Stdio::Null => Stream::null(),
            Stdio::Capture => Stream::piped(),
        };
        let mut process = process::Command::new(program);
        process.args(arguments).stdin(Stream::null()).stdout(stream()).stderr(stream()).kill_on_drop(true);
        for (name, value) in &command.env {
            match value {
                Some(value) => process.env(name, value),
                None => process.env_remove(name),
            };
        }
        if let Some(dir) = &command.current_dir {
            process.current_dir(dir);
        }
        if !command.inherit.is_empty() {
            keep(&mut process, command.inherit.iter().map(|file| file.as_fd().as_raw_fd()).collect());
        }
        let child = process.spawn().map_err(|error| failed_in_std(&error, "execve", program))?;
        let id = child.id().and_then(|id| Pid::from_raw(id.cast_signed())).expect("not waited for yet");
        let _descriptors = Descriptors::new(&self.machine, command.output);
        Ok(OsChild { child, id, program: program.as_str().into(), _descriptors })
    }

    /// When waitpid(2) returns, the descriptors that the child itself held are closed, locks included. Captured output is read until
    /// nobody can write to it any more, which may be later: a program that the child left behind has inherited it.
    async fn wait(&self, child: OsChild) -> Result<Output> {
        let OsChild { child, program, _descriptors, .. } = child;
        let output = child.wait_with_output().await.map_err(|error| failed_in_std(&error, "wait", &program))?;
        let status = match (output.status.code(), output.status.signal()) {
            (Some(code), _) => Status::Exited(code),
            (None, signal) => Status::Killed(signal.unwrap_or_default()),
        };
        Ok(Output { status, stdout: output.stdout.into(), stderr: output.stderr.into() })
    }

    /// By number, which cannot have been given to another process: the child is not reaped before it is waited for.
    async fn kill(&self, child: &OsChild) -> Result<()> {
        kill_process(child.id, Signal::KILL).map_err(|error| failed(error, "kill", &child.program))
    }

    fn child_id(&self, child: &OsChild) -> u32 {
        child.id.as_raw_nonzero().get().unsigned_abs()
    }
}

impl Process for OsWorld {
    fn process_id(&self) -> u32 {
        getpid().as_raw_nonzero().get().unsigned_abs()
    }

    fn args(&self) -> Vec<String> {
        std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect()
    }

    /// Also absent if it is not UTF-8.
    fn var(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn descriptor_limit(&self) -> u32 {
        getrlimit(Resource::Nofile).current.map_or(u32::MAX, |limit| limit.try_into().unwrap_or(u32::MAX))
    }
}
