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
    pub(super) before: Option<Before>,
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

/// All sessions of a folder. Blocks.
pub(super) fn all(files: &dyn Files, folder: &Path) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for entry in files.list(folder)? {
        let Some(id) = entry.name.to_str() else { continue };
        if entry.kind == FileKind::Dir && !id.starts_with('.') {
            found.push(one(files, &folder.join(id), id)?);
        }
    }
    Ok(found)
}

fn one(files: &dyn Files, folder: &Path, id: &str) -> io::Result<Found> {
    let meta_path = folder.join("session-meta.json");
    let meta = read(files, &meta_path).and_then(|text| serde_json::from_slice(&text).ok());
    // One of another session says nothing of this one.
    let meta = meta.filter(|meta: &Meta| meta.session_id == id);
    let has_bad_meta = meta.is_none() && files.link_status(&meta_path).is_ok();
    let before = read(files, &folder.join("upload-state.json")).and_then(|text| state::before(&text));
    let is_exported = files.link_status(&folder.join(".exported")).is_ok();
    let (mut size, mut changed_ns) = (0, 0);
    measure(files, folder, DEPTH_MAX, &mut size, &mut changed_ns)?;
    let archive = meta.as_ref().and_then(|meta| meta.zip_path.as_ref()).map(|path| folder.join(path));
    if let Some(archive) = archive {
        size = files.status(&archive).map_or(0, |status| status.len);
    }
    let changed_at = Timestamp(i64::try_from(changed_ns / 1_000_000).unwrap_or(i64::MAX));
    Ok(Found { id: id.to_owned(), meta, has_bad_meta, is_exported, before, size, changed_at })
}

/// Adds up what is in a folder. What goes away meanwhile is not counted.
fn measure(files: &dyn Files, folder: &Path, depth: usize, size: &mut u64, changed_ns: &mut i128) -> io::Result<()> {
    if let Ok(status) = files.link_status(folder) {
        *changed_ns = status.modified_ns.max(*changed_ns);
    }
    for entry in files.list(folder)? {
        let path = folder.join(&entry.name);
        match entry.kind {
            FileKind::Dir if depth > 0 => measure(files, &path, depth - 1, size, changed_ns)?,
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
