//! Processes that are alike: which of them is which does not matter.
//!
//! Of processes that run the same body and never ask who they are, any two can change places, and the machine goes on as before under other
//! names. So a fingerprint calls them not by their numbers but by their ranks, in the order of what each has seen and has open. That is one
//! way to put them in an order, and any would be right, as everything else in the fingerprint is named after it; a poor one
//! only takes two states for two that are one. With n of them there are up to n! states where there is one.
//!
//! What oracles remember is named the same way ([`Oracle::state_as`](crate::oracle::Oracle::state_as)). If one of them cannot, nobody has
//! a rank.

use super::fingerprint::{hash, unordered};
use super::kernel::{Labels, Pid};
use super::state::{State, TaskId};

/// What processes are called in a fingerprint.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ranks {
    /// By process; those without are called by their numbers.
    ranks: Vec<Pid>,
}

impl Ranks {
    /// The rank of a process.
    pub(crate) fn of(&self, pid: Pid) -> Pid {
        self.ranks.get(pid as usize).copied().unwrap_or(pid)
    }

    /// Of that many processes, in the order of their ranks.
    pub(crate) fn in_order(&self, count: usize) -> Vec<Pid> {
        let mut all: Vec<Pid> = (0..count as Pid).collect();
        all.sort_by_key(|&pid| self.of(pid));
        all
    }
}

impl State {
    /// Gives those who are alike their ranks, and the others none. Nothing, if nobody is.
    pub(super) fn ranks(&self, names: &Labels) -> Option<Ranks> {
        let alike = |pid: &usize| self.alike.get(*pid).copied().flatten();
        if self.alike.iter().all(Option::is_none) {
            return None;
        }
        let mut ranks: Vec<Pid> = (0..self.alike.len() as Pid).collect();
        let colours: Vec<u64> = ranks.iter().map(|&pid| self.colour(names, pid)).collect();
        let mut left: Vec<usize> = (0..ranks.len()).filter(|pid| alike(pid).is_some()).collect();
        while let Some(&first) = left.first() {
            let (class, others): (Vec<usize>, _) = left.iter().partition(|pid| alike(pid) == alike(&first));
            let mut by_colour = class.clone();
            by_colour.sort_by_key(|&pid| colours[pid]);
            class.iter().zip(by_colour).for_each(|(&rank, pid)| ranks[pid] = rank as Pid);
            left = others;
        }
        Some(Ranks { ranks })
    }

    /// What a process has come to, without a word about which it is.
    fn colour(&self, names: &Labels, pid: Pid) -> u64 {
        let own = (0..self.tasks.len() as TaskId).filter(|&id| self.tasks[id as usize].pid == pid);
        let tasks = unordered(own, |id, one| self.feed_task(id, one));
        hash(&(self.hosts[pid as usize].alive, tasks, self.kernel.colour(names, pid)))
    }
}
