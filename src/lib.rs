//! Deterministic concurrency simulation of file-lock protocols.

pub mod os;
pub mod protocol;
pub mod world;
