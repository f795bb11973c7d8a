//! `POST` and `GET /v2/lanes/{lane}/messages`: messages are appended to a lane, and read in its order.
//!
//! A *lane* is 32 hex digits that its members derive from a key of theirs. To know it is to be a member: any account of
//! this server that names it may read and append. So a lane is as secret as a signed URL and stays out of logs; one that
//! nobody wrote to looks like one that does not exist; and nothing lists lanes. Who is not a member cannot find one; who is
//! cannot be kept out, and may fill it. The server, and a thief of the vault folder, learn which lanes there are, which
//! account sent what, how long it is and when. Bodies are sealed under a key that members have and the server has not, so
//! neither can read a message or make one; but the server can leave some out, and tell them in another order.

use axum::{
    extract::{FromRequestParts, Path, Query, State, rejection::QueryRejection},
    http::{StatusCode, request::Parts},
    response::{IntoResponse as _, Response},
};
use landfall_protocol::{
    Base64, ErrorCode, IDEMPOTENCY_KEY_BYTES_MAX, JSON_BYTES_MAX, LANE_PAGE_MAX, LaneMessage, LanePage,
    MESSAGE_BYTES_MAX, MessageReceipt, NewMessage,
};
use rusqlite::{OptionalExtension as _, Row};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::{
    Server,
    account::Account,
    database::Transaction,
    json::{Json, ObjectKey},
    refusal::Refusal,
    server::Inner,
    signing::hex,
};

/// What a message takes up besides its body, in bytes: its row and what finds it.
const ROW_BYTES: u64 = 256;

/// The lane in a path.
#[derive(Clone)]
pub(crate) struct Lane(String);

impl FromRequestParts<Server> for Lane {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, server: &Server) -> Result<Self, Refusal> {
        match Path::<String>::from_request_parts(parts, server).await {
            Ok(Path(lane)) if ObjectKey::is_valid(&lane) => Ok(Self(lane)),
            _ => Err(Refusal::invalid("a lane has 32 lower-case hex digits")),
        }
    }
}

/// `?after=NUMBER&limit=N`.
#[derive(Debug, Deserialize)]
pub(crate) struct Page {
    #[serde(default)]
    after: u64,
    limit: Option<u32>,
}

/// `POST /v2/lanes/{lane}/messages`: 201 if the message was appended now, 200 if it was there.
pub(crate) async fn append(
    State(server): State<Server>,
    account: Account,
    lane: Lane,
    Json(new): Json<NewMessage>,
) -> Result<Response, Refusal> {
    check(&new)?;
    let hash = hash(&lane, &new);
    let (number, appended) = server
        .write(move |transaction, inner| match find(transaction, &lane, &new.idempotency_key)? {
            Some((number, found)) if found == hash => Ok((number, false)),
            Some(_) => Err(Refusal::conflict(
                ErrorCode::MessageDiffers,
                "the lane has a message of this idempotency key with another body",
            )),
            None => Ok((insert(transaction, inner, account, &lane, &new, &hash)?, true)),
        })
        .await?;
    if appended {
        server.inner.env.steps.reached("server.message.committed");
    }
    let status = if appended { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(MessageReceipt { id: hex(&hash), number })).into_response())
}

/// `GET /v2/lanes/{lane}/messages`: at most `limit` messages, fewer when they are large.
pub(crate) async fn show(
    State(server): State<Server>,
    _account: Account,
    lane: Lane,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<LanePage>, Refusal> {
    let Query(page) = page.map_err(|_| Refusal::invalid("`after` and `limit` are whole numbers from 0"))?;
    let limit = page.limit.unwrap_or(LANE_PAGE_MAX).clamp(1, LANE_PAGE_MAX);
    let page = server.read(move |transaction, _| Ok(select(transaction, &lane, page.after, limit)?)).await?;
    Ok(Json(page))
}

/// Leaves the messages of an account to their lanes.
pub(crate) fn forget_account(transaction: &Transaction<'_>, account: i64) -> rusqlite::Result<()> {
    transaction.execute("UPDATE message SET account = NULL WHERE account = ?1", [account])?;
    transaction.execute("DELETE FROM message_usage WHERE account = ?1", [account]).map(drop)
}

fn check(new: &NewMessage) -> Result<(), Refusal> {
    let key = new.idempotency_key.as_bytes();
    if !(1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len()) || !key.iter().all(u8::is_ascii_graphic) {
        return Err(Refusal::invalid(format!(
            "an idempotency key has 1 to {IDEMPOTENCY_KEY_BYTES_MAX} visible characters of ASCII"
        )));
    }
    if new.body.0.is_empty() {
        return Err(Refusal::invalid("a message has at least one byte"));
    }
    if new.body.0.len() > MESSAGE_BYTES_MAX {
        return Err(Refusal::too_large(format!("a message has at most {MESSAGE_BYTES_MAX} bytes")));
    }
    Ok(())
}

/// What a message is known by. None of the texts before the body can hold a tab, so no two messages are one.
fn hash(lane: &Lane, new: &NewMessage) -> [u8; 32] {
    let mut hash = Sha256::new();
    for text in [&lane.0, &new.idempotency_key] {
        hash.update(text);
        hash.update(b"\t");
    }
    hash.update(&new.body.0);
    hash.finalize().into()
}

/// Number and hash of a message of the lane.
fn find(transaction: &Transaction<'_>, lane: &Lane, key: &str) -> rusqlite::Result<Option<(u64, [u8; 32])>> {
    transaction
        .prepare_cached("SELECT number, hash FROM message WHERE lane = ?1 AND idempotency_key = ?2")?
        .query_row((&lane.0, key), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

/// Appends a message, if the lane and the account have room for it. Returns its number.
fn insert(
    transaction: &Transaction<'_>,
    inner: &Inner,
    account: Account,
    lane: &Lane,
    new: &NewMessage,
    hash: &[u8; 32],
) -> Result<u64, Refusal> {
    let last: u64 = transaction
        .prepare_cached("SELECT coalesce(max(number), 0) FROM message WHERE lane = ?1")?
        .query_row([&lane.0], |row| row.get(0))?;
    let lane_messages_max = inner.config.lane_messages_max;
    if last >= lane_messages_max {
        return Err(Refusal::too_large(format!("a lane has at most {lane_messages_max} messages here")));
    }
    let used: u64 = transaction
        .prepare_cached(
            "INSERT INTO message_usage (account, bytes) VALUES (?1, ?2)
             ON CONFLICT (account) DO UPDATE SET bytes = bytes + excluded.bytes RETURNING bytes",
        )?
        .query_row((account.0, new.body.0.len() as u64 + ROW_BYTES), |row| row.get(0))?;
    let message_bytes_max = inner.config.message_bytes_max;
    if used > message_bytes_max {
        return Err(Refusal::too_large(format!(
            "the messages of an account have at most {message_bytes_max} bytes here"
        )));
    }
    transaction
        .prepare_cached(
            "INSERT INTO message (lane, number, account, idempotency_key, hash, body, created_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute((&lane.0, last + 1, account.0, &new.idempotency_key, hash, &new.body.0, inner.now_ms()))?;
    Ok(last + 1)
}

fn select(transaction: &Transaction<'_>, lane: &Lane, after: u64, limit: u32) -> rusqlite::Result<LanePage> {
    // Number, hash and time of a message as JSON, at most.
    const REST: usize = 200;
    let mut statement = transaction.prepare_cached(
        "SELECT number, hash, body, created_ms FROM message WHERE lane = ?1 AND number > ?2 ORDER BY number LIMIT ?3",
    )?;
    // One more than asked for tells whether there is more.
    let mut rows = statement.query((&lane.0, i64::try_from(after).unwrap_or(i64::MAX), i64::from(limit) + 1))?;
    let mut page = LanePage { messages: Vec::new(), next: after, has_more: false };
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        let message = from_row(row)?;
        bytes += message.body.0.len().div_ceil(3) * 4 + REST;
        if page.messages.len() == limit as usize || (bytes > JSON_BYTES_MAX / 2 && !page.messages.is_empty()) {
            page.has_more = true;
            break;
        }
        page.next = message.number;
        page.messages.push(message);
    }
    Ok(page)
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<LaneMessage> {
    Ok(LaneMessage {
        number: row.get(0)?,
        id: hex(&row.get::<_, [u8; 32]>(1)?),
        body: Base64(row.get(2)?),
        created_at_ms: row.get(3)?,
    })
}
