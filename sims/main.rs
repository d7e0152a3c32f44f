//! The scenarios: one file per problem.

fn main() {}
