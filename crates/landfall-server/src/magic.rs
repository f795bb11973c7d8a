//! `PUT /files/magic-metadata`: the owner's metadata of files, all or nothing.

use axum::extract::State;
use landfall_protocol::{ErrorCode, FileRecord, MagicMetadata, MagicUpdate, MagicUpdates};

use crate::{
    Server,
    account::{Account, next_updation_time},
    database::Transaction,
    files::{check_magic, no_such_file},
    json::Json,
    record,
    refusal::Refusal,
};

/// Most files changed at once.
pub(crate) const ITEMS_MAX: usize = 1000;
/// By how many keys the metadata may shrink: more is taken for a client that does not know some of them.
const COUNT_FALL_MAX: u32 = 2;

/// `PUT /files/magic-metadata`. The version sent is the one that was read (0 if there was none); the stored one is
/// then one higher. Sending an update again whose answer was lost is success.
pub(crate) async fn update(
    State(server): State<Server>,
    account: Account,
    Json(updates): Json<MagicUpdates>,
) -> Result<Json<serde_json::Value>, Refusal> {
    if updates.metadata_list.len() > ITEMS_MAX {
        return Err(Refusal::too_large(format!("at most {ITEMS_MAX} files are changed at once")));
    }
    for update in &updates.metadata_list {
        check_magic(&update.magic_metadata, server.inner.config.places_bytes_max)?;
    }
    server
        .write(move |transaction, _| {
            for update in &updates.metadata_list {
                apply(transaction, account, update)?;
            }
            Ok(())
        })
        .await?;
    Ok(Json(serde_json::json!({})))
}

fn apply(transaction: &Transaction<'_>, account: Account, update: &MagicUpdate) -> Result<(), Refusal> {
    let record = record::select(transaction, account, update.id)?.ok_or_else(no_such_file)?;
    let new = &update.magic_metadata;
    match next_version(&record, new)? {
        None => Ok(()),
        Some(version) => {
            let updation_time = next_updation_time(transaction, account.0)?;
            transaction
                .prepare_cached(
                    "UPDATE file SET magic_version = ?3, magic_count = ?4, magic_data = ?5, magic_header = ?6,
                        updation_time = ?7
                      WHERE account = ?1 AND id = ?2 AND is_deleted = 0",
                )?
                .execute((account.0, update.id, version, new.count, &new.data.0, &new.header.0, updation_time))?;
            Ok(())
        }
    }
}

/// The version to store; `None` if this very update is stored already.
fn next_version(record: &FileRecord, new: &MagicMetadata) -> Result<Option<u32>, Refusal> {
    if record.is_deleted {
        return Err(Refusal::not_found("this file was removed"));
    }
    let (version, count) = record.file.magic_metadata.as_ref().map_or((0, 0), |magic| (magic.version, magic.count));
    let next = version.checked_add(1).ok_or_else(|| Refusal::invalid("there are no versions left"))?;
    if new.version == version {
        if new.count.saturating_add(COUNT_FALL_MAX) < count {
            return Err(Refusal::invalid(format!("metadata may lose at most {COUNT_FALL_MAX} keys at once")));
        }
        return Ok(Some(next));
    }
    let is_replay = record.file.magic_metadata.as_ref().is_some_and(|stored| {
        new.version.checked_add(1) == Some(stored.version)
            && (&new.data, &new.header, new.count) == (&stored.data, &stored.header, stored.count)
    });
    if is_replay {
        return Ok(None);
    }
    Err(Refusal::conflict(ErrorCode::VersionMismatch, "the metadata has another version; read the record again"))
}
