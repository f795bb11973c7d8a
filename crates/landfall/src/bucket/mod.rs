//! Uploads to a bucket of somebody else's: S3, or what speaks like it.
//!
//! A file is *taken in charge*: a row in the journal says where it lies and under which key it goes. It is *prepared*: read
//! once, cut into equal parts, and the checksum of each part is written down before anything is sent. What fits into one
//! part is *put*; for a longer one a remote upload is *opened*, after the journal says that it will be, and each part is
//! sent with its checksum and noted with its receipt. The object is *completed*, and then *proved*: its length, its
//! checksum and the tag that we gave it are asked for. Only then is it done.
//!
//! Whatever has no answer is asked about. A worker that takes over asks which parts the bucket holds and sends the rest.
//! Why it is so is in `docs/decisions/0007-buckets.md`.

mod ask;
mod bundle;
mod checksum;
mod clock;
mod content;
mod drive;
mod fetch;
mod keys;
mod orphans;
mod pacer;
mod prepare;
mod probe;
mod remote;
mod seal;
mod send;
mod trial;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures_util::{FutureExt as _, future::BoxFuture};
use landfall_core::{Bandwidth, Code, Failure, Proof, Remedy, RetryPolicy};
use landfall_crypto::MasterKey;
use landfall_store::{Destination, DestinationId, Enqueued, Lease, NewUpload, StoreError, Tx};
use landfall_transport::{
    Carrier,
    s3::{self, Credentials, Place},
};

use self::{drive::Upload, pacer::Pacer, remote::Remote};
pub use self::{
    fetch::{Fetched, Listing, RemoteFile},
    orphans::{Orphan, Swept},
    trial::{Check, Verdict},
};
use crate::{Engine, Error, Observer, RunOptions, RunReport, drive::Driven, engine::Inner, reap::Reaped, site::Site};

/// How a bucket is used.
pub struct BucketOptions {
    /// Where it is.
    pub place: Place,
    /// All keys begin with it. Empty, or it ends with `/` as a rule.
    pub prefix: String,
    /// Whose rights are used.
    pub credentials: Credentials,
    /// Performs the requests.
    pub carrier: Arc<dyn Carrier>,
    /// Length of a part that is aimed for, in bytes.
    pub part_size: u64,
    /// Shortest and longest parts, and the longest object.
    pub limits: landfall_core::PartLimits,
    /// Pauses between attempts at an upload, and how many there are.
    pub retry: RetryPolicy,
    /// How many parts of one file are under way at most.
    pub parts_in_flight_max: usize,
    /// How fast, and when. `None`: as fast as it goes.
    pub bandwidth: Option<Bandwidth>,
}

impl BucketOptions {
    /// The defaults at a place.
    pub fn new(place: Place, credentials: Credentials, carrier: Arc<dyn Carrier>) -> Self {
        Self {
            place,
            prefix: String::new(),
            credentials,
            carrier,
            part_size: PART_BYTES,
            limits: landfall_core::PartLimits::S3,
            retry: RetryPolicy { attempts_max: RETRIES_MAX + 1, ..RetryPolicy::default() },
            parts_in_flight_max: PARTS_IN_FLIGHT_MAX,
            bandwidth: None,
        }
    }
}

/// Length of a part that is aimed for by default, in bytes.
pub const PART_BYTES: u64 = 10 << 20;
/// Retries by default.
pub const RETRIES_MAX: u32 = 10;
/// Parts of one file under way by default.
const PARTS_IN_FLIGHT_MAX: usize = 4;

/// A bucket that a home uploads to. Clones are the same.
#[derive(Clone)]
pub struct Bucket {
    pub(crate) inner: Arc<BucketInner>,
}

pub(crate) struct BucketInner {
    pub(crate) engine: Arc<Inner>,
    pub(crate) destination: DestinationId,
    pub(crate) remote: Remote,
    /// As it is configured.
    pub(crate) region: String,
    pub(crate) prefix: String,
    pub(crate) part_size: u64,
    pub(crate) limits: landfall_core::PartLimits,
    pub(crate) retry: RetryPolicy,
    pub(crate) parts_in_flight_max: usize,
    pacer: Pacer,
    /// Held by whoever finds out what the bucket can do.
    probing: tokio::sync::Mutex<()>,
    /// Opens what is sealed there, once somebody has unlocked it.
    master: OnceLock<MasterKey>,
}

impl Engine {
    /// The bucket of a configured destination, with what is known of it. Asks nobody.
    ///
    /// # Errors
    /// [`Error::Moved`] if uploads are under way to another place under that name; the journal's.
    pub async fn bucket(&self, name: &str, options: BucketOptions) -> Result<Bucket, Error> {
        let destination = self.destination(&location(name)).await?;
        let place = place_text(&options.place, &options.prefix);
        let id = destination.id;
        let asked = place.clone();
        let (facts, known, queued) = self
            .inner
            .journal
            .read(move |tx| {
                let queued = tx.counts(Some(id))?;
                Ok((tx.bucket_facts(id, &asked)?, tx.bucket_place(id)?, queued))
            })
            .await?;
        let unfinished = queued.queued() + queued.paused + queued.blocked + queued.abandoning;
        if let Some(known) = known.filter(|known| *known != place)
            && unfinished > 0
        {
            return Err(Error::Moved { name: name.to_owned(), known, unfinished });
        }
        let region = options.place.region().to_owned();
        let remote = Remote::new(&self.inner, id, place, options.place, options.credentials, options.carrier, facts);
        let inner = BucketInner {
            engine: Arc::clone(&self.inner),
            destination: id,
            remote,
            region,
            prefix: options.prefix,
            part_size: options.part_size,
            limits: options.limits,
            retry: options.retry,
            parts_in_flight_max: options.parts_in_flight_max,
            pacer: Pacer::new(&self.inner.env, options.bandwidth),
            probing: tokio::sync::Mutex::default(),
            master: OnceLock::new(),
        };
        Ok(Bucket { inner: Arc::new(inner) })
    }
}

/// What the journal calls a configured destination.
pub fn location(name: &str) -> String {
    format!("s3:{name}")
}

/// The name of a configured destination, of what the journal calls it.
pub fn name_of(destination: &Destination) -> Option<&str> {
    destination.location.strip_prefix("s3:")
}

/// Endpoint, bucket and prefix on one line: what was learned is of this place. At Amazon a bucket's name is enough, and its
/// region may be corrected.
fn place_text(place: &Place, prefix: &str) -> String {
    let endpoint = if place.is_amazon() { "amazon".to_owned() } else { place.endpoint().to_string() };
    format!("{endpoint}/{}/{prefix}", place.bucket())
}

impl Bucket {
    /// Takes files in charge. When this returns they are in the journal; nothing was sent. They stay where they are, and
    /// must until they are done. Called twice it does the same as once: what is on its way to its key already is not taken
    /// again ([`Enqueued::Same`]), and goes on if it was blocked. Where something else is on its way to a key, nothing is
    /// taken for it ([`Enqueued::Taken`]).
    ///
    /// # Errors
    /// [`Error::Store`]: nothing was taken in charge; the message says what the disk of the home needs.
    pub async fn enqueue(&self, uploads: Vec<NewUpload>) -> Result<Vec<Enqueued>, Error> {
        let (engine, destination) = (&self.inner.engine, self.inner.destination);
        let now = engine.now();
        let place = self.place();
        let enqueued = engine
            .journal
            .write(move |tx| {
                tx.settle_bucket(destination, &place)?;
                uploads.iter().map(|upload| tx.enqueue_upload(destination, upload, now)).collect()
            })
            .await?;
        Ok(enqueued)
    }

    /// Works on what is queued for this bucket; see [`Engine::run`].
    ///
    /// # Errors
    /// The journal's. What goes wrong with an upload is on its item.
    pub async fn run(&self, options: RunOptions, observer: Arc<dyn Observer>) -> Result<RunReport, Error> {
        let engine = Engine { inner: Arc::clone(&self.inner.engine) };
        let report = engine.run_at(Arc::new(self.clone()), options, observer).await;
        self.inner.remote.keep_facts().await?;
        bundle::tidy(&self.inner.engine).await?;
        report
    }

    /// The key of a name below this destination's prefix.
    pub fn key(&self, name: &str) -> String {
        format!("{}{name}", self.inner.prefix)
    }

    /// What all keys begin with.
    pub fn prefix(&self) -> &str {
        &self.inner.prefix
    }

    /// Endpoint, bucket and prefix on one line.
    pub(crate) fn place(&self) -> String {
        self.inner.remote.place().to_owned()
    }

    /// Its number in the journal.
    pub fn destination(&self) -> DestinationId {
        self.inner.destination
    }
}

impl Site for Bucket {
    fn destination(&self) -> DestinationId {
        self.inner.destination
    }

    fn away(&self) -> Option<(Duration, Failure)> {
        self.inner.remote.away()
    }

    fn hopeless(&self) -> Option<(Duration, Failure)> {
        self.inner.remote.hopeless()
    }

    fn try_anew(&self) {
        self.inner.remote.try_anew();
    }

    fn is_current(&self, tx: &Tx<'_>) -> Result<bool, StoreError> {
        let place = tx.bucket_place(self.inner.destination)?;
        Ok(place.is_none_or(|place| place == self.inner.remote.place()))
    }

    fn drive(
        &self,
        engine: &Arc<Inner>,
        lease: Lease,
        observer: Arc<dyn Observer>,
    ) -> BoxFuture<'static, Result<Driven, Error>> {
        Upload::new(self.clone(), Arc::clone(engine), lease, observer).run().boxed()
    }

    fn reap<'s>(&'s self, engine: &'s Arc<Inner>) -> BoxFuture<'s, Result<Reaped, Error>> {
        orphans::reap(engine, self).boxed()
    }
}

/// There is an object under the key that is not known to be this one.
fn key_taken(key: &str, size: u64) -> Failure {
    let message = format!("`{key}` is there already: {size} bytes that are others, or did not come from this home");
    Failure::new(Remedy::Block, Code::KeyTaken, message)
}

/// The source is not what was prepared.
fn changed() -> Failure {
    Failure::new(Remedy::NewRevision, Code::SourceChanged, "the source is not what was prepared any more")
}

/// What is to vouch for parts where nothing else is known.
fn proof_of_amazon(place: &Place) -> Option<Proof> {
    place.is_amazon().then_some(Proof::Checksum(landfall_core::Algorithm::Crc64Nvme))
}

/// An answer that a bucket may not give.
fn bad_answer(what: &str) -> Failure {
    Failure::new(Remedy::Retry, Code::BadAnswer, format!("the bucket's answer is not one: {what}"))
}

type Request = s3::Request;
