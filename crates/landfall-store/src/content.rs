//! What the vault holds, as far as this journal has been told: contents by digest, and the places they were seen at.

use landfall_core::ItemId;
use rusqlite::OptionalExtension as _;

use crate::{DestinationId, StoreError, Tx};

/// Who brings a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ContentRow {
    pub(crate) item: Option<ItemId>,
    pub(crate) record: Option<i64>,
}

/// A content that the vault holds.
#[derive(Debug, Clone)]
pub struct NewContent {
    /// BLAKE2b-512 of the plaintext.
    pub digest: Vec<u8>,
    /// The vault's record of it.
    pub record: i64,
    /// Where it was seen.
    pub places: Vec<SeenPlace>,
}

/// A place as a record of the vault tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenPlace {
    /// Which root on which device.
    pub tag: Vec<u8>,
    /// Below the root, segments joined by `/`.
    pub path: Vec<u8>,
    /// Time of last modification, nanoseconds since the epoch.
    pub modified_ns: i64,
    /// Of several contents at one place the highest is the present one.
    pub version: i64,
}

impl Tx<'_> {
    pub(crate) fn content(&self, destination: DestinationId, digest: &[u8]) -> Result<Option<ContentRow>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT item, record FROM content WHERE destination = ?1 AND digest = ?2")?;
        let row = statement.query_row((destination.0, digest), |row| {
            Ok(ContentRow { item: row.get::<_, Option<i64>>(0)?.map(ItemId), record: row.get(1)? })
        });
        Ok(row.optional()?)
    }

    pub(crate) fn bring_content(
        &self,
        destination: DestinationId,
        digest: &[u8],
        item: ItemId,
    ) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "INSERT INTO content (destination, digest, item) VALUES (?1, ?2, ?3)
                 ON CONFLICT (destination, digest) DO UPDATE SET item = ?3, record = NULL",
            )?
            .execute((destination.0, digest, item.0))?;
        Ok(())
    }

    /// The item will not bring what it said.
    pub(crate) fn drop_content_of(&self, item: ItemId) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "DELETE FROM content WHERE record IS NULL AND item = ?1
                    AND (destination, digest) = (SELECT destination, digest FROM item WHERE id = ?1)",
            )?
            .execute([item.0])?;
        Ok(())
    }

    /// Stores what a record of the vault says. Replaces what was known of that record.
    pub fn learn(&self, destination: DestinationId, content: &NewContent) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "INSERT INTO content (destination, digest, record) VALUES (?1, ?2, ?3)
                 ON CONFLICT (destination, digest) DO UPDATE SET record = ?3",
            )?
            .execute((destination.0, &content.digest, content.record))?;
        self.connection
            .prepare_cached("DELETE FROM seen WHERE destination = ?1 AND record = ?2")?
            .execute((destination.0, content.record))?;
        let mut insert = self.connection.prepare_cached(
            "INSERT OR REPLACE INTO seen (destination, tag, path, record, modified_ns, version) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        for place in &content.places {
            insert.execute((
                destination.0,
                &place.tag,
                &place.path,
                content.record,
                place.modified_ns,
                place.version,
            ))?;
        }
        Ok(())
    }

    /// Of the records that items of this destination were finished with last, the newest, and the key of the object that
    /// was registered in it if one of these items brought it. A vault that has lost it was put back to an older state.
    pub fn newest_record(&self, destination: DestinationId) -> Result<Option<(i64, Option<String>)>, StoreError> {
        const FINISHED_LAST: &str = "SELECT max(record), object_key FROM
                (SELECT item.record AS record,
                        (SELECT object_key FROM object WHERE object.item = item.id AND role = 'file' AND state = 'stored') AS object_key
                   FROM event CROSS JOIN item ON item.id = event.item
                  CROSS JOIN content USING (destination, digest, record)
                  WHERE event.kind = 'done' AND item.destination = ?1
                  ORDER BY event.number DESC LIMIT 16)";
        let mut statement = self.connection.prepare_cached(FINISHED_LAST)?;
        let (record, key): (Option<i64>, Option<String>) =
            statement.query_row([destination.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(record.map(|record| (record, key)))
    }

    /// Forgets a record that was removed from the vault. Its places will be offered again by the next scan.
    pub fn forget_record(&self, destination: DestinationId, record: i64) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "UPDATE place SET size = NULL, device = NULL, inode = NULL, modified_ns = NULL, changed_ns = NULL, digest = NULL
                  WHERE root IN (SELECT id FROM root WHERE destination = ?1)
                    AND digest IN (SELECT digest FROM content WHERE destination = ?1 AND record = ?2)",
            )?
            .execute((destination.0, record))?;
        self.connection
            .prepare_cached("DELETE FROM content WHERE destination = ?1 AND record = ?2 AND item IS NULL")?
            .execute((destination.0, record))?;
        self.connection
            .prepare_cached("UPDATE content SET record = NULL WHERE destination = ?1 AND record = ?2")?
            .execute((destination.0, record))?;
        self.connection
            .prepare_cached("DELETE FROM seen WHERE destination = ?1 AND record = ?2")?
            .execute((destination.0, record))?;
        Ok(())
    }

    /// Notes that everything the vault said up to `cursor` has been learned.
    pub fn learned_up_to(&self, destination: DestinationId, cursor: i64) -> Result<(), StoreError> {
        self.connection
            .prepare_cached("UPDATE destination SET cursor = max(cursor, ?2) WHERE id = ?1")?
            .execute((destination.0, cursor))?;
        Ok(())
    }

    /// At how many places a record is, as far as `most`.
    pub fn places_of(&self, destination: DestinationId, record: i64, most: usize) -> Result<usize, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT count(*) FROM (SELECT 1 FROM seen WHERE destination = ?1 AND record = ?2 LIMIT ?3)",
        )?;
        Ok(statement.query_row((destination.0, record, most), |row| row.get(0))?)
    }

    /// The highest version any content has at a place, and the record that has it with the time it gives.
    pub fn newest_at(
        &self,
        destination: DestinationId,
        tag: &[u8],
        path: &[u8],
    ) -> Result<Option<(i64, SeenPlace)>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT record, modified_ns, version FROM seen WHERE destination = ?1 AND tag = ?2 AND path = ?3
              ORDER BY version DESC, record DESC LIMIT 1",
        )?;
        let row = statement.query_row((destination.0, tag, path), |row| {
            let place =
                SeenPlace { tag: tag.to_vec(), path: path.to_vec(), modified_ns: row.get(1)?, version: row.get(2)? };
            Ok((row.get(0)?, place))
        });
        Ok(row.optional()?)
    }
}
