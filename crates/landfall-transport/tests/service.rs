//! A router in this process as a destination.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{fmt, future, sync::Arc};

use axum::{
    Router,
    body::Bytes as Posted,
    extract::Request as Asked,
    http::HeaderMap,
    response::Redirect,
    routing::{get, post, put},
};
use bytes::Bytes;
use futures_util::stream;
use http::{Method, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use landfall_core::{Code, Remedy};
use landfall_protocol::{Grant, JSON_BYTES_MAX, PartChecksum, route};
use landfall_transport::{
    Body, BodyError, Carrier, Loss, ServiceCarrier, empty,
    vault::{CallError, Origin, Request, RequestBody, Target, Token, Vault, answer, request},
    whole,
};

#[tokio::test]
async fn a_part_goes_in_and_its_checksum_comes_back_without_the_token_going_along() {
    let router = Router::new().route(
        "/blob/1",
        put(|headers: HeaderMap, body: Posted| async move {
            assert!(!headers.contains_key(route::TOKEN_HEADER));
            assert_eq!(headers["content-length"], "9");
            assert_eq!(headers["x-amz-meta-x"], "y");
            assert_eq!(body, "nine byte");
            [("etag", format!("\"{}\"", headers[route::CRC32C_HEADER].to_str().unwrap()))]
        }),
    );
    let part = PartChecksum { number: 1, length: 9, crc32c: 0xab };
    let headers = vec![("X-Amz-Meta-X".to_owned(), "y".to_owned()), ("Content-Length".to_owned(), "9".to_owned())];
    let grant = Grant { number: 1, url: "/blob/1?sig=s".into(), headers, ttl_ms: 1 };
    let answer = vault(router).call(request::put_part(&grant, &part).unwrap(), Some(whole("nine byte"))).await.unwrap();
    answer::part_stored(&answer, &part).unwrap();
}

#[tokio::test]
async fn requests_of_our_own_carry_the_token_and_json() {
    let router = Router::new().route(
        route::FILES,
        post(|headers: HeaderMap, body: Posted| async move {
            assert_eq!(headers[route::TOKEN_HEADER], "secret");
            assert_eq!(headers["content-type"], "application/json");
            body
        }),
    );
    let answer = vault(router).call(request::register(Bytes::from_static(b"{ \"frozen\": 1}")), None).await.unwrap();
    assert_eq!((answer.status, &answer.body[..]), (200, &b"{ \"frozen\": 1}"[..]));
}

#[tokio::test]
async fn a_body_that_fails_comes_back_as_it_was() {
    let router = Router::new().route("/", put(|_: Posted| async { "never" }));
    let frames = stream::iter([Ok(Frame::data(Bytes::from_static(b"some"))), Err(BodyError::from(OwnError(7)))]);
    let error = vault(router).call(stream_of(100), Some(StreamBody::new(frames).boxed_unsync())).await.unwrap_err();
    let error = error.into_failure().unwrap_err();
    assert_eq!(error.downcast_ref::<OwnError>().unwrap().0, 7);
}

#[tokio::test]
async fn a_body_of_another_length_than_promised_fails() {
    let router = Router::new().route("/", put(|_: Posted| async { "never" }));
    for length in [3, 5] {
        let error = vault(router.clone()).call(stream_of(length), Some(whole("four"))).await.unwrap_err();
        assert!(matches!(error, CallError::Lost(Loss::BodyFailed(_))), "{error}");
    }
}

#[tokio::test]
async fn an_answers_body_that_fails_is_no_answer() {
    let half = || async {
        let frames = [Ok(Bytes::from_static(b"half")), Err(OwnError(1))];
        axum::body::Body::from_stream(stream::iter(frames))
    };
    let router = Router::new().route(route::ACCOUNT, get(half));
    let error = vault(router).call(request::account(), None).await.unwrap_err();
    assert!(matches!(error, CallError::Lost(Loss::NoAnswer(_))), "{error}");
}

#[tokio::test]
async fn a_service_that_fails_has_lost_its_answer_and_may_say_how() {
    let failing = |error: fn() -> BodyError| {
        ServiceCarrier::new(tower::service_fn(move |_| future::ready(Err::<http::Response<Body>, _>(error()))))
    };
    let ask = || http::Request::get(Origin::in_process().path("/").unwrap()).body(empty()).unwrap();
    let lost = failing(|| Box::new(OwnError(7))).carry(ask()).await.map(drop).unwrap_err();
    assert!(matches!(&lost, Loss::NoAnswer(why) if why == "own error 7"), "{lost}");
    let lost = failing(|| Box::new(Loss::Stalled)).carry(ask()).await.map(drop).unwrap_err();
    assert!(matches!(lost, Loss::Stalled), "{lost}");
}

#[tokio::test]
async fn another_origin_is_not_reached() {
    let carrier = ServiceCarrier::new(Router::new());
    let request = http::Request::get("http://elsewhere.invalid/").body(empty()).unwrap();
    assert!(matches!(carrier.carry(request).await, Err(Loss::NotSent(_))));
}

#[tokio::test]
async fn an_endless_answer_is_not_read_to_its_end() {
    let router = Router::new().route(
        route::ACCOUNT,
        get(|| async {
            let chunk = Bytes::from(vec![b' '; 1 << 20]);
            axum::body::Body::from_stream(stream::repeat_with(move || Ok::<_, OwnError>(chunk.clone())))
        }),
    );
    let answer = vault(router).call(request::account(), None).await.unwrap();
    assert_eq!(answer.body.len(), JSON_BYTES_MAX + 1);
    assert_eq!(answer::account(&answer).unwrap_err().code, Code::BadAnswer);
}

#[tokio::test]
async fn a_download_follows_one_redirect_with_the_range_and_without_the_token() {
    let router =
        Router::new().route("/files/download/4", get(|| async { Redirect::temporary("/blob/4?sig=s") })).route(
            "/blob/4",
            get(|asked: Asked| async move {
                assert!(!asked.headers().contains_key(route::TOKEN_HEADER));
                assert_eq!(asked.uri().query(), Some("sig=s"));
                assert_eq!(asked.headers()["range"], "bytes=6-");
                (StatusCode::PARTIAL_CONTENT, [("content-range", "bytes 6-10/11")], "world")
            }),
        );
    let response = vault(router).stream(request::download(4).from_byte(6)).await.unwrap();
    let fetched = answer::fetched(response.status().as_u16(), response.headers(), 6).unwrap();
    assert_eq!((fetched.start, fetched.size), (6, Some(11)));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "world");
}

#[tokio::test]
async fn a_second_redirect_and_one_to_elsewhere_are_refused() {
    let around = Router::new().route("/files/preview/4", get(|| async { Redirect::temporary("/files/preview/4") }));
    let error = vault(around).stream(request::preview(4)).await.unwrap_err().into_failure().unwrap();
    assert_eq!((error.remedy, error.code), (Remedy::Retry, Code::BadAnswer));

    let router = || async { Redirect::temporary("http://192.168.0.1/reboot") };
    let away = Router::new().route("/files/preview/4", get(router));
    let error = vault(away).stream(request::preview(4)).await.unwrap_err();
    assert!(matches!(error, CallError::Failed(failure) if failure.code == Code::BadAnswer));
}

#[tokio::test]
async fn a_refused_download_is_classified_with_its_body() {
    let refuse = || async { (StatusCode::FORBIDDEN, "<Error><Code>AccessDenied</Code></Error>") };
    let router = Router::new().route("/blob/4", get(refuse));
    let error = vault(router).stream(request::fetch("/blob/4?sig=old", None)).await.unwrap_err();
    assert_eq!(error.into_failure().unwrap().remedy, Remedy::Renew);
}

#[tokio::test]
async fn a_request_and_its_body_must_belong_together() {
    let vault = vault(Router::new());
    assert!(matches!(vault.call(stream_of(1), None).await, Err(CallError::Failed(_))));
    assert!(matches!(vault.call(request::account(), Some(empty())).await, Err(CallError::Failed(_))));
}

#[test]
fn nothing_secret_is_printed() {
    let vault = vault(Router::new());
    let fetch = request::fetch("/blob/4?sig=secret", None);
    let prepared = vault.prepare(request::account(), None).unwrap();
    for text in [format!("{vault:?}"), format!("{fetch:?}"), format!("{prepared:?}"), format!("{:?}", token())] {
        assert!(!text.contains("secret"), "{text}");
    }
}

fn vault(router: Router) -> Vault {
    Vault::new(Arc::new(ServiceCarrier::new(router)), Origin::in_process(), token())
}

fn token() -> Token {
    Token::new(" secret\n").unwrap()
}

fn stream_of(length: u64) -> Request {
    Request {
        method: Method::PUT,
        target: Target::Path("/".into()),
        headers: Vec::new(),
        body: RequestBody::Stream { length },
    }
}

#[derive(Debug)]
struct OwnError(u32);

impl fmt::Display for OwnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "own error {}", self.0)
    }
}

impl std::error::Error for OwnError {}

const _: fn() = || {
    fn sent<T: Send>() {}
    sent::<Body>();
    sent::<Vault>();
};
