//! Items: what was taken in charge, and every transition of one.

use landfall_core::{
    BlockReason, Class, Code, Generation, ItemId, Phase, PublishState, State, Timestamp, Waits, twin_waits_for,
};
use rusqlite::OptionalExtension as _;

use crate::{DestinationId, Lease, Offer, PlannedObject, Root, RootId, SeenPlace, StoreError, Tx, content::ContentRow};

/// What tells a changed file from an unchanged one. All zeros but size and time where the platform has no such numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SourceIdentity {
    /// Length in bytes.
    pub size: i64,
    /// Device number, its bits.
    pub device: i64,
    /// Inode number, its bits.
    pub inode: i64,
    /// Time of last modification, nanoseconds since the epoch.
    pub modified_ns: i64,
    /// Time of last status change, nanoseconds since the epoch.
    pub changed_ns: i64,
}

/// An item from elsewhere than a scan.
pub type NewItem = Offer;

/// An item as the journal holds it, without its objects.
#[derive(Debug, Clone)]
pub struct Item {
    /// Its number.
    pub id: ItemId,
    /// Where it goes.
    pub destination: DestinationId,
    /// Its class.
    pub class: Class,
    /// Where it stands.
    pub state: State,
    /// How far publishing is.
    pub publish: PublishState,
    /// Charged attempts since the last progress.
    pub attempts: u32,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// The root it was found below.
    pub root: RootId,
    /// Where, segments joined by `/`.
    pub path: Vec<u8>,
    /// Collection it goes to.
    pub album: String,
    /// Name of its media kind.
    pub kind: String,
    /// Which bytes.
    pub revision: i64,
    /// Bytes of its source, as last seen.
    pub bytes: u64,
    /// The device its source was on, as last seen; 0 if unknown.
    pub device: i64,
    /// The source as it was when prepared.
    pub identity: Option<SourceIdentity>,
    /// BLAKE2b-512 of the source, once prepared.
    pub digest: Option<Vec<u8>>,
    /// File key, sealed under the journal key (72 bytes).
    pub file_key: Option<Vec<u8>>,
    /// Sealed metadata and its header.
    pub metadata: Option<(Vec<u8>, Vec<u8>)>,
    /// The thumbnail is a placeholder.
    pub no_thumbnail: bool,
    /// The frozen register body.
    pub body: Option<Vec<u8>>,
    /// The vault's record.
    pub record: Option<i64>,
    /// Present generation of its lease.
    pub generation: Generation,
}

/// What *prepare* found out about a source.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The source, the same before and after reading it.
    pub identity: SourceIdentity,
    /// BLAKE2b-512 of its bytes.
    pub digest: Vec<u8>,
    /// File key, sealed under the journal key (72 bytes).
    pub file_key: Vec<u8>,
    /// Sealed metadata and its header.
    pub metadata: (Vec<u8>, Vec<u8>),
    /// The thumbnail is a placeholder.
    pub no_thumbnail: bool,
    /// What will exist remotely, thumbnail first.
    pub objects: Vec<PlannedObject>,
}

/// What becomes of a prepared item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreparedOutcome {
    /// It brings the content.
    Upload,
    /// The vault has the content: only the place is added to this record.
    Link(i64),
    /// Another item is bringing the content; this one waits for it and its lease is gone.
    Twin(ItemId),
}

impl Tx<'_> {
    /// An item.
    pub fn item(&self, id: ItemId) -> Result<Item, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT destination, class, state, phase, waits, not_before, waits_item, code, message, publish, attempts,
                    last_error, root, path, album, kind, revision, size, device, inode, modified_ns, changed_ns, digest,
                    file_key, metadata, metadata_header, no_thumbnail, body, record, generation
               FROM item WHERE id = ?1",
        )?;
        statement.query_row([id.0], |row| read_item(id, row)).optional()?.ok_or(StoreError::NoSuchItem(id))
    }

    pub(crate) fn item_state_word(&self, id: ItemId) -> Result<String, StoreError> {
        let mut statement = self.connection.prepare_cached("SELECT state FROM item WHERE id = ?1")?;
        statement.query_row([id.0], |row| row.get(0)).optional()?.ok_or(StoreError::NoSuchItem(id))
    }

    pub(crate) fn insert_item(&self, root: &Root, offer: &Offer, now: Timestamp) -> Result<ItemId, StoreError> {
        let id = self
            .connection
            .prepare_cached(
                "INSERT INTO item (recipe, recipe_version, destination, class, priority, state, phase, root, path, album,
                                   kind, size, device, created_at, updated_at)
                 VALUES ('vault', 1, ?1, ?2, ?3, 'active', 'prepare', ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10) RETURNING id",
            )?
            .query_row(
                (
                    root.destination.0,
                    offer.class.as_str(),
                    offer.priority,
                    root.id.0,
                    &offer.path,
                    &offer.album,
                    &offer.kind,
                    offer.identity.size,
                    offer.identity.device,
                    now.0,
                ),
                |row| row.get(0).map(ItemId),
            )?;
        self.note(id, "taken", None, now)?;
        Ok(id)
    }

    /// Writes what *prepare* found, and decides who brings the content: one item per content and destination.
    pub fn prepared(&self, lease: &Lease, prepared: &Prepared, now: Timestamp) -> Result<PreparedOutcome, StoreError> {
        self.hold(lease, now)?;
        let item = self.item(lease.item)?;
        self.keep_identity(lease.item, &prepared.identity, &prepared.digest)?;
        if let Some(outcome) = self.known_content(lease, item.destination, &prepared.digest, now)? {
            return Ok(outcome);
        }
        self.bring_content(item.destination, &prepared.digest, lease.item)?;
        self.connection
            .prepare_cached(
                "UPDATE item SET phase = 'upload', file_key = ?2, metadata = ?3, metadata_header = ?4, no_thumbnail = ?5,
                        attempts = 0
                  WHERE id = ?1",
            )?
            .execute((
                lease.item.0,
                &prepared.file_key,
                &prepared.metadata.0,
                &prepared.metadata.1,
                prepared.no_thumbnail,
            ))?;
        for object in &prepared.objects {
            self.insert_object(&item, object)?;
        }
        self.note(lease.item, "prepared", None, now)?;
        Ok(PreparedOutcome::Upload)
    }

    /// For an item that was prepared before and waited for its twin: decides again without reading the source again.
    /// `None` if the content has to be prepared after all.
    pub fn prepared_before(&self, lease: &Lease, now: Timestamp) -> Result<Option<PreparedOutcome>, StoreError> {
        self.hold(lease, now)?;
        let item = self.item(lease.item)?;
        match item.digest {
            Some(digest) => self.known_content(lease, item.destination, &digest, now),
            None => Ok(None),
        }
    }

    fn known_content(
        &self,
        lease: &Lease,
        destination: DestinationId,
        digest: &[u8],
        now: Timestamp,
    ) -> Result<Option<PreparedOutcome>, StoreError> {
        let Some(ContentRow { item, record }) = self.content(destination, digest)? else { return Ok(None) };
        if let Some(record) = record {
            self.link_to(lease, record, now)?;
            return Ok(Some(PreparedOutcome::Link(record)));
        }
        let Some(owner) = item else { return Ok(None) };
        if self.steps.sabotaged(landfall_env::Sabotage::SkipTwinCheck) {
            return Ok(None);
        }
        let Some(other) = twin_waits_for(lease.item, owner, &self.item(owner)?.state) else { return Ok(None) };
        self.release(lease, Waits::Item(other), now)?;
        Ok(Some(PreparedOutcome::Twin(other)))
    }

    fn keep_identity(&self, item: ItemId, identity: &SourceIdentity, digest: &[u8]) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "UPDATE item SET size = ?2, device = ?3, inode = ?4, modified_ns = ?5, changed_ns = ?6, digest = ?7 WHERE id = ?1",
            )?
            .execute((
                item.0,
                identity.size,
                identity.device,
                identity.inode,
                identity.modified_ns,
                identity.changed_ns,
                digest,
            ))?;
        Ok(())
    }

    /// The content turned out to be in the vault under `record`: what this item had begun to upload is abandoned, and
    /// only its place remains to be added.
    pub fn link_to(&self, lease: &Lease, record: i64, now: Timestamp) -> Result<(), StoreError> {
        self.hold(lease, now)?;
        self.abandon_objects_of(lease.item)?;
        self.connection
            .prepare_cached(
                "UPDATE item SET phase = 'publish', publish = 'link', record = ?2, body = NULL, file_key = NULL, metadata = NULL,
                        metadata_header = NULL, attempts = 0
                  WHERE id = ?1",
            )?
            .execute((lease.item.0, record))?;
        self.connection
            .prepare_cached(
                "UPDATE content SET record = ?2
                  WHERE (destination, digest) = (SELECT destination, digest FROM item WHERE id = ?1)",
            )?
            .execute((lease.item.0, record))?;
        self.next_version(lease.item)
    }

    /// The record an item was to be linked to is gone from the vault: its content must be brought again.
    pub fn unlink(&self, lease: &Lease, record: i64, now: Timestamp) -> Result<(), StoreError> {
        self.hold(lease, now)?;
        let item = self.item(lease.item)?;
        self.forget_record(item.destination, record)?;
        self.reset_to_prepare(lease.item)?;
        self.note(lease.item, "unlinked", None, now)
    }

    /// Freezes the register body: from now on these bytes and no others are sent.
    /// `version` is the one that they give the place.
    pub fn frozen(&self, lease: &Lease, body: &[u8], version: i64, now: Timestamp) -> Result<(), StoreError> {
        self.hold(lease, now)?;
        self.raise_version(lease.item, version)?;
        self.connection
            .prepare_cached(
                "UPDATE item SET phase = 'publish', publish = 'frozen', body = ?2, attempts = 0 WHERE id = ?1",
            )?
            .execute((lease.item.0, body))?;
        self.note(lease.item, "uploaded", None, now)
    }

    /// The vault has registered the item.
    pub fn published(&self, lease: &Lease, record: i64, now: Timestamp) -> Result<(), StoreError> {
        self.hold(lease, now)?;
        self.connection
            .prepare_cached(
                "UPDATE item SET publish = 'published', body = NULL, record = ?2, attempts = 0 WHERE id = ?1",
            )?
            .execute((lease.item.0, record))?;
        self.connection
            .prepare_cached(
                "UPDATE content SET record = ?2
                  WHERE (destination, digest) = (SELECT destination, digest FROM item WHERE id = ?1)",
            )?
            .execute((lease.item.0, record))?;
        Ok(())
    }

    /// Done: the vault holds the content and knows the place.
    pub fn finish(&self, lease: &Lease, place: &SeenPlace, now: Timestamp) -> Result<(), StoreError> {
        self.hold(lease, now)?;
        let item = self.item(lease.item)?;
        let (Some(identity), Some(digest), Some(record)) = (item.identity, &item.digest, item.record) else {
            return Err(StoreError::NoSuchItem(lease.item));
        };
        self.settle_place(item.root, &item.path, &identity, digest)?;
        self.connection
            .prepare_cached(
                "INSERT OR REPLACE INTO seen (destination, tag, path, record, modified_ns, version) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute((item.destination.0, &place.tag, &place.path, record, place.modified_ns, place.version))?;
        self.connection
            .prepare_cached(
                "INSERT INTO content (destination, digest, record) VALUES (?1, ?2, ?3)
                 ON CONFLICT (destination, digest) DO UPDATE SET record = ?3, item = NULL",
            )?
            .execute((item.destination.0, digest, record))?;
        self.connection
            .prepare_cached(
                "UPDATE item SET state = 'done', publish = 'published', worker = NULL, generation = generation + 1,
                        file_key = NULL, metadata = NULL, metadata_header = NULL, body = NULL, last_error = NULL, finished_at = ?2
                  WHERE id = ?1",
            )?
            .execute((lease.item.0, now.0))?;
        self.forget_parts_of(lease.item)?;
        self.wake_followers(lease.item)?;
        self.note(lease.item, "done", None, now)
    }

    /// The source is not what was prepared: new bytes, so new keys and new objects. What was opened for the old bytes
    /// is abandoned.
    pub fn new_revision(&self, lease: &Lease, why: &str, now: Timestamp) -> Result<(), StoreError> {
        self.hold(lease, now)?;
        self.reset_to_prepare(lease.item)?;
        self.note(lease.item, "source-changed", Some(why), now)
    }

    pub(crate) fn reset_to_prepare(&self, id: ItemId) -> Result<(), StoreError> {
        self.abandon_objects_of(id)?;
        self.drop_content_of(id)?;
        self.wake_followers(id)?;
        self.connection
            .prepare_cached(
                "UPDATE item SET phase = 'prepare', publish = 'nothing', revision = revision + 1, digest = NULL, file_key = NULL,
                        metadata = NULL, metadata_header = NULL, body = NULL, record = NULL
                  WHERE id = ?1",
            )?
            .execute([id.0])?;
        Ok(())
    }

    /// Charges an attempt and tries again at `until`. Returns how many attempts have been charged.
    pub fn charge(&self, lease: &Lease, error: &str, until: Timestamp, now: Timestamp) -> Result<u32, StoreError> {
        self.hold(lease, now)?;
        let attempts = self
            .connection
            .prepare_cached(
                "UPDATE item SET attempts = attempts + 1, last_error = ?2 WHERE id = ?1 RETURNING attempts",
            )?
            .query_row((lease.item.0, error), |row| row.get(0))?;
        self.note(lease.item, "failed", Some(error), now)?;
        self.release(lease, Waits::Until(until), now)?;
        Ok(attempts)
    }

    /// Only a person can help. What follows the item goes on without it.
    pub fn block(&self, lease: &Lease, reason: &BlockReason, now: Timestamp) -> Result<(), StoreError> {
        self.hold(lease, now)?;
        if self.end_withdrawn(lease.item, now)? {
            return Ok(());
        }
        self.connection
            .prepare_cached(
                "UPDATE item SET state = 'blocked', worker = NULL, generation = generation + 1, code = ?2, message = ?3,
                        last_error = ?3
                  WHERE id = ?1",
            )?
            .execute((lease.item.0, reason.code.as_str(), &reason.message))?;
        self.wake_behind_blocked(lease.item)?;
        self.note(lease.item, "blocked", Some(&reason.message), now)
    }

    /// The file is not wanted after all (it turned out to be empty, say). The place remembers why.
    pub fn skip_held(
        &self,
        lease: &Lease,
        identity: &SourceIdentity,
        why: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.hold(lease, now)?;
        let item = self.item(lease.item)?;
        self.end(lease.item, "skipped", now)?;
        self.skip_place(item.root, &item.path, identity, why)?;
        self.note(lease.item, "skipped", Some(why), now)
    }

    /// A person wants a blocked item tried again. Returns whether it was blocked.
    pub fn retry(&self, id: ItemId, now: Timestamp) -> Result<bool, StoreError> {
        if self.is_message(id)? {
            return self.retry_message(id, now);
        }
        if self.is_upload(id)? {
            return self.reactivate_upload(id, "blocked", "retried", now);
        }
        self.reactivate(id, "blocked", "retried", now)
    }

    /// A person lets a paused item go on. Returns whether it was paused.
    pub fn resume(&self, id: ItemId, now: Timestamp) -> Result<bool, StoreError> {
        if self.is_message(id)? {
            return self.resume_message(id, now);
        }
        if self.is_upload(id)? {
            return self.reactivate_upload(id, "paused", "resumed", now);
        }
        self.reactivate(id, "paused", "resumed", now)
    }

    fn reactivate(&self, id: ItemId, from: &str, event: &str, now: Timestamp) -> Result<bool, StoreError> {
        let item = self.item(id)?;
        let changed = self
            .connection
            .prepare_cached(
                "UPDATE item SET state = 'active', code = NULL, message = NULL, attempts = 0, updated_at = ?3
                  WHERE id = ?1 AND state = ?2",
            )?
            .execute((id.0, from, now.0))?;
        if changed == 0 {
            return Ok(false);
        }
        if let Some(digest) = &item.digest {
            // While it rested, a twin may have taken over: then this one's objects are not wanted any more.
            let owner = self.content(item.destination, digest)?;
            if owner.is_none_or(|row| row.item != Some(id)) && item.publish != PublishState::Link {
                self.reset_to_prepare(id)?;
            }
        }
        self.note(id, event, None, now)?;
        Ok(true)
    }

    /// A person stops an item for now. Whoever works on it loses its lease. Returns whether it was active.
    pub fn pause(&self, id: ItemId, now: Timestamp) -> Result<bool, StoreError> {
        let changed = self
            .connection
            .prepare_cached(
                "UPDATE item SET state = 'paused', worker = NULL, generation = generation + 1, waits = 'nothing', not_before = NULL,
                        waits_item = NULL, updated_at = ?2
                  WHERE id = ?1 AND state = 'active'
                    AND NOT EXISTS (SELECT 1 FROM message WHERE item = ?1 AND released = 1)",
            )?
            .execute((id.0, now.0))?;
        if changed > 0 {
            self.wake_followers(id)?;
            self.note(id, "paused", None, now)?;
        }
        Ok(changed > 0)
    }

    /// A person takes an item back. Whoever works on it loses its lease, and what it had uploaded is abandoned. Returns
    /// whether there was something to cancel.
    pub fn cancel(&self, id: ItemId, now: Timestamp) -> Result<bool, StoreError> {
        if self.is_message(id)? {
            return Ok(!self.discard(id, now)?.is_empty());
        }
        if self.is_upload(id)? {
            return self.cancel_upload(id, now);
        }
        if self.item(id)?.state.is_final() {
            return Ok(false);
        }
        self.abandon_objects_of(id)?;
        self.drop_content_of(id)?;
        self.end(id, "cancelled", now)?;
        self.note(id, "cancelled", None, now)?;
        Ok(true)
    }

    fn end(&self, id: ItemId, state: &str, now: Timestamp) -> Result<(), StoreError> {
        self.free_place_of(id)?;
        self.connection
            .prepare_cached(
                "UPDATE item SET state = ?2, worker = NULL, generation = generation + 1, waits = 'nothing', not_before = NULL,
                        waits_item = NULL, code = NULL, message = NULL, file_key = NULL, body = NULL,
                        publish = CASE publish WHEN 'frozen' THEN 'link' ELSE publish END,
                        finished_at = ?3, updated_at = ?3
                  WHERE id = ?1",
            )?
            .execute((id.0, state, now.0))?;
        self.wake_followers(id)
    }
}

/// The state of an item out of eight columns that stand one after the other: state, phase, waits, not_before, waits_item,
/// code, message, publish.
pub(crate) fn read_state(row: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<(State, PublishState)> {
    let phase = Phase::parse(&row.get::<_, String>(first + 1)?).unwrap_or(Phase::Prepare);
    let waits = match row.get::<_, String>(first + 2)?.as_str() {
        "until" => Waits::Until(Timestamp(row.get(first + 3)?)),
        "unlock" => Waits::Unlock,
        "token" => Waits::Token,
        "item" => Waits::Item(ItemId(row.get(first + 4)?)),
        "transfer" => Waits::Transfer,
        _ => Waits::Nothing,
    };
    let state = match row.get::<_, String>(first)?.as_str() {
        "staged" => State::Staged,
        "paused" => State::Paused { phase },
        "blocked" => {
            let code = Code::parse(&row.get::<_, String>(first + 5)?).unwrap_or(Code::Refused);
            let message = row.get::<_, Option<String>>(first + 6)?.unwrap_or_default();
            State::Blocked { phase, reason: BlockReason { code, message } }
        }
        "done" => State::Done,
        "skipped" => State::Skipped,
        "cancelled" => State::Cancelled,
        _ => State::Active { phase, waits },
    };
    let publish = match row.get::<_, String>(first + 7)?.as_str() {
        "link" => PublishState::Link,
        "frozen" => PublishState::Frozen,
        "published" => PublishState::Published,
        _ => PublishState::Nothing,
    };
    Ok((state, publish))
}

fn read_item(id: ItemId, row: &rusqlite::Row<'_>) -> rusqlite::Result<Item> {
    let (state, publish) = read_state(row, 2)?;
    let digest: Option<Vec<u8>> = row.get(22)?;
    let identity = match &digest {
        None => None,
        Some(_) => Some(SourceIdentity {
            size: row.get(17)?,
            device: row.get(18)?,
            inode: row.get(19)?,
            modified_ns: row.get(20)?,
            changed_ns: row.get(21)?,
        }),
    };
    let metadata = match (row.get::<_, Option<Vec<u8>>>(24)?, row.get::<_, Option<Vec<u8>>>(25)?) {
        (Some(data), Some(header)) => Some((data, header)),
        _ => None,
    };
    Ok(Item {
        id,
        destination: DestinationId(row.get(0)?),
        class: Class::parse(&row.get::<_, String>(1)?).unwrap_or(Class::Photo),
        state,
        publish,
        attempts: row.get(10)?,
        last_error: row.get(11)?,
        root: RootId(row.get(12)?),
        path: row.get(13)?,
        album: row.get(14)?,
        kind: row.get(15)?,
        revision: row.get(16)?,
        bytes: u64::try_from(row.get::<_, i64>(17)?).unwrap_or(0),
        device: row.get::<_, Option<i64>>(18)?.unwrap_or(0),
        identity,
        digest,
        file_key: row.get(23)?,
        metadata,
        no_thumbnail: row.get(26)?,
        body: row.get(27)?,
        record: row.get(28)?,
        generation: Generation(row.get(29)?),
    })
}
