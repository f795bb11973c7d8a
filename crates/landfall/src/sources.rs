//! Asking disks for sources, without ever waiting for one that does not answer.
//!
//! Every call into a disk with sources is made on a thread that nobody else needs, and is waited for as long as
//! [`DiskHealth`] allows. One that hangs for longer keeps its thread, and nothing else: what waited for it hears
//! `TimedOut`, and goes on. Only the call itself is timed; neither memory nor a cipher is waited for within it.

mod disk_file;

use std::{
    collections::BTreeMap,
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    time::Duration,
};

use landfall_core::DiskHealth;
use landfall_env::{Apart, Blocking, DirEntry, Env, File, FileStatus, Files, hear};
use tokio::sync::{Semaphore, oneshot};

pub(crate) use self::disk_file::DiskFile;

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

/// Starts work on a thread that nobody waits for; fails if there is none left.
type Start = Box<dyn Fn(Box<dyn FnOnce() + Send>) -> io::Result<()> + Send + Sync>;

/// The disks that sources are on. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Sources {
    inner: Arc<Inner>,
}

struct Inner {
    files: Arc<dyn Files>,
    blocking: Blocking,
    start: Start,
    at_once: Arc<Semaphore>,
    /// How long a healthy disk is waited for.
    limit: Duration,
    /// Disks that hang, or did lately.
    ill: Mutex<BTreeMap<Disk, DiskHealth>>,
    /// Memory that disks read into; the buffers of chunks stay with those who wait.
    pieces: Mutex<Vec<Vec<u8>>>,
    /// Files that nobody needs any more.
    unclosed: Mutex<Vec<Box<dyn File>>>,
}

impl Sources {
    pub(crate) fn new(env: &Env, limit: Duration) -> Self {
        let threads = Apart::default();
        Self::with(env, limit, Box::new(move |work| threads.start(work)))
    }

    fn with(env: &Env, limit: Duration, start: Start) -> Self {
        let inner = Inner {
            files: Arc::clone(&env.files),
            blocking: env.blocking,
            start,
            at_once: Arc::new(Semaphore::new(AT_ONCE)),
            limit,
            ill: Mutex::default(),
            pieces: Mutex::default(),
            unclosed: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Runs work that asks [`DiskFiles`] and files opened there, where it may wait for them. It ends when they do.
    ///
    /// # Errors
    /// If the system has no thread left for it; see [`is_no_thread`].
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        if self.inner.blocking != Blocking::Threads {
            return Ok(self.inner.blocking.run(work).await);
        }
        let permit = Arc::clone(&self.inner.at_once).acquire_owned().await.expect("the semaphore is never closed");
        let (done, result) = oneshot::channel();
        self.inner.start(move || {
            let _ = done.send(catch_unwind(AssertUnwindSafe(work)));
            drop(permit);
        })?;
        match result.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(panic)) => resume_unwind(panic),
            Err(_) => unreachable!("work ends with a value or a panic"),
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
        Ok(DiskFile::new(self.clone(), file))
    }
}

impl Inner {
    fn start(&self, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        (self.start)(Box::new(work)).map_err(|error| io::Error::other(NoThread(error)))
    }

    /// Closes a file where nobody waits for it: that may hang as well.
    fn close(self: &Arc<Self>, file: Box<dyn File>) {
        if self.blocking != Blocking::Threads {
            return;
        }
        lock(&self.unclosed).push(file);
        let inner = Arc::clone(self);
        // Without a thread it stays open until another one is closed.
        let _ = self.start(move || {
            while let Some(file) = { lock(&inner.unclosed).pop() } {
                drop(file);
            }
        });
    }

    /// Makes one call into a disk, and waits for it no longer than the disk deserves.
    fn call<T: Send + 'static>(
        self: &Arc<Self>,
        disk: &Disk,
        call: impl FnOnce(&dyn Files) -> T + Send + 'static,
    ) -> io::Result<T> {
        if self.blocking != Blocking::Threads {
            return Ok(call(self.files.as_ref()));
        }
        let patience = self.patience(disk)?;
        let (answer, answered) = mpsc::sync_channel(1);
        let (inner, asked) = (Arc::clone(self), disk.clone());
        let given_up = Arc::new(Mutex::new(false));
        let late = Arc::clone(&given_up);
        self.start(move || {
            let value = call(inner.files.as_ref());
            let late = lock(&late);
            inner.answered(&asked, *late);
            // Whoever has given up does not hear of it, and is not left with anything to close.
            if !*late {
                let _ = answer.send(value);
            }
        })?;
        match hear(&answered, patience) {
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

/// The system has no thread left.
#[derive(Debug)]
struct NoThread(io::Error);

impl fmt::Display for NoThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(why) = self;
        write!(f, "the system gives no thread to read sources with ({why}): end other programs, or raise its limit")
    }
}

impl std::error::Error for NoThread {}

/// Whether it was not the disk that failed, but the system that had no thread left to ask it with.
pub(crate) fn is_no_thread(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<NoThread>())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
