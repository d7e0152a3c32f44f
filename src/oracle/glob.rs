//! Patterns of paths: `*` stands for any part of a name, `**` for any number of directories.
//!
//! Our own, because it is twenty lines: `globset` brings a regular-expression engine, and `glob` gives meaning to `?` and `[`, which occur
//! in real cache paths, and lets `*` cross directories unless told otherwise.

use std::fmt;

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
        let pattern: Vec<&str> = self.0.split('/').collect();
        let path: Vec<&str> = path.split('/').collect();
        names_match(&pattern, &path)
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

fn names_match(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern, path) {
        ([], []) => true,
        (["**", rest @ ..], _) => (0..=path.len()).any(|skipped| names_match(rest, &path[skipped..])),
        ([first, rest @ ..], [name, path @ ..]) => name_matches(first, name) && names_match(rest, path),
        _ => false,
    }
}

fn name_matches(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(name) = name.strip_prefix(start) else { return false };
    let cuts = name.char_indices().map(|(at, _)| at).chain([name.len()]);
    cuts.into_iter().any(|at| name_matches(rest, &name[at..]))
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
