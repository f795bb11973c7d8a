//! What a worker of messages goes by.

use landfall_core::{ItemId, Timestamp};

use crate::{DestinationId, Lease, StoreError, Tx};

/// How many messages may be worked on at once, over all processes of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageLimits {
    /// Being made into payloads, or being granted a place to put them.
    pub prepares: usize,
    /// Being published: one of a lane at a time, and of so many lanes.
    pub publishes: usize,
}

impl Default for MessageLimits {
    fn default() -> Self {
        Self { prepares: 4, publishes: 32 }
    }
}

/// What a worker of messages sees when it looks up from its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageOutlook {
    /// Messages it works on whose leases are gone.
    pub lost: Vec<ItemId>,
    /// [`Tx::claim_messages`] would find something, after [`Tx::wake`].
    pub can_claim: bool,
    /// The earliest moment that a message waits for.
    pub due: Option<Timestamp>,
    /// There are messages that could still go on by themselves.
    pub has_queued: bool,
    /// There are attempts that one of our own carriers may take.
    pub has_ready: bool,
    /// Attempts that it carries itself and nobody wants any more.
    pub unwanted: Vec<String>,
    /// Another worker is at some of them: it may finish, die or stand still.
    pub others_work: bool,
}

/// How much there is to move of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageBytes {
    /// Which message.
    pub id: ItemId,
    /// Of its payload, if that is made; of what was handed over else. None of a text.
    pub bytes: u64,
    /// The remote has them.
    pub is_stored: bool,
    /// When it was taken in charge.
    pub created_at: Timestamp,
}

/// What is left of a destination's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessagesLeft {
    /// Those that are not finished and not staged.
    pub remaining: u64,
    /// Those that wait until somebody has logged in.
    pub logged_out: u64,
    /// The attempts that a platform's carrier may take or has.
    pub transfers: u64,
    /// The earliest moment that one waits for.
    pub next_wake: Option<Timestamp>,
}

const HELD: &str = "SELECT count(*) FILTER (WHERE phase <> 'publish'), count(*) FILTER (WHERE phase = 'publish')
       FROM item WHERE worker IS NOT NULL AND class = 'message'";
const READY: &str = "SELECT id FROM item INDEXED BY item_step
      WHERE destination = ?1 AND phase = ?2 AND class = 'message' AND state = 'active' AND waits = 'nothing' AND worker IS NULL
      ORDER BY priority, id LIMIT 1";
const QUEUED: &str =
    "SELECT EXISTS (SELECT 1 FROM item WHERE destination = ?1 AND finished_at IS NULL AND state = 'active'
        AND waits <> 'unlock' AND waits <> 'token')";
const DUE: &str = "SELECT min(not_before) FROM item WHERE waits = 'until' AND destination = ?1";
const OTHERS: &str = "SELECT EXISTS (SELECT 1 FROM item
      WHERE worker IS NOT NULL AND worker <> ?2 AND class = 'message' AND destination = ?1)";
const READY_ATTEMPT: &str =
    "SELECT EXISTS (SELECT 1 FROM attempt WHERE state <> 'ended' AND state = 'ready' AND worker = ?1)";
const UNWANTED_ATTEMPTS: &str = "SELECT id FROM attempt WHERE state <> 'ended' AND state = 'unwanted' AND worker = ?1";

const BYTES: &str =
    "SELECT item.id, iif(message.kind = 'attachment', coalesce(payload_size, size), 0), stored_at IS NOT NULL, created_at
       FROM item INDEXED BY item_unfinished JOIN message ON message.item = item.id
      WHERE destination = ?1 AND finished_at IS NULL AND class = 'message' AND released = 0";

impl Tx<'_> {
    /// Claims messages that wait for nothing: first those to be published, then those nearest to it.
    pub fn claim_messages(
        &self,
        worker: &str,
        destination: DestinationId,
        limits: MessageLimits,
        most: usize,
        now: Timestamp,
    ) -> Result<Vec<Lease>, StoreError> {
        let (mut prepares, mut publishes) = self.room_for_messages(limits)?;
        let mut leases = Vec::new();
        for phase in ["publish", "upload", "prepare"] {
            let room = if phase == "publish" { &mut publishes } else { &mut prepares };
            while leases.len() < most && *room > 0 {
                let Some(id) = self.ready_message(destination, phase)? else { break };
                leases.push(self.take(worker, id, now)?);
                *room -= 1;
            }
        }
        Ok(leases)
    }

    /// Looks at everything a worker of messages goes by, at one moment. Costs no write.
    pub fn message_outlook(
        &self,
        destination: DestinationId,
        worker: &str,
        leases: &[Lease],
        limits: MessageLimits,
        now: Timestamp,
    ) -> Result<MessageOutlook, StoreError> {
        let (prepares, publishes) = self.room_for_messages(limits)?;
        let due =
            self.connection.prepare_cached(DUE)?.query_row([destination.0], |row| row.get::<_, Option<i64>>(0))?;
        let due = due.map(Timestamp);
        let mut can_claim = due.is_some_and(|due| due <= now);
        for (phase, room) in [("publish", publishes), ("upload", prepares), ("prepare", prepares)] {
            can_claim |= room > 0 && self.ready_message(destination, phase)?.is_some();
        }
        let mut unwanted = self.connection.prepare_cached(UNWANTED_ATTEMPTS)?;
        let unwanted = unwanted.query_map([worker], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(MessageOutlook {
            lost: self.lost(leases)?,
            can_claim,
            due,
            has_queued: self.connection.prepare_cached(QUEUED)?.query_row([destination.0], |row| row.get(0))?,
            has_ready: self.connection.prepare_cached(READY_ATTEMPT)?.query_row([worker], |row| row.get(0))?,
            unwanted,
            others_work: self
                .connection
                .prepare_cached(OTHERS)?
                .query_row((destination.0, worker), |row| row.get(0))?,
        })
    }

    /// What is left of a destination's messages.
    pub fn messages_left(&self, destination: DestinationId) -> Result<MessagesLeft, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT count(*) FILTER (WHERE lane IS NOT NULL), count(*) FILTER (WHERE waits = 'token'), min(not_before)
               FROM item INDEXED BY item_unfinished
              WHERE destination = ?1 AND finished_at IS NULL AND class = 'message'",
        )?;
        let (remaining, logged_out, due) = statement
            .query_row([destination.0], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, Option<i64>>(2)?)))?;
        let mut statement = self.connection.prepare_cached(
            "SELECT count(*) FROM attempt WHERE (state = 'ready' OR state = 'out') AND worker IS NULL
                AND (SELECT destination FROM item WHERE item.id = attempt.item) = ?1",
        )?;
        let transfers = statement.query_row([destination.0], |row| row.get(0))?;
        Ok(MessagesLeft { remaining, logged_out, transfers, next_wake: due.map(Timestamp) })
    }

    /// The bytes of a destination's messages that are not finished.
    pub fn message_bytes(&self, destination: DestinationId) -> Result<Vec<MessageBytes>, StoreError> {
        let mut statement = self.connection.prepare_cached(BYTES)?;
        let rows = statement.query_map([destination.0], |row| {
            Ok(MessageBytes {
                id: ItemId(row.get(0)?),
                bytes: u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0),
                is_stored: row.get(2)?,
                created_at: Timestamp(row.get(3)?),
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// When the last of these messages ended, of those that did. What was taken back has ended for whoever looks.
    pub fn last_end(&self, ids: &[ItemId]) -> Result<Option<Timestamp>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT max(coalesce(finished_at, iif(released = 1, updated_at, NULL)))
               FROM item JOIN message ON message.item = item.id WHERE item.id = ?1",
        )?;
        let mut last = None;
        for id in ids {
            let end: Option<i64> = statement.query_row([id.0], |row| row.get(0))?;
            last = last.max(end.map(Timestamp));
        }
        Ok(last)
    }

    fn room_for_messages(&self, limits: MessageLimits) -> Result<(usize, usize), StoreError> {
        let mut statement = self.connection.prepare_cached(HELD)?;
        let (prepares, publishes): (usize, usize) = statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok((limits.prepares.saturating_sub(prepares), limits.publishes.saturating_sub(publishes)))
    }

    fn ready_message(&self, destination: DestinationId, phase: &str) -> Result<Option<i64>, StoreError> {
        use rusqlite::OptionalExtension as _;
        let mut statement = self.connection.prepare_cached(READY)?;
        Ok(statement.query_row((destination.0, phase), |row| row.get(0)).optional()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_all_the_time_does_not_walk_through_what_is_finished() {
        [HELD, READY, QUEUED, DUE, BYTES, OTHERS, READY_ATTEMPT, UNWANTED_ATTEMPTS]
            .into_iter()
            .for_each(crate::schema::assert_no_scan);
    }
}
