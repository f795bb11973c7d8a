//! Messages: items of a conversation, and every transition of one.

use landfall_core::{
    BlockReason, Code, Generation, ItemId, Payload, Phase, PublishState, RetryPolicy, State, Timestamp, Waits,
};
use landfall_env::Sabotage;
use rusqlite::{OptionalExtension as _, Row};

use crate::{AttemptState, DestinationId, LaneId, Lease, StoreError, Tx, lane::Place};

/// A text to be sent.
#[derive(Debug, Clone)]
pub struct NewText {
    /// What it says, sealed if there is a key to seal it with.
    pub text: Vec<u8>,
    /// Every publish of it carries this.
    pub idempotency_key: String,
}

/// An attachment to be staged.
#[derive(Debug, Clone)]
pub struct NewAttachment {
    /// File name shown to who receives it.
    pub name: String,
    /// Media type.
    pub mime: String,
    /// It is made smaller before it is sealed.
    pub is_photo: bool,
    /// Our copy of it: a name in the spool.
    pub original: String,
    /// Length of the copy, in bytes.
    pub size: u64,
    /// Where it was chosen: another that is staged there before this one is sent takes its place.
    pub composer: Option<String>,
    /// Every publish of it carries this.
    pub idempotency_key: String,
}

/// A payload that was made.
#[derive(Debug, Clone)]
pub struct Sealed {
    /// Its file: a name in the spool.
    pub file: String,
    /// Its length, in bytes.
    pub size: u64,
    /// SHA-256 of it.
    pub digest: Vec<u8>,
    /// Its secrets, sealed; `None` if they are in memory alone.
    pub secrets: Option<Vec<u8>>,
}

/// A message as the journal holds it.
#[derive(Debug, Clone)]
pub struct Message {
    /// Its number.
    pub id: ItemId,
    /// Where it goes.
    pub destination: DestinationId,
    /// Its lane, once it is sent.
    pub lane: Option<LaneId>,
    /// Its place in the lane, once it is sent.
    pub sequence: Option<i64>,
    /// Which send it was part of.
    pub batch: Option<i64>,
    /// Where it stands.
    pub state: State,
    /// How far publishing is.
    pub publish: PublishState,
    /// Charged attempts since the last progress.
    pub attempts: u32,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// The frozen bytes, sealed; empty if they are in memory alone.
    pub body: Option<Vec<u8>>,
    /// Every publish of it carries this.
    pub idempotency_key: String,
    /// How often it may have been published.
    pub publishes: u32,
    /// What it is.
    pub content: MessageContent,
    /// Present generation of its lease.
    pub generation: Generation,
    /// When it was taken in charge.
    pub created_at: Timestamp,
}

/// What a message is.
#[derive(Debug, Clone)]
pub enum MessageContent {
    /// A text.
    Text {
        /// What it says, sealed if there was a key to seal it with.
        text: Vec<u8>,
        /// Rises with every edit.
        version: i64,
        /// The attachment that it goes with.
        goes_with: Option<ItemId>,
    },
    /// An attachment.
    Attachment(Box<AttachmentRow>),
}

/// An attachment as the journal holds it.
#[derive(Debug, Clone)]
pub struct AttachmentRow {
    /// File name shown to who receives it.
    pub name: String,
    /// Media type.
    pub mime: String,
    /// It is made smaller before it is sealed.
    pub is_photo: bool,
    /// Our copy of what was handed over: a name in the spool.
    pub original: Option<String>,
    /// Length of the copy, in bytes.
    pub size: u64,
    /// Which sealing: rises with every draw of secrets.
    pub sealing: i64,
    /// The payload's file: a name in the spool.
    pub sealed: Option<String>,
    /// The payload's secrets, sealed.
    pub secrets: Option<Vec<u8>>,
    /// The payload's length, in bytes.
    pub payload_size: Option<u64>,
    /// SHA-256 of the payload.
    pub payload_digest: Option<Vec<u8>>,
    /// Where the payload is.
    pub asset_url: Option<String>,
    /// Since when.
    pub stored_at: Option<Timestamp>,
    /// Where the attempt stands that owns the outcome.
    pub attempt: Option<(String, AttemptState)>,
}

impl AttachmentRow {
    /// Where the payload stands, if its secrets are at hand.
    pub fn payload(&self) -> Payload {
        match (&self.attempt, self.stored_at) {
            (Some((_, AttemptState::Ready | AttemptState::Out)), _) => Payload::UnderWay,
            (Some((_, AttemptState::Unknown)), _) => Payload::Unknown,
            (_, Some(at)) => Payload::Stored(at),
            _ if self.sealed.is_some() => Payload::Sealed,
            _ => Payload::Original,
        }
    }
}

impl Tx<'_> {
    /// A message.
    pub fn message(&self, id: ItemId) -> Result<Message, StoreError> {
        let mut statement = self.connection.prepare_cached(&format!("{MESSAGE} WHERE item.id = ?1"))?;
        statement.query_row([id.0], read_message).optional()?.ok_or(StoreError::NoSuchItem(id))
    }

    /// Whether an item is a message.
    pub fn is_message(&self, id: ItemId) -> Result<bool, StoreError> {
        let mut statement = self.connection.prepare_cached("SELECT class = 'message' FROM item WHERE id = ?1")?;
        statement.query_row([id.0], |row| row.get(0)).optional()?.ok_or(StoreError::NoSuchItem(id))
    }

    /// Takes an attachment in charge that is not sent yet. What its composer staged before, and did not send, is given
    /// up.
    pub fn stage(
        &self,
        destination: DestinationId,
        attachment: &NewAttachment,
        now: Timestamp,
    ) -> Result<ItemId, StoreError> {
        if let Some(composer) = &attachment.composer {
            for other in self.staged_by(destination, composer)? {
                self.discard(other, now)?;
            }
        }
        let size = i64::try_from(attachment.size).unwrap_or(i64::MAX);
        let id = self.insert_message(destination, "attachment", Phase::Prepare, size, 1, now)?;
        self.connection
            .prepare_cached(
                "INSERT INTO message (item, kind, idempotency_key, composer, name, mime, is_photo, original)
                 VALUES (?1, 'attachment', ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute((
                id.0,
                &attachment.idempotency_key,
                &attachment.composer,
                &attachment.name,
                &attachment.mime,
                attachment.is_photo,
                &attachment.original,
            ))?;
        self.note(id, "staged", None, now)?;
        Ok(id)
    }

    pub(crate) fn is_staged(&self, id: ItemId) -> Result<bool, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM item WHERE id = ?1 AND class = 'message' AND lane IS NULL AND finished_at IS NULL)",
        )?;
        Ok(statement.query_row([id.0], |row| row.get(0))?)
    }

    pub(crate) fn send_staged(&self, id: ItemId, place: Place, now: Timestamp) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "UPDATE item SET lane = ?2, sequence = ?3, batch = ?4, priority = 0, updated_at = ?5,
                        state = CASE state WHEN 'staged' THEN 'active' ELSE state END
                  WHERE id = ?1",
            )?
            .execute((id.0, place.lane.0, place.sequence, place.batch, now.0))?;
        self.connection.prepare_cached("UPDATE message SET composer = NULL WHERE item = ?1")?.execute([id.0])?;
        self.note(id, "sent", None, now)
    }

    pub(crate) fn send_text(
        &self,
        destination: DestinationId,
        text: &NewText,
        goes_with: Option<ItemId>,
        place: Place,
        now: Timestamp,
    ) -> Result<ItemId, StoreError> {
        let size = i64::try_from(text.text.len()).unwrap_or(i64::MAX);
        let id = self.insert_message(destination, "text", Phase::Publish, size, 0, now)?;
        self.connection
            .prepare_cached("UPDATE item SET lane = ?2, sequence = ?3, batch = ?4 WHERE id = ?1")?
            .execute((id.0, place.lane.0, place.sequence, place.batch))?;
        self.connection
            .prepare_cached(
                "INSERT INTO message (item, kind, idempotency_key, text, goes_with) VALUES (?1, 'text', ?2, ?3, ?4)",
            )?
            .execute((id.0, &text.idempotency_key, &text.text, goes_with.map(|item| item.0)))?;
        self.note(id, "sent", None, now)?;
        Ok(id)
    }

    fn insert_message(
        &self,
        destination: DestinationId,
        kind: &str,
        phase: Phase,
        size: i64,
        priority: i64,
        now: Timestamp,
    ) -> Result<ItemId, StoreError> {
        Ok(self
            .connection
            .prepare_cached(
                "INSERT INTO item (recipe, recipe_version, destination, class, priority, state, phase, kind, size, created_at, updated_at)
                 VALUES ('chat', 1, ?1, 'message', ?2, 'active', ?3, ?4, ?5, ?6, ?6) RETURNING id",
            )?
            .query_row((destination.0, priority, phase.as_str(), kind, size, now.0), |row| row.get(0).map(ItemId))?)
    }

    /// Writes what *prepare* made. Whatever was made, or under way, of an earlier sealing is not wanted any more.
    pub fn sealed(&self, lease: &Lease, sealed: &Sealed, now: Timestamp) -> Result<(), StoreError> {
        self.hold(lease, now)?;
        self.end_present_attempt(lease.item, "superseded", now)?;
        self.connection
            .prepare_cached(
                "UPDATE message SET sealed = ?2, secrets = ?3, payload_size = ?4, payload_digest = ?5, sealing = sealing + 1,
                        asset_url = NULL, stored_at = NULL
                  WHERE item = ?1",
            )?
            .execute((
                lease.item.0,
                &sealed.file,
                &sealed.secrets,
                i64::try_from(sealed.size).unwrap_or(i64::MAX),
                &sealed.digest,
            ))?;
        self.connection
            .prepare_cached("UPDATE item SET phase = 'upload', attempts = 0 WHERE id = ?1")?
            .execute([lease.item.0])?;
        self.note(lease.item, "sealed", None, now)
    }

    /// The remote has a message's payload: it waits for its turn, or to be sent.
    pub(crate) fn after_upload(&self, item: ItemId, now: Timestamp) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "UPDATE item SET phase = 'publish', waits = 'nothing', not_before = NULL, worker = NULL, generation = generation + 1,
                        attempts = 0, updated_at = ?2,
                        state = CASE WHEN state = 'active' AND lane IS NULL THEN 'staged' ELSE state END
                  WHERE id = ?1 AND finished_at IS NULL",
            )?
            .execute((item.0, now.0))?;
        self.note(item, "uploaded", None, now)
    }

    /// A message that waits for its transfer does not any more.
    pub(crate) fn set_free(&self, item: ItemId, until: Option<Timestamp>, now: Timestamp) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "UPDATE item SET waits = CASE WHEN ?2 IS NULL THEN 'nothing' ELSE 'until' END, not_before = ?2, updated_at = ?3
                  WHERE id = ?1 AND state = 'active' AND waits = 'transfer'",
            )?
            .execute((item.0, until.map(|until| until.0), now.0))?;
        Ok(())
    }

    /// A transfer did not come about: tries again after a pause, or leaves it to a person.
    #[expect(clippy::too_many_arguments, reason = "what a retry depends on, none of which is this journal's to know")]
    pub(crate) fn again_later(
        &self,
        item: ItemId,
        after: Option<Timestamp>,
        is_charged: bool,
        error: &str,
        policy: &RetryPolicy,
        fraction: f64,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let attempts: u32 = self
            .connection
            .prepare_cached(
                "UPDATE item SET attempts = attempts + ?2, last_error = ?3 WHERE id = ?1 RETURNING attempts",
            )?
            .query_row((item.0, is_charged, error), |row| row.get(0))?;
        if is_charged && policy.is_exhausted(attempts) {
            let message = format!("{attempts} attempts failed; the last: {error}");
            return self.block_message(item, &BlockReason { code: Code::TooManyAttempts, message }, now);
        }
        let until = now.after(policy.delay(attempts.max(1), fraction)).max(after.unwrap_or(now));
        if is_charged {
            self.note(item, "failed", Some(error), now)?;
        }
        self.set_free(item, Some(until), now)
    }

    /// Only a person can help; nobody holds the message.
    pub(crate) fn block_message(&self, item: ItemId, reason: &BlockReason, now: Timestamp) -> Result<(), StoreError> {
        let changed = self
            .connection
            .prepare_cached(
                "UPDATE item SET state = 'blocked', worker = NULL, generation = generation + 1, waits = 'nothing', not_before = NULL,
                        waits_item = NULL, code = ?2, message = ?3, last_error = ?3, updated_at = ?4
                  WHERE id = ?1 AND state = 'active'",
            )?
            .execute((item.0, reason.code.as_str(), &reason.message, now.0))?;
        if changed > 0 {
            self.wake_behind_blocked(item)?;
            self.note(item, "blocked", Some(&reason.message), now)?;
        }
        Ok(())
    }

    /// Fixes the bytes of a message: from now on these and no others are published.
    pub fn freeze(&self, lease: &Lease, body: &[u8], now: Timestamp) -> Result<(), StoreError> {
        self.hold(lease, now)?;
        self.connection
            .prepare_cached(
                "UPDATE item SET phase = 'publish', publish = 'frozen', body = ?2, attempts = 0 WHERE id = ?1",
            )?
            .execute((lease.item.0, body))?;
        self.note(lease.item, "frozen", None, now)
    }

    /// Nobody can have seen the fixed bytes, and they are lost: they are made anew.
    pub fn thaw(&self, lease: &Lease, now: Timestamp) -> Result<(), StoreError> {
        self.hold(lease, now)?;
        self.connection
            .prepare_cached("UPDATE item SET publish = 'nothing', body = NULL WHERE id = ?1")?
            .execute([lease.item.0])?;
        self.note(lease.item, "thawed", None, now)
    }

    /// A publish is about to begin: from now on it may have reached somebody. `false` if it must not: the message was taken
    /// back since its worker looked.
    pub fn publishing(&self, lease: &Lease, now: Timestamp) -> Result<bool, StoreError> {
        self.hold(lease, now)?;
        if self.end_withdrawn(lease.item, now)? {
            return Ok(false);
        }
        self.connection
            .prepare_cached("UPDATE message SET publishes = publishes + 1 WHERE item = ?1")?
            .execute([lease.item.0])?;
        Ok(true)
    }

    /// The publisher was not ready, so that nothing has reached anybody: again after `waits`, as if nothing had been tried.
    pub fn not_published(&self, lease: &Lease, waits: Waits, now: Timestamp) -> Result<(), StoreError> {
        self.hold(lease, now)?;
        self.connection
            .prepare_cached("UPDATE message SET publishes = max(publishes - 1, 0) WHERE item = ?1")?
            .execute([lease.item.0])?;
        self.release(lease, waits, now)
    }

    /// The message is published: done. `false` if it was taken back meanwhile: then it is over, and no more than that.
    pub fn message_published(&self, lease: &Lease, now: Timestamp) -> Result<bool, StoreError> {
        self.hold(lease, now)?;
        if self.end_withdrawn(lease.item, now)? {
            return Ok(false);
        }
        self.connection
            .prepare_cached(
                "UPDATE item SET state = 'done', publish = 'published', body = NULL, worker = NULL, generation = generation + 1,
                        last_error = NULL, finished_at = ?2
                  WHERE id = ?1",
            )?
            .execute((lease.item.0, now.0))?;
        self.connection.prepare_cached("UPDATE message SET secrets = NULL WHERE item = ?1")?.execute([lease.item.0])?;
        self.wake_followers(lease.item)?;
        self.note(lease.item, "done", None, now)?;
        Ok(true)
    }

    pub(crate) fn retry_message(&self, id: ItemId, now: Timestamp) -> Result<bool, StoreError> {
        self.reactivate_message(id, "blocked", "retried", now)
    }

    pub(crate) fn resume_message(&self, id: ItemId, now: Timestamp) -> Result<bool, StoreError> {
        self.reactivate_message(id, "paused", "resumed", now)
    }

    fn reactivate_message(&self, id: ItemId, from: &str, event: &str, now: Timestamp) -> Result<bool, StoreError> {
        let changed = self
            .connection
            .prepare_cached(
                "UPDATE item SET code = NULL, message = NULL, attempts = 0, updated_at = ?3,
                        state = CASE WHEN phase = 'publish' AND lane IS NULL THEN 'staged' ELSE 'active' END
                  WHERE id = ?1 AND state = ?2",
            )?
            .execute((id.0, from, now.0))?;
        if changed > 0 {
            self.note(id, event, None, now)?;
        }
        Ok(changed > 0)
    }

    /// Frees the messages of a destination that wait for a moment, or until somebody has logged in: somebody looks. What was
    /// tried in vain before counts no more. Returns how many.
    pub fn wake_messages(&self, destination: DestinationId) -> Result<usize, StoreError> {
        Ok(self.connection.prepare_cached(WAKE)?.execute([destination.0])?)
    }

    /// Changes what a text says, unless somebody may have seen it. Returns whether it did.
    pub fn edit_text(&self, id: ItemId, text: &[u8], now: Timestamp) -> Result<bool, StoreError> {
        let changed = self
            .connection
            .prepare_cached(
                "UPDATE message SET text = ?2, text_version = text_version + 1
                  WHERE item = ?1 AND kind = 'text'
                    AND EXISTS (SELECT 1 FROM item WHERE id = ?1 AND finished_at IS NULL
                                   AND (publish = 'nothing' OR publish = 'frozen' AND publishes = 0))",
            )?
            .execute((id.0, text))?;
        if changed > 0 {
            // Whoever works on it may be about to fix what it said before.
            self.connection
                .prepare_cached(
                    "UPDATE item SET worker = NULL, generation = generation + 1, publish = 'nothing', body = NULL WHERE id = ?1",
                )?
                .execute([id.0])?;
            self.note(id, "edited", None, now)?;
        }
        Ok(changed > 0)
    }

    /// Whoever showed these messages has what it needs of them: what we keep to be shown is not needed any more. Only
    /// finished ones are let go. Returns how many.
    pub fn release_echoes(&self, ids: &[ItemId], now: Timestamp) -> Result<usize, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "UPDATE message SET released = 1
              WHERE item = ?1 AND released = 0 AND EXISTS (SELECT 1 FROM item WHERE id = ?1 AND finished_at IS NOT NULL)",
        )?;
        let mut released = 0;
        for id in ids {
            if statement.execute([id.0])? > 0 {
                released += 1;
                self.note(*id, "released", None, now)?;
            }
        }
        Ok(released)
    }

    /// Attachments that a composer staged and did not send.
    fn staged_by(&self, destination: DestinationId, composer: &str) -> Result<Vec<ItemId>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT item.id FROM item INDEXED BY item_unfinished JOIN message ON message.item = item.id
              WHERE item.destination = ?1 AND item.finished_at IS NULL AND item.lane IS NULL AND message.composer = ?2",
        )?;
        let rows = statement.query_map((destination.0, composer), |row| row.get(0).map(ItemId))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Attachments that were staged before a moment and never sent.
    pub fn staged_before(&self, destination: DestinationId, moment: Timestamp) -> Result<Vec<ItemId>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id FROM item INDEXED BY item_unfinished
              WHERE destination = ?1 AND finished_at IS NULL AND class = 'message' AND lane IS NULL AND created_at < ?2",
        )?;
        let rows = statement.query_map((destination.0, moment.0), |row| row.get(0).map(ItemId))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Names in the spool that something still needs: copies of what is shown, payloads of what is to be told, and whatever a carrier may be reading.
    pub fn spool_files(&self) -> Result<Vec<String>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT original FROM message
              WHERE original IS NOT NULL AND released = 0
              UNION
             SELECT sealed FROM message JOIN item ON item.id = message.item
              WHERE sealed IS NOT NULL AND item.finished_at IS NULL AND released = 0
              UNION
             SELECT file FROM attempt WHERE state <> 'ended' AND ?1",
        )?;
        let rows = statement.query_map([!self.sabotaged(Sabotage::SweepCarriedFiles)], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

const WAKE: &str = "UPDATE item SET waits = 'nothing', not_before = NULL, attempts = 0
      WHERE destination = ?1 AND finished_at IS NULL AND class = 'message' AND waits IN ('until', 'token')";

pub(crate) const MESSAGE: &str = "SELECT item.id, destination, lane, sequence, batch, item.state, phase, waits, not_before, waits_item, code,
        item.message, publish, attempts, last_error, body, item.size, generation, created_at,
        kind_of.kind, idempotency_key, publishes, text, text_version, goes_with, name, mime, is_photo, original, sealing, sealed,
        secrets, payload_size, payload_digest, asset_url, stored_at,
        (SELECT id FROM attempt WHERE attempt.item = item.id AND (attempt.state = 'ready' OR attempt.state = 'out' OR attempt.state = 'unknown')),
        (SELECT state FROM attempt WHERE attempt.item = item.id AND (attempt.state = 'ready' OR attempt.state = 'out' OR attempt.state = 'unknown'))
   FROM item JOIN message AS kind_of ON kind_of.item = item.id";

impl Tx<'_> {
    /// Messages of a lane that nobody has let go or taken back, in the order of sending; without a lane, those that are
    /// staged.
    pub fn shown(&self, destination: DestinationId, lane: Option<LaneId>) -> Result<Vec<Message>, StoreError> {
        let mut statement = self.connection.prepare_cached(&format!(
            "{MESSAGE} WHERE destination = ?1 AND lane IS ?2 AND released = 0 ORDER BY sequence, item.id"
        ))?;
        let rows = statement.query_map((destination.0, lane.map(|lane| lane.0)), read_message)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Messages of a lane to which something happened after an event, and all that are not finished if it may have changed
    /// whom others wait for. In their order, with whether each is still to be shown.
    pub fn changed(&self, lane: LaneId, after: i64) -> Result<Vec<(Message, bool)>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM event JOIN item ON item.id = event.item WHERE event.number > ?2 AND item.lane = ?1
                AND event.kind IN ('blocked', 'retried', 'skipped', 'cancelled', 'policy'))",
        )?;
        let may_free: bool = statement.query_row((lane.0, after), |row| row.get(0))?;
        let mut statement = self.connection.prepare_cached(&format!(
            "{MESSAGE} WHERE item.lane = ?1
                AND (item.id IN (SELECT item FROM event WHERE number > ?2)
                     OR ?3 AND item.id IN (SELECT id FROM item WHERE lane = ?1 AND finished_at IS NULL))
              ORDER BY sequence"
        ))?;
        let rows = statement.query_map((lane.0, after, may_free), read_message)?;
        let messages: Vec<Message> = rows.collect::<Result<_, _>>()?;
        let mut shown = self.connection.prepare_cached("SELECT released = 0 FROM message WHERE item = ?1")?;
        messages
            .into_iter()
            .map(|message| {
                let is_shown = shown.query_row([message.id.0], |row| row.get(0))?;
                Ok((message, is_shown))
            })
            .collect()
    }

    /// The blocked messages of a lane, in their order.
    pub fn blocked_in(&self, lane: LaneId) -> Result<Vec<Message>, StoreError> {
        let mut statement = self.connection.prepare_cached(&format!(
            "{MESSAGE} WHERE item.lane = ?1 AND finished_at IS NULL AND item.state = 'blocked' ORDER BY sequence"
        ))?;
        let rows = statement.query_map([lane.0], read_message)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

pub(crate) fn read_message(row: &Row<'_>) -> rusqlite::Result<Message> {
    let (state, publish) = crate::item::read_state(row, 5)?;
    let size = u64::try_from(row.get::<_, i64>(16)?).unwrap_or(0);
    let content = match row.get::<_, String>(19)?.as_str() {
        "text" => MessageContent::Text {
            text: row.get(22)?,
            version: row.get(23)?,
            goes_with: row.get::<_, Option<i64>>(24)?.map(ItemId),
        },
        _ => MessageContent::Attachment(Box::new(AttachmentRow {
            name: row.get(25)?,
            mime: row.get(26)?,
            is_photo: row.get(27)?,
            original: row.get(28)?,
            size,
            sealing: row.get(29)?,
            sealed: row.get(30)?,
            secrets: row.get(31)?,
            payload_size: row.get::<_, Option<i64>>(32)?.map(|size| u64::try_from(size).unwrap_or(0)),
            payload_digest: row.get(33)?,
            asset_url: row.get(34)?,
            stored_at: row.get::<_, Option<i64>>(35)?.map(Timestamp),
            attempt: match (row.get::<_, Option<String>>(36)?, row.get::<_, Option<String>>(37)?) {
                (Some(id), Some(state)) => Some((id, AttemptState::parse(&state))),
                _ => None,
            },
        })),
    };
    Ok(Message {
        id: ItemId(row.get(0)?),
        destination: DestinationId(row.get(1)?),
        lane: row.get::<_, Option<i64>>(2)?.map(LaneId),
        sequence: row.get(3)?,
        batch: row.get(4)?,
        state,
        publish,
        attempts: row.get(13)?,
        last_error: row.get(14)?,
        body: row.get(15)?,
        generation: Generation(row.get(17)?),
        created_at: Timestamp(row.get(18)?),
        idempotency_key: row.get(20)?,
        publishes: row.get(21)?,
        content,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_found_without_walking_through_what_is_finished() {
        crate::schema::assert_no_scan(WAKE);
    }
}
