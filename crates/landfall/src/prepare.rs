//! Reading a source once: digest, chunk MACs, checksums, thumbnail, metadata. The ciphertext is thrown away; the MACs
//! are enough to make it again.

use std::time::Duration;

use crc_fast::{CrcAlgorithm, Digest as Crc};
use landfall_core::{Code, Failure, PartPlan, Remedy, Role, Timestamp, Waits};
use landfall_crypto::{
    ChunkMac, ChunkSealer, DigestState, FileKey, MacXor, StreamHeader, chunk_count, seal_blob, sealed_len,
};
use landfall_env::Sabotage;
use landfall_images::{MediaKind, Metadata, sniff};
use landfall_store::{PlannedObject, PlannedPart, Prepared, PreparedOutcome, SourceIdentity};

use crate::{
    Progress,
    drive::{Drive, Halt, Present, place_of},
    recipes::vault::metadata,
    source::{self, Reader, Source},
    sources::Disk,
};

/// Bytes from which a kind is told.
pub(crate) const HEAD_BYTES: usize = 4096;

impl Drive {
    /// Reads the source and decides who brings its content.
    pub(crate) async fn prepare(&mut self, present: &Present) -> Result<(), Halt> {
        let env = self.engine.env.clone();
        let path = source::path_of(&present.root, &present.item);
        let sources = self.engine.sources.clone();
        let disk = Disk::of(present.item.device, &path);
        let source = Source::open(&sources, disk, path.clone()).await?;
        let identity = source.identity();
        if identity.size == 0 {
            return self.skip_empty(present, identity).await;
        }
        if identity.size as u64 > self.engine.settings.file_bytes_max.min(self.session.inner.account.object_bytes_max) {
            let message = format!("the file has {} bytes, more than this vault takes", identity.size);
            return Err(Failure::new(Remedy::Block, Code::SourceTooLarge, message).into());
        }
        if let Some(until) = self.still_written_until(&identity) {
            self.write(move |tx, lease, now| tx.release(lease, Waits::Until(until), now)).await?;
            self.observer.saw(Progress::Put { item: self.lease.item });
            return Err(Halt::LeaseGone);
        }
        if present.item.digest.is_some() && present.item.identity == Some(identity) {
            // It was read before, and waited for its twin.
            if let Some(outcome) = self.write(|tx, lease, now| tx.prepared_before(lease, now)).await? {
                return self.follow(outcome);
            }
        }
        let read = self.read_whole(present, source, identity).await?;
        self.reached("prepare.read");
        let (source, unchanged) = read.source.compare(&sources, path).await?;
        if !unchanged {
            return Err(source::changed().into());
        }
        let key = read.key;
        let (kind, found, thumbnail, no_thumbnail) = self.look_inside(present, source, &identity).await?;
        let mut shown = DigestState::new();
        shown.update(&thumbnail);
        let json = metadata::build(present, kind, &found, &identity, &read.digest, &shown.finalize());
        let thumbnail = self.seal_thumbnail(&key, &thumbnail)?;
        let header = StreamHeader::from_bytes(env.random.array());
        let sealed = seal_blob(&key, &header, &json)
            .map_err(|_| Failure::new(Remedy::Block, Code::Refused, "the file's metadata is too long"))?;
        let prepared = Prepared {
            identity,
            digest: read.digest.as_bytes().to_vec(),
            file_key: self.session.inner.seal_file_key(&env, &key),
            metadata: (sealed, header.as_bytes().to_vec()),
            no_thumbnail,
            objects: vec![thumbnail, read.object],
        };
        self.reached("prepare.sealed");
        let outcome = self.write(move |tx, lease, now| tx.prepared(lease, &prepared, now)).await?;
        self.reached("prepare.committed");
        self.observer.saw(Progress::Prepared { item: self.lease.item });
        self.follow(outcome)
    }

    fn follow(&mut self, outcome: PreparedOutcome) -> Result<(), Halt> {
        match outcome {
            PreparedOutcome::Upload => Ok(()),
            PreparedOutcome::Link(_) => {
                self.just_prepared = true;
                Ok(())
            }
            PreparedOutcome::Twin(_) => {
                self.observer.saw(Progress::Put { item: self.lease.item });
                Err(Halt::LeaseGone)
            }
        }
    }

    async fn skip_empty(&self, present: &Present, identity: SourceIdentity) -> Result<(), Halt> {
        self.write(move |tx, lease, now| tx.skip_held(lease, &identity, "empty", now)).await?;
        self.observer.saw(Progress::Skipped { item: self.lease.item, place: place_of(present), code: "empty" });
        Err(Halt::LeaseGone)
    }

    /// A file that was modified a moment ago may still be written.
    fn still_written_until(&self, identity: &SourceIdentity) -> Option<Timestamp> {
        let now = self.engine.now();
        let modified = Timestamp(identity.modified_ns.div_euclid(1_000_000));
        // A time in the future says nothing about the present.
        let is_fresh = modified <= now && now.since(modified) < self.engine.settings.quiet;
        is_fresh.then(|| modified.after(self.engine.settings.quiet).max(now.after(Duration::from_millis(10))))
    }

    async fn read_whole(&self, present: &Present, mut source: Source, identity: SourceIdentity) -> Result<Whole, Halt> {
        let (env, sources) = (&self.engine.env, &self.engine.sources);
        let size = identity.size as u64;
        let memory = &self.engine.memory;
        let chunk_len = memory.chunk_len();
        let (key, header) = self.keys_for(present)?;
        let plan = PartPlan::aligned(
            sealed_len(size, chunk_len),
            chunk_len.sealed_bytes() as u64,
            self.engine.settings.chunks_per_part,
        )
        .ok_or_else(|| Failure::new(Remedy::Block, Code::SourceTooLarge, "the file cannot be cut into parts"))?;
        let chunks = chunk_count(size, chunk_len);
        let mut state = Reading {
            digest: DigestState::new(),
            sealer: ChunkSealer::new(&key, &header),
            earlier: MacXor::default(),
            crc: Crc::new(CrcAlgorithm::Crc32Iscsi),
            macs: Vec::new(),
            parts: Vec::new(),
        };
        let per_part = plan.part_size() / chunk_len.sealed_bytes() as u64;
        for index in 0..chunks {
            let mut held = memory.chunk().await;
            let offset = index * chunk_len.bytes() as u64;
            let len = usize::try_from((size - offset).min(chunk_len.bytes() as u64)).unwrap_or(usize::MAX);
            let last = index + 1 == chunks;
            let (next, (after, read)) = source
                .with(sources, move |file| {
                    let read = file.read_at(offset, held.get().message_mut(len));
                    if matches!(&read, Ok(count) if *count == len) {
                        state.take(index, held.get(), last, per_part);
                    } else {
                        held.get().wipe();
                    }
                    (state, read)
                })
                .await?;
            (source, state) = (next, after);
            if read.map_err(|error| source::failure_of(&error))? != len {
                return Err(source::changed().into());
            }
        }
        let object = PlannedObject {
            role: Role::File,
            object_key: env.random.name(),
            header: header.as_bytes().to_vec(),
            plain_size: size,
            plan,
            sealed: None,
            parts: state.parts,
        };
        Ok(Whole { source, key, digest: state.digest.finalize(), object })
    }

    /// Fresh keys: never one that has sealed other bytes.
    fn keys_for(&self, present: &Present) -> Result<(FileKey, StreamHeader), Halt> {
        let random = &self.engine.env.random;
        if self.sabotaged(Sabotage::ReuseKeyForNewRevision) {
            // The same key and header for every revision of an item.
            let mut seed = [0; 32];
            seed[..8].copy_from_slice(&present.item.id.0.to_le_bytes());
            return Ok((FileKey::from_bytes(seed), StreamHeader::from_bytes([7; 24])));
        }
        Ok((FileKey::from_bytes(random.array()), StreamHeader::from_bytes(random.array())))
    }

    /// Kind, metadata and thumbnail. What cannot be read is missing; only a source that fails is a failure.
    async fn look_inside(
        &self,
        present: &Present,
        source: Source,
        identity: &SourceIdentity,
    ) -> Result<(Option<MediaKind>, Metadata, Vec<u8>, bool), Halt> {
        let sources = &self.engine.sources;
        let size = identity.size as u64;
        let limits = self.engine.settings.thumbnails;
        let sidecar = present.item.kind == "sidecar" || present.item.kind == "other";
        let (source, (kind, found, needed)) = source
            .with(sources, move |file| {
                let mut head = vec![0; HEAD_BYTES];
                let count = file.read_at(0, &mut head).unwrap_or(0);
                let kind = if sidecar { None } else { sniff(&head[..count]) };
                let Some(kind) = kind else { return (None, Metadata::default(), None) };
                let found = landfall_images::read_metadata(&mut Reader::new(file, size), size, kind);
                let needed = landfall_images::memory_needed(&mut Reader::new(file, size), size, kind, &limits);
                (Some(kind), found, needed)
            })
            .await?;
        let (Some(kind), Some(needed)) = (kind, needed) else {
            return Ok((kind, found, landfall_images::placeholder().to_vec(), true));
        };
        let room = self.engine.memory.room(needed.min(limits.memory_bytes)).await;
        let orientation = found.orientation;
        let drawn = source
            .with(sources, move |file| {
                let drawn = landfall_images::thumbnail(&mut Reader::new(file, size), size, kind, orientation, &limits);
                drop(room);
                drawn
            })
            .await?;
        match drawn {
            (_, Ok(thumbnail)) => Ok((Some(kind), found, thumbnail.jpeg, false)),
            _ => Ok((Some(kind), found, landfall_images::placeholder().to_vec(), true)),
        }
    }

    fn seal_thumbnail(&self, key: &FileKey, jpeg: &[u8]) -> Result<PlannedObject, Halt> {
        let random = &self.engine.env.random;
        let header = StreamHeader::from_bytes(random.array());
        let sealed = seal_blob(key, &header, jpeg)
            .map_err(|_| Failure::new(Remedy::Block, Code::Refused, "the thumbnail is too long"))?;
        let size = sealed.len() as u64;
        let plan = PartPlan::from_stored(size, size).expect("a sealed blob is never empty");
        let parts = vec![PlannedPart { crc32c: crc32c(&sealed), macs: sealed[sealed.len() - 16..].to_vec() }];
        Ok(PlannedObject {
            role: Role::Thumbnail,
            object_key: random.name(),
            header: header.as_bytes().to_vec(),
            plain_size: jpeg.len() as u64,
            plan,
            sealed: Some(sealed),
            parts,
        })
    }

    /// The source is not what was prepared: new bytes, new keys, new objects.
    pub(crate) async fn new_revision(&mut self, present: &Present, why: String) -> Result<(), Halt> {
        self.grants.clear();
        if self.sabotaged(Sabotage::DeleteBeforeCommit) {
            for object in &present.objects {
                let _ = self.session.inner.remote.abandon(&object.object_key).await;
            }
            let ids: Vec<_> = present.objects.iter().map(|object| object.id).collect();
            self.write(move |tx, lease, now| {
                ids.into_iter().try_for_each(|id| tx.set_object(lease, id, landfall_core::ObjectState::Abandoned, now))
            })
            .await?;
        }
        self.write(move |tx, lease, now| tx.new_revision(lease, &why, now)).await
    }
}

/// What reading a source whole brought.
struct Whole {
    source: Source,
    key: FileKey,
    digest: landfall_crypto::Digest,
    object: PlannedObject,
}

struct Reading {
    digest: DigestState,
    sealer: ChunkSealer,
    earlier: MacXor,
    crc: Crc,
    macs: Vec<u8>,
    parts: Vec<PlannedPart>,
}

impl Reading {
    /// Takes in the chunk in `buffer`: hashes it, seals it, keeps its MAC and checksum.
    fn take(&mut self, index: u64, buffer: &mut landfall_crypto::ChunkBuffer, last: bool, per_part: u64) {
        self.digest.update(buffer.message());
        let mac: ChunkMac = self
            .sealer
            .seal(index, &self.earlier, buffer, last)
            .expect("a plan has fewer chunks than a stream may have");
        self.earlier.push(&mac);
        self.crc.update(buffer.wire());
        self.macs.extend_from_slice(mac.as_bytes());
        if last || (index + 1).is_multiple_of(per_part) {
            let crc = std::mem::replace(&mut self.crc, Crc::new(CrcAlgorithm::Crc32Iscsi));
            let crc32c = u32::try_from(crc.finalize()).expect("a CRC32C has 32 bits");
            self.parts.push(PlannedPart { crc32c, macs: std::mem::take(&mut self.macs) });
        }
    }
}

fn crc32c(bytes: &[u8]) -> u32 {
    u32::try_from(crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes)).expect("a CRC32C has 32 bits")
}
