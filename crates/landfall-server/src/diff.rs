//! `GET /vault/diff`: what changed since a cursor.

use axum::extract::{Query, State, rejection::QueryRejection};
use landfall_protocol::{DIFF_PAGE_MAX, Diff, JSON_BYTES_MAX};
use serde::Deserialize;

use crate::{Server, account::Account, database::Transaction, json::Json, record, refusal::Refusal};

/// `?since=CURSOR&limit=N`.
#[derive(Debug, Deserialize)]
pub(crate) struct Page {
    #[serde(default)]
    since: i64,
    limit: Option<u32>,
}

/// `GET /vault/diff`: at most `limit` records, fewer when they are large.
pub(crate) async fn show(
    State(server): State<Server>,
    account: Account,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Diff>, Refusal> {
    let Query(page) = page.map_err(|_| Refusal::invalid("`since` and `limit` are whole numbers"))?;
    let limit = page.limit.unwrap_or(DIFF_PAGE_MAX).clamp(1, DIFF_PAGE_MAX);
    let diff = server.read(move |transaction, _| Ok(select(transaction, account, page.since, limit)?)).await?;
    Ok(Json(diff))
}

fn select(transaction: &Transaction<'_>, account: Account, since: i64, limit: u32) -> rusqlite::Result<Diff> {
    let mut statement = transaction.prepare_cached(&format!(
        "SELECT {} FROM file WHERE account = ?1 AND updation_time > ?2 ORDER BY updation_time LIMIT ?3",
        record::COLUMNS
    ))?;
    // One more than asked for tells whether there is more.
    let mut rows = statement.query((account.0, since, i64::from(limit) + 1))?;
    let mut page = Diff { diff: Vec::new(), has_more: false };
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        let record = record::from_row(row)?;
        bytes += record::json_bytes(&record);
        if page.diff.len() == limit as usize || (bytes > JSON_BYTES_MAX / 2 && !page.diff.is_empty()) {
            page.has_more = true;
            break;
        }
        page.diff.push(record);
    }
    Ok(page)
}
