//! What a backend needs besides `build-system.requires`: the answer of its hook `get_requires_for_build_wheel`, asked once.
//!
//! It is a result like any other, with a key and a shard. That makes eight processes ask once, and it is what lets the lock of the
//! source tree go before the requirements are obtained: asking is one build, and using the answer is another.

use super::environment::Environment;
use super::hook::Hook;
use super::{BuildSystem, Source, Toolchain, make_scratch};
use crate::protocol::key::Digest;
use crate::protocol::{Entry, Recipe, Result, Task, Tree, Work, obtain};
use crate::world::{World, read_file, remove_dir_all};
use std::sync::Arc;

/// The name of the file in the entry: a requirement a line.
const ANSWER: &str = "requires";

pub(super) struct Requirements {
    toolchain: Arc<Toolchain>,
    source: Source,
    system: BuildSystem,
    key: String,
}

impl Requirements {
    pub(super) fn new(toolchain: &Arc<Toolchain>, source: &Source, digest: &str, system: &BuildSystem) -> Self {
        let digest = Digest::new("requirements 1")
            .part(digest)
            .parts(&system.requires)
            .part(&system.backend)
            .part(&toolchain.python.identity);
        let key = format!("requirements/{}", digest.hex());
        Requirements { toolchain: toolchain.clone(), source: source.clone(), system: system.clone(), key }
    }

    /// Reads the answer off its entry.
    pub(super) async fn read<W: World>(world: &W, entry: &Entry) -> Result<Vec<String>> {
        let text = read_file(world, &format!("{}/{ANSWER}", entry.path)).await?;
        Ok(String::from_utf8_lossy(&text).lines().map(str::to_owned).collect())
    }
}

impl<W: World> Recipe<W> for Requirements {
    /// The prefix of the environment that the backend runs in.
    type Needs = String;

    fn key(&self) -> &str {
        &self.key
    }

    async fn prepare(&self, world: &W, task: &mut Task<W>) -> Result<String> {
        let environment = Environment::new(&self.toolchain, self.system.requires.clone(), self.source.path());
        Ok(obtain(world, task, &environment).await?.entry().path.clone())
    }

    async fn produce(&self, world: &W, environment: &String, work: &mut Work<'_, W>) -> Result<()> {
        let scratch = make_scratch(world, work).await?;
        let tree = self.source.tree(world, &self.toolchain.python, work, &scratch).await?;
        let mut arguments =
            vec!["get_requires".to_owned(), format!("{}/{ANSWER}", work.dir()), self.system.backend.clone()];
        arguments.extend_from_slice(&self.system.backend_path);
        let hook = Hook {
            python: &format!("{environment}/bin/python"),
            environment: Some(environment),
            directory: &tree,
            temporary: &scratch,
            lock: self.source.to_lock(&self.system).map(Tree::asked),
            arguments,
        };
        let remedy = "correct what its build backend complains about";
        hook.run(world, work, self.source.path(), remedy).await?;
        Ok(remove_dir_all(world, &scratch).await?)
    }
}
