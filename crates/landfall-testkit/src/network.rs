//! The wire between a device and a server, and what can happen on it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{Router, body::Body as AxumBody};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use landfall_transport::{Body, Carrier, Loss};
use tokio::task::JoinSet;
use tower_service::Service as _;

use crate::chaos::{Chaos, NetworkFault};

/// A server that can be killed and started again while requests are under way.
#[derive(Default)]
pub(crate) struct Port {
    listening: Mutex<Option<Router>>,
    /// Requests being carried out; they die with the server.
    running: Mutex<JoinSet<()>>,
}

impl Port {
    pub(crate) fn listen(&self, router: Router) {
        *self.listening.lock().unwrap_or_else(PoisonError::into_inner) = Some(router);
    }

    pub(crate) fn close(&self) {
        *self.listening.lock().unwrap_or_else(PoisonError::into_inner) = None;
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = JoinSet::new();
    }

    fn router(&self) -> Option<Router> {
        self.listening.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Carries requests to a port, with faults.
pub(crate) struct Wire {
    pub(crate) port: Arc<Port>,
    pub(crate) chaos: Arc<Chaos>,
    pub(crate) tap: Arc<Tap>,
}

/// Sees what passes a wire.
#[derive(Default)]
pub(crate) struct Tap {
    /// Bytes of each part that were sent, whether or not they arrived, by object key and part number.
    parts: Mutex<BTreeMap<(String, u32), Vec<Vec<u8>>>>,
}

impl Tap {
    fn saw(&self, path: &str, body: &[u8]) {
        let mut words = path.trim_start_matches('/').split('/');
        let (Some("blobs"), Some(_), Some(key), Some(number)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return;
        };
        let Ok(number) = number.parse() else { return };
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.entry((key.to_owned(), number)).or_default().push(body.to_vec());
    }

    /// Everything that was sent, by object key and part number.
    pub(crate) fn parts(&self) -> BTreeMap<(String, u32), Vec<Vec<u8>>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Carrier for Wire {
    fn carry<'a>(&'a self, request: Request<Body>) -> BoxFuture<'a, Result<Response<Body>, Loss>> {
        Box::pin(async move {
            let is_put = request.uri().path().starts_with("/blobs/") && request.method() == http::Method::PUT;
            let fault = self.chaos.take_network_fault(is_put);
            if fault == Some(NetworkFault::Throttle) {
                let response = Response::builder().status(StatusCode::SERVICE_UNAVAILABLE).header("retry-after", "2");
                return Ok(response.body(landfall_transport::empty()).expect("a response of constants is sound"));
            }
            if fault == Some(NetworkFault::ExpireFirst) {
                // Longer than any grant of a simulated server lives.
                tokio::time::sleep(Duration::from_secs(30)).await;
            }
            let latency = Duration::from_millis(1 + self.chaos.below(20));
            tokio::time::sleep(latency).await;
            let (head, body) = request.into_parts();
            let body = collect(body).await?;
            if is_put {
                self.tap.saw(head.uri.path(), &body);
            }
            if fault == Some(NetworkFault::Duplicate) {
                let copy = Request::from_parts(head.clone(), body.clone());
                let _ = self.deliver(copy).await;
            }
            let answer = self.deliver(Request::from_parts(head, body)).await;
            match fault {
                Some(NetworkFault::LoseAnswer) => return Err(Loss::NoAnswer("the connection broke".to_owned())),
                Some(NetworkFault::Late) => tokio::time::sleep(Duration::from_secs(5 + self.chaos.below(20))).await,
                _ => tokio::time::sleep(latency).await,
            }
            answer
        })
    }
}

impl Wire {
    /// Hands a request to the server. It is carried out to its end even if whoever asked is gone.
    async fn deliver(&self, request: Request<Bytes>) -> Result<Response<Body>, Loss> {
        let Some(mut router) = self.port.router() else { return Err(Loss::NotSent("connection refused".to_owned())) };
        let (reply, answer) = tokio::sync::oneshot::channel();
        let work = async move {
            let Ok(response) = router.call(request.map(AxumBody::from)).await;
            let (head, body) = response.into_parts();
            let body = body.collect().await.map(http_body_util::Collected::to_bytes);
            let _ = reply.send((head, body));
        };
        self.port.running.lock().unwrap_or_else(PoisonError::into_inner).spawn(work);
        match answer.await {
            Ok((head, Ok(body))) => Ok(Response::from_parts(head, landfall_transport::whole(body))),
            Ok((_, Err(error))) => Err(Loss::NoAnswer(error.to_string())),
            Err(_) => Err(Loss::NoAnswer("the server died".to_owned())),
        }
    }
}

async fn collect(body: Body) -> Result<Bytes, Loss> {
    Ok(body.collect().await.map_err(Loss::BodyFailed)?.to_bytes())
}
