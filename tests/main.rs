//! The tests of the library, one binary: proptest then keeps its seeds in the top-level `proptest-regressions/`.

mod bounding;
mod campaign;
mod cli;
mod cli_merge;
mod conform;
mod contract;
mod contract_in_simulation;
mod contract_table;
mod dials;
mod differential;
mod engines;
mod executor_model;
mod exploration;
mod forgetting;
#[cfg(feature = "loom")]
mod gauge;
mod ground;
mod livelock;
mod oracles;
mod os;
mod protocol;
mod protocol_in_simulation;
mod random_scenarios;
mod reduction;
mod run_build;
mod sampling;
mod shrink;
#[cfg(feature = "shuttle")]
mod shuttle_dpor;
mod symmetry;
mod workloads;
