//! Bytecode for a whole tree, by a bounded number of interpreters.
//!
//! Each interpreter at work costs three descriptors, and one per processor is the obvious number: on a machine with many processors and
//! the usual limit of 256 that is already too many (uv 11296 has the report). Here an interpreter is started by a task, a task is a permit,
//! and permits come from the descriptor budget.
//!
//! Work is handed out in chunks, each to an interpreter of its own that gets the paths as arguments: nothing stays open between two
//! chunks, no pipe is written to that nobody reads, and an interpreter that dies takes one chunk with it. What is still to be done is
//! found as it is needed: a directory is listed, one at a time, only when there are not enough files for the next chunk.

use super::schedule::run_all;
use super::{Cache, Error, Order, Result, Task};
use crate::protocol::pep517::Failure;
use crate::world::{Command, Errno, Status, Stdio, World};
use parking_lot::Mutex;
use std::mem;
use std::sync::Arc;

/// The program that an interpreter is given; its arguments are the paths.
const PROGRAM: &str = include_str!("bytecode.py");
/// As many files as keep an interpreter busy for longer than it takes to start.
pub const CHUNK: usize = 64;
/// As many bytes of paths as fit into an argument list everywhere.
const CHUNK_BYTES: usize = 64 << 10;
/// How much of what a failed interpreter wrote is shown.
const LINES_SHOWN: usize = 10;

/// What to compile, and how.
#[derive(Clone, Debug)]
pub struct Compile {
    /// The directory; everything below it whose name ends in `.py`, except through symbolic links.
    pub tree: String,
    /// The interpreter to compile with, and for.
    pub python: String,
    /// How many interpreters at once. The descriptor budget may allow fewer.
    pub workers: u32,
    /// How many files an interpreter is given at once, usually [`CHUNK`]; at least one.
    pub chunk: usize,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Compiled {
    /// How many files have bytecode now.
    pub files: u64,
    /// Those that could not be compiled, and why.
    pub failures: Vec<(String, String)>,
    /// How many interpreters there were at once, at most.
    pub workers: u32,
    /// Why not all of it was looked at, if it was not: the tree cannot be read, or an interpreter cannot be started or fails.
    pub stopped: Option<Error>,
}

/// Compiles all of it. A file that cannot be compiled stops no other; an error that has nothing to do with a file stops everything, and
/// what was compiled stays.
pub async fn compile<W: World>(world: &W, cache: &Cache<W>, parent: &Order, what: Compile) -> Compiled {
    let (workers, weight) = cache.settings().discipline.workers.at_once(what.workers, cache.budget());
    let shared = Arc::new(Shared {
        // A mutex of the World's, since who gets which chunk is a choice that an exploration must see.
        left: world.mutex("files to compile", Left { directories: vec![what.tree.clone()], files: Vec::new() }),
        done: Mutex::new(Compiled { workers, ..Compiled::default() }),
        weight,
        what,
    });
    let lane = |_| run_lane(world.clone(), cache.clone(), parent.fork(), shared.clone());
    let lost = run_all(world, "compile", (0..workers).map(lane)).await;
    let mut done = mem::take(&mut *shared.done.lock());
    done.failures.sort();
    done.stopped = done.stopped.or(lost.map(|cause| Error::Lost { key: shared.what.tree.clone(), cause }));
    done
}

struct Shared<W: World> {
    what: Compile,
    /// Of each task's permit: an interpreter, and otherwise one directory.
    weight: u32,
    left: W::Mutex<Left>,
    done: Mutex<Compiled>,
}

/// What nobody has begun.
struct Left {
    directories: Vec<String>,
    files: Vec<String>,
}

impl Left {
    /// The next paths, none if that was all.
    async fn chunk<W: World>(&mut self, world: &W, most: usize) -> Result<Vec<String>> {
        while self.files.len() < most
            && let Some(directory) = self.directories.pop()
        {
            for entry in world.read_dir(&directory).await? {
                let path = format!("{directory}/{}", entry.name);
                if entry.is_dir && entry.name != "__pycache__" {
                    self.directories.push(path);
                } else if !entry.is_dir && entry.name.ends_with(".py") {
                    self.files.push(path);
                }
            }
        }
        let mut bytes = 0;
        let fits = |path: &&String| {
            bytes += path.len() + 1;
            bytes <= CHUNK_BYTES
        };
        let count = self.files.iter().rev().take(most).take_while(fits).count();
        // One that is longer than all of them may be is tried all the same.
        Ok(self.files.split_off(self.files.len() - count.max(1).min(self.files.len())))
    }
}

/// Compiles chunks until none is left, or something is wrong.
async fn run_lane<W: World>(world: W, cache: Cache<W>, parent: Order, shared: Arc<Shared<W>>) {
    let result = async {
        let mut task = cache.task(&world, &parent, shared.weight).await?;
        while shared.done.lock().stopped.is_none() {
            let chunk = world.lock(&shared.left).await.chunk(&world, shared.what.chunk).await?;
            if chunk.is_empty() {
                break;
            }
            let failures = compile_chunk(&world, &mut task, &shared.what, &chunk).await?;
            let mut done = shared.done.lock();
            done.files += (chunk.len() - failures.len()) as u64;
            done.failures.extend(failures);
        }
        Ok(())
    };
    if let Err(error) = result.await {
        shared.done.lock().stopped.get_or_insert(error);
    }
}

async fn compile_chunk<W: World>(
    world: &W,
    task: &mut Task<W>,
    what: &Compile,
    chunk: &[String],
) -> Result<Vec<(String, String)>> {
    let failed =
        |cause: String| Failure::new(&*what.python, cause, "name a Python of version 3.9 or later with --python");
    let arguments = ["-I", "-c", PROGRAM].into_iter().map(str::to_owned).chain(chunk.iter().cloned());
    let command = Command::new(&*what.python, arguments).output(Stdio::Capture);
    let output = match task.run(world, command).await {
        Err(Error::System(error))
            if matches!(error.errno, Errno::NoEnt | Errno::Acces | Errno::NotDir | Errno::Exec) =>
        {
            return Err(failed(format!("this Python cannot be started: {}", error.errno)).into());
        }
        other => other?,
    };
    if !output.status.success() {
        let how = match output.status {
            Status::Exited(code) => format!("compiling failed with exit code {code}"),
            Status::Killed(signal) => format!("compiling was killed by signal {signal}"),
        };
        return Err(failed(how).with_output(&output.stderr, LINES_SHOWN).into());
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let failure = |line: &str| {
        let (place, why) = line.split_once('\t')?;
        Some((chunk.get(place.parse::<usize>().ok()?)?.clone(), why.to_owned()))
    };
    Ok(said.lines().filter_map(failure).collect())
}
