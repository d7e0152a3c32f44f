//! No update is lost: who writes what it has read before writes on top of what is there now.
//!
//! The scar: `uv add a` beside `uv add b` in one project loses one of the two silently in 30 of 30 rounds, because both read
//! pyproject.toml, and the second to write has read it before the first one wrote; nine public bugs are of this kind. A promise about
//! the final content needs to know what should be in it; this one only needs to know the file.
//!
//! Judged by process, from reads, writes and renames: a process that has read the file, in whichever version, may change it only as long as
//! nobody else has changed it since that read. Who never read it writes blindly, which is no update. Writes through a descriptor of a
//! file that the name no longer points to are lost as well. A file is the same under all of its names: through a symbolic link, or a hard
//! one, two programs may know it by different ones, and lock different locks for it.
//!
//! *Not verified*: two tasks of one process against each other; appending (O_APPEND) to what somebody else has appended to is reported
//! although nothing is lost, so do not name logs.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Glob, Oracle, Violation, ViolationKind, state_of};
use crate::sim::{KernelView, Renamed};
use crate::world::{Event, FileId, Kinds, What};

/// See the [module documentation](self). Its violations are of kind [`ViolationKind::Other`]`("lost-update")`.
#[derive(Debug)]
pub struct LostUpdate {
    of: Glob,
    /// What a process knows of a path: in which file it read it when, and who has changed it since.
    known: BTreeMap<(u32, Arc<str>), Known>,
    /// What a name was seen to point to last.
    current: BTreeMap<Arc<str>, FileId>,
    judged: u64,
}

#[derive(Debug)]
struct Known {
    read: u64,
    /// Which file that was, or has become by what the process itself did.
    file: FileId,
    stale: Option<String>,
}

/// The kind of its violations.
pub const LOST_UPDATE: ViolationKind = ViolationKind::Other("lost-update");

impl LostUpdate {
    /// Files whose paths, as they are opened, are of that form.
    pub fn of(pattern: impl Into<Glob>) -> Self {
        LostUpdate { of: pattern.into(), known: BTreeMap::new(), current: BTreeMap::new(), judged: 0 }
    }

    /// Whether it is about a name of that form, or a file that one points to.
    fn concerns(&self, path: &str, file: Option<FileId>) -> bool {
        self.of.matches(path) || file.is_some_and(|file| self.current.values().any(|&current| current == file))
    }

    fn reads(&mut self, event: &Event, path: &Arc<str>, file: FileId) {
        let elsewhere = self.current.get(path).is_some_and(|current| *current != file);
        let stale = elsewhere.then(|| "the name already pointed to another file".to_owned());
        self.known.insert((event.process, path.clone()), Known { read: event.step, file, stale });
    }

    /// A process makes `file` of what `path` stands for, or changes its content. `same`: whether another name stands for it now.
    fn changes(
        &mut self,
        event: &Event,
        path: &Arc<str>,
        file: FileId,
        same: impl Fn(&str, &Known) -> bool,
        kernel: &KernelView<'_>,
    ) -> Result<(), Violation> {
        let who = kernel.who(event);
        let mut knew = false;
        for ((process, name), known) in &mut self.known {
            if name != path && !same(name, known) {
                continue;
            }
            if *process != event.process {
                known.stale.get_or_insert_with(|| format!("what {who} wrote at step {}", event.step));
                continue;
            }
            (knew, known.file) = (true, file);
            if let Some(stale) = &known.stale {
                let text = format!("{who} changes {path}, which it read at step {}: {stale} is lost", known.read);
                return Err(Violation::new(LOST_UPDATE, text));
            }
        }
        self.judged += u64::from(knew);
        Ok(())
    }
}

impl Oracle for LostUpdate {
    fn name(&self) -> &str {
        "no lost update"
    }
    fn kinds(&self) -> Kinds {
        Kinds::CONTENT | Kinds::NAMES | Kinds::DESCRIPTORS
    }
    fn begin(&mut self) {
        self.known.clear();
        self.current.clear();
    }
    fn on(&mut self, event: &Event, kernel: &KernelView<'_>) -> Result<(), Violation> {
        match &event.what {
            What::Open { path, file, truncated, .. } if self.concerns(path, Some(*file)) => {
                self.current.insert(path.clone(), *file);
                if !truncated {
                    return Ok(());
                }
                self.changes(event, path, *file, |_, known| known.file == *file, kernel)
            }
            What::Read { path, file, .. } if self.concerns(path, Some(*file)) => {
                self.reads(event, path, *file);
                Ok(())
            }
            What::Write { path, file, .. } | What::Truncate { path, file, .. } if self.concerns(path, Some(*file)) => {
                if self.current.get(path).is_some_and(|current| current != file) {
                    let who = kernel.who(event);
                    let text = format!("{who} writes to a file that is no longer {path}: its update is lost");
                    return Err(Violation::new(LOST_UPDATE, text));
                }
                self.changes(event, path, *file, |_, known| known.file == *file, kernel)
            }
            What::Rename { to, file, replaced, .. } if self.concerns(to, *replaced) => {
                // Through a symbolic link another name has been replaced with this one; a hard link stays with what it was.
                let replaces = |name: &str| kernel.inode(name) == Some(file.inode);
                let others = self.current.iter_mut().filter(|(name, _)| replaces(name));
                others.for_each(|(_, current)| *current = *file);
                self.current.insert(to.clone(), *file);
                self.changes(event, to, *file, |name, _| replaces(name), kernel)
            }
            _ => Ok(()),
        }
    }
    fn state(&self) -> Option<u64> {
        self.state_as(&Renamed::default())
    }
    fn state_as(&self, names: &Renamed<'_>) -> Option<u64> {
        let known = self.known.iter().map(|((process, path), known)| {
            (names.process(*process), names.path(path), names.file(known.file), known.stale.is_some())
        });
        let mut known: Vec<_> = known.collect();
        // A file that is gone is another one than any that somebody has open.
        let mut current: Vec<_> =
            self.current.iter().map(|(path, file)| (names.path(path), names.file(*file))).collect();
        known.sort_unstable();
        current.sort_unstable();
        state_of((known, current))
    }
    fn judged(&self) -> u64 {
        self.judged
    }
}
