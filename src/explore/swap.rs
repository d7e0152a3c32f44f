//! Two steps that are declared independent, taken in both orders.
//!
//! A wrong declaration makes partial-order reduction leave out schedules without anybody noticing. So wherever debug assertions are on,
//! every execution of the reduction has one pair of neighbours that count as independent swapped, and what comes of it is held
//! against what came of the order that was.

use crate::sim::depend::{Actor, Standing};
use crate::sim::{Chooser, End, Machine, Plan, State};

/// The first steps of an execution: who took each, and the values that were chosen in it.
pub(super) type Prefix = Vec<(Actor, Vec<u32>)>;

/// Neighbours at the end of a prefix that count as independent.
pub(super) struct Pair {
    pub(super) before: Prefix,
    pub(super) first: Actor,
    pub(super) second: Actor,
}

struct Follow<'p> {
    steps: std::slice::Iter<'p, (Actor, Vec<u32>)>,
    values: std::slice::Iter<'p, u32>,
    told: String,
}

impl Chooser for Follow<'_> {
    fn pick(&mut self, state: &State) -> Option<usize> {
        let (actor, values) = self.steps.next()?;
        self.values = values.iter();
        state.offered().iter().position(|offered| offered == actor)
    }
    fn value(&mut self, _: u32) -> u32 {
        self.values.next().copied().unwrap_or(0)
    }
    fn ended(&mut self, state: &State) {
        // Whoever could not take its step leaves the machine in another state than the one it is compared with.
        self.told = state.told_without_numbers();
    }
}

impl Pair {
    /// Takes them in both orders: how that differs, if it does.
    pub(super) fn difference(&self, machine: &mut Machine, plan: &Plan) -> Option<String> {
        let mut told = |order: [Actor; 2]| {
            let mut steps = self.before.clone();
            steps.extend(order.map(|actor| (actor, Vec::new())));
            let mut follow = Follow { steps: steps.iter(), values: [].iter(), told: String::new() };
            let end = machine.run(plan, &mut follow);
            (follow.told, matches!(end, End::Violated(_)))
        };
        let (one, other) = (told([self.first, self.second]), told([self.second, self.first]));
        (one != other).then(|| {
            let changed = |line: &&str| !other.0.lines().any(|twin| twin == *line);
            let left: Vec<&str> = one.0.lines().filter(changed).collect();
            let changed = |line: &&str| !one.0.lines().any(|twin| twin == *line);
            let right: Vec<&str> = other.0.lines().filter(changed).collect();
            format!(
                "{:?} and {:?} count as independent, but their order matters:\n  {}\nas against\n  {}",
                self.first,
                self.second,
                left.join("\n  "),
                right.join("\n  ")
            )
        })
    }
}
