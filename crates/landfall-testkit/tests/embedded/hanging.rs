//! A disk on which some calls never come back, and some files are never twice the same.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use landfall_env::{DirEntry, File, FileLock, FileStatus, Files};

/// A call that may hang.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Status,
    List,
    Read,
}

/// Which calls hang. They all come back once this is dropped.
pub(crate) struct Hanging {
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    which: Mutex<Which>,
    changed: Condvar,
}

#[derive(Default)]
struct Which {
    hanging: Vec<(Call, PathBuf)>,
    released: bool,
    /// Files that flicker, and how often each was opened.
    flickering: BTreeMap<PathBuf, u8>,
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Which> {
        self.which.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a newly opened file differs by from all before.
    fn flicker(&self, path: &Path) -> u8 {
        let mut which = self.lock();
        let Some(opened) = which.flickering.get_mut(path) else { return 0 };
        *opened = opened.wrapping_add(1);
        *opened
    }

    fn pass(&self, call: Call, path: &Path) {
        let mut which = self.lock();
        while !which.released && which.hanging.iter().any(|hanging| *hanging == (call, path.to_owned())) {
            which = self.changed.wait(which).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Hanging {
    /// Nothing hangs yet.
    pub(crate) fn none() -> Self {
        Self { state: Arc::default() }
    }

    /// From now on this call hangs.
    pub(crate) fn hang(&self, call: Call, path: impl Into<PathBuf>) {
        self.state.lock().hanging.push((call, path.into()));
    }

    /// From now on this file has other bytes each time it is opened, and looks the same from outside.
    pub(crate) fn flicker(&self, path: impl Into<PathBuf>) {
        self.state.lock().flickering.insert(path.into(), 0);
    }

    /// The disk as it is seen with these calls hanging.
    pub(crate) fn over(&self, files: Arc<dyn Files>) -> Arc<dyn Files> {
        Arc::new(HangingFiles { files, state: Arc::clone(&self.state) })
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        self.state.lock().released = true;
        self.state.changed.notify_all();
    }
}

struct HangingFiles {
    files: Arc<dyn Files>,
    state: Arc<State>,
}

impl Files for HangingFiles {
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let file = self.files.open(path)?;
        let flicker = self.state.flicker(path);
        Ok(Box::new(HangingFile { file, path: path.to_owned(), state: Arc::clone(&self.state), flicker }))
    }

    fn status(&self, path: &Path) -> io::Result<FileStatus> {
        self.state.pass(Call::Status, path);
        self.files.status(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.state.pass(Call::List, path);
        self.files.list(path)
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.files.create_new(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.files.rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.files.hard_link(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.files.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.files.remove_dir(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.files.create_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.files.sync_dir(path)
    }

    fn link_status(&self, path: &Path) -> io::Result<FileStatus> {
        self.files.link_status(path)
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn FileLock>>> {
        self.files.try_lock(path)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        self.files.free_bytes(path)
    }
}

struct HangingFile {
    file: Box<dyn File>,
    path: PathBuf,
    state: Arc<State>,
    flicker: u8,
}

impl File for HangingFile {
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.state.pass(Call::Read, &self.path);
        let count = self.file.read_at(offset, buffer)?;
        if let Some(last) = buffer[..count].last_mut() {
            *last ^= self.flicker;
        }
        Ok(count)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.append(bytes)
    }

    fn set_modified(&mut self, modified_ns: i128) -> io::Result<()> {
        self.file.set_modified(modified_ns)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync()
    }

    fn status(&self) -> io::Result<FileStatus> {
        self.file.status()
    }
}
