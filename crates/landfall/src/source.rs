//! Reading what was taken in charge, where it lies.

use std::{
    io,
    path::{Path, PathBuf},
};

use landfall_core::{Code, Failure, Remedy};
use landfall_env::{FileKind, FileStatus};
use landfall_store::{Item, Root, SourceIdentity};

use crate::sources::{Disk, DiskFile, Sources, is_no_thread};

/// A file referenced in place.
pub(crate) struct Source {
    file: DiskFile,
    identity: SourceIdentity,
    disk: Disk,
}

/// Where an item's bytes are.
pub(crate) fn path_of(root: &Root, item: &Item) -> PathBuf {
    below(&path_from_bytes(&root.path), &item.path)
}

/// A path below a root; the root itself if `relative` is empty.
pub(crate) fn below(root: &Path, relative: &[u8]) -> PathBuf {
    if relative.is_empty() { root.to_owned() } else { root.join(path_from_bytes(relative)) }
}

/// A path out of the bytes the journal keeps.
pub(crate) fn path_from_bytes(bytes: &[u8]) -> PathBuf {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt as _;
        PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
    }
    #[cfg(not(unix))]
    {
        PathBuf::from(String::from_utf8_lossy(bytes).into_owned())
    }
}

/// The bytes the journal keeps of a path, segments joined by `/`.
pub(crate) fn bytes_of(path: &std::ffi::OsStr) -> Vec<u8> {
    path.as_encoded_bytes().to_vec()
}

/// What tells a changed file from an unchanged one.
pub(crate) fn identity_of(status: &FileStatus) -> SourceIdentity {
    SourceIdentity {
        size: i64::try_from(status.len).unwrap_or(i64::MAX),
        device: status.identity.device as i64,
        inode: status.identity.inode as i64,
        modified_ns: i64::try_from(status.modified_ns).unwrap_or(i64::MAX),
        changed_ns: i64::try_from(status.identity.changed_ns).unwrap_or(i64::MAX),
    }
}

impl Source {
    /// Opens a file for reading.
    pub(crate) async fn open(sources: &Sources, disk: Disk, path: PathBuf) -> Result<Self, Failure> {
        let files = sources.on(disk.clone());
        let opened = sources.run(move || -> io::Result<(DiskFile, FileStatus)> {
            // A link to a file is that file; a pipe must not be opened at all, it would hang.
            if files.status(&path)?.kind != FileKind::File {
                return Err(io::Error::from(io::ErrorKind::NotFound));
            }
            let mut file = files.open(&path)?;
            let status = file.status()?;
            Ok((file, status))
        });
        let (file, status) = opened.await.and_then(|opened| opened).map_err(|error| failure_of(&error))?;
        Ok(Self { file, identity: identity_of(&status), disk })
    }

    /// What was opened.
    pub(crate) fn identity(&self) -> SourceIdentity {
        self.identity
    }

    /// Lets `work` read the file where blocking is fine, and gives the file back. Fails if the file is lost, whatever
    /// `work` made of that.
    pub(crate) async fn with<T: Send + 'static>(
        self,
        sources: &Sources,
        work: impl FnOnce(&mut DiskFile) -> T + Send + 'static,
    ) -> Result<(Self, T), Failure> {
        let Self { mut file, identity, disk } = self;
        let (file, result) = sources
            .run(move || {
                let result = work(&mut file);
                (file, result)
            })
            .await
            .map_err(|error| failure_of(&error))?;
        if let Some(failure) = file.lost() {
            return Err(failure.clone());
        }
        Ok((Self { file, identity, disk }, result))
    }

    /// Whether both the open file and whatever has its name now are what was opened.
    pub(crate) async fn compare(self, sources: &Sources, path: PathBuf) -> Result<(Self, bool), Failure> {
        let (files, identity) = (sources.on(self.disk.clone()), self.identity);
        let (source, now) = self.with(sources, move |file| Ok((file.status()?, files.status(&path)?))).await?;
        let (open, named): (FileStatus, FileStatus) = now.map_err(|error: io::Error| failure_of(&error))?;
        Ok((source, identity_of(&open) == identity && identity_of(&named) == identity))
    }
}

/// Sorts what the file system reports about a source.
pub(crate) fn failure_of(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            Failure::new(Remedy::Block, Code::SourceVanished, "the source is not there any more")
        }
        io::ErrorKind::TimedOut => {
            Failure::new(Remedy::Block, Code::SourceStalled, format!("the source does not answer: {error}"))
        }
        _ if is_no_thread(error) => Failure::new(Remedy::Retry, Code::SourceUnreadable, error.to_string()),
        _ => Failure::new(Remedy::Block, Code::SourceUnreadable, format!("the source cannot be read: {error}")),
    }
}

/// The source ended early, or grew.
pub(crate) fn changed() -> Failure {
    Failure::new(Remedy::Retry, Code::SourceChanged, "the source changed while it was read")
}

/// Reads a file from front to back and at any place, as decoders want it.
pub(crate) struct Reader<'f> {
    file: &'f mut DiskFile,
    position: u64,
    length: u64,
}

impl<'f> Reader<'f> {
    pub(crate) fn new(file: &'f mut DiskFile, length: u64) -> Self {
        Self { file, position: 0, length }
    }
}

impl io::Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(self.position, buffer)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl io::Seek for Reader<'_> {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        let target = match to {
            io::SeekFrom::Start(offset) => Some(offset),
            io::SeekFrom::End(delta) => self.length.checked_add_signed(delta),
            io::SeekFrom::Current(delta) => self.position.checked_add_signed(delta),
        };
        self.position = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
