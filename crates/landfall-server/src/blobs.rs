//! `GET` and `HEAD /blobs/{account}/{object_key}`: an object is read.

use axum::{
    body::Body,
    extract::{FromRequestParts, Path, Query, State, rejection::QueryRejection},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use landfall_env::File;
use landfall_protocol::{StoredPart, UploadState};
use sha2::{Digest as _, Sha256};

use crate::{
    Server,
    folder::{PartName, found},
    json::ObjectKey,
    range::Wanted,
    refusal::{BlobRefusal, Refusal},
    server::Inner,
    signing::{GetGrant, hex},
    uploads,
};

/// Most bytes read, and held for one answer, at once.
const READ_BYTES_MAX: u64 = 256 << 10;

/// The account and object key in a path.
pub(crate) struct ObjectName {
    account: i64,
    object_key: String,
}

impl FromRequestParts<Server> for ObjectName {
    type Rejection = BlobRefusal;

    async fn from_request_parts(parts: &mut Parts, server: &Server) -> Result<Self, BlobRefusal> {
        match Path::<(i64, String)>::from_request_parts(parts, server).await {
            Ok(Path((account, object_key))) if ObjectKey::is_valid(&object_key) => Ok(Self { account, object_key }),
            _ => Err(no_such_key().into()),
        }
    }
}

/// Reads an object, whole or one range of it.
pub(crate) async fn get(
    State(server): State<Server>,
    method: Method,
    object: ObjectName,
    grant: Result<Query<GetGrant>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, BlobRefusal> {
    let Ok(Query(grant)) = grant else {
        return Err(BlobRefusal::new(StatusCode::FORBIDDEN, "AccessDenied", "The URL is not signed"));
    };
    server.inner.signer.check_get(object.account, &object.object_key, &grant, server.inner.now_ms())?;
    let name = object.object_key.clone();
    let (size, parts) = server
        .read(move |transaction, _| {
            let upload = uploads::select(transaction, object.account, &name)?.ok_or_else(no_such_key)?;
            if upload.state != UploadState::Stored {
                return Err(no_such_key());
            }
            Ok((upload.size, uploads::parts(transaction, object.account, &name)?))
        })
        .await?;
    let etag = etag(&parts);
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if text(header::IF_NONE_MATCH).is_some_and(|list| list == "*" || list.split(',').any(|tag| tag.trim() == etag)) {
        return Ok(with_etag(StatusCode::NOT_MODIFIED.into_response(), &etag));
    }
    let range = text(header::RANGE).filter(|_| text(header::IF_RANGE).is_none_or(|tag| tag == etag));
    let (status, start, end) = match Wanted::parse(range, size) {
        Wanted::All => (StatusCode::OK, 0, size),
        Wanted::Slice { start, end } => (StatusCode::PARTIAL_CONTENT, start, end),
        Wanted::Outside => return Ok(outside(size)),
    };
    let reader = Reader { account: object.account, object_key: object.object_key, parts, start, end, open: None };
    let reader = server.blocking(move |inner| reader.check(inner).map(|()| reader)).await?;
    let body = if method == Method::HEAD { Body::empty() } else { body(&server, reader).await? };
    let mut response = with_etag((status, body).into_response(), &etag);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(end - start));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if status == StatusCode::PARTIAL_CONTENT {
        headers.insert(header::CONTENT_RANGE, visible(&format!("bytes {start}-{}/{size}", end - 1)));
    }
    Ok(response)
}

/// The first bytes are read before the answer begins, so that a missing file is an error and not half an answer; then
/// one read per demand.
async fn body(server: &Server, reader: Reader) -> Result<Body, Refusal> {
    let (first, reader) = server.blocking(move |inner| reader.next(inner)).await?;
    if reader.is_at_end() {
        return Ok(Body::from(first));
    }
    let server = server.clone();
    let rest = futures_util::stream::try_unfold((server, reader, Some(first)), |(server, reader, first)| async move {
        if let Some(first) = first {
            return Ok(Some((first, (server, reader, None))));
        }
        if reader.is_at_end() {
            return Ok::<_, std::io::Error>(None);
        }
        match server.blocking(move |inner| reader.next(inner)).await {
            Ok((bytes, reader)) => Ok(Some((bytes, (server, reader, None)))),
            Err(refusal) => {
                refusal.log();
                Err(std::io::Error::other("the object could not be read to its end"))
            }
        }
    });
    Ok(Body::from_stream(rest))
}

/// What is still to be read of an object.
struct Reader {
    account: i64,
    object_key: String,
    parts: Vec<StoredPart>,
    start: u64,
    end: u64,
    /// The part that is open, by its index.
    open: Option<(usize, Box<dyn File>)>,
}

impl Reader {
    fn is_at_end(&self) -> bool {
        self.start >= self.end
    }

    /// That every part which is to be read is there to its end, so that what cannot be answered to its end is
    /// refused before it begins, and whoever asks for an object learns without reading it whether it is whole.
    fn check(&self, inner: &Inner) -> Result<(), BlobRefusal> {
        let mut at = 0;
        for part in &self.parts {
            let start = at;
            at += part.length;
            if start >= self.end || at <= self.start {
                continue;
            }
            let path = inner.folder.part(&self.name(part.number));
            let status = found(inner.env.files.status(&path)).map_err(Refusal::from)?;
            let (word, is) = match status {
                // One that is longer does no harm: no more of it is read than its row says.
                Some(status) if status.len >= part.length => continue,
                Some(_) => ("PartDamaged", "is damaged: it is shorter than it was"),
                None => ("PartMissing", "is missing"),
            };
            tracing::error!(?path, "A part of a content {is}");
            let message = format!("Part {} of the object {is}; restore it from a copy of the vault", part.number);
            return Err(BlobRefusal::new(StatusCode::GONE, word, message));
        }
        Ok(())
    }

    fn name(&self, number: u32) -> PartName {
        PartName { account: self.account, object_key: self.object_key.clone(), number }
    }

    /// Reads on, within one part.
    fn next(mut self, inner: &Inner) -> Result<(Bytes, Self), Refusal> {
        let (index, offset) = self.position().ok_or_else(|| Refusal::internal("an object is shorter than its size"))?;
        let part = self.parts[index];
        let mut file = match self.open.take() {
            Some((open, file)) if open == index => file,
            _ => inner.env.files.open(&inner.folder.part(&self.name(part.number)))?,
        };
        let length = (self.end - self.start).min(part.length - offset).min(READ_BYTES_MAX);
        let mut buffer = vec![0; usize::try_from(length).expect("256 KiB fit in memory")];
        let count = file.read_at(offset, &mut buffer)?;
        if count < buffer.len() {
            return Err(Refusal::internal("a part's file is shorter than its row says"));
        }
        self.start += length;
        self.open = Some((index, file));
        Ok((buffer.into(), self))
    }

    /// The part that holds the next byte, and the byte's place in it.
    fn position(&self) -> Option<(usize, u64)> {
        // All parts but the last have one length, so no search is needed.
        let part_length = self.parts.first()?.length;
        let index = usize::try_from(self.start / part_length).ok()?;
        let part = self.parts.get(index)?;
        let offset = self.start - part_length * index as u64;
        (offset < part.length).then_some((index, offset))
    }
}

/// A strong ETag: of one part its checksum, of several a hash over theirs and their number, as S3 does.
fn etag(parts: &[StoredPart]) -> String {
    if let [part] = parts {
        return format!("\"{:08x}\"", part.crc32c);
    }
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.length.to_be_bytes());
        hash.update(part.crc32c.to_be_bytes());
    }
    format!("\"{}-{}\"", hex(&hash.finalize()[..16]), parts.len())
}

fn outside(size: u64) -> Response {
    let refusal =
        BlobRefusal::new(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange", "The range lies outside the object");
    let mut response = refusal.into_response();
    response.headers_mut().insert(header::CONTENT_RANGE, visible(&format!("bytes */{size}")));
    response
}

fn with_etag(mut response: Response, etag: &str) -> Response {
    response.headers_mut().insert(header::ETAG, visible(etag));
    response
}

fn visible(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("digits, hex and punctuation are visible ASCII")
}

fn no_such_key() -> Refusal {
    Refusal::not_found("The object does not exist")
}
