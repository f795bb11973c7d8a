//! What came of a request. Nothing is believed because it came.

use http::{Method, header::CONTENT_LENGTH};
use landfall_core::{Code, Failure, Remedy};
use landfall_protocol::{LanePage, MessageReceipt, PresignedUpload};

use crate::vault::{Answer, Origin, is_own_word, refusal};

/// Longest time that a grant is believed to last, in milliseconds: a week, as S3's longest.
const GRANT_TTL_MAX_MS: u64 = 7 * 24 * 3600 * 1000;
/// Headers that a grant may bring.
const HEADERS_MAX: usize = 32;

/// Reads the answer to [`super::request::presigned`]: leave that can be used.
///
/// # Errors
/// What to do; [`Code::BadAnswer`] if it cannot be used.
pub fn presigned(answer: &Answer, origin: &Origin) -> Result<PresignedUpload, Failure> {
    let granted: PresignedUpload = answer.read()?;
    if granted.method.parse::<Method>().is_err() || !matches!(granted.method.as_str(), "PUT" | "POST") {
        return Err(bad("it grants a request with an odd method"));
    }
    origin.resolve(&granted.upload_url)?;
    origin.resolve(&granted.asset_url)?;
    if granted.headers.len() > HEADERS_MAX {
        return Err(bad("it wants too many headers"));
    }
    Ok(PresignedUpload { ttl_ms: granted.ttl_ms.min(GRANT_TTL_MAX_MS), ..granted })
}

/// Reads the answer to [`super::request::head`]: whether a payload of exactly so many bytes is there. `None` if the
/// server does not tell.
///
/// # Errors
/// What to do, if it cannot be asked now.
pub fn is_there(answer: &Answer, bytes: u64) -> Result<Option<bool>, Failure> {
    match answer.status {
        200..=299 => {
            let length = answer.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
            Ok(length.map(|length| length == bytes))
        }
        404 | 410 => Ok(Some(false)),
        // Some stores let nobody ask.
        401 | 403 | 405 | 501 => Ok(None),
        _ => Err(refusal(answer.status, &answer.headers, &answer.body)),
    }
}

/// Reads the answer to [`super::request::append`]: the message is in the lane.
///
/// # Errors
/// What to do. Never [`Remedy::Wait`] where the message may be in the lane all the same: a gateway says that the server is
/// away also when it went away after it had taken the message.
pub fn appended(answer: &Answer) -> Result<MessageReceipt, Failure> {
    answer.read().map_err(|failure| match failure.remedy {
        Remedy::Wait { .. } if answer.status != 429 && !is_own_word(&answer.body) => {
            Failure { remedy: Remedy::Ask, code: Code::AnswerLost, ..failure }
        }
        _ => failure,
    })
}

/// Reads the answer to [`super::request::messages`]: messages in order, all of them after the number asked for.
///
/// # Errors
/// What to do.
pub fn page(answer: &Answer, after: u64) -> Result<LanePage, Failure> {
    let page: LanePage = answer.read()?;
    let mut last = after;
    for message in &page.messages {
        if message.number <= last {
            return Err(bad("its messages are not in order"));
        }
        last = message.number;
    }
    if page.next != last {
        return Err(bad("it goes on from another message than its last"));
    }
    Ok(page)
}

fn bad(what: &str) -> Failure {
    Failure::new(Remedy::Retry, Code::BadAnswer, format!("the server's answer cannot be used: {what}"))
}
