//! From what was handed over to a payload: photos made smaller, then one pass of sealing, straight to a file.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
};

use landfall_core::{Code, Failure, Remedy};
use landfall_crypto::xmtp::{
    AttachmentHeader, AttachmentSecrets, ContentDigest, NotWritable, PayloadSealer, SealError,
};
use landfall_env::{File, Incoming};
use landfall_images::{MediaKind, NoThumbnail, PhotoLimits, ReadSeek, SNIFF_LENGTH, photo, read_metadata, sniff};
use landfall_store::AttachmentRow;

use super::{
    decoder::PictureDecoder,
    spool::{Arrived, Spool},
};
use crate::engine::Inner;

/// Bytes sealed at once.
const PIECE: usize = 64 << 10;

/// A payload that is whole and durable, and in nobody's charge yet.
pub(crate) struct Made {
    pub(crate) file: Arrived,
    pub(crate) digest: ContentDigest,
    /// Length of the payload, in bytes.
    pub(crate) size: u64,
}

/// Makes a message's payload under `secrets`, which are new: they seal these bytes and no others.
///
/// # Errors
/// [`Remedy::Block`] if it will not come about by itself; [`Remedy::Retry`] if the disk may be to blame.
pub(crate) async fn make(
    engine: &Inner,
    spool: &Spool,
    row: &AttachmentRow,
    secrets: AttachmentSecrets,
    limits: PhotoLimits,
    decoder: Option<Arc<dyn PictureDecoder>>,
) -> Result<Made, Failure> {
    let original = row.original.as_deref().ok_or_else(|| {
        Failure::new(Remedy::Block, Code::SourceVanished, "the copy of the attachment is not there any more")
    })?;
    let (files, path, length) = (engine.env.files.clone(), spool.path(original), row.size);
    let name = shown_name(&row.name, row.is_photo);
    let mime = if row.is_photo { "image/jpeg".to_owned() } else { row.mime.clone() };
    let is_photo = row.is_photo;
    // A photo is decoded in memory that others are kept from meanwhile; a file goes through one piece of it.
    let room = if is_photo { Some(engine.memory.room(limits.memory_bytes).await) } else { None };
    let made = spool
        .write(move |payload| {
            let _room = room;
            let mut file = files.open(&path)?;
            if is_photo {
                let jpeg = smaller(file, &path, length, &limits, decoder.as_deref())?;
                let mut rest = &jpeg[..];
                seal(payload, secrets, &name, &mime, jpeg.len() as u64, |piece| io::Read::read(&mut rest, piece))
            } else {
                let mut offset = 0;
                seal(payload, secrets, &name, &mime, length, |piece| {
                    let count = file.read_at(offset, piece)?;
                    offset += count as u64;
                    Ok(count)
                })
            }
        })
        .await;
    let (file, digest) = made.map_err(Unmade::into_failure)?;
    Ok(Made { size: file.size, file, digest })
}

/// Whether a picture of this kind can be made smaller here, told from its first bytes.
pub(crate) fn is_drawable(head: &[u8]) -> bool {
    use landfall_images::MediaKind::{Arw, Cr2, Cr3, Dng, Jpeg, Nef, Orf, Png, Raf, Rw2, WebP};
    matches!(sniff(head), Some(Jpeg | Png | WebP | Dng | Cr2 | Cr3 | Nef | Arw | Orf | Rw2 | Raf))
}

fn smaller(
    mut file: Box<dyn File>,
    path: &Path,
    length: u64,
    limits: &PhotoLimits,
    decoder: Option<&dyn PictureDecoder>,
) -> Result<Vec<u8>, Unmade> {
    let mut head = vec![0; SNIFF_LENGTH];
    let count = file.read_at(0, &mut head)?;
    let kind = sniff(&head[..count]).ok_or(Unmade::NoPhoto(NoThumbnail::Unsupported))?;
    let host = decoder.filter(|host| !is_drawable(&head[..count]) && host.draws(kind));
    let Some(host) = host else { return drawn(Seekable { file, position: 0, length }, length, kind, limits) };
    // A bug in a decoder must cost a photo, and not the process that has others in its care.
    let jpeg = catch_unwind(AssertUnwindSafe(|| host.to_jpeg(path, limits.edge)));
    let jpeg = jpeg.unwrap_or_else(|_| Err(io::Error::other("the decoder of the host panicked")));
    let jpeg = jpeg.map_err(|error| Unmade::NoPhoto(NoThumbnail::Malformed(error.to_string())))?;
    let length = jpeg.len() as u64;
    drawn(io::Cursor::new(jpeg), length, MediaKind::Jpeg, limits)
}

fn drawn(mut reader: impl ReadSeek, length: u64, kind: MediaKind, limits: &PhotoLimits) -> Result<Vec<u8>, Unmade> {
    let orientation = read_metadata(&mut reader, length, kind).orientation;
    Ok(photo(&mut reader, length, kind, orientation, limits).map_err(Unmade::NoPhoto)?.jpeg)
}

fn seal(
    payload: &mut Incoming,
    secrets: AttachmentSecrets,
    name: &str,
    mime: &str,
    length: u64,
    mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
) -> Result<(ContentDigest, u64), Unmade> {
    let header = AttachmentHeader::new(name, mime, length)?;
    let (mut sealer, begin) = PayloadSealer::of_attachment(&secrets, &header);
    payload.append(&begin)?;
    let mut piece = vec![0; PIECE];
    loop {
        let count = read(&mut piece)?;
        if count == 0 {
            break;
        }
        sealer.update(&mut piece[..count])?;
        payload.append(&piece[..count])?;
    }
    let (tag, digest) = sealer.finish()?;
    payload.append(&tag)?;
    Ok((digest, header.payload_len()))
}

/// A photo becomes a JPEG, whatever it was.
pub(crate) fn shown_name(name: &str, is_photo: bool) -> String {
    let has_ending = |ending: &str| name.to_ascii_lowercase().ends_with(ending);
    if !is_photo || has_ending(".jpg") || has_ending(".jpeg") {
        return name.to_owned();
    }
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    format!("{stem}.jpg")
}

/// Why there is no payload.
enum Unmade {
    NoPhoto(NoThumbnail),
    NotWritable(NotWritable),
    Changed,
    Disk(io::Error),
}

impl Unmade {
    fn into_failure(self) -> Failure {
        let block = |code, message: String| Failure::new(Remedy::Block, code, message);
        match self {
            Self::NoPhoto(NoThumbnail::Unreadable(why)) => Failure::new(Remedy::Retry, Code::SourceUnreadable, why),
            // Our copy will not get better.
            Self::NoPhoto(why) => {
                block(Code::SourceUnreadable, format!("the photo is damaged, or cannot be made smaller here: {why}"))
            }
            Self::NotWritable(why) => block(Code::Refused, why.to_string()),
            Self::Changed => block(Code::SourceChanged, "the copy of the attachment is damaged".to_owned()),
            Self::Disk(error) if error.kind() == io::ErrorKind::StorageFull => {
                Failure::new(Remedy::Retry, Code::HomeFull, "the disk of the home is full")
            }
            Self::Disk(error) if error.kind() == io::ErrorKind::NotFound => {
                block(Code::SourceVanished, "the copy of the attachment is not there any more".to_owned())
            }
            Self::Disk(error) => Failure::new(Remedy::Retry, Code::SourceUnreadable, error.to_string()),
        }
    }
}

impl From<io::Error> for Unmade {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

impl From<NotWritable> for Unmade {
    fn from(error: NotWritable) -> Self {
        Self::NotWritable(error)
    }
}

impl From<SealError> for Unmade {
    fn from(_: SealError) -> Self {
        Self::Changed
    }
}

/// A file as decoders want it.
struct Seekable {
    file: Box<dyn File>,
    position: u64,
    length: u64,
}

impl io::Read for Seekable {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(self.position, buffer)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl io::Seek for Seekable {
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
