//! What Landfall knows of pictures: their kind, what they say of themselves, and how they look when small.
//!
//! A file is *sniffed* first: its leading bytes, never its name, tell its [`MediaKind`]. Its *metadata* is read next, a
//! few kilobytes wherever they lie in the file: when it was taken, where, with what, which side is up. Then a
//! *thumbnail* is made: a small upright JPEG without any metadata of its own. What has no thumbnail (a video, a picture
//! nobody here can decode, one that would not fit the memory given) shows the [`placeholder`] instead.
//!
//! Every byte read here comes from somewhere else and may be wrong or hostile. So nothing here fails a backup and
//! nothing panics: a broken file yields less metadata and no thumbnail, and the bytes themselves go on their way. All
//! work is bounded: in bytes read for metadata, in memory held for pictures, in pixels and scans decoded. A caller that
//! keeps a memory budget asks [`memory_needed`] before it asks for the [`thumbnail`].
//!
//! # Example
//! ```
//! use std::io::Cursor;
//! # let file = landfall_images::fixture::Jpeg::new(640, 480).taken("2021:02:03 04:05:06", Some("+01:00")).bytes();
//! let length = file.len() as u64;
//! let kind = landfall_images::sniff(&file[..4096.min(file.len())]).expect("a known kind");
//! let mut reader = Cursor::new(file);
//! let metadata = landfall_images::read_metadata(&mut reader, length, kind);
//! assert_eq!(metadata.taken_at.expect("a date").to_string(), "2021-02-03T04:05:06+01:00");
//! let limits = landfall_images::ThumbnailLimits::default();
//! let small = landfall_images::thumbnail(&mut reader, length, kind, metadata.orientation, &limits)?;
//! assert_eq!((small.width, small.height), (512, 384));
//! # Ok::<(), landfall_images::NoThumbnail>(())
//! ```

mod atom;
mod civil;
mod exif;
mod file_date;
#[cfg(any(test, feature = "fixture"))]
pub mod fixture;
mod heif;
mod jpeg;
mod kind;
mod metadata;
mod orientation;
mod photo;
mod pixels;
mod png;
mod preview;
mod quicktime;
mod source;
mod thumbnail;
mod tiff;
mod webp;

pub use self::{
    civil::{CivilDateTime, TakenAt},
    file_date::date_from_name,
    kind::{MediaClass, MediaKind, SNIFF_LENGTH, sniff},
    metadata::{Metadata, read_metadata},
    orientation::Orientation,
    photo::{PhotoLimits, photo},
    source::ReadSeek,
    thumbnail::{NoThumbnail, Thumbnail, ThumbnailLimits, memory_needed, placeholder, thumbnail},
};
