//! A disk that forgets what was not synced.
//!
//! A [`SimDisk`] is the disk of one simulated machine, in memory. *Processes* see it through [`SimDisk::process`] (files)
//! and [`SimVfs`](crate::SimVfs) (SQLite). A process can be *killed*: its locks are free at once, everything it holds
//! fails from then on, and what it wrote stays. The *power* can be *cut*: every process is dead, and of what was not
//! synced the disk keeps a selection drawn from the seed, with writes torn at sectors.
//!
//! The disk is as unkind as a portable program must expect. Syncing a file says nothing about its name; syncing a
//! folder says nothing about the folder's own name. Names that were not synced may survive in any combination in which
//! no file is lost by being moved. Times are those of the [`SimClock`], so two changes in one instant share theirs, as
//! they do within a tick of a real kernel.

mod content;
mod fingerprint;
mod inode;
mod names;
mod state;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use landfall_env::{DirEntry, File, FileLock, FileStatus, Files};

pub(crate) use self::{
    fingerprint::Shape,
    state::{LockLevel, OpenId, State},
};
use crate::{SeededRandom, SimClock};

/// The disk of a simulated machine.
pub struct SimDisk {
    state: Mutex<State>,
    clock: Arc<SimClock>,
}

/// A process on a simulated machine. Never used again once it is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId(u64);

/// What a process asks of the disk; see [`SimDisk::fail_next`]. SQLite's calls count too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Opens an existing file.
    Open,
    /// Creates a file.
    Create,
    /// Reads bytes.
    Read,
    /// Writes bytes.
    Write,
    /// Cuts a file short.
    SetLen,
    /// Sets a file's time of modification.
    SetModified,
    /// Makes a file's content durable.
    Sync,
    /// Makes a folder's names durable.
    SyncDir,
    /// Moves a file.
    Rename,
    /// Gives a file a second name.
    HardLink,
    /// Removes a file's name.
    RemoveFile,
    /// Creates folders.
    CreateDir,
    /// Removes a folder.
    RemoveDir,
    /// Asks what a name or an open file is.
    Status,
    /// Lists a folder.
    List,
    /// Takes a lock.
    Lock,
    /// Asks for the free space.
    FreeBytes,
}

impl Op {
    /// Whether it changes what a power cut would leave.
    fn writes(self) -> bool {
        !matches!(self, Self::Open | Self::Read | Self::Status | Self::List | Self::Lock | Self::FreeBytes)
    }
}

/// Processes, and what may happen to them.
impl SimDisk {
    /// An empty disk of 1 TiB.
    pub fn new(clock: Arc<SimClock>) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State::new(clock.wall_ns())), clock })
    }

    /// Starts a process.
    pub fn spawn(&self) -> ProcessId {
        self.state().spawn()
    }

    /// The disk as a process sees it.
    pub fn process(self: &Arc<Self>, process: ProcessId) -> Arc<dyn Files> {
        Arc::new(ProcessFiles { disk: Arc::clone(self), process })
    }

    /// Whether a process lives.
    pub fn is_alive(&self, process: ProcessId) -> bool {
        self.state().is_alive(process)
    }

    /// Ends a process as `kill -9` does: its locks are free, all its later calls fail and change nothing, and what it
    /// wrote stays. Nothing happens if it is dead.
    ///
    /// Drop its SQLite connections before other processes go on: one with an open transaction still tidies the memory
    /// it shares with theirs.
    pub fn kill(&self, process: ProcessId) {
        self.state().kill(process);
    }

    /// Kills a process at the call after its next `writes` calls that write, sync or change names. That call does not
    /// happen.
    pub fn kill_after(&self, process: ProcessId, writes: u64) {
        self.state().kill_after(process, writes);
    }

    /// Cuts the power: kills every process and leaves a state in which the disk may be found afterwards.
    pub fn power_cut(&self, random: &SeededRandom) {
        self.state().power_cut(random);
    }

    /// Makes everything durable, as it becomes by itself when nothing happens for a while.
    pub fn settle(&self) {
        self.state().sync_all();
    }

    /// Leaves room for this many more bytes. Whoever needs more gets `StorageFull`, SQLite `SQLITE_FULL`.
    pub fn set_free(&self, bytes: u64) {
        let mut state = self.state();
        state.capacity = state.used.saturating_add(bytes);
    }

    /// Lets the next call of this sort fail, whoever makes it. Calls add up.
    pub fn fail_next(&self, op: Op, kind: io::ErrorKind) {
        self.state().fail_next(op, kind);
    }

    /// From now on two names that differ only in case are one, as on macOS and Windows.
    pub fn fold_names(&self) {
        self.state().folds_names = true;
    }

    /// Takes SQLite's syncs away, or gives them back: they succeed and do nothing.
    pub fn skip_database_sync(&self, skip: bool) {
        self.state().skip_database_sync = skip;
    }
}

/// What a test may do and see without being a process.
impl SimDisk {
    /// Gives a file this content, in place if it exists, as another application would; folders are created. It is
    /// durable at once.
    pub fn put(&self, path: impl AsRef<Path>, bytes: &[u8]) -> io::Result<()> {
        self.state().put(path.as_ref(), bytes, self.clock.wall_ns())
    }

    /// Creates a folder and its parents, durable at once.
    pub fn put_dir(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.state().put_dir(path.as_ref(), self.clock.wall_ns())
    }

    /// Removes a file's name, durable at once.
    pub fn remove(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let path = path.as_ref();
        let mut state = self.state();
        state.remove_file(path, self.clock.wall_ns())?;
        state.sync_dir(path.parent().unwrap_or(path))
    }

    /// The content of a file as processes see it.
    pub fn read(&self, path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        Ok(self.state().content(path.as_ref())?.to_vec())
    }

    /// All files, sorted.
    pub fn files(&self) -> Vec<PathBuf> {
        self.state().files().into_iter().map(|(path, _)| path).collect()
    }

    /// Calls so far that wrote, synced or changed names.
    pub fn writes(&self) -> u64 {
        self.state().writes
    }

    /// A fingerprint of all files, with what is and what is not durable of them. Leaves out the salts that SQLite puts
    /// into its logs, since no seed reaches them.
    pub fn digest(&self) -> u64 {
        self.state().digest()
    }

    /// A fingerprint of every writing call so far, in order. Leaves out the same as [`SimDisk::digest`].
    pub fn trace(&self) -> u64 {
        self.state().trace.value()
    }

    pub(crate) fn clock(&self) -> &SimClock {
        &self.clock
    }

    /// A simulated process may unwind at any point; each call leaves the disk whole.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimDisk").field("files", &self.files()).finish_non_exhaustive()
    }
}

impl ProcessId {
    pub(crate) fn number(self) -> u64 {
        self.0
    }
}

impl std::fmt::Display for ProcessId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {}", self.0)
    }
}

struct ProcessFiles {
    disk: Arc<SimDisk>,
    process: ProcessId,
}

impl ProcessFiles {
    fn enter(&self, op: Op) -> io::Result<(MutexGuard<'_, State>, i128)> {
        let mut state = self.disk.state();
        state.enter(self.process, op)?;
        Ok((state, self.disk.clock.wall_ns()))
    }

    fn file(&self, id: OpenId, writable: bool) -> Box<dyn File> {
        Box::new(SimFile { disk: Arc::clone(&self.disk), id, writable, written: 0 })
    }
}

impl Files for ProcessFiles {
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let id = self.enter(Op::Open)?.0.open(self.process, path)?;
        Ok(self.file(id, false))
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let (mut state, now_ns) = self.enter(Op::Create)?;
        let id = state.create_new(self.process, path, now_ns)?;
        Ok(self.file(id, true))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (mut state, now_ns) = self.enter(Op::Rename)?;
        state.rename(from, to, now_ns)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (mut state, now_ns) = self.enter(Op::HardLink)?;
        state.hard_link(from, to, now_ns)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let (mut state, now_ns) = self.enter(Op::RemoveFile)?;
        state.remove_file(path, now_ns)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let (mut state, now_ns) = self.enter(Op::RemoveDir)?;
        state.remove_dir(path, now_ns)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let (mut state, now_ns) = self.enter(Op::CreateDir)?;
        state.create_dir_all(path, now_ns)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.enter(Op::SyncDir)?.0.sync_dir(path)
    }

    fn status(&self, path: &Path) -> io::Result<FileStatus> {
        self.enter(Op::Status)?.0.status(path)
    }

    /// The simulated disk has no links to follow.
    fn link_status(&self, path: &Path) -> io::Result<FileStatus> {
        self.status(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.enter(Op::List)?.0.list(path)
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn FileLock>>> {
        let (mut state, now_ns) = self.enter(Op::Lock)?;
        let id = state.try_lock(self.process, path, now_ns)?;
        Ok(id.map(|id| Box::new(SimLock { disk: Arc::clone(&self.disk), id }) as Box<dyn FileLock>))
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let (state, _) = self.enter(Op::FreeBytes)?;
        state.status(path)?;
        Ok(state.capacity.saturating_sub(state.used))
    }
}

struct SimFile {
    disk: Arc<SimDisk>,
    id: OpenId,
    writable: bool,
    written: u64,
}

impl File for SimFile {
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.disk.state().read(self.id, offset, buffer)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.disk.state().write(self.id, self.written, bytes, self.disk.clock.wall_ns())?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn set_modified(&mut self, modified_ns: i128) -> io::Result<()> {
        self.disk.state().set_modified(self.id, modified_ns, self.disk.clock.wall_ns())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk.state().sync(self.id)
    }

    fn status(&self) -> io::Result<FileStatus> {
        self.disk.state().open_status(self.id)
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.disk.state().close(self.id);
    }
}

struct SimLock {
    disk: Arc<SimDisk>,
    id: OpenId,
}

impl FileLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.disk.state().close(self.id);
    }
}
