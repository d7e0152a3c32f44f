//! What a path leads through: for those who ask which steps depend on each other.

use super::names::LINKS_MAX;
use super::{Ino, Kernel, Node, Pid, ROOT};

/// A path, followed without judging it.
#[derive(Debug)]
pub(crate) struct Visited {
    /// Every name that was looked up, with its directory, in order.
    pub(crate) names: Vec<(Ino, String)>,
    /// What is there.
    pub(crate) found: Option<Ino>,
}

impl Kernel {
    /// Follows `path` as a call of `pid` would, as far as it leads; `follow` says whether a symbolic link at its end is followed.
    pub(crate) fn visit(&self, pid: Pid, path: &str, follow: bool) -> Visited {
        let mut visited = Visited { names: Vec::new(), found: None };
        visited.found = self.visit_from(self.cwd(pid), path, follow, &mut visited.names, &mut 0);
        visited
    }

    fn visit_from(
        &self,
        base: Ino,
        path: &str,
        follow: bool,
        names: &mut Vec<(Ino, String)>,
        links: &mut u32,
    ) -> Option<Ino> {
        let mut at = if path.starts_with('/') { ROOT } else { base };
        let mut components = path.split('/').filter(|component| !component.is_empty()).peekable();
        while let Some(component) = components.next() {
            names.push((at, component.to_owned()));
            let Node::Dir { parent, entries } = &self.inodes[at as usize].node else { return None };
            let next = match component {
                "." => at,
                ".." => *parent,
                name => *entries.get(name)?,
            };
            let goes_on = components.peek().is_some() || follow || path.ends_with('/');
            at = match &self.inodes[next as usize].node {
                Node::Symlink(target) if goes_on => {
                    *links += 1;
                    if *links > LINKS_MAX {
                        return None;
                    }
                    self.visit_from(at, target, true, names, links)?
                }
                _ => next,
            };
        }
        Some(at)
    }

    /// Whether that is a directory.
    pub(crate) fn is_directory(&self, ino: Ino) -> bool {
        self.is_dir(ino)
    }

    /// Whether so few descriptors are left to a process that who opens one first matters.
    pub(crate) fn is_short_of_descriptors(&self, pid: Pid, margin: u32) -> bool {
        let process = self.process(pid);
        self.descriptors_open(pid).saturating_add(margin) >= process.limit
    }

    /// The descriptions that a process has descriptors of.
    pub(crate) fn descriptions_of(&self, pid: Pid) -> Vec<(u32, super::Ofd)> {
        self.descriptors(pid).map(|d| (d.number, d.description)).collect()
    }

    /// What a description is of.
    pub(crate) fn inode_described(&self, ofd: super::Ofd) -> Ino {
        self.descriptions[ofd as usize].inode
    }

    /// What closing a descriptor would end: the description, its inode, its lock, whether it is the last descriptor, whether it is a pipe.
    pub(crate) fn at_stake(&self, pid: Pid, fd: u32) -> Option<AtStake> {
        let ofd = self.ofd(pid, fd).ok()?;
        let d = &self.descriptions[ofd as usize];
        let pipe = matches!(self.inodes[d.inode as usize].node, Node::Pipe(_));
        Some(AtStake { ofd, inode: d.inode, lock: d.lock, last: d.refs == 1, pipe })
    }
}

/// See [`Kernel::at_stake`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct AtStake {
    pub(crate) ofd: super::Ofd,
    pub(crate) inode: Ino,
    pub(crate) lock: Option<crate::world::LockMode>,
    pub(crate) last: bool,
    pub(crate) pipe: bool,
}
