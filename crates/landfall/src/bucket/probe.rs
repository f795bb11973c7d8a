//! Finding out what a bucket can do, by trying.

use bytes::Bytes;
use landfall_core::{Algorithm, Checksum, Code, Failure, Proof};
use landfall_transport::s3::{
    self, answer,
    request::{self, NewObject},
};

use super::{Bucket, checksum::Summing, remote::Way};
use crate::{engine::Inner, reach::Kind};

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

/// Finds out whether a bucket refuses to overwrite when it is asked to, unless that is known: for whoever may not look what
/// is there. Leaves nothing behind, if it may delete.
pub(super) async fn guards(engine: &Inner, bucket: &Bucket) -> Result<(), Failure> {
    let remote = &bucket.inner.remote;
    let _probing = bucket.inner.probing.lock().await;
    if remote.guards(Way::Put).is_some() && remote.guards(Way::Complete).is_some() {
        return Ok(());
    }
    let key = canary(engine, bucket);
    remote.put_bytes(&key, canary_bytes(), None, false).await?;
    let tried = bucket.try_to_overwrite(&key).await;
    // Whoever may put need not be allowed to delete.
    let _ = remote.ask(|| request::delete(&key), answer::deleted).await;
    tried.map(drop)
}

/// A key that nobody else uses.
pub(super) fn canary(engine: &Inner, bucket: &Bucket) -> String {
    bucket.key(&format!(".landfall/canary-{}", engine.env.random.name()))
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
    let request = request::put_bytes(key, &new, Bytes::from_static(CANARY), Some(&checksum), false);
    let answer = bucket.inner.remote.once(Kind::Ask, request).await?;
    if answer.status == 200 {
        return bucket.inner.remote.judge(Kind::Store, Ok(Took::Stored));
    }
    let failure = s3::refusal(&answer).failure;
    match failure.code {
        // It compared it, or does not know it.
        Code::DamagedInTransit | Code::Refused | Code::ServerError if matches!(answer.status, 400 | 501) => {
            bucket.inner.remote.judge(Kind::Ask, Ok(Took::Refused))
        }
        _ => bucket.inner.remote.judge(Kind::Ask, Err(failure)),
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
