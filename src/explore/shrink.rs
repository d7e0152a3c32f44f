//! Making a failing schedule smaller: fewer processes, then fewer faults, then fewer switches from one agent to another. What remains
//! breaks the same kind of promise.
//!
//! In this order, because each step makes the next one cheaper: whole processes are left out; then deviations (blocks of them first); then the
//! steps of an agent are moved together; and at last a [search](super::cheapest) looks for anything smaller still. Each within its part of
//! the budget, so that what comes out is the smallest if the search came to its end, and else as small as could be had.

use super::Enough;
use super::cheapest::{Cheapest, Cost, Order, Path};
use super::livelock::is_for_ever;
use super::replay::{Deviation, Guide, Recorder, Replay, Taping, Turn};
use super::search::SEARCH_STEPS_MAX;
use crate::oracle::ViolationKind;
use crate::scenario::Scenario;
use crate::sim::{Chooser, Dialed, End, Machine, Plan, State};

/// The search for something smaller remembers states: those of a large machine are slow to remember, and too many.
const SEARCHED_STEPS_MAX: usize = 500;

/// What makes a schedule smaller.
const ORDER: Order = Order::Switches;

/// What a schedule is to show when it is run again.
#[derive(Clone, Copy)]
pub(crate) enum Goal<'g> {
    /// A violation of that kind.
    Kind(&'g ViolationKind),
    /// That piece of evidence, whatever the execution comes to.
    Fact(&'g str),
}

/// A schedule by name, and the same as small as it could be made.
pub(crate) struct Shrunk {
    pub(crate) original: Vec<Deviation>,
    pub(crate) smallest: Vec<Deviation>,
}

/// Notes what was chosen, and what it costs.
pub(crate) struct Measured<'c> {
    chooser: &'c mut dyn Chooser,
    tape: Vec<u32>,
    path: Path,
}

impl<'c> Measured<'c> {
    pub(crate) fn new(chooser: &'c mut dyn Chooser) -> Self {
        Measured { chooser, tape: Vec::new(), path: Path::default() }
    }

    pub(crate) fn cost(&self) -> Cost {
        self.path.cost
    }
}

impl Chooser for Measured<'_> {
    fn pick(&mut self, state: &State) -> Option<usize> {
        let at = self.chooser.pick(state)?;
        self.tape.push(at as u32);
        self.path.look(state);
        self.path = self.path.with(state, at);
        Some(at)
    }
    fn value(&mut self, of: u32) -> u32 {
        let value = self.chooser.value(of);
        self.tape.push(value);
        value
    }
}

/// A schedule that shows what it is to show.
#[derive(Clone)]
struct Shown {
    /// Processes that are left out.
    without: Vec<String>,
    deviations: Vec<Deviation>,
    tape: Vec<u32>,
    cost: Cost,
}

/// Runs schedules of a scenario again, each before oracles that have seen nothing else: what they merge over executions must not make a
/// schedule fail that does not do so by itself.
pub(crate) struct Retrial<'r> {
    scenario: &'r Scenario,
    machine: &'r mut Machine,
    /// In which the processes that are left out have ended before anything happens.
    plan: Plan,
    goal: Goal<'r>,
    limits: Enough,
    /// Executions and steps so far.
    spent: Enough,
    /// Is told how many executions there were after each; `false` interrupts.
    tried: &'r mut dyn FnMut(u64) -> bool,
    interrupted: bool,
}

impl<'r> Retrial<'r> {
    pub(crate) fn new(
        scenario: &'r Scenario,
        machine: &'r mut Machine,
        goal: Goal<'r>,
        limits: Enough,
        tried: &'r mut dyn FnMut(u64) -> bool,
    ) -> Self {
        let (plan, spent) = (scenario.plan(), Enough { schedules: 0, steps: 0 });
        Retrial { scenario, machine, plan, goal, limits, spent, tried, interrupted: false }
    }

    /// Whether that many eighths of the budget are spent, or all of it by decree.
    fn has_spent(&self, eighths: u64) -> bool {
        let spent = |spent: u64, limit: u64| spent >= limit.saturating_mul(eighths) / 8;
        self.interrupted
            || spent(self.spent.schedules, self.limits.schedules)
            || spent(self.spent.steps, self.limits.steps)
    }

    /// One execution: how it ended, and whether it has shown what it was to show.
    fn execute(&mut self, chooser: &mut dyn Chooser) -> (End, bool) {
        self.machine.state_mut().judges = self.scenario.judges();
        let mut tape = Vec::new();
        let end = self.machine.run(&self.plan, &mut Taping { chooser, tape: &mut tape });
        self.spent.schedules += 1;
        self.spent.steps += self.machine.state().step;
        self.interrupted |= !(self.tried)(self.spent.schedules);
        let shown = match (self.goal, &end) {
            (Goal::Kind(ViolationKind::Endless), End::Violated(violation))
                if violation.kind == ViolationKind::Endless =>
            {
                is_for_ever(self.machine, &self.plan, &tape)
            }
            (Goal::Kind(kind), End::Violated(violation)) => violation.kind == *kind,
            (Goal::Kind(_), _) => false,
            (Goal::Fact(fact), _) => self.machine.state().judges.evidence().flatten().any(|shown| *shown == *fact),
        };
        (end, shown)
    }

    /// Runs deviations; what came out, if they show it.
    fn replay(&mut self, without: &[String], deviations: Vec<Deviation>) -> Option<Shown> {
        let mut replay = Replay::new(&deviations);
        let mut measured = Measured::new(&mut replay);
        let shown = self.execute(&mut measured).1;
        let (cost, Measured { tape, .. }) = (measured.cost(), measured);
        shown.then(|| Shown { without: without.to_vec(), deviations, tape, cost })
    }

    /// The same for a list of positions, which gets names that way. `None` if it does not show it by name.
    fn record(&mut self, without: &[String], tape: &[u32]) -> Option<Shown> {
        let mut recorder = Recorder::new(tape);
        let shown = self.execute(&mut recorder).1;
        shown.then(|| self.replay(without, recorder.deviations))?
    }

    /// Names a schedule and makes it smaller. `None` if it does not show by name what it is to show.
    pub(crate) fn shrink(mut self, tape: &[u32]) -> Option<Shrunk> {
        let original = self.record(&[], tape)?;
        let mut best = original.clone();
        if let Goal::Kind(kind) = self.goal {
            best = self.without_processes(best, kind);
        }
        best = self.without_deviations(best);
        if let Goal::Kind(kind) = self.goal {
            best = self.moved_together(best);
            if *kind != ViolationKind::Endless && best.tape.len() <= SEARCHED_STEPS_MAX {
                best = self.cheaper(best.clone(), 8).map_or(best, |cheaper| self.without_deviations(cheaper));
            }
        }
        let without = best.without.into_iter().map(|process| Deviation::Without { process });
        let smallest = without.chain(best.deviations).collect();
        Some(Shrunk { original: original.deviations, smallest })
    }

    /// Leaves out every process without which the same kind of promise is broken, the last one first.
    ///
    /// A promise may be *about* a process: without the one that adds `b`, there is no `b` in the list, whatever the lock protocol. So
    /// nothing is left out without which the promise is broken even if everybody runs until it blocks, as if there were no
    /// concurrency.
    fn without_processes(&mut self, mut best: Shown, kind: &ViolationKind) -> Shown {
        let mut names: Vec<String> = self.plan.processes.iter().map(|process| process.name.to_string()).collect();
        while let Some(name) = names.pop() {
            if self.has_spent(2) || self.plan.left() == 1 {
                break;
            }
            let (turns, whole) = (self.turns(&best), self.plan.clone());
            self.plan = whole.clone().without(&name);
            let needed = matches!(self.execute(&mut Replay::new(&[])).0, End::Violated(_));
            let smaller = if needed { None } else { self.found_without(&best, &turns, &name, kind) };
            match smaller {
                Some(shown) => best = shown,
                None => self.plan = whole,
            }
        }
        best
    }

    /// A schedule that shows it without one more process: what is left of this one, its turns without those of the
    /// process, or the cheapest there is.
    fn found_without(&mut self, best: &Shown, turns: &[Turn], name: &str, kind: &ViolationKind) -> Option<Shown> {
        let without: Vec<String> = best.without.iter().cloned().chain([name.to_owned()]).collect();
        if let Some(shown) = self.replay(&without, best.deviations.clone()) {
            return Some(shown);
        }
        // Deviations are lost with the steps that they come before; whose turn it was is not.
        let mut guide = Guide::new(turns);
        let mut measured = Measured::new(&mut guide);
        let shown = self.execute(&mut measured).1;
        let Measured { tape, .. } = measured;
        if shown && let Some(shown) = self.record(&without, &tape) {
            return Some(shown);
        }
        if *kind == ViolationKind::Endless || best.tape.len() > SEARCHED_STEPS_MAX {
            return None;
        }
        let costliest = Cost { switches: best.cost.switches + 1, ..best.cost };
        self.cheaper(Shown { without, cost: costliest, ..best.clone() }, 2)
    }

    /// Leaves out every deviation that is not needed, larger blocks first.
    fn without_deviations(&mut self, mut best: Shown) -> Shown {
        let mut block = best.deviations.len().max(1);
        while !self.has_spent(5) {
            let mut shorter = false;
            let mut from = 0;
            while from < best.deviations.len() && !self.has_spent(5) {
                let mut fewer = best.deviations.clone();
                fewer.drain(from..(from + block).min(fewer.len()));
                match self.replay(&best.without, fewer) {
                    Some(shown) => (best, shorter) = (shown, true),
                    None => from += block,
                }
            }
            if block > 1 {
                block /= 2;
            } else if !shorter {
                break;
            }
        }
        best
    }

    /// Moves the turns of an agent together, as long as that makes fewer switches: a later one to the end of the one before, or an
    /// earlier one to the beginning of the next.
    fn moved_together(&mut self, mut best: Shown) -> Shown {
        'again: while !self.has_spent(6) {
            let turns = self.turns(&best);
            for (later, turn) in turns.iter().enumerate() {
                let Some(earlier) = turns[..later].iter().rposition(|other| other.agent == turn.agent) else {
                    continue;
                };
                for (from, to) in [(later, earlier + 1), (earlier, later - 1)] {
                    if self.has_spent(6) {
                        break 'again;
                    }
                    let mut moved = turns.clone();
                    let turn = moved.remove(from);
                    moved.insert(to, turn);
                    let mut guide = Guide::new(&moved);
                    let mut measured = Measured::new(&mut guide);
                    let shown = self.execute(&mut measured).1;
                    let (cost, Measured { tape, .. }) = (measured.cost(), measured);
                    if shown
                        && ORDER.is_less(cost, best.cost)
                        && let Some(shown) = self.record(&best.without, &tape)
                        && ORDER.is_less(shown.cost, best.cost)
                    {
                        best = shown;
                        continue 'again;
                    }
                }
            }
            break;
        }
        best
    }

    /// Who goes on for how many steps, in order.
    fn turns(&mut self, shown: &Shown) -> Vec<Turn> {
        let mut recorder = Recorder::new(&shown.tape);
        self.execute(&mut recorder);
        recorder.turns
    }

    /// The cheapest that shows it at all, if it costs less than that, and is found before so many eighths of the budget are spent.
    fn cheaper(&mut self, than: Shown, eighths: u64) -> Option<Shown> {
        let mut search = Cheapest::new(ORDER, Some(than.cost));
        let steps_max =
            std::mem::replace(&mut self.plan.steps_max, SEARCH_STEPS_MAX.min(8 * than.tape.len() as u64 + 64));
        self.machine.state_mut().remember = true;
        self.machine.state_mut().dials.let_matter(Dialed::always(self.plan.time));
        let mut found = None;
        while found.is_none() && !self.has_spent(eighths) {
            let Some(mut trip) = search.next() else { break };
            let shown = self.execute(&mut trip).1;
            found = Some(trip.end()).filter(|_| shown);
        }
        self.machine.state_mut().remember = false;
        self.machine.state_mut().dials.let_matter(Dialed::ALL);
        self.plan.steps_max = steps_max;
        self.record(&than.without, &found?).filter(|shown| ORDER.is_less(shown.cost, than.cost))
    }
}
