//! Reports: what came out of a check, as a table, as JSON lines, as JUnit; a schedule, step by step;
//! charts.
//!
//! Everything here makes text out of data and leaves it to the command to print it.

mod chart;
mod columns;
mod json;
mod junit;
mod row;
mod story;
mod table;

pub(crate) use chart::{Chart, Line};
pub(crate) use columns::Columns;
pub(crate) use json::JsonLines;
pub(crate) use junit::JUnit;
pub(crate) use row::{Judged, Judgement, Row, size};
pub(crate) use story::story;
pub(crate) use table::Table;

use std::time::Duration;

/// A way to tell rows, as they come and when there are no more.
pub(crate) trait Report {
    /// What stands above the first row.
    fn head(&self) -> String {
        String::new()
    }
    /// A row, as soon as it and all before it are known.
    fn row(&mut self, row: &Row<'_>) -> String;
    /// What stands below the last row.
    fn end(&mut self, elapsed: Duration) -> String;
}

/// Milliseconds are all that is worth saying.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}
