//! A server that speaks S3, in memory, and goes wrong exactly as a script says.
//!
//! A [`BucketServer`] behaves like S3 where nothing else is said: it verifies signatures and checksums, refuses parts
//! that are too small, and answers a condition that does not hold with 412. How other servers differ is a [`Profile`].
//! What goes wrong is a *script*: a list of rules, each a [`Fault`] and the requests that it strikes ([`On`]). A
//! [`Gate`] holds a request until the test lets it go on.
//!
//! The server is a `tower` service. A `ServiceCarrier` calls it within the process: there it has no task, no timer and
//! no randomness, so that a simulation stays one. Or it is served on a socket ([`BucketServer::serve`]). What is lost
//! is an error of the service in the first case, and a connection that breaks off in the second.
//!
//! A test sees everything: what is stored, what was asked and answered, how many bytes came. It waits for what it needs
//! with [`BucketServer::until`] and never sleeps.
//!
//! The messages of refusals are not S3's, since nobody should read more into them than their code says.
//!
//! # Example
//! ```
//! use std::sync::Arc;
//!
//! use landfall_testkit::bucket::{Answer, BucketServer, Fault, On, Operation, Profile};
//!
//! let server = BucketServer::new(Profile::s3(), Arc::new(|| 1_700_000_000_000));
//! server.script(On::first(Operation::PutObject), Fault::EffectThenLoseAnswer);
//! server.script(On::every(Operation::HeadObject), Fault::Answer(Answer::error(503, "SlowDown")));
//! assert!(server.object("sessions/1.zip").is_none());
//! ```

mod body;
mod checksum;
mod credential;
mod listing;
mod moment;
mod multipart;
mod objects;
mod operation;
mod profile;
mod refusal;
mod script;
mod serve;
mod service;
mod signature;
mod state;
mod xml;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use md5::{Digest as _, Md5};
use tokio::sync::watch;

pub use self::{
    body::AnswerBody,
    credential::Credential,
    operation::Operation,
    profile::{Again, Checksums, ExpiredUrl, IfNoneMatch, Profile, WrongRegion},
    script::{Answer, Fault, Gate, On},
    serve::Served,
    state::{IncompleteUpload, Object, Outcome, RequestSeen, State},
};

/// Tells the time in Unix milliseconds.
pub type Now = Arc<dyn Fn() -> i64 + Send + Sync>;

/// A server that speaks S3. Clones are the same server.
#[derive(Clone)]
pub struct BucketServer {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<()>,
    now_ms: Now,
}

impl BucketServer {
    /// The bucket that is there from the beginning.
    pub const BUCKET: &str = "media";

    /// A server with one empty bucket, [`BucketServer::BUCKET`], and one key, [`Credential::default`], that may do
    /// anything.
    pub fn new(profile: Profile, now_ms: Now) -> Self {
        let state = Mutex::new(State::new(profile));
        let server = Self { shared: Arc::new(Shared { state, changed: watch::Sender::new(()), now_ms }) };
        server.add_bucket(Self::BUCKET);
        server.allow(Credential::default());
        server
    }

    /// Makes an empty bucket.
    pub fn add_bucket(&self, name: &str) {
        self.change(|state| state.buckets.insert(name.to_owned()));
    }

    /// Removes a bucket, but not what is in it: requests for it are refused as `NoSuchBucket`.
    pub fn remove_bucket(&self, name: &str) {
        self.change(|state| state.buckets.remove(name));
    }

    /// Takes requests that are signed with this key, and no longer with another of the same id.
    pub fn allow(&self, credential: Credential) {
        self.change(|state| state.credentials.insert(credential.access_key_id.clone(), credential));
    }

    /// Forgets a key.
    pub fn revoke(&self, access_key_id: &str) {
        self.change(|state| state.credentials.remove(access_key_id));
    }

    /// Changes what kind of server it is from now on.
    pub fn set_profile(&self, profile: Profile) {
        self.change(|state| state.profile = profile);
    }

    /// Adds a rule behind those that are there. Of all rules that strike a request the first decides.
    pub fn script(&self, on: On, fault: Fault) {
        self.change(|state| state.script.add(on, fault));
    }

    /// Forgets all rules. What waits at a gate goes on waiting.
    pub fn clear_script(&self) {
        self.change(|state| state.script.clear());
    }

    /// Stores an object, as somebody else would.
    pub fn put(&self, key: &str, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        let object = Object {
            bucket: Self::BUCKET.to_owned(),
            key: key.to_owned(),
            etag: signature::hex(&Md5::digest(&bytes)),
            bytes,
            headers: Default::default(),
            parts: Vec::new(),
            modified_ms: self.now_ms(),
            checksum: None,
        };
        self.change(|state| state.objects.insert((object.bucket.clone(), object.key.clone()), object));
    }

    /// Removes an object, as somebody else would.
    pub fn remove(&self, key: &str) {
        self.change(|state| state.objects.remove(&(Self::BUCKET.to_owned(), key.to_owned())));
    }

    /// Cuts the last byte off an object and forgets its checksum, as a broken store would.
    pub fn damage(&self, key: &str) {
        self.change(|state| {
            if let Some(object) = state.objects.get_mut(&(Self::BUCKET.to_owned(), key.to_owned())) {
                object.bytes.truncate(object.bytes.len().saturating_sub(1));
                object.checksum = None;
            }
        });
    }

    /// Aborts all uploads in parts, as a rule of a bucket's life cycle would.
    pub fn expire_uploads(&self) {
        self.change(|state| state.uploads.clear());
    }

    /// Looks at everything the server holds and has seen.
    ///
    /// The server stands still meanwhile: nothing in `see` may call it.
    pub fn look<T>(&self, see: impl FnOnce(&State) -> T) -> T {
        see(&self.lock())
    }

    /// Waits until the server's state is as wanted. It is looked at now and after every change; as in
    /// [`BucketServer::look`], `is_so` may not call the server.
    pub async fn until(&self, mut is_so: impl FnMut(&State) -> bool) {
        let mut changes = self.shared.changed.subscribe();
        while !self.look(&mut is_so) {
            changes.changed().await.expect("the server is here, and with it what tells of changes");
        }
    }

    /// All objects, by bucket and key.
    pub fn objects(&self) -> Vec<Object> {
        self.look(|state| state.objects().cloned().collect())
    }

    /// The object of this key, in whichever bucket.
    pub fn object(&self, key: &str) -> Option<Object> {
        self.look(|state| state.object(key).cloned())
    }

    /// All uploads in parts that are neither completed nor aborted, in the order in which they began.
    pub fn incomplete_uploads(&self) -> Vec<IncompleteUpload> {
        self.look(|state| state.incomplete_uploads().collect())
    }

    /// All requests, in the order in which they arrived.
    pub fn requests(&self) -> Vec<RequestSeen> {
        self.look(|state| state.requests().to_vec())
    }

    /// The requests for one operation, in the order in which they arrived.
    pub fn requests_for(&self, operation: Operation) -> Vec<RequestSeen> {
        self.look(|state| state.requests_for(operation).cloned().collect())
    }

    /// Bytes of bodies that have arrived with requests for one operation, also of those that came to nothing.
    pub fn bytes_received(&self, operation: Operation) -> u64 {
        self.look(|state| state.bytes_received(operation))
    }

    fn now_ms(&self) -> i64 {
        (self.shared.now_ms)()
    }

    /// Every change goes through here, so that nobody waits for one in vain.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.lock());
        self.shared.changed.send_replace(());
        changed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for BucketServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BucketServer").finish_non_exhaustive()
    }
}
