//! Where there may be one, there is one: one owner of a *path*, one in a region.
//!
//! flock(2) excludes on inodes, programs meet by path. The scar: twelve public bugs, rarely diagnosed, in which a lock file is unlinked
//! while somebody waits for it: the waiter gets the lock on a file that has no name any more, a newcomer makes a new file of that
//! name and locks that, and both own the path, with a kernel that did everything right.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::kin::{Actor, Kin};
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
    of: Glob,
    /// By description.
    held: BTreeMap<u64, Held>,
    kin: Kin,
    judged: u64,
}

#[derive(Debug)]
struct Held {
    path: Arc<str>,
    file: FileId,
    mode: LockMode,
    process: u32,
    by: Actor,
    owner: bool,
    who: String,
    locked: u64,
    acted: String,
}

impl PathExclusion {
    /// Locks on paths of that form.
    pub fn of(pattern: impl Into<Glob>) -> Self {
        PathExclusion { of: pattern.into(), held: BTreeMap::new(), kin: Kin::default(), judged: 0 }
    }

    /// Somebody does something: under every lock that it has, except where the act is about that lock's own path.
    fn acts(&mut self, event: &Event, about: Option<&str>) -> Result<(), Violation> {
        let names = self.kin.in_whose_name(event);
        let under: Vec<u64> = self
            .held
            .iter()
            .filter(|(_, held)| !held.owner && about != Some(&*held.path) && names.contains(&held.by))
            .map(|(&description, _)| description)
            .collect();
        for description in under {
            let held = self.held.get_mut(&description).expect("listed above");
            held.owner = true;
            held.acted = format!("{} at step {}", event.what, event.step);
            self.judged += 1;
            self.check(description)?;
        }
        Ok(())
    }

    fn check(&self, description: u64) -> Result<(), Violation> {
        let one = &self.held[&description];
        let shared = |other: &Held| (one.mode, other.mode) == (LockMode::Shared, LockMode::Shared);
        let rival = |(at, other): &(&u64, &Held)| {
            **at != description && other.owner && other.path == one.path && !shared(other)
        };
        let Some((_, other)) = self.held.iter().find(rival) else { return Ok(()) };
        let tell = |held: &Held| {
            format!("{} locked inode {} at step {}, and {}", held.who, held.file.inode, held.locked, held.acted)
        };
        let text = format!("{} has two owners: {} and {}", one.path, other.who, one.who);
        let argument = format!("{}\n{}", tell(other), tell(one));
        Err(Violation::new(ViolationKind::Exclusion, text).because(argument))
    }

    fn gives_up(&mut self, event: &Event, path: &str, file: FileId) {
        for held in self.held.values_mut() {
            if held.process == event.process && *held.path == *path && held.file == file {
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
        Kinds::LOCKS | Kinds::DESCRIPTORS | Kinds::NAMES | Kinds::CONTENT | Kinds::LIVES | Kinds::REMARKS
    }
    fn begin(&mut self) {
        self.held.clear();
        self.kin.begin();
    }
    fn on(&mut self, event: &Event, kernel: &KernelView<'_>) -> Result<(), Violation> {
        use What::*;
        self.kin.on(event);
        match &event.what {
            Lock { path, file, description, mode, .. } => {
                let acted = self.acts(event, Some(path));
                if self.of.matches(path) && self.held.get(description).is_none_or(|held| held.mode != *mode) {
                    let held = Held {
                        path: path.clone(),
                        file: *file,
                        mode: *mode,
                        process: event.process,
                        by: self.kin.actor(event),
                        owner: false,
                        who: kernel.who(event),
                        locked: event.step,
                        acted: String::new(),
                    };
                    self.held.insert(*description, held);
                }
                acted
            }
            Unlock { description, .. } => {
                self.held.remove(description);
                Ok(())
            }
            Unlink { path, file } | Rename { from: path, file, .. } => {
                let acted = self.acts(event, Some(path));
                self.gives_up(event, path, *file);
                acted
            }
            Open { path, .. } | LockWait { path, .. } => self.acts(event, Some(path)),
            Link { .. }
            | MakeDir { .. }
            | RemoveDir { .. }
            | Read { .. }
            | Write { .. }
            | Truncate { .. }
            | Sync { .. }
            | Forked { .. }
            | Entered { .. }
            | Note { .. } => self.acts(event, None),
            TaskEnded { .. } => {
                let by = self.kin.actor(event);
                if let Some(heir) = self.kin.heir(event) {
                    self.held.values_mut().filter(|held| held.by == by).for_each(|held| held.by = heir);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
    fn state(&self) -> Option<u64> {
        let held = self.held.iter().map(|(at, h)| (*at, h.path.clone(), h.mode, h.by, h.owner));
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
    /// By number: subject, whether it reads, process, and for the report who entered it when.
    inside: BTreeMap<u64, (Arc<str>, bool, u32, String)>,
    judged: u64,
}

impl RegionExclusion {
    /// Regions of that kind, by subject.
    pub fn of(kind: &'static str) -> Self {
        RegionExclusion { kind, readers: None, inside: BTreeMap::new(), judged: 0 }
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
                let who = format!("{} entered {kind} {subject} at step {}", kernel.who(event), event.step);
                let rival = self.inside.values().find(|(other, read, ..)| *other == *subject && !(reads && *read));
                if let Some((.., other)) = rival {
                    let text = format!("two at once in {} {subject}: {other}, and {who}", self.kind);
                    return Err(Violation::new(ViolationKind::Exclusion, text));
                }
                self.inside.insert(*region, (subject.clone(), reads, event.process, who));
            }
            What::Left { region, .. } => drop(self.inside.remove(region)),
            _ => {}
        }
        Ok(())
    }
    fn state(&self) -> Option<u64> {
        // The machine remembers who is in which region; regions are numbered in the order of entering, which is no matter.
        let mut inside: Vec<_> = self.inside.values().map(|(subject, reads, by, _)| (subject, reads, by)).collect();
        inside.sort_unstable();
        state_of(inside)
    }
    fn judged(&self) -> u64 {
        self.judged
    }
}
