//! Folders as archives: what is in them, and where each byte of the archive comes from.
//!
//! An archive is never written anywhere. Media lie in it as they are, and are read where they lie; text is deflated once,
//! into a file of the spool, because deflating it again need not give the same bytes. All of it is written down when the
//! bundle is prepared: from then on every byte of it can be made again.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crc_fast::{CrcAlgorithm, Digest as Crc};
use landfall_core::{Code, Failure, Remedy};
use landfall_env::{File, FileKind};
use landfall_store::{BundleEntry, SourceIdentity, Upload as Row};

use super::{
    content::{Archive, Content},
    drive::Upload,
};
use crate::{
    Error,
    deflate::{Deflated, deflate_file},
    drive::Halt,
    engine::Inner,
    source::{self, Reader, Source, bytes_of, path_from_bytes},
    sources::{Disk, DiskFile},
    zip::{Entry, Layout, Method},
};

/// Most files of a bundle: a session with more is something else.
const FILES_MAX: usize = 200_000;
/// Bytes read at once for a checksum.
const PIECE_BYTES: usize = 256 << 10;
/// Ends of names of files that become much smaller.
const TEXT: [&str; 13] =
    ["json", "jsonl", "ndjson", "txt", "csv", "log", "xml", "html", "svg", "md", "srt", "vtt", "yaml"];

/// Where each byte of an archive of these files comes from.
pub(super) fn layout(entries: &[BundleEntry]) -> Result<Layout, Failure> {
    let entries = entries.iter().map(|entry| Entry {
        name: entry.name.clone(),
        size: entry.size,
        stored: entry.stored,
        crc32: entry.crc32,
        method: if entry.is_deflated { Method::Deflated } else { Method::Stored },
    });
    Layout::new(entries.collect()).map_err(|error| Failure::new(Remedy::Block, Code::Refused, error.to_string()))
}

/// A file of a folder that is packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    name: String,
    path: PathBuf,
    identity: SourceIdentity,
}

/// A folder as an archive.
pub(super) struct Packed {
    pub(super) content: Content,
    pub(super) identity: SourceIdentity,
    pub(super) entries: Vec<BundleEntry>,
    /// What was in it before anything was read.
    pub(super) found: Vec<Found>,
}

impl Upload {
    /// Reads what is in a folder, and deflates what is text.
    pub(super) async fn pack(&self, row: &Row) -> Result<Packed, Halt> {
        let found = self.find(path_from_bytes(&row.source)).await?;
        let newest = found.iter().map(|file| file.identity.modified_ns).max().unwrap_or(0);
        let before = found.clone();
        let mut entries = Vec::with_capacity(found.len());
        for (number, file) in found.into_iter().enumerate() {
            entries.push(self.read_in(number, file).await?);
        }
        let layout = layout(&entries)?;
        let size = i64::try_from(layout.size()).unwrap_or(i64::MAX);
        let identity = SourceIdentity { size, modified_ns: newest, ..SourceIdentity::default() };
        let content = Content::bundle(&self.engine.sources, Archive::new(layout, entries.clone()));
        Ok(Packed { content, identity, entries, found: before })
    }

    /// Whether the folder is what it was before anything in it was read: what was read is then of one moment.
    pub(super) async fn is_as_found(&self, row: &Row, before: &[Found]) -> Result<bool, Failure> {
        Ok(self.find(path_from_bytes(&row.source)).await? == before)
    }

    async fn find(&self, folder: PathBuf) -> Result<Vec<Found>, Failure> {
        let sources = &self.engine.sources;
        let files = sources.on(Disk::inside(&folder));
        let found = sources.run(move || -> io::Result<Result<Vec<Found>, Failure>> {
            let mut found = Vec::new();
            let mut folders = vec![(folder, String::new())];
            while let Some((folder, below)) = folders.pop() {
                for entry in files.list(&folder)? {
                    let Some(name) = entry.name.to_str() else { return Ok(Err(not_text(&entry.name))) };
                    if is_left_out(&below, name) {
                        continue;
                    }
                    let (path, name) = (folder.join(name), format!("{below}{name}"));
                    match entry.kind {
                        FileKind::Dir => folders.push((path, format!("{name}/"))),
                        FileKind::File => {
                            let identity = source::identity_of(&files.status(&path)?);
                            found.push(Found { name, path, identity });
                        }
                        // What a link leads to may be anything.
                        _ => {}
                    }
                    if found.len() > FILES_MAX {
                        let message = format!("the folder has more than {FILES_MAX} files");
                        return Ok(Err(Failure::new(Remedy::Block, Code::SourceTooLarge, message)));
                    }
                }
            }
            found.sort_by(|one, other| one.name.cmp(&other.name));
            Ok(Ok(found))
        });
        found.await.and_then(|found| found).map_err(|error| source::failure_of(&error))?
    }

    /// A file as it will lie in the archive.
    async fn read_in(&self, number: usize, file: Found) -> Result<BundleEntry, Halt> {
        let sources = &self.engine.sources;
        let opened = Source::open(sources, Disk::around(&file.path), file.path.clone()).await?;
        let identity = opened.identity();
        let size = identity.size as u64;
        let deflated = if is_text(&file.name) && size > 0 { Some(self.deflate(number, opened).await?) } else { None };
        if let Some((path, deflated, staged)) = deflated {
            if deflated.plain != size {
                return Err(source::changed().into());
            }
            return Ok(BundleEntry {
                name: file.name,
                path: bytes_of(path.as_os_str()),
                is_deflated: true,
                size,
                stored: deflated.stored,
                crc32: deflated.crc32,
                identity: staged,
            });
        }
        let opened = Source::open(sources, Disk::around(&file.path), file.path.clone()).await?;
        let (opened, summed) = opened.with(sources, move |disk_file| crc32(disk_file, size)).await?;
        let crc32 = summed.map_err(|error| source::failure_of(&error))?.ok_or_else(source::changed)?;
        let (_, unchanged) = opened.compare(sources, file.path.clone()).await?;
        if !unchanged {
            return Err(source::changed().into());
        }
        let path = bytes_of(file.path.as_os_str());
        Ok(BundleEntry { name: file.name, path, is_deflated: false, size, stored: size, crc32, identity })
    }

    /// Deflates a file into the spool; durable when this returns.
    async fn deflate(&self, number: usize, opened: Source) -> Result<(PathBuf, Deflated, SourceIdentity), Halt> {
        let folder = folder(&self.engine);
        let path = folder.join(format!("{}-{}-{number}", self.lease.item, self.lease.generation.0));
        let (files, to, size) = (Arc::clone(&self.engine.env.files), path.clone(), opened.identity().size as u64);
        let within = folder.clone();
        let (_, deflated) = opened
            .with(&self.engine.sources, move |disk_file| -> io::Result<(Deflated, SourceIdentity)> {
                files.create_dir_durable(&within)?;
                // What an earlier try under this very lease has left.
                let _ = files.remove_file(&to);
                let mut sink = Sink(files.create_new(&to)?);
                let deflated = deflate_file(Reader::new(disk_file, size), &mut sink)?;
                let mut file = sink.0;
                file.sync()?;
                let status = file.status()?;
                drop(file);
                files.sync_dir(&within)?;
                Ok((deflated, source::identity_of(&status)))
            })
            .await?;
        let (deflated, staged) = deflated.map_err(|error| match error.kind() {
            io::ErrorKind::StorageFull => Failure::new(Remedy::Retry, Code::HomeFull, "the disk of the home is full"),
            _ => source::failure_of(&error),
        })?;
        Ok((path, deflated, staged))
    }
}

/// Where deflated copies lie.
fn folder(engine: &Inner) -> PathBuf {
    engine.settings.home.join("spool").join("bundles")
}

/// Removes deflated copies that no upload needs.
///
/// # Errors
/// The journal's.
pub(super) async fn tidy(engine: &Arc<Inner>) -> Result<(), Error> {
    let (files, folder) = (Arc::clone(&engine.env.files), folder(engine));
    let within = folder.clone();
    let listed = engine.env.blocking.run(move || files.list(&within)).await.unwrap_or_default();
    let names = listed.iter().filter_map(|entry| entry.name.to_str().map(str::to_owned));
    // Whose names are not ours stay.
    let ours: Vec<(PathBuf, i64, i64)> = names
        .filter_map(|name| {
            let mut numbers = name.split('-').map(|number| number.parse().ok());
            Some((folder.join(&name), numbers.next()??, numbers.next()??))
        })
        .collect();
    if ours.is_empty() {
        return Ok(());
    }
    let unneeded = move |tx: &landfall_store::Tx<'_>| {
        let mut unneeded = Vec::new();
        for (path, item, generation) in &ours {
            if !tx.needs_bundle_file(&bytes_of(path.as_os_str()), *item, *generation)? {
                unneeded.push(path.clone());
            }
        }
        Ok(unneeded)
    };
    let unneeded = engine.journal.read(unneeded).await?;
    let files = Arc::clone(&engine.env.files);
    let remove = move || unneeded.iter().for_each(|path| drop(files.remove_file(path)));
    engine.env.blocking.run(remove).await;
    Ok(())
}

/// What belongs to the machinery around a session, and not to it: marks, states, and archives of it.
fn is_left_out(below: &str, name: &str) -> bool {
    name.starts_with('.') || (below.is_empty() && (name == "upload-state.json" || ends_in(name, "zip")))
}

fn is_text(name: &str) -> bool {
    TEXT.iter().any(|end| ends_in(name, end))
}

fn ends_in(name: &str, end: &str) -> bool {
    Path::new(name).extension().is_some_and(|found| found.eq_ignore_ascii_case(end))
}

fn not_text(name: &std::ffi::OsStr) -> Failure {
    let message = format!("the name of `{}` is not UTF-8, and names in an archive are", name.to_string_lossy());
    Failure::new(Remedy::Block, Code::SourceUnreadable, message)
}

/// The CRC-32 of a file; `None` if it is shorter.
fn crc32(file: &mut DiskFile, size: u64) -> io::Result<Option<u32>> {
    let mut crc = Crc::new(CrcAlgorithm::Crc32IsoHdlc);
    let mut piece = vec![0; PIECE_BYTES];
    let mut at = 0;
    while at < size {
        let length = usize::try_from((size - at).min(PIECE_BYTES as u64)).unwrap_or(PIECE_BYTES);
        if file.read_at(at, &mut piece[..length])? != length {
            return Ok(None);
        }
        crc.update(&piece[..length]);
        at += length as u64;
    }
    Ok(u32::try_from(crc.finalize()).ok())
}

struct Sink(Box<dyn File>);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.append(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
