//! What the ground makes of flock(2): filesystems that differ from a local one.
//!
//! A protocol that is sound on a laptop meets these in a cluster. cargo skips locking on NFS and goes on without a lock where there is none;
//! what a protocol does here is for its scenarios to show.

use super::{Call, Kernel, Ofd};
use crate::world::{Errno, LockMode};

/// The kind of the one filesystem.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Ground {
    /// A Linux local filesystem.
    #[default]
    Local,
    /// NFS version 4 on Linux (nfs4_proc_lock): flock(2) becomes a lock of all bytes. An exclusive one needs a descriptor that is open for
    /// writing, a shared one for reading, else EBADF. A conversion that is refused or has to wait **keeps** the old lock meanwhile, so two
    /// who wait to upgrade wait for each other.
    Nfs,
    /// No locks: flock(2) fails with this errno, which is ENOLCK, ENOSYS or EOPNOTSUPP.
    NoLocks(Errno),
}

impl Kernel {
    /// The same machine on another ground; before anything runs.
    pub fn set_ground(&mut self, ground: Ground) {
        self.ground = ground;
    }

    /// Why the ground has no lock of that mode for a description, if it has none.
    pub(super) fn check_ground(&self, ofd: Ofd, mode: LockMode) -> Call<()> {
        let d = &self.descriptions[ofd as usize];
        let allowed = if mode == LockMode::Exclusive { d.write } else { d.read };
        match self.ground {
            Ground::NoLocks(errno) => Err(errno),
            Ground::Nfs if !allowed => Err(Errno::BadF),
            Ground::Local | Ground::Nfs => Ok(()),
        }
    }

    /// Whether a conversion looks for conflicts before it gives the old lock up.
    pub(super) fn keeps_refused(&self) -> bool {
        self.ground == Ground::Nfs
    }
}
