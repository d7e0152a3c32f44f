//! Temporary directories that say whether somebody still works in them.
//!
//! A process that is killed leaves its temporary files behind, and nobody can tell them from those in use: by age, a slow build loses
//! its directory; by process number, a container that shares the cache has numbers of its own. Here every temporary directory
//! carries its own flock(2) from its first moment on, and the hook that works in it inherits the descriptor: as long as the writer
//! *or its hook* lives, the lock does, and the sweeper removes only what it can lock.
//!
//! The lock is on the directory itself, so there is no lock file to remove with it. The writer's is *shared*: writers never meet in
//! one directory, only the sweeper asks for the exclusive one, and a shared lock needs no write access to what it locks, which a
//! directory cannot give (NFS refuses LOCK_EX on a descriptor that cannot write, and there the sweeper leaves everything alone).
//!
//! Between mkdir and flock the directory is nobody's, and a sweeper may take it: the writer then finds the lock refused or the name
//! gone, and takes another name.

use super::budget::Permit;
use super::cache::Number;
use super::lock_file::{is_current, refused};
use super::{Result, Task};
use crate::world::{Errno, LockMode, OpenOptions, World, create_dir_all, remove_dir_all};

/// A temporary directory in the cache, locked.
///
/// [`remove`](Self::remove) is the normal end. Dropping it only closes it, and leaves it to the [sweeper](sweep).
pub struct Temp<W: World> {
    file: W::File,
    path: String,
    _number: Number<W>,
    _permit: Permit<W>,
}

impl<W: World> Temp<W> {
    /// A new one, empty.
    ///
    /// # Errors
    /// [`NoLocks`](super::Error::NoLocks), and [`System`](super::Error::System) from mkdir, open and stat.
    pub async fn create(world: &W, task: &Task<W>) -> Result<Self> {
        let parent = parent(task);
        let mut number = task.cache().number();
        let made = world.forgetting(async {
            loop {
                let path = format!("{parent}/{}-{number}", world.process_id());
                match world.mkdir(&path).await {
                    Ok(()) => {}
                    Err(error) if error.errno == Errno::NoEnt => {
                        create_dir_all(world, &parent).await?;
                        continue;
                    }
                    // Of an earlier process with our number, or one in another container.
                    Err(error) if error.errno == Errno::Exist => {
                        number.advance();
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                }
                let file = match world.open(&path, OpenOptions::directory().no_follow()).await {
                    Err(error) if error.errno == Errno::NoEnt => {
                        number.advance(); // a sweeper has had it, and may still hold the lock of what had this name
                        continue;
                    }
                    other => other?,
                };
                let locked = world.try_flock(&file, LockMode::Shared).await.map_err(|error| refused(&path, error))?;
                if locked && is_current(world, &path, &file).await? {
                    return Result::Ok((file, path));
                }
                world.close(file).await?;
                number.advance(); // a sweeper has it
            }
        });
        let (file, path) = made.await?;
        Ok(Temp { file, path, _number: number, _permit: task.permit().clone() })
    }

    /// Where it is.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The descriptor that carries the lock, for a child to inherit.
    pub fn file(&self) -> &W::File {
        &self.file
    }

    /// Removes it with all that is in it, then gives the lock up.
    ///
    /// # Errors
    /// [`System`](super::Error::System) from unlink and rmdir; what is left belongs to the sweeper then.
    pub async fn remove(self, world: &W) -> Result<()> {
        let removed = remove_dir_all(world, &self.path).await;
        world.unlock(&self.file).await.ok();
        world.close(self.file).await.ok();
        Ok(removed?)
    }
}

/// Removes the temporary directories whose writers are gone; how many those were.
///
/// # Errors
/// [`NoLocks`](super::Error::NoLocks), and [`System`](super::Error::System) from reading and removing directories.
pub async fn sweep<W: World>(world: &W, task: &mut Task<W>) -> Result<usize> {
    let parent = parent(task);
    let entries = match world.read_dir(&parent).await {
        Err(error) if error.errno == Errno::NoEnt => return Ok(0),
        other => other?,
    };
    let mut swept = 0;
    for entry in entries.into_iter().filter(|entry| entry.is_dir) {
        let path = format!("{parent}/{}", entry.name);
        let file = match world.open(&path, OpenOptions::directory().no_follow()).await {
            // Its writer was faster, or is somebody else's.
            Err(error) if matches!(error.errno, Errno::NoEnt | Errno::Acces) => continue,
            other => other?,
        };
        match world.try_flock(&file, LockMode::Exclusive).await {
            Ok(true) => {
                remove_dir_all(world, &path).await?;
                world.unlock(&file).await?;
                swept += 1;
            }
            Ok(false) => {}
            // NFS: no exclusive lock without write access.
            Err(error) if error.errno == Errno::BadF => {}
            Err(error) => return Err(refused(&path, error)),
        }
        world.close(file).await?;
    }
    Ok(swept)
}

fn parent<W: World>(task: &Task<W>) -> String {
    format!("{}/tmp", task.cache().dir())
}
