//! What lies in a folder of sessions.

use std::{io, path::Path};

use landfall_core::Timestamp;
use landfall_env::{FileKind, Files};
use serde::Deserialize;

use super::state::{self, Before};

/// What a recorder writes of a session, in `session-meta.json`. Moments are milliseconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Meta {
    /// The session.
    pub session_id: String,
    /// When it began.
    pub created_at: i64,
    /// When it ended.
    #[serde(default)]
    pub ended_at: Option<i64>,
    /// How many actions were recorded.
    #[serde(default)]
    pub action_count: Option<u64>,
    /// How many screenshots were taken.
    #[serde(default)]
    pub screenshot_count: Option<u64>,
    /// Its video, if there is one.
    #[serde(default)]
    pub video_ref: Option<String>,
    /// Its archive, if the recorder made one.
    #[serde(default)]
    pub zip_path: Option<String>,
    /// Bytes of the archive.
    #[serde(default)]
    pub file_size_bytes: Option<u64>,
}

/// A session's folder.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) id: String,
    pub(super) meta: Option<Meta>,
    /// There is a `session-meta.json`, and it says nothing of this session.
    pub(super) has_bad_meta: bool,
    pub(super) is_exported: bool,
    /// What another program noted about its upload.
    pub(super) before: Option<Before>,
    /// There is an `upload-state.json`, and nobody can say what it means.
    pub(super) has_bad_state: bool,
    /// Bytes of its archive, or of the files in it.
    pub(super) size: u64,
    /// When something in it was last changed.
    pub(super) changed_at: Timestamp,
}

impl Found {
    pub(super) fn created_at(&self) -> Timestamp {
        self.meta.as_ref().map_or(self.changed_at, |meta| Timestamp(meta.created_at))
    }
}

/// Most bytes of a file that is read whole: what recorders write of a session is far shorter.
const JSON_BYTES_MAX: u64 = 1 << 20;
/// Folders below a session's are looked into so deep.
const DEPTH_MAX: usize = 16;

/// A session that cannot be read now. It keeps none of the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// Its name: that of its folder.
    pub id: String,
    /// Why not.
    pub why: String,
}

/// All sessions of a folder, and those that cannot be read. One that goes away meanwhile is in neither. Blocks.
pub(super) fn all(files: &dyn Files, folder: &Path) -> io::Result<(Vec<Found>, Vec<Unread>)> {
    let (mut found, mut unread) = (Vec::new(), Vec::new());
    for entry in files.list(folder)? {
        let Some(id) = entry.name.to_str() else { continue };
        if entry.kind != FileKind::Dir || id.starts_with('.') {
            continue;
        }
        let path = folder.join(id);
        match one(files, &path, id) {
            Ok(session) => found.push(session),
            Err(_) if is_absent(files, &path) => {}
            Err(error) => unread.push(Unread { id: id.to_owned(), why: error.to_string() }),
        }
    }
    Ok((found, unread))
}

/// The session of a folder. Blocks.
pub(super) fn one(files: &dyn Files, folder: &Path, id: &str) -> io::Result<Found> {
    let meta_path = folder.join("session-meta.json");
    // One of another session says nothing of this one.
    let meta = meta(files, folder).filter(|meta| meta.session_id == id);
    let has_bad_meta = meta.is_none() && !is_absent(files, &meta_path);
    let state_path = folder.join("upload-state.json");
    let before = read(files, &state_path).and_then(|text| state::before(&text, id));
    let has_bad_state = before.is_none() && !is_absent(files, &state_path);
    let is_exported = files.link_status(&folder.join(".exported")).is_ok();
    let (mut size, mut changed_ns) = (0, 0);
    measure(files, folder, DEPTH_MAX, &mut size, &mut changed_ns)?;
    let archive = meta.as_ref().and_then(|meta| meta.zip_path.as_ref()).map(|path| folder.join(path));
    if let Some(archive) = archive {
        size = files.status(&archive).map_or(0, |status| status.len);
    }
    let changed_at = Timestamp(i64::try_from(changed_ns / 1_000_000).unwrap_or(i64::MAX));
    Ok(Found { id: id.to_owned(), meta, has_bad_meta, is_exported, before, has_bad_state, size, changed_at })
}

/// What the recorder wrote into a folder, if that is a session of any name.
pub(super) fn meta(files: &dyn Files, folder: &Path) -> Option<Meta> {
    read(files, &folder.join("session-meta.json")).and_then(|text| serde_json::from_slice(&text).ok())
}

/// Whether nothing is there, for sure.
pub(super) fn is_absent(files: &dyn Files, path: &Path) -> bool {
    files.link_status(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Adds up what is in a folder. What goes away meanwhile is not counted.
fn measure(files: &dyn Files, folder: &Path, depth: usize, size: &mut u64, changed_ns: &mut i128) -> io::Result<()> {
    if let Ok(status) = files.link_status(folder) {
        *changed_ns = status.modified_ns.max(*changed_ns);
    }
    for entry in files.list(folder)? {
        let path = folder.join(&entry.name);
        match entry.kind {
            FileKind::Dir if depth > 0 => match measure(files, &path, depth - 1, size, changed_ns) {
                Err(_) if is_absent(files, &path) => {}
                measured => measured?,
            },
            _ => {
                if let Ok(status) = files.link_status(&path) {
                    let is_ours = entry.name == "upload-state.json";
                    *changed_ns = if is_ours { *changed_ns } else { status.modified_ns.max(*changed_ns) };
                    *size += if entry.kind == FileKind::File { status.len } else { 0 };
                }
            }
        }
    }
    Ok(())
}

/// A short file, whole; `None` if it is not there, or too long to be what it should be.
pub(super) fn read(files: &dyn Files, path: &Path) -> Option<Vec<u8>> {
    let status = files.status(path).ok()?;
    if status.kind != FileKind::File || status.len > JSON_BYTES_MAX {
        return None;
    }
    let mut text = vec![0; usize::try_from(status.len).ok()?];
    let count = files.open(path).ok()?.read_at(0, &mut text).ok()?;
    text.truncate(count);
    Some(text)
}

/// Whether a file is there, and begins as a zip archive does.
pub(super) fn is_archive(files: &dyn Files, path: &Path) -> bool {
    let is_file = files.status(path).is_ok_and(|status| status.kind == FileKind::File);
    let mut begin = [0; 4];
    let has_begin = is_file
        && files.open(path).and_then(|mut file| file.read_at(0, &mut begin)).is_ok_and(|count| count == begin.len());
    has_begin && (begin == *b"PK\x03\x04" || begin == *b"PK\x05\x06")
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use landfall_env::{DirEntry, File, FileLock, FileStatus, RealFiles};

    use super::*;

    /// A disk on which one folder cannot be listed.
    struct Failing {
        at: PathBuf,
        /// It goes away in that moment.
        goes: bool,
    }

    impl Files for Failing {
        fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
            if path != self.at {
                return RealFiles.list(path);
            }
            if self.goes {
                fs::remove_dir_all(path)?;
                return RealFiles.list(path);
            }
            Err(io::ErrorKind::PermissionDenied.into())
        }
        fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
            RealFiles.open(path)
        }
        fn create_new(&self, path: &Path) -> io::Result<Box<dyn File>> {
            RealFiles.create_new(path)
        }
        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            RealFiles.rename(from, to)
        }
        fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
            RealFiles.hard_link(from, to)
        }
        fn remove_file(&self, path: &Path) -> io::Result<()> {
            RealFiles.remove_file(path)
        }
        fn remove_dir(&self, path: &Path) -> io::Result<()> {
            RealFiles.remove_dir(path)
        }
        fn create_dir_all(&self, path: &Path) -> io::Result<()> {
            RealFiles.create_dir_all(path)
        }
        fn sync_dir(&self, path: &Path) -> io::Result<()> {
            RealFiles.sync_dir(path)
        }
        fn status(&self, path: &Path) -> io::Result<FileStatus> {
            RealFiles.status(path)
        }
        fn link_status(&self, path: &Path) -> io::Result<FileStatus> {
            RealFiles.link_status(path)
        }
        fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn FileLock>>> {
            RealFiles.try_lock(path)
        }
        fn free_bytes(&self, path: &Path) -> io::Result<u64> {
            RealFiles.free_bytes(path)
        }
    }

    #[test]
    fn a_session_that_cannot_be_read_or_goes_away_keeps_none_of_the_others() {
        for (at, goes, expected) in [("b", false, vec!["b"]), ("b/screenshots", false, vec!["b"]), ("b", true, vec![])]
        {
            let folder = tempfile::tempdir().unwrap();
            for id in ["a", "b", "c"] {
                fs::create_dir_all(folder.path().join(id).join("screenshots")).unwrap();
            }
            let files = Failing { at: folder.path().join(at), goes };
            let (found, unread) = all(&files, folder.path()).unwrap();
            assert_eq!(found.iter().map(|found| found.id.as_str()).collect::<Vec<_>>(), ["a", "c"], "{at}");
            assert_eq!(unread.iter().map(|unread| unread.id.as_str()).collect::<Vec<_>>(), expected, "{at}");
        }
    }
}
