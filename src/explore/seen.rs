//! The states that a search has come to, and who was left asleep at each.
//!
//! Whoever sleeps at a state was tried before it, and need not be tried from it: see [`Dfs`](super::dfs::Dfs). Another path may come to the
//! same state with fewer of them asleep. Then those are made up for, and only those.
//!
//! That is what the proof wants (see there). Where states never come again below themselves, a depth-first search misses none without it:
//! whoever sleeps has been tried from a state that is done with. They come again in loops that are [`keeping`](crate::world::Files::keeping)
//! something, and for those there is no such argument; no program is known that needs it, of 41,362 random ones none did.

use std::collections::BTreeMap;
use std::sync::Arc;

/// What a state takes: a node has room for eleven, and is two thirds full on the average.
pub(super) const STATE_BYTES: u64 = 20 * 3 / 2 + 4;

/// See the [module documentation](self).
pub(super) struct Seen {
    /// 128-bit fingerprints: with ten million of them, two different ones collide with a probability below 10^-24. To each, the number of
    /// the set of those who have not been tried there.
    states: BTreeMap<u128, u32>,
    /// Sets by number, each in ascending order. Many states have the same one; the first is the empty one.
    sets: Vec<Arc<[Called]>>,
    numbers: BTreeMap<Arc<[Called]>, u32>,
    /// How much those take.
    bytes: u64,
}

/// What an actor is called wherever the same state is reached.
pub(super) type Called = u64;

impl Seen {
    pub(super) fn new() -> Self {
        let nobody: Arc<[Called]> = Arc::from([]);
        let numbers = BTreeMap::from([(nobody.clone(), 0)]);
        Seen { states: BTreeMap::new(), sets: vec![nobody], numbers, bytes: 0 }
    }

    /// How many different states there are.
    pub(super) fn len(&self) -> u64 {
        self.states.len() as u64
    }

    /// About how much memory it takes to know them.
    pub(super) fn bytes(&self) -> u64 {
        self.len() * STATE_BYTES + self.bytes
    }

    /// The search has come to a state with those asleep, in ascending order. If it has been there before: who has to be tried now, because he
    /// has slept each time before. Those who sleep there from now on are the ones that have slept every time.
    pub(super) fn come_to(&mut self, state: u128, asleep: &[Called]) -> Option<Vec<Called>> {
        let Some(&number) = self.states.get(&state) else {
            let number = self.number(asleep);
            self.states.insert(state, number);
            return None;
        };
        let before = self.sets[number as usize].clone();
        let (still, awake): (Vec<_>, Vec<_>) = before.iter().partition(|&one| asleep.binary_search(one).is_ok());
        if !awake.is_empty() {
            let number = self.number(&still);
            self.states.insert(state, number);
        }
        Some(awake)
    }

    /// Who is still asleep at a state that has been come to.
    pub(super) fn asleep_at(&self, state: u128) -> &[Called] {
        &self.sets[self.states[&state] as usize]
    }

    fn number(&mut self, set: &[Called]) -> u32 {
        if let Some(&number) = self.numbers.get(set) {
            return number;
        }
        let (set, number): (Arc<[Called]>, _) = (set.into(), self.sets.len() as u32);
        // Itself with its two counts, and its places in the two lists.
        self.bytes += 8 * set.len() as u64 + 16 + 16 + 24 * 3 / 2;
        self.sets.push(set.clone());
        self.numbers.insert(set, number);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sleeps_at_a_state_is_tried_once_a_path_comes_without_him() {
        let mut seen = Seen::new();
        assert_eq!(seen.come_to(1, &[10, 20, 30]), None);
        assert_eq!(seen.come_to(2, &[]), None);
        assert_eq!(seen.come_to(1, &[10, 20, 30, 40]), Some(vec![]), "more of them: nothing to make up for");
        assert_eq!(seen.come_to(1, &[5, 20]), Some(vec![10, 30]));
        assert_eq!(seen.asleep_at(1), [20]);
        assert_eq!(seen.come_to(1, &[10, 20]), Some(vec![]), "he has been tried by now");
        assert_eq!(seen.come_to(1, &[]), Some(vec![20]));
        assert_eq!(seen.come_to(1, &[]), Some(vec![]));
        assert_eq!(seen.come_to(2, &[10]), Some(vec![]));
        assert_eq!((seen.len(), seen.sets.len()), (2, 3), "equal sets are kept once");
    }
}
