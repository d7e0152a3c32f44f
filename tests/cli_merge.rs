//! `flockstep check --shard` and `flockstep merge`: parts that were explored apart are one run.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the program as a user runs it, on real files, from outside of any world"
)]

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

fn flockstep(arguments: &[&str], directory: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flockstep"));
    command.args(arguments).current_dir(directory).output().expect("it starts")
}

#[track_caller]
fn assert_code(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
}

fn without_times(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("seconds");
            fields.values_mut().for_each(without_times);
        }
        Value::Array(all) => all.iter_mut().for_each(without_times),
        _ => {}
    }
}

fn rows(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).expect("UTF-8");
    let mut rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("a row")).collect();
    rows.iter_mut().for_each(without_times);
    rows
}

/// Explores parts into files `1`, `2`, … of a directory.
fn parts(arguments: &[&str], of: u32, directory: &Path) -> Vec<String> {
    let part = |number: u32| {
        let shard = format!("{number}/{of}");
        let explored = flockstep(&[&["check", "--format", "json", "--shard", &shard], arguments].concat(), directory);
        assert!(explored.status.code().is_some_and(|code| code != 2), "{}", String::from_utf8_lossy(&explored.stderr));
        let name = number.to_string();
        std::fs::write(directory.join(&name), explored.stdout).unwrap();
        name
    };
    (1..=of).map(part).collect()
}

fn merged(files: &[String], directory: &Path) -> Output {
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    flockstep(&[&["merge", "--format", "json"], &files[..]].concat(), directory)
}

#[test]
fn two_shards_run_apart_and_merged_equal_one_run() {
    let directory = tempfile::tempdir().unwrap();
    let asked = ["lock-order", "executor", "nested-builds", "--schedules", "400", "--seed", "3"];
    let one = flockstep(&[&["check", "--format", "json", "--jobs", "1"], &asked[..]].concat(), directory.path());
    let apart = merged(&parts(&asked, 2, directory.path()), directory.path());
    assert_eq!(one.status.code(), apart.status.code());
    assert!(rows(&one).iter().any(|row| row["verdict"] == "violated"));
    assert_eq!(rows(&one), rows(&apart));
    let jobs = flockstep(&[&["check", "--format", "json", "--jobs", "3"], &asked[..]].concat(), directory.path());
    assert_eq!(rows(&one), rows(&jobs), "whatever the number of jobs");
}

#[test]
fn shards_are_exhaustive_only_together() {
    let directory = tempfile::tempdir().unwrap();
    let asked = ["lock-order/sound", "--exhaustive"];
    let files = parts(&asked, 2, directory.path());
    let both = merged(&files, directory.path());
    assert_code(&both, 0);
    assert_eq!(rows(&both)[0]["exhaustive"], true);
    assert_code(&merged(&files[..1], directory.path()), 2);
    let one = flockstep(&["merge", "--partial", "--format", "json", "1"], directory.path());
    assert_code(&one, 3);
    assert_eq!((&rows(&one)[0]["exhaustive"], &rows(&one)[0]["verdict"]), (&false.into(), &"inconclusive".into()));
    let cut = parts(&["lock-order/sound", "--exhaustive", "--schedules", "1"], 2, directory.path());
    assert_code(&merged(&cut, directory.path()), 3);
}

#[test]
fn what_is_not_all_parts_of_one_check_is_bad_input() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let asked = ["lock-order/self-reentry", "--schedules", "50"];
    let files = parts(&asked, 2, at);
    let text = std::fs::read_to_string(at.join("2")).unwrap();
    std::fs::write(at.join("truncated"), &text[..text.len() - 20]).unwrap();
    std::fs::write(at.join("short"), text.lines().next().unwrap()).unwrap();
    std::fs::write(at.join("binary"), [0xff_u8, 0, 1]).unwrap();
    std::fs::write(at.join("seed"), text.replacen("\"seed\":0", "\"seed\":1", 1)).unwrap();
    std::fs::write(at.join("version"), text.replacen("\"flockstep\":\"", "\"flockstep\":\"9", 1)).unwrap();
    for (second, part) in [
        ("truncated", "line 2"),
        ("short", "0 of 1 rows"),
        ("binary", "read"),
        ("seed", "another check"),
        ("version", "version 9"),
        ("1", "also in"),
        ("none", "read"),
    ] {
        let refused = flockstep(&["merge", "1", second], at);
        assert_code(&refused, 2);
        let error = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(error.contains(part) && error.contains(&format!("{second}: ")) && error.contains("remedy"), "{error}");
        assert!(refused.stdout.is_empty());
    }
    assert_code(&merged(&files, at), 0);
    for shard in ["0/2", "3/2", "x", "1"] {
        assert_code(&flockstep(&["check", "--shard", shard], at), 2);
    }
}
