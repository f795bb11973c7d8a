//! Below `/vault/uploads`: opening, asking, signing, completing and abandoning an upload.

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use landfall_protocol::{
    CompleteUpload, ErrorCode, Grant, NewUpload, PART_BYTES_MAX, PARTS_MAX, PartChecksum, SignRequest, SignedParts,
    StoredPart, UploadState, UploadStatus, route,
};
use rusqlite::OptionalExtension as _;

use crate::{
    Server,
    account::Account,
    database::Transaction,
    folder::PartName,
    json::{Json, ObjectKey},
    maintenance::{collect, discard},
    refusal::Refusal,
    server::Inner,
};

/// Most parts signed at once.
const SIGN_MAX: usize = 1000;

/// An upload's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Upload {
    pub(crate) size: u64,
    pub(crate) part_size: u64,
    pub(crate) part_count: u32,
    pub(crate) state: UploadState,
    /// The file it is registered with.
    pub(crate) file: Option<i64>,
}

impl Upload {
    /// How long part `number` must be; `None` if there is no such part.
    pub(crate) fn part_length(&self, number: u32) -> Option<u64> {
        match number {
            0 => None,
            number if number < self.part_count => Some(self.part_size),
            number if number == self.part_count => Some(self.size - self.part_size * u64::from(self.part_count - 1)),
            _ => None,
        }
    }
}

/// `POST /vault/uploads`
pub(crate) async fn open(
    State(server): State<Server>,
    account: Account,
    Json(new): Json<NewUpload>,
) -> Result<Response, Refusal> {
    let upload = check(&new, server.inner.config.object_bytes_max)?;
    check_signable(&upload, &new.sign)?;
    let (status, created) = server
        .write(move |transaction, inner| {
            let created = open_or_find(transaction, inner, account, &new.object_key, &upload)?;
            let mut status = status(transaction, account, &new.object_key)?.ok_or_else(Refusal::no_such_upload)?;
            let missing = new
                .sign
                .iter()
                .filter(|part| status.parts.binary_search_by_key(&part.number, |stored| stored.number).is_err());
            status.grants = missing.map(|part| grant(inner, account, &new.object_key, part)).collect();
            Ok((status, created))
        })
        .await?;
    if created {
        server.inner.env.steps.reached("server.open.committed");
    }
    Ok(secret(Json(status)))
}

/// `GET /vault/uploads/{object_key}`
pub(crate) async fn show(
    State(server): State<Server>,
    account: Account,
    ObjectKey(key): ObjectKey,
) -> Result<Json<UploadStatus>, Refusal> {
    let status = server.read(move |transaction, _| Ok(status(transaction, account, &key)?)).await?;
    status.map(Json).ok_or_else(Refusal::no_such_upload)
}

/// `POST /vault/uploads/{object_key}/sign`
pub(crate) async fn sign(
    State(server): State<Server>,
    account: Account,
    ObjectKey(key): ObjectKey,
    Json(request): Json<SignRequest>,
) -> Result<Response, Refusal> {
    let grants = server
        .read(move |transaction, inner| {
            let upload = select(transaction, account.0, &key)?.ok_or_else(Refusal::no_such_upload)?;
            check_signable(&upload, &request.parts)?;
            Ok(request.parts.iter().map(|part| grant(inner, account, &key, part)).collect())
        })
        .await?;
    Ok(secret(Json(SignedParts { grants })))
}

/// `POST /vault/uploads/{object_key}/complete`: the object is stored from the moment this commits.
pub(crate) async fn complete(
    State(server): State<Server>,
    account: Account,
    ObjectKey(key): ObjectKey,
    Json(request): Json<CompleteUpload>,
) -> Result<Json<UploadStatus>, Refusal> {
    let (status, changed) = server
        .write(move |transaction, inner| {
            let mut status = status(transaction, account, &key)?.ok_or_else(Refusal::no_such_upload)?;
            let upload = select(transaction, account.0, &key)?.ok_or_else(Refusal::no_such_upload)?;
            check_complete(&upload, &status.parts, &request)?;
            let changed = status.state == UploadState::Open;
            if changed {
                store(transaction, account.0, &key, inner.now_ms())?;
                status.state = UploadState::Stored;
            }
            Ok((status, changed))
        })
        .await?;
    if changed {
        server.inner.env.steps.reached("server.complete.committed");
    }
    Ok(Json(status))
}

/// `DELETE /vault/uploads/{object_key}`: the upload is gone from the moment its rows are; its files follow.
pub(crate) async fn abandon(
    State(server): State<Server>,
    account: Account,
    ObjectKey(key): ObjectKey,
) -> Result<StatusCode, Refusal> {
    let name = key.clone();
    let removed = server
        .write(move |transaction, inner| {
            let upload = select(transaction, account.0, &name)?;
            if upload.as_ref().is_some_and(|upload| upload.file.is_some()) {
                return Err(Refusal::conflict(
                    ErrorCode::InUse,
                    "the object belongs to a registered file; remove the file instead",
                ));
            }
            transaction
                .prepare_cached("INSERT OR IGNORE INTO abandoned (account, object_key, since_ms) VALUES (?1, ?2, ?3)")?
                .execute((account.0, &name, inner.now_ms()))?;
            if upload.is_some() {
                discard(transaction, account.0, &name, inner.now_ms())?;
            }
            Ok(upload.is_some())
        })
        .await?;
    if removed {
        server.inner.env.steps.reached("server.delete.committed");
        server.blocking(move |inner| collect(inner, &[(account.0, key)])).await;
    }
    Ok(StatusCode::NO_CONTENT)
}

fn check(new: &NewUpload, object_bytes_max: u64) -> Result<Upload, Refusal> {
    if !ObjectKey::is_valid(&new.object_key) {
        return Err(Refusal::invalid("an object key has 32 lower-case hex digits"));
    }
    if new.size == 0 || new.part_size == 0 || new.part_size > PART_BYTES_MAX {
        return Err(Refusal::invalid(format!("sizes are above 0, a part has at most {PART_BYTES_MAX} bytes")));
    }
    if new.size > object_bytes_max {
        return Err(Refusal::too_large(format!("an object has at most {object_bytes_max} bytes here")));
    }
    let part_count = u32::try_from(new.size.div_ceil(new.part_size)).unwrap_or(u32::MAX);
    if part_count > PARTS_MAX {
        return Err(Refusal::invalid(format!("an upload has at most {PARTS_MAX} parts")));
    }
    Ok(Upload { size: new.size, part_size: new.part_size, part_count, state: UploadState::Open, file: None })
}

fn check_signable(upload: &Upload, parts: &[PartChecksum]) -> Result<(), Refusal> {
    if parts.len() > SIGN_MAX {
        return Err(Refusal::too_large(format!("at most {SIGN_MAX} parts are signed at once")));
    }
    if parts.iter().any(|part| upload.part_length(part.number) != Some(part.length)) {
        return Err(Refusal::invalid("a part has the upload's part size, but for the last, which has the rest"));
    }
    Ok(())
}

fn check_complete(upload: &Upload, stored: &[StoredPart], request: &CompleteUpload) -> Result<(), Refusal> {
    let incomplete = |detail| Err(Refusal::conflict(ErrorCode::Incomplete, detail));
    if request.parts.len() != upload.part_count as usize {
        return incomplete(format!("this upload has {} parts", upload.part_count));
    }
    for (index, wanted) in request.parts.iter().enumerate() {
        if wanted.number as usize != index + 1 {
            return Err(Refusal::invalid("parts are named once each, in order"));
        }
        let Ok(found) = stored.binary_search_by_key(&wanted.number, |part| part.number) else {
            return incomplete(format!("part {} has not arrived", wanted.number));
        };
        let found = &stored[found];
        if found.crc32c != wanted.crc32c || upload.part_length(found.number) != Some(found.length) {
            return incomplete(format!("part {} arrived with another checksum", wanted.number));
        }
    }
    Ok(())
}

/// Whether the upload had to be made.
fn open_or_find(
    transaction: &Transaction<'_>,
    inner: &Inner,
    account: Account,
    key: &str,
    upload: &Upload,
) -> Result<bool, Refusal> {
    let now = inner.now_ms();
    if let Some(present) = select(transaction, account.0, key)? {
        if (present.size, present.part_size) != (upload.size, upload.part_size) {
            return Err(Refusal::conflict(
                ErrorCode::UploadDiffers,
                "an upload of this key exists with another size or part size; choose another key",
            ));
        }
        touch(transaction, account.0, key, now)?;
        return Ok(false);
    }
    let used = transaction
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM file WHERE account = ?1 AND (file_key = ?2 OR thumbnail_key = ?2))",
        )?
        .query_row((account.0, key), |row| row.get(0))?;
    if used {
        return Err(Refusal::conflict(ErrorCode::InUse, "a removed file had this key; choose another key"));
    }
    let abandoned = transaction
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM abandoned WHERE account = ?1 AND object_key = ?2)")?
        .query_row((account.0, key), |row| row.get(0))?;
    if abandoned {
        return Err(Refusal::no_such_upload());
    }
    // Files of an abandoned upload of this key must not be mistaken for those of the new one.
    let removed = transaction
        .prepare_cached("DELETE FROM garbage WHERE account = ?1 AND object_key = ?2")?
        .execute((account.0, key))?;
    if removed > 0 {
        inner.folder.remove_object(inner.env.files.as_ref(), account.0, key)?;
    }
    transaction
        .prepare_cached(
            "INSERT INTO upload (account, object_key, size, part_size, part_count, state, touched_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, 'open', ?6)",
        )?
        .execute((account.0, key, upload.size.cast_signed(), upload.part_size.cast_signed(), upload.part_count, now))?;
    Ok(true)
}

/// The row of an upload.
pub(crate) fn select(transaction: &Transaction<'_>, account: i64, key: &str) -> rusqlite::Result<Option<Upload>> {
    transaction
        .prepare_cached(
            "SELECT size, part_size, part_count, state, file FROM upload WHERE account = ?1 AND object_key = ?2",
        )?
        .query_row((account, key), |row| {
            Ok(Upload {
                size: row.get::<_, i64>(0)?.cast_unsigned(),
                part_size: row.get::<_, i64>(1)?.cast_unsigned(),
                part_count: row.get(2)?,
                state: if row.get_ref(3)?.as_str()? == "stored" { UploadState::Stored } else { UploadState::Open },
                file: row.get(4)?,
            })
        })
        .optional()
}

/// The parts of an upload that are durable, in order.
pub(crate) fn parts(transaction: &Transaction<'_>, account: i64, key: &str) -> rusqlite::Result<Vec<StoredPart>> {
    transaction
        .prepare_cached(
            "SELECT number, length, crc32c FROM part WHERE account = ?1 AND object_key = ?2 ORDER BY number",
        )?
        .query_map((account, key), |row| {
            Ok(StoredPart { number: row.get(0)?, length: row.get::<_, i64>(1)?.cast_unsigned(), crc32c: row.get(2)? })
        })?
        .collect()
}

/// Marks an upload as stored: it takes no more parts.
pub(crate) fn store(transaction: &Transaction<'_>, account: i64, key: &str, now_ms: i64) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("UPDATE upload SET state = 'stored', touched_ms = ?3 WHERE account = ?1 AND object_key = ?2")?
        .execute((account, key, now_ms))
        .map(drop)
}

/// Somebody still cares for this upload.
pub(crate) fn touch(transaction: &Transaction<'_>, account: i64, key: &str, now_ms: i64) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("UPDATE upload SET touched_ms = ?3 WHERE account = ?1 AND object_key = ?2")?
        .execute((account, key, now_ms))
        .map(drop)
}

fn status(transaction: &Transaction<'_>, account: Account, key: &str) -> rusqlite::Result<Option<UploadStatus>> {
    let Some(upload) = select(transaction, account.0, key)? else { return Ok(None) };
    Ok(Some(UploadStatus {
        object_key: key.to_owned(),
        state: upload.state,
        size: upload.size,
        part_size: upload.part_size,
        parts: parts(transaction, account.0, key)?,
        grants: Vec::new(),
    }))
}

fn grant(inner: &Inner, account: Account, key: &str, part: &PartChecksum) -> Grant {
    let ttl_ms = u64::try_from(inner.config.grant_ttl.as_millis()).unwrap_or(u64::MAX);
    let expires = inner.now_ms().saturating_add_unsigned(ttl_ms);
    let name = PartName { account: account.0, object_key: key.to_owned(), number: part.number };
    Grant {
        number: part.number,
        url: inner.signer.put_url(&name, part.length, part.crc32c, expires),
        headers: vec![(route::CRC32C_HEADER.to_owned(), route::crc32c_text(part.crc32c))],
        ttl_ms,
    }
}

/// An answer that no cache may keep.
pub(crate) fn secret(answer: Json<impl serde::Serialize>) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], answer).into_response()
}
