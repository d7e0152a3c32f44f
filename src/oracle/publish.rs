//! What is published is whole, and stays.
//!
//! The most frequent class of public bugs, fourteen of 93: the entry is written under its final name and read half-done, the
//! marker of completeness is written first, a crash leaves a torn entry that is sticky for ever, the loser of a race tidies up and
//! deletes the winner's entry.
//!
//! Three promises, each judged where it can be:
//!
//! * **No torn read**, from events alone: nobody reads a published file while somebody else is in the middle of writing it. A writer
//!   is in the middle from the first change that it makes through a descriptor (creating and truncating are changes) to the last; a
//!   reader from its first read through one to its last. Nor does anybody read a file whose writer was killed with it open.
//! * **Nothing disappears**, from events alone: no published name is unlinked, or renamed to something else, but by a cleaner. To be
//!   replaced by a rename is fine: there is no moment without it.
//! * **The marker implies the whole**, from the machine: at every event at which the marker exists, so does everything that it stands for.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use super::table::Tables;
use super::{Glob, Oracle, Violation, ViolationKind, state_of};
use crate::sim::{KernelView, Renamed};
use crate::world::{Event, FileId, Kinds, Status, What};

type Complete = Arc<dyn Fn(&KernelView<'_>) -> bool + Send + Sync>;

/// What an open descriptor of a published file was used for. The steps are for the report.
#[derive(Clone, Debug, Default)]
struct Use {
    read: Option<String>,
    written: bool,
    /// Somebody else read the file after it was written through this: if it is written again, that read was torn.
    doubt: Option<String>,
    /// Somebody else wrote the file after it was read through this: if it is read again, both reads are torn.
    changed: Option<String>,
}

/// See the [module documentation](self).
#[derive(Default)]
pub struct Publish {
    published: Vec<Glob>,
    markers: Vec<(String, Complete)>,
    cleaners: Vec<Glob>,
    beside: Vec<Glob>,
    tables: Tables<Use>,
    /// Files whose writer was killed while it wrote.
    torn: BTreeSet<FileId>,
    judged: u64,
}

impl fmt::Debug for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let markers: Vec<&str> = self.markers.iter().map(|(marker, _)| &**marker).collect();
        write!(f, "Publish {{ published: {:?}, markers: {markers:?}, cleaners: {:?} }}", self.published, self.cleaners)
    }
}

impl Publish {
    /// Names of that form are published as soon as they exist.
    pub fn of(pattern: impl Into<Glob>) -> Self {
        Publish { published: vec![pattern.into()], ..Publish::default() }
    }

    /// So are names of that form.
    pub fn and(mut self, pattern: impl Into<Glob>) -> Self {
        self.published.push(pattern.into());
        self
    }

    /// While the path `marker` exists, `complete` holds.
    pub fn marked(mut self, marker: &str, complete: impl Fn(&KernelView<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.markers.push((marker.to_owned(), Arc::new(complete)));
        self
    }

    /// Processes of that name may take published names away.
    pub fn cleaner(mut self, process: impl Into<Glob>) -> Self {
        self.cleaners.push(process.into());
        self
    }

    /// Names of that form are no part of what is published, whatever other pattern they match, such as those of lock files: what happens to
    /// them is passed over. Who has made such a file is then nothing to remember; so to give it a published name is a violation.
    pub fn beside(mut self, pattern: impl Into<Glob>) -> Self {
        self.beside.push(pattern.into());
        self
    }

    fn is_beside(&self, path: &str) -> bool {
        self.beside.iter().any(|pattern| pattern.matches(path))
    }

    fn is_published(&self, path: &str) -> bool {
        self.published.iter().any(|pattern| pattern.matches(path)) && !self.is_beside(path)
    }

    fn wrong(text: String) -> Result<(), Violation> {
        Err(Violation::new(ViolationKind::Publish, text))
    }

    fn read(&mut self, event: &Event, who: &str, number: u32, path: &str, file: FileId) -> Result<(), Violation> {
        self.judged += 1;
        let told = format!("{who} read {path} at step {}", event.step);
        if self.torn.contains(&file) {
            return Self::wrong(format!("torn read: {told}, and whoever wrote it was killed before it was done"));
        }
        let mut torn = None;
        for (&at, entry) in self.tables.0.iter_mut().filter(|(_, entry)| entry.file == Some(file)) {
            if at == (event.process, number) {
                entry.note.read = Some(told.clone());
                torn = entry.note.changed.clone();
            } else if entry.note.written {
                entry.note.doubt.get_or_insert_with(|| told.clone());
            }
        }
        match torn {
            Some(change) => Self::wrong(format!("torn read: {told}, and had begun to read it before {change}")),
            None => Ok(()),
        }
    }

    /// `number`: the descriptor it is written through, if the event tells.
    fn written(&mut self, event: &Event, who: &str, number: Option<u32>, file: FileId) -> Result<(), Violation> {
        let writes = |at: (u32, u32)| at.0 == event.process && number.is_none_or(|number| number == at.1);
        let mut torn = None;
        for (&at, entry) in self.tables.0.iter_mut().filter(|(_, entry)| entry.file == Some(file)) {
            if writes(at) {
                entry.note.written = true;
                torn = torn.or_else(|| entry.note.doubt.clone());
            } else if entry.note.read.is_some() {
                entry.note.changed = Some(format!("{who} wrote it at step {}", event.step));
            }
        }
        match torn {
            Some(read) => {
                Self::wrong(format!("torn read: {read}, while {who} was writing it until step {}", event.step))
            }
            None => Ok(()),
        }
    }

    fn vanishes(&mut self, event: &Event, kernel: &KernelView<'_>, path: &str) -> Result<(), Violation> {
        if !self.is_published(path) {
            return Ok(());
        }
        self.judged += 1;
        let process = kernel.process_name(event.process);
        if self.cleaners.iter().any(|cleaner| cleaner.matches(process)) {
            return Ok(());
        }
        Self::wrong(format!(
            "the published {path} disappears: {} {} at step {}",
            kernel.who(event),
            event.what,
            event.step
        ))
    }

    /// What was `from` is `to` from now on, or as well.
    fn gets_name(&self, event: &Event, kernel: &KernelView<'_>, from: &str, to: &str) -> Result<(), Violation> {
        if !(self.is_beside(from) && self.is_published(to)) {
            return Ok(());
        }
        let who = kernel.who(event);
        Self::wrong(format!(
            "{from} lies beside what is published, and {who} publishes it as {to} at step {}",
            event.step
        ))
    }

    fn check_markers(&mut self, event: &Event, kernel: &KernelView<'_>) -> Result<(), Violation> {
        for (marker, complete) in &self.markers {
            if !kernel.exists(marker) {
                continue;
            }
            self.judged += 1;
            if !complete(kernel) {
                return Self::wrong(format!(
                    "{marker} is there, and what it stands for is not complete: {} {} at step {}",
                    kernel.who(event),
                    event.what,
                    event.step
                ));
            }
        }
        Ok(())
    }
}

impl Oracle for Publish {
    fn name(&self) -> &str {
        "published whole"
    }
    fn kinds(&self) -> Kinds {
        Kinds::DESCRIPTORS | Kinds::CONTENT | Kinds::NAMES | Kinds::LIVES
    }
    fn begin(&mut self) {
        self.tables.begin();
        self.torn.clear();
    }
    fn on(&mut self, event: &Event, kernel: &KernelView<'_>) -> Result<(), Violation> {
        match &event.what {
            What::Open { path, file, truncated: true, .. } if self.is_published(path) => {
                self.written(event, &kernel.who(event), Some(u32::MAX), *file)?;
            }
            What::Open { file, created: true, .. } => drop(self.torn.remove(file)),
            What::Read { path, descriptor, file, .. } if self.is_published(path) => {
                self.read(event, &kernel.who(event), *descriptor, path, *file)?;
            }
            What::Write { descriptor, file, .. } => {
                self.written(event, &kernel.who(event), Some(*descriptor), *file)?
            }
            What::Truncate { file, .. } => self.written(event, &kernel.who(event), None, *file)?,
            What::Unlink { path, .. } | What::RemoveDir { path, .. } => self.vanishes(event, kernel, path)?,
            What::Rename { from, to, .. } => {
                self.vanishes(event, kernel, from)?;
                self.gets_name(event, kernel, from, to)?;
            }
            What::Link { existing, new, symbolic: false } => self.gets_name(event, kernel, existing, new)?,
            What::Ending { status: Status::Killed(_) } => {
                let written = self.tables.of(event.process).filter(|(_, entry)| entry.note.written);
                self.torn.extend(written.filter_map(|(_, entry)| entry.file).collect::<Vec<_>>());
            }
            _ => {}
        }
        if matches!(&event.what, What::Open { path, .. } if self.is_beside(path)) {
            return self.check_markers(event, kernel);
        }
        let begun = matches!(event.what, What::Open { created, truncated, .. } if created || truncated);
        self.tables.on(event, || Use { written: begun, ..Use::default() });
        self.check_markers(event, kernel)
    }
    fn state(&self) -> Option<u64> {
        self.state_as(&Renamed::default())
    }
    fn state_as(&self, names: &Renamed<'_>) -> Option<u64> {
        let uses = self.tables.0.iter().map(|(&(process, number), entry)| {
            let Use { read, written, doubt, changed } = &entry.note;
            let file = entry.file.and_then(|file| names.file(file));
            let at = (names.process(process), number, file);
            (at, read.is_some(), *written, doubt.is_some(), changed.is_some())
        });
        let mut uses: Vec<_> = uses.collect();
        // What is gone is read by nobody any more.
        let mut torn: Vec<_> = self.torn.iter().filter_map(|&file| names.file(file)).collect();
        uses.sort_unstable();
        torn.sort_unstable();
        state_of((uses, torn))
    }
    fn judged(&self) -> u64 {
        self.judged
    }
}
