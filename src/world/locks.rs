//! Advisory locks: flock(2).

use super::{Files, Result};
use std::future::Future;

/// How a lock excludes others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LockMode {
    /// LOCK_SH: excludes exclusive locks.
    Shared,
    /// LOCK_EX: excludes all others.
    Exclusive,
}

/// flock(2). Synchronous: a wait blocks the *thread* that it is made on. On a worker that stops every task which needs that
/// worker; inside [`on_pool`](super::Tasks::on_pool) it occupies a blocking thread; inside
/// [`on_thread`](super::Tasks::on_thread) a thread of its own.
///
/// # Contract
///
/// * **L1** A lock belongs to the open file description and locks the inode: a second `open` of the same file, also by the same
///   process, conflicts; `dup`s and inherited descriptors share the lock.
/// * **L2** It ends by `unlock` through any descriptor of the description, or with the last descriptor. A child that inherited one
///   keeps it alive.
/// * **L3** Converting is two operations: the attempt gives the old lock up before it looks for conflicts. A conversion that is
///   refused or has to wait **has already lost the old lock**. One that need not wait is atomic. So on a Linux local filesystem; where a
///   refused one keeps the old lock (macOS, NFS), `try_flock` gives it up in a second call, and others may act between the two; one
///   that waits keeps it on NFS.
/// * **L4** Asking again for the mode one holds changes nothing and is not counted.
/// * **L5** Nothing is fair: a newcomer is tested against held locks only, not against those who wait.
/// * **L6** `unlock` without a lock succeeds.
/// * **L7** There is no deadlock detection, and a wait cannot be cancelled: it ends when it is granted, or with its process.
/// * **L8** A ground that has no locks answers ENOLCK, ENOSYS or EOPNOTSUPP; neither world ever pretends.
pub trait Locks: Files {
    /// flock(2); blocks its thread until granted.
    fn flock(&self, file: &Self::File, mode: LockMode) -> impl Future<Output = Result<()>> + Send;
    /// flock(2) with LOCK_NB; `false` if somebody else's lock is in the way.
    fn try_flock(&self, file: &Self::File, mode: LockMode) -> impl Future<Output = Result<bool>> + Send;
    /// flock(2) with LOCK_UN.
    fn unlock(&self, file: &Self::File) -> impl Future<Output = Result<()>> + Send;
}
