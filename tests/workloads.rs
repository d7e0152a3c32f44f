//! `flockstep run compile` and `run uninstall`, for real; what takes a limit on open files is in `.ci/real-limits`. And the pictures of
//! `check --report`. Without python3, the tests that need it say that they were skipped.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the program as a user runs it, on real files, from outside of any world"
)]

use serde_json::Value;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output};

fn flockstep(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_flockstep")).args(arguments).current_dir(directory).output().expect("it starts")
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Every line of standard output, the last of which is the summary.
fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect()
}

#[track_caller]
fn assert_code(output: &Output, code: i32) {
    let out = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(code), "stdout:\n{out}\nstderr:\n{}", errors(output));
}

fn python_is_here(test: &str) -> bool {
    let found = Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        // Not by a macro: what those print, the test harness keeps to itself.
        let text = format!("\n**** SKIPPED: {test}: there is no python3 on PATH, nothing was tested ****\n\n");
        std::io::stderr().write_all(text.as_bytes()).unwrap();
    }
    found
}

#[test]
fn a_tree_is_compiled_and_what_cannot_be_is_named() {
    if !python_is_here("a_tree_is_compiled_and_what_cannot_be_is_named") {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let tree = place.path().join("tree");
    for directory in 0..5 {
        let directory = tree.join(format!("a/b{directory}"));
        fs::create_dir_all(&directory).unwrap();
        for file in 0..30 {
            fs::write(directory.join(format!("m{file}.py")), "ONE = 1\n").unwrap();
        }
        fs::write(directory.join("data.txt"), "no Python").unwrap();
    }
    let compiled = flockstep(place.path(), &["run", "compile", "--jobs", "3", "--format", "json", "tree"]);
    assert_code(&compiled, 0);
    let summary = &lines(&compiled)[0];
    assert_eq!((&summary["compiled"], &summary["failed"]), (&150.into(), &0.into()));
    for directory in 0..5 {
        assert_eq!(fs::read_dir(tree.join(format!("a/b{directory}/__pycache__"))).unwrap().count(), 30);
    }

    fs::write(tree.join("broken.py"), "def broken(:\n").unwrap();
    fs::write(tree.join("binary.py"), [0xff, 0xfe, 0]).unwrap();
    let compiled = flockstep(place.path(), &["run", "compile", "--format", "json", "tree"]);
    assert_code(&compiled, 1);
    let [first, second, summary] = &lines(&compiled)[..] else { panic!("two files and a summary") };
    assert_eq!((&summary["compiled"], &summary["failed"]), (&150.into(), &2.into()));
    assert!(first["file"].as_str().unwrap().ends_with("tree/binary.py"));
    assert!(second["error"].as_str().unwrap().starts_with("SyntaxError"), "{second}");
}

#[test]
fn compiling_what_is_not_there_or_with_what_is_not_there_is_refused() {
    let place = tempfile::tempdir().unwrap();
    assert_code(&flockstep(place.path(), &["run", "compile", "missing"]), 2);
    fs::write(place.path().join("m.py"), "").unwrap();
    assert_code(&flockstep(place.path(), &["run", "compile", "m.py"]), 2);
    let without = flockstep(place.path(), &["run", "compile", "--python", "./no-such-python", "."]);
    assert_code(&without, 1);
    assert!(errors(&without).contains("cannot be started"), "{}", errors(&without));
    let policy = flockstep(place.path(), &["run", "compile", "--policy", "descriptors/lock-before-permit", "."]);
    assert_code(&policy, 2);
    assert!(errors(&policy).contains("decides nothing"), "{}", errors(&policy));
}

#[test]
fn trees_are_removed_with_all_that_is_in_them_and_nothing_else() {
    let place = tempfile::tempdir().unwrap();
    let kept = place.path().join("kept");
    fs::create_dir_all(&kept).unwrap();
    fs::write(kept.join("file"), "").unwrap();
    for tree in ["one", "two"] {
        let deep = place.path().join(tree).join("a/b/c");
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("file"), "").unwrap();
        std::os::unix::fs::symlink(&kept, deep.join("link")).unwrap();
    }
    let removed = flockstep(place.path(), &["run", "uninstall", "--format", "json", "one", "two"]);
    assert_code(&removed, 0);
    assert_eq!(lines(&removed)[0]["removed"], 2);
    assert!(!place.path().join("one").exists() && !place.path().join("two").exists());
    assert!(kept.join("file").exists(), "links are removed, not followed");
}

#[test]
fn what_nobody_means_to_remove_is_refused_and_all_else_with_it() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    fs::create_dir_all(place.join("home/me")).unwrap();
    fs::create_dir_all(place.join("fine")).unwrap();
    fs::create_dir_all(place.join("inside")).unwrap();
    std::os::unix::fs::symlink("fine", place.join("link")).unwrap();
    for refused in ["/", "/usr", ".", "..", "link", "link/", "home", "home/me", "missing", "fine/../.."] {
        let output = Command::new(env!("CARGO_BIN_EXE_flockstep"))
            .args(["run", "uninstall", "inside", refused])
            .env("HOME", place.join("home/me"))
            .current_dir(place)
            .output()
            .unwrap();
        assert_code(&output, 2);
    }
    assert!(place.join("fine").exists() && place.join("home/me").exists() && place.join("inside").exists());
}

#[test]
fn pictures_are_drawn_of_what_has_something_to_show() {
    let place = tempfile::tempdir().unwrap();
    let drawn = flockstep(place.path(), &["check", "bytecode/sound", "--schedules", "5", "--report", "pictures"]);
    assert_code(&drawn, 0);
    for name in ["bytecode-by-processors.svg", "bytecode-over-time.svg"] {
        let picture = fs::read_to_string(place.path().join("pictures").join(name)).unwrap();
        for part in ["<svg", "descriptors", "sound"] {
            assert!(picture.contains(part), "{name} has no {part}");
        }
    }
    let nothing = flockstep(place.path(), &["check", "lock-order", "--schedules", "5", "--report", "pictures"]);
    assert_code(&nothing, 2);
}
