//! Who is let in, and what the others are told.

use landfall_testkit::bucket::{BucketServer, Credential, ExpiredUrl, Operation, Profile, WrongRegion};

use crate::bench::{Ask, Bench, START_MS, hear};

const MINUTE_MS: i64 = 60_000;

#[tokio::test]
async fn what_an_independent_signer_signs_is_right_whatever_the_key_is_called() {
    let bench = Bench::new();
    for key in ["plain", "a folder/b+c", "100%25", "übér/日本.jpg", "tilde~(1)!*'.zip", "a//b", "/lead", "q?x=1&y#z"]
    {
        assert_eq!(bench.put(key, "1").send().await.status, 200, "{key}");
        assert_eq!(bench.server.object(key).unwrap().key, key);
        let heard = bench.get(key).query("response-content-type", "a/b c+d").send().await;
        assert_eq!(heard.text(), "1", "{key}");
        let heard = hear(&bench.server, bench.get(key).presigned(60)).await.unwrap();
        assert_eq!(heard.text(), "1", "{key}");
    }
}

#[tokio::test]
async fn a_bucket_is_named_by_the_path_or_by_the_host() {
    let bench = Bench::new();
    assert_eq!(bench.put("", "1").at("media.localhost:9000", "/folder/key").send().await.status, 200);
    assert_eq!(bench.get("folder/key").send().await.text(), "1");
    assert_eq!(bench.head("").at("media.localhost", "/").send().await.status, 200);
    assert_eq!(bench.head("").at("127.0.0.1:9000", "/media").send().await.status, 200);
    assert_eq!(bench.head("").at("other.localhost", "/").send().await.status, 404);
}

#[tokio::test]
async fn whoever_is_not_known_is_refused_by_what_is_wrong() {
    let bench = Bench::new();
    let unknown = bench.get("a").signed_by(|signer| signer.id = "NOBODY".into()).send().await;
    assert_eq!(unknown.refusal(), (403, "InvalidAccessKeyId".into()));
    let wrong = bench.get("a").signed_by(|signer| signer.secret = "guess".into()).send().await;
    assert_eq!(wrong.refusal(), (403, "SignatureDoesNotMatch".into()));
    let unsigned = http::Request::get("http://localhost/media/a").body(Default::default()).unwrap();
    assert_eq!(hear(&bench.server, unsigned).await.unwrap().refusal(), (403, "AccessDenied".into()));
    bench.server.revoke(&bench.signer.id);
    assert_eq!(bench.get("a").send().await.refusal(), (403, "InvalidAccessKeyId".into()));
}

#[tokio::test]
async fn everything_that_is_signed_and_all_that_is_amazons_must_arrive_as_it_was() {
    let bench = Bench::new();
    let altered = |change: fn(&mut http::Request<_>)| {
        let mut request = bench.put("a", "1").header("x-amz-meta-id", "7").request();
        change(&mut request);
        request
    };
    let refused = |request| async { hear(&bench.server, request).await.unwrap().refusal() };
    let header = |request: &mut http::Request<http_body_util::Full<bytes::Bytes>>, name: &'static str| {
        request.headers_mut().insert(name, http::HeaderValue::from_static("8"));
    };
    assert_eq!(refused(altered(|request| *request.method_mut() = "POST".parse().unwrap())).await.0, 403);
    assert_eq!(
        refused(altered(|request| *request.uri_mut() = "http://localhost:9000/media/b".parse().unwrap())).await.0,
        403
    );
    let mut request = altered(|_| ());
    header(&mut request, "x-amz-meta-id");
    assert_eq!(refused(request).await, (403, "SignatureDoesNotMatch".into()));
    let mut request = altered(|_| ());
    header(&mut request, "x-amz-meta-more");
    assert_eq!(refused(request).await, (403, "AccessDenied".into()));
    let body = altered(|request| *request.body_mut() = bytes::Bytes::from_static(b"2").into());
    assert_eq!(refused(body).await, (400, "XAmzContentSHA256Mismatch".into()));
    assert!(bench.server.objects().is_empty());
}

#[tokio::test]
async fn a_signature_for_another_region_is_told_the_right_one() {
    let bench = Bench::new();
    fn elsewhere(ask: Ask<'_>) -> Ask<'_> {
        ask.signed_by(|signer| signer.region = "us-east-1".into())
    }
    let heard = elsewhere(bench.get("a")).send().await;
    assert_eq!(heard.refusal(), (400, "AuthorizationHeaderMalformed".into()));
    assert_eq!(
        (heard.element("Region"), heard.header("x-amz-bucket-region")),
        ("eu-central-1".into(), "eu-central-1".into())
    );
    let heard = elsewhere(bench.head("")).send().await;
    assert_eq!((heard.status, heard.header("x-amz-bucket-region"), heard.text()), (400, "eu-central-1".into(), ""));
    let url = elsewhere(bench.get("a")).presigned(60);
    let heard = hear(&bench.server, url).await.unwrap();
    assert_eq!(heard.refusal(), (400, "AuthorizationQueryParametersError".into()));

    let profile = |wrong_region| Profile { wrong_region, ..Profile::s3() };
    bench.server.set_profile(profile(WrongRegion::Redirect));
    let heard = elsewhere(bench.get("a")).send().await;
    assert_eq!(heard.refusal(), (301, "PermanentRedirect".into()));
    assert_eq!(heard.header("x-amz-bucket-region"), "eu-central-1");
    bench.server.set_profile(profile(WrongRegion::Accepted));
    assert_eq!(elsewhere(bench.get("a")).send().await.refusal(), (404, "NoSuchKey".into()));
}

#[tokio::test]
async fn a_clock_that_is_a_quarter_of_an_hour_off_is_told_the_time() {
    let bench = Bench::new();
    bench.advance(15 * MINUTE_MS);
    assert_eq!(bench.put("a", "1").send().await.status, 200);
    bench.advance(1);
    let heard = bench.put("a", "1").send().await;
    assert_eq!(heard.refusal(), (403, "RequestTimeTooSkewed".into()));
    assert_eq!(heard.header("date"), "Fri, 24 May 2013 00:15:00 GMT");
    assert_eq!(heard.element("ServerTime"), "2013-05-24T00:15:00.001Z");
    // Whoever gets no body has the date of the answer.
    let heard = bench.head("a").send().await;
    assert_eq!((heard.status, heard.header("date"), heard.text()), (403, "Fri, 24 May 2013 00:15:00 GMT".into(), ""));
    let early = bench.put("a", "1").signed_by(|signer| signer.time = "20130524T003001Z".into()).send().await;
    assert_eq!(early.refusal(), (403, "RequestTimeTooSkewed".into()));
    let set_right = bench.put("a", "1").signed_by(|signer| signer.time = "20130524T001500Z".into()).send().await;
    assert_eq!(set_right.status, 200);
    assert_eq!(bench.server.requests().last().unwrap().signed_at.as_deref(), Some("20130524T001500Z"));
}

#[tokio::test]
async fn a_session_needs_its_token_and_ends() {
    let bench = Bench::new();
    let credential = Credential::new("ASIA", "secret").with_session_token("token").expiring_at(START_MS + MINUTE_MS);
    bench.server.allow(credential);
    let ask = |token: Option<&str>| {
        bench.get("a").signed_by(|signer| {
            (signer.id, signer.secret, signer.token) = ("ASIA".into(), "secret".into(), token.map(str::to_owned));
        })
    };
    assert_eq!(ask(Some("token")).send().await.refusal(), (404, "NoSuchKey".into()));
    let url = hear(&bench.server, ask(Some("token")).presigned(60)).await.unwrap();
    assert_eq!(url.refusal(), (404, "NoSuchKey".into()));
    assert_eq!(ask(Some("stale")).send().await.refusal(), (400, "InvalidToken".into()));
    assert_eq!(ask(None).send().await.refusal(), (403, "InvalidAccessKeyId".into()));
    bench.advance(MINUTE_MS);
    assert_eq!(ask(Some("token")).send().await.refusal(), (400, "ExpiredToken".into()));
    let url = hear(&bench.server, ask(Some("token")).presigned(600)).await.unwrap();
    assert_eq!(url.refusal(), (400, "ExpiredToken".into()));
}

#[tokio::test]
async fn a_signed_url_is_good_for_what_it_was_signed_for_until_it_expires() {
    let bench = Bench::new();
    let put = || bench.put("a", "1").header("content-type", "image/jpeg").presigned(60);
    assert_eq!(hear(&bench.server, put()).await.unwrap().status, 200);
    let mut other = put();
    other.headers_mut().insert("content-type", http::HeaderValue::from_static("text/html"));
    assert_eq!(hear(&bench.server, other).await.unwrap().refusal(), (403, "SignatureDoesNotMatch".into()));
    bench.advance(MINUTE_MS - 1);
    assert_eq!(hear(&bench.server, put()).await.unwrap().status, 200);
    bench.advance(1);
    let heard = hear(&bench.server, put()).await.unwrap();
    assert_eq!(heard.refusal(), (403, "AccessDenied".into()));
    assert_eq!(
        (heard.element("Message"), heard.element("Expires")),
        ("Request has expired".into(), "2013-05-24T00:01:00.000Z".into())
    );
    bench.server.set_profile(Profile { expired_url: ExpiredUrl::InvalidRequest, ..Profile::s3() });
    assert_eq!(hear(&bench.server, put()).await.unwrap().refusal(), (400, "InvalidRequest".into()));
    let bad = bench.get("a").presigned(8 * 24 * 3600);
    assert_eq!(hear(&bench.server, bad).await.unwrap().refusal(), (400, "AuthorizationQueryParametersError".into()));
}

#[tokio::test]
async fn a_key_without_leave_is_refused_below_the_prefix_alone() {
    let bench = Bench::new();
    bench.server.put("sessions/old", "1");
    bench.server.allow(Credential::default().denied(&Operation::WRITES, "sessions/"));
    assert_eq!(bench.head("").send().await.status, 200);
    assert_eq!(bench.put("sessions/new", "1").send().await.refusal(), (403, "AccessDenied".into()));
    assert_eq!(bench.ask("POST", "sessions/new").query("uploads", "").send().await.status, 403);
    assert_eq!(bench.get("sessions/old").send().await.text(), "1");
    assert_eq!(bench.put("else", "1").send().await.status, 200);
    bench.server.allow(Credential::default().denied(&[Operation::ListObjectsV2], ""));
    assert_eq!(bench.head("sessions/missing").send().await.status, 403);
    assert_eq!(bench.head("sessions/old").send().await.status, 200);
    assert_eq!(bench.get("").query("list-type", "2").send().await.refusal(), (403, "AccessDenied".into()));
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_named_missing() {
    let bench = Bench::new();
    let heard = bench.put("", "1").at("localhost", "/nowhere/a").send().await;
    assert_eq!((heard.refusal(), heard.element("BucketName")), ((404, "NoSuchBucket".into()), "nowhere".into()));
    let heard = bench.head("").at("localhost", "/nowhere").send().await;
    assert_eq!((heard.status, heard.text(), heard.header("content-length")), (404, "", String::new()));
    bench.server.remove_bucket(BucketServer::BUCKET);
    assert_eq!(bench.put("a", "1").send().await.refusal(), (404, "NoSuchBucket".into()));
}
