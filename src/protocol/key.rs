//! What a cached result is found by: a digest of all that it depends on.
//!
//! An edit changes the key, a build must not. A build with setuptools writes `build/` and `*.egg-info` into the source tree, running
//! the code writes `__pycache__`, and a commit changes the VCS directory: none of them is a source. What lies in the cache or in the
//! directory that wheels are put into is none either, should they be inside of the tree.
//!
//! Not in the key: permission bits and times, the environment variables that a backend may look at (such as `CFLAGS`), and which
//! versions pip chooses for `build-system.requires`: those are chosen when the build environment is first made. The sources are looked
//! at once: an edit made while its build already runs is found by the next key, not by this one.

use crate::world::{Errno, Error};
use crate::world::{FileKind, Files, OpenOptions, Result, World};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// Kept out at the top of a tree.
const BUILT_AT_TOP: [&str; 2] = ["build", "dist"];
/// Kept out wherever they are. A `.git` may also be a file.
const NOT_SOURCES: [&str; 8] = ["__pycache__", ".git", ".hg", ".svn", ".bzr", ".jj", "_darcs", "CVS"];

/// A digest in the making, of parts that cannot run into one another: each is preceded by its length.
#[derive(Clone)]
pub struct Digest(Sha256);

impl Digest {
    /// A digest for that purpose, different from those for others.
    pub fn new(purpose: &str) -> Self {
        Digest(Sha256::new()).part(purpose)
    }
    /// The same and one more part.
    pub fn part(mut self, part: impl AsRef<[u8]>) -> Self {
        self.add(part.as_ref());
        self
    }
    /// The same and a list of parts, which does not run into what follows either.
    pub fn parts(mut self, parts: &[impl AsRef<[u8]>]) -> Self {
        self.0.update((parts.len() as u64).to_le_bytes());
        parts.iter().for_each(|part| self.add(part.as_ref()));
        self
    }
    /// Adds one part.
    pub fn add(&mut self, part: &[u8]) {
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part);
    }
    /// The first 160 bits in hexadecimal: enough that no two ever meet, and short enough for a path.
    pub fn hex(self) -> String {
        self.0.finalize()[..20].iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }
}

/// The digest of a file's bytes.
///
/// # Errors
/// Those of open, read and close.
pub async fn of_file<W: Files>(world: &W, path: &str) -> Result<String> {
    let mut digest = Digest::new("file");
    add_content(world, path, &mut digest).await?;
    Ok(digest.hex())
}

/// The digest of a source tree: names, kinds, contents, and the text of symbolic links, in the order of their names. `except` are
/// absolute paths inside of the tree that are no sources.
///
/// What vanishes while it is looked at is as if it had never been there.
///
/// # Errors
/// Those of the file operations, other than ENOENT below the tree.
pub async fn of_tree<W: Files>(world: &W, tree: &str, except: &[String]) -> Result<String> {
    let mut digest = Digest::new("tree");
    // Depth first: each directory's names in their order, with an explicit stack instead of a recursive future.
    let mut stack = names(world, tree, "", except).await?;
    while let Some(name) = stack.pop() {
        let path = format!("{tree}/{name}");
        let Some(stat) = if_there(world.lstat(&path).await)? else { continue };
        match stat.kind {
            FileKind::Dir => {
                digest = digest.part("dir").part(&name);
                stack.extend(if_there(names(world, tree, &name, except).await)?.unwrap_or_default());
            }
            FileKind::Symlink => {
                let Some(target) = if_there(world.read_link(&path).await)? else { continue };
                digest = digest.part("symlink").part(&name).part(target);
            }
            FileKind::File => {
                let mut content = Digest::new("file");
                if if_there(add_content(world, &path, &mut content).await)?.is_some() {
                    digest = digest.part("file").part(&name).part(content.hex());
                }
            }
            FileKind::Other => digest = digest.part("other").part(&name),
        }
    }
    Ok(digest.hex())
}

/// The sources in a directory of the tree, as paths relative to the tree, last first.
async fn names<W: Files>(world: &W, tree: &str, dir: &str, except: &[String]) -> Result<Vec<String>> {
    let path = if dir.is_empty() { tree.to_owned() } else { format!("{tree}/{dir}") };
    let mut entries = world.read_dir(&path).await?;
    entries.retain(|entry| {
        let name = entry.name.as_str();
        let built = NOT_SOURCES.contains(&name) || name.ends_with(".egg-info");
        let built_at_top = dir.is_empty() && BUILT_AT_TOP.contains(&name);
        !built && !built_at_top && !except.contains(&format!("{path}/{name}"))
    });
    let relative = |name| if dir.is_empty() { name } else { format!("{dir}/{name}") };
    Ok(entries.into_iter().rev().map(|entry| relative(entry.name)).collect())
}

async fn add_content<W: Files>(world: &W, path: &str, digest: &mut Digest) -> Result<()> {
    let file = world.open(path, OpenOptions::read()).await?;
    loop {
        let bytes = world.read(&file, 256 << 10).await?;
        if bytes.is_empty() {
            return world.close(file).await;
        }
        // By bytes, not by reads: how many each read gives is up to the world.
        digest.0.update(&bytes);
    }
}

fn if_there<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error { errno: Errno::NoEnt, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// [`of_tree`] or [`of_file`], off the workers: a large tree takes a while.
///
/// # Errors
/// See there.
pub async fn of_source<W: World>(world: &W, path: &str, is_tree: bool, except: &[String]) -> Result<String> {
    let (own, path, except) = (world.clone(), path.to_owned(), except.to_vec());
    let digest = async move { if is_tree { of_tree(&own, &path, &except).await } else { of_file(&own, &path).await } };
    world.on_pool(digest).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::OsWorld;
    use crate::world::{create_dir_all, write_all};
    use std::future::Future;

    /// Runs the test on a tree with one source in it.
    fn on_a_tree<F: Future<Output = ()> + Send + 'static>(test: impl FnOnce(OsWorld, String) -> F + Send + 'static) {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().to_str().unwrap().to_owned();
        OsWorld::run(1, 1, |world| async move {
            put(&world, &tree, "pkg/a.py", "A = 1").await;
            test(world, tree).await;
        })
        .unwrap();
    }

    async fn put(world: &OsWorld, tree: &str, name: &str, content: &str) {
        let path = format!("{tree}/{name}");
        create_dir_all(world, path.rsplit_once('/').unwrap().0).await.unwrap();
        let file = world.open(&path, OpenOptions::replace()).await.unwrap();
        write_all(world, &file, content.as_bytes()).await.unwrap();
        world.close(file).await.unwrap();
    }

    #[test]
    fn what_a_build_leaves_behind_does_not_change_the_key() {
        on_a_tree(|world, tree| async move {
            let before = of_tree(&world, &tree, &[]).await.unwrap();
            for name in [
                "build/lib/a.py",
                "dist/a.whl",
                "a.egg-info/PKG-INFO",
                "src/../pkg/b.egg-info/PKG-INFO",
                "pkg/__pycache__/a.pyc",
                ".git/HEAD",
            ] {
                put(&world, &tree, name, "built").await;
            }
            world.rmdir(&format!("{tree}/src")).await.unwrap();
            assert_eq!(of_tree(&world, &tree, &[]).await.unwrap(), before);
        });
    }

    #[test]
    fn every_edit_changes_the_key() {
        on_a_tree(|world, tree| async move {
            let mut seen = vec![of_tree(&world, &tree, &[]).await.unwrap()];
            put(&world, &tree, "pkg/a.py", "A = 2").await;
            seen.push(of_tree(&world, &tree, &[]).await.unwrap());
            // Not at the top, build/ is a package like any other.
            put(&world, &tree, "pkg/build/a.py", "").await;
            seen.push(of_tree(&world, &tree, &[]).await.unwrap());
            world.rename(&format!("{tree}/pkg/a.py"), &format!("{tree}/pkg/b.py")).await.unwrap();
            seen.push(of_tree(&world, &tree, &[]).await.unwrap());
            for target in ["pkg/b.py", "pkg/build"] {
                let link = format!("{tree}/link");
                world.symlink(target, &link).await.unwrap();
                seen.push(of_tree(&world, &tree, &[]).await.unwrap());
                world.unlink(&link).await.unwrap();
            }
            let unlike = seen.iter().collect::<std::collections::BTreeSet<_>>();
            assert_eq!(unlike.len(), seen.len());
        });
    }

    #[test]
    fn an_excepted_directory_is_no_source() {
        on_a_tree(|world, tree| async move {
            let before = of_tree(&world, &tree, &[]).await.unwrap();
            put(&world, &tree, "wheels/a.whl", "built").await;
            let except = [format!("{tree}/wheels")];
            assert_eq!(of_tree(&world, &tree, &except).await.unwrap(), before);
            assert_ne!(of_tree(&world, &tree, &[]).await.unwrap(), before);
        });
    }

    #[test]
    fn parts_do_not_run_into_one_another() {
        let digest = || Digest::new("test");
        assert_ne!(digest().part("ab").part("c").hex(), digest().part("a").part("bc").hex());
        assert_ne!(digest().parts(&["a"]).part("b").hex(), digest().parts(&["a", "b"]).hex());
        assert_eq!(digest().hex().len(), 40);
    }
}
