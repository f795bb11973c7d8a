//! Lanes: sealed messages in one order, which everybody who knows the lane reads alike.

use serde::{Deserialize, Serialize};

use crate::Base64;

/// Appends a message to a lane.
///
/// Idempotent: the same key with the same body again answers with the message that is there; the same key with another
/// body is refused with [`crate::ErrorCode::MessageDiffers`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NewMessage {
    /// Tells this message from all others of the lane: 1 to [`crate::IDEMPOTENCY_KEY_BYTES_MAX`] visible characters of
    /// ASCII, without spaces.
    pub idempotency_key: String,
    /// The message, sealed: 1 to [`crate::MESSAGE_BYTES_MAX`] bytes.
    pub body: Base64,
}

/// A message that is in a lane, and durable. Answered with 201 if it was appended now, with 200 if it was there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageReceipt {
    /// Lower-case hex of the SHA-256 of the lane, a tab, the idempotency key, a tab, and the body; the lane as its 32
    /// digits. So whoever sends it knows it before.
    pub id: String,
    /// Its place in the lane, from 1 without a gap.
    pub number: u64,
}

/// A message of a lane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LaneMessage {
    /// See [`MessageReceipt::number`].
    pub number: u64,
    /// See [`MessageReceipt::id`].
    pub id: String,
    /// What was sent.
    pub body: Base64,
    /// When it was appended, by the server's clock. Says nothing about the order.
    pub created_at_ms: i64,
}

/// Messages of a lane, in order. Of a lane that nobody wrote to there are none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LanePage {
    /// Those that follow the number asked for; at most [`crate::LANE_PAGE_MAX`], fewer when they are large.
    pub messages: Vec<LaneMessage>,
    /// What to ask for next: the number of the last message here, or the one asked for if there is none.
    pub next: u64,
    /// There are more now.
    pub has_more: bool,
}
