//! Where there may be one, there is one: one owner of a *path*, one in a region.
//!
//! flock(2) excludes on inodes, programs meet by path. The scar: twelve public bugs, rarely diagnosed, in which a lock file is unlinked
//! while somebody waits for it: the waiter gets the lock on a file that has no name any more, a newcomer makes a new file of that
//! name and locks that, and both own the path, with a kernel that did everything right.

use std::sync::Arc;

use smallvec::SmallVec;

use super::deed::Deed;
use super::glob::Memo;
use super::held::HeldLocks;
use super::kin::{self, Actor};
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
    held: HeldLocks<Held>,
    /// How many of them have no owner yet.
    idle: u32,
    judged: u64,
}

#[derive(Debug)]
struct Held {
    file: FileId,
    mode: LockMode,
    process: u32,
    by: Actor,
    owner: bool,
    /// For the report.
    locked: Deed,
    acted: Option<(What, u64)>,
}

impl PathExclusion {
    /// Locks on paths of that form.
    pub fn of(pattern: impl Into<Glob>) -> Self {
        PathExclusion { of: Memo::from(pattern.into()), held: HeldLocks::default(), idle: 0, judged: 0 }
    }

    /// Somebody does something: under every lock that it has, except where the act is about that lock's own path.
    #[inline(always)]
    fn acts(&mut self, event: &Event, about: Option<&str>, kernel: &KernelView<'_>) -> Result<(), Violation> {
        // Most is done by those who are owners already, or while nobody has a lock.
        if self.idle == 0 { Ok(()) } else { self.acts_with_locks(event, about, kernel) }
    }

    #[inline(never)]
    fn acts_with_locks(
        &mut self,
        event: &Event,
        about: Option<&str>,
        kernel: &KernelView<'_>,
    ) -> Result<(), Violation> {
        let mut owned: SmallVec<[u64; 2]> = SmallVec::new();
        for (description, path, held) in self.held.iter_mut() {
            if held.owner || about == Some(&**path) || !kin::in_name_of(event, held.by, kernel) {
                continue;
            }
            held.owner = true;
            held.acted = Some((event.what.clone(), event.step));
            owned.push(description);
        }
        self.idle -= owned.len() as u32;
        self.judged += owned.len() as u64;
        match owned.into_iter().find_map(|description| self.rivals(description)) {
            Some((path, other, one)) => Err(Self::two_owners(path, other, one, kernel)),
            None => Ok(()),
        }
    }

    #[inline(never)]
    fn locks(
        &mut self,
        event: &Event,
        path: &Arc<str>,
        file: FileId,
        description: u64,
        mode: LockMode,
        kernel: &KernelView<'_>,
    ) {
        if !self.of.matches(path) || self.held.get(description).is_some_and(|held| held.mode == mode) {
            return;
        }
        self.unlocks(description);
        let (process, by, locked) = (event.process, kin::actor(event, kernel), Deed::of(event));
        let held = Held { file, mode, process, by, owner: false, locked, acted: None };
        self.idle += 1;
        self.held.insert(description, path, held);
    }

    #[inline(never)]
    fn unlocks(&mut self, description: u64) {
        if let Some(held) = self.held.remove(description) {
            self.idle -= u32::from(!held.owner);
        }
    }

    #[inline(never)]
    fn task_ends(&mut self, event: &Event, kernel: &KernelView<'_>) {
        let by = kin::actor(event, kernel);
        if let Some(heir) = kin::heir(event, kernel) {
            let left = self.held.iter_mut().map(|(_, _, held)| held).filter(|held| held.by == by);
            left.for_each(|held| held.by = heir);
        }
    }

    /// The path of a lock, another owner of the same path, and its own.
    fn rivals(&self, description: u64) -> Option<(&Arc<str>, &Held, &Held)> {
        if self.held.len() == 1 {
            return None;
        }
        let mut all = self.held.iter();
        let (_, path, one) = all.find(|(at, ..)| *at == description).expect("it has just acted");
        let shared = |other: &Held| (one.mode, other.mode) == (LockMode::Shared, LockMode::Shared);
        let mut others = self.held.iter().filter(|(at, ..)| *at != description);
        let rival = others.find(|(_, its, other)| other.owner && *its == path && !shared(other));
        rival.map(|(_, _, other)| (path, other, one))
    }

    #[cold]
    fn two_owners(path: &Arc<str>, other: &Held, one: &Held, kernel: &KernelView<'_>) -> Violation {
        let tell = |held: &Held| {
            let (who, step) = (held.locked.who(kernel), held.locked.step);
            let acted = held.acted.as_ref().map_or(String::new(), |(what, step)| format!("{what} at step {step}"));
            format!("{who} locked inode {} at step {step}, and {acted}", held.file.inode)
        };
        let (theirs, ours) = (other.locked.who(kernel), one.locked.who(kernel));
        let text = format!("{path} has two owners: {theirs} and {ours}");
        Violation::new(ViolationKind::Exclusion, text).because(format!("{}\n{}", tell(other), tell(one)))
    }

    fn gives_up(&mut self, event: &Event, path: &str, file: FileId) {
        for (_, its, held) in self.held.iter_mut() {
            if held.process == event.process && **its == *path && held.file == file {
                self.idle += u32::from(held.owner);
                held.owner = false;
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
    fn begin(&mut self) {
        self.held.clear();
        self.idle = 0;
    }
    fn on(&mut self, event: &Event, kernel: &KernelView<'_>) -> Result<(), Violation> {
        use What::*;
        match &event.what {
            Lock { path, file, description, mode, .. } => {
                let acted = self.acts(event, Some(path), kernel);
                self.locks(event, path, *file, *description, *mode, kernel);
                acted
            }
            Unlock { description, .. } => {
                self.unlocks(*description);
                Ok(())
            }
            Unlink { path, file } | Rename { from: path, file, .. } => {
                let acted = self.acts(event, Some(path), kernel);
                self.gives_up(event, path, *file);
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
            TaskEnded { .. } => {
                if !self.held.is_empty() {
                    self.task_ends(event, kernel);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
    fn state(&self) -> Option<u64> {
        let held = self.held.iter().map(|(at, path, h)| (at, path.clone(), h.mode, h.by, h.owner));
        state_of(held.collect::<Vec<_>>())
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
