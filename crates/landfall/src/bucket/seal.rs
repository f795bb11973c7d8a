//! Files that are sealed on their way to a bucket.
//!
//! A sealed file begins with a head and goes on as a stream (`landfall_crypto::SealedHead`). What was written down when it
//! was prepared, the MAC of each chunk, is enough to make any byte of it again, and nothing else leaves: a chunk whose MAC
//! is another one is wiped.

use std::sync::Arc;

use bytes::Bytes;
use landfall_core::{Code, Failure, Remedy};
use landfall_crypto::{
    ChunkLen, ChunkMac, ChunkSealer, FileKey, MacXor, MasterKey, SEALED_HEAD_LEN, SealedHead, StreamHeader,
    chunk_count, sealed_len,
};
use landfall_env::Env;
use landfall_store::{BucketObject, Upload};

use super::content::Content;
use crate::engine::Inner;

const HEAD: u64 = SEALED_HEAD_LEN as u64;

/// The length of a sealed file, in bytes.
pub(super) fn sealed_size(plain_size: u64, chunk_len: ChunkLen) -> u64 {
    HEAD + sealed_len(plain_size, chunk_len)
}

/// The head of a new sealed file, under keys that were never used.
pub(super) fn new_head(env: &Env, master: &MasterKey, chunk_len: ChunkLen) -> (SealedHead, ChunkSealer) {
    let key = FileKey::from_bytes(env.random.array());
    let header = StreamHeader::from_bytes(env.random.array());
    (SealedHead::new(master, &key, env.random.array(), header, chunk_len), ChunkSealer::new(&key, &header))
}

/// How to make any byte of a sealed file again.
pub(super) struct Sealing {
    head: [u8; SEALED_HEAD_LEN],
    sealer: ChunkSealer,
    chunk_len: ChunkLen,
    plain_size: u64,
    /// MACs of all chunks, in order.
    macs: Vec<ChunkMac>,
}

impl Sealing {
    /// That of a file that was prepared.
    pub(super) fn of(
        upload: &Upload,
        object: &BucketObject,
        master: &MasterKey,
        plain_size: u64,
    ) -> Result<Self, Failure> {
        let other = || {
            let why = "it was prepared under other keys than those that are there now";
            Failure::new(Remedy::NewRevision, Code::SourceChanged, why)
        };
        let head = upload.seal_head.as_deref().and_then(|head| SealedHead::parse(head).ok()).ok_or_else(other)?;
        let key = head.open(master).map_err(|_| other())?;
        let macs = object.parts.iter().filter_map(|part| part.macs.as_deref());
        let macs: Vec<ChunkMac> =
            macs.flat_map(|macs| macs.as_chunks::<16>().0).map(|mac| ChunkMac::from_bytes(*mac)).collect();
        if macs.len() as u64 != chunk_count(plain_size, head.chunk_len()) {
            return Err(other());
        }
        Ok(Self {
            head: head.to_bytes(),
            sealer: ChunkSealer::new(&key, head.header()),
            chunk_len: head.chunk_len(),
            plain_size,
            macs,
        })
    }
}

/// The bytes of a sealed file from a place on.
pub(super) struct SealedContent {
    pub(super) content: Content,
    sealing: Arc<Sealing>,
    /// The chunk that comes next, and what the MACs before it add up to.
    next: Option<(u64, MacXor)>,
}

impl SealedContent {
    pub(super) fn new(content: Content, sealing: Arc<Sealing>) -> Self {
        Self { content, sealing, next: None }
    }

    /// Some of the bytes between two places, from the first on; at least one.
    pub(super) async fn read(&mut self, engine: &Inner, at: u64, end: u64) -> Result<Bytes, Failure> {
        if at < HEAD {
            let range = at as usize..end.min(HEAD) as usize;
            return Ok(Bytes::copy_from_slice(&self.sealing.head[range]));
        }
        let sealed = self.sealing.chunk_len.sealed_bytes() as u64;
        let (index, within) = ((at - HEAD) / sealed, (at - HEAD) % sealed);
        let chunk = self.chunk(engine, index).await?;
        let within = usize::try_from(within).unwrap_or(usize::MAX);
        let length = usize::try_from(end - at).unwrap_or(usize::MAX).min(chunk.len().saturating_sub(within));
        if length == 0 {
            return Err(super::changed());
        }
        Ok(chunk.slice(within..within + length))
    }

    async fn chunk(&mut self, engine: &Inner, index: u64) -> Result<Bytes, Failure> {
        let sealing = Arc::clone(&self.sealing);
        let at = usize::try_from(index).unwrap_or(usize::MAX);
        let Some(expected) = sealing.macs.get(at).copied() else { return Err(super::changed()) };
        let earlier = match self.next {
            Some((next, earlier)) if next == index => earlier,
            _ => MacXor::of(&sealing.macs[..at]),
        };
        let chunk_len = sealing.chunk_len.bytes() as u64;
        let offset = index * chunk_len;
        let length = usize::try_from(chunk_len.min(sealing.plain_size - offset)).unwrap_or(usize::MAX);
        let mut buffer = engine.memory.chunk().await;
        if length > 0 {
            buffer = self.content.read(offset, length, buffer).await?;
        } else {
            buffer.get().message_mut(0);
        }
        let (buffer, hold) = buffer.take();
        let last = index + 1 == sealing.macs.len() as u64;
        let resealed = engine
            .env
            .blocking
            .run(move || sealing.sealer.reseal(index, &earlier, buffer, last, &expected))
            .await
            .map_err(|_| super::changed())?;
        let mut after = earlier;
        after.push(&expected);
        self.next = Some((index + 1, after));
        Ok(Bytes::from_owner(hold.hold(resealed)))
    }
}
