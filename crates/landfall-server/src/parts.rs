//! `PUT /blobs/{account}/{object_key}/{number}`: a part arrives.
//!
//! The URL is the leave: it is signed for one part of one length and one CRC32C. The body goes to a file in `incoming/`
//! as it comes; when it is whole, checked and synced, one transaction looks whether the upload still takes parts, moves
//! the file to its place and notes it.

use std::cell::Cell;

use axum::{
    body::Body,
    extract::{FromRequestParts, Path, Query, State},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse as _, Response},
};
use crc_fast::{CrcAlgorithm, Digest};
use landfall_env::{Incoming, Sabotage};
use landfall_protocol::{ErrorCode, StoredPart, UploadState, route};
use rusqlite::OptionalExtension as _;

use crate::{
    Server,
    arrival::{Arrival, Arrived, Checksum, said_length},
    database::Transaction,
    folder::PartName,
    json::ObjectKey,
    refusal::{BlobRefusal, Refusal},
    server::Inner,
    signing::{PutGrant, Untrusted, parse_crc32c},
    uploads,
};

impl FromRequestParts<Server> for PartName {
    type Rejection = BlobRefusal;

    async fn from_request_parts(parts: &mut Parts, server: &Server) -> Result<Self, BlobRefusal> {
        match Path::<(i64, String, u32)>::from_request_parts(parts, server).await {
            Ok(Path((account, object_key, number))) if ObjectKey::is_valid(&object_key) => {
                Ok(Self { account, object_key, number })
            }
            _ => Err(BlobRefusal::new(StatusCode::NOT_FOUND, "NoSuchKey", "there is no such part")),
        }
    }
}

impl From<Untrusted> for BlobRefusal {
    fn from(untrusted: Untrusted) -> Self {
        match untrusted {
            Untrusted::Forged => Self::new(StatusCode::FORBIDDEN, "SignatureDoesNotMatch", "The signature is wrong"),
            Untrusted::Expired => Self::new(StatusCode::FORBIDDEN, "AccessDenied", "Request has expired"),
        }
    }
}

/// Puts a part. Putting the same part again is success and changes nothing.
pub(crate) async fn put(
    State(server): State<Server>,
    part: PartName,
    grant: Result<Query<PutGrant>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, BlobRefusal> {
    let Ok(Query(grant)) = grant else {
        return Err(BlobRefusal::new(StatusCode::FORBIDDEN, "AccessDenied", "The URL is not signed"));
    };
    server.inner.signer.check_put(&part, &grant, server.inner.now_ms())?;
    let expected = expected(&part, &grant, &headers, &body)?;
    let name = part.clone();
    server.until_writable().await?;
    let arrival = server.blocking(move |inner| begin(inner, &name, expected)).await?;
    let arrived = arrival.receive(&server, body, expected.length).await?;
    let stored = server.blocking(move |inner| finish(inner, &part, expected, arrived)).await?;
    if stored == Stored::Now {
        server.inner.env.steps.reached("server.part.committed");
    }
    let etag = HeaderValue::from_str(&format!("\"{}\"", route::crc32c_text(expected.crc32c)))
        .expect("hex digits and quotes are visible ASCII");
    Ok(([(header::ETAG, etag)], StatusCode::OK).into_response())
}

/// The part as the grant describes it, if the request agrees.
fn expected(part: &PartName, grant: &PutGrant, headers: &HeaderMap, body: &Body) -> Result<StoredPart, BlobRefusal> {
    let length = said_length(headers, body)?;
    if length != grant.length {
        return Err(BlobRefusal::new(
            StatusCode::FORBIDDEN,
            "SignatureDoesNotMatch",
            "The URL is signed for another Content-Length",
        ));
    }
    let sent = headers.get(route::CRC32C_HEADER).and_then(|value| value.to_str().ok());
    match sent.and_then(parse_crc32c) {
        Some(crc32c) if Some(crc32c) == parse_crc32c(&grant.crc32c) => {
            Ok(StoredPart { number: part.number, length, crc32c })
        }
        _ => Err(BlobRefusal::new(
            StatusCode::BAD_REQUEST,
            "BadDigest",
            "The checksum header is missing or is not the one the URL is signed for",
        )),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stored {
    Now,
    Before,
}

impl Checksum for Digest {
    fn update(&mut self, bytes: &[u8]) {
        Self::update(self, bytes);
    }
}

/// Begins to take a part in. If it is stored already, its body is only checked.
fn begin(inner: &Inner, name: &PartName, expected: StoredPart) -> Result<Arrival<Digest>, Refusal> {
    let before = inner.database.read(|transaction| stored_before(transaction, name, expected))?;
    let file = match before {
        Some(()) => None,
        None => Some(Incoming::create(&inner.env, &inner.instance.incoming)?),
    };
    Ok(Arrival::new(file, Digest::new(CrcAlgorithm::Crc32Iscsi)))
}

fn finish(
    inner: &Inner,
    name: &PartName,
    expected: StoredPart,
    arrived: Arrived<Digest>,
) -> Result<Stored, BlobRefusal> {
    let (file, digest) = arrived.finish()?;
    if digest.finalize() != u64::from(expected.crc32c) {
        return Err(BlobRefusal::new(StatusCode::BAD_REQUEST, "BadDigest", "The body has another CRC32C"));
    }
    match file {
        None => Ok(Stored::Before),
        Some(file) => Ok(store(inner, name, expected, file)?),
    }
}

/// `Some` if the very same part is stored; refuses if another one is, or if the upload takes none.
fn stored_before(transaction: &Transaction<'_>, name: &PartName, expected: StoredPart) -> Result<Option<()>, Refusal> {
    let upload = uploads::select(transaction, name.account, &name.object_key)?.ok_or_else(Refusal::no_such_upload)?;
    let stored = transaction
        .prepare_cached("SELECT length, crc32c FROM part WHERE account = ?1 AND object_key = ?2 AND number = ?3")?
        .query_row((name.account, &name.object_key, name.number), |row| {
            Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get::<_, u32>(1)?))
        })
        .optional()?;
    match stored {
        Some(stored) if stored == (expected.length, expected.crc32c) => Ok(Some(())),
        Some(_) => {
            Err(Refusal::conflict(ErrorCode::UploadDiffers, "This part is stored already, with another checksum"))
        }
        None if upload.state != UploadState::Open => Err(Refusal::no_such_upload()),
        None if upload.part_length(name.number) != Some(expected.length) => {
            Err(Refusal::invalid("The upload was opened anew with other sizes"))
        }
        None => Ok(None),
    }
}

fn store(inner: &Inner, name: &PartName, part: StoredPart, mut file: Incoming) -> Result<Stored, Refusal> {
    if !inner.env.steps.sabotaged(Sabotage::SkipFileSync) {
        file.sync()?;
    }
    let moved = Cell::new(false);
    let result = inner.write(|transaction| {
        if stored_before(transaction, name, part)?.is_some() {
            return Ok(Stored::Before);
        }
        let siblings: u32 = transaction
            .prepare_cached("SELECT count(*) FROM part WHERE account = ?1 AND object_key = ?2")?
            .query_row((name.account, &name.object_key), |row| row.get(0))?;
        moved.set(true);
        inner.folder.place_part(&inner.env, file.path(), name, siblings == 0)?;
        file.was_placed();
        inner.env.steps.reached("server.part.renamed");
        note(transaction, name, part, inner.now_ms())?;
        Ok(Stored::Now)
    });
    if let Err(refusal) = &result
        && refusal.status == StatusCode::INSUFFICIENT_STORAGE
        && moved.get()
    {
        take_back(inner, name);
    }
    result
}

fn note(transaction: &Transaction<'_>, name: &PartName, part: StoredPart, now_ms: i64) -> Result<(), Refusal> {
    transaction
        .prepare_cached("INSERT INTO part (account, object_key, number, length, crc32c) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute((name.account, &name.object_key, part.number, part.length.cast_signed(), part.crc32c))?;
    let upload = uploads::select(transaction, name.account, &name.object_key)?.ok_or_else(Refusal::no_such_upload)?;
    if upload.part_count == 1 {
        uploads::store(transaction, name.account, &name.object_key, now_ms)?;
    } else {
        uploads::touch(transaction, name.account, &name.object_key, now_ms)?;
    }
    Ok(())
}

/// Removes a part that was moved but could not be noted, because the disk is full and every byte counts.
///
/// Only then is it certain that the note will not come back: after any other failure the commit may be found in the
/// write-ahead log by the next to open the vault, so the file stays. It goes with its upload, or is replaced when the
/// part is sent again.
fn take_back(inner: &Inner, name: &PartName) {
    // Under the write lock, since another process may have stored the same part by now. Nothing is written, so a full
    // disk does not hinder it.
    let removed = inner.write(|transaction| {
        let noted: bool = transaction
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM part WHERE account = ?1 AND object_key = ?2 AND number = ?3)",
            )?
            .query_row((name.account, &name.object_key, name.number), |row| row.get(0))?;
        if !noted {
            inner.folder.remove_part(inner.env.files.as_ref(), name)?;
        }
        Ok(())
    });
    if let Err(refusal) = removed {
        refusal.log();
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use http_body_util::BodyExt as _;
    use landfall_protocol::{NewUpload, PartChecksum};
    use tower::ServiceExt as _;

    use super::*;
    use crate::ServerConfig;

    async fn pages_max(server: &Server, pages: u32) {
        server.read(move |transaction, _| Ok(transaction.pragma_update(None, "max_page_count", pages)?)).await.unwrap();
    }

    /// The database finds the disk full only after the part was moved to its place.
    #[tokio::test]
    async fn a_part_that_a_full_disk_keeps_from_being_noted_is_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::open(ServerConfig::new(folder.path()), landfall_env::Env::real()).await.unwrap();
        let token = server.embedded_token(None).await.unwrap();
        let crc32c = u32::try_from(crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, b"x")).unwrap();
        let sign = (1..=1000).map(|number| PartChecksum { number, length: 1, crc32c }).collect();
        let open = NewUpload { object_key: "a".repeat(32), size: 1000, part_size: 1, sign };
        let request = Request::post(route::UPLOADS).header(route::TOKEN_HEADER, token.as_str());
        let request = request.body(Body::from(serde_json::to_vec(&open).unwrap())).unwrap();
        let body = server.router().oneshot(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
        let grants = serde_json::from_slice::<landfall_protocol::UploadStatus>(&body).unwrap().grants;
        let put = async |number: usize| {
            let grant = &grants[number - 1];
            let request = Request::put(&grant.url).header(route::CRC32C_HEADER, &grant.headers[0].1);
            server.router().oneshot(request.body(Body::from("x")).unwrap()).await.unwrap().status()
        };
        // The least that SQLite accepts is what there is.
        pages_max(&server, 1).await;
        let mut refused = 1;
        while put(refused).await.is_success() {
            refused += 1;
        }
        assert_eq!(put(refused).await, StatusCode::INSUFFICIENT_STORAGE);
        let name = PartName { account: 1, object_key: "a".repeat(32), number: 0 };
        let path = |number| server.inner.folder.part(&PartName { number, ..name.clone() });
        assert!(!path(u32::try_from(refused).unwrap()).exists() && path(1).exists());
        assert_eq!(std::fs::read_dir(&server.inner.instance.incoming).unwrap().count(), 0);
        pages_max(&server, 1 << 30).await;
        assert_eq!(put(refused).await, StatusCode::OK);
    }
}
