//! Wrappers around the body of a request.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;

use crate::{Body, BodyError};

/// A body that is exactly as long as was promised, or fails.
///
/// One byte too many fails before it is passed on; an end that comes too soon fails instead of ending. So no carrier
/// ever sees a body that contradicts its `Content-Length`.
pub struct Measured {
    body: Body,
    missing: u64,
}

impl Measured {
    /// `body`, which must have `length` bytes.
    pub fn new(body: Body, length: u64) -> Self {
        Self { body, missing: length }
    }

    /// The same as a [`Body`].
    pub fn boxed(self) -> Body {
        self.boxed_unsync()
    }
}

impl http_body::Body for Measured {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else { return Poll::Pending };
        Poll::Ready(match frame {
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                match self.missing.checked_sub(length) {
                    Some(missing) => {
                        self.missing = missing;
                        Some(Ok(frame))
                    }
                    None => Some(Err("the body is longer than was promised".into())),
                }
            }
            None if self.missing > 0 => Some(Err(format!("the body ended {} bytes too soon", self.missing).into())),
            end => end,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.missing == 0 && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.missing)
    }
}

/// What became of a body that was given away.
///
/// Whoever consumes a body turns its error into one of their own; this keeps the original.
#[derive(Clone, Default)]
pub(crate) struct Watch(Arc<Watched>);

#[derive(Default)]
struct Watched {
    error: Mutex<Option<BodyError>>,
    awaited: AtomicBool,
    finished: AtomicBool,
}

impl Watch {
    /// Starts to watch the body of a request.
    pub(crate) fn over(body: Body) -> (Body, Self) {
        let watch = Self::default();
        watch.0.finished.store(is_finished(&body), Ordering::Relaxed);
        (WatchedBody { body, watch: watch.clone() }.boxed_unsync(), watch)
    }

    /// The error the body gave, once.
    pub(crate) fn error(&self) -> Option<BodyError> {
        self.0.error.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[cfg(feature = "http")]
impl Watch {
    /// Someone asked for the next bytes and the body has none yet.
    pub(crate) fn is_awaited(&self) -> bool {
        self.0.awaited.load(Ordering::Relaxed)
    }

    /// All its bytes were taken.
    pub(crate) fn is_finished(&self) -> bool {
        self.0.finished.load(Ordering::Relaxed)
    }
}

fn is_finished(body: &Body) -> bool {
    http_body::Body::is_end_stream(body) || http_body::Body::size_hint(body).exact() == Some(0)
}

struct WatchedBody {
    body: Body,
    watch: Watch,
}

impl http_body::Body for WatchedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        self.watch.0.awaited.store(polled.is_pending(), Ordering::Relaxed);
        if matches!(polled, Poll::Ready(None)) || is_finished(&self.body) {
            self.watch.0.finished.store(true, Ordering::Relaxed);
        }
        match polled {
            Poll::Ready(Some(Err(error))) => {
                *self.watch.0.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                Poll::Ready(Some(Err(Box::new(KeptElsewhere))))
            }
            other => other,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Stands for an error that a [`Watch`] keeps.
#[derive(Debug)]
struct KeptElsewhere;

impl fmt::Display for KeptElsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body to be sent failed")
    }
}

impl std::error::Error for KeptElsewhere {}
