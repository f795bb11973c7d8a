//! Attachments as rows: granted, stored, gone; and the files that they leave behind.
//!
//! A row is there before any byte is, so whatever a dying process leaves in an attachment's folder goes with the row at
//! the latest. Other bytes under the same key are another file, named by the number of the write: a transaction moves the
//! file in and has the row name it, so at each moment one whole file is the attachment's. The one before is garbage from
//! then on.

use rusqlite::{OptionalExtension as _, Row};

use crate::{account::Account, database::Transaction, refusal::Refusal, server::Inner};

/// For how long leave that was not used is remembered after it has ended, so that a body which was begun in time may still
/// be on its way. 1 day.
const GRANT_GRACE_MS: i64 = 24 * 60 * 60 * 1000;
/// Within what time leaves are counted.
const MINUTE_MS: i64 = 60 * 1000;

/// An attachment's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asset {
    /// No bytes have arrived yet.
    Granted,
    Stored(Stored),
    /// Its time is over.
    Gone,
}

/// What is stored of an attachment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    /// The number of its file.
    pub(crate) write: u32,
    pub(crate) payload: Payload,
}

/// What tells the bytes of an attachment from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Payload {
    pub(crate) content_type: String,
    pub(crate) size: u64,
    pub(crate) sha256: [u8; 32],
}

/// Notes leave to put an attachment. Refuses if the account was given too many of late.
pub(crate) fn grant(
    transaction: &Transaction<'_>,
    inner: &Inner,
    account: Account,
    asset_key: &str,
    expires_ms: i64,
) -> Result<(), Refusal> {
    let now = inner.now_ms();
    let recent: u32 = transaction
        .prepare_cached("SELECT count(*) FROM asset WHERE account = ?1 AND created_ms BETWEEN ?2 AND ?3")?
        .query_row((account.0, now.saturating_sub(MINUTE_MS - 1), now), |row| row.get(0))?;
    if recent >= inner.config.asset_grants_per_minute_max {
        return Err(Refusal::throttled("too many attachments within a minute; try again later"));
    }
    transaction
        .prepare_cached(
            "INSERT INTO asset (asset_key, account, state, writes, created_ms, expires_ms)
             VALUES (?1, ?2, 'granted', 0, ?3, ?4)",
        )?
        .execute((asset_key, account.0, now, expires_ms.saturating_add(GRANT_GRACE_MS)))?;
    Ok(())
}

/// The row of an attachment, as far as it is still of use to anybody.
pub(crate) fn select(transaction: &Transaction<'_>, asset_key: &str, now_ms: i64) -> rusqlite::Result<Option<Asset>> {
    transaction
        .prepare_cached("SELECT state, expires_ms, writes, content_type, size, sha256 FROM asset WHERE asset_key = ?1")?
        .query_row([asset_key], |row| from_row(row, now_ms))
        .optional()
}

fn from_row(row: &Row<'_>, now_ms: i64) -> rusqlite::Result<Asset> {
    // Maintenance will say the same of one whose time is over.
    let is_over = row.get::<_, i64>(1)? <= now_ms;
    Ok(match row.get_ref(0)?.as_str()? {
        "granted" => Asset::Granted,
        "stored" if !is_over => Asset::Stored(Stored {
            write: row.get(2)?,
            payload: Payload {
                content_type: row.get(3)?,
                size: row.get::<_, i64>(4)?.cast_unsigned(),
                sha256: row.get(5)?,
            },
        }),
        _ => Asset::Gone,
    })
}

/// Notes that the file of write `write` is the attachment's from now on, and counts its time anew.
pub(crate) fn store(
    transaction: &Transaction<'_>,
    asset_key: &str,
    write: u32,
    payload: &Payload,
    expires_ms: i64,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "UPDATE asset SET state = 'stored', writes = ?2, content_type = ?3, size = ?4, sha256 = ?5, expires_ms = ?6
              WHERE asset_key = ?1",
        )?
        .execute((asset_key, write, &payload.content_type, payload.size.cast_signed(), payload.sha256, expires_ms))
        .map(drop)
}

/// Has a stored attachment end at `expires_ms`, or later if it would anyway. Returns when it does.
pub(crate) fn renew(transaction: &Transaction<'_>, asset_key: &str, expires_ms: i64) -> rusqlite::Result<i64> {
    transaction
        .prepare_cached("UPDATE asset SET expires_ms = max(expires_ms, ?2) WHERE asset_key = ?1 RETURNING expires_ms")?
        .query_row((asset_key, expires_ms), |row| row.get(0))
}

/// What [`expire`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Expired {
    /// Attachments that are gone now.
    pub(crate) assets: usize,
    /// All rows whose state ended.
    pub(crate) rows: usize,
}

/// Ends the state of at most `most` rows whose time is over: what was stored is gone, leave that was not used and what
/// has been gone for long are forgotten.
pub(crate) fn expire(transaction: &Transaction<'_>, inner: &Inner, most: u32) -> rusqlite::Result<Expired> {
    let now = inner.now_ms();
    let ended = transaction
        .prepare_cached(
            "SELECT asset_key, state FROM asset WHERE expires_ms <= ?1 ORDER BY expires_ms, asset_key LIMIT ?2",
        )?
        .query_map((now, most), |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<Vec<(String, String)>>>()?;
    let mut expired = Expired { assets: 0, rows: ended.len() };
    for (key, state) in ended {
        if state == "stored" {
            expired.assets += 1;
            transaction
                .prepare_cached(
                    "UPDATE asset SET state = 'gone', content_type = NULL, size = NULL, sha256 = NULL, expires_ms = ?2
                      WHERE asset_key = ?1",
                )?
                .execute((&key, after(now, inner.config.asset_gone_ttl)))?;
        } else {
            transaction.prepare_cached("DELETE FROM asset WHERE asset_key = ?1")?.execute([&key])?;
        }
        if state != "gone" {
            discard(transaction, &key)?;
        }
    }
    Ok(expired)
}

/// How many attachments of an account are stored.
pub(crate) fn count(transaction: &Transaction<'_>, account: i64) -> rusqlite::Result<u64> {
    transaction
        .query_row("SELECT count(*) FROM asset WHERE account = ?1 AND state = 'stored'", [account], |row| row.get(0))
}

/// Removes all rows of an account. Returns the keys whose files are to go.
pub(crate) fn remove_all(transaction: &Transaction<'_>, account: i64) -> rusqlite::Result<Vec<String>> {
    let keys = transaction
        .prepare("DELETE FROM asset WHERE account = ?1 RETURNING asset_key")?
        .query_map([account], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<String>>>()?;
    for key in &keys {
        discard(transaction, key)?;
    }
    Ok(keys)
}

/// Notes that there may be files which are not the attachment's any more.
pub(crate) fn discard(transaction: &Transaction<'_>, asset_key: &str) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("INSERT OR IGNORE INTO asset_garbage (asset_key) VALUES (?1)")?
        .execute([asset_key])
        .map(drop)
}

/// Removes the files that are to go of the given attachments. What fails is logged and left to
/// [`crate::Server::maintain`]: nobody is given those files any more.
pub(crate) fn collect(inner: &Inner, asset_keys: &[String]) {
    for key in asset_keys {
        if let Err(refusal) = collect_one(inner, key) {
            refusal.log();
        }
    }
}

/// Removes all files that are to go. Returns of how many attachments there were some.
pub(crate) fn collect_garbage(inner: &Inner) -> Result<usize, Refusal> {
    let keys = inner.database.read(|transaction| {
        let mut statement = transaction.prepare("SELECT asset_key FROM asset_garbage ORDER BY asset_key")?;
        let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
        Ok(rows.collect::<rusqlite::Result<Vec<_>>>()?)
    })?;
    for key in &keys {
        collect_one(inner, key)?;
    }
    Ok(keys.len())
}

fn collect_one(inner: &Inner, asset_key: &str) -> Result<(), Refusal> {
    inner.write(|transaction| {
        let noted =
            transaction.prepare_cached("DELETE FROM asset_garbage WHERE asset_key = ?1")?.execute([asset_key])?;
        if noted > 0 { sweep(transaction, inner, asset_key) } else { Ok(()) }
    })
}

/// Removes every file of an attachment but the one that its row names.
pub(crate) fn sweep(transaction: &Transaction<'_>, inner: &Inner, asset_key: &str) -> Result<(), Refusal> {
    let kept = transaction
        .prepare_cached("SELECT writes FROM asset WHERE asset_key = ?1 AND state = 'stored'")?
        .query_row([asset_key], |row| row.get(0))
        .optional()?;
    Ok(inner.folder.sweep_asset(inner.env.files.as_ref(), asset_key, kept)?)
}

/// A moment that is `by` later.
pub(crate) fn after(now_ms: i64, by: std::time::Duration) -> i64 {
    now_ms.saturating_add_unsigned(u64::try_from(by.as_millis()).unwrap_or(u64::MAX))
}
