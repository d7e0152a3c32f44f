//! The wheel of one input.

use super::environment::Environment;
use super::hook::Hook;
use super::requirements::Requirements;
use super::{BuildSystem, Failure, Source, Toolchain, make_scratch};
use crate::protocol::key::Digest;
use crate::protocol::{Entry, Recipe, Result, Task, Tree, Work, obtain};
use crate::world::{FileKind, World, read_file, remove_dir_all};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// How the wheel of one input is built. Clones are the same one.
#[derive(Clone)]
pub struct Wheel(Arc<Parts>);

struct Parts {
    toolchain: Arc<Toolchain>,
    source: Source,
    digest: String,
    /// Of a tree. An archive is only looked into when its wheel is not in the cache.
    system: Option<BuildSystem>,
    key: String,
    /// When it was last set about building it, in microseconds of the World's clock; 0 if never.
    begun: AtomicU64,
}

/// What a build needs.
pub struct Needs {
    system: BuildSystem,
    /// The prefix of the environment that it gets, if it gets one of its own.
    environment: Option<String>,
}

impl Wheel {
    /// Looks at the input at `path` (canonical), and computes its key.
    ///
    /// # Errors
    /// If there is nothing that could be built.
    pub async fn plan<W: World>(world: &W, path: &str, toolchain: &Arc<Toolchain>) -> Result<Self> {
        let source = Source::at(world, path).await?;
        let system = source.build_system(world).await?;
        let digest = source.digest(world, &toolchain.not_sources).await?;
        // The requirements of an archive are in its digest. Without isolation the packages of the interpreter are what counts; they are
        // not looked at, only where they are: after changing them, use a rebuild.
        let requires = system.as_ref().map_or(&[][..], |system| &system.requires);
        let prefix = if toolchain.isolated { "" } else { &toolchain.python.prefix };
        let key = Digest::new("wheel 1").part(&digest).parts(requires).part(&toolchain.python.identity).part(prefix);
        let key = format!("wheels/{}", key.hex());
        let begun = AtomicU64::new(0);
        Ok(Wheel(Arc::new(Parts { toolchain: toolchain.clone(), source, digest, system, key, begun })))
    }

    /// When it was last set about building it, here; `None` if it was in the cache from the beginning.
    pub fn begun(&self) -> Option<Duration> {
        Some(self.0.begun.load(Relaxed)).filter(|begun| *begun > 0).map(Duration::from_micros)
    }

    /// The path of the wheel in an entry of this recipe.
    ///
    /// # Errors
    /// If somebody removed it by hand.
    pub async fn file<W: World>(world: &W, entry: &Entry) -> Result<String> {
        let names = world.read_dir(&entry.path).await?;
        match names.iter().find(|found| found.name.ends_with(".whl")) {
            Some(found) => Ok(format!("{}/{}", entry.path, found.name)),
            None => {
                let cause = "there is no wheel in this entry of the cache";
                Err(Failure::new(&entry.path, cause, "build it again with --rebuild").into())
            }
        }
    }
}

impl<W: World> Recipe<W> for Wheel {
    type Needs = Needs;

    fn key(&self) -> &str {
        &self.0.key
    }

    fn reusable(&self) -> bool {
        !self.0.toolchain.rebuild
    }

    async fn prepare(&self, world: &W, task: &mut Task<W>) -> Result<Needs> {
        let Parts { toolchain, source, digest, system, begun, .. } = &*self.0;
        begun.store(world.now().as_micros().try_into().unwrap_or(u64::MAX), Relaxed);
        let system = match system {
            Some(system) => system.clone(),
            None => toolchain.python.describe(world, task, source.path()).await?,
        };
        if !toolchain.isolated {
            return Ok(Needs { system, environment: None });
        }
        let asked = Requirements::new(toolchain, source, digest, &system);
        let answer = obtain(world, task, &asked).await?;
        let mut requires = system.requires.clone();
        for requirement in Requirements::read(world, answer.entry()).await? {
            if !requires.contains(&requirement) {
                requires.push(requirement);
            }
        }
        let environment = Environment::new(toolchain, requires, source.path());
        let environment = obtain(world, task, &environment).await?.entry().path.clone();
        Ok(Needs { system, environment: Some(environment) })
    }

    async fn produce(&self, world: &W, needs: &Needs, work: &mut Work<'_, W>) -> Result<()> {
        let Parts { toolchain, source, .. } = &*self.0;
        let scratch = make_scratch(world, work).await?;
        let tree = source.tree(world, &toolchain.python, work, &scratch).await?;
        let answer = format!("{scratch}/answer");
        let mut arguments =
            vec!["build_wheel".to_owned(), answer.clone(), work.dir().to_owned(), needs.system.backend.clone()];
        arguments.extend_from_slice(&needs.system.backend_path);
        let python = needs.environment.as_ref().map(|environment| format!("{environment}/bin/python"));
        let hook = Hook {
            python: python.as_ref().unwrap_or(&toolchain.python.executable),
            environment: needs.environment.as_deref(),
            directory: &tree,
            temporary: &scratch,
            lock: source.to_lock(&needs.system).map(Tree::built),
            arguments,
        };
        let remedy = "correct what its build backend complains about";
        hook.run(world, work, source.path(), remedy).await?;

        let name = String::from_utf8_lossy(&read_file(world, &answer).await?).trim_end().to_owned();
        let built = world.stat(&format!("{}/{name}", work.dir())).await.is_ok_and(|stat| stat.kind == FileKind::File);
        if !built || !name.ends_with(".whl") || name.contains('/') {
            let cause = format!("its build backend {} says that it built {name:?}, and did not", needs.system.backend);
            return Err(Failure::new(source.path(), cause, "report it to the authors of the backend").into());
        }
        Ok(remove_dir_all(world, &scratch).await?)
    }
}
