//! Keys that are too long for a shell are kept in files.

use super::Progress;
use flockstep::explore::KEY_LENGTH_MAX;
use flockstep::{Exploration, Key, Verdict};
use std::io;
use std::path::{Path, PathBuf};

/// Where they are, below the current directory: beside the seeds of property tests, which are kept for the same reason.
const DIRECTORY: &str = "proptest-regressions/keys";

/// What to hand to `flockstep replay` to see a failure again: its key, or, if it takes several schedules, the keys of all of them with the
/// one that completes it last; or the file that they are now in, if they are long.
pub(super) fn key(exploration: &Exploration, engine: &str, progress: &Progress) -> Option<String> {
    let Verdict::Violated(failure) = &exploration.verdict else { return None };
    let key = failure.key.as_ref()?;
    let words: Vec<String> = failure.more_keys.iter().chain([key]).map(Key::to_string).collect();
    let word = words.join(" ");
    if word.len() <= KEY_LENGTH_MAX {
        return Some(word);
    }
    match write(key, &word, engine) {
        Ok(path) => {
            progress.note(&format!("note: the replay key of {} is long; wrote it to {}", key.scenario, path.display()));
            Some(path.display().to_string())
        }
        Err(error) => {
            progress.note(&format!("note: a long replay key could not be written to {DIRECTORY}: {error}"));
            Some(word)
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a file of the user's, outside of any world")]
fn write(key: &Key, word: &str, engine: &str) -> io::Result<PathBuf> {
    std::fs::create_dir_all(DIRECTORY)?;
    let path = Path::new(DIRECTORY).join(file_name(key, engine));
    std::fs::write(&path, format!("{word}\n"))?;
    Ok(path)
}

/// The scenario, the case and the engine in letters, digits and dashes.
fn file_name(key: &Key, engine: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let name: String = format!("{}-{}-{engine}", key.scenario, key.case).chars().map(plain).collect();
    let words: Vec<&str> = name.split('-').filter(|word| !word.is_empty()).collect();
    words.join("-") + ".key"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_by_what_fails() {
        let key: Key = "lock-order/ab%20ba:tasks=2,processes=1:-".parse().unwrap();
        assert_eq!(file_name(&key, "seeded"), "lock-order-ab-ba-tasks-2-processes-1-seeded.key");
    }
}
