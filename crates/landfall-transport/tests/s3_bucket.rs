//! A bucket that is called: what it sends, what it learns from refusals, and what it leaves to the caller.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures_util::{future::BoxFuture, stream};
use http::{HeaderValue, Response, request::Parts};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use landfall_core::{Code, Failure, PartNumber, Remedy, Timestamp};
use landfall_transport::{
    Body, BodyError, Carrier, Loss, empty,
    s3::{Bucket, CallError, Condition, Credentials, NewObject, Place, Request, Style, presign, request, sign},
    vault::Origin,
    whole,
};

/// Status, headers, body.
type Scene = (u16, &'static [(&'static str, &'static str)], &'static str);

const MOVED: Scene = (301, &[("x-amz-bucket-region", "eu-west-3")], "");
const OK: Scene = (200, &[("etag", "\"e\"")], "");

#[tokio::test]
async fn a_bucket_in_another_region_is_found_and_asked_again() {
    let world = World::answering([MOVED, OK]);
    let answer = world.bucket.call(put(), None).await.unwrap();
    assert_eq!(answer.status, 200);
    let [first, second] = &world.sent()[..] else { panic!("two requests") };
    assert_eq!(first.0.uri, "https://media.s3.us-east-1.amazonaws.com/k");
    assert_eq!(second.0.uri, "https://media.s3.eu-west-3.amazonaws.com/k");
    assert_eq!(first.1, second.1);
    assert_ne!(authorization(&first.0), authorization(&second.0));
    assert!(authorization(&second.0).contains("/eu-west-3/s3/"));
    assert_eq!(world.bucket.place().region(), "eu-west-3");
}

#[tokio::test]
async fn what_streams_is_left_to_who_has_its_bytes() {
    let world = World::answering([MOVED, OK]);
    let failure = failed(world.bucket.call(part(), Some(whole("12345"))).await);
    assert_eq!((failure.remedy, failure.code), (Remedy::Renew, Code::WrongRegion));
    let answer = world.bucket.call(part(), Some(whole("12345"))).await.unwrap();
    assert_eq!(answer.status, 200);
    let [_, (second, body)] = &world.sent()[..] else { panic!("two requests") };
    assert_eq!(second.uri.host(), Some("media.s3.eu-west-3.amazonaws.com"));
    assert_eq!((&body[..], second.headers["content-length"].to_str().unwrap()), (&b"12345"[..], "5"));
}

#[tokio::test]
async fn a_head_is_told_the_region_without_a_word() {
    let refused = (400, MOVED.1, "");
    let world = World::answering([refused, OK]);
    assert_eq!(world.bucket.call(request::head_bucket(), None).await.unwrap().status, 200);
    // In the right region it is refused for another reason, which a store does not tell a HEAD.
    let world = World::answering([(400, &[("x-amz-bucket-region", "us-east-1")][..], "")]);
    let failure = failed(world.bucket.call(request::head_bucket(), None).await);
    assert_eq!((failure.remedy, failure.code), (Remedy::Block, Code::Refused));
}

#[tokio::test]
async fn an_endpoint_that_was_given_stays_and_no_redirect_is_followed() {
    let refused = (307, &[("location", "http://elsewhere.example/k"), ("x-amz-bucket-region", "garage")][..], "");
    let place = Place::new(Some(Origin::parse("http://127.0.0.1:3900").unwrap()), "media", "us-east-1", None).unwrap();
    let world = World::at(place, [refused, OK, (307, &[("location", "http://elsewhere.example/k")], "")]);
    world.bucket.call(put(), None).await.unwrap();
    let failure = failed(world.bucket.call(put(), None).await);
    assert_eq!((failure.remedy, failure.code), (Remedy::Block, Code::WrongRegion));
    assert!(world.sent().iter().all(|(head, _)| head.uri == "http://127.0.0.1:3900/media/k"));
}

#[tokio::test]
async fn a_store_that_leads_around_is_not_followed_for_ever() {
    // The region is right, and it is refused all the same.
    let right = (301, &[("x-amz-bucket-region", "us-east-1")][..], "");
    let world = World::answering([right]);
    let failure = failed(world.bucket.call(put(), None).await);
    assert_eq!((failure.remedy, failure.code), (Remedy::Block, Code::WrongRegion));

    let world = World::answering([MOVED, right, MOVED, right, MOVED]);
    let failure = failed(world.bucket.call(put(), None).await);
    assert_eq!((failure.remedy, failure.code), (Remedy::Block, Code::WrongRegion));
    assert_eq!(world.sent().len(), 5);
    // One that is where it says counts from the start.
    let world = World::answering([MOVED, OK, right, OK, MOVED, OK, right, OK, MOVED, OK]);
    for _ in 0..5 {
        world.bucket.call(put(), None).await.unwrap();
    }
}

#[tokio::test]
async fn many_that_were_sent_together_learn_as_one() {
    struct Together(tokio::sync::Barrier);
    impl Carrier for Together {
        fn carry<'a>(&'a self, _: http::Request<Body>) -> BoxFuture<'a, Result<Response<Body>, Loss>> {
            Box::pin(async move {
                self.0.wait().await;
                let mut answer = Response::new(empty());
                *answer.status_mut() = http::StatusCode::MOVED_PERMANENTLY;
                answer.headers_mut().insert("x-amz-bucket-region", HeaderValue::from_static("eu-west-3"));
                Ok(answer)
            })
        }
    }
    let carrier = Arc::new(Together(tokio::sync::Barrier::new(20)));
    let bucket = Bucket::new(carrier, place(), credentials(), Arc::new(|| NOW));
    let calls = (0..20).map(|_| bucket.call(part(), Some(whole("12345"))));
    for result in futures_util::future::join_all(calls).await {
        assert_eq!(failed(result).remedy, Remedy::Renew);
    }
    assert_eq!(bucket.place().region(), "eu-west-3");
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_corrected_and_no_attempt_is_lost() {
    let skewed = (403, &[("date", "Fri, 24 May 2013 01:00:00 GMT")][..], SKEWED);
    let world = World::answering([skewed, OK]);
    assert_eq!(world.bucket.call(put(), None).await.unwrap().status, 200);
    assert_eq!(world.bucket.clock_offset_ms(), 3_600_000);
    let [first, second] = &world.sent()[..] else { panic!("two requests") };
    assert_eq!((date(&first.0), date(&second.0)), ("20130524T000000Z", "20130524T010000Z"));

    let world = World::answering([skewed, OK]);
    let failure = failed(world.bucket.call(part(), Some(whole("12345"))).await);
    assert_eq!((failure.remedy, failure.code), (Remedy::Renew, Code::ClockSkewed));
    world.bucket.call(part(), Some(whole("12345"))).await.unwrap();

    // A HEAD is refused without a word; its date tells.
    let world = World::answering([(403, skewed.1, ""), OK]);
    assert_eq!(world.bucket.call(request::head("k"), None).await.unwrap().status, 200);
    // So is a signed request that several stores call expired.
    let expired = "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>";
    let world = World::answering([(403, skewed.1, expired), OK]);
    assert_eq!(world.bucket.call(put(), None).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_clock_that_agrees_is_not_to_blame() {
    let near = &[("date", "Fri, 24 May 2013 00:04:59 GMT")][..];
    let world = World::answering([(403, near, SKEWED)]);
    let failure = failed(world.bucket.call(put(), None).await);
    assert_eq!((failure.remedy, failure.code), (Remedy::Block, Code::ClockSkewed));
    // Nothing can be learned from a store without a clock, or with one that shows no time at all.
    for headers in [&[][..], &[("date", "Tue, 01 Jan 1980 00:00:00 GMT")]] {
        let world = World::answering([(403, headers, SKEWED)]);
        let failure = failed(world.bucket.call(put(), None).await);
        assert_eq!((failure.remedy, failure.code), (Remedy::Block, Code::ClockSkewed));
        assert_eq!(world.bucket.clock_offset_ms(), 0);
    }
    let world = World::answering([(403, near, "")]);
    assert_eq!(world.bucket.call(request::head("k"), None).await.unwrap().status, 403);
    let denied = "<Error><Code>AccessDenied</Code></Error>";
    let world = World::answering([(403, &[("date", "Fri, 24 May 2013 01:00:00 GMT")][..], denied)]);
    assert_eq!(world.bucket.call(put(), None).await.unwrap().status, 403);
    assert_eq!(world.bucket.clock_offset_ms(), 0);
}

#[tokio::test]
async fn what_was_learned_in_an_earlier_run_is_taken_over() {
    let world = World::answering([OK]);
    world.bucket.correct(Some("eu-west-3".to_owned()), -3_600_000);
    world.bucket.clone().call(put(), None).await.unwrap();
    let [(head, _)] = &world.sent()[..] else { panic!("one request") };
    assert_eq!(head.uri.host(), Some("media.s3.eu-west-3.amazonaws.com"));
    assert_eq!(date(head), "20130523T230000Z");
    world.bucket.correct(Some("no/region".to_owned()), 0);
    assert_eq!((world.bucket.place().region(), world.bucket.clock_offset_ms()), ("eu-west-3", 0));
}

#[tokio::test]
async fn bytes_of_an_object_are_handed_on_and_refusals_read() {
    let world = World::answering([MOVED, (206, &[("content-range", "bytes 2-3/4")], "cd")]);
    let response = world.bucket.stream(request::get("k", 2)).await.unwrap();
    assert_eq!(world.sent()[1].0.headers["range"], "bytes=2-");
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "cd");

    let world = World::answering([(404, &[], "<Error><Code>NoSuchBucket</Code></Error>")]);
    let failure = failed(world.bucket.stream(request::get("k", 0)).await);
    assert_eq!((failure.remedy, failure.code), (Remedy::Block, Code::NoSuchBucket));
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_its_end() {
    let body =
        StreamBody::new(stream::repeat_with(|| Ok::<_, BodyError>(Frame::data(Bytes::from(vec![b'x'; 1 << 16])))));
    let world = World::answering([]);
    world.carrier.answers.lock().unwrap().push_back(Response::new(body.boxed_unsync()));
    let answer = world.bucket.call(put(), None).await.unwrap();
    assert_eq!(answer.body.len(), (2 << 20) + 1);
}

#[tokio::test]
async fn a_lost_answer_and_a_body_that_is_too_long_are_told_apart() {
    let world = World::answering([]);
    let lost = world.bucket.call(put(), None).await.unwrap_err();
    assert!(matches!(lost, CallError::Lost(Loss::NoAnswer(_))));
    let world = World::answering([OK]);
    let lost = world.bucket.call(part(), Some(whole("123456"))).await.unwrap_err();
    assert!(matches!(lost, CallError::Lost(Loss::BodyFailed(_))));
    for (request, body) in [(put(), Some(empty())), (part(), None)] {
        assert_eq!(failed(World::answering([OK]).bucket.call(request, body).await).remedy, Remedy::Block);
    }
    assert_eq!(failed(World::answering([OK]).bucket.stream(part()).await).remedy, Remedy::Block);
}

#[tokio::test]
async fn no_secret_is_printed() {
    let world = World::answering([OK]);
    world.bucket.call(put(), None).await.unwrap();
    let (head, _) = &world.sent()[0];
    assert_eq!(head.headers["x-amz-security-token"], "session-token");
    let presigned = presign(&put(), &place(), &credentials(), NOW, std::time::Duration::from_secs(60)).unwrap();
    let printed = format!("{:?} {head:?} {:?} {presigned:?} {:?}", world.bucket, credentials(), put());
    for secret in ["the-secret", "session-token", "AKID", "X-Amz-Signature", "Signature="] {
        assert!(!printed.contains(secret), "{printed}");
    }
}

#[test]
fn a_request_that_cannot_be_made_is_refused_before_it_is_sent() {
    let refused = |request: &Request| sign(request, &place(), &credentials(), NOW).unwrap_err();
    let long = "ü".repeat(512);
    sign(&request::head(&long), &place(), &credentials(), NOW).unwrap();
    assert!(refused(&request::head(&format!("{long}x"))).message.contains("1024 bytes"));
    assert!(refused(&request::head("")).message.contains("empty"));
    for value in ["two\r\nlines", "Übung"] {
        let object = NewObject { metadata: &[("name", value)], ..NewObject::default() };
        assert_eq!(refused(&request::create("k", &object)).code, Code::Refused, "{value}");
    }
    let object = NewObject { metadata: &[("a b", "c")], ..NewObject::default() };
    assert_eq!(refused(&request::create("k", &object)).code, Code::Refused);
    assert_eq!(refused(&request::list(&"x".repeat(70_000), None, None)).code, Code::Refused);
    let unset = sign(&put(), &place(), &credentials(), Timestamp(0)).unwrap_err();
    assert_eq!((unset.remedy, unset.code), (Remedy::Block, Code::ClockSkewed));
}

#[test]
fn a_url_is_bound_to_its_headers() {
    let crc = landfall_core::Checksum::new(landfall_core::Algorithm::Crc32c, vec![7; 4]).unwrap();
    let request = request::put("k", &NewObject::default(), 5, Some(&crc), None, &Condition::Absent);
    let presigned = presign(&request, &place(), &credentials(), NOW, std::time::Duration::from_secs(60)).unwrap();
    let mut headers = presigned.headers.clone();
    headers.sort();
    let pairs = [("content-length", "5"), ("if-none-match", "*"), ("x-amz-checksum-crc32c", "BwcHBw==")];
    assert_eq!(headers, pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let signed = "X-Amz-SignedHeaders=content-length%3Bhost%3Bif-none-match%3Bx-amz-checksum-crc32c&";
    assert!(presigned.url.contains(signed), "{}", presigned.url);
    assert!(presigned.url.contains("&X-Amz-Security-Token=session-token&X-Amz-Signature="));
    assert!(!presigned.url.to_ascii_lowercase().contains("checksum-crc32c="));
}

#[test]
fn a_key_stands_in_the_url_as_it_was_signed() {
    let origin = || Some(Origin::parse("http://store.test:9000").unwrap());
    let path = Place::new(origin(), "media", "x", None).unwrap();
    let host = Place::new(origin(), "media", "x", Some(Style::VirtualHost)).unwrap();
    let uri = |request: &Request, place| sign(request, place, &credentials(), NOW).unwrap().uri.to_string();
    for (key, expected) in [
        ("a/../b", "a/../b"),
        ("//a//b/", "//a//b/"),
        ("./.", "./."),
        ("a+b c%2Fd", "a%2Bb%20c%252Fd"),
        ("ü?&#;=", "%C3%BC%3F%26%23%3B%3D"),
    ] {
        assert_eq!(uri(&request::head(key), &path), format!("http://store.test:9000/media/{expected}"));
        assert_eq!(uri(&request::head(key), &host), format!("http://media.store.test:9000/{expected}"));
    }
    assert_eq!(uri(&request::create("k", &NewObject::default()), &path), "http://store.test:9000/media/k?uploads");
    assert_eq!(uri(&request::head_bucket(), &path), "http://store.test:9000/media/");
    assert_eq!(uri(&request::head_bucket(), &host), "http://media.store.test:9000/");
}

const NOW: Timestamp = Timestamp(1_369_353_600_000);
const SKEWED: &str = "<Error><Code>RequestTimeTooSkewed</Code><Message>m</Message></Error>";

/// A bucket whose store gives these answers, one after the other.
struct World {
    bucket: Bucket,
    carrier: Arc<Scripted>,
}

#[derive(Default)]
struct Scripted {
    answers: Mutex<VecDeque<Response<Body>>>,
    sent: Mutex<Vec<(Parts, Bytes)>>,
}

impl World {
    fn answering<const N: usize>(answers: [Scene; N]) -> Self {
        Self::at(place(), answers)
    }

    fn at<const N: usize>(place: Place, answers: [Scene; N]) -> Self {
        let carrier = Arc::new(Scripted::default());
        for (status, headers, body) in answers {
            let mut response = Response::new(whole(body));
            *response.status_mut() = status.try_into().unwrap();
            for (name, value) in headers {
                response.headers_mut().insert(*name, HeaderValue::from_static(value));
            }
            carrier.answers.lock().unwrap().push_back(response);
        }
        let bucket = Bucket::new(Arc::clone(&carrier) as Arc<dyn Carrier>, place, credentials(), Arc::new(|| NOW));
        Self { bucket, carrier }
    }

    fn sent(&self) -> Vec<(Parts, Bytes)> {
        self.carrier.sent.lock().unwrap().clone()
    }
}

impl Carrier for Scripted {
    fn carry<'a>(&'a self, request: http::Request<Body>) -> BoxFuture<'a, Result<Response<Body>, Loss>> {
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map_err(Loss::BodyFailed)?.to_bytes();
            self.sent.lock().unwrap().push((head, body));
            let answer = self.answers.lock().unwrap().pop_front();
            answer.ok_or_else(|| Loss::NoAnswer("the script is at its end".to_owned()))
        })
    }
}

fn place() -> Place {
    Place::new(None, "media", "us-east-1", None).unwrap()
}

fn credentials() -> Credentials {
    Credentials::new("AKID", "the-secret", Some("session-token".to_owned())).unwrap()
}

fn put() -> Request {
    request::put_bytes("k", &NewObject::default(), Bytes::from_static(b"bytes"), None, &Condition::Always)
}

fn part() -> Request {
    request::upload_part("k", "id", PartNumber(1), 5, None, None)
}

fn failed<T>(result: Result<T, CallError>) -> Failure {
    match result.map(drop) {
        Err(CallError::Failed(failure)) => failure,
        other => panic!("{other:?}"),
    }
}

fn authorization(head: &Parts) -> &str {
    head.headers["authorization"].to_str().unwrap()
}

fn date(head: &Parts) -> &str {
    head.headers["x-amz-date"].to_str().unwrap()
}
