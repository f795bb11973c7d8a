//! A home, a folder of files, and a bucket on a real socket that does as its script says.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use landfall::{
    Bandwidth, Carrier, Engine, Env, HttpCarrier, ItemId, ItemSummary, NewUpload, Origin, RetryPolicy, RunOptions,
    RunReport, Settings, Silent, UploadKind,
    bucket::{Bucket, BucketOptions},
    s3::{Credentials, Place, Style},
};
use landfall_core::PartLimits;
use landfall_env::{Clock as _, Sabotage, StepHook, Steps, SystemClock};
use landfall_testkit::bucket::{BucketServer, Credential, Object, Outcome, Profile, RequestSeen, Served};
use landfall_transport::{HttpSettings, Loss};

pub(crate) use landfall_testkit::bucket::{Answer, Checksums, Fault, Gate, IfNoneMatch, On, Operation, WrongRegion};

pub(crate) const MIB: usize = 1 << 20;

pub(crate) struct World {
    pub(crate) server: BucketServer,
    pub(crate) bucket: Bucket,
    pub(crate) engine: Engine,
    /// How far the bucket's clock is ahead, in milliseconds.
    pub(crate) ahead: Arc<AtomicI64>,
    folder: tempfile::TempDir,
    served: Served,
    steering: Steering,
}

/// What a test may choose.
#[derive(Clone)]
pub(crate) struct Steering {
    pub(crate) profile: Profile,
    pub(crate) region: &'static str,
    pub(crate) style: Style,
    pub(crate) credentials: (String, String, Option<String>),
    pub(crate) retries: u32,
    pub(crate) bandwidth: Option<&'static str>,
    pub(crate) stall: Duration,
    /// How many parts are under way at once.
    pub(crate) parts: usize,
    pub(crate) sabotage: Option<Sabotage>,
}

impl Default for Steering {
    fn default() -> Self {
        let good = Credential::default();
        Self {
            profile: Profile { part_bytes_min: MIB as u64, ..Profile::s3() },
            region: "eu-central-1",
            style: Style::Path,
            credentials: (good.access_key_id().to_owned(), good.secret_access_key().to_owned(), None),
            retries: 3,
            bandwidth: None,
            stall: Duration::from_millis(400),
            parts: 4,
            sabotage: None,
        }
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Steering::default()).await
    }

    pub(crate) async fn of(profile: impl FnOnce(Profile) -> Profile) -> Self {
        let steering = Steering::default();
        Self::with(Steering { profile: profile(steering.profile.clone()), ..steering }).await
    }

    pub(crate) async fn with(steering: Steering) -> Self {
        let (ahead, clock) = (Arc::<AtomicI64>::default(), SystemClock::new());
        let later = Arc::clone(&ahead);
        let now = Arc::new(move || clock.wall_ms() + later.load(Ordering::Relaxed));
        let server = BucketServer::new(steering.profile.clone(), now);
        let served = server.serve().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let engine = engine(folder.path(), &steering).await;
        let bucket = open(&engine, &served, &steering).await;
        Self { server, bucket, engine, ahead, folder, served, steering }
    }

    /// The same home in a process that has just been started.
    pub(crate) async fn restarted(&mut self) {
        self.engine = engine(self.folder.path(), &self.steering).await;
        self.bucket = open(&self.engine, &self.served, &self.steering).await;
    }

    /// Nobody answers at the bucket's address any more.
    pub(crate) async fn stop_serving(&mut self) {
        // The port that was the server's is another's now.
        let other = self.server.serve().await.unwrap();
        drop(std::mem::replace(&mut self.served, other));
    }

    /// Another home that knows nothing.
    pub(crate) async fn forget_home(&mut self) {
        self.folder = tempfile::tempdir().unwrap();
        self.restarted().await;
    }

    pub(crate) async fn steer(&mut self, change: impl FnOnce(&mut Steering)) {
        change(&mut self.steering);
        self.restarted().await;
    }

    pub(crate) fn file(&self, name: &str, bytes: usize) -> PathBuf {
        let path = self.file_path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content(bytes)).unwrap();
        path
    }

    pub(crate) fn file_path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Takes a file of so many bytes in charge, under its name.
    pub(crate) async fn enqueue(&self, name: &str, bytes: usize) -> ItemId {
        let path = self.file(name, bytes);
        self.enqueue_path(&path, name, false).await
    }

    pub(crate) async fn enqueue_path(&self, path: &Path, key: &str, overwrites: bool) -> ItemId {
        let new = NewUpload {
            kind: UploadKind::File,
            source: path.as_os_str().as_encoded_bytes().to_vec(),
            size: 0,
            object_key: self.bucket.key(key),
            content_type: None,
            overwrites,
            is_sealed: false,
            recipe: "files",
        };
        self.bucket.enqueue(vec![new]).await.unwrap()[0].item()
    }

    pub(crate) async fn run(&self) -> RunReport {
        let options = RunOptions { patience: Some(Duration::from_secs(20)), ..RunOptions::default() };
        self.bucket.run(options, Arc::new(Silent)).await.unwrap()
    }

    /// Uploads a file of so many bytes, to the end, and gives its item.
    pub(crate) async fn upload(&self, name: &str, bytes: usize) -> ItemSummary {
        let item = self.enqueue(name, bytes).await;
        self.run().await;
        self.item(item).await
    }

    pub(crate) async fn item(&self, item: ItemId) -> ItemSummary {
        self.engine.item(item).await.unwrap().0
    }

    /// The object is there, whole, nothing is left over, and the item is done.
    pub(crate) async fn assert_uploaded(&self, name: &str, bytes: usize, item: &ItemSummary) -> Object {
        assert_eq!(item.state, "done", "{:?} {:?}", item.blocked, item.last_error);
        let object = self.server.object(name).unwrap_or_else(|| panic!("`{name}` is not there"));
        assert!(object.bytes == content(bytes), "other bytes are there");
        assert_eq!(self.server.incomplete_uploads().len(), 0, "an incomplete upload is left");
        object
    }

    pub(crate) fn requests(&self, operation: Operation) -> Vec<RequestSeen> {
        self.server.requests_for(operation)
    }

    /// The statuses with which an operation was refused, in their order.
    pub(crate) fn refused(&self, operation: Operation) -> Vec<u16> {
        self.requests(operation).iter().filter_map(RequestSeen::status).filter(|status| *status >= 400).collect()
    }

    /// How often a part was sent, wholly or not.
    pub(crate) fn times_sent(&self, part: u32) -> usize {
        self.requests(Operation::UploadPart).iter().filter(|request| request.part_number == Some(part)).count()
    }

    /// What happened to an item.
    pub(crate) async fn happened(&self, item: ItemId, kind: &str) -> usize {
        self.engine.item(item).await.unwrap().1.iter().filter(|event| event.kind == kind).count()
    }

    /// The numbers of the parts that arrived whole and were answered, in their order.
    pub(crate) fn parts_stored(&self) -> Vec<u32> {
        let stored = |request: &RequestSeen| matches!(request.outcome, Outcome::Answered { status: 200, .. });
        let mut numbers: Vec<u32> = self
            .requests(Operation::UploadPart)
            .iter()
            .filter(|it| stored(it))
            .filter_map(|it| it.part_number)
            .collect();
        numbers.sort_unstable();
        numbers
    }
}

/// Bytes of which no stretch is like another.
pub(crate) fn content(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ bytes as u64;
    let mut made = Vec::with_capacity(bytes + 8);
    while made.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        made.extend_from_slice(&state.to_le_bytes());
    }
    made.truncate(bytes);
    made
}

async fn engine(folder: &Path, steering: &Steering) -> Engine {
    let mut settings = Settings::new(folder.join("home"));
    settings.quiet = Duration::ZERO;
    let quick = Duration::from_millis(5);
    settings.reach = RetryPolicy { base: quick, cap: quick * 4, attempts_max: u32::MAX };
    let mut env = Env::real();
    if let Some(sabotage) = steering.sabotage {
        env.steps = Steps::with_hook(Arc::new(Saboteur(sabotage)));
    }
    Engine::open(settings, env).await.unwrap()
}

async fn open(engine: &Engine, served: &Served, steering: &Steering) -> Bucket {
    let origin = Origin::parse(&match steering.style {
        Style::Path => served.origin().to_owned(),
        Style::VirtualHost => format!("http://localhost:{}", served.port()),
    });
    let place = Place::new(Some(origin.unwrap()), BucketServer::BUCKET, steering.region, Some(steering.style)).unwrap();
    let (key, secret, token) = steering.credentials.clone();
    let credentials = Credentials::new(key, secret, token).unwrap();
    let mut settings = HttpSettings::default();
    settings.stall_timeout = steering.stall;
    let carrier: Arc<dyn Carrier> = Arc::new(Loopback(HttpCarrier::new(settings)));
    let mut options = BucketOptions::new(place, credentials, carrier);
    options.part_size = MIB as u64;
    options.parts_in_flight_max = steering.parts;
    options.limits = PartLimits { part_min: MIB as u64, ..PartLimits::S3 };
    let quick = Duration::from_millis(5);
    options.retry = RetryPolicy { base: quick, cap: quick * 2, attempts_max: steering.retries + 1 };
    options.bandwidth = steering.bandwidth.map(|text| Bandwidth::parse(text).unwrap());
    engine.bucket("media", options).await.unwrap()
}

/// Finds `NAME.localhost` on this machine, as RFC 6761 wants it and not every resolver does it.
struct Loopback(HttpCarrier);

impl Carrier for Loopback {
    fn carry<'a>(
        &'a self,
        mut request: http::Request<landfall_transport::Body>,
    ) -> BoxFuture<'a, Result<http::Response<landfall_transport::Body>, Loss>> {
        let uri = request.uri().clone();
        if let Some(authority) = uri.authority().filter(|authority| authority.host().ends_with(".localhost")) {
            let host = http::HeaderValue::from_str(authority.as_str()).unwrap();
            request.headers_mut().insert(http::header::HOST, host);
            let mut parts = uri.clone().into_parts();
            parts.authority = Some(format!("127.0.0.1:{}", authority.port_u16().unwrap()).parse().unwrap());
            *request.uri_mut() = http::Uri::from_parts(parts).unwrap();
        }
        self.0.carry(request)
    }
}

/// Takes one safety measure away.
struct Saboteur(Sabotage);

impl StepHook for Saboteur {
    fn reached(&self, _: &'static str) {}

    fn sabotaged(&self, sabotage: Sabotage) -> bool {
        sabotage == self.0
    }
}
