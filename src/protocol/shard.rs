//! One result per key: build it, or reuse what somebody has built.
//!
//! For a **reusable** result the shard is locked over the whole build, *also when the cache may turn out to be warm*: eight processes
//! that want one sdist then build it once, and seven find it when they get the lock (uv PR 3525). The marker is read before asking for
//! the lock, so that a hit waits for nobody, and again under it, because the answer may have changed meanwhile.
//!
//! For a result that nobody else can reuse (a forced rebuild) the same lock would make two processes wait for each other for nothing
//! (uv 15380): there it is taken around the publish only.
//!
//! What is left: a forced rebuild that is ready while somebody makes the first, reusable build of the same key waits for the end of that build
//! before it publishes, and does not use it.
//!
//! **Requirements come before the lock.** A build that asks for another build while it holds a shard is how shards come to wait for
//! shards; so [`Recipe::prepare`] runs while the task holds no shard and no tree, and the lock order refuses anything else.

use super::discipline::Moment;
use super::entry::{Entry, lock_path, lookup, shard_dir};
use super::hook::Work;
use super::lock_file::Lock;
use super::publish::{publish, result_dir};
use super::temp::Temp;
use super::{Error, Rank, Result, Task};
use crate::world::{LockMode, World};
use futures::future::BoxFuture;
use std::future::Future;

/// How one result is made. Everything that is cached has a recipe: the wheel of a source tree, the answer of a
/// `get_requires_for_build_wheel`, a build environment. What it leaves behind is on disk, and not in memory:
/// [`build_all`](super::build_all) [forgets](crate::world::Files::forgetting) the rest.
pub trait Recipe<W: World>: Send + Sync + 'static {
    /// What [`prepare`](Self::prepare) finds and [`produce`](Self::produce) needs, such as the path of a build environment.
    type Needs: Send + Sync;

    /// What the result depends on, as a path relative to the cache, such as `wheels/DIGEST`. Not a path above or below another key's.
    fn key(&self) -> &str;

    /// Whether others may use the result, and this build theirs; `false` for a forced rebuild.
    fn reusable(&self) -> bool {
        true
    }

    /// Gets what the build requires: with [`obtain`] for what is cached, which may be busy ([`Error::Busy`]: pass it on), with
    /// [`Task::run`] for a hook. One after the other. No shard and no tree is held meanwhile.
    fn prepare(&self, world: &W, task: &mut Task<W>) -> impl Future<Output = Result<Self::Needs>> + Send;

    /// Makes the result in [`Work::dir`], running hooks with [`Work::run`].
    fn produce(
        &self,
        world: &W,
        needs: &Self::Needs,
        work: &mut Work<'_, W>,
    ) -> impl Future<Output = Result<()>> + Send;
}

/// A result, and where it came from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Obtained {
    /// This task built it.
    Built(Entry),
    /// Somebody had built it.
    Reused(Entry),
}

impl Obtained {
    /// The result.
    pub fn entry(&self) -> &Entry {
        let (Obtained::Built(entry) | Obtained::Reused(entry)) = self;
        entry
    }
}

/// Obtains the result of a recipe: exactly one build per reusable key, over all processes.
///
/// Notes ("reused", key) or ("published", key), and is in the region ("build", key) while it produces. Boxed, because builds require
/// builds.
///
/// # Errors
/// [`Error::Busy`] if the task does [not wait](Task::waits) and somebody else has the shard; [`Error::Cycle`] if the build requires
/// itself; those of [`Task::lock`]; those of the recipe, as they are. After an error the entry is what it was.
pub fn obtain<'a, W: World, R: Recipe<W>>(
    world: &'a W,
    task: &'a mut Task<W>,
    recipe: &'a R,
) -> BoxFuture<'a, Result<Obtained>> {
    Box::pin(async move {
        if let Some(entry) = reuse(world, task, recipe).await? {
            return Ok(Obtained::Reused(entry));
        }
        let task = &mut task.asking_at(world, Moment::Build).await?;
        let needs = {
            let _building = task.order().building(recipe.key())?;
            recipe.prepare(world, task).await?
        };
        if task.cache().settings().discipline.scope.covers_the_build(recipe.reusable()) {
            let lock = lock_to_build(world, task, recipe.key()).await?;
            let obtained = reuse_or_build(world, task, recipe, &needs, &lock).await;
            lock.release().await;
            obtained
        } else {
            let temp = Temp::create(world, task).await?;
            let built = build_then_lock(world, task, recipe, &needs, &temp).await;
            finish(world, temp, built).await.map(Obtained::Built)
        }
    })
}

async fn reuse<W: World, R: Recipe<W>>(world: &W, task: &Task<W>, recipe: &R) -> Result<Option<Entry>> {
    if !recipe.reusable() {
        return Ok(None);
    }
    let entry = lookup(world, &shard_dir(task.cache().dir(), recipe.key())).await?;
    if entry.is_some() {
        world.note("reused", recipe.key());
    }
    Ok(entry)
}

async fn lock_to_build<W: World>(world: &W, task: &mut Task<W>, key: &str) -> Result<Lock<W>> {
    let path = lock_path(&shard_dir(task.cache().dir(), key));
    if task.waits() {
        return task.lock(world, Rank::Shard, &path, LockMode::Exclusive).await;
    }
    let lock = task.try_lock(world, Rank::Shard, &path, LockMode::Exclusive).await?;
    lock.ok_or_else(|| Error::Busy { key: key.to_owned() })
}

async fn reuse_or_build<W: World, R: Recipe<W>>(
    world: &W,
    task: &mut Task<W>,
    recipe: &R,
    needs: &R::Needs,
    lock: &Lock<W>,
) -> Result<Obtained> {
    if let Some(entry) = reuse(world, task, recipe).await? {
        return Ok(Obtained::Reused(entry));
    }
    let task = &mut task.asking_at(world, Moment::Locked).await?;
    let temp = Temp::create(world, task).await?;
    let built = async {
        produce(world, task, recipe, needs, &temp, &[lock.file(), temp.file()]).await?;
        publish(world, task.cache(), recipe.key(), &temp).await
    };
    let built = built.await;
    finish(world, temp, built).await.map(Obtained::Built)
}

async fn build_then_lock<W: World, R: Recipe<W>>(
    world: &W,
    task: &mut Task<W>,
    recipe: &R,
    needs: &R::Needs,
    temp: &Temp<W>,
) -> Result<Entry> {
    produce(world, task, recipe, needs, temp, &[temp.file()]).await?;
    let path = lock_path(&shard_dir(task.cache().dir(), recipe.key()));
    let lock = task.lock(world, Rank::Shard, &path, LockMode::Exclusive).await?;
    let published = publish(world, task.cache(), recipe.key(), temp).await;
    lock.release().await;
    published
}

async fn produce<W: World, R: Recipe<W>>(
    world: &W,
    task: &mut Task<W>,
    recipe: &R,
    needs: &R::Needs,
    temp: &Temp<W>,
    inherit: &[&W::File],
) -> Result<()> {
    let dir = result_dir(temp);
    world.mkdir(&dir).await?;
    let _region = world.region("build", recipe.key());
    recipe.produce(world, needs, &mut Work { task, dir: &dir, inherit }).await
}

/// Removes the temporary directory of a build. That a removal failed is told only if nothing else did: the result is what counts, and
/// the sweeper comes again.
async fn finish<W: World, T>(world: &W, temp: Temp<W>, result: Result<T>) -> Result<T> {
    let removed = temp.remove(world).await;
    let value = result?;
    removed.map(|()| value)
}
