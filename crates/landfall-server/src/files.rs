//! `POST /files`, `GET /vault/files/{id}`, `GET /files/download/{id}` and `/files/preview/{id}`.

use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use landfall_protocol::{ErrorCode, FileRecord, MagicMetadata, NewFile, SealedObject, UploadState};
use rusqlite::OptionalExtension as _;
use sha2::{Digest as _, Sha256};

use crate::{
    Server, ServerConfig,
    account::{Account, next_updation_time},
    collections,
    database::Transaction,
    json::{FileId, Json, ObjectKey},
    record,
    refusal::Refusal,
    uploads,
};

/// `POST /files`: registers a file whose objects are stored. From the moment this commits, they are in use.
pub(crate) async fn register(
    State(server): State<Server>,
    account: Account,
    Json(new): Json<NewFile>,
) -> Result<Json<FileRecord>, Refusal> {
    check(&new, &server.inner.config)?;
    let body_hash = body_hash(&new)?;
    let (record, created) = server
        .write(move |transaction, _| {
            if let Some(present) = registered_before(transaction, account, &new, &body_hash)? {
                return Ok((present, false));
            }
            check_against_vault(transaction, account, &new)?;
            let updation_time = next_updation_time(transaction, account.0)?;
            let record = record::insert(transaction, account, &new, &body_hash, updation_time)?;
            transaction
                .prepare_cached("UPDATE upload SET file = ?2 WHERE account = ?1 AND object_key IN (?3, ?4)")?
                .execute((account.0, record.id, &new.file.object_key, &new.thumbnail.object_key))?;
            Ok((record, true))
        })
        .await?;
    if created {
        server.inner.env.steps.reached("server.register.committed");
    }
    Ok(Json(record))
}

/// `GET /vault/files/{id}`: also of a removed file.
pub(crate) async fn show(
    State(server): State<Server>,
    account: Account,
    FileId(id): FileId,
) -> Result<Json<FileRecord>, Refusal> {
    let record = server.read(move |transaction, _| Ok(record::select(transaction, account, id)?)).await?;
    record.map(Json).ok_or_else(no_such_file)
}

/// `GET /files/download/{id}`: 307 to a signed URL of the content.
pub(crate) async fn download(
    State(server): State<Server>,
    account: Account,
    FileId(id): FileId,
) -> Result<Response, Refusal> {
    redirect(&server, account, id, |file| file.file).await
}

/// `GET /files/preview/{id}`: 307 to a signed URL of the thumbnail.
pub(crate) async fn preview(
    State(server): State<Server>,
    account: Account,
    FileId(id): FileId,
) -> Result<Response, Refusal> {
    redirect(&server, account, id, |file| file.thumbnail).await
}

async fn redirect(
    server: &Server,
    account: Account,
    id: i64,
    choose: fn(NewFile) -> SealedObject,
) -> Result<Response, Refusal> {
    let record = server.read(move |transaction, _| Ok(record::select(transaction, account, id)?)).await?;
    let record = record.ok_or_else(no_such_file)?;
    if record.is_deleted {
        return Err(Refusal::new(StatusCode::GONE, ErrorCode::NotFound, "this file was removed"));
    }
    let inner = &server.inner;
    let ttl_ms = u64::try_from(inner.config.grant_ttl.as_millis()).unwrap_or(u64::MAX);
    let expires = inner.now_ms().saturating_add_unsigned(ttl_ms);
    let url = inner.signer.get_url(account.0, &choose(record.file).object_key, expires);
    let location = HeaderValue::from_str(&url).expect("signed URLs are visible ASCII");
    let headers = [(header::LOCATION, location), (header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((StatusCode::TEMPORARY_REDIRECT, headers).into_response())
}

fn check(new: &NewFile, config: &ServerConfig) -> Result<(), Refusal> {
    let objects = [&new.file, &new.thumbnail];
    if objects.iter().any(|object| !ObjectKey::is_valid(&object.object_key)) {
        return Err(Refusal::invalid("an object key has 32 lower-case hex digits"));
    }
    if new.file.object_key == new.thumbnail.object_key {
        return Err(Refusal::invalid("the content and the thumbnail are two objects"));
    }
    let headers = [&new.file.decryption_header, &new.thumbnail.decryption_header, &new.metadata.decryption_header];
    if new.encrypted_key.0.len() != 48
        || new.key_decryption_nonce.0.len() != 24
        || headers.iter().any(|header| header.0.len() != 24)
    {
        return Err(Refusal::invalid("a wrapped key has 48 bytes, nonces and headers have 24"));
    }
    if new.content_tag.as_ref().is_some_and(|tag| tag.0.len() != 32) {
        return Err(Refusal::invalid("a content tag has 32 bytes"));
    }
    let sealed_bytes_max = config.sealed_bytes_max;
    if new.metadata.encrypted_data.0.len() > sealed_bytes_max {
        return Err(Refusal::too_large(format!("sealed metadata has at most {sealed_bytes_max} bytes here")));
    }
    let magic = [(&new.pub_magic_metadata, sealed_bytes_max), (&new.magic_metadata, config.places_bytes_max)];
    for (magic, bytes_max) in magic.into_iter().filter_map(|(magic, bytes_max)| Some((magic.as_ref()?, bytes_max))) {
        check_magic(magic, bytes_max)?;
        if magic.version != 1 {
            return Err(Refusal::invalid("the first version of metadata is 1"));
        }
    }
    Ok(())
}

pub(crate) fn check_magic(magic: &MagicMetadata, sealed_bytes_max: usize) -> Result<(), Refusal> {
    if magic.header.0.len() != 24 {
        return Err(Refusal::invalid("a header has 24 bytes"));
    }
    if magic.data.0.len() > sealed_bytes_max {
        return Err(Refusal::too_large(format!("sealed metadata has at most {sealed_bytes_max} bytes here")));
    }
    Ok(())
}

/// Of the body as we would write it, so that neither spaces nor the order of fields matter.
fn body_hash(new: &NewFile) -> Result<[u8; 32], Refusal> {
    Ok(Sha256::digest(serde_json::to_vec(new).map_err(Refusal::internal)?).into())
}

/// The record that these objects were registered with, if the body was the same.
fn registered_before(
    transaction: &Transaction<'_>,
    account: Account,
    new: &NewFile,
    body_hash: &[u8; 32],
) -> Result<Option<FileRecord>, Refusal> {
    let found = transaction
        .prepare_cached(
            "SELECT id, body_hash FROM file
              WHERE account = ?1 AND (file_key IN (?2, ?3) OR thumbnail_key IN (?2, ?3)) ORDER BY id LIMIT 1",
        )?
        .query_row((account.0, &new.file.object_key, &new.thumbnail.object_key), |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, [u8; 32]>(1)?))
        })
        .optional()?;
    match found {
        None => Ok(None),
        Some((id, hash)) if hash == *body_hash => Ok(record::select(transaction, account, id)?),
        Some(_) => {
            // An older state of the same journal may have frozen another body for the same content: it hears of the
            // record, and takes that for its own.
            refuse_content_that_exists(transaction, account, new)?;
            Err(Refusal::conflict(
                ErrorCode::RegisteredDifferently,
                "one of these objects is registered already, with another body",
            ))
        }
    }
}

fn refuse_content_that_exists(transaction: &Transaction<'_>, account: Account, new: &NewFile) -> Result<(), Refusal> {
    let Some(tag) = &new.content_tag else { return Ok(()) };
    let winner = transaction
        .prepare_cached(&format!(
            "SELECT {} FROM file WHERE account = ?1 AND content_tag = ?2 AND is_deleted = 0",
            record::COLUMNS
        ))?
        .query_row((account.0, &tag.0), record::from_row)
        .optional()?;
    match winner {
        None => Ok(()),
        Some(winner) => {
            let refusal = Refusal::conflict(ErrorCode::ContentExists, "this content is registered already");
            Err(Refusal { winner: Some(Box::new(winner)), ..refusal })
        }
    }
}

fn check_against_vault(transaction: &Transaction<'_>, account: Account, new: &NewFile) -> Result<(), Refusal> {
    if !collections::exists(transaction, account, new.collection_id)? {
        return Err(Refusal::not_found("no such collection"));
    }
    refuse_content_that_exists(transaction, account, new)?;
    for object in [&new.file, &new.thumbnail] {
        let upload =
            uploads::select(transaction, account.0, &object.object_key)?.ok_or_else(Refusal::no_such_upload)?;
        if upload.state != UploadState::Stored {
            return Err(Refusal::conflict(ErrorCode::Incomplete, "an object is not stored yet; complete its upload"));
        }
        if upload.size != object.size {
            return Err(Refusal::invalid("an object has another size than the body says"));
        }
    }
    Ok(())
}

pub(crate) fn no_such_file() -> Refusal {
    Refusal::not_found("no such file")
}
