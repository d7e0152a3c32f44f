//! The lock protocol of a build cache: sound, written once, for every [`World`](crate::world::World).
//!
//! Many tasks of many processes share one cache on disk. What they are promised:
//!
//! * a reusable result is built exactly once, over all processes; whoever waited for it gets a cache hit;
//! * nobody ever sees half an entry, whoever is killed at whatever step;
//! * nobody deadlocks: not over locks, threads, permits, descriptors or children;
//! * the number of open descriptors does not depend on the number of inputs;
//! * nothing goes on without the lock it asked for.
//!
//! | module | its one concern |
//! |---|---|
//! | [`order`] | the lock order, and its enforcement |
//! | [`budget`] | descriptors: the permit comes before the lock |
//! | [`discipline`] | the decisions that historic protocols took otherwise |
//! | `lock_file` | one lock file: wait, check, give up |
//! | [`tree`] | the lock of a source tree, for the backends that write into it |
//! | [`temp`] | temporary directories that say whether they are in use |
//! | [`entry`], [`publish`] | what is on disk for a key; how it is read and replaced |
//! | `shard`, `hook` | single flight: build it or reuse it; under which locks its children run |
//! | `schedule` | many inputs |
//! | [`key`] | what a result depends on, as a digest |
//! | [`bytecode`](mod@bytecode), [`uninstall`](mod@uninstall) | compiling and removing whole trees, within the budget |
//! | `place` | a result, put where the user wants it |
//! | [`pep517`] | the recipes of wheels and of what they need |
//!
//! # Use
//!
//! A command makes one [`Cache`] and one [`Task`] for itself, locks the cache root shared, and gives its inputs to [`build_all`], each
//! as a [`Recipe`]:
//!
//! ```
//! use flockstep::protocol::{Cache, Plan, Rank, Recipe, Result, Settings, Task, Tree, Work, build_all, obtain, sweep};
//! use flockstep::world::{Command, LockMode, World};
//! use std::sync::Arc;
//!
//! /// A wheel, and the environment that its backend runs in.
//! struct Wheel { key: String, tree: String, requires: Vec<Environment> }
//! struct Environment { key: String }
//!
//! impl<W: World> Recipe<W> for Wheel {
//!     type Needs = Vec<String>;
//!     fn key(&self) -> &str {
//!         &self.key
//!     }
//!     async fn prepare(&self, world: &W, task: &mut Task<W>) -> Result<Vec<String>> {
//!         let mut paths = Vec::new();
//!         for environment in &self.requires {
//!             paths.push(obtain(world, task, environment).await?.entry().path.clone());
//!         }
//!         Ok(paths)
//!     }
//!     async fn produce(&self, world: &W, needs: &Vec<String>, work: &mut Work<'_, W>) -> Result<()> {
//!         let hook = Command::new("build_wheel", [&self.tree, work.dir()]).env("PYTHONPATH", needs.join(":"));
//!         work.run(world, Some(Tree::built(&self.tree)), hook).await?; // under the lock of the tree
//!         Ok(())
//!     }
//! }
//!
//! impl<W: World> Recipe<W> for Environment {
//!     type Needs = ();
//!     fn key(&self) -> &str {
//!         &self.key
//!     }
//!     async fn prepare(&self, _: &W, _: &mut Task<W>) -> Result<()> {
//!         Ok(())
//!     }
//!     async fn produce(&self, world: &W, _: &(), work: &mut Work<'_, W>) -> Result<()> {
//!         let hook = Command::new("make_environment", [work.dir()]);
//!         work.run(world, None, hook).await?;
//!         Ok(())
//!     }
//! }
//!
//! async fn command<W: World>(world: &W, inputs: Vec<Wheel>) -> Result<()> {
//!     let cache = Cache::new(world, Settings::new("/home/me/.cache/flockstep", "/tmp"))?;
//!     let mut task = cache.command();
//!     let root = task.lock(world, Rank::CacheRoot, &cache.lock_path(), LockMode::Shared).await?;
//!     sweep(world, &mut task).await?;
//!     let plan = Plan { inputs, jobs: 4, offset: world.process_id() as usize };
//!     let report = Arc::new(|_, _: &_| ());
//!     for result in build_all(world, &cache, task.order(), plan, report).await {
//!         let _wheel = result?.entry().path.clone(); // stays there as long as the root is held
//!     }
//!     root.release().await;
//!     Ok(())
//! }
//! ```
//!
//! # The rule for `clean`
//!
//! `clean` takes the cache root exclusively, and nothing after it. It removes shards, old revisions and temporary directories, but
//! never the lock file that it holds. Whoever waits for a lock file that it removed notices by the check after locking.
//!
//! # What is not covered
//!
//! * Another name of a path (a symbolic link, a bind mount) is another lock to this process. Give canonical paths.
//! * A child that calls this protocol again under the locks of its parent waits for its ancestor, until its time-out: the order is
//!   enforced within a task and from a task to those it starts, not across an exec.
//! * Starvation of `clean` under steady shared users of the cache root: flock(2) is not fair (L5).

pub mod budget;
pub mod bytecode;
mod cache;
pub mod discipline;
pub mod entry;
mod error;
mod hook;
pub mod key;
mod lock_file;
pub mod order;
pub mod pep517;
mod place;
pub mod publish;
mod schedule;
mod shard;
pub mod temp;
pub mod tree;
pub mod uninstall;

pub use cache::{Cache, OnWait, Settings, Task};
pub use discipline::Discipline;
pub use entry::Entry;
pub use error::{Error, Result};
pub use hook::Work;
pub use lock_file::Lock;
pub use order::{Order, Rank};
pub use place::place;
pub use schedule::{Plan, Report, build_all};
pub use shard::{Obtained, Recipe, obtain};
pub use temp::{Temp, sweep};
pub use tree::Tree;
