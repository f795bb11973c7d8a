//! Uploads in Landfall's own dialect.

use serde::{Deserialize, Serialize};

/// Opens an upload under a key that the client chose (32 lower-case hex digits, drawn at random).
///
/// Idempotent: opening it again with the same sizes answers with its present state, whoever asked first. A key that was
/// abandoned stays so: opening it is refused with [`crate::ErrorCode::NoSuchUpload`], so that a request that was under
/// way for long cannot bring it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewUpload {
    /// Name of the object, unique within the account.
    pub object_key: String,
    /// Length of the whole object in bytes.
    pub size: u64,
    /// Length of every part but the last, in bytes. An object of one part is stored as soon as that part has arrived.
    pub part_size: u64,
    /// Parts to sign at once, to save a round trip. May be empty.
    #[serde(default)]
    pub sign: Vec<PartChecksum>,
}

/// A part as the client means to send it. The grant is bound to both values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartChecksum {
    /// From 1.
    pub number: u32,
    /// In bytes.
    pub length: u64,
    /// CRC32C (Castagnoli) of the part.
    pub crc32c: u32,
}

/// Where an upload stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UploadState {
    /// Takes parts.
    Open,
    /// Complete; the object can be read and registered.
    Stored,
}

/// What the server holds of an upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadStatus {
    /// The object's key.
    pub object_key: String,
    /// Open or stored.
    pub state: UploadState,
    /// Length of the whole object.
    pub size: u64,
    /// Length of every part but the last.
    pub part_size: u64,
    /// Parts that have arrived and are durable, in order of their numbers.
    pub parts: Vec<StoredPart>,
    /// Grants for the parts named in [`NewUpload::sign`] that have not arrived.
    #[serde(default)]
    pub grants: Vec<Grant>,
}

/// A part that has arrived, was checked and is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredPart {
    /// From 1.
    pub number: u32,
    /// In bytes.
    pub length: u64,
    /// CRC32C of the bytes stored.
    pub crc32c: u32,
}

/// Asks for grants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignRequest {
    /// The parts to be sent next.
    pub parts: Vec<PartChecksum>,
}

/// The grants asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedParts {
    /// In the order of the request.
    pub grants: Vec<Grant>,
}

/// Leave to put one part: a URL that works without a token until it expires.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The part it is for.
    pub number: u32,
    /// Path and query below the server's origin, or an absolute URL. Secret while it lives.
    pub url: String,
    /// Headers that must be sent with it.
    pub headers: Vec<(String, String)>,
    /// How long it is valid from the moment of the answer, in milliseconds. Relative, so that clocks need not agree.
    pub ttl_ms: u64,
}

impl std::fmt::Debug for Grant {
    /// Leaves the URL out: whoever has it may write.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grant").field("number", &self.number).field("ttl_ms", &self.ttl_ms).finish_non_exhaustive()
    }
}

/// Completes an upload: names every part the object is made of.
///
/// Idempotent: completing a stored object with the same parts answers as the first time did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompleteUpload {
    /// All parts, in order.
    pub parts: Vec<CompletePart>,
}

/// A part as the client knows it to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompletePart {
    /// From 1.
    pub number: u32,
    /// CRC32C from its receipt.
    pub crc32c: u32,
}
