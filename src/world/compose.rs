//! What is made of several operations, each a step of its own.

use super::{Clock, Errno, FileKind, Files, OpenOptions, Result};
use futures::future::{Either, select};
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

/// The time was over first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("timed out")]
pub struct Elapsed;

/// Waits for `future`, at most that long; then drops it. `None` waits for ever.
pub async fn timeout<W: Clock, T>(
    world: &W,
    limit: Option<Duration>,
    future: impl Future<Output = T> + Send,
) -> std::result::Result<T, Elapsed> {
    let Some(limit) = limit else { return Ok(future.await) };
    match select(pin!(future), pin!(world.deadline(limit))).await {
        Either::Left((value, _)) => Ok(value),
        Either::Right(((), _)) => Err(Elapsed),
    }
}

/// Reads a file from open to close.
///
/// # Errors
/// Those of open, read and close.
pub async fn read_file<W: Files>(world: &W, path: &str) -> Result<Vec<u8>> {
    world
        .forgetting(async {
            let file = world.open(path, OpenOptions::read()).await?;
            let mut content = Vec::new();
            loop {
                let bytes = world.read(&file, 64 << 10).await?;
                if bytes.is_empty() {
                    break;
                }
                content.extend(bytes);
            }
            world.close(file).await?;
            Ok(content)
        })
        .await
}

/// Writes all of it, in as many writes as it takes.
///
/// # Errors
/// Those of write.
pub async fn write_all<W: Files>(world: &W, file: &W::File, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        let written = world.write(file, bytes).await?;
        bytes = &bytes[written..];
    }
    Ok(())
}

/// Makes a directory and all that are missing above it; one that exists already, also because somebody else has just made it,
/// is fine. If somebody removes them meanwhile it begins again: a name that was there for mkdir and is gone for stat is no error of the
/// caller's.
///
/// # Errors
/// Those of mkdir other than EEXIST on a directory.
pub async fn create_dir_all<W: Files>(world: &W, path: &str) -> Result<()> {
    world
        .forgetting(async {
            let path = path.trim_end_matches('/');
            // What is to be made next, the innermost last.
            let mut stack = vec![path];
            while let Some(&at) = stack.last() {
                world.keeping(&stack);
                match world.mkdir(at).await {
                    Ok(()) => drop(stack.pop()),
                    Err(error) if error.errno == Errno::NoEnt => {
                        match at.rsplit_once('/').filter(|(parent, _)| !parent.is_empty()) {
                            Some((parent, _)) => stack.push(parent),
                            None => return Err(error),
                        }
                    }
                    Err(error) if error.errno == Errno::Exist => match world.lstat(at).await {
                        Ok(stat) if stat.kind == FileKind::Dir => drop(stack.pop()),
                        Ok(stat) if stat.kind == FileKind::Symlink && is_dir(world, at).await => drop(stack.pop()),
                        Err(gone) if gone.errno == Errno::NoEnt => {}
                        _ => return Err(error),
                    },
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        })
        .await
}

async fn is_dir<W: Files>(world: &W, path: &str) -> bool {
    world.stat(path).await.is_ok_and(|stat| stat.kind == FileKind::Dir)
}

/// Removes a directory and all below it, name by name: others see every state in between. Names that vanish meanwhile are fine, and so
/// is a path that does not exist.
///
/// # Errors
/// Those of readdir, unlink and rmdir other than ENOENT.
pub async fn remove_dir_all<W: Files>(world: &W, path: &str) -> Result<()> {
    world
        .forgetting(async {
            let gone = |result: Result<()>| match result {
                Err(error) if error.errno != Errno::NoEnt => Err(error),
                _ => Ok(()),
            };
            // Depth first with an explicit stack: a recursive async fn would need a box a level.
            let mut stack = vec![(path.to_owned(), false)];
            while let Some((dir, emptied)) = stack.pop() {
                if emptied {
                    gone(world.rmdir(&dir).await)?;
                    continue;
                }
                let entries = match world.read_dir(&dir).await {
                    Err(error) if error.errno == Errno::NoEnt => continue,
                    other => other?,
                };
                stack.push((dir.clone(), true));
                for entry in entries {
                    let path = format!("{dir}/{}", entry.name);
                    if entry.is_dir {
                        stack.push((path, false));
                    } else {
                        gone(world.unlink(&path).await)?;
                    }
                }
            }
            Ok(())
        })
        .await
}
