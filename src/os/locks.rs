//! Advisory locks: flock(2), and nothing in between.
//!
//! Not `std::fs::File::lock`: it is fcntl(2) on some systems, and "may deadlock" where a clone already holds the lock. Not fcntl
//! either: its locks vanish when *any* descriptor of the file is closed, also one that a library opened behind our back.
//!
//! A ground without locks is an error and stays one. Pretending that the lock was granted, as build tools do, turns an unsupported
//! filesystem into a torn cache. (On some NFS mounts even LOCK_NB can hang; nothing here can help that.)

use super::files::Description;
use super::{Class, OsFile, OsWorld};
use crate::world::{LockMode, Locks, Result};
use rustix::fs::{FlockOperation, flock};
use rustix::io::{Errno, retry_on_intr};
use std::sync::atomic::Ordering;

const NONE: u8 = 0;
const SHARED: u8 = 1;
const EXCLUSIVE: u8 = 2;

fn held_as(mode: LockMode) -> u8 {
    match mode {
        LockMode::Shared => SHARED,
        LockMode::Exclusive => EXCLUSIVE,
    }
}

impl Description {
    /// Before the system call that gives the lock up, or may.
    pub(super) fn note_released(&self) {
        if self.held.swap(NONE, Ordering::AcqRel) != NONE {
            self.machine.gauge.leave(Class::Lock);
        }
    }

    /// After the system call that granted it.
    fn note_granted(&self, mode: LockMode) {
        if self.held.swap(held_as(mode), Ordering::AcqRel) == NONE {
            self.machine.gauge.enter(Class::Lock);
        }
    }

    /// Before an attempt; whether it is a conversion, which gives the old lock up first.
    fn note_attempt(&self, mode: LockMode) -> bool {
        let held = self.held.load(Ordering::Acquire);
        let converts = held != NONE && held != held_as(mode);
        if converts {
            self.note_released();
        }
        converts
    }
}

impl Locks for OsWorld {
    async fn flock(&self, file: &OsFile, mode: LockMode) -> Result<()> {
        let operation = match mode {
            LockMode::Shared => FlockOperation::LockShared,
            LockMode::Exclusive => FlockOperation::LockExclusive,
        };
        file.description().note_attempt(mode);
        retry_on_intr(|| flock(file, operation)).map_err(|error| file.failed(error, "flock"))?;
        file.description().note_granted(mode);
        Ok(())
    }

    async fn try_flock(&self, file: &OsFile, mode: LockMode) -> Result<bool> {
        let operation = match mode {
            LockMode::Shared => FlockOperation::NonBlockingLockShared,
            LockMode::Exclusive => FlockOperation::NonBlockingLockExclusive,
        };
        let converts = file.description().note_attempt(mode);
        match retry_on_intr(|| flock(file, operation)) {
            Ok(()) => {
                file.description().note_granted(mode);
                Ok(true)
            }
            Err(Errno::WOULDBLOCK) => {
                // Linux has given the old lock up; macOS, FreeBSD and NFS version 4 have not. The contract says it is lost (L3).
                if converts {
                    self.unlock(file).await?;
                }
                Ok(false)
            }
            Err(error) => Err(file.failed(error, "flock")),
        }
    }

    async fn unlock(&self, file: &OsFile) -> Result<()> {
        file.description().note_released();
        retry_on_intr(|| flock(file, FlockOperation::Unlock)).map_err(|error| file.failed(error, "flock"))
    }
}
