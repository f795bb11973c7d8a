//! The vault folder on disk: where things are, and how a part's bytes become durable there.
//!
//! ```text
//! server.db                                    rows
//! signing.key                                  32 random bytes that sign URLs
//! blobs/<account>/<kk>/<object key>/<number>   parts; an object is the sequence of its parts
//! assets/<kk>/<asset key>/<write>              attachments; not there before the first
//! incoming/<instance>/<name>                   parts and attachments on their way in
//! instances/<instance>.lock                    held while that instance lives
//! ```

use std::{
    collections::BTreeSet,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use landfall_env::{Env, FileKind, Files, Sabotage};

/// Which part of which object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartName {
    pub(crate) account: i64,
    pub(crate) object_key: String,
    pub(crate) number: u32,
}

/// The paths of a vault, and the moves within it.
pub(crate) struct Folder {
    root: PathBuf,
    /// Folders whose own names this process has made durable, and which are never removed.
    durable: Mutex<BTreeSet<PathBuf>>,
}

impl Folder {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root, durable: Mutex::default() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.root.join("server.db")
    }

    pub(crate) fn signing_key(&self) -> PathBuf {
        self.root.join("signing.key")
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    pub(crate) fn assets(&self) -> PathBuf {
        self.root.join("assets")
    }

    pub(crate) fn incoming(&self) -> PathBuf {
        self.root.join("incoming")
    }

    pub(crate) fn instances(&self) -> PathBuf {
        self.root.join("instances")
    }

    /// Whether any account ever had a part or an attachment here. What an operating system puts into every folder does
    /// not count.
    pub(crate) fn has_contents(&self, files: &dyn Files) -> io::Result<bool> {
        for contents in [self.blobs(), self.assets()] {
            let entries = found(files.list(&contents))?.unwrap_or_default();
            if entries.iter().any(|entry| entry.kind == FileKind::Dir) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(crate) fn part(&self, part: &PartName) -> PathBuf {
        self.object(part.account, &part.object_key).join(part.number.to_string())
    }

    /// The folder of an object's parts.
    pub(crate) fn object(&self, account: i64, object_key: &str) -> PathBuf {
        self.blobs().join(account.to_string()).join(prefix(object_key)).join(object_key)
    }

    /// The folder of an attachment. Of the files in it, the one is its own whose number its row has.
    pub(crate) fn asset(&self, asset_key: &str) -> PathBuf {
        self.assets().join(prefix(asset_key)).join(asset_key)
    }

    /// Moves a part's synced file to its place and makes the new name durable. The caller holds the database's write
    /// lock; `first` says that no part of this object is known to be durable yet.
    pub(crate) fn place_part(&self, env: &Env, temporary: &Path, part: &PartName, first: bool) -> io::Result<()> {
        let object = self.object(part.account, &part.object_key);
        self.place(env, temporary, &object, part.number, first.then(|| self.blobs()))
    }

    /// Moves an attachment's synced file to its place and makes the new name durable. The caller holds the database's
    /// write lock. What was written before stays beside it.
    pub(crate) fn place_asset(&self, env: &Env, temporary: &Path, asset_key: &str, write: u32) -> io::Result<()> {
        let asset = self.asset(asset_key);
        self.place(env, temporary, &asset, write, (write == 1).then(|| self.root.clone()))
    }

    /// If the folder is not known to be durable yet, `top` is the one above it that is.
    fn place(&self, env: &Env, temporary: &Path, folder: &Path, number: u32, top: Option<PathBuf>) -> io::Result<()> {
        if top.is_some() {
            env.files.create_dir_all(folder)?;
        }
        env.files.rename(temporary, &folder.join(number.to_string()))?;
        if env.steps.sabotaged(Sabotage::SkipFolderSync) {
            return Ok(());
        }
        env.files.sync_dir(folder)?;
        if let Some(top) = top {
            self.sync_ancestors(env.files.as_ref(), folder, &top)?;
        }
        Ok(())
    }

    /// Makes the names of an object's folder and of the folders above it, up to `top`, durable. The upper ones are synced
    /// once per process: they are never removed, but one that is found may have been made by a process that died before
    /// its sync.
    fn sync_ancestors(&self, files: &dyn Files, object: &Path, top: &Path) -> io::Result<()> {
        let mut child = object.to_owned();
        while let Some(parent) = child.parent().filter(|_| child != top) {
            let known = child != object && self.durable.lock().unwrap_or_else(PoisonError::into_inner).contains(&child);
            if known {
                break;
            }
            files.sync_dir(parent)?;
            if child != object {
                self.durable.lock().unwrap_or_else(PoisonError::into_inner).insert(child.clone());
            }
            child = parent.to_owned();
        }
        Ok(())
    }

    /// Removes a part that has no row. The caller holds the database's write lock.
    pub(crate) fn remove_part(&self, files: &dyn Files, part: &PartName) -> io::Result<()> {
        found(files.remove_file(&self.part(part)))?;
        // Fails when other parts are there, which is as well.
        let _ = files.remove_dir(&self.object(part.account, &part.object_key));
        Ok(())
    }

    /// Removes all files of an object, with or without rows, and makes that durable. Success if there are none. The
    /// caller holds the database's write lock.
    pub(crate) fn remove_object(&self, files: &dyn Files, account: i64, object_key: &str) -> io::Result<()> {
        let object = self.object(account, object_key);
        let Some(entries) = found(files.list(&object))? else { return Ok(()) };
        for entry in entries {
            found(files.remove_file(&object.join(entry.name)))?;
        }
        files.sync_dir(&object)?;
        found(files.remove_dir(&object))?;
        files.sync_dir(object.parent().unwrap_or(&self.root))
    }

    /// Removes all files of an attachment but the one of the write that is to be kept, and makes that durable. Success if
    /// there are none. The caller holds the database's write lock.
    pub(crate) fn sweep_asset(&self, files: &dyn Files, asset_key: &str, kept: Option<u32>) -> io::Result<()> {
        let asset = self.asset(asset_key);
        let kept = kept.map(|write| OsString::from(write.to_string()));
        let Some(entries) = found(files.list(&asset))? else { return Ok(()) };
        for entry in entries.into_iter().filter(|entry| Some(&entry.name) != kept.as_ref()) {
            found(files.remove_file(&asset.join(entry.name)))?;
        }
        files.sync_dir(&asset)?;
        if kept.is_some() {
            return Ok(());
        }
        found(files.remove_dir(&asset))?;
        files.sync_dir(asset.parent().unwrap_or(&self.root))
    }
}

/// So that no folder has too many others in it.
fn prefix(key: &str) -> &str {
    key.get(..2).unwrap_or("--")
}

/// `None` if the name was not there.
pub(crate) fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes a folder of files.
pub(crate) fn remove_flat_dir(files: &dyn Files, path: &Path) -> io::Result<()> {
    let Some(entries) = found(files.list(path))? else { return Ok(()) };
    for entry in entries {
        let entry_path = path.join(&entry.name);
        if entry.kind == FileKind::Dir {
            remove_flat_dir(files, &entry_path)?;
        } else {
            found(files.remove_file(&entry_path))?;
        }
    }
    found(files.remove_dir(path)).map(drop)
}
