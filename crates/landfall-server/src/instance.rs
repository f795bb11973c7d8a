//! Which process instances use the vault, and what the dead ones left.
//!
//! An instance holds the exclusive lock of `instances/<name>.lock` while it lives; the lock of a dead one is free.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use landfall_env::{Env, FileLock, Files};

use crate::folder::{Folder, found, remove_flat_dir};

/// This process's presence in a vault. Ends, and takes its files with it, when dropped.
pub(crate) struct Instance {
    pub(crate) name: String,
    /// Where parts arrive.
    pub(crate) incoming: PathBuf,
    lock_path: PathBuf,
    lock: Option<Box<dyn FileLock>>,
    files: Arc<dyn Files>,
}

impl Instance {
    pub(crate) fn start(folder: &Folder, env: &Env) -> io::Result<Self> {
        loop {
            let name = env.random.name();
            let lock_path = lock_path(folder, &name);
            // Between creating the file and locking it, a sweep may take the lock, and even remove the file under it.
            // Either way the name is burnt.
            let Some(lock) = env.files.try_lock(&lock_path)? else { continue };
            if found(env.files.link_status(&lock_path))?.is_none() {
                continue;
            }
            let incoming = folder.incoming().join(&name);
            env.files.create_dir_all(&incoming)?;
            return Ok(Self { name, incoming, lock_path, lock: Some(lock), files: Arc::clone(&env.files) });
        }
    }
}

impl Instance {
    /// Nobody in particular: for a vault that is only read.
    pub(crate) fn without_traces(env: &Env) -> Self {
        let name = env.random.name();
        Self { name, incoming: PathBuf::new(), lock_path: PathBuf::new(), lock: None, files: Arc::clone(&env.files) }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if self.lock.is_none() {
            return;
        }
        // A panic stands for a crash, and a crash removes nothing.
        if std::thread::panicking() {
            return;
        }
        // While the lock is still held: nobody else is removing these.
        let _ = remove_flat_dir(self.files.as_ref(), &self.incoming);
        let _ = self.files.remove_file(&self.lock_path);
        self.lock = None;
    }
}

/// Removes what dead instances left. Returns how many there were.
pub(crate) fn sweep_dead(folder: &Folder, files: &dyn Files, own: &str) -> io::Result<usize> {
    let mut dead = 0;
    for name in known(folder, files)? {
        if name == own {
            continue;
        }
        let path = lock_path(folder, &name);
        // A living instance locked its file before it made anything else.
        let Some(_lock) = files.try_lock(&path)? else { continue };
        remove_flat_dir(files, &folder.incoming().join(&name))?;
        found(files.remove_file(&path))?;
        dead += 1;
    }
    Ok(dead)
}

/// Whether an instance holds its lock.
pub(crate) fn is_alive(folder: &Folder, files: &dyn Files, name: &str) -> io::Result<bool> {
    let path = lock_path(folder, name);
    if found(files.link_status(&path))?.is_none() {
        return Ok(false);
    }
    Ok(files.try_lock(&path)?.is_none())
}

/// Names of all instances that have left a trace, sorted. Folders are listed before locks, so that an instance that
/// starts in between is seen with its lock or not at all.
fn known(folder: &Folder, files: &dyn Files) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in found(files.list(&folder.incoming()))?.unwrap_or_default() {
        names.extend(entry.name.into_string());
    }
    for entry in found(files.list(&folder.instances()))?.unwrap_or_default() {
        let path = Path::new(&entry.name);
        if path.extension().is_some_and(|extension| extension == "lock") {
            names.extend(path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned));
        }
    }
    names.sort();
    names.dedup();
    Ok(names)
}

fn lock_path(folder: &Folder, name: &str) -> PathBuf {
    folder.instances().join(format!("{name}.lock"))
}
