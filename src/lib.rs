//! Deterministic concurrency simulation of file-lock protocols.

pub mod protocol;
pub mod world;
