//! Ways to be wrong, for the tests of the tests.

use super::Kernel;

/// A mistake that a kernel model could make, and that some have made. The differential test finds each but the last two, which have
/// checks of their own, and clauses of the contract find some; nothing but tests sets one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quirk {
    /// A refused upgrade keeps the shared lock, as on macOS, FreeBSD and NFS.
    RefusedUpgradeKeeps,
    /// Closing one of several descriptors of a description releases its lock.
    CloseOfDuplicateReleases,
    /// LOCK_UN in a forked child does nothing.
    UnlockByChildIgnored,
    /// The lowest free descriptor number is not used again.
    NumbersNotReused,
    /// EMFILE comes after the file was created.
    EmfileAfterCreation,
    /// A downgrade wakes nobody.
    DowngradeWakesNobody,
    /// A dying process loses all its locks in one step.
    DeathIsOneStep,
    /// Not in the kernel but in what is said of it: an unlink counts as touching nothing, for the tests of partial-order reduction.
    UnlinkUndeclared,
}

impl Kernel {
    /// The same machine, with a mistake in it.
    pub fn with_quirk(mut self, quirk: Quirk) -> Self {
        self.quirk = Some(quirk);
        self
    }

    /// Whether it makes that mistake.
    pub(crate) fn has(&self, quirk: Quirk) -> bool {
        self.quirk == Some(quirk)
    }
}
