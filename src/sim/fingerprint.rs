//! Hashes of the machine's state, for the state cache.
//!
//! Two executions that agree in the kernel, in what every task has seen (hence in what it will do), in what every task is about to
//! do, in every queue, in what is left of every bound and in what every oracle remembers, have the same futures. The scar: numbers
//! that are handed out in turn. Tasks, semaphores, inodes and descriptions are numbered in the order in which processes happen to
//! make them, and states that differed in nothing else were explored again and again: of 293,726 states of two processes with one shard
//! five sixths were such copies. So everything is named by what makes it up: a task by its process and birth, a
//! file by its path ([`Kernel::fingerprint`](super::kernel::Kernel::fingerprint)), and what has no order is hashed without one.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::depend::Actor;
use super::kernel::{Labels, Pid};
use super::operation::{Op, OpId, Outcome, Owner, Pending, Ret, Stage};
use super::state::{State, TaskId};
use super::symmetry::{Ranks, Renamed};
use crate::oracle::Judge;

/// A 64-bit hasher with a strong finish; the same on every machine, unlike the standard one, whose algorithm may change.
#[derive(Clone)]
pub(crate) struct Fold(u64);

impl Fold {
    pub(crate) fn new(seed: u64) -> Self {
        Fold(seed ^ 0x9e37_79b9_7f4a_7c15)
    }
}

/// Mixes two words by a folded 128-bit product (the finish of wyhash).
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ 0xa076_1d64_78bd_642f) * u128::from(b ^ 0xe703_7ed1_a0b4_28db);
    (product as u64) ^ ((product >> 64) as u64)
}

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        mix(self.0, 0x8ebc_6af0_9c88_c6e3)
    }
    fn write(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            self.write_u64(u64::from_le_bytes(chunk.try_into().expect("eight bytes")));
        }
        // Little-endian, as above; at most seven bytes are not worth a call of memcpy.
        let last = chunks.remainder().iter().rev().fold(0, |word, &byte| (word << 8) | u64::from(byte));
        self.write_u64(last ^ ((bytes.len() as u64) << 56));
    }
    fn write_u64(&mut self, word: u64) {
        self.0 = mix(self.0, word);
    }
    fn write_u8(&mut self, word: u8) {
        self.write_u64(word.into());
    }
    fn write_u32(&mut self, word: u32) {
        self.write_u64(word.into());
    }
    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }
}

/// Two of them side by side, for 128 bits in one walk over the state.
pub(crate) struct Wide(Fold, Fold);

impl Wide {
    fn new() -> Self {
        Wide(Fold::new(1), Fold::new(2))
    }
    fn wide(&self) -> u128 {
        u128::from(self.0.finish()) | (u128::from(self.1.finish()) << 64)
    }
}

impl Hasher for Wide {
    fn finish(&self) -> u64 {
        self.0.finish()
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
        self.1.write(bytes);
    }
    fn write_u64(&mut self, word: u64) {
        self.0.write_u64(word);
        self.1.write_u64(word);
    }
    fn write_u8(&mut self, word: u8) {
        self.write_u64(word.into());
    }
    fn write_u32(&mut self, word: u32) {
        self.write_u64(word.into());
    }
    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }
}

/// The hash of a value.
pub(crate) fn hash(value: &impl Hash) -> u64 {
    let mut fold = Fold::new(0);
    value.hash(&mut fold);
    fold.finish()
}

/// Two independent hashes of what `feed` feeds.
fn wide(feed: impl FnOnce(&mut Wide)) -> u128 {
    let mut state = Wide::new();
    feed(&mut state);
    state.wide()
}

/// The first of the inode numbers that a process as a whole gives: see [`Kernel::set_author`](super::kernel::Kernel::set_author).
pub(crate) fn author_of_process(pid: Pid) -> u64 {
    (u64::from(pid) + 1) << 48
}

/// The same of one operation of a task.
#[inline]
fn author(pid: Pid, birth: u32, seq: u32) -> u64 {
    // Sixteen for each operation, which makes one file at most; four million tasks a process, four million operations a task.
    author_of_process(pid) | u64::from(birth) << 26 | u64::from(seq) << 4
}

/// What everybody is called in a fingerprint, and with whom those who are alike have changed places.
pub(crate) struct Naming {
    ranks: Ranks,
    labels: Labels,
}

impl State {
    /// Two independent 64-bit hashes of everything that can influence the future; `None` if an oracle does not tell its state.
    pub(crate) fn fingerprint(&self) -> Option<u128> {
        Some(self.fingerprint_and_naming()?.0)
    }

    /// The same, and the same with whose turn it is, a task's or a process's.
    pub(crate) fn fingerprint_with_turn(&self, agent: Option<u64>) -> Option<(u128, u128)> {
        let (fingerprint, Naming { ranks, .. }) = self.fingerprint_and_naming()?;
        let turn = agent.map(|agent| match super::agent::place(agent) {
            (0, task) => self.name_of_task(task as TaskId, &ranks),
            (_, pid) => (ranks.of(pid as Pid), 0),
        });
        Some((fingerprint, wide(|state| (fingerprint, turn).hash(state))))
    }

    /// The same, and what everybody is called in it.
    pub(crate) fn fingerprint_and_naming(&self) -> Option<(u128, Naming)> {
        let by_path = self.kernel.names_by_path();
        let alike = self.ranks(&by_path).and_then(|ranks| self.renamed(by_path.clone(), ranks, false));
        let (ranks, labels, oracles) = match alike {
            Some(renamed) => renamed,
            None => self.renamed(by_path, Ranks::default(), true)?,
        };
        let mut state = Wide::new();
        oracles.hash(&mut state);
        if self.judges.follow_locks() {
            let described = |description| labels.description(description);
            let renamed = Renamed::new(&ranks, self, &labels);
            self.judges.locks.fingerprint(described, &renamed).hash(&mut state);
        }
        self.kernel.feed_fingerprint(&labels, &ranks, &mut state);
        self.feed_fingerprint(&ranks, &mut state);
        Some((state.wide(), Naming { ranks, labels }))
    }

    /// What somebody who could go on is called: the same wherever a state has the same fingerprint, and different from everybody else there.
    pub(crate) fn called(&self, actor: Actor, Naming { ranks, labels }: &Naming) -> u64 {
        let operation =
            |task: TaskId, seq| (self.name_of_task(task, ranks), seq - self.tasks[task as usize].forgetting.operations);
        match actor {
            Actor::Operation(task, seq) => hash(&(0, operation(task, seq))),
            Actor::Process(pid) => hash(&(1, ranks.of(pid))),
            Actor::Resume(task) => hash(&(2, self.name_of_task(task, ranks))),
            Actor::Kill(pid) => hash(&(3, ranks.of(pid))),
            Actor::Cancel(task) => hash(&(4, self.name_of_task(task, ranks))),
            Actor::Expire(task, seq) => hash(&(5, operation(task, seq))),
            Actor::Lose(description) => hash(&(6, labels.description(description.into()))),
        }
    }

    /// What the kernel makes from here on is made by that operation.
    #[inline]
    pub(crate) fn attribute_to(&mut self, id: OpId) {
        let pending = &self.ops[id.slot as usize];
        let first = match pending.owner {
            Owner::Task(task) => {
                let task = &self.tasks[task as usize];
                author(task.pid, task.birth, pending.seq)
            }
            Owner::Process(pid) => author_of_process(pid),
        };
        self.kernel.set_author(first);
    }

    /// What everything is called if processes have these ranks and files are called by their paths, and what the oracles remember. `None` if
    /// one of them does not tell, or, unless that is all the same (`or_not`), not under other names.
    fn renamed(&self, mut names: Labels, ranks: Ranks, or_not: bool) -> Option<(Ranks, Labels, u128)> {
        self.kernel.name_what_is_open(&mut names, &ranks);
        let mut state = Wide::new();
        let renamed = Renamed::new(&ranks, self, &names);
        let mut by_number = false;
        for Judge { oracle, .. } in &self.judges.all {
            let told = oracle.state_as(&renamed);
            by_number |= told.is_none();
            told.or_else(|| or_not.then(|| oracle.state()).flatten())?.hash(&mut state);
        }
        if by_number {
            self.feed_numbers(&ranks, &names, &mut state);
        }
        Some((ranks, names, state.wide()))
    }

    /// Who has which number: an oracle that does not call things by their names may have remembered that.
    fn feed_numbers(&self, ranks: &Ranks, names: &Labels, state: &mut Wide) {
        for (id, task) in (0..).zip(self.tasks.iter()).filter(|(_, task)| !task.is_over()) {
            (id, ranks.of(task.pid), ranks.label(id, task)).hash(state);
        }
        for pid in 0..self.hosts.len() as Pid {
            let open = self.kernel.descriptors(pid).map(|open| open.description);
            open.for_each(|description| (description, names.description(description.into())).hash(state));
        }
        self.regions.hash(state);
    }

    /// Which process, and which of its tasks.
    pub(super) fn name_of_task(&self, id: TaskId, ranks: &Ranks) -> (Pid, u64) {
        let task = &self.tasks[id as usize];
        (ranks.of(task.pid), ranks.label(id, task))
    }

    fn name_of_op(&self, id: OpId, ranks: &Ranks) -> Option<(Pid, u64, u32)> {
        self.pending(id).map(|pending| match pending.owner {
            Owner::Task(task) => {
                let (pid, label) = self.name_of_task(task, ranks);
                (pid, label, pending.seq - self.tasks[task as usize].forgetting.operations)
            }
            Owner::Process(pid) => (ranks.of(pid), 0, 0),
        })
    }

    /// An operation of a task, with what it is about named as above, but for the process, which is the task's own: tasks, semaphores, mutexes
    /// and notifications have numbers that depend on which process came first.
    pub(super) fn op_in_fingerprint(&self, op: &Op, ranks: &Ranks) -> u64 {
        match *op {
            Op::Join { task, group } => hash(&(0, ranks.label(task, &self.tasks[task as usize]), group > 0)),
            // It is the task's own.
            Op::Section { task } => hash(&(1, self.tasks[task as usize].label.number)),
            Op::Acquire { semaphore, permits } => hash(&(2, self.name_of_semaphore(semaphore), permits)),
            Op::TryAcquire { semaphore, permits } => hash(&(3, self.name_of_semaphore(semaphore), permits)),
            Op::LockMutex { mutex } => hash(&(4, self.name_of_mutex(mutex))),
            Op::LockThread { mutex } => hash(&(5, self.name_of_mutex(mutex))),
            Op::Notified { notify } => hash(&(6, self.name_of_notify(notify))),
            Op::Notify { notify, all } => hash(&(7, self.name_of_notify(notify), all)),
            Op::Sleep { .. } if !self.dials.matter().clock => 8,
            Op::Deadline { .. } if !self.dials.matter().clock => 9,
            ref op => hash(op),
        }
    }

    fn name_of_semaphore(&self, number: u32) -> (&str, usize) {
        among_its_like(&self.semaphores, number, |s| (s.pid, &s.name))
    }

    fn name_of_mutex(&self, number: u32) -> (&str, usize) {
        among_its_like(&self.mutexes, number, |m| (m.pid, &m.name))
    }

    fn name_of_notify(&self, number: u32) -> (&str, usize) {
        among_its_like(&self.notifies, number, |n| (n.pid, &n.name))
    }

    /// What an operation gave. Permits come with the number of the task that they were granted to: itself.
    fn outcome_in_fingerprint(op: &Op, outcome: &Outcome) -> u64 {
        match (op, outcome) {
            (Op::Acquire { .. } | Op::TryAcquire { .. }, Ok(Ret::Number(_))) => 1,
            (_, outcome) => hash(outcome),
        }
    }

    /// Mixes what an operation came to into the past of its task. Its arguments too: what tasks share beside the World shows in what they
    /// ask for.
    pub(crate) fn remember_outcome(&mut self, id: OpId, task: TaskId, outcome: &Outcome) {
        let Pending { seq, ref op, .. } = self.ops[id.slot as usize];
        if matches!(op, Op::Join { group: 1.., .. }) {
            return; // all that are waited for together are remembered together
        }
        let seq = seq - self.tasks[task as usize].forgetting.operations;
        let value =
            hash(&(seq, self.op_in_fingerprint(op, &Ranks::default()), Self::outcome_in_fingerprint(op, outcome)));
        self.remember_value(task, value);
    }

    /// A task, but for its process and its name.
    pub(super) fn feed_task(&self, id: TaskId, ranks: &Ranks, one: &mut Wide) {
        let task = &self.tasks[id as usize];
        (task.past, task.phase, task.has_thread, task.aborting, task.completed).hash(one);
        let ops = unordered(self.ops_of(id), |op, one| {
            let pending = self.pending(op).expect("of a task");
            let acted = pending.stage == Stage::Acted;
            let outcome = acted.then(|| Self::outcome_in_fingerprint(&pending.op, &pending.outcome));
            let told = self.op_in_fingerprint(&pending.op, ranks);
            // Nor does it matter which of those was announced first.
            let is_one_of_all = matches!(pending.op, Op::Join { group: 1.., .. });
            let seq = if is_one_of_all { 0 } else { pending.seq - task.forgetting.operations };
            (seq, told, pending.stage, outcome, task.occupied == Some(op)).hash(one);
        });
        ops.hash(one);
    }

    fn feed_fingerprint(&self, ranks: &Ranks, state: &mut Wide) {
        // Of a process that is dead, nothing is left but what its parent will be told. Destructors have no effect there.
        let acts = |pid: Pid| self.hosts[pid as usize].alive;
        for pid in ranks.in_order(self.hosts.len()) {
            let host = &self.hosts[pid as usize];
            (host.alive, host.status, &host.stdout).hash(state);
            if !host.alive {
                continue;
            }
            (host.idle, host.pool_idle, host.ending.is_some(), &host.inherited).hash(state);
            if let Some((launch, _, transient)) = &host.launch {
                // What a child will do: its parent may be dead, and with it the memory of what it has started.
                (launch, transient).hash(state);
            }
            for &task in &host.pool_queue {
                self.name_of_task(task, ranks).hash(state);
            }
            // Who is in line for a worker is a set: any of them may be next.
            unordered(&host.ready, |&task, one| self.name_of_task(task, ranks).hash(one)).hash(state);
        }
        let counts = |id: &TaskId| {
            let task = &self.tasks[*id as usize];
            !task.is_over() && acts(task.pid)
        };
        let tasks = unordered((0..self.tasks.len() as TaskId).filter(counts), |id, one| {
            self.name_of_task(id, ranks).hash(one);
            self.feed_task(id, ranks, one);
        });
        let of_processes = self.ops.iter().filter(|p| p.live).filter_map(|pending| match pending.owner {
            Owner::Process(pid) => Some((ranks.of(pid), pending)),
            Owner::Task(_) => None,
        });
        let of_processes = unordered(of_processes, |(pid, pending), one| {
            (pid, pending.op.name(), pending.stage == Stage::Queued).hash(one);
        });
        // What nobody uses is as if it had not been made yet: whether it has been is in the past of whoever would have.
        let in_use = (0..).zip(&self.semaphores).filter(|(_, s)| acts(s.pid) && s.free < s.total);
        let semaphores = unordered(in_use, |(id, s), one| {
            (ranks.of(s.pid), self.name_of_semaphore(id), s.free, s.queue.len()).hash(one);
            s.queue.iter().for_each(|&(op, _)| self.name_of_op(op, ranks).hash(one));
        });
        let mutexes = unordered((0..).zip(&self.mutexes).filter(|(_, m)| acts(m.pid)), |(id, m), one| {
            let holder = m.holder.map(|task| self.name_of_task(task, ranks));
            (ranks.of(m.pid), self.name_of_mutex(id), holder, m.past).hash(one);
            m.queue.iter().for_each(|&op| self.name_of_op(op, ranks).hash(one));
        });
        let in_use = (0..).zip(&self.notifies).filter(|(_, n)| acts(n.pid) && (n.stored || !n.queue.is_empty()));
        let notifies = unordered(in_use, |(id, n), one| {
            (ranks.of(n.pid), self.name_of_notify(id), n.stored).hash(one);
            n.queue.iter().for_each(|&op| self.name_of_op(op, ranks).hash(one));
        });
        let clock_matters = self.dials.matter().clock;
        let timers = unordered(&self.timers, |&(due, op), one| {
            (clock_matters.then_some(due), self.name_of_op(op, ranks)).hash(one);
        });
        let regions = unordered(self.regions.values(), |(pid, kind, subject), one| {
            (ranks.of(*pid), kind, subject).hash(one);
        });
        (tasks, of_processes, semaphores, mutexes, notifies, timers, regions, self.faults).hash(state);
        // Whoever lives may read it. How far away the timers are is not enough, even where all else that has been read is the same: whether
        // it is now a second after the start or five milliseconds more may be in the past of nobody but a process that is dead.
        clock_matters.then(|| self.dials.now()).hash(state);
        if self.dials.matter().peaks {
            ranks.in_order(self.hosts.len()).into_iter().for_each(|pid| self.kernel.descriptors_peak(pid).hash(state));
        }
    }
}

/// A hash of things among which there is no order that matters.
pub(crate) fn unordered<T>(things: impl IntoIterator<Item = T>, feed: impl Fn(T, &mut Wide)) -> u128 {
    things.into_iter().fold(0, |sum: u128, thing| sum.wrapping_add(wide(|one| feed(thing, one))))
}

/// What one of a list is called, and the how many'th of that name it is in its process.
fn among_its_like<T>(all: &[T], number: u32, what: impl Fn(&T) -> (Pid, &Arc<str>)) -> (&str, usize) {
    let own = what(&all[number as usize]);
    (&**own.1, all[..number as usize].iter().filter(|other| what(other) == own).count())
}
