//! Where sources are: roots that were given, and places below them.

use std::collections::BTreeSet;

use landfall_core::{Class, ItemId, Timestamp};
use rusqlite::OptionalExtension as _;

use crate::{DestinationId, SourceIdentity, StoreError, Tx};

/// A root's number in its journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RootId(pub i64);

/// A folder or file that a person named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Its number.
    pub id: RootId,
    /// Where its contents go.
    pub destination: DestinationId,
    /// Its absolute path, as bytes.
    pub path: Vec<u8>,
    /// Its last segment: the first segment of every place restored from it.
    pub name: Vec<u8>,
    /// Tells it from roots of the same name on other devices.
    pub tag: Vec<u8>,
}

/// A file found below a root.
#[derive(Debug, Clone)]
pub struct Offer {
    /// Below the root, segments joined by `/`.
    pub path: Vec<u8>,
    /// What was seen of it.
    pub identity: SourceIdentity,
    /// Its class.
    pub class: Class,
    /// Name of its media kind.
    pub kind: String,
    /// Collection it goes to.
    pub album: String,
    /// Smaller is sooner.
    pub priority: i64,
    /// It is taken also if the vault has it: its place is to join the collection.
    pub joins: bool,
}

/// What became of an offer, or would.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfferOutcome {
    /// The vault has this very file.
    Unchanged,
    /// It was looked at in this very state, and not taken.
    Skipped,
    /// An item is seeing to it already.
    Queued(ItemId),
    /// An item was blocked over it, and is tried again.
    Retried(ItemId),
    /// It is new, or has changed. After [`Tx::offer`]: it was taken in charge as this item.
    New(Option<ItemId>),
}

struct PlaceRow {
    identity: Option<SourceIdentity>,
    skipped: bool,
    item: Option<ItemId>,
}

impl Tx<'_> {
    /// The root at a path, created if it is new.
    pub fn root_at(
        &self,
        destination: DestinationId,
        path: &[u8],
        name: &[u8],
        tag: &[u8],
    ) -> Result<Root, StoreError> {
        match self.find_root(destination, path)? {
            Some(known) if known.tag == tag => return Ok(known),
            Some(known) => {
                // Another vault, or another name of this device: what is below has not been there under this tag.
                self.connection.prepare_cached("UPDATE root SET tag = ?2 WHERE id = ?1")?.execute((known.id.0, tag))?;
                self.unsettle_places(known.id)?;
                return Ok(Root { tag: tag.to_vec(), ..known });
            }
            None => {}
        }
        self.connection
            .prepare_cached("INSERT INTO root (destination, path, name, tag) VALUES (?1, ?2, ?3, ?4)")?
            .execute((destination.0, path, name, tag))?;
        Ok(self.find_root(destination, path)?.expect("it was inserted by the statement before"))
    }

    /// The root at a path, if it is known.
    pub fn find_root(&self, destination: DestinationId, path: &[u8]) -> Result<Option<Root>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT id, destination, path, name, tag FROM root WHERE destination = ?1 AND path = ?2")?;
        Ok(statement.query_row((destination.0, path), read_root).optional()?)
    }

    /// The root of that number.
    pub fn root(&self, id: RootId) -> Result<Root, StoreError> {
        let mut statement =
            self.connection.prepare_cached("SELECT id, destination, path, name, tag FROM root WHERE id = ?1")?;
        Ok(statement.query_row([id.0], read_root)?)
    }

    /// What [`Tx::offer`] would do with a file, without doing it. Needs no content of the file.
    pub fn look(&self, root: RootId, path: &[u8], identity: &SourceIdentity) -> Result<OfferOutcome, StoreError> {
        let Some(place) = self.place(root, path)? else { return Ok(OfferOutcome::New(None)) };
        if let Some(item) = place.item {
            return Ok(match self.item_state_word(item)?.as_str() {
                "blocked" => OfferOutcome::Retried(item),
                _ => OfferOutcome::Queued(item),
            });
        }
        Ok(match place.identity {
            Some(known) if known == *identity && place.skipped => OfferOutcome::Skipped,
            Some(known) if known == *identity => OfferOutcome::Unchanged,
            _ => OfferOutcome::New(None),
        })
    }

    /// Takes a file in charge, unless the vault has it as it is or an item is seeing to it. Two processes that offer one
    /// file make one item.
    pub fn offer(&self, root: &Root, offer: &Offer, now: Timestamp) -> Result<OfferOutcome, StoreError> {
        match self.look(root.id, &offer.path, &offer.identity)? {
            OfferOutcome::Retried(item) => {
                self.retry(item, now)?;
                if self.item(item)?.identity.is_some_and(|prepared| prepared != offer.identity) {
                    // Nothing of what was prepared is in the file any more.
                    self.reset_to_prepare(item)?;
                }
                Ok(OfferOutcome::Retried(item))
            }
            OfferOutcome::Unchanged if !offer.joins => Ok(OfferOutcome::Unchanged),
            OfferOutcome::New(_) | OfferOutcome::Skipped | OfferOutcome::Unchanged => {
                let item = self.insert_item(root, offer, now)?;
                self.connection
                    .prepare_cached(
                        "INSERT INTO place (root, path, item) VALUES (?1, ?2, ?3) ON CONFLICT (root, path) DO UPDATE SET item = ?3",
                    )?
                    .execute((root.id.0, &offer.path, item.0))?;
                Ok(OfferOutcome::New(Some(item)))
            }
            settled => Ok(settled),
        }
    }

    /// Notes that a file was looked at and is not to be taken, so that the next scan need not read it.
    pub fn skip_place(
        &self,
        root: RootId,
        path: &[u8],
        identity: &SourceIdentity,
        why: &str,
    ) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "INSERT INTO place (root, path, size, device, inode, modified_ns, changed_ns, skipped)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                 ON CONFLICT (root, path) DO UPDATE SET size = ?3, device = ?4, inode = ?5, modified_ns = ?6, changed_ns = ?7,
                        skipped = ?8, digest = NULL
                 WHERE item IS NULL",
            )?
            .execute((
                root.0,
                path,
                identity.size,
                identity.device,
                identity.inode,
                identity.modified_ns,
                identity.changed_ns,
                why,
            ))?;
        Ok(())
    }

    /// Notes that the vault has a place's content.
    pub(crate) fn settle_place(
        &self,
        root: RootId,
        path: &[u8],
        identity: &SourceIdentity,
        digest: &[u8],
    ) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "UPDATE place SET size = ?3, device = ?4, inode = ?5, modified_ns = ?6, changed_ns = ?7, digest = ?8,
                        skipped = NULL, item = NULL
                  WHERE root = ?1 AND path = ?2",
            )?
            .execute((
                root.0,
                path,
                identity.size,
                identity.device,
                identity.inode,
                identity.modified_ns,
                identity.changed_ns,
                digest,
            ))?;
        Ok(())
    }

    /// Every place below a root is offered again by the next scan, but for those that were not taken for what they are.
    fn unsettle_places(&self, root: RootId) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "UPDATE place SET size = NULL, device = NULL, inode = NULL, modified_ns = NULL, changed_ns = NULL, digest = NULL
                  WHERE root = ?1 AND skipped IS NULL",
            )?
            .execute([root.0])?;
        Ok(())
    }

    /// The version that the item which sees to a place gives it, or that the last one gave it.
    pub fn version_of_place(&self, item: ItemId) -> Result<i64, StoreError> {
        let mut statement = self.connection.prepare_cached("SELECT version FROM place WHERE item = ?1")?;
        Ok(statement.query_row([item.0], |row| row.get(0)).optional()?.unwrap_or(0))
    }

    /// From now on these items give their places at least these versions. Returns those that still see to a place.
    pub fn give_versions(&self, versions: &[(ItemId, i64)]) -> Result<BTreeSet<ItemId>, StoreError> {
        let mut holders = BTreeSet::new();
        for (item, version) in versions {
            if self.raise_version(*item, *version)? {
                holders.insert(*item);
            }
        }
        Ok(holders)
    }

    /// Whether each of these items gives its place at least this version.
    pub fn gives_versions(&self, versions: &[(ItemId, i64)]) -> Result<bool, StoreError> {
        for (item, version) in versions {
            if self.version_of_place(*item)? < *version {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// `false` if the item sees to no place any more.
    pub(crate) fn raise_version(&self, item: ItemId, version: i64) -> Result<bool, StoreError> {
        let mut statement =
            self.connection.prepare_cached("UPDATE place SET version = max(version, ?2) WHERE item = ?1")?;
        Ok(statement.execute((item.0, version))? > 0)
    }

    /// The item gives its place a version of its own.
    pub(crate) fn next_version(&self, item: ItemId) -> Result<(), StoreError> {
        self.connection.prepare_cached("UPDATE place SET version = version + 1 WHERE item = ?1")?.execute([item.0])?;
        Ok(())
    }

    /// Places below a root whose present content was backed up from there into a collection.
    pub fn places_in(&self, root: RootId, album: &str) -> Result<BTreeSet<Vec<u8>>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT item.path FROM item JOIN place ON place.root = item.root AND place.path = item.path
              WHERE item.root = ?1 AND item.album = ?2 AND item.state = 'done' AND item.digest = place.digest",
        )?;
        let rows = statement.query_map((root.0, album), |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Whether the vault is known to have had this content at a place before.
    pub fn is_settled(&self, root: RootId, path: &[u8], digest: &[u8]) -> Result<bool, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM place WHERE root = ?1 AND path = ?2 AND digest = ?3)")?;
        Ok(statement.query_row((root.0, path, digest), |row| row.get(0))?)
    }

    pub(crate) fn free_place_of(&self, item: ItemId) -> Result<(), StoreError> {
        self.connection.prepare_cached("UPDATE place SET item = NULL WHERE item = ?1")?.execute([item.0])?;
        Ok(())
    }

    fn place(&self, root: RootId, path: &[u8]) -> Result<Option<PlaceRow>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT size, device, inode, modified_ns, changed_ns, skipped IS NOT NULL, item FROM place WHERE root = ?1 AND path = ?2",
        )?;
        let row = statement.query_row((root.0, path), |row| {
            let identity = match row.get::<_, Option<i64>>(0)? {
                None => None,
                Some(size) => Some(SourceIdentity {
                    size,
                    device: row.get(1)?,
                    inode: row.get(2)?,
                    modified_ns: row.get(3)?,
                    changed_ns: row.get(4)?,
                }),
            };
            Ok(PlaceRow { identity, skipped: row.get(5)?, item: row.get::<_, Option<i64>>(6)?.map(ItemId) })
        });
        Ok(row.optional()?)
    }
}

fn read_root(row: &rusqlite::Row<'_>) -> rusqlite::Result<Root> {
    Ok(Root {
        id: RootId(row.get(0)?),
        destination: DestinationId(row.get(1)?),
        path: row.get(2)?,
        name: row.get(3)?,
        tag: row.get(4)?,
    })
}
