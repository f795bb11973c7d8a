//! Bytes that arrive: from a request's body, through a checksum, into a file in `incoming/`.
//!
//! At most [`CHUNK_BYTES`] of a body are in memory, whatever its length. Whoever began an arrival decides what becomes of
//! its file; one that is dropped takes the file along.

use std::time::Duration;

use axum::{
    body::{Body, HttpBody as _},
    http::{HeaderMap, StatusCode, header},
};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use landfall_env::Incoming;
use tokio::time::{Instant, timeout_at};

use crate::{
    Server, ServerConfig,
    refusal::{BlobRefusal, Refusal},
};

/// What is gathered before it is written, in bytes.
const CHUNK_BYTES: usize = 256 << 10;
/// Frames shorter than this are gathered, in bytes.
const COPIED_BELOW: usize = 64 << 10;

/// What is made of all bytes as they pass.
pub(crate) trait Checksum: Send + 'static {
    fn update(&mut self, bytes: &[u8]);
}

/// Bytes on their way in.
pub(crate) struct Arrival<C> {
    /// `None` if the bytes are stored already: then they are only checked.
    file: Option<Incoming>,
    checksum: C,
    /// Short frames, copied: a frame may be a slice of something large whose owner must have it back before there can
    /// be a next frame.
    gathered: Vec<u8>,
    /// A long frame that follows them.
    long: Bytes,
}

impl<C: Checksum> Arrival<C> {
    pub(crate) fn new(file: Option<Incoming>, checksum: C) -> Self {
        Self { file, checksum, gathered: Vec::new(), long: Bytes::new() }
    }

    /// Takes the body in, which must have `length` bytes. Dropping this in the middle (the client is gone) removes what
    /// had arrived.
    pub(crate) async fn receive(
        mut self,
        server: &Server,
        mut body: Body,
        length: u64,
    ) -> Result<Arrived<C>, BlobRefusal> {
        let cut_off = |message| BlobRefusal::new(StatusCode::BAD_REQUEST, "RequestTimeout", message);
        let pace = Pace::new(&server.inner.config);
        let mut arrived = 0_u64;
        loop {
            let frame = match timeout_at(pace.next_until(arrived), body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(None) => break,
                Ok(Some(Err(_))) => return Err(incomplete()),
                Err(_) if pace.is_too_slow(arrived) => return Err(cut_off("The body came too slowly; send it again")),
                Err(_) => return Err(cut_off("The body stopped coming; send it again")),
            };
            let Ok(bytes) = frame.into_data() else { continue };
            arrived += bytes.len() as u64;
            if arrived > length {
                return Err(incomplete());
            }
            self.gather(bytes);
            // What is left at the end is written together with what finishing needs, in one go.
            if self.is_worth_a_write() {
                self = server
                    .blocking(move |_| {
                        self.flush()?;
                        Ok::<_, Refusal>(self)
                    })
                    .await?;
            }
        }
        if arrived == length { Ok(Arrived(self)) } else { Err(incomplete()) }
    }

    /// Takes the next frame. What is worth a write must be flushed before the next is waited for.
    fn gather(&mut self, bytes: Bytes) {
        if bytes.len() < COPIED_BELOW {
            self.gathered.extend_from_slice(&bytes);
        } else {
            self.long = bytes;
        }
    }

    fn is_worth_a_write(&self) -> bool {
        !self.long.is_empty() || self.gathered.len() >= CHUNK_BYTES
    }

    fn flush(&mut self) -> Result<(), Refusal> {
        let long = std::mem::take(&mut self.long);
        for bytes in [&self.gathered[..], &long] {
            self.checksum.update(bytes);
            if let Some(file) = self.file.as_mut().filter(|_| !bytes.is_empty()) {
                file.append(bytes)?;
            }
        }
        self.gathered.clear();
        Ok(())
    }
}

/// Bytes that have come to their end. The last of them may not be written yet.
pub(crate) struct Arrived<C>(Arrival<C>);

impl<C: Checksum> Arrived<C> {
    /// Writes what is left. Nothing is synced.
    pub(crate) fn finish(mut self) -> Result<(Option<Incoming>, C), Refusal> {
        self.0.flush()?;
        Ok((self.0.file, self.0.checksum))
    }
}

/// How long the body is said to be.
pub(crate) fn said_length(headers: &HeaderMap, body: &Body) -> Result<u64, BlobRefusal> {
    let length = match headers.get(header::CONTENT_LENGTH) {
        Some(length) => length.to_str().ok().and_then(|length| length.parse().ok()),
        // A router that is called without a socket may be given a body that knows its length and no header.
        None => body.size_hint().exact(),
    };
    length.ok_or_else(|| BlobRefusal::new(StatusCode::LENGTH_REQUIRED, "MissingContentLength", "Send Content-Length"))
}

fn incomplete() -> BlobRefusal {
    BlobRefusal::new(StatusCode::BAD_REQUEST, "IncompleteBody", "The body has not the length it was said to have")
}

/// How a body has to come: neither silent for long, nor so slow that it would never end.
struct Pace {
    began: Instant,
    idle_max: Duration,
    rate_min: u64,
    rate_after: Duration,
}

impl Pace {
    fn new(config: &ServerConfig) -> Self {
        Self {
            began: Instant::now(),
            idle_max: config.part_idle_max,
            rate_min: config.part_rate_min,
            rate_after: config.part_rate_after,
        }
    }

    /// When the average falls below the least, if nothing comes after the `arrived` bytes; `None` if there is no least.
    fn too_slow_at(&self, arrived: u64) -> Option<Instant> {
        let enough_for = Duration::from_secs(arrived.checked_div(self.rate_min)?);
        Some(self.began + enough_for.max(self.rate_after))
    }

    /// Until when more has to come.
    fn next_until(&self, arrived: u64) -> Instant {
        let silent_at = Instant::now() + self.idle_max;
        self.too_slow_at(arrived).map_or(silent_at, |too_slow_at| too_slow_at.min(silent_at))
    }

    fn is_too_slow(&self, arrived: u64) -> bool {
        self.too_slow_at(arrived).is_some_and(|too_slow_at| too_slow_at <= Instant::now())
    }
}
