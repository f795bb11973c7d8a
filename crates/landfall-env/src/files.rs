//! Files and folders, with the calls that make them durable spelled out.
//!
//! Bytes written are durable after [`File::sync`]; a name made, moved or removed is durable after [`Files::sync_dir`]
//! of its folder. Nothing here buffers, retries or syncs by itself: whoever makes a promise makes the call.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use crate::platform;

/// A file system.
pub trait Files: Send + Sync {
    /// Opens an existing file for reading, following links.
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// Creates a file that only its owner may read, for reading and writing.
    ///
    /// # Errors
    /// `AlreadyExists` if the name is taken, also by a dangling link.
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// Moves a file over whatever has the new name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file a second name.
    ///
    /// # Errors
    /// `AlreadyExists` if the new name is taken: unlike [`Files::rename`] it never replaces.
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file's name.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty folder.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Creates a folder that only its owner may enter, and its parents. Success if it exists.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable. Nothing on platforms whose folders cannot be synced.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// What a path names, following links. `NotFound` also for a link that leads back to itself.
    fn status(&self, path: &Path) -> io::Result<FileStatus>;
    /// What a path names, not following a link in its last component.
    fn link_status(&self, path: &Path) -> io::Result<FileStatus>;
    /// The entries of a folder, sorted by name.
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>>;
    /// Takes the exclusive lock of a file, creating it if need be; `None` if a living process holds it. The lock ends
    /// when the value is dropped or the process dies, however it dies.
    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn FileLock>>>;
    /// Bytes free for this user on the file system of `path`.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;
}

impl dyn Files {
    /// Creates a folder and its parents, as [`Files::create_dir_all`] does, and makes their names durable. A folder that
    /// is there already may have been made by somebody who lost power before syncing: its name is synced as well.
    pub fn create_dir_durable(&self, path: &Path) -> io::Result<()> {
        let mut missing = vec![path];
        for ancestor in path.ancestors().skip(1) {
            match self.status(ancestor) {
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(ancestor),
                Err(error) => return Err(error),
            }
        }
        for folder in missing.into_iter().rev() {
            self.create_dir_all(folder)?;
            let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
            match parent.map_or(Ok(()), |parent| self.sync_dir(parent)) {
                // A folder that may be entered but not read cannot be synced, and was not made by us.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                other => other?,
            }
        }
        Ok(())
    }
}

/// An open file.
pub trait File: Send {
    /// Reads at a position, as many bytes as there are up to the buffer's length; fewer only at the end of the file.
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// Writes all bytes after those written before.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Sets the time of last modification, in nanoseconds since the epoch.
    fn set_modified(&mut self, modified_ns: i128) -> io::Result<()>;
    /// Makes the content durable.
    fn sync(&mut self) -> io::Result<()>;
    /// What is open, whatever its name is by now.
    fn status(&self) -> io::Result<FileStatus>;
}

/// Keeps a lock while it lives.
pub trait FileLock: Send + Sync {}

/// What a name names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStatus {
    /// File, folder, link, or something else.
    pub kind: FileKind,
    /// Length in bytes.
    pub len: u64,
    /// Time of last modification, nanoseconds since the epoch.
    pub modified_ns: i128,
    /// Which file it is.
    pub identity: Identity,
}

/// Tells one file from another, and a changed file from an unchanged one together with length and modification time.
/// All zeros where the platform has no such numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Identity {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Time of last status change, nanoseconds since the epoch.
    pub changed_ns: i128,
}

/// The sort of thing a name names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A folder.
    Dir,
    /// A symbolic link (only without following).
    Link,
    /// A socket, a pipe, a device.
    Other,
}

/// An entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// Its name.
    pub name: OsString,
    /// What it is, links not followed.
    pub kind: FileKind,
}

/// The file systems of this machine.
#[derive(Debug, Clone, Copy)]
pub struct RealFiles;

impl Files for RealFiles {
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(Box::new(RealFile { file: fs::File::open(path)?, written: 0 }))
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create_new(true);
        platform::only_owner(&mut options);
        Ok(Box::new(RealFile { file: options.open(path)?, written: 0 }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        platform::create_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        platform::sync_dir(path)
    }

    fn status(&self, path: &Path) -> io::Result<FileStatus> {
        Ok(platform::status(&fs::metadata(path).map_err(platform::leads_nowhere)?))
    }

    fn link_status(&self, path: &Path) -> io::Result<FileStatus> {
        Ok(platform::status(&fs::symlink_metadata(path)?))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = fs::read_dir(path)?
            .map(|entry| {
                let entry = entry?;
                Ok(DirEntry { name: entry.file_name(), kind: platform::kind(entry.file_type()?) })
            })
            .collect::<io::Result<Vec<_>>>()?;
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn FileLock>>> {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        platform::only_owner(&mut options);
        let file = options.open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(RealLock { _file: file, _path: path.to_owned() }))),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        fs4::available_space(path)
    }
}

struct RealFile {
    file: fs::File,
    written: u64,
}

impl File for RealFile {
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match platform::read_at(&self.file, offset + filled as u64, &mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        platform::write_all_at(&self.file, self.written, bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn set_modified(&mut self, modified_ns: i128) -> io::Result<()> {
        self.file.set_times(fs::FileTimes::new().set_modified(platform::system_time(modified_ns)))
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn status(&self) -> io::Result<FileStatus> {
        Ok(platform::status(&self.file.metadata()?))
    }
}

struct RealLock {
    _file: fs::File,
    _path: PathBuf,
}

impl FileLock for RealLock {}
