//! The table of the contract in `docs/model.md` says what the documentation of the traits says, and which body checks it.

use crate::contract::{Limits, clauses};
use std::collections::BTreeMap;
use std::fmt::Write;

const SOURCES: [&str; 6] = [
    include_str!("../src/world/files.rs"),
    include_str!("../src/world/locks.rs"),
    include_str!("../src/world/tasks.rs"),
    include_str!("../src/world/sync.rs"),
    include_str!("../src/world/time.rs"),
    include_str!("../src/world/process.rs"),
];

macro_rules! names {
    ($($module:ident :: $clause:ident { $($limit:tt)* };)*) => {
        [$((stringify!($module), stringify!($clause), Limits { $($limit)* ..Limits::USUAL })),*]
    };
}

/// Clause to body.
#[allow(clippy::needless_update, reason = "most clauses change none of the limits")]
fn bodies() -> BTreeMap<String, String> {
    let clause = |name: &str| name.split('_').next().unwrap_or_default().to_uppercase();
    clauses!(names).iter().map(|(module, name, _)| (clause(name), format!("{module}::{name}"))).collect()
}

/// The first sentence, without the targets of links.
fn first_sentence(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("](") {
        plain += &before.replace('[', "");
        rest = after.split_once(')').map_or("", |(_, after)| after);
    }
    plain += rest;
    let plain = plain.replace("[`", "`").replace("`]", "`");
    plain.split_once(". ").map_or(plain.trim_end_matches('.'), |(first, _)| first).to_owned()
}

/// (clause, trait, what it says), in the order of the documentation.
fn documented() -> Vec<(String, String, String)> {
    let mut clauses = Vec::new();
    for source in SOURCES {
        let mut pending: Vec<(String, String)> = Vec::new();
        for line in source.lines().map(str::trim) {
            if let Some(declared) = line.strip_prefix("pub trait ") {
                let name = declared.split([':', ' ', '<']).next().unwrap_or_default();
                clauses.extend(pending.drain(..).map(|(id, text)| (id, name.to_owned(), first_sentence(&text))));
            }
            let Some(text) = line.strip_prefix("///").map(str::trim) else { continue };
            if let Some((id, text)) = text.strip_prefix("* **").and_then(|text| text.split_once("** ")) {
                pending.push((id.to_owned(), text.to_owned()));
            } else if let Some((_, so_far)) = pending.last_mut().filter(|_| !text.is_empty()) {
                write!(so_far, " {text}").unwrap();
            }
        }
    }
    clauses
}

#[test]
fn every_clause_has_a_body_and_a_row() {
    let (bodies, documented) = (bodies(), documented());
    assert_eq!(documented.len(), 37, "clauses found in src/world");
    let row = |(id, of, says): &(String, String, String)| {
        let body = bodies.get(id).unwrap_or_else(|| panic!("clause {id} has no body in tests/contract"));
        format!("| {id} | `{of}` | {says} | `{body}` |")
    };
    let rows: Vec<String> = documented.iter().map(row).collect();
    let is_row = |line: &&str| line.starts_with("| ") && line.contains("::") && line.matches('|').count() == 5;
    let written: Vec<&str> = include_str!("../docs/model.md").lines().filter(is_row).collect();
    assert_eq!(written, rows, "docs/model.md should have these rows:\n{}", rows.join("\n"));
}
