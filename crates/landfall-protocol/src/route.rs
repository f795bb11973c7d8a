//! Paths and headers. Clients build them here and the server matches the same words.

/// Carries the account's token.
pub const TOKEN_HEADER: &str = "x-auth-token";
/// Carries it as well, for chat clients that send it under this name. The other one counts if both are there.
pub const CHAT_TOKEN_HEADER: &str = "x-convos-authtoken";
/// CRC32C of a part's body, eight lower-case hex digits. Bound by the grant's signature and checked on arrival.
pub const CRC32C_HEADER: &str = "x-landfall-crc32c";
/// SHA-256 of an attachment's body, base64. May be sent with it, and is then checked on arrival.
pub const SHA256_HEADER: &str = "x-amz-checksum-sha256";

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
/// `GET` `?contentType=&filename=[&contentLength=]`, answers [`crate::PresignedUpload`].
pub const PRESIGNED: &str = "/v2/attachments/presigned";
/// `POST` [`crate::RenewAssets`], answers [`crate::RenewedAssets`].
pub const RENEW: &str = "/v2/assets/renew-batch";

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

/// `GET` [`PRESIGNED`] for one attachment. With a length, which is that of the sealed bytes, the URL takes no other.
pub fn presigned(content_type: &str, filename: &str, content_length: Option<u64>) -> String {
    let length = content_length.map(|length| format!("&contentLength={length}")).unwrap_or_default();
    format!("{PRESIGNED}?contentType={}&filename={}{length}", encoded(content_type), encoded(filename))
}

/// `PUT`, with the query of a grant, stores an attachment; `GET` and `HEAD` read it, without a token.
pub fn asset(object_key: &str) -> String {
    format!("/assets/{object_key}")
}

/// `POST` [`crate::NewMessage`], answers [`crate::MessageReceipt`]; `GET` `?after=NUMBER&limit=N`, answers
/// [`crate::LanePage`]. A lane is 32 lower-case hex digits.
pub fn messages(lane: &str) -> String {
    format!("/v2/lanes/{lane}/messages")
}

/// A CRC32C as it travels.
pub fn crc32c_text(crc32c: u32) -> String {
    format!("{crc32c:08x}")
}

/// A text as a value in a query.
fn encoded(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_type_or_a_name_has_in_it_is_one_value_of_the_query() {
        assert_eq!(
            presigned("image/svg+xml; a=\"b\"", "ä&b=c#.jpg", Some(17)),
            "/v2/attachments/presigned?contentType=image%2Fsvg%2Bxml%3B%20a%3D%22b%22&filename=%C3%A4%26b%3Dc%23.jpg\
             &contentLength=17"
        );
    }
}
