//! Files, descriptors and locks.

use super::*;

/// A descriptor of a simulated process.
pub struct SimFile {
    world: SimWorld,
    fd: Option<u32>,
}

impl SimFile {
    pub(super) fn number(&self) -> u32 {
        self.fd.expect("open until it is closed")
    }
    pub(super) fn path(&self) -> Arc<str> {
        let state = self.world.core.lock();
        state.kernel.describe(self.world.pid, self.number()).map_or_else(|_| "?".into(), |(path, _, _)| path)
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
        let mut state = self.world.core.lock();
        if state.acts(self.world.pid)
            && let Ok(closed) = state.kernel.close(self.world.pid, fd)
        {
            let by = state.current;
            state.emit_closed(self.world.pid, by, fd, closed);
            state.settle();
        }
    }
}

impl Files for SimWorld {
    type File = SimFile;

    async fn open(&self, path: &str, options: OpenOptions) -> Result<SimFile> {
        let path: Arc<str> = path.into();
        let ret = self.on_path(Op::Open { path: path.clone(), options }, &path).await?;
        Ok(self.file(expect!(ret, Ret::Fd(fd) => fd)))
    }
    async fn close(&self, mut file: SimFile) -> Result<()> {
        let op = Op::Close { fd: file.number() };
        // Dropped before the step: the drop of the file closes it.
        let ret = self.on_file(op, &file).await;
        file.fd = None;
        ret.map(drop)
    }
    async fn dup(&self, file: &SimFile) -> Result<SimFile> {
        let ret = self.on_file(Op::Dup { fd: file.number() }, file).await?;
        Ok(self.file(expect!(ret, Ret::Fd(fd) => fd)))
    }
    async fn read(&self, file: &SimFile, len: usize) -> Result<Vec<u8>> {
        let ret = self.on_file(Op::Read { fd: file.number(), len }, file).await?;
        Ok(expect!(ret, Ret::Bytes(bytes) => bytes))
    }
    async fn write(&self, file: &SimFile, bytes: &[u8]) -> Result<usize> {
        let ret = self.on_file(Op::Write { fd: file.number(), data: bytes.into() }, file).await?;
        Ok(expect!(ret, Ret::Number(n) => n as usize))
    }
    async fn seek(&self, file: &SimFile, offset: u64) -> Result<()> {
        self.on_file(Op::Seek { fd: file.number(), offset }, file).await.map(drop)
    }
    async fn truncate(&self, file: &SimFile, len: u64) -> Result<()> {
        self.on_file(Op::Truncate { fd: file.number(), len }, file).await.map(drop)
    }
    async fn fsync(&self, file: &SimFile) -> Result<()> {
        self.on_file(Op::Sync { fd: file.number() }, file).await.map(drop)
    }
    async fn fstat(&self, file: &SimFile) -> Result<Stat> {
        let ret = self.on_file(Op::Fstat { fd: file.number() }, file).await?;
        Ok(expect!(ret, Ret::Stat(stat) => *stat))
    }
    async fn stat(&self, path: &str) -> Result<Stat> {
        let path: Arc<str> = path.into();
        let ret = self.on_path(Op::Stat { path: path.clone(), follow: true }, &path).await?;
        Ok(expect!(ret, Ret::Stat(stat) => *stat))
    }
    async fn lstat(&self, path: &str) -> Result<Stat> {
        let path: Arc<str> = path.into();
        let ret = self.on_path(Op::Stat { path: path.clone(), follow: false }, &path).await?;
        Ok(expect!(ret, Ret::Stat(stat) => *stat))
    }
    async fn rename(&self, from: &str, to: &str) -> Result<()> {
        let (from, to): (Arc<str>, Arc<str>) = (from.into(), to.into());
        let op = Op::Rename { from: from.clone(), to: to.clone(), flags: RenameFlags::default() };
        self.call(op, || format!("{from} to {to}").into()).await.map(drop)
    }
    async fn link(&self, existing: &str, new: &str) -> Result<()> {
        let new: Arc<str> = new.into();
        self.on_path(Op::Link { existing: existing.into(), new: new.clone() }, &new).await.map(drop)
    }
    async fn symlink(&self, target: &str, path: &str) -> Result<()> {
        let path: Arc<str> = path.into();
        self.on_path(Op::Symlink { target: target.into(), path: path.clone() }, &path).await.map(drop)
    }
    async fn read_link(&self, path: &str) -> Result<String> {
        let path: Arc<str> = path.into();
        let ret = self.on_path(Op::ReadLink { path: path.clone() }, &path).await?;
        Ok(expect!(ret, Ret::Text(text) => text.to_string()))
    }
    async fn unlink(&self, path: &str) -> Result<()> {
        let path: Arc<str> = path.into();
        self.on_path(Op::Unlink { path: path.clone() }, &path).await.map(drop)
    }
    async fn mkdir(&self, path: &str) -> Result<()> {
        let path: Arc<str> = path.into();
        self.on_path(Op::MakeDir { path: path.clone() }, &path).await.map(drop)
    }
    async fn rmdir(&self, path: &str) -> Result<()> {
        let path: Arc<str> = path.into();
        self.on_path(Op::RemoveDir { path: path.clone() }, &path).await.map(drop)
    }
    async fn read_dir(&self, path: &str) -> Result<Vec<Entry>> {
        let path: Arc<str> = path.into();
        let ret = self.on_path(Op::ReadDir { path: path.clone() }, &path).await?;
        Ok(expect!(ret, Ret::Entries(entries) => entries))
    }
    async fn pipe(&self) -> Result<(SimFile, SimFile)> {
        let ret = self.call(Op::Pipe, || "pipe".into()).await?;
        Ok(expect!(ret, Ret::Fds(reader, writer) => (self.file(reader), self.file(writer))))
    }
    fn descriptor(&self, file: &SimFile) -> u32 {
        file.number()
    }
    fn inherited(&self, descriptor: u32) -> Result<SimFile> {
        let mut state = self.core.lock();
        let inherited = &mut state.hosts[self.pid as usize].inherited;
        let Some(at) = inherited.iter().position(|&number| number == descriptor) else {
            return Err(Error::new(Errno::BadF, "fcntl", format!("descriptor {descriptor}")));
        };
        inherited.swap_remove(at);
        Ok(self.file(descriptor))
    }
}

impl Locks for SimWorld {
    async fn flock(&self, file: &SimFile, mode: LockMode) -> Result<()> {
        self.on_file(Op::Flock { fd: file.number(), mode, converted: false }, file).await.map(drop)
    }
    async fn try_flock(&self, file: &SimFile, mode: LockMode) -> Result<bool> {
        match self.on_file(Op::TryFlock { fd: file.number(), mode }, file).await? {
            // Refused, and kept: the contract says that the old lock is lost (L3), and the real world makes it so in a second call.
            Ret::Unit => self.unlock(file).await.map(|()| false),
            ret => Ok(expect!(ret, Ret::Flag(granted) => granted)),
        }
    }
    async fn unlock(&self, file: &SimFile) -> Result<()> {
        self.on_file(Op::Unlock { fd: file.number() }, file).await.map(drop)
    }
}
