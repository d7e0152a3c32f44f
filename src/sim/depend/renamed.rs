//! A machine told without the numbers that it happened to hand out, to compare it with one that came to be in another order.
//!
//! Two steps that are declared independent must lead to the same machine in either order, but for the numbers of descriptors,
//! descriptions and inodes. Files are therefore named by path, and descriptors by what they are open on. What oracles remember is left
//! out: it is theirs, and may name numbers.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::sim::State;
use crate::sim::kernel::Pid;

impl State {
    /// The machine, told without numbers; two that tell the same have the same futures.
    pub(crate) fn told_without_numbers(&self) -> String {
        let mut text = self.kernel.told_without_numbers();
        let mut lines = Vec::new();
        for (pid, host) in self.hosts.iter().enumerate() {
            let line = |tasks: &[u32]| tasks.iter().map(|&task| self.task_name(task)).collect::<Vec<_>>();
            let (mut ready, queue): (_, Vec<u32>) = (line(&host.ready), host.pool_queue.iter().copied().collect());
            ready.sort();
            lines.push(format!(
                "process {} {} alive {} {:?} idle {} {} ready {ready:?} pool {:?} {:?}",
                host.name,
                self.kernel.descriptors(pid as Pid).count(),
                host.alive,
                host.status,
                host.idle,
                host.pool_idle,
                line(&queue),
                String::from_utf8_lossy(&host.stdout),
            ));
        }
        for (id, task) in self.tasks.iter().enumerate() {
            let told = |&op: &_| {
                let pending = self.pending(op).expect("of a task");
                let enabled = pending.place.is_some();
                format!("{} {} {:?} {enabled}", pending.op.name(), self.subject(task.pid, &pending.op), pending.stage)
            };
            let mut ops: Vec<String> = self.ops_of(id as u32).collect::<Vec<_>>().iter().map(told).collect();
            ops.sort();
            let name = self.task_name(id as u32);
            let (thread, phase) = (task.has_thread, task.phase);
            lines.push(format!("task {name} {thread} {phase:?} {} {} {ops:?}", task.aborting, task.completed));
        }
        let owner = |op: &_| self.pending(*op).map(|pending| self.owner_name(pending.owner));
        for s in &self.semaphores {
            let queue: Vec<_> = s.queue.iter().map(|(op, permits)| (owner(op), permits)).collect();
            lines.push(format!("semaphore {} of {} {} {queue:?}", s.name, s.pid, s.free));
        }
        for m in &self.mutexes {
            let queue: Vec<_> = m.queue.iter().map(owner).collect();
            lines.push(format!("mutex {} of {} {:?} {queue:?}", m.name, m.pid, m.holder.map(|t| self.task_name(t))));
        }
        for n in &self.notifies {
            let queue: Vec<_> = n.queue.iter().map(owner).collect();
            lines.push(format!("notify {} of {} {} {queue:?}", n.name, n.pid, n.stored));
        }
        for (due, op) in &self.timers {
            let clock_matters = self.dials.matter().clock;
            let in_time = clock_matters.then(|| due.saturating_sub(self.dials.now()));
            lines.push(format!("timer {:?} {in_time:?}", owner(op)));
        }
        let now = self.dials.matter().clock.then(|| self.dials.now());
        lines.push(format!("clock {now:?} {:?}", self.faults));
        // In whichever order they came to be.
        lines.sort();
        lines.iter().for_each(|line| writeln!(text, "{line}").expect("to memory"));
        text
    }
}

impl crate::sim::kernel::Kernel {
    fn told_without_numbers(&self) -> String {
        let mut names = BTreeMap::new();
        let mut text = String::new();
        self.walk_inodes(&mut |path, ino| {
            let first = names.entry(ino).or_insert_with(|| path.to_owned());
            writeln!(text, "{path} is {first}: {}", self.told_inode(ino)).expect("to memory");
        });
        for pid in 0..self.process_count() {
            let told = |descriptor: crate::sim::kernel::DescriptorView| {
                let (ino, description) = self.told_description(descriptor.description);
                let file = names.get(&ino).cloned().unwrap_or_else(|| self.told_inode(ino));
                format!("{file}: {description} {} {}", descriptor.close_on_exec, descriptor.passed)
            };
            let mut open: Vec<String> = self.descriptors(pid).map(told).collect();
            open.sort();
            writeln!(text, "process {pid} has open {open:?}").expect("to memory");
        }
        text
    }
}
