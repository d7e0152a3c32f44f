//! Bad input: one message, told in one place.

use super::Exit;
use anstyle::{AnsiColor, Style};
use std::io::Write as _;

/// How alike two names must be, from 0 to 1, for one to be offered in place of the other.
const ALIKE: f64 = 0.6;
/// More names than that do not help.
const NEAREST_MAX: usize = 3;

/// What was asked for does not exist, or makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadInput {
    what: String,
    nearest: Vec<String>,
    remedy: String,
}

impl BadInput {
    /// What is wrong, and what to do about it.
    pub(crate) fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        BadInput { what: what.into(), nearest: Vec::new(), remedy: remedy.into() }
    }

    /// With those of `names` that are most like the one that was given.
    pub(crate) fn near(mut self, given: &str, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.nearest = nearest(given, names.into_iter().map(Into::into));
        self
    }

    /// Says it on standard error.
    pub(crate) fn tell(&self) -> Exit {
        let red = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
        // Without anybody to read it, the exit code still says it.
        writeln!(anstream::stderr(), "{red}error{red:#}: {self}").ok();
        Exit::BadInput
    }
}

impl std::fmt::Display for BadInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)?;
        if !self.nearest.is_empty() {
            write!(f, "\n  nearest: {}", self.nearest.join(", "))?;
        }
        write!(f, "\n  remedy: {}", self.remedy)
    }
}

/// The names most like `given`, best first.
fn nearest(given: &str, names: impl Iterator<Item = String>) -> Vec<String> {
    let mut alike: Vec<(f64, String)> =
        names.map(|name| (strsim::jaro_winkler(given, &name), name)).filter(|(like, _)| *like >= ALIKE).collect();
    alike.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    alike.dedup_by(|a, b| a.1 == b.1);
    alike.truncate(NEAREST_MAX);
    alike.into_iter().map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_comes_first_and_what_is_far_is_left_out() {
        let names = ["shard-lock", "executor", "shard-lock/sound"].map(str::to_owned);
        assert_eq!(nearest("shardlock", names.into_iter())[0], "shard-lock");
        assert!(nearest("qqq", ["shard-lock".to_owned()].into_iter()).is_empty());
    }
}
