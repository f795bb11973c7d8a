//! Paths and headers. Clients build them here and the server matches the same words.

/// Carries the account's token.
pub const TOKEN_HEADER: &str = "x-auth-token";
/// CRC32C of a part's body, eight lower-case hex digits. Bound by the grant's signature and checked on arrival.
pub const CRC32C_HEADER: &str = "x-landfall-crc32c";

/// `GET` [`crate::AccountInfo`].
pub const ACCOUNT: &str = "/vault/account";
/// `GET` [`crate::KeyAttributes`] or 404; `PUT` creates with `If-None-Match: *`, replaces with `If-Match: "<version>"`,
/// and answers 412 when the condition does not hold.
pub const KEYS: &str = "/vault/keys";
/// `POST` [`crate::NewUpload`], answers [`crate::UploadStatus`].
pub const UPLOADS: &str = "/vault/uploads";
/// `GET` `?since=CURSOR&limit=N`, answers [`crate::Diff`].
pub const DIFF: &str = "/vault/diff";
/// `GET` [`crate::CollectionList`] (`?sinceTime=`).
pub const COLLECTIONS_LIST: &str = "/collections/v2";
/// `POST` [`crate::NewCollection`], answers [`crate::Collection`].
pub const COLLECTIONS: &str = "/collections";
/// `POST` [`crate::NewFile`], answers [`crate::FileRecord`].
pub const FILES: &str = "/files";
/// `PUT` [`crate::MagicUpdates`].
pub const MAGIC_METADATA: &str = "/files/magic-metadata";
/// `POST` [`crate::TrashRequest`].
pub const TRASH: &str = "/files/trash";

/// `GET` answers [`crate::UploadStatus`]; `DELETE` abandons the upload (204, also when it is not there).
pub fn upload(object_key: &str) -> String {
    format!("{UPLOADS}/{object_key}")
}

/// `POST` [`crate::SignRequest`], answers [`crate::SignedParts`].
pub fn sign(object_key: &str) -> String {
    format!("{UPLOADS}/{object_key}/sign")
}

/// `POST` [`crate::CompleteUpload`], answers [`crate::UploadStatus`].
pub fn complete(object_key: &str) -> String {
    format!("{UPLOADS}/{object_key}/complete")
}

/// `GET` answers one [`crate::FileRecord`].
pub fn file(id: i64) -> String {
    format!("/vault/files/{id}")
}

/// `GET` answers 307 to a signed URL of the content. Do not forward the token.
pub fn download(id: i64) -> String {
    format!("/files/download/{id}")
}

/// `GET` answers 307 to a signed URL of the thumbnail. Do not forward the token.
pub fn preview(id: i64) -> String {
    format!("/files/preview/{id}")
}

/// A CRC32C as it travels.
pub fn crc32c_text(crc32c: u32) -> String {
    format!("{crc32c:08x}")
}
