//! What flockstep promises, checked.

mod contract;
#[cfg(feature = "loom")]
mod gauge;
mod os;
