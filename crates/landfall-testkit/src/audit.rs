//! What must hold when a world has come to rest, whatever happened in it.

use std::collections::{BTreeMap, BTreeSet};

use landfall::{Engine, Session};
use landfall_crypto::{ChunkBuffer, ChunkLen, FileKey, StreamHeader, StreamOpener};

use crate::world::{CHUNK, World};

/// Everything that does not hold, one sentence each. Knows the journal's public reports and what passed the wire, and
/// nothing of how either came about.
pub(crate) async fn audit(world: &World, engine: &Engine, session: &Session) -> Vec<String> {
    let mut complaints = Vec::new();
    match engine.counts().await {
        Err(error) => complaints.push(format!("the journal cannot be read: {error}")),
        Ok(counts) => {
            if counts.queued() + counts.paused > 0 {
                complaints.push(format!("{} items are not finished", counts.queued() + counts.paused));
            }
            if counts.blocked > 0 {
                complaints.push(format!("{} items are blocked", counts.blocked));
            }
            if counts.abandoning > 0 {
                complaints.push(format!("{} remote uploads are still to be deleted", counts.abandoning));
            }
        }
    }
    complaints.extend(done_once(engine).await);
    let contents: BTreeSet<&[u8]> = world.sources.values().map(|source| &source.bytes[..]).collect();
    let records = landfall::recipes::vault::keys_of_records(engine, session).await;
    match records {
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
    let leftovers: Vec<_> = world.device.files().into_iter().filter(|path| path.starts_with("/home/workers")).collect();
    // The auditor's own engine has not entered as a worker.
    if !leftovers.is_empty() && !world.is_sabotaged() {
        complaints.push(format!("workers left {leftovers:?}"));
    }
    complaints
}

/// An item is done once.
async fn done_once(engine: &Engine) -> Vec<String> {
    let Ok(events) = engine.events_since(0, 1_000_000).await else {
        return vec!["the events cannot be read".to_owned()];
    };
    let mut complaints = Vec::new();
    let mut last = 0;
    let mut done: BTreeMap<i64, u32> = BTreeMap::new();
    for event in events {
        if event.number != last + 1 {
            complaints.push(format!("event {} follows event {last}", event.number));
        }
        last = event.number;
        if event.kind == "done" {
            *done.entry(event.item.0).or_default() += 1;
        }
    }
    complaints.extend(
        done.into_iter()
            .filter(|(_, times)| *times > 1)
            .map(|(item, times)| format!("item {item} was done {times} times")),
    );
    complaints
}

/// No two different ciphertexts under one key and nonce ever left: the same part of an object was always sent alike, and
/// nothing that was sent under another name opens with a record's key and header.
fn sealed_once(world: &World, records: &[landfall::recipes::vault::RecordKeys]) -> Vec<String> {
    let mut complaints = Vec::new();
    let sent = world.tap.parts();
    for ((key, number), bodies) in &sent {
        if bodies.iter().any(|body| body != &bodies[0]) {
            complaints.push(format!("part {number} of {key} was sent with two contents"));
        }
    }
    for record in records {
        let header = StreamHeader::from_bytes(record.header);
        for ((key, number), bodies) in &sent {
            if *number != 1 || *key == record.object_key {
                continue;
            }
            if opens(&record.key, &header, &bodies[0]) {
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
