//! Adding places to contents that the vault has already.
//!
//! All places of a content are one sealed text. Where a content is at many, items that wait for the same link are gathered
//! and linked together, so that a text is not written anew for every copy.

use std::collections::BTreeSet;

use landfall_core::{BlockReason, Code, Failure, GATHERED_FROM, Remedy, Waits, link_waits};
use landfall_protocol::{MagicUpdate, MagicUpdates};
use landfall_store::{Item, Root, SeenPlace, StoreError};
use landfall_transport::vault::answer::MagicUpdated;

use crate::{
    Progress,
    drive::{Drive, Halt, Present, place_below},
    publish::place_to_add,
    recipes::vault::{
        index,
        places::{self, Addition},
    },
};

/// How many items are linked together at most.
const GATHERED_MAX: usize = 4096;

const TOO_MANY: &str = "the content is at more places than its record in the vault has room for";

/// Another item that is to be linked to the same record.
struct Gathered {
    item: Item,
    root: Root,
    place: SeenPlace,
}

impl Drive {
    /// Adds this item's place to a content that the vault has already.
    pub(crate) async fn link(&mut self, present: &Present) -> Result<(), Halt> {
        let record = present.item.record.unwrap_or_default();
        let place = match self.place_to_add(present).await? {
            Ok(place) => place,
            Err(known) if self.may_join(present).await? => known,
            // The record says so already.
            Err(known) => return self.linked(present, known, Vec::new(), Vec::new()).await,
        };
        let (destination, most) = (present.item.destination, GATHERED_FROM);
        let known = self.engine.journal.read(move |tx| tx.places_of(destination, record, most)).await?;
        let mut gathered = Vec::new();
        if let Some(pause) = link_waits(known) {
            if std::mem::take(&mut self.just_prepared) {
                let until = self.engine.now().after(pause);
                self.write(move |tx, lease, now| tx.release(lease, Waits::Until(until), now)).await?;
                self.observer.saw(Progress::Put { item: self.lease.item });
                return Err(Halt::LeaseGone);
            }
            gathered = self.gather(present, record).await?;
        }
        self.give_versions(&place, &mut gathered).await?;
        let own = Addition { root: &present.root, place: &place, album: &present.item.album };
        let others = gathered.iter().map(|one| Addition { root: &one.root, place: &one.place, album: &one.item.album });
        let fits = self.add_places(present, record, std::iter::once(own).chain(others).collect()).await?;
        if fits.first() == Some(&false) {
            return Err(Failure::new(Remedy::Block, Code::TooManyPlaces, TOO_MANY).into());
        }
        let mut fits = fits.into_iter().skip(1);
        let (gathered, left_out) = gathered.into_iter().partition(|_| fits.next() == Some(true));
        self.linked(present, place, gathered, left_out).await
    }

    /// Notes which versions places are given before the vault is told, so that whatever comes after is higher. Items that
    /// somebody took back meanwhile are left out.
    async fn give_versions(&mut self, place: &SeenPlace, gathered: &mut Vec<Gathered>) -> Result<(), Halt> {
        let versions = gathered.iter().map(|one| (one.item.id, one.place.version));
        let versions: Vec<_> = versions.chain([(self.lease.item, place.version)]).collect();
        let asked = versions.clone();
        if self.engine.journal.read(move |tx| tx.gives_versions(&asked)).await? {
            return Ok(());
        }
        let holders = self.write(move |tx, lease, now| {
            tx.hold(lease, now)?;
            tx.give_versions(&versions)
        });
        let holders = holders.await?;
        gathered.retain(|one| holders.contains(&one.item.id));
        Ok(())
    }

    /// Whether a place that the record has may have to join another album: one was asked for, or the file was taken although
    /// the vault had it.
    async fn may_join(&self, present: &Present) -> Result<bool, Halt> {
        if present.item.album != String::from_utf8_lossy(&present.root.name) {
            return Ok(true);
        }
        let (root, path) = (present.root.id, present.item.path.clone());
        let digest = present.item.digest.clone().unwrap_or_default();
        Ok(self.engine.journal.read(move |tx| tx.is_settled(root, &path, &digest)).await?)
    }

    /// Items that wait to be linked to the same record, with the places to be added for them.
    async fn gather(&self, present: &Present, record: i64) -> Result<Vec<Gathered>, Halt> {
        let destination = present.item.destination;
        let gather = move |tx: &landfall_store::Tx<'_>| {
            let mut gathered = Vec::new();
            for item in tx.links_waiting(destination, record, GATHERED_MAX)? {
                let root = tx.root(item.root)?;
                // One that is known already is added again: nothing changes then.
                let place = place_to_add(tx, &item, &root.tag)?.unwrap_or_else(|known| known);
                gathered.push(Gathered { item, root, place });
            }
            Ok::<_, StoreError>(gathered)
        };
        Ok(self.engine.journal.read(gather).await?)
    }

    /// Writes that the vault knows the places, and which of them it has no room for. An item that somebody took meanwhile
    /// is left to them.
    async fn linked(
        &mut self,
        present: &Present,
        place: SeenPlace,
        gathered: Vec<Gathered>,
        left_out: Vec<Gathered>,
    ) -> Result<(), Halt> {
        let (done, blocked) = self
            .write(move |tx, lease, now| {
                tx.finish(lease, &place, now)?;
                let take = |one: &Gathered| tx.take_waiting(&lease.worker, &one.item, now);
                let (mut done, mut blocked) = (Vec::new(), Vec::new());
                for one in gathered {
                    if let Some(lease) = take(&one)? {
                        tx.finish(&lease, &one.place, now)?;
                        done.push(one);
                    }
                }
                let reason = BlockReason { code: Code::TooManyPlaces, message: TOO_MANY.to_owned() };
                for one in left_out {
                    if let Some(lease) = take(&one)? {
                        tx.block(&lease, &reason, now)?;
                        blocked.push(one);
                    }
                }
                Ok((done, blocked))
            })
            .await?;
        self.reached("link.committed");
        self.done(present);
        for Gathered { item, root, .. } in done {
            let bytes = item.identity.map_or(0, |identity| identity.size as u64);
            let place = place_below(&root, &item.path);
            self.observer.saw(Progress::Done { item: item.id, place, uploaded: false, bytes });
        }
        for Gathered { item, root, .. } in blocked {
            let (place, message) = (place_below(&root, &item.path), TOO_MANY.to_owned());
            self.observer.saw(Progress::Blocked { item: item.id, place, code: Code::TooManyPlaces, message });
        }
        Err(Halt::LeaseGone)
    }

    /// Adds places to a record, as many as it has room for. Says of each whether it is in the record now.
    async fn add_places(&mut self, present: &Present, id: i64, new: Vec<Addition<'_>>) -> Result<Vec<bool>, Halt> {
        let session = self.session.inner.clone();
        let Some(record) = session.remote.file(id).await?.filter(|record| !record.is_deleted) else {
            self.write(move |tx, lease, now| tx.unlink(lease, id, now)).await?;
            return Err(Failure::new(Remedy::Ask, Code::NoSuchUpload, "the record was removed from the vault").into());
        };
        let key = self.key_of(&record).await?;
        let content = index::content_of(&record, &key)?;
        if Some(content.digest.as_slice()) != present.item.digest.as_deref() {
            return Err(Failure::new(Remedy::Block, Code::Tampered, "the vault's record is of another content").into());
        }
        let mut all = places::Places::open(&record, &key)?;
        let (destination, number) = (session.destination, record.file.collection_id);
        let home = self.engine.journal.read(move |tx| tx.collection(destination, number)).await?;
        let home = home.map_or_else(String::new, |home| home.name);
        for album in new.iter().map(|one| one.album).filter(|album| *album != home).collect::<BTreeSet<_>>() {
            // A place joins an album that can be asked for.
            self.collection(album).await?;
        }
        let added = all.add(&new, &home, places::BYTES_MAX);
        if !added.any_change {
            return Ok(added.fits);
        }
        let version = record.file.magic_metadata.as_ref().map_or(1, |magic| magic.version);
        let update = MagicUpdate { id, magic_metadata: self.seal_places(&key, version, &all)? };
        match session.remote.magic_update(&MagicUpdates { metadata_list: vec![update] }).await {
            Ok(MagicUpdated::Done) => {
                self.reached("link.answered");
                Ok(added.fits)
            }
            Ok(MagicUpdated::VersionMismatch) => {
                Err(Failure::new(Remedy::Ask, Code::AnswerLost, "another device changed the record").into())
            }
            Err(failure) => Err(failure.into()),
        }
    }
}
