//! Files on their way: each is written under a name that nobody looks for, and gets its own when it is whole.
//!
//! Drafts lie in one folder of the target, each with the name of the restore it belongs to, and each restore holds a
//! lock there while it lives. What a killed one left is removed by the next.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use landfall_env::{Env, File, FileKind, FileLock, Files};

/// The folder's name. Nothing is restored to it.
pub(crate) const FOLDER: &str = ".landfall-restore";

/// The drafts of one restore. Dropping it removes what is left of them.
pub(crate) struct Drafts {
    files: Arc<dyn Files>,
    folder: PathBuf,
    instance: String,
    lock: Option<Box<dyn FileLock>>,
    next: AtomicU64,
}

impl Drafts {
    /// Enters the folder of drafts and removes those of restores that are dead. Blocks.
    pub(crate) fn open(env: &Env, target: &Path) -> io::Result<Self> {
        let (files, folder) = (Arc::clone(&env.files), target.join(FOLDER));
        match files.link_status(&folder) {
            Ok(status) if status.kind == FileKind::Dir => {}
            Ok(_) => {
                let message = format!("`{}` is in the way and is no folder; move it away", folder.display());
                return Err(io::Error::new(io::ErrorKind::NotADirectory, message));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => files.create_dir_all(&folder)?,
            Err(error) => return Err(error),
        }
        let instance = env.random.name();
        let lock = files.try_lock(&folder.join(format!("{instance}.lock")))?;
        let drafts = Self { files, folder, instance, lock, next: AtomicU64::new(0) };
        drafts.sweep()?;
        Ok(drafts)
    }

    /// Removes what dead restores left: their drafts first, so that what remains after a kill is found again.
    fn sweep(&self) -> io::Result<()> {
        let entries = self.files.list(&self.folder)?;
        let names: Vec<&str> = entries.iter().filter_map(|entry| entry.name.to_str()).collect();
        for lock in names.iter().filter(|name| name.ends_with(".lock")) {
            let instance = lock.trim_end_matches(".lock");
            if instance == self.instance {
                continue;
            }
            let path = self.folder.join(lock);
            let Some(_held) = self.files.try_lock(&path)? else { continue };
            for draft in
                names.iter().filter(|name| name.strip_prefix(instance).is_some_and(|rest| rest.starts_with('-')))
            {
                self.files.remove_file(&self.folder.join(draft))?;
            }
            self.files.remove_file(&path)?;
        }
        Ok(())
    }

    /// A new, empty draft. Blocks.
    pub(crate) fn create(self: &Arc<Self>) -> io::Result<(Draft, Box<dyn File>)> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.join(format!("{}-{number}", self.instance));
        let file = self.files.create_new(&path)?;
        Ok((Draft { drafts: Arc::clone(self), path }, file))
    }
}

impl Drop for Drafts {
    fn drop(&mut self) {
        // A panic stands for a crash, and a crash removes nothing.
        if std::thread::panicking() {
            return;
        }
        let _ = self.files.remove_file(&self.folder.join(format!("{}.lock", self.instance)));
        self.lock = None;
        // Unless another restore is under way.
        let _ = self.files.remove_dir(&self.folder);
    }
}

/// A file that has no name of its own yet. What is left of it goes when this is dropped.
pub(crate) struct Draft {
    drafts: Arc<Drafts>,
    path: PathBuf,
}

impl Draft {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Gives a draft its name. What has that name already is replaced only if that is wanted. Blocks.
pub(crate) fn place(files: &dyn Files, draft: &Path, path: &Path, overwrites: bool) -> io::Result<()> {
    if overwrites {
        return files.rename(draft, path);
    }
    match files.hard_link(draft, path) {
        Ok(()) => files.remove_file(draft),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        // A file system without hard links: the check before has to do.
        Err(_) if files.link_status(path).is_err() => files.rename(draft, path),
        Err(_) => Err(io::ErrorKind::AlreadyExists.into()),
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = self.drafts.files.remove_file(&self.path);
        }
    }
}
