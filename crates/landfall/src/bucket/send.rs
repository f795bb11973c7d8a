//! Moving an object's bytes: put, open, send parts, complete.

use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError},
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream, stream::FuturesUnordered};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use landfall_core::{Algorithm, Checksum, Code, Failure, ObjectState, PartNumber, Proof, Remedy, UploadKind};
use landfall_env::Sabotage;
use landfall_store::{BucketObject, BucketPart};
use landfall_transport::{
    Body, BodyError,
    s3::{
        answer::Receipt,
        request::{CompletedPart, NewObject},
    },
};

use super::{
    bundle,
    checksum::Summing,
    content::{Archive, Content},
    drive::{Present, Upload},
    pacer::Pacer,
    remote::{CallFailure, Sight},
    seal::{SealedContent, Sealing},
};
use crate::{Progress, drive::Halt, engine::Inner, memory::HeldMessage};

/// Bytes handed to a carrier at once: small enough for a watchdog to see them move.
const FRAME_BYTES: usize = 256 << 10;

impl Upload {
    /// Puts an object of one part.
    pub(crate) async fn put(&mut self, present: &Present, object: &BucketObject) -> Result<(), Halt> {
        let Some(condition) = self.condition(object).await? else { return Ok(()) };
        let (id, number) = (object.id, PartNumber(1));
        let body = self.body(present, object, &object.parts[0]).await?;
        self.write(move |tx, lease, now| tx.bucket_part_sent(lease, id, number, now)).await?;
        self.reached("bucket.put.intent");
        let put = self.bucket.inner.remote.put(object, &new_object(present, object), &condition, body).await;
        self.reached("bucket.put.answered");
        let failure = match put {
            // The bucket compared the checksum, or the hash of the body, before it answered.
            Ok(Receipt { .. }) => return self.stored(object, false).await,
            Err(CallFailure::Failed(failure)) => failure,
            Err(CallFailure::Body(error)) => body_failure(error),
        };
        match failure.remedy {
            Remedy::Ask if failure.code == Code::KeyTaken => {
                self.write(move |tx, lease, now| tx.bucket_part_refused(lease, id, number, now)).await?;
                return self.taken(object).await;
            }
            // It may be there: the row says so, and the next step asks.
            Remedy::Ask => {}
            _ => self.write(move |tx, lease, now| tx.bucket_part_refused(lease, id, number, now)).await?,
        }
        Err(failure.into())
    }

    /// Opens a remote upload.
    pub(crate) async fn open(&mut self, present: &Present, object: &BucketObject) -> Result<(), Halt> {
        // What is there already need not be sent, and what is in the way is known before anything is.
        // Whatever the bucket answers, it says what time it is.
        match self.bucket.inner.remote.head(&object.object_key).await? {
            Sight::Object(head) if object.is_guarded && self.occupied(object, &head).await?.is_none() => return Ok(()),
            Sight::Hidden(failure) if !self.may_go_unseen(object).await? => return Err(failure.into()),
            _ => {}
        }
        let (id, remote) = (object.id, &self.bucket.inner.remote);
        if !self.sabotaged(Sabotage::NoIntentRow) {
            // By the bucket's clock: by it we shall know what was opened since, whatever becomes of ours.
            let at = remote.its_time();
            self.write(move |tx, lease, now| tx.bucket_opening(lease, id, at, now)).await?;
        }
        self.reached("bucket.open.intent");
        let opened = self.bucket.inner.remote.create(&object.object_key, &new_object(present, object)).await;
        self.reached("bucket.open.answered");
        match opened {
            Ok(upload_id) => {
                let opened = upload_id.clone();
                if let Err(halt) = self.write(move |tx, lease, now| tx.bucket_opened(lease, id, &opened, now)).await {
                    // Whoever holds the item now knows nothing of this one.
                    let (item, key) = (self.lease.item, object.object_key.clone());
                    self.write(move |tx, _, _| tx.abandon_upload_id(item, &key, &upload_id)).await?;
                    return Err(halt);
                }
                self.reached("bucket.open.committed");
                // Nobody else can have sent anything.
                self.is_known = true;
                Ok(())
            }
            Err(failure) => {
                match failure.remedy {
                    Remedy::Ask => {}
                    // A gateway that says so need not know whether it was carried out.
                    _ if matches!(failure.code, Code::ServerError | Code::BadAnswer) => {
                        self.write(move |tx, lease, now| tx.bucket_open_lost(lease, id, now)).await?;
                    }
                    _ => self.write(move |tx, lease, now| tx.bucket_object_gone(lease, id, now)).await?,
                }
                Err(failure.into())
            }
        }
    }

    /// Sends parts, as many at once as the window allows, and writes each receipt as it arrives.
    pub(crate) async fn send(
        &mut self,
        present: &Present,
        object: &BucketObject,
        numbers: Vec<PartNumber>,
    ) -> Result<(), Halt> {
        let upload_id = object.upload_id.clone().unwrap_or_default();
        let mut waiting: VecDeque<&BucketPart> =
            object.parts.iter().filter(|part| numbers.contains(&part.number)).collect();
        let mut under_way = FuturesUnordered::new();
        let mut worst: Option<Halt> = None;
        loop {
            let most = if self.bucket.inner.pacer.is_limited() { 1 } else { self.window.size() };
            while worst.is_none() && under_way.len() < most {
                let Some(part) = waiting.pop_front() else { break };
                let body = self.body(present, object, part).await?;
                let length = object.plan.part(part.number).map_or(0, |span| span.length);
                let (id, number) = (object.id, part.number);
                let intent = (self.engine.journal.clone(), self.lease.clone(), self.engine.now());
                let (remote, upload_id, steps) =
                    (self.bucket.inner.remote.clone(), &upload_id, self.engine.env.steps.clone());
                under_way.push(async move {
                    let (journal, lease, now) = intent;
                    let noted = journal.write(move |tx| tx.bucket_part_sent(&lease, id, number, now)).await;
                    if let Err(error) = noted {
                        return (part, Err(error));
                    }
                    steps.reached("bucket.send.intent");
                    let sent = remote.send_part(object, upload_id, part, length, body).await;
                    steps.reached("bucket.send.answered");
                    (part, Ok(sent))
                });
            }
            let Some((part, sent)) = under_way.next().await else { break };
            let received = match sent {
                Ok(sent) => self.receipt(object, part, sent).await,
                Err(error) => Err(error.into()),
            };
            match received {
                Ok(()) => {
                    self.free_failures = 0;
                    self.window.on_success();
                    self.at_work.gets_further();
                    self.reached("bucket.send.committed");
                }
                // The other parts under way are heard out: what they bring need not be sent again.
                Err(halt) => worst = Some(crate::send::more_serious(worst, halt)),
            }
        }
        worst.map_or(Ok(()), Err)
    }

    async fn receipt(
        &self,
        object: &BucketObject,
        part: &BucketPart,
        sent: Result<Receipt, CallFailure>,
    ) -> Result<(), Halt> {
        let (id, number) = (object.id, part.number);
        let failure = match sent {
            Ok(receipt) => {
                self.write(move |tx, lease, now| tx.bucket_part_stored(lease, id, number, &receipt.etag, now)).await?;
                let bytes = object.plan.part(number).map_or(0, |span| span.length);
                self.observer.saw(Progress::Stored { item: self.lease.item, bytes, is_found: false });
                return Ok(());
            }
            Err(CallFailure::Failed(failure)) => failure,
            Err(CallFailure::Body(error)) => body_failure(error),
        };
        match failure.remedy {
            // It may have arrived, or the upload may be gone: the row says `sent`, and the next step asks.
            Remedy::Ask | Remedy::Reopen => {}
            _ => self.write(move |tx, lease, now| tx.bucket_part_refused(lease, id, number, now)).await?,
        }
        Err(failure.into())
    }

    /// Makes the object of its parts. Whatever the answer is, what is there is asked for afterwards.
    pub(crate) async fn complete(&mut self, object: &BucketObject) -> Result<(), Halt> {
        let Some(condition) = self.condition(object).await? else { return Ok(()) };
        let upload_id = object.upload_id.clone().unwrap_or_default();
        let parts: Vec<CompletedPart> = object
            .parts
            .iter()
            .map(|part| CompletedPart {
                number: part.number,
                etag: part.etag.clone().unwrap_or_default(),
                checksum: object.checksum_of(part),
            })
            .collect();
        let whole = match object.proof {
            Proof::Checksum(algorithm) if algorithm.covers_object() => {
                object.checksum.clone().and_then(|sum| Checksum::new(algorithm, sum))
            }
            _ => None,
        };
        self.set(object, ObjectState::Completing).await?;
        self.reached("bucket.complete.intent");
        let completed = self.bucket.inner.remote.complete(object, &upload_id, &parts, whole.as_ref(), &condition).await;
        self.reached("bucket.complete.answered");
        match completed {
            Ok(_) => {
                self.completed = Some(object.id);
                Ok(())
            }
            Err(failure) if failure.code == Code::KeyTaken => self.taken(object).await,
            Err(failure) => Err(failure.into()),
        }
    }

    /// The archive that was prepared, if it is one. Read once, and used for all its parts.
    async fn archive(&self, present: &Present, object: &BucketObject) -> Result<Option<Arc<Archive>>, Halt> {
        if present.upload.kind == UploadKind::File {
            return Ok(None);
        }
        if let Some((of, archive)) = self.archive.lock().unwrap_or_else(PoisonError::into_inner).as_ref()
            && *of == object.id
        {
            return Ok(Some(Arc::clone(archive)));
        }
        let id = present.upload.id;
        let entries = self.engine.journal.read(move |tx| tx.bundle_entries(id)).await?;
        let archive = Archive::new(bundle::layout(&entries)?, entries);
        *self.archive.lock().unwrap_or_else(PoisonError::into_inner) = Some((object.id, Arc::clone(&archive)));
        Ok(Some(archive))
    }

    /// How what is sealed is sealed again. Made once, and used for all its parts.
    fn sealing(
        &self,
        present: &Present,
        object: &BucketObject,
        plain_size: u64,
    ) -> Result<Option<Arc<Sealing>>, Failure> {
        let Some(master) = self.bucket.master().filter(|_| present.upload.is_sealed) else { return Ok(None) };
        let mut kept = self.sealing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((id, sealing)) = kept.as_ref()
            && *id == object.id
        {
            return Ok(Some(Arc::clone(sealing)));
        }
        let sealing = Arc::new(Sealing::of(&present.upload, object, master, plain_size)?);
        *kept = Some((object.id, Arc::clone(&sealing)));
        Ok(Some(sealing))
    }

    async fn body(&self, present: &Present, object: &BucketObject, part: &BucketPart) -> Result<Body, Halt> {
        let Some(span) = object.plan.part(part.number) else { return Err(super::changed().into()) };
        let archive = self.archive(present, object).await?;
        let mut content = Content::prepared(&self.engine.sources, &present.upload, archive);
        content.is_unchecked = self.sabotaged(Sabotage::SkipMacCheck);
        let content = match self.sealing(present, object, content.size())? {
            Some(sealing) => Bytewise::Sealed(SealedContent::new(content, sealing)),
            None => Bytewise::Plain(content),
        };
        let reader = PartReader {
            engine: Arc::clone(&self.engine),
            pacer: self.bucket.inner.pacer.clone(),
            content,
            at: span.offset,
            end: span.offset + span.length,
            summing: Some(Summing::new(object.proof)),
            expected: part.checksum.clone(),
            rest: Bytes::new(),
        };
        Ok(reader.into_body())
    }
}

/// The bytes of a part, read as they are asked for. The last of them are handed out only if all of them have the checksum
/// that was written down: a part whose source has changed never leaves whole.
struct PartReader {
    engine: Arc<Inner>,
    pacer: Pacer,
    content: Bytewise,
    at: u64,
    end: u64,
    /// `None` once the last byte was read.
    summing: Option<Summing>,
    expected: Vec<u8>,
    rest: Bytes,
}

impl PartReader {
    fn into_body(self) -> Body {
        let frames = stream::try_unfold(self, |mut reader| async move {
            if reader.rest.is_empty() {
                match reader.piece().await? {
                    Some(piece) => reader.rest = piece,
                    None => return Ok::<_, BodyError>(None),
                }
            }
            let whole = if reader.rest.len() < 2 * FRAME_BYTES { reader.rest.len() } else { FRAME_BYTES };
            let length = whole.min(reader.pacer.frame_max());
            reader.pacer.admit(length).await;
            let frame = reader.rest.split_to(length);
            Ok(Some((Frame::data(frame), reader)))
        });
        StreamBody::new(frames).boxed_unsync()
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, Failure> {
        let Some(summing) = &mut self.summing else { return Ok(None) };
        let mut piece = Bytes::new();
        if self.at < self.end {
            piece = self.content.read(&self.engine, self.at, self.end).await.map_err(gone_is_changed)?;
            summing.update(&piece);
            self.at += piece.len() as u64;
        }
        if self.at == self.end {
            let summed = self.summing.take().map(Summing::finish).unwrap_or_default();
            let content = self.content.content();
            let is_unchanged = content.is_unchanged().await.map_err(gone_is_changed)?;
            if (summed != self.expected || !is_unchanged) && !content.is_unchecked {
                return Err(super::changed());
            }
        }
        Ok((!piece.is_empty()).then_some(piece))
    }
}

/// The bytes of an object.
enum Bytewise {
    Plain(Content),
    Sealed(SealedContent),
}

impl Bytewise {
    /// Some of the bytes between two places, from the first on; at least one.
    async fn read(&mut self, engine: &Inner, at: u64, end: u64) -> Result<Bytes, Failure> {
        match self {
            Self::Plain(content) => {
                let chunk = engine.memory.chunk_len().bytes() as u64;
                let length = usize::try_from((end - at).min(chunk)).unwrap_or(usize::MAX);
                let buffer = content.read(at, length, engine.memory.chunk().await).await?;
                Ok(Bytes::from_owner(HeldMessage::new(buffer)))
            }
            Self::Sealed(sealed) => sealed.read(engine, at, end).await,
        }
    }

    fn content(&mut self) -> &mut Content {
        match self {
            Self::Plain(content) => content,
            Self::Sealed(sealed) => &mut sealed.content,
        }
    }
}

/// What the bucket keeps with the object.
fn new_object<'o>(present: &'o Present, object: &'o BucketObject) -> NewObject<'o> {
    let algorithm: Option<Algorithm> = match object.proof {
        Proof::Checksum(algorithm) => Some(algorithm),
        Proof::SignedPayload => None,
    };
    NewObject { content_type: present.upload.content_type.as_deref(), tag: Some(&object.tag), algorithm, metadata: &[] }
}

/// What a body says when it fails: it carries the failure itself.
fn body_failure(error: BodyError) -> Failure {
    match error.downcast::<Failure>() {
        Ok(failure) => *failure,
        Err(error) => Failure::new(Remedy::Retry, Code::SourceUnreadable, error.to_string()),
    }
}

/// A source that vanished or cannot be read is found out properly by preparing it again.
fn gone_is_changed(failure: Failure) -> Failure {
    match failure.code {
        Code::SourceStalled => failure,
        // It was not even asked.
        _ if failure.remedy == Remedy::Retry => failure,
        _ => Failure { remedy: Remedy::NewRevision, ..failure },
    }
}
