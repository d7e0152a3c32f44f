//! The tests of the library, one binary: proptest then keeps its seeds in the top-level `proptest-regressions/`.

mod engines;
mod executor_model;
mod protocol;
