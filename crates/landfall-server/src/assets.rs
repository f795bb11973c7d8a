//! `PUT`, `GET` and `HEAD /assets/{asset_key}`: an attachment arrives, and is read.
//!
//! The signed URL is the leave to put, as with parts, for an hour and any number of times; the bare URL is the leave to
//! read. It holds 128 random bits and nothing lists it, so it is known to those to whom it was given, and to whoever has a
//! copy of the vault folder. What is read is ciphertext; it is never shown as anything else under this server's name.

use std::cell::Cell;

use axum::{
    body::Body,
    extract::{FromRequestParts, Path, Query, State, rejection::QueryRejection},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use landfall_env::{File, Incoming, Sabotage};
use landfall_protocol::route;
use md5::Md5;
use sha2::{Digest as _, Sha256};

use crate::{
    Server,
    arrival::{Arrival, Arrived, Checksum, said_length},
    asset::{self, Asset, Payload, Stored, after},
    content::{Content, Piece},
    folder::found,
    json::ObjectKey,
    refusal::{BlobRefusal, Refusal},
    server::Inner,
    signing::{AssetGrant, hex},
};

/// The key in a path.
pub(crate) struct AssetKey(String);

impl FromRequestParts<Server> for AssetKey {
    type Rejection = BlobRefusal;

    async fn from_request_parts(parts: &mut Parts, server: &Server) -> Result<Self, BlobRefusal> {
        match Path::<String>::from_request_parts(parts, server).await {
            Ok(Path(key)) if ObjectKey::is_valid(&key) => Ok(Self(key)),
            _ => Err(no_such_asset()),
        }
    }
}

/// Puts an attachment. Putting the same again changes nothing but how long it is kept; putting another replaces it, and
/// each moment has the one or the other.
pub(crate) async fn put(
    State(server): State<Server>,
    AssetKey(key): AssetKey,
    grant: Result<Query<AssetGrant>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, BlobRefusal> {
    let Ok(Query(grant)) = grant else {
        return Err(BlobRefusal::new(StatusCode::FORBIDDEN, "AccessDenied", "The URL is not signed"));
    };
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    server.inner.signer.check_asset(&key, content_type, &grant, server.inner.now_ms())?;
    let size = length(&grant, &headers, &body, server.inner.config.object_bytes_max)?;
    let sums = Sums::new(&headers)?;
    let name = key.clone();
    server.until_writable().await?;
    let arrival = server.blocking(move |inner| begin(inner, &name, sums)).await?;
    let arrived = arrival.receive(&server, body, size).await?;
    let content_type = content_type.to_owned();
    let sha256 = server.blocking(move |inner| finish(inner, key, content_type, size, arrived)).await?;
    server.inner.env.steps.reached("server.asset.committed");
    Ok(([(header::ETAG, etag(&sha256))], StatusCode::OK).into_response())
}

/// Reads an attachment, whole or one range of it.
pub(crate) async fn get(
    State(server): State<Server>,
    method: Method,
    AssetKey(key): AssetKey,
    headers: HeaderMap,
) -> Result<Response, BlobRefusal> {
    let (Stored { write, payload }, folder, file) = server.blocking(move |inner| open(inner, &key)).await?;
    let content = Content {
        folder,
        pieces: vec![Piece { number: write, length: payload.size }],
        size: payload.size,
        etag: etag(&payload.sha256),
        open: Some(file),
    };
    let mut response = content.answer(&server, &method, &headers).await?;
    if response.status() != StatusCode::RANGE_NOT_SATISFIABLE {
        let headers = response.headers_mut();
        let kept = HeaderValue::from_static("public, max-age=31536000, immutable");
        headers.insert(header::CACHE_CONTROL, kept);
        headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
        if headers.contains_key(header::CONTENT_TYPE) {
            let content_type = HeaderValue::from_str(&payload.content_type).map_err(Refusal::internal)?;
            headers.insert(header::CONTENT_TYPE, content_type);
        }
    }
    Ok(response)
}

/// How long the body is, if the request agrees with the grant.
fn length(grant: &AssetGrant, headers: &HeaderMap, body: &Body, most: u64) -> Result<u64, BlobRefusal> {
    let length = said_length(headers, body)?;
    match grant.length {
        Some(signed) if signed != length => Err(BlobRefusal::new(
            StatusCode::FORBIDDEN,
            "SignatureDoesNotMatch",
            "The URL is signed for another Content-Length",
        )),
        _ if length == 0 => {
            Err(BlobRefusal::new(StatusCode::BAD_REQUEST, "InvalidRequest", "An object has at least one byte"))
        }
        _ if length > most => Err(BlobRefusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "EntityTooLarge",
            format!("An object has at most {most} bytes here"),
        )),
        _ => Ok(length),
    }
}

/// The digests of a body, and those that it was said to have.
struct Sums {
    sha256: Sha256,
    said_sha256: Option<Vec<u8>>,
    /// Only if there is one to compare it with.
    md5: Option<(Md5, Vec<u8>)>,
}

impl Sums {
    fn new(headers: &HeaderMap) -> Result<Self, BlobRefusal> {
        let said = |name: HeaderName, length: usize| match headers.get(name) {
            None => Ok(None),
            Some(text) => match STANDARD.decode(text.as_bytes()) {
                Ok(digest) if digest.len() == length => Ok(Some(digest)),
                _ => {
                    Err(BlobRefusal::new(StatusCode::BAD_REQUEST, "InvalidDigest", "A checksum is base64 of a digest"))
                }
            },
        };
        let said_sha256 = said(HeaderName::from_static(route::SHA256_HEADER), 32)?;
        let md5 = said(HeaderName::from_static("content-md5"), 16)?.map(|said| (Md5::new(), said));
        Ok(Self { sha256: Sha256::new(), said_sha256, md5 })
    }

    /// The SHA-256, if every digest is the one that was said.
    fn check(self) -> Result<[u8; 32], BlobRefusal> {
        let sha256 = self.sha256.finalize();
        let differs = self.said_sha256.is_some_and(|said| said != sha256[..])
            || self.md5.is_some_and(|(md5, said)| said != md5.finalize()[..]);
        if differs {
            return Err(BlobRefusal::new(StatusCode::BAD_REQUEST, "BadDigest", "The body has another checksum"));
        }
        Ok(sha256.into())
    }
}

impl Checksum for Sums {
    fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some((md5, _)) = &mut self.md5 {
            md5.update(bytes);
        }
    }
}

/// Begins to take an attachment in, if it may still come.
fn begin(inner: &Inner, key: &str, sums: Sums) -> Result<Arrival<Sums>, BlobRefusal> {
    takes(inner.database.read(|transaction| Ok(asset::select(transaction, key, inner.now_ms())?))?)?;
    let file = Incoming::create(&inner.env, &inner.instance.incoming).map_err(Refusal::from)?;
    Ok(Arrival::new(Some(file), sums))
}

/// What is stored before bytes are taken in; refuses if none are.
fn takes(asset: Option<Asset>) -> Result<Option<Stored>, BlobRefusal> {
    match asset {
        Some(Asset::Granted) => Ok(None),
        Some(Asset::Stored(stored)) => Ok(Some(stored)),
        Some(Asset::Gone) => Err(gone()),
        None => Err(no_such_asset()),
    }
}

fn finish(
    inner: &Inner,
    key: String,
    content_type: String,
    size: u64,
    arrived: Arrived<Sums>,
) -> Result<[u8; 32], BlobRefusal> {
    let (file, sums) = arrived.finish()?;
    let sha256 = sums.check()?;
    let file = file.expect("an attachment always arrives in a file");
    store(inner, &key, &Payload { content_type, size, sha256 }, file)?;
    Ok(sha256)
}

fn store(inner: &Inner, key: &str, payload: &Payload, mut file: Incoming) -> Result<(), BlobRefusal> {
    if !inner.env.steps.sabotaged(Sabotage::SkipFileSync) {
        file.sync().map_err(Refusal::from)?;
    }
    let moved = Cell::new(false);
    let result = inner.write(|transaction| {
        let expires_ms = after(inner.now_ms(), inner.config.asset_ttl);
        let before = match takes(asset::select(transaction, key, inner.now_ms())?) {
            Ok(None) => 0,
            Ok(Some(stored)) if stored.payload == *payload => {
                asset::renew(transaction, key, expires_ms)?;
                return Ok(Taken::Before);
            }
            Ok(Some(stored)) => stored.write,
            Err(refusal) => return Ok(Taken::TooLate(refusal)),
        };
        let write = before.checked_add(1).ok_or_else(|| Refusal::invalid("this URL was used too often"))?;
        moved.set(true);
        inner.folder.place_asset(&inner.env, file.path(), key, write)?;
        file.was_placed();
        inner.env.steps.reached("server.asset.renamed");
        asset::store(transaction, key, write, payload, expires_ms)?;
        if before > 0 {
            asset::discard(transaction, key)?;
        }
        Ok(Taken::Now { replaced: before > 0 })
    });
    match result {
        Ok(Taken::TooLate(refusal)) => return Err(refusal),
        Ok(Taken::Now { replaced: true }) => asset::collect(inner, &[key.to_owned()]),
        Ok(Taken::Now { replaced: false } | Taken::Before) => {}
        Err(refusal) => {
            if refusal.status == StatusCode::INSUFFICIENT_STORAGE && moved.get() {
                take_back(inner, key);
            }
            return Err(refusal.into());
        }
    }
    Ok(())
}

/// What became of bytes that have arrived.
enum Taken {
    Now {
        replaced: bool,
    },
    /// They were there already.
    Before,
    TooLate(BlobRefusal),
}

/// Removes a file that was moved but could not be noted, because the disk is full and every byte counts. Only then is it
/// certain that the note will not come back; after any other failure the file stays until it is replaced, or goes with
/// its row.
fn take_back(inner: &Inner, key: &str) {
    if let Err(refusal) = inner.write(|transaction| asset::sweep(transaction, inner, key)) {
        refusal.log();
    }
}

/// Opens what is stored under a key.
fn open(inner: &Inner, key: &str) -> Result<(Stored, std::path::PathBuf, Box<dyn File>), BlobRefusal> {
    let folder = inner.folder.asset(key);
    let mut missed = None;
    loop {
        let asset = inner.database.read(|transaction| Ok(asset::select(transaction, key, inner.now_ms())?))?;
        let stored = match asset {
            Some(Asset::Stored(stored)) => stored,
            Some(Asset::Gone) => return Err(gone()),
            Some(Asset::Granted) | None => return Err(no_such_asset()),
        };
        let file = found(inner.env.files.open(&folder.join(stored.write.to_string()))).map_err(Refusal::from)?;
        let Some(file) = file else {
            // Whoever replaces it removes the file that the row has named a moment ago.
            if missed != Some(stored.write) {
                missed = Some(stored.write);
                continue;
            }
            return Err(damaged("PartMissing", "The object is missing; restore it from a copy of the vault"));
        };
        if file.status().map_err(Refusal::from)?.len < stored.payload.size {
            return Err(damaged("PartDamaged", "The object is damaged; restore it from a copy of the vault"));
        }
        return Ok((stored, folder, file));
    }
}

/// The path stays out of the log, since whoever knows it may read.
fn damaged(word: &'static str, message: &'static str) -> BlobRefusal {
    tracing::error!(word, "The file of an attachment is missing or damaged");
    BlobRefusal::new(StatusCode::GONE, word, message)
}

fn gone() -> BlobRefusal {
    BlobRefusal::new(StatusCode::GONE, "NoSuchKey", "The object has expired")
}

fn no_such_asset() -> BlobRefusal {
    BlobRefusal::new(StatusCode::NOT_FOUND, "NoSuchKey", "The object does not exist")
}

fn etag(sha256: &[u8; 32]) -> String {
    format!("\"{}\"", hex(sha256))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ServerConfig, account::Account};

    async fn pages_max(server: &Server, pages: u32) {
        server.read(move |transaction, _| Ok(transaction.pragma_update(None, "max_page_count", pages)?)).await.unwrap();
    }

    fn key(number: u32) -> String {
        format!("{number:032x}")
    }

    /// The database finds the disk full only after the file was moved to its place.
    #[tokio::test]
    async fn an_attachment_that_a_full_disk_keeps_from_being_noted_is_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let config = ServerConfig { asset_grants_per_minute_max: 1000, ..ServerConfig::new(folder.path()) };
        let server = Server::open(config, landfall_env::Env::real()).await.unwrap();
        server.embedded_token(None).await.unwrap();
        let granted = server.write(|transaction, inner| {
            let expires_ms = after(inner.now_ms(), inner.config.asset_grant_ttl);
            (0..1000).try_for_each(|number| asset::grant(transaction, inner, Account(1), &key(number), expires_ms))
        });
        granted.await.unwrap();
        let put = async |number: u32| {
            let stored = server.blocking(move |inner| {
                let mut file = Incoming::create(&inner.env, &inner.instance.incoming).unwrap();
                file.append(b"x").unwrap();
                let payload = Payload { content_type: "a/b".into(), size: 1, sha256: Sha256::digest(b"x").into() };
                store(inner, &key(number), &payload, file)
            });
            stored.await.map_err(|refusal| refusal.status)
        };
        // The least that SQLite accepts is what there is.
        pages_max(&server, 1).await;
        let mut refused = 0;
        while put(refused).await.is_ok() {
            refused += 1;
        }
        assert_eq!(put(refused).await, Err(StatusCode::INSUFFICIENT_STORAGE));
        assert!(refused > 0 && !server.inner.folder.asset(&key(refused)).exists());
        assert!(server.inner.folder.asset(&key(0)).join("1").exists());
        assert_eq!(std::fs::read_dir(&server.inner.instance.incoming).unwrap().count(), 0);
        pages_max(&server, 1 << 30).await;
        assert_eq!(put(refused).await, Ok(()));
    }
}
