//! Remote uploads that nobody wants: aborted, or found after an answer was lost or a home was.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use landfall_core::{Code, Failure, Remedy, Timestamp};
use landfall_store::{AbandonedUpload, Tx};
use landfall_transport::s3::{
    UploadMarker,
    answer::{self, OpenUpload},
    request,
};

use super::{Bucket, probe};
use crate::{Error, engine::Inner, reap::Reaped};

/// How many are aborted in one go.
const BATCH: usize = 32;
/// A request that nobody waits for any more may be carried out so much later.
const LATE: Duration = Duration::from_secs(60);
/// How often an upload is aborted in a row.
const ABORTS_MAX: u32 = 3;
/// The bucket's clock may be so much behind what we think it is.
const CLOCK_SLACK: Duration = Duration::from_secs(5);

/// An incomplete upload below a destination's prefix that this home knows nothing of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// Its key.
    pub key: String,
    /// The bucket's name for it.
    pub upload_id: String,
    /// When it was opened, by the bucket's clock.
    pub initiated: Option<Timestamp>,
    /// The bytes that it holds.
    pub bytes: u64,
}

impl Bucket {
    /// Finds incomplete uploads below this destination's prefix that are older than `age` and of which this home knows
    /// nothing, and aborts them unless it is a `rehearsal`. Uploads of other homes to the same prefix look just like them:
    /// `age` must be longer than any of these lasts.
    ///
    /// # Errors
    /// [`Error::Destination`] if they cannot be listed; the journal's.
    pub async fn sweep(&self, age: Duration, rehearsal: bool) -> Result<Swept, Error> {
        let (engine, remote) = (&self.inner.engine, &self.inner.remote);
        let open = remote.patiently(|| open_uploads(self, &self.inner.prefix)).await?;
        let known = engine.journal.read(move |tx| tx.known_upload_ids()).await?;
        let known: BTreeSet<String> = known.into_iter().collect();
        let now = remote.its_time();
        let mut swept = Swept::default();
        let mut impatient: Option<Failure> = None;
        for upload in open {
            // One whose age is not told may be a minute old.
            let is_old = upload.initiated.is_some_and(|initiated| now.since(initiated) >= age);
            if !is_old || known.contains(&*upload.upload_id) {
                continue;
            }
            let mut orphan = Orphan {
                key: upload.key,
                upload_id: upload.upload_id.to_string(),
                initiated: upload.initiated,
                bytes: 0,
            };
            if let Some(failure) = &impatient {
                swept.kept.push((orphan, failure.clone()));
                continue;
            }
            let (key, upload_id) = (orphan.key.clone(), orphan.upload_id.clone());
            let swept_one = async {
                let parts = remote.patiently(|| remote.parts(&key, &upload_id)).await?;
                if parts.is_some() && !rehearsal {
                    remote.patiently(|| abort(self, &key, &upload_id)).await?;
                }
                Ok::<_, Failure>(parts)
            };
            match swept_one.await {
                Ok(None) => {}
                Ok(Some(parts)) => {
                    orphan.bytes = parts.iter().map(|part| part.size).sum();
                    swept.aborted.push(orphan);
                }
                Err(failure) => {
                    // It was waited for as long as patience lasts, and is not waited for again.
                    impatient = matches!(failure.remedy, Remedy::Wait { .. } | Remedy::Ask).then(|| failure.clone());
                    swept.kept.push((orphan, failure));
                }
            }
        }
        Ok(swept)
    }
}

/// What became of uploads that nobody wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// These are aborted.
    pub aborted: Vec<Orphan>,
    /// These are still there, and why.
    pub kept: Vec<(Orphan, Failure)>,
}

impl Bucket {
    /// Aborts everything that the journal marks as abandoned, as far as the bucket lets it; unless it is a `rehearsal`, which
    /// only says what it would abort. One of which nobody knows whether it was opened may be on its way for a minute; until
    /// then it is neither aborted nor kept, and [still abandoned](Self::abandoned).
    ///
    /// # Errors
    /// The journal's.
    pub async fn abort_abandoned(&self, rehearsal: bool) -> Result<Swept, Error> {
        let (engine, destination, remote) = (&self.inner.engine, self.inner.destination, &self.inner.remote);
        let abandoned = engine.journal.read(move |tx| tx.abandoned_uploads(destination, usize::MAX >> 1)).await?;
        let mut swept = Swept::default();
        let mut away: Option<Failure> = None;
        for upload in abandoned {
            let mut orphan = Orphan {
                key: upload.object_key.clone(),
                upload_id: upload.upload_id.clone().unwrap_or_default(),
                initiated: upload.opening_at,
                bytes: 0,
            };
            if let Some(failure) = &away {
                swept.kept.push((orphan, failure.clone()));
                continue;
            }
            let mut is_there = upload.upload_id.is_some();
            if let Some(upload_id) = &upload.upload_id {
                let parts = remote.parts(&upload.object_key, upload_id).await;
                is_there = !matches!(parts, Ok(None));
                orphan.bytes = parts.iter().flatten().flatten().map(|part| part.size).sum();
            }
            if rehearsal {
                swept.aborted.extend(is_there.then_some(orphan));
                continue;
            }
            match reap_one(engine, self, &upload).await? {
                Ok(true) if is_there => swept.aborted.push(orphan),
                Ok(_) => {}
                Err(failure) => {
                    away = is_away(&failure).then(|| failure.clone());
                    swept.kept.push((orphan, failure));
                }
            }
        }
        Ok(swept)
    }

    /// How many remote uploads nobody wants that are still to be aborted.
    ///
    /// # Errors
    /// The journal's.
    pub async fn abandoned(&self) -> Result<u64, Error> {
        let destination = self.inner.destination;
        Ok(self.inner.engine.journal.read(move |tx| Ok(tx.counts(Some(destination))?.abandoning)).await?)
    }
}

/// Aborts some of what the journal marks as abandoning, one after the other. Done twice, by whomever, it does the same.
///
/// # Errors
/// The journal's.
pub(super) async fn reap(engine: &Arc<Inner>, bucket: &Bucket) -> Result<Reaped, Error> {
    let destination = bucket.inner.destination;
    let abandoned = engine.journal.read(move |tx| tx.abandoned_uploads(destination, BATCH)).await?;
    let mut reaped = Reaped::Gone;
    for upload in abandoned {
        match reap_one(engine, bucket, &upload).await? {
            Ok(true) => {}
            Ok(false) => reaped = Reaped::Failed,
            Err(failure) if is_away(&failure) => return Ok(Reaped::Waits),
            // The bucket may say so of one upload, and keeps no other from being aborted.
            Err(Failure { remedy: Remedy::Wait { .. }, .. }) if reaped != Reaped::Failed => reaped = Reaped::Waits,
            Err(failure) => {
                tracing::debug!(code = %failure.code, "An upload could not be aborted: {failure}");
                reaped = Reaped::Failed;
            }
        }
    }
    Ok(reaped)
}

/// Nobody answers: what comes next would not be answered either.
fn is_away(failure: &Failure) -> bool {
    matches!(failure.code, Code::Offline | Code::Stalled | Code::AnswerLost)
}

/// Aborts an upload, and writes that it is gone. Returns whether it is: one of which nobody knows whether it was opened may
/// still be on its way.
async fn reap_one(engine: &Inner, bucket: &Bucket, upload: &AbandonedUpload) -> Result<Result<bool, Failure>, Error> {
    let (destination, key) = (bucket.inner.destination, &upload.object_key);
    let aborted = match &upload.upload_id {
        Some(upload_id) => abort(bucket, key, upload_id).await,
        // It was to be opened, and nobody heard what became of that.
        None => {
            let since = upload.opening_at.unwrap_or_default();
            let asked = key.clone();
            if engine.journal.read(move |tx: &Tx<'_>| tx.is_opening(destination, &asked)).await? {
                // What is found there may be the one that is wanted.
                return Ok(Ok(false));
            }
            match opened_since(engine, bucket, key, since).await {
                Ok(lost) if lost.is_empty() && bucket.inner.remote.its_time().since(since) < LATE => {
                    return Ok(Ok(false));
                }
                Ok(lost) => abort_all(bucket, &lost).await,
                Err(failure) => Err(failure),
            }
        }
    };
    match aborted {
        Ok(()) => {}
        // With the bucket went all that was in it.
        Err(Failure { code: Code::NoSuchBucket, .. }) => {}
        Err(failure) => return Ok(Err(failure)),
    }
    engine.env.steps.reached("bucket.abort.answered");
    let object = upload.object;
    engine.journal.write(move |tx| tx.bucket_object_abandoned(object)).await?;
    Ok(Ok(true))
}

async fn abort_all(bucket: &Bucket, lost: &[OpenUpload]) -> Result<(), Failure> {
    for upload in lost {
        abort(bucket, &upload.key, &upload.upload_id).await?;
    }
    Ok(())
}

/// Aborts an upload, and looks whether it is gone: a part that was on its way may have arrived after it.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_AbortMultipartUpload.html>
async fn abort(bucket: &Bucket, key: &str, upload_id: &str) -> Result<(), Failure> {
    let remote = &bucket.inner.remote;
    for _ in 0..ABORTS_MAX {
        remote.abort(key, upload_id).await?;
        match remote.parts(key, upload_id).await {
            Ok(Some(parts)) if !parts.is_empty() => {}
            // Whoever may abort need not be allowed to list.
            Ok(_) | Err(Failure { code: Code::AccessDenied, .. }) => return Ok(()),
            Err(failure) => return Err(failure),
        }
    }
    let message = format!("the upload to `{key}` was aborted {ABORTS_MAX} times and is still there");
    Err(Failure::new(Remedy::Retry, Code::ServerError, message))
}

/// Uploads that were opened for exactly this key since a moment of the bucket's clock, that hold no part, and of which the journal knows
/// nothing: what becomes of an open whose answer was lost.
///
/// Another home that has just opened one for the same key would lose it, and begins again.
pub(super) async fn opened_since(
    engine: &Inner,
    bucket: &Bucket,
    key: &str,
    since: Timestamp,
) -> Result<Vec<OpenUpload>, Failure> {
    let remote = &bucket.inner.remote;
    let since = Timestamp(since.0 - i64::try_from(CLOCK_SLACK.as_millis()).unwrap_or(0));
    let open = match open_uploads(bucket, key).await {
        // Whoever may upload need not be allowed to list: then `gc`, run by someone who may, finds it.
        Err(failure) if matches!(failure.code, Code::AccessDenied | Code::Refused) => return Ok(Vec::new()),
        other => other?,
    };
    let known = engine.journal.read(move |tx| tx.known_upload_ids()).await;
    let known = known.map_err(|error| Failure::new(Remedy::Retry, Code::HomeFull, error.to_string()))?;
    let known: BTreeSet<String> = known.into_iter().collect();
    let mut lost = Vec::new();
    for upload in open {
        let is_recent = upload.initiated.is_none_or(|initiated| initiated >= since);
        if upload.key == key && is_recent && !known.contains(&*upload.upload_id) {
            // What was opened to find something out nobody else uses.
            if probe::is_canary_key(key) {
                lost.push(upload);
                continue;
            }
            let parts = remote.parts(&upload.key, &upload.upload_id).await?;
            if parts.is_some_and(|parts| parts.is_empty()) {
                lost.push(upload);
            }
        }
    }
    Ok(lost)
}

/// All incomplete uploads whose keys begin with a prefix.
pub(super) async fn open_uploads(bucket: &Bucket, prefix: &str) -> Result<Vec<OpenUpload>, Failure> {
    let mut open = Vec::new();
    let mut after = None;
    loop {
        let asked: Option<UploadMarker> = after.take();
        let page = bucket
            .inner
            .remote
            .ask(|| request::list_uploads(prefix, asked.as_ref()), |page| answer::uploads(page, prefix, asked.as_ref()))
            .await?;
        open.extend(page.uploads);
        after = page.next;
        if after.is_none() {
            return Ok(open);
        }
    }
}
