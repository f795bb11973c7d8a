//! What clients and the reference server say to each other: routes, bodies, limits, error codes.
//!
//! A *vault* belongs to an *account*. A client opens an *upload* under an *object key* that it chose itself, asks for
//! *grants* (signed URLs, each bound to one part's length and CRC32C), puts the parts, completes the upload, and
//! *registers* a *file record* that names the stored objects. Everything a person would recognise (titles, dates,
//! places, keys, thumbnails) crosses this boundary sealed; the server sees lengths, checksums of ciphertext and tags.
//!
//! Attachments of chats are objects of another kind: put to one signed URL ([`PresignedUpload`]), read by whoever knows
//! their URL, and kept for a limited time. Messages go to *lanes*, sealed.
//!
//! File records, collections and key attributes have the shape of Ente's server API, field for field; uploads are
//! Landfall's own dialect (the routes below `/vault/`).
//!
//! Bytes are standard base64 with padding in JSON; a CRC32C is eight lower-case hex digits; times are milliseconds
//! since the epoch unless the name says otherwise.

mod attachment;
mod bytes;
mod error;
mod keys;
mod lane;
mod record;
pub mod route;
mod upload;

pub use self::{
    attachment::{PresignedUpload, RenewAssets, Renewal, RenewedAsset, RenewedAssets},
    bytes::Base64,
    error::{ErrorCode, Problem},
    keys::KeyAttributes,
    lane::{LaneMessage, LanePage, MessageReceipt, NewMessage},
    record::{
        AccountInfo, Collection, CollectionList, Diff, FileRecord, MagicMetadata, MagicUpdate, MagicUpdates,
        NewCollection, NewFile, SealedMetadata, SealedObject, TrashItem, TrashRequest,
    },
    upload::{
        CompletePart, CompleteUpload, Grant, NewUpload, PartChecksum, SignRequest, SignedParts, StoredPart,
        UploadState, UploadStatus,
    },
};

/// Longest JSON body either side accepts, in bytes. Larger answers are refused before they are read whole.
pub const JSON_BYTES_MAX: usize = 8 << 20;

/// Longest owner's metadata of a record, sealed: the places of a content. As JSON it fits into one answer.
pub const PLACES_BYTES_MAX: usize = 4 << 20;
/// Most parts an upload may have, as in S3.
pub const PARTS_MAX: u32 = 10_000;
/// Largest part, in bytes, as in S3.
pub const PART_BYTES_MAX: u64 = 5 << 30;
/// Most records in one page of a [`Diff`].
pub const DIFF_PAGE_MAX: u32 = 1000;
/// Longest media type of an attachment, in bytes.
pub const CONTENT_TYPE_BYTES_MAX: usize = 255;
/// Longest file name of an attachment, in bytes.
pub const FILE_NAME_BYTES_MAX: usize = 1024;
/// Most attachments renewed at once.
pub const RENEW_MAX: usize = 1000;
/// Longest body of a message, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 256 << 10;
/// Longest idempotency key of a message, in bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 128;
/// Most messages in one page of a lane.
pub const LANE_PAGE_MAX: u32 = 100;
