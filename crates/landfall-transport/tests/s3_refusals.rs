//! The table of S3's refusals: what a status and a code mean, what to do, and what is learned.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header::RETRY_AFTER};
use landfall_core::{Algorithm, Checksum, Code, Remedy};
use landfall_transport::s3::{Answer, Condition, Correction, NewObject, Refusal, refusal, refusal_of, request};

/// Status, the code of the error or nothing, remedy, code.
const TABLE: &[(u16, &str, Remedy, Code)] = &[
    (403, "InvalidAccessKeyId", Remedy::Block, Code::BadCredentials),
    (403, "SignatureDoesNotMatch", Remedy::Block, Code::BadCredentials),
    (403, "InvalidSecurity", Remedy::Block, Code::BadCredentials),
    (403, "NotSignedUp", Remedy::Block, Code::BadCredentials),
    (400, "ExpiredToken", Remedy::Block, Code::CredentialsExpired),
    (403, "ExpiredToken", Remedy::Block, Code::CredentialsExpired),
    (400, "InvalidToken", Remedy::Block, Code::CredentialsExpired),
    (400, "TokenRefreshRequired", Remedy::Block, Code::CredentialsExpired),
    (403, "AccessDenied", Remedy::Block, Code::AccessDenied),
    (200, "AccessDenied", Remedy::Block, Code::AccessDenied),
    (403, "AllAccessDisabled", Remedy::Block, Code::AccessDenied),
    (403, "AccountProblem", Remedy::Block, Code::AccessDenied),
    (403, "UserSuspended", Remedy::Block, Code::AccessDenied),
    (403, "RequestTimeTooSkewed", Remedy::Renew, Code::ClockSkewed),
    (400, "RequestExpired", Remedy::Renew, Code::ClockSkewed),
    (301, "PermanentRedirect", Remedy::Block, Code::WrongRegion),
    (307, "TemporaryRedirect", Remedy::Block, Code::WrongRegion),
    (400, "AuthorizationHeaderMalformed", Remedy::Block, Code::WrongRegion),
    (400, "IllegalLocationConstraintException", Remedy::Block, Code::WrongRegion),
    (404, "NoSuchBucket", Remedy::Block, Code::NoSuchBucket),
    (404, "NoSuchUpload", Remedy::Reopen, Code::NoSuchUpload),
    (404, "NoSuchKey", Remedy::Block, Code::Refused),
    (412, "PreconditionFailed", Remedy::Ask, Code::KeyTaken),
    (409, "ConditionalRequestConflict", Remedy::Retry, Code::ServerError),
    (409, "OperationAborted", Remedy::Retry, Code::ServerError),
    (400, "BadDigest", Remedy::Retry, Code::DamagedInTransit),
    (400, "InvalidDigest", Remedy::Retry, Code::DamagedInTransit),
    (400, "IncompleteBody", Remedy::Retry, Code::DamagedInTransit),
    (400, "XAmzContentSHA256Mismatch", Remedy::Retry, Code::DamagedInTransit),
    (400, "XAmzContentChecksumMismatch", Remedy::Retry, Code::DamagedInTransit),
    (400, "InvalidPart", Remedy::Ask, Code::ServerError),
    (400, "InvalidPartOrder", Remedy::Ask, Code::ServerError),
    (400, "EntityTooSmall", Remedy::Block, Code::Refused),
    (400, "EntityTooLarge", Remedy::Block, Code::SourceTooLarge),
    (413, "EntityTooLarge", Remedy::Block, Code::SourceTooLarge),
    (400, "KeyTooLongError", Remedy::Block, Code::Refused),
    (503, "SlowDown", WAIT, Code::Throttled),
    (503, "SlowDownWrite", WAIT, Code::Throttled),
    (429, "TooManyRequests", WAIT, Code::Throttled),
    (503, "RequestLimitExceeded", WAIT, Code::Throttled),
    (400, "Throttling", WAIT, Code::Throttled),
    (503, "BandwidthLimitExceeded", WAIT, Code::Throttled),
    (503, "ServiceUnavailable", WAIT, Code::ServerError),
    (503, "XMinioServerNotInitialized", WAIT, Code::ServerError),
    (500, "InternalError", Remedy::Retry, Code::ServerError),
    (200, "InternalError", Remedy::Retry, Code::ServerError),
    (400, "RequestTimeout", Remedy::Retry, Code::Stalled),
    (403, "QuotaExceeded", WAIT, Code::VaultFull),
    (507, "StorageFull", WAIT, Code::VaultFull),
    (507, "XMinioStorageFull", WAIT, Code::VaultFull),
    (507, "InsufficientCapacity", WAIT, Code::VaultFull),
    (501, "NotImplemented", Remedy::Block, Code::Refused),
    (403, "InvalidObjectState", Remedy::Block, Code::Refused),
    (405, "MethodNotAllowed", Remedy::Block, Code::Refused),
    (400, "InvalidArgument", Remedy::Block, Code::Refused),
    (400, "KMS.DisabledException", Remedy::Block, Code::Refused),
    (418, "ShortAndStout", Remedy::Block, Code::Refused),
    (500, "ShortAndStout", Remedy::Retry, Code::ServerError),
    (503, "ShortAndStout", WAIT, Code::Throttled),
    (200, "ShortAndStout", Remedy::Retry, Code::BadAnswer),
    (100, "", Remedy::Retry, Code::BadAnswer),
    (204, "", Remedy::Retry, Code::BadAnswer),
    (301, "", Remedy::Block, Code::WrongRegion),
    (302, "", Remedy::Retry, Code::BadAnswer),
    (304, "", Remedy::Retry, Code::BadAnswer),
    (307, "", Remedy::Block, Code::WrongRegion),
    (400, "", Remedy::Block, Code::Refused),
    (401, "", Remedy::Block, Code::BadCredentials),
    (403, "", Remedy::Block, Code::AccessDenied),
    (404, "", Remedy::Block, Code::Refused),
    (405, "", Remedy::Block, Code::Refused),
    (408, "", Remedy::Retry, Code::Stalled),
    (409, "", Remedy::Block, Code::Refused),
    (411, "", Remedy::Block, Code::Refused),
    (412, "", Remedy::Ask, Code::KeyTaken),
    (413, "", Remedy::Block, Code::SourceTooLarge),
    (416, "", Remedy::Block, Code::Refused),
    (425, "", Remedy::Retry, Code::ServerError),
    (429, "", WAIT, Code::Throttled),
    (500, "", Remedy::Retry, Code::ServerError),
    (501, "", Remedy::Block, Code::Refused),
    (502, "", WAIT, Code::ServerError),
    (503, "", WAIT, Code::Throttled),
    (504, "", Remedy::Ask, Code::AnswerLost),
    (505, "", Remedy::Block, Code::Refused),
    (507, "", WAIT, Code::VaultFull),
    (511, "", WAIT, Code::Offline),
    (520, "", Remedy::Ask, Code::AnswerLost),
    (522, "", WAIT, Code::ServerError),
    (524, "", Remedy::Ask, Code::AnswerLost),
    (599, "", Remedy::Retry, Code::ServerError),
    (999, "", Remedy::Retry, Code::BadAnswer),
];

const WAIT: Remedy = Remedy::Wait { retry_after: None };

#[test]
fn every_refusal_has_a_remedy_a_code_and_a_sentence() {
    for (status, word, remedy, code) in TABLE {
        let Refusal { failure, correction } = refusal(&error(*status, word, "the reason"));
        assert_eq!((failure.remedy, failure.code), (*remedy, *code), "{status} {word}");
        assert_eq!(correction, None, "{status} {word}");
        let reason = if word.is_empty() { "" } else { ": the reason" };
        let ending = format!("(the server answered {status}{}{word}{reason})", if word.is_empty() { "" } else { " " });
        let sentence = failure.message.strip_suffix(&ending).unwrap_or_else(|| panic!("{}", failure.message));
        assert!(sentence.split_whitespace().count() >= 4, "{sentence}");
        assert!(!failure.code.advice().is_empty());
    }
}

#[test]
fn the_key_and_the_secret_are_told_apart() {
    let message = |word| refusal(&error(403, word, "")).failure.message;
    assert!(message("InvalidAccessKeyId").contains("access key"));
    assert!(message("SignatureDoesNotMatch").contains("secret"));
}

#[test]
fn a_store_that_does_not_know_who_asks_may_call_that_a_denied_access() {
    let code = |message| refusal(&error(403, "AccessDenied", message)).failure.code;
    assert_eq!(code("Forbidden: No such key: AKIA"), Code::BadCredentials);
    assert_eq!(code("Forbidden: Invalid signature"), Code::BadCredentials);
    assert_eq!(code("Forbidden: Operation is not allowed for this key."), Code::AccessDenied);
}

#[test]
fn only_a_wait_tells_for_how_long() {
    let asked = |status, word| {
        let mut answer = error(status, word, "");
        answer.headers.insert(RETRY_AFTER, HeaderValue::from_static("17"));
        refusal(&answer).failure.remedy
    };
    let wait = Remedy::Wait { retry_after: Some(Duration::from_secs(17)) };
    for (status, word) in [(503, "SlowDown"), (503, ""), (429, ""), (502, ""), (507, ""), (400, "Throttling")] {
        assert_eq!(asked(status, word), wait, "{status} {word}");
    }
    assert_eq!(asked(500, "InternalError"), Remedy::Retry);
}

#[test]
fn a_region_is_learned_from_the_header_the_body_or_the_message() {
    let learned = |answer: &Answer| {
        let Refusal { failure, correction } = refusal(answer);
        assert_eq!(failure.code, Code::WrongRegion);
        assert_eq!(failure.remedy, if correction.is_some() { Remedy::Renew } else { Remedy::Block });
        correction
    };
    let region = |region: &str| Some(Correction::Region(region.to_owned()));
    for (status, word) in [
        (301, "PermanentRedirect"),
        (307, "TemporaryRedirect"),
        (400, "AuthorizationHeaderMalformed"),
        (400, "IllegalLocationConstraintException"),
        (301, ""),
        (307, ""),
        (400, ""),
    ] {
        let answer = with_header(error(status, word, ""), "x-amz-bucket-region", "eu-west-3");
        assert_eq!(learned(&answer), region("eu-west-3"), "{status} {word}");
        let evil = with_header(error(301, word, ""), "x-amz-bucket-region", "evil.example/");
        assert_eq!(learned(&evil), None, "{status} {word}");
    }
    let body =
        "<Error><Code>AuthorizationHeaderMalformed</Code><Message>scope</Message><Region>garage</Region></Error>";
    assert_eq!(learned(&text(400, body)), region("garage"));
    let said = "The authorization header is malformed; the region &apos;us-east-1&apos; is wrong; expecting &apos;eu-west-1&apos;";
    assert_eq!(learned(&error(400, "AuthorizationHeaderMalformed", said)), region("eu-west-1"));
    // A store tells the region with every answer.
    let denied = with_header(error(403, "AccessDenied", ""), "x-amz-bucket-region", "eu-west-3");
    assert_eq!(refusal(&denied).correction, None);
}

#[test]
fn a_clock_is_corrected_by_what_the_store_says_of_both() {
    let skewed = "<Error><Code>RequestTimeTooSkewed</Code><Message>m</Message><RequestTime>20260101T000000Z</RequestTime>\
        <ServerTime>2026-01-01T01:00:00Z</ServerTime></Error>";
    assert_eq!(refusal(&text(403, skewed)).correction, Some(Correction::ClockOffsetMs(3_600_000)));
    let back = skewed.replace("2026-01-01T01", "2025-12-31T23");
    assert_eq!(refusal(&text(403, &back)).correction, Some(Correction::ClockOffsetMs(-3_600_000)));
    let vague = skewed.replace("2026-01-01T01:00:00Z", "tomorrow");
    assert_eq!(refusal(&text(403, &vague)).correction, None);
}

#[test]
fn a_signature_that_is_too_old_is_renewed_whatever_it_is_called() {
    for (status, word, message) in [
        (403, "AccessDenied", "Request has expired"),
        (403, "AccessDenied", "Invalid according to Policy: Expired request."),
        (400, "InvalidRequest", "Bad request: Date is too old"),
    ] {
        let failure = refusal(&error(status, word, message)).failure;
        assert_eq!((failure.remedy, failure.code), (Remedy::Renew, Code::GrantExpired), "{message}");
    }
}

#[test]
fn a_store_that_lacks_a_function_is_asked_without_it() {
    let crc = Checksum::new(Algorithm::Crc32c, vec![7; 4]).unwrap();
    let object = NewObject::default();
    let plain = request::put("k", &object, 1, None, None, &Condition::Always);
    let conditional = request::put("k", &object, 1, None, None, &Condition::Absent);
    let checked = request::put("k", &object, 1, Some(&crc), None, &Condition::Always);
    let both = request::put("k", &object, 1, Some(&crc), None, &Condition::Is("e".to_owned()));
    let announced = request::create("k", &NewObject { algorithm: Some(Algorithm::Crc64Nvme), ..object });
    let not_implemented =
        error(501, "NotImplemented", "A header you provided implies functionality that is not implemented");
    for (request, expected) in [
        (&plain, None),
        (&conditional, Some(Correction::NoCondition)),
        (&checked, Some(Correction::NoChecksum)),
        (&announced, Some(Correction::NoChecksum)),
        (&both, Some(Correction::NoCondition)),
        // It only asks for what there is.
        (&request::head("k"), None),
    ] {
        let answers = [&not_implemented, &text(501, ""), &error(400, "InvalidArgument", "Unsupported header received")];
        for answer in answers {
            let Refusal { failure, correction } = refusal_of(request, answer);
            assert_eq!(failure.remedy, if expected.is_some() { Remedy::Renew } else { Remedy::Block });
            assert_eq!(correction, expected, "{request:?}");
        }
    }
    assert_eq!(refusal_of(&both, &error(400, "InvalidArgument", "m")).correction, None);

    let body = "<Error><Code>NotImplemented</Code><Message>m</Message><Header>If-None-Match</Header></Error>";
    assert_eq!(refusal(&text(501, body)).correction, Some(Correction::NoCondition));
    let said = "Header 'x-amz-checksum-algorithm' with value 'CRC64NVME' not implemented";
    assert_eq!(refusal(&error(501, "NotImplemented", said)).correction, Some(Correction::NoChecksum));
    assert_eq!(refusal_of(&both, &error(501, "NotImplemented", said)).correction, Some(Correction::NoChecksum));
    let said = "Unsupported header 'x-amz-checksum-crc32c' received for this API call.";
    assert_eq!(refusal(&error(400, "InvalidArgument", said)).correction, Some(Correction::NoChecksum));
}

#[test]
fn a_sentence_shows_the_reason_but_nothing_a_terminal_obeys() {
    let failure = refusal(&error(403, "AccessDenied", &format!("no\u{1b}[31m such{}", "x".repeat(5000)))).failure;
    assert!(failure.message.contains("403 AccessDenied: no[31m suchxxx"), "{}", failure.message);
    assert!(failure.message.len() < 500);
    let odd = text(400, &format!("<Error><Code>{}</Code></Error>", "x".repeat(65)));
    assert_eq!(refusal(&odd).failure.message, "the destination refuses this (the server answered 400)");
}

fn with_header(mut answer: Answer, name: &'static str, value: &'static str) -> Answer {
    answer.headers.insert(name, HeaderValue::from_static(value));
    answer
}

fn error(status: u16, code: &str, message: &str) -> Answer {
    match code {
        "" => text(status, ""),
        code => text(
            status,
            &format!(
                "<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code><Message>{message}</Message><RequestId>7</RequestId></Error>"
            ),
        ),
    }
}

fn text(status: u16, body: &str) -> Answer {
    Answer { status, headers: HeaderMap::new(), body: Bytes::copy_from_slice(body.as_bytes()) }
}
