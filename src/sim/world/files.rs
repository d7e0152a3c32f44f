//! Files, descriptors and locks.

use std::hash::{Hash, Hasher};

use super::*;
use crate::sim::names::Data;

/// A descriptor of a simulated process.
pub struct SimFile {
    world: SimWorld,
    fd: Option<u32>,
}

impl SimFile {
    pub(super) fn number(&self) -> u32 {
        self.fd.expect("open until it is closed")
    }
}

impl SimWorld {
    pub(super) fn file(&self, fd: u32) -> SimFile {
        SimFile { world: self.clone(), fd: Some(fd) }
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let Some(fd) = self.fd else { return };
        let Some(mut state) = self.world.acting() else { return };
        state.touch_close(self.world.pid, fd);
        if let Ok(closed) = state.kernel.close(self.world.pid, fd) {
            let by = state.current;
            state.emit_closed(self.world.pid, by, fd, closed);
            state.settle();
        }
    }
}

/// By its number, which is what a program has of it.
impl Hash for SimFile {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fd.hash(state);
    }
}

impl Files for SimWorld {
    type File = SimFile;

    #[inline(always)]
    fn open(&self, path: &str, options: OpenOptions) -> impl Future<Output = Result<SimFile>> + Send {
        let op = Op::Open { path: self.name(path), options };
        self.call(op, |world, ret| expect!(ret, Ret::Fd(fd) => world.file(fd)))
    }
    fn forgetting<T: Hash + Send>(&self, steps: impl Future<Output = T> + Send) -> impl Future<Output = T> + Send {
        self.forget(steps)
    }
    fn keeping(&self, left: &impl Hash) {
        self.keep(left);
    }
    async fn close(&self, mut file: SimFile) -> Result<()> {
        // Dropped before the step: the drop of the file closes it.
        let closed = self.effect(Op::Close { fd: file.number() }).await;
        file.fd = None;
        closed
    }
    fn dup(&self, file: &SimFile) -> impl Future<Output = Result<SimFile>> + Send {
        self.call(Op::Dup { fd: file.number() }, |world, ret| expect!(ret, Ret::Fd(fd) => world.file(fd)))
    }
    #[inline(always)]
    fn read(&self, file: &SimFile, len: usize) -> impl Future<Output = Result<Vec<u8>>> + Send {
        self.call(Op::Read { fd: file.number(), len }, |_, ret| expect!(ret.large(), Large::Bytes(bytes) => bytes))
    }
    #[inline(always)]
    fn write(&self, file: &SimFile, bytes: &[u8]) -> impl Future<Output = Result<usize>> + Send {
        let data = Data::short(bytes).unwrap_or_else(|| self.machine().written.data(bytes));
        let op = Op::Write { fd: file.number(), data };
        self.call(op, |_, ret| expect!(ret, Ret::Number(n) => n as usize))
    }
    fn seek(&self, file: &SimFile, offset: u64) -> impl Future<Output = Result<()>> + Send {
        self.effect(Op::Seek { fd: file.number(), offset })
    }
    fn truncate(&self, file: &SimFile, len: u64) -> impl Future<Output = Result<()>> + Send {
        self.effect(Op::Truncate { fd: file.number(), len })
    }
    fn fsync(&self, file: &SimFile) -> impl Future<Output = Result<()>> + Send {
        self.effect(Op::Sync { fd: file.number() })
    }
    #[inline(always)]
    fn fstat(&self, file: &SimFile) -> impl Future<Output = Result<Stat>> + Send {
        self.call(Op::Fstat { fd: file.number() }, |_, ret| expect!(ret.large(), Large::Stat(stat) => stat))
    }
    fn stat(&self, path: &str) -> impl Future<Output = Result<Stat>> + Send {
        let op = Op::Stat { path: self.name(path), follow: true };
        self.call(op, |_, ret| expect!(ret.large(), Large::Stat(stat) => stat))
    }
    fn lstat(&self, path: &str) -> impl Future<Output = Result<Stat>> + Send {
        let op = Op::Stat { path: self.name(path), follow: false };
        self.call(op, |_, ret| expect!(ret.large(), Large::Stat(stat) => stat))
    }
    fn rename(&self, from: &str, to: &str) -> impl Future<Output = Result<()>> + Send {
        self.effect(Op::Rename { from: self.name(from), to: self.name(to), flags: RenameFlags::default() })
    }
    fn link(&self, existing: &str, new: &str) -> impl Future<Output = Result<()>> + Send {
        self.effect(Op::Link { existing: self.name(existing), new: self.name(new) })
    }
    fn symlink(&self, target: &str, path: &str) -> impl Future<Output = Result<()>> + Send {
        self.effect(Op::Symlink { target: self.name(target), path: self.name(path) })
    }
    fn read_link(&self, path: &str) -> impl Future<Output = Result<String>> + Send {
        self.call(
            Op::ReadLink { path: self.name(path) },
            |_, ret| expect!(ret.large(), Large::Text(text) => text.to_string()),
        )
    }
    fn unlink(&self, path: &str) -> impl Future<Output = Result<()>> + Send {
        self.effect(Op::Unlink { path: self.name(path) })
    }
    fn mkdir(&self, path: &str) -> impl Future<Output = Result<()>> + Send {
        self.effect(Op::MakeDir { path: self.name(path) })
    }
    fn rmdir(&self, path: &str) -> impl Future<Output = Result<()>> + Send {
        self.effect(Op::RemoveDir { path: self.name(path) })
    }
    fn read_dir(&self, path: &str) -> impl Future<Output = Result<Vec<Entry>>> + Send {
        self.call(
            Op::ReadDir { path: self.name(path) },
            |_, ret| expect!(ret.large(), Large::Entries(entries) => entries),
        )
    }
    fn pipe(&self) -> impl Future<Output = Result<(SimFile, SimFile)>> + Send {
        self.call(
            Op::Pipe,
            |world, ret| expect!(ret, Ret::Fds(reader, writer) => (world.file(reader), world.file(writer))),
        )
    }
    fn descriptor(&self, file: &SimFile) -> u32 {
        self.machine().dials.read_descriptor();
        file.number()
    }
    fn inherited(&self, descriptor: u32) -> Result<SimFile> {
        let mut state = self.machine();
        state.dials.read_descriptor();
        let inherited = &mut state.hosts[self.pid as usize].inherited;
        let Some(at) = inherited.iter().position(|&number| number == descriptor) else {
            return Err(Error::new(Errno::BadF, "fcntl", format!("descriptor {descriptor}")));
        };
        inherited.swap_remove(at);
        Ok(self.file(descriptor))
    }
}

impl Locks for SimWorld {
    #[inline(always)]
    fn flock(&self, file: &SimFile, mode: LockMode) -> impl Future<Output = Result<()>> + Send {
        self.effect(Op::Flock { fd: file.number(), mode, converted: false })
    }
    async fn try_flock(&self, file: &SimFile, mode: LockMode) -> Result<bool> {
        let op = Op::TryFlock { fd: file.number(), mode };
        let granted = self.call(op, |_, ret| match ret {
            Ret::Unit => None,
            ret => Some(expect!(ret, Ret::Flag(granted) => granted)),
        });
        match granted.await? {
            Some(granted) => Ok(granted),
            // Refused, and kept: the contract says that the old lock is lost (L3), and the real world makes it so in a second call.
            None => self.unlock(file).await.map(|()| false),
        }
    }
    #[inline(always)]
    fn unlock(&self, file: &SimFile) -> impl Future<Output = Result<()>> + Send {
        self.effect(Op::Unlock { fd: file.number() })
    }
}
