//! What the ground makes of flock(2): machines and filesystems that differ from a local filesystem of Linux.
//!
//! A protocol that is sound on a laptop meets these in a cluster, and on other laptops. cargo skips locking on NFS and goes on without a lock
//! where there is none; what a protocol does here is for its scenarios to show (`sims/ground.rs`).

use super::{Call, Kernel, Ofd};
use crate::world::{Errno, LockMode};

/// The kind of the one filesystem, and of the machine that it is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Ground {
    /// A Linux local filesystem.
    #[default]
    Local,
    /// NFS version 4 on Linux (nfs4_proc_lock): flock(2) becomes a lock of all bytes. An exclusive one needs a descriptor that is open for
    /// writing, a shared one for reading, else EBADF. A conversion that is refused or has to wait **keeps** the old lock meanwhile, so two
    /// who wait to upgrade wait for each other.
    ///
    /// And a lock can be **lost**: when the client's lease has expired (a network that was down, a suspended machine, a server that
    /// restarted and forgot), the server gives the lock to whoever asks, and the holder is not told. With the default of
    /// nfs.recover_lost_locks, only reading and writing through that very descriptor fail from then on, with EIO. Every process
    /// counts as a client of its own here; those of one client would still keep each other out. How often that may happen in an
    /// execution is for [`Scenario::lost_locks`](crate::Scenario::lost_locks) to say.
    Nfs,
    /// macOS (xnu, lf_setlock): a conversion that is refused **keeps** the old lock; one that waits gives it up as on Linux. A process may
    /// have 256 descriptors unless it asks for more.
    MacOs,
    /// No locks: flock(2) fails with this errno, which is ENOLCK, ENOSYS or EOPNOTSUPP.
    NoLocks(Errno),
}

impl Ground {
    /// RLIMIT_NOFILE of a process that nobody has set another one for.
    pub fn descriptor_limit(self) -> u32 {
        if self == Ground::MacOs { 256 } else { 1024 }
    }

    /// Whether a lock can be lost while it is held.
    pub fn loses_locks(self) -> bool {
        self == Ground::Nfs
    }
}

impl Kernel {
    /// The same machine on another ground; before anything runs.
    pub fn set_ground(&mut self, ground: Ground) {
        self.ground = ground;
    }

    /// What it stands on.
    pub fn ground(&self) -> Ground {
        self.ground
    }

    /// Why the ground has no lock of that mode for a description, if it has none.
    pub(super) fn check_ground(&self, ofd: Ofd, mode: LockMode) -> Call<()> {
        let d = &self.descriptions[ofd as usize];
        let allowed = if mode == LockMode::Exclusive { d.write } else { d.read };
        match self.ground {
            Ground::NoLocks(errno) => Err(errno),
            Ground::Nfs if !allowed => Err(Errno::BadF),
            Ground::Local | Ground::Nfs | Ground::MacOs => Ok(()),
        }
    }

    /// Whether a conversion with LOCK_NB looks for conflicts before it gives the old lock up.
    pub(super) fn keeps_refused(&self) -> bool {
        matches!(self.ground, Ground::Nfs | Ground::MacOs)
    }

    /// Whether one that has to wait does.
    pub(super) fn keeps_while_waiting(&self) -> bool {
        self.ground == Ground::Nfs
    }

    /// The ground takes the lock of a description away, and nobody is told. The mode that it had.
    pub fn lose_lock(&mut self, ofd: Ofd) -> Option<LockMode> {
        let mode = self.drop_lock(ofd)?;
        self.descriptions[ofd as usize].lost = Some(mode);
        Some(mode)
    }

    /// EIO for reading and writing through a descriptor under a lock that was lost.
    pub(super) fn check_not_lost(&self, ofd: Ofd) -> Call<()> {
        if self.descriptions[ofd as usize].lost.is_some() { Err(Errno::Io) } else { Ok(()) }
    }
}
