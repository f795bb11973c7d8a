//! `POST /files/trash`: files are removed, all or none.

use axum::extract::State;
use landfall_protocol::{TrashItem, TrashRequest};

use crate::{
    Server,
    account::{Account, next_updation_time},
    database::Transaction,
    files::no_such_file,
    json::Json,
    magic::ITEMS_MAX,
    maintenance::{collect, discard},
    record,
    refusal::Refusal,
};

/// `POST /files/trash`. The files are gone from the moment this commits; their objects follow. What stays of each is
/// its number, its object keys and sizes, and that it was removed.
pub(crate) async fn remove(
    State(server): State<Server>,
    account: Account,
    Json(request): Json<TrashRequest>,
) -> Result<Json<serde_json::Value>, Refusal> {
    if request.items.len() > ITEMS_MAX {
        return Err(Refusal::too_large(format!("at most {ITEMS_MAX} files are removed at once")));
    }
    let discarded = server
        .write(move |transaction, inner| {
            let mut discarded = Vec::new();
            for item in &request.items {
                remove_one(transaction, account, item, inner.now_ms(), &mut discarded)?;
            }
            Ok(discarded)
        })
        .await?;
    if !discarded.is_empty() {
        server.inner.env.steps.reached("server.delete.committed");
        server.blocking(move |inner| collect(inner, &discarded)).await;
    }
    Ok(Json(serde_json::json!({})))
}

fn remove_one(
    transaction: &Transaction<'_>,
    account: Account,
    item: &TrashItem,
    now_ms: i64,
    discarded: &mut Vec<(i64, String)>,
) -> Result<(), Refusal> {
    let record = record::select(transaction, account, item.file_id)?
        .filter(|record| record.file.collection_id == item.collection_id)
        .ok_or_else(no_such_file)?;
    if record.is_deleted {
        return Ok(());
    }
    let updation_time = next_updation_time(transaction, account.0)?;
    transaction
        .prepare_cached(
            "UPDATE file SET is_deleted = 1, updation_time = ?3, content_tag = NULL, encrypted_key = x'',
                key_nonce = x'', file_header = x'', thumbnail_header = x'', metadata = x'', metadata_header = x'',
                public_version = NULL, public_count = NULL, public_data = NULL, public_header = NULL,
                magic_version = NULL, magic_count = NULL, magic_data = NULL, magic_header = NULL
              WHERE account = ?1 AND id = ?2",
        )?
        .execute((account.0, item.file_id, updation_time))?;
    for object in [record.file.file, record.file.thumbnail] {
        discard(transaction, account.0, &object.object_key, now_ms)?;
        discarded.push((account.0, object.object_key));
    }
    Ok(())
}
