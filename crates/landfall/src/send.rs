//! Moving an object's bytes: open, send parts, ask, complete.

use std::{collections::BTreeMap, io, path::PathBuf, sync::Arc};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream, stream::FuturesUnordered};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use landfall_core::{Code, Failure, ObjectState, PartNumber, PartState, Remedy, Role};
use landfall_crypto::{ChunkMac, ChunkSealer, FileKey, MacXor, ResealError, StreamHeader};
use landfall_env::Sabotage;
use landfall_protocol::{CompletePart, Grant, NewUpload, PartChecksum, UploadState, UploadStatus};
use landfall_store::{Object, Part};
use landfall_transport::{
    Body, BodyError,
    vault::{Plan, answer},
};

use crate::{
    Progress,
    drive::{Drive, Halt, Present},
    engine::Inner,
    remote::CallFailure,
    source::{self, Source},
    sources::Disk,
};

/// Bytes handed to a carrier at once: small enough for a watchdog to see them move.
const FRAME_BYTES: usize = 256 << 10;

impl Drive {
    /// Opens the remote upload, whether or not it was opened before, and sends the first parts with the grants that
    /// come with the answer.
    pub(crate) async fn open(&mut self, object: &Object) -> Result<(), Halt> {
        let (id, state) = (object.id, object.state);
        if state == ObjectState::Absent && !self.sabotaged(Sabotage::NoIntentRow) {
            self.write(move |tx, lease, now| tx.set_object(lease, id, ObjectState::Opening, now)).await?;
        }
        self.reached("upload.open.intent");
        let sign =
            object.parts.iter().take(self.engine.settings.parts_in_flight_max).map(|part| checksum(object, part));
        let upload = NewUpload {
            object_key: object.object_key.clone(),
            size: object.plan.size(),
            part_size: object.plan.part_size(),
            sign: sign.collect(),
        };
        let status = self.session.inner.remote.open(&upload).await?;
        self.reached("upload.open.answered");
        self.note_status(object, &status).await?;
        self.reached("upload.open.committed");
        let received = self.engine.env.clock.monotonic();
        for grant in status.grants {
            let expires = received + std::time::Duration::from_millis(grant.ttl_ms);
            self.grants.insert((id, grant.number), (grant, expires));
        }
        Ok(())
    }

    /// Asks what the remote holds.
    pub(crate) async fn ask(&mut self, object: &Object) -> Result<(), Halt> {
        if self.sabotaged(Sabotage::LostAnswerIsFailure) {
            // Begins again under a new key and forgets the old one.
            let id = object.id;
            self.write(move |tx, lease, now| tx.set_object(lease, id, ObjectState::Abandoned, now)).await?;
            return Err(Failure::new(Remedy::NewRevision, Code::AnswerLost, "an answer was lost").into());
        }
        match self.session.inner.remote.status(&plan(object)).await? {
            Some(status) => self.note_status(object, &status).await,
            None => {
                let id = object.id;
                // The remote does not know it: every part is to be sent, after it was opened.
                self.write(move |tx, lease, now| tx.asked(lease, id, ObjectState::Opening, &BTreeMap::new(), now)).await
            }
        }
    }

    async fn note_status(&mut self, object: &Object, status: &UploadStatus) -> Result<(), Halt> {
        answer::stored_as_sent(status, &complete_parts(object))?;
        let state = match status.state {
            UploadState::Open => ObjectState::Open,
            UploadState::Stored => ObjectState::Stored,
        };
        let held: BTreeMap<u32, u32> = status.parts.iter().map(|part| (part.number, part.crc32c)).collect();
        let mut found = 0;
        if object.role == Role::File {
            let known = |part: &&Part| part.state == PartState::Stored;
            let new = object.parts.iter().filter(|part| !known(part) && held.contains_key(&part.number.0));
            found = new.filter_map(|part| object.plan.part(part.number)).map(|span| span.length).sum();
        }
        let id = object.id;
        self.write(move |tx, lease, now| tx.asked(lease, id, state, &held, now)).await?;
        self.known.insert(id);
        // Not before it is written: otherwise whoever asks next would count it again.
        if found > 0 {
            self.observer.saw(Progress::Stored { item: self.lease.item, bytes: found, is_found: true });
        }
        Ok(())
    }

    /// Sends parts at once and commits each receipt as it arrives.
    pub(crate) async fn send(
        &mut self,
        present: &Present,
        object: &Object,
        numbers: Vec<PartNumber>,
    ) -> Result<(), Halt> {
        let parts: Vec<&Part> = object.parts.iter().filter(|part| numbers.contains(&part.number)).collect();
        let grants = self.grants_for(object, &parts).await?;
        let sealing = match object.role {
            Role::Thumbnail => None,
            Role::File => Some(Arc::new(Sealing::of(self, present, object)?)),
        };
        let id = object.id;
        self.write(move |tx, lease, now| tx.parts_sent(lease, id, &numbers, now)).await?;
        self.reached("upload.send.intent");
        if self.sabotaged(Sabotage::PublishBeforeReceipt) {
            for part in &parts {
                let number = part.number;
                self.write(move |tx, lease, now| tx.part_stored(lease, id, number, now)).await?;
            }
        }
        let remote = self.session.inner.remote.clone();
        let mut transfers = FuturesUnordered::new();
        for (part, grant) in parts.into_iter().zip(grants) {
            let body = match &sealing {
                None => landfall_transport::whole(object.sealed.clone().unwrap_or_default()),
                Some(sealing) => sealing.body(&self.engine, object, part),
            };
            let sum = checksum(object, part);
            let remote = &remote;
            transfers.push(async move { (part, sum, remote.put_part(&grant, &sum, body).await) });
        }
        let mut worst: Option<Halt> = None;
        while let Some((part, sum, outcome)) = transfers.next().await {
            self.engine.env.steps.reached("upload.send.answered");
            match self.receipt(object, part, &sum, outcome).await {
                Ok(()) => {
                    self.free_failures = 0;
                    self.engine.env.steps.reached("upload.send.committed");
                }
                // The other parts under way are heard out: what they bring need not be sent again.
                Err(halt) => worst = Some(more_serious(worst, halt)),
            }
        }
        drop(transfers);
        if worst.is_some() {
            let id = object.id;
            self.grants.retain(|(object, _), _| *object != id);
        }
        worst.map_or(Ok(()), Err)
    }

    async fn receipt(
        &self,
        object: &Object,
        part: &Part,
        sum: &PartChecksum,
        outcome: Result<(), CallFailure>,
    ) -> Result<(), Halt> {
        let (id, number) = (object.id, part.number);
        let failure = match outcome {
            Ok(()) => {
                self.write(move |tx, lease, now| tx.part_stored(lease, id, number, now)).await?;
                if object.role == Role::File {
                    let bytes = sum.length;
                    self.observer.saw(Progress::Stored { item: self.lease.item, bytes, is_found: false });
                }
                return Ok(());
            }
            Err(CallFailure::Failed(failure)) => failure,
            Err(CallFailure::Body(error)) => body_failure(error),
        };
        match failure.remedy {
            // It may have arrived: the row says so, and the next step asks.
            Remedy::Ask => {}
            Remedy::Reopen => {
                let reopened = move |tx: &landfall_store::Tx<'_>, lease: &landfall_store::Lease, now| {
                    tx.asked(lease, id, ObjectState::Opening, &BTreeMap::new(), now)
                };
                self.write(reopened).await?;
            }
            _ => self.write(move |tx, lease, now| tx.part_refused(lease, id, number, now)).await?,
        }
        Err(Halt::Failed(failure))
    }

    /// Makes the object of its parts.
    pub(crate) async fn complete(&mut self, object: &Object) -> Result<(), Halt> {
        let id = object.id;
        self.write(move |tx, lease, now| tx.set_object(lease, id, ObjectState::Completing, now)).await?;
        self.reached("complete.intent");
        let completed = self.session.inner.remote.complete(&plan(object), complete_parts(object)).await;
        self.reached("complete.answered");
        match completed {
            Ok(()) => {
                self.write(move |tx, lease, now| tx.set_object(lease, id, ObjectState::Stored, now)).await?;
                self.reached("complete.committed");
                Ok(())
            }
            // Whatever it was, the row says `completing`, and the next step asks.
            Err(failure) => Err(failure.into()),
        }
    }

    /// A grant per part: those at hand that are still good, and fresh ones for the rest.
    async fn grants_for(&mut self, object: &Object, parts: &[&Part]) -> Result<Vec<Grant>, Halt> {
        let now = self.engine.env.clock.monotonic();
        self.grants.retain(|_, (_, expires)| *expires > now);
        let missing: Vec<_> = parts
            .iter()
            .filter(|part| !self.grants.contains_key(&(object.id, part.number.0)))
            .map(|part| checksum(object, part))
            .collect();
        if !missing.is_empty() {
            let signed = self.session.inner.remote.sign(&object.object_key, &missing).await;
            let signed = match signed {
                Err(failure) if failure.remedy == Remedy::Reopen => {
                    let id = object.id;
                    self.write(move |tx, lease, now| tx.asked(lease, id, ObjectState::Opening, &BTreeMap::new(), now))
                        .await?;
                    return Err(failure.into());
                }
                other => other?,
            };
            let now = self.engine.env.clock.monotonic();
            for grant in signed {
                let expires = now + std::time::Duration::from_millis(grant.ttl_ms);
                self.grants.insert((object.id, grant.number), (grant, expires));
            }
        }
        let taken = parts.iter().map(|part| self.grants.remove(&(object.id, part.number.0)).map(|(grant, _)| grant));
        taken.collect::<Option<Vec<_>>>().ok_or_else(|| {
            Failure::new(Remedy::Retry, Code::BadAnswer, "the destination granted other parts than it was asked for")
                .into()
        })
    }
}

/// Of two failures the one that leads further: a changed source ends everything that was sent of it.
pub(crate) fn more_serious(first: Option<Halt>, second: Halt) -> Halt {
    let weight = |halt: &Halt| match halt {
        Halt::Fatal(_) => 5,
        Halt::LeaseGone => 4,
        Halt::Failed(failure) => match failure.remedy {
            Remedy::NewRevision => 3,
            Remedy::Block | Remedy::LogIn => 2,
            Remedy::Retry => 1,
            _ => 0,
        },
    };
    match first {
        Some(first) if weight(&first) >= weight(&second) => first,
        _ => second,
    }
}

pub(crate) fn plan(object: &Object) -> Plan {
    Plan { object_key: object.object_key.clone(), size: object.plan.size(), part_size: object.plan.part_size() }
}

fn complete_parts(object: &Object) -> Vec<CompletePart> {
    object.parts.iter().map(|part| CompletePart { number: part.number.0, crc32c: part.crc32c }).collect()
}

fn checksum(object: &Object, part: &Part) -> PartChecksum {
    let length = object.plan.part(part.number).map_or(0, |span| span.length);
    PartChecksum { number: part.number.0, length, crc32c: part.crc32c }
}

/// What a body says when it fails: it carries the failure itself.
fn body_failure(error: BodyError) -> Failure {
    match error.downcast::<Failure>() {
        Ok(failure) => *failure,
        Err(error) => Failure::new(Remedy::Retry, Code::SourceUnreadable, error.to_string()),
    }
}

/// How to seal any chunk of a file again.
struct Sealing {
    path: PathBuf,
    identity: landfall_store::SourceIdentity,
    sealer: ChunkSealer,
    /// MACs of all chunks, in order.
    macs: Vec<ChunkMac>,
    plain_size: u64,
    chunks_per_part: u64,
    unchecked: bool,
}

impl Sealing {
    fn of(drive: &Drive, present: &Present, object: &Object) -> Result<Self, Halt> {
        let sealed = present.item.file_key.as_deref().unwrap_or_default();
        let key: FileKey = drive.session.inner.open_file_key(sealed)?;
        let header: [u8; 24] = object.header.as_slice().try_into().unwrap_or_default();
        let macs = object.parts.iter().flat_map(|part| part.macs.as_chunks::<16>().0);
        let chunk = drive.engine.memory.chunk_len().sealed_bytes() as u64;
        Ok(Self {
            path: source::path_of(&present.root, &present.item),
            identity: present.item.identity.unwrap_or_default(),
            sealer: ChunkSealer::new(&key, &StreamHeader::from_bytes(header)),
            macs: macs.map(|mac| ChunkMac::from_bytes(*mac)).collect(),
            plain_size: object.plain_size,
            chunks_per_part: object.plan.part_size().div_ceil(chunk),
            unchecked: drive.sabotaged(Sabotage::SkipMacCheck),
        })
    }

    /// The bytes of a part, sealed again as they are asked for: one chunk in memory at a time.
    fn body(self: &Arc<Self>, engine: &Arc<Inner>, object: &Object, part: &Part) -> Body {
        let first = u64::from(part.number.0 - 1) * self.chunks_per_part;
        let count = part.macs.len() as u64 / 16;
        let earlier = MacXor::of(&self.macs[..usize::try_from(first).unwrap_or(usize::MAX).min(self.macs.len())]);
        let state = PartReader {
            sealing: Arc::clone(self),
            engine: Arc::clone(engine),
            source: None,
            next: first,
            end: first + count,
            earlier,
            rest: Bytes::new(),
        };
        debug_assert!(object.plan.part(part.number).is_some());
        let frames = stream::try_unfold(state, |mut state| async move {
            if state.rest.is_empty() {
                if state.next == state.end {
                    return Ok::<_, BodyError>(None);
                }
                state.rest = state.chunk().await?;
            }
            // No short frame at the end of a chunk: whoever gathers what is short would keep the whole chunk for it.
            let length = if state.rest.len() < 2 * FRAME_BYTES { state.rest.len() } else { FRAME_BYTES };
            let frame = state.rest.split_to(length);
            Ok(Some((Frame::data(frame), state)))
        });
        StreamBody::new(frames).boxed_unsync()
    }
}

struct PartReader {
    sealing: Arc<Sealing>,
    engine: Arc<Inner>,
    source: Option<Source>,
    next: u64,
    end: u64,
    earlier: MacXor,
    rest: Bytes,
}

impl PartReader {
    /// Reads and seals the next chunk. Fails, without a byte, if it is not the chunk that was prepared.
    async fn chunk(&mut self) -> Result<Bytes, Failure> {
        let sources = &self.engine.sources;
        let source = match self.source.take() {
            Some(source) => source,
            None => {
                let path = self.sealing.path.clone();
                let disk = Disk::of(self.sealing.identity.device, &path);
                let source = Source::open(sources, disk, path).await.map_err(gone_is_new)?;
                if source.identity() != self.sealing.identity && !self.sealing.unchecked {
                    return Err(new_revision());
                }
                source
            }
        };
        let (mut buffer, hold) = self.engine.memory.chunk().await.take();
        let (sealing, index, earlier) = (Arc::clone(&self.sealing), self.next, self.earlier);
        let chunk_len = self.engine.memory.chunk_len().bytes() as u64;
        let (source, sealed) = source
            .with(sources, move |file| -> Result<_, Failure> {
                let offset = index * chunk_len;
                let len = usize::try_from(chunk_len.min(sealing.plain_size - offset)).unwrap_or(usize::MAX);
                let read = file
                    .read_at(offset, buffer.message_mut(len))
                    .map_err(|error: io::Error| source::failure_of(&error))?;
                if read != len {
                    buffer.wipe();
                    return Err(new_revision());
                }
                let last = index + 1 == sealing.macs.len() as u64;
                let Some(expected) = usize::try_from(index).ok().and_then(|at| sealing.macs.get(at)) else {
                    return Err(new_revision());
                };
                let expected = if sealing.unchecked {
                    // Seals whatever is there: the sabotage that a changed source must be caught by.
                    let mut copy = landfall_crypto::ChunkBuffer::with_capacity(
                        landfall_crypto::ChunkLen::new(u32::try_from(chunk_len).unwrap_or(u32::MAX))
                            .unwrap_or(landfall_crypto::ChunkLen::MAX),
                    );
                    copy.message_mut(len).copy_from_slice(buffer.message());
                    sealing.sealer.seal(index, &earlier, &mut copy, last).map_err(|_| new_revision())?
                } else {
                    *expected
                };
                match sealing.sealer.reseal(index, &earlier, buffer, last, &expected) {
                    Ok(chunk) => Ok((chunk, expected)),
                    Err(ResealError::SourceChanged(_) | _) => Err(new_revision()),
                }
            })
            .await?;
        let (chunk, mac) = sealed?;
        self.earlier.push(&mac);
        self.next += 1;
        self.source = Some(source);
        Ok(Bytes::from_owner(hold.hold(chunk)))
    }
}

fn new_revision() -> Failure {
    Failure::new(Remedy::NewRevision, Code::SourceChanged, "the source is not what was prepared any more")
}

/// A source that vanished or cannot be read is found out properly by preparing it again.
fn gone_is_new(failure: Failure) -> Failure {
    match failure.code {
        Code::SourceStalled => failure,
        // It was not even asked.
        _ if failure.remedy == Remedy::Retry => failure,
        _ => Failure { remedy: Remedy::NewRevision, ..failure },
    }
}
