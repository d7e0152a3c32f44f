//! Deterministic concurrency simulation of file-lock protocols.

pub mod sim;
pub mod world;
