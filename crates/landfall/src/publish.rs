//! Telling the vault: freeze the register body, send exactly those bytes.

use bytes::Bytes;
use landfall_core::{Code, Failure, Remedy, Role};
use landfall_crypto::{FileKey, StreamHeader, seal_blob, wrap_key};
use landfall_protocol::{FileRecord, MagicMetadata, NewCollection, NewFile, SealedMetadata, SealedObject};
use landfall_store::{Item, Object, SeenPlace, StoreError, StoredCollection, Tx};
use landfall_transport::vault::answer::Registered;

use crate::{
    Progress,
    drive::{Drive, Halt, Present, place_of},
    recipes::vault::{index, places},
};

impl Drive {
    /// Builds the register body and freezes it.
    pub(crate) async fn freeze(&mut self, present: &Present) -> Result<(), Halt> {
        let session = self.session.inner.clone();
        let env = self.engine.env.clone();
        let collection = self.collection(&present.item.album).await?;
        let collection_key = session.collection_key(collection.id, &collection.encrypted_key, &collection.nonce)?;
        let key = session.open_file_key(present.item.file_key.as_deref().unwrap_or_default())?;
        let wrapped = wrap_key(&collection_key, env.random.array(), &key);
        let digest = index::digest(present.item.digest.as_deref().unwrap_or_default())?;
        let (metadata, metadata_header) = present.item.metadata.clone().unwrap_or_default();
        let place = self.new_place(present).await?;
        let body = NewFile {
            collection_id: collection.id,
            encrypted_key: wrapped.ciphertext.to_vec().into(),
            key_decryption_nonce: wrapped.nonce.to_vec().into(),
            file: sealed_object(find(present, Role::File)?),
            thumbnail: sealed_object(find(present, Role::Thumbnail)?),
            metadata: SealedMetadata { encrypted_data: metadata.into(), decryption_header: metadata_header.into() },
            pub_magic_metadata: if present.item.no_thumbnail {
                Some(self.seal_magic(&key, 1, 1, br#"{"noThumb":true}"#)?)
            } else {
                None
            },
            magic_metadata: Some(self.seal_places(&key, 1, &places::Places::with(&present.root, &place))?),
            content_tag: Some(landfall_crypto::content_tag(&session.tags, &digest).to_vec().into()),
        };
        let body = serde_json::to_vec(&body).expect("a register body is plain data");
        self.reached("register.built");
        let version = place.version;
        self.write(move |tx, lease, now| tx.frozen(lease, &body, version, now)).await?;
        self.reached("register.frozen");
        Ok(())
    }

    /// Sends the frozen body. Harmless when done twice, so a lost answer means to send it again.
    pub(crate) async fn register(&mut self, present: &Present) -> Result<(), Halt> {
        let frozen = present.item.body.clone().unwrap_or_default();
        let sent: NewFile = serde_json::from_slice(&frozen)
            .map_err(|_| Failure::new(Remedy::NewRevision, Code::BadAnswer, "the frozen body cannot be read"))?;
        let answer = self.session.inner.remote.register(Bytes::from(frozen), &sent).await;
        self.reached("register.answered");
        let record = match answer {
            Ok(Registered::Done(record)) if record.is_deleted => {
                let why = "the file was registered, and removed since";
                return Err(Failure::new(Remedy::NewRevision, Code::NoSuchUpload, why).into());
            }
            Ok(Registered::Done(record)) => record.id,
            // Also if an older state of this journal registered it, with another version of its place.
            Ok(Registered::ContentExists(record)) => {
                let winner = record.id;
                return self.write(move |tx, lease, now| tx.link_to(lease, winner, now)).await;
            }
            Err(failure) if matches!(failure.remedy, Remedy::Reopen) => {
                // The vault lost an object it had: everything is to be uploaded again.
                let why = failure.message.clone();
                return Err(Failure::new(Remedy::NewRevision, failure.code, why).into());
            }
            Err(failure) => return Err(failure.into()),
        };
        self.uploaded = true;
        let place = self.given_place(present).await?;
        self.write(move |tx, lease, now| {
            tx.published(lease, record, now)?;
            tx.finish(lease, &place, now)
        })
        .await?;
        self.reached("register.committed");
        self.done(present);
        Err(Halt::LeaseGone)
    }

    pub(crate) async fn finish(&mut self, present: &Present) -> Result<(), Halt> {
        let place = self.given_place(present).await?;
        self.write(move |tx, lease, now| tx.finish(lease, &place, now)).await?;
        self.done(present);
        Err(Halt::LeaseGone)
    }

    pub(crate) fn done(&self, present: &Present) {
        let bytes = present.item.identity.map_or(0, |identity| identity.size as u64);
        let place = place_of(present);
        self.observer.saw(Progress::Done { item: self.lease.item, place, uploaded: self.uploaded, bytes });
    }

    /// This item's place with a version that makes it the present one: higher than what the vault is known to say, and
    /// than what an item before this one was to say, whether or not that is known to have come about.
    async fn new_place(&self, present: &Present) -> Result<SeenPlace, Halt> {
        let (item, tag) = (present.item.clone(), present.root.tag.clone());
        let newest = move |tx: &Tx<'_>| {
            let newest = tx.newest_at(item.destination, &tag, &item.path)?;
            Ok(newest.map_or(0, |(_, place)| place.version).max(tx.version_of_place(item.id)?))
        };
        let newest = self.engine.journal.read(newest).await?;
        Ok(place_with(&present.item, &present.root.tag, newest + 1))
    }

    /// This item's place with the version that it was given.
    async fn given_place(&self, present: &Present) -> Result<SeenPlace, Halt> {
        let item = self.lease.item;
        let given = self.engine.journal.read(move |tx| tx.version_of_place(item)).await?;
        Ok(place_with(&present.item, &present.root.tag, given.max(1)))
    }

    /// This item's place with the version that makes it the present one of a content that the vault has; `Err` with what
    /// the record says already if nothing is to be added.
    pub(crate) async fn place_to_add(&self, present: &Present) -> Result<Result<SeenPlace, SeenPlace>, Halt> {
        let (item, tag) = (present.item.clone(), present.root.tag.clone());
        Ok(self.engine.journal.read(move |tx| place_to_add(tx, &item, &tag)).await?)
    }

    /// The collection of that name, made if the vault has none.
    pub(crate) async fn collection(&self, name: &str) -> Result<StoredCollection, Halt> {
        let session = self.session.inner.clone();
        let (destination, wanted) = (session.destination, name.to_owned());
        if let Some(known) = self.engine.journal.read(move |tx| tx.collection_named(destination, &wanted)).await? {
            return Ok(known);
        }
        let env = &self.engine.env;
        let new = index::new_collection(env, &session, name);
        let new: NewCollection = new;
        let made = session.remote.create_collection(&new).await?;
        let stored = index::open_collection(&session, &made)?;
        if stored.name != name {
            return Err(
                Failure::new(Remedy::Block, Code::Tampered, "the vault answered with another collection").into()
            );
        }
        let kept = stored.clone();
        self.engine.journal.write(move |tx| tx.keep_collection(destination, &kept)).await?;
        Ok(stored)
    }

    pub(crate) async fn key_of(&self, record: &FileRecord) -> Result<FileKey, Halt> {
        Ok(index::file_key(&self.engine, &self.session, record).await?)
    }

    pub(crate) fn seal_places(
        &self,
        key: &FileKey,
        version: u32,
        places: &places::Places,
    ) -> Result<MagicMetadata, Halt> {
        self.seal_magic(key, version, 1, &places.to_json())
    }

    fn seal_magic(&self, key: &FileKey, version: u32, count: u32, json: &[u8]) -> Result<MagicMetadata, Halt> {
        let header = StreamHeader::from_bytes(self.engine.env.random.array());
        let data = seal_blob(key, &header, json)
            .map_err(|_| Failure::new(Remedy::Block, Code::TooManyPlaces, "the content is at too many places"))?;
        Ok(MagicMetadata { version, count, data: data.into(), header: header.as_bytes().to_vec().into() })
    }
}

/// See [`Drive::place_to_add`].
pub(crate) fn place_to_add(tx: &Tx<'_>, item: &Item, tag: &[u8]) -> Result<Result<SeenPlace, SeenPlace>, StoreError> {
    let modified_ns = item.identity.unwrap_or_default().modified_ns;
    let given = tx.version_of_place(item.id)?;
    let newest = match tx.newest_at(item.destination, tag, &item.path)? {
        // Unless an item before this one was to give the place a version that may have arrived; this one's own is one more.
        Some((id, place))
            if Some(id) == item.record && place.modified_ns == modified_ns && given <= place.version + 1 =>
        {
            return Ok(Err(place));
        }
        newest => newest.map_or(0, |(_, place)| place.version),
    };
    Ok(Ok(place_with(item, tag, given.max(newest + 1))))
}

fn place_with(item: &Item, tag: &[u8], version: i64) -> SeenPlace {
    let modified_ns = item.identity.unwrap_or_default().modified_ns;
    SeenPlace { tag: tag.to_vec(), path: item.path.clone(), modified_ns, version }
}

fn find(present: &Present, role: Role) -> Result<&Object, Halt> {
    present.objects.iter().find(|object| object.role == role).ok_or_else(|| {
        Failure::new(Remedy::NewRevision, Code::BadAnswer, "the journal lost an object of this item").into()
    })
}

fn sealed_object(object: &Object) -> SealedObject {
    SealedObject {
        object_key: object.object_key.clone(),
        decryption_header: object.header.clone().into(),
        size: object.plan.size(),
    }
}
