//! Asking disks for sources, without ever waiting for one that does not answer.
//!
//! Every call into a disk with sources is made on a thread that nobody else needs, and is waited for as long as
//! [`DiskHealth`] allows. One that hangs for longer keeps its thread, and nothing else: what waited for it hears
//! `TimedOut`, and goes on. Only the call itself is timed; neither memory nor a cipher is waited for within it.

use std::{
    collections::BTreeMap,
    io,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    time::Duration,
};

use landfall_core::DiskHealth;
use landfall_env::{Apart, Blocking, DirEntry, Env, File, FileStatus, Files};
use tokio::sync::{Semaphore, oneshot};

/// Pieces of work with sources that go on at once.
const AT_ONCE: usize = 16;
/// Calls that may hang at once, over all disks, before those disks are not asked any more.
const HUNG_MAX: u32 = 256;
/// Bytes asked of a disk in one call: a slow share that gives as much in time has not stalled.
const PIECE_BYTES: usize = 256 << 10;
/// Reads below this length fetch as much, for the next one.
const AHEAD_BYTES: usize = 64 << 10;

/// What hangs together: if one call hangs, the next one probably will.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Disk {
    /// A file system, by its number.
    Device(i64),
    /// Names in a folder, of which it is not known yet on which file system they are.
    Folder(Arc<Path>),
}

impl Disk {
    /// The file system of that number, or the folder of `path` where there are no numbers.
    pub(crate) fn of(device: i64, path: &Path) -> Self {
        match device {
            0 => Self::around(path),
            number => Self::Device(number),
        }
    }

    /// The folder that `path` is in.
    pub(crate) fn around(path: &Path) -> Self {
        Self::inside(path.parent().unwrap_or(path))
    }

    /// What is in a folder.
    pub(crate) fn inside(folder: &Path) -> Self {
        Self::Folder(Arc::from(folder))
    }
}

/// The disks that sources are on. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Sources {
    inner: Arc<Inner>,
}

struct Inner {
    files: Arc<dyn Files>,
    blocking: Blocking,
    threads: Apart,
    at_once: Arc<Semaphore>,
    /// How long a healthy disk is waited for.
    limit: Duration,
    /// Disks that hang, or did lately.
    ill: Mutex<BTreeMap<Disk, DiskHealth>>,
    /// Memory that disks read into; the buffers of chunks stay with those who wait.
    pieces: Mutex<Vec<Vec<u8>>>,
}

impl Sources {
    pub(crate) fn new(env: &Env, limit: Duration) -> Self {
        let inner = Inner {
            files: Arc::clone(&env.files),
            blocking: env.blocking,
            threads: Apart::default(),
            at_once: Arc::new(Semaphore::new(AT_ONCE)),
            limit,
            ill: Mutex::default(),
            pieces: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Runs work that asks [`DiskFiles`] and files opened there, where it may wait for them. It ends when they do.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        if self.inner.blocking == Blocking::Inline {
            return work();
        }
        let permit = Arc::clone(&self.inner.at_once).acquire_owned().await.expect("the semaphore is never closed");
        let (done, result) = oneshot::channel();
        let started = self.inner.threads.start(move || {
            let _ = done.send(catch_unwind(AssertUnwindSafe(work)));
            drop(permit);
        });
        match (started, result.await) {
            (Ok(()), Ok(Ok(value))) => value,
            (Ok(()), Ok(Err(panic))) => resume_unwind(panic),
            (Err(error), _) => panic!("the system gives no thread to read sources with: {error}"),
            (Ok(()), Err(_)) => unreachable!("work ends with a value or a panic"),
        }
    }

    /// The files of a disk.
    pub(crate) fn on(&self, disk: Disk) -> DiskFiles {
        DiskFiles { inner: Arc::clone(&self.inner), disk }
    }
}

/// Files of one disk that may hang. To be asked inside of [`Sources::run`].
#[derive(Clone)]
pub(crate) struct DiskFiles {
    inner: Arc<Inner>,
    disk: Disk,
}

impl DiskFiles {
    pub(crate) fn status(&self, path: &Path) -> io::Result<FileStatus> {
        let path = path.to_owned();
        self.inner.call(&self.disk, move |files| files.status(&path)).and_then(|answer| answer)
    }

    pub(crate) fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let path = path.to_owned();
        self.inner.call(&self.disk, move |files| files.list(&path)).and_then(|answer| answer)
    }

    pub(crate) fn open(&self, path: &Path) -> io::Result<DiskFile> {
        let path = path.to_owned();
        let file = self.inner.call(&self.disk, move |files| files.open(&path)).and_then(|answer| answer)?;
        Ok(DiskFile { files: self.clone(), file: Some(file), ahead: (0, Vec::new()) })
    }
}

impl Inner {
    /// Makes one call into a disk, and waits for it no longer than the disk deserves.
    fn call<T: Send + 'static>(
        self: &Arc<Self>,
        disk: &Disk,
        call: impl FnOnce(&dyn Files) -> T + Send + 'static,
    ) -> io::Result<T> {
        if self.blocking == Blocking::Inline {
            return Ok(call(self.files.as_ref()));
        }
        let patience = self.patience(disk)?;
        let (answer, answered) = mpsc::sync_channel(1);
        let (inner, asked) = (Arc::clone(self), disk.clone());
        let given_up = Arc::new(Mutex::new(false));
        let late = Arc::clone(&given_up);
        self.threads.start(move || {
            let value = call(inner.files.as_ref());
            let late = lock(&late);
            inner.answered(&asked, *late);
            // Whoever has given up does not hear of it.
            let _ = answer.send(value);
        })?;
        match answered.recv_timeout(patience) {
            Ok(value) => Ok(value),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(io::Error::other("reading it has failed unexpectedly")),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let mut given_up = lock(&given_up);
                // It may have answered this very moment.
                if let Ok(value) = answered.try_recv() {
                    return Ok(value);
                }
                *given_up = true;
                lock(&self.ill).entry(disk.clone()).or_default().fell_silent();
                Err(silent(&format!("it gave no byte for {} seconds", patience.as_secs_f32())))
            }
        }
    }

    fn patience(&self, disk: &Disk) -> io::Result<Duration> {
        let ill = lock(&self.ill);
        let Some(health) = ill.get(disk) else { return Ok(self.limit) };
        let hung: u32 = ill.values().map(|health| health.hung()).sum();
        let patience = health.patience(self.limit).filter(|_| hung < HUNG_MAX || health.hung() == 0);
        patience.ok_or_else(|| silent(&format!("{} reads from its disk hang", health.hung())))
    }

    fn answered(&self, disk: &Disk, late: bool) {
        let mut ill = lock(&self.ill);
        let Some(health) = ill.get_mut(disk) else { return };
        health.answered(late);
        if health.hung() == 0 {
            ill.remove(disk);
        }
    }
}

fn silent(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, why)
}

/// An open file on a disk that may hang. It is gone with the first call that does.
pub(crate) struct DiskFile {
    files: DiskFiles,
    file: Option<Box<dyn File>>,
    /// Bytes that were read with others, and from where on.
    ahead: (u64, Vec<u8>),
}

impl DiskFile {
    /// Whether a call has hung, so that nothing can be read any more.
    pub(crate) fn is_lost(&self) -> bool {
        self.file.is_none()
    }

    /// What is open, whatever its name is by now.
    pub(crate) fn status(&mut self) -> io::Result<FileStatus> {
        self.ask(|file| file.status())?
    }

    /// Reads at a position, as many bytes as there are up to the buffer's length; fewer only at the end of the file.
    pub(crate) fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        if let (Blocking::Inline, Some(file)) = (self.files.inner.blocking, self.file.as_mut()) {
            return file.read_at(offset, buffer);
        }
        let mut filled = 0;
        while filled < buffer.len() {
            let (at, rest) = (offset + filled as u64, &mut buffer[filled..]);
            let (wanted, count) = if rest.len() < AHEAD_BYTES {
                (rest.len(), self.short(at, rest)?)
            } else {
                let length = rest.len().min(PIECE_BYTES);
                (length, self.piece(at, length, |piece| rest[..piece.len()].copy_from_slice(piece))?)
            };
            filled += count;
            if count < wanted {
                break;
            }
        }
        Ok(filled)
    }

    /// Reads a few bytes, and those behind them for the next time.
    fn short(&mut self, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let known = |(from, ahead): &(u64, Vec<u8>)| {
            let skip = usize::try_from(at.checked_sub(*from)?).ok()?;
            ahead.get(skip..skip.checked_add(buffer.len())?).map(<[u8]>::to_vec)
        };
        if let Some(known) = known(&self.ahead) {
            buffer.copy_from_slice(&known);
            return Ok(buffer.len());
        }
        let mut ahead = Vec::new();
        self.piece(at, AHEAD_BYTES, |piece| ahead.extend_from_slice(piece))?;
        let count = buffer.len().min(ahead.len());
        buffer[..count].copy_from_slice(&ahead[..count]);
        self.ahead = (at, ahead);
        Ok(count)
    }

    /// One read, into memory that a disk may keep when it hangs.
    fn piece(&mut self, offset: u64, length: usize, take: impl FnOnce(&[u8])) -> io::Result<usize> {
        let mut piece = lock(&self.files.inner.pieces).pop().unwrap_or_default();
        piece.resize(length, 0);
        let (piece, count) = self.ask(move |file| {
            let count = file.read_at(offset, &mut piece);
            (piece, count)
        })?;
        if let Ok(count) = &count {
            take(&piece[..*count]);
        }
        lock(&self.files.inner.pieces).push(piece);
        count
    }

    /// Makes one call. The file is on the disk's thread meanwhile, and stays there if it hangs.
    fn ask<T: Send + 'static>(&mut self, call: impl FnOnce(&mut dyn File) -> T + Send + 'static) -> io::Result<T> {
        let mut file = self.file.take().ok_or_else(|| silent("an earlier read of it hangs"))?;
        let answered = self.files.inner.call(&self.files.disk, move |_| {
            let answer = call(file.as_mut());
            (file, answer)
        });
        let (file, answer) = answered?;
        self.file = Some(file);
        Ok(answer)
    }
}

impl Drop for DiskFile {
    fn drop(&mut self) {
        // Closing a file may hang as well.
        if let (Blocking::Threads, Some(file)) = (self.files.inner.blocking, self.file.take()) {
            let _ = self.files.inner.threads.start(move || drop(file));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
