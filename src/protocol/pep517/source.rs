//! What is built: a source tree, or an archive of one.

use super::python::Interpreter;
use super::{BuildSystem, Failure};
use crate::protocol::key;
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
                FileKind::File => Err(Failure::new(path, "it is no source distribution: its name does not end in .tar.gz", remedy)),
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

    /// How it wants to be built.
    ///
    /// # Errors
    /// If it does not say so, or cannot be read.
    pub async fn build_system<W: World>(&self, world: &W, python: &Interpreter) -> Result<BuildSystem, Failure> {
        let tree = match self {
            Source::Archive(archive) => return python.describe(world, archive).await,
            Source::Tree(tree) => tree,
        };
        let path = format!("{tree}/pyproject.toml");
        let pyproject = match read_file(world, &path).await {
            Err(error) if error.errno == Errno::NoEnt => None,
            other => Some(String::from_utf8(other?).map_err(|_| {
                Failure::new(&path, "it is not UTF-8, as TOML must be", "save it as UTF-8")
            })?),
        };
        let has_setup_py = pyproject.is_none() && world.stat(&format!("{tree}/setup.py")).await.is_ok();
        BuildSystem::of(tree, pyproject.as_deref(), has_setup_py)
    }

    /// The digest of its content; see [`key`].
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn digest<W: World>(&self, world: &W, except: &[String]) -> Result<String, Failure> {
        Ok(key::of_source(world, self.path(), matches!(self, Source::Tree(_)), except).await?)
    }
}
