//! A search in parts: what the first decisions lead to is dealt out.
//!
//! All parts look over the same first decisions, level by level, and leave out what leads to a state that they have met: it has the same
//! future. Once there are enough of them, each searches below every so manyth, with a cache of its own. What one part has cut
//! because it had met the state, another may search as well; so together they take more executions than one search, and come to the
//! same.

use std::collections::{BTreeSet, VecDeque};

use super::Strategy;
use super::dfs::{Decision, Dfs};
use super::findings::{Position, Searched};
use super::run::{Run, Then};
use super::search::{Ended, SEARCH_STEPS_MAX, SHALLOW_PART};
use crate::oracle::ViolationKind;
use crate::sim::{Chooser, State};

/// For each part at least so many, so that they end at about the same time.
const EACH: usize = 16;
/// No more looks than that for each of them: a program that hardly branches would be run to its end again and again.
const LOOKS: usize = 64;

impl Run<'_> {
    /// Searches the business of this part.
    pub(super) fn search_in_parts(&mut self, all: &Strategy, cache: bool) {
        let (mut looks, mut searched) = (Searched::default(), Searched::default());
        let (at_least, at_most) = (EACH * all.part.of() as usize, all.schedules / SHALLOW_PART);
        // All see the same here, whatever they will see later: every dial matters.
        let prefixes = self.remembering(cache, SEARCH_STEPS_MAX, |run| run.look_over(at_least, at_most, &mut looks));
        if let Some(prefixes) = prefixes {
            let mine = (0..).zip(prefixes).filter(|&(nth, _)| all.part.takes(nth));
            let mine: Vec<(u64, Vec<Decision>)> = mine.collect();
            // Every part has looked, whoever counts it in the end.
            let rest = Strategy { schedules: all.schedules - looks.tally.executions, ..all.clone() };
            let ended = self.searching(cache, SEARCH_STEPS_MAX, |run| {
                let mut dfs = Dfs::new(cache);
                let ended = run.search_each(&mine, &mut dfs, &rest, &mut searched);
                searched.states = dfs.states();
                ended
            });
            searched.exhausted = ended == Ended::Exhausted;
        }
        if all.part.takes(0) {
            searched.tally.join(&looks.tally); // which the others have seen, too
        }
        self.findings.search = Some(searched);
    }

    /// Searches what begins with each of these.
    fn search_each(
        &mut self,
        prefixes: &[(u64, Vec<Decision>)],
        dfs: &mut Dfs,
        until: &Strategy,
        found: &mut Searched,
    ) -> Ended {
        for (at, (nth, prefix)) in prefixes.iter().enumerate() {
            dfs.turn_to(prefix.clone(), at, prefixes.len());
            let ended = self.search_below(dfs, *nth, until, found);
            if ended != Ended::Exhausted {
                return ended;
            }
        }
        Ended::Exhausted
    }

    /// At least so many first decisions in their order, if there are so many, and if it takes no more looks than that. None if that already
    /// ended the exploration.
    fn look_over(&mut self, at_least: usize, at_most: u64, looks: &mut Searched) -> Option<Vec<Vec<Decision>>> {
        let (mut met, mut complete) = (BTreeSet::new(), Vec::new());
        let mut open: VecDeque<Vec<Decision>> = VecDeque::from([Vec::new()]);
        for n in 0..at_most.min((at_least * LOOKS) as u64) {
            if open.len() + complete.len() >= at_least {
                break;
            }
            let Some(prefix) = open.pop_front() else { break };
            let mut look = Look { prefix: &prefix, depth: 0, of: None, state: None };
            match self.execute(Position::Look(n), &mut look, &mut looks.tally) {
                Then::Next => {}
                Then::Over => return None,
                // Its search will say so.
                Then::Violated(violation) if violation.kind == ViolationKind::Endless => {}
                Then::Violated(violation) => {
                    self.violated(Position::Look(n), violation);
                    return None;
                }
            }
            match look {
                Look { of: None, .. } => complete.push(prefix),
                Look { state: Some(state), .. } if !met.insert(state) => {
                    // All of a round may lie in what is looked over, so that nobody goes it below.
                    if let Some(violation) = self.cannot_end(Position::Look(n)) {
                        self.violated(Position::Look(n), violation);
                        return None;
                    }
                }
                Look { of: Some(of), .. } => {
                    open.extend((0..of).map(|taken| [&prefix[..], &[Decision { taken, of }]].concat()));
                }
            }
        }
        complete.extend(open);
        complete.sort_unstable();
        Some(complete)
    }
}

/// Follows decisions, and looks at the next one.
struct Look<'p> {
    prefix: &'p [Decision],
    depth: usize,
    /// How many there are to choose from next, unless the execution has ended before.
    of: Option<u32>,
    /// The state there, if it is a state and every oracle tells its own.
    state: Option<u128>,
}

impl Look<'_> {
    fn follow(&mut self) -> Option<u32> {
        let decision = self.prefix.get(self.depth)?;
        self.depth += 1;
        Some(decision.taken)
    }
}

impl Chooser for Look<'_> {
    fn pick(&mut self, state: &State) -> Option<usize> {
        let taken = self.follow();
        if taken.is_none() && self.of.is_none() {
            self.of = Some(state.choice_count() as u32);
            self.state = state.remember.then(|| state.fingerprint()).flatten();
        }
        taken.map(|taken| taken as usize)
    }
    fn value(&mut self, of: u32) -> u32 {
        self.follow().unwrap_or_else(|| {
            self.of.get_or_insert(of);
            0
        })
    }
}
