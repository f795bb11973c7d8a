//! Lanes: conversations, in which messages are published in the order in which they were sent.

use std::collections::BTreeSet;

use landfall_core::{ItemId, OnFailure, PublishOrder, Timestamp};
use rusqlite::OptionalExtension as _;

use crate::{DestinationId, NewAttachment, NewText, StoreError, Tx};

/// A lane's number in its journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId(pub i64);

/// A conversation as the journal holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane {
    /// Its number.
    pub id: LaneId,
    /// Where it is published.
    pub destination: DestinationId,
    /// What people call it.
    pub name: String,
    /// Who is published before whom.
    pub order: PublishOrder,
    /// What becomes of those behind a blocked message.
    pub on_failure: OnFailure,
    /// Its key, sealed, if the bodies of its messages are sealed here.
    pub key: Option<Vec<u8>>,
    /// Up to where what arrived was read.
    pub cursor: i64,
}

/// One message of a batch that is sent.
#[derive(Debug, Clone)]
pub enum Outgoing {
    /// One that was staged.
    Staged(ItemId),
    /// One that is taken in charge and sent at once.
    New(Box<NewAttachment>),
    /// A text; it goes with the attachment at that place of the batch, if any.
    Text(NewText, Option<usize>),
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// All of it is sent, in this order.
    All(Vec<ItemId>),
    /// Nothing of it is: this one is not staged (any more).
    NotStaged(ItemId),
    /// Nothing of it is: this one is in it more than once.
    Twice(ItemId),
}

impl Tx<'_> {
    /// The lane of that name, made if there is none.
    pub fn lane_named(&self, destination: DestinationId, name: &str) -> Result<Lane, StoreError> {
        self.connection
            .prepare_cached(
                "INSERT INTO lane (destination, name, publish_order, on_failure) VALUES (?1, ?2, 'strict', 'wait')
                 ON CONFLICT (destination, name) DO NOTHING",
            )?
            .execute((destination.0, name))?;
        Ok(self.find_lane(destination, name)?.expect("it was there, or was inserted by the statement before"))
    }

    /// The lane of that name.
    pub fn find_lane(&self, destination: DestinationId, name: &str) -> Result<Option<Lane>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id, destination, name, publish_order, on_failure, key, cursor FROM lane WHERE destination = ?1 AND name = ?2",
        )?;
        Ok(statement.query_row((destination.0, name), read_lane).optional()?)
    }

    /// The lane of that number.
    pub fn lane(&self, id: LaneId) -> Result<Lane, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id, destination, name, publish_order, on_failure, key, cursor FROM lane WHERE id = ?1",
        )?;
        Ok(statement.query_row([id.0], read_lane)?)
    }

    /// All lanes of a destination, by name.
    pub fn lanes(&self, destination: DestinationId) -> Result<Vec<Lane>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id, destination, name, publish_order, on_failure, key, cursor FROM lane WHERE destination = ?1 ORDER BY name",
        )?;
        let rows = statement.query_map([destination.0], read_lane)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Changes who goes before whom, also for what is sent already and not published.
    pub fn set_policy(
        &self,
        lane: LaneId,
        order: PublishOrder,
        on_failure: OnFailure,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.connection
            .prepare_cached("UPDATE lane SET publish_order = ?2, on_failure = ?3 WHERE id = ?1")?
            .execute((lane.0, order.as_str(), on_failure.as_str()))?;
        // Each looks anew whether it waits, and for whom.
        self.connection
            .prepare_cached(
                "UPDATE item SET waits = 'nothing', waits_item = NULL
                  WHERE lane = ?1 AND finished_at IS NULL AND waits = 'item'",
            )?
            .execute([lane.0])?;
        // One event stands for all that it may concern.
        let mut first = self.connection.prepare_cached(
            "SELECT id FROM item WHERE lane = ?1 AND finished_at IS NULL AND lane IS NOT NULL ORDER BY sequence LIMIT 1",
        )?;
        match first.query_row([lane.0], |row| row.get(0).map(ItemId)).optional()? {
            Some(first) => self.note(first, "policy", None, now),
            None => Ok(()),
        }
    }

    /// Whether any lane of any destination has a key, sealed under the host's.
    pub fn has_lane_keys(&self) -> Result<bool, StoreError> {
        let mut statement =
            self.connection.prepare_cached("SELECT EXISTS (SELECT 1 FROM lane WHERE key IS NOT NULL)")?;
        Ok(statement.query_row([], |row| row.get(0))?)
    }

    /// Keeps a lane's sealed key unless it has one; returns the one that is kept.
    pub fn keep_lane_key(&self, lane: LaneId, sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.connection
            .prepare_cached("UPDATE lane SET key = ?2 WHERE id = ?1 AND key IS NULL")?
            .execute((lane.0, sealed))?;
        Ok(self
            .connection
            .prepare_cached("SELECT key FROM lane WHERE id = ?1")?
            .query_row([lane.0], |row| row.get(0))?)
    }

    /// Notes how far what arrived in a lane was read. Never goes back.
    pub fn read_up_to(&self, lane: LaneId, cursor: i64) -> Result<(), StoreError> {
        self.connection
            .prepare_cached("UPDATE lane SET cursor = max(cursor, ?2) WHERE id = ?1")?
            .execute((lane.0, cursor))?;
        Ok(())
    }

    /// Sends a batch: gives its messages their places in the lane, all of them or none.
    pub fn send(&self, lane: &Lane, batch: &[Outgoing], now: Timestamp) -> Result<Sent, StoreError> {
        let mut staged = BTreeSet::new();
        for outgoing in batch {
            let Outgoing::Staged(id) = outgoing else { continue };
            if !self.is_staged(*id)? {
                return Ok(Sent::NotStaged(*id));
            }
            // It has one place: of two numbers one would stay without a message.
            if !staged.insert(id.0) {
                return Ok(Sent::Twice(*id));
            }
        }
        let (first, number): (i64, i64) = self
            .connection
            .prepare_cached(
                "UPDATE lane SET sequence = sequence + ?2, batch = batch + 1 WHERE id = ?1
              RETURNING sequence - ?2 + 1, batch",
            )?
            .query_row((lane.id.0, batch.len()), |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut ids = Vec::new();
        for (sequence, outgoing) in (first..).zip(batch) {
            let place = Place { lane: lane.id, sequence, batch: number };
            ids.push(match outgoing {
                Outgoing::Staged(id) => {
                    self.send_staged(*id, place, now)?;
                    *id
                }
                Outgoing::New(attachment) => {
                    let id = self.stage(lane.destination, attachment, now)?;
                    self.send_staged(id, place, now)?;
                    id
                }
                Outgoing::Text(text, with) => {
                    let with = with.and_then(|index| ids.get(index).copied());
                    self.send_text(lane.destination, text, with, place, now)?
                }
            });
        }
        Ok(Sent::All(ids))
    }

    /// The nearest message of a lane that has to be published, or given up, before this one.
    pub fn behind(&self, item: ItemId) -> Result<Option<ItemId>, StoreError> {
        // Each is a walk down one index that begins at the item and mostly ends at the first row.
        let mut statement = self.connection.prepare_cached(BEHIND)?;
        Ok(statement.query_row([item.0], |row| row.get(0).map(ItemId)).optional()?)
    }
}

const BEHIND: &str = "SELECT before.id
       FROM item AS me
       JOIN lane ON lane.id = me.lane
       JOIN item AS before INDEXED BY item_lane_unfinished
         ON before.lane = me.lane AND before.lane IS NOT NULL AND before.finished_at IS NULL AND before.sequence < me.sequence
      WHERE me.id = ?1
        AND (lane.publish_order = 'strict' OR before.batch = me.batch)
        AND (lane.on_failure = 'wait'
             OR before.id = (SELECT goes_with FROM message WHERE item = me.id)
             OR before.state <> 'blocked'
                AND NOT EXISTS (SELECT 1 FROM message JOIN item AS photo ON photo.id = message.goes_with
                                 WHERE message.item = before.id AND photo.state = 'blocked'))
      ORDER BY before.sequence DESC LIMIT 1";

/// A message's place in its lane.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) lane: LaneId,
    pub(crate) sequence: i64,
    pub(crate) batch: i64,
}

fn read_lane(row: &rusqlite::Row<'_>) -> rusqlite::Result<Lane> {
    Ok(Lane {
        id: LaneId(row.get(0)?),
        destination: DestinationId(row.get(1)?),
        name: row.get(2)?,
        order: PublishOrder::parse(&row.get::<_, String>(3)?).unwrap_or_default(),
        on_failure: OnFailure::parse(&row.get::<_, String>(4)?).unwrap_or_default(),
        key: row.get(5)?,
        cursor: row.get(6)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_before_is_found_without_walking_through_what_is_published() {
        crate::schema::assert_no_scan(BEHIND);
    }
}
