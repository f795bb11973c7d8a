//! Notices when nothing moves any more.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::Extensions;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::CaptureConnection;
use landfall_core::{Code, Failure, Remedy};
use tokio::time::{Sleep, sleep};

use super::connection::Wire;
use crate::{BodyError, Loss, body::Watch, carrier::chain};

/// A request that is under way and whose answer has not begun. Dropping it cuts its connection, so that a cancelled
/// transfer sends no further byte.
///
/// hyper closes such a connection, too, but takes leave first, and under TLS that waits for the other side to read.
pub(super) struct Flight {
    connection: CaptureConnection,
    limit: Duration,
    landed: bool,
}

impl Flight {
    pub(super) fn new(connection: CaptureConnection, limit: Duration) -> Self {
        Self { connection, limit, landed: false }
    }

    /// Returns when no byte has moved for the limit. Making the connection has a limit of its own.
    pub(super) async fn stood_still(&self) {
        let mut quiet = Quiet::new(self.limit);
        loop {
            sleep(quiet.tick()).await;
            let stood_still = match self.wire() {
                Some(wire) => quiet.observe(wire.moved()),
                None => false,
            };
            if stood_still {
                return;
            }
        }
    }

    /// Cuts the connection.
    pub(super) fn break_off(self) {
        drop(self);
    }

    /// The answer has begun: from here on its body decides. Gives back the limit.
    pub(super) fn landed(mut self) -> Duration {
        self.landed = true;
        self.limit
    }

    fn wire(&self) -> Option<Wire> {
        let mut extras = Extensions::new();
        self.connection.connection_metadata().as_ref()?.get_extras(&mut extras);
        extras.remove()
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if let Some(wire) = self.wire().filter(|_| !self.landed) {
            wire.cut();
        }
    }
}

/// The body of an answer, watched while it is waited for.
pub(super) struct GuardedBody {
    /// `None` after an error: a connection must not live for as long as someone keeps a failed body.
    body: Option<Incoming>,
    wire: Wire,
    request: Watch,
    quiet: Quiet,
    tick: Pin<Box<Sleep>>,
    is_waited_for: bool,
}

impl GuardedBody {
    pub(super) fn new(body: Incoming, wire: Wire, request: Watch, limit: Duration) -> Self {
        let quiet = Quiet::new(limit);
        let tick = Box::pin(sleep(quiet.tick()));
        Self { body: Some(body), wire, request, quiet, tick, is_waited_for: false }
    }

    fn fail(&mut self, loss: Loss) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.body = None;
        Poll::Ready(Some(Err(Box::new(loss))))
    }

    /// Cuts the connection if the request's body is still being sent: the answer is read, nobody cares for the rest.
    ///
    /// Only then: once a request is sent and its answer has come, the connection may serve the next one already.
    fn cut_if_sending(&self) {
        if !self.request.is_finished() {
            self.wire.cut();
        }
    }
}

impl http_body::Body for GuardedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        match Pin::new(body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.is_waited_for = false;
                return Poll::Ready(Some(Ok(frame)));
            }
            Poll::Ready(Some(Err(error))) => {
                let loss = match self.request.error() {
                    Some(error) => Loss::BodyFailed(error),
                    None => Loss::NoAnswer(chain(&error)),
                };
                return self.fail(loss);
            }
            Poll::Ready(None) => {
                self.cut_if_sending();
                self.body = None;
                return Poll::Ready(None);
            }
            Poll::Pending => {}
        }
        // Time counts only while someone waits: a reader who pauses stops the bytes himself.
        if !self.is_waited_for {
            self.is_waited_for = true;
            let limit = self.quiet.limit;
            self.quiet = Quiet::new(limit);
            self.tick = Box::pin(sleep(self.quiet.tick()));
        }
        loop {
            ready!(self.tick.as_mut().poll(cx));
            let moved = self.wire.moved();
            if self.quiet.observe(moved) {
                self.wire.cut();
                let loss = stalled(&self.request);
                return self.fail(loss);
            }
            self.tick = Box::pin(sleep(self.quiet.tick()));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(|body| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), |body| body.size_hint())
    }
}

impl Drop for GuardedBody {
    fn drop(&mut self) {
        if self.body.is_some() {
            self.cut_if_sending();
        }
    }
}

/// Who stood still.
pub(super) fn stalled(request: &Watch) -> Loss {
    if let Some(error) = request.error() {
        return Loss::BodyFailed(error);
    }
    if request.is_awaited() && !request.is_finished() {
        let failure = Failure::new(Remedy::Retry, Code::SourceStalled, "the source gave no byte for too long");
        return Loss::BodyFailed(Box::new(failure));
    }
    Loss::Stalled
}

/// For how long nothing has moved, measured in ticks.
struct Quiet {
    limit: Duration,
    ticks: u32,
    moved: Option<u64>,
}

/// A standstill is noticed within a limit and one tick. Fewer would be late, more would wake a phone for nothing.
const TICKS_PER_LIMIT: u32 = 8;

impl Quiet {
    fn new(limit: Duration) -> Self {
        Self { limit, ticks: 0, moved: None }
    }

    fn tick(&self) -> Duration {
        (self.limit / TICKS_PER_LIMIT).max(Duration::from_millis(1))
    }

    /// Takes note of what has moved by the end of a tick; true if it stood still for the limit.
    fn observe(&mut self, moved: u64) -> bool {
        self.ticks = if self.moved == Some(moved) { self.ticks + 1 } else { 0 };
        self.moved = Some(moved);
        self.ticks >= TICKS_PER_LIMIT
    }
}
