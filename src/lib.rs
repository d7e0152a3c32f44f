//! Deterministic concurrency simulation of file-lock protocols.

pub mod world;
