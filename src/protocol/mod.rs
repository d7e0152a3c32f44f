//! The lock protocol of a build cache: sound, written once, for every [`World`](crate::world::World).

pub mod budget;
mod cache;
pub mod entry;
mod error;
mod hook;
mod lock_file;
pub mod order;
mod publish;
mod shard;
pub mod temp;
pub mod tree;
pub use cache::{Cache, OnWait, Settings, Task};
pub use entry::Entry;
pub use error::{Error, Result};
pub use hook::Work;
pub use lock_file::Lock;
pub use order::{Order, Rank};
pub use shard::{Obtained, Recipe, obtain};
pub use temp::{Temp, sweep};
