//! Recorded sessions that were seen, and their uploads.

use landfall_core::{BlockReason, ItemId, Timestamp};
use rusqlite::OptionalExtension as _;

use crate::{StoreError, Tx};

/// A recorded session as the journal knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// The folder that it lies in, as bytes of its path.
    pub folder: Vec<u8>,
    /// Its name there.
    pub name: String,
    /// Its last upload.
    pub item: Option<ItemId>,
    /// It was uploaded before it was seen here: where to, and when.
    pub uploaded_before: Option<(String, Timestamp)>,
}

impl Tx<'_> {
    /// The session of that name in a folder, if it was seen.
    pub fn session(&self, folder: &[u8], name: &str) -> Result<Option<SessionRow>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT folder, name, item, object_key, completed_at FROM session WHERE folder = ?1 AND name = ?2",
        )?;
        Ok(statement.query_row((folder, name), read).optional()?)
    }

    /// All sessions of a folder that were seen, by name.
    pub fn sessions(&self, folder: &[u8]) -> Result<Vec<SessionRow>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT folder, name, item, object_key, completed_at FROM session WHERE folder = ?1 ORDER BY name",
        )?;
        let rows = statement.query_map([folder], read)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Notes that a session was seen, and its upload.
    pub fn note_session(&self, session: &SessionRow) -> Result<(), StoreError> {
        let (key, at) = session.uploaded_before.as_ref().map(|(key, at)| (key, at.0)).unzip();
        self.connection
            .prepare_cached(
                "INSERT OR REPLACE INTO session (folder, name, item, object_key, completed_at) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute((&session.folder, &session.name, session.item.map(|item| item.0), key, at))?;
        Ok(())
    }

    /// Forgets a session that is not there any more.
    pub fn forget_session(&self, folder: &[u8], name: &str) -> Result<(), StoreError> {
        self.connection
            .prepare_cached("DELETE FROM session WHERE folder = ?1 AND name = ?2")?
            .execute((folder, name))?;
        Ok(())
    }

    /// Blocks an upload that nobody works on: it had failed for good before it was taken over.
    pub fn block_taken_over(&self, id: ItemId, reason: &BlockReason, now: Timestamp) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "UPDATE item SET state = 'blocked', code = ?2, message = ?3, last_error = ?3, updated_at = ?4
                  WHERE id = ?1 AND state = 'active' AND worker IS NULL AND waits = 'nothing'",
            )?
            .execute((id.0, reason.code.as_str(), &reason.message, now.0))?;
        self.note(id, "blocked", Some(&reason.message), now)
    }
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<SessionRow> {
    let before: (Option<String>, Option<i64>) = (row.get(3)?, row.get(4)?);
    Ok(SessionRow {
        folder: row.get(0)?,
        name: row.get(1)?,
        item: row.get::<_, Option<i64>>(2)?.map(ItemId),
        uploaded_before: before.0.map(|key| (key, Timestamp(before.1.unwrap_or(0)))),
    })
}
