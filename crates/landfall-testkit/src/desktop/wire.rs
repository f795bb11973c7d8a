//! The wire between a desktop and a bucket, and what can happen on it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use landfall_transport::{Body, Carrier, Loss};
use tower_service::Service as _;

use crate::{ProcessId, SeededRandom, bucket::BucketServer, trouble::Trouble};

/// The network that all processes share.
pub(crate) struct Network {
    server: BucketServer,
    random: SeededRandom,
    trouble: Arc<Trouble>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// How likely something happens to a request.
    chance: f64,
    is_down: bool,
    struck: BTreeMap<&'static str, u64>,
}

/// One process's end of it.
pub(crate) struct Wire {
    pub(crate) network: Arc<Network>,
    pub(crate) process: ProcessId,
}

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It never arrives, and nobody says so.
    LoseRequest,
    /// It is carried out, and nobody hears of it.
    LoseAnswer,
    /// The answer takes long.
    Late,
    /// It is carried out twice, and the second answer is the one that is heard.
    Twice,
    /// The bucket asks for patience.
    SlowDown,
    /// The bucket fails.
    Fails,
}

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Self::LoseRequest => "request lost",
            Self::LoseAnswer => "answer lost",
            Self::Late => "answer late",
            Self::Twice => "carried out twice",
            Self::SlowDown => "slow down",
            Self::Fails => "server error",
        }
    }
}

impl Network {
    pub(crate) fn new(server: BucketServer, random: SeededRandom, trouble: Arc<Trouble>) -> Arc<Self> {
        Arc::new(Self { server, random, trouble, state: Mutex::default() })
    }

    pub(crate) fn set_chance(&self, chance: f64) {
        self.lock().chance = chance;
    }

    pub(crate) fn set_down(&self, is_down: bool) {
        self.lock().is_down = is_down;
    }

    /// How often each fault struck.
    pub(crate) fn struck(&self) -> BTreeMap<&'static str, u64> {
        self.lock().struck.clone()
    }

    fn fault(&self) -> Option<Fault> {
        let mut state = self.lock();
        if state.chance == 0.0 || !self.random.chance(state.chance) {
            return None;
        }
        let fault = match self.random.below(8) {
            0 => Fault::LoseRequest,
            1..=3 => Fault::LoseAnswer,
            4 => Fault::Late,
            5 => Fault::Twice,
            6 => Fault::SlowDown,
            _ => Fault::Fails,
        };
        *state.struck.entry(fault.name()).or_default() += 1;
        Some(fault)
    }

    /// How long a request is on its way. A few take long: by then whoever sent it may be dead.
    fn latency(&self) -> Duration {
        let long = if self.random.chance(0.02) { self.random.below(3_000) } else { 0 };
        Duration::from_millis(1 + self.random.below(20) + long)
    }

    async fn carry_out(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Loss> {
        let response = self.server.clone().call(request.map(Full::new)).await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| Loss::NoAnswer(error.to_string()))?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }

    /// Carries a request to its end, even if whoever sent it is dead by then.
    async fn deliver(&self, request: Request<Bytes>, fault: Option<Fault>) -> Result<Response<Bytes>, Loss> {
        tokio::time::sleep(self.latency()).await;
        let lost = || Err(Loss::NoAnswer("the connection broke".to_owned()));
        match fault {
            Some(Fault::LoseRequest) => return lost(),
            Some(Fault::SlowDown) => return Ok(refusal(StatusCode::SERVICE_UNAVAILABLE, "SlowDown")),
            Some(Fault::Fails) => return Ok(refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalError")),
            _ => {}
        }
        // What is opened twice is two uploads, and of one of them nobody can know.
        let may_repeat = request.method() != Method::POST || request.uri().query() != Some("uploads");
        let mut answer = self.carry_out(request.clone()).await;
        match fault {
            Some(Fault::LoseAnswer) => return lost(),
            Some(Fault::Late) => tokio::time::sleep(Duration::from_millis(self.random.below(20_000))).await,
            Some(Fault::Twice) if may_repeat => {
                tokio::time::sleep(self.latency()).await;
                answer = self.carry_out(request).await;
            }
            _ => {}
        }
        answer
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Carrier for Wire {
    fn carry<'a>(&'a self, request: Request<Body>) -> BoxFuture<'a, Result<Response<Body>, Loss>> {
        Box::pin(async move {
            if self.network.lock().is_down {
                tokio::time::sleep(Duration::from_millis(50)).await;
                return Err(Loss::NotSent("no route to host".to_owned()));
            }
            let fault = self.network.fault();
            let (head, body) = request.into_parts();
            let body = body.collect().await.map_err(Loss::BodyFailed)?.to_bytes();
            let request = Request::from_parts(head, body);
            let asked = format!("{} {}", request.method(), request.uri());
            let network = Arc::clone(&self.network);
            let sent = tokio::spawn(async move { network.deliver(request, fault).await });
            let answer = sent.await.unwrap_or_else(|error| Err(Loss::NoAnswer(error.to_string())));
            let said = || match &answer {
                Ok(answer) => answer.status().to_string(),
                Err(loss) => loss.to_string(),
            };
            self.network.trouble.note(|| format!("{} {asked}: {}", self.process, said()));
            answer.map(|answer| answer.map(landfall_transport::whole))
        })
    }
}

fn refusal(status: StatusCode, code: &str) -> Response<Bytes> {
    let response = Response::builder().status(status).header("content-type", "application/xml");
    let response = if code == "SlowDown" { response.header("retry-after", "2") } else { response };
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>not now</Message></Error>");
    response.body(body.into()).expect("a response of constants is sound")
}
