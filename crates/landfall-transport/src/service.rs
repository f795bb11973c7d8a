//! A server in this process as a destination.

use std::future::poll_fn;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::BodyExt;
use tower_service::Service;

use crate::{Body, BodyError, Carrier, Loss, body::Watch, vault::Origin};

/// Carries requests to a service, such as a router, by calling it. No socket is involved.
///
/// It answers for the origin [`Origin::in_process`] alone: a request to any other is [`Loss::NotSent`], for it would
/// reach a server that was not meant.
///
/// A service that fails instead of answering is one whose answer was lost: the [`Loss`] that it fails with, or
/// [`Loss::NoAnswer`]. Routers never do; the servers of tests may.
#[derive(Clone)]
pub struct ServiceCarrier<S> {
    service: S,
}

impl<S> ServiceCarrier<S> {
    /// A carrier to `service`, which is cloned for every request.
    pub fn new(service: S) -> Self {
        Self { service }
    }
}

impl<S, B> Carrier for ServiceCarrier<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BodyError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BodyError>,
{
    fn carry<'a>(&'a self, request: Request<Body>) -> BoxFuture<'a, Result<Response<Body>, Loss>> {
        let mut service = self.service.clone();
        Box::pin(async move {
            if !Origin::in_process().holds(request.uri()) {
                return Err(Loss::NotSent("another server than the one in this process was asked for".to_owned()));
            }
            let (head, body) = request.into_parts();
            let (body, watch) = Watch::over(body);
            let failed = |error: S::Error| Loss::of_answer(error.into());
            poll_fn(|cx| service.poll_ready(cx)).await.map_err(failed)?;
            let answer = call(&mut service, Request::from_parts(head, body)).await;
            // A server that was sent half a body refuses it. That answer is about our own error, which matters more.
            if let Some(error) = watch.error() {
                return Err(Loss::BodyFailed(error));
            }
            Ok(answer.map_err(failed)?.map(|body| body.map_err(lost).boxed_unsync()))
        })
    }
}

/// Hides the service's own future: the compiler cannot see that it is `Send` for the lifetimes inside an async block.
fn call<S>(service: &mut S, request: Request<Body>) -> BoxFuture<'static, Result<S::Response, S::Error>>
where
    S: Service<Request<Body>>,
    S::Future: Send + 'static,
{
    Box::pin(service.call(request))
}

fn lost(error: impl Into<BodyError>) -> BodyError {
    Box::new(Loss::of_answer(error.into()))
}
