//! `GET` and `HEAD /blobs/{account}/{object_key}`: an object is read.

use axum::{
    extract::{FromRequestParts, Path, Query, State, rejection::QueryRejection},
    http::{HeaderMap, Method, StatusCode, request::Parts},
    response::Response,
};
use landfall_protocol::{StoredPart, UploadState};
use sha2::{Digest as _, Sha256};

use crate::{
    Server,
    content::{Content, Piece},
    json::ObjectKey,
    refusal::{BlobRefusal, Refusal},
    signing::{GetGrant, hex},
    uploads,
};

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
    let content = server
        .read(move |transaction, inner| {
            let ObjectName { account, object_key } = object;
            let upload = uploads::select(transaction, account, &object_key)?.ok_or_else(no_such_key)?;
            if upload.state != UploadState::Stored {
                return Err(no_such_key());
            }
            let parts = uploads::parts(transaction, account, &object_key)?;
            Ok(Content {
                folder: inner.folder.object(account, &object_key),
                size: upload.size,
                etag: etag(&parts),
                pieces: parts.iter().map(|part| Piece { number: part.number, length: part.length }).collect(),
                open: None,
            })
        })
        .await?;
    content.answer(&server, &method, &headers).await
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

fn no_such_key() -> Refusal {
    Refusal::not_found("The object does not exist")
}
