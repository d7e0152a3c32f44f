//! How far a check is, how fast it goes, and how long it may still take: said only where it means something.
//!
//! *At most* is what a budget says: that many schedules, and no more of the time limit; a violation ends a case earlier. *About* is an
//! estimate. Of a search it is Knuth's (Estimating the efficiency of backtrack programs, 1975): the fraction of the tree of choices
//! that lies behind, if all branches were equally large. They are not: what comes later is smaller, because the state cache knows most of it.
//! On searches of this repository with 2,000 to 40,000 executions, it was too high by a factor of thousands before a hundredth lay behind,
//! and by less than four once a tenth did. So before that nothing is said. Cases that nobody has begun take as long as those that are done,
//! once these are as many; what is sampled takes its schedules.

use flockstep::Strategy;
use flockstep::explore::Pace;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// How far a search must be for its estimate to be told.
const TOLD_FROM: f64 = 0.1;
/// The pace is that of the last so many seconds.
const WINDOW: Duration = Duration::from_secs(10);

/// The cases of a check.
#[derive(Default)]
pub(super) struct Ahead {
    /// How many of them nobody has begun.
    waiting: u64,
    going: BTreeMap<u64, Pace>,
    begun: u64,
    /// How many are done, and their executions.
    done: u64,
    executions: u64,
    /// Pairs of operations that met in them.
    pairs: u64,
    /// A case takes at most that many executions; none, if they are as many as there are schedules.
    most: Option<u64>,
    /// And hardly less, unless something is violated.
    samples: bool,
    /// How many executions there were at which time, the latest last.
    recent: VecDeque<(Duration, u64)>,
}

/// How much time is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    AtMost(Duration),
    About(Duration),
}

impl Ahead {
    /// So many cases, to be explored in this way.
    pub(super) fn new(cases: u64, strategy: &Strategy) -> Self {
        let samples = strategy.method.samples();
        let share = if samples { strategy.schedules.div_ceil(strategy.part.of().into()) } else { strategy.schedules };
        Ahead { waiting: cases, most: (!strategy.exhaustive).then_some(share), samples, ..Ahead::default() }
    }

    /// Somebody begins a case; by what it is called from now on.
    pub(super) fn begin(&mut self) -> u64 {
        (self.waiting, self.begun) = (self.waiting.saturating_sub(1), self.begun + 1);
        self.going.insert(self.begun, Pace::default());
        self.begun
    }

    pub(super) fn is_at(&mut self, case: u64, pace: &Pace) {
        self.going.insert(case, *pace);
    }

    pub(super) fn is_done(&mut self, case: u64, executions: u64, pairs: u64) {
        self.going.remove(&case);
        (self.done, self.executions) = (self.done + 1, self.executions + executions);
        self.pairs += pairs;
    }

    pub(super) fn executions(&self) -> u64 {
        self.executions + self.going.values().map(|pace| pace.executions).sum::<u64>()
    }

    /// Pairs of operations that met, added up over the cases.
    pub(super) fn pairs(&self) -> u64 {
        self.pairs + self.going.values().map(|pace| pace.pairs).sum::<u64>()
    }

    /// How many schedules were tried to make failing ones smaller, in the cases where that goes on; none where it does not.
    pub(super) fn tries(&self) -> Option<u64> {
        self.going.values().filter_map(|pace| pace.tries).reduce(|all, tries| all + tries)
    }

    /// Whether that is all that goes on: executions of it are not counted, and it takes as long as it takes.
    pub(super) fn only_shrinks(&self) -> bool {
        self.tries().is_some() && self.going.values().all(|pace| pace.tries.is_some())
    }

    /// Looks at the clock: executions a second.
    pub(super) fn rate(&mut self, now: Duration) -> f64 {
        let executions = self.executions();
        if self.recent.back().is_none_or(|&(at, _)| now > at) {
            self.recent.push_back((now, executions));
        }
        while self.recent.get(1).is_some_and(|&(at, _)| now.saturating_sub(at) >= WINDOW) {
            self.recent.pop_front();
        }
        let (from, before) = match self.recent.front() {
            Some(&first) if self.recent.len() > 1 => first,
            _ => (Duration::ZERO, 0),
        };
        // What others have done beyond a violation is taken off again.
        executions.saturating_sub(before) as f64 / now.saturating_sub(from).as_secs_f64().max(0.001)
    }

    /// How long it may take at that many executions a second, within what is left of a time limit.
    pub(super) fn left(&self, rate: f64, limit: Option<Duration>) -> Option<Left> {
        if self.tries().is_some() {
            return None;
        }
        let by_limit = limit.map(Left::AtMost);
        let Some((executions, is_bound)) = self.executions_left() else { return by_limit };
        let Ok(time) = Duration::try_from_secs_f64(executions / rate) else { return by_limit };
        if limit.is_some_and(|limit| limit <= time) {
            return by_limit;
        }
        Some(if is_bound { Left::AtMost(time) } else { Left::About(time) })
    }

    /// How many executions there may be to come, and whether there cannot be more.
    fn executions_left(&self) -> Option<(f64, bool)> {
        let (mut left, mut is_bound) = (0.0, true);
        for pace in self.going.values() {
            let executions = pace.executions as f64;
            let most = pace.expected.or(self.most).map(|most| (most as f64 - executions).max(0.0));
            let explored = pace.explored.filter(|&explored| explored >= TOLD_FROM);
            let about = explored.map(|explored| executions * (1.0 / explored - 1.0));
            is_bound &= about.is_none_or(|about| most.is_some_and(|most| most <= about));
            left += [most, about].into_iter().flatten().min_by(f64::total_cmp)?;
        }
        if self.waiting > 0 && self.samples {
            left += self.waiting as f64 * self.most? as f64;
        } else if self.waiting > 0 {
            if self.done < self.waiting {
                return None;
            }
            left += self.waiting as f64 * self.executions as f64 / self.done as f64;
            is_bound = false;
        }
        Some((left, is_bound))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flockstep::Method;

    fn at(executions: u64, explored: f64) -> Pace {
        Pace { executions, explored: Some(explored), ..Pace::default() }
    }

    #[test]
    fn what_is_sampled_takes_no_longer_than_its_schedules() {
        let mut ahead = Ahead::new(3, &Strategy::random(1_000));
        let (one, other) = (ahead.begin(), ahead.begin());
        ahead.is_done(one, 1_000, 5);
        ahead.is_at(other, &Pace { executions: 400, expected: Some(1_000), pairs: 3, ..Pace::default() });
        assert_eq!((ahead.executions(), ahead.pairs()), (1_400, 8));
        let left = Duration::from_secs(16);
        assert_eq!(ahead.left(100.0, None), Some(Left::AtMost(left)), "600 and 1,000 at 100 a second");
        assert_eq!(ahead.left(100.0, Some(Duration::from_secs(9))), Some(Left::AtMost(Duration::from_secs(9))));
        assert_eq!(ahead.left(100.0, Some(Duration::from_secs(17))), Some(Left::AtMost(left)));
        assert_eq!(ahead.left(0.0, None), None, "nothing goes on");
    }

    #[test]
    fn a_search_says_nothing_until_a_tenth_lies_behind() {
        let mut ahead = Ahead::new(1, &Strategy::exhaustive());
        let case = ahead.begin();
        ahead.is_at(case, &at(1_000, 0.09));
        assert_eq!(ahead.left(100.0, None), None);
        assert_eq!(ahead.left(100.0, Some(Duration::ZERO)), Some(Left::AtMost(Duration::ZERO)));
        ahead.is_at(case, &at(1_000, 0.25));
        assert_eq!(ahead.left(100.0, None), Some(Left::About(Duration::from_secs(30))));
    }

    #[test]
    fn searches_that_nobody_has_begun_are_guessed_from_as_many_that_are_done() {
        let mut ahead = Ahead::new(3, &Strategy::exhaustive());
        let case = ahead.begin();
        ahead.is_at(case, &at(1_000, 0.5));
        assert_eq!(ahead.left(100.0, None), None);
        ahead.is_done(case, 3_000, 0);
        let case = ahead.begin();
        ahead.is_at(case, &at(1_000, 0.5));
        assert_eq!(ahead.left(100.0, None), Some(Left::About(Duration::from_secs(10 + 30))));
    }

    #[test]
    fn a_search_with_a_budget_takes_no_longer_than_that() {
        let mut ahead = Ahead::new(1, &Strategy { method: Method::Portfolio, ..Strategy::random(2_000) });
        let case = ahead.begin();
        ahead.is_at(case, &at(1_000, 0.01));
        assert_eq!(ahead.left(100.0, None), Some(Left::AtMost(Duration::from_secs(10))));
        ahead.is_at(case, &at(1_000, 0.8));
        assert_eq!(ahead.left(100.0, None), Some(Left::About(Duration::from_millis(2_500))));
    }

    #[test]
    fn what_is_made_smaller_has_no_rate_and_no_end_that_is_known() {
        let mut ahead = Ahead::new(2, &Strategy::exhaustive());
        let (one, other) = (ahead.begin(), ahead.begin());
        ahead.is_at(one, &at(1_000, 0.5));
        ahead.is_at(other, &at(1_000, 0.5));
        assert!(ahead.tries().is_none() && !ahead.only_shrinks());
        ahead.is_at(other, &Pace { tries: Some(7), ..at(1_000, 0.5) });
        assert!(ahead.tries() == Some(7) && !ahead.only_shrinks());
        assert_eq!(ahead.left(100.0, Some(Duration::ZERO)), None);
        ahead.is_done(one, 2_000, 0);
        assert!(ahead.only_shrinks());
        ahead.is_done(other, 1_000, 0);
        assert!(ahead.tries().is_none() && !ahead.only_shrinks());
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let mut ahead = Ahead::new(1, &Strategy::exhaustive());
        let case = ahead.begin();
        for second in 1..=60 {
            let executions = if second <= 30 { second * 100 } else { 3_000 + (second - 30) * 10 };
            ahead.is_at(case, &at(executions, 0.0));
            let rate = ahead.rate(Duration::from_secs(second)).round();
            match second {
                1..=30 => assert_eq!(rate, 100.0),
                31..=40 => {}
                _ => assert_eq!(rate, 10.0, "after {second} s"),
            }
        }
    }
}
