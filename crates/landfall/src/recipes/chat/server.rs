//! Landfall's own server at the other end: leave to put payloads, and lanes of sealed messages.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::BoxFuture;
use landfall_core::{Code, Failure, Remedy};
use landfall_crypto::xmtp::Content;
use landfall_crypto::{LaneKey, lane_id, open_message, seal_message};
use landfall_protocol::{Base64, LaneMessage, NewMessage};
use landfall_transport::{
    chat::{answer, request},
    vault::{Answer, CallError, Origin, Request, Vault},
};

use super::{
    Lanes,
    grant::{Granter, PutGrant, PutIntent},
    outage::Outage,
    publisher::{Publication, Published, Publisher},
};
use crate::Error;

/// A server, or a vault folder that is served in this process, as chats use it.
#[derive(Clone)]
pub struct ChatServer {
    vault: Vault,
}

/// How a payload in a vault folder is called in messages: whoever reads the same folder finds it there, and no network
/// has that name.
const IN_PROCESS: &str = "https://vault.invalid";

impl ChatServer {
    /// The server that `vault` calls.
    pub fn new(vault: Vault) -> Self {
        Self { vault }
    }

    /// The same address as this server is asked for it. One in a vault folder is asked for by its path also over the
    /// network: the lane that named it is in the same vault. So is one that is on this machine by another of its names.
    fn asked_at(&self, asset_url: &str) -> String {
        if let Some(path) = asset_url.strip_prefix(IN_PROCESS) {
            return path.to_owned();
        }
        let own = self.vault.origin();
        match on_loopback(asset_url) {
            Some((port, path)) if own.is_loopback() && port == own.port() => path.to_owned(),
            _ => asset_url.to_owned(),
        }
    }

    async fn call(&self, request: Request) -> Result<Answer, Failure> {
        self.vault.call(request, None).await.map_err(|error: CallError| {
            error.into_failure().unwrap_or_else(|body| {
                Failure::new(Remedy::Retry, Code::BadAnswer, format!("the request's body failed: {body}"))
            })
        })
    }

    async fn granted(&self, intent: PutIntent) -> Result<PutGrant, Failure> {
        let asked = request::presigned(&intent.content_type, intent.bytes);
        let origin = self.vault.origin();
        // A lost answer leaves nothing but an address that nobody uses: it is asked again.
        let answer = self.call(asked).await.map_err(wait_for_lost)?;
        let granted = answer::presigned(&answer, origin)?;
        let url = origin.resolve(&granted.upload_url)?.to_string();
        let asset_url = match *origin == Origin::in_process() {
            true => format!("{IN_PROCESS}{}", granted.asset_url),
            false => origin.resolve(&granted.asset_url)?.to_string(),
        };
        Ok(PutGrant {
            method: granted.method,
            url,
            headers: granted.headers,
            asset_url,
            lasts: Some(Duration::from_millis(granted.ttl_ms)),
        })
    }

    /// What follows a number in a lane, in order, as far as one answer goes. What does not open was written by somebody
    /// who has not the lane's key, or by a newer version.
    ///
    /// # Errors
    /// What to do.
    pub async fn read_lane(&self, key: &LaneKey, after: u64) -> Result<Vec<Arrived>, Failure> {
        let answer = self.call(request::messages(&lane_id(key), after)).await.map_err(wait_for_lost)?;
        let page = answer::page(&answer, after)?;
        Ok(page.messages.into_iter().map(|message| open(key, message)).collect())
    }

    /// Fetches a payload from an address that a message named.
    ///
    /// # Errors
    /// What to do.
    pub async fn fetch(&self, asset_url: &str) -> Result<http::Response<landfall_transport::Body>, Failure> {
        let asked = request::fetch(&self.asked_at(asset_url));
        self.vault.stream(asked).await.map_err(|error| {
            error.into_failure().unwrap_or_else(|body| Failure::new(Remedy::Retry, Code::BadAnswer, body.to_string()))
        })
    }
}

/// The port and the path of an address that names this machine, without TLS.
fn on_loopback(url: &str) -> Option<(u16, &str)> {
    let behind = url.strip_prefix("http://")?;
    let (_, path) = behind.split_at(behind.find('/')?);
    let origin = Origin::parse(url.strip_suffix(path)?).ok()?;
    origin.is_loopback().then(|| (origin.port(), path))
}

/// A message that arrived in a lane.
#[derive(Debug)]
pub struct Arrived {
    /// Its place in the lane.
    pub number: u64,
    /// When the server took it, by the server's clock, in milliseconds since the epoch.
    pub created_at_ms: i64,
    /// What it says; `None` if it does not open.
    pub content: Option<Content>,
}

fn open(key: &LaneKey, message: LaneMessage) -> Arrived {
    let LaneMessage { number, body, created_at_ms, .. } = message;
    let content = open_message(key, &body.0).ok().and_then(|content| Content::decode_on_loopback(&content).ok());
    Arrived { number, created_at_ms, content }
}

/// Nothing was changed by a question whose answer is lost.
fn wait_for_lost(failure: Failure) -> Failure {
    match failure.remedy {
        Remedy::Ask => Failure { remedy: Remedy::Wait { retry_after: None }, ..failure },
        _ => failure,
    }
}

impl Granter for ChatServer {
    fn grant(&self, intent: PutIntent) -> BoxFuture<'_, Result<PutGrant, Failure>> {
        Box::pin(self.granted(intent))
    }

    fn is_there<'a>(
        &'a self,
        asset_url: &'a str,
        intent: &'a PutIntent,
    ) -> BoxFuture<'a, Result<Option<bool>, Failure>> {
        Box::pin(async move {
            let answer = self.call(request::head(&self.asked_at(asset_url))).await.map_err(wait_for_lost)?;
            answer::is_there(&answer, intent.bytes)
        })
    }
}

/// Publishes to a server's lanes, sealed under their keys.
pub struct LanePublisher {
    server: ChatServer,
    keys: Keys,
    outage: Outage,
}

/// Where keys come from.
enum Keys {
    Given(BTreeMap<String, LaneKey>),
    Kept(Lanes),
}

impl LanePublisher {
    /// Publishes in the lanes of these names.
    pub fn new(server: ChatServer, keys: BTreeMap<String, LaneKey>) -> Self {
        Self { server, keys: Keys::Given(keys), outage: Outage::default() }
    }

    /// Publishes in the lanes of a home, under the keys that its journal keeps.
    pub fn of_home(server: ChatServer, lanes: Lanes) -> Self {
        Self { server, keys: Keys::Kept(lanes), outage: Outage::default() }
    }

    async fn key(&self, lane: &str) -> Result<LaneKey, Published> {
        let none = || Published::Rejected { reason: format!("no key of the lane `{lane}` is at hand") };
        match &self.keys {
            Keys::Given(keys) => keys.get(lane).cloned().ok_or_else(none),
            Keys::Kept(lanes) => match lanes.key(lane).await {
                Ok(key) => key.ok_or_else(none),
                Err(error @ Error::OtherHost(_)) => Err(Published::Rejected { reason: error.to_string() }),
                // The journal's troubles pass, or end the run.
                Err(_) => Err(Published::NotReady { retry_after: Duration::from_secs(2) }),
            },
        }
    }

    async fn append(&self, publication: Publication) -> Published {
        let key = &match self.key(&publication.lane).await {
            Ok(key) => key,
            Err(refused) => return refused,
        };
        let body = seal_message(key, &publication.idempotency_key, &publication.content);
        let message = NewMessage { idempotency_key: publication.idempotency_key, body: Base64(body) };
        let told = self.server.call(request::append(&lane_id(key), &message)).await;
        match told.and_then(|answer| answer::appended(&answer)) {
            Ok(_) => {
                self.outage.is_over();
                Published::Accepted
            }
            Err(failure) => match failure.remedy {
                // It never left, or was turned away at the door.
                Remedy::Wait { retry_after } => {
                    Published::NotReady { retry_after: retry_after.unwrap_or_else(|| self.outage.pause()) }
                }
                Remedy::LogIn => Published::LoggedOut,
                Remedy::Block => Published::Rejected { reason: failure.message },
                _ => Published::Unknown { reason: failure.message },
            },
        }
    }
}

impl Publisher for LanePublisher {
    fn publish(&self, publication: Publication) -> BoxFuture<'_, Published> {
        Box::pin(self.append(publication))
    }
}

#[cfg(test)]
mod tests {
    use super::on_loopback;

    #[test]
    fn this_machine_is_known_by_each_of_its_names() {
        for (url, found) in [
            ("http://127.0.0.1:8647/v2/assets/a", Some((8647, "/v2/assets/a"))),
            ("http://localhost:8647/v2/assets/a", Some((8647, "/v2/assets/a"))),
            ("http://[::1]:8647/v2/assets/a", Some((8647, "/v2/assets/a"))),
            ("http://localhost/a", Some((80, "/a"))),
            ("https://127.0.0.1:8647/a", None),
            ("http://127.0.0.1.example:8647/a", None),
            ("http://example:8647/a", None),
        ] {
            assert_eq!(on_loopback(url), found, "{url}");
        }
    }
}
