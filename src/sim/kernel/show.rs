//! The kernel printed as `lslocks(8)` and `lsof(8)` would, and read by those who judge it.

use std::fmt::Write;

use super::{Ino, Kernel, Node, ROOT};
use crate::world::LockMode;

impl Kernel {
    /// The content of a regular file, if the path leads to one. Relative to the root; resolves symbolic links.
    pub fn content(&self, path: &str) -> Option<&[u8]> {
        match &self.inodes[self.find(path)? as usize].node {
            Node::File(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The inode a path leads to.
    pub fn find(&self, path: &str) -> Option<Ino> {
        let mut at = ROOT;
        for component in path.split('/').filter(|c| !c.is_empty()) {
            at = *self.entries(at).ok()?.get(component)?;
            let mut links = 0;
            while let Node::Symlink(target) = &self.inodes[at as usize].node {
                links += 1;
                if links > 40 || !target.starts_with('/') {
                    return None;
                }
                at = self.find(target)?;
            }
        }
        Some(at)
    }

    /// The names in a directory, sorted; none if it is not one.
    pub fn names_in(&self, path: &str) -> Vec<String> {
        let entries = self.find(path).and_then(|dir| self.entries(dir).ok());
        entries.map_or_else(Vec::new, |entries| entries.keys().map(ToString::to_string).collect())
    }

    /// Calls `visit` with every path and whether it is a directory, parents first, in the order of the names.
    pub fn walk_tree(&self, visit: &mut impl FnMut(&str, bool)) {
        let mut stack = vec![(String::new(), ROOT)];
        while let Some((path, ino)) = stack.pop() {
            let dir = self.is_dir(ino);
            if !path.is_empty() {
                visit(&path, dir);
            }
            if let Ok(entries) = self.entries(ino) {
                stack.extend(entries.iter().rev().map(|(name, &ino)| (format!("{path}/{name}"), ino)));
            }
        }
    }

    /// The lock table in the columns of `lslocks(8)`; `name` gives a process's name.
    pub fn lslocks(&self, name: &dyn Fn(u32) -> String) -> String {
        let mut rows = vec![["COMMAND", "PID", "TYPE", "INODE", "MODE", "FD", "PATH"].map(str::to_owned)];
        for (ino, ofd, mode) in self.held_locks() {
            for pid in 0..self.process_count() {
                for d in self.descriptors(pid).filter(|d| d.description == ofd) {
                    let mode = if mode == LockMode::Shared { "READ" } else { "WRITE" };
                    let row = [name(pid), pid.to_string(), "FLOCK".into(), ino.to_string(), mode.into()];
                    let [command, pid, kind, ino, mode] = row;
                    rows.push([command, pid, kind, ino, mode, d.number.to_string(), d.path.to_string()]);
                }
            }
        }
        columns(&rows)
    }

    /// The open descriptors in the columns of `lsof(8)`; `name` gives a process's name.
    pub fn lsof(&self, name: &dyn Fn(u32) -> String) -> String {
        let mut rows = vec![["COMMAND", "PID", "FD", "LOCK", "NAME"].map(str::to_owned)];
        for pid in 0..self.process_count() {
            for d in self.descriptors(pid) {
                let lock = match d.lock {
                    Some(LockMode::Shared) => "R",
                    Some(LockMode::Exclusive) => "W",
                    None => "",
                };
                rows.push([name(pid), pid.to_string(), d.number.to_string(), lock.into(), d.path.to_string()]);
            }
        }
        columns(&rows)
    }
}

/// Left-aligned columns, two spaces apart, no trailing blanks.
fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}
