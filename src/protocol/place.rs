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
    let mut number = cache.number();
    let (temp, file) = loop {
        let temp = format!("{dir}/.{name}.{}-{number}.tmp", world.process_id());
        match world.open(&temp, OpenOptions::create_new()).await {
            Err(error) if error.errno == Errno::Exist => number.advance(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::OsWorld;
    use crate::protocol::Settings;
    use crate::world::{Files as _, read_file};

    #[test]
    fn a_wheel_replaces_the_one_before_and_nothing_else_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().to_str().unwrap().to_owned();
        OsWorld::run(1, 1, |world| async move {
            let cache = Cache::new(&world, Settings::new(&*dir, &*dir)).unwrap();
            world.mkdir(&format!("{dir}/out")).await.unwrap();
            for content in ["the first", "another"] {
                let file = world.open(&format!("{dir}/a.whl"), OpenOptions::replace()).await.unwrap();
                write_all(&world, &file, content.as_bytes()).await.unwrap();
                let placed = place(&world, &cache, &format!("{dir}/a.whl"), &format!("{dir}/out")).await.unwrap();
                assert_eq!(read_file(&world, &placed).await.unwrap(), content.as_bytes());
            }
            assert_eq!(world.read_dir(&format!("{dir}/out")).await.unwrap().len(), 1);

            let missing = place(&world, &cache, &format!("{dir}/b.whl"), &format!("{dir}/out")).await;
            assert!(missing.is_err());
            assert_eq!(world.read_dir(&format!("{dir}/out")).await.unwrap().len(), 1);
        })
        .unwrap();
    }
}
