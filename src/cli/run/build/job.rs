//! What the processes of one `run build` tell each other: a job to each, and lines back.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What one process has to do: build every input, or take it from the cache. All paths are absolute.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Job {
    /// Source trees and archives, without symbolic links; what is missing is noticed by who looks for it.
    pub(super) inputs: Vec<String>,
    /// With which input this process begins; it goes round.
    pub(super) offset: usize,
    /// The shared cache.
    pub(super) cache: String,
    /// The user's temporary directory, for the locks of source trees.
    pub(super) temp_dir: String,
    /// Where wheels are put; they stay in the cache if absent.
    pub(super) out: Option<String>,
    /// Builds at once.
    pub(super) jobs: u32,
    /// The interpreter.
    pub(super) python: String,
    /// Whether each build gets an environment of its own.
    pub(super) isolated: bool,
    /// Whether every input is built even if the cache has it.
    pub(super) rebuild: bool,
    /// Historic policies, by name.
    pub(super) policies: Vec<String>,
    /// How long to wait for a lock.
    pub(super) lock_timeout: Option<Duration>,
}

/// What became of an input in one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    /// It was built.
    Built,
    /// It was in the cache, or another process built it meanwhile.
    Reused,
    /// Neither was possible.
    Failed,
}

/// What a process says, one line each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "line")]
pub(super) enum Line {
    /// It could begin now.
    Ready,
    /// It cannot do anything at all, for that reason.
    Refused { text: String },
    /// It does something that takes long and is none of the inputs.
    Slow { text: String },
    /// It waits for a lock that another process holds.
    Waiting { path: String },
    /// An input is done.
    Done {
        /// Which, by its place in [`Job::inputs`].
        input: usize,
        outcome: Outcome,
        /// From when it was begun to now.
        seconds: f64,
        /// The wheel, or why there is none.
        text: String,
    },
    /// Everything is done; these were the peaks.
    End { descriptors: u32, locks: u32 },
}
