//! The locks that are held, from events alone, for oracles that remember something of each.
//!
//! The kernel gives the same few descriptions the same few paths in every execution. So a lock that ends is only marked as such, and
//! its place, path included, is there when it is taken again.

use std::sync::Arc;

/// Held locks by description, in its order; `T` is what the oracle remembers of one, beside its path.
#[derive(Debug)]
pub(super) struct HeldLocks<T> {
    places: Vec<Place<T>>,
    held: usize,
}

#[derive(Debug)]
struct Place<T> {
    description: u64,
    held: bool,
    path: Arc<str>,
    note: T,
}

/// Up to here places are looked at one after another, and kept however many of them are empty.
const FEW: usize = 8;

impl<T> Default for HeldLocks<T> {
    fn default() -> Self {
        HeldLocks { places: Vec::new(), held: 0 }
    }
}

impl<T> HeldLocks<T> {
    #[inline]
    fn find(&self, description: u64) -> Result<usize, usize> {
        if self.places.len() > FEW {
            return self.places.binary_search_by_key(&description, |place| place.description);
        }
        let at = self.places.iter().position(|place| place.description >= description).unwrap_or(self.places.len());
        if self.places.get(at).is_some_and(|place| place.description == description) { Ok(at) } else { Err(at) }
    }

    /// Nothing is held.
    #[inline]
    pub(super) fn clear(&mut self) {
        if self.held > 0 {
            self.places.iter_mut().for_each(|place| place.held = false);
            self.held = 0;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held == 0
    }

    pub(super) fn len(&self) -> usize {
        self.held
    }

    #[inline]
    pub(super) fn get(&self, description: u64) -> Option<&T> {
        let place = &self.places[self.find(description).ok()?];
        place.held.then_some(&place.note)
    }

    /// A lock is held from now on, or known by another note.
    #[inline]
    pub(super) fn insert(&mut self, description: u64, path: &Arc<str>, note: T) {
        match self.find(description) {
            Ok(at) => {
                let place = &mut self.places[at];
                if !Arc::ptr_eq(&place.path, path) {
                    place.path = path.clone();
                }
                place.note = note;
                self.held += usize::from(!std::mem::replace(&mut place.held, true));
            }
            Err(at) => self.insert_at(at, Place { description, held: true, path: path.clone(), note }),
        }
    }

    #[cold]
    fn insert_at(&mut self, at: usize, place: Place<T>) {
        self.places.insert(at, place);
        self.held += 1;
        // Where descriptions have ever new numbers, as in a recording, most places would be empty in the end.
        if self.places.len() > FEW.max(4 * self.held) {
            self.places.retain(|place| place.held);
        }
    }

    /// A lock has ended: what was remembered of it, if it was held.
    #[inline]
    pub(super) fn remove(&mut self, description: u64) -> Option<&T> {
        let at = self.find(description).ok()?;
        let place = &mut self.places[at];
        if !std::mem::replace(&mut place.held, false) {
            return None;
        }
        self.held -= 1;
        Some(&place.note)
    }

    /// Only those locks are held on.
    pub(super) fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        for place in self.places.iter_mut().filter(|place| place.held) {
            if !keep(&place.note) {
                place.held = false;
                self.held -= 1;
            }
        }
    }

    /// Description, path and note of every held lock.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Arc<str>, &T)> {
        let held = self.places.iter().filter(|place| place.held);
        held.map(|place| (place.description, &place.path, &place.note))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (u64, &Arc<str>, &mut T)> {
        let held = self.places.iter_mut().filter(|place| place.held);
        held.map(|place| (place.description, &place.path, &mut place.note))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::{FEW, HeldLocks};

    #[test]
    fn it_is_a_sorted_map_whatever_places_are_kept() {
        let (mut locks, mut tree) = (HeldLocks::default(), BTreeMap::new());
        let paths: [Arc<str>; 2] = ["/a".into(), "/b".into()];
        let mut most = 0;
        for n in 0..40 * FEW as u64 {
            // First the same few again and again, then ever new ones, some of which are held for long.
            let description = if n < 100 { n * 7 % 19 } else { 2 * n };
            let path = &paths[n as usize % 2];
            locks.insert(description, path, n);
            tree.insert(description, (path.clone(), n));
            if n % 5 != 4 {
                let gone = if n < 100 { n * 3 % 19 } else { description };
                assert_eq!(locks.remove(gone).copied(), tree.remove(&gone).map(|(_, note)| note));
            }
            if n % 50 == 49 {
                locks.retain(|note| note % 2 == 0);
                tree.retain(|_, (_, note)| *note % 2 == 0);
            }
            let known: Vec<_> = locks.iter().map(|(at, path, note)| (at, (path.clone(), *note))).collect();
            assert_eq!(known, tree.clone().into_iter().collect::<Vec<_>>());
            assert_eq!(
                (locks.len(), locks.get(description).copied()),
                (tree.len(), tree.get(&description).map(|e| e.1))
            );
            most = most.max(locks.places.len());
        }
        assert!(
            most > FEW && most < 20 * FEW,
            "both ways of looking were tried, and empty places do not pile up: {most}"
        );
        locks.clear();
        assert!(locks.is_empty() && locks.iter().next().is_none());
    }
}
