//! Removing whole trees, such as installed Python versions, with a bounded number of open directories.
//!
//! All versions at once, each by a recursion that keeps every directory open on its way down: that is as many descriptors as there are
//! trees, times their depth (uv 16999; the recursion is what a standard library offers). Here a directory is listed and closed before
//! anything below it is touched, so a tree of any width and depth takes one descriptor, and no more trees are worked on than there are
//! permits.
//!
//! Not covered: a tree that somebody else can write to meanwhile. A directory that is replaced by a symbolic link between two steps
//! would be followed; keeping it open is how others prevent that.

use super::discipline::Removal;
use super::schedule::run_all;
use super::{Cache, Error, Order, Result};
use crate::world::{JoinError, OpenOptions, World, remove_dir_all};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use std::mem;
use std::sync::Arc;

/// Removes these directories with all that is in them, at most `at_once` at a time. One that does not exist is removed already; an
/// error of one stops no other.
///
/// The results come in the order of the trees. The errors are those of readdir, unlink and rmdir, and
/// [`PermitTimeout`](Error::PermitTimeout).
pub async fn uninstall<W: World>(
    world: &W,
    cache: &Cache<W>,
    parent: &Order,
    trees: Vec<String>,
    at_once: u32,
) -> Vec<Result<()>> {
    let (tasks, weight) = cache.settings().discipline.removal.at_once(trees.len(), at_once, cache.budget());
    let shared = Arc::new(Shared {
        next: world.mutex("trees to remove", 0),
        done: Mutex::new(vec![None; trees.len()]),
        trees,
        weight,
    });
    let lane = |_| run_lane(world.clone(), cache.clone(), parent.fork(), shared.clone());
    let cause = run_all(world, "remove", (0..tasks).map(lane)).await.unwrap_or(JoinError::Aborted);
    let done = mem::take(&mut *shared.done.lock());
    let lost = |tree: &String| Err(Error::Lost { key: tree.clone(), cause });
    done.into_iter().zip(&shared.trees).map(|(result, tree)| result.unwrap_or_else(|| lost(tree))).collect()
}

struct Shared<W: World> {
    trees: Vec<String>,
    /// Of each task's permit: one directory.
    weight: u32,
    /// How many of the trees somebody has begun.
    next: W::Mutex<usize>,
    /// Of each tree, written once.
    done: Mutex<Vec<Option<Result<()>>>>,
}

async fn run_lane<W: World>(world: W, cache: Cache<W>, parent: Order, shared: Arc<Shared<W>>) {
    loop {
        let index = {
            let mut next = world.lock(&shared.next).await;
            *next += 1;
            *next - 1
        };
        let Some(tree) = shared.trees.get(index) else { return };
        let result = remove(&world, &cache, &parent, tree, shared.weight).await;
        shared.done.lock()[index] = Some(result);
    }
}

async fn remove<W: World>(world: &W, cache: &Cache<W>, parent: &Order, tree: &str, weight: u32) -> Result<()> {
    let _task = cache.task(world, parent, weight).await?;
    match cache.settings().discipline.removal {
        Removal::ByName => remove_dir_all(world, tree).await?,
        Removal::HeldOpen => {
            let (inner, tree) = (world.clone(), tree.to_owned());
            world.on_pool(async move { remove_held_open(&inner, tree).await }).await?;
        }
    }
    Ok(())
}

/// The historic way, on a thread of the pool: keeps the directory open until it is empty. Boxed, because it goes down by recursion.
fn remove_held_open<W: World>(world: &W, tree: String) -> BoxFuture<'_, crate::world::Result<()>> {
    Box::pin(async move {
        let held = world.open(&tree, OpenOptions::directory().no_follow()).await?;
        for entry in world.read_dir(&tree).await? {
            let path = format!("{tree}/{}", entry.name);
            if entry.is_dir { remove_held_open(world, path).await? } else { world.unlink(&path).await? }
        }
        world.close(held).await?;
        world.rmdir(&tree).await
    })
}
