//! What the scenarios build: packages of a name, each by a backend that is a child process.
//!
//! A backend is registered under its name with [`backends`]. It writes one file into the directory that it is given, as a build of a
//! wheel does; what it costs its parent (a pidfd, two pipes, what a spawn needs) is what the descriptors of a real build are.

use flockstep::protocol::{Error, Recipe, Result, Task, Tree, Work, obtain};
use flockstep::world::{Clock, Command, Files, OpenOptions, Process, Stdio, World, write_all};
use flockstep::{Scenario, SimWorld};
use std::time::Duration;

/// How long a build takes.
const BUILD: Duration = Duration::from_secs(1);

/// What a build backend does to the source tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// Writes into it: its hooks need the lock of the tree.
    Setuptools,
    /// Leaves it alone.
    Hatchling,
}

/// A package to be built.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    key: String,
    backend: Backend,
    requires: Vec<Package>,
}

impl Package {
    pub(crate) fn new(name: &str, backend: Backend) -> Self {
        Package { key: format!("wheels/{name}"), backend, requires: Vec::new() }
    }

    /// The same, which has to have another one built first.
    pub(crate) fn requires(mut self, other: Package) -> Self {
        self.requires.push(other);
        self
    }

    fn program(&self) -> &'static str {
        match self.backend {
            Backend::Setuptools => "setuptools",
            Backend::Hatchling => "hatchling",
        }
    }
}

impl<W: World> Recipe<W> for Package {
    type Needs = ();

    fn key(&self) -> &str {
        &self.key
    }
    async fn prepare(&self, world: &W, task: &mut Task<W>) -> Result<()> {
        for required in &self.requires {
            obtain(world, task, required).await?;
        }
        Ok(())
    }
    async fn produce(&self, world: &W, _: &(), work: &mut Work<'_, W>) -> Result<()> {
        let tree = (self.backend == Backend::Setuptools).then(|| format!("/src/{}", self.key));
        let hook = Command::new(self.program(), [work.dir()]).output(Stdio::Capture);
        let output = work.run(world, tree.as_deref().map(Tree::built), hook).await?;
        if output.status.success() { Ok(()) } else { Err(Error::recipe(format!("{} failed", self.key))) }
    }
}

/// The hook `build_wheel`: its argument is where the wheel goes.
async fn build_wheel(world: SimWorld) -> flockstep::world::Result<()> {
    let wheel = format!("{}/wheel", world.args()[1]);
    world.sleep(BUILD).await;
    let file = world.open(&wheel, OpenOptions::create_new()).await?;
    write_all(&world, &file, b"whole").await?;
    world.close(file).await
}

/// The machine with the backends on it.
pub(crate) fn backends(scene: Scenario) -> Scenario {
    scene.program("setuptools", build_wheel).program("hatchling", build_wheel)
}
