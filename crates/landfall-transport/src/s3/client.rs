//! A bucket's dialect joined to a carrier.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::Method;
use landfall_core::{Code, Failure, Remedy, Timestamp};

use super::{
    Answer, CallError, Correction, Credentials, Payload, Place, Refusal, Request,
    refusal::{clock_of, clocks_agree, clocks_differ, refusal, refused_head, regions_agree},
    sign, xml,
};
use crate::{Body, Carrier, Measured, empty, vault::client::read, whole};

/// A bucket that can be called: where it is, who we are, what time it is, and a way to get there.
///
/// It learns from refusals which region the bucket is in and how far its store's clock is from ours. Clones learn together.
#[derive(Clone)]
pub struct Bucket {
    carrier: Arc<dyn Carrier>,
    credentials: Credentials,
    clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    learned: Arc<Mutex<Learned>>,
}

impl Bucket {
    /// The bucket at `place`, reached by `carrier`. `clock` is this device's; requests are signed by it as corrected.
    pub fn new(
        carrier: Arc<dyn Carrier>,
        place: Place,
        credentials: Credentials,
        clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    ) -> Self {
        let learned = Arc::new(Mutex::new(Learned { place, clock_offset_ms: 0, unproved: 0 }));
        Self { carrier, credentials, clock, learned }
    }

    /// Where it is, in the region that was learned.
    pub fn place(&self) -> Place {
        self.learned().place.clone()
    }

    /// How far the store's clock was found to be ahead of this device's, in milliseconds; 0 while they agree.
    pub fn clock_offset_ms(&self) -> i64 {
        self.learned().clock_offset_ms
    }

    /// Takes over what was learned in an earlier run. A region that is none is left out.
    pub fn correct(&self, region: Option<String>, clock_offset_ms: i64) {
        let mut learned = self.learned();
        if let Some(place) = region.and_then(|region| learned.place.with_region(&region).ok()) {
            learned.place = place;
        }
        learned.clock_offset_ms = clock_offset_ms;
        learned.unproved = 0;
    }

    /// Signs a request, performs it and reads its answer whole, whatever its status. `body` is what a
    /// [`Payload::Stream`] sends; other requests take none.
    ///
    /// A refusal that is about the region or the clock teaches both; what can be sent again is, at once. No redirect is
    /// followed. An answer's body is read up to 2 MiB and one byte more; the functions of [`super::answer`] refuse a longer one.
    ///
    /// # Errors
    /// [`CallError::Lost`] if there is no whole answer. [`CallError::Failed`] if the request cannot be made, or if its
    /// region or time is wrong: with [`Remedy::Renew`] the same request will be signed better, and only its bytes are
    /// missing; with [`Remedy::Block`] there is nothing to learn.
    pub async fn call(&self, request: Request, body: Option<Body>) -> Result<Answer, CallError> {
        let mut body = match (&request.payload, body) {
            (Payload::Stream { length, .. }, Some(body)) => Some(Measured::new(body, *length).boxed()),
            (Payload::Stream { .. }, None) => return Err(misuse("a request that streams was given no body").into()),
            (_, Some(_)) => return Err(misuse("a request that does not stream was given a body").into()),
            (_, None) => None,
        };
        loop {
            let signed_as = self.learned().clone();
            let response = self.send(&request, body.take(), &signed_as).await?;
            let (head, body) = response.into_parts();
            let status = head.status.as_u16();
            let answer = Answer { status, headers: head.headers, body: read(body, xml::BYTES_MAX).await? };
            match self.learn(&request, &answer, &signed_as) {
                Lesson::Nothing => return Ok(answer),
                Lesson::Failed(failure) => return Err(failure.into()),
                Lesson::Learned(failure) if matches!(request.payload, Payload::Stream { .. }) => {
                    return Err(failure.into());
                }
                Lesson::Learned(_) => {}
            }
        }
    }

    /// Performs a request whose answer is an object's bytes, and returns when the first of them can be read: the status is
    /// 200, or 206 if a range was asked for, and [`super::answer::fetched`] tells which bytes they are.
    ///
    /// # Errors
    /// As [`Bucket::call`]; and [`CallError::Failed`] if it was refused, classified by [`refusal()`].
    pub async fn stream(&self, request: Request) -> Result<http::Response<Body>, CallError> {
        if matches!(request.payload, Payload::Stream { .. }) {
            return Err(misuse("a request for bytes brings none").into());
        }
        loop {
            let signed_as = self.learned().clone();
            let response = self.send(&request, None, &signed_as).await?;
            if matches!(response.status().as_u16(), 200 | 206) {
                self.learned().unproved = 0;
                return Ok(response);
            }
            let (head, body) = response.into_parts();
            let status = head.status.as_u16();
            let answer = Answer { status, headers: head.headers, body: read(body, xml::BYTES_MAX).await? };
            match self.learn(&request, &answer, &signed_as) {
                Lesson::Nothing => return Err(refusal(&answer).failure.into()),
                Lesson::Failed(failure) => return Err(failure.into()),
                Lesson::Learned(_) => {}
            }
        }
    }

    async fn send(
        &self,
        request: &Request,
        body: Option<Body>,
        signed_as: &Learned,
    ) -> Result<http::Response<Body>, CallError> {
        let now = signed_as.corrected((self.clock)());
        let parts = sign(request, &signed_as.place, &self.credentials, now)?;
        let body = match (&request.payload, body) {
            (_, Some(body)) => body,
            (Payload::Bytes(bytes), None) => whole(bytes.clone()),
            (Payload::Empty | Payload::Stream { .. }, None) => empty(),
        };
        Ok(self.carrier.carry(http::Request::from_parts(parts, body)).await?)
    }

    /// What an answer teaches about the region and the clock, held against what the request was signed with: others may
    /// have learned the same meanwhile.
    fn learn(&self, request: &Request, answer: &Answer, signed_as: &Learned) -> Lesson {
        if (200..300).contains(&answer.status) {
            self.learned().unproved = 0;
            return Lesson::Nothing;
        }
        let is_head = request.method == Method::HEAD;
        let Refusal { failure, correction } = refusal(answer);
        // A store tells the region with every answer, so that a HEAD refused without a word may be about anything.
        let is_about_region = failure.code == Code::WrongRegion;
        match correction {
            Some(Correction::Region(region)) if region != signed_as.place.region() => {
                return match signed_as.place.with_region(&region) {
                    Ok(place) => self.keep(signed_as, failure, |learned| learned.place = place),
                    Err(_) => Lesson::Failed(regions_agree(answer)),
                };
            }
            Some(Correction::Region(_)) if !is_head || answer.status != 400 => {
                return Lesson::Failed(regions_agree(answer));
            }
            None if is_about_region => return Lesson::Failed(failure),
            _ => {}
        }
        let ours = (self.clock)();
        match clock_of(answer, is_head) {
            Some(theirs) if theirs.0.abs_diff(signed_as.corrected(ours).0) > SKEW_MAX_MS => {
                let offset = theirs.0.saturating_sub(ours.0);
                let failure = clocks_differ(answer);
                self.keep(signed_as, failure, |learned| learned.clock_offset_ms = offset)
            }
            _ if failure.code == Code::ClockSkewed => Lesson::Failed(clocks_agree(answer)),
            _ if is_about_region => Lesson::Failed(refused_head(answer)),
            _ => Lesson::Nothing,
        }
    }

    /// Keeps what was learned, unless a store has taught us too often without letting us in: `failure` says so then. Of
    /// many requests that were signed alike one lesson is enough.
    fn keep(&self, signed_as: &Learned, failure: Failure, change: impl FnOnce(&mut Learned)) -> Lesson {
        let mut learned = self.learned();
        if learned.place != signed_as.place || learned.clock_offset_ms != signed_as.clock_offset_ms {
            return Lesson::Learned(failure);
        }
        if learned.unproved >= UNPROVED_MAX {
            return Lesson::Failed(Failure { remedy: Remedy::Block, ..failure });
        }
        learned.unproved += 1;
        change(&mut learned);
        Lesson::Learned(failure)
    }

    fn learned(&self) -> MutexGuard<'_, Learned> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Learned { place, clock_offset_ms, .. } = &*self.learned();
        f.debug_struct("Bucket").field("place", place).field("clock_offset_ms", clock_offset_ms).finish_non_exhaustive()
    }
}

/// What is known of the store besides what we were told.
#[derive(Clone)]
struct Learned {
    place: Place,
    clock_offset_ms: i64,
    /// Lessons since a request last succeeded.
    unproved: u32,
}

impl Learned {
    fn corrected(&self, ours: Timestamp) -> Timestamp {
        Timestamp(ours.0.saturating_add(self.clock_offset_ms))
    }
}

/// What became of an answer before it is interpreted.
enum Lesson {
    /// It is about neither region nor clock.
    Nothing,
    /// The same request will be signed better now. The failure is for those who cannot send it again by themselves.
    Learned(Failure),
    /// It is about the region or the clock, and there is nothing to learn.
    Failed(Failure),
}

fn misuse(what: &str) -> Failure {
    Failure::new(Remedy::Block, Code::Refused, what)
}

/// Stores accept what was signed up to a quarter of an hour from their time. A difference of less than this is none.
const SKEW_MAX_MS: u64 = 5 * 60 * 1000;
/// A region and a clock, and both once more for a store that has moved. More often is a store that leads us around.
const UNPROVED_MAX: u32 = 4;
