//! What the vault holds, opened with our keys.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use landfall_crypto::{
    CollectionKey, Digest, FileKey, StreamHeader, name_tag, open_blob, secretbox_open, secretbox_seal, unwrap_key,
    wrap_key,
};
use landfall_env::Env;
use landfall_protocol::{Collection, DIFF_PAGE_MAX, FileRecord, NewCollection};
use landfall_store::{NewContent, SeenPlace, StoredCollection};

use super::{metadata::FileMetadata, places::Places};
use crate::{
    Engine, Error, Observer, Progress, Session,
    engine::Inner,
    session::{SessionInner, wrapped},
};

/// A record, opened.
pub(crate) struct OpenRecord {
    pub(crate) record: FileRecord,
    pub(crate) key: FileKey,
    pub(crate) content: Content,
    pub(crate) places: Places,
}

/// What a record's metadata says.
pub(crate) struct Content {
    pub(crate) metadata: FileMetadata,
    pub(crate) digest: Vec<u8>,
}

/// Reads everything the vault has learned since the last time into the journal, so that nothing is sent that it has.
/// Records that do not open are reported to the observer and left alone.
///
/// # Errors
/// [`Error::Destination`] if the vault cannot be asked. What was read before is kept.
pub async fn learn(engine: &Engine, session: &Session, observer: &dyn Observer) -> Result<(), Error> {
    let inner = &engine.inner;
    learn_collections(inner, session).await?;
    let remote = &session.inner.remote;
    let id = session.inner.destination;
    let mut cursor = inner
        .journal
        .read(|tx| tx.destinations())
        .await?
        .into_iter()
        .find(|found| found.id == id)
        .map_or(0, |found| found.cursor);
    loop {
        let page = remote.patiently(|| remote.diff(cursor, DIFF_PAGE_MAX)).await?;
        let Some(last) = page.diff.last() else { return Ok(()) };
        cursor = last.updation_time;
        let mut contents = Vec::new();
        let mut removed = Vec::new();
        for record in page.diff {
            if record.is_deleted {
                removed.push(record.id);
                continue;
            }
            let number = record.id;
            match open_record(inner, session, record).await {
                Ok(open) => contents.push(NewContent {
                    digest: open.content.digest,
                    record: number,
                    places: open.places.iter().filter_map(|place| place.seen()).collect::<Vec<SeenPlace>>(),
                }),
                Err(error @ Error::Tampered(_)) => observer.saw(Progress::Note { message: error.to_string() }),
                Err(error) => return Err(error),
            }
        }
        inner
            .journal
            .write(move |tx| {
                for record in &removed {
                    tx.forget_record(id, *record)?;
                }
                for content in &contents {
                    tx.learn(id, content)?;
                }
                tx.learned_up_to(id, cursor)
            })
            .await?;
        if !page.has_more {
            return Ok(());
        }
    }
}

async fn learn_collections(engine: &Arc<Inner>, session: &Session) -> Result<(), Error> {
    let (id, remote) = (session.inner.destination, &session.inner.remote);
    let listed = remote.patiently(|| remote.collections()).await?;
    let opened: Vec<_> = listed.iter().filter_map(|listed| open_collection(&session.inner, listed).ok()).collect();
    engine.journal.write(move |tx| opened.iter().try_for_each(|collection| tx.keep_collection(id, collection))).await?;
    Ok(())
}

/// Opens a record's key, metadata and places.
pub(crate) async fn open_record(
    engine: &Arc<Inner>,
    session: &Session,
    record: FileRecord,
) -> Result<OpenRecord, Error> {
    let key = file_key(engine, session, &record).await?;
    let content = content_of(&record, &key)?;
    let places = Places::open(&record, &key)?;
    Ok(OpenRecord { record, key, content, places })
}

/// The key of a record's objects.
pub(crate) async fn file_key(engine: &Arc<Inner>, session: &Session, record: &FileRecord) -> Result<FileKey, Error> {
    let (destination, id) = (session.inner.destination, record.file.collection_id);
    let mut known = engine.journal.read(move |tx| tx.collection(destination, id)).await?;
    if known.is_none() {
        learn_collections(engine, session).await?;
        known = engine.journal.read(move |tx| tx.collection(destination, id)).await?;
    }
    let collection =
        known.ok_or_else(|| Error::Tampered(format!("record {} is in a collection that is not there", record.id)))?;
    let key = session.inner.collection_key(collection.id, &collection.encrypted_key, &collection.nonce)?;
    unwrap_key(&key, &wrapped(&record.file.encrypted_key, &record.file.key_decryption_nonce)?)
        .map_err(|_| Error::Tampered(format!("the key of record {} does not open", record.id)))
}

/// What a record's metadata says.
pub(crate) fn content_of(record: &FileRecord, key: &FileKey) -> Result<Content, Error> {
    let bad = |what: &str| Error::Tampered(format!("the metadata of record {} {what}", record.id));
    let sealed = &record.file.metadata;
    let header = sealed.decryption_header.array().ok_or_else(|| bad("has a header of a wrong length"))?;
    let json = open_blob(key, &StreamHeader::from_bytes(header), &sealed.encrypted_data.0)
        .map_err(|_| bad("does not open"))?;
    let metadata: FileMetadata = serde_json::from_slice(&json).map_err(|_| bad("is not what it should be"))?;
    let digest = STANDARD.decode(&metadata.hash).map_err(|_| bad("has no digest"))?;
    if digest.len() != 64 {
        return Err(bad("has a digest of a wrong length"));
    }
    Ok(Content { metadata, digest })
}

/// A digest as the journal keeps it.
pub(crate) fn digest(bytes: &[u8]) -> Result<Digest, Error> {
    let bytes =
        bytes.try_into().map_err(|_| Error::Tampered("a digest in the journal has a wrong length".to_owned()))?;
    Ok(Digest::from_bytes(bytes))
}

/// A collection to be made.
pub(crate) fn new_collection(env: &Env, session: &SessionInner, name: &str) -> NewCollection {
    let key = CollectionKey::from_bytes(env.random.array());
    let wrapped = wrap_key(&session.master, env.random.array(), &key);
    let nonce = env.random.array();
    NewCollection {
        encrypted_key: wrapped.ciphertext.to_vec().into(),
        key_decryption_nonce: wrapped.nonce.to_vec().into(),
        encrypted_name: secretbox_seal(&key, &nonce, name.as_bytes()).into(),
        name_decryption_nonce: nonce.to_vec().into(),
        kind: "folder".to_owned(),
        name_tag: Some(name_tag(&session.tags, &[b"album\0", name.as_bytes()].concat()).to_vec().into()),
    }
}

/// A collection as the vault lists it, opened.
pub(crate) fn open_collection(session: &SessionInner, listed: &Collection) -> Result<StoredCollection, Error> {
    let bad = |what: &str| Error::Tampered(format!("collection {} {what}", listed.id));
    let key = session.collection_key(listed.id, &listed.encrypted_key.0, &listed.key_decryption_nonce.0)?;
    let nonce = listed.name_decryption_nonce.array().ok_or_else(|| bad("has a nonce of a wrong length"))?;
    let name =
        secretbox_open(&key, &nonce, &listed.encrypted_name.0).map_err(|_| bad("has a name that does not open"))?;
    Ok(StoredCollection {
        id: listed.id,
        name: String::from_utf8(name).map_err(|_| bad("has a name that is not text"))?,
        encrypted_key: listed.encrypted_key.0.clone(),
        nonce: listed.key_decryption_nonce.0.clone(),
    })
}
