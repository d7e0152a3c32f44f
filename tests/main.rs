//! The tests of the library, one binary: proptest then keeps its seeds in the top-level `proptest-regressions/`.

mod executor_model;
mod exploration;
mod oracles;
mod protocol;
mod protocol_in_simulation;
