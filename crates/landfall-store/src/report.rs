//! What a person or a program may ask about the queue. Needs no key and changes nothing.

use landfall_core::{Code, ItemId, Timestamp};
use rusqlite::OptionalExtension as _;

use crate::{DestinationId, StoreError, Tx};

/// How many items are in which state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Active, waiting for nothing and held by nobody.
    pub ready: u64,
    /// Active and being worked on.
    pub working: u64,
    /// Active and waiting for a moment, another item, keys or a token.
    pub waiting: u64,
    /// Of the waiting: for keys.
    pub locked: u64,
    /// Paused by a person.
    pub paused: u64,
    /// Blocked until a person helps.
    pub blocked: u64,
    /// Done.
    pub done: u64,
    /// Skipped or cancelled.
    pub dropped: u64,
    /// Bytes of sources not yet done.
    pub bytes_left: u64,
    /// Remote objects nobody wants that are still to be deleted.
    pub abandoning: u64,
}

impl Counts {
    /// Items that will go on by themselves.
    pub fn queued(&self) -> u64 {
        self.ready + self.working + self.waiting
    }
}

/// One item, for people.
#[derive(Debug, Clone)]
pub struct ItemSummary {
    /// Its number.
    pub id: ItemId,
    /// The caller's key.
    pub key: Option<String>,
    /// Its recipe.
    pub recipe: String,
    /// Its album.
    pub album: String,
    /// A worker is at it.
    pub is_held: bool,
    /// The lane it was sent in, if it is a message.
    pub lane: Option<String>,
    /// Where it goes.
    pub destination: String,
    /// Its source: the root's path and the path below it, as bytes.
    pub source: (Vec<u8>, Vec<u8>),
    /// State.
    pub state: String,
    /// Phase.
    pub phase: String,
    /// What it waits for.
    pub waits: String,
    /// The item it waits for.
    pub waits_item: Option<ItemId>,
    /// Bytes of its source.
    pub bytes_total: u64,
    /// Bytes of it that the destination holds, estimated from receipts.
    pub bytes_sent: u64,
    /// Charged attempts.
    pub attempts: u32,
    /// Not before this moment.
    pub not_before: Option<Timestamp>,
    /// Why it is blocked.
    pub blocked: Option<(Option<Code>, String)>,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// The vault's record.
    pub record: Option<i64>,
    /// Its objects.
    pub objects: Vec<ObjectSummary>,
    /// When it was taken in charge.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// One object, for people.
#[derive(Debug, Clone)]
pub struct ObjectSummary {
    /// What it is for.
    pub role: String,
    /// Where it is, or will be.
    pub location: String,
    /// Where it stands.
    pub state: String,
    /// Bytes of ciphertext.
    pub size: u64,
}

const SUMMARY: &str =
    "SELECT i.id, i.key, i.recipe, coalesce(i.album, ''), d.location, coalesce(r.path, X''),
        coalesce(i.path, cast((SELECT m.name FROM message m WHERE m.item = i.id) AS BLOB),
                 (SELECT u.source FROM upload u WHERE u.item = i.id), X''), i.state, i.phase, i.waits, i.waits_item,
        coalesce((SELECT m.payload_size FROM message m WHERE m.item = i.id), i.size), i.attempts, i.not_before, i.code, i.message, i.last_error, i.record, i.created_at, i.updated_at,
        (SELECT coalesce(sum(min(o.part_size, o.size - (p.number - 1) * o.part_size)), 0)
           FROM object o JOIN part p ON p.object = o.id
          WHERE o.item = i.id AND o.role = 'file' AND o.state NOT IN ('abandoning', 'abandoned') AND p.state = 'stored')
          + coalesce((SELECT m.payload_size FROM message m WHERE m.item = i.id AND m.stored_at IS NOT NULL), 0)
          + (SELECT coalesce(sum(min(o.part_size, o.size - (p.number - 1) * o.part_size)), 0)
               FROM bucket_object o JOIN bucket_part p ON p.object = o.id
              WHERE o.item = i.id AND o.state NOT IN ('abandoning', 'abandoned') AND p.state = 'stored'),
        (SELECT l.name FROM lane l WHERE l.id = i.lane), i.worker IS NOT NULL
   FROM item i JOIN destination d ON d.id = i.destination LEFT JOIN root r ON r.id = i.root";

// `finished_at IS NULL` lets SQLite use the index of what is unfinished.
const COUNT: &str = "SELECT count(*) FROM item
      WHERE destination = ?1 AND finished_at IS NULL AND state = ?2";

impl Tx<'_> {
    /// Counts of a destination, or of all.
    pub fn counts(&self, destination: Option<DestinationId>) -> Result<Counts, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT count(*) FILTER (WHERE state = 'active' AND waits = 'nothing' AND worker IS NULL),
                    count(*) FILTER (WHERE state = 'active' AND worker IS NOT NULL),
                    count(*) FILTER (WHERE state = 'active' AND waits <> 'nothing'),
                    count(*) FILTER (WHERE state = 'active' AND waits = 'unlock'),
                    count(*) FILTER (WHERE state = 'paused'),
                    count(*) FILTER (WHERE state = 'blocked'),
                    coalesce(sum(size), 0)
               FROM item WHERE finished_at IS NULL AND destination = coalesce(?1, destination)",
        )?;
        let id = destination.map(|id| id.0);
        let mut counts = statement.query_row([id], |row| {
            Ok(Counts {
                ready: row.get(0)?,
                working: row.get(1)?,
                waiting: row.get(2)?,
                locked: row.get(3)?,
                paused: row.get(4)?,
                blocked: row.get(5)?,
                bytes_left: row.get::<_, i64>(6)? as u64,
                ..Counts::default()
            })
        })?;
        let mut finished = self.connection.prepare_cached(
            "SELECT count(*) FILTER (WHERE state = 'done'), count(*) FILTER (WHERE state IN ('skipped', 'cancelled'))
               FROM item WHERE finished_at IS NOT NULL AND destination = coalesce(?1, destination)",
        )?;
        (counts.done, counts.dropped) = finished.query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut abandoning = self.connection.prepare_cached(
            "SELECT (SELECT count(*) FROM object WHERE state = 'abandoning' AND destination = coalesce(?1, destination))
                  + (SELECT count(*) FROM bucket_object WHERE state = 'abandoning' AND destination = coalesce(?1, destination))",
        )?;
        counts.abandoning = abandoning.query_row([id], |row| row.get(0))?;
        Ok(counts)
    }

    /// Unfinished items of a destination that go on by themselves. Cheaper than [`Tx::counts`] in a long journal.
    pub fn queued(&self, destination: DestinationId) -> Result<u64, StoreError> {
        self.count(destination, "active")
    }

    /// Items of a destination that a person paused.
    pub fn paused(&self, destination: DestinationId) -> Result<u64, StoreError> {
        self.count(destination, "paused")
    }

    fn count(&self, destination: DestinationId, state: &str) -> Result<u64, StoreError> {
        let mut statement = self.connection.prepare_cached(COUNT)?;
        Ok(statement.query_row((destination.0, state), |row| row.get(0))?)
    }

    /// Items, newest change first: those in `state`, or all that are not final when it is `None`.
    pub fn summaries(&self, state: Option<&str>, limit: usize) -> Result<Vec<ItemSummary>, StoreError> {
        let filter = "WHERE (?1 IS NOT NULL AND i.state = ?1)
                         OR (?1 IS NULL AND i.finished_at IS NULL)
                      ORDER BY i.updated_at DESC, i.id DESC LIMIT ?2";
        let mut statement = self.connection.prepare_cached(&format!("{SUMMARY} {filter}"))?;
        let rows = statement.query_map((state, limit), read)?;
        let mut summaries = rows.collect::<Result<Vec<_>, _>>()?;
        for summary in &mut summaries {
            summary.objects = self.object_summaries(summary.id)?;
        }
        Ok(summaries)
    }

    /// One item.
    pub fn summary(&self, id: ItemId) -> Result<ItemSummary, StoreError> {
        let mut statement = self.connection.prepare_cached(&format!("{SUMMARY} WHERE i.id = ?1"))?;
        let mut summary = statement.query_row([id.0], read).optional()?.ok_or(StoreError::NoSuchItem(id))?;
        summary.objects = self.object_summaries(id)?;
        Ok(summary)
    }

    /// Numbers of the items in a state.
    pub fn item_ids(&self, state: &str) -> Result<Vec<ItemId>, StoreError> {
        let mut statement = self.connection.prepare_cached("SELECT id FROM item WHERE state = ?1 ORDER BY id")?;
        let rows = statement.query_map([state], |row| row.get(0).map(ItemId))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn object_summaries(&self, item: ItemId) -> Result<Vec<ObjectSummary>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT role, object_key, state, size FROM
                 (SELECT role, object_key, state, size, id FROM object WHERE item = ?1 AND state <> 'abandoned'
                   UNION ALL
                  SELECT 'file', object_key, state, size, id FROM bucket_object WHERE item = ?1 AND state <> 'abandoned'
                   UNION ALL
                  SELECT 'file', object_key, 'absent', 0, item FROM upload WHERE item = ?1
                     AND NOT EXISTS (SELECT 1 FROM bucket_object WHERE item = ?1 AND state <> 'abandoned'))
              ORDER BY role = 'file', id",
        )?;
        let rows = statement.query_map([item.0], |row| {
            Ok(ObjectSummary {
                role: row.get(0)?,
                location: row.get(1)?,
                state: row.get(2)?,
                size: row.get::<_, i64>(3)? as u64,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<ItemSummary> {
    let state: String = row.get(7)?;
    let bytes_total = row.get::<_, i64>(11)? as u64;
    let stored = row.get::<_, i64>(20)? as u64;
    let bytes_sent = if state == "done" { bytes_total } else { stored.min(bytes_total) };
    let blocked = match (row.get::<_, Option<String>>(14)?, row.get::<_, Option<String>>(15)?) {
        (Some(code), message) => Some((Code::parse(&code), message.unwrap_or_default())),
        (None, _) => None,
    };
    Ok(ItemSummary {
        id: ItemId(row.get(0)?),
        key: row.get(1)?,
        recipe: row.get(2)?,
        album: row.get(3)?,
        lane: row.get(21)?,
        is_held: row.get(22)?,
        destination: row.get(4)?,
        source: (row.get(5)?, row.get(6)?),
        state,
        phase: row.get(8)?,
        waits: row.get(9)?,
        waits_item: row.get::<_, Option<i64>>(10)?.map(ItemId),
        bytes_total,
        bytes_sent,
        attempts: row.get(12)?,
        not_before: row.get::<_, Option<i64>>(13)?.map(Timestamp),
        blocked,
        last_error: row.get(16)?,
        record: row.get(17)?,
        objects: Vec::new(),
        created_at: Timestamp(row.get(18)?),
        updated_at: Timestamp(row.get(19)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counting_does_not_walk_through_what_is_finished() {
        crate::schema::assert_no_scan(COUNT);
    }
}
