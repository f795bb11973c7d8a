//! Where items go, and what is known of that place.

use rusqlite::OptionalExtension as _;

use crate::{StoreError, Tx};

/// A destination's number in its journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DestinationId(pub i64);

/// A destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// Its number.
    pub id: DestinationId,
    /// `default`, `dir:<path>` or `url:<origin>`.
    pub location: String,
    /// The vault's own name, once known.
    pub vault: Option<String>,
    /// Everything the vault said up to here is in the journal.
    pub cursor: i64,
    /// Key that seals secrets at rest, wrapped by the master key: 24-byte nonce, 48 bytes.
    pub journal_key: Option<Vec<u8>>,
    /// The account's key attributes as the vault gave them, every key in them wrapped.
    pub attributes: Option<Vec<u8>>,
    /// An account's token, sealed under the journal key.
    pub token: Option<Vec<u8>>,
}

/// A collection as the vault keeps it, its key still wrapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCollection {
    /// The vault's number.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Collection key wrapped by the master key, 48 bytes.
    pub encrypted_key: Vec<u8>,
    /// Its nonce, 24 bytes.
    pub nonce: Vec<u8>,
}

impl Tx<'_> {
    /// The destination at a location, created if it is new.
    pub fn destination_at(&self, location: &str) -> Result<Destination, StoreError> {
        if let Some(known) = self.find_destination(location)? {
            return Ok(known);
        }
        self.connection.prepare_cached("INSERT INTO destination (location) VALUES (?1)")?.execute([location])?;
        Ok(self.find_destination(location)?.expect("it was inserted by the statement before"))
    }

    /// The destination at a location, if there is one.
    pub fn find_destination(&self, location: &str) -> Result<Option<Destination>, StoreError> {
        // There are few, and one statement for all of this is prepared once.
        Ok(self.destinations()?.into_iter().find(|one| one.location == location))
    }

    /// The destination of that number.
    pub fn destination(&self, id: DestinationId) -> Result<Destination, StoreError> {
        let found = self.destinations()?.into_iter().find(|one| one.id == id);
        found.ok_or_else(|| rusqlite::Error::QueryReturnedNoRows.into())
    }

    /// All destinations.
    pub fn destinations(&self) -> Result<Vec<Destination>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id, location, vault, cursor, journal_key, attributes, token FROM destination ORDER BY id",
        )?;
        let rows = statement.query_map([], read)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Up to where the journal knows what the vault said.
    pub fn cursor(&self, id: DestinationId) -> Result<i64, StoreError> {
        let mut statement = self.connection.prepare_cached("SELECT cursor FROM destination WHERE id = ?1")?;
        Ok(statement.query_row([id.0], |row| row.get(0))?)
    }

    /// Notes which vault this is. `false` if another one was noted before: the folder was exchanged.
    pub fn note_vault(&self, id: DestinationId, vault: &str) -> Result<bool, StoreError> {
        let changed = self
            .connection
            .prepare_cached("UPDATE destination SET vault = ?2 WHERE id = ?1 AND (vault IS NULL OR vault = ?2)")?
            .execute((id.0, vault))?;
        Ok(changed > 0)
    }

    /// Stores the wrapped journal key unless there is one; returns the one that is stored.
    pub fn keep_journal_key(&self, id: DestinationId, wrapped: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.connection
            .prepare_cached("UPDATE destination SET journal_key = ?2 WHERE id = ?1 AND journal_key IS NULL")?
            .execute((id.0, wrapped))?;
        Ok(self.connection.query_row("SELECT journal_key FROM destination WHERE id = ?1", [id.0], |row| row.get(0))?)
    }

    /// Replaces the key attributes.
    pub fn keep_attributes(&self, id: DestinationId, attributes: &[u8]) -> Result<(), StoreError> {
        self.connection
            .prepare_cached("UPDATE destination SET attributes = ?2 WHERE id = ?1")?
            .execute((id.0, attributes))?;
        Ok(())
    }

    /// Replaces the sealed token.
    pub fn keep_token(&self, id: DestinationId, sealed: &[u8]) -> Result<(), StoreError> {
        self.connection.prepare_cached("UPDATE destination SET token = ?2 WHERE id = ?1")?.execute((id.0, sealed))?;
        Ok(())
    }

    /// Forgets everything learned from a vault, because another vault is there now. What was taken in charge stays
    /// and is prepared again.
    pub fn forget_vault(&self, id: DestinationId, vault: &str) -> Result<(), StoreError> {
        self.forget_contents(id)?;
        self.connection.execute(
            "UPDATE destination SET vault = ?2, journal_key = NULL, attributes = NULL, token = NULL WHERE id = ?1",
            (id.0, vault),
        )?;
        Ok(())
    }

    /// Forgets what the vault holds, because it was put back to an older state. What was taken in charge stays and is
    /// prepared again; every place is offered again by the next scan.
    pub fn forget_contents(&self, id: DestinationId) -> Result<(), StoreError> {
        self.connection.execute("DELETE FROM content WHERE destination = ?1", [id.0])?;
        self.connection.execute("DELETE FROM seen WHERE destination = ?1", [id.0])?;
        self.connection.execute("DELETE FROM collection WHERE destination = ?1", [id.0])?;
        self.connection.execute(
            "UPDATE place SET size = NULL, device = NULL, inode = NULL, modified_ns = NULL, changed_ns = NULL, digest = NULL
              WHERE skipped IS NULL AND root IN (SELECT id FROM root WHERE destination = ?1)",
            [id.0],
        )?;
        self.connection.execute(
            "UPDATE object SET state = 'abandoned', sealed = NULL WHERE destination = ?1 AND state <> 'abandoned'",
            [id.0],
        )?;
        self.connection.execute(
            "UPDATE item SET phase = 'prepare', publish = 'nothing', digest = NULL, file_key = NULL, body = NULL, record = NULL,
                    metadata = NULL, metadata_header = NULL, revision = revision + 1, worker = NULL, generation = generation + 1,
                    waits = 'nothing', waits_item = NULL, not_before = NULL
              WHERE destination = ?1 AND finished_at IS NULL AND state <> 'staged'",
            [id.0],
        )?;
        self.connection.execute("UPDATE destination SET cursor = 0 WHERE id = ?1", [id.0])?;
        Ok(())
    }

    /// Stores a collection.
    pub fn keep_collection(&self, destination: DestinationId, collection: &StoredCollection) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "INSERT INTO collection (destination, id, name, encrypted_key, nonce) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (destination, id) DO UPDATE SET name = ?3, encrypted_key = ?4, nonce = ?5",
            )?
            .execute((destination.0, collection.id, &collection.name, &collection.encrypted_key, &collection.nonce))?;
        Ok(())
    }

    /// The collection of that name with the lowest number.
    pub fn collection_named(
        &self,
        destination: DestinationId,
        name: &str,
    ) -> Result<Option<StoredCollection>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id, name, encrypted_key, nonce FROM collection WHERE destination = ?1 AND name = ?2 ORDER BY id LIMIT 1",
        )?;
        Ok(statement.query_row((destination.0, name), read_collection).optional()?)
    }

    /// The collection of that number.
    pub fn collection(&self, destination: DestinationId, id: i64) -> Result<Option<StoredCollection>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id, name, encrypted_key, nonce FROM collection WHERE destination = ?1 AND id = ?2",
        )?;
        Ok(statement.query_row((destination.0, id), read_collection).optional()?)
    }
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Destination> {
    Ok(Destination {
        id: DestinationId(row.get(0)?),
        location: row.get(1)?,
        vault: row.get(2)?,
        cursor: row.get(3)?,
        journal_key: row.get(4)?,
        attributes: row.get(5)?,
        token: row.get(6)?,
    })
}

fn read_collection(row: &rusqlite::Row<'_>) -> rusqlite::Result<StoredCollection> {
    Ok(StoredCollection { id: row.get(0)?, name: row.get(1)?, encrypted_key: row.get(2)?, nonce: row.get(3)? })
}
