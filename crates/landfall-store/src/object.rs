//! Objects and their parts: what will exist remotely, and the proofs of what does.

use std::collections::BTreeMap;

use landfall_core::{ObjectState, ObjectView, PartNumber, PartPlan, PartState, Role, Timestamp};

use crate::{DestinationId, Item, Lease, StoreError, Tx};

/// An object's number in its journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(pub i64);

/// An object to be uploaded.
#[derive(Debug, Clone)]
pub struct PlannedObject {
    /// What it is for.
    pub role: Role,
    /// Its name in the vault, fresh.
    pub object_key: String,
    /// Its stream's header, fresh, 24 bytes.
    pub header: Vec<u8>,
    /// Length of the plaintext.
    pub plain_size: u64,
    /// Its cut.
    pub plan: PartPlan,
    /// The ciphertext itself, for a thumbnail.
    pub sealed: Option<Vec<u8>>,
    /// One entry per part.
    pub parts: Vec<PlannedPart>,
}

/// A part as *prepare* saw it.
#[derive(Debug, Clone)]
pub struct PlannedPart {
    /// CRC32C of its ciphertext.
    pub crc32c: u32,
    /// MACs of its chunks, 16 bytes each.
    pub macs: Vec<u8>,
}

/// An object as the journal holds it.
#[derive(Debug, Clone)]
pub struct Object {
    /// Its number.
    pub id: ObjectId,
    /// What it is for.
    pub role: Role,
    /// Its name in the vault.
    pub object_key: String,
    /// Its stream's header.
    pub header: Vec<u8>,
    /// Length of the plaintext.
    pub plain_size: u64,
    /// Its cut.
    pub plan: PartPlan,
    /// The ciphertext, for a thumbnail that is not stored yet.
    pub sealed: Option<Vec<u8>>,
    /// Where it stands.
    pub state: ObjectState,
    /// Its parts, in order.
    pub parts: Vec<Part>,
}

/// A part as the journal holds it.
#[derive(Debug, Clone)]
pub struct Part {
    /// From 1.
    pub number: PartNumber,
    /// CRC32C of its ciphertext.
    pub crc32c: u32,
    /// MACs of its chunks, 16 bytes each.
    pub macs: Vec<u8>,
    /// Where it stands.
    pub state: PartState,
}

impl Object {
    /// What a decision needs to know of it.
    pub fn view(&self) -> ObjectView {
        ObjectView {
            role: self.role,
            state: self.state,
            plan: self.plan,
            parts: self.parts.iter().map(|part| part.state).collect(),
        }
    }
}

impl Tx<'_> {
    /// The present objects of an item, thumbnail first.
    pub fn objects(&self, item: &Item) -> Result<Vec<Object>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id, role, object_key, header, plain_size, size, part_size, sealed, state FROM object
              WHERE item = ?1 AND revision = ?2 AND state NOT IN ('abandoning', 'abandoned')
              ORDER BY role = 'file', id",
        )?;
        let rows = statement.query_map((item.id.0, item.revision), |row| {
            let (size, part_size) = (row.get::<_, i64>(5)? as u64, row.get::<_, i64>(6)? as u64);
            let plan = PartPlan::from_stored(size, part_size)
                .ok_or_else(|| rusqlite::Error::IntegralValueOutOfRange(6, part_size as i64))?;
            Ok(Object {
                id: ObjectId(row.get(0)?),
                role: Role::parse(&row.get::<_, String>(1)?).unwrap_or(Role::File),
                object_key: row.get(2)?,
                header: row.get(3)?,
                plain_size: row.get::<_, i64>(4)? as u64,
                plan,
                sealed: row.get(7)?,
                state: ObjectState::parse(&row.get::<_, String>(8)?).unwrap_or(ObjectState::Opening),
                parts: Vec::new(),
            })
        })?;
        let mut objects = rows.collect::<Result<Vec<_>, _>>()?;
        for object in &mut objects {
            object.parts = self.parts(object.id)?;
        }
        Ok(objects)
    }

    fn parts(&self, object: ObjectId) -> Result<Vec<Part>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT number, crc32c, macs, state FROM part WHERE object = ?1 ORDER BY number")?;
        let rows = statement.query_map([object.0], |row| {
            Ok(Part {
                number: PartNumber(row.get(0)?),
                crc32c: row.get(1)?,
                macs: row.get(2)?,
                state: PartState::parse(&row.get::<_, String>(3)?).unwrap_or(PartState::Sent),
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    pub(crate) fn insert_object(&self, item: &Item, object: &PlannedObject) -> Result<(), StoreError> {
        // The plan is the intent to open as well: one durable commit for both.
        let no_intent = self.steps.sabotaged(landfall_env::Sabotage::NoIntentRow);
        let intent = if no_intent { ObjectState::Absent } else { ObjectState::Opening };
        let id: i64 = self
            .connection
            .prepare_cached(
                "INSERT INTO object (item, destination, role, revision, object_key, header, plain_size, size, part_size, sealed, state)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) RETURNING id",
            )?
            .query_row(
                (
                    item.id.0,
                    item.destination.0,
                    object.role.as_str(),
                    item.revision,
                    &object.object_key,
                    &object.header,
                    object.plain_size as i64,
                    object.plan.size() as i64,
                    object.plan.part_size() as i64,
                    &object.sealed,
                    intent.as_str(),
                ),
                |row| row.get(0),
            )?;
        let mut insert = self
            .connection
            .prepare_cached("INSERT INTO part (object, number, crc32c, macs) VALUES (?1, ?2, ?3, ?4)")?;
        for (number, part) in (1u32..).zip(&object.parts) {
            insert.execute((id, number, part.crc32c, &part.macs))?;
        }
        Ok(())
    }

    /// Moves an object on: the intent before an effect, or the fact after it.
    pub fn set_object(
        &self,
        lease: &Lease,
        object: ObjectId,
        state: ObjectState,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.hold(lease, now)?;
        self.write_object_state(object, state)
    }

    fn write_object_state(&self, object: ObjectId, state: ObjectState) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "UPDATE object SET state = ?2, sealed = CASE ?2 WHEN 'stored' THEN NULL ELSE sealed END WHERE id = ?1",
            )?
            .execute((object.0, state.as_str()))?;
        Ok(())
    }

    /// Notes parts as handed to a carrier, before they are.
    pub fn parts_sent(
        &self,
        lease: &Lease,
        object: ObjectId,
        parts: &[PartNumber],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.hold(lease, now)?;
        for part in parts {
            self.write_part(object, *part, PartState::Sent)?;
        }
        Ok(())
    }

    /// Writes a part's receipt. An object of one part is stored with it.
    pub fn part_stored(
        &self,
        lease: &Lease,
        object: ObjectId,
        part: PartNumber,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.hold(lease, now)?;
        self.write_part(object, part, PartState::Stored)?;
        self.connection.prepare_cached("UPDATE item SET attempts = 0 WHERE id = ?1")?.execute([lease.item.0])?;
        let parts: u32 = self
            .connection
            .prepare_cached("SELECT count(*) FROM part WHERE object = ?1")?
            .query_row([object.0], |row| row.get(0))?;
        if parts == 1 {
            self.write_object_state(object, ObjectState::Stored)?;
        }
        Ok(())
    }

    /// A part was certainly not stored: the destination refused it.
    pub fn part_refused(
        &self,
        lease: &Lease,
        object: ObjectId,
        part: PartNumber,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.hold(lease, now)?;
        self.write_part(object, part, PartState::Planned)
    }

    /// Writes what the remote answered when it was asked: the parts it holds, by number and checksum. Parts it does not
    /// hold, or holds differently, are to be sent again.
    pub fn asked(
        &self,
        lease: &Lease,
        object: ObjectId,
        state: ObjectState,
        held: &BTreeMap<u32, u32>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.hold(lease, now)?;
        self.write_object_state(object, state)?;
        for part in self.parts(object)? {
            let held = state == ObjectState::Stored || held.get(&part.number.0) == Some(&part.crc32c);
            let now_state = if held { PartState::Stored } else { PartState::Planned };
            if part.state != now_state {
                self.write_part(object, part.number, now_state)?;
            }
        }
        Ok(())
    }

    fn write_part(&self, object: ObjectId, part: PartNumber, state: PartState) -> Result<(), StoreError> {
        self.connection.prepare_cached("UPDATE part SET state = ?3 WHERE object = ?1 AND number = ?2")?.execute((
            object.0,
            part.0,
            state.as_str(),
        ))?;
        Ok(())
    }

    /// Nobody wants the item's objects any more. Those the remote never heard of are gone at once; the others wait for
    /// the remote to be told.
    pub(crate) fn abandon_objects_of(&self, item: landfall_core::ItemId) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "UPDATE object SET sealed = NULL, state = CASE state WHEN 'absent' THEN 'abandoned' ELSE 'abandoning' END
                  WHERE item = ?1 AND state NOT IN ('abandoning', 'abandoned')",
            )?
            .execute([item.0])?;
        self.forget_parts_of(item)
    }

    pub(crate) fn forget_parts_of(&self, item: landfall_core::ItemId) -> Result<(), StoreError> {
        self.connection
            .prepare_cached("DELETE FROM part WHERE object IN (SELECT id FROM object WHERE item = ?1)")?
            .execute([item.0])?;
        Ok(())
    }

    /// Objects whose remote uploads are to be deleted: number and key.
    pub fn abandoning(&self, destination: DestinationId, limit: usize) -> Result<Vec<(ObjectId, String)>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id, object_key FROM object WHERE destination = ?1 AND state = 'abandoning' ORDER BY id LIMIT ?2",
        )?;
        let rows = statement.query_map((destination.0, limit), |row| Ok((ObjectId(row.get(0)?), row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The remote holds nothing of the object any more, or keeps it for a record.
    pub fn abandoned(&self, object: ObjectId) -> Result<(), StoreError> {
        self.connection
            .prepare_cached("UPDATE object SET state = 'abandoned' WHERE id = ?1 AND state = 'abandoning'")?
            .execute([object.0])?;
        Ok(())
    }
}
