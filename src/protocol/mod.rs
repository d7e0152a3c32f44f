//! The lock protocol of a build cache: sound, written once, for every [`World`](crate::world::World).

pub mod budget;
mod cache;
pub mod entry;
mod error;
mod lock_file;
pub mod order;
mod publish;
pub mod temp;
pub use cache::{Cache, OnWait, Settings, Task};
pub use entry::Entry;
pub use error::{Error, Result};
pub use lock_file::Lock;
pub use order::{Order, Rank};
pub use temp::{Temp, sweep};
