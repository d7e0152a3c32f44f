//! Many inputs: shared work instead of queues.
//!
//! Processes that want the same things should share the work. If each takes the inputs in the same order and waits for a shard that
//! another is building, they go in single file: the second process builds nothing and waits for everything. So each process starts at an
//! offset of its own, and **a busy shard is not waited for while other work is left**: the input is put back, another one taken, and by
//! the time the first comes round again it usually is a hit. Only when every input that is left was found busy since the last one was
//! finished does a task wait.
//!
//! No more tasks are started than permits fit into the descriptor budget, so none of them waits for a permit while it has an input
//! that somebody else could be building.

use super::budget::BUILD;
use super::shard::{Obtained, Recipe, obtain};
use super::{Cache, Error, Order, Result};
use crate::world::{Join, JoinError, World};
use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::sync::Arc;

/// What to build, and how.
pub struct Plan<R> {
    /// One recipe per input. Two with the same key are fine: the second one is a hit.
    pub inputs: Vec<R>,
    /// How many at once in this process. The descriptor budget may allow fewer.
    pub jobs: u32,
    /// Which input to begin with, modulo their number. Give processes that work on the same inputs different ones.
    pub offset: usize,
}

/// Called with the number of an input and its result, as soon as there is one.
pub type Report = Arc<dyn Fn(usize, &Result<Obtained>) + Send + Sync>;

/// Obtains the results of all inputs, in the order of the inputs. An error of one does not stop the others.
///
/// `parent` is the order of the caller, which holds the cache root shared (and its environment, if it fills one) until this returns.
pub async fn build_all<W: World, R: Recipe<W>>(
    world: &W,
    cache: &Cache<W>,
    parent: &Order,
    plan: Plan<R>,
    report: Report,
) -> Vec<Result<Obtained>> {
    let Plan { inputs, jobs, offset } = plan;
    let count = inputs.len();
    let builds = jobs.clamp(1, cache.budget().fits(BUILD));
    let permits = cache.settings().discipline.permits;
    let tasks = permits.tasks(count, builds as usize);
    let work = Arc::new(Shared {
        // A mutex of the World's, since who takes what is a choice that an exploration must see.
        queue: world.value_mutex("inputs", Queue::new(first_alike::<W, R>(&inputs), offset)),
        weight: permits.weight(builds, cache.budget()),
        inputs,
        report,
    });
    let lane = |_| run_lane(world.clone(), cache.clone(), parent.fork(), work.clone());
    let cause = run_all(world, "build", (0..tasks).map(lane)).await.unwrap_or(JoinError::Aborted);
    let results = mem::take(&mut world.lock(&work.queue).await.results);
    let lost = |index: usize| Err(Error::Lost { key: work.inputs[index].key().to_owned(), cause });
    results.into_iter().enumerate().map(|(index, result)| result.unwrap_or_else(|| lost(index))).collect()
}

/// What the lanes of one `build_all` share.
struct Shared<W: World, R> {
    inputs: Vec<R>,
    queue: W::Mutex<Queue>,
    /// Of the permit of each build.
    weight: u32,
    report: Report,
}

/// Starts all of these, called by that name and their number, and waits for their end; how one ended that did not end by itself. They
/// end with the future, also if it is dropped.
pub(super) async fn run_all<W: World>(
    world: &W,
    name: &str,
    tasks: impl Iterator<Item = impl Future<Output = ()> + Send + 'static>,
) -> Option<JoinError> {
    let spawn = |(number, task)| world.spawn(&format!("{name} {number}"), task);
    let mut lanes = Lanes(tasks.enumerate().map(spawn).collect());
    world.join_all(&mut lanes.0).await.into_iter().filter_map(|ended| ended.err()).next_back()
}

struct Lanes<J: Join<()>>(Vec<J>);

impl<J: Join<()>> Drop for Lanes<J> {
    fn drop(&mut self) {
        self.0.iter().for_each(J::abort);
    }
}

/// Takes inputs until none is left.
async fn run_lane<W: World, R: Recipe<W>>(world: W, cache: Cache<W>, parent: Order, work: Arc<Shared<W, R>>) {
    let lane = async {
        let mut last = None;
        loop {
            let Some(turn) = world.lock(&work.queue).await.next(last.take(), &work.report) else { return };
            // That is all a lane takes along: what became of the last input is on disk, and in the queue.
            world.keeping(&turn);
            last = Some(take(&world, &cache, &parent, &work, turn).await);
            world.keeping(&last);
        }
    };
    world.forgetting(lane).await;
}

/// Takes an input.
async fn take<W: World, R: Recipe<W>>(
    world: &W,
    cache: &Cache<W>,
    parent: &Order,
    work: &Shared<W, R>,
    Turn { index, waits }: Turn,
) -> Last {
    // A permit of its own for each input: after a time-out, the last one's belongs to the wait that goes on.
    let result = match cache.task(world, parent, work.weight).await {
        Ok(mut task) => {
            task.set_waits(waits);
            obtain(world, &mut task, &work.inputs[index]).await
        }
        Err(error) => Err(error),
    };
    match result {
        Err(Error::Busy { .. }) => Last::Busy(index),
        result => Last::Finished(index, result),
    }
}

/// For each input, the first one that is the same: of one key, and for others to use or not.
fn first_alike<W: World, R: Recipe<W>>(inputs: &[R]) -> Vec<usize> {
    let mut first = BTreeMap::new();
    let alike =
        inputs.iter().enumerate().map(|(index, input)| *first.entry((input.key(), input.reusable())).or_insert(index));
    alike.collect()
}

/// The inputs that nobody works on, and what came of the others.
#[derive(Hash)]
struct Queue {
    /// See [`first_alike`]. Of several that are the same it makes no difference which is taken: they are called by the first one, and
    /// the results go to them in the order in which they come.
    alike: Vec<usize>,
    left: VecDeque<usize>,
    /// How many were found busy since the last one was finished.
    busy: usize,
    /// Of each input, written once.
    results: Vec<Option<Result<Obtained>>>,
}

/// What became of the input that a lane took last.
#[derive(Hash)]
enum Last {
    /// Somebody else is building it.
    Busy(usize),
    /// It has a result.
    Finished(usize, Result<Obtained>),
}

/// An input to take, and whether to wait for it.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Turn {
    index: usize,
    waits: bool,
}

impl Queue {
    fn new(alike: Vec<usize>, offset: usize) -> Self {
        let mut left: VecDeque<usize> = alike.iter().copied().collect();
        left.rotate_left(if left.is_empty() { 0 } else { offset % left.len() });
        Queue { results: vec![None; alike.len()], alike, left, busy: 0 }
    }

    fn next(&mut self, last: Option<Last>, report: &Report) -> Option<Turn> {
        match last {
            Some(Last::Busy(index)) => {
                self.left.push_back(index);
                self.busy += 1;
            }
            Some(Last::Finished(first, result)) => {
                let mut same = (0..self.alike.len()).filter(|&index| self.alike[index] == first);
                let index = same.find(|&index| self.results[index].is_none()).expect("as many results as inputs");
                report(index, &result);
                self.results[index] = Some(result);
                self.busy = 0; // something moved: what was busy may be a hit by now
            }
            None => {}
        }
        let waits = self.busy >= self.left.len();
        let index = self.left.pop_front()?;
        // More than are left says no more than all of them.
        self.busy = self.busy.min(self.left.len());
        Some(Turn { index, waits })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(index: usize, waits: bool) -> Option<Turn> {
        Some(Turn { index, waits })
    }

    fn finished(index: usize) -> Last {
        Last::Finished(index, Err(Error::recipe("it failed".to_owned())))
    }

    fn next(queue: &mut Queue, last: Option<Last>) -> Option<Turn> {
        let silent: Report = Arc::new(|_, _| ());
        queue.next(last, &silent)
    }

    #[test]
    fn a_process_begins_at_its_offset_and_goes_round() {
        let mut queue = Queue::new(vec![0, 1, 2], 4);
        assert_eq!([(); 3].map(|()| next(&mut queue, None)), [turn(1, false), turn(2, false), turn(0, false)]);
        assert_eq!(next(&mut queue, None), None);
        assert_eq!(next(&mut Queue::new(vec![], 4), None), None);
    }

    #[test]
    fn a_busy_input_is_waited_for_only_when_all_that_are_left_were_found_busy() {
        let mut queue = Queue::new(vec![0, 1], 0);
        assert_eq!(next(&mut queue, None), turn(0, false));
        assert_eq!(next(&mut queue, Some(Last::Busy(0))), turn(1, false));
        assert_eq!(next(&mut queue, Some(Last::Busy(1))), turn(0, true));
        assert_eq!(next(&mut queue, Some(finished(0))), turn(1, false));
        assert_eq!(next(&mut queue, Some(Last::Busy(1))), turn(1, true));
        assert_eq!(next(&mut queue, Some(finished(1))), None);
        assert!(queue.results.iter().all(Option::is_some));
    }

    #[test]
    fn each_of_several_that_are_the_same_has_a_result_and_is_reported() {
        let mut queue = Queue::new(vec![0, 1, 0], 0);
        let reported = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let into = reported.clone();
        let report: Report = Arc::new(move |index, _| into.lock().push(index));
        for taken in [0, 1, 0] {
            assert_eq!(queue.next(None, &report), turn(taken, false));
        }
        for taken in [0, 0, 1] {
            assert_eq!(queue.next(Some(finished(taken)), &report), None);
        }
        assert_eq!(*reported.lock(), [0, 2, 1]);
        assert!(queue.results.iter().all(Option::is_some));
    }
}
