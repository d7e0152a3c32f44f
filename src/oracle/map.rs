//! Small maps that keep their room from one execution to the next.
//!
//! An oracle remembers a handful of locks or tasks, and forgets them a million times a second: a tree would allocate and free its nodes each
//! time, and cost more than what it watches.

use std::cmp::Ordering;

/// Up to here it is quicker to look at one after another.
const SHORT: usize = 8;

/// A sorted list of keys and values.
#[derive(Clone, Debug)]
pub(super) struct Map<K, V>(Vec<(K, V)>);

impl<K, V> Default for Map<K, V> {
    fn default() -> Self {
        Map(Vec::new())
    }
}

impl<K: Ord, V> Map<K, V> {
    #[inline]
    fn find(&self, key: &K) -> Result<usize, usize> {
        if self.0.len() > SHORT {
            return self.0.binary_search_by(|(known, _)| known.cmp(key));
        }
        // From the end: most keys are numbers that ascend.
        for (at, (known, _)) in self.0.iter().enumerate().rev() {
            match known.cmp(key) {
                Ordering::Less => return Err(at + 1),
                Ordering::Equal => return Ok(at),
                Ordering::Greater => {}
            }
        }
        Err(0)
    }
    pub(super) fn insert(&mut self, key: K, value: V) {
        match self.find(&key) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => self.0.insert(at, (key, value)),
        }
    }
    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.find(key).ok().map(|at| &mut self.0[at].1)
    }
    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        self.find(key).ok().map(|at| self.0.remove(at).1)
    }
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&K, &V) -> bool) {
        if !self.0.is_empty() {
            self.0.retain(|(key, value)| keep(key, value));
        }
    }
    pub(super) fn extend(&mut self, more: impl IntoIterator<Item = (K, V)>) {
        more.into_iter().for_each(|(key, value)| self.insert(key, value));
    }
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter().map(|(key, value)| (key, value))
    }
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.0.iter_mut().map(|(key, value)| (&*key, value))
    }
    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Map, SHORT};

    #[test]
    fn it_is_a_sorted_map_also_when_it_is_long() {
        let (mut map, mut tree) = (Map::default(), BTreeMap::new());
        for n in 0..4 * SHORT as u64 {
            let key = n * 7 % 19; // each more than once, in no order
            if n % 5 == 4 {
                assert_eq!(map.remove(&key), tree.remove(&key));
            } else {
                map.insert(key, n);
                tree.insert(key, n);
            }
            assert!(map.iter().eq(tree.iter()), "{map:?} is not {tree:?}");
        }
        assert!(map.0.len() > SHORT, "both ways of looking were tried");
    }
}
