//! Reading what is to be uploaded once: its length, its cut, the checksum of each part.

use std::time::Duration;

use landfall_core::{Code, Failure, PartLimits, PartPlan, PlanError, Proof, Remedy, Timestamp, UploadKind, Waits};
use landfall_crypto::{ChunkMac, ChunkSealer, MacXor, SealedHead};
use landfall_env::Sabotage;
use landfall_store::{PlannedBucketObject, PlannedBucketPart, PreparedUpload, SourceIdentity, Tx, Upload as Row};

use super::{
    bundle::Packed,
    checksum::{self, Summing},
    content::Content,
    drive::Upload,
    probe,
    remote::Sight,
    seal,
};
use crate::{
    Progress,
    drive::Halt,
    source::{self, Source, path_from_bytes},
    sources::Disk,
};

impl Upload {
    /// Reads the source and writes down what will exist in the bucket.
    pub(crate) async fn prepare(&mut self, row: &Row) -> Result<(), Halt> {
        let proof = self.proof().await?;
        let (mut content, identity, entries, found) = match row.kind {
            UploadKind::File => {
                let path = path_from_bytes(&row.source);
                let sources = &self.engine.sources;
                let source = Source::open(sources, Disk::around(&path), path.clone()).await?;
                let identity = source.identity();
                (Content::file(sources, path, identity), identity, Vec::new(), None)
            }
            UploadKind::Bundle => {
                let Packed { content, identity, entries, found } = self.pack(row).await?;
                (content, identity, entries, Some(found))
            }
        };
        if let Some(until) = self.still_written_until(&identity) {
            self.write(move |tx, lease, now| tx.release(lease, Waits::Until(until), now)).await?;
            self.observer.saw(Progress::Put { item: self.lease.item });
            return Err(Halt::LeaseGone);
        }
        let is_guarded = !row.overwrites && !self.sabotaged(Sabotage::DropGuard);
        // What is short is sent sooner than it is asked about.
        if is_guarded && content.size() > self.bucket.inner.part_size {
            let size = content.size();
            let size = if row.is_sealed { seal::sealed_size(size, self.engine.memory.chunk_len()) } else { size };
            self.refuse_taken(row, size).await?;
        }
        let inner = &self.bucket.inner;
        let chunk_len = self.engine.memory.chunk_len();
        let sealing = match self.bucket.master() {
            Some(master) if row.is_sealed => Some(seal::new_head(&self.engine.env, master, chunk_len)),
            _ => None,
        };
        let size = if row.is_sealed { seal::sealed_size(content.size(), chunk_len) } else { content.size() };
        let plan = plan(size, inner.part_size, &inner.limits)?;
        let parts = self.read_parts(&mut content, &plan, proof, sealing.as_ref()).await?;
        self.reached("bucket.prepare.read");
        let is_as_found = match &found {
            Some(found) => self.is_as_found(row, found).await?,
            None => true,
        };
        if !is_as_found || !content.is_unchanged().await? {
            return Err(source::changed().into());
        }
        let sums: Vec<(&[u8], u64)> =
            parts.iter().zip(plan.parts()).map(|(part, span)| (part.checksum.as_slice(), span.length)).collect();
        let object = PlannedBucketObject {
            tag: self.engine.env.random.name(),
            plan,
            proof,
            checksum: checksum::of_object(proof, &sums),
            is_guarded,
            parts,
        };
        let seal_head = sealing.map(|(head, _)| head.to_bytes().to_vec());
        let prepared = PreparedUpload { identity, seal_head, entries, object };
        self.write(move |tx, lease, now| tx.upload_prepared(lease, &prepared, now)).await?;
        self.reached("bucket.prepare.committed");
        self.observer.saw(Progress::Prepared { item: self.lease.item });
        Ok(())
    }

    /// What vouches for parts at this bucket. Found out once.
    async fn proof(&self) -> Result<Proof, Halt> {
        let remote = &self.bucket.inner.remote;
        if let Some(proof) = remote.proof() {
            return Ok(proof);
        }
        let _probing = self.bucket.inner.probing.lock().await;
        // Somebody else may just have found out.
        if let Some(proof) = remote.proof() {
            return Ok(proof);
        }
        let proof = probe::proof(&self.engine, &self.bucket).await?;
        remote.learn_proof(proof);
        remote.keep_facts().await?;
        Ok(proof)
    }

    /// Before anything is read: whether something else is where this is to go.
    async fn refuse_taken(&self, row: &Row, size: u64) -> Result<(), Halt> {
        let Sight::Object(head) = self.bucket.inner.remote.head(&row.object_key).await? else { return Ok(()) };
        // If it is as long, it may be the same.
        if head.size == size {
            return Ok(());
        }
        let (key, tag, item) = (row.object_key.clone(), head.tag.clone().unwrap_or_default(), row.id);
        if self.engine.journal.read(move |tx: &Tx<'_>| tx.is_own_leftover(item, &key, &tag)).await? {
            return Ok(());
        }
        Err(super::key_taken(&row.object_key, head.size).into())
    }

    async fn read_parts(
        &self,
        content: &mut Content,
        plan: &PartPlan,
        proof: Proof,
        sealing: Option<&(SealedHead, ChunkSealer)>,
    ) -> Result<Vec<PlannedBucketPart>, Halt> {
        let memory = &self.engine.memory;
        let chunk = memory.chunk_len().bytes() as u64;
        let (size, mut at) = (content.size(), 0);
        let mut parts = Parts::new(*plan, proof);
        let (mut index, mut earlier) = (0, MacXor::default());
        if let Some((head, _)) = sealing {
            parts.update(&head.to_bytes());
        }
        let mut buffer = memory.chunk().await;
        loop {
            let length = usize::try_from((size - at).min(chunk)).unwrap_or(usize::MAX);
            buffer.get().message_mut(length);
            if length > 0 {
                buffer = match content.read(at, length, buffer).await {
                    // Nothing was sent of it yet: it is only read again.
                    Err(failure) if failure.remedy == Remedy::NewRevision => return Err(source::changed().into()),
                    other => other?,
                };
            }
            at += length as u64;
            match sealing {
                None => parts.update(buffer.get().message()),
                Some((_, sealer)) => {
                    let mac = sealer.seal(index, &earlier, buffer.get(), at == size).map_err(|_| {
                        Failure::new(Remedy::Block, Code::SourceTooLarge, "the file is too long to be sealed")
                    })?;
                    parts.begin_chunk(&mac);
                    parts.update(buffer.get().wire());
                    earlier.push(&mac);
                    index += 1;
                }
            }
            if at == size {
                return Ok(parts.finish());
            }
        }
    }

    /// A file that was modified a moment ago may still be written.
    fn still_written_until(&self, identity: &SourceIdentity) -> Option<Timestamp> {
        let (now, quiet) = (self.engine.now(), self.engine.settings.quiet);
        let modified = Timestamp(identity.modified_ns.div_euclid(1_000_000));
        // A time in the future says nothing about the present.
        let is_fresh = modified <= now && now.since(modified) < quiet;
        is_fresh.then(|| modified.after(quiet).max(now.after(Duration::from_millis(10))))
    }
}

fn plan(size: u64, part_size: u64, limits: &PartLimits) -> Result<PartPlan, Failure> {
    PartPlan::equal(size, part_size, limits).map_err(|PlanError::TooLarge { object_max }| {
        let message = format!("the file has {size} bytes, and the bucket takes objects of up to {object_max}");
        Failure::new(Remedy::Block, Code::SourceTooLarge, message)
    })
}

/// The parts of an object, while its bytes go by.
struct Parts {
    plan: PartPlan,
    proof: Proof,
    at: u64,
    summing: Summing,
    macs: Option<Vec<u8>>,
    done: Vec<PlannedBucketPart>,
}

impl Parts {
    fn new(plan: PartPlan, proof: Proof) -> Self {
        let done = Vec::with_capacity(plan.count() as usize);
        Self { plan, proof, at: 0, summing: Summing::new(proof), macs: None, done }
    }

    /// A sealed chunk begins with the byte that comes next.
    fn begin_chunk(&mut self, mac: &ChunkMac) {
        self.macs.get_or_insert_default().extend_from_slice(mac.as_bytes());
    }

    fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let left = self.plan.part_size() - self.at % self.plan.part_size();
            let (now, rest) = bytes.split_at(bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
            self.summing.update(now);
            self.at += now.len() as u64;
            if now.len() as u64 == left && self.at < self.plan.size() {
                self.end_part();
            }
            bytes = rest;
        }
    }

    fn end_part(&mut self) {
        let summing = std::mem::replace(&mut self.summing, Summing::new(self.proof));
        self.done.push(PlannedBucketPart { checksum: summing.finish(), macs: self.macs.take() });
    }

    fn finish(mut self) -> Vec<PlannedBucketPart> {
        self.end_part();
        self.done
    }
}
