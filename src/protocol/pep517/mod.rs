//! Building wheels as PEP 517 has it: the recipes that [`build_all`](super::build_all) is given.
//!
//! A [`Wheel`] takes three steps, each of which holds nothing while it asks for what the next one needs:
//!
//! 1. an environment with `build-system.requires`, which is a result of its own: made once, by whoever comes first, and shared;
//! 2. the hook `get_requires_for_build_wheel`, whose answer is a result as well, and then an environment with all of it;
//! 3. the hook `build_wheel`, under the shard of the wheel.
//!
//! Hooks of setuptools-like backends run under the lock of the source tree, and so does the *second* step: what asks for the
//! requirements writes `*.egg-info` just as the build does (uv PR 14174). Hooks of other backends need no such lock, and an unpacked
//! archive is a copy of each hook's own.
//!
//! Without isolation a wheel is the third step alone, with the packages that the interpreter has.

mod build_system;
mod environment;
mod failure;
mod hook;
mod interpreter;
mod requirements;
mod source;
mod wheel;

pub use build_system::BuildSystem;
pub use failure::Failure;
pub use interpreter::Interpreter;
pub use source::Source;
pub use wheel::{Needs, Wheel};

use super::{Result, Work};
use crate::world::World;
use std::sync::Arc;

/// Told in a sentence what is begun that takes long and is none of the inputs.
pub type OnSlow = Arc<dyn Fn(&str) + Send + Sync>;

/// What all builds of a run have in common.
pub struct Toolchain {
    /// What to build with.
    pub python: Interpreter,
    /// Whether each build gets an environment with what it requires, instead of what `python` has.
    pub isolated: bool,
    /// Whether everything is built again, and for nobody else.
    pub rebuild: bool,
    /// Absolute paths that are no sources even if they are in a source tree, such as where the wheels go.
    pub not_sources: Vec<String>,
    /// Told when a build environment is made.
    pub on_slow: Option<OnSlow>,
}

/// A directory for what must not be in the result, beside it as long as the build goes on. Whoever makes it removes it at the end; after
/// an error it goes with the rest of the build.
async fn make_scratch<W: World>(world: &W, work: &Work<'_, W>) -> Result<String> {
    let scratch = format!("{}/.scratch", work.dir());
    world.mkdir(&scratch).await?;
    Ok(scratch)
}
