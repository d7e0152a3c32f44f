//! Where there may be one, there is one: one owner of a *path*, one in a region.
//!
//! flock(2) excludes on inodes, programs meet by path. The scar: twelve public bugs, rarely diagnosed, in which a lock file is unlinked
//! while somebody waits for it: the waiter gets the lock on a file that has no name any more, a newcomer makes a new file of that
//! name and locks that, and both own the path, with a kernel that did everything right.

use std::sync::Arc;

use super::deed::Deed;
use super::glob::Memo;
use super::held::{Act, Held, HeldLocks};
use super::map::Map;
use super::{Glob, Oracle, Violation, ViolationKind, state_of};
use crate::sim::{KernelView, Renamed};
use crate::world::{Event, Kinds, LockMode, What};

/// Paths of that form have one exclusive owner, or several shared ones. However it is spelled: what leads to one name in one directory, by way
/// of `..` or of a symbolic link, is one path. (Of a recording, which has no directories, paths are compared as they were opened.)
///
/// Who has a lock is not an owner yet: a sound program first looks whether the locked file is still the one that the name points to,
/// and lets go if not. It becomes one with the first thing that it does *under* the lock: it touches a name or content, opens or
/// locks another path, starts a child, enters a region or makes a remark. Looking (stat), opening the same path again, closing and
/// unlocking are no such thing. An owner that unlinks or renames the path itself has given it up, until it does something again.
#[derive(Debug)]
pub struct PathExclusion {
    of: Memo,
    judged: u64,
}

impl PathExclusion {
    /// Locks on paths of that form.
    pub fn of(pattern: impl Into<Glob>) -> Self {
        PathExclusion { of: Memo::from(pattern.into()), judged: 0 }
    }
}

/// Another owner of the path of a lock.
fn rival<'l>(one: &Held, locks: &'l HeldLocks, kernel: &KernelView<'_>) -> Option<&'l Held> {
    let shared = |other: &Held| (one.mode, other.mode) == (LockMode::Shared, LockMode::Shared);
    let mut others = locks.iter().filter(|other| other.description != one.description && other.owned);
    others.find(|other| other.is_at_place_of(one, kernel) && !shared(other))
}

#[cold]
fn two_owners(other: &Held, one: &Held, kernel: &KernelView<'_>) -> Violation {
    let tell = |held: &Held| {
        let (who, step) = (held.taken.who(kernel), held.taken.step);
        let Act { what, step: acted } = &held.act;
        let spelling = if held.path == one.path { String::new() } else { format!(" as {}", held.path) };
        format!("{who} locked inode {}{spelling} at step {step}, and {what} at step {acted}", held.file.inode)
    };
    let (theirs, ours) = (other.taken.who(kernel), one.taken.who(kernel));
    let text = format!("{} has two owners: {theirs} and {ours}", one.path);
    Violation::new(ViolationKind::Exclusion, text).because(format!("{}\n{}", tell(other), tell(one)))
}

impl Oracle for PathExclusion {
    fn name(&self) -> &str {
        "one owner of a path"
    }
    fn kinds(&self) -> Kinds {
        let lives = Kinds::PROCESSES | Kinds::TASK_ENDS;
        Kinds::LOCKS | Kinds::OPENED | Kinds::NAMES | Kinds::CONTENT | lives | Kinds::REMARKS | Kinds::OWNED
    }
    fn attends(&self) -> Option<Kinds> {
        // One owner shows that it is watched; after that, what matters is a second one.
        Some(if self.judged == 0 { Kinds::OWNED } else { Kinds::RIVALLED })
    }
    fn begin(&mut self) {}
    fn on(&mut self, _: &Event, kernel: &KernelView<'_>) -> Result<(), Violation> {
        let mut broken = None;
        for held in kernel.locks.newly_owned() {
            if self.of.matches(&held.path) {
                self.judged += 1;
                if kernel.locks.owners() > 1 && broken.is_none() {
                    broken = rival(held, kernel.locks, kernel).map(|other| two_owners(other, held, kernel));
                }
            }
        }
        broken.map_or(Ok(()), Err)
    }
    fn state(&self) -> Option<u64> {
        Some(0) // who owns what is remembered for all
    }
    fn state_as(&self, _: &Renamed<'_>) -> Option<u64> {
        self.state()
    }
    fn judged(&self) -> u64 {
        self.judged
    }
}

/// Regions of one kind and subject never overlap, except those of readers with each other.
#[derive(Debug)]
pub struct RegionExclusion {
    kind: &'static str,
    readers: Option<&'static str>,
    /// By number: subject, whether it reads, and who entered it when.
    inside: Map<u64, (Arc<str>, bool, Deed)>,
    judged: u64,
}

impl RegionExclusion {
    /// Regions of that kind, by subject.
    pub fn of(kind: &'static str) -> Self {
        RegionExclusion { kind, readers: None, inside: Map::default(), judged: 0 }
    }

    /// Regions of that other kind may overlap with each other, but not with those of the first.
    pub fn readers(self, kind: &'static str) -> Self {
        RegionExclusion { readers: Some(kind), ..self }
    }
}

impl Oracle for RegionExclusion {
    fn name(&self) -> &str {
        self.kind
    }
    fn kinds(&self) -> Kinds {
        Kinds::REMARKS
    }
    fn begin(&mut self) {
        self.inside.clear();
    }
    fn on(&mut self, event: &Event, kernel: &KernelView<'_>) -> Result<(), Violation> {
        match &event.what {
            What::Entered { kind, subject, region } if *kind == self.kind || Some(*kind) == self.readers => {
                self.judged += 1;
                let reads = *kind != self.kind;
                let rival = self.inside.values().find(|(other, read, _)| *other == *subject && !(reads && *read));
                let entered = Deed::of(event);
                if let Some((_, read, other)) = rival {
                    let tell = |kind: &str, deed: Deed| {
                        format!("{} entered {kind} {subject} at step {}", deed.who(kernel), deed.step)
                    };
                    let theirs = if *read { self.readers.unwrap_or(self.kind) } else { self.kind };
                    let (other, who) = (tell(theirs, *other), tell(kind, entered));
                    let text = format!("two at once in {} {subject}: {other}, and {who}", self.kind);
                    return Err(Violation::new(ViolationKind::Exclusion, text));
                }
                self.inside.insert(*region, (subject.clone(), reads, entered));
            }
            What::Left { region, .. } => drop(self.inside.remove(region)),
            _ => {}
        }
        Ok(())
    }
    fn state(&self) -> Option<u64> {
        self.state_as(&Renamed::default())
    }
    fn state_as(&self, names: &Renamed<'_>) -> Option<u64> {
        // The machine remembers who is in which region; regions are numbered in the order of entering, which is no matter.
        let mut inside: Vec<_> =
            self.inside.values().map(|(subject, reads, by)| (subject, reads, names.process(by.process))).collect();
        inside.sort_unstable();
        state_of(inside)
    }
    fn judged(&self) -> u64 {
        self.judged
    }
}
