//! Names by number: of paths, mostly.
//!
//! Operations are announced and forgotten millions of times a second, and name the same few paths over and over. Each name is kept
//! once, for as long as the machine exists, so that an operation is a few words that can be copied. Equal numbers are equal names within
//! one machine, and no more than that: nothing may depend on which number a name has.

use std::hash::Hasher as _;
use std::ops::Index;
use std::sync::Arc;

use hashbrown::HashTable;

use super::fingerprint::Fold;

/// The number of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Name(u32);

/// All names that a machine has met.
#[derive(Default)]
pub(crate) struct Names {
    all: Vec<Arc<str>>,
    /// By content; never iterated.
    numbers: HashTable<u32>,
}

fn hash(name: &str) -> u64 {
    let mut fold = Fold::new(0);
    fold.write(name.as_bytes());
    fold.finish()
}

impl Names {
    /// The number of a name.
    pub(crate) fn number(&mut self, name: &str) -> Name {
        let Names { all, numbers } = self;
        let hashed = hash(name);
        if let Some(&number) = numbers.find(hashed, |&number| *all[number as usize] == *name) {
            return Name(number);
        }
        let number = all.len() as u32;
        all.push(name.into());
        numbers.insert_unique(hashed, number, |&number| hash(&all[number as usize]));
        Name(number)
    }
}

impl Index<Name> for Names {
    type Output = Arc<str>;
    fn index(&self, name: Name) -> &Arc<str> {
        &self.all[name.0 as usize]
    }
}
