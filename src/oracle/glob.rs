//! Patterns of paths: `*` stands for any part of a name, `**` for any number of directories.
//!
//! Our own, because it is twenty lines: `globset` brings a regular-expression engine, and `glob` gives meaning to `?` and `[`, which occur
//! in real cache paths, and lets `*` cross directories unless told otherwise.

use std::fmt;
use std::sync::Arc;

/// A pattern of paths, or of names. Everything but `*` and `**` stands for itself.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Glob(String);

impl Glob {
    /// The pattern `text`; any text is one.
    pub fn new(text: impl Into<String>) -> Self {
        Glob(text.into())
    }

    /// Whether the whole of `path` is of this form.
    pub fn matches(&self, path: &str) -> bool {
        self.0 == "**" || names_match(Some(&self.0), Some(path))
    }
}

/// A pattern that the same few paths are asked about over and over: what it said of them is remembered.
#[derive(Debug)]
pub(super) struct Memo {
    pub(super) glob: Glob,
    /// By where the path stands in memory, which is the path's alone for as long as it is kept here.
    known: [Option<(Arc<str>, bool)>; KNOWN],
}

/// A power of two.
const KNOWN: usize = 16;

impl From<Glob> for Memo {
    fn from(glob: Glob) -> Self {
        Memo { glob, known: Default::default() }
    }
}

impl Memo {
    /// Whether the whole of `path` is of this form.
    #[inline]
    pub(super) fn matches(&mut self, path: &Arc<str>) -> bool {
        let known = &mut self.known[(Arc::as_ptr(path).addr() / 32) % KNOWN];
        match known {
            Some((known, matches)) if Arc::ptr_eq(known, path) => *matches,
            known => {
                let matches = self.glob.matches(path);
                *known = Some((path.clone(), matches));
                matches
            }
        }
    }
}

impl<T: Into<String>> From<T> for Glob {
    fn from(text: T) -> Self {
        Glob::new(text)
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Glob({:?})", self.0)
    }
}

/// The text before the first `sign`, and that after it. By bytes: what searches for characters is made for longer texts.
fn cut(text: &str, sign: u8) -> (&str, Option<&str>) {
    match text.bytes().position(|byte| byte == sign) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

/// `None` is what comes after the last name.
fn names_match(pattern: Option<&str>, mut path: Option<&str>) -> bool {
    let Some(pattern) = pattern else { return path.is_none() };
    let (first, others) = cut(pattern, b'/');
    if first == "**" {
        loop {
            if names_match(others, path) {
                return true;
            }
            let Some(names) = path else { return false };
            path = cut(names, b'/').1;
        }
    }
    let Some(names) = path else { return false };
    let (name, path) = cut(names, b'/');
    name_matches(first, name) && names_match(others, path)
}

fn name_matches(pattern: &str, name: &str) -> bool {
    let (start, Some(rest)) = cut(pattern, b'*') else { return pattern == name };
    let Some(name) = name.strip_prefix(start) else { return false };
    let cuts = name.char_indices().map(|(at, _)| at).chain([name.len()]);
    rest.is_empty() || cuts.into_iter().any(|at| name_matches(rest, &name[at..]))
}

#[cfg(test)]
mod tests {
    use super::Glob;

    #[test]
    fn a_star_stays_in_its_name_and_two_cross_directories() {
        for (pattern, path, expected) in [
            ("/a/.lock", "/a/.lock", true),
            ("/a/.lock", "/a/.lock2", false),
            ("/cache/*/.lock", "/cache/x/.lock", true),
            ("/cache/*/.lock", "/cache/x/y/.lock", false),
            ("/cache/**/.lock", "/cache/x/y/.lock", true),
            ("/cache/**/.lock", "/cache/.lock", true),
            ("/cache/**", "/cache", true),
            ("**/*.lock", "/tmp/ü.lock", true),
            ("*.lock", "/tmp/a.lock", false),
            ("clean*", "clean", true),
            ("a*b*c", "a-b-b-c", true),
            ("a[1]?", "a[1]?", true),
        ] {
            assert_eq!(Glob::new(pattern).matches(path), expected, "{pattern} on {path}");
        }
    }
}
