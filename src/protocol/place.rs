//! Putting a result where the user wants it.
//!
//! A copy, not a hard link: whoever repairs, strips or signs a wheel in place would change the cache's at the same time, and the next
//! process would be given that. A wheel is small beside its build.
//!
//! The copy gets its name by rename when it is complete, so that any number of processes may put the same wheel into one directory.

use super::{Cache, Result};
use crate::world::{Errno, OpenOptions, World, write_all};

/// Copies the file at `path` into the directory `dir`, under the same name and in place of what has that name; where it is then.
/// Needs two descriptors.
///
/// # Errors
/// [`System`](super::Error::System) from any of the steps; the directory is then as it was.
pub async fn place<W: World>(world: &W, cache: &Cache<W>, path: &str, dir: &str) -> Result<String> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let (temp, file) = loop {
        let temp = format!("{dir}/.{name}.{}-{}.tmp", world.process_id(), cache.number());
        match world.open(&temp, OpenOptions::create_new()).await {
            Err(error) if error.errno == Errno::Exist => {}
            Err(error) => return Err(error.into()),
            Ok(file) => break (temp, file),
        }
    };
    let target = format!("{dir}/{name}");
    let placed = match fill(world, path, file).await {
        Ok(()) => world.rename(&temp, &target).await,
        Err(error) => Err(error),
    };
    if placed.is_err() {
        world.unlink(&temp).await.ok();
    }
    placed?;
    Ok(target)
}

/// Copies all of it and has it reach the disk.
async fn fill<W: World>(world: &W, path: &str, file: W::File) -> crate::world::Result<()> {
    let original = world.open(path, OpenOptions::read()).await?;
    loop {
        let bytes = world.read(&original, 256 << 10).await?;
        if bytes.is_empty() {
            break;
        }
        write_all(world, &file, &bytes).await?;
    }
    world.fsync(&file).await?;
    world.close(file).await?;
    world.close(original).await
}
