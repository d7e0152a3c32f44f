//! Names: path resolution, and the calls that change directories.
//!
//! The order of the checks is the kernel's (fs/namei.c): which of two errors a caller sees decides what protocols do.

use std::borrow::Cow;
use std::sync::Arc;

use super::entries::Entries;
use super::{Call, Ino, Kernel, Node, Pid, ROOT};
use crate::world::{Entry, Errno, FileKind, Stat};

const NAME_MAX: usize = 255;
const PATH_MAX: usize = 4096;
pub(super) const LINKS_MAX: u32 = 40;

/// What the last component of a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Last {
    Name,
    Dot,
    DotDot,
    Root,
}

/// Where a path leads.
#[derive(Debug)]
pub(super) struct Place<'p> {
    /// The directory that the last component is in.
    pub(super) dir: Ino,
    /// Of the path, or of the text of a symbolic link.
    pub(super) name: Cow<'p, str>,
    pub(super) last: Last,
    /// The path ended in a slash.
    pub(super) slash: bool,
    /// What is there.
    pub(super) ino: Option<Ino>,
}

impl Place<'_> {
    /// ENAMETOOLONG if the last name is: looked at by the filesystem, and so only when it is asked for the name.
    fn check_name(&self) -> Call<()> {
        if self.name.len() > NAME_MAX { Err(Errno::NameTooLong) } else { Ok(()) }
    }
}

/// Flags of renameat2(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RenameFlags {
    /// RENAME_NOREPLACE.
    pub no_replace: bool,
    /// RENAME_EXCHANGE.
    pub exchange: bool,
}

#[inline]
fn without_slashes(path: &str) -> &str {
    let mut rest = path;
    while let Some(shorter) = rest.strip_prefix('/') {
        rest = shorter;
    }
    rest
}

impl Kernel {
    /// Checks that come before everything else: an empty path, one that is too long.
    pub(super) fn check_path(path: &str) -> Call<()> {
        match path.len() {
            0 => Err(Errno::NoEnt),
            n if n >= PATH_MAX => Err(Errno::NameTooLong),
            _ => Ok(()),
        }
    }

    pub(super) fn entries(&self, dir: Ino) -> Call<&Entries> {
        match &self.inodes[dir as usize].node {
            Node::Dir { entries, .. } => Ok(entries),
            _ => Err(Errno::NotDir),
        }
    }

    fn entries_mut(&mut self, dir: Ino) -> &mut Entries {
        match &mut self.inodes[dir as usize].node {
            Node::Dir { entries, .. } => entries,
            node => unreachable!("not a directory: {node:?}"),
        }
    }

    pub(super) fn is_dir(&self, ino: Ino) -> bool {
        matches!(self.inodes[ino as usize].node, Node::Dir { .. })
    }

    /// Resolves `path`; a symbolic link as last component is followed if `follow`, or if a slash comes after it.
    pub(super) fn resolve<'p>(&self, pid: Pid, path: &'p str, follow: bool) -> Call<Place<'p>> {
        Self::check_path(path)?;
        if let Some(place) = self.own_descriptor(pid, path).filter(|_| follow) {
            return Ok(place);
        }
        let place = self.walk(self.cwd(pid), path, follow, false, &mut 0)?;
        place.check_name()?;
        Ok(place)
    }

    /// The same for open(2) with O_CREAT: a last name with a slash after it, in the path or in the text of a symbolic link, is EISDIR
    /// without a look at what is there (open_last_lookups).
    pub(super) fn resolve_to_create<'p>(&self, pid: Pid, path: &'p str, follow: bool) -> Call<Place<'p>> {
        if let Some(place) = self.own_descriptor(pid, path).filter(|_| follow) {
            return Ok(place);
        }
        let place = self.walk(self.cwd(pid), path, follow, true, &mut 0)?;
        place.check_name()?;
        Ok(place)
    }

    /// The directory that a path leads to, by its number, and the name in there, whether anything is there or not.
    pub(crate) fn place_of(&self, pid: Pid, path: &str) -> Option<(u64, String)> {
        let place = self.resolve_to_create(pid, path, true).ok()?;
        Some((self.file_id(place.dir).inode, place.name.into_owned()))
    }

    /// What `/proc/self/fd/N` leads to: the file of descriptor N, whether it has a name or not. All there is of /proc.
    fn own_descriptor<'p>(&self, pid: Pid, path: &'p str) -> Option<Place<'p>> {
        let number = path.strip_prefix("/proc/self/fd/")?;
        let ino = self.inode_of(pid, number.parse().ok()?).ok()?;
        Some(Place { dir: ROOT, name: number.into(), last: Last::Name, slash: false, ino: Some(ino) })
    }

    /// Follows a path from a directory; `links` counts the symbolic links on the way.
    pub(super) fn walk<'p>(
        &self,
        base: Ino,
        path: &'p str,
        follow: bool,
        create: bool,
        links: &mut u32,
    ) -> Call<Place<'p>> {
        let mut dir = if path.starts_with('/') { ROOT } else { base };
        let mut rest = without_slashes(path);
        if rest.is_empty() {
            return Ok(Place { dir: ROOT, name: "/".into(), last: Last::Root, slash: true, ino: Some(ROOT) });
        }
        loop {
            // By bytes: what searches for characters is made for longer texts than these.
            let end = rest.bytes().position(|byte| byte == b'/').unwrap_or(rest.len());
            let (component, after) = rest.split_at(end);
            let slash = !after.is_empty();
            let after = without_slashes(after);
            let is_last = after.is_empty();
            let entries = self.entries(dir)?;
            if is_last && create && slash && !matches!(component, "." | "..") {
                return Err(Errno::IsDir);
            }
            let (ino, last) = match component {
                "." => (Some(dir), Last::Dot),
                ".." => (Some(self.parent(dir)), Last::DotDot),
                name => (entries.get(name).copied(), Last::Name),
            };
            if !is_last && component.len() > NAME_MAX {
                return Err(Errno::NameTooLong);
            }
            if let Some(ino) = ino
                && let Node::Symlink(target) = &self.inodes[ino as usize].node
                && (!is_last || follow || slash)
            {
                *links += 1;
                if *links > LINKS_MAX {
                    return Err(Errno::Loop);
                }
                let there = self.walk(dir, target, true, create && is_last, links)?;
                if is_last {
                    let Place { dir, name, last, slash: slash_there, ino } = there;
                    let name = Cow::Owned(name.into_owned());
                    return Ok(Place { dir, name, last, slash: slash || slash_there, ino });
                }
                there.check_name()?;
                dir = there.ino.ok_or(Errno::NoEnt)?;
                rest = after;
                continue;
            }
            if is_last {
                return Ok(Place { dir, name: component.into(), last, slash, ino });
            }
            dir = ino.ok_or(Errno::NoEnt)?;
            rest = after;
        }
    }

    fn parent(&self, dir: Ino) -> Ino {
        match self.inodes[dir as usize].node {
            Node::Dir { parent, .. } => parent,
            _ => ROOT,
        }
    }

    /// What is at a path, or why not: ENOENT, or ENOTDIR where a slash comes after something else than a directory.
    pub(super) fn lookup(&self, pid: Pid, path: &str, follow: bool) -> Call<Ino> {
        let place = self.resolve(pid, path, follow)?;
        let ino = place.ino.ok_or(Errno::NoEnt)?;
        if place.slash && !self.is_dir(ino) {
            return Err(Errno::NotDir);
        }
        Ok(ino)
    }

    /// Whether `dir` is `ancestor` or below it.
    fn is_below(&self, mut dir: Ino, ancestor: Ino) -> bool {
        loop {
            if dir == ancestor {
                return true;
            }
            if dir == ROOT {
                return false;
            }
            dir = self.parent(dir);
        }
    }

    pub(super) fn add_name(&mut self, dir: Ino, name: &str, ino: Ino) {
        let name = self.known.shared(name);
        if let Node::Dir { parent, .. } = &mut self.inodes[ino as usize].node {
            *parent = dir;
            self.inodes[dir as usize].nlink += 1;
        }
        self.entries_mut(dir).insert(name, ino);
    }

    fn remove_name(&mut self, dir: Ino, name: &str) -> Ino {
        let ino = self.entries_mut(dir).remove(name).expect("looked up before");
        if self.is_dir(ino) {
            self.inodes[dir as usize].nlink -= 1;
        }
        ino
    }

    fn drop_link(&mut self, ino: Ino) {
        let links = if self.is_dir(ino) { 2 } else { 1 };
        self.inodes[ino as usize].nlink -= links;
        self.reap_inode(ino);
    }

    /// The place for a name that must not exist yet (filename_create in the kernel): a symbolic link is in the way whatever it leads to,
    /// also with a slash after it.
    fn vacant<'p>(&self, pid: Pid, path: &'p str, for_dir: bool) -> Call<Place<'p>> {
        let place = self.resolve_last(pid, path)?;
        place.check_name()?;
        if place.last != Last::Name || place.ino.is_some() {
            return Err(Errno::Exist);
        }
        if place.slash && !for_dir {
            return Err(Errno::NoEnt);
        }
        self.check_alive(place.dir)?;
        Ok(place)
    }

    /// A directory that was removed takes no new names.
    pub(super) fn check_alive(&self, dir: Ino) -> Call<()> {
        if self.inodes[dir as usize].nlink == 0 { Err(Errno::NoEnt) } else { Ok(()) }
    }

    /// mkdir(2).
    pub fn mkdir(&mut self, pid: Pid, path: &str) -> Call<Ino> {
        let place = self.vacant(pid, path, true)?;
        let ino = self.new_inode(Node::Dir { parent: place.dir, entries: Default::default() }, 2);
        self.add_name(place.dir, &place.name, ino);
        Ok(ino)
    }

    /// symlink(2).
    pub fn symlink(&mut self, pid: Pid, target: &str, path: &str) -> Call<Ino> {
        Self::check_path(target)?;
        let place = self.vacant(pid, path, false)?;
        let ino = self.new_inode(Node::Symlink(target.into()), 1);
        self.add_name(place.dir, &place.name, ino);
        Ok(ino)
    }

    /// link(2): does not follow a symbolic link.
    pub fn link(&mut self, pid: Pid, existing: &str, new: &str) -> Call<Ino> {
        let ino = self.lookup(pid, existing, false)?;
        let place = self.vacant(pid, new, false)?;
        if self.is_dir(ino) {
            return Err(Errno::Perm);
        }
        self.inodes[ino as usize].nlink += 1;
        self.add_name(place.dir, &place.name, ino);
        Ok(ino)
    }

    /// readlink(2).
    pub fn read_link(&self, pid: Pid, path: &str) -> Call<Arc<str>> {
        match &self.inodes[self.lookup(pid, path, false)? as usize].node {
            Node::Symlink(target) => Ok(target.clone()),
            _ => Err(Errno::Inval),
        }
    }

    /// unlink(2).
    pub fn unlink(&mut self, pid: Pid, path: &str) -> Call<Ino> {
        let place = self.resolve_last(pid, path)?;
        place.check_name()?;
        if place.last != Last::Name {
            return Err(Errno::IsDir);
        }
        let ino = place.ino.ok_or(Errno::NoEnt)?;
        if self.is_dir(ino) {
            return Err(Errno::IsDir);
        }
        if place.slash {
            return Err(Errno::NotDir);
        }
        self.remove_name(place.dir, &place.name);
        self.drop_link(ino);
        Ok(ino)
    }

    /// rmdir(2).
    pub fn rmdir(&mut self, pid: Pid, path: &str) -> Call<Ino> {
        let place = self.resolve_last(pid, path)?;
        place.check_name()?;
        match place.last {
            Last::Dot => return Err(Errno::Inval),
            Last::DotDot => return Err(Errno::NotEmpty),
            Last::Root => return Err(Errno::Busy),
            Last::Name => {}
        }
        let ino = place.ino.ok_or(Errno::NoEnt)?;
        if !self.entries(ino)?.is_empty() {
            return Err(Errno::NotEmpty);
        }
        self.remove_name(place.dir, &place.name);
        self.drop_link(ino);
        Ok(ino)
    }

    /// Resolves without following the last component even when a slash comes after it: the calls that remove or move a *name*.
    fn resolve_last<'p>(&self, pid: Pid, path: &'p str) -> Call<Place<'p>> {
        let trimmed = path.trim_end_matches('/');
        if trimmed.is_empty() {
            return self.resolve(pid, path, false);
        }
        Self::check_path(path)?;
        let mut place = self.walk(self.cwd(pid), trimmed, false, false, &mut 0)?;
        place.slash = trimmed.len() < path.len();
        Ok(place)
    }

    /// renameat2(2). What was moved, and what it replaced.
    pub fn rename(&mut self, pid: Pid, from: &str, to: &str, flags: RenameFlags) -> Call<(Ino, Option<Ino>)> {
        if flags.no_replace && flags.exchange {
            return Err(Errno::Inval);
        }
        let old = self.resolve_last(pid, from)?;
        let new = self.resolve_last(pid, to)?;
        if old.last != Last::Name {
            return Err(Errno::Busy);
        }
        if new.last != Last::Name {
            return Err(if flags.no_replace { Errno::Exist } else { Errno::Busy });
        }
        old.check_name()?;
        let ino = old.ino.ok_or(Errno::NoEnt)?;
        new.check_name()?;
        let dir = self.is_dir(ino);
        match new.ino {
            Some(_) if flags.no_replace => return Err(Errno::Exist),
            None if flags.exchange => return Err(Errno::NoEnt),
            Some(target) if flags.exchange && new.slash && !self.is_dir(target) => return Err(Errno::NotDir),
            _ => {}
        }
        if !dir && (old.slash || (new.slash && !flags.exchange)) {
            return Err(Errno::NotDir);
        }
        if dir && self.is_below(new.dir, ino) {
            return Err(Errno::Inval);
        }
        if let Some(target) = new.ino
            && self.is_dir(target)
            && self.is_below(old.dir, target)
        {
            return Err(if flags.exchange { Errno::Inval } else { Errno::NotEmpty });
        }
        self.check_alive(new.dir)?;
        let Some(target) = new.ino else {
            self.remove_name(old.dir, &old.name);
            self.add_name(new.dir, &new.name, ino);
            return Ok((ino, None));
        };
        if target == ino {
            return Ok((ino, None)); // two names of one file: success, and both stay
        }
        if flags.exchange {
            self.remove_name(old.dir, &old.name);
            self.remove_name(new.dir, &new.name);
            self.add_name(old.dir, &old.name, target);
            self.add_name(new.dir, &new.name, ino);
            return Ok((ino, None));
        }
        match (dir, self.is_dir(target)) {
            (true, false) => return Err(Errno::NotDir),
            (false, true) => return Err(Errno::IsDir),
            (true, true) if !self.entries(target)?.is_empty() => return Err(Errno::NotEmpty),
            _ => {}
        }
        self.remove_name(new.dir, &new.name);
        self.remove_name(old.dir, &old.name);
        self.add_name(new.dir, &new.name, ino);
        self.drop_link(target);
        Ok((ino, Some(target)))
    }

    /// The attributes of an inode.
    pub(super) fn stat_of(&self, ino: Ino) -> Stat {
        let inode = &self.inodes[ino as usize];
        let (kind, size) = match &inode.node {
            Node::File(bytes) => (FileKind::File, bytes.len() as u64),
            Node::Dir { .. } => (FileKind::Dir, 4096),
            Node::Symlink(target) => (FileKind::Symlink, target.len() as u64),
            Node::Pipe(_) | Node::Null | Node::Free => (FileKind::Other, 0),
        };
        Stat { id: self.file_id(ino), kind, nlink: u64::from(inode.nlink), size }
    }

    /// stat(2), or lstat(2) without `follow`.
    pub fn stat(&self, pid: Pid, path: &str, follow: bool) -> Call<Stat> {
        Ok(self.stat_of(self.lookup(pid, path, follow)?))
    }

    /// The names of a directory, sorted. The descriptor that it takes is given back within the call, and counts for the peak.
    pub fn read_dir(&mut self, pid: Pid, path: &str) -> Call<Vec<Entry>> {
        Self::check_path(path)?;
        self.check_descriptor_free(pid)?;
        let dir = self.lookup(pid, path, true)?;
        self.process_mut(pid).lend_lowest();
        let entry = |(name, &ino): (&Arc<str>, &Ino)| Entry { name: name.to_string(), is_dir: self.is_dir(ino) };
        Ok(self.entries(dir)?.iter().map(entry).collect())
    }
}
