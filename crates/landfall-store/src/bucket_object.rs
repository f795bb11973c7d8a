//! Objects in buckets and their parts: what will exist there, and the receipts of what does.

use std::collections::BTreeMap;

use landfall_core::{
    BucketObjectView, Checksum, ItemId, ObjectState, PartNumber, PartPlan, PartState, Proof, Timestamp,
};

use crate::{DestinationId, Lease, StoreError, Tx, Upload};

/// A bucket object's number in its journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketObjectId(pub i64);

/// An object to be uploaded to a bucket.
#[derive(Debug, Clone)]
pub struct PlannedBucketObject {
    /// Drawn, 32 characters; kept with the object.
    pub tag: String,
    /// Its cut.
    pub plan: PartPlan,
    /// What vouches for its parts.
    pub proof: Proof,
    /// Of the whole object, if its algorithm has one.
    pub checksum: Option<Vec<u8>>,
    /// It goes there only if nothing is there.
    pub is_guarded: bool,
    /// One entry per part.
    pub parts: Vec<PlannedBucketPart>,
}

/// A part as *prepare* saw it.
#[derive(Debug, Clone)]
pub struct PlannedBucketPart {
    /// As the object's proof says.
    pub checksum: Vec<u8>,
    /// The MACs of the chunks that begin in it, of a sealed object.
    pub macs: Option<Vec<u8>>,
}

/// An object of a bucket as the journal holds it.
#[derive(Debug, Clone)]
pub struct BucketObject {
    /// Its number.
    pub id: BucketObjectId,
    /// Its key.
    pub object_key: String,
    /// Kept with the object.
    pub tag: String,
    /// Its cut.
    pub plan: PartPlan,
    /// What vouches for its parts.
    pub proof: Proof,
    /// Of the whole object, if its algorithm has one.
    pub checksum: Option<Vec<u8>>,
    /// It goes there only if nothing is there.
    pub is_guarded: bool,
    /// The bucket's name for the remote upload.
    pub upload_id: Option<String>,
    /// When it was first to be opened.
    pub opening_at: Option<Timestamp>,
    /// Where it stands.
    pub state: ObjectState,
    /// Its parts, in order.
    pub parts: Vec<BucketPart>,
}

/// A part as the journal holds it.
#[derive(Debug, Clone)]
pub struct BucketPart {
    /// From 1.
    pub number: PartNumber,
    /// As the object's proof says.
    pub checksum: Vec<u8>,
    /// The MACs of the chunks that begin in it, of a sealed object.
    pub macs: Option<Vec<u8>>,
    /// The bucket's receipt.
    pub etag: Option<String>,
    /// Where it stands.
    pub state: PartState,
}

/// A remote upload that nobody wants any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbandonedUpload {
    /// Its object.
    pub object: BucketObjectId,
    /// Its key.
    pub object_key: String,
    /// The bucket's name for it; `None` if it is not known whether it was opened.
    pub upload_id: Option<String>,
    /// When it was first to be opened.
    pub opening_at: Option<Timestamp>,
}

impl BucketObject {
    /// What a decision needs to know of it.
    pub fn view(&self) -> BucketObjectView {
        BucketObjectView {
            state: self.state,
            plan: self.plan,
            parts: self.parts.iter().map(|part| part.state).collect(),
        }
    }

    /// The checksum that goes with a part, if the bucket keeps one.
    pub fn checksum_of(&self, part: &BucketPart) -> Option<Checksum> {
        match self.proof {
            Proof::Checksum(algorithm) => Checksum::new(algorithm, part.checksum.clone()),
            Proof::SignedPayload => None,
        }
    }
}

impl Tx<'_> {
    /// The present object of an upload.
    pub fn bucket_object(&self, upload: &Upload) -> Result<Option<BucketObject>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id, object_key, tag, size, part_size, proof, checksum, is_guarded, upload_id, opening_at, state
               FROM bucket_object
              WHERE item = ?1 AND revision = ?2 AND state NOT IN ('abandoning', 'abandoned')",
        )?;
        let mut rows = statement.query((upload.id.0, upload.revision))?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let (size, part_size) = (row.get::<_, i64>(3)? as u64, row.get::<_, i64>(4)? as u64);
        let plan = PartPlan::from_stored(size, part_size)
            .ok_or_else(|| rusqlite::Error::IntegralValueOutOfRange(4, part_size as i64))?;
        let id = BucketObjectId(row.get(0)?);
        Ok(Some(BucketObject {
            id,
            object_key: row.get(1)?,
            tag: row.get(2)?,
            plan,
            proof: Proof::parse(&row.get::<_, String>(5)?).unwrap_or(Proof::SignedPayload),
            checksum: row.get(6)?,
            is_guarded: row.get(7)?,
            upload_id: row.get(8)?,
            opening_at: row.get::<_, Option<i64>>(9)?.map(Timestamp),
            state: ObjectState::parse(&row.get::<_, String>(10)?).unwrap_or(ObjectState::Opening),
            parts: self.bucket_parts(id)?,
        }))
    }

    fn bucket_parts(&self, object: BucketObjectId) -> Result<Vec<BucketPart>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT number, checksum, macs, etag, state FROM bucket_part WHERE object = ?1 ORDER BY number",
        )?;
        let rows = statement.query_map([object.0], |row| {
            Ok(BucketPart {
                number: PartNumber(row.get(0)?),
                checksum: row.get(1)?,
                macs: row.get(2)?,
                etag: row.get(3)?,
                state: PartState::parse(&row.get::<_, String>(4)?).unwrap_or(PartState::Sent),
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    pub(crate) fn insert_bucket_object(&self, upload: &Upload, object: &PlannedBucketObject) -> Result<(), StoreError> {
        let id: i64 = self
            .connection
            .prepare_cached(
                "INSERT INTO bucket_object (item, destination, revision, object_key, tag, size, part_size, proof, checksum,
                                            is_guarded, state)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 'absent') RETURNING id",
            )?
            .query_row(
                (
                    upload.id.0,
                    upload.destination.0,
                    upload.revision,
                    &upload.object_key,
                    &object.tag,
                    object.plan.size() as i64,
                    object.plan.part_size() as i64,
                    object.proof.as_str(),
                    &object.checksum,
                    object.is_guarded,
                ),
                |row| row.get(0),
            )?;
        let mut insert = self
            .connection
            .prepare_cached("INSERT INTO bucket_part (object, number, checksum, macs) VALUES (?1, ?2, ?3, ?4)")?;
        for (number, part) in (1u32..).zip(&object.parts) {
            insert.execute((id, number, &part.checksum, &part.macs))?;
        }
        Ok(())
    }

    /// Notes that a remote upload is about to be opened, before it is. `at` is the moment by the bucket's clock.
    pub fn bucket_opening(
        &self,
        lease: &Lease,
        object: BucketObjectId,
        at: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.hold(lease, now)?;
        self.connection
            .prepare_cached(
                "UPDATE bucket_object SET state = 'opening', upload_id = NULL, opening_at = ?2 WHERE id = ?1",
            )?
            .execute((object.0, at.0))?;
        Ok(())
    }

    /// Notes the remote upload that was opened.
    pub fn bucket_opened(
        &self,
        lease: &Lease,
        object: BucketObjectId,
        upload_id: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.hold(lease, now)?;
        self.connection
            .prepare_cached("UPDATE bucket_object SET state = 'open', upload_id = ?2 WHERE id = ?1")?
            .execute((object.0, upload_id))?;
        self.note(lease.item, "opened", None, now)
    }

    /// Moves an object on: the intent before an effect, or the fact after it.
    pub fn set_bucket_object(
        &self,
        lease: &Lease,
        object: BucketObjectId,
        state: ObjectState,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.hold(lease, now)?;
        self.connection
            .prepare_cached("UPDATE bucket_object SET state = ?2 WHERE id = ?1")?
            .execute((object.0, state.as_str()))?;
        Ok(())
    }

    /// Notes a part as handed to a carrier, before it is.
    pub fn bucket_part_sent(
        &self,
        lease: &Lease,
        object: BucketObjectId,
        part: PartNumber,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.hold(lease, now)?;
        self.write_bucket_part(object, part, PartState::Sent, None)
    }

    /// Writes a part's receipt.
    pub fn bucket_part_stored(
        &self,
        lease: &Lease,
        object: BucketObjectId,
        part: PartNumber,
        etag: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.hold(lease, now)?;
        self.write_bucket_part(object, part, PartState::Stored, Some(etag))?;
        self.connection.prepare_cached("UPDATE item SET attempts = 0 WHERE id = ?1")?.execute([lease.item.0])?;
        Ok(())
    }

    /// A part was certainly not stored.
    pub fn bucket_part_refused(
        &self,
        lease: &Lease,
        object: BucketObjectId,
        part: PartNumber,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.hold(lease, now)?;
        self.write_bucket_part(object, part, PartState::Planned, None)
    }

    /// Writes what the bucket answered when it was asked for the parts of an open upload: those it holds as they were
    /// planned, with their receipts. All others are to be sent again.
    pub fn bucket_parts_held(
        &self,
        lease: &Lease,
        object: BucketObjectId,
        held: &BTreeMap<u32, String>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.set_bucket_object(lease, object, ObjectState::Open, now)?;
        for part in self.bucket_parts(object)? {
            let etag = held.get(&part.number.0).map(String::as_str);
            let state = if etag.is_some() { PartState::Stored } else { PartState::Planned };
            if part.state != state || part.etag.as_deref() != etag {
                self.write_bucket_part(object, part.number, state, etag)?;
            }
        }
        Ok(())
    }

    /// The bucket has neither the object nor an open upload for it: it is to be sent from the beginning.
    pub fn bucket_object_gone(&self, lease: &Lease, object: BucketObjectId, now: Timestamp) -> Result<(), StoreError> {
        self.hold(lease, now)?;
        self.connection
            .prepare_cached("UPDATE bucket_object SET state = 'absent', upload_id = NULL WHERE id = ?1")?
            .execute([object.0])?;
        self.connection
            .prepare_cached("UPDATE bucket_part SET state = 'planned', etag = NULL WHERE object = ?1")?
            .execute([object.0])?;
        self.note(lease.item, "reopened", None, now)
    }

    /// Nobody heard what became of an open, and the bucket has nothing of it yet: the object is to be opened again, and what
    /// may still come of the first is to be looked for.
    pub fn bucket_open_lost(&self, lease: &Lease, object: BucketObjectId, now: Timestamp) -> Result<(), StoreError> {
        self.hold(lease, now)?;
        self.connection
            .prepare_cached(
                "INSERT INTO bucket_object (item, destination, revision, object_key, size, part_size, proof, is_guarded, opening_at, state)
                 SELECT item, destination, revision, object_key, 0, 1, 'signed-payload', 0, opening_at, 'abandoning'
                   FROM bucket_object WHERE id = ?1",
            )?
            .execute([object.0])?;
        self.bucket_object_gone(lease, object, now)
    }

    /// A remote upload to an item's key that is of no use: it is abandoned. Needs no lease, since whoever opened it may
    /// have lost theirs meanwhile. Changes nothing if it is known.
    pub fn abandon_upload_id(&self, item: ItemId, object_key: &str, upload_id: &str) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "INSERT INTO bucket_object (item, destination, revision, object_key, size, part_size, proof, is_guarded, upload_id, state)
                 SELECT id, destination, revision, ?2, 0, 1, 'signed-payload', 0, ?3, 'abandoning' FROM item
                  WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM bucket_object AS known
                                                 WHERE known.destination = item.destination AND known.upload_id = ?3
                                                   AND known.state IN ('open', 'completing', 'abandoning'))",
            )?
            .execute((item.0, object_key, upload_id))?;
        Ok(())
    }

    /// A remote upload to a key is about to be opened that nobody will want: what may come of it is to be looked for. `at` is
    /// the moment by the bucket's clock.
    pub fn abandon_unopened(
        &self,
        item: ItemId,
        object_key: &str,
        at: Timestamp,
    ) -> Result<BucketObjectId, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "INSERT INTO bucket_object (item, destination, revision, object_key, size, part_size, proof, is_guarded, opening_at, state)
             SELECT id, destination, revision, ?2, 0, 1, 'signed-payload', 0, ?3, 'abandoning' FROM item WHERE id = ?1
             RETURNING id",
        )?;
        Ok(BucketObjectId(statement.query_row((item.0, object_key, at.0), |row| row.get(0))?))
    }

    /// Whether an upload to this key is being opened: what is found there may be that one.
    pub fn is_opening(&self, destination: DestinationId, object_key: &str) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM bucket_object WHERE destination = ?1 AND object_key = ?2 AND state = 'opening')";
        Ok(self.connection.prepare_cached(sql)?.query_row((destination.0, object_key), |row| row.get(0))?)
    }

    fn write_bucket_part(
        &self,
        object: BucketObjectId,
        part: PartNumber,
        state: PartState,
        etag: Option<&str>,
    ) -> Result<(), StoreError> {
        self.connection
            .prepare_cached("UPDATE bucket_part SET state = ?3, etag = ?4 WHERE object = ?1 AND number = ?2")?
            .execute((object.0, part.0, state.as_str(), etag))?;
        Ok(())
    }

    /// Nobody wants the item's objects any more. Those of which the bucket never heard are gone at once; the others wait
    /// until it was told.
    pub(crate) fn abandon_bucket_objects_of(&self, item: ItemId) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "UPDATE bucket_object SET state = CASE WHEN upload_id IS NULL AND state <> 'opening' THEN 'abandoned' ELSE 'abandoning' END
                  WHERE item = ?1 AND state NOT IN ('abandoning', 'abandoned')",
            )?
            .execute([item.0])?;
        self.connection
            .prepare_cached("DELETE FROM bucket_part WHERE object IN (SELECT id FROM bucket_object WHERE item = ?1)")?
            .execute([item.0])?;
        Ok(())
    }

    /// Remote uploads that are to be aborted.
    pub fn abandoned_uploads(
        &self,
        destination: DestinationId,
        limit: usize,
    ) -> Result<Vec<AbandonedUpload>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id, object_key, upload_id, opening_at FROM bucket_object
              WHERE destination = ?1 AND state = 'abandoning' ORDER BY id LIMIT ?2",
        )?;
        let rows = statement.query_map((destination.0, limit), |row| {
            Ok(AbandonedUpload {
                object: BucketObjectId(row.get(0)?),
                object_key: row.get(1)?,
                upload_id: row.get(2)?,
                opening_at: row.get::<_, Option<i64>>(3)?.map(Timestamp),
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The bucket holds nothing of the remote upload any more.
    pub fn bucket_object_abandoned(&self, object: BucketObjectId) -> Result<(), StoreError> {
        self.connection
            .prepare_cached("UPDATE bucket_object SET state = 'abandoned' WHERE id = ?1 AND state = 'abandoning'")?
            .execute([object.0])?;
        Ok(())
    }

    /// Nobody will tell this destination any more what to abort. Returns how much that was.
    pub fn forget_abandoned_uploads(&self, destination: DestinationId) -> Result<usize, StoreError> {
        let sql = "UPDATE bucket_object SET state = 'abandoned' WHERE destination = ?1 AND state = 'abandoning'";
        Ok(self.connection.prepare_cached(sql)?.execute([destination.0])?)
    }

    /// The remote uploads that the journal knows and that may still be there, wherever they go: two destinations may lead to
    /// one bucket.
    pub fn known_upload_ids(&self) -> Result<Vec<String>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT upload_id FROM bucket_object
              WHERE upload_id IS NOT NULL AND state IN ('open', 'completing', 'abandoning')",
        )?;
        let rows = statement.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Whether an object that is found under the key of `object` has what that is to bring: this home put it there and
    /// called it done, and it was made of the same bytes, or of a source that has not changed since. Told by its tag; and
    /// it must still be as long as it was.
    pub fn is_own_content(&self, object: BucketObjectId, tag: &str, size: u64) -> Result<bool, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT EXISTS (
                SELECT 1 FROM bucket_object AS new
                  JOIN item AS new_item ON new_item.id = new.item JOIN upload AS new_upload ON new_upload.item = new.item
                  JOIN bucket_object AS old ON old.object_key = new.object_key
                  JOIN item AS old_item ON old_item.id = old.item JOIN upload AS old_upload ON old_upload.item = old.item
                 WHERE new.id = ?1 AND old.tag = ?2 AND old.size = ?3 AND old_item.state = 'done'
                   AND old_upload.is_sealed = new_upload.is_sealed
                   AND (old.size = new.size AND old.proof = new.proof AND old.proof <> 'crc32c' AND old.checksum = new.checksum
                        OR old_upload.source = new_upload.source AND old_upload.kind = 'file'
                       AND old_item.size = new_item.size AND old_item.device = new_item.device
                       AND old_item.inode = new_item.inode AND old_item.modified_ns = new_item.modified_ns
                       AND old_item.changed_ns = new_item.changed_ns))",
        )?;
        Ok(statement.query_row((object.0, tag, size as i64), |row| row.get(0))?)
    }

    /// Whether an object that is found at a key was left there by this home without ever being called done, by this item
    /// or by one that was given up: by its tag.
    pub fn is_own_leftover(&self, item: ItemId, object_key: &str, tag: &str) -> Result<bool, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM bucket_object JOIN item ON item.id = bucket_object.item
                             WHERE tag = ?3 AND object_key = ?2 AND item.state <> 'done'
                               AND (item.finished_at IS NOT NULL OR item.id = ?1))",
        )?;
        Ok(statement.query_row((item.0, object_key, tag), |row| row.get(0))?)
    }

    /// Notes that the bucket took the item's object and then showed something else. Returns how often it has, since a person
    /// looked at it last.
    pub fn bucket_object_refuted(&self, lease: &Lease, why: &str, now: Timestamp) -> Result<usize, StoreError> {
        self.note_accident(lease, "refuted", Some(why), now)
    }

    /// Notes that the bucket took parts of the item's object and lost them. Returns how often it has, since a person looked
    /// at it last.
    pub fn bucket_parts_lost(&self, lease: &Lease, now: Timestamp) -> Result<usize, StoreError> {
        self.note_accident(lease, "lost", None, now)
    }

    fn note_accident(&self, lease: &Lease, kind: &str, why: Option<&str>, now: Timestamp) -> Result<usize, StoreError> {
        self.hold(lease, now)?;
        self.note(lease.item, kind, why, now)?;
        let mut statement = self.connection.prepare_cached(
            "SELECT count(*) FROM event
              WHERE item = ?1 AND kind = ?2
                AND number > (SELECT coalesce(max(number), 0) FROM event WHERE item = ?1 AND kind = 'retried')",
        )?;
        Ok(statement.query_row((lease.item.0, kind), |row| row.get(0))?)
    }
}
