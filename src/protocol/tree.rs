//! The lock of a source tree.
//!
//! A setuptools-like backend writes `build/` and `*.egg-info` *into the sources*, whatever output directory it is given, and not
//! only in `build_wheel`: `get_requires_for_build_wheel` runs `egg_info` as well. uv first locked the output directory: ten `uv build` of
//! one tree into ten directories still raced (uv PR 14174). So the lock is the tree's, is taken for each hook of such a backend, and
//! for no other backend's: hatchling's builds of one tree run side by side.
//!
//! The lock file is not in the tree, which may be read-only and is not ours to write into, nor in the cache, since two caches may build
//! one tree: it is in the user's temporary directory, named by the digest of the tree's canonical path.
//!
//! Others may write to that directory. The file is opened with O_NOFOLLOW and is nothing but locked, so a planted symbolic link is an
//! error and a planted hard link does no harm. A file of another user that we may not open is refused by the kernel, and named in
//! the error. One of another user that we *may* open is not recognised: the World's [`Stat`](crate::world::Stat) has no owner. That user can keep us
//! waiting, which the time-out ends, and no more.

use super::lock_file::Lock;
use super::{Error, Rank, Result, Task};
use crate::world::{Errno, LockMode, World};
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// A source tree that a hook writes into, by its canonical path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tree<'a> {
    pub(super) path: &'a str,
    pub(super) builds: bool,
}

impl<'a> Tree<'a> {
    /// For a hook `build_*`.
    pub fn built(path: &'a str) -> Self {
        Tree { path, builds: true }
    }

    /// For a hook that only asks, as `get_requires_for_build_*` and `prepare_metadata_for_build_*`. It writes as well.
    pub fn asked(path: &'a str) -> Self {
        Tree { path, builds: false }
    }
}

/// The lock file of the source tree at `tree`, which must be its canonical path: two names would be two locks.
pub fn lock_path(temp_dir: &str, tree: &str) -> String {
    let digest = Sha256::digest(tree.as_bytes());
    let mut path = format!("{temp_dir}/flockstep-tree-");
    for byte in &digest[..16] {
        write!(path, "{byte:02x}").expect("writing to a string");
    }
    path + ".lock"
}

/// Locks the source tree at `tree`.
///
/// # Errors
/// Those of [`Task::lock`]; [`Error::NotALockFile`] also if the file belongs to somebody else.
pub(super) async fn lock<W: World>(world: &W, task: &mut Task<W>, tree: &str) -> Result<Lock<W>> {
    let path = lock_path(&task.cache().settings().temp_dir, tree);
    match task.lock(world, Rank::SourceTree, &path, LockMode::Exclusive).await {
        Err(Error::System(error)) if matches!(error.errno, Errno::Acces | Errno::Perm) && *error.subject == *path => {
            Err(Error::NotALockFile { path, found: "a file of another user" })
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_the_digest_of_the_path() {
        // printf %s /src/app | sha256sum
        assert_eq!(lock_path("/tmp", "/src/app"), "/tmp/flockstep-tree-c0167fc91cc666ffa066a8e6f954029d.lock");
    }

    #[test]
    fn different_trees_have_different_locks() {
        assert_ne!(lock_path("/tmp", "/src/app"), lock_path("/tmp", "/src/app2"));
    }
}
