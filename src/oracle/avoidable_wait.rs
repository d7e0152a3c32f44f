//! Nobody waits for a lock for nothing.
//!
//! The scar: uv locks the shard of an editable over its whole build, so two CI runners with checkouts of their own wait for each other,
//! though neither can use what the other builds (uv 15380: 3 s become 6). And it takes the shard before the permit to build, so whoever
//! wants that shard waits for a permit that somebody else's build has (uv 17512).
//!
//! A wait for a lock **during its holder's build** is avoidable if
//!
//! * the waiter, once granted, does not use what the holder published; or
//! * the holder was itself waiting for a permit meanwhile.
//!
//! Not avoidable is a wait for a publish, of which the holder has its build behind it; for a holder that failed or died, since
//! nobody could know; for a lock that is none of those named, such as that of a source tree that the backend writes into; and one that
//! its waiter gave up.
//!
//! The protocol says what it does in remarks: region `build` around a build, notes `published` and `reused`, and `waiting` with the path of
//! a lock that it queues for in memory. A waiter has not used what it waited for when it builds, publishes or lets go without having
//! noted `reused` under the lock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::kin::{self, Actor};
use super::{Glob, Oracle, Violation, ViolationKind, state_of};
use crate::sim::{KernelView, Renamed};
use crate::world::{Event, Kinds, What};

/// See the [module documentation](self).
#[derive(Debug)]
pub struct AvoidableWait {
    locks: Glob,
    permits: Option<Glob>,
    /// By description.
    held: BTreeMap<u64, Held>,
    /// By whom, and for which path.
    waits: BTreeMap<(Actor, Arc<str>), Wait>,
    /// Who builds, by the number of the region.
    builds: BTreeMap<u64, Actor>,
    /// To which semaphores permits came back in which step: whoever is granted some in the same step has waited for them.
    returned: (u64, BTreeSet<(u32, Arc<str>)>),
    judged: u64,
}

#[derive(Debug)]
struct Held {
    path: Arc<str>,
    by: Actor,
    who: String,
    published: bool,
    /// The build that it has waited for and not used yet.
    owes: Option<Waited>,
}

/// A wait that goes on.
#[derive(Debug, Default)]
struct Wait {
    who: String,
    since: u64,
    /// By description: the builds that went on under the lock meanwhile, and whether the builder waited for a permit.
    builds: BTreeMap<u64, bool>,
    /// One of them that has published.
    published: Option<Waited>,
}

/// A wait for a build that has published.
#[derive(Clone, Debug)]
struct Waited {
    told: String,
    /// Who waited for a permit meanwhile, if he did.
    for_permit: Option<String>,
}

impl AvoidableWait {
    /// Waits for locks on paths of that form.
    pub fn of(locks: impl Into<Glob>) -> Self {
        AvoidableWait {
            locks: locks.into(),
            permits: None,
            held: BTreeMap::new(),
            waits: BTreeMap::new(),
            builds: BTreeMap::new(),
            returned: Default::default(),
            judged: 0,
        }
    }

    /// Semaphores whose names are of that form have the permits to build.
    pub fn permits(self, semaphores: impl Into<Glob>) -> Self {
        AvoidableWait { permits: Some(semaphores.into()), ..self }
    }

    fn begins_to_wait(&mut self, event: &Event, kernel: &KernelView<'_>, path: &Arc<str>) {
        let key = (principal(event, kernel), path.clone());
        let new = || Wait { who: kernel.who(event), since: event.step, ..Wait::default() };
        self.waits.entry(key).or_insert_with(new);
        self.notice_builds();
    }

    /// Writes down for every wait who builds under the lock that it is for.
    fn notice_builds(&mut self) {
        for (&description, held) in self.held.iter().filter(|(_, held)| self.builds.values().any(|by| *by == held.by)) {
            for ((by, path), wait) in &mut self.waits {
                if *path == held.path && *by != held.by {
                    wait.builds.entry(description).or_default();
                }
            }
        }
    }

    /// Whether it is a permit that was waited for: one that comes back goes straight to the first waiter, within the step (contract S2).
    fn is_late_permit(&self, event: &Event, name: &Arc<str>) -> bool {
        self.permits.as_ref().is_some_and(|permits| permits.matches(name))
            && self.returned.0 == event.step
            && self.returned.1.contains(&(event.process, name.clone()))
    }

    /// Somebody has waited for a permit until now, whatever he had locked meanwhile.
    fn waited_for_permit(&mut self, waiter: Actor) {
        for (&description, held) in self.held.iter().filter(|(_, held)| held.by == waiter) {
            for (_, wait) in self.waits.iter_mut().filter(|((by, path), _)| *path == held.path && *by != waiter) {
                wait.builds.insert(description, true);
            }
        }
    }

    fn locked(
        &mut self,
        event: &Event,
        kernel: &KernelView<'_>,
        path: &Arc<str>,
        description: u64,
    ) -> Result<(), Violation> {
        let by = principal(event, kernel);
        let wait = self.waits.remove(&(by, path.clone()));
        self.judged += u64::from(wait.is_some());
        let owes = wait.and_then(|wait| wait.published);
        if let Some(waited) = &owes
            && let Some(holder) = &waited.for_permit
        {
            return Err(wrong(waited, format!("{holder}, which had the lock, was waiting for a permit meanwhile")));
        }
        // A conversion keeps what is known.
        let new = || Held { path: path.clone(), by, who: kernel.who(event), published: false, owes };
        self.held.entry(description).or_insert_with(new);
        Ok(())
    }

    fn unlocked(&mut self, event: &Event, kernel: &KernelView<'_>, description: u64) -> Result<(), Violation> {
        let Some(held) = self.held.remove(&description) else { return Ok(()) };
        for wait in self.waits.values_mut() {
            let Some(for_permit) = wait.builds.remove(&description).filter(|_| held.published) else { continue };
            let told =
                format!("{} waits for {} from step {} on, while {} builds", wait.who, held.path, wait.since, held.who);
            wait.published = Some(Waited { told, for_permit: for_permit.then(|| held.who.clone()) });
        }
        match held.owes {
            None => Ok(()),
            Some(waited) => {
                Err(wrong(&waited, format!("lets go of it at step {} ({})", event.step, kernel.who(event))))
            }
        }
    }

    /// Somebody does what shows that he did not need what he waited for.
    fn goes_without(&mut self, event: &Event, kernel: &KernelView<'_>, what: &str) -> Result<(), Violation> {
        let by = principal(event, kernel);
        let waited = self.held.values().filter(|held| held.by == by).find_map(|held| held.owes.as_ref());
        waited.map_or(Ok(()), |waited| Err(wrong(waited, format!("{what} at step {}", event.step))))
    }

    /// Whoever acts no longer waits.
    fn acts(&mut self, event: &Event, kernel: &KernelView<'_>) {
        let by = principal(event, kernel);
        self.waits.retain(|(waiter, _), _| *waiter != by);
    }
}

/// In whose name it is done in the end: that of a section is its caller.
fn principal(event: &Event, kernel: &KernelView<'_>) -> Actor {
    kin::in_whose_name(event, kernel).last().copied().unwrap_or((event.process, 0))
}

fn wrong(waited: &Waited, instead: String) -> Violation {
    let text = format!("avoidable wait: {}; {instead}", waited.told);
    Violation::new(ViolationKind::AvoidableWait, text)
}

impl Oracle for AvoidableWait {
    fn name(&self) -> &str {
        "no avoidable wait"
    }
    fn kinds(&self) -> Kinds {
        let memory = if self.permits.is_some() { Kinds::MEMORY } else { Kinds::NONE };
        Kinds::LOCKS | Kinds::PROCESSES | Kinds::TASK_ENDS | Kinds::REMARKS | Kinds::OTHER | memory
    }
    fn begin(&mut self) {
        self.held.clear();
        self.waits.clear();
        self.builds.clear();
        self.returned = Default::default();
    }
    fn on(&mut self, event: &Event, kernel: &KernelView<'_>) -> Result<(), Violation> {
        match &event.what {
            What::LockWait { path, .. } | What::Note { kind: "waiting", subject: path } if self.locks.matches(path) => {
                self.begins_to_wait(event, kernel, path);
            }
            What::Lock { path, description, .. } if self.locks.matches(path) => {
                return self.locked(event, kernel, path, *description);
            }
            What::Unlock { description, .. } => return self.unlocked(event, kernel, *description),
            What::Entered { kind: "build", region, .. } => {
                self.acts(event, kernel);
                self.goes_without(event, kernel, "and builds all the same")?;
                self.builds.insert(*region, principal(event, kernel));
                self.notice_builds();
            }
            What::Left { kind: "build", region, .. } => drop(self.builds.remove(region)),
            What::Note { kind: "published", .. } => {
                self.acts(event, kernel);
                self.goes_without(event, kernel, "and publishes a result of its own")?;
                let by = principal(event, kernel);
                self.held.values_mut().filter(|held| held.by == by).for_each(|held| held.published = true);
            }
            What::Note { kind: "reused", .. } => {
                self.acts(event, kernel);
                let by = principal(event, kernel);
                self.held.values_mut().filter(|held| held.by == by).for_each(|held| held.owes = None);
            }
            What::TimedOut => self.acts(event, kernel),
            What::TaskEnded { .. } => {
                let by = kin::actor(event, kernel);
                self.waits.retain(|(waiter, _), _| *waiter != by);
            }
            What::Ending { .. } => {
                self.waits.retain(|((process, _), _), _| *process != event.process);
                let own = self.held.values_mut().filter(|held| held.by.0 == event.process);
                own.for_each(|held| held.owes = None);
            }
            What::Released { name, .. } => {
                if self.returned.0 != event.step {
                    self.returned = (event.step, BTreeSet::new());
                }
                self.returned.1.insert((event.process, name.clone()));
            }
            What::Acquired { name, .. } if self.is_late_permit(event, name) => {
                self.waited_for_permit(principal(event, kernel));
            }
            _ => {}
        }
        Ok(())
    }
    fn state(&self) -> Option<u64> {
        self.state_as(&Renamed::default())
    }
    fn state_as(&self, names: &Renamed<'_>) -> Option<u64> {
        let for_permit = |waited: &Option<Waited>| waited.as_ref().map(|waited| waited.for_permit.is_some());
        let held = self.held.iter().map(|(&at, held)| {
            (
                names.description(at),
                names.path(&held.path),
                names.actor(held.by),
                held.published,
                for_permit(&held.owes),
            )
        });
        let waits = self.waits.iter().map(|((by, path), wait)| {
            let builds = wait.builds.iter().map(|(&at, waited)| (names.description(at), *waited));
            let mut builds: Vec<_> = builds.collect();
            builds.sort_unstable();
            (names.actor(*by), names.path(path), builds, for_permit(&wait.published))
        });
        let (mut held, mut waits): (Vec<_>, Vec<_>) = (held.collect(), waits.collect());
        // Regions are numbered in the order of entering, which is no matter; what came back in a step is forgotten in the next.
        let mut builds: Vec<_> = self.builds.values().map(|by| names.actor(*by)).collect();
        held.sort_unstable();
        waits.sort_unstable();
        builds.sort_unstable();
        state_of((held, waits, builds))
    }
    fn judged(&self) -> u64 {
        self.judged
    }
}
