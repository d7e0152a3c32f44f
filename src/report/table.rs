//! The table for people.

use super::{Columns, Judged, Judgement, Report, Row};
use anstyle::{AnsiColor, Style};
use flockstep::explore::Orders;
use flockstep::scenario::{Case, Policy};
use indicatif::HumanCount;
use std::time::Duration;

const HEAD: [&str; 12] = [
    "",
    "scenario/policy",
    "engine",
    "expected",
    "verdict",
    "cases",
    "executions",
    "exhaustive",
    "fds",
    "locks",
    "blocked",
    "seconds",
];

/// A line for each row, and below it what was violated and what is not as expected.
pub(crate) struct Table {
    columns: Columns,
    /// The whole report of each violation, as for a policy that was asked for by name.
    detailed: bool,
    judgements: Vec<Judgement>,
}

impl Table {
    /// A table with room for these policies and engines.
    pub(crate) fn new(policies: &[&Policy], engines: &[&str], detailed: bool) -> Self {
        let wide = |name: String, engine: &str| {
            let cells = ["ok", &name, engine, "violated", "inconclusive", "", "10,000,000", "", "", "", "", "1000.00"];
            cells.map(str::to_owned)
        };
        let mut rows = vec![HEAD.map(str::to_owned)];
        rows.extend(policies.iter().map(|policy| wide(policy.full_name(), "")));
        rows.extend(engines.iter().map(|engine| wide(String::new(), engine)));
        let columns = Columns::fitting("lllllrrlrrrr", rows.iter().map(|row| &row[..]));
        Table { columns, detailed, judgements: Vec::new() }
    }
}

impl Report for Table {
    fn head(&self) -> String {
        let bold = Style::new().bold();
        format!("{bold}{}  sizes{bold:#}\n", self.columns.line(&HEAD.map(str::to_owned)))
    }

    fn row(&mut self, row: &Row<'_>) -> String {
        let judgement = row.judgement();
        self.judgements.push(judgement);
        let peaks = row.peaks();
        let exhaustive = match (row.verdict(), row.exhaustive(), row.bound()) {
            ("violated", ..) => "-".to_owned(),
            (_, true, _) => "yes".to_owned(),
            (_, false, Some(bound)) => format!("up to {bound}"),
            (_, false, None) => "no".to_owned(),
        };
        let cells = [
            mark(judgement).to_owned(),
            row.policy.full_name(),
            row.engine.to_owned(),
            row.policy.expected().word().to_owned(),
            row.verdict().to_owned(),
            row.cases.len().to_string(),
            HumanCount(row.executions()).to_string(),
            exhaustive,
            peaks.descriptors.to_string(),
            peaks.locks.to_string(),
            peaks.workers_blocked.to_string(),
            format!("{:.2}", row.elapsed().as_secs_f64()),
        ];
        let sizes = sizes(row.cases.iter().map(|judged| judged.case));
        let mut text = styled(judgement, &format!("{}  {sizes}", self.columns.line(&cells)));
        text += &makespans(row);
        if row.coverage {
            text += &coverage(&row.orders(), self.detailed);
        }
        text += &violation(row);
        for judged in &row.cases {
            match judged.complaint() {
                Some(complaint) => text += &styled(judged.judgement(), &format!("    {}: {complaint}", judged.size())),
                None if self.detailed => text += &case_line(judged),
                None => {}
            }
        }
        if self.detailed
            && let Some(report) = row.violated().and_then(Judged::report)
        {
            text += &format!("\n{report}\n");
        }
        text
    }

    fn end(&mut self, elapsed: Duration) -> String {
        let all = self.judgements.len();
        let count = |judgement| self.judgements.iter().filter(|found| **found == judgement).count();
        let mut text = format!("{} of {all} rows are as expected", count(Judgement::Expected));
        for (judgement, word) in [(Judgement::Unexpected, "not as expected"), (Judgement::Inconclusive, "inconclusive")]
        {
            if count(judgement) > 0 {
                text += &format!(", {} {word}", count(judgement));
            }
        }
        let worst = self.judgements.iter().copied().max().unwrap_or_default();
        styled(worst, &format!("{text} ({:.1} s)", elapsed.as_secs_f64()))
    }
}

/// How long each case takes where durations mean what they say; of what is violated, nobody knows.
fn makespans(row: &Row<'_>) -> String {
    let timed = row.cases.iter().filter(|judged| judged.failure().is_none());
    let told = timed
        .filter_map(|judged| Some(format!("{} s at {}", judged.exploration.makespan?.as_secs_f64(), judged.size())));
    let told: Vec<String> = told.collect();
    if told.is_empty() { String::new() } else { format!("    makespan {}\n", told.join("; ")) }
}

/// Which pairs of operations met in which orders; those that did so in one order only, of a policy that was asked for by name.
fn coverage(orders: &Orders<'_>, detailed: bool) -> String {
    let Orders { classes, alike, both, one } = orders;
    let pairs = both + one.len();
    let mut text = format!(
        "    coverage: {both} of {pairs} pairs of different operations met in both orders, \
         {alike} operations met their like, at {classes} classes of resources\n"
    );
    for pair in one.iter().filter(|_| detailed) {
        text += &format!("      only {} before {} at {}\n", pair.before, pair.after, pair.class);
    }
    text
}

/// What the most important violation of a row is, and how to see it again.
fn violation(row: &Row<'_>) -> String {
    let Some((judged, failure)) = row.violated().and_then(|judged| Some((judged, judged.failure()?))) else {
        return String::new();
    };
    let kind = &failure.violation.kind;
    let told = format!("    {kind} at {}: {}\n", judged.size(), failure.violation.summary);
    match &judged.key {
        Some(key) => format!("{told}    flockstep replay {key}\n"),
        None => told,
    }
}

/// A case that is as expected, of a policy that was asked for by name.
fn case_line(judged: &Judged<'_>) -> String {
    let (size, exploration) = (judged.size(), &judged.exploration);
    let kind = judged.failure().map(|failure| format!(" ({})", failure.violation.kind)).unwrap_or_default();
    let all = match exploration.bound {
        _ if super::row::exhaustive(exploration) => ", all there are".to_owned(),
        Some(bound) if judged.failure().is_none() => {
            format!(", all within a bound of {bound} on preemptions and faults")
        }
        _ => String::new(),
    };
    let executions = match exploration.executions {
        1 => "1 execution".to_owned(),
        n => format!("{} executions", HumanCount(n)),
    };
    format!("    {size}: {}{kind}, {executions}{all}\n", exploration.verdict.word())
}

/// What the cases vary, from the least to the most: `workers=1..3,tasks=2`.
fn sizes<'c>(cases: impl Iterator<Item = &'c Case>) -> String {
    let mut ranges: Vec<(&str, u64, u64)> = Vec::new();
    for &(what, n) in cases.flat_map(|case| &case.size) {
        match ranges.iter_mut().find(|(known, ..)| *known == what) {
            Some((_, least, most)) => (*least, *most) = (n.min(*least), n.max(*most)),
            None => ranges.push((what, n, n)),
        }
    }
    let each =
        ranges.iter().map(
            |(what, least, most)| {
                if least == most { format!("{what}={least}") } else { format!("{what}={least}..{most}") }
            },
        );
    each.collect::<Vec<String>>().join(",")
}

fn mark(judgement: Judgement) -> &'static str {
    match judgement {
        Judgement::Expected => "ok",
        Judgement::Inconclusive => "??",
        Judgement::Unexpected => "!!",
    }
}

/// A line in the colour of its judgement.
fn styled(judgement: Judgement, line: &str) -> String {
    let colour = match judgement {
        Judgement::Expected => AnsiColor::Green,
        Judgement::Inconclusive => AnsiColor::Yellow,
        Judgement::Unexpected => AnsiColor::Red,
    };
    let style = Style::new().fg_color(Some(colour.into()));
    format!("{style}{}{style:#}\n", line.trim_end())
}
