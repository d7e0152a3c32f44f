//! The descriptor tables of all processes, from events alone.

use super::map::Map;
use crate::world::{Event, FileId, What};

/// What is known of an open descriptor; `T` is what the oracle that asks remembers beside it.
#[derive(Clone, Debug)]
pub(super) struct Entry<T> {
    /// None for what is no file of the protocol's.
    pub(super) file: Option<FileId>,
    pub(super) note: T,
}

/// By process and number.
#[derive(Clone, Debug)]
pub(super) struct Tables<T>(pub(super) Map<(u32, u32), Entry<T>>);

impl<T> Default for Tables<T> {
    fn default() -> Self {
        Tables(Map::default())
    }
}

impl<T: Clone> Tables<T> {
    pub(super) fn begin(&mut self) {
        self.0.clear();
    }

    /// Follows an event. The number of the descriptor that it made, if it made one.
    pub(super) fn on(&mut self, event: &Event, note: impl FnOnce() -> T) -> Option<u32> {
        let (number, file) = match event.what {
            What::Open { descriptor, file, .. } | What::Dup { descriptor, file, .. } => (descriptor, Some(file)),
            What::Descriptor { number } => (number, None),
            What::Close { descriptor, .. } => {
                self.0.remove(&(event.process, descriptor));
                return None;
            }
            What::Forked { child, .. } => {
                let copies: Vec<_> =
                    self.of(event.process).map(|(number, entry)| ((child, number), entry.clone())).collect();
                self.0.extend(copies);
                return None;
            }
            What::Ended { .. } => {
                self.0.retain(|&(process, _), _| process != event.process);
                return None;
            }
            _ => return None,
        };
        self.0.insert((event.process, number), Entry { file, note: note() });
        Some(number)
    }

    /// The descriptors of a process, by number.
    pub(super) fn of(&self, process: u32) -> impl Iterator<Item = (u32, &Entry<T>)> {
        let of_process = self.0.iter().filter(move |((other, _), _)| *other == process);
        of_process.map(|(&(_, number), entry)| (number, entry))
    }
}
