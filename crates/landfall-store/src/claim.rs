//! Taking items to work on, and holding them.

use landfall_core::{Class, ClassLimits, Generation, Held, ItemId, Timestamp, Waits};
use landfall_env::Sabotage;
use rusqlite::OptionalExtension as _;

use crate::{DestinationId, Item, StoreError, Tx};

/// The right to change one item, for as long as nobody else has taken it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The item.
    pub item: ItemId,
    /// Whose right it is.
    pub worker: String,
    /// Fences: compared by every write.
    pub generation: Generation,
}

/// What a worker sees when it looks up from its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlook {
    /// Items it works on whose leases are gone.
    pub lost: Vec<ItemId>,
    /// [`Tx::claim`] would find something, after [`Tx::wake`].
    pub can_claim: bool,
    /// The earliest moment that an item waits for.
    pub due: Option<Timestamp>,
    /// There are items that could still go on by themselves.
    pub has_queued: bool,
    /// There are remote uploads to be deleted.
    pub has_abandoning: bool,
}

impl Outlook {
    /// Whether it holds for as long as nothing is committed: no item's moment has come, and none is so far away that it
    /// was written before the wall clock jumped back. (With a nearer one before it, that one's moment frees both.)
    pub fn holds_at(&self, now: Timestamp) -> bool {
        self.due.is_none_or(|due| due > now && due.0 <= now.0.saturating_add(WAIT_MAX_MS))
    }
}

/// No wait is longer than this: a moment further away was written before the wall clock jumped back.
const WAIT_MAX_MS: i64 = 3_600_000;

// In these, `finished_at IS NULL` lets SQLite use the index of what is unfinished.
const OUTLOOK: &str = "SELECT
        count(*) FILTER (WHERE class = 'photo'),
        count(*) FILTER (WHERE class = 'video'),
        count(*) FILTER (WHERE class = 'upload' AND destination = ?1),
        (SELECT min(not_before) FROM item WHERE waits = 'until'),
        EXISTS (SELECT 1 FROM item WHERE destination = ?1 AND class = 'photo' AND state = 'active' AND waits = 'nothing'
                   AND worker IS NULL),
        EXISTS (SELECT 1 FROM item WHERE destination = ?1 AND class = 'video' AND state = 'active' AND waits = 'nothing'
                   AND worker IS NULL),
        EXISTS (SELECT 1 FROM item WHERE destination = ?1 AND class = 'upload' AND state = 'active' AND waits = 'nothing'
                   AND worker IS NULL),
        EXISTS (SELECT 1 FROM item WHERE destination = ?1 AND finished_at IS NULL AND state = 'active'
                   AND waits <> 'unlock' AND waits <> 'token'
                   AND (waits <> 'item' OR NOT EXISTS (SELECT 1 FROM item AS other WHERE other.id = item.waits_item
                                                          AND (other.waits = 'unlock' OR other.waits = 'token')))),
        EXISTS (SELECT 1 FROM object WHERE destination = ?1 AND state = 'abandoning')
            OR EXISTS (SELECT 1 FROM bucket_object WHERE destination = ?1 AND state = 'abandoning')
   FROM item INDEXED BY item_held WHERE worker IS NOT NULL";
const WAITS_FOR_SECRETS: &str = "SELECT
        EXISTS (SELECT 1 FROM item WHERE destination = ?1 AND finished_at IS NULL AND state = 'active'
                   AND waits IN ('unlock', 'token'))";
const WAKE_WAITING: &str = "UPDATE item SET waits = 'nothing'
      WHERE destination = ?1 AND finished_at IS NULL AND state = 'active' AND waits = ?2";

impl Tx<'_> {
    /// Claims the most urgent items of a destination that wait for nothing, as many as `limits` leave room for over
    /// all processes and `most` allows.
    pub fn claim(
        &self,
        worker: &str,
        destination: DestinationId,
        limits: ClassLimits,
        most: usize,
        now: Timestamp,
    ) -> Result<Vec<Lease>, StoreError> {
        let mut room = limits.room(self.held_by_class(destination)?);
        let mut leases = Vec::new();
        while leases.len() < most && room.upload > 0 {
            let Some((_, id, _)) = self.most_urgent(destination, Class::Upload)? else { break };
            leases.push(self.take(worker, id, now)?);
            room.upload -= 1;
        }
        while leases.len() < most && room.total > 0 {
            let photo = self.most_urgent(destination, Class::Photo)?;
            let video = if room.video > 0 { self.most_urgent(destination, Class::Video)? } else { None };
            let Some((_, id, class)) =
                [photo, video].into_iter().flatten().min_by_key(|(priority, id, _)| (*priority, *id))
            else {
                break;
            };
            leases.push(self.take(worker, id, now)?);
            room.total -= 1;
            if class == Class::Video {
                room.video -= 1;
            }
        }
        Ok(leases)
    }

    fn held_by_class(&self, destination: DestinationId) -> Result<Held, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT count(*) FILTER (WHERE class = 'photo'), count(*) FILTER (WHERE class = 'video'),
                    count(*) FILTER (WHERE class = 'upload' AND destination = ?1) FROM item
              WHERE worker IS NOT NULL",
        )?;
        let held =
            |row: &rusqlite::Row<'_>| Ok(Held { photos: row.get(0)?, videos: row.get(1)?, uploads: row.get(2)? });
        Ok(statement.query_row([destination.0], held)?)
    }

    fn most_urgent(&self, destination: DestinationId, class: Class) -> Result<Option<(i64, i64, Class)>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT priority, id FROM item
              WHERE destination = ?1 AND class = ?2 AND state = 'active' AND waits = 'nothing' AND worker IS NULL
              ORDER BY priority, id LIMIT 1",
        )?;
        let row = statement.query_row((destination.0, class.as_str()), |row| Ok((row.get(0)?, row.get(1)?)));
        Ok(row.optional()?.map(|(priority, id)| (priority, id, class)))
    }

    /// Takes an item that nobody works on and that waits for its turn or a moment, if it is as it was seen; `None` if
    /// not.
    pub fn take_waiting(&self, worker: &str, seen: &Item, now: Timestamp) -> Result<Option<Lease>, StoreError> {
        let generation = self
            .connection
            .prepare_cached(
                "UPDATE item SET worker = ?1, generation = generation + 1, waits = 'nothing', not_before = NULL, updated_at = ?2
                  WHERE id = ?3 AND generation = ?4 AND worker IS NULL AND state = 'active' AND waits IN ('nothing', 'until')
              RETURNING generation",
            )?
            .query_row((worker, now.0, seen.id.0, seen.generation.0), |row| row.get(0))
            .optional()?;
        let lease = |generation| Lease { item: seen.id, worker: worker.to_owned(), generation: Generation(generation) };
        Ok(generation.map(lease))
    }

    /// Items that are only to be linked to a record, that nobody works on, and that wait for their turn or a moment.
    pub fn links_waiting(&self, destination: DestinationId, record: i64, most: usize) -> Result<Vec<Item>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id FROM item WHERE destination = ?1 AND class IN ('photo', 'video') AND state = 'active'
                AND waits = 'nothing' AND worker IS NULL AND publish = 'link' AND record = ?2
              UNION ALL
             SELECT id FROM item WHERE waits = 'until' AND state = 'active' AND worker IS NULL
                AND destination = ?1 AND publish = 'link' AND record = ?2
              LIMIT ?3",
        )?;
        let ids = statement.query_map((destination.0, record, most), |row| row.get(0).map(ItemId))?;
        ids.map(|id| self.item(id?)).collect()
    }

    pub(crate) fn take(&self, worker: &str, id: i64, now: Timestamp) -> Result<Lease, StoreError> {
        let generation = self
            .connection
            .prepare_cached(
                "UPDATE item SET worker = ?1, generation = generation + 1, updated_at = ?2
                  WHERE id = ?3 AND worker IS NULL AND state = 'active' AND waits = 'nothing' RETURNING generation",
            )?
            .query_row((worker, now.0, id), |row| row.get(0))?;
        Ok(Lease { item: ItemId(id), worker: worker.to_owned(), generation: Generation(generation) })
    }

    /// Makes sure the lease still holds. Every transition calls this first, in its own transaction: what follows then
    /// happens under the lease or not at all.
    ///
    /// # Errors
    /// [`StoreError::LostLease`]: somebody else works on the item now, or a person stopped it.
    pub fn hold(&self, lease: &Lease, now: Timestamp) -> Result<(), StoreError> {
        let held = self
            .connection
            .prepare_cached("UPDATE item SET updated_at = ?1 WHERE id = ?2 AND worker = ?3 AND generation = ?4")?
            .execute((now.0, lease.item.0, &lease.worker, lease.generation.0))?;
        if held == 0 && !self.steps.sabotaged(Sabotage::DropGenerationCheck) {
            return Err(StoreError::LostLease(lease.item));
        }
        Ok(())
    }

    /// Gives an item back, to be claimed again by anyone once what it waits for has come.
    pub fn release(&self, lease: &Lease, waits: Waits, now: Timestamp) -> Result<(), StoreError> {
        self.hold(lease, now)?;
        if self.end_withdrawn(lease.item, now)? {
            return Ok(());
        }
        let (word, until, item) = match waits {
            Waits::Nothing => ("nothing", None, None),
            Waits::Until(moment) => ("until", Some(moment.0), None),
            Waits::Unlock => ("unlock", None, None),
            Waits::Token => ("token", None, None),
            Waits::Item(other) => ("item", None, Some(other.0)),
            Waits::Transfer => ("transfer", None, None),
        };
        self.connection
            .prepare_cached(
                "UPDATE item SET worker = NULL, generation = generation + 1, waits = ?2, not_before = ?3, waits_item = ?4
                  WHERE id = ?1 AND state = 'active'",
            )?
            .execute((lease.item.0, word, until, item))?;
        Ok(())
    }

    /// Frees items whose moment has come. Returns how many.
    pub fn wake(&self, now: Timestamp) -> Result<usize, StoreError> {
        Ok(self
            .connection
            .prepare_cached(
                "UPDATE item SET waits = 'nothing', not_before = NULL
                  WHERE waits = 'until' AND (not_before <= ?1 OR not_before > ?1 + ?2)",
            )?
            .execute((now.0, WAIT_MAX_MS))?)
    }

    /// The earliest moment an item of the destination waits for.
    pub fn next_wake(&self, destination: DestinationId) -> Result<Option<Timestamp>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT min(not_before) FROM item WHERE waits = 'until' AND destination = ?1")?;
        Ok(statement.query_row([destination.0], |row| row.get::<_, Option<i64>>(0))?.map(Timestamp))
    }

    /// Whether an item of a destination waits for keys, or for a token.
    pub fn waits_for_secrets(&self, destination: DestinationId) -> Result<bool, StoreError> {
        let mut statement = self.connection.prepare_cached(WAITS_FOR_SECRETS)?;
        Ok(statement.query_row([destination.0], |row| row.get(0))?)
    }

    /// Frees items of a destination that waited for keys, or for a token.
    pub fn wake_waiting(&self, destination: DestinationId, waits: Waits) -> Result<usize, StoreError> {
        let word = match waits {
            Waits::Unlock => "unlock",
            Waits::Token => "token",
            Waits::Nothing | Waits::Until(_) | Waits::Item(_) | Waits::Transfer => return Ok(0),
        };
        Ok(self.connection.prepare_cached(WAKE_WAITING)?.execute((destination.0, word))?)
    }

    /// Frees the items that wait for `item`, which is blocked, or for a text that goes with it and is held up by it: they
    /// may pass both.
    pub(crate) fn wake_behind_blocked(&self, item: ItemId) -> Result<(), StoreError> {
        self.wake_followers(item)?;
        let mut statement = self.connection.prepare_cached("SELECT item FROM message WHERE goes_with = ?1")?;
        let texts = statement.query_map([item.0], |row| row.get(0).map(ItemId))?.collect::<Result<Vec<_>, _>>()?;
        texts.into_iter().try_for_each(|text| self.wake_followers(text))
    }

    /// Frees the items that wait for `item`: it is done, or will not come.
    pub(crate) fn wake_followers(&self, item: ItemId) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "UPDATE item SET waits = 'nothing', waits_item = NULL WHERE waits = 'item' AND waits_item = ?1",
            )?
            .execute([item.0])?;
        Ok(())
    }
}

impl Tx<'_> {
    /// Looks at everything a worker goes by, at one moment. Costs no write, and no more the longer the queue is.
    pub fn outlook(
        &self,
        destination: DestinationId,
        leases: &[Lease],
        limits: ClassLimits,
        now: Timestamp,
    ) -> Result<Outlook, StoreError> {
        let mut statement = self.connection.prepare_cached(OUTLOOK)?;
        let outlook = statement.query_row([destination.0], |row| {
            let room = limits.room(Held { photos: row.get(0)?, videos: row.get(1)?, uploads: row.get(2)? });
            let (photo, video, upload): (bool, bool, bool) = (row.get(4)?, row.get(5)?, row.get(6)?);
            Ok(Outlook {
                lost: Vec::new(),
                can_claim: photo && room.total > 0 || video && room.video > 0 || upload && room.upload > 0,
                due: row.get::<_, Option<i64>>(3)?.map(Timestamp),
                has_queued: row.get(7)?,
                has_abandoning: row.get(8)?,
            })
        })?;
        let can_claim = outlook.can_claim || !outlook.holds_at(now);
        Ok(Outlook { lost: self.lost(leases)?, can_claim, ..outlook })
    }

    /// Of these leases, the items that are not held any more.
    pub(crate) fn lost(&self, leases: &[Lease]) -> Result<Vec<ItemId>, StoreError> {
        if leases.is_empty() {
            return Ok(Vec::new());
        }
        let mut statement = self
            .connection
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM item WHERE id = ?1 AND worker = ?2 AND generation = ?3)")?;
        let mut lost = Vec::new();
        for lease in leases {
            let held: bool =
                statement.query_row((lease.item.0, &lease.worker, lease.generation.0), |row| row.get(0))?;
            if !held {
                lost.push(lease.item);
            }
        }
        Ok(lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_all_the_time_does_not_walk_through_what_is_finished() {
        [OUTLOOK, WAITS_FOR_SECRETS, WAKE_WAITING].into_iter().for_each(crate::schema::assert_no_scan);
    }
}
