//! What to do when a store refused: the one table.

use http::HeaderMap;
use landfall_core::{Code, Failure, Remedy, Timestamp};

use super::{
    Answer, Request, moment,
    place::is_region,
    request::{is_condition, is_of_checksums},
};
use crate::{
    retry_after,
    vault::refusal::{printable, s3_element},
};

/// A refusal, and what it teaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What to do.
    pub failure: Failure,
    /// What was wrong in what we took for granted. The remedy is then [`Remedy::Renew`]: send it again, corrected.
    pub correction: Option<Correction>,
}

/// What a store says about itself by refusing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Correction {
    /// The bucket is in this region.
    Region(String),
    /// The store's clock is so many milliseconds ahead of the one that the request was signed by; behind, if negative.
    ClockOffsetMs(i64),
    /// It knows no conditional writes.
    NoCondition,
    /// It does not know this checksum.
    NoChecksum,
}

/// Classifies a refusal by what is in the answer alone.
///
/// The `<Code>` of the error decides if there is one; the status decides otherwise, as it must for a HEAD. A word is
/// believed whatever the status, since S3 sends some of its errors with 200.
pub fn refusal(answer: &Answer) -> Refusal {
    let said = Said::read(answer);
    let verdict = said.verdict();
    let refusal = match said.code.as_deref() {
        Some(code) if is_region_code(code) => wrong_region(&said),
        None if matches!(answer.status, 301 | 307) || answer.status == 400 && said.region.is_some() => {
            wrong_region(&said)
        }
        Some("RequestTimeTooSkewed" | "RequestExpired") => wrong_clock(&said),
        Some("AccessDenied" | "InvalidRequest") if said.speaks_of_expiry() => Refusal {
            failure: said.failure(Remedy::Renew, Code::GrantExpired, "what was signed is no longer good"),
            correction: None,
        },
        _ if verdict.is_unknown_function || said.names_unknown_header() => unknown_function(&said, verdict),
        _ => Refusal { failure: said.failure(verdict.remedy, verdict.code, verdict.what), correction: None },
    };
    match refusal.failure.remedy {
        Remedy::Wait { .. } => {
            let remedy = Remedy::Wait { retry_after: retry_after(&answer.headers) };
            Refusal { failure: Failure { remedy, ..refusal.failure }, ..refusal }
        }
        _ => refusal,
    }
}

/// Classifies the refusal of this very request. It says also of a store that lacks a function, and does not say which,
/// what it is that it lacks.
pub fn refusal_of(request: &Request, answer: &Answer) -> Refusal {
    let refusal = refusal(answer);
    let said = Said::read(answer);
    let lacks_something = said.verdict().is_unknown_function || said.names_unknown_header();
    if refusal.correction.is_some() || !lacks_something {
        return refusal;
    }
    let correction = match (request.has_condition(), request.has_checksum()) {
        (true, _) => Correction::NoCondition,
        (false, true) => Correction::NoChecksum,
        (false, false) => return refusal,
    };
    Refusal { failure: Failure { remedy: Remedy::Renew, ..refusal.failure }, correction: Some(correction) }
}

/// What the store's clock showed, if a wrong clock may be why it refused.
///
/// A HEAD is refused without a word, so any refusal of one may be about the clock.
pub(super) fn clock_of(answer: &Answer, is_head: bool) -> Option<Timestamp> {
    let said = Said::read(answer);
    let may_be = match said.code.as_deref() {
        Some("RequestTimeTooSkewed" | "RequestExpired") => true,
        Some("AccessDenied" | "InvalidRequest") => said.speaks_of_expiry(),
        Some(_) => false,
        None => is_head && matches!(answer.status, 400 | 403),
    };
    let theirs = said.server_time.or_else(|| moment::date(&answer.headers));
    // A moment that nothing can be signed at would make things worse.
    theirs.filter(|theirs| may_be && moment::Stamp::of(*theirs).is_ok())
}

/// The store's clock shows another time than ours.
pub(super) fn clocks_differ(answer: &Answer) -> Failure {
    Said::read(answer).failure(Remedy::Renew, Code::ClockSkewed, CLOCKS_DIFFER)
}

/// The clocks agree, and the store says they do not.
pub(super) fn clocks_agree(answer: &Answer) -> Failure {
    let what = "the destination says that the clocks differ, and by its own they do not; look at the clocks of both";
    Said::read(answer).failure(Remedy::Block, Code::ClockSkewed, what)
}

/// The region is the one that the store names, and it still refuses it.
pub(super) fn regions_agree(answer: &Answer) -> Failure {
    let what =
        "the bucket is in the region that was given, and not at this endpoint; correct the endpoint or leave it out";
    Said::read(answer).failure(Remedy::Block, Code::WrongRegion, what)
}

/// A HEAD that was refused for another reason than its region.
pub(super) fn refused_head(answer: &Answer) -> Failure {
    let verdict = by_status(answer.status);
    Said::read(answer).failure(verdict.remedy, verdict.code, verdict.what)
}

fn wrong_region(said: &Said) -> Refusal {
    match &said.region {
        Some(region) => Refusal {
            failure: said.failure(Remedy::Renew, Code::WrongRegion, format!("the bucket is in region {region}")),
            correction: Some(Correction::Region(region.clone())),
        },
        None => {
            let what = "the bucket is in another region, which the destination does not name; correct the region";
            Refusal { failure: said.failure(Remedy::Block, Code::WrongRegion, what), correction: None }
        }
    }
}

fn wrong_clock(said: &Said) -> Refusal {
    let offset = said.server_time.zip(said.request_time).map(|(server, request)| server.0.saturating_sub(request.0));
    Refusal {
        failure: said.failure(Remedy::Renew, Code::ClockSkewed, CLOCKS_DIFFER),
        correction: offset.map(Correction::ClockOffsetMs),
    }
}

fn unknown_function(said: &Said, verdict: Verdict) -> Refusal {
    let correction = match said.header.as_deref() {
        Some(header) if is_condition(header) => Some(Correction::NoCondition),
        Some(header) if is_of_checksums(header) => Some(Correction::NoChecksum),
        _ => None,
    };
    let remedy = if correction.is_some() { Remedy::Renew } else { verdict.remedy };
    Refusal { failure: said.failure(remedy, verdict.code, verdict.what), correction }
}

/// A line of the table.
struct Verdict {
    remedy: Remedy,
    code: Code,
    /// What happened, and what to do where the code does not say it.
    what: &'static str,
    /// The store lacks what was asked for.
    is_unknown_function: bool,
}

impl Verdict {
    const fn new(remedy: Remedy, code: Code, what: &'static str) -> Self {
        Self { remedy, code, what, is_unknown_function: false }
    }
}

const WAIT: Remedy = Remedy::Wait { retry_after: None };

/// The codes of <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>, and those of other stores that are
/// common.
fn by_code(code: &str) -> Option<Verdict> {
    use Remedy::{Ask, Block, Reopen, Retry};
    let verdict = Verdict::new;
    Some(match code {
        "InvalidAccessKeyId" | "InvalidSecurity" | "NotSignedUp" => {
            verdict(Block, Code::BadCredentials, "the destination does not know this access key")
        }
        "SignatureDoesNotMatch" => {
            verdict(Block, Code::BadCredentials, "the secret is not the one that belongs to this access key")
        }
        "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired" => {
            verdict(Block, Code::CredentialsExpired, "the session that these credentials are for is over")
        }
        "AccessDenied" | "AccountProblem" | "AllAccessDisabled" | "InvalidPayer" | "UserSuspended" => {
            verdict(Block, Code::AccessDenied, "these credentials may not do what was asked")
        }
        "NoSuchBucket" => verdict(Block, Code::NoSuchBucket, "there is no such bucket"),
        "NoSuchUpload" => verdict(Reopen, Code::NoSuchUpload, "the upload is not open any more"),
        "NoSuchKey" | "NoSuchVersion" => verdict(Block, Code::Refused, "there is no such object"),
        "PreconditionFailed" => verdict(Ask, Code::KeyTaken, "something lies under this key already"),
        "ConditionalRequestConflict" | "OperationAborted" => {
            verdict(Retry, Code::ServerError, "something else was being done under this key at the same time")
        }
        "BadDigest"
        | "IncompleteBody"
        | "InvalidDigest"
        | "XAmzContentChecksumMismatch"
        | "XAmzContentSHA256Mismatch" => {
            verdict(Retry, Code::DamagedInTransit, "bytes arrived damaged at the destination")
        }
        "InvalidPart" | "InvalidPartOrder" => {
            verdict(Ask, Code::ServerError, "the destination does not hold the parts that it was told to put together")
        }
        "EntityTooSmall" => verdict(Block, Code::Refused, "a part is smaller than this destination takes"),
        "EntityTooLarge" | "MaxMessageLengthExceeded" => {
            verdict(Block, Code::SourceTooLarge, "the object is larger than this destination takes")
        }
        "BandwidthLimitExceeded"
        | "RequestLimitExceeded"
        | "SlowDown"
        | "SlowDownRead"
        | "SlowDownWrite"
        | "Throttling"
        | "ThrottlingException"
        | "TooManyRequests" => verdict(WAIT, Code::Throttled, "the destination asks for fewer requests"),
        "ServiceUnavailable" | "XMinioServerNotInitialized" => {
            verdict(WAIT, Code::ServerError, "the destination is not available")
        }
        "InternalError" => verdict(Retry, Code::ServerError, "the destination failed on its side"),
        "RequestTimeout" => verdict(Retry, Code::Stalled, "bytes came too slowly for the destination"),
        "InsufficientCapacity"
        | "QuotaExceeded"
        | "StorageFull"
        | "XMinioAdminBucketQuotaExceeded"
        | "XMinioStorageFull" => verdict(WAIT, Code::VaultFull, "the destination is full"),
        "NotImplemented" => Verdict { is_unknown_function: true, ..by_status(501) },
        "InvalidObjectState" => verdict(Block, Code::Refused, "the object is archived; restore it there first"),
        "KeyTooLongError" => verdict(Block, Code::Refused, "the object's key is longer than the destination takes"),
        _ => return None,
    })
}

fn by_status(status: u16) -> Verdict {
    use Remedy::{Ask, Block, Retry};
    let verdict = Verdict::new;
    match status {
        401 => verdict(Block, Code::BadCredentials, "the destination does not accept these credentials"),
        403 => verdict(Block, Code::AccessDenied, "these credentials may not do what was asked"),
        408 => verdict(Retry, Code::Stalled, "bytes came too slowly for the destination"),
        412 => verdict(Ask, Code::KeyTaken, "something lies under this key already"),
        413 => verdict(Block, Code::SourceTooLarge, "the object is larger than this destination takes"),
        425 => verdict(Retry, Code::ServerError, "the destination was not ready"),
        429 | 503 => verdict(WAIT, Code::Throttled, "the destination asks for fewer requests"),
        400..=499 => verdict(Block, Code::Refused, "the destination refuses this"),
        501 => Verdict {
            is_unknown_function: true,
            ..verdict(Block, Code::Refused, "the destination lacks a function that was asked for")
        },
        505 => verdict(Block, Code::Refused, "the destination refuses this"),
        // A gateway is there and the store behind it is not. That is an outage, however long; it costs no attempt.
        502 | 521..=523 | 525 | 526 | 530 => verdict(WAIT, Code::ServerError, "the destination is not available"),
        // A gateway handed the request on and lost the answer.
        504 | 520 | 524 => verdict(Ask, Code::AnswerLost, "the answer was lost on the way"),
        507 => verdict(WAIT, Code::VaultFull, "the destination is full"),
        // A captive portal.
        511 => verdict(WAIT, Code::Offline, "the network wants a log-in"),
        500..=599 => verdict(Retry, Code::ServerError, "the destination failed on its side"),
        _ => verdict(Retry, Code::BadAnswer, "that is no answer that the protocol allows"),
    }
}

const CLOCKS_DIFFER: &str = "the clocks of this device and of the destination differ";

fn is_region_code(code: &str) -> bool {
    matches!(
        code,
        "AuthorizationHeaderMalformed"
            | "IllegalLocationConstraintException"
            | "PermanentRedirect"
            | "Redirect"
            | "TemporaryRedirect"
    )
}

/// What a refusal says.
struct Said {
    status: u16,
    code: Option<String>,
    message: String,
    region: Option<String>,
    /// The header that the store does not know.
    header: Option<String>,
    request_time: Option<Timestamp>,
    server_time: Option<Timestamp>,
}

impl Said {
    fn read(answer: &Answer) -> Self {
        let element = |begin, end| s3_element(&answer.body, begin, end).map(unescaped);
        let is_word = |code: &String| {
            (1..=64).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.')
        };
        let message = element("<Message>", "</Message>").unwrap_or_default();
        let region = header(&answer.headers, "x-amz-bucket-region")
            .or_else(|| element("<Region>", "</Region>"))
            .or_else(|| expected_region(&message));
        let unknown = element("<Header>", "</Header>").or_else(|| header_in(&message));
        Self {
            status: answer.status,
            code: element("<Code>", "</Code>").filter(is_word),
            region: region.filter(|region| is_region(region)),
            header: unknown.map(|header| header.trim().to_ascii_lowercase()),
            request_time: element("<RequestTime>", "</RequestTime>").and_then(|time| moment::iso(&time)),
            server_time: element("<ServerTime>", "</ServerTime>").and_then(|time| moment::iso(&time)),
            message: printable(&without_names(&message)),
        }
    }

    /// The line of the table that it falls under.
    fn verdict(&self) -> Verdict {
        let code = match self.code.as_deref() {
            // Some stores call it a denied access when they do not know who asks.
            Some("AccessDenied") if self.speaks_of(&["no such key:", "no such access key"]) => {
                Some("InvalidAccessKeyId")
            }
            Some("AccessDenied") if self.speaks_of(&["invalid signature"]) => Some("SignatureDoesNotMatch"),
            other => other,
        };
        code.and_then(by_code).unwrap_or_else(|| by_status(self.status))
    }

    /// A request that was good for a time that is over. Several stores call that a denied access.
    fn speaks_of_expiry(&self) -> bool {
        self.speaks_of(&["request has expired", "expired request", "request is expired", "date is too old"])
    }

    /// Some stores refuse a header that they do not know as an invalid argument.
    fn names_unknown_header(&self) -> bool {
        matches!(self.code.as_deref(), Some("InvalidArgument" | "InvalidRequest"))
            && self.speaks_of(&["unsupported header"])
    }

    fn speaks_of(&self, any_of: &[&str]) -> bool {
        let message = self.message.to_ascii_lowercase();
        any_of.iter().any(|words| message.contains(words))
    }

    fn failure(&self, remedy: Remedy, code: Code, what: impl AsRef<str>) -> Failure {
        let (what, status) = (what.as_ref(), self.status);
        let message = match (&self.code, self.message.as_str()) {
            (None, _) => format!("{what} (the server answered {status})"),
            (Some(word), "") => format!("{what} (the server answered {status} {word})"),
            (Some(word), message) => format!("{what} (the server answered {status} {word}: {message})"),
        };
        Failure::new(remedy, code, message)
    }
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(|value| value.trim().to_owned())
}

/// Entities are resolved; a text with others is left as it is.
fn unescaped(text: &str) -> String {
    quick_xml::escape::unescape(text).map_or_else(|_| text.to_owned(), |text| text.into_owned())
}

/// The region in `…; expecting 'eu-west-1'`.
fn expected_region(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("expecting '")?;
    rest.split_once('\'').map(|(region, _)| region.to_owned())
}

/// The name of a header in a message such as `Header 'x-amz-checksum-algorithm' … not implemented`.
fn header_in(message: &str) -> Option<String> {
    let is_sign = |char: char| char.is_ascii_alphanumeric() || char == '-';
    let mut words = message.split(|char| !is_sign(char)).map(str::to_ascii_lowercase);
    words.find(|word| is_condition(word) || is_of_checksums(word))
}

/// The message without the key that a store tells who may not do what with: `arn:aws:s3:::bucket/key`.
fn without_names(message: &str) -> String {
    let mut kept = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(at) = rest.find(":s3:::") {
        let (before, name) = rest.split_at(at);
        // Keys may have spaces in them, so that only a quote is sure to end one.
        let end = if before.contains('"') { name.find('"') } else { name.find(char::is_whitespace) };
        let (name, after) = name.split_at(end.unwrap_or(name.len()));
        kept.push_str(before);
        match name.split_once('/') {
            Some((bucket, _)) => kept.extend([bucket, "/…"]),
            None => kept.push_str(name),
        }
        rest = after;
    }
    kept + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_the_right_and_not_the_file() {
        let message = "User: arn:aws:iam::1:user/me is not authorized to perform: s3:PutObject on resource: \
            \"arn:aws:s3:::media/my holiday.jpg\" because no identity-based policy allows the s3:PutObject action";
        let expected = "User: arn:aws:iam::1:user/me is not authorized to perform: s3:PutObject on resource: \
            \"arn:aws:s3:::media/…\" because no identity-based policy allows the s3:PutObject action";
        assert_eq!(without_names(message), expected);
        assert_eq!(without_names("no arn:aws:s3:::a/b/c d"), "no arn:aws:s3:::a/… d");
        assert_eq!(without_names("arn:aws:s3:::a"), "arn:aws:s3:::a");
        assert_eq!(without_names("nothing"), "nothing");
    }
}
