//! One upload, from where the journal has it to where it cannot be taken further.

use std::sync::{Arc, Mutex};

use landfall_core::{
    Action, BlockReason, Code, Failure, ObjectState, Remedy, Timestamp, UploadStep, UploadView, Waits, Window,
    next_upload_step,
};
use landfall_env::Sabotage;
use landfall_store::{BucketObject, BucketObjectId, Lease, StoreError, Tx};
use landfall_transport::s3::Condition;

use super::{Bucket, content::Archive, seal::Sealing};
use crate::{
    Error, Observer, Progress,
    drive::{Driven, Halt},
    engine::Inner,
    reach::{AtWork, STUCK},
};

/// Works on one upload under a lease. Dropping it stops the work; the journal then shows what is unknown, and the next
/// holder asks.
pub(crate) struct Upload {
    pub(crate) bucket: Bucket,
    pub(crate) engine: Arc<Inner>,
    pub(crate) lease: Lease,
    pub(crate) observer: Arc<dyn Observer>,
    /// How many parts may be under way.
    pub(crate) window: Window,
    /// The bucket has said, under this lease, which parts it holds.
    pub(crate) is_known: bool,
    /// The bucket has said, under this lease, that this object is complete.
    pub(crate) completed: Option<BucketObjectId>,
    /// Under this lease, this object was found in its place without being sent.
    pub(crate) found: Option<BucketObjectId>,
    /// Under this lease, this object may take the place of something that we left there, and on which condition.
    pub(crate) replacing: Option<(BucketObjectId, Condition)>,
    /// Failures in a row that cost no attempt.
    pub(crate) free_failures: u32,
    /// Whether this gets anywhere.
    pub(crate) at_work: AtWork,
    /// How the present object is sealed again.
    pub(super) sealing: Mutex<Option<(BucketObjectId, Arc<Sealing>)>>,
    /// What the present object is an archive of.
    pub(super) archive: Mutex<Option<(BucketObjectId, Arc<Archive>)>>,
}

/// How many lost answers, wrong clocks and vanished uploads in a row cost no attempt.
const FREE_FAILURES_MAX: u32 = 12;
/// A source that is found changed so often, after it was prepared, is left to a person.
const REVISIONS_MAX: i64 = 20;
/// How many parts a step names at most: the window decides how many of them are under way.
const PARTS_PER_STEP_MAX: usize = 64;

/// An upload as the journal has it now.
pub(crate) struct Present {
    pub(crate) upload: landfall_store::Upload,
    pub(crate) object: Option<BucketObject>,
}

impl Upload {
    pub(crate) fn new(bucket: Bucket, engine: Arc<Inner>, lease: Lease, observer: Arc<dyn Observer>) -> Self {
        let window = Window::new(bucket.inner.parts_in_flight_max);
        let at_work = bucket.inner.remote.enter();
        Self {
            bucket,
            engine,
            lease,
            observer,
            window,
            is_known: false,
            completed: None,
            found: None,
            replacing: None,
            free_failures: 0,
            at_work,
            sealing: Mutex::default(),
            archive: Mutex::default(),
        }
    }

    /// Takes steps until there is none to take.
    pub(crate) async fn run(mut self) -> Result<Driven, Error> {
        let mut announced = false;
        loop {
            let present = match self.present().await {
                Ok(present) => present,
                Err(Halt::Fatal(error)) => return Err(error),
                Err(_) => return Ok(Driven::Released),
            };
            if !std::mem::replace(&mut announced, true) {
                let (name, bytes) = (name_of(&present.upload), present.upload.size);
                self.observer.saw(Progress::Started { item: self.lease.item, name, bytes });
            }
            if present.upload.is_sealed && self.bucket.master().is_none() {
                return self.give_back(Waits::Unlock).await;
            }
            let view = UploadView {
                state: present.upload.state.clone(),
                object: present.object.as_ref().map(BucketObject::view),
            };
            let step = match next_upload_step(&view, PARTS_PER_STEP_MAX, self.engine.now()) {
                Action::Start(step) => step,
                Action::WaitUntil(moment) => return self.give_back(Waits::Until(moment)).await,
                Action::WaitFor(condition) => return self.give_back(condition).await,
                Action::Rest => return self.give_back(Waits::Nothing).await,
            };
            let failure = match self.take(step, &present).await {
                Ok(()) => {
                    self.at_work.gets_further();
                    continue;
                }
                Err(Halt::LeaseGone) => return Ok(Driven::Released),
                Err(Halt::Fatal(error)) => return Err(error),
                Err(Halt::Failed(failure)) => failure,
            };
            match self.settle(failure, &present).await {
                Ok(None) => {}
                Ok(Some(end)) => return Ok(end),
                Err(Halt::Fatal(error)) => return Err(error),
                Err(Halt::Failed(_) | Halt::LeaseGone) => return Ok(Driven::Released),
            }
        }
    }

    async fn present(&self) -> Result<Present, Halt> {
        let lease = self.lease.clone();
        let read = move |tx: &Tx<'_>| {
            let upload = tx.upload(lease.item)?;
            if upload.generation != lease.generation && !tx.sabotaged(Sabotage::DropGenerationCheck) {
                return Err(StoreError::LostLease(lease.item));
            }
            let object = tx.bucket_object(&upload)?;
            Ok(Present { upload, object })
        };
        Ok(self.engine.journal.read(read).await?)
    }

    async fn take(&mut self, step: UploadStep, present: &Present) -> Result<(), Halt> {
        if step == UploadStep::Prepare {
            return self.prepare(&present.upload).await;
        }
        let Some(object) = &present.object else { return Err(Error::Tampered("an object is missing".into()).into()) };
        match step {
            // An earlier holder opened it, and may have got further than the journal knows.
            UploadStep::Send(_) | UploadStep::Complete if !self.is_known => self.ask(object).await,
            UploadStep::Put => self.put(present, object).await,
            UploadStep::Open => self.open(present, object).await,
            UploadStep::Send(numbers) => self.send(present, object, numbers).await,
            UploadStep::Ask => self.ask(object).await,
            UploadStep::Complete => self.complete(object).await,
            UploadStep::Finish => self.finish(present, object).await,
            UploadStep::Prepare => Ok(()),
        }
    }

    async fn finish(&mut self, present: &Present, object: &BucketObject) -> Result<(), Halt> {
        let id = object.id;
        self.write(move |tx, lease, now| tx.finish_upload(lease, id, now)).await?;
        self.reached("bucket.done");
        self.observer.saw(Progress::Done {
            item: self.lease.item,
            place: object.object_key.clone().into_bytes(),
            uploaded: self.found != Some(object.id),
            bytes: present.upload.size,
        });
        Err(Halt::LeaseGone)
    }

    /// Does what a failure's remedy says. `None`: go on with the next step.
    async fn settle(&mut self, failure: Failure, present: &Present) -> Result<Option<Driven>, Halt> {
        tracing::debug!(item.id = %self.lease.item, code = %failure.code, "A step failed: {failure}");
        self.bucket.inner.remote.keep_facts().await?;
        let remedy = match failure.remedy {
            Remedy::Ask | Remedy::Renew | Remedy::Reopen => {
                self.free_failures += 1;
                // Nothing has come of it for so long that it may never: from now on it costs attempts.
                if self.free_failures > FREE_FAILURES_MAX { Remedy::Retry } else { failure.remedy }
            }
            other => other,
        };
        match remedy {
            // The step has written what is unknown; the gate holds back the next request.
            Remedy::Ask | Remedy::Renew | Remedy::Reopen => Ok(None),
            Remedy::Wait { .. } => {
                let is_stuck = self.at_work.waits(&failure);
                if failure.code == Code::Throttled {
                    self.window.on_throttle();
                }
                self.observer.saw(Progress::Waiting { code: failure.code, message: failure.message });
                if is_stuck {
                    // Others may get further.
                    let until = self.engine.now().after(STUCK);
                    return Ok(Some(self.give_back(Waits::Until(until)).await?));
                }
                Ok(None)
            }
            Remedy::Retry => {
                let retry = self.bucket.inner.retry;
                let attempts = present.upload.attempts + 1;
                if retry.is_exhausted(attempts) {
                    let message = format!("{attempts} attempts failed; the last: {failure}");
                    return self.block(Code::TooManyAttempts, message, present).await.map(Some);
                }
                let now = self.engine.now();
                let until = now.after(retry.delay_on_top(attempts, self.engine.env.random.fraction()));
                let message = failure.message;
                self.write(move |tx, lease, now| tx.charge(lease, &message, until, now)).await?;
                self.observer.saw(Progress::Put { item: self.lease.item });
                Ok(Some(Driven::Released))
            }
            Remedy::NewRevision => {
                let times = present.upload.revision;
                let why = failure.message;
                self.is_known = false;
                self.write(move |tx, lease, now| tx.new_upload_revision(lease, &why, now)).await?;
                if times % REVISIONS_MAX == 0 {
                    let message = format!("it was found changed {REVISIONS_MAX} times while it was sent");
                    return self.block(failure.code, message, present).await.map(Some);
                }
                // Whoever writes it may not be done.
                let times = u32::try_from(times).unwrap_or(u32::MAX);
                let pause = self.engine.settings.retry.delay(times, self.engine.env.random.fraction());
                Ok(Some(self.give_back(Waits::Until(self.engine.now().after(pause))).await?))
            }
            // Credentials are configured, not logged in with: whoever mends them says `retry`.
            Remedy::LogIn | Remedy::Block => self.block(failure.code, failure.message, present).await.map(Some),
        }
    }

    async fn block(&mut self, code: Code, message: String, present: &Present) -> Result<Driven, Halt> {
        let reason = BlockReason { code, message: message.clone() };
        self.write(move |tx, lease, now| tx.block(lease, &reason, now)).await?;
        let place = present.upload.source.clone();
        self.observer.saw(Progress::Blocked { item: self.lease.item, place, code, message });
        Ok(Driven::Released)
    }

    async fn give_back(&mut self, waits: Waits) -> Result<Driven, Error> {
        match self.write(move |tx, lease, now| tx.release(lease, waits, now)).await {
            Err(Halt::Fatal(error)) => Err(error),
            _ => {
                self.observer.saw(Progress::Put { item: self.lease.item });
                Ok(Driven::Released)
            }
        }
    }

    /// Moves the object on, durably.
    pub(crate) async fn set(&self, object: &BucketObject, state: ObjectState) -> Result<(), Halt> {
        let id = object.id;
        self.write(move |tx, lease, now| tx.set_bucket_object(lease, id, state, now)).await
    }

    /// A transition of this upload, durable when it returns.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Tx<'_>, &Lease, Timestamp) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Halt> {
        let (lease, now) = (self.lease.clone(), self.engine.now());
        Ok(self.engine.journal.write(move |tx| change(tx, &lease, now)).await?)
    }

    pub(crate) fn reached(&self, step: &'static str) {
        self.engine.env.steps.reached(step);
    }

    pub(crate) fn sabotaged(&self, sabotage: Sabotage) -> bool {
        self.engine.env.steps.sabotaged(sabotage)
    }
}

/// What people call it: the last segment of its source.
fn name_of(upload: &landfall_store::Upload) -> String {
    let last = upload.source.rsplit(|byte| matches!(byte, b'/' | b'\\')).next().unwrap_or_default();
    String::from_utf8_lossy(last).into_owned()
}
