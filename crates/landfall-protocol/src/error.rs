//! How the server refuses.

use serde::{Deserialize, Serialize};

use crate::FileRecord;

/// The body of every refusal outside the routes of blobs and assets (RFC 9457, `application/problem+json`).
///
/// Those answer as S3 does: an XML `<Error>` whose `<Code>` is S3's word (`AccessDenied`, `BadDigest`,
/// `IncompleteBody`, `NoSuchUpload`, `NoSuchKey`, `EntityTooLarge`).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Problem {
    /// The HTTP status, repeated.
    pub status: u16,
    /// What went wrong, for programs.
    pub code: ErrorCode,
    /// What went wrong and what to do, for people.
    pub detail: String,
    /// The record that already holds this content, with [`ErrorCode::ContentExists`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub winner: Option<Box<FileRecord>>,
}

/// Why a request was refused. Codes are never renamed or reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ErrorCode {
    /// 400: the request itself is wrong and will always be.
    Invalid,
    /// 401: no token, or one that is not known. Log in again.
    Unauthorized,
    /// 404: not there, or another account's.
    NotFound,
    /// 409: this content is already registered; `winner` is its record.
    ContentExists,
    /// 409: the object is registered already, with another body.
    RegisteredDifferently,
    /// 409: the version sent is not the stored one; read the record again.
    VersionMismatch,
    /// 409: an upload of that key exists with another size or part size.
    UploadDiffers,
    /// 409: not all parts have arrived, or with other checksums.
    Incomplete,
    /// 409: the object of this upload belongs to a registered file and cannot be abandoned.
    InUse,
    /// 409: the lane has a message of that idempotency key, with another body.
    MessageDiffers,
    /// 404: the upload was abandoned, completed, or never opened.
    NoSuchUpload,
    /// 412: key attributes exist already.
    KeysExist,
    /// 413: a body or an object beyond the limits.
    TooLarge,
    /// 429: slow down; `Retry-After` says for how long.
    Throttled,
    /// 500: a bug or a broken disk on the server's side; its log says more.
    Internal,
    /// 503: cannot serve now; `Retry-After` says when.
    Unavailable,
    /// 503: another process on the server's machine is writing to the vault and does not go on; `detail` names it.
    VaultHeld,
    /// 507: the vault's disk is full. Free space there; uploads go on by themselves.
    StorageFull,
    /// A code this version does not know.
    #[serde(other)]
    Unknown,
}
