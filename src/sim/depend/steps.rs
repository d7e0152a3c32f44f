//! Who can take a step, since when, and what the step under way has touched so far.

use super::{Access, Actor, Footprint, Moment, Resource, Standing, Waiting};
use crate::sim::fingerprint::{hash, mix};
use crate::sim::operation::{Op, OpId, Outcome, Owner, Pending, Ret, Stage};
use crate::sim::state::{Choice, Phase, State, Task, TaskId};
use crate::world::Kinds;

impl State {
    /// Who makes a choice.
    pub(crate) fn actor(&self, choice: Choice) -> Actor {
        match choice {
            Choice::Act(id) | Choice::Expire(id) => {
                let pending = &self.ops[id.slot as usize];
                match pending.owner {
                    Owner::Task(task) if matches!(choice, Choice::Act(_)) => Actor::Operation(task, pending.seq),
                    Owner::Task(task) => Actor::Expire(task, pending.seq),
                    Owner::Process(pid) => Actor::Process(pid),
                }
            }
            Choice::Resume(task) => Actor::Resume(task),
            Choice::Kill(pid) => Actor::Kill(pid),
            Choice::Cancel(task) => Actor::Cancel(task),
            Choice::Lose(ofd) => Actor::Lose(ofd),
        }
    }

    /// A task that is in line for a worker will not be chosen: it gets one otherwise, or has died.
    pub(crate) fn miss_resumption(&mut self, id: TaskId) {
        if self.footprint.is_some() {
            let missed = self.resumption(id);
            self.miss(missed);
        }
    }

    /// An operation is withdrawn. It may have been possible before something that has made it wait.
    #[cold]
    pub(crate) fn miss_operation(&mut self, id: OpId) {
        let pending = &self.ops[id.slot as usize];
        if pending.born.step < self.step
            && let Some(missed) = self.announced(pending)
        {
            self.miss(missed);
        }
    }

    fn miss(&mut self, missed: Waiting) {
        if let Some(footprint) = &mut self.footprint {
            footprint.missed.push(missed);
        }
    }

    /// What a task waits for that is in line for a worker.
    fn resumption(&self, id: TaskId) -> Waiting {
        let task = &self.tasks[id as usize];
        let footprint = Footprint::of_resumption(id, task.pid);
        Waiting { actor: Actor::Resume(id), since: task.in_line_since, footprint }
    }

    /// What an operation would do that has not acted, and may have to wait.
    fn announced(&self, pending: &Pending) -> Option<Waiting> {
        let Owner::Task(task) = pending.owner else { return None };
        if !(pending.live && pending.stage == Stage::Announced && pending.op.may_have_to_wait()) {
            return None;
        }
        let mut footprint = Footprint::default();
        self.declare(task, &pending.op, &mut footprint);
        Some(Waiting { actor: Actor::Operation(task, pending.seq), since: pending.born, footprint })
    }

    /// Now, as far as anybody wants to know.
    #[inline]
    pub(crate) fn moment(&self) -> Moment {
        let part = self.footprint.as_ref().map_or(0, |footprint| footprint.parts.len() as u32 - 1);
        Moment { step: self.step, part }
    }

    /// Notes that the step under way touches something.
    #[inline]
    pub(crate) fn touch(&mut self, resource: Resource, access: Access) {
        if let Some(footprint) = &mut self.footprint
            && !self.off
        {
            footprint.add(resource, access);
        }
    }

    /// A task is polled: what is touched from here on, it touches.
    #[inline(always)]
    pub(crate) fn begin_part(&mut self, task: TaskId) {
        if self.footprint.is_some() {
            self.add_part(task);
        }
    }

    fn add_part(&mut self, task: TaskId) {
        if let Some(footprint) = &mut self.footprint {
            let (step, causes) = self.tasks[task as usize].woken_in;
            footprint.parts.push(Some(task));
            footprint.causes.push(if step == self.step { causes } else { 0 });
        }
    }

    /// A task is woken by what is done now.
    #[inline]
    pub(crate) fn note_cause(&mut self, task: TaskId) {
        if let Some(footprint) = &self.footprint {
            let part = 1 << (footprint.parts.len() - 1).min(63);
            let (step, causes) = &mut self.tasks[task as usize].woken_in;
            *causes = if *step == self.step { *causes | part } else { part };
            *step = self.step;
        }
    }

    /// How a task looks whether something that it waits for has ended. If it has, the task does not begin what it would have waited for
    /// beside that (`select`), and nobody sees that it would have. So the order is taken to matter until the task has been seen to wait
    /// there for nothing else, after the same operations with the same results.
    pub(crate) fn access_of_end(&self, task: TaskId, has_ended: bool) -> Access {
        let Task { pid, birth, announced, told, .. } = self.tasks[task as usize];
        let waits_alone = || self.waits_alone.contains(&(pid, birth, announced, told));
        if !has_ended || self.footprint.is_none() || waits_alone() { Access::Await } else { Access::Found }
    }

    /// An operation of a task has come to its end: to what, and whether it waited for an end and for nothing else.
    #[inline]
    pub(crate) fn note_how_it_waited(&mut self, task: TaskId, id: OpId) {
        if !self.notes_results() {
            return;
        }
        let Some(Pending { op, seq, outcome, .. }) = self.pending(id) else { return };
        let outcome = hash(outcome);
        let (first, group) = match *op {
            Op::Join { group: 0, .. } | Op::Wait { .. } => (*seq, None),
            Op::Join { group, .. } => (group - 1, Some(group)),
            _ => return self.note_what_was_told(task, outcome),
        };
        let belongs = |other: OpId| match self.pending(other) {
            Some(&Pending { op: Op::Join { group: other, .. }, .. }) if group.is_some() => Some(other) == group,
            _ => other == id,
        };
        if self.ops_of(task).all(belongs) {
            let Task { pid, birth, told, .. } = self.tasks[task as usize];
            self.waits_alone.insert((pid, birth, first, told));
        }
        // In which order those of a group have ended it is not told.
        if group.is_none() {
            self.note_what_was_told(task, outcome);
        }
    }

    /// An operation of a task has come to what has that hash.
    fn note_what_was_told(&mut self, task: TaskId, outcome: u64) {
        let told = &mut self.tasks[task as usize].told;
        *told = mix(*told, outcome);
    }

    /// The same of one that was done at its announcement.
    pub(crate) fn note_what_was_found(&mut self, task: TaskId, ret: &Ret) {
        if self.notes_results() {
            self.note_what_was_told(task, hash(&Outcome::Ok(ret.clone())));
        }
    }

    /// Whether somebody asks what steps touch, or will later in this execution: a search that remembers asks from its last node on.
    pub(crate) fn notes_results(&self) -> bool {
        self.footprint.is_some() || self.remember
    }

    /// Before a choice is taken: what it touches by itself.
    pub(crate) fn touch_by(&mut self, choice: Choice) {
        if self.footprint.is_some() {
            self.footprint = Some(self.footprint_of(choice));
        }
    }

    /// What a choice touches by itself.
    pub(crate) fn footprint_of(&self, choice: Choice) -> Footprint {
        let mut footprint = Footprint::default();
        match choice {
            Choice::Act(id) => {
                let pending = &self.ops[id.slot as usize];
                match pending.owner {
                    Owner::Task(task) => {
                        self.declare(task, &pending.op, &mut footprint);
                        if self.due.contains(&id) {
                            footprint.add(Resource::All, Access::Write);
                        }
                    }
                    Owner::Process(pid) => {
                        footprint.add(Resource::Life(pid), Access::Write);
                        self.declare_process(pid, &mut footprint);
                        if let Op::Exec { child } = pending.op
                            && let Some(parent) = self.kernel.parent_of(child)
                        {
                            footprint.add(Resource::Table(parent), Access::Write);
                            let launch = self.hosts[child as usize].launch.as_ref();
                            let directory = launch.and_then(|(command, ..)| command.current_dir.as_deref());
                            directory.into_iter().for_each(|dir| self.declare_entering(child, dir, &mut footprint));
                        }
                    }
                }
            }
            Choice::Resume(task) => footprint = Footprint::of_resumption(task, self.tasks[task as usize].pid),
            Choice::Kill(pid) => {
                footprint.add(Resource::Faults, Access::Write);
                footprint.add(Resource::Life(pid), Access::Write);
                self.declare_process(pid, &mut footprint);
            }
            Choice::Cancel(task) => {
                let pid = self.tasks[task as usize].pid;
                footprint.add(Resource::Faults, Access::Write);
                footprint.add(Resource::Task(task), Access::Write);
                footprint.add(Resource::Life(pid), Access::Read);
            }
            Choice::Lose(ofd) => {
                footprint.add(Resource::Faults, Access::Write);
                footprint.add(Resource::Description(ofd), Access::Write);
                footprint.add(Resource::Lock(self.kernel.inode_described(ofd)), Access::Write);
            }
            Choice::Expire(id) => {
                footprint.add(Resource::Faults, Access::Write);
                if self.dials.matter().clock {
                    footprint.add(Resource::Clock, Access::Write);
                }
                if let Owner::Task(task) = self.ops[id.slot as usize].owner {
                    footprint.add(Resource::Task(task), Access::Write);
                    footprint.add(Resource::Life(self.tasks[task as usize].pid), Access::Read);
                }
            }
        }
        footprint
    }

    /// Something is done because of which others may tell of an event of these kinds.
    #[inline]
    pub(crate) fn touch_whoever_hears_of(&mut self, kind: Kinds) {
        if self.footprint.is_some() {
            self.touch_oracles(kind);
        }
    }

    /// An event of these kinds was told: whoever remembers it is touched.
    #[cold]
    fn touch_oracles(&mut self, kind: Kinds) {
        // Who looks at one half may look at what the other one has changed: how many are open.
        let halves = [Kinds::DESCRIPTORS, Kinds::TASKS, Kinds::LIVES];
        let kind = halves.into_iter().filter(|whole| whole.meets(kind)).fold(kind, |kind, whole| kind | whole);
        for at in 0..self.judges.all.len() {
            if self.judges.all[at].kinds.meets(kind) {
                self.touch(Resource::Oracle(at as u32), Access::Write);
            }
        }
    }
}

impl Standing for State {
    fn offered(&self) -> Vec<Actor> {
        (0..self.choice_count()).map(|at| self.actor(self.choice(at))).collect()
    }
    fn since(&self, at: usize) -> Moment {
        match self.choice(at) {
            Choice::Act(id) => self.ops[id.slot as usize].born,
            Choice::Resume(task) => self.tasks[task as usize].in_line_since,
            Choice::Expire(_) | Choice::Kill(_) | Choice::Cancel(_) | Choice::Lose(_) => Moment::default(),
        }
    }
    fn faults(&self) -> Vec<(Actor, Footprint)> {
        let fault = |&choice: &Choice| (self.actor(choice), self.footprint_of(choice));
        self.fault_choices.iter().map(fault).collect()
    }
    fn is_at_rest(&self) -> bool {
        !self.due.is_empty()
    }
    fn has_choice(&self, actor: Actor) -> bool {
        match actor {
            Actor::Operation(task, seq) => self
                .ops_of(task)
                .any(|id| self.pending(id).is_some_and(|p| p.seq == seq && p.stage == Stage::Announced)),
            Actor::Resume(task) => self.tasks[task as usize].phase == Phase::Ready,
            _ => true,
        }
    }
    fn blocked(&self) -> Vec<Waiting> {
        let waits = |pending: &&Pending| pending.place.is_none();
        let operations = self.ops.iter().filter(waits).filter_map(|pending| self.announced(pending));
        let in_line = (0..).zip(self.tasks.iter()).filter(|(_, task)| task.phase == Phase::Ready);
        operations.chain(in_line.map(|(id, _)| self.resumption(id))).collect()
    }
    fn footprint(&self) -> &Footprint {
        self.footprint.as_ref().expect("it is being watched")
    }
}
