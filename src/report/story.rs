//! A schedule told step by step.

use super::Columns;
use flockstep::explore::Told;

/// Everything that happened, in aligned columns: step, time where it passes, who, what.
pub(crate) fn story(told: &[Told]) -> String {
    let timed = told.iter().any(|event| !event.at.is_zero());
    let row = |step: String, at: String, who: String, what: String| {
        if timed { vec![step, at, who, what] } else { vec![step, who, what] }
    };
    let mut rows = vec![row("step".into(), "time".into(), "who".into(), "what".into())];
    for Told { step, at, who, what } in told {
        rows.push(row(step.to_string(), format!("{at:?}"), who.clone(), what.clone()));
    }
    let columns = Columns::fitting(if timed { "rrll" } else { "rll" }, rows.iter().map(|row| &row[..]));
    rows.iter().map(|row| columns.line(row) + "\n").collect()
}
