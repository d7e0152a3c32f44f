//! What the model says beside what was measured on real uv, row by row: `docs/calibration.md`.
//!
//! The measured figures are peaks of real runs: uv at several versions, a workspace of N editable packages, an empty cache. The model's
//! are the peaks of the policy that takes the same decision, over a few schedules in which a build takes longer than what is done before
//! it. The table in the document is compared with the one made here, so it cannot go stale; with `CALIBRATION=write` in the environment
//! it is written instead.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use flockstep::oracle::{Oracle, Violation};
use flockstep::protocol::Discipline;
use flockstep::world::{Event, Kinds, What};
use flockstep::{KernelView, Strategy};
use libtest_mimic::Failed;

use crate::sims::descriptors::measured;
use crate::sims::package::Backend;

const SCHEDULES: u64 = 4;
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/calibration.md");
const BEGIN: &str = "<!-- made by sims/calibration.rs: CALIBRATION=write cargo test --test sims calibration -->\n";
const END: &str = "<!-- end -->\n";

/// What there was at once, at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Peaks {
    descriptors: u32,
    shards: u32,
    trees: u32,
    children: u32,
    temporary: u32,
}

/// A row of the measurements: version, backend, N, and of each figure what was seen, if it was looked at.
struct Row {
    uv: &'static str,
    backend: &'static str,
    n: u64,
    policy: &'static str,
    descriptors: &'static str,
    shards: &'static str,
    children: &'static str,
    trees: &'static str,
    temporary: &'static str,
}

const PER_BUILD: &str = "descriptors/per-build-limit";
const LOCK_FIRST: &str = "descriptors/lock-before-permit";

#[rustfmt::skip]
const ROWS: &[Row] = &[
    Row { uv: "0.7.10", backend: "mini", n: 20, policy: PER_BUILD, descriptors: "90", shards: "20", children: "19", trees: "0", temporary: "" },
    Row { uv: "0.7.10", backend: "mini", n: 80, policy: PER_BUILD, descriptors: "197", shards: "75", children: "38", trees: "0", temporary: "" },
    Row { uv: "0.7.10", backend: "mini", n: 145, policy: PER_BUILD, descriptors: "280", shards: "145", children: "", trees: "0", temporary: "125" },
    Row { uv: "0.7.20", backend: "mini", n: 20, policy: PER_BUILD, descriptors: "91", shards: "20", children: "19", trees: "0", temporary: "" },
    Row { uv: "0.7.20", backend: "mini", n: 80, policy: PER_BUILD, descriptors: "286", shards: "80", children: "64", trees: "0", temporary: "" },
    Row { uv: "0.7.20", backend: "mini", n: 145, policy: PER_BUILD, descriptors: "364", shards: "145", children: "68", trees: "0", temporary: "8" },
    Row { uv: "0.8.12", backend: "mini", n: 20, policy: PER_BUILD, descriptors: "89", shards: "19", children: "18", trees: "0", temporary: "" },
    Row { uv: "0.8.12", backend: "mini", n: 80, policy: PER_BUILD, descriptors: "214", shards: "78", children: "40", trees: "0", temporary: "" },
    Row { uv: "0.8.12", backend: "mini", n: 145, policy: PER_BUILD, descriptors: "343", shards: "145", children: "56", trees: "0", temporary: "23" },
    Row { uv: "0.8.12", backend: "hatchling", n: 20, policy: PER_BUILD, descriptors: "93", shards: "20", children: "19", trees: "0", temporary: "" },
    Row { uv: "0.8.12", backend: "hatchling", n: 80, policy: PER_BUILD, descriptors: "333", shards: "80", children: "79", trees: "0", temporary: "" },
    Row { uv: "0.8.12", backend: "hatchling", n: 145, policy: PER_BUILD, descriptors: "554", shards: "145", children: "131", trees: "0", temporary: "" },
    Row { uv: "0.9.26", backend: "mini", n: 20, policy: PER_BUILD, descriptors: "92", shards: "20", children: "19", trees: "0", temporary: "" },
    Row { uv: "0.9.26", backend: "mini", n: 80, policy: PER_BUILD, descriptors: "294", shards: "80", children: "67", trees: "0", temporary: "" },
    Row { uv: "0.9.26", backend: "mini", n: 145, policy: PER_BUILD, descriptors: "329", shards: "145", children: "54", trees: "0", temporary: "16" },
    Row { uv: "0.9.26", backend: "hatchling", n: 20, policy: PER_BUILD, descriptors: "94", shards: "20", children: "19", trees: "0", temporary: "" },
    Row { uv: "0.9.26", backend: "hatchling", n: 80, policy: PER_BUILD, descriptors: "334", shards: "80", children: "79", trees: "0", temporary: "" },
    Row { uv: "0.9.26", backend: "hatchling", n: 145, policy: PER_BUILD, descriptors: "501", shards: "145", children: "113", trees: "0", temporary: "" },
    Row { uv: "0.9.26", backend: "setuptools", n: 20, policy: PER_BUILD, descriptors: "112", shards: "20", children: "19", trees: "19", temporary: "" },
    Row { uv: "0.9.26", backend: "setuptools", n: 80, policy: PER_BUILD, descriptors: "386", shards: "75", children: "74", trees: "74", temporary: "" },
    Row { uv: "0.13.9", backend: "mini", n: 20, policy: LOCK_FIRST, descriptors: "42 to 51", shards: "20", children: "2", trees: "0", temporary: "" },
    Row { uv: "0.13.9", backend: "mini", n: 80, policy: LOCK_FIRST, descriptors: "155", shards: "80", children: "1", trees: "0", temporary: "58" },
    Row { uv: "0.13.9", backend: "mini", n: 145, policy: LOCK_FIRST, descriptors: "245", shards: "145", children: "2", trees: "0", temporary: "82" },
    Row { uv: "0.13.9", backend: "hatchling", n: 20, policy: LOCK_FIRST, descriptors: "49", shards: "20", children: "2", trees: "0", temporary: "" },
    Row { uv: "0.13.9", backend: "hatchling", n: 80, policy: LOCK_FIRST, descriptors: "128", shards: "80", children: "", trees: "0", temporary: "36" },
    Row { uv: "0.13.9", backend: "hatchling", n: 145, policy: LOCK_FIRST, descriptors: "181", shards: "145", children: "2", trees: "0", temporary: "23" },
    Row { uv: "0.13.9", backend: "setuptools", n: 20, policy: LOCK_FIRST, descriptors: "60", shards: "20", children: "2", trees: "20", temporary: "" },
    Row { uv: "0.13.9", backend: "setuptools", n: 80, policy: LOCK_FIRST, descriptors: "180", shards: "80", children: "1", trees: "80", temporary: "" },
];

/// Counts what is held now, and remembers the peaks of all executions.
struct Census {
    held: BTreeMap<u64, &'static str>,
    children: u32,
    peaks: Arc<Mutex<Peaks>>,
}

impl Census {
    fn new(peaks: Arc<Mutex<Peaks>>) -> Self {
        Census { held: BTreeMap::new(), children: 0, peaks }
    }

    fn count(&self, class: &str) -> u32 {
        self.held.values().filter(|held| **held == class).count() as u32
    }
}

fn class_of(path: &str) -> &'static str {
    match path {
        path if path.starts_with("/cache/wheels/") => "shard",
        path if path.starts_with("/tmp/flockstep-tree-") => "tree",
        path if path.starts_with("/cache/tmp/") => "temporary",
        _ => "other",
    }
}

impl Oracle for Census {
    fn name(&self) -> &str {
        "census"
    }
    fn kinds(&self) -> Kinds {
        Kinds::LOCKS | Kinds::LIVES | Kinds::DESCRIPTORS
    }
    fn begin(&mut self) {
        self.held.clear();
        self.children = 0;
    }
    fn on(&mut self, event: &Event, kernel: &KernelView<'_>) -> Result<(), Violation> {
        match &event.what {
            What::Lock { path, description, .. } => drop(self.held.insert(*description, class_of(path))),
            What::Unlock { description, .. } => drop(self.held.remove(description)),
            What::Started { parent: Some(_), .. } => self.children += 1,
            What::Ending { .. } if event.process != 0 => self.children -= 1,
            _ => {}
        }
        let mut peaks = self.peaks.lock().expect("no panic");
        let Peaks { descriptors, shards, trees, children, temporary } = &mut *peaks;
        *descriptors = kernel.descriptor_peak(0).max(*descriptors);
        if event.what.kind() == Kinds::LOCKS {
            *shards = self.count("shard").max(*shards);
            *trees = self.count("tree").max(*trees);
            *temporary = self.count("temporary").max(*temporary);
        }
        *children = self.children.max(*children);
        Ok(())
    }
    fn state(&self) -> Option<u64> {
        Some(0)
    }
    fn judged(&self) -> u64 {
        1 // it judges nothing
    }
}

/// The model's peaks.
fn model(policy: &str, backend: Backend, n: u64) -> Peaks {
    let discipline = Discipline::of([policy]).expect("it is there for real");
    let peaks: Arc<Mutex<Peaks>> = Arc::default();
    let into = Arc::clone(&peaks);
    let scene = measured(n, discipline, [backend; 2]).oracle(move || Census::new(into.clone()));
    scene.explore(Strategy::random(SCHEDULES)).assert_upheld();
    *peaks.lock().expect("no panic")
}

fn table() -> String {
    let mut text = String::new();
    let head = ["uv", "backend", "N", "policy", "shard locks", "children", "tree locks", "temporary", "descriptors"];
    let _ = writeln!(text, "| {} |\n|{}", head.join(" | "), "---|".repeat(head.len()));
    let mut known: BTreeMap<(&str, bool, u64), Peaks> = BTreeMap::new();
    for row in ROWS {
        let setuptools = row.backend == "setuptools";
        let backend = if setuptools { Backend::Setuptools } else { Backend::Hatchling };
        let peaks = known.entry((row.policy, setuptools, row.n)).or_insert_with(|| model(row.policy, backend, row.n));
        let cell = |measured: &str, model: u32| {
            let measured = if measured.is_empty() { "?" } else { measured };
            format!("{measured} / {model}")
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            row.uv,
            row.backend,
            row.n,
            row.policy.trim_start_matches("descriptors/"),
            cell(row.shards, peaks.shards),
            cell(row.children, peaks.children),
            cell(row.trees, peaks.trees),
            cell(row.temporary, peaks.temporary),
            cell(row.descriptors, peaks.descriptors),
        );
    }
    text
}

/// Compares the document with the table, or writes it.
#[expect(clippy::disallowed_methods, reason = "a document of the repository's; no protocol has anything to do with it")]
pub(crate) fn check() -> Result<(), Failed> {
    let document = std::fs::read_to_string(DOCUMENT)?;
    let (before, rest) = document.split_once(BEGIN).ok_or("the document has no place for the table")?;
    let (found, after) = rest.split_once(END).ok_or("the table has no end")?;
    let table = table();
    if found.trim() == table.trim() {
        return Ok(());
    }
    if std::env::var("CALIBRATION").is_ok_and(|what| what == "write") {
        return Ok(std::fs::write(DOCUMENT, format!("{before}{BEGIN}\n{table}\n{END}{after}"))?);
    }
    Err(format!(
        "docs/calibration.md is stale; run it with CALIBRATION=write in the environment. It should be:\n{table}"
    )
    .into())
}
