//! What is built: a source tree, or an archive of one.

use super::{BuildSystem, Failure, Interpreter};
use crate::protocol::{self, Work, key};
use crate::world::{Errno, FileKind, World, read_file};

/// An input, by its canonical path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A directory with the sources, which backends may write into.
    Tree(String),
    /// A `.tar.gz` source distribution; each hook gets an unpacked copy of its own.
    Archive(String),
}

impl Source {
    /// Looks what is at `path`.
    ///
    /// # Errors
    /// If there is nothing, or nothing of the kind.
    pub async fn at<W: World>(world: &W, path: &str) -> Result<Self, Failure> {
        let remedy = "name a source tree or a .tar.gz source distribution";
        match world.stat(path).await {
            Err(error) if error.errno == Errno::NoEnt => {
                Err(Failure::new(path, "there is no such file or directory", remedy))
            }
            Err(error) => Err(error.into()),
            Ok(stat) => match stat.kind {
                FileKind::Dir => Ok(Source::Tree(path.to_owned())),
                FileKind::File if path.ends_with(".tar.gz") => Ok(Source::Archive(path.to_owned())),
                FileKind::File => {
                    Err(Failure::new(path, "it is no source distribution: its name does not end in .tar.gz", remedy))
                }
                _ => Err(Failure::new(path, "it is neither a file nor a directory", remedy)),
            },
        }
    }

    /// Where it is.
    pub fn path(&self) -> &str {
        match self {
            Source::Tree(path) | Source::Archive(path) => path,
        }
    }

    /// How a tree wants to be built; of an archive, `None`: that takes a child, see [`Interpreter::describe`].
    ///
    /// # Errors
    /// If the tree does not say so, or cannot be read.
    pub async fn build_system<W: World>(&self, world: &W) -> Result<Option<BuildSystem>, Failure> {
        let Source::Tree(tree) = self else { return Ok(None) };
        let path = format!("{tree}/pyproject.toml");
        let pyproject = match read_file(world, &path).await {
            Err(error) if error.errno == Errno::NoEnt => None,
            other => Some(
                String::from_utf8(other?)
                    .map_err(|_| Failure::new(&path, "it is not UTF-8, as TOML must be", "save it as UTF-8"))?,
            ),
        };
        let has_setup_py = pyproject.is_none() && world.stat(&format!("{tree}/setup.py")).await.is_ok();
        BuildSystem::of(tree, pyproject.as_deref(), has_setup_py).map(Some)
    }

    /// The tree that a hook may run in: the tree itself, or a copy of its own in `scratch`.
    ///
    /// # Errors
    /// If an archive cannot be unpacked.
    pub(super) async fn tree<W: World>(
        &self,
        world: &W,
        python: &Interpreter,
        work: &mut Work<'_, W>,
        scratch: &str,
    ) -> protocol::Result<String> {
        match self {
            Source::Tree(tree) => Ok(tree.clone()),
            Source::Archive(archive) => python.unpack(world, work, archive, scratch).await,
        }
    }

    /// The tree that must be locked while a hook of that backend runs in it.
    pub(super) fn to_lock(&self, system: &BuildSystem) -> Option<&str> {
        match self {
            Source::Tree(tree) => system.needs_tree_lock().then_some(tree),
            Source::Archive(_) => None,
        }
    }

    /// The digest of its content; see [`key`].
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn digest<W: World>(&self, world: &W, except: &[String]) -> Result<String, Failure> {
        Ok(key::of_source(world, self.path(), matches!(self, Source::Tree(_)), except).await?)
    }
}
