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

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write;
use std::sync::Arc;

use super::glob::Memo;
use super::held::Held;
use super::kin::{self, Actor};
use super::{Glob, Oracle, Violation, ViolationKind, state_of};
use crate::sim::{KernelView, Renamed};
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

#[derive(Debug)]
struct Class {
    pattern: Memo,
    name: Arc<str>,
    rank: Option<u32>,
}

/// Who has asked for what: a few, in no order.
#[derive(Debug, Default)]
struct Requests(Vec<(Actor, Arc<str>)>);

impl Requests {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    fn place(&self, by: Actor, path: &Arc<str>) -> Option<usize> {
        self.0.iter().position(|(who, what)| *who == by && *what == *path)
    }
    /// Whether that is news.
    fn note(&mut self, by: Actor, path: &Arc<str>) -> bool {
        let news = self.place(by, path).is_none();
        if news {
            self.0.push((by, path.clone()));
        }
        news
    }
    /// Whether it was there.
    fn strike_out(&mut self, by: Actor, path: &Arc<str>) -> bool {
        self.place(by, path).map(|at| self.0.swap_remove(at)).is_some()
    }
    fn strike_out_all(&mut self, by: Actor) {
        self.0.retain(|(who, _)| *who != by);
    }
    fn named(&self, names: &Renamed<'_>) -> Vec<((u32, u64), Cow<'_, str>)> {
        let mut all: Vec<_> = self.0.iter().map(|(by, path)| (names.actor(*by), names.path(path))).collect();
        all.sort_unstable();
        all
    }
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
    waiting: Requests,
    refused: Requests,
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
        let class = |(pattern, name, rank): (P, N, u32)| Class {
            pattern: pattern.into().into(),
            name: name.into(),
            rank: Some(rank),
        };
        LockOrder { classes: classes.into_iter().map(class).collect(), ..LockOrder::default() }
    }

    /// The same without ranks: whatever order is kept, it is the same one in all executions.
    pub fn consistent<P: Into<Glob>, N: Into<Arc<str>>>(classes: impl IntoIterator<Item = (P, N)>) -> Self {
        let class = |(pattern, name): (P, N)| Class { pattern: pattern.into().into(), name: name.into(), rank: None };
        LockOrder { classes: classes.into_iter().map(class).collect(), ..LockOrder::default() }
    }

    /// Whether a task may hold two locks of one class; [`Siblings::Never`] unless said.
    pub fn siblings(self, siblings: Siblings) -> Self {
        LockOrder { siblings, ..self }
    }

    fn class_of(&mut self, path: &Arc<str>) -> (Arc<str>, Option<u32>) {
        let mut classes = self.classes.iter_mut();
        classes
            .find_map(|class| class.pattern.matches(path).then_some(&*class))
            .map_or_else(|| (path.clone(), None), |class| (class.name.clone(), class.rank))
    }

    /// A lock was granted.
    fn locked(
        &mut self,
        event: &Event,
        path: &Arc<str>,
        mode: LockMode,
        blocking: bool,
        kernel: &KernelView<'_>,
    ) -> Result<(), Violation> {
        let mut waited = false;
        if !(self.waiting.is_empty() && self.refused.is_empty()) {
            let by = kin::actor(event, kernel);
            waited = self.waiting.strike_out(by, path);
            self.refused.strike_out(by, path);
        }
        if !kernel.locks.is_news() {
            return Ok(()); // L4: it has it already
        }
        self.judged += u64::from(!blocking);
        if blocking && !waited { self.asked(event, path, mode, kernel) } else { Ok(()) }
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
        // Not what it has just been granted.
        let granted = if let What::Lock { description, .. } = event.what { Some(description) } else { None };
        if kernel.locks.len() == usize::from(granted.is_some()) {
            return Ok(());
        }
        let stands_on = |held: &&Held| Some(held.description) != granted && kin::in_name_of(event, held, kernel.tasks);
        if !kernel.locks.iter().any(|held| stands_on(&held)) {
            return Ok(()); // the usual case, for which no list is made
        }
        kernel.locks.iter().filter(stands_on).try_for_each(|held| self.asked_under(held, event, path, mode, kernel))
    }

    /// A lock is asked for under another one.
    #[inline(never)]
    fn asked_under(
        &mut self,
        held: &Held,
        event: &Event,
        path: &Arc<str>,
        mode: LockMode,
        kernel: &KernelView<'_>,
    ) -> Result<(), Violation> {
        let ((holds, held_rank), (class, rank)) = (self.class_of(&held.path), self.class_of(path));
        let story = || {
            format!(
                "{} took {} ({holds}) at step {} and asked for {path} ({class}) at step {}",
                kernel.who(event),
                held.path,
                held.taken.step,
                event.step
            )
        };
        let wrong =
            |why: &str| Err(Violation::new(ViolationKind::LockOrder, format!("lock order: {}: {why}", story())));
        if held.path == *path {
            let shared = (held.mode, mode) == (LockMode::Shared, LockMode::Shared);
            return if shared { Ok(()) } else { wrong("it waits for itself") };
        }
        if holds == class {
            match self.siblings {
                Siblings::Any => return Ok(()),
                Siblings::Sorted if held.path < *path => return Ok(()),
                Siblings::Sorted => return wrong("locks of one class are taken in the order of their paths"),
                Siblings::Never => return wrong("one task holds at most one lock of this class"),
            }
        }
        if let (Some(held_rank), Some(rank)) = (held_rank, rank)
            && rank <= held_rank
        {
            return wrong(&format!("rank {rank} does not come after rank {held_rank}"));
        }
        self.edge((holds.clone(), class.clone()), story)
    }

    fn edge(&mut self, pair: (Arc<str>, Arc<str>), story: impl FnOnce() -> String) -> Result<(), Violation> {
        if let Some(known) = self.edges.get(&pair) {
            if !self.shown.contains(&known.fact) {
                self.shown.insert(known.fact.clone());
            }
            return Ok(());
        }
        let fact: Arc<str> = format!("{} → {}", pair.0, pair.1).into();
        self.shown.insert(fact.clone());
        self.edges.insert(pair.clone(), Edge { fact, story: story() });
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

impl Oracle for LockOrder {
    fn name(&self) -> &str {
        "lock order"
    }
    fn kinds(&self) -> Kinds {
        Kinds::LOCKS | Kinds::TASK_ENDS
    }
    fn attends(&self) -> Option<Kinds> {
        let mut kinds = Kinds::LOCK_WAITS | Kinds::LOCKED | Kinds::LOCK_REFUSED;
        if !self.waiting.is_empty() {
            kinds = kinds | Kinds::TASK_ENDS;
        }
        if !self.refused.is_empty() {
            kinds = kinds | Kinds::TASK_ENDS | Kinds::UNLOCKED;
        }
        Some(kinds)
    }
    fn begin(&mut self) {
        self.waiting.0.clear();
        self.refused.0.clear();
        if !self.shown.is_empty() {
            self.shown.clear();
        }
    }
    fn on(&mut self, event: &Event, kernel: &KernelView<'_>) -> Result<(), Violation> {
        match &event.what {
            What::LockWait { path, mode, .. } => {
                let by = kin::actor(event, kernel);
                if self.waiting.note(by, path) { self.asked(event, path, *mode, kernel) } else { Ok(()) }
            }
            What::Lock { path, mode, blocking, .. } => self.locked(event, path, *mode, *blocking, kernel),
            What::LockRefused { path, mode, .. } => {
                let by = kin::actor(event, kernel);
                if self.refused.note(by, path) { Ok(()) } else { self.asked(event, path, *mode, kernel) }
            }
            What::Unlock { description, .. } => {
                if let Some(held) = kernel.locks.get(*description) {
                    let by = held.actor(kernel.tasks);
                    self.refused.strike_out_all(by);
                }
                Ok(())
            }
            What::TaskEnded { .. } => {
                let by = kin::actor(event, kernel);
                self.waiting.strike_out_all(by);
                self.refused.strike_out_all(by);
                Ok(())
            }
            _ => Ok(()),
        }
    }
    fn evidence(&self) -> Vec<Arc<str>> {
        if self.shown.is_empty() { Vec::new() } else { self.shown.iter().cloned().collect() }
    }
    fn state(&self) -> Option<u64> {
        self.state_as(&Renamed::default())
    }
    fn state_as(&self, names: &Renamed<'_>) -> Option<u64> {
        // Who holds what is remembered for all.
        state_of((self.waiting.named(names), self.refused.named(names)))
    }
    fn judged(&self) -> u64 {
        self.judged
    }
}
