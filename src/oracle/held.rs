//! The locks that are held, from events alone: who has taken which, and who has it now. Kept once for all oracles.
//!
//! The kernel gives the same few descriptions the same few paths in every execution. So a lock that ends is only marked as such, and
//! its place, path included, is there when it is taken again.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::deed::Deed;
use super::kin::{self, Actor};
use crate::sim::state::Task;
use crate::world::{Event, FileId, LockMode, What};

/// A lock that somebody has, or was not told that he has lost.
#[derive(Debug)]
pub(crate) struct Held {
    /// The description that owns it.
    pub(super) description: u64,
    /// That the description was opened under.
    pub(super) path: Arc<str>,
    pub(super) file: FileId,
    pub(super) mode: LockMode,
    /// Who took it when.
    pub(super) taken: Deed,
    /// The task that has it now: who took it, or, once that has ended, who gets what it leaves.
    pub(super) by: Option<u32>,
    held: bool,
}

impl Held {
    /// Who has it now.
    pub(super) fn actor(&self, tasks: &[Task]) -> Actor {
        kin::named(self.taken.process, self.by, tasks)
    }
}

/// Held locks by description, in its order.
#[derive(Debug, Default)]
pub(crate) struct HeldLocks {
    places: Vec<Held>,
    held: usize,
    /// Whether the last lock that was granted was not held before.
    news: bool,
}

/// Up to here places are looked at one after another, and kept however many of them are empty.
const FEW: usize = 8;

impl HeldLocks {
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

    pub(super) fn len(&self) -> usize {
        self.held
    }

    /// Whether the lock that is being told of was not held before: it is no news to whoever has it in that mode already (contract L4).
    pub(super) fn is_news(&self) -> bool {
        self.news
    }

    #[inline]
    pub(super) fn get(&self, description: u64) -> Option<&Held> {
        let place = &self.places[self.find(description).ok()?];
        place.held.then_some(place)
    }

    /// Every held lock.
    #[inline]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Held> {
        self.places.iter().filter(|place| place.held)
    }

    /// A lock was granted.
    #[inline]
    pub(super) fn locked(&mut self, event: &Event) {
        let What::Lock { ref path, file, description, mode, .. } = event.what else { return };
        let (taken, by) = (Deed::of(event), event.task);
        self.news = true;
        match self.find(description) {
            Ok(at) => {
                let place = &mut self.places[at];
                if place.held && place.mode == mode {
                    self.news = false;
                    return;
                }
                if !Arc::ptr_eq(&place.path, path) {
                    place.path = path.clone();
                }
                self.held += usize::from(!place.held);
                (place.file, place.mode, place.taken, place.by, place.held) = (file, mode, taken, by, true);
            }
            Err(at) => self.insert(at, Held { description, path: path.clone(), file, mode, taken, by, held: true }),
        }
    }

    #[cold]
    fn insert(&mut self, at: usize, place: Held) {
        self.places.insert(at, place);
        self.held += 1;
        // Where descriptions have ever new numbers, as in a recording, most places would be empty in the end.
        if self.places.len() > FEW.max(4 * self.held) {
            self.places.retain(|place| place.held);
        }
    }

    /// A lock has ended.
    #[inline]
    pub(super) fn unlocked(&mut self, event: &Event) {
        let What::Unlock { description, .. } = event.what else { return };
        if let Ok(at) = self.find(description) {
            self.held -= usize::from(std::mem::replace(&mut self.places[at].held, false));
        }
    }

    /// A task has ended: `heir`, who spawned it or gave the section away, has what it leaves.
    #[inline]
    pub(crate) fn inherit(&mut self, task: u32, heir: Option<u32>) {
        if self.held > 0 && heir.is_some() {
            let left = self.places.iter_mut().filter(|place| place.held && place.by == Some(task));
            left.for_each(|place| place.by = heir);
        }
    }

    /// Feeds a hash with who holds what.
    pub(crate) fn fingerprint(&self, tasks: &[Task], state: &mut impl Hasher) {
        for held in self.iter() {
            (held.description, &held.path, held.mode, held.actor(tasks)).hash(state);
        }
        self.held.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Duration;

    use super::{FEW, HeldLocks};
    use crate::world::{Event, FileId, LockMode, What};

    fn event(step: u64, what: What) -> Event {
        Event { step, at: Duration::ZERO, process: 1, task: Some(2), what }
    }

    fn lock(step: u64, path: &Arc<str>, description: u64, mode: LockMode) -> Event {
        let file = FileId { device: 1, inode: step };
        event(step, What::Lock { path: path.clone(), descriptor: 3, file, description, mode, blocking: true })
    }

    fn unlock(step: u64, path: &Arc<str>, description: u64) -> Event {
        let (file, mode) = (FileId { device: 1, inode: step }, LockMode::Shared);
        event(step, What::Unlock { path: path.clone(), file, description, mode })
    }

    #[test]
    fn it_is_a_sorted_map_whatever_places_are_kept() {
        let (mut locks, mut tree) = (HeldLocks::default(), BTreeMap::new());
        let paths: [Arc<str>; 2] = ["/a".into(), "/b".into()];
        let mut most = 0;
        for n in 0..40 * FEW as u64 {
            // First the same few again and again, then ever new ones, some of which are held for long.
            let description = if n < 100 { n * 7 % 19 } else { 2 * n };
            let (path, mode) = (&paths[n as usize % 2], [LockMode::Shared, LockMode::Exclusive][n as usize % 2]);
            let news = tree.get(&description).is_none_or(|&(_, known, _)| known != mode);
            locks.locked(&lock(n, path, description, mode));
            assert_eq!(locks.is_news(), news);
            if news {
                tree.insert(description, (path.clone(), mode, n));
            }
            if n % 5 != 4 {
                let gone = if n < 100 { n * 3 % 19 } else { description };
                locks.unlocked(&unlock(n, path, gone));
                assert!(locks.get(gone).is_none());
                tree.remove(&gone);
            }
            if n % 50 == 49 {
                let old: Vec<u64> = tree.keys().copied().filter(|description| description % 4 == 0).collect();
                for gone in old {
                    locks.unlocked(&unlock(n, path, gone));
                    tree.remove(&gone);
                }
            }
            let known = locks.iter().map(|held| (held.description, (held.path.clone(), held.mode, held.taken.step)));
            assert!(known.eq(tree.clone()), "{locks:?} is not {tree:?}");
            assert_eq!(locks.len(), tree.len());
            most = most.max(locks.places.len());
        }
        assert!(
            most > FEW && most < 20 * FEW,
            "both ways of looking were tried, and empty places do not pile up: {most}"
        );
        locks.clear();
        assert!(locks.len() == 0 && locks.iter().next().is_none());
    }

    #[test]
    fn what_a_task_leaves_goes_to_its_heir_if_there_is_one() {
        let mut locks = HeldLocks::default();
        locks.locked(&lock(1, &"/a".into(), 7, LockMode::Exclusive));
        let by = |locks: &HeldLocks| locks.get(7).and_then(|held| held.by);
        for (task, heir, then) in [(3, Some(4), 2), (2, None, 2), (2, Some(5), 5)] {
            locks.inherit(task, heir);
            assert_eq!(by(&locks), Some(then));
        }
    }
}
