//! Names by number: of paths, mostly. And what is written, by number, too.
//!
//! Operations are announced and forgotten millions of times a second, and name the same few paths over and over. Each name is kept
//! once, for as long as the machine exists, so that an operation is a few words that can be copied. Equal numbers are equal names within
//! one machine, and no more than that: nothing may depend on which number a name has.

use std::fmt;
use std::hash::{Hash as _, Hasher as _};
use std::ops::Index;
use std::sync::Arc;

use hashbrown::HashTable;

use super::fingerprint::Fold;
use super::operation::{Launch, LaunchId};

/// The number of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Name(u32);

/// Something that is written to a file: itself if it is short, else its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Data {
    Short { len: u8, bytes: [u8; SHORT] },
    Number(u32),
}

impl Data {
    /// What is short enough to stand for itself.
    #[inline]
    pub(crate) fn short(bytes: &[u8]) -> Option<Data> {
        if bytes.len() > SHORT {
            return None;
        }
        // As one word: what is stored byte by byte and then copied as a whole has to wait for the last of the stores.
        let word = bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        Some(Data::Short { len: bytes.len() as u8, bytes: word.to_le_bytes() })
    }
}

/// As much as a file name by number and the rest of an operation leave room for.
const SHORT: usize = 8;

/// Everything of one kind that a machine has met.
struct Met<T: ?Sized> {
    all: Vec<Arc<T>>,
    /// By content; never iterated.
    numbers: HashTable<u32>,
    /// What was met last of those that look alike: most names are met again soon, and to compare is cheaper than to hash.
    recent: [u32; RECENT],
}

/// A power of two.
const RECENT: usize = 64;

/// What names look like that are alike.
fn look(bytes: &[u8]) -> usize {
    let last = bytes.last().copied().unwrap_or_default();
    (bytes.len() * 16 + usize::from(last)) % RECENT
}

impl<T: ?Sized> Clone for Met<T> {
    fn clone(&self) -> Self {
        Met { all: self.all.clone(), numbers: self.numbers.clone(), recent: self.recent }
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Met<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.all).finish()
    }
}

impl<T: ?Sized> Default for Met<T> {
    fn default() -> Self {
        Met { all: Vec::new(), numbers: HashTable::new(), recent: [0; RECENT] }
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let mut fold = Fold::new(0);
    fold.write(bytes);
    fold.finish()
}

impl<T: ?Sized + AsRef<[u8]> + Eq> Met<T>
where
    Arc<T>: for<'t> From<&'t T>,
{
    fn number(&mut self, one: &T) -> u32 {
        let Met { all, numbers, recent } = self;
        let recent = &mut recent[look(one.as_ref())];
        if all.get(*recent as usize).is_some_and(|known| **known == *one) {
            return *recent;
        }
        let hashed = hash(one.as_ref());
        if let Some(&number) = numbers.find(hashed, |&number| *all[number as usize] == *one) {
            *recent = number;
            return number;
        }
        let number = all.len() as u32;
        *recent = number;
        all.push(one.into());
        numbers.insert_unique(hashed, number, |&number| hash((*all[number as usize]).as_ref()));
        number
    }
}

/// All names that a machine has met.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names(Met<str>);

impl Names {
    /// The number of a name.
    pub(crate) fn number(&mut self, name: &str) -> Name {
        Name(self.0.number(name))
    }

    /// The name itself, as it is kept.
    pub(crate) fn shared(&mut self, name: &str) -> Arc<str> {
        let name = self.number(name);
        self[name].clone()
    }
}

impl Index<Name> for Names {
    type Output = Arc<str>;
    fn index(&self, name: Name) -> &Arc<str> {
        &self.0.all[name.0 as usize]
    }
}

/// All that was ever written on a machine, each once.
#[derive(Default)]
pub(crate) struct Written(Met<[u8]>);

impl Written {
    /// What stands for `bytes` in an operation.
    pub(crate) fn data(&mut self, bytes: &[u8]) -> Data {
        Data::short(bytes).unwrap_or_else(|| Data::Number(self.0.number(bytes)))
    }

    /// The bytes again.
    pub(crate) fn bytes<'d>(&'d self, data: &'d Data) -> &'d [u8] {
        match data {
            Data::Short { len, bytes } => &bytes[..usize::from(*len)],
            Data::Number(number) => &self.0.all[*number as usize],
        }
    }
}

/// All that children were ever started with, each once. There may be as many as there are inputs, in each execution others: a list that
/// is searched from its beginning makes the two-hundredth execution many times as slow as the first.
#[derive(Default)]
pub(crate) struct Launches {
    all: Vec<Arc<Launch>>,
    /// By content; never iterated.
    numbers: HashTable<LaunchId>,
}

impl Launches {
    /// The number of a launch.
    pub(crate) fn number(&mut self, launch: Launch) -> LaunchId {
        let hash = |launch: &Launch| {
            let mut fold = Fold::new(0);
            launch.hash(&mut fold);
            fold.finish()
        };
        let Launches { all, numbers } = self;
        let hashed = hash(&launch);
        if let Some(&number) = numbers.find(hashed, |&number| *all[number as usize] == launch) {
            return number;
        }
        let number = all.len() as LaunchId;
        all.push(launch.into());
        numbers.insert_unique(hashed, number, |&number| hash(&all[number as usize]));
        number
    }
}

impl Index<LaunchId> for Launches {
    type Output = Arc<Launch>;
    fn index(&self, number: LaunchId) -> &Arc<Launch> {
        &self.all[number as usize]
    }
}
