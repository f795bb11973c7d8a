//! Showing what the vault holds, and taking things out of it.

use landfall_protocol::{DIFF_PAGE_MAX, TrashItem, TrashRequest};

use super::index::{OpenRecord, open_record};
use crate::{Engine, Error, Session};

/// A content of the vault.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The vault's number for it.
    pub id: i64,
    /// Its places: segments joined by `/`, newest version first.
    pub places: Vec<Vec<u8>>,
    /// Length in bytes.
    pub size: u64,
    /// When it was taken, microseconds since the epoch.
    pub taken_at: i64,
    /// File name.
    pub title: String,
    /// Why it cannot be opened, if it cannot.
    pub problem: Option<String>,
}

/// Calls `each` for every content of the vault, oldest first. Needs memory for one page.
///
/// # Errors
/// [`Error::Destination`] if the vault cannot be asked.
pub async fn list(engine: &Engine, session: &Session, mut each: impl FnMut(Entry)) -> Result<(), Error> {
    records(engine, session, async |id, open| {
        each(match open {
            Ok(open) => entry(&open),
            Err(error) => Entry {
                id,
                places: Vec::new(),
                size: 0,
                taken_at: 0,
                title: String::new(),
                problem: Some(error.to_string()),
            },
        });
        Ok(())
    })
    .await
}

fn entry(open: &OpenRecord) -> Entry {
    let mut places: Vec<_> = open.places.iter().collect();
    places.sort_by_key(|place| std::cmp::Reverse(place.v));
    let paths = places.iter().filter_map(|place| Some(place.segments()?.join(&b'/'))).collect();
    Entry {
        id: open.record.id,
        places: paths,
        size: open.content.metadata.size.unwrap_or(open.record.file.file.size),
        taken_at: open.content.metadata.creation_time,
        title: open.content.metadata.title.clone(),
        problem: None,
    }
}

/// Takes contents out of the vault. What is already gone is no error. Returns, once the vault has done it, the numbers of
/// those that were there.
///
/// # Errors
/// [`Error::NoSuchContent`] if there is no such content; nothing was removed then.
pub async fn remove(engine: &Engine, session: &Session, ids: &[i64]) -> Result<Vec<i64>, Error> {
    let remote = &session.inner.remote;
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.dedup();
    let mut items = Vec::new();
    for id in &ids {
        let record = remote.patiently(|| remote.file(*id)).await?;
        let record = record.ok_or_else(|| Error::NoSuchContent(*id))?;
        if !record.is_deleted {
            items.push(TrashItem { file_id: *id, collection_id: record.file.collection_id });
        }
    }
    let removed = items.iter().map(|item| item.file_id).collect();
    if !items.is_empty() {
        let what = TrashRequest { items };
        remote.patiently(|| remote.trash(&what)).await?;
    }
    // Also of one that was gone before: another home may have removed it.
    let destination = session.inner.destination;
    engine.inner.journal.write(move |tx| ids.iter().try_for_each(|id| tx.forget_record(destination, *id))).await?;
    Ok(removed)
}

/// Walks all live records of the vault. A record that does not open is handed over as its error.
pub(super) async fn records(
    engine: &Engine,
    session: &Session,
    mut each: impl AsyncFnMut(i64, Result<OpenRecord, Error>) -> Result<(), Error>,
) -> Result<(), Error> {
    let remote = &session.inner.remote;
    let mut cursor = 0;
    loop {
        let page = remote.patiently(|| remote.diff(cursor, DIFF_PAGE_MAX)).await?;
        let Some(last) = page.diff.last() else { return Ok(()) };
        cursor = last.updation_time;
        for record in page.diff.into_iter().filter(|record| !record.is_deleted) {
            let id = record.id;
            match open_record(&engine.inner, session, record).await {
                Err(error @ (Error::Destination(_) | Error::Store(_))) => return Err(error),
                opened => each(id, opened).await?,
            }
        }
        if !page.has_more {
            return Ok(());
        }
    }
}

/// What an auditor needs to know of a record.
#[cfg(feature = "sim")]
pub struct RecordKeys {
    /// Digest of the content.
    pub digest: Vec<u8>,
    /// Key of its objects.
    pub key: landfall_crypto::FileKey,
    /// Header of its file.
    pub header: [u8; 24],
    /// Where its file is.
    pub object_key: String,
}

/// Every live record of the vault, for an auditor.
///
/// # Errors
/// As [`list`]; a record that does not open is an error here.
#[cfg(feature = "sim")]
pub async fn keys_of_records(engine: &Engine, session: &Session) -> Result<Vec<RecordKeys>, Error> {
    let mut all = Vec::new();
    records(engine, session, async |_, open| {
        let open = open?;
        let file = open.record.file.file;
        let header = file.decryption_header.array().unwrap_or_default();
        all.push(RecordKeys { digest: open.content.digest, key: open.key, header, object_key: file.object_key });
        Ok(())
    })
    .await?;
    Ok(all)
}
