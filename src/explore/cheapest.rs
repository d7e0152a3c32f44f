//! The smallest counterexample: a search in the order of what a schedule costs.
//!
//! Iterative bounding (Musuvathi, Qadeer: Iterative context bounding for systematic testing of multithreaded programs, PLDI 2007) tries every schedule
//! with 0 preemptions, then with 1, and so on, each time from the beginning. With a state cache nothing need be tried twice: schedules wait in
//! line by their price, and a state that is reached again, with the same agent having its turn, was reached at no higher price before
//! (Dijkstra's algorithm, over prefixes of schedules instead of nodes). So what is left of a bound need not be a part of the key, and the first
//! violation is one of the smallest there are.
//!
//! What is small depends on who asks ([`Order`]). The shrinker wants few faults, and then few switches from one agent to another: every switch
//! counts, also where whoever went last cannot go on, since what people have to follow is who goes next. A [bounded
//! search](super::Method::Bounded) wants a bound that says something when it is reached: a switch from one who cannot go on is free, so
//! that every schedule comes to its end within any bound.
//!
//! *Whose turn it is* is part of a state here, so there are more of them than in the plain depth-first search.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::replay::default_choice;
use super::seen::STATE_BYTES;
use crate::sim::{Chooser, State};

/// What a schedule costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    /// Kills, cancellations, lost locks; deadlines and sleeps that end although somebody could go on.
    pub(crate) faults: u32,
    /// How often another agent goes on although the one that went last could, or one goes on who has just yielded although others could.
    pub(crate) preemptions: u32,
    /// How often another agent goes on than the one that went last.
    pub(crate) switches: u32,
}

/// What makes a schedule smaller than another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Fewer faults, then fewer switches.
    Switches,
    /// Fewer faults and preemptions together.
    Bound,
}

/// What is compared; what counts more comes first.
type Price = (u32, u32);

impl Order {
    fn price(self, cost: Cost) -> Price {
        match self {
            Order::Switches => (cost.faults, cost.switches),
            Order::Bound => (cost.faults + cost.preemptions, 0),
        }
    }
    /// Whether the one is smaller than the other.
    pub(crate) fn is_less(self, one: Cost, other: Cost) -> bool {
        self.price(one) < self.price(other)
    }
}

/// What has been chosen so far, as far as it matters for what the rest costs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Path {
    pub(crate) cost: Cost,
    /// Who went last; faults leave it as it was.
    last: Option<u64>,
    /// The same, as long as it can go on.
    turn: Option<u64>,
    /// Somebody can go on who has not just given others the time to.
    busy: bool,
}

impl Path {
    /// Looks at what there is to choose now.
    pub(crate) fn look(&mut self, state: &State) {
        let choices = (0..state.choice_count() - state.fault_count()).map(|at| state.choice(at));
        let (turn, mut goes_on) = (self.turn, false);
        self.busy = false;
        for choice in choices.filter(|&choice| !state.is_patience(choice)) {
            self.busy = true;
            goes_on |= turn == Some(state.agent(choice));
        }
        self.turn = turn.filter(|_| goes_on);
    }

    /// The same with the choice at that position.
    pub(crate) fn with(self, state: &State, at: usize) -> Self {
        let Path { mut cost, last, turn, busy } = self;
        let choice = state.choice(at);
        if choice.is_fault() {
            cost.faults += 1;
            return Path { cost, ..self };
        }
        let agent = Some(state.agent(choice));
        cost.switches += u32::from(last.is_some() && last != agent);
        if state.is_early(choice) {
            cost.faults += 1;
        } else if (turn.is_some() && turn != agent) || (busy && state.is_patience(choice)) {
            cost.preemptions += 1;
        }
        Path { cost, last: agent, turn: agent, busy }
    }
}

/// A schedule to be tried: the first choices of one that was, and another one after them.
struct Branch {
    tape: Rc<[u32]>,
    kept: usize,
    then: Option<u32>,
}

/// The search, from one execution to the next.
pub(crate) struct Cheapest {
    order: Order,
    line: BTreeMap<Price, Vec<Branch>>,
    /// About how many bytes those in line take.
    line_bytes: u64,
    /// States, each with whose turn it is, that have been reached.
    seen: BTreeSet<u128>,
    /// The states alone, if they are counted.
    states: Option<BTreeSet<u128>>,
    /// Those, with the turn, to which an execution came back that had been there.
    rounds: BTreeSet<u128>,
    /// Nothing of so high a price is of interest.
    below: Option<Price>,
    /// What the execution that was last begun began with.
    now: Price,
}

impl Cheapest {
    /// Looks for everything, or for what is less than that.
    pub(crate) fn new(order: Order, below: Option<Cost>) -> Self {
        let start = Branch { tape: Rc::from([]), kept: 0, then: None };
        Cheapest {
            order,
            line: BTreeMap::from([(Price::default(), vec![start])]),
            line_bytes: 0,
            seen: BTreeSet::new(),
            states: (order == Order::Bound).then(BTreeSet::new),
            rounds: BTreeSet::new(),
            below: below.map(|cost| order.price(cost)),
            now: Price::default(),
        }
    }

    /// The next execution; `None` if there is none left.
    pub(crate) fn next(&mut self) -> Option<Trip<'_>> {
        let mut first = self.line.first_entry()?;
        self.now = *first.key();
        let branch = first.get_mut().pop().expect("a place in line without anybody is given up");
        if first.get().is_empty() {
            first.remove();
        }
        let Branch { tape, kept, then } = branch;
        self.line_bytes = self.line_bytes.saturating_sub(BRANCH_BYTES + tape_bytes(&tape));
        let known = tape[..kept].iter().copied().chain(then).collect();
        let (tape, path, alternatives, states) = Default::default();
        Some(Trip { search: self, known, tape, path, alternatives, states, came_round: false })
    }

    /// How many different states have been reached, if it keeps count.
    pub(crate) fn states(&self) -> Option<u64> {
        self.states.as_ref().map(|states| states.len() as u64).filter(|_| !self.seen.is_empty())
    }

    /// About how much memory it takes.
    pub(crate) fn bytes(&self) -> u64 {
        (self.seen.len() as u64 + self.states().unwrap_or(0)) * STATE_BYTES + self.line_bytes
    }

    /// The highest bound within which everything has been tried, unless that is everything there is; `cut`, if the execution that was begun
    /// last did not come to its end.
    pub(crate) fn bound(&self, cut: bool) -> Option<u32> {
        let next = self.line.first_key_value().map(|(&price, _)| price);
        let next = next.into_iter().chain(cut.then_some(self.now)).min();
        next?.0.checked_sub(1)
    }
}

/// What one takes in line.
const BRANCH_BYTES: u64 = size_of::<Branch>() as u64;

/// What a tape takes that nobody else in line needs.
fn tape_bytes(tape: &Rc<[u32]>) -> u64 {
    if Rc::strong_count(tape) == 1 { size_of_val(&**tape) as u64 } else { 0 }
}

/// One execution of the search.
pub(crate) struct Trip<'c> {
    search: &'c mut Cheapest,
    /// What it begins with.
    known: Vec<u32>,
    /// What was chosen.
    tape: Vec<u32>,
    path: Path,
    /// What else could be chosen, after how many choices, and at what price.
    alternatives: Vec<(Price, usize, u32)>,
    /// The states that nobody had reached before, with the turn.
    states: Vec<u128>,
    came_round: bool,
}

impl Trip<'_> {
    /// Ends it: puts what else could have been chosen in line. What was chosen.
    pub(crate) fn end(self) -> Vec<u32> {
        let (search, tape) = (self.search, Rc::<[u32]>::from(self.tape));
        search.line_bytes += self.alternatives.len() as u64 * BRANCH_BYTES;
        if !self.alternatives.is_empty() {
            search.line_bytes += size_of_val(&*tape) as u64;
        }
        for (price, kept, then) in self.alternatives {
            let branch = Branch { tape: tape.clone(), kept, then: Some(then) };
            search.line.entry(price).or_default().push(branch);
        }
        tape.to_vec()
    }

    fn offer(&mut self, price: Price, then: u32) {
        if self.search.below.is_none_or(|below| price < below) {
            self.alternatives.push((price, self.tape.len(), then));
        }
    }

    /// Whether the state has not been reached before.
    fn is_new(&mut self, state: &State) -> bool {
        let turn = if self.search.order == Order::Bound { self.path.turn } else { self.path.last };
        let Some((fingerprint, with_turn)) = state.fingerprint_with_turn(turn) else { return true };
        if let Some(states) = &mut self.search.states {
            states.insert(fingerprint);
        }
        let new = self.search.seen.insert(with_turn);
        if new {
            self.states.push(with_turn);
        } else if self.states.contains(&with_turn) {
            self.came_round = self.search.rounds.insert(with_turn);
        }
        new
    }

    /// Goes on where nobody has been; `None` if others come first.
    fn go_on(&mut self, state: &State) -> Option<usize> {
        let price = |path: Path| self.search.order.price(path.cost);
        let here = price(self.path);
        let prices: Vec<Price> = (0..state.choice_count()).map(|at| price(self.path.with(state, at))).collect();
        let usual = default_choice(state, self.path.turn);
        let goes_on = if prices[usual] == here { Some(usual) } else { prices.iter().position(|&price| price == here) };
        for (at, &price) in prices.iter().enumerate().filter(|&(at, _)| Some(at) != goes_on) {
            self.offer(price, at as u32);
        }
        goes_on
    }
}

impl Chooser for Trip<'_> {
    fn pick(&mut self, state: &State) -> Option<usize> {
        self.path.look(state);
        let at = match self.known.get(self.tape.len()).copied() {
            Some(at) => at as usize,
            None if !self.is_new(state) => return None,
            None => self.go_on(state)?,
        };
        self.path = self.path.with(state, at);
        self.tape.push(at as u32);
        Some(at)
    }
    fn value(&mut self, of: u32) -> u32 {
        let value = match self.known.get(self.tape.len()).copied() {
            Some(value) => value,
            None => {
                let price = self.search.order.price(self.path.cost);
                (1..of).for_each(|other| self.offer(price, other));
                0
            }
        };
        self.tape.push(value);
        value
    }
    fn came_round(&mut self) -> bool {
        std::mem::take(&mut self.came_round)
    }
}
