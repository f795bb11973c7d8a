//! Messages that a person takes back, or leaves out.
//!
//! Whoever is just publishing one cannot be called back: the others may see it, now or in a moment. If those behind it went
//! on at once, it could be seen behind them. So it is *withdrawn*: gone for whoever shows the lane, and still before
//! those behind it, until its publisher has answered or its worker is gone.

use landfall_core::{ItemId, Timestamp};

use crate::{StoreError, Tx};

impl Tx<'_> {
    /// A person leaves a message out, and the texts that go with it; those behind it go on. Returns what is left out: empty
    /// if it is finished already.
    pub fn skip(&self, id: ItemId, now: Timestamp) -> Result<Vec<ItemId>, StoreError> {
        self.end_with_texts(id, "skipped", now)
    }

    /// A person takes a message back, sent or not, and the texts that go with it. Returns what is taken back: empty if it
    /// is finished already.
    pub fn discard(&self, id: ItemId, now: Timestamp) -> Result<Vec<ItemId>, StoreError> {
        self.end_with_texts(id, "cancelled", now)
    }

    fn end_with_texts(&self, id: ItemId, state: &str, now: Timestamp) -> Result<Vec<ItemId>, StoreError> {
        if !self.end_message(id, state, now)? {
            return Ok(Vec::new());
        }
        let mut ended = vec![id];
        let mut statement = self.connection.prepare_cached("SELECT item FROM message WHERE goes_with = ?1")?;
        let texts = statement.query_map([id.0], |row| row.get(0).map(ItemId))?.collect::<Result<Vec<_>, _>>()?;
        for text in texts {
            if self.end_message(text, state, now)? {
                ended.push(text);
            }
        }
        Ok(ended)
    }

    fn end_message(&self, id: ItemId, state: &str, now: Timestamp) -> Result<bool, StoreError> {
        if self.withdraw(id, state, now)? {
            return Ok(true);
        }
        let changed = self
            .connection
            .prepare_cached(
                "UPDATE item SET state = ?2, worker = NULL, generation = generation + 1, waits = 'nothing', not_before = NULL,
                        waits_item = NULL, code = NULL, message = NULL, body = NULL,
                        publish = CASE publish WHEN 'frozen' THEN 'nothing' ELSE publish END, finished_at = ?3, updated_at = ?3
                  WHERE id = ?1 AND finished_at IS NULL AND EXISTS (SELECT 1 FROM message WHERE item = ?1 AND released = 0)",
            )?
            .execute((id.0, state, now.0))?;
        if changed == 0 {
            return Ok(false);
        }
        self.end_present_attempt(id, "unwanted", now)?;
        self.let_go(id)?;
        self.wake_followers(id)?;
        self.note(id, state, None, now)?;
        Ok(true)
    }

    /// Takes back a message that somebody is publishing. Returns whether it is one. Nobody shows it from now on; its row
    /// keeps how it ends (`message`) for [`Tx::end_withdrawn`].
    fn withdraw(&self, id: ItemId, state: &str, now: Timestamp) -> Result<bool, StoreError> {
        let changed = self
            .connection
            .prepare_cached(
                "UPDATE item SET message = ?2, updated_at = ?3
                  WHERE id = ?1 AND worker IS NOT NULL
                    AND EXISTS (SELECT 1 FROM message WHERE item = ?1 AND publishes > 0 AND released = 0)",
            )?
            .execute((id.0, state, now.0))?;
        if changed > 0 {
            self.let_go(id)?;
            self.note(id, state, None, now)?;
        }
        Ok(changed > 0)
    }

    fn let_go(&self, id: ItemId) -> Result<(), StoreError> {
        self.connection
            .prepare_cached("UPDATE message SET secrets = NULL, released = 1 WHERE item = ?1")?
            .execute([id.0])?;
        Ok(())
    }

    /// Nobody publishes a message any more: if it was withdrawn meanwhile, it is over, and those behind it go on. Returns
    /// whether it was. What is let go and not finished is withdrawn.
    pub(crate) fn end_withdrawn(&self, id: ItemId, now: Timestamp) -> Result<bool, StoreError> {
        let changed = self
            .connection
            .prepare_cached(
                "UPDATE item SET state = message, message = NULL, worker = NULL, generation = generation + 1, publish = 'nothing',
                        body = NULL, finished_at = ?2, updated_at = ?2
                  WHERE id = ?1 AND finished_at IS NULL AND EXISTS (SELECT 1 FROM message WHERE item = ?1 AND released = 1)",
            )?
            .execute((id.0, now.0))?;
        if changed > 0 {
            self.wake_followers(id)?;
        }
        Ok(changed > 0)
    }

    /// A worker is gone: what was withdrawn while it published is over.
    pub(crate) fn end_withdrawn_of(&self, worker: &str) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT item.id, updated_at FROM item JOIN message ON message.item = item.id WHERE worker = ?1 AND released = 1",
        )?;
        let withdrawn = statement.query_map([worker], |row| Ok((ItemId(row.get(0)?), Timestamp(row.get(1)?))))?;
        for (id, at) in withdrawn.collect::<Result<Vec<_>, _>>()? {
            self.end_withdrawn(id, at)?;
        }
        Ok(())
    }
}
