//! Hashes of the machine's state, for the state cache.
//!
//! Two executions that agree in the kernel, in what every task has seen (hence in what it will do), in what every task is about to
//! do, in every queue, in what is left of every bound and in what every oracle remembers, have the same futures. Task numbers
//! depend on the order in which processes happened to start their tasks, so tasks are named by process and by birth within it.

use std::hash::{Hash, Hasher};

use super::operation::{OpId, Owner, Stage};
use super::state::{State, TaskId};

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
struct Wide(Fold, Fold);

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

impl State {
    /// Two independent 64-bit hashes of everything that can influence the future; `None` if an oracle does not tell its state.
    pub(crate) fn fingerprint(&self) -> Option<u128> {
        let mut state = Wide::new();
        self.feed_fingerprint(&mut state)?;
        Some(state.wide())
    }

    /// A task, or a process as a whole, by the name that it has in a fingerprint.
    pub(crate) fn name_in_fingerprint(&self, agent: u64) -> u64 {
        match super::agent::place(agent) {
            (0, task) => hash(&self.names_of_tasks()[task]),
            (_, pid) => hash(&pid),
        }
    }

    fn feed_fingerprint(&self, state: &mut Wide) -> Option<()> {
        self.kernel.fingerprint(state);
        let names = self.names_of_tasks();
        let name = |task: TaskId| names[task as usize];
        let op_name = |id: &OpId| {
            self.pending(*id).map(|p| match p.owner {
                Owner::Task(task) => (name(task), p.seq),
                Owner::Process(pid) => (u64::MAX - u64::from(pid), 0),
            })
        };
        for host in &self.hosts {
            (host.idle, host.pool_idle, host.alive, host.status, host.ending.is_some()).hash(state);
            host.inherited.hash(state);
            if let Some((launch, _, transient)) = &host.launch {
                // What a child will do: its parent may be dead, and with it the memory of what it has started.
                (launch, transient, &host.stdout).hash(state);
            }
            for &task in &host.pool_queue {
                name(task).hash(state);
            }
            // Who is in line for a worker is a set: any of them may be next.
            let line: u64 = host.ready.iter().fold(0, |sum, &task| sum.wrapping_add(hash(&name(task))));
            line.hash(state);
        }
        let mut tasks: u128 = 0;
        for (id, task) in self.tasks.iter().enumerate() {
            let mut one = Wide::new();
            (names[id], task.past, task.phase, task.has_thread, task.aborting, task.completed).hash(&mut one);
            let mut ops = 0u64;
            for op in self.ops_of(id as TaskId) {
                let pending = self.pending(op)?;
                let outcome = (pending.stage == Stage::Acted).then_some(&pending.outcome);
                let told = (pending.seq, &pending.op, pending.stage, outcome, task.occupied == Some(op));
                ops = ops.wrapping_add(hash(&told));
            }
            ops.hash(&mut one);
            tasks = tasks.wrapping_add(one.wide());
        }
        tasks.hash(state);
        for pending in self.ops.iter().filter(|p| p.live && matches!(p.owner, Owner::Process(_))) {
            (&pending.op, matches!(pending.stage, Stage::Queued)).hash(state);
        }
        for s in &self.semaphores {
            (s.free, s.queue.len()).hash(state);
            s.queue.iter().for_each(|(op, _)| op_name(op).hash(state));
        }
        for m in &self.mutexes {
            (m.holder.map(name), m.past).hash(state);
            m.queue.iter().for_each(|op| op_name(op).hash(state));
        }
        for n in &self.notifies {
            n.stored.hash(state);
            n.queue.iter().for_each(|op| op_name(op).hash(state));
        }
        // Only how far away a timer is matters; the clock itself is in the past of whoever read it.
        for (due, op) in &self.timers {
            (due.saturating_sub(self.clock), op_name(op)).hash(state);
        }
        let regions = self.regions.values().fold(0u64, |sum, region| sum.wrapping_add(hash(region)));
        (regions, self.faults).hash(state);
        for judge in &self.judges.all {
            judge.oracle.state()?.hash(state);
        }
        if self.judges.follow_locks() {
            self.judges.locks.fingerprint(&self.tasks, state);
        }
        Some(())
    }

    /// Names that do not depend on how processes interleave: the process, and the how many'th of its tasks it is.
    fn names_of_tasks(&self) -> Vec<u64> {
        let mut born = vec![0u64; self.hosts.len()];
        let number = |task: &super::state::Task| {
            let count = &mut born[task.pid as usize];
            *count += 1;
            (u64::from(task.pid) << 32) | *count
        };
        self.tasks.iter().map(number).collect()
    }
}
