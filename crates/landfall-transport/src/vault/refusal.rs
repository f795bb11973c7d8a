//! What to do when a step was refused or nobody answered: the one table.

use http::HeaderMap;
use landfall_core::{Code, Failure, Remedy};
use landfall_protocol::{ErrorCode, JSON_BYTES_MAX};
use serde::Deserialize;

use super::retry_after::retry_after;
use crate::Loss;

/// Classifies a refusal.
///
/// The server's own word decides if there is one, be it the `code` of a [`landfall_protocol::Problem`] or the `<Code>`
/// of an S3-style error; the status decides otherwise. A word is believed whatever the status, since S3 sends some of
/// its errors with 200.
pub fn refusal(status: u16, headers: &HeaderMap, body: &[u8]) -> Failure {
    let said = Said::read(body);
    let (class, code) = match &said {
        Said::Problem { code, .. } => by_problem(*code),
        Said::Xml { code, .. } => by_s3_code(code),
        Said::Nothing => None,
    }
    .unwrap_or_else(|| by_status(status));
    let remedy = match class {
        Class::Wait => Remedy::Wait { retry_after: retry_after(headers) },
        Class::Ask => Remedy::Ask,
        Class::Renew => Remedy::Renew,
        Class::Reopen => Remedy::Reopen,
        Class::Retry => Remedy::Retry,
        Class::NewRevision => Remedy::NewRevision,
        Class::LogIn => Remedy::LogIn,
        Class::Block => Remedy::Block,
    };
    Failure::new(remedy, code, said.sentence(status))
}

/// Whether it is the server itself that refused, and not something on the way to it.
pub fn is_own_word(body: &[u8]) -> bool {
    body.len() <= JSON_BYTES_MAX && problem(body).is_some()
}

/// Classifies the absence of an answer.
///
/// A body that failed is its owner's: if its error is a [`Failure`], that is the answer.
pub fn loss(loss: &Loss) -> Failure {
    match loss {
        Loss::NotSent(_) => Failure::new(Remedy::Wait { retry_after: None }, Code::Offline, loss.to_string()),
        Loss::NoAnswer(_) => Failure::new(Remedy::Ask, Code::AnswerLost, loss.to_string()),
        Loss::Stalled => Failure::new(Remedy::Ask, Code::Stalled, loss.to_string()),
        Loss::BodyFailed(error) => match error.downcast_ref::<Failure>() {
            Some(failure) => failure.clone(),
            None => Failure::new(Remedy::Retry, Code::SourceUnreadable, format!("{loss}: {error}")),
        },
    }
}

/// A [`Remedy`] before the headers were looked at.
#[derive(Clone, Copy)]
enum Class {
    Wait,
    Ask,
    Renew,
    Reopen,
    Retry,
    NewRevision,
    LogIn,
    Block,
}

fn by_problem(code: ErrorCode) -> Option<(Class, Code)> {
    Some(match code {
        ErrorCode::Unauthorized => (Class::LogIn, Code::Unauthorized),
        ErrorCode::NoSuchUpload => (Class::Reopen, Code::NoSuchUpload),
        // A part that was acknowledged is not there, or is another. The upload's status says which to send again.
        ErrorCode::Incomplete => (Class::Ask, Code::ServerError),
        // Our key is taken by something else; a new revision draws a new one.
        ErrorCode::UploadDiffers => (Class::NewRevision, Code::Refused),
        // Whoever sent the version reads the record again first.
        ErrorCode::VersionMismatch => (Class::Retry, Code::Refused),
        ErrorCode::TooLarge => (Class::Block, Code::SourceTooLarge),
        ErrorCode::Throttled => (Class::Wait, Code::Throttled),
        ErrorCode::Internal => (Class::Retry, Code::ServerError),
        ErrorCode::Unavailable => (Class::Wait, Code::ServerError),
        ErrorCode::VaultHeld => (Class::Wait, Code::VaultHeld),
        ErrorCode::StorageFull => (Class::Wait, Code::VaultFull),
        ErrorCode::Invalid
        | ErrorCode::NotFound
        | ErrorCode::ContentExists
        | ErrorCode::RegisteredDifferently
        | ErrorCode::InUse
        | ErrorCode::KeysExist => (Class::Block, Code::Refused),
        _ => return None,
    })
}

fn by_s3_code(code: &str) -> Option<(Class, Code)> {
    Some(match code {
        // An expired URL is an `AccessDenied` too, and a clock that is wrong spoils only the grant, which is made anew.
        // Whoever renews sees whether it helped.
        "AccessDenied"
        | "AuthorizationQueryParametersError"
        | "ExpiredToken"
        | "InvalidAccessKeyId"
        | "RequestExpired"
        | "RequestTimeTooSkewed"
        | "SignatureDoesNotMatch" => (Class::Renew, Code::GrantExpired),
        "NoSuchUpload" => (Class::Reopen, Code::NoSuchUpload),
        "BadDigest"
        | "IncompleteBody"
        | "InvalidDigest"
        | "XAmzContentChecksumMismatch"
        | "XAmzContentSHA256Mismatch" => (Class::Retry, Code::DamagedInTransit),
        "InvalidPart" | "InvalidPartOrder" => (Class::Ask, Code::ServerError),
        "EntityTooLarge" | "MaxMessageLengthExceeded" => (Class::Block, Code::SourceTooLarge),
        "BandwidthLimitExceeded" | "RequestLimitExceeded" | "SlowDown" | "Throttling" | "TooManyRequests" => {
            (Class::Wait, Code::Throttled)
        }
        "PartMissing" | "PartDamaged" => (Class::Block, Code::Tampered),
        "VaultHeld" => (Class::Wait, Code::VaultHeld),
        "ServiceUnavailable" => (Class::Wait, Code::ServerError),
        "InsufficientCapacity" | "QuotaExceeded" | "StorageFull" | "XMinioStorageFull" => {
            (Class::Wait, Code::VaultFull)
        }
        "InternalError" | "ConditionalRequestConflict" | "OperationAborted" => (Class::Retry, Code::ServerError),
        "RequestTimeout" => (Class::Retry, Code::Stalled),
        "EntityTooSmall" | "InvalidRequest" | "MethodNotAllowed" | "NoSuchBucket" | "NoSuchKey"
        | "PreconditionFailed" => (Class::Block, Code::Refused),
        _ => return None,
    })
}

fn by_status(status: u16) -> (Class, Code) {
    match status {
        401 => (Class::LogIn, Code::Unauthorized),
        408 => (Class::Retry, Code::Stalled),
        413 => (Class::Block, Code::SourceTooLarge),
        425 => (Class::Retry, Code::ServerError),
        429 => (Class::Wait, Code::Throttled),
        400..=499 => (Class::Block, Code::Refused),
        501 | 505 => (Class::Block, Code::Refused),
        // A gateway is there and the server behind it is not. That is an outage, however long; it costs no attempt.
        502 | 503 | 521..=523 | 525 | 526 | 530 => (Class::Wait, Code::ServerError),
        // A gateway handed the request on and lost the answer.
        504 | 520 | 524 => (Class::Ask, Code::AnswerLost),
        507 => (Class::Wait, Code::VaultFull),
        // A captive portal.
        511 => (Class::Wait, Code::Offline),
        500..=599 => (Class::Retry, Code::ServerError),
        _ => (Class::Retry, Code::BadAnswer),
    }
}

/// What a refusal's body says.
enum Said {
    Problem { code: ErrorCode, detail: String },
    Xml { code: String, message: String },
    Nothing,
}

impl Said {
    fn read(body: &[u8]) -> Self {
        if body.len() > JSON_BYTES_MAX {
            return Self::Nothing;
        }
        if let Some(problem) = problem(body) {
            return Self::Problem { code: problem.code, detail: printable(&problem.detail) };
        }
        match s3_code(body) {
            Some(code) => Self::Xml { code: code.to_owned(), message: printable(s3_message(body).unwrap_or_default()) },
            None => Self::Nothing,
        }
    }

    fn sentence(&self, status: u16) -> String {
        match self {
            Self::Problem { detail, .. } if !detail.is_empty() => {
                format!("the server answered {status}: {detail}")
            }
            Self::Xml { code, .. } if code == "PartMissing" => {
                format!("the vault has lost a part of this content ({status} {code})")
            }
            Self::Xml { code, .. } if code == "PartDamaged" => {
                format!("a part of this content is damaged in the vault ({status} {code})")
            }
            Self::Xml { code, message } if message.is_empty() => format!("the server answered {status} {code}"),
            Self::Xml { code, message } => format!("the server answered {status} {code}: {message}"),
            Self::Problem { .. } | Self::Nothing => format!("the server answered {status}"),
        }
    }
}

/// A [`landfall_protocol::Problem`] of which only the code must be readable, so that the classification does not
/// depend on what a newer server puts beside it.
#[derive(Deserialize)]
pub(super) struct Problem {
    pub(super) code: ErrorCode,
    #[serde(default)]
    detail: String,
}

pub(super) fn problem(body: &[u8]) -> Option<Problem> {
    serde_json::from_slice(body).ok()
}

/// The code of an S3-style error, also inside an answer that says 200.
pub(super) fn s3_code(body: &[u8]) -> Option<&str> {
    let code = s3_element(body, "<Code>", "</Code>")?;
    let is_word = !code.is_empty() && code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_word.then_some(code)
}

/// What an S3-style error says to people.
fn s3_message(body: &[u8]) -> Option<&str> {
    s3_element(body, "<Message>", "</Message>")
}

/// What stands between two tags of an S3-style error, as it is written there.
pub(crate) fn s3_element<'b>(body: &'b [u8], begin: &str, end: &str) -> Option<&'b str> {
    // An error is short. Anything longer is something else, and not searched.
    let text = std::str::from_utf8(body.get(..ERROR_BYTES_MAX).unwrap_or(body)).ok()?;
    let (_, error) = text.split_once("<Error")?;
    let (_, inside) = error.split_once(begin)?;
    let (inside, _) = inside.split_once(end)?;
    Some(inside.trim())
}

/// Text from elsewhere that may be shown to a person: short, and nothing a terminal would obey.
pub(crate) fn printable(text: &str) -> String {
    text.chars().filter(|char| !char.is_control()).take(DETAIL_CHARS_MAX).collect()
}

const ERROR_BYTES_MAX: usize = 64 << 10;
const DETAIL_CHARS_MAX: usize = 300;
