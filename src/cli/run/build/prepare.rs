//! From arguments to a job: defaults, absolute paths, directories that exist.
//!
//! Here and not in a protocol: what a command line means depends on the working directory and on the user's account, and has to be
//! settled before there is a world.

#![expect(clippy::disallowed_methods, reason = "before there is a world")]

use super::Arguments;
use super::job::Job;
use crate::cli::BadInput;
use camino::{Utf8Path, Utf8PathBuf};
use flockstep::protocol::pep517::Failure;
use rustix::fs::{Access, access};
use std::env;

/// Makes the cache and the output directory if they are missing, and finds the interpreter.
///
/// # Errors
/// If nothing could be built at all.
pub(super) fn job(arguments: Arguments) -> Result<Job, Failure> {
    let cache = arguments.cache.or_else(default_cache).ok_or_else(|| {
        Failure::new("the cache", "neither FLOCKSTEP_CACHE nor XDG_CACHE_HOME nor HOME is set", "name one with --cache")
    })?;
    Ok(Job {
        inputs: arguments.inputs.iter().map(|input| resolved(input)).collect(),
        offset: 0,
        cache: directory(&cache, "--cache")?,
        temp_dir: directory(&temp_dir(), "TMPDIR")?,
        out: arguments.out.map(|out| directory(&out, "--out")).transpose()?,
        jobs: arguments.jobs.unwrap_or_else(processors),
        python: python(arguments.python)?,
        isolated: !arguments.no_build_isolation,
        rebuild: arguments.rebuild,
        policies: arguments.policy,
        lock_timeout: arguments.lock_timeout,
    })
}

/// How many this process may use.
pub(crate) fn processors() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| n.get() as u32)
}

/// The user's, without symbolic links.
pub(crate) fn home() -> Option<Utf8PathBuf> {
    Some(resolved(&variable("HOME")?).into())
}

/// Of this process, without symbolic links.
pub(crate) fn working_directory() -> Option<Utf8PathBuf> {
    Some(resolved(Utf8Path::new(".")).into())
}

pub(crate) fn is_symlink(path: &Utf8Path) -> bool {
    path.is_symlink()
}

/// Its path without symbolic links.
///
/// # Errors
/// If there is none.
pub(crate) fn existing_directory(path: &Utf8Path) -> Result<String, BadInput> {
    if path.is_dir() {
        return Ok(resolved(path));
    }
    let what = if path.exists() { "it is no directory" } else { "there is no such directory" };
    Err(BadInput::new(format!("{path}: {what}"), "name a directory that exists"))
}

/// A variable that is set and not empty, as the XDG specification has it.
fn variable(name: &str) -> Option<Utf8PathBuf> {
    env::var(name).ok().filter(|value| !value.is_empty()).map(Into::into)
}

fn default_cache() -> Option<Utf8PathBuf> {
    variable("FLOCKSTEP_CACHE")
        .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("flockstep")))
        .or_else(|| Some(variable("HOME")?.join(".cache/flockstep")))
}

fn temp_dir() -> Utf8PathBuf {
    env::temp_dir().try_into().unwrap_or_else(|_| "/tmp".into())
}

/// The path without symbolic links, or, if there is nothing, at least absolute.
fn resolved(path: &Utf8Path) -> String {
    path.canonicalize_utf8().map_or_else(|_| absolute(path), Utf8PathBuf::into_string)
}

fn absolute(path: &Utf8Path) -> String {
    camino::absolute_utf8(path).unwrap_or_else(|_| path.to_owned()).into_string()
}

/// A directory that we can write to, made if it is missing.
fn directory(path: &Utf8Path, option: &str) -> Result<String, Failure> {
    let failure = |cause: String| Failure::new(resolved(path), cause, format!("choose another one with {option}"));
    std::fs::create_dir_all(path).map_err(|error| failure(format!("this directory cannot be made: {error}")))?;
    let resolved = resolved(path);
    access(&resolved, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|error| failure(format!("this directory cannot be written to: {error}")))?;
    Ok(resolved)
}

/// A path as given, a name from PATH, or the first that PATH has of the usual names.
pub(crate) fn python(given: Option<Utf8PathBuf>) -> Result<String, Failure> {
    let names = match &given {
        Some(path) if path.as_str().contains('/') => {
            // Not without links: an environment's interpreter is a link, and means that environment.
            return Ok(absolute(path));
        }
        Some(name) => vec![name.as_str()],
        None => vec!["python3", "python"],
    };
    let path = env::var_os("PATH").unwrap_or_default();
    let directories: Vec<Utf8PathBuf> = env::split_paths(&path).filter_map(|dir| dir.try_into().ok()).collect();
    let mut candidates = names.iter().flat_map(|name| directories.iter().map(move |dir| dir.join(name)));
    candidates
        .find(|path| path.is_file() && access(path.as_str(), Access::EXEC_OK).is_ok())
        .map(|path| absolute(&path))
        .ok_or_else(|| {
            Failure::new(
                names.join(", "),
                "no such program on PATH",
                "install Python 3.9 or later, or name one with --python",
            )
        })
}
