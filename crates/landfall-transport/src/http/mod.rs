//! Requests over sockets: HTTP/1.1, with TLS for `https`.

mod connection;
mod watchdog;

use std::{fmt, time::Duration};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, Error, connect::capture_connection},
    rt::{TokioExecutor, TokioTimer},
};

use self::{
    connection::{Connector, Wire},
    watchdog::{Flight, GuardedBody, stalled},
};
use crate::{Body, Carrier, Loss, body::Watch, carrier::chain};

/// Carries requests over sockets, and keeps connections for the next one.
///
/// A transfer may take as long as it likes while bytes move; one that stands still is broken off. A request is handed
/// over at most once: only one of which no byte was written, because its kept connection turned out to be closed, goes
/// out on another. There is no proxy, no cookie, no redirect and no compression.
///
/// It must be used within a tokio runtime with time and I/O.
#[derive(Clone)]
pub struct HttpCarrier {
    client: Client<Connector, Body>,
    settings: HttpSettings,
}

/// What a user may tune of an [`HttpCarrier`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpSettings {
    /// Longest time to reach a server: name, connection and TLS together. 10 s.
    pub connect_timeout: Duration,
    /// Longest time in which no byte moves, in either direction, while one is owed. Then it is [`Loss::Stalled`]; or,
    /// if it is the request's own body that has nothing to send, [`Loss::BodyFailed`] with [`landfall_core::Code::SourceStalled`].
    /// 15 s.
    pub stall_timeout: Duration,
    /// How long an unused connection is kept. 60 s: servers close after 60 s or more as a rule.
    pub idle_timeout: Duration,
    /// How long an unused connection is kept. 10 s: less than servers keep theirs, which is 15 s for ours.
    pub idle_connections_max: usize,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(10),
            idle_connections_max: 8,
        }
    }
}

impl HttpCarrier {
    /// A carrier with these settings. It opens no connection yet.
    pub fn new(settings: HttpSettings) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(settings.idle_timeout)
            .pool_max_idle_per_host(settings.idle_connections_max)
            // Safe for bodies that can be sent once only: what is tried again is the very request that the connection
            // never took, with its body untouched; nothing is copied.
            .retry_canceled_requests(true)
            .build(Connector::new(settings.connect_timeout));
        Self { client, settings }
    }
}

impl Default for HttpCarrier {
    fn default() -> Self {
        Self::new(HttpSettings::default())
    }
}

impl fmt::Debug for HttpCarrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpCarrier").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Carrier for HttpCarrier {
    fn carry<'a>(&'a self, request: Request<Body>) -> BoxFuture<'a, Result<Response<Body>, Loss>> {
        let (head, body) = request.into_parts();
        let (body, watch) = Watch::over(body);
        let mut request = Request::from_parts(head, body);
        let flight = Flight::new(capture_connection(&mut request), self.settings.stall_timeout);
        let answer = self.client.request(request);
        Box::pin(async move {
            let answered = tokio::select! {
                biased;
                answered = answer => answered,
                () = flight.stood_still() => {
                    flight.break_off();
                    return Err(stalled(&watch));
                }
            };
            match answered {
                Ok(response) => Ok(guarded(response, watch, flight)),
                Err(error) => Err(lost(&error, &watch)),
            }
        })
    }
}

fn guarded(response: Response<Incoming>, watch: Watch, flight: Flight) -> Response<Body> {
    let wire = response.extensions().get::<Wire>().cloned();
    let wire = wire.expect("every connection is made by our connector, which puts its wire into the response");
    let limit = flight.landed();
    response.map(|body| GuardedBody::new(body, wire, watch, limit).boxed_unsync())
}

fn lost(error: &Error, watch: &Watch) -> Loss {
    if let Some(error) = watch.error() {
        return Loss::BodyFailed(error);
    }
    // Whatever is not certainly before the first byte counts as after it: asking costs a round trip, a wrong guess
    // more.
    if error.is_connect() { Loss::NotSent(chain(error)) } else { Loss::NoAnswer(chain(error)) }
}
