//! Random walks in which every order is as likely as any other: of all operations (URW), or of those that compete for one resource
//! (SURW). Zhao, Wolff, Mathur, Roychoudhury: Selectively uniform concurrency testing, ASPLOS 2025.

use super::super::rng::Rng;
use super::pilot::{Interest, PART, Pilot};
use super::table::{PerAgent, PerChoice};
use crate::sim::State;

/// How much of what matters each agent has still to do, itself and through those that will stem from it.
struct Weights {
    interest: Interest,
    left: PerAgent<Left>,
}

/// In parts of a step.
#[derive(Clone, Copy)]
struct Left {
    agent: u64,
    own: u64,
    below: u64,
    origin: Option<u64>,
}

impl Left {
    fn all(self) -> u64 {
        self.own + self.below
    }
}

impl Weights {
    fn new(interest: Interest) -> Self {
        Weights { interest, left: PerAgent::default() }
    }

    /// Sees an agent, maybe for the first time: what it has to do then moves to it from the one that it stems from. `born` is told, with the
    /// weight of that one before.
    fn meet(&mut self, pilot: &Pilot, state: &State, agent: u64, mut born: impl FnMut(Left, u64)) {
        let interest = self.interest;
        self.left.meet(state, agent, &mut |known, agent, origin| {
            let (own, below) = pilot.expected(state.identity(agent), interest);
            let left = Left { agent, own, below, origin };
            if let Some(from) = origin.and_then(|origin| known.get_mut(origin)) {
                born(left, from.all());
                from.below = from.below.saturating_sub(own + below);
            }
            left
        });
    }

    /// What an agent has left.
    fn of(&mut self, agent: u64) -> Left {
        *self.left.get_mut(agent).expect("it has been met")
    }

    /// It has done one of those that matter.
    fn spend(&mut self, agent: u64) {
        let left = self.left.get_mut(agent).expect("it has been met");
        left.own = left.own.saturating_sub(PART);
    }
}

/// Draws a position by weight; all alike if nothing weighs anything.
fn draw(rng: &mut Rng, weights: &[u64]) -> usize {
    let total: u64 = weights.iter().sum();
    if total == 0 {
        return rng.below(weights.len());
    }
    let mut drawn = rng.below(total as usize) as u64;
    for (at, &weight) in weights.iter().enumerate() {
        if drawn < weight {
            return at;
        }
        drawn -= weight;
    }
    unreachable!("it was drawn below the sum")
}

/// Everybody's chance to go on is the number of steps that it has left. Of tasks that do not wait for each other, and take as many steps as in
/// the pilots, every interleaving is then equally likely; those that are yet to be spawned count for the one that will spawn them.
pub(super) struct Urw {
    rng: Rng,
    weights: Weights,
    /// Of the choices at hand; kept for its room.
    drawn_from: Vec<u64>,
}

impl Urw {
    pub(super) fn new(rng: Rng) -> Self {
        Urw { rng, weights: Weights::new(Interest::Everything), drawn_from: Vec::new() }
    }

    pub(super) fn pick(&mut self, pilot: &Pilot, state: &State, among: usize) -> usize {
        let agents = || (0..among).map(|at| state.agent(state.choice(at)));
        // All are met before any is weighed: whoever is new takes weight from the one that it stems from.
        agents().for_each(|agent| self.weights.meet(pilot, state, agent, |_, _| ()));
        self.drawn_from.clear();
        // Whoever can go on has a step left, whatever the pilots have shown.
        let weight = |left: Left| left.own.max(PART) + left.below;
        self.drawn_from.extend(agents().map(|agent| weight(self.weights.of(agent))));
        let at = draw(&mut self.rng, &self.drawn_from);
        self.weights.spend(state.agent(state.choice(at)));
        at
    }
}

/// Draws a resource, or a class of them; then, over and over, who is next to touch it, by how often each has still to. Until that one has,
/// everybody else goes on at random, but stops short of it. The length of what nobody competes for has no influence on the order then.
///
/// Whoever sleeps or yields, and whoever takes too long, is given up on: it may be waiting for one that was stopped.
pub(super) struct Surw {
    rng: Rng,
    weights: Weights,
    interesting: PerChoice<bool>,
    intended: Option<u64>,
    /// Steps since it was drawn.
    waited: u64,
    candidates: Vec<usize>,
    drawn_from: Vec<u64>,
}

impl Surw {
    pub(super) fn new(pilot: &Pilot, mut rng: Rng) -> Self {
        let interests = pilot.interests();
        let interest = match interests.len() {
            0 => Interest::Everything,
            some => interests[rng.below(some)],
        };
        Surw {
            rng,
            weights: Weights::new(interest),
            interesting: PerChoice::default(),
            intended: None,
            waited: 0,
            candidates: Vec::new(),
            drawn_from: Vec::new(),
        }
    }

    fn is_interesting(&mut self, state: &State, at: usize) -> bool {
        let choice = state.choice(at);
        if let Some(&mut known) = self.interesting.get(choice) {
            return known;
        }
        let interest = self.weights.interest;
        let is = interest == Interest::Everything
            || state.touches(choice).iter().any(|touch| interest.covers(touch.class, touch.resource));
        self.interesting.insert(choice, is);
        is
    }

    /// Draws who is next: among all that live, or only among those who could act.
    fn intend(&mut self, state: &State, among: usize, only_able: bool) {
        let mut agents: Vec<(u64, u64)> = Vec::new();
        let weight = |left: &Left| (left.agent, left.all());
        if only_able {
            for at in 0..among {
                if self.is_interesting(state, at) {
                    let agent = state.agent(state.choice(at));
                    agents.push((agent, self.weights.of(agent).all().max(PART)));
                }
            }
        } else {
            agents.extend(self.weights.left.iter().map(weight).filter(|&(_, weight)| weight > 0));
        }
        self.drawn_from.clear();
        self.drawn_from.extend(agents.iter().map(|&(_, weight)| weight));
        self.intended = (!agents.is_empty()).then(|| agents[draw(&mut self.rng, &self.drawn_from)].0);
        self.waited = 0;
    }

    pub(super) fn pick(&mut self, pilot: &Pilot, state: &State, among: usize) -> usize {
        for at in 0..among {
            let (rng, intended) = (&mut self.rng, &mut self.intended);
            self.weights.meet(pilot, state, state.agent(state.choice(at)), |child, before| {
                // What was intended may be the child's to do.
                if *intended == child.origin && before > 0 && (rng.below(before as usize) as u64) < child.all() {
                    *intended = Some(child.agent);
                }
            });
        }
        self.waited += 1;
        if self.intended.is_none() || self.waited > pilot.steps {
            self.intend(state, among, false);
        }
        self.allow(state, among);
        if self.candidates.is_empty() {
            self.intend(state, among, true);
            self.allow(state, among);
        }
        let at = self.candidates[self.rng.below(self.candidates.len())];
        let choice = state.choice(at);
        if self.is_interesting(state, at) {
            self.weights.spend(state.agent(choice));
            self.intended = None;
        } else if state.is_patience(choice) {
            self.intended = None;
        }
        at
    }

    /// Who may go on: the intended one, and those about to do something else.
    fn allow(&mut self, state: &State, among: usize) {
        self.candidates.clear();
        for at in 0..among {
            if !self.is_interesting(state, at) || Some(state.agent(state.choice(at))) == self.intended {
                self.candidates.push(at);
            }
        }
    }
}
