//! What sets the historic protocols apart from the sound one: the decisions, each in one place.
//!
//! A historic policy is *this* code with one decision taken as somebody once took it. So what the exploration says of it is about that
//! decision and nothing else, and the same failure can be watched on the real filesystem: `flockstep run build --policy SCENARIO/NAME`.
//!
//! Each decision is an enum; its `Default` is the sound choice. The protocol asks for a decision where it matters and nowhere else: what
//! depends on it is a method here, called in one place each. A new historic policy is a variant, a name in [`HISTORIC`], and a scenario
//! in `sims` that says what breaks.

use super::budget::{BUILD, Budget, CHILD, FILE};
use super::tree::Tree;
use crate::world::World;

/// All decisions. The default is the sound protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Discipline {
    /// When the permit is asked for that limits how many builds there are at once.
    pub permits: Permits,
    /// What the lock of a shard covers.
    pub scope: Scope,
    /// What is locked while a hook writes into a source tree.
    pub tree: TreeLock,
    /// What becomes of the locks of a build when its process dies and its hook lives on.
    pub hooks: Hooks,
    /// How many interpreters compile bytecode at once.
    pub workers: Workers,
    /// How a tree is removed.
    pub removal: Removal,
}

/// When a build asks for its permit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Permits {
    /// Before anything is opened, once for a task and all that it obtains: the builds that a build requires borrow it. There are no
    /// more tasks than permits. The permit weighs all descriptors that the task may ever have.
    #[default]
    BeforeLock,
    /// After the lock of the shard, by one of as many tasks as there are inputs: each input has its lock open long before it may build
    /// (uv 17512, from 0.10.12 on).
    AfterLock,
    /// Never: the limit on concurrent builds was one per build, so it limited nothing. Besides its lock, each input has a child with
    /// three descriptors (uv 11296; every uv up to 0.10.0).
    PerBuild,
    /// Before the lock, by every build: also by one that another build requires and that holds on to its own meanwhile. This is
    /// "limit concurrency earlier", the first thing that comes to mind against [`AfterLock`](Self::AfterLock) (proposed in uv 17512).
    EveryBuild,
}

/// How many interpreters compile bytecode at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Workers {
    /// As many as were asked for, if the descriptor budget has room for them.
    #[default]
    WithinBudget,
    /// As many as were asked for, whatever the limit on open files (uv 11296: one for each processor).
    AsAskedFor,
}

impl Workers {
    /// How many tasks there are, and what the permit of each weighs.
    pub(super) fn at_once<W: World>(self, asked: u32, budget: &Budget<W>) -> (u32, u32) {
        match self {
            Workers::WithinBudget => (asked.clamp(1, budget.fits(CHILD)), CHILD),
            Workers::AsAskedFor => (asked, 0),
        }
    }
}

/// How trees are removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Removal {
    /// By name: a directory is listed and closed before anything in it is removed; no more trees at once than there are permits.
    #[default]
    ByName,
    /// By a recursion that keeps each directory open while it removes what is in it, and all trees at once (uv 16999).
    HeldOpen,
}

impl Removal {
    /// How many tasks there are for that many trees, and what the permit of each weighs.
    pub(super) fn at_once<W: World>(self, trees: usize, asked: u32, budget: &Budget<W>) -> (usize, u32) {
        match self {
            Removal::ByName => (trees.min(asked.clamp(1, budget.fits(FILE)) as usize), FILE),
            Removal::HeldOpen => (trees, 0),
        }
    }
}

/// The moments at which a permit may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// A task begins, and holds nothing.
    Task,
    /// It was seen that something must be built, and what that requires has not been obtained.
    Build,
    /// The shard of what must be built is locked, and nobody has built it meanwhile.
    Locked,
}

impl Permits {
    pub(super) fn are_asked_for_at(self, moment: Moment) -> bool {
        let when = match self {
            Permits::BeforeLock => Some(Moment::Task),
            Permits::AfterLock => Some(Moment::Locked),
            Permits::PerBuild => None,
            Permits::EveryBuild => Some(Moment::Build),
        };
        when == Some(moment)
    }

    /// What a permit weighs, if so many may build at once. The historic ones were counted: they weigh an equal share of everything.
    pub(super) fn weight<W: World>(self, builds: u32, budget: &Budget<W>) -> u32 {
        match self {
            Permits::BeforeLock => BUILD,
            Permits::AfterLock | Permits::PerBuild | Permits::EveryBuild => budget.share(builds),
        }
    }

    /// How many tasks work on that many inputs, if so many of them may build at once.
    pub(super) fn tasks(self, inputs: usize, builds: usize) -> usize {
        match self {
            Permits::BeforeLock => builds.min(inputs),
            Permits::AfterLock | Permits::PerBuild | Permits::EveryBuild => inputs,
        }
    }
}

/// What the lock of a shard covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The whole build, if whoever waits can reuse the result; otherwise the publish alone.
    #[default]
    ByReuse,
    /// The whole build, also if nobody can reuse the result: two forced rebuilds wait for one another for nothing (uv 15380).
    WholeBuild,
    /// The publish alone, also if others could reuse the result: they build it as well, at the same time (proposed in uv 15380).
    PublishOnly,
}

impl Scope {
    pub(super) fn covers_the_build(self, reusable: bool) -> bool {
        match self {
            Scope::ByReuse => reusable,
            Scope::WholeBuild => true,
            Scope::PublishOnly => false,
        }
    }
}

/// What is locked while a hook runs that writes into a source tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TreeLock {
    /// The tree, by every hook.
    #[default]
    EveryHook,
    /// Nothing (uv up to 0.7.10).
    Nothing,
    /// The output directory, while it is built into: two that build one tree into two directories do not meet (uv PR 14174).
    OutputDir,
    /// The tree, by the hook that builds; the one that asks for requirements writes into the tree as well (uv PR 14174).
    BuildHook,
}

impl TreeLock {
    /// What is locked for a hook in that tree that builds into `output`, if it builds.
    pub(super) fn place<'p>(self, tree: Tree<'p>, output: &'p str) -> Option<&'p str> {
        match self {
            TreeLock::EveryHook => Some(tree.path),
            TreeLock::Nothing => None,
            TreeLock::OutputDir => tree.builds.then_some(output),
            TreeLock::BuildHook => tree.builds.then_some(tree.path),
        }
    }
}

/// Which locks a hook has that outlives its parent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Hooks {
    /// Those that it works under: it inherits their descriptors.
    #[default]
    Inherit,
    /// None: all descriptors are close-on-exec, as they are by default nearly everywhere.
    CloseOnExec,
}

/// A historic policy by its name, as `SCENARIO/NAME`, and the decision that it takes otherwise.
pub type Historic = (&'static str, fn(&mut Discipline));

/// The historic policies that there are for real, in the order of the scenarios.
pub const HISTORIC: &[Historic] = &[
    ("descriptors/lock-before-permit", |discipline| discipline.permits = Permits::AfterLock),
    ("descriptors/per-build-limit", |discipline| discipline.permits = Permits::PerBuild),
    ("nested-builds/limit-earlier", |discipline| discipline.permits = Permits::EveryBuild),
    ("lock-scope/whole-build", |discipline| discipline.scope = Scope::WholeBuild),
    // With the publish alone locked, nothing else was: the tree had been safe under the lock of its shard.
    ("lock-scope/publish-only", |discipline| {
        (discipline.scope, discipline.tree) = (Scope::PublishOnly, TreeLock::Nothing);
    }),
    ("source-tree/none", |discipline| discipline.tree = TreeLock::Nothing),
    ("source-tree/output-dir-lock", |discipline| discipline.tree = TreeLock::OutputDir),
    ("source-tree/build-hook-only", |discipline| discipline.tree = TreeLock::BuildHook),
    ("leftovers/close-on-exec", |discipline| discipline.hooks = Hooks::CloseOnExec),
    ("bytecode/unbounded", |discipline| discipline.workers = Workers::AsAskedFor),
    ("python-uninstall/unbounded", |discipline| discipline.removal = Removal::HeldOpen),
];

impl Discipline {
    /// The sound protocol with the decisions of these historic policies; where two take the same one, the last counts.
    ///
    /// # Errors
    /// The first name that is not in [`HISTORIC`].
    pub fn of<'n>(policies: impl IntoIterator<Item = &'n str>) -> Result<Self, &'n str> {
        let mut discipline = Discipline::default();
        for name in policies {
            let (_, decide) = HISTORIC.iter().find(|(known, _)| *known == name).ok_or(name)?;
            decide(&mut discipline);
        }
        Ok(discipline)
    }

    /// Whether the lock order is enforced. The historic policies had none: what comes of that is what their scenarios are to show.
    pub(super) fn is_ordered(self) -> bool {
        self == Discipline::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_historic_policy_decides_otherwise_and_has_a_name_of_its_own() {
        for (index, (name, _)) in HISTORIC.iter().enumerate() {
            assert_ne!(Discipline::of([*name]).unwrap(), Discipline::default(), "{name}");
            assert!(HISTORIC[..index].iter().all(|(other, _)| other != name), "{name} twice");
        }
    }

    #[test]
    fn an_unknown_name_is_given_back() {
        assert_eq!(Discipline::of(["descriptors/lock-before-permit", "sound"]), Err("sound"));
        assert_eq!(Discipline::of([]), Ok(Discipline::default()));
    }
}
