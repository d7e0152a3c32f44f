//! Scenarios.

fn main() {}
