//! What is removed, by whom, and when.
//!
//! Removing an object is two transactions: the first replaces its rows by an intent in `garbage`, the second removes its
//! files and then the intent. Whoever dies in between leaves an intent that the next to open or maintain the vault carries
//! out. Files are only removed under the database's write lock, so a part that arrives at that moment is not caught.
//! Attachments go in the same manner, with intents in `asset_garbage`.

use std::time::Duration;

use crate::{
    Server, VaultError, asset,
    database::Transaction,
    instance::{is_alive, sweep_dead},
    refusal::Refusal,
    server::Inner,
};

/// A holder of the lease that lives but has not moved for this long has stopped; it is taken over.
const STOPPED_AFTER: Duration = Duration::from_secs(15);
/// Uploads, or attachments, expired per transaction.
const EXPIRE_BATCH: u32 = 100;

/// Open uploads that nobody touched for long.
const SILENT_OPEN: &str = "SELECT account, object_key FROM upload WHERE state = 'open' AND touched_ms < ?1
  ORDER BY touched_ms, account, object_key LIMIT ?2";
/// Stored objects that no file has and nobody touched for long. Not while an upload of the account is open: a thumbnail
/// is stored before its file, whose upload may take weeks on a slow line and does not touch it. An upload that is open
/// in vain expires first.
const SILENT_STORED: &str =
    "SELECT account, object_key FROM upload WHERE state = 'stored' AND file IS NULL AND touched_ms < ?1
      AND account NOT IN (SELECT account FROM upload WHERE state = 'open')
  ORDER BY touched_ms, account, object_key LIMIT ?2";

/// What [`Server::maintain`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Maintenance {
    /// Another process holds the lease and is at it; nothing was done.
    pub is_elsewhere: bool,
    /// Uploads, open or stored, that no file has and that were untouched for too long.
    pub uploads_expired: usize,
    /// Attachments whose time was over.
    pub assets_expired: usize,
    /// Objects and attachments of which files were removed.
    pub objects_removed: usize,
    /// Dead instances whose leftovers were removed.
    pub instances_swept: usize,
}

/// What was last seen of another holder of the lease, and when by our own clock. No wall clocks are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Observed {
    owner: String,
    beat: i64,
    at: Duration,
}

impl Server {
    /// Removes what nobody needs: uploads that no file has and that were untouched for
    /// [`crate::ServerConfig::upload_ttl`], attachments whose time is over, files of removed objects, leftovers of dead
    /// instances. Safe at any time and in any number of processes; a lease in the vault lets one at a time do it. Dropped
    /// in the middle, it is carried on by the next.
    ///
    /// # Errors
    /// [`VaultError`] says what to do. What was removed until then stays removed.
    pub async fn maintain(&self) -> Result<Maintenance, VaultError> {
        let Some(generation) = self.blocking(claim).await? else {
            return Ok(Maintenance { is_elsewhere: true, ..Maintenance::default() });
        };
        let mut done = Maintenance::default();
        loop {
            let expired = self.blocking(move |inner| expire(inner, generation)).await?;
            done.uploads_expired += expired;
            if expired == 0 {
                break;
            }
        }
        loop {
            let expired = self.blocking(move |inner| expire_assets(inner, generation)).await?;
            done.assets_expired += expired.assets;
            if expired.rows == 0 {
                break;
            }
        }
        done.objects_removed = self.blocking(collect_garbage).await?;
        done.instances_swept = self
            .blocking(|inner| sweep_dead(&inner.folder, inner.env.files.as_ref(), &inner.instance.name))
            .await
            .map_err(Refusal::from)?;
        self.blocking(move |inner| release(inner, generation)).await?;
        Ok(done)
    }
}

/// Replaces an upload's rows by the intent to remove its files.
pub(crate) fn discard(transaction: &Transaction<'_>, account: i64, key: &str, now_ms: i64) -> rusqlite::Result<()> {
    transaction.prepare_cached("DELETE FROM upload WHERE account = ?1 AND object_key = ?2")?.execute((account, key))?;
    transaction
        .prepare_cached("INSERT OR IGNORE INTO garbage (account, object_key, since_ms) VALUES (?1, ?2, ?3)")?
        .execute((account, key, now_ms))
        .map(drop)
}

/// Carries out the given intents. What fails is logged and left to [`Server::maintain`]: the objects are gone for
/// everyone already.
pub(crate) fn collect(inner: &Inner, objects: &[(i64, String)]) {
    for (account, key) in objects {
        if let Err(refusal) = collect_one(inner, *account, key) {
            refusal.log();
        }
    }
}

/// Carries out all intents, those of attachments as well. Returns how many there were.
pub(crate) fn collect_garbage(inner: &Inner) -> Result<usize, Refusal> {
    let objects = inner.database.read(|transaction| {
        let mut statement =
            transaction.prepare("SELECT account, object_key FROM garbage ORDER BY account, object_key")?;
        let rows = statement.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
        Ok(rows.collect::<rusqlite::Result<Vec<_>>>()?)
    })?;
    for (account, key) in &objects {
        collect_one(inner, *account, key)?;
    }
    Ok(objects.len() + asset::collect_garbage(inner)?)
}

fn collect_one(inner: &Inner, account: i64, key: &str) -> Result<(), Refusal> {
    inner.write(|transaction| {
        let intended = transaction
            .prepare_cached("DELETE FROM garbage WHERE account = ?1 AND object_key = ?2")?
            .execute((account, key))?;
        if intended > 0 {
            inner.folder.remove_object(inner.env.files.as_ref(), account, key)?;
        }
        Ok(())
    })
}

/// Takes the lease: its generation, or `None` if a living process that moves has it.
fn claim(inner: &Inner) -> Result<Option<i64>, Refusal> {
    inner.write(|transaction| {
        let (owner, beat): (Option<String>, i64) =
            transaction.query_row("SELECT owner, beat FROM lease WHERE name = 'maintenance'", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
        if let Some(owner) = owner
            && owner != inner.instance.name
            && is_alive(&inner.folder, inner.env.files.as_ref(), &owner)?
            && !has_stopped(inner, owner, beat)
        {
            return Ok(None);
        }
        let generation = transaction.query_row(
            "UPDATE lease SET owner = ?1, generation = generation + 1, beat = beat + 1
              WHERE name = 'maintenance' RETURNING generation",
            [&inner.instance.name],
            |row| row.get(0),
        )?;
        Ok(Some(generation))
    })
}

fn has_stopped(inner: &Inner, owner: String, beat: i64) -> bool {
    let now = inner.env.clock.monotonic();
    let mut observed = inner.observed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    match &*observed {
        Some(seen) if seen.owner == owner && seen.beat == beat => now.saturating_sub(seen.at) >= STOPPED_AFTER,
        _ => {
            *observed = Some(Observed { owner, beat, at: now });
            false
        }
    }
}

/// Expires one batch of uploads, if the lease is still ours. Returns how many there were. That no file has them is seen
/// in the transaction that removes them, so a registration comes before, or finds them gone.
fn expire(inner: &Inner, generation: i64) -> Result<usize, Refusal> {
    let ttl_ms = i64::try_from(inner.config.upload_ttl.as_millis()).unwrap_or(i64::MAX);
    inner.write(|transaction| {
        if !hold(transaction, generation)? {
            return Ok(0);
        }
        let now = inner.now_ms();
        let before = now.saturating_sub(ttl_ms);
        let mut expired = silent(transaction, SILENT_OPEN, before)?;
        if expired.is_empty() {
            expired = silent(transaction, SILENT_STORED, before)?;
        }
        for (account, key) in &expired {
            discard(transaction, *account, key, now)?;
        }
        transaction.execute("DELETE FROM abandoned WHERE since_ms < ?1", [before])?;
        Ok(expired.len())
    })
}

/// Expires one batch of attachments, if the lease is still ours.
fn expire_assets(inner: &Inner, generation: i64) -> Result<asset::Expired, Refusal> {
    inner.write(|transaction| {
        if !hold(transaction, generation)? {
            return Ok(asset::Expired::default());
        }
        Ok(asset::expire(transaction, inner, EXPIRE_BATCH)?)
    })
}

/// Whether the lease is still ours. If it is, it moves.
fn hold(transaction: &Transaction<'_>, generation: i64) -> rusqlite::Result<bool> {
    let moved = transaction
        .execute("UPDATE lease SET beat = beat + 1 WHERE name = 'maintenance' AND generation = ?1", [generation])?;
    Ok(moved > 0)
}

fn silent(transaction: &Transaction<'_>, query: &str, before_ms: i64) -> rusqlite::Result<Vec<(i64, String)>> {
    transaction
        .prepare_cached(query)?
        .query_map((before_ms, EXPIRE_BATCH), |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

fn release(inner: &Inner, generation: i64) -> Result<(), Refusal> {
    inner.write(|transaction| {
        transaction
            .execute("UPDATE lease SET owner = NULL WHERE name = 'maintenance' AND generation = ?1", [generation])?;
        Ok(())
    })
}
