//! All routes, and how they are served on a socket.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::{
    Router,
    body::{Body, HttpBody},
    extract::{MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, StatusCode},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{get, post, put},
};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use landfall_protocol::{ErrorCode, route};
use tokio::{net::TcpListener, sync::OwnedSemaphorePermit};

use crate::{
    Server, account, assets, blobs, collections,
    connections::Connections,
    diff, files, keys, lanes, linger, magic, parts, presigned,
    refusal::{BlobRefusal, Refusal},
    renewal, trash, uploads,
};

/// Below these, refusals are S3's.
const S3_ALIKE: [&str; 2] = ["/blobs/", "/assets/"];
const HEALTHZ: &str = "/healthz";
const READYZ: &str = "/readyz";

impl Server {
    /// All routes. Answering needs no spawned task and no socket, only a Tokio runtime with its timer: call it
    /// in-process, or [`Server::serve`] it.
    pub fn router(&self) -> Router {
        Router::new()
            .route(route::ACCOUNT, get(account::show))
            .route(route::KEYS, get(keys::show).put(keys::put))
            .route(route::UPLOADS, post(uploads::open))
            .route(&route::upload("{object_key}"), get(uploads::show).delete(uploads::abandon))
            .route(&route::sign("{object_key}"), post(uploads::sign))
            .route(&route::complete("{object_key}"), post(uploads::complete))
            .route("/blobs/{account}/{object_key}/{number}", put(parts::put))
            .route("/blobs/{account}/{object_key}", get(blobs::get))
            .route(route::COLLECTIONS, post(collections::create))
            .route(route::COLLECTIONS_LIST, get(collections::list))
            .route(route::DIFF, get(diff::show))
            .route(route::FILES, post(files::register))
            .route("/vault/files/{id}", get(files::show))
            .route(route::MAGIC_METADATA, put(magic::update))
            .route(route::TRASH, post(trash::remove))
            .route("/files/download/{id}", get(files::download))
            .route("/files/preview/{id}", get(files::preview))
            .route(route::PRESIGNED, get(presigned::show))
            .route(&route::asset("{asset_key}"), get(assets::get).put(assets::put))
            .route(route::RENEW, post(renewal::renew))
            .route(&route::messages("{lane}"), get(lanes::show).post(lanes::append))
            .route(HEALTHZ, get(healthz))
            .route(READYZ, get(readyz))
            .fallback(no_such_route)
            .method_not_allowed_fallback(no_such_method)
            .layer(middleware::from_fn_with_state(self.clone(), observe))
            .with_state(self.clone())
    }

    /// Answers requests on `listener` until `shutdown` is ready, and maintains the vault meanwhile.
    ///
    /// Then no more connections are taken, and this returns when running requests have finished or
    /// [`crate::ServerConfig::shutdown_grace`] is over. What was answered by then is durable. There is no TLS: listen
    /// on the loopback or put a proxy in front.
    ///
    /// No more than [`crate::ServerConfig::connections_max`] connections are open at once, and none for longer than its
    /// requests and answers keep moving.
    ///
    /// # Errors
    /// None at present: a listener that fails for a while is asked again.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let config = &self.inner.config;
        let mut connections = Connections::new(self.router().layer(middleware::from_fn(linger::linger)), config);
        let serving = async {
            let accept = || async { listener.accept().await.map(|(socket, _)| socket) };
            connections.take(accept, shutdown).await;
            // Nobody else is to connect while the rest is finished.
            drop(listener);
            tokio::time::timeout(config.shutdown_grace, connections.finish()).await
        };
        tokio::select! {
            biased;
            _ = serving => Ok(()),
            () = self.maintain_forever() => Ok(()),
        }
    }

    async fn maintain_forever(&self) {
        loop {
            tokio::time::sleep(self.inner.config.maintenance_interval).await;
            match self.maintain().await {
                Ok(done) => tracing::debug!(?done, "Maintained the vault"),
                Err(error) => tracing::warn!(%error, "Failed to maintain the vault; will try again"),
            }
        }
    }
}

/// Around every request: no more at once than configured, until their answers are taken, and one line each. Never the
/// query, which may hold a signature.
async fn observe(State(server): State<Server>, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let is_like_s3 = is_like_s3(&request);
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    let start = server.inner.env.clock.monotonic();
    let permit = Arc::clone(&server.inner.in_flight).try_acquire_owned();
    let mut response = match permit {
        Ok(permit) => next.run(request).await.map(|body| Body::new(Counted { body, permit: Some(permit) })),
        Err(_) if route == HEALTHZ => next.run(request).await,
        Err(_) => refuse(is_like_s3, Refusal::unavailable("too many requests at once; try again")),
    };
    response
        .headers_mut()
        .insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    let duration = server.inner.env.clock.monotonic().saturating_sub(start);
    let duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    tracing::debug!(%method, route, status = response.status().as_u16(), duration_ms, "Answered {method} {route}");
    response
}

/// The body of an answer whose request counts until this has ended or is dropped.
struct Counted {
    body: Body,
    permit: Option<OwnedSemaphorePermit>,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.is_none() {
            self.permit = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// `GET /healthz`: the process is up.
async fn healthz() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: the database answers.
async fn readyz(State(server): State<Server>) -> Result<&'static str, Refusal> {
    let answer = server
        .read(|transaction, _| Ok(transaction.query_row("SELECT count(*) FROM vault", [], |row| row.get::<_, u32>(0))?))
        .await;
    match answer {
        Ok(1) => Ok("ok\n"),
        Ok(_) => Err(Refusal::unavailable("the vault has no name")),
        Err(refusal) => Err(Refusal { source: refusal.source, ..Refusal::unavailable("the database does not answer") }),
    }
}

async fn no_such_route(request: Request) -> Response {
    refuse(is_like_s3(&request), Refusal::not_found("no such route"))
}

async fn no_such_method(request: Request) -> Response {
    let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::Invalid, "this route has other methods");
    refuse(is_like_s3(&request), refusal)
}

fn is_like_s3(request: &Request) -> bool {
    S3_ALIKE.iter().any(|prefix| request.uri().path().starts_with(prefix))
}

fn refuse(is_like_s3: bool, refusal: Refusal) -> Response {
    if is_like_s3 { BlobRefusal::from(refusal).into_response() } else { refusal.into_response() }
}
