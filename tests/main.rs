//! Tests of what belongs to no single module.

mod protocol;
