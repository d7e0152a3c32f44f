//! Build environments: made once for each set of requirements and each interpreter, and shared from then on.

use super::hook::Hook;
use super::{Toolchain, make_scratch};
use crate::protocol::key::Digest;
use crate::protocol::{Recipe, Result, Task, Work};
use crate::world::{World, remove_dir_all};
use std::sync::Arc;

/// A virtual environment with these requirements, installed by its own pip: which index that asks is up to pip's configuration. The
/// entry's directory is its prefix.
pub(super) struct Environment {
    toolchain: Arc<Toolchain>,
    requires: Vec<String>,
    /// The tree or archive that needs it; for errors only.
    wanted_by: String,
    key: String,
}

impl Environment {
    pub(super) fn new(toolchain: &Arc<Toolchain>, requires: Vec<String>, wanted_by: &str) -> Self {
        let python = &toolchain.python;
        let digest = Digest::new("environment 1").part(&python.identity).part(&python.base).parts(&requires);
        let key = format!("environments/{}", digest.hex());
        Environment { toolchain: toolchain.clone(), requires, wanted_by: wanted_by.to_owned(), key }
    }
}

impl<W: World> Recipe<W> for Environment {
    type Needs = ();

    fn key(&self) -> &str {
        &self.key
    }

    async fn prepare(&self, _: &W, _: &mut Task<W>) -> Result<()> {
        Ok(())
    }

    async fn produce(&self, world: &W, (): &(), work: &mut Work<'_, W>) -> Result<()> {
        if let Some(on_slow) = self.toolchain.on_slow.as_ref().filter(|_| !self.requires.is_empty()) {
            on_slow(&format!("making a build environment with {}, once for this cache", self.requires.join(", ")));
        }
        let scratch = make_scratch(world, work).await?;
        let mut arguments = vec!["environment".to_owned(), work.dir().to_owned()];
        arguments.extend_from_slice(&self.requires);
        let hook = Hook {
            python: &self.toolchain.python.executable,
            environment: None,
            directory: &scratch,
            temporary: &scratch,
            lock: None,
            arguments,
        };
        let remedy = "see that pip can install what its build-system.requires names, or use --no-build-isolation";
        hook.run(world, work, &self.wanted_by, remedy).await?;
        Ok(remove_dir_all(world, &scratch).await?)
    }
}
