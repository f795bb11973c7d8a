//! What happened, in order, without a gap.

use landfall_core::{ItemId, Timestamp};

use crate::{StoreError, Tx};

/// Something that happened to an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Numbers rise by one and are never reused.
    pub number: i64,
    /// When, by the wall clock of whoever wrote it.
    pub at: Timestamp,
    /// To which item.
    pub item: ItemId,
    /// What, as a stable word.
    pub kind: String,
    /// More, for people.
    pub detail: Option<String>,
}

impl Tx<'_> {
    pub(crate) fn note(
        &self,
        item: ItemId,
        kind: &str,
        detail: Option<&str>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.connection
            .prepare_cached("INSERT INTO event (at, item, kind, detail) VALUES (?1, ?2, ?3, ?4)")?
            .execute((now.0, item.0, kind, detail))?;
        Ok(())
    }

    /// Events above a number, oldest first, at most `limit`.
    pub fn events_since(&self, number: i64, limit: usize) -> Result<Vec<Event>, StoreError> {
        self.events(
            "SELECT number, at, item, kind, detail FROM event WHERE number > ?1 ORDER BY number LIMIT ?2",
            number,
            limit,
        )
    }

    /// The history of one item, oldest first.
    pub fn history(&self, item: ItemId) -> Result<Vec<Event>, StoreError> {
        self.events(
            "SELECT number, at, item, kind, detail FROM event WHERE item = ?1 ORDER BY number LIMIT ?2",
            item.0,
            10_000,
        )
    }

    /// The number of the last event.
    pub fn last_event(&self) -> Result<i64, StoreError> {
        Ok(self.connection.query_row("SELECT coalesce(max(number), 0) FROM event", [], |row| row.get(0))?)
    }

    /// The number of the first event that is kept; one more than the last if none is.
    pub fn first_event(&self) -> Result<i64, StoreError> {
        const FIRST: &str = "SELECT coalesce((SELECT min(number) FROM event),
                                        (SELECT seq FROM sqlite_sequence WHERE name = 'event') + 1, 1)";
        Ok(self.connection.query_row(FIRST, [], |row| row.get(0))?)
    }

    /// Forgets events of finished items below a number.
    pub fn prune_events(&self, below: i64) -> Result<usize, StoreError> {
        Ok(self
            .connection
            .prepare_cached(
                "DELETE FROM event WHERE number < ?1
                    AND item NOT IN (SELECT id FROM item WHERE finished_at IS NULL)",
            )?
            .execute([below])?)
    }

    fn events(&self, sql: &str, bound: i64, limit: usize) -> Result<Vec<Event>, StoreError> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map((bound, i64::try_from(limit).unwrap_or(i64::MAX)), |row| {
            Ok(Event {
                number: row.get(0)?,
                at: Timestamp(row.get(1)?),
                item: ItemId(row.get(2)?),
                kind: row.get(3)?,
                detail: row.get(4)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
