//! Finding out what a bucket can do, by trying.

use bytes::Bytes;
use landfall_core::{Algorithm, Checksum, Code, Failure, ItemId, PartNumber, Proof};
use landfall_transport::s3::{
    self, CompletedPart, Payload, answer,
    request::{self, Condition, NewObject},
};

use super::{
    Bucket,
    checksum::Summing,
    remote::{Remote, Way},
};
use crate::{drive::Halt, engine::Inner, reach::Kind};

/// How its keys begin, below the prefix.
const CANARY_KEY: &str = ".landfall/canary-";
/// What the probe puts.
const CANARY: &[u8] = b"landfall looks what this bucket can do\n";

/// What vouches for parts at a bucket: the best algorithm whose wrong checksum it refuses, and whose right one it takes; the
/// signature if there is none. Leaves nothing behind, if it may delete.
pub(super) async fn proof(engine: &Inner, bucket: &Bucket) -> Result<Proof, Failure> {
    let key = canary(engine, bucket);
    let mut found = Proof::SignedPayload;
    let mut left_something = false;
    for algorithm in Algorithm::ALL {
        let right = sum(algorithm);
        let mut wrong = right.clone();
        wrong[0] ^= 1;
        match put(bucket, &key, algorithm, wrong).await? {
            Took::Stored => left_something = true,
            Took::Refused => {
                if put(bucket, &key, algorithm, right).await? == Took::Stored {
                    left_something = true;
                    found = Proof::Checksum(algorithm);
                    break;
                }
            }
        }
    }
    if left_something {
        // Whoever may put need not be allowed to delete.
        let _ = bucket.inner.remote.ask(|| request::delete(&key), answer::deleted).await;
    }
    Ok(found)
}

/// Finds out whether a bucket refuses to overwrite in one of the two ways when it is asked to, unless that is known: for
/// an item whose keys may not look what is there. What it may not remove the journal abandons.
pub(super) async fn guards(engine: &Inner, bucket: &Bucket, way: Way, item: ItemId) -> Result<(), Halt> {
    let remote = &bucket.inner.remote;
    let _probing = bucket.inner.probing.lock().await;
    if remote.guards(way).is_some() {
        return Ok(());
    }
    let key = canary(engine, bucket);
    remote.put_bytes(&key, canary_bytes(), None, &Condition::Always).await?;
    let tried = match way {
        Way::Put => put_over(bucket, &key).await,
        Way::Complete => {
            // Whoever is killed meanwhile, or does not hear whether it was opened, has it looked for and aborted.
            let (at, opened) = (remote.its_time(), key.clone());
            let intent = engine.journal.write(move |tx| tx.abandon_unopened(item, &opened, at)).await?;
            let Tried { guards, left } = complete_over(bucket, &key).await?;
            let opened = key.clone();
            engine
                .journal
                .write(move |tx| {
                    left.map_or(Ok(()), |upload_id| tx.abandon_upload_id(item, &opened, &upload_id))?;
                    tx.bucket_object_abandoned(intent)
                })
                .await?;
            guards
        }
    };
    // Whoever may put need not be allowed to delete.
    let _ = remote.ask(|| request::delete(&key), answer::deleted).await;
    remote.learn_guards(way, tried?);
    Ok(())
}

/// Whether a bucket refuses to put something in the place of the canary.
pub(super) async fn put_over(bucket: &Bucket, key: &str) -> Result<bool, Failure> {
    let remote = &bucket.inner.remote;
    match remote.put_bytes(key, canary_bytes(), None, &Condition::Absent).await {
        Err(failure) if failure.code == Code::KeyTaken => Ok(true),
        Err(failure) if remote.guards(Way::Put) != Some(false) => Err(failure),
        _ => Ok(false),
    }
}

/// What came of trying to make an object in the place of another.
pub(super) struct Tried {
    /// Whether that was refused.
    pub(super) guards: Result<bool, Failure>,
    /// An upload that was opened for it and could not be aborted.
    pub(super) left: Option<String>,
}

/// Tries to make an object of one part in the place of the canary.
///
/// # Errors
/// Nothing could be opened.
pub(super) async fn complete_over(bucket: &Bucket, key: &str) -> Result<Tried, Failure> {
    let remote = &bucket.inner.remote;
    let new = NewObject { content_type: None, tag: None, algorithm: None, metadata: &[] };
    let upload_id = remote.create(key, &new).await?;
    let Err(failure) = remote.complete_canary(key, &upload_id).await else {
        return Ok(Tried { guards: Ok(false), left: None });
    };
    let guards = match failure.code {
        Code::KeyTaken => Ok(true),
        _ if remote.guards(Way::Complete) == Some(false) => Ok(false),
        _ => Err(failure),
    };
    let left = remote.abort(key, &upload_id).await.is_err().then_some(upload_id);
    Ok(Tried { guards, left })
}

impl Remote {
    /// Makes an object of one part, the canary, unless something is in its place.
    async fn complete_canary(&self, key: &str, upload_id: &str) -> Result<(), Failure> {
        let bytes = canary_bytes();
        let (number, length) = (PartNumber(1), bytes.len() as u64);
        let mut request = request::upload_part(key, upload_id, number, length, None, None);
        request.payload = Payload::Bytes(bytes);
        let answer = self.once(Kind::Store, request).await?;
        let receipt = self.judge(Kind::Store, answer::part_stored(&answer, None))?;
        let part = CompletedPart { number, etag: receipt.etag, checksum: None };
        let request = request::complete(key, upload_id, &[part], None, length, &Condition::Absent);
        let answer = self.once_learning(Kind::Store, request).await?;
        self.judge(Kind::Store, answer::completed(&answer)).map(drop)
    }

    /// Puts a few bytes.
    pub(crate) async fn put_bytes(
        &self,
        key: &str,
        bytes: Bytes,
        checksum: Option<&Checksum>,
        condition: &Condition,
    ) -> Result<(), Failure> {
        let algorithm = checksum.map(Checksum::algorithm);
        let new = NewObject { content_type: None, tag: None, algorithm, metadata: &[] };
        let request = request::put_bytes(key, &new, bytes, checksum, condition);
        let answer = self.once_learning(Kind::Store, request).await?;
        self.judge(Kind::Store, answer::stored(&answer, checksum)).map(|_| ())
    }
}

/// A key that nobody else uses.
pub(super) fn canary(engine: &Inner, bucket: &Bucket) -> String {
    bucket.key(&format!("{CANARY_KEY}{}", engine.env.random.name()))
}

/// Whether a key is one of those.
pub(super) fn is_canary_key(key: &str) -> bool {
    key.contains(CANARY_KEY)
}

/// The canary's checksum.
pub(super) fn sum(algorithm: Algorithm) -> Vec<u8> {
    let mut summing = Summing::new(Proof::Checksum(algorithm));
    summing.update(CANARY);
    summing.finish()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Took {
    Stored,
    Refused,
}

async fn put(bucket: &Bucket, key: &str, algorithm: Algorithm, sum: Vec<u8>) -> Result<Took, Failure> {
    let checksum = Checksum::new(algorithm, sum).expect("a sum has its algorithm's length");
    let new = NewObject { content_type: None, tag: None, algorithm: Some(algorithm), metadata: &[] };
    let request = request::put_bytes(key, &new, Bytes::from_static(CANARY), Some(&checksum), &Condition::Always);
    let answer = bucket.inner.remote.once(Kind::Store, request).await?;
    if answer.status == 200 {
        return bucket.inner.remote.judge(Kind::Store, Ok(Took::Stored));
    }
    let failure = s3::refusal(&answer).failure;
    match failure.code {
        // It compared it, or does not know it.
        Code::DamagedInTransit | Code::Refused | Code::ServerError if matches!(answer.status, 400 | 501) => {
            bucket.inner.remote.judge(Kind::Ask, Ok(Took::Refused))
        }
        _ => bucket.inner.remote.judge(Kind::Store, Err(failure)),
    }
}

/// What was put comes back.
pub(super) fn is_canary(bytes: &[u8]) -> bool {
    bytes == CANARY
}

/// The canary itself.
pub(super) fn canary_bytes() -> Bytes {
    Bytes::from_static(CANARY)
}
