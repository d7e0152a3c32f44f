//! Which steps depend on each other: what each operation touches, and how.
//!
//! Two steps that are independent can be swapped where they stand side by side, and everything is as before, up to the numbers that
//! the kernel hands out (descriptors, descriptions, inodes, processes, tasks). An exploration that knows need not try both orders
//! ([`Dpor`](crate::explore)). What a step touches is written down *as it happens*: the operation that acts declares it here, and so
//! does every release, wake-up and event that its task causes in the poll that follows, because a lock that a destructor gives
//! up is as good as one that a call gives up.
//!
//! In doubt, steps are dependent: that costs executions, the other way round costs bugs: what the tests of that are is in `docs/model.md`, section 5.

mod operations;
mod renamed;
mod steps;

use smallvec::{SmallVec, smallvec};

use super::kernel::{Ino, Ofd, Pid};
use super::state::TaskId;
use crate::world::LockMode;

/// Something that steps touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Resource {
    /// Everything: who touches it has a place of its own between those before and those after.
    All,
    /// What a task has seen and will do.
    Task(TaskId),
    /// The life of a process, and who is killed with it.
    Life(Pid),
    /// What the tasks of a process share in memory beside the World.
    Memory(Pid),
    /// The worker threads of a process, if they do not suffice for its tasks; the threads and the queue of its pool.
    Workers(Pid),
    Pool(Pid),
    /// A name in a directory; all names in it; whether the directory takes new ones.
    Entry(Ino, u64),
    Listing(Ino),
    Alive(Ino),
    /// Where directories are in the tree.
    Tree,
    /// The content of a file, the bytes and the ends of a pipe.
    Content(Ino),
    /// How many names a file has.
    Links(Ino),
    Lock(Ino),
    /// An open file description: its offset, how many descriptors it has.
    Description(Ofd),
    /// The descriptor table of a process.
    Table(Pid),
    Semaphore(u32),
    Mutex(u32),
    Notify(u32),
    /// The numbers of files that are no more, and that somebody has been told: who makes a file may be given one.
    Numbers,
    /// That a task, or a process, has ended.
    End(TaskId),
    Ended(Pid),
    Clock,
    /// How many faults are left.
    Faults,
    /// What the oracle at this position remembers.
    Oracle(u32),
    /// Outside of the machine, where people say what their steps touch: something of theirs,
    #[cfg(feature = "shuttle")]
    Named(u64),
    /// the numbers of tasks,
    #[cfg(feature = "shuttle")]
    Spawns,
    /// and all that there is: written by a step of which nothing was said, read by the others. Unlike with [`All`](Resource::All), the order of
    /// two such steps could have been the other one.
    #[cfg(feature = "shuttle")]
    Unsaid,
}

/// How it is touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Access {
    Read,
    Write,
    /// A write that commutes with its like: a name is added, a descriptor taken where there are plenty.
    Add,
    /// A lock is taken by somebody who waits for it; given up.
    Acquire(LockMode),
    Release(LockMode),
    /// A lock is tried for in vain.
    Refused,
    /// Something ends that may be waited for; somebody waits for it, or finds that it has ended.
    End,
    Await,
    /// Somebody finds that it has ended who would have begun something else beside, had it not, for all that is known: see
    /// [`State::access_of_end`](super::State::access_of_end).
    Found,
}

/// How two steps, the first of which came first, stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relation {
    Independent,
    /// The order matters, and could have been the other one.
    Race,
    /// The second was impossible before the first.
    Enables,
}

fn relation_of(first: Access, second: Access) -> Relation {
    use Access::*;
    use LockMode::Shared;
    match (first, second) {
        (Read, Read) | (Add, Add) | (Refused, Refused) => Relation::Independent,
        (Acquire(Shared) | Release(Shared), Acquire(Shared) | Release(Shared)) => Relation::Independent,
        (Release(_), Acquire(_)) | (End, Await) => Relation::Enables,
        // Who waits in time is told, who comes later finds it: the same to both.
        (Await, End) | (Await | Found, Await | Found) => Relation::Independent,
        // Whoever takes the lock could not have done so while the other one was refused, or else the other one is refused either way.
        (Refused, Acquire(_)) => Relation::Independent,
        _ => Relation::Race,
    }
}

/// Everything that a step touches, part by part: what the operation does, what each task does that is polled because of it, and
/// what such a task does after it has found that something has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Footprint {
    touched: SmallVec<[(Resource, Access, u32); 12]>,
    /// Whose each part is: that of the first is the operation.
    parts: SmallVec<[Option<TaskId>; 4]>,
    /// In which parts before it that task was woken, for each part: bit by bit.
    causes: SmallVec<[u64; 4]>,
    /// Steps that somebody waited to take, and will not.
    missed: Vec<Waiting>,
}

impl Default for Footprint {
    /// With nothing but the part of the operation.
    fn default() -> Self {
        Footprint { touched: SmallVec::new(), parts: smallvec![None], causes: smallvec![0], missed: Vec::new() }
    }
}

impl Footprint {
    fn add(&mut self, resource: Resource, access: Access) {
        let last = self.parts.last().copied().flatten();
        if matches!(access, Access::Await | Access::Found) && last.is_some() {
            // After what it has done so far.
            let so_far = 1 << (self.parts.len() - 1).min(63);
            self.parts.push(last);
            self.causes.push(so_far);
        }
        let one = (resource, access, self.parts.len() as u32 - 1);
        if !self.touched.contains(&one) {
            self.touched.push(one);
        }
    }

    /// Touches also what the same step has touched where it chose another value.
    pub(crate) fn join(&mut self, other: &Footprint) {
        for &(resource, access, part) in &other.touched {
            if !self.touched.iter().any(|one| (one.0, one.1) == (resource, access)) {
                self.touched.push((resource, access, part));
            }
        }
    }

    /// A step that touches that, all of it by the operation itself.
    #[cfg(feature = "shuttle")]
    pub(crate) fn of(touched: impl IntoIterator<Item = (Resource, Access)>) -> Self {
        let mut footprint = Footprint::default();
        touched.into_iter().for_each(|(resource, access)| footprint.add(resource, access));
        footprint
    }

    /// What it touches to give a task a worker.
    fn of_resumption(task: TaskId, pid: Pid) -> Self {
        let mut footprint = Footprint::default();
        footprint.add(Resource::Task(task), Access::Write);
        footprint.add(Resource::Workers(pid), Access::Write);
        footprint.add(Resource::Life(pid), Access::Read);
        footprint
    }

    /// Steps that somebody waited to take before this one, and will not take any more: a task has got its worker without being chosen, or has
    /// died, or has given up what it waited for.
    pub(crate) fn missed(&self) -> &[Waiting] {
        &self.missed
    }

    /// Whose each part is; none is the operation's own.
    pub(crate) fn parts(&self) -> &[Option<TaskId>] {
        &self.parts
    }

    /// The parts in which the task was woken that this part is of.
    pub(crate) fn causes(&self, part: usize) -> impl Iterator<Item = usize> {
        let causes = self.causes[part];
        (0..part).filter(move |&cause| causes & (1 << cause.min(63)) != 0)
    }

    /// How a part of this step stands to a part of a later one.
    pub(crate) fn relation(&self, part: usize, later: &Footprint, later_part: usize) -> Relation {
        if self.touches_all() || later.touches_all() {
            return Relation::Enables;
        }
        let mut relation = Relation::Independent;
        for &(resource, first, _) in self.touched_in(part) {
            for &(_, second, _) in later.touched_in(later_part).filter(|(other, ..)| *other == resource) {
                match relation_of(first, second) {
                    Relation::Independent => {}
                    Relation::Race => return Relation::Race,
                    Relation::Enables => relation = Relation::Enables,
                }
            }
        }
        relation
    }

    fn touched_in(&self, part: usize) -> impl Iterator<Item = &(Resource, Access, u32)> {
        self.touched.iter().filter(move |one| one.2 as usize == part)
    }

    fn touches_all(&self) -> bool {
        self.touched.iter().any(|&(resource, ..)| resource == Resource::All)
    }

    /// Whether something has ended in a part of this step that is found ended in a part of another: what is done there comes after it.
    pub(crate) fn ends_what_is_awaited(&self, part: usize, other: &Footprint, other_part: usize) -> bool {
        let awaits = |resource| other.touched.contains(&(resource, Access::Await, other_part as u32));
        self.touched_in(part).any(|&(resource, access, _)| access == Access::End && awaits(resource))
    }

    /// Whether the two can stand side by side in either order.
    pub(crate) fn commutes(&self, other: &Footprint) -> bool {
        let independent = |&(resource, first, _): &(Resource, Access, u32)| {
            let same = other.touched.iter().filter(|one| one.0 == resource);
            let both = |second| [relation_of(first, second), relation_of(second, first)];
            same.flat_map(|&(_, second, _)| both(second)).all(|relation| relation == Relation::Independent)
        };
        !self.touches_all() && !other.touches_all() && self.touched.iter().all(independent)
    }
}

/// When something came to be: in which step (0 before the first), and in which part of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) step: u64,
    pub(crate) part: u32,
}

/// Between two steps: what a search that knows of dependencies has to know.
pub(crate) trait Standing {
    /// Who could take the next step, by position.
    fn offered(&self) -> Vec<Actor>;
    /// When the choice at that position came to be; before the first step also if it is there as long as its process or task.
    fn since(&self, at: usize) -> Moment;
    /// Those who are offered and need not happen, and what they would touch.
    fn faults(&self) -> Vec<(Actor, Footprint)>;
    /// Whether something is offered only because everything else has come to rest.
    fn is_at_rest(&self) -> bool;
    /// Whether somebody still has a choice, now or later. A task that drops one of its futures has one less, and so has one that was given
    /// a worker without being chosen.
    fn has_choice(&self, actor: Actor) -> bool;
    /// Those who wait for something that somebody else would have to do.
    fn blocked(&self) -> Vec<Waiting>;
    /// What the last step touched.
    fn footprint(&self) -> &Footprint;
}

/// A step that cannot be taken, or need not be taken any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) actor: Actor,
    pub(crate) since: Moment,
    /// What it would touch.
    pub(crate) footprint: Footprint,
}

/// Whoever makes a choice, by a name that stays the same for as long as the choice is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Actor {
    /// The how many'th operation of a task.
    Operation(TaskId, u32),
    Process(Pid),
    Resume(TaskId),
    Kill(Pid),
    Cancel(TaskId),
    Expire(TaskId, u32),
    Lose(Ofd),
}

impl Actor {
    /// Whether it is a fault: these need not happen.
    pub(crate) fn is_fault(self) -> bool {
        matches!(self, Actor::Kill(_) | Actor::Cancel(_) | Actor::Expire(..) | Actor::Lose(_))
    }
}
