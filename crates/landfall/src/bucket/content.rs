//! The plain bytes of an upload, at any place and as often as they are needed.

use std::{path::PathBuf, sync::Arc};

use landfall_core::Failure;
use landfall_store::{BundleEntry, SourceIdentity, Upload};

use crate::{
    memory::HeldBuffer,
    source::{self, Source, path_from_bytes},
    sources::{Disk, Sources},
    zip::{Layout, Piece},
};

/// Where an upload's bytes come from. A file that is open stays open until another one is needed.
pub(crate) struct Content {
    sources: Sources,
    origin: Origin,
    open: Option<(usize, Source)>,
    /// A test has taken the comparison away.
    pub(super) is_unchecked: bool,
}

enum Origin {
    File { path: PathBuf, identity: SourceIdentity },
    Bundle(Arc<Archive>),
}

/// What an archive is made of. It may have very many files, and is shared by all parts that are under way.
pub(crate) struct Archive {
    layout: Layout,
    entries: Vec<BundleEntry>,
}

impl Archive {
    pub(crate) fn new(layout: Layout, entries: Vec<BundleEntry>) -> Arc<Self> {
        Arc::new(Self { layout, entries })
    }
}

impl Content {
    /// The bytes of a file that is what it was.
    pub(crate) fn file(sources: &Sources, path: PathBuf, identity: SourceIdentity) -> Self {
        Self { sources: sources.clone(), origin: Origin::File { path, identity }, open: None, is_unchecked: false }
    }

    /// The bytes of an archive of files that are what they were.
    pub(crate) fn bundle(sources: &Sources, archive: Arc<Archive>) -> Self {
        Self { sources: sources.clone(), origin: Origin::Bundle(archive), open: None, is_unchecked: false }
    }

    /// The bytes that were prepared: of an archive, or of the file itself.
    pub(crate) fn prepared(sources: &Sources, upload: &Upload, archive: Option<Arc<Archive>>) -> Self {
        match archive {
            Some(archive) => Self::bundle(sources, archive),
            None => Self::file(sources, path_from_bytes(&upload.source), upload.identity.unwrap_or_default()),
        }
    }

    /// How many there are.
    pub(crate) fn size(&self) -> u64 {
        match &self.origin {
            Origin::File { identity, .. } => identity.size as u64,
            Origin::Bundle(archive) => archive.layout.size(),
        }
    }

    /// Reads `len` bytes from `offset` on into a buffer. Fails if they are not those that were prepared, as far as that can
    /// be seen from outside.
    pub(crate) async fn read(
        &mut self,
        offset: u64,
        len: usize,
        mut buffer: HeldBuffer,
    ) -> Result<HeldBuffer, Failure> {
        buffer.get().message_mut(len);
        match &self.origin {
            Origin::File { .. } => self.read_source(0, offset, 0, len, buffer).await,
            Origin::Bundle(archive) => {
                let pieces: Vec<Piece> = archive.layout.pieces(offset..offset + len as u64).collect();
                let mut at = 0;
                for piece in pieces {
                    match piece {
                        Piece::Bytes(bytes) => {
                            buffer.get().message_mut(len)[at..at + bytes.len()].copy_from_slice(&bytes);
                            at += bytes.len();
                        }
                        Piece::Source { entry, offset, length } => {
                            let length = usize::try_from(length).unwrap_or(usize::MAX).min(len - at);
                            buffer = self.read_source(entry, offset, at, length, buffer).await?;
                            at += length;
                        }
                    }
                }
                Ok(buffer)
            }
        }
    }

    /// Reads `length` bytes of one source from `offset` on to the place `at` of the buffer's message.
    async fn read_source(
        &mut self,
        index: usize,
        offset: u64,
        at: usize,
        length: usize,
        mut buffer: HeldBuffer,
    ) -> Result<HeldBuffer, Failure> {
        let source = self.source(index).await?;
        let (source, (buffer, read)) = source
            .with(&self.sources, move |file| {
                let total = buffer.get().message().len();
                let read = file.read_at(offset, &mut buffer.get().message_mut(total)[at..at + length]);
                (buffer, read)
            })
            .await?;
        let read = read.map_err(|error| source::failure_of(&error))?;
        self.open = Some((index, source));
        if read != length {
            return Err(super::changed());
        }
        Ok(buffer)
    }

    async fn source(&mut self, index: usize) -> Result<Source, Failure> {
        if let Some((open, source)) = self.open.take()
            && open == index
        {
            return Ok(source);
        }
        let (path, identity) = match &self.origin {
            Origin::File { path, identity } => (path.clone(), *identity),
            Origin::Bundle(archive) => (path_from_bytes(&archive.entries[index].path), archive.entries[index].identity),
        };
        let source = Source::open(&self.sources, Disk::of(identity.device, &path), path).await?;
        if source.identity() != identity && !self.is_unchecked {
            return Err(super::changed());
        }
        Ok(source)
    }

    /// Whether what is open, and whatever has its name now, is still what it was.
    pub(crate) async fn is_unchanged(&mut self) -> Result<bool, Failure> {
        // Of an empty file nothing was read.
        let is_empty_file = self.open.is_none() && matches!(self.origin, Origin::File { .. });
        if is_empty_file {
            self.open = Some((0, self.source(0).await?));
        }
        let Some((index, source)) = self.open.take() else { return Ok(true) };
        let path = match &self.origin {
            Origin::File { path, .. } => path.clone(),
            Origin::Bundle(archive) => path_from_bytes(&archive.entries[index].path),
        };
        let (source, unchanged) = source.compare(&self.sources, path).await?;
        self.open = Some((index, source));
        Ok(unchanged)
    }
}
