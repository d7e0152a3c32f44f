//! The lock protocol of a build cache.

pub mod key;
pub mod pep517;
