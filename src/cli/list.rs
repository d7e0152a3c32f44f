//! `flockstep list`: what there is to check.

use super::Exit;
use crate::report::{Columns, size};
use anstyle::Style;
use clap::{Args, ValueEnum};
use flockstep::scenario::{Case, Policy};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write as _;

/// The arguments of `list`.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// How to tell it.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For reading.
    Text,
    /// One JSON object a line, for each policy.
    Json,
}

const AFTER_HELP: &str = "\
Examples:
  flockstep list
  flockstep list --format json | jq -r '.scenario + \"/\" + .policy'

Exit code: 0.";

/// A policy.
#[derive(Serialize)]
struct PolicyObject<'a> {
    scenario: &'a str,
    policy: &'a str,
    /// `upheld`; or `violated`, if any case is expected to be.
    expected: &'a str,
    /// What it does, and why that is right or wrong.
    why: &'a str,
    cases: Vec<CaseObject<'a>>,
}

/// A size of it.
#[derive(Serialize)]
struct CaseObject<'a> {
    size: BTreeMap<&'a str, u64>,
    expected: &'a str,
    /// The kinds that it may be violated in; empty if it is expected to be upheld.
    expected_kinds: Vec<&'a str>,
}

impl<'a> CaseObject<'a> {
    fn of(case: &'a Case) -> Self {
        let size = case.size.iter().copied().collect();
        CaseObject { size, expected: case.expected.word(), expected_kinds: kinds(case) }
    }
}

/// Says what there is.
pub(crate) fn main(arguments: &Arguments, policies: &[Policy]) -> Exit {
    let text: String = match arguments.format {
        Format::Text => policies.iter().map(text).collect(),
        Format::Json => policies.iter().map(json).collect(),
    };
    // Nobody may read it to its end, as in `| head`.
    anstream::stdout().write_all(text.as_bytes()).ok();
    Exit::Expected
}

fn kinds(case: &Case) -> Vec<&str> {
    case.expected.kinds().iter().map(|kind| kind.word()).collect()
}

fn text(policy: &Policy) -> String {
    let bold = Style::new().bold();
    let rows: Vec<Vec<String>> = policy
        .cases
        .iter()
        .map(|case| vec![size(&case.size), case.expected.word().into(), kinds(case).join(" or ")])
        .collect();
    let columns = Columns::fitting("lll", rows.iter().map(|row| &row[..]));
    let cases: String = rows.iter().map(|row| format!("  {}\n", columns.line(row))).collect();
    format!("{bold}{}{bold:#} ({})\n  {}\n{cases}\n", policy.full_name(), policy.expected().word(), policy.why)
}

fn json(policy: &Policy) -> String {
    let object = PolicyObject {
        scenario: policy.scenario,
        policy: policy.name,
        expected: policy.expected().word(),
        why: policy.why,
        cases: policy.cases.iter().map(CaseObject::of).collect(),
    };
    serde_json::to_string(&object).expect("plain data") + "\n"
}
