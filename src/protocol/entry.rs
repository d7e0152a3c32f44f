//! An entry of the cache: what is on disk for one key, and how it is read.
//!
//! ```text
//! CACHE/KEY/            the shard: a directory with a lock of its own
//! CACHE/KEY/.lock       the lock; stays for ever
//! CACHE/KEY/marker      names the current revision; replaced by rename, so it is the old one or the new one
//! CACHE/KEY/rev-7/      a revision; complete before the marker names it, never changed afterwards
//! ```
//!
//! Readers take no lock. They read the marker *first*, and then only what it names. A reader that looks for the files first and for
//! the marker second can see the old files and the new marker; a writer that writes the marker first shows half an entry, and after a
//! crash shows it for ever (fourteen bugs in our catalogue are of these two kinds).
//!
//! A revision that was current stays where it is when it is replaced: somebody may be reading it. Only `clean` removes revisions, and
//! it holds the cache root exclusively while every reader holds it shared for as long as it uses a path in the cache. That is also
//! why a revision's number may be used again afterwards.

use super::Result;
use crate::world::{Errno, FileKind, OpenOptions, World};

/// A published result.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The directory with the result: complete, and unchanged for as long as the cache root is held shared.
    pub path: String,
    /// Its revision.
    pub revision: Revision,
}

/// The number of a revision, counted per shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

/// The digits of the largest number, with what is around them.
const MARKER_MAX: usize = 32;

impl Revision {
    /// The name of its directory.
    pub fn dir_name(self) -> String {
        format!("rev-{}", self.0)
    }

    /// What a marker that names it contains. The newline ends it: without one, it was cut short.
    pub fn marker(self) -> String {
        format!("{}\n", self.dir_name())
    }

    /// The revision that a marker names, if it is one that [`marker`](Self::marker) writes.
    pub fn parse(marker: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(marker).ok()?;
        let revision = Revision(text.strip_prefix("rev-")?.strip_suffix('\n')?.parse().ok()?);
        (revision.marker() == text).then_some(revision)
    }
}

/// The directory of a key.
pub fn shard_dir(cache_dir: &str, key: &str) -> String {
    format!("{cache_dir}/{key}")
}

/// The lock file of a shard.
pub fn lock_path(shard: &str) -> String {
    format!("{shard}/.lock")
}

/// The marker of a shard.
pub fn marker_path(shard: &str) -> String {
    format!("{shard}/marker")
}

/// The current entry of a shard. A marker that nobody of us wrote, or that names what somebody removed by hand, is no entry: the next
/// build replaces it, so that no damage stays for ever.
///
/// # Errors
/// [`System`](super::Error::System) from open, read and stat, other than ENOENT.
pub async fn lookup<W: World>(world: &W, shard: &str) -> Result<Option<Entry>> {
    world
        .forgetting(async {
            let Some(revision) = read_marker(world, shard).await? else { return Ok(None) };
            let path = format!("{shard}/{}", revision.dir_name());
            match world.lstat(&path).await {
                Ok(stat) if stat.kind == FileKind::Dir => Ok(Some(Entry { path, revision })),
                Ok(_) => Ok(None),
                Err(error) if error.errno == Errno::NoEnt => Ok(None),
                Err(error) => Err(error.into()),
            }
        })
        .await
}

/// The revision that the marker of a shard names.
///
/// # Errors
/// [`System`](super::Error::System) from open and read, other than ENOENT.
pub async fn read_marker<W: World>(world: &W, shard: &str) -> Result<Option<Revision>> {
    world
        .forgetting(async {
            let file = match world.open(&marker_path(shard), OpenOptions::read()).await {
                Err(error) if error.errno == Errno::NoEnt => return Ok(None),
                other => other?,
            };
            let content = world.read(&file, MARKER_MAX).await?;
            world.close(file).await?;
            Ok(Revision::parse(&content))
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_names_what_it_was_written_for() {
        for number in [0, 1, 7, 10, u64::MAX] {
            let marker = Revision(number).marker();
            assert_eq!(Revision::parse(marker.as_bytes()), Some(Revision(number)));
            assert!(marker.len() <= MARKER_MAX);
        }
    }

    #[test]
    fn every_beginning_of_a_marker_is_refused() {
        let marker = Revision(4711).marker();
        for len in 0..marker.len() {
            assert_eq!(Revision::parse(&marker.as_bytes()[..len]), None, "{:?}", &marker[..len]);
        }
    }

    #[test]
    fn what_we_do_not_write_is_refused() {
        for marker in [
            "rev-\n",
            "rev-01\n",
            "rev-+1\n",
            "rev- 1\n",
            "rev-1\n\n",
            "rev-1\0",
            "rev-1/../x\n",
            "1\n",
            "REV-1\n",
            "\0\0\0\0\0\0",
        ] {
            assert_eq!(Revision::parse(marker.as_bytes()), None, "{marker:?}");
        }
        assert_eq!(Revision::parse(&[0xff, b'\n']), None);
    }
}
