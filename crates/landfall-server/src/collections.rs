//! `POST /collections` and `GET /collections/v2`.

use axum::extract::{Query, State};
use landfall_protocol::{Base64, Collection, CollectionList, NewCollection};
use rusqlite::{OptionalExtension as _, Row};
use serde::Deserialize;

use crate::{
    Server,
    account::{Account, next_updation_time},
    database::Transaction,
    json::Json,
    refusal::Refusal,
};

/// Longest sealed name, in bytes. Together with `collections_max` it keeps the list within one answer.
const NAME_BYTES_MAX: usize = 1024;
const KINDS: [&str; 4] = ["album", "folder", "favorites", "uncategorized"];

/// `?sinceTime=` of the list.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Since {
    #[serde(default)]
    since_time: i64,
}

/// `POST /collections`. The same `name_tag` again answers with the first collection, whatever else the body says.
pub(crate) async fn create(
    State(server): State<Server>,
    account: Account,
    Json(new): Json<NewCollection>,
) -> Result<Json<Collection>, Refusal> {
    check(&new)?;
    let collection = server
        .write(move |transaction, inner| {
            if let Some(tag) = &new.name_tag
                && let Some(present) = select_by_tag(transaction, account, &tag.0)?
            {
                return Ok(present);
            }
            let count: u32 = transaction
                .prepare_cached("SELECT count(*) FROM collection WHERE account = ?1")?
                .query_row([account.0], |row| row.get(0))?;
            if count >= inner.config.collections_max {
                return Err(Refusal::too_large(format!("an account has at most {count} collections here")));
            }
            Ok(insert(transaction, account, new)?)
        })
        .await?;
    Ok(Json(collection))
}

/// `GET /collections/v2`: oldest first.
pub(crate) async fn list(
    State(server): State<Server>,
    account: Account,
    since: Result<Query<Since>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<CollectionList>, Refusal> {
    let Query(since) = since.map_err(|_| Refusal::invalid("`sinceTime` is a whole number"))?;
    let collections = server
        .read(move |transaction, _| {
            let mut statement = transaction.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM collection WHERE account = ?1 AND updation_time > ?2 ORDER BY updation_time"
            ))?;
            let rows = statement.query_map((account.0, since.since_time), from_row)?;
            Ok(rows.collect::<rusqlite::Result<Vec<_>>>()?)
        })
        .await?;
    Ok(Json(CollectionList { collections }))
}

/// Whether the account has this collection.
pub(crate) fn exists(transaction: &Transaction<'_>, account: Account, id: i64) -> rusqlite::Result<bool> {
    transaction
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM collection WHERE account = ?1 AND id = ?2)")?
        .query_row((account.0, id), |row| row.get(0))
}

fn check(new: &NewCollection) -> Result<(), Refusal> {
    let wrapped = new.encrypted_key.0.len() == 48
        && new.key_decryption_nonce.0.len() == 24
        && new.name_decryption_nonce.0.len() == 24;
    if !wrapped {
        return Err(Refusal::invalid("a wrapped key has 48 bytes, nonces have 24"));
    }
    if !(16..=NAME_BYTES_MAX).contains(&new.encrypted_name.0.len()) {
        return Err(Refusal::invalid(format!("a sealed name has 16 to {NAME_BYTES_MAX} bytes")));
    }
    if !KINDS.contains(&new.kind.as_str()) {
        return Err(Refusal::invalid("a collection is an album, a folder, favorites or uncategorized"));
    }
    if new.name_tag.as_ref().is_some_and(|tag| !(1..=64).contains(&tag.0.len())) {
        return Err(Refusal::invalid("a name's tag has 1 to 64 bytes"));
    }
    Ok(())
}

const COLUMNS: &str = "id, encrypted_key, key_nonce, encrypted_name, name_nonce, kind, name_tag, updation_time";

fn from_row(row: &Row<'_>) -> rusqlite::Result<Collection> {
    Ok(Collection {
        id: row.get(0)?,
        encrypted_key: Base64(row.get(1)?),
        key_decryption_nonce: Base64(row.get(2)?),
        encrypted_name: Base64(row.get(3)?),
        name_decryption_nonce: Base64(row.get(4)?),
        kind: row.get(5)?,
        name_tag: row.get::<_, Option<Vec<u8>>>(6)?.map(Base64),
        updation_time: row.get(7)?,
    })
}

fn select_by_tag(transaction: &Transaction<'_>, account: Account, tag: &[u8]) -> rusqlite::Result<Option<Collection>> {
    transaction
        .prepare_cached(&format!("SELECT {COLUMNS} FROM collection WHERE account = ?1 AND name_tag = ?2"))?
        .query_row((account.0, tag), from_row)
        .optional()
}

fn insert(transaction: &Transaction<'_>, account: Account, new: NewCollection) -> rusqlite::Result<Collection> {
    let updation_time = next_updation_time(transaction, account.0)?;
    let tag = new.name_tag.map(|tag| tag.0);
    transaction
        .prepare_cached(&format!(
            "INSERT INTO collection (account, encrypted_key, key_nonce, encrypted_name, name_nonce, kind, name_tag,
                updation_time)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) RETURNING {COLUMNS}"
        ))?
        .query_row(
            (
                account.0,
                new.encrypted_key.0,
                new.key_decryption_nonce.0,
                new.encrypted_name.0,
                new.name_decryption_nonce.0,
                new.kind,
                tag,
                updation_time,
            ),
            from_row,
        )
}
