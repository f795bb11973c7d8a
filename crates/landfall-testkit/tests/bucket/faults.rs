//! Each fault strikes where the script says, and does what it says.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

use http_body_util::BodyExt as _;
use landfall_testkit::bucket::{Answer, Fault, Gate, On, Operation, Outcome};
use landfall_transport::{Carrier as _, Loss, ServiceCarrier, whole};

use crate::bench::{Bench, Heard};

fn lost(result: Result<Heard, Loss>) -> bool {
    matches!(result, Err(Loss::NoAnswer(_)))
}

/// Goes on with something for as long as it can by itself.
fn goes_on<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn rules_count_what_they_are_about_and_the_first_that_strikes_decides() {
    let bench = Bench::new();
    let answer = |status| Fault::Answer(Answer::empty(status));
    bench.server.script(On::nth(Operation::PutObject, 2), answer(502));
    bench.server.script(On::nth(Operation::PutObject, 1).key("b"), answer(503));
    bench.server.script(On::first_of(Operation::PutObject, 3), answer(504));
    let put = async |key: &str| bench.put(key, "1").send().await.status;
    assert_eq!([put("a").await, put("b").await, put("b").await, put("b").await], [504, 502, 504, 200]);
    bench.server.script(On::every(Operation::GetObject), answer(500));
    assert_eq!([bench.get("a").send().await.status, bench.get("b").send().await.status], [500, 500]);
    bench.server.clear_script();
    bench.server.script(On::nth_of_all(2), answer(429));
    assert_eq!([bench.get("b").send().await.status, put("b").await, put("b").await], [200, 429, 200]);
    bench.server.script(On::all(), answer(503));
    assert_eq!([bench.get("b").send().await.status, put("b").await], [503, 503]);
}

#[tokio::test]
async fn a_rule_may_be_about_one_part() {
    let bench = Bench::new();
    bench.server.script(On::nth(Operation::UploadPart, 2).part(3), Fault::EffectThenLoseAnswer);
    let id = bench.open("a", &[]).await;
    for (number, is_lost) in [(3, false), (2, false), (3, true), (3, false)] {
        assert_eq!(lost(bench.part("a", &id, number, "1").attempt().await), is_lost);
    }
}

#[tokio::test]
async fn an_answer_that_is_scripted_has_no_effect_and_says_what_the_script_says() {
    let bench = Bench::new();
    let busy = Answer::error(503, "SlowDown")
        .with_header("retry-after", "7")
        .with_header("date", "Thu, 01 Jan 1970 00:00:00 GMT");
    bench.server.script(On::first(Operation::PutObject), Fault::Answer(busy));
    let heard = bench.put("a", "1").send().await;
    assert_eq!((heard.refusal(), heard.header("retry-after")), ((503, "SlowDown".into()), "7".into()));
    assert_eq!(heard.headers.get_all("date").iter().count(), 1);
    assert_eq!(heard.header("date"), "Thu, 01 Jan 1970 00:00:00 GMT");
    let page = Answer::empty(502).with_header("content-type", "text/html").with_body("<html>");
    bench.server.script(On::first(Operation::PutObject), Fault::Answer(page));
    let heard = bench.put("a", "1").send().await;
    assert_eq!((heard.status, heard.text(), heard.header("content-type")), (502, "<html>", "text/html".into()));
    bench.server.script(On::first(Operation::HeadObject), Fault::Answer(Answer::error(503, "SlowDown")));
    let heard = bench.head("a").send().await;
    assert_eq!((heard.status, heard.text()), (503, ""));
    assert!(bench.server.objects().is_empty());
    let seen = &bench.server.requests()[0];
    assert_eq!((seen.status(), seen.code(), seen.body_bytes), (Some(503), Some("SlowDown"), 1));
}

#[tokio::test]
async fn what_succeeds_may_look_like_a_failure_and_what_fails_like_a_success() {
    let bench = Bench::new();
    let id = bench.open("a", &[]).await;
    let parts = bench.send("a", &id, &[b"1"]).await;
    let complete = || bench.complete("a", &id, &parts).send();
    bench
        .server
        .script(On::first(Operation::CompleteMultipartUpload), Fault::ErrorInOk { code: "InternalError".into() });
    assert_eq!(complete().await.refusal(), (200, "InternalError".into()));
    assert!(bench.server.objects().is_empty());
    let error = Answer::error(200, "InternalError");
    bench.server.script(On::first(Operation::CompleteMultipartUpload), Fault::EffectThenAnswer(error));
    assert_eq!(complete().await.refusal(), (200, "InternalError".into()));
    assert_eq!(bench.server.objects().len(), 1);
    bench.server.script(On::first(Operation::PutObject), Fault::EffectThenAnswer(Answer::error(500, "InternalError")));
    assert_eq!(bench.put("b", "1").send().await.refusal(), (500, "InternalError".into()));
    assert_eq!(bench.server.object("b").unwrap().bytes, "1");
}

#[tokio::test]
async fn a_lost_answer_is_lost_after_the_effect_and_a_lost_request_before_it() {
    let bench = Bench::new();
    bench.server.script(On::first(Operation::PutObject), Fault::EffectThenLoseAnswer);
    bench.server.script(On::nth(Operation::PutObject, 2), Fault::LoseRequest);
    bench.server.script(On::nth(Operation::PutObject, 3), Fault::CutRequestAfter(2));
    assert!(lost(bench.put("a", "1").attempt().await));
    assert_eq!(bench.server.object("a").unwrap().bytes, "1");
    assert!(lost(bench.put("a", "22").attempt().await));
    assert!(lost(bench.put("a", "333").attempt().await));
    assert_eq!(bench.server.object("a").unwrap().bytes, "1");
    let seen: Vec<_> = bench.server.requests().into_iter().map(|seen| (seen.outcome, seen.body_bytes)).collect();
    assert_eq!(seen, [(Outcome::Lost, 1), (Outcome::Lost, 0), (Outcome::Lost, 2)]);
    assert_eq!(bench.server.bytes_received(Operation::PutObject), 3);
}

#[tokio::test]
async fn a_carrier_within_the_process_hears_of_what_was_lost() {
    let bench = Bench::new();
    bench.server.put("a", "123456789");
    bench.server.script(On::first(Operation::GetObject), Fault::EffectThenLoseAnswer);
    bench.server.script(On::nth(Operation::GetObject, 2), Fault::CutBodyAfter(4));
    let carrier = ServiceCarrier::new(bench.server.clone());
    let ask = || bench.get("").at("vault.invalid", "/media/a").request().map(|_| whole(""));
    assert!(matches!(carrier.carry(ask()).await, Err(Loss::NoAnswer(_))));
    let mut body = carrier.carry(ask()).await.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "1234");
    assert!(matches!(Loss::of_answer(body.frame().await.unwrap().unwrap_err()), Loss::NoAnswer(_)));
    bench.server.script(On::first(Operation::GetObject), Fault::CutBodyAfter(9));
    let body = carrier.carry(ask()).await.unwrap().into_body();
    assert_eq!(body.collect().await.unwrap().to_bytes(), "123456789");
}

#[tokio::test]
async fn a_stall_lasts_until_nobody_waits_any_more() {
    let bench = Bench::new();
    bench.server.script(On::first(Operation::PutObject), Fault::StallRequestAfter(0));
    bench.server.script(On::nth(Operation::PutObject, 2), Fault::StallRequestAfter(2));
    for taken in [0, 2] {
        let mut stalled = Box::pin(bench.put("a", "123").attempt());
        assert!(goes_on(stalled.as_mut()).is_pending());
        bench.server.until(|state| state.requests().last().unwrap().body_bytes == taken).await;
        assert_eq!(bench.server.requests().last().unwrap().outcome, Outcome::UnderWay);
        drop(stalled);
        assert_eq!(bench.server.requests().last().unwrap().outcome, Outcome::Lost);
    }
    assert!(bench.server.objects().is_empty());

    bench.server.put("a", "123456789");
    bench.server.script(On::first(Operation::GetObject), Fault::StallBodyAfter(4));
    let mut stalled = pin!(bench.get("a").attempt());
    assert!(goes_on(stalled.as_mut()).is_pending());
    assert_eq!(bench.server.requests().last().unwrap().status(), Some(200));
}

#[tokio::test]
async fn a_gate_holds_a_request_before_its_effect_or_its_answer_after_it() {
    let bench = Bench::new();
    let (before, after) = (Gate::new(), Gate::new());
    bench.server.script(On::first(Operation::PutObject), Fault::HoldRequest(before.clone()));
    bench.server.script(On::nth(Operation::PutObject, 2), Fault::HoldAnswer(after.clone()));
    let mut first = pin!(bench.put("a", "1").send());
    let mut second = pin!(bench.put("b", "2").send());
    assert!(goes_on(first.as_mut()).is_pending() && goes_on(second.as_mut()).is_pending());
    assert!(bench.server.object("a").is_none() && bench.server.object("b").is_some());
    let stored = bench.server.until(|state| state.object("a").is_some());
    before.open();
    assert_eq!(first.await.status, 200);
    stored.await;
    assert!(goes_on(second.as_mut()).is_pending());
    after.open();
    assert_eq!(second.await.status, 200);
}

#[tokio::test]
async fn damage_on_the_way_is_noticed_by_whoever_looks() {
    let bench = Bench::new();
    bench.server.script(On::first_of(Operation::PutObject, 2), Fault::Damage);
    assert_eq!(bench.put("a", "123").send().await.refusal(), (400, "XAmzContentSHA256Mismatch".into()));
    let put = bench.put("a", "123456789").header("x-amz-checksum-crc32c", "4waSgw==").presigned(60);
    let heard = crate::bench::hear(&bench.server, put).await.unwrap();
    assert_eq!(heard.refusal(), (400, "BadDigest".into()));
    assert!(bench.server.objects().is_empty());
    bench.server.put("a", "123");
    bench.server.script(On::first(Operation::GetObject), Fault::Damage);
    assert_eq!(bench.get("a").send().await.text(), "133");
    assert_eq!(bench.get("a").send().await.text(), "123");
}

#[tokio::test]
async fn two_runs_of_one_course_are_the_same() {
    let course = async || {
        let bench = Bench::new();
        let id = bench.open("a", &[]).await;
        let parts = bench.send("a", &id, &[b"1", b"2"]).await;
        let heard = bench.complete("a", &id, &parts).send().await;
        format!("{id} {parts:?} {heard:?} {:?}", bench.server.objects())
    };
    assert_eq!(course().await, course().await);
}
