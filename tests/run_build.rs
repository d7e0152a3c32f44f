//! `flockstep run build`, for real: real Python, real backends, real processes. The long version is `.ci/real-builds`.
//!
//! All tests share one cache, so that the build environments are made once; what they build differs. Needs python3 with venv and an
//! index that pip reaches; without python3 they say that they were skipped.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the program as a user runs it, on real files, from outside of any world"
)]

use serde_json::Value;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

const FLOCKSTEP: &str = env!("CARGO_BIN_EXE_flockstep");

/// One place for all tests, emptied by the first.
static PLACE: LazyLock<PathBuf> = LazyLock::new(|| {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("run-build");
    if place.exists() {
        fs::remove_dir_all(&place).unwrap();
    }
    fs::create_dir_all(&place).unwrap();
    place.canonicalize().unwrap()
});

fn python_is_here(test: &str) -> bool {
    let found = Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        // Not by a macro: what those print, the test harness keeps to itself.
        let text = format!("\n**** SKIPPED: {test}: there is no python3 on PATH, nothing was tested ****\n\n");
        std::io::stderr().write_all(text.as_bytes()).unwrap();
    }
    found
}

/// `name` under the shared place, with the files given.
fn tree(name: &str, files: &[(&str, &str)]) -> PathBuf {
    let tree = PLACE.join(name);
    for (path, content) in files {
        let path = tree.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    tree
}

/// A package of that name for a backend.
fn project(name: &str, backend: &str) -> PathBuf {
    let module = format!("src/{name}/__init__.py");
    let setup = format!(
        "from setuptools import setup\nsetup(name='{name}', version='1.0', packages=['{name}'], package_dir={{'': 'src'}})\n"
    );
    let (requires, backend) = match backend {
        // No backend named: setup.py. Both setuptools projects share one environment: older versions ask for wheel as well.
        "setup.py" => ("setuptools>=61', 'wheel", String::new()),
        "setuptools" => ("setuptools>=61', 'wheel", "build-backend = 'setuptools.build_meta'\n".to_owned()),
        other => (other, format!("build-backend = '{other}.build'\n")),
    };
    let metadata = format!("[project]\nname = '{name}'\nversion = '1.0'\n");
    let metadata = if backend.is_empty() { "" } else { &metadata };
    let pyproject = format!("[build-system]\nrequires = ['{requires}']\n{backend}{metadata}");
    let mut files = vec![(&*module, "ONE = 1\n"), ("pyproject.toml", &*pyproject)];
    files.extend(backend.is_empty().then_some(("setup.py", &*setup)));
    tree(name, &files)
}

/// A tree with a backend of its own, which needs nothing; its `build_wheel` is the text given.
fn own_backend(name: &str, build_wheel: &str) -> PathBuf {
    let pyproject = "[build-system]\nrequires = []\nbuild-backend = 'own'\nbackend-path = ['.']\n";
    let body = format!("def build_wheel(directory, config_settings=None, metadata_directory=None):\n{build_wheel}");
    tree(name, &[("pyproject.toml", pyproject), ("own.py", &body)])
}

/// The body of a `build_wheel` that writes an (empty) wheel, after `first`.
fn wheel(name: &str, first: &str) -> String {
    format!(
        "    {first}\n    open(directory + '/{name}-1.0-py3-none-any.whl', 'w').close()\n    return '{name}-1.0-py3-none-any.whl'\n"
    )
}

fn command(arguments: &[&str], inputs: &[&Path]) -> Command {
    let mut command = Command::new(FLOCKSTEP);
    command.args(["run", "build", "--format", "json"]).args(arguments).args(inputs);
    let tmp = PLACE.join("tmp");
    fs::create_dir_all(&tmp).unwrap();
    command.env("FLOCKSTEP_CACHE", PLACE.join("cache")).env("TMPDIR", tmp);
    command
}

/// The summary, the error output, the exit code.
fn finished(output: &Output) -> (Value, String, i32) {
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let last = text.lines().last().unwrap_or_else(|| panic!("no summary; {errors}"));
    (serde_json::from_str(last).unwrap(), errors, output.status.code().unwrap_or(-1))
}

fn build(arguments: &[&str], inputs: &[&Path]) -> (Value, String, i32) {
    finished(&command(arguments, inputs).output().unwrap())
}

#[track_caller]
fn assert_counts(summary: &Value, built: u64, reused: u64, failed: u64) {
    let found = ["built", "reused", "failed"].map(|name| summary[name].as_u64().unwrap());
    assert_eq!(found, [built, reused, failed], "built, reused, failed of {summary}");
}

#[test]
fn two_processes_build_each_project_once_and_an_edit_once_more() {
    if !python_is_here("two_processes_build_each_project_once_and_an_edit_once_more") {
        return;
    }
    let projects = [("a", "setup.py"), ("b", "setuptools"), ("c", "hatchling"), ("d", "hatchling")]
        .map(|(name, backend)| project(name, backend));
    let inputs = projects.each_ref().map(PathBuf::as_path);
    let out = PLACE.join("wheels");
    let arguments = ["--processes", "2", "--out", out.to_str().unwrap()];

    let (summary, errors, code) = build(&arguments, &inputs);
    assert_eq!(code, 0, "{errors}");
    assert_counts(&summary, 4, 4, 0);
    let by: u64 = summary["built_by"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).sum();
    assert_eq!((by, &summary["inputs"], &summary["processes"]), (4, &4.into(), &2.into()));
    let mut names: Vec<_> =
        fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert!(names.len() == 4 && names.iter().all(|name| name.ends_with(".whl")), "{names:?}");

    assert_counts(&build(&arguments, &inputs).0, 0, 8, 0);

    fs::write(projects[1].join("src/b/__init__.py"), "TWO = 2\n").unwrap();
    assert_counts(&build(&arguments, &inputs).0, 1, 7, 0);
}

/// A program that writes an archive with a link out of it.
const UNSAFE_ARCHIVE: &str = "
import io, sys, tarfile
with tarfile.open(sys.argv[1], 'w:gz') as tar:
    for name in ['pyproject.toml', 'link']:
        member = tarfile.TarInfo('unsafe-1.0/' + name)
        if name == 'link':
            member.type, member.linkname = tarfile.SYMTYPE, '../../x'
        tar.addfile(member, io.BytesIO())
";

#[test]
fn what_cannot_be_built_says_why_and_the_rest_is_built() {
    if !python_is_here("what_cannot_be_built_says_why_and_the_rest_is_built") {
        return;
    }
    let empty = tree("empty", &[("README", "")]);
    let broken = own_backend("broken", "    raise ValueError('the reason of the backend')\n");
    let archive = tree("archives", &[("not-1.0.tar.gz", "no archive")]).join("not-1.0.tar.gz");
    let unsafe_archive = archive.with_file_name("unsafe-1.0.tar.gz");
    let made = Command::new("python3").args(["-c", UNSAFE_ARCHIVE]).arg(&unsafe_archive).status().unwrap();
    assert!(made.success());
    let good = own_backend("good", &wheel("good", "pass"));
    let missing = PLACE.join("missing");
    let (summary, errors, code) =
        build(&["--processes", "2"], &[&empty, &broken, &archive, &unsafe_archive, &missing, &good]);
    assert_eq!(code, 1);
    assert_counts(&summary, 1, 1, 10);
    for (path, cause) in [
        (&empty, "it has neither pyproject.toml nor setup.py"),
        (&broken, "build_wheel failed"),
        (&archive, "it is no .tar.gz archive"),
        (&unsafe_archive, "its link 'unsafe-1.0/link' leads outside, to '../../x'"),
        (&missing, "there is no such file or directory"),
    ] {
        let path = path.canonicalize().unwrap_or_else(|_| path.clone());
        let expected = format!("error: {}: {cause}", path.display());
        assert_eq!(errors.matches(&expected).count(), 1, "{expected} in {errors}");
    }
    assert!(errors.contains("| ValueError: the reason of the backend"), "{errors}");
    assert_eq!(errors.matches("remedy: ").count(), 5, "{errors}");
}

#[test]
fn without_python_or_usable_arguments_there_is_one_error() {
    let (summary, errors, code) = build(&["--python", "/no/such/python"], &[Path::new("a"), Path::new("b")]);
    assert_eq!((code, errors.matches("error: ").count()), (1, 1), "{errors}");
    assert_counts(&summary, 0, 0, 2);
    assert_eq!(command(&["--jobs", "0"], &[Path::new("a")]).output().unwrap().status.code(), Some(2));
}

#[test]
fn a_shard_held_by_somebody_else_is_waited_for_as_long_as_allowed() {
    if !python_is_here("a_shard_held_by_somebody_else_is_waited_for_as_long_as_allowed") {
        return;
    }
    let held = own_backend("held", &wheel("held", "pass"));
    // A cache of its own: every shard in it is of this project.
    let cache = PLACE.join("cache of held");
    let arguments = ["--cache", cache.to_str().unwrap(), "--rebuild"];
    assert_counts(&build(&arguments, &[&held]).0, 1, 0, 0);
    // Whoever holds them says so, and holds them until its standard input ends.
    let hold = |lock: &PathBuf| {
        let mut holder = Command::new("flock");
        holder.arg(lock).args(["sh", "-c", "echo held; read end"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = holder.spawn().expect("flock(1) of util-linux");
        let mut said = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "held\n");
        holder
    };
    let holders: Vec<Child> = lock_files(&cache).iter().map(hold).collect();

    let (summary, errors, code) = build(&[&arguments[..], &["--lock-timeout", "0.5"]].concat(), &[&held]);
    assert_eq!(code, 1, "{errors}");
    assert_counts(&summary, 0, 0, 1);

    let mut waiting = command(&arguments, &[&held]);
    let mut waiting = waiting.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut errors = BufReader::new(waiting.stderr.take().unwrap()).lines().map(Result::unwrap);
    let line = errors.find(|line| line.contains("waiting for ")).expect("it says what it waits for");
    assert!(line.contains(" (held by another process)"), "{line}");
    for mut holder in holders {
        drop(holder.stdin.take());
        holder.wait().unwrap();
    }
    let rest: Vec<String> = errors.collect();
    let output = waiting.wait_with_output().unwrap();
    let (summary, _, code) = finished(&output);
    assert_eq!(code, 0, "{rest:?}");
    assert_counts(&summary, 1, 0, 0);
    assert!(summary["waited"].as_u64() > Some(0));
}

/// The locks of shards.
fn lock_files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(lock_files(&entry.path()));
            let lock = entry.path().join(".lock");
            found.extend(lock.exists().then_some(lock));
        }
    }
    found
}

#[test]
fn an_interrupt_leaves_nothing_behind() {
    if !python_is_here("an_interrupt_leaves_nothing_behind") {
        return;
    }
    for processes in ["1", "2"] {
        let name = format!("slow{processes}");
        let running = PLACE.join(format!("running{processes}"));
        let slow = own_backend(
            &name,
            &format!(
                "    import subprocess, sys, tempfile\n    tempfile.mkdtemp()\n    child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n    with open({running:?} + '.new', 'w') as file:\n        file.write(str(child.pid))\n    import os\n    os.rename({running:?} + '.new', {running:?})\n    child.wait()\n"
            ),
        );
        let cache = PLACE.join(format!("cache of {name}"));
        let mut started = command(&["--processes", processes, "--cache", cache.to_str().unwrap()], &[&slow]);
        let started = started.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let begun = Instant::now();
        while !running.exists() {
            assert!(begun.elapsed() < Duration::from_secs(30), "the hook does not start");
            std::thread::sleep(Duration::from_millis(20)); // polling, with the deadline above
        }
        let grandchild = fs::read_to_string(&running).unwrap();
        let interrupt = Command::new("kill").args(["-INT", &started.id().to_string()]).status().unwrap();
        assert!(interrupt.success());
        let (_, errors, code) = finished(&started.wait_with_output().unwrap());
        assert_eq!(code, 130, "{errors}");
        assert!(!Path::new("/proc").join(grandchild).exists(), "what the hook started is still there");
        let left: Vec<PathBuf> = temporary_directories(&cache);
        assert!(left.is_empty(), "{left:?}");
    }
}

fn temporary_directories(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap).filter(|entry| entry.file_type().unwrap().is_dir()) {
        if dir.ends_with("tmp") || entry.file_name().to_string_lossy().starts_with(".tmp") {
            found.push(entry.path());
        }
        found.extend(temporary_directories(&entry.path()));
    }
    found
}
