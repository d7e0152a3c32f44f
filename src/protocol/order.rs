//! The lock order: this file *is* it.
//!
//! Two tasks that take the same two locks in different orders wait for each other for ever: flock(2) has no deadlock detection. Thirteen
//! of the 93 bugs in our catalogue are of that class, and each was found by a user who looked at a hang. A written order that nobody
//! enforces rots at the first refactoring, so every acquisition passes through an [`Order`], which refuses the wrong one *when it is
//! asked for*, on the first run, with nobody else around, in every world, instead of once in a thousand runs when somebody happens to
//! come the other way.
//!
//! # The order, and why each edge
//!
//! ```text
//! cache root → project → environment ┐
//!                        tools       ├→ shard → wheel entry
//!                        pythons     ┘          source tree
//! ```
//!
//! It is the order measured on uv 0.13.9 over fifty commands, which has no cycle between classes, with two corrections below.
//!
//! * **cache root** first: every command holds it shared from its first look into the cache to its last use of a path in it, so that
//!   `clean`, which holds it exclusively and takes nothing after it, never removes what somebody reads.
//! * **project** before the environments: what to install is known only after the project was read (and perhaps rewritten).
//! * **environment, tools, pythons** before the shard: they are the targets that a command fills with what it takes from shards. A
//!   command has one target, so there is no order among them.
//! * **shard** before the **source tree**: the shard is held over a whole build, the tree only while one hook runs. The other way
//!   round, two builds of one tree for different interpreters would queue for the tree even when one of them is a cache hit.
//! * **shard** before the **wheel entry**: a build ends by unpacking its wheel.
//!
//! Where ours is stricter than the measured one:
//!
//! * *No task holds two locks of one level*, so there are no self loops: uv's shard → shard is harmless only as long as its shards
//!   belong to different tasks, and the build of a requirement inside a build ends that. Here a task asks for requirements while it
//!   holds no shard and no tree.
//! * *Nothing is held over a child that may ask for locks itself.* `uv run` keeps the cache root shared while its child runs, and
//!   `uv run uv cache clean` waits for its own ancestor. A command that starts a user's program gives up all its locks first. Build
//!   hooks, which do run under locks, inherit them instead.
//!
//! The historic protocols of [`discipline`](super::discipline) had no such order, and are not held to it.
//!
//! Two kinds of lock have no place in the order because nobody ever waits for them: those of temporary directories
//! ([`temp`](super::temp)), and whatever is only tried for, once.

use super::Error;
use parking_lot::Mutex;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;

/// What a lock protects. See the [module documentation](self) for the order among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rank {
    /// The whole cache: shared by its users, exclusive for `clean`.
    CacheRoot,
    /// A project: `pyproject.toml` and the lock file beside it.
    Project,
    /// A virtual environment.
    Environment,
    /// The installed tools.
    Tools,
    /// The installed Python versions.
    Pythons,
    /// A cache directory with a lock of its own: one result of one build.
    Shard,
    /// The unpacked form of a wheel.
    WheelEntry,
    /// The sources that a hook of a setuptools-like backend writes into.
    SourceTree,
}

impl Rank {
    /// Where it stands: a task may ask for a lock only if its level is above those of all that it holds.
    fn level(self) -> u8 {
        match self {
            Rank::CacheRoot => 0,
            Rank::Project => 1,
            Rank::Environment | Rank::Tools | Rank::Pythons => 2,
            Rank::Shard => 3,
            Rank::WheelEntry | Rank::SourceTree => 4,
        }
    }
}

impl fmt::Display for Rank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rank::CacheRoot => "cache root",
            Rank::Project => "project",
            Rank::Environment => "environment",
            Rank::Tools => "tools",
            Rank::Pythons => "Python installations",
            Rank::Shard => "shard",
            Rank::WheelEntry => "wheel entry",
            Rank::SourceTree => "source tree",
        })
    }
}

/// The place of a lock in the order, and in the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// What the lock protects.
    pub rank: Rank,
    /// Its lock file.
    pub path: Arc<str>,
    /// Where it is asked for.
    pub at: &'static Location<'static>,
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} lock {} ({}:{})", self.rank, self.path, self.at.file(), self.at.line())
    }
}

/// What one task holds, and which keys it is building. Its clones belong to the same task.
#[derive(Clone, Debug, Default)]
pub struct Order(Arc<Mutex<Standing>>);

#[derive(Clone, Debug, Default)]
struct Standing {
    /// Whether nothing is refused.
    lawless: bool,
    held: Vec<Arc<Site>>,
    building: Vec<Arc<str>>,
}

impl Order {
    /// A task that holds nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The order of a task that this one starts and waits for: it begins below all that this one holds, and keeps that standing
    /// whatever this one releases meanwhile.
    pub fn fork(&self) -> Self {
        Order(Arc::new(Mutex::new(self.0.lock().clone())))
    }

    /// The same for a task of a historic protocol: what it holds is known, and nothing is refused.
    pub(super) fn lawless(self) -> Self {
        self.0.lock().lawless = true;
        self
    }

    /// Registers a lock that is about to be asked for; the claim stands until it is dropped.
    ///
    /// # Errors
    /// [`Error::Reentry`] if the task holds that very path: it would wait for itself.
    /// [`Error::OutOfOrder`] if it holds one of the same or a later level.
    #[track_caller]
    pub fn claim(&self, rank: Rank, path: &str) -> Result<Claim, Error> {
        let site = Arc::new(Site { rank, path: path.into(), at: Location::caller() });
        let mut standing = self.0.lock();
        if !standing.lawless {
            if let Some(held) = standing.held.iter().find(|held| held.path == site.path) {
                return Err(Error::Reentry { wanted: site, held: held.clone() });
            }
            if let Some(held) = standing.held.iter().find(|held| held.rank.level() >= rank.level()) {
                return Err(Error::OutOfOrder { wanted: site, held: held.clone() });
            }
        }
        standing.held.push(site.clone());
        Ok(Claim { order: self.clone(), site })
    }

    /// Registers that the task prepares the build of `key`, until that is dropped.
    ///
    /// # Errors
    /// [`Error::Cycle`] if it is preparing that key already: the build requires itself.
    pub fn building(&self, key: &str) -> Result<Building, Error> {
        let mut standing = self.0.lock();
        if let Some(start) = standing.building.iter().position(|other| **other == *key) {
            let cycle = standing.building[start..].iter().map(|key| key.to_string());
            return Err(Error::Cycle { keys: cycle.chain([key.to_owned()]).collect() });
        }
        let key: Arc<str> = key.into();
        standing.building.push(key.clone());
        Ok(Building { order: self.clone(), key })
    }

    /// What the task holds now, in the order of acquisition.
    pub fn held(&self) -> Vec<Arc<Site>> {
        self.0.lock().held.clone()
    }
}

/// The standing of a lock in an [`Order`]; dropping it takes it out.
#[derive(Debug)]
pub struct Claim {
    order: Order,
    site: Arc<Site>,
}

impl Claim {
    /// Which lock, and where it was asked for.
    pub fn site(&self) -> &Arc<Site> {
        &self.site
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.order.0.lock().held.retain(|site| !Arc::ptr_eq(site, &self.site));
    }
}

/// The standing of a build that is being prepared; dropping it takes it out.
#[derive(Debug)]
pub struct Building {
    order: Order,
    key: Arc<str>,
}

impl Drop for Building {
    fn drop(&mut self) {
        self.order.0.lock().building.retain(|key| !Arc::ptr_eq(key, &self.key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Rank; 8] = [
        Rank::CacheRoot,
        Rank::Project,
        Rank::Environment,
        Rank::Tools,
        Rank::Pythons,
        Rank::Shard,
        Rank::WheelEntry,
        Rank::SourceTree,
    ];

    #[test]
    fn a_pair_is_accepted_in_at_most_one_order() {
        for first in ALL {
            for second in ALL {
                let accepted = |a: Rank, b: Rank| {
                    let order = Order::new();
                    let _a = order.claim(a, "/a.lock").unwrap();
                    order.claim(b, "/b.lock").is_ok()
                };
                assert!(!(accepted(first, second) && accepted(second, first)), "{first} and {second}");
                assert_eq!(accepted(first, second), first.level() < second.level());
            }
        }
    }

    #[test]
    fn the_longest_chain_is_accepted() {
        let order = Order::new();
        let chain = [Rank::CacheRoot, Rank::Project, Rank::Environment, Rank::Shard, Rank::SourceTree];
        let claims: Vec<_> =
            chain.into_iter().map(|rank| order.claim(rank, &format!("/{rank}.lock")).unwrap()).collect();
        assert_eq!(order.held().len(), claims.len());
    }

    #[test]
    fn two_shards_are_refused_and_both_sites_named() {
        let order = Order::new();
        let first = line!() + 1;
        let _held = order.claim(Rank::Shard, "/cache/a/.lock").unwrap();
        let error = order.claim(Rank::Shard, "/cache/b/.lock").unwrap_err().to_string();
        for part in [
            "/cache/a/.lock",
            "/cache/b/.lock",
            "shard",
            &format!("order.rs:{first}"),
            &format!("order.rs:{}", first + 1),
        ] {
            assert!(error.contains(part), "{part} is missing in: {error}");
        }
    }

    #[test]
    fn the_same_path_again_is_a_reentry_whatever_its_rank() {
        let order = Order::new();
        let _held = order.claim(Rank::Project, "/p.lock").unwrap();
        assert!(matches!(order.claim(Rank::Shard, "/p.lock"), Err(Error::Reentry { .. })));
    }

    #[test]
    fn a_dropped_claim_makes_room_in_any_order() {
        let order = Order::new();
        let root = order.claim(Rank::CacheRoot, "/c.lock").unwrap();
        let shard = order.claim(Rank::Shard, "/s/.lock").unwrap();
        drop(root);
        assert!(order.claim(Rank::Project, "/p.lock").is_err());
        drop(shard);
        assert!(order.claim(Rank::Project, "/p.lock").is_ok());
    }

    #[test]
    fn a_fork_starts_below_its_parent_and_claims_for_itself() {
        let parent = Order::new();
        let root = parent.claim(Rank::CacheRoot, "/c.lock").unwrap();
        let (left, right) = (parent.fork(), parent.fork());
        let _left = left.claim(Rank::Shard, "/a/.lock").unwrap();
        let _right = right.claim(Rank::Shard, "/b/.lock").unwrap();
        drop(root);
        assert!(matches!(left.fork().claim(Rank::CacheRoot, "/c.lock"), Err(Error::Reentry { .. })));
        assert!(parent.held().is_empty());
    }

    #[test]
    fn a_build_that_requires_itself_is_named_from_its_first_key_on() {
        let order = Order::new();
        let _outer = order.building("app").unwrap();
        let a = order.building("a").unwrap();
        let _b = order.building("b").unwrap();
        let Err(Error::Cycle { keys }) = order.building("a") else { panic!("accepted") };
        assert_eq!(keys, ["a", "b", "a"]);
        drop(a);
        assert!(order.building("a").is_ok());
    }
}
