//! Whoever tells the others: a messaging client of the host, or a server's message log.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

/// What is to be told.
#[derive(Debug, Clone)]
pub struct Publication {
    /// The lane's name.
    pub lane: String,
    /// Fixed for the message: whoever is told twice under one key has been told once.
    pub idempotency_key: String,
    /// The message's content. The same bytes at every attempt.
    pub content: Bytes,
}

/// What became of telling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// It is told, now or before.
    Accepted,
    /// It will never be taken; the reason is for people.
    Rejected {
        /// Why, as a sentence.
        reason: String,
    },
    /// It may have been told or not. The same bytes are published again, later.
    Unknown {
        /// What happened, as a sentence.
        reason: String,
    },
    /// Nothing was tried, or it was turned away at the door: somebody has to log in
    /// ([`ChatReport::logged_out`](super::ChatReport::logged_out)). No attempt is charged, and each run makes one.
    LoggedOut,
    /// Nothing was tried: the publisher is not ready yet. No attempt is charged.
    NotReady {
        /// Try again after this long.
        retry_after: Duration,
    },
}

/// Publishes messages, one of a lane at a time, in the order of the lane.
///
/// The future may be dropped at any moment, when a budget ends: that is the same as [`Published::Unknown`], so the bytes
/// come again under the same key.
pub trait Publisher: Send + Sync {
    /// Tells the others.
    fn publish(&self, publication: Publication) -> BoxFuture<'_, Published>;
}
