//! Tests of the whole: each module is about one promise.

mod run_build;
