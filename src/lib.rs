//! Deterministic concurrency simulation of file-lock protocols.

pub mod os;
pub mod world;
