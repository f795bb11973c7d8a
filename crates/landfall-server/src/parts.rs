//! `PUT /blobs/{account}/{object_key}/{number}`: a part arrives.
//!
//! The URL is the leave: it is signed for one part of one length and one CRC32C. The body goes to a file in `incoming/`
//! as it comes, at most [`CHUNK_BYTES`] in memory; when it is whole, checked and synced, one transaction looks whether
//! the upload still takes parts, moves the file to its place and notes it.

use std::{cell::Cell, time::Duration};

use axum::{
    body::{Body, HttpBody as _},
    extract::{FromRequestParts, Path, Query, State},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};
use http_body_util::BodyExt as _;
use landfall_env::Sabotage;
use landfall_protocol::{ErrorCode, StoredPart, UploadState, route};
use rusqlite::OptionalExtension as _;
use tokio::time::{Instant, timeout_at};

use crate::{
    Server, ServerConfig,
    database::Transaction,
    folder::{Incoming, PartName},
    json::ObjectKey,
    refusal::{BlobRefusal, Refusal},
    server::Inner,
    signing::{PutGrant, Untrusted, parse_crc32c},
    uploads,
};

/// What is gathered before it is written, in bytes.
const CHUNK_BYTES: usize = 256 << 10;
/// Frames shorter than this are gathered, in bytes.
const COPIED_BELOW: usize = 64 << 10;

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
    let receiving = server.blocking(move |inner| Receiving::begin(inner, name, expected)).await?;
    let receiving = receive(&server, receiving, body, expected.length).await?;
    let stored = server.blocking(move |inner| receiving.finish(inner)).await?;
    if stored == Stored::Now {
        server.inner.env.steps.reached("server.part.committed");
    }
    let etag = HeaderValue::from_str(&format!("\"{}\"", route::crc32c_text(expected.crc32c)))
        .expect("hex digits and quotes are visible ASCII");
    Ok(([(header::ETAG, etag)], StatusCode::OK).into_response())
}

/// The part as the grant describes it, if the request agrees.
fn expected(part: &PartName, grant: &PutGrant, headers: &HeaderMap, body: &Body) -> Result<StoredPart, BlobRefusal> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let length = match text(header::CONTENT_LENGTH.as_str()) {
        Some(length) => length.parse().ok(),
        // A router that is called without a socket may be given a body that knows its length and no header.
        None => body.size_hint().exact(),
    };
    let Some(length) = length else {
        return Err(BlobRefusal::new(StatusCode::LENGTH_REQUIRED, "MissingContentLength", "Send Content-Length"));
    };
    if length != grant.length {
        return Err(BlobRefusal::new(
            StatusCode::FORBIDDEN,
            "SignatureDoesNotMatch",
            "The URL is signed for another Content-Length",
        ));
    }
    match text(route::CRC32C_HEADER).and_then(parse_crc32c) {
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

/// Takes the body in. Dropping this in the middle (the client is gone) removes what had arrived.
async fn receive(
    server: &Server,
    mut receiving: Receiving,
    mut body: Body,
    length: u64,
) -> Result<Receiving, BlobRefusal> {
    let incomplete = || {
        BlobRefusal::new(StatusCode::BAD_REQUEST, "IncompleteBody", "The body has not the length it was said to have")
    };
    let cut_off = |message| BlobRefusal::new(StatusCode::BAD_REQUEST, "RequestTimeout", message);
    let pace = Pace::new(&server.inner.config);
    let mut arrived = 0_u64;
    loop {
        let frame = match timeout_at(pace.next_until(arrived), body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => break,
            Ok(Some(Err(_))) => return Err(incomplete()),
            Err(_) if pace.is_too_slow(arrived) => {
                return Err(cut_off("The body came too slowly; send the part again"));
            }
            Err(_) => return Err(cut_off("The body stopped coming; send the part again")),
        };
        let Ok(bytes) = frame.into_data() else { continue };
        arrived += bytes.len() as u64;
        if arrived > length {
            return Err(incomplete());
        }
        receiving.gather(bytes);
        // What is left at the end is written together with what finishing needs, in one go.
        if receiving.is_worth_a_write() {
            receiving = server
                .blocking(move |_| {
                    receiving.flush()?;
                    Ok::<_, Refusal>(receiving)
                })
                .await?;
        }
    }
    if arrived == length { Ok(receiving) } else { Err(incomplete()) }
}

/// How a part has to come: neither silent for long, nor so slow that it would never end.
struct Pace {
    began: Instant,
    idle_max: Duration,
    rate_min: u64,
    rate_after: Duration,
}

impl Pace {
    fn new(config: &ServerConfig) -> Self {
        Self {
            began: Instant::now(),
            idle_max: config.part_idle_max,
            rate_min: config.part_rate_min,
            rate_after: config.part_rate_after,
        }
    }

    /// When the average falls below the least, if nothing comes after the `arrived` bytes; `None` if there is no least.
    fn too_slow_at(&self, arrived: u64) -> Option<Instant> {
        let enough_for = Duration::from_secs(arrived.checked_div(self.rate_min)?);
        Some(self.began + enough_for.max(self.rate_after))
    }

    /// Until when more has to come.
    fn next_until(&self, arrived: u64) -> Instant {
        let silent_at = Instant::now() + self.idle_max;
        self.too_slow_at(arrived).map_or(silent_at, |too_slow_at| too_slow_at.min(silent_at))
    }

    fn is_too_slow(&self, arrived: u64) -> bool {
        self.too_slow_at(arrived).is_some_and(|too_slow_at| too_slow_at <= Instant::now())
    }
}

/// A part on its way in.
struct Receiving {
    name: PartName,
    expected: StoredPart,
    /// `None` if the part is stored already: then the body is only checked.
    file: Option<Incoming>,
    digest: Digest,
    /// Short frames, copied: a frame may be a slice of something large whose owner must have it back before there can
    /// be a next frame.
    gathered: Vec<u8>,
    /// A long frame that follows them.
    long: Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stored {
    Now,
    Before,
}

impl Receiving {
    fn begin(inner: &Inner, name: PartName, expected: StoredPart) -> Result<Self, Refusal> {
        let before = inner.database.read(|transaction| stored_before(transaction, &name, expected))?;
        let file = match before {
            Some(()) => None,
            None => Some(Incoming::create(&inner.env, &inner.instance.incoming)?),
        };
        let digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
        Ok(Self { name, expected, file, digest, gathered: Vec::new(), long: Bytes::new() })
    }

    /// Takes the next frame. What is worth a write must be flushed before the next is waited for.
    fn gather(&mut self, bytes: Bytes) {
        if bytes.len() < COPIED_BELOW {
            self.gathered.extend_from_slice(&bytes);
        } else {
            self.long = bytes;
        }
    }

    fn is_worth_a_write(&self) -> bool {
        !self.long.is_empty() || self.gathered.len() >= CHUNK_BYTES
    }

    fn flush(&mut self) -> Result<(), Refusal> {
        let long = std::mem::take(&mut self.long);
        for bytes in [&self.gathered[..], &long] {
            self.digest.update(bytes);
            if let Some(file) = self.file.as_mut().filter(|_| !bytes.is_empty()) {
                file.append(bytes)?;
            }
        }
        self.gathered.clear();
        Ok(())
    }

    fn finish(mut self, inner: &Inner) -> Result<Stored, BlobRefusal> {
        self.flush()?;
        if self.digest.finalize() != u64::from(self.expected.crc32c) {
            return Err(BlobRefusal::new(StatusCode::BAD_REQUEST, "BadDigest", "The body has another CRC32C"));
        }
        match self.file {
            None => Ok(Stored::Before),
            Some(file) => Ok(store(inner, &self.name, self.expected, file)?),
        }
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
        inner.folder.place(&inner.env, &file.path, name, siblings == 0)?;
        file.placed();
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
    use landfall_protocol::{NewUpload, PartChecksum};
    use tower::ServiceExt as _;

    use super::*;

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
