//! The wire between a device and a server, and what can happen on it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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

use crate::{
    ProcessId,
    chaos::{Chaos, NetworkFault},
    tap::Tap,
    world::GRANT_TTL,
};

/// A server that can be killed and started again while requests are under way.
#[derive(Default)]
pub(crate) struct Port {
    listening: Mutex<Option<Router>>,
    /// Requests being carried out; they die with the server.
    running: Mutex<JoinSet<()>>,
}

impl Port {
    pub(crate) fn listen(&self, router: Router) {
        *lock(&self.listening) = Some(router);
    }

    pub(crate) fn close(&self) {
        *lock(&self.listening) = None;
        *lock(&self.running) = JoinSet::new();
    }

    fn router(&self) -> Option<Router> {
        lock(&self.listening).clone()
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut running = lock(&self.running);
        while running.try_join_next().is_some() {}
        running.spawn(work);
    }
}

/// Where a wire leads.
pub(crate) enum Route {
    /// To a server of its own process.
    Port(Arc<Port>),
    /// To a router in the sender's process: it dies with the sender, in the middle of a request.
    Own(Router),
}

/// Carries one process's requests, with faults.
pub(crate) struct Wire {
    pub(crate) route: Route,
    pub(crate) chaos: Arc<Chaos>,
    pub(crate) tap: Arc<Tap>,
    /// Who sends.
    pub(crate) process: ProcessId,
    pub(crate) home: usize,
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
                tokio::time::sleep(GRANT_TTL + Duration::from_secs(1)).await;
            }
            let latency = Duration::from_millis(1 + self.chaos.below(20));
            tokio::time::sleep(latency).await;
            let (head, body) = request.into_parts();
            let body = body.collect().await.map_err(Loss::BodyFailed)?.to_bytes();
            let request = Request::from_parts(head, body);
            self.tap.sent(self.home, self.process, &request);
            match fault {
                Some(NetworkFault::Duplicate) => drop(self.deliver(request.clone()).await),
                Some(NetworkFault::Echo) => self.echo(request.clone()),
                _ => {}
            }
            let asked = request.uri().clone();
            let method = request.method().clone();
            let answer = self.deliver(request).await;
            if let Ok(answer) = &answer {
                self.tap.answered(&method, &asked, answer);
            }
            match fault {
                Some(NetworkFault::LoseAnswer) => return Err(Loss::NoAnswer("the connection broke".to_owned())),
                Some(NetworkFault::Late) => {
                    tokio::time::sleep(Duration::from_millis(2_000 + self.chaos.below(18_000))).await
                }
                _ => tokio::time::sleep(latency).await,
            }
            if let Ok(answer) = &answer {
                self.tap.heard(&method, &asked, answer);
            }
            answer.map(|answer| answer.map(landfall_transport::whole))
        })
    }
}

impl Wire {
    /// Hands a request to the server. It is carried out to its end even if whoever asked is gone, unless the server is in
    /// the same process.
    async fn deliver(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Loss> {
        let port = match &self.route {
            Route::Port(port) => port,
            Route::Own(router) => return call(router.clone(), request).await,
        };
        let Some(router) = port.router() else { return Err(Loss::NotSent("connection refused".to_owned())) };
        let (reply, answer) = tokio::sync::oneshot::channel();
        port.spawn(async move {
            let _ = reply.send(call(router, request).await);
        });
        answer.await.unwrap_or_else(|_| Err(Loss::NoAnswer("the server died".to_owned())))
    }

    /// Lets a copy of the request arrive long after the first has been answered.
    fn echo(&self, request: Request<Bytes>) {
        let Route::Port(port) = &self.route else { return };
        let Some(router) = port.router() else { return };
        let after = Duration::from_millis(500 + self.chaos.below(20_000));
        port.spawn(async move {
            tokio::time::sleep(after).await;
            let _ = call(router, request).await;
        });
    }
}

async fn call(mut router: Router, request: Request<Bytes>) -> Result<Response<Bytes>, Loss> {
    let Ok(response) = router.call(request.map(AxumBody::from)).await;
    let (head, body) = response.into_parts();
    let body = body.collect().await.map_err(|error| Loss::NoAnswer(error.to_string()))?;
    Ok(Response::from_parts(head, body.to_bytes()))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
