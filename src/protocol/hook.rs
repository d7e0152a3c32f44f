//! Running a child under locks.
//!
//! A hook that is started under a lock works on under it when its parent is killed: SIGKILL of a build front end does not reach the
//! compiler. If only the parent held the lock, the next process would start a second build into the same place, beside the first. So the
//! child inherits the descriptors of the locks that it works under, all others being close-on-exec, and the kernel keeps these locks as
//! long as the hook runs. The parent that lives on gives them up by LOCK_UN, which ends them for all copies of the
//! descriptor (L2), also those of a daemon that the hook may have left behind.

use super::discipline::Hooks;
use super::tree::{self, Tree};
use super::{Result, Task};
use crate::world::{Command, Output, World};

impl<W: World> Task<W> {
    /// Runs a child that touches no source tree, to its end.
    ///
    /// Dropping the future kills the child.
    ///
    /// # Errors
    /// [`System`](super::Error::System) from starting and waiting. A child that fails is no error here: look at the [`Output`].
    pub async fn run(&mut self, world: &W, command: Command<'_, W::File>) -> Result<Output> {
        let spawning = world.acquire(self.cache().spawning(), 1).await;
        let child = world.spawn_child(command).await;
        drop(spawning);
        Ok(world.wait(child?).await?)
    }
}

/// A build at work: where its result goes, and the locks that its hooks inherit.
pub struct Work<'a, W: World> {
    pub(super) task: &'a mut Task<W>,
    pub(super) dir: &'a str,
    pub(super) inherit: &'a [&'a W::File],
}

impl<W: World> Work<'_, W> {
    /// An empty directory of this build's own. What is in it at the end is the result.
    pub fn dir(&self) -> &str {
        self.dir
    }

    /// Runs a child to its end, which inherits the locks of the build; under the lock of the source tree, if its backend needs one,
    /// which it inherits as well.
    ///
    /// Dropping the future kills the child.
    ///
    /// # Errors
    /// Those of [`Task::run`] and [`Task::lock`].
    pub async fn run<'c>(
        &'c mut self,
        world: &W,
        tree: Option<Tree<'_>>,
        mut command: Command<'c, W::File>,
    ) -> Result<Output> {
        let discipline = self.task.cache().settings().discipline;
        let inherits = discipline.hooks == Hooks::Inherit;
        command.inherit.extend(self.inherit.iter().filter(|_| inherits));
        let Some(place) = tree.and_then(|tree| discipline.tree.place(tree, self.dir)) else {
            return self.task.run(world, command).await;
        };
        let lock = tree::lock(world, self.task, place).await?;
        command.inherit.extend(inherits.then_some(lock.file()));
        let output = self.task.run(world, command).await;
        lock.release().await;
        output
    }
}
