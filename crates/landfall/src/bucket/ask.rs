//! Asking a bucket what it holds: after an answer was lost, when a worker takes over, and to prove what is there.

use std::collections::BTreeMap;

use landfall_core::{Algorithm, Code, Failure, ObjectState, PartState, Proof, Remedy, Timestamp};
use landfall_env::Sabotage;
use landfall_store::{BucketObject, BucketPart, Lease, StoreError, Tx};
use landfall_transport::s3::{
    Condition,
    answer::{HeldPart, ObjectHead},
};

use super::{
    drive::Upload,
    orphans, probe,
    remote::{Sight, Way},
};
use crate::{Progress, drive::Halt};

/// How often a bucket may lose what it took, or show something else.
const ACCIDENTS_MAX: usize = 3;

impl Upload {
    /// Finds out where the object stands, and writes it.
    pub(crate) async fn ask(&mut self, object: &BucketObject) -> Result<(), Halt> {
        if self.sabotaged(Sabotage::LostAnswerIsFailure) && self.completed != Some(object.id) {
            let id = object.id;
            return self.write(move |tx, lease, now| tx.bucket_object_gone(lease, id, now)).await;
        }
        // What may have become an object is looked for first: there are no parts of it any more.
        let may_be_there = object.state == ObjectState::Completing || object.plan.is_single();
        if may_be_there && self.is_there(object).await? {
            return Ok(());
        }
        if may_be_there && self.completed == Some(object.id) {
            let message = format!("the bucket says that it has `{}`, and does not show it", object.object_key);
            return Err(self.refuted(object, Code::BadAnswer, message).await?.into());
        }
        match (&object.upload_id, object.state) {
            (Some(upload_id), _) => match self.bucket.inner.remote.parts(&object.object_key, upload_id).await? {
                Some(held) => self.note_parts(object, &held).await,
                None if !may_be_there && self.is_there(object).await? => Ok(()),
                None => self.begin_again(object).await,
            },
            (None, ObjectState::Opening) => self.find_lost_uploads(object).await,
            (None, _) => self.begin_again(object).await,
        }
    }

    /// Whether the object is there, proved: then it is stored. Something else that is there in its place changes nothing.
    async fn is_there(&mut self, object: &BucketObject) -> Result<bool, Halt> {
        let head = match self.bucket.inner.remote.head(&object.object_key).await? {
            Sight::Object(head) => head,
            Sight::Nothing => return Ok(false),
            Sight::Hidden(failure) => return self.may_be_hidden(object, failure).await.map(|()| false),
        };
        if !self.is_ours(object, &head) {
            return Ok(false);
        }
        if let Err(failure) = proved(object, &head)
            && !self.sabotaged(Sabotage::SkipProof)
        {
            if self.replacing.as_ref().is_some_and(|(id, _)| *id == object.id) {
                // That is known, and it is about to be replaced.
                return Ok(false);
            }
            // It is ours and not what we sent: it is sent once more, in its own place.
            self.let_go(object).await?;
            return Err(self.refuted(object, failure.code, failure.message).await?.into());
        }
        self.bucket.inner.remote.has_stored();
        if self.completed == Some(object.id) {
            self.stored(object, true).await?;
        } else {
            // Which of several Completes brought it, nobody knows: another upload may be open.
            self.there_already(object).await?;
        }
        Ok(true)
    }

    /// These keys may not look whether the object is there. Fails if nothing else tells whether it is to be sent again.
    async fn may_be_hidden(&mut self, object: &BucketObject, hidden: Failure) -> Result<(), Halt> {
        let is_open = match &object.upload_id {
            _ if self.completed == Some(object.id) => false,
            // Nobody asked for it to be made yet.
            Some(_) if object.state != ObjectState::Completing => true,
            // It is gone when the object was made of it, and nothing is sent twice on the mere suspicion that it was not.
            Some(id) => self.bucket.inner.remote.parts(&object.object_key, id).await?.is_some(),
            // Sent again it replaces nothing but itself, or is refused.
            None => self.may_go_unseen(object).await?,
        };
        if is_open { Ok(()) } else { Err(hidden.into()) }
    }

    /// The bucket took an object and then shows something else. It may have been an accident, twice.
    async fn refuted(&self, object: &BucketObject, code: Code, message: String) -> Result<Failure, Halt> {
        let why = format!("`{}`: {message}", object.object_key);
        let times = self.write(move |tx, lease, now| tx.bucket_object_refuted(lease, &why, now)).await?;
        let remedy = if times < ACCIDENTS_MAX { Remedy::Retry } else { Remedy::Block };
        Ok(Failure::new(remedy, code, message))
    }

    /// Writes that the object is there, whole: just sent, or found.
    pub(crate) async fn stored(&mut self, object: &BucketObject, is_found: bool) -> Result<(), Halt> {
        self.set(object, ObjectState::Stored).await?;
        self.reached("bucket.proved");
        let rest = object.parts.iter().filter(|part| part.state != PartState::Stored);
        let bytes: u64 = rest.filter_map(|part| object.plan.part(part.number)).map(|span| span.length).sum();
        if bytes > 0 {
            self.observer.saw(Progress::Stored { item: self.lease.item, bytes, is_found });
        }
        Ok(())
    }

    /// Something is where the object was to go.
    pub(crate) async fn taken(&mut self, object: &BucketObject) -> Result<(), Halt> {
        let head = match self.bucket.inner.remote.head(&object.object_key).await? {
            Sight::Object(head) => head,
            Sight::Hidden(failure) => return Err(failure.into()),
            // It went away again.
            Sight::Nothing => {
                self.replacing = None;
                let message = "something was in its place, and is gone";
                return Err(Failure::new(Remedy::Retry, Code::KeyTaken, message).into());
            }
        };
        let Some(condition) = self.occupied(object, &head).await? else { return Ok(()) };
        let replacing = Some((object.id, condition));
        if self.replacing == replacing {
            // It shows that very object and refuses to replace it. Ceph does so: it compares the ETag with its quotes. We
            // have just looked.
            self.bucket.inner.remote.learn_no_match(Way::of(object));
        }
        self.replacing = replacing;
        Ok(())
    }

    /// What is to become of an object in whose place something was seen. If that is ours, or the same, it is as good:
    /// written, `None`. If we left it there without ever calling it done, it may be replaced, and it alone; else a person
    /// decides.
    pub(crate) async fn occupied(
        &mut self,
        object: &BucketObject,
        head: &ObjectHead,
    ) -> Result<Option<Condition>, Halt> {
        let is_ours = self.is_ours(object, head);
        if is_ours && proved(object, head).is_ok() || is_same(object, head) {
            // Ours may have been sent by whoever held the item before.
            self.found = (!is_ours).then_some(object.id);
            return self.there_already(object).await.map(|()| None);
        }
        let (key, tag) = (object.object_key.clone(), head.tag.clone().unwrap_or_default());
        let (item, id, size) = (self.lease.item, object.id, head.size);
        let look = move |tx: &Tx<'_>| Ok((tx.is_own_content(id, &tag, size)?, tx.is_own_leftover(item, &key, &tag)?));
        let (is_own_content, is_left_over) = self.engine.journal.read(look).await?;
        if is_own_content {
            self.found = Some(object.id);
            return self.there_already(object).await.map(|()| None);
        }
        if is_ours || is_left_over {
            // A weak one says too little for a condition (RFC 9110, 13.1.1).
            let tells = !head.etag.is_empty() && !head.etag.starts_with("W/");
            return Ok(Some(if tells { Condition::Is(head.etag.clone()) } else { Condition::Always }));
        }
        Err(super::key_taken(&object.object_key, head.size).into())
    }

    /// What is to be uploaded is there: the remote upload that was to bring it is of no use.
    async fn there_already(&mut self, object: &BucketObject) -> Result<(), Halt> {
        if object.upload_id.is_some() {
            self.let_go(object).await?;
        }
        self.stored(object, true).await
    }

    /// Nothing more comes of what was sent: the object is to be sent from the beginning, or is there in another way. A remote
    /// upload that may still be open is abandoned.
    async fn let_go(&self, object: &BucketObject) -> Result<(), Halt> {
        let (id, item, key) = (object.id, self.lease.item, object.object_key.clone());
        // Where the bucket has made the object of it, it is gone.
        let upload_id = object.upload_id.clone().filter(|_| self.completed != Some(id));
        self.write(move |tx, lease, now| {
            tx.bucket_object_gone(lease, id, now)?;
            upload_id.map_or(Ok(()), |upload_id| tx.abandon_upload_id(item, &key, &upload_id))
        })
        .await
    }

    /// Whether the bucket has to be asked what is there, because it is not known to look itself.
    fn must_look_first(&self, object: &BucketObject) -> bool {
        object.is_guarded && self.bucket.inner.remote.guards(Way::of(object)) != Some(true)
    }

    /// On which condition an object may be written now. `None` if it is there: that is written.
    pub(crate) async fn condition(&mut self, object: &BucketObject) -> Result<Option<Condition>, Halt> {
        if !object.is_guarded {
            return Ok(Some(Condition::Always));
        }
        if !self.must_look_first(object) {
            let replacing = self.replacing.as_ref().filter(|(id, _)| *id == object.id);
            return Ok(Some(replacing.map_or(Condition::Absent, |(_, condition)| condition.clone())));
        }
        match self.bucket.inner.remote.head(&object.object_key).await? {
            Sight::Nothing => Ok(Some(Condition::Absent)),
            Sight::Object(head) => self.occupied(object, &head).await,
            // The bucket looks itself.
            Sight::Hidden(_) if self.may_go_unseen(object).await? => Ok(Some(Condition::Absent)),
            Sight::Hidden(failure) => Err(failure.into()),
        }
    }

    /// These keys may not look what is there. Whether that matters: a bucket that guards looks itself, and whoever
    /// overwrites need not know. What the bucket does is tried out, once.
    pub(crate) async fn may_go_unseen(&self, object: &BucketObject) -> Result<bool, Halt> {
        let way = Way::of(object);
        if self.must_look_first(object) && self.bucket.inner.remote.guards(way).is_none() {
            probe::guards(&self.engine, &self.bucket, way, self.lease.item).await?;
        }
        Ok(!self.must_look_first(object))
    }

    /// It carries the tag that was drawn for these bytes.
    fn is_ours(&self, object: &BucketObject, head: &ObjectHead) -> bool {
        head.tag.as_deref() == Some(&object.tag) || self.sabotaged(Sabotage::TakeAnyForOurs)
    }

    async fn note_parts(&mut self, object: &BucketObject, listed: &[HeldPart]) -> Result<(), Halt> {
        let held = held_as_planned(object, listed);
        let id = object.id;
        let mut found = 0;
        for part in &object.parts {
            if part.state != PartState::Stored && held.contains_key(&part.number.0) {
                found += object.plan.part(part.number).map_or(0, |span| span.length);
            }
        }
        let is_lost = |part: &BucketPart| part.state == PartState::Stored && !held.contains_key(&part.number.0);
        let has_lost = object.parts.iter().any(is_lost);
        let note = move |tx: &Tx<'_>, lease: &Lease, now| tx.bucket_parts_held(lease, id, &held, now);
        if has_lost {
            self.lost(object, note).await?;
        } else {
            self.write(note).await?;
        }
        self.is_known = true;
        if found > 0 {
            self.observer.saw(Progress::Stored { item: self.lease.item, bytes: found, is_found: true });
        }
        Ok(())
    }

    /// The bucket has nothing of it.
    async fn begin_again(&mut self, object: &BucketObject) -> Result<(), Halt> {
        let id = object.id;
        self.is_known = false;
        if object.parts.iter().all(|part| part.state != PartState::Stored) {
            return self.write(move |tx, lease, now| tx.bucket_object_gone(lease, id, now)).await;
        }
        self.lost(object, move |tx, lease, now| tx.bucket_object_gone(lease, id, now)).await
    }

    /// The bucket does not hold what it had taken. It may have been an accident, twice.
    async fn lost(
        &self,
        object: &BucketObject,
        change: impl FnOnce(&Tx<'_>, &Lease, Timestamp) -> Result<(), StoreError> + Send + 'static,
    ) -> Result<(), Halt> {
        let counted = move |tx: &Tx<'_>, lease: &Lease, now| {
            change(tx, lease, now)?;
            tx.bucket_parts_lost(lease, now)
        };
        let times = self.write(counted).await?;
        if times < ACCIDENTS_MAX {
            return Ok(());
        }
        let message = format!(
            "the bucket has dropped what was sent of `{}` {times} times; look for a rule there that aborts open uploads",
            object.object_key
        );
        Err(Failure::new(Remedy::Block, Code::Refused, message).into())
    }

    /// The answer to an open was lost: whatever was opened for this key since then, and that nobody knows, is abandoned.
    async fn find_lost_uploads(&mut self, object: &BucketObject) -> Result<(), Halt> {
        let since = object.opening_at.unwrap_or_default();
        let lost = orphans::opened_since(&self.engine, &self.bucket, &object.object_key, since).await?;
        let id = object.id;
        self.write(move |tx, lease, now| {
            if lost.is_empty() {
                // It may still be on its way.
                return tx.bucket_open_lost(lease, id, now);
            }
            for orphan in &lost {
                tx.abandon_upload_id(lease.item, &orphan.key, &orphan.upload_id)?;
            }
            tx.bucket_object_gone(lease, id, now)
        })
        .await
    }
}

/// It has the same bytes, whoever put it there: its length is the same, and so is a checksum that tells contents apart.
fn is_same(object: &BucketObject, head: &ObjectHead) -> bool {
    let known = head.checksum.as_ref().is_some_and(|checksum| {
        Proof::Checksum(checksum.algorithm()) == object.proof
            && checksum.algorithm() != Algorithm::Crc32c
            && Some(checksum.as_bytes()) == object.checksum.as_deref()
    });
    head.size == object.plan.size() && known
}

/// Whether what is there is what was sent.
fn proved(object: &BucketObject, head: &ObjectHead) -> Result<(), Failure> {
    let size = object.plan.size();
    if head.size != size {
        let message = format!("the bucket has {} bytes of `{}` instead of {size}", head.size, object.object_key);
        return Err(Failure::new(Remedy::Retry, Code::DamagedInTransit, message));
    }
    match &head.checksum {
        Some(checksum)
            if Proof::Checksum(checksum.algorithm()) == object.proof
                && Some(checksum.as_bytes()) != object.checksum.as_deref() =>
        {
            let message = format!("the bucket has other bytes of `{}` than were sent", object.object_key);
            Err(Failure::new(Remedy::Retry, Code::DamagedInTransit, message))
        }
        _ => Ok(()),
    }
}

/// Of the parts that are listed, those that are certainly as they were planned, with their receipts.
///
/// A part of which we have the receipt must have the same one in the list. One that was sent and got no answer must show
/// its checksum: its length alone says too little.
fn held_as_planned(object: &BucketObject, listed: &[HeldPart]) -> BTreeMap<u32, String> {
    let mut held = BTreeMap::new();
    for there in listed {
        let Some(part) = object.parts.get((there.number.0 as usize).wrapping_sub(1)) else { continue };
        let Some(span) = object.plan.part(there.number) else { continue };
        let is_known = part.etag.as_deref() == Some(&there.etag);
        let shows = |checksum: &landfall_core::Checksum| {
            Proof::Checksum(checksum.algorithm()) == object.proof && checksum.as_bytes() == part.checksum
        };
        let fits = match &there.checksum {
            Some(checksum) if Proof::Checksum(checksum.algorithm()) == object.proof => shows(checksum),
            _ => is_known,
        };
        if there.size == span.length && fits {
            held.insert(there.number.0, there.etag.clone());
        }
    }
    held
}
