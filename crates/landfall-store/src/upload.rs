//! Uploads: items that go to a bucket, and every transition of one.

use landfall_core::{Generation, ItemId, PublishState, State, Timestamp, UploadKind};
use rusqlite::{OptionalExtension as _, Row};

use crate::{
    BucketObjectId, DestinationId, Lease, PlannedBucketObject, SourceIdentity, StoreError, Tx, item::read_state,
};

/// Something to be uploaded.
#[derive(Debug, Clone)]
pub struct NewUpload {
    /// A file, or a folder that is packed.
    pub kind: UploadKind,
    /// Where it is: the bytes of an absolute path.
    pub source: Vec<u8>,
    /// Its length now, in bytes; of a folder what is in it, for people.
    pub size: u64,
    /// Where it goes: the whole key.
    pub object_key: String,
    /// Media type.
    pub content_type: Option<String>,
    /// What is there may be replaced.
    pub overwrites: bool,
    /// It is sealed on its way.
    pub is_sealed: bool,
    /// Recipe that it belongs to.
    pub recipe: &'static str,
}

/// What became of something that was to be uploaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enqueued {
    /// It was taken in charge.
    New(ItemId),
    /// The same was taken in charge before, and is not finished.
    Same(ItemId),
    /// Something else is on its way to that key; or the same in another way, sealed or under another type.
    Taken(ItemId),
}

impl Enqueued {
    /// The item that is on its way to the key.
    pub fn item(&self) -> ItemId {
        match self {
            Self::New(item) | Self::Same(item) | Self::Taken(item) => *item,
        }
    }
}

/// An upload as the journal holds it, without its objects.
#[derive(Debug, Clone)]
pub struct Upload {
    /// Its number.
    pub id: ItemId,
    /// Where it goes.
    pub destination: DestinationId,
    /// Where it stands.
    pub state: State,
    /// Charged attempts since the last progress.
    pub attempts: u32,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// Which bytes.
    pub revision: i64,
    /// Bytes of its source, as last seen.
    pub size: u64,
    /// The source as it was when it was prepared; of a bundle it says nothing.
    pub identity: Option<SourceIdentity>,
    /// A file, or a folder that is packed.
    pub kind: UploadKind,
    /// Where it is.
    pub source: Vec<u8>,
    /// Where it goes: the whole key.
    pub object_key: String,
    /// Media type.
    pub content_type: Option<String>,
    /// What is there may be replaced.
    pub overwrites: bool,
    /// It is sealed on its way.
    pub is_sealed: bool,
    /// The head of the sealed file, once it is prepared.
    pub seal_head: Option<Vec<u8>>,
    /// Present generation of its lease.
    pub generation: Generation,
}

/// A file of a bundle as it was when the bundle was prepared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleEntry {
    /// Its name in the archive.
    pub name: String,
    /// The bytes that are sent: the path of a file.
    pub path: Vec<u8>,
    /// These are our deflated copy.
    pub is_deflated: bool,
    /// Length of the file, in bytes.
    pub size: u64,
    /// Length of what is sent of it, in bytes.
    pub stored: u64,
    /// CRC-32 of the file.
    pub crc32: u32,
    /// What tells the bytes that are sent from others.
    pub identity: SourceIdentity,
}

/// What *prepare* found out about an upload.
#[derive(Debug, Clone)]
pub struct PreparedUpload {
    /// The source, the same before and after it was read.
    pub identity: SourceIdentity,
    /// The head of the sealed file, if it is sealed.
    pub seal_head: Option<Vec<u8>>,
    /// The files of a bundle, in their order.
    pub entries: Vec<BundleEntry>,
    /// What will exist in the bucket.
    pub object: PlannedBucketObject,
}

impl Tx<'_> {
    /// Takes something in charge that is to be uploaded, unless something is on its way to the same key.
    pub fn enqueue_upload(
        &self,
        destination: DestinationId,
        new: &NewUpload,
        now: Timestamp,
    ) -> Result<Enqueued, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT item.id, source = ?3 AND is_sealed = ?4 AND content_type IS ?5 FROM upload JOIN item ON item.id = upload.item
              WHERE object_key = ?2 AND destination = ?1 AND finished_at IS NULL",
        )?;
        let present: Option<(i64, bool)> = statement
            .query_row((destination.0, &new.object_key, &new.source, new.is_sealed, &new.content_type), |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        match present {
            Some((id, true)) => {
                self.want_again(ItemId(id), new.overwrites, now)?;
                return Ok(Enqueued::Same(ItemId(id)));
            }
            Some((id, false)) => return Ok(Enqueued::Taken(ItemId(id))),
            None => {}
        }
        let id = self
            .connection
            .prepare_cached(
                "INSERT INTO item (recipe, recipe_version, destination, class, priority, state, phase, kind, size, created_at, updated_at)
                 VALUES (?1, 1, ?2, 'upload', 0, 'active', 'prepare', ?3, ?4, ?5, ?5) RETURNING id",
            )?
            .query_row((new.recipe, destination.0, new.kind.as_str(), new.size as i64, now.0), |row| {
                row.get(0).map(ItemId)
            })?;
        self.connection
            .prepare_cached(
                "INSERT INTO upload (item, kind, source, object_key, content_type, overwrites, is_sealed)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute((
                id.0,
                new.kind.as_str(),
                &new.source,
                &new.object_key,
                &new.content_type,
                new.overwrites,
                new.is_sealed,
            ))?;
        self.note(id, "taken", None, now)?;
        Ok(Enqueued::New(id))
    }

    /// Somebody asks again for what is not finished: as it is wanted now, and at once if it was blocked.
    fn want_again(&self, id: ItemId, overwrites: bool, now: Timestamp) -> Result<(), StoreError> {
        if overwrites {
            self.connection.prepare_cached("UPDATE upload SET overwrites = 1 WHERE item = ?1")?.execute([id.0])?;
            self.connection
                .prepare_cached(
                    "UPDATE bucket_object SET is_guarded = 0 WHERE item = ?1 AND state NOT IN ('abandoning', 'abandoned')",
                )?
                .execute([id.0])?;
        }
        self.reactivate_upload(id, "blocked", "retried", now).map(drop)
    }

    /// Whether an item is an upload to a bucket.
    pub fn is_upload(&self, id: ItemId) -> Result<bool, StoreError> {
        let mut statement = self.connection.prepare_cached("SELECT EXISTS (SELECT 1 FROM upload WHERE item = ?1)")?;
        Ok(statement.query_row([id.0], |row| row.get(0))?)
    }

    /// An upload.
    pub fn upload(&self, id: ItemId) -> Result<Upload, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT state, phase, waits, not_before, waits_item, code, item.message, publish, destination, attempts, last_error,
                    revision, size, device, inode, modified_ns, changed_ns, generation,
                    upload.kind, source, object_key, content_type, overwrites, is_sealed, seal_head
               FROM item JOIN upload ON upload.item = item.id WHERE item.id = ?1",
        )?;
        statement.query_row([id.0], |row| read_upload(id, row)).optional()?.ok_or(StoreError::NoSuchItem(id))
    }

    /// The files of a bundle, in their order.
    pub fn bundle_entries(&self, id: ItemId) -> Result<Vec<BundleEntry>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT name, path, is_deflated, size, stored, crc32, device, inode, modified_ns, changed_ns
               FROM bundle_entry WHERE item = ?1 ORDER BY number",
        )?;
        let rows = statement.query_map([id.0], |row| {
            let stored: i64 = row.get(4)?;
            Ok(BundleEntry {
                name: row.get(0)?,
                path: row.get(1)?,
                is_deflated: row.get(2)?,
                size: row.get::<_, i64>(3)? as u64,
                stored: stored as u64,
                crc32: row.get(5)?,
                identity: SourceIdentity {
                    size: stored,
                    device: row.get(6)?,
                    inode: row.get(7)?,
                    modified_ns: row.get(8)?,
                    changed_ns: row.get(9)?,
                },
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Whether a deflated copy is part of a bundle, or is just being made under this lease.
    pub fn needs_bundle_file(&self, path: &[u8], item: i64, generation: i64) -> Result<bool, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM bundle_entry WHERE item = ?2 AND path = ?1)
                 OR EXISTS (SELECT 1 FROM item WHERE id = ?2 AND generation = ?3 AND worker IS NOT NULL)",
        )?;
        Ok(statement.query_row((path, item, generation), |row| row.get(0))?)
    }

    /// Writes what *prepare* found: from here on exactly these bytes are sent.
    pub fn upload_prepared(&self, lease: &Lease, prepared: &PreparedUpload, now: Timestamp) -> Result<(), StoreError> {
        self.hold(lease, now)?;
        let identity = &prepared.identity;
        self.connection
            .prepare_cached(
                "UPDATE item SET phase = 'upload', attempts = 0, size = ?2, device = ?3, inode = ?4, modified_ns = ?5, changed_ns = ?6
                  WHERE id = ?1",
            )?
            .execute((
                lease.item.0,
                identity.size,
                identity.device,
                identity.inode,
                identity.modified_ns,
                identity.changed_ns,
            ))?;
        self.connection
            .prepare_cached("UPDATE upload SET seal_head = ?2 WHERE item = ?1")?
            .execute((lease.item.0, &prepared.seal_head))?;
        self.forget_entries(lease.item)?;
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO bundle_entry (item, number, name, path, is_deflated, size, stored, crc32, device, inode, modified_ns, changed_ns)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        )?;
        for (number, entry) in (0i64..).zip(&prepared.entries) {
            insert.execute((
                lease.item.0,
                number,
                &entry.name,
                &entry.path,
                entry.is_deflated,
                entry.size as i64,
                entry.stored as i64,
                entry.crc32,
                entry.identity.device,
                entry.identity.inode,
                entry.identity.modified_ns,
                entry.identity.changed_ns,
            ))?;
        }
        let upload = self.upload(lease.item)?;
        self.insert_bucket_object(&upload, &prepared.object)?;
        self.note(lease.item, "prepared", None, now)
    }

    /// The source is not what was prepared: what was opened for its bytes is abandoned, and it is prepared again.
    pub fn new_upload_revision(&self, lease: &Lease, why: &str, now: Timestamp) -> Result<(), StoreError> {
        self.hold(lease, now)?;
        self.abandon_bucket_objects_of(lease.item)?;
        self.forget_entries(lease.item)?;
        self.connection
            .prepare_cached("UPDATE upload SET seal_head = NULL WHERE item = ?1")?
            .execute([lease.item.0])?;
        self.connection
            .prepare_cached("UPDATE item SET phase = 'prepare', revision = revision + 1 WHERE id = ?1")?
            .execute([lease.item.0])?;
        self.note(lease.item, "source-changed", Some(why), now)
    }

    /// Done: the bucket holds the object, and its length and checksum were compared.
    pub fn finish_upload(&self, lease: &Lease, object: BucketObjectId, now: Timestamp) -> Result<(), StoreError> {
        self.hold(lease, now)?;
        self.end_upload(lease.item, "done", now)?;
        self.connection.prepare_cached("DELETE FROM bucket_part WHERE object = ?1")?.execute([object.0])?;
        self.note(lease.item, "done", None, now)
    }

    /// Whether something that is sealed is on its way to a destination: it needs the keys.
    pub fn has_sealed_uploads(&self, destination: DestinationId) -> Result<bool, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM item JOIN upload ON upload.item = item.id
                             WHERE destination = ?1 AND finished_at IS NULL AND state = 'active' AND is_sealed = 1)",
        )?;
        Ok(statement.query_row([destination.0], |row| row.get(0))?)
    }

    /// A person takes an upload back. Whoever works on it loses its lease; what it has opened is abandoned.
    pub(crate) fn cancel_upload(&self, id: ItemId, now: Timestamp) -> Result<bool, StoreError> {
        if self.upload(id)?.state.is_final() {
            return Ok(false);
        }
        self.abandon_bucket_objects_of(id)?;
        self.end_upload(id, "cancelled", now)?;
        self.note(id, "cancelled", None, now)?;
        Ok(true)
    }

    pub(crate) fn reactivate_upload(
        &self,
        id: ItemId,
        from: &str,
        event: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let changed = self
            .connection
            .prepare_cached(
                "UPDATE item SET state = 'active', code = NULL, message = NULL, attempts = 0, updated_at = ?3
                  WHERE id = ?1 AND state = ?2",
            )?
            .execute((id.0, from, now.0))?;
        if changed > 0 {
            self.note(id, event, None, now)?;
        }
        Ok(changed > 0)
    }

    fn end_upload(&self, id: ItemId, state: &str, now: Timestamp) -> Result<(), StoreError> {
        self.forget_entries(id)?;
        self.connection.prepare_cached("UPDATE upload SET seal_head = NULL WHERE item = ?1")?.execute([id.0])?;
        self.connection
            .prepare_cached(
                "UPDATE item SET state = ?2, worker = NULL, generation = generation + 1, waits = 'nothing', not_before = NULL,
                        waits_item = NULL, code = NULL, message = NULL,
                        last_error = CASE ?2 WHEN 'done' THEN NULL ELSE last_error END, finished_at = ?3, updated_at = ?3
                  WHERE id = ?1",
            )?
            .execute((id.0, state, now.0))?;
        Ok(())
    }

    fn forget_entries(&self, id: ItemId) -> Result<(), StoreError> {
        self.connection.prepare_cached("DELETE FROM bundle_entry WHERE item = ?1")?.execute([id.0])?;
        Ok(())
    }
}

fn read_upload(id: ItemId, row: &Row<'_>) -> rusqlite::Result<Upload> {
    let (state, _): (State, PublishState) = read_state(row, 0)?;
    let size: i64 = row.get(12)?;
    let identity = match row.get::<_, Option<i64>>(14)? {
        None => None,
        Some(inode) => Some(SourceIdentity {
            size,
            device: row.get(13)?,
            inode,
            modified_ns: row.get(15)?,
            changed_ns: row.get(16)?,
        }),
    };
    Ok(Upload {
        id,
        destination: DestinationId(row.get(8)?),
        state,
        attempts: row.get(9)?,
        last_error: row.get(10)?,
        revision: row.get(11)?,
        size: u64::try_from(size).unwrap_or(0),
        identity,
        generation: Generation(row.get(17)?),
        kind: UploadKind::parse(&row.get::<_, String>(18)?).unwrap_or(UploadKind::File),
        source: row.get(19)?,
        object_key: row.get(20)?,
        content_type: row.get(21)?,
        overwrites: row.get(22)?,
        is_sealed: row.get(23)?,
        seal_head: row.get(24)?,
    })
}
