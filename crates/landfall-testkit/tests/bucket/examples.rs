//! The examples that Amazon publishes with its signatures: key, time, headers and signatures are Amazon's.
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>,
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html>

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use landfall_testkit::bucket::{BucketServer, Profile};

use crate::bench::{START_MS, hear};

const DAY_MS: i64 = 24 * 3_600_000;
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

struct Example {
    method: &'static str,
    target: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    signed: &'static str,
    signature: &'static str,
    body: &'static str,
}

impl Example {
    fn request(&self, signature: &str) -> Request<Full<Bytes>> {
        let host = "examplebucket.s3.amazonaws.com";
        let mut request = Request::builder().method(self.method).uri(self.target).header("host", host);
        for (name, value) in &self.headers {
            request = request.header(*name, *value);
        }
        if !self.signed.is_empty() {
            let authorization = format!(
                "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
                 SignedHeaders={},Signature={signature}",
                self.signed
            );
            request = request.header("authorization", authorization).header("x-amz-date", "20130524T000000Z");
        }
        request.body(Full::new(Bytes::from_static(self.body.as_bytes()))).unwrap()
    }
}

/// With the object of the examples in it.
fn server(now_ms: i64) -> BucketServer {
    let profile = Profile { region: "us-east-1".into(), host_name: "s3.amazonaws.com".into(), ..Profile::s3() };
    let server = BucketServer::new(profile, Arc::new(move || now_ms));
    server.add_bucket("examplebucket");
    server
}

#[tokio::test]
async fn amazons_signatures_are_right_and_any_other_is_wrong() {
    let server = server(START_MS);
    let examples = [
        (
            200,
            Example {
                method: "PUT",
                target: "/test%24file.text",
                headers: vec![
                    ("date", "Fri, 24 May 2013 00:00:00 GMT"),
                    ("x-amz-content-sha256", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"),
                    ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
                ],
                signed: "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
                signature: "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
                body: "Welcome to Amazon S3.",
            },
        ),
        (
            404,
            Example {
                method: "GET",
                target: "/test.txt",
                headers: vec![("range", "bytes=0-9"), ("x-amz-content-sha256", EMPTY)],
                signed: "host;range;x-amz-content-sha256;x-amz-date",
                signature: "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
                body: "",
            },
        ),
        (
            501,
            Example {
                method: "GET",
                target: "/?lifecycle",
                headers: vec![("x-amz-content-sha256", EMPTY)],
                signed: "host;x-amz-content-sha256;x-amz-date",
                signature: "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
                body: "",
            },
        ),
        (
            501,
            Example {
                method: "GET",
                target: "/?max-keys=2&prefix=J",
                headers: vec![("x-amz-content-sha256", EMPTY)],
                signed: "host;x-amz-content-sha256;x-amz-date",
                signature: "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
                body: "",
            },
        ),
    ];
    for (status, example) in examples {
        let heard = hear(&server, example.request(example.signature)).await.unwrap();
        assert_eq!(heard.status, status, "{} {}: {}", example.method, example.target, heard.text());
        let forged = example.signature.replace('1', "2");
        let heard = hear(&server, example.request(&forged)).await.unwrap();
        assert_eq!(heard.refusal(), (403, "SignatureDoesNotMatch".into()), "{}", example.target);
    }
    assert_eq!(server.object("test$file.text").unwrap().bytes, "Welcome to Amazon S3.");
}

#[tokio::test]
async fn amazons_signed_url_is_right_for_a_day() {
    let target = "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256\
                  &X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request\
                  &X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
                  &X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
    let example = Example { method: "GET", target, headers: vec![], signed: "", signature: "", body: "" };
    for (later_ms, refusal) in [(DAY_MS - 1, (404, "NoSuchKey")), (DAY_MS, (403, "AccessDenied"))] {
        let heard = hear(&server(START_MS + later_ms), example.request("")).await.unwrap();
        assert_eq!(heard.refusal(), (refusal.0, refusal.1.into()), "{}", heard.text());
    }
}
