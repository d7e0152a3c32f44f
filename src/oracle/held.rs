//! The locks that are held, from events alone: who has taken which, who has it now, and what he has first done under it. Kept once for
//! all oracles.
//!
//! The kernel gives the same few descriptions the same few paths in every execution. So a lock that ends is only marked as such, and
//! its place, path included, is there when it is taken again.

use std::hash::Hash;
use std::sync::Arc;

use smallvec::SmallVec;

use super::deed::Deed;
use super::kin::{self, Actor};
use crate::sim::fingerprint::unordered;
use crate::sim::state::Task;
use crate::sim::{KernelView, Renamed};
use crate::world::{Event, FileId, Kinds, LockMode, What};

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
    /// Something has been done under it, if anybody wants to know: it has an owner. See [`PathExclusion`](super::PathExclusion).
    pub(super) owned: bool,
    /// The first of that.
    pub(super) act: Act,
    held: bool,
}

/// Something that was done at a step.
#[derive(Debug)]
pub(super) struct Act {
    pub(super) what: What,
    pub(super) step: u64,
}

/// Whether two paths may lead to one place: the last component is the same. `..` and symbolic links of directories are spellings.
fn may_be_one_place(one: &str, other: &str) -> bool {
    let last = |path: &str| path.rfind('/').map_or(0, |slash| slash + 1);
    one == other || one[last(one)..] == other[last(other)..]
}

impl Held {
    /// Whether that is the path of another one, or leads to the same place.
    pub(super) fn is_at_place_of(&self, other: &Held, kernel: &KernelView<'_>) -> bool {
        let place = |held: &Held| kernel.place(held.taken.process, &held.path);
        self.path == other.path
            || may_be_one_place(&self.path, &other.path) && place(self).is_some_and(|own| place(other) == Some(own))
    }

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
    /// How many of them have no owner yet.
    idle: usize,
    /// Those that the event of which is told has given one.
    newly_owned: SmallVec<[u64; 2]>,
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
            (self.held, self.idle) = (0, 0);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.held
    }

    /// How many have an owner.
    pub(super) fn owners(&self) -> usize {
        self.held - self.idle
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
                self.idle += usize::from(!place.held || place.owned);
                self.held += usize::from(!place.held);
                (place.file, place.mode, place.taken, place.by) = (file, mode, taken, by);
                (place.held, place.owned) = (true, false);
            }
            Err(at) => {
                let path = path.clone();
                let act = Act { what: What::Slept, step: 0 };
                self.insert(at, Held { description, path, file, mode, taken, by, owned: false, act, held: true });
            }
        }
    }

    #[cold]
    fn insert(&mut self, at: usize, place: Held) {
        self.places.insert(at, place);
        self.held += 1;
        self.idle += 1;
        // Where descriptions have ever new numbers, as in a recording, most places would be empty in the end.
        if self.places.len() > FEW.max(4 * self.held) {
            self.places.retain(|place| place.held);
        }
    }

    /// A lock has ended.
    #[inline]
    pub(super) fn unlocked(&mut self, description: u64) {
        if let Ok(at) = self.find(description)
            && std::mem::replace(&mut self.places[at].held, false)
        {
            self.held -= 1;
            self.idle -= usize::from(!self.places[at].owned);
        }
    }

    /// What of the kinds of events can matter, if anybody wants to know who does what under a lock.
    #[inline]
    pub(super) fn attends(&self) -> Kinds {
        match (self.idle, self.held) {
            (0, 0) => Kinds::NONE,
            (0, _) => Kinds::NAMES,
            _ => Kinds::ACTS,
        }
    }

    /// Somebody does something: under every lock that he has, except where it is about that lock's own path. `OWNED` if any of them had no
    /// owner until now, and `RIVALLED` if its path has another one.
    #[inline]
    pub(super) fn acts(&mut self, event: &Event, tasks: &[Task]) -> Kinds {
        // Most is done by those who are owners already, or while nobody has a lock; or it takes the only one there is.
        let takes_the_only_one = self.held == 1 && matches!(event.what, What::Lock { .. });
        if self.idle > 0 && !takes_the_only_one { self.acts_while_idle(event, tasks) } else { Kinds::NONE }
    }

    fn acts_while_idle(&mut self, event: &Event, tasks: &[Task]) -> Kinds {
        use What::*;
        let about = match &event.what {
            Open { path, .. } | LockWait { path, .. } | Lock { path, .. } => Some(path),
            Unlink { path, .. } | Rename { from: path, .. } => Some(path),
            Link { .. } | MakeDir { .. } | RemoveDir { .. } => None,
            Read { .. } | Write { .. } | Truncate { .. } | Sync { .. } => None,
            Forked { .. } | Entered { .. } | Note { .. } => None,
            _ => return Kinds::NONE,
        };
        for place in self.places.iter_mut().filter(|place| place.held && !place.owned) {
            if kin::in_name_of(event, place, tasks) && about != Some(&place.path) {
                place.owned = true;
                place.act.step = event.step;
                // It is often what was done there in the last execution.
                if place.act.what != event.what {
                    place.act.what = event.what.clone();
                }
                self.newly_owned.push(place.description);
            }
        }
        if self.newly_owned.is_empty() {
            return Kinds::NONE;
        }
        self.idle -= self.newly_owned.len();
        let owner = |place: &&Held, one: &Held| place.owned && may_be_one_place(&place.path, &one.path);
        let rivalled = |one: &Held| self.iter().filter(|place| owner(place, one)).nth(1).is_some();
        if self.owners() > 1 && self.newly_owned().any(rivalled) {
            Kinds::OWNED | Kinds::RIVALLED
        } else {
            Kinds::OWNED
        }
    }

    /// The locks that have an owner with the event of which is told.
    pub(super) fn newly_owned(&self) -> impl Iterator<Item = &Held> {
        self.newly_owned.iter().filter_map(|description| self.get(*description))
    }

    /// The event has been told. An owner that takes the name of its lock away has given it up, until it does something again.
    pub(super) fn acted(&mut self, event: &Event) {
        self.newly_owned.clear();
        let (What::Unlink { path, file } | What::Rename { from: path, file, .. }) = &event.what else { return };
        for place in self.places.iter_mut().filter(|place| place.held && place.taken.process == event.process) {
            if place.file == *file && may_be_one_place(&place.path, path) && std::mem::take(&mut place.owned) {
                self.idle += 1;
            }
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

    /// A hash of who holds what, with descriptions and processes called by these names.
    pub(crate) fn fingerprint(&self, described: impl Fn(u64) -> u64, names: &Renamed<'_>) -> u128 {
        unordered(self.iter(), |held, one| {
            let by = held.by.map_or((names.process(held.taken.process), 0), |by| names.task(by));
            let path = names.path(&held.path);
            (described(held.description), path, held.mode, by, held.owned).hash(one);
        })
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
                locks.unlocked(gone);
                assert!(locks.get(gone).is_none());
                tree.remove(&gone);
            }
            if n % 50 == 49 {
                let old: Vec<u64> = tree.keys().copied().filter(|description| description % 4 == 0).collect();
                for gone in old {
                    locks.unlocked(gone);
                    tree.remove(&gone);
                }
            }
            let known = locks.iter().map(|held| (held.description, (held.path.clone(), held.mode, held.taken.step)));
            assert!(known.eq(tree.clone()), "{locks:?} is not {tree:?}");
            assert_eq!((locks.len(), locks.idle), (tree.len(), tree.len()));
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
