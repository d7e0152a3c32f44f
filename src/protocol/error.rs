//! Why an operation of the protocol failed: what was touched, the cause, and what the person in front of it can do.

use super::order::Site;
use crate::world;
use crate::world::{Errno, JoinError};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

/// What protocol operations return.
pub type Result<T> = std::result::Result<T, Error>;

/// By its text: errors that say the same are the same to whoever gets them.
impl Hash for Error {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.to_string().hash(state);
    }
}

/// Why an operation of the protocol failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed.
    #[error("{0}{remedy}", remedy = remedy(.0.errno))]
    System(#[from] world::Error),

    /// The filesystem has no locks. Going on without is what corrupts caches, so nothing does.
    #[error(
        "cannot lock {path}: the filesystem it is on has no file locks ({errno}). Nothing was done, because going on without the \
         lock would risk what it protects; move that directory to a local filesystem, or switch locking on where it is served"
    )]
    NoLocks {
        /// The lock file or directory.
        path: String,
        /// What flock(2) said.
        errno: Errno,
    },

    /// Waited as long as allowed.
    #[error(
        "gave up after {} s waiting for {site}: {} holds it. Wait for that to end, or allow more time with a longer lock time-out",
        .waited.as_secs_f64(), if *.own { "another task of this process" } else { "another process (`lslocks` names it)" }
    )]
    LockTimeout {
        /// Which lock, and where it was asked for.
        site: Arc<Site>,
        /// The limit.
        waited: Duration,
        /// Whether the holder, or whoever was first in the queue, is a task of this process.
        own: bool,
    },

    /// Something else is where a lock file belongs.
    #[error(
        "{path} cannot be used as a lock file: it is {found}. Somebody else put it there; remove it if it is not needed"
    )]
    NotALockFile {
        /// The path.
        path: String,
        /// What is there.
        found: &'static str,
    },

    /// A lock was asked for after one that comes later in the order: a defect of the program, found before it could deadlock.
    #[error(
        "lock order: asked for {wanted} while holding {held}. Release the second before asking for the first (see protocol/order.rs)"
    )]
    OutOfOrder {
        /// The lock that was refused.
        wanted: Arc<Site>,
        /// A lock that comes later, or has the same level.
        held: Arc<Site>,
    },

    /// A task asked for a lock that it holds: a defect of the program, found before it could wait for itself.
    #[error(
        "lock order: asked for {wanted} while holding {held}, the same file: it would wait for itself. Pass the lock on instead"
    )]
    Reentry {
        /// The lock that was refused.
        wanted: Arc<Site>,
        /// The same lock.
        held: Arc<Site>,
    },

    /// A build that requires itself.
    #[error("cyclic build requirements: {}. Take one of them out of `build-system.requires`", .keys.join(" → "))]
    Cycle {
        /// The keys on the way round, the first one again at the end.
        keys: Vec<String>,
    },

    /// The limit on open files leaves no room for a single piece of work.
    #[error(
        "the limit on open files is {limit}, and one build at a time needs {minimum}: raise it, for example with `ulimit -n {minimum}`"
    )]
    TooFewDescriptors {
        /// RLIMIT_NOFILE.
        limit: u32,
        /// The lowest that would do.
        minimum: u32,
    },

    /// Waited as long as allowed for room in the descriptor budget.
    #[error(
        "gave up after {} s waiting for free descriptors: other tasks, or waits for locks of other processes that nobody can cancel, use \
         all of them. Wait for these processes to end, or raise the limit on open files (`ulimit -n`)",
        .waited.as_secs_f64()
    )]
    PermitTimeout {
        /// The limit.
        waited: Duration,
    },

    /// Somebody else is building it, and the task was told not to wait. Not a failure: come back later.
    #[error("{key} is being built by somebody else; ask again later")]
    Busy {
        /// The key.
        key: String,
    },

    /// The task that was to build it ended without a result.
    #[error("{key} was not built: {cause}. This is a defect; please report it")]
    Lost {
        /// The key.
        key: String,
        /// How the task ended.
        cause: JoinError,
    },

    /// The recipe failed; what it says stands for itself.
    #[error(transparent)]
    Recipe(Arc<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// The failure of a recipe.
    pub fn recipe(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Error::Recipe(cause.into().into())
    }
}

/// The sentence that makes an error number useful.
fn remedy(errno: Errno) -> &'static str {
    match errno {
        Errno::MFile => ". Raise the limit on open files (`ulimit -n`) or lower the number of jobs",
        Errno::NFile => ". The whole system has too many open files; close some programs",
        Errno::NoSpc => ". Free some space, or put the cache on another filesystem",
        Errno::Acces | Errno::Perm => ". Check who owns that path and its directory",
        Errno::RoFs => ". Choose a directory on a filesystem that can be written",
        Errno::XDev => ". The cache must be on one filesystem: nothing may be mounted inside it",
        _ => "",
    }
}
