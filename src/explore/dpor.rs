//! Dynamic partial-order reduction: one execution for all the schedules that differ only in the order of independent steps.
//!
//! Source sets with sleep sets (Abdulla, Aronis, Jonsson, Sagonas: Optimal dynamic partial order reduction, POPL 2014). After every
//! execution each step is held against those before it: where the order of two could have been the other one (a *race*), the node
//! before the first of them must also be left by a step that begins the other order. Whoever has been tried at a node sleeps in the
//! branches after it until something happens that depends on it.
//!
//! What makes it work here is that the machine knows what everybody will do next and says what every step has
//! [touched](crate::sim::depend). Three things are not as in the paper:
//!
//! * An actor is one *operation*, not a task, since tasks may have several under way. It is there from the step that announced it, which
//!   therefore comes before it.
//! * Locks: giving up a lock comes before taking it, and never races with it. What races is the taking, so the search for races goes
//!   on past the release. The same for every step that could not have been taken before another one.
//! * Who waits for something and never goes on, since he is killed meanwhile or given up, is held against what made him wait as if he had
//!   gone on where he was given up.
//! * Faults need not happen, so no race would ever bring them up: they are tried at every node at which they could strike, and sleep
//!   sets see to it that this is once per different outcome.
//!
//! The scar: "the last step that conflicts" as the only race hid the race of two lockers behind the unlock between them, and a
//! deadlock with it.

use std::cell::LazyCell;

use smallvec::SmallVec;

use super::search::SEARCH_STEPS_MAX;
use super::sleep::Sleep;
use super::swap::Pair;
use crate::sim::depend::{Actor, Footprint, Moment, Relation, Standing, Waiting};
use crate::sim::{Chooser, State, TaskId};

/// Events, by number: each part of each step is one.
#[derive(Clone, Debug, Default)]
struct Events(Vec<u64>);

impl Events {
    fn add(&mut self, event: usize) {
        let word = event / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (event % 64);
    }
    fn has(&self, event: usize) -> bool {
        self.0.get(event / 64).is_some_and(|word| word & (1 << (event % 64)) != 0)
    }
    fn meets(&self, other: &Events) -> bool {
        self.0.iter().zip(&other.0).any(|(mine, theirs)| mine & theirs != 0)
    }
    fn join(&mut self, other: &Events) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        self.0.iter_mut().zip(&other.0).for_each(|(mine, theirs)| *mine |= theirs);
    }
}

/// A value that a step chose, of how many.
#[derive(Clone, Copy, Debug)]
struct Value {
    taken: u32,
    of: u32,
}

/// A point at which there was something to choose.
#[derive(Debug)]
struct Node {
    offered: Vec<Actor>,
    /// Tried here, or at a node before this one and nothing has depended on them since.
    asleep: Sleep,
    /// To be tried.
    backtrack: Vec<Actor>,
    /// Taken in this execution.
    chosen: Actor,
    /// When it came to be.
    born: Moment,
    values: Vec<Value>,
    /// What the step touches with these values, and with all that have been tried.
    footprint: Footprint,
    touched: Footprint,
    /// The number of its first event, that of the operation; what tasks do because of it has the numbers after it.
    first: usize,
    /// For each of its events, those that come before it in every equivalent execution, itself included.
    before: SmallVec<[Events; 3]>,
    /// Faults that could have struck instead of it, but not after it.
    averted: Vec<(Actor, Footprint)>,
}

/// A step held against those before it.
struct Past {
    /// For each of its events, those that come before it.
    before: SmallVec<[Events; 3]>,
    races: SmallVec<[Race; 4]>,
}

/// Two events, the order of which could have been the other one.
#[derive(Clone, Copy)]
struct Race {
    /// Of an earlier step,
    earlier: usize,
    earlier_part: usize,
    /// and of that which was held against it.
    part: usize,
}

impl Node {
    /// The number after its last event.
    fn end(&self) -> usize {
        self.first + self.footprint.parts().len()
    }
}

/// The search, from one execution to the next.
#[derive(Default)]
pub(crate) struct Dpor {
    stack: Vec<Node>,
    depth: usize,
    value: usize,
    /// Nodes below this one are as they were in the last execution, races and all.
    known: usize,
}

impl Dpor {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// What the last step has touched.
    fn harvest(&mut self, standing: &impl Standing) {
        if let Some(last) = self.depth.checked_sub(1).filter(|last| last + 1 >= self.known) {
            let node = &mut self.stack[last];
            node.footprint.clone_from(standing.footprint());
            node.touched.join(&node.footprint);
        }
    }

    /// Who could have gone on before the last step, and cannot any more at all, must also be tried before it.
    fn try_the_vanished(&mut self, standing: &impl Standing) {
        let Some(last) = self.depth.checked_sub(1).filter(|last| last + 1 >= self.known) else { return };
        let Node { offered, backtrack, chosen, .. } = &mut self.stack[last];
        let vanished = offered.iter().filter(|&&actor| actor != *chosen && !standing.has_choice(actor));
        let missing: Vec<Actor> = vanished.filter(|actor| !backtrack.contains(actor)).copied().collect();
        backtrack.extend(missing);
    }

    fn node(&self, standing: &impl Standing, offered: Vec<Actor>) -> Option<Node> {
        let asleep = self.stack.last().map_or_else(Sleep::default, |parent| parent.asleep.after(&parent.footprint));
        let awake = |actor: &&Actor| !asleep.has(**actor);
        let chosen = *offered.iter().filter(awake).min_by_key(|actor| actor.is_fault())?;
        let at_rest = standing.is_at_rest();
        // What need not happen, or happens when nothing else does, is tried wherever it can.
        let backtrack =
            offered.iter().copied().filter(|&actor| actor == chosen || actor.is_fault() || at_rest).collect();
        Some(Node {
            offered,
            asleep,
            backtrack,
            chosen,
            born: Moment::default(),
            values: Vec::new(),
            footprint: Footprint::default(),
            touched: Footprint::default(),
            first: 0,
            before: SmallVec::new(),
            averted: Vec::new(),
        })
    }

    /// After an execution: what is to be tried because of what happened in it.
    pub(crate) fn ended(&mut self, standing: &impl Standing) {
        self.harvest(standing);
        self.try_the_vanished(standing);
        self.stack.truncate(self.depth);
        // The last node that was known has been left by another step this time.
        for step in self.known.saturating_sub(1)..self.stack.len() {
            self.stack[step].first = step.checked_sub(1).map_or(0, |last| self.stack[last].end());
            let Node { chosen, born, ref footprint, .. } = self.stack[step];
            let Past { before, races } = self.look_back(step, chosen, born, footprint, false);
            self.stack[step].before = before.clone();
            self.reverse_all(&races, step, chosen, &before);
            let node = &self.stack[step];
            let missed = node.footprint.missed().iter().filter(|missed| !node.offered.contains(&missed.actor));
            for missed in missed.cloned().collect::<Vec<_>>() {
                self.learn_from_unborn(step, &missed, false);
            }
            for (actor, footprint) in std::mem::take(&mut self.stack[step].averted) {
                // It could have struck between the operation and what tasks did because of it, had the last of the operations which they
                // waited for been another one.
                self.learn_from_unborn(step + 1, &Waiting { actor, since: Moment::default(), footprint }, true);
            }
        }
        let end = self.stack.len();
        for blocked in standing.blocked() {
            self.learn_from_unborn(end, &blocked, false);
        }
    }

    /// The same for a step that was not taken, but could have been before others.
    fn learn_from_unborn(&mut self, step: usize, unborn: &Waiting, after_operation: bool) {
        let &Waiting { actor, since, ref footprint } = unborn;
        let Past { before, races } = self.look_back(step, actor, since, footprint, after_operation);
        self.reverse_all(&races, step, actor, &before);
    }

    /// Holds a step against all before it. `after_operation`: of the one before it only the operation has happened.
    fn look_back(&self, step: usize, actor: Actor, born: Moment, footprint: &Footprint, after_operation: bool) -> Past {
        let first = step.checked_sub(1).map_or(0, |last| self.stack[last].end());
        let mut all: SmallVec<[Events; 3]> = SmallVec::new();
        let mut races = SmallVec::new();
        let born_in = (born.step as usize).checked_sub(1);
        // The last step at which it was there and could not be taken: with that one it could, if it ever was.
        let is_taken = self.stack.get(step).is_some_and(|node| node.chosen == actor);
        let there = born_in.map_or(0, |born_in| born_in + 1)..step;
        let enabler = LazyCell::new(|| there.rev().find(|&at| is_taken && !self.stack[at].offered.contains(&actor)));
        for (part, &by) in footprint.parts().iter().enumerate() {
            // What has come before it in any case: those events do not race with it.
            let mut before = match (part, born_in) {
                (0, None) => Events::default(),
                (0, Some(born_in)) => self.stack[born_in].before[born.part as usize].clone(),
                _ => all[0].clone(),
            };
            // A task that is polled has a past of its own.
            if let Some(by) = by {
                match (1..part).rev().find(|&earlier| footprint.parts()[earlier] == Some(by)) {
                    Some(earlier) => before.join(&all[earlier]),
                    None => self.join_last_poll(by, step, &mut before),
                }
                for node in &self.stack[..step] {
                    for (at, events) in node.before.iter().enumerate() {
                        if node.footprint.ends_what_is_awaited(at, footprint, part) {
                            before.join(events);
                        }
                    }
                }
                footprint.causes(part).for_each(|cause| before.join(&all[cause]));
                for earlier in 1..part {
                    if footprint.relation(earlier, footprint, part) != Relation::Independent {
                        before.join(&all[earlier]);
                    }
                }
            }
            // The same, and what is between an event and those that it races with.
            let mut ordered = before.clone();
            for earlier in (0..step).rev() {
                let node = &self.stack[earlier];
                let parts = if after_operation && earlier + 1 == step { 1 } else { node.before.len() };
                for earlier_part in (0..parts).rev() {
                    let relation = match node.footprint.relation(earlier_part, footprint, part) {
                        _ if node.chosen == actor => Relation::Enables,
                        relation => relation,
                    };
                    if relation == Relation::Independent {
                        continue;
                    }
                    before.join(&node.before[earlier_part]);
                    if ordered.has(node.first + earlier_part) {
                        continue;
                    }
                    let was_there = born_in.is_none_or(|born_in| born_in < earlier);
                    let waited = was_there && !actor.is_fault() && !node.offered.contains(&actor);
                    // Then it can come before this step only if what it waited for can.
                    let event = node.first + earlier_part;
                    let comes_after = || enabler.is_none_or(|by| by == earlier || self.stack[by].before[0].has(event));
                    if relation == Relation::Race && !(waited && comes_after()) {
                        races.push(Race { earlier, earlier_part, part });
                        ordered.join(&node.before[earlier_part]);
                    }
                }
            }
            before.add(first + part);
            all.push(before);
        }
        Past { before: all, races }
    }

    /// What came before a task was last polled.
    fn join_last_poll(&self, by: TaskId, step: usize, into: &mut Events) {
        for node in self.stack[..step].iter().rev() {
            if let Some(part) = node.footprint.parts().iter().rposition(|&other| other == Some(by)) {
                return into.join(&node.before[part]);
            }
        }
    }

    fn reverse_all(&mut self, races: &[Race], step: usize, actor: Actor, before: &[Events]) {
        for &Race { earlier, earlier_part, part } in races {
            self.reverse(earlier, step, actor, part, before);
            // What a task did because of the earlier step may have waited for others too, any of which could have been the last one.
            for awaited in (0..earlier).rev() {
                let node = &self.stack[awaited];
                let awaits = |at| node.footprint.ends_what_is_awaited(at, &self.stack[earlier].footprint, earlier_part);
                if (0..node.before.len()).any(awaits) {
                    self.reverse(awaited, step, actor, part, before);
                }
            }
        }
    }

    /// Sees to it that the node before `earlier` is also left by a step that begins an execution in which the `part` of `actor`'s step at
    /// `step` comes before `earlier`.
    fn reverse(&mut self, earlier: usize, step: usize, actor: Actor, part: usize, before: &[Events]) {
        // The steps that need not come after `earlier`, and then the actor's. A step is taken as a whole: one whose operation need not, while what
        // a task does because of it must, is among them only if the actor's cannot come before it.
        let operation = self.stack[earlier].first;
        let (mut between, mut after) = (Vec::new(), Events::default());
        after.add(operation);
        for at in earlier + 1..step {
            let Node { first, before: ref all, .. } = self.stack[at];
            if before[part].has(first) && !all[0].has(operation) || !all.iter().any(|one| one.meets(&after)) {
                between.push(at);
            } else {
                after.add(first);
            }
        }
        // Those of them run as they did. What the actor's step does is not known before it is taken there, after them: a path, say, may lead
        // it elsewhere by then.
        let is_first = |&at: &usize| {
            let all = &self.stack[at].before;
            between.iter().all(|&other| other >= at || !all.iter().any(|one| one.has(self.stack[other].first)))
        };
        let mut initials: Vec<Actor> =
            between.iter().copied().filter(is_first).map(|at| self.stack[at].chosen).collect();
        if initials.is_empty() {
            initials.push(actor);
        }
        let node = &mut self.stack[earlier];
        if initials.iter().any(|initial| node.backtrack.contains(initial)) {
            return;
        }
        match initials.iter().find(|&initial| node.offered.contains(initial)) {
            Some(&initial) => node.backtrack.push(initial),
            None => {
                // Something that could not have been taken here after all: whoever can.
                let missing = |actor: &&Actor| !node.backtrack.contains(actor);
                let all: Vec<Actor> = node.offered.iter().filter(missing).copied().collect();
                node.backtrack.extend(all);
            }
        }
    }

    /// Turns to the next execution; `false` once there is none left.
    pub(crate) fn advance(&mut self) -> bool {
        (self.depth, self.value) = (0, 0);
        while let Some(node) = self.stack.last_mut() {
            while let Some(last) = node.values.last_mut() {
                last.taken += 1;
                if last.taken < last.of {
                    self.known = self.stack.len();
                    return true;
                }
                node.values.pop();
            }
            node.asleep.add(node.chosen, std::mem::take(&mut node.touched));
            if let Some(&next) = node.backtrack.iter().find(|&&actor| !node.asleep.has(actor)) {
                node.chosen = next;
                self.known = self.stack.len();
                return true;
            }
            self.stack.pop();
        }
        false
    }

    /// Neighbours of the last execution that count as independent, the later one of which could have gone first; another pair each time.
    pub(super) fn pair(&self, number: u64) -> Option<Pair> {
        let plain = |node: &Node| node.values.is_empty() && !node.chosen.is_fault();
        let independent = |at: &usize| {
            let (first, second) = (&self.stack[*at], &self.stack[*at + 1]);
            let free = first.offered.contains(&second.chosen) && second.born.step as usize <= *at;
            free && plain(first) && plain(second) && first.footprint.commutes(&second.footprint)
        };
        let all: Vec<usize> = (0..self.stack.len().saturating_sub(1)).filter(independent).collect();
        let at = *all.get((number % all.len().max(1) as u64) as usize)?;
        let taken = |node: &Node| (node.chosen, node.values.iter().map(|value| value.taken).collect());
        Some(Pair {
            before: self.stack[..at].iter().map(taken).collect(),
            first: self.stack[at].chosen,
            second: self.stack[at + 1].chosen,
        })
    }

    /// The position of the next step; `None` if everybody is asleep: whatever comes from here has been explored.
    pub(crate) fn next(&mut self, standing: &impl Standing) -> Option<usize> {
        self.harvest(standing);
        self.try_the_vanished(standing);
        let offered = standing.offered();
        if let Some(last) = self.depth.checked_sub(1) {
            // At the end of an execution they all are.
            self.stack[last].averted.retain(|(fault, _)| !offered.contains(fault));
        }
        if self.depth == self.stack.len() {
            let node = self.node(standing, offered)?;
            self.stack.push(node);
        } else {
            let node = &mut self.stack[self.depth];
            assert_eq!(
                node.offered, offered,
                "the scenario is not deterministic: the same choices led to another situation"
            );
        }
        let node = &mut self.stack[self.depth];
        let at = node.offered.iter().position(|&actor| actor == node.chosen).expect("only what is offered is chosen");
        node.born = standing.since(at);
        node.averted = standing.faults();
        node.averted.retain(|&(fault, _)| fault != node.chosen);
        (self.depth, self.value) = (self.depth + 1, 0);
        Some(at)
    }

    /// A value that the step chooses.
    pub(crate) fn value(&mut self, of: u32) -> u32 {
        let node = &mut self.stack[self.depth - 1];
        if self.value == node.values.len() {
            node.values.push(Value { taken: 0, of });
        }
        let value = node.values[self.value];
        assert_eq!(value.of, of, "the scenario is not deterministic: the same choices led to another situation");
        self.value += 1;
        value.taken
    }
}

impl Chooser for Dpor {
    fn pick(&mut self, state: &State) -> Option<usize> {
        self.next(state)
    }
    fn value(&mut self, of: u32) -> u32 {
        self.value(of)
    }
    fn watches(&self) -> bool {
        true
    }
    fn ended(&mut self, state: &State) {
        // It was given up, and so is the search; to hold that many steps against each other takes minutes.
        if (self.depth as u64) < SEARCH_STEPS_MAX {
            self.ended(state);
        }
    }
}
