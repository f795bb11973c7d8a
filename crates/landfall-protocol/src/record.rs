//! Collections and file records: what a vault lists.

use serde::{Deserialize, Serialize};

use crate::Base64;

/// Who the token speaks for, and what the server allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountInfo {
    /// The account's number on this server.
    pub account: i64,
    /// A random name of this vault, the same for as long as it lives.
    pub vault: String,
    /// The latest `updation_time` of the account's records; 0 if it has none. Never falls: a lower one than before means
    /// that the vault was put back to an older state.
    pub cursor: i64,
    /// How long a grant stays valid, in milliseconds.
    pub grant_ttl_ms: u64,
    /// Largest object accepted, in bytes of ciphertext.
    pub object_bytes_max: u64,
}

/// A set of files with one key: an album, or a backed-up folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Collection {
    /// The server's number for it.
    pub id: i64,
    /// Collection key wrapped by the master key.
    pub encrypted_key: Base64,
    /// Nonce of `encrypted_key`.
    pub key_decryption_nonce: Base64,
    /// Name, secretbox under the collection key.
    pub encrypted_name: Base64,
    /// Nonce of `encrypted_name`.
    pub name_decryption_nonce: Base64,
    /// `album`, `folder`, `favorites` or `uncategorized`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Keyed hash of the name: unique per account, so two devices that create one name at once get one collection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_tag: Option<Base64>,
    /// Rises with every change in the account, never reused.
    pub updation_time: i64,
}

/// Asks for a collection. Sending the same `name_tag` again returns the first one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NewCollection {
    /// See [`Collection::encrypted_key`].
    pub encrypted_key: Base64,
    /// See [`Collection::key_decryption_nonce`].
    pub key_decryption_nonce: Base64,
    /// See [`Collection::encrypted_name`].
    pub encrypted_name: Base64,
    /// See [`Collection::name_decryption_nonce`].
    pub name_decryption_nonce: Base64,
    /// See [`Collection::kind`].
    #[serde(rename = "type")]
    pub kind: String,
    /// See [`Collection::name_tag`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_tag: Option<Base64>,
}

/// All collections of the account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectionList {
    /// Oldest first.
    pub collections: Vec<Collection>,
}

/// A stored object as a file record names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SealedObject {
    /// Where it is.
    pub object_key: String,
    /// The stream's 24-byte header; it is not in the object.
    pub decryption_header: Base64,
    /// Length of the ciphertext in bytes; the server compares it with what is stored.
    pub size: u64,
}

/// A JSON text sealed as one FINAL message under the file key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SealedMetadata {
    /// The ciphertext.
    pub encrypted_data: Base64,
    /// Its 24-byte header.
    pub decryption_header: Base64,
}

/// Metadata that may change, sealed under the file key, with the version that guards its changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MagicMetadata {
    /// Starts at 1; a change sends the version it read and the server raises it.
    pub version: u32,
    /// Number of keys in the JSON object.
    pub count: u32,
    /// The ciphertext.
    pub data: Base64,
    /// Its 24-byte header.
    pub header: Base64,
}

/// Registers a file whose objects are stored.
///
/// Idempotent: the same body again returns the same record; another body with a `content_tag` that a
/// record of the account carries is refused with [`crate::ErrorCode::ContentExists`] and that record, be it of the same
/// objects or of others; any other body for the same object with [`crate::ErrorCode::RegisteredDifferently`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NewFile {
    /// The collection whose key wraps the file key.
    #[serde(rename = "collectionID")]
    pub collection_id: i64,
    /// File key wrapped by the collection key.
    pub encrypted_key: Base64,
    /// Nonce of `encrypted_key`.
    pub key_decryption_nonce: Base64,
    /// The content.
    pub file: SealedObject,
    /// Its thumbnail.
    pub thumbnail: SealedObject,
    /// What never changes: title, dates, type, digest.
    pub metadata: SealedMetadata,
    /// What anyone with the file key may see and the owner may change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pub_magic_metadata: Option<MagicMetadata>,
    /// The owner's own: the places the content was seen at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub magic_metadata: Option<MagicMetadata>,
    /// Keyed BLAKE2b of the content's digest, 32 bytes: unique per account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_tag: Option<Base64>,
}

/// A registered file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileRecord {
    /// The server's number for it.
    pub id: i64,
    /// The account it belongs to.
    #[serde(rename = "ownerID")]
    pub owner_id: i64,
    /// What was registered, with the current magic metadata.
    #[serde(flatten)]
    pub file: NewFile,
    /// Rises with every change in the account, never reused.
    pub updation_time: i64,
    /// It was removed; its objects are gone or going.
    #[serde(default)]
    pub is_deleted: bool,
}

/// Changes since a cursor, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Diff {
    /// Records whose `updation_time` is above the cursor, removed ones included.
    pub diff: Vec<FileRecord>,
    /// More can be had with the last record's `updation_time` as the next cursor.
    pub has_more: bool,
}

/// Replaces the owner's metadata of files. All or nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MagicUpdates {
    /// One entry per file.
    pub metadata_list: Vec<MagicUpdate>,
}

/// One file's new owner metadata; `version` is the one that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MagicUpdate {
    /// The file.
    pub id: i64,
    /// Its new metadata.
    pub magic_metadata: MagicMetadata,
}

/// Removes files. Removing a removed one is success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrashRequest {
    /// What to remove.
    pub items: Vec<TrashItem>,
}

/// One file to remove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrashItem {
    /// The file.
    #[serde(rename = "fileID")]
    pub file_id: i64,
    /// The collection it is in.
    #[serde(rename = "collectionID")]
    pub collection_id: i64,
}
