//! Simulated build backends, and a front end: what `src/protocol/pep517` does for real, for the scenarios that are about builds.

use std::time::Duration;

use flockstep::protocol::{self, Cache, Error, Recipe, Settings, Task, Tree, Work, obtain};
use flockstep::world::{Command, OpenOptions, Result, World, read_file, write_all};
use flockstep::{Scenario, SimWorld};

/// The region that a hook is in while it writes into the source tree of that path.
pub(crate) const WRITES: &str = "writes into the source tree";
/// The region that a hook is in while it writes the result into the directory of that path.
pub(crate) const WORKS: &str = "works in";
/// What is to be in a wheel.
pub(crate) const MODULE: &str = "module";

/// What builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// Writes into the source tree, whatever it is asked.
    Setuptools,
    /// Reads it.
    Hatchling,
}

impl Backend {
    fn program(self) -> &'static str {
        match self {
            Backend::Setuptools => "setuptools",
            Backend::Hatchling => "hatchling",
        }
    }

    /// The tree as the lock of a hook sees it.
    fn tree(self, tree: Tree<'_>) -> Option<Tree<'_>> {
        (self == Backend::Setuptools).then_some(tree)
    }
}

/// The wheel of a source tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wheel {
    pub(crate) tree: &'static str,
    pub(crate) backend: Backend,
    /// Whether the backend is asked for its requirements and for metadata before it builds.
    pub(crate) asks: bool,
    /// How long each hook takes.
    pub(crate) takes: Duration,
    /// Whether others may use the result.
    pub(crate) reusable: bool,
}

impl Wheel {
    async fn hook<W: World>(
        &self,
        world: &W,
        name: &str,
        tree: Tree<'_>,
        work: &mut Work<'_, W>,
    ) -> protocol::Result<()> {
        let milliseconds = self.takes.as_millis().to_string();
        let output = work.dir().to_owned();
        let command = Command::new(self.backend.program(), [name, self.tree, &output, &milliseconds]);
        let output = work.run(world, self.backend.tree(tree), command).await?;
        if output.status.success() { Ok(()) } else { Err(Error::recipe(format!("{name} failed"))) }
    }
}

impl<W: World> Recipe<W> for Wheel {
    type Needs = ();

    fn key(&self) -> &str {
        "wheels/app"
    }
    fn reusable(&self) -> bool {
        self.reusable
    }
    async fn prepare(&self, world: &W, task: &mut Task<W>) -> protocol::Result<()> {
        if self.asks {
            obtain(world, task, &Requirements(*self)).await?;
        }
        Ok(())
    }
    async fn produce(&self, world: &W, (): &(), work: &mut Work<'_, W>) -> protocol::Result<()> {
        if self.asks {
            self.hook(world, "prepare_metadata_for_build_wheel", Tree::asked(self.tree), work).await?;
        }
        self.hook(world, "build_wheel", Tree::built(self.tree), work).await
    }
}

/// What the wheel of a source tree requires.
struct Requirements(Wheel);

impl<W: World> Recipe<W> for Requirements {
    type Needs = ();

    fn key(&self) -> &str {
        "requirements/app"
    }
    async fn prepare(&self, _: &W, _: &mut Task<W>) -> protocol::Result<()> {
        Ok(())
    }
    async fn produce(&self, world: &W, (): &(), work: &mut Work<'_, W>) -> protocol::Result<()> {
        self.0.hook(world, "get_requires_for_build_wheel", Tree::asked(self.0.tree), work).await
    }
}

/// One command that builds one wheel.
pub(crate) async fn build<W: World>(world: W, settings: Settings, wheel: Wheel) -> protocol::Result<()> {
    let cache = Cache::new(&world, settings)?;
    world.note("wanted", Recipe::<W>::key(&wheel));
    obtain(&world, &mut cache.command(), &wheel).await.map(drop)
}

/// The scenario with both backends installed.
pub(crate) fn with_backends(scene: Scenario) -> Scenario {
    scene.program("setuptools", setuptools).program("hatchling", hatchling)
}

async fn write<W: World>(world: &W, path: &str, content: &[u8]) -> Result<()> {
    let file = world.open(path, OpenOptions::replace()).await?;
    write_all(world, &file, content).await?;
    world.close(file).await
}

/// What a hook was called with: its name, the tree, where the result goes, how long it takes.
fn called_with(world: &SimWorld) -> (String, String, String, Duration) {
    use flockstep::world::Process as _;
    let arguments: [String; 5] = world.args().try_into().expect("the front end gives four arguments");
    let [_, hook, tree, output, milliseconds] = arguments;
    (hook, tree, output, Duration::from_millis(milliseconds.parse().expect("a number")))
}

async fn work_for(world: &SimWorld, time: Duration) {
    use flockstep::world::Clock as _;
    if !time.is_zero() {
        world.sleep(time).await;
    }
}

/// `egg_info` whatever is asked; to build, `build_py` copies the modules into `build/` and `bdist_wheel` packs what is there.
async fn setuptools(world: SimWorld) -> Result<()> {
    use flockstep::world::Notes as _;
    let (hook, tree, output, takes) = called_with(&world);
    let (_works, _writes) = (world.region(WORKS, &output), world.region(WRITES, &tree));
    work_for(&world, takes).await;
    if hook != "build_wheel" {
        return write(&world, &format!("{tree}/app.egg-info"), b"metadata").await;
    }
    write(&world, &format!("{tree}/build"), MODULE.as_bytes()).await?;
    let copied = read_file(&world, &format!("{tree}/build")).await?;
    write(&world, &format!("{output}/wheel"), &copied).await
}

/// Packs what is in the tree.
async fn hatchling(world: SimWorld) -> Result<()> {
    use flockstep::world::Notes as _;
    let (hook, tree, output, takes) = called_with(&world);
    let _works = world.region(WORKS, &output);
    work_for(&world, takes).await;
    if hook != "build_wheel" {
        return Ok(());
    }
    let module = read_file(&world, &format!("{tree}/module")).await?;
    write(&world, &format!("{output}/wheel"), &module).await
}
