//! Objects in one piece.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::StreamBody;
use landfall_testkit::bucket::{IfNoneMatch, Operation, Profile};
use tower_service::Service as _;

use crate::bench::{Bench, hear};

#[tokio::test]
async fn what_is_put_comes_back_with_what_was_said_of_it() {
    let bench = Bench::new();
    let put = bench.put("a.jpg", "123456789").header("content-type", "image/jpeg").header("x-amz-meta-id", "7");
    let heard = put.header("x-amz-acl", "private").send().await;
    assert_eq!((heard.status, heard.header("etag")), (200, "\"25f9e794323b453885f5181f1b624d0b\"".into()));
    for (ask, body) in [(bench.get("a.jpg"), "123456789"), (bench.head("a.jpg"), "")] {
        let heard = ask.send().await;
        assert_eq!((heard.status, heard.text()), (200, body));
        for (name, value) in [
            ("content-length", "9"),
            ("content-type", "image/jpeg"),
            ("x-amz-meta-id", "7"),
            ("last-modified", "Fri, 24 May 2013 00:00:00 GMT"),
            ("etag", "\"25f9e794323b453885f5181f1b624d0b\""),
            ("x-amz-acl", ""),
        ] {
            assert_eq!(heard.header(name), value, "{name}");
        }
    }
    bench.put("b", "").header("x-amz-meta-name", "übér").send().await;
    assert_eq!(bench.get("b").send().await.headers["x-amz-meta-name"].as_bytes(), "übér".as_bytes());
    let object = bench.server.object("a.jpg").unwrap();
    assert_eq!((&object.bytes[..], object.headers["x-amz-meta-id"].as_str()), (&b"123456789"[..], "7"));
}

#[tokio::test]
async fn a_range_is_a_part_of_it() {
    let bench = Bench::new();
    bench.server.put("a", "123456789");
    for (range, status, content_range, body) in [
        ("bytes=2-4", 206, "bytes 2-4/9", "345"),
        ("bytes=7-", 206, "bytes 7-8/9", "89"),
        ("bytes=7-99", 206, "bytes 7-8/9", "89"),
        ("bytes=-2", 206, "bytes 7-8/9", "89"),
        ("bytes=-99", 206, "bytes 0-8/9", "123456789"),
        ("bytes=0-1,3-4", 200, "", "123456789"),
        ("lines=1-2", 200, "", "123456789"),
    ] {
        let heard = bench.get("a").header("range", range).send().await;
        assert_eq!((heard.status, heard.header("content-range").as_str(), heard.text()), (status, content_range, body));
    }
    let heard = bench.get("a").header("range", "bytes=9-").send().await;
    assert_eq!((heard.refusal(), heard.header("content-range")), ((416, "InvalidRange".into()), "bytes */9".into()));
}

#[tokio::test]
async fn what_is_missing_is_told_also_without_a_body() {
    let bench = Bench::new();
    assert_eq!(bench.get("a").send().await.refusal(), (404, "NoSuchKey".into()));
    let heard = bench.head("a").send().await;
    assert_eq!((heard.status, heard.text()), (404, ""));
    assert_eq!(bench.ask("DELETE", "a").send().await.status, 204);
    bench.server.put("a", "1");
    assert_eq!(bench.ask("DELETE", "a").send().await.status, 204);
    assert_eq!(bench.head("a").send().await.status, 404);
}

#[tokio::test]
async fn an_object_is_created_only_where_there_is_none() {
    let bench = Bench::new();
    let create = |body| bench.put("a", body).header("if-none-match", "*");
    assert_eq!(create("1").send().await.status, 200);
    let heard = create("2").send().await;
    assert_eq!(
        (heard.refusal(), heard.element("Condition")),
        ((412, "PreconditionFailed".into()), "If-None-Match".into())
    );
    assert_eq!(bench.server.object("a").unwrap().bytes, "1");
    assert_eq!(bench.put("a", "3").send().await.status, 200);
    for (obedience, refusal, stored) in [
        (IfNoneMatch::Conflict, (409, "ConditionalRequestConflict"), "3"),
        (IfNoneMatch::NotImplemented, (501, "NotImplemented"), "3"),
        (IfNoneMatch::Ignored, (200, ""), "4"),
    ] {
        bench.server.set_profile(Profile { put_if_none_match: obedience, ..Profile::s3() });
        let heard = create("4").send().await;
        assert_eq!(heard.refusal(), (refusal.0, refusal.1.into()), "{obedience:?}");
        assert_eq!(bench.server.object("a").unwrap().bytes, stored, "{obedience:?}");
    }
}

#[tokio::test]
async fn conditions_of_reading_are_looked_at() {
    let bench = Bench::new();
    bench.server.put("a", "1");
    let etag = bench.head("a").send().await.header("etag");
    assert_eq!(bench.get("a").header("if-match", &etag).send().await.text(), "1");
    assert_eq!(bench.get("a").header("if-match", "\"0\"").send().await.refusal(), (412, "PreconditionFailed".into()));
    let heard = bench.get("a").header("if-none-match", &etag).send().await;
    assert_eq!((heard.status, heard.text()), (304, ""));
}

#[tokio::test]
async fn a_body_of_another_length_or_of_none_that_is_told_is_refused() {
    let bench = Bench::new();
    let mut request = bench.put("a", "123").request();
    request.headers_mut().insert("content-length", http::HeaderValue::from_static("4"));
    assert_eq!(hear(&bench.server, request).await.unwrap().refusal(), (400, "IncompleteBody".into()));
    let (head, _) = bench.put("a", "123").request().into_parts();
    let frame = Ok::<_, Infallible>(Frame::data(Bytes::from("123")));
    let request = http::Request::from_parts(head, StreamBody::new(stream::iter([frame])));
    let response = bench.server.clone().call(request).await.unwrap();
    assert_eq!(response.status(), 411);
    assert!(bench.server.objects().is_empty());
}

#[tokio::test]
async fn what_is_not_known_here_is_said_to_be_not_implemented() {
    let bench = Bench::new();
    for ask in [
        bench.ask("PUT", "a").query("tagging", ""),
        bench.put("a", "1").header("x-amz-copy-source", "media/b"),
        bench.put("a", "1").header("if-none-match", "\"5\""),
        bench.get("").query("location", ""),
        bench.get("a").query("partNumber", "1"),
    ] {
        assert_eq!(ask.send().await.refusal(), (501, "NotImplemented".into()));
    }
    assert_eq!(bench.put(&"k".repeat(1025), "1").send().await.refusal(), (400, "KeyTooLongError".into()));
    assert_eq!(bench.server.requests_for(Operation::Other).len(), 4);
}
