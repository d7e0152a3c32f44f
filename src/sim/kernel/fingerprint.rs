//! The kernel in a fingerprint: everything that can influence the future, by names that do not tell who came first.
//!
//! Slots are handed out in the order of creation, so two machines that differ only in who came first differ in all slots. Here an inode
//! is what a path leads to, and without one, what a descriptor is open on; a description is what a descriptor is of. Inode *numbers*
//! can be seen by programs, and count from the moment when one has been: see [`Kernel::learn`].

use std::hash::{Hash, Hasher};

use super::processes::{Life, Proc};
use super::{Ino, Inode, Kernel, Node, Pid, ROOT, RangeOwner};
use crate::sim::fingerprint::{hash, unordered};
use crate::sim::symmetry::Ranks;

/// What everything is called.
#[derive(Clone)]
pub(crate) struct Labels {
    inodes: Vec<u64>,
    descriptions: Vec<u64>,
}

impl Labels {
    /// What a description is called.
    pub(crate) fn description(&self, ofd: u64) -> u64 {
        self.descriptions[ofd as usize]
    }
}

impl Kernel {
    /// Somebody remembers this inode number from now on: what it stands for is no matter of names any more.
    pub(crate) fn learn(&mut self, number: u64) {
        self.numbered(number).for_each(|inode| inode.known += 1);
    }

    /// Whether a file that loses so many names and descriptions is no more then, and somebody remembers its number.
    pub(crate) fn is_known_and_ends(&self, ino: Ino, names: u32, descriptions: u32) -> bool {
        let inode = &self.inodes[ino as usize];
        let is_last = match inode.node {
            // Its own name in itself, and those of its parent in its children, go with it.
            Node::Dir { .. } => names > 0,
            _ => inode.nlink <= names,
        };
        inode.known > 0 && is_last && inode.open <= descriptions
    }

    /// Whether the next file that is made is given a number that somebody remembers.
    pub(crate) fn gives_a_known_number(&self) -> bool {
        self.free_inodes.iter().any(|&ino| self.inodes[ino as usize].known > 0)
    }

    /// The opposite of [`learn`](Kernel::learn).
    pub(crate) fn unlearn(&mut self, number: u64) {
        self.numbered(number).for_each(|inode| inode.known -= 1);
    }

    fn numbered(&mut self, number: u64) -> impl Iterator<Item = &mut Inode> {
        self.inodes.iter_mut().filter(move |inode| inode.number == number)
    }

    /// Names for what a path leads to.
    pub(crate) fn names_by_path(&self) -> Labels {
        let mut names = Labels { inodes: vec![0; self.inodes.len()], descriptions: vec![0; self.descriptions.len()] };
        let mut stack = vec![(ROOT, 1)];
        while let Some((ino, name)) = stack.pop() {
            let known = &mut names.inodes[ino as usize];
            if *known == 0 {
                *known = name;
                if let Node::Dir { entries, .. } = &self.inodes[ino as usize].node {
                    stack.extend(entries.iter().rev().map(|(entry, &ino)| (ino, hash(&(name, entry)))));
                }
            }
        }
        names
    }

    /// Names for what only a descriptor leads to.
    pub(crate) fn name_what_is_open(&self, names: &mut Labels, ranks: &Ranks) {
        for pid in ranks.in_order(self.processes.len()) {
            let process = &self.processes[pid as usize];
            let open = process.table.iter().enumerate().filter_map(|(fd, d)| d.map(|d| (fd, d.ofd)));
            for (fd, ofd) in open {
                let name = hash(&(ranks.of(pid), fd));
                let inode = self.descriptions[ofd as usize].inode;
                for unnamed in [&mut names.descriptions[ofd as usize], &mut names.inodes[inode as usize]] {
                    *unnamed |= if *unnamed == 0 { name } else { 0 };
                }
            }
            let cwd = &mut names.inodes[process.cwd as usize];
            *cwd |= if *cwd == 0 { hash(&(ranks.of(pid), "cwd")) } else { 0 };
        }
    }

    /// What the living file of that number is called.
    pub(crate) fn name_of_number(&self, names: &Labels, number: u64) -> Option<u64> {
        let alive = |inode: &Inode| inode.number == number && inode.node != Node::Free;
        self.inodes.iter().position(alive).map(|ino| names.inodes[ino])
    }

    /// What a process has open, by path.
    pub(crate) fn colour(&self, names: &Labels, pid: Pid) -> u64 {
        let open = self.process(pid).table.iter().map(|descriptor| {
            descriptor.map(|descriptor| {
                let d = &self.descriptions[descriptor.ofd as usize];
                (names.inodes[d.inode as usize], d.offset, d.lock)
            })
        });
        hash(&(self.process(pid).life, open.collect::<Vec<_>>()))
    }

    /// Feeds everything that can influence the future to `state`; what is kept for reports only is left out.
    pub fn fingerprint(&self, state: &mut impl Hasher) {
        let (mut names, ranks) = (self.names_by_path(), Ranks::default());
        self.name_what_is_open(&mut names, &ranks);
        self.feed_fingerprint(&names, &ranks, state);
    }

    /// The same, with these names.
    pub(crate) fn feed_fingerprint(&self, names: &Labels, ranks: &Ranks, state: &mut impl Hasher) {
        let alive = self.inodes.iter().enumerate().filter(|(_, inode)| inode.node != Node::Free);
        let inodes = unordered(alive, |(ino, inode), one| {
            // Its locks are those of its descriptions.
            (names.inodes[ino], inode.nlink, inode.open, inode.executable).hash(one);
            (inode.known > 0).then_some(inode.number).hash(one);
            match &inode.node {
                // What is in a directory is named after it.
                Node::Dir { parent, .. } => names.inodes[*parent as usize].hash(one),
                node => node.hash(one),
            }
            for lock in &inode.ranges {
                let owner = match lock.owner {
                    RangeOwner::Process(pid) => (0, u64::from(ranks.of(pid))),
                    RangeOwner::Description(ofd) => (1, names.descriptions[ofd as usize]),
                };
                (lock.number, owner, lock.mode, lock.span).hash(one);
            }
        });
        let open = self.descriptions.iter().enumerate().filter(|(_, d)| d.refs > 0);
        let descriptions = unordered(open, |(ofd, d), one| {
            let (name, inode) = (names.descriptions[ofd], names.inodes[d.inode as usize]);
            (name, inode, d.read, d.write, d.append, d.path_only).hash(one);
            (d.offset, d.lock, d.lost, d.refs).hash(one);
        });
        (inodes, descriptions).hash(state);
        for pid in ranks.in_order(self.processes.len()) {
            self.process(pid).fingerprint(names, state);
        }
        // A number that somebody remembers may be given to another file: which one gets it depends on all that are free.
        let free = || self.free_inodes.iter().map(|&ino| &self.inodes[ino as usize]);
        if free().any(|inode| inode.known > 0) {
            free().for_each(|inode| (inode.known > 0).then_some(inode.number).hash(state));
        }
    }
}

impl Proc {
    fn fingerprint(&self, names: &Labels, state: &mut impl Hasher) {
        self.life.hash(state);
        if matches!(self.life, Life::Ended(_)) {
            return; // only its status is left
        }
        (self.limit, names.inodes[self.cwd as usize]).hash(state);
        for descriptor in &self.table {
            descriptor.map(|d| (names.descriptions[d.ofd as usize], d.close_on_exec, d.passed)).hash(state);
        }
    }
}
