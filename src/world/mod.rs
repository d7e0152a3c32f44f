//! What protocol code may ask of its machine.
//!
//! A protocol is `async`, generic over one parameter `W: World`, and takes `world: &W` first. It then runs unchanged on
//! [`SimWorld`](crate::sim::SimWorld), where an engine chooses what happens next, and on
//! [`OsWorld`](crate::os::OsWorld), where the operating system does.
//!
//! The World is the sum of small capabilities; a function that needs only some may bind only those. Each trait numbers the clauses
//! of its contract (F1, L3 …): a clause holds in every world, and the tests name the clause that they check.
//!
//! # What an await means
//!
//! Every operation that can be a scheduling point is a future. In the simulated world its first poll *announces* the operation, the
//! engine chooses among all announced operations of all processes, the chosen one acts, and only then is the future polled again to
//! fetch the result. The real world acts at the first poll. There are two kinds:
//!
//! * **synchronous** operations (all of [`Files`] and [`Locks`], [`Children::spawn_child`], [`InProcess::lock_thread`]) keep the thread
//!   they are called on until they return, as the system calls that they are. While one is under way, no other future of the same task
//!   moves: in `join!(a, b)`, `b` is polled when `a` gives its thread up, not earlier. A synchronous operation cannot be cancelled.
//! * **asynchronous** operations (semaphores, mutexes, notifications, joining, sleeping, waiting for a child, `on_pool`,
//!   `on_thread`) give the worker thread up and get one back afterwards. They can be cancelled: drop the future.
//!
//! A task that waits for anything else than World operations (a channel of its own, a timer of tokio's) is a *foreign await*:
//! the simulation cannot know what it waits for, and reports it as a violation.
//!
//! What is not an operation is no point at which others can act: it happens in the step of the operation before it. So a guard, a file or a
//! permit that is *dropped* is given back together with what was done last, and a region in which nothing is done overlaps with no other:
//! `close` a file, or [`yield_now`](Tasks::yield_now) in a region, where it matters what others do just then.
//!
//! # Handles
//!
//! A world handle is a cheap `Clone + Send + Sync + 'static` token of one process. Two processes share nothing but what is behind
//! the World: files, locks, pipes, each other's exit status.
//!
//! Where a function that is generic over its World gives a section or a task away, rustc may find that an "implementation of `Send` is not
//! general enough" for a reference that goes along, though it is `'static`. Hand over what is owned: a `String` instead of a `&'static str`.

mod compose;
mod errno;
mod event;
mod files;
mod locks;
mod process;
mod sync;
mod tasks;
mod time;

pub use compose::{Elapsed, create_dir_all, read_file, remove_dir_all, timeout, write_all};
pub use errno::{Errno, Error, Result};
pub use event::{Event, Kinds, Thread, What};
pub use files::{Entry, FileId, FileKind, Files, OpenOptions, Stat};
pub use locks::{LockMode, Locks};
pub use process::{Children, Command, Output, Process, Status, Stdio};
pub use sync::InProcess;
pub use tasks::{Join, JoinError, Tasks};
pub use time::{Clock, Notes};

/// Everything a protocol may ask of its machine. See the [module documentation](self).
pub trait World:
    Files + Locks + Tasks + InProcess + Clock + Children + Process + Notes + Clone + Send + Sync + 'static
{
}

impl<W> World for W where
    W: Files + Locks + Tasks + InProcess + Clock + Children + Process + Notes + Clone + Send + Sync + 'static
{
}
