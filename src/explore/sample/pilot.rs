//! What is known of a scenario before its schedules are drawn: how many steps each agent takes, and what it touches.
//!
//! It comes from the first few schedules of a seed, which are always the same: one that runs whoever runs until it blocks, and a few random ones.
//! So schedule number n of a seed depends on nothing but those, the seed and n, and the numbers can be split over machines. The scar: when
//! lengths were learnt as the exploration went on, a schedule could not be had again without all those before it.

use std::collections::BTreeMap;

use super::super::replay::default_choice;
use super::super::rng::Rng;
use super::table::PerAgent;
use crate::sim::touch::Class;
use crate::sim::{Chooser, State};

/// How many schedules of a seed are pilots.
pub(crate) const PILOTS: u64 = 3;

/// Averages are counted in this part of a step.
pub(super) const PART: u64 = 64;

/// What agents of one name do in their lives, all of them together over all pilots.
#[derive(Clone, Debug, Default)]
struct Lives {
    lives: u64,
    steps: u64,
    /// Steps of those that stem from them.
    below: u64,
    touched: BTreeMap<(Class, u64), u64>,
    touched_below: BTreeMap<(Class, u64), u64>,
}

/// Which operations a schedule is to order evenly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interest {
    /// All of them.
    Everything,
    /// Those that touch a resource.
    Resource(Class, u64),
    /// Those that touch any resource of a class.
    Class(Class),
}

impl Interest {
    pub(super) fn covers(self, class: Class, resource: u64) -> bool {
        match self {
            Interest::Everything => true,
            Interest::Resource(one, number) => (one, number) == (class, resource),
            Interest::Class(one) => one == class,
        }
    }
}

/// What the pilots have shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pilot {
    /// The steps of the longest.
    pub(super) steps: u64,
    /// By the name of the agent.
    lives: BTreeMap<u64, Lives>,
    /// By resource, how many agents touch it, and whether one of them changes it; of the pilot that showed most.
    shared: BTreeMap<(Class, u64), (u64, bool)>,
}

impl Pilot {
    /// How many steps that matter an agent of that name takes, and those that stem from it together, on average, in parts.
    pub(super) fn expected(&self, identity: u64, interest: Interest) -> (u64, u64) {
        let Some(lives) = self.lives.get(&identity) else { return (0, 0) };
        let sum = |all: u64, touched: &BTreeMap<(Class, u64), u64>| match interest {
            Interest::Everything => all,
            Interest::Resource(class, number) => touched.get(&(class, number)).copied().unwrap_or(0),
            Interest::Class(class) => touched.range((class, 0)..=(class, u64::MAX)).map(|(_, count)| count).sum(),
        };
        let average = |sum: u64| sum * PART / lives.lives;
        (average(sum(lives.steps, &lives.touched)), average(sum(lives.below, &lives.touched_below)))
    }

    /// What several agents compete for: each resource, and each class of which there are several.
    pub(super) fn interests(&self) -> Vec<Interest> {
        let contested = self.shared.iter().filter(|(_, (agents, writes))| *agents > 1 && *writes);
        let contested: Vec<(Class, u64)> = contested.map(|(&resource, _)| resource).collect();
        let several = |class: &Class| contested.iter().filter(|(other, _)| other == class).count() > 1;
        let mut classes: Vec<Class> = contested.iter().map(|&(class, _)| class).filter(several).collect();
        classes.dedup();
        let resources = contested.iter().map(|&(class, resource)| Interest::Resource(class, resource));
        resources.chain(classes.into_iter().map(Interest::Class)).collect()
    }

    /// Adds what a pilot execution has shown.
    pub(crate) fn learn(&mut self, flight: Flight) {
        self.steps = self.steps.max(flight.steps);
        let mut shared: BTreeMap<(Class, u64), (u64, bool)> = BTreeMap::new();
        for life in flight.agents.iter() {
            for (&resource, &(_, writes)) in &life.touched {
                let (agents, written) = shared.entry(resource).or_default();
                (*agents, *written) = (*agents + 1, *written || writes);
            }
            let lives = self.lives.entry(life.identity).or_default();
            (lives.lives, lives.steps, lives.below) =
                (lives.lives + 1, lives.steps + life.steps, lives.below + life.below);
            for (&resource, &(count, _)) in &life.touched {
                *lives.touched.entry(resource).or_default() += count;
            }
            for (&resource, &count) in &life.touched_below {
                *lives.touched_below.entry(resource).or_default() += count;
            }
        }
        for (resource, (agents, writes)) in shared {
            let known = self.shared.entry(resource).or_default();
            *known = (known.0.max(agents), known.1 || writes);
        }
    }
}

/// What one agent does in one pilot.
struct Life {
    identity: u64,
    origin: Option<u64>,
    steps: u64,
    below: u64,
    touched: BTreeMap<(Class, u64), (u64, bool)>,
    touched_below: BTreeMap<(Class, u64), u64>,
}

/// One pilot execution: without faults, and everybody's steps are counted.
pub(crate) struct Flight {
    /// `None`: whoever runs goes on until it blocks or is patient.
    random: Option<Rng>,
    values: Rng,
    last: Option<u64>,
    steps: u64,
    agents: PerAgent<Life>,
}

impl Flight {
    /// The pilot number `n` of a seed.
    pub(super) fn new(own: u64, n: u64) -> Self {
        let random = (n > 0).then(|| Rng::stream(own, "steps"));
        Flight { random, values: Rng::stream(own, "values"), last: None, steps: 0, agents: PerAgent::default() }
    }

    /// Whoever runs goes on until it blocks, or gives others the time: who polls would poll for ever, and be taken for a livelock.
    fn whoever_runs(&self, state: &State) -> usize {
        let usual = default_choice(state, self.last);
        if !state.is_patience(state.choice(usual)) {
            return usual;
        }
        let rank = |&at: &usize| {
            let choice = state.choice(at);
            let agent = state.agent(choice);
            (state.is_patience(choice), self.last.is_some_and(|last| agent <= last), agent, state.age(choice), at)
        };
        (0..state.usual_count()).min_by_key(rank).unwrap_or(usual)
    }

    fn count(&mut self, state: &State, at: usize) {
        let choice = state.choice(at);
        let agent = state.agent(choice);
        self.last = Some(agent);
        self.steps += 1;
        self.agents.meet(state, agent, &mut |_, agent, origin| Life {
            identity: state.identity(agent),
            origin,
            steps: 0,
            below: 0,
            touched: BTreeMap::new(),
            touched_below: BTreeMap::new(),
        });
        let touches = state.touches(choice);
        let life = self.agents.get_mut(agent).expect("just met");
        life.steps += 1;
        for touch in &touches {
            let (count, writes) = life.touched.entry((touch.class, touch.resource)).or_default();
            (*count, *writes) = (*count + 1, *writes || touch.writes);
        }
        let mut above = life.origin;
        while let Some(life) = above.and_then(|agent| self.agents.get_mut(agent)) {
            life.below += 1;
            for touch in &touches {
                *life.touched_below.entry((touch.class, touch.resource)).or_default() += 1;
            }
            above = life.origin;
        }
    }
}

impl Chooser for Flight {
    fn pick(&mut self, state: &State) -> Option<usize> {
        let at = match &mut self.random {
            None => self.whoever_runs(state),
            Some(rng) => rng.below(state.choice_count() - state.fault_count()),
        };
        self.count(state, at);
        Some(at)
    }
    fn value(&mut self, of: u32) -> u32 {
        if self.random.is_some() { self.values.below(of as usize) as u32 } else { 0 }
    }
}
