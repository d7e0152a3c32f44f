//! One build of a key at a time, one published, and everybody who wanted it gets it.
//!
//! The scar: setuptools is not safe to run twice on one source, and eight processes that start together on one sdist do just that
//! (uv, PR 3525). The answer was a lock per cache shard, under which one builds and the others wait and *reuse*; a lock that is taken
//! too late, or a cache that is not looked at again once the lock is granted, builds twice all the same, only more slowly.
//!
//! The protocol says what it does in remarks: region `build` around a build, notes `published` and `reused` with the key, `wanted` when it
//! starts on a key, and `removed` if somebody takes a published key out of the cache.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Oracle, Violation, ViolationKind, state_of};
use crate::sim::{KernelView, Renamed};
use crate::world::{Event, Kinds, Status, What};

/// See the [module documentation](self).
#[derive(Debug, Default)]
pub struct Builds {
    served: bool,
    /// By number: key, process, and for the report who began it when.
    under_way: BTreeMap<u64, (Arc<str>, u32, String)>,
    /// By key, who published it when.
    published: BTreeMap<Arc<str>, String>,
    wanted: BTreeSet<(u32, Arc<str>)>,
    judged: u64,
}

impl Builds {
    /// Builds of a key never overlap, and at most one of them is published. One whose process died before it published does not
    /// count.
    pub fn once() -> Self {
        Builds::default()
    }

    /// And each process that noted `wanted` notes `published` or `reused` for that key before it ends by itself.
    pub fn all_served(self) -> Self {
        Builds { served: true, ..self }
    }
}

impl Oracle for Builds {
    fn name(&self) -> &str {
        "one build of a key"
    }
    fn kinds(&self) -> Kinds {
        if self.served { Kinds::REMARKS | Kinds::LIVES } else { Kinds::REMARKS }
    }
    fn begin(&mut self) {
        self.under_way.clear();
        self.published.clear();
        self.wanted.clear();
    }
    fn on(&mut self, event: &Event, kernel: &KernelView<'_>) -> Result<(), Violation> {
        let wrong = |text: String| Err(Violation::new(ViolationKind::DuplicateBuild, text));
        let who = || format!("{} at step {}", kernel.who(event), event.step);
        match &event.what {
            What::Entered { kind: "build", subject, region } => {
                self.judged += 1;
                let other = self.under_way.values().find(|(key, ..)| key == subject);
                if let Some((.., other)) = other {
                    return wrong(format!("{subject} is built twice at once: by {other}, and by {}", who()));
                }
                self.under_way.insert(*region, (subject.clone(), event.process, who()));
            }
            What::Left { kind: "build", region, .. } => drop(self.under_way.remove(region)),
            What::Note { kind: "wanted", subject } => drop(self.wanted.insert((event.process, subject.clone()))),
            What::Note { kind: "removed", subject } => drop(self.published.remove(subject)),
            What::Note { kind: kind @ ("published" | "reused"), subject } => {
                self.judged += 1;
                self.wanted.remove(&(event.process, subject.clone()));
                if *kind == "published"
                    && let Some(other) = self.published.insert(subject.clone(), who())
                {
                    return wrong(format!("{subject} is built and published twice: by {other}, and by {}", who()));
                }
            }
            What::Ending { status: Status::Exited(_) } if self.served => {
                let left = self.wanted.iter().find(|(process, _)| *process == event.process);
                if let Some((_, key)) = left {
                    return wrong(format!("{} wanted {key} and ends without it", kernel.who(event)));
                }
            }
            _ => {}
        }
        Ok(())
    }
    fn state(&self) -> Option<u64> {
        self.state_as(&Renamed::default())
    }
    fn state_as(&self, names: &Renamed<'_>) -> Option<u64> {
        let named = |(key, process): (_, u32)| (names.path(key), names.process(process));
        let mut under_way: Vec<_> = self.under_way.values().map(|(key, process, _)| named((key, *process))).collect();
        let mut published: Vec<_> = self.published.keys().map(|key| names.path(key)).collect();
        let mut wanted: Vec<_> = self.wanted.iter().map(|(process, key)| named((key, *process))).collect();
        under_way.sort_unstable();
        published.sort_unstable();
        wanted.sort_unstable();
        state_of((under_way, published, wanted))
    }
    fn judged(&self) -> u64 {
        self.judged
    }
}
