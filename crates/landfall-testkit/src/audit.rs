//! What must hold when a world has come to rest, whatever happened in it.

use std::collections::{BTreeMap, BTreeSet};

use landfall::{Engine, Event, ItemId, Session};
use landfall_crypto::{ChunkBuffer, ChunkLen, FileKey, StreamHeader, StreamOpener};

use crate::world::{CHUNK, THUMBNAIL_SEALED, World, sealed};

/// Everything that does not hold of a home, one sentence each. Knows the journal's public reports and what passed the
/// wire, and nothing of how either came about.
pub(crate) async fn audit(world: &World, home: usize, engine: &Engine, session: &Session) -> Vec<String> {
    let mut complaints = Vec::new();
    match engine.counts().await {
        Err(error) => complaints.push(format!("the journal cannot be read: {error}")),
        Ok(counts) => {
            if counts.queued() + counts.paused > 0 {
                complaints.push(format!("{} items are not finished", counts.queued() + counts.paused));
            }
            if counts.blocked > 0 {
                let items = engine.items(Some("blocked".to_owned()), 100).await.unwrap_or_default();
                let why = |item: landfall::ItemSummary| format!("item {} is blocked: {:?}", item.id, item.last_error);
                complaints.extend(items.into_iter().map(why));
            }
            if counts.abandoning > 0 {
                complaints.push(format!("{} remote uploads are still to be deleted", counts.abandoning));
            }
        }
    }
    match engine.events_since(0, 1_000_000).await {
        Err(error) => complaints.push(format!("the events cannot be read: {error}")),
        Ok(events) => {
            complaints.extend(without_gap(&events));
            complaints.extend(lives(&events));
            complaints.extend(promises_kept(world, home, &events));
            complaints.extend(uploaded_once(world, home, engine, &events).await);
        }
    }
    if home == 0 {
        complaints.extend(audit_vault(world, engine, session).await);
    }
    let workers = world.homes[home].path.join("workers");
    let leftovers: Vec<_> = world.device.files().into_iter().filter(|path| path.starts_with(&workers)).collect();
    // The auditor's own engine has not entered as a worker.
    if !leftovers.is_empty() {
        complaints.push(format!("workers left {leftovers:?}"));
    }
    complaints
}

/// What the vault holds, against all sources and all that passed the wire.
async fn audit_vault(world: &World, engine: &Engine, session: &Session) -> Vec<String> {
    let mut complaints = Vec::new();
    let contents: BTreeSet<&[u8]> = world.sources.values().map(|source| &source.bytes[..]).collect();
    match landfall::recipes::vault::keys_of_records(engine, session).await {
        Err(error) => complaints.push(format!("the vault cannot be listed: {error}")),
        Ok(records) => {
            if records.len() < contents.len() {
                complaints.push(format!("{} contents, {} records", contents.len(), records.len()));
            }
            let digests: BTreeSet<&[u8]> = records.iter().map(|record| &record.digest[..]).collect();
            if digests.len() != records.len() {
                complaints.push("two records have one content".to_owned());
            }
            complaints.extend(sealed_once(world, &records));
        }
    }
    let held = world.tap.held_bytes();
    let shown = world.tap.seen().progress_bytes;
    if shown > held {
        complaints.push(format!("{shown} bytes were said to be stored, and the vault ever held {held}"));
    }
    complaints
}

fn without_gap(events: &[Event]) -> Vec<String> {
    let gaps = events.windows(2).filter(|pair| pair[1].number != pair[0].number + 1);
    gaps.map(|pair| format!("event {} follows event {}", pair[1].number, pair[0].number)).collect()
}

/// Whether something has happened to an item since it last began anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Since {
    No,
    /// It may have begun anew.
    Perhaps,
    Yes,
}

/// Every item's events are a life that one holder at a time can have led: it is prepared once before it begins anew,
/// then uploaded once, and nothing happens to it after its end. Two holders leave two of something.
fn lives(events: &[Event]) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut lives: BTreeMap<ItemId, (Since, Since, Option<&str>)> = BTreeMap::new();
    for event in events {
        let (prepared, uploaded, end) = lives.entry(event.item).or_insert((Since::No, Since::No, None));
        if let Some(end) = end {
            complaints.push(format!("item {} was {end}, and then {}", event.item, event.kind));
        }
        match event.kind.as_str() {
            "prepared" if *prepared == Since::Yes => {
                complaints.push(format!("item {} was prepared twice", event.item));
            }
            "prepared" => (*prepared, *uploaded) = (Since::Yes, Since::No),
            "uploaded" if *uploaded == Since::Yes || *prepared == Since::No => {
                complaints.push(format!("item {} was uploaded twice, or before it was prepared", event.item));
            }
            "uploaded" => *uploaded = Since::Yes,
            "source-changed" | "unlinked" => (*prepared, *uploaded) = (Since::No, Since::No),
            "resumed" | "retried" => {
                for since in [prepared, uploaded] {
                    if *since == Since::Yes {
                        *since = Since::Perhaps;
                    }
                }
            }
            "done" | "cancelled" | "skipped" => *end = Some(&event.kind),
            _ => {}
        }
    }
    complaints
}

/// What somebody was told is done is done.
fn promises_kept(world: &World, home: usize, events: &[Event]) -> Vec<String> {
    let done: BTreeSet<ItemId> = events.iter().filter(|event| event.kind == "done").map(|event| event.item).collect();
    let seen = world.tap.seen();
    let broken = seen.promised.iter().filter(|(of, item)| *of == home && !done.contains(item));
    broken.map(|(_, item)| format!("item {item} was reported done, and the journal does not say so")).collect()
}

/// No content is uploaded twice without a reason: by one home, as often as there were contents of its length, and once
/// more for each time something happened that may make an item begin anew.
async fn uploaded_once(world: &World, home: usize, engine: &Engine, events: &[Event]) -> Vec<String> {
    const REASONS: [&str; 7] = ["source-changed", "unlinked", "retried", "resumed", "cancelled", "paused", "blocked"];
    let mut allowed: BTreeMap<u64, usize> = BTreeMap::new();
    for (length, count) in &world.contents {
        *allowed.entry(sealed(*length)).or_default() += count + world.removals;
    }
    for event in events.iter().filter(|event| REASONS.contains(&event.kind.as_str())) {
        let Ok((item, _)) = engine.item(event.item).await else { continue };
        let path = world.homes[home].photos.join(String::from_utf8_lossy(&item.source.1).as_ref());
        for length in world.lengths.get(&path).into_iter().flatten() {
            *allowed.entry(sealed(*length)).or_default() += 1;
        }
    }
    let mut uploads: BTreeMap<u64, usize> = BTreeMap::new();
    let seen = world.tap.seen();
    for sent in seen.objects.values().filter(|sent| sent.home == home && sent.size != THUMBNAIL_SEALED) {
        *uploads.entry(sent.size).or_default() += 1;
    }
    let too_many = uploads.iter().filter(|(size, count)| **count > allowed.get(size).copied().unwrap_or(0));
    too_many.map(|(size, count)| format!("a content of {size} sealed bytes was uploaded {count} times")).collect()
}

/// No two different ciphertexts under one key and nonce ever left: nothing that was sent under another name opens with a
/// record's key and header. That a part is always sent alike is seen on the wire.
fn sealed_once(world: &World, records: &[landfall::recipes::vault::RecordKeys]) -> Vec<String> {
    let mut complaints = Vec::new();
    let seen = world.tap.seen();
    for record in records {
        let header = StreamHeader::from_bytes(record.header);
        for (key, sent) in &seen.objects {
            let Some(body) = sent.parts.get(&1).filter(|_| *key != record.object_key) else { continue };
            if opens(&record.key, &header, body) {
                complaints.push(format!("{key} was sealed with the key and header of {}", record.object_key));
            }
        }
    }
    complaints
}

fn opens(key: &FileKey, header: &StreamHeader, body: &[u8]) -> bool {
    let chunk_len = ChunkLen::new(CHUNK).expect("1 KiB is a length");
    let first = &body[..body.len().min(chunk_len.sealed_bytes())];
    let mut buffer = ChunkBuffer::with_capacity(chunk_len);
    buffer.wire_mut(first.len()).copy_from_slice(first);
    StreamOpener::new(key, header, chunk_len).open_chunk(&mut buffer).is_ok()
}
