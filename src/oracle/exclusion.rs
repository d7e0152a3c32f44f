//! Where there may be one, there is one: one owner of a *path*, one in a region.
//!
//! flock(2) excludes on inodes, programs meet by path. The scar: twelve public bugs, rarely diagnosed, in which a lock file is unlinked
//! while somebody waits for it: the waiter gets the lock on a file that has no name any more, a newcomer makes a new file of that
//! name and locks that, and both own the path, with a kernel that did everything right.

use std::sync::Arc;

use super::deed::Deed;
use super::glob::Memo;
use super::held::Held;
use super::kin;
use super::map::Map;
use super::{Glob, Oracle, Violation, ViolationKind, state_of};
use crate::sim::KernelView;
use crate::world::{Event, FileId, Kinds, LockMode, What};

/// Paths of that form have one exclusive owner, or several shared ones.
///
/// Who has a lock is not an owner yet: a sound program first looks whether the locked file is still the one that the name points to,
/// and lets go if not. It becomes one with the first thing that it does *under* the lock: it touches a name or content, opens or
/// locks another path, starts a child, enters a region or makes a remark. Looking (stat), opening the same path again, closing and
/// unlocking are no such thing. An owner that unlinks or renames the path itself has given it up, until it does something again.
#[derive(Debug)]
pub struct PathExclusion {
    of: Memo,
    /// The held locks that it is about, by description, and whether they have an owner.
    locks: Map<u64, bool>,
    /// How many of them have none yet.
    idle: u32,
    /// What the others have done first.
    acts: Vec<Act>,
    judged: u64,
}

/// Somebody has done something under a lock. For the report.
#[derive(Debug)]
struct Act {
    description: u64,
    what: What,
    step: u64,
}

impl PathExclusion {
    /// Locks on paths of that form.
    pub fn of(pattern: impl Into<Glob>) -> Self {
        let of = Memo::from(pattern.into());
        PathExclusion { of, locks: Map::default(), idle: 0, acts: Vec::new(), judged: 0 }
    }

    /// Somebody does something: under every lock that it has, except where the act is about that lock's own path.
    #[inline]
    fn acts(&mut self, event: &Event, about: Option<&Arc<str>>, kernel: &KernelView<'_>) -> Result<(), Violation> {
        // Most is done by those who are owners already, or while nobody has a lock.
        if self.idle == 0 { Ok(()) } else { self.acts_with_locks(event, about, kernel) }
    }

    fn acts_with_locks(
        &mut self,
        event: &Event,
        about: Option<&Arc<str>>,
        kernel: &KernelView<'_>,
    ) -> Result<(), Violation> {
        let before = self.acts.len();
        for (&description, owned) in self.locks.iter_mut().filter(|(_, owned)| !**owned) {
            let Some(held) = kernel.locks.get(description) else { continue };
            if kin::in_name_of(event, held, kernel) && about != Some(&held.path) {
                *owned = true;
                self.acts.push(Act { description, what: event.what.clone(), step: event.step });
            }
        }
        let owned = self.acts.len() - before;
        self.idle -= owned as u32;
        self.judged += owned as u64;
        if self.locks.len() == 1 {
            return Ok(()); // there can be no rival
        }
        match self.acts[before..].iter().find_map(|act| self.rivals(act.description, kernel)) {
            Some((other, one)) => Err(self.two_owners(other, one, kernel)),
            None => Ok(()),
        }
    }

    /// A lock was granted.
    fn granted(&mut self, path: &Arc<str>, description: u64, kernel: &KernelView<'_>) {
        if kernel.locks.is_news() && self.of.matches(path) {
            self.ends(description);
            self.idle += 1;
            self.locks.insert(description, false);
        }
    }

    /// A lock has ended.
    fn ends(&mut self, description: u64) {
        match self.locks.remove(&description) {
            Some(true) => self.forget_act(description),
            Some(false) => self.idle -= 1,
            None => {}
        }
    }

    fn forget_act(&mut self, description: u64) {
        if let Some(at) = self.acts.iter().position(|act| act.description == description) {
            self.acts.swap_remove(at);
        }
    }

    /// The lock of another owner of the same path, and that of its own.
    fn rivals<'k>(&self, description: u64, kernel: &KernelView<'k>) -> Option<(&'k Held, &'k Held)> {
        let one = kernel.locks.get(description)?;
        let owned = self.locks.iter().filter(|(at, owned)| **at != description && **owned);
        let mut others = owned.filter_map(|(&at, _)| kernel.locks.get(at)).filter(|other| other.path == one.path);
        let shared = |other: &Held| (one.mode, other.mode) == (LockMode::Shared, LockMode::Shared);
        others.find(|other| !shared(other)).map(|other| (other, one))
    }

    #[cold]
    fn two_owners(&self, other: &Held, one: &Held, kernel: &KernelView<'_>) -> Violation {
        let tell = |held: &Held| {
            let (who, step) = (held.taken.who(kernel), held.taken.step);
            let act = self.acts.iter().find(|act| act.description == held.description);
            let acted = act.map_or(String::new(), |act| format!("{} at step {}", act.what, act.step));
            format!("{who} locked inode {} at step {step}, and {acted}", held.file.inode)
        };
        let (theirs, ours) = (other.taken.who(kernel), one.taken.who(kernel));
        let text = format!("{} has two owners: {theirs} and {ours}", one.path);
        Violation::new(ViolationKind::Exclusion, text).because(format!("{}\n{}", tell(other), tell(one)))
    }

    fn gives_up(&mut self, event: &Event, path: &str, file: FileId, kernel: &KernelView<'_>) {
        let own = |held: &&Held| held.taken.process == event.process && *held.path == *path && held.file == file;
        for held in kernel.locks.iter().filter(own) {
            if self.locks.get_mut(&held.description).is_some_and(std::mem::take) {
                self.idle += 1;
                self.forget_act(held.description);
            }
        }
    }
}

impl Oracle for PathExclusion {
    fn name(&self) -> &str {
        "one owner of a path"
    }
    fn kinds(&self) -> Kinds {
        let lives = Kinds::PROCESSES | Kinds::TASK_ENDS;
        Kinds::LOCKS | Kinds::OPENED | Kinds::NAMES | Kinds::CONTENT | lives | Kinds::REMARKS
    }
    fn attends(&self) -> Option<Kinds> {
        let always = Kinds::LOCKED | Kinds::UNLOCKED | Kinds::NAMES;
        let acts = Kinds::LOCK_WAITS | Kinds::OPENED | Kinds::CONTENT | Kinds::FORKED | Kinds::REMARKS;
        Some(if self.idle == 0 { always } else { always | acts })
    }
    fn begin(&mut self) {
        self.locks.clear();
        self.acts.clear();
        self.idle = 0;
    }
    fn on(&mut self, event: &Event, kernel: &KernelView<'_>) -> Result<(), Violation> {
        use What::*;
        match &event.what {
            Lock { path, description, .. } => {
                let acted = self.acts(event, Some(path), kernel);
                self.granted(path, *description, kernel);
                acted
            }
            Unlock { description, .. } => {
                self.ends(*description);
                Ok(())
            }
            Unlink { path, file } | Rename { from: path, file, .. } => {
                let acted = self.acts(event, Some(path), kernel);
                self.gives_up(event, path, *file, kernel);
                acted
            }
            Open { path, .. } | LockWait { path, .. } => self.acts(event, Some(path), kernel),
            Link { .. }
            | MakeDir { .. }
            | RemoveDir { .. }
            | Read { .. }
            | Write { .. }
            | Truncate { .. }
            | Sync { .. }
            | Forked { .. }
            | Entered { .. }
            | Note { .. } => self.acts(event, None, kernel),
            _ => Ok(()),
        }
    }
    fn state(&self) -> Option<u64> {
        // Who holds what is remembered for all.
        state_of(self.locks.iter().collect::<Vec<_>>())
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
        // The machine remembers who is in which region; regions are numbered in the order of entering, which is no matter.
        let mut inside: Vec<_> =
            self.inside.values().map(|(subject, reads, by)| (subject, reads, by.process)).collect();
        inside.sort_unstable();
        state_of(inside)
    }
    fn judged(&self) -> u64 {
        self.judged
    }
}
