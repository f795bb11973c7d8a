//! The table of refusals: what a status and a word mean, what to do, and what a person is told.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header::RETRY_AFTER};
use landfall_core::{Code, Failure, Remedy};
use landfall_transport::{
    Loss,
    vault::{loss, refusal},
};

const TABLE: &str = include_str!("refusals.txt");

#[test]
fn every_refusal_has_a_remedy_and_an_advice() {
    let rows: Vec<&str> = TABLE.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(rows.len() >= 40);
    for row in rows {
        let mut words = row.split_whitespace();
        let status = words.next().unwrap();
        let said = words.next().unwrap();
        let failure = refusal(status.parse().unwrap(), &HeaderMap::new(), body(said).as_bytes());
        let advice = failure.code.advice();
        let actual =
            format!("{status:<4} {said:<34} {:<13} {:<19} {advice}", remedy(failure.remedy), failure.code.as_str());
        assert_eq!(actual, row);
        assert!(failure.message.contains(status), "{}", failure.message);
    }
}

#[test]
fn only_a_wait_tells_for_how_long() {
    let mut headers = HeaderMap::new();
    headers.insert(RETRY_AFTER, HeaderValue::from_static("17"));
    let wait = Remedy::Wait { retry_after: Some(Duration::from_secs(17)) };
    for status in [429, 502, 503, 507] {
        assert_eq!(refusal(status, &headers, b"").remedy, wait);
    }
    assert_eq!(refusal(503, &headers, body("SlowDown").as_bytes()).remedy, wait);
    assert_eq!(refusal(500, &headers, b"").remedy, Remedy::Retry);
    assert_eq!(refusal(401, &headers, b"").remedy, Remedy::LogIn);
}

#[test]
fn a_sentence_shows_the_servers_reason_but_nothing_a_terminal_obeys() {
    let text = format!(r#"{{"status":400,"code":"invalid","detail":"no\u001b[31m such{}"}}"#, "x".repeat(5000));
    let failure = refusal(400, &HeaderMap::new(), text.as_bytes());
    assert!(failure.message.starts_with("the server answered 400: no[31m suchxxx"), "{}", failure.message);
    let text = "<Error><Code>AccessDenied</Code><Message>Request has\u{1b}[31m expired</Message></Error>";
    let failure = refusal(403, &HeaderMap::new(), text.as_bytes());
    assert_eq!(failure.message, "the server answered 403 AccessDenied: Request has[31m expired");
    assert!(failure.message.len() < 400);
}

#[test]
fn a_word_counts_although_the_rest_of_the_problem_cannot_be_read() {
    let text = br#"{"status":"?","code":"storage-full","winner":{"from":"tomorrow"}}"#;
    assert_eq!(refusal(500, &HeaderMap::new(), text).code, Code::VaultFull);
}

#[test]
fn a_long_body_has_no_say() {
    let mut text = body("SlowDown").into_bytes();
    text.resize(9 << 20, b' ');
    assert_eq!(refusal(400, &HeaderMap::new(), &text).code, Code::Refused);
}

#[test]
fn what_an_absent_answer_means() {
    let wait = Remedy::Wait { retry_after: None };
    let said = |loss_of: Loss| (loss(&loss_of).remedy, loss(&loss_of).code);
    assert_eq!(said(Loss::NotSent("connection refused".into())), (wait, Code::Offline));
    assert_eq!(said(Loss::NoAnswer("connection reset".into())), (Remedy::Ask, Code::AnswerLost));
    assert_eq!(said(Loss::Stalled), (Remedy::Ask, Code::Stalled));
    assert_eq!(said(Loss::BodyFailed("disk on fire".into())), (Remedy::Retry, Code::SourceUnreadable));
    let own = Failure::new(Remedy::NewRevision, Code::SourceChanged, "the file changed while it was sent");
    assert_eq!(loss(&Loss::BodyFailed(Box::new(own.clone()))), own);
}

fn body(said: &str) -> String {
    match said.chars().next().unwrap() {
        '-' => String::new(),
        first if first.is_lowercase() => format!(r#"{{"status":0,"code":"{said}","detail":"the reason"}}"#),
        _ => format!(
            "<?xml version=\"1.0\"?>\n<Error><Code>{said}</Code><Message>the reason</Message><RequestId>7</RequestId></Error>"
        ),
    }
}

fn remedy(remedy: Remedy) -> &'static str {
    match remedy {
        Remedy::Wait { .. } => "wait",
        Remedy::Ask => "ask",
        Remedy::Renew => "renew",
        Remedy::Reopen => "reopen",
        Remedy::Retry => "retry",
        Remedy::NewRevision => "new-revision",
        Remedy::LogIn => "log-in",
        Remedy::Block => "block",
    }
}
