//! The names in a directory.

use std::sync::Arc;

use super::Ino;

/// Names and what they stand for, in order. A sorted list and no tree: directories are small, an exploration empties and fills them once an
/// execution, and a list keeps what it has allocated.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Entries(Vec<(Arc<str>, Ino)>);

impl Clone for Entries {
    fn clone(&self) -> Self {
        Entries(self.0.clone())
    }
    fn clone_from(&mut self, other: &Self) {
        // Most names are those that it has.
        let Entries(mine) = self;
        let same = mine.iter().zip(&other.0).take_while(|((mine, _), (its, _))| Arc::ptr_eq(mine, its)).count();
        mine.truncate(same);
        mine.iter_mut().zip(&other.0).for_each(|((_, mine), (_, its))| *mine = *its);
        mine.extend_from_slice(&other.0[same..]);
    }
}

impl Entries {
    fn find(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| (**known).cmp(name))
    }
    pub(super) fn get(&self, name: &str) -> Option<&Ino> {
        self.find(name).ok().map(|at| &self.0[at].1)
    }
    pub(super) fn contains_key(&self, name: &str) -> bool {
        self.find(name).is_ok()
    }
    pub(super) fn insert(&mut self, name: Arc<str>, ino: Ino) {
        match self.find(&name) {
            Ok(at) => self.0[at].1 = ino,
            Err(at) => self.0.insert(at, (name, ino)),
        }
    }
    pub(super) fn remove(&mut self, name: &str) -> Option<Ino> {
        self.find(name).ok().map(|at| self.0.remove(at).1)
    }
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (&Arc<str>, &Ino)> {
        self.0.iter().map(|(name, ino)| (name, ino))
    }
    pub(super) fn keys(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.iter().map(|(name, _)| name)
    }
}
