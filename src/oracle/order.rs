//! Locks are taken in one order: along the ranks that are written down, and in no schedule against the order of another.
//!
//! A deadlock needs the unlucky schedule, an order violation only needs both orders to exist: two executions, each of which ends well,
//! can prove together that a third one hangs. So the edges "took this class of lock while it held that one" are merged over all
//! executions, as Linux's lockdep merges them over the life of a machine. The scars: thirteen of 93 public bugs are cycles of locks, among
//! them a shared and an exclusive cache lock taken in two orders by two commands that nobody ever ran at the same time in a test, and
//! nine are one process that asks for its own lock again.
//!
//! # Who holds a lock
//!
//! The kernel says: an open file description. A cycle needs to know who cannot go on. So a lock belongs to the *task* that locked it; a
//! section on the pool or on a thread of its own also stands on what its caller holds, because the caller waits for it, but not the
//! other way round, because a caller can give a section up and go on; when a task or section ends without having released a lock, its
//! parent has it, as the one who gets its result. Two tasks of one process that hold one lock each are no edge.
//!
//! # What counts as acquiring
//!
//! A blocking request, at the moment it waits, or when it is granted if it need not wait: a deadlock must not hide the order violation
//! that it is made of. A conversion gives its old lock up first and then asks as anybody else. A request with LOCK_NB never waits and
//! makes no edge *to* its lock; but who is refused twice on one path without releasing anything in between is polling, which
//! is waiting.
//!
//! *Not verified*: locks of a parent that waits for its child; futures of one task that hold locks independently of each other (they
//! count as one holder).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write;
use std::sync::Arc;

use super::held::HeldLocks;
use super::kin::{self, Actor};
use super::map::Map;
use super::{Glob, Oracle, Violation, ViolationKind, state_of};
use crate::sim::KernelView;
use crate::world::{Event, Kinds, LockMode, What};

/// Whether a task may hold two locks of one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Siblings {
    /// It may not: two tasks that take the same two in different orders wait for each other.
    #[default]
    Never,
    /// If it takes them in ascending order of their paths.
    Sorted,
    /// Not judged.
    Any,
}

#[derive(Clone, Debug)]
struct Class {
    pattern: Glob,
    name: Arc<str>,
    rank: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    by: Actor,
    mode: LockMode,
    step: u64,
}

/// A class of locks was asked for while another was held.
#[derive(Clone, Debug)]
struct Edge {
    fact: Arc<str>,
    story: String,
}

/// See the [module documentation](self).
#[derive(Debug, Default)]
pub struct LockOrder {
    classes: Vec<Class>,
    siblings: Siblings,
    held: HeldLocks<Held>,
    waiting: Map<(Actor, Arc<str>), ()>,
    refused: Map<(Actor, Arc<str>), ()>,
    /// Over all executions.
    edges: BTreeMap<(Arc<str>, Arc<str>), Edge>,
    /// The edges that this execution has shown, new or not.
    shown: BTreeSet<Arc<str>>,
    judged: u64,
}

impl LockOrder {
    /// Locks whose paths match a pattern are of that class and rank; ranks ascend as locks are taken. The first pattern that matches
    /// counts; a path that matches none is a class of its own without a rank, and judged by cycles only.
    pub fn ranked<P: Into<Glob>, N: Into<Arc<str>>>(classes: impl IntoIterator<Item = (P, N, u32)>) -> Self {
        let class =
            |(pattern, name, rank): (P, N, u32)| Class { pattern: pattern.into(), name: name.into(), rank: Some(rank) };
        LockOrder { classes: classes.into_iter().map(class).collect(), ..LockOrder::default() }
    }

    /// The same without ranks: whatever order is kept, it is the same one in all executions.
    pub fn consistent<P: Into<Glob>, N: Into<Arc<str>>>(classes: impl IntoIterator<Item = (P, N)>) -> Self {
        let class = |(pattern, name): (P, N)| Class { pattern: pattern.into(), name: name.into(), rank: None };
        LockOrder { classes: classes.into_iter().map(class).collect(), ..LockOrder::default() }
    }

    /// Whether a task may hold two locks of one class; [`Siblings::Never`] unless said.
    pub fn siblings(self, siblings: Siblings) -> Self {
        LockOrder { siblings, ..self }
    }

    fn class_of(&self, path: &Arc<str>) -> (Arc<str>, Option<u32>) {
        let class = self.classes.iter().find(|class| class.pattern.matches(path));
        class.map_or_else(|| (path.clone(), None), |class| (class.name.clone(), class.rank))
    }

    /// A lock was granted.
    #[inline(never)]
    fn locked(
        &mut self,
        event: &Event,
        path: &Arc<str>,
        description: u64,
        mode: LockMode,
        blocking: bool,
        kernel: &KernelView<'_>,
    ) -> Result<(), Violation> {
        let by = kin::actor(event, kernel);
        let waited = strike_out(&mut self.waiting, by, path);
        strike_out(&mut self.refused, by, path);
        if self.held.get(description).is_some_and(|held| held.mode == mode) {
            return Ok(()); // L4: it has it already
        }
        let asked = if blocking && !waited { self.asked(event, path, mode, kernel) } else { Ok(()) };
        self.judged += u64::from(!blocking);
        self.held.insert(description, path, Held { by, mode, step: event.step });
        asked
    }

    /// A task has ended: its parent has what it leaves.
    #[inline(never)]
    fn task_ends(&mut self, event: &Event, kernel: &KernelView<'_>) {
        let by = kin::actor(event, kernel);
        self.waiting.retain(|(who, _), ()| *who != by);
        self.refused.retain(|(who, _), ()| *who != by);
        if let Some(heir) = kin::heir(event, kernel) {
            let left = self.held.iter_mut().map(|(_, _, held)| held).filter(|held| held.by == by);
            left.for_each(|held| held.by = heir);
        }
    }

    /// A lock is asked for: against everything that the one who asks, or whoever it asks for, holds.
    fn asked(
        &mut self,
        event: &Event,
        path: &Arc<str>,
        mode: LockMode,
        kernel: &KernelView<'_>,
    ) -> Result<(), Violation> {
        self.judged += 1;
        if self.held.is_empty() { Ok(()) } else { self.asked_while_others_are_held(event, path, mode, kernel) }
    }

    #[inline(never)]
    fn asked_while_others_are_held(
        &mut self,
        event: &Event,
        path: &Arc<str>,
        mode: LockMode,
        kernel: &KernelView<'_>,
    ) -> Result<(), Violation> {
        if !self.held.iter().any(|(_, _, held)| kin::in_name_of(event, held.by, kernel)) {
            return Ok(()); // the usual case, for which no list is made
        }
        let names = kin::in_whose_name(event, kernel);
        let held = self.held.iter().filter(|(_, _, held)| names.contains(&held.by));
        let held: Vec<(Arc<str>, Held)> = held.map(|(_, path, held)| (path.clone(), *held)).collect();
        let (class, rank) = self.class_of(path);
        for (held_path, held) in held {
            let (holds, held_rank) = self.class_of(&held_path);
            let story = format!(
                "{} took {} ({holds}) at step {} and asked for {path} ({class}) at step {}",
                kernel.who(event),
                held_path,
                held.step,
                event.step
            );
            let wrong =
                |why: String| Err(Violation::new(ViolationKind::LockOrder, format!("lock order: {story}: {why}")));
            if held_path == *path {
                if (held.mode, mode) != (LockMode::Shared, LockMode::Shared) {
                    return wrong("it waits for itself".into());
                }
                continue;
            }
            if holds == class {
                match self.siblings {
                    Siblings::Any => continue,
                    Siblings::Sorted if held_path < *path => continue,
                    Siblings::Sorted => {
                        return wrong("locks of one class are taken in the order of their paths".into());
                    }
                    Siblings::Never => return wrong("one task holds at most one lock of this class".into()),
                }
            }
            if let (Some(held_rank), Some(rank)) = (held_rank, rank)
                && rank <= held_rank
            {
                return wrong(format!("rank {rank} does not come after rank {held_rank}"));
            }
            self.edge(holds, class.clone(), story)?;
        }
        Ok(())
    }

    fn edge(&mut self, from: Arc<str>, to: Arc<str>, story: String) -> Result<(), Violation> {
        let fact: Arc<str> = format!("{from} → {to}").into();
        self.shown.insert(fact.clone());
        let pair = (from, to);
        if self.edges.contains_key(&pair) {
            return Ok(());
        }
        self.edges.insert(pair.clone(), Edge { fact: fact.clone(), story });
        let Some(back) = self.path(&pair.1, &pair.0) else { return Ok(()) };
        let mut cycle = vec![pair.clone()];
        cycle.extend(back);
        let mut argument = String::new();
        for pair in &cycle {
            let edge = &self.edges[pair];
            let _ = writeln!(argument, "{}: {}", edge.fact, edge.story);
        }
        let line: Vec<&str> = cycle.iter().map(|(from, _)| &**from).collect();
        let text = format!("lock order: {} → {} is a cycle", line.join(" → "), pair.0);
        let mut violation = Violation::new(ViolationKind::LockOrder, text).because(argument);
        violation.follows_from = cycle.iter().map(|pair| self.edges[pair].fact.clone()).collect();
        Err(violation)
    }

    /// The edges of a shortest way from one class to another.
    fn path(&self, from: &Arc<str>, to: &Arc<str>) -> Option<Vec<(Arc<str>, Arc<str>)>> {
        let mut came_by: BTreeMap<Arc<str>, (Arc<str>, Arc<str>)> = BTreeMap::new();
        let mut queue = VecDeque::from([from.clone()]);
        while let Some(at) = queue.pop_front() {
            if at == *to {
                let mut way: Vec<(Arc<str>, Arc<str>)> = Vec::new();
                let mut at = &at;
                while let Some(edge) = came_by.get(at) {
                    way.push(edge.clone());
                    at = &edge.0;
                }
                way.reverse();
                return Some(way);
            }
            for edge in self.edges.keys().filter(|(start, _)| *start == at) {
                if edge.1 != *from && !came_by.contains_key(&edge.1) {
                    came_by.insert(edge.1.clone(), edge.clone());
                    queue.push_back(edge.1.clone());
                }
            }
        }
        None
    }
}

/// Whether that is news.
fn note(list: &mut Map<(Actor, Arc<str>), ()>, by: Actor, path: &Arc<str>) -> bool {
    let known = list.len();
    list.insert((by, path.clone()), ());
    list.len() > known
}

/// Whether it was there.
fn strike_out(list: &mut Map<(Actor, Arc<str>), ()>, by: Actor, path: &Arc<str>) -> bool {
    !list.is_empty() && list.remove(&(by, path.clone())).is_some()
}

impl Oracle for LockOrder {
    fn name(&self) -> &str {
        "lock order"
    }
    fn kinds(&self) -> Kinds {
        Kinds::LOCKS | Kinds::TASK_ENDS
    }
    fn begin(&mut self) {
        self.held.clear();
        self.waiting.clear();
        self.refused.clear();
        self.shown.clear();
    }
    fn on(&mut self, event: &Event, kernel: &KernelView<'_>) -> Result<(), Violation> {
        match &event.what {
            What::LockWait { path, mode, .. } => {
                let by = kin::actor(event, kernel);
                if note(&mut self.waiting, by, path) { self.asked(event, path, *mode, kernel) } else { Ok(()) }
            }
            What::Lock { path, description, mode, blocking, .. } => {
                self.locked(event, path, *description, *mode, *blocking, kernel)
            }
            What::LockRefused { path, mode, .. } => {
                let by = kin::actor(event, kernel);
                if note(&mut self.refused, by, path) { Ok(()) } else { self.asked(event, path, *mode, kernel) }
            }
            What::Unlock { description, .. } => {
                if let Some(held) = self.held.remove(*description) {
                    let by = held.by;
                    self.refused.retain(|(who, _), ()| *who != by);
                }
                Ok(())
            }
            What::TaskEnded { .. } => {
                if !(self.held.is_empty() && self.waiting.is_empty() && self.refused.is_empty()) {
                    self.task_ends(event, kernel);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
    fn evidence(&self) -> Vec<Arc<str>> {
        self.shown.iter().cloned().collect()
    }
    fn state(&self) -> Option<u64> {
        let held: Vec<_> = self.held.iter().map(|(d, path, held)| (d, held.by, path, held.mode)).collect();
        state_of((held, self.waiting.keys().collect::<Vec<_>>(), self.refused.keys().collect::<Vec<_>>()))
    }
    fn judged(&self) -> u64 {
        self.judged
    }
}
