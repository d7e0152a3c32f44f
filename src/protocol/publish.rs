//! Publishing a result: everything first, the marker last.
//!
//! A crash at any step leaves the entry that was there before, or the new one. The steps, each of which makes the next one safe:
//!
//! 1. the files of the result reach the disk, while they have a name that only their writer knows;
//! 2. the directory gets its name in the shard by rename;
//! 3. that name reaches the disk. Without this, a power loss may keep the rename of step 5 and lose that of step 2;
//! 4. the new marker is written and reaches the disk, beside the result in the temporary directory;
//! 5. it replaces the old marker by rename: **this is the moment** at which others see the result;
//! 6. that reaches the disk.
//!
//! What a crash leaves is either in a temporary directory, where the sweeper finds it, or a revision that no marker names, which `clean`
//! removes.
//!
//! # Without the lock
//!
//! The caller holds the lock of the shard over all of it. A lock can be lost all the same: its file is removed by hand, or its server
//! restarts. Nothing above rests on it, and two publishers at once (scenario `publish`) still keep these promises:
//!
//! * nobody sees half an entry: each publisher writes in a temporary directory of its own, and rename(2) refuses a revision that another
//!   one has taken, unless that one is empty;
//! * nothing that was published is removed or changed: who comes second takes the next number;
//! * the entry that is returned is the caller's own result.
//!
//! What the lock adds: the result is not built twice, and the marker never goes back. Without it, who takes revision 1 may be the one
//! who replaces the marker last, after revision 2; the entry is whole, and not the newest.

use super::entry::{Entry, Revision, marker_path, read_marker, shard_dir};
use super::temp::Temp;
use super::{Cache, Result};
use crate::world::{Errno, OpenOptions, World, write_all};

/// Where the result is made, in the temporary directory of its build.
pub fn result_dir<W: World>(temp: &Temp<W>) -> String {
    format!("{}/result", temp.path())
}

/// Publishes what is in [`result_dir`] as the entry of `key`. The caller holds the lock of its shard, whose directory exists therefore.
///
/// # Errors
/// [`System`](super::Error::System) from any of the steps. Before step 5, the entry is what it was; after it, it is the new one.
pub async fn publish<W: World>(world: &W, cache: &Cache<W>, key: &str, temp: &Temp<W>) -> Result<Entry> {
    world
        .forgetting(async {
            let shard = shard_dir(cache.dir(), key);
            let result = result_dir(temp);
            sync_all(world, &result).await?;

            let mut revision = read_marker(world, &shard).await?.unwrap_or(Revision(0));
            let path = loop {
                revision.0 = revision.0.saturating_add(1);
                let path = format!("{shard}/{}", revision.dir_name());
                match world.rename(&result, &path).await {
                    Ok(()) => break path,
                    // Left by a publisher that died before its marker, or taken by one at this very moment.
                    Err(error) if matches!(error.errno, Errno::Exist | Errno::NotEmpty) => {}
                    Err(error) => return Err(error.into()),
                }
            };
            sync_dir(world, &shard).await?;

            let marker = format!("{}/marker", temp.path());
            let file = world.open(&marker, OpenOptions::create_new()).await?;
            write_all(world, &file, revision.marker().as_bytes()).await?;
            world.fsync(&file).await?;
            world.close(file).await?;
            world.rename(&marker, &marker_path(&shard)).await?;
            world.note("published", key);
            sync_dir(world, &shard).await?;
            Ok(Entry { path, revision })
        })
        .await
}

/// fsync of a directory: the names in it.
async fn sync_dir<W: World>(world: &W, path: &str) -> Result<()> {
    world
        .forgetting(async {
            let dir = world.open(path, OpenOptions::directory()).await?;
            world.fsync(&dir).await?;
            Ok(world.close(dir).await?)
        })
        .await
}

/// fsync of a directory, of all files in it, and of all directories below it.
async fn sync_all<W: World>(world: &W, path: &str) -> Result<()> {
    world
        .forgetting(async {
            let mut dirs = vec![path.to_owned()];
            while let Some(dir) = dirs.pop() {
                for entry in world.read_dir(&dir).await? {
                    let path = format!("{dir}/{}", entry.name);
                    if entry.is_dir {
                        dirs.push(path);
                        continue;
                    }
                    let file = match world.open(&path, OpenOptions::read().no_follow()).await {
                        // A symbolic link has no content but its name, which belongs to the directory.
                        Err(error) if error.errno == Errno::Loop => continue,
                        other => other?,
                    };
                    world.fsync(&file).await?;
                    world.close(file).await?;
                }
                sync_dir(world, &dir).await?;
            }
            Ok(())
        })
        .await
}
