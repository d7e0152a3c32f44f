//! `flockstep check`, `list` and `replay` as a user runs them. What they are run on is whatever scenario is there and small.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the program as a user runs it, on real files, from outside of any world"
)]

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

fn flockstep(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_flockstep"))
        .args(arguments)
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .output()
        .expect("it starts")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

fn lines(output: &Output) -> Vec<Value> {
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect()
}

#[track_caller]
fn assert_code(output: &Output, code: i32) {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "stdout:\n{out}\nstderr:\n{err}");
}

/// The policy of that expectation with the fewest cases.
fn smallest(expected: &str) -> String {
    let listed = flockstep(&["list", "--format", "json"]);
    assert_code(&listed, 0);
    let mut policies = lines(&listed);
    policies.retain(|policy| policy["expected"] == expected);
    let size = |policy: &&Value| policy["cases"].as_array().map(Vec::len);
    let smallest = policies.iter().min_by_key(size).expect("there is one");
    format!("{}/{}", smallest["scenario"].as_str().unwrap(), smallest["policy"].as_str().unwrap())
}

static SOUND: LazyLock<String> = LazyLock::new(|| smallest("upheld"));
static HISTORIC: LazyLock<String> = LazyLock::new(|| smallest("violated"));

/// What `check --format json` says of the historic policy.
static VIOLATED: LazyLock<Value> = LazyLock::new(|| {
    let checked = flockstep(&["check", &HISTORIC, "--format", "json"]);
    assert_code(&checked, 0);
    let [line] = &lines(&checked)[..] else { panic!("one policy and one engine are one row") };
    line.clone()
});

fn key() -> &'static str {
    VIOLATED["violation"]["key"].as_str().expect("a schedule shows it")
}

#[track_caller]
fn assert_fields(object: &Value, expected: &str) {
    let mut expected: Vec<&str> = expected.split_whitespace().collect();
    let mut found: Vec<&str> = object.as_object().expect("an object").keys().map(String::as_str).collect();
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
}

#[test]
fn a_table_of_one_policy_has_the_report_and_no_colours() {
    let checked = flockstep(&["check", &HISTORIC]);
    assert_code(&checked, 0);
    let out = text(&checked.stdout);
    for part in
        [&**HISTORIC, "seeded", "replay key", "1 of 1 rows are as expected", &format!("flockstep replay {}", key())]
    {
        assert!(out.contains(part), "{part} is missing in\n{out}");
    }
    assert!(!out.contains('\x1b') && !text(&checked.stderr).contains('\x1b'), "escapes, and this is no terminal");
}

#[test]
fn a_json_line_has_the_documented_fields_and_no_others() {
    assert_fields(
        &VIOLATED,
        "scenario policy engine strategy expected verdict exhaustive executions steps seconds makespan cases peaks coverage violation",
    );
    assert_fields(&VIOLATED["peaks"], "descriptors locks workers_blocked");
    assert_fields(&VIOLATED["violation"], "kind summary key original_key switches");
    for case in VIOLATED["cases"].as_array().expect("a list") {
        assert_fields(
            case,
            "size expected expected_kinds verdict as_expected why exhaustive bound executions steps states seconds makespan peaks violation",
        );
        assert!(case["size"].as_object().expect("an object").values().all(Value::is_u64));
    }
    assert_eq!((&VIOLATED["expected"], &VIOLATED["verdict"]), (&"violated".into(), &"violated".into()));
    assert_eq!(VIOLATED["exhaustive"], false);
}

#[test]
fn a_bounded_search_says_up_to_which_bound_it_is_complete() {
    let check =
        |more: &[&str]| lines(&flockstep(&[&["check", "--format", "json", "--strategy", "bounded"], more].concat()));
    let [cut] = &check(&["lock-order/sound", "--schedules", "100"])[..] else { panic!("one row") };
    let case = |row: &Value| row["cases"].as_array().expect("a list").last().expect("a case").clone();
    assert_eq!((&case(cut)["exhaustive"], &case(cut)["verdict"]), (&false.into(), &"upheld".into()));
    assert!(case(cut)["bound"].is_u64(), "{cut}");
    let [all] = &check(&["lock-order/sound", "--exhaustive"])[..] else { panic!("one row") };
    assert_eq!((&all["exhaustive"], &case(all)["bound"]), (&true.into(), &Value::Null));
    let told = flockstep(&["check", "lock-order/sound", "--strategy", "bounded", "--schedules", "100"]);
    assert!(text(&told.stdout).contains("100 executions, all within a bound of"), "{}", text(&told.stdout));
}

/// On everything that is small.
#[test]
fn bounded_and_depth_first_come_to_the_same() {
    let small = ["lock-order", "executor/flock-on-worker", "shard-lock/none"];
    let check = |strategy: &str| {
        let rows = lines(&flockstep(&[&["check", "--format", "json", "--strategy", strategy], &small[..]].concat()));
        let verdict = |case: &Value| [&case["size"], &case["verdict"], &case["exhaustive"]].map(Value::clone);
        let cases = rows.iter().flat_map(|row| row["cases"].as_array().expect("a list"));
        cases.map(verdict).collect::<Vec<_>>()
    };
    let bounded = check("bounded");
    assert!(bounded.len() > 10);
    assert_eq!(bounded, check("dfs"));
}

#[test]
fn junit_is_well_formed_and_counts_the_cases() {
    let checked = flockstep(&["check", &HISTORIC, "--format", "junit"]);
    assert_code(&checked, 0);
    let report = quick_junit::Report::deserialize_from_str(text(&checked.stdout)).expect("it is well-formed");
    assert_eq!(report.tests, VIOLATED["cases"].as_array().unwrap().len());
    assert_eq!((report.failures, report.errors), (0, 0));
}

#[test]
fn what_is_unknown_is_bad_input_with_the_nearest_names() {
    let misspelt = HISTORIC.replacen(|c: char| c.is_alphanumeric(), "", 1);
    for arguments in [["check", &*misspelt], ["replay", &format!("{misspelt}:workers=1:-")]] {
        let answered = flockstep(&arguments);
        assert_code(&answered, 2);
        let err = text(&answered.stderr);
        let nearest = err.lines().find(|line| line.contains("nearest")).expect("the nearest names are offered");
        assert!(nearest.contains(&**HISTORIC), "{err}");
        assert!(answered.stdout.is_empty());
    }
    let case = flockstep(&["replay", &format!("{}:no-such-size:-", *HISTORIC)]);
    assert_code(&case, 2);
    assert!(text(&case.stderr).contains("has no case"));
}

#[test]
fn what_is_no_key_is_bad_input() {
    for word in ["nonsense", "a:b:c", "/"] {
        assert_code(&flockstep(&["replay", word]), 2);
    }
}

#[test]
fn a_key_prints_the_same_bytes_in_every_process() {
    let replay = || flockstep(&["replay", key(), "--trace", "--lslocks"]);
    let (one, other) = (replay(), replay());
    assert_code(&one, 0);
    assert_eq!(text(&one.stdout), text(&other.stdout));
    for part in ["violated: ", "step  ", "locks at the end", "COMMAND"] {
        assert!(text(&one.stdout).contains(part), "{part} is missing in\n{}", text(&one.stdout));
    }
}

#[test]
fn a_key_in_a_file_replays_as_well() {
    let file = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    std::fs::write(file.path(), format!("{}\n", key())).unwrap();
    let replayed = flockstep(&["replay", file.path().to_str().unwrap()]);
    assert_code(&replayed, 0);
    assert!(text(&replayed.stdout).contains(VIOLATED["violation"]["summary"].as_str().unwrap()));
}

#[test]
fn a_schedule_that_runs_to_its_end_is_not_the_violation() {
    let policies = lines(&flockstep(&["list", "--format", "json"]));
    let key = policies.iter().find_map(|policy| {
        let cases = policy["cases"].as_array()?;
        let size = cases.iter().filter(|case| case["expected"] == "upheld").find_map(|case| {
            let size: Vec<_> = case["size"].as_object()?.iter().collect();
            let [(what, n)] = size[..] else { return None };
            Some(format!("{what}={n}"))
        })?;
        Some(format!("{}/{}:{size}:-", policy["scenario"].as_str()?, policy["policy"].as_str()?))
    });
    let replayed = flockstep(&["replay", &key.expect("something is upheld")]);
    assert_code(&replayed, 1);
    assert!(text(&replayed.stdout).contains("no violation"));
}

#[test]
fn keys_of_different_cases_are_no_schedules_of_one_violation() {
    assert_code(&flockstep(&["replay", key(), "another/policy::-"]), 2);
}

#[test]
fn less_than_everything_is_inconclusive_if_everything_was_asked_for() {
    let checked = flockstep(&["check", &SOUND, "--schedules", "1", "--exhaustive", "--format", "json"]);
    assert_code(&checked, 3);
    assert_eq!(lines(&checked)[0]["verdict"], "inconclusive");
    let sampled = flockstep(&["check", &SOUND, "--strategy", "random", "--exhaustive"]);
    assert_code(&sampled, 2);
}

#[test]
fn what_is_interrupted_tells_what_it_has_found() {
    let mut check = Command::new(env!("CARGO_BIN_EXE_flockstep"))
        .args(["check", "executor/sound", "--strategy", "random", "--schedules", "1000000000", "--jobs", "1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut out = BufReader::new(check.stdout.take().expect("piped"));
    let mut told = String::new();
    out.read_line(&mut told).expect("the head of the table");
    kill_process(Pid::from_child(&check), Signal::INT).expect("it is there");
    out.read_to_string(&mut told).expect("UTF-8");
    let ended = check.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(3), "{told}");
    for part in ["inconclusive: interrupted ", "inconclusive: interrupted before it began", "1 inconclusive"] {
        assert!(told.contains(part), "{part} is missing in\n{told}");
    }
    assert!(text(&ended.stderr).contains("interrupted: telling what there is"), "{}", text(&ended.stderr));
}

#[test]
fn coverage_says_which_operations_met_in_which_order() {
    let arguments = ["check", "lock-order/abba-across-processes", "--strategy", "random", "--schedules", "3"];
    let json = |more: &[&str]| lines(&flockstep(&[&arguments[..], &["--format", "json"], more].concat()));
    assert_eq!(json(&[])[0]["coverage"], Value::Null);
    let few = json(&["--coverage"]);
    assert_fields(&few[0]["coverage"], "classes alike both_orders one_order");
    let one_order = few[0]["coverage"]["one_order"].as_array().expect("a list");
    one_order.iter().for_each(|pair| assert_fields(pair, "before after class"));
    let all = lines(&flockstep(&["check", "lock-order/sound", "--exhaustive", "--coverage", "--format", "json"]));
    assert!(all[0]["coverage"]["both_orders"].as_u64() > Some(0), "{}", all[0]["coverage"]);
    let told = flockstep(&["check", "lock-order/sound", "--exhaustive", "--coverage"]);
    let one_order = all[0]["coverage"]["one_order"].as_array().expect("a list").len();
    assert_eq!(text(&told.stdout).matches("\n      only ").count(), one_order);
    assert!(text(&told.stdout).contains(" pairs of different operations met in both orders"));
}

#[test]
fn no_time_is_inconclusive_too() {
    assert_code(&flockstep(&["check", &SOUND, "--time-limit", "0"]), 3);
}

#[test]
fn an_argument_that_matches_nothing_outweighs_everything() {
    assert_code(&flockstep(&["check", &SOUND, "no-such-scenario", "--schedules", "1", "--exhaustive"]), 2);
    assert_code(&flockstep(&["check", "--engine", "no-such-engine"]), 2);
}

#[test]
fn a_historic_policy_that_nothing_real_stands_behind_is_refused() {
    let build = |policy: &str| flockstep(&["run", "build", "--policy", policy, "nowhere"]);
    for (policy, part) in [
        ("descriptors/lock-before-permi", "nearest: descriptors/lock-before-permit"),
        ("lock-order/abba", "only simulated"),
        ("lock-order", "is a scenario"),
    ] {
        let refused = build(policy);
        assert_code(&refused, 2);
        assert!(text(&refused.stderr).contains(part), "{part} is missing in {}", text(&refused.stderr));
    }
}
