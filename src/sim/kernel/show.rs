//! The kernel printed as `lslocks(8)` and `lsof(8)` would, and read by those who judge it.

use std::fmt::Write;

use super::{Ino, Inode, Kernel, Node, Ofd, ROOT};
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
        self.walk(ROOT, path, true, false, &mut 0).ok()?.ino
    }

    /// The names in a directory, sorted; none if it is not one.
    pub fn names_in(&self, path: &str) -> Vec<String> {
        let entries = self.find(path).and_then(|dir| self.entries(dir).ok());
        entries.map_or_else(Vec::new, |entries| entries.keys().map(ToString::to_string).collect())
    }

    /// Calls `visit` with every path and whether it is a directory, parents first, in the order of the names.
    pub fn walk_tree(&self, visit: &mut impl FnMut(&str, bool)) {
        self.walk_inodes(&mut |path, ino| visit(path, self.is_dir(ino)));
    }

    /// The same with the inode.
    pub(crate) fn walk_inodes(&self, visit: &mut impl FnMut(&str, Ino)) {
        let mut stack = vec![(String::new(), ROOT)];
        while let Some((path, ino)) = stack.pop() {
            if !path.is_empty() {
                visit(&path, ino);
            }
            if let Ok(entries) = self.entries(ino) {
                stack.extend(entries.iter().rev().map(|(name, &ino)| (format!("{path}/{name}"), ino)));
            }
        }
    }

    /// What an inode is, without the numbers of others.
    pub(crate) fn told_inode(&self, ino: Ino) -> String {
        let Inode { node, nlink, open, ranges, executable, .. } = &self.inodes[ino as usize];
        let node = match node {
            Node::Dir { .. } => "directory".to_owned(),
            node => format!("{node:?}"),
        };
        format!("{node} {nlink} names {open} open {} ranges {executable}", ranges.len())
    }

    /// What a description is of, and how it stands.
    pub(crate) fn told_description(&self, ofd: Ofd) -> (Ino, String) {
        let d = &self.descriptions[ofd as usize];
        let flags = [d.read, d.write, d.append, d.path_only];
        (d.inode, format!("{flags:?} at {} lock {:?} lost {:?} refs {}", d.offset, d.lock, d.lost, d.refs))
    }

    /// A directory with those above it, before anything runs.
    ///
    /// # Panics
    /// If the path is not absolute, or something else than a directory is in the way.
    pub fn place_directory(&mut self, path: &str) -> Ino {
        assert!(path.starts_with('/'), "{path:?} is not absolute");
        let mut at = ROOT;
        for component in path.split('/').filter(|c| !c.is_empty()) {
            let entries =
                self.entries(at).unwrap_or_else(|_| panic!("above {path:?} is something that is no directory"));
            at = match entries.get(component) {
                Some(&ino) => ino,
                None => {
                    let ino = self.new_inode(Node::Dir { parent: at, entries: Default::default() }, 2);
                    self.add_name(at, component, ino);
                    ino
                }
            };
        }
        assert!(self.entries(at).is_ok(), "{path:?} is there, and is no directory");
        at
    }

    fn place(&mut self, path: &str, node: Node) {
        let (parent, name) = path.rsplit_once('/').unwrap_or_else(|| panic!("{path:?} is not absolute"));
        let dir = self.place_directory(if parent.is_empty() { "/" } else { parent });
        assert!(!self.entries(dir).is_ok_and(|entries| entries.contains_key(name)), "{path:?} is placed twice");
        let ino = self.new_inode(node, 1);
        self.add_name(dir, name, ino);
    }

    /// A file with the directories above it, before anything runs.
    ///
    /// # Panics
    /// As [`place_directory`](Kernel::place_directory), or if something is there.
    pub fn place_file(&mut self, path: &str, content: &[u8]) {
        self.place(path, Node::File(content.to_vec()));
    }

    /// A symbolic link with the directories above it, before anything runs.
    ///
    /// # Panics
    /// As [`place_file`](Kernel::place_file).
    pub fn place_symlink(&mut self, path: &str, target: &str) {
        self.place(path, Node::Symlink(target.into()));
    }

    /// The lock table in the columns of `lslocks(8)`; `name` gives a process's name.
    pub fn lslocks(&self, name: &dyn Fn(u32) -> String) -> String {
        let mut rows = vec![["COMMAND", "PID", "TYPE", "INODE", "MODE", "FD", "PATH"].map(str::to_owned)];
        for (ino, ofd, mode) in self.held_locks() {
            for pid in 0..self.process_count() {
                for d in self.descriptors(pid).filter(|d| d.description == ofd) {
                    let mode = if mode == LockMode::Shared { "READ" } else { "WRITE" };
                    let number = self.file_id(ino).inode.to_string();
                    let row = [name(pid), pid.to_string(), "FLOCK".into(), number, mode.into()];
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
