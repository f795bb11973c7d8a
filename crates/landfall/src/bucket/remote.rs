//! The bucket as the engine calls it: every call passes the gate, is signed when it is sent, and every failure is classified.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http_body_util::BodyExt as _;
use landfall_core::{Checksum, Code, Failure, Proof, Remedy, Timestamp};
use landfall_store::{BucketFacts, BucketObject, BucketPart, DestinationId};
use landfall_transport::{
    Body, BodyError, Carrier, Loss,
    s3::{
        self, Correction, Credentials, Place,
        answer::{self, Completed, HeldPart, ObjectHead, Receipt},
        request::{self, CompletedPart, Condition, NewObject},
    },
    vault::{self, Answer, CallError},
};

use super::{Request, clock::BucketClock};
use crate::{
    Error,
    engine::Inner,
    reach::{AtWork, Kind, Reach},
};

/// A bucket, with a memory of whether it can be reached and of what it can do.
#[derive(Clone)]
pub(crate) struct Remote {
    engine: Arc<Inner>,
    destination: DestinationId,
    place: Arc<str>,
    pub(crate) bucket: s3::Bucket,
    clock: Arc<BucketClock>,
    patience: Duration,
    reach: Reach,
    facts: Arc<Mutex<Facts>>,
}

struct Facts {
    now: BucketFacts,
    kept: BucketFacts,
    /// Whether it is known not to obey `If-Match`, of Put and of Complete. Not kept: it is of use to few.
    cannot_match: (bool, bool),
}

/// The two ways an object gets there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// In one request.
    Put,
    /// Made of parts.
    Complete,
}

impl Way {
    pub(crate) fn of(object: &BucketObject) -> Self {
        if object.plan.is_single() { Self::Put } else { Self::Complete }
    }
}

fn way_of(request: &Request) -> Way {
    if request.method == http::Method::PUT { Way::Put } else { Way::Complete }
}

/// What there is under a key, as far as it can be seen.
#[derive(Debug)]
pub(crate) enum Sight {
    /// Nothing.
    Nothing,
    /// An object.
    Object(ObjectHead),
    /// The keys may not look: there may be an object, or none.
    Hidden(Failure),
}

/// What became of a request that may be refused for a part of it that the bucket does not understand.
pub(crate) enum CallFailure {
    /// Classified.
    Failed(Failure),
    /// The body that was to be sent failed by itself.
    Body(BodyError),
}

impl Remote {
    pub(crate) fn new(
        engine: &Arc<Inner>,
        destination: DestinationId,
        place_text: String,
        place: Place,
        credentials: Credentials,
        carrier: Arc<dyn Carrier>,
        facts: BucketFacts,
    ) -> Self {
        let clock = BucketClock::new(carrier, engine.env.clone());
        let ours = Arc::clone(engine);
        let bucket = s3::Bucket::new(Arc::clone(&clock) as _, place, credentials, Arc::new(move || ours.now()));
        bucket.correct(facts.region.clone(), facts.clock_offset_ms);
        Self {
            engine: Arc::clone(engine),
            destination,
            place: place_text.into(),
            bucket,
            clock,
            patience: engine.settings.patience,
            reach: Reach::new(engine),
            facts: Arc::new(Mutex::new(Facts { now: facts.clone(), kept: facts, cannot_match: (false, false) })),
        }
    }

    /// Endpoint, bucket and prefix.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    pub(crate) fn away(&self) -> Option<(Duration, Failure)> {
        self.reach.away()
    }

    pub(crate) fn hopeless(&self) -> Option<(Duration, Failure)> {
        self.reach.hopeless()
    }

    /// Somebody begins to work on an upload.
    pub(crate) fn enter(&self) -> AtWork {
        self.reach.enter()
    }

    /// Something that was asked about turns out to have been stored.
    pub(crate) fn has_stored(&self) {
        self.reach.came_through(Kind::Store);
    }

    pub(crate) fn try_anew(&self) {
        self.reach.try_anew();
    }

    /// What vouches for parts here, if that was found out.
    pub(crate) fn proof(&self) -> Option<Proof> {
        self.facts().now.proof.or_else(|| super::proof_of_amazon(&self.bucket.place()))
    }

    /// Whether it refuses to overwrite when it is asked to. Unknown: `None`.
    pub(crate) fn guards(&self, way: Way) -> Option<bool> {
        let facts = self.facts();
        let known = match way {
            Way::Put => facts.now.guards_put,
            Way::Complete => facts.now.guards_complete,
        };
        drop(facts);
        known.or_else(|| self.bucket.place().is_amazon().then_some(true))
    }

    pub(crate) fn learn_proof(&self, proof: Proof) {
        self.facts().now.proof = Some(proof);
    }

    pub(crate) fn learn_guards(&self, way: Way, guards: bool) {
        let mut facts = self.facts();
        match way {
            Way::Put => facts.now.guards_put = Some(guards),
            Way::Complete => facts.now.guards_complete = Some(guards),
        }
    }

    /// It does not tell apart what it is to replace, or does not let it be replaced on that condition.
    pub(crate) fn learn_no_match(&self, way: Way) {
        let mut facts = self.facts();
        match way {
            Way::Put => facts.cannot_match.0 = true,
            Way::Complete => facts.cannot_match.1 = true,
        }
    }

    /// Writes what was learned since it was last written.
    pub(crate) async fn keep_facts(&self) -> Result<(), Error> {
        let facts = {
            let mut facts = self.facts();
            facts.now.region = Some(self.bucket.place().region().to_owned());
            facts.now.clock_offset_ms = self.bucket.clock_offset_ms();
            if facts.now == facts.kept {
                return Ok(());
            }
            facts.kept = facts.now.clone();
            facts.now.clone()
        };
        let (destination, place) = (self.destination, Arc::clone(&self.place));
        Ok(self.engine.journal.write(move |tx| tx.learn_bucket(destination, &place, &facts)).await?)
    }

    /// What time it is by the bucket's clock; by what was learned of it earlier, if it has not answered yet.
    pub(crate) fn its_time(&self) -> Timestamp {
        let ours = self.engine.now();
        self.clock.now().unwrap_or(Timestamp(ours.0.saturating_add(self.bucket.clock_offset_ms())))
    }

    /// Looks at what is at a key.
    ///
    /// A refusal of `HEAD` has no words, and where keys may not be listed it is also what is said of a key with nothing
    /// there. So whoever is refused asks something else whose refusal has words; if that is refused as well, nobody knows.
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html>
    pub(crate) async fn head(&self, key: &str) -> Result<Sight, Failure> {
        let refused = match self.ask(|| request::head(key), answer::head).await {
            Err(failure) if matches!(failure.code, Code::AccessDenied | Code::Refused) => failure,
            other => return Ok(other?.map_or(Sight::Nothing, Sight::Object)),
        };
        match self.ask(|| request::list(key, None, None), |page| answer::objects(page, key, None)).await {
            Ok(_) if refused.code == Code::Refused => Err(refused),
            // The key itself comes before everything that begins with it.
            Ok(page) if page.objects.first().is_none_or(|first| first.key != key) => Ok(Sight::Nothing),
            Err(failure) if failure.code != Code::AccessDenied => Err(failure),
            _ => {
                let message =
                    format!("these keys may not look at `{key}`; give them the rights s3:GetObject and s3:ListBucket");
                Ok(Sight::Hidden(Failure { message, remedy: Remedy::Block, ..refused }))
            }
        }
    }

    /// One try: a lost answer is the caller's to settle.
    pub(crate) async fn create(&self, key: &str, object: &NewObject<'_>) -> Result<String, Failure> {
        let answer = self.once_learning(Kind::Store, request::create(key, object)).await?;
        let created = answer::created(&answer, key);
        Ok(self.judge(Kind::Store, created)?.to_string())
    }

    /// All parts of an open upload, in order; `None` if there is no such upload.
    pub(crate) async fn parts(&self, key: &str, upload_id: &str) -> Result<Option<Vec<HeldPart>>, Failure> {
        let mut parts = Vec::new();
        let mut after = None;
        loop {
            let page = self
                .ask(|| request::list_parts(key, upload_id, after), |answer| answer::parts(answer, key, upload_id))
                .await;
            let page = match page {
                Err(failure) if failure.code == Code::NoSuchUpload => return Ok(None),
                other => other?,
            };
            parts.extend(page.parts);
            let last = after;
            after = page.next;
            match (last, after) {
                (_, None) => return Ok(Some(parts)),
                (Some(last), Some(next)) if next <= last => {
                    return Err(super::bad_answer("a list of parts promises more and does not go on"));
                }
                _ => {}
            }
        }
    }

    /// One try: a lost answer is the caller's to settle.
    pub(crate) async fn send_part(
        &self,
        object: &BucketObject,
        upload_id: &str,
        part: &BucketPart,
        length: u64,
        body: Body,
    ) -> Result<Receipt, CallFailure> {
        let checksum = object.checksum_of(part);
        let request = request::upload_part(
            &object.object_key,
            upload_id,
            part.number,
            length,
            checksum.as_ref(),
            signed_payload(object, part),
        );
        let answer = self.stream_out(request, body).await?;
        self.judge(Kind::Store, answer::part_stored(&answer, checksum.as_ref())).map_err(CallFailure::Failed)
    }

    /// One try: a lost answer is the caller's to settle.
    pub(crate) async fn put(
        &self,
        object: &BucketObject,
        new: &NewObject<'_>,
        condition: &Condition,
        body: Body,
    ) -> Result<Receipt, CallFailure> {
        let part = &object.parts[0];
        let checksum = object.checksum_of(part);
        let request = request::put(
            &object.object_key,
            new,
            object.plan.size(),
            checksum.as_ref(),
            signed_payload(object, part),
            self.if_known(Way::Put, condition),
        );
        let answer = self.stream_out(request, body).await?;
        self.judge(Kind::Store, answer::stored(&answer, checksum.as_ref())).map_err(CallFailure::Failed)
    }

    /// One try: a lost answer is the caller's to settle.
    pub(crate) async fn complete(
        &self,
        object: &BucketObject,
        upload_id: &str,
        parts: &[CompletedPart],
        whole: Option<&Checksum>,
        condition: &Condition,
    ) -> Result<Completed, Failure> {
        let size = object.plan.size();
        let condition = self.if_known(Way::Complete, condition);
        let request = request::complete(&object.object_key, upload_id, parts, whole, size, condition);
        let answer = self.once_learning(Kind::Store, request).await?;
        self.judge(Kind::Store, answer::completed(&answer))
    }

    pub(crate) async fn abort(&self, key: &str, upload_id: &str) -> Result<(), Failure> {
        self.ask(|| request::abort(key, upload_id), answer::aborted).await
    }

    /// Repeats a question that somebody waits for, until the bucket has been away, or did not answer it, for longer than
    /// patience lasts.
    pub(crate) async fn patiently<T, F>(&self, question: impl FnMut() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        self.reach.patiently(self.patience, question).await
    }

    /// Whether the bucket has been away for longer than patience lasts.
    pub(crate) fn is_given_up(&self) -> bool {
        self.reach.is_given_up(self.patience)
    }

    /// A question: harmless however often it is sent.
    pub(crate) async fn ask<T>(
        &self,
        request: impl Fn() -> Request,
        read: impl Fn(&Answer) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let answer = self.once(Kind::Ask, request()).await.map_err(|failure| match failure.remedy {
            Remedy::Ask => Failure { remedy: Remedy::Wait { retry_after: None }, ..failure },
            _ => failure,
        })?;
        self.judge(Kind::Ask, read(&answer))
    }

    /// One request with its answer, whatever that says.
    pub(crate) async fn once(&self, kind: Kind, request: Request) -> Result<Answer, Failure> {
        let _passage = self.reach.pass(kind).await;
        self.bucket.call(request, None).await.map_err(|error| self.reach.note(kind, failure_of(error)))
    }

    /// A condition, unless the bucket is known to understand none.
    fn if_known<'c>(&self, way: Way, condition: &'c Condition) -> &'c Condition {
        let facts = self.facts();
        let cannot_match = if way == Way::Put { facts.cannot_match.0 } else { facts.cannot_match.1 };
        drop(facts);
        let is_unknown = match condition {
            Condition::Is(_) => cannot_match,
            _ => self.guards(way) == Some(false),
        };
        if is_unknown { &Condition::Always } else { condition }
    }

    /// One request with its answer; and what that says of what the bucket can do.
    pub(crate) async fn once_learning(&self, kind: Kind, request: Request) -> Result<Answer, Failure> {
        let asked = request.clone();
        let answer = self.once(kind, request).await?;
        self.learn(&asked, &answer).map_err(|failure| self.reach.note(kind, failure))?;
        Ok(answer)
    }

    /// Takes note of what an answer says of what the bucket can do.
    ///
    /// # Errors
    /// It does not know the request's condition, so that the request is to be sent again without it; or what was to be
    /// replaced is gone.
    fn learn(&self, request: &Request, answer: &Answer) -> Result<(), Failure> {
        if answer.status == 412 && request.is_for_nothing() {
            self.learn_guards(way_of(request), true);
        }
        if answer.status < 400 {
            return Ok(());
        }
        let refusal = s3::refusal_of(request, answer);
        match refusal.correction {
            Some(Correction::NoCondition) => {
                if request.is_for_one() {
                    self.learn_no_match(way_of(request));
                } else {
                    self.learn_guards(way_of(request), false);
                }
                Err(refusal.failure)
            }
            Some(Correction::NoChecksum) => {
                self.learn_proof(Proof::SignedPayload);
                Ok(())
            }
            _ if answer.status == 404 && request.is_for_one() && refusal.failure.code == Code::Refused => {
                let message = "what was to be replaced is gone";
                Err(Failure::new(Remedy::Retry, Code::KeyTaken, message))
            }
            _ => Ok(()),
        }
    }

    async fn stream_out(&self, request: Request, body: Body) -> Result<Answer, CallFailure> {
        let passage = self.reach.pass(Kind::Store).await;
        let body = passage.watch(body);
        let asked = request.clone();
        match self.bucket.call(request, Some(body)).await {
            Ok(answer) => {
                let learned = self.learn(&asked, &answer);
                learned.map_err(|failure| CallFailure::Failed(self.reach.note(Kind::Store, failure)))?;
                Ok(answer)
            }
            Err(error) => Err(match error.into_failure() {
                Ok(failure) => CallFailure::Failed(self.reach.note(Kind::Store, failure)),
                Err(body) => {
                    self.reach.came_through(Kind::Ask);
                    CallFailure::Body(body)
                }
            }),
        }
    }

    /// Starts reading an object from a byte on.
    pub(crate) async fn fetch(&self, key: &str, from: u64) -> Result<http::Response<Body>, Failure> {
        let _passage = self.reach.pass(Kind::Ask).await;
        match self.bucket.stream(request::get(key, from)).await {
            Ok(response) => {
                self.reach.came_through(Kind::Ask);
                Ok(response)
            }
            Err(error) => Err(self.reach.note(Kind::Ask, failure_of(error))),
        }
    }

    /// A short object, whole. One that is longer than `most` bytes is none.
    pub(crate) async fn fetch_short(&self, key: &str, most: usize) -> Result<Vec<u8>, Failure> {
        let mut body = self.fetch(key, 0).await?.into_body();
        let mut read = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| vault::loss(&Loss::of_answer(error)))?;
            read.extend_from_slice(frame.data_ref().map_or(&[], |data| data.as_ref()));
            if read.len() > most {
                return Err(super::bad_answer("the object is far too long"));
            }
        }
        Ok(read)
    }

    /// What an answer means for the gates, and for what is known of the bucket.
    pub(crate) fn judge<T>(&self, kind: Kind, result: Result<T, Failure>) -> Result<T, Failure> {
        match result {
            Ok(value) => {
                self.reach.came_through(kind);
                Ok(value)
            }
            Err(failure) => Err(self.reach.note(kind, failure)),
        }
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The hash of the body that is part of the signature, if nothing else vouches for the part.
fn signed_payload(object: &BucketObject, part: &BucketPart) -> Option<[u8; 32]> {
    (object.proof == Proof::SignedPayload).then(|| part.checksum.as_slice().try_into().unwrap_or_default())
}

fn failure_of(error: CallError) -> Failure {
    error.into_failure().unwrap_or_else(|body| {
        let message = format!("the request's body failed: {body}");
        Failure::new(Remedy::Retry, Code::BadAnswer, message)
    })
}
