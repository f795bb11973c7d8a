//! Everything beyond the phone: a message server, a place for payloads, and what goes wrong with them.
//!
//! The message server names a message as XMTP's libraries do, by its lane, its idempotency key and its bytes: a second
//! publish of the same is the same message, and anything else is another one, which people see.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use landfall::recipes::chat::{Granter, Publication, Published, Publisher, PutGrant, PutIntent};
use landfall_core::{Code, Failure, Remedy};
use landfall_crypto::xmtp::Content;
use landfall_transport::{Body, Carrier, Loss};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::ticks::Ticks;
use crate::{ProcessId, SeededRandom};

/// How long leave to put a payload lasts.
const GRANT_TTL: Duration = Duration::from_secs(600);

/// The other side. Shared by all processes of a phone, and by its platform.
pub(crate) struct Remote {
    state: Mutex<State>,
    random: SeededRandom,
    ticks: Arc<Ticks>,
}

#[derive(Default)]
struct State {
    /// How likely something goes wrong with a request.
    trouble: f64,
    is_down: bool,
    grants: BTreeMap<String, Granted>,
    /// Payloads that were taken, by address.
    assets: BTreeMap<String, Bytes>,
    puts: Vec<Put>,
    told: Vec<Told>,
    /// What people see, in its order.
    shown: Vec<Shown>,
    ids: BTreeSet<(String, String, Vec<u8>)>,
    /// Keys that are never taken.
    rejected: BTreeSet<String>,
    /// Before this no publish under the key was asked for.
    not_before: BTreeMap<String, Asked>,
    /// Payloads, by their digests, that may rightly come twice.
    excused: BTreeSet<[u8; 32]>,
    complaints: Vec<String>,
    made: u64,
}

#[derive(Clone)]
struct Granted {
    asset_url: String,
    digest: [u8; 32],
    until: Instant,
}

/// A payload that was taken.
#[derive(Debug, Clone)]
pub(crate) struct Put {
    pub(crate) asset_url: String,
    pub(crate) digest: [u8; 32],
}

/// An attempt to publish.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) label: String,
    pub(crate) began: u64,
    pub(crate) at: Instant,
    /// When it was taken.
    pub(crate) taken: Option<u64>,
}

/// A message as people see it.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) lane: String,
    pub(crate) label: String,
    pub(crate) key: String,
    pub(crate) content: Vec<u8>,
}

/// Somebody was asked to wait before publishing again.
struct Asked {
    who: ProcessId,
    until: Instant,
    /// How often they did not.
    early: u32,
}

/// What becomes of a request that was carried.
enum Fate {
    Fine,
    /// It never leaves.
    NotSent,
    /// It is carried out, and the answer is lost.
    AnswerLost,
    /// It is lost, and nobody can tell.
    Lost,
    /// It is answered with this, and not carried out.
    Status(u16),
    /// It is carried out, and answered with an error.
    DoneAndStatus(u16),
}

impl Remote {
    pub(crate) fn new(random: SeededRandom, ticks: Arc<Ticks>) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), random, ticks })
    }

    pub(crate) fn set_trouble(&self, trouble: f64) {
        self.lock().trouble = trouble;
    }

    pub(crate) fn set_down(&self, is_down: bool) {
        self.lock().is_down = is_down;
    }

    /// From now on it takes everything.
    pub(crate) fn heal(&self) {
        let mut state = self.lock();
        (state.trouble, state.is_down) = (0.0, false);
        state.rejected.clear();
    }

    pub(crate) fn shown(&self) -> Vec<Shown> {
        self.lock().shown.clone()
    }

    pub(crate) fn told(&self) -> Vec<Told> {
        self.lock().told.clone()
    }

    pub(crate) fn puts(&self) -> Vec<Put> {
        self.lock().puts.clone()
    }

    pub(crate) fn asset(&self, url: &str) -> Option<Bytes> {
        self.lock().assets.get(url).cloned()
    }

    pub(crate) fn complaints(&self) -> Vec<String> {
        self.lock().complaints.clone()
    }

    pub(crate) fn excuse(&self, digest: &[u8]) {
        self.lock().excused.extend(<[u8; 32]>::try_from(digest));
    }

    pub(crate) fn is_excused(&self, digest: &[u8; 32]) -> bool {
        self.lock().excused.contains(digest)
    }

    /// Whoever was asked to wait may be dead, and nobody else has heard of it.
    pub(crate) fn forget_moments(&self) {
        self.lock().not_before.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn latency(&self) {
        tokio::time::sleep(Duration::from_millis(1 + self.random.below(200))).await;
    }

    fn strikes(&self) -> bool {
        let trouble = self.lock().trouble;
        self.random.chance(trouble)
    }

    /// Carries out a put of a whole body. Used by processes and by the platform.
    pub(crate) async fn put(&self, url: &str, body: Bytes) -> Result<(u16, &'static str), Loss> {
        self.latency().await;
        if self.lock().is_down {
            return Err(Loss::NotSent("the network is unreachable".to_owned()));
        }
        let fate = match self.strikes().then(|| self.random.below(10)) {
            None => Fate::Fine,
            Some(0) => Fate::NotSent,
            Some(1) => Fate::AnswerLost,
            Some(2) => Fate::Lost,
            Some(3) => Fate::Status(403),
            Some(4) => Fate::Status(503),
            // What a proxy says, with a page of HTML.
            Some(5) => Fate::Status(520),
            Some(6) => Fate::DoneAndStatus(500),
            Some(7) => Fate::Status([400, 404, 411, 413][self.draw(4)]),
            Some(8) => {
                tokio::time::sleep(Duration::from_secs(self.random.below(120))).await;
                Fate::Fine
            }
            Some(_) => Fate::Status(429),
        };
        if let Fate::NotSent = fate {
            return Err(Loss::NotSent("connection refused".to_owned()));
        }
        let status = match fate {
            Fate::Status(status) => status,
            Fate::Lost => 0,
            // It cannot be told from one that was not carried out.
            Fate::DoneAndStatus(_) => {
                self.excuse(&Sha256::digest(&body));
                self.store(url, body)
            }
            _ => self.store(url, body),
        };
        self.latency().await;
        match fate {
            Fate::AnswerLost | Fate::Lost => Err(Loss::NoAnswer("the connection broke".to_owned())),
            Fate::DoneAndStatus(error) if status == 200 => Ok((error, "<html>sorry</html>")),
            _ if status == 403 => Ok((403, "<Error><Code>AccessDenied</Code></Error>")),
            _ => Ok((status, "<html>sorry</html>")),
        }
    }

    fn draw(&self, bound: usize) -> usize {
        usize::try_from(self.random.below(bound as u64)).unwrap_or(0)
    }

    fn store(&self, url: &str, body: Bytes) -> u16 {
        let digest: [u8; 32] = Sha256::digest(&body).into();
        let mut state = self.lock();
        let Some(granted) = state.grants.get(url).cloned() else {
            state.complaints.push(format!("a put to an address that nobody gave: {url}"));
            return 403;
        };
        if Instant::now() > granted.until {
            return 403;
        }
        if digest != granted.digest {
            state.complaints.push("a payload arrived that is not the one that leave was asked for".to_owned());
            return 400;
        }
        if state.assets.insert(granted.asset_url.clone(), body).is_none() {
            state.puts.push(Put { asset_url: granted.asset_url, digest });
        }
        200
    }

    async fn grant_one(&self, intent: PutIntent) -> Result<PutGrant, Failure> {
        self.latency().await;
        if self.lock().is_down {
            return Err(Failure::new(Remedy::Wait { retry_after: None }, Code::Offline, "the network is unreachable"));
        }
        if self.strikes() {
            return Err(match self.random.below(3) {
                0 => Failure::new(Remedy::Wait { retry_after: Some(Duration::from_secs(2)) }, Code::Throttled, "later"),
                1 => Failure::new(Remedy::Retry, Code::ServerError, "it failed"),
                _ => Failure::new(Remedy::Ask, Code::AnswerLost, "the answer is lost"),
            });
        }
        let mut state = self.lock();
        state.made += 1;
        let number = state.made;
        let url = format!("https://put.example/{number}?signature={:016x}", self.random.next_u64());
        let asset_url = format!("https://assets.example/{number}");
        let granted =
            Granted { asset_url: asset_url.clone(), digest: intent.digest, until: Instant::now() + GRANT_TTL };
        state.grants.insert(url.clone(), granted);
        Ok(PutGrant { method: "PUT".to_owned(), url, headers: Vec::new(), asset_url, lasts: Some(GRANT_TTL) })
    }

    async fn ask(&self, asset_url: &str, intent: &PutIntent) -> Result<Option<bool>, Failure> {
        self.latency().await;
        if self.lock().is_down {
            return Err(Failure::new(Remedy::Wait { retry_after: None }, Code::Offline, "the network is unreachable"));
        }
        if self.strikes() {
            if self.random.chance(0.5) {
                return Err(Failure::new(Remedy::Retry, Code::ServerError, "it failed"));
            }
            self.excuse(&intent.digest);
            return Ok(None);
        }
        let state = self.lock();
        Ok(Some(state.assets.get(asset_url).is_some_and(|asset| asset.len() as u64 == intent.bytes)))
    }

    async fn tell(self: Arc<Self>, who: ProcessId, publication: Publication) -> Published {
        let began = self.ticks.next();
        let label = label(&publication.content);
        let number = {
            let mut state = self.lock();
            if let Some(asked) = state.not_before.get_mut(&publication.idempotency_key)
                && asked.who == who
                && Instant::now() < asked.until
            {
                // Once: a budget may have ended before they heard of it.
                asked.early += 1;
                if asked.early > 1 {
                    state.complaints.push(format!("`{label}` was published before the moment that was asked for"));
                }
            }
            let told = Told { label, began, at: Instant::now(), taken: None };
            state.told.push(told);
            state.told.len() - 1
        };
        self.latency().await;
        if self.lock().is_down {
            return Published::Unknown { reason: "the network is unreachable".to_owned() };
        }
        if !self.strikes() {
            return self.take(&publication, number, true).await;
        }
        let unknown = || Published::Unknown { reason: "the connection broke".to_owned() };
        match self.random.below(6) {
            0 => {
                let retry_after = Duration::from_millis(100 + self.random.below(5_000));
                let asked = Asked { who, until: Instant::now() + retry_after, early: 0 };
                self.lock().not_before.insert(publication.idempotency_key, asked);
                Published::NotReady { retry_after }
            }
            1 => unknown(),
            2 => {
                self.take(&publication, number, false).await;
                unknown()
            }
            3 => {
                // It arrives long after we were told that the connection broke.
                let remote = Arc::clone(&self);
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_secs(remote.random.below(60))).await;
                    remote.take(&publication, number, false).await;
                });
                unknown()
            }
            4 => {
                // Longer than anybody waits.
                tokio::time::sleep(Duration::from_secs(300)).await;
                self.take(&publication, number, true).await
            }
            _ => {
                let mut state = self.lock();
                state.rejected.insert(publication.idempotency_key.clone());
                Published::Rejected { reason: "this is not taken".to_owned() }
            }
        }
    }

    async fn take(&self, publication: &Publication, number: usize, answers: bool) -> Published {
        {
            let mut state = self.lock();
            let Publication { lane, idempotency_key, content } = publication;
            if state.rejected.contains(idempotency_key) {
                return Published::Rejected { reason: "this is not taken".to_owned() };
            }
            let id = (lane.clone(), idempotency_key.clone(), content.to_vec());
            if state.ids.insert(id) {
                let key = idempotency_key.clone();
                let shown = Shown { lane: lane.clone(), label: label(content), key, content: content.to_vec() };
                state.shown.push(shown);
            }
            state.told[number].taken.get_or_insert(self.ticks.next());
        }
        if answers {
            self.latency().await;
        }
        Published::Accepted
    }
}

/// Which message a content is: the word that its text begins with, or the name of its attachment.
pub(crate) fn label(content: &[u8]) -> String {
    match Content::decode(content) {
        Ok(Content::Text(text)) => text.split('/').next().unwrap_or_default().to_owned(),
        Ok(Content::RemoteAttachment(remote)) => remote.filename().unwrap_or("?").to_owned(),
        other => format!("{other:?}"),
    }
}

/// The way from a process to the other side: it ends with the process.
pub(crate) struct Way(pub(crate) Arc<Remote>, pub(crate) ProcessId);

impl Granter for Way {
    fn grant(&self, intent: PutIntent) -> BoxFuture<'_, Result<PutGrant, Failure>> {
        Box::pin(self.0.grant_one(intent))
    }

    fn is_there<'a>(
        &'a self,
        asset_url: &'a str,
        intent: &'a PutIntent,
    ) -> BoxFuture<'a, Result<Option<bool>, Failure>> {
        Box::pin(self.0.ask(asset_url, intent))
    }
}

impl Publisher for Way {
    fn publish(&self, publication: Publication) -> BoxFuture<'_, Published> {
        Box::pin(Arc::clone(&self.0).tell(self.1, publication))
    }
}

impl Carrier for Way {
    fn carry<'a>(&'a self, request: Request<Body>) -> BoxFuture<'a, Result<Response<Body>, Loss>> {
        Box::pin(async move {
            let url = request.uri().to_string();
            let body = request.into_body().collect().await.map_err(Loss::BodyFailed)?.to_bytes();
            let (status, said) = self.0.put(&url, body).await?;
            let mut response = Response::builder().status(status);
            if status == 429 || status == 503 {
                response = response.header("retry-after", "3");
            }
            Ok(response.body(landfall_transport::whole(said)).expect("a response of constants is sound"))
        })
    }
}
