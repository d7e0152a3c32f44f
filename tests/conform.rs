//! `flockstep conform`: the cases of ours on both worlds, and files that are none.

use flockstep::os::OsWorld;
use flockstep::world::{Children, Command, Output, Status, Stdio};

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conform/cases.jsonl");

fn conform(arguments: &[&str]) -> Output {
    let arguments = [&["conform"], arguments].concat();
    let command = Command::new(env!("CARGO_BIN_EXE_flockstep"), arguments).output(Stdio::Capture);
    OsWorld::run(1, 1, |world| async move {
        let child = world.spawn_child(command).await.unwrap();
        world.wait(child).await.unwrap()
    })
    .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn both_worlds_pass_and_say_what_they_skip() {
    for world in ["sim", "os"] {
        let output = conform(&["--cases", CASES, "--world", world]);
        let said = text(&output.stdout);
        assert_eq!(
            said,
            "what-is-not-known-is-skipped: skipped: mmap\n23 passed, 0 failed, 1 skipped\n",
            "{world}: {}",
            text(&output.stderr)
        );
        assert_eq!(output.status, Status::Exited(0));
    }
}

#[expect(clippy::disallowed_methods, reason = "prepares files for the command")]
fn given(content: &[u8]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cases.jsonl");
    std::fs::write(&path, content).unwrap();
    conform(&["--cases", path.to_str().unwrap()])
}

#[test]
fn a_wrong_expectation_is_a_mismatch() {
    let case =
        br#"{"name": "n", "steps": [{"op": "mkdir", "path": "d"}, {"op": "rmdir", "path": "d", "expect": "EBUSY"}]}"#;
    let output = given(case);
    assert_eq!(output.status, Status::Exited(1));
    let said = text(&output.stdout);
    assert!(said.starts_with("n: step 1: expected EBUSY, got ok\n"), "{said}");
    assert!(said.ends_with("0 passed, 1 failed, 0 skipped\n"), "{said}");
}

#[test]
fn what_is_no_case_file_is_one_clear_error() {
    let whole = br#"{"name": "n", "steps": [{"op": "mkdir", "path": "d"}]}"#;
    let truncated = [whole, &b"\n"[..], &whole[..30]].concat();
    let binary = [whole, &b"\n\0\xff\x01"[..]].concat();
    for (content, wrong) in [
        (&truncated[..], "line 2: column 30: the line ends within a case (truncated?)"),
        (&binary[..], "line 2: not text"),
        (b"", "line 1: no case in the file"),
        (b"{\"name\": 1}", "line 1: column"),
        (br#"{"name": "n", "steps": [{"op": "mkdir"}]}"#, "line 1: case \"n\", step 0: mkdir: missing field `path`"),
        (b"{\"name\": \"n\"}", "line 1: column 13: expected a case with name and steps: missing field `steps`"),
        (b"{\"name\": \"n\", \"steps\": []}", "line 1: case \"n\" has no steps"),
        (
            b"{\"name\": \"n\", \"steps\": {}}",
            "line 1: column 23: expected a case with name and steps: invalid type: map",
        ),
        (b"[1, 2]", "line 1: column"),
        (
            br#"{"name": "n", "steps": [{"op": "close", "fd": 1.5}]}"#,
            "line 1: case \"n\", step 0: close: expected a descriptor",
        ),
        (
            br#"{"name": "n", "steps": [{"proc": -1, "op": "exit"}]}"#,
            "line 1: case \"n\", step 0: invalid value: integer `-1`",
        ),
        (br#"{"name": "n", "steps": [{"path": "d"}]}"#, "line 1: case \"n\", step 0: missing field `op`"),
    ] {
        let output = given(content);
        let said = text(&output.stderr);
        assert_eq!((output.status, &*output.stdout), (Status::Exited(2), &b""[..]), "{said}");
        assert!(said.contains(&format!("cases.jsonl: {wrong}")), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    assert_eq!(conform(&["--cases", "/no/such/file"]).status, Status::Exited(2));
    // A text of another kind is one error as well, not one for each of its lines.
    let said = text(&given(include_bytes!("../README.md")).stderr);
    assert!(said.lines().count() == 4 && said.contains("more lines that are no case"), "{said}");
}
