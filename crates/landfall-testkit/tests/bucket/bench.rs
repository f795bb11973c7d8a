//! A bucket server and somebody who asks it things.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use landfall_testkit::bucket::{BucketServer, Profile};
use landfall_transport::Loss;
use tower_service::Service as _;

use crate::signer::{Signed, Signer, sha256, target};

/// 24 May 2013, 00:00:00 UTC: the day of Amazon's examples.
pub(crate) const START_MS: i64 = 1_369_353_600_000;
const HOST: &str = "localhost:9000";

pub(crate) struct Bench {
    pub(crate) server: BucketServer,
    pub(crate) signer: Signer,
    now_ms: Arc<AtomicI64>,
}

impl Bench {
    /// S3, with parts of any size.
    pub(crate) fn new() -> Self {
        Self::with(Profile { part_bytes_min: 0, ..Profile::s3() })
    }

    pub(crate) fn with(profile: Profile) -> Self {
        let now_ms = Arc::new(AtomicI64::new(START_MS));
        let clock = Arc::clone(&now_ms);
        let signer = Signer {
            id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            token: None,
            region: profile.region.clone(),
            time: "20130524T000000Z".into(),
        };
        let server = BucketServer::new(profile, Arc::new(move || clock.load(Ordering::Relaxed)));
        Self { server, signer, now_ms }
    }

    /// The server's clock goes on.
    pub(crate) fn advance(&self, ms: i64) {
        self.now_ms.fetch_add(ms, Ordering::Relaxed);
    }

    pub(crate) fn put(&self, key: &str, body: impl Into<Bytes>) -> Ask<'_> {
        self.ask("PUT", key).body(body)
    }

    pub(crate) fn get(&self, key: &str) -> Ask<'_> {
        self.ask("GET", key)
    }

    pub(crate) fn head(&self, key: &str) -> Ask<'_> {
        self.ask("HEAD", key)
    }

    /// A request for a key of the bucket; the empty one is the bucket itself.
    pub(crate) fn ask(&self, method: &'static str, key: &str) -> Ask<'_> {
        Ask {
            bench: self,
            method,
            host: HOST.into(),
            path: format!("/media/{key}"),
            query: Vec::new(),
            headers: Vec::new(),
            body: Bytes::new(),
            signer: self.signer.clone(),
        }
    }

    /// Opens an upload in parts.
    pub(crate) async fn open(&self, key: &str, headers: &[(&str, &str)]) -> String {
        let ask = headers.iter().fold(self.ask("POST", key), |ask, (name, value)| ask.header(name, value));
        let heard = ask.query("uploads", "").send().await;
        assert_eq!(heard.status, 200, "{}", heard.text());
        heard.element("UploadId")
    }

    pub(crate) fn part(&self, key: &str, id: &str, number: u32, body: impl Into<Bytes>) -> Ask<'_> {
        self.put(key, body).query("partNumber", &number.to_string()).query("uploadId", id)
    }

    /// Completes an upload with parts, each its number, its ETag and more elements.
    pub(crate) fn complete(&self, key: &str, id: &str, parts: &[(u32, String, String)]) -> Ask<'_> {
        let parts = parts.iter().map(|(number, etag, more)| {
            let etag = etag.replace('"', "&quot;");
            format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag>{more}</Part>")
        });
        let body = format!("<CompleteMultipartUpload>{}</CompleteMultipartUpload>", parts.collect::<String>());
        self.ask("POST", key).query("uploadId", id).body(body)
    }

    /// Sends parts and returns what completes the upload.
    pub(crate) async fn send(&self, key: &str, id: &str, bodies: &[&[u8]]) -> Vec<(u32, String, String)> {
        let mut parts = Vec::new();
        for (number, body) in (1..).zip(bodies) {
            let heard = self.part(key, id, number, body.to_vec()).send().await;
            assert_eq!(heard.status, 200, "{}", heard.text());
            parts.push((number, heard.header("etag"), String::new()));
        }
        parts
    }
}

/// A request that is being made.
pub(crate) struct Ask<'a> {
    bench: &'a Bench,
    method: &'static str,
    host: String,
    path: String,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    body: Bytes,
    signer: Signer,
}

impl Ask<'_> {
    pub(crate) fn query(mut self, name: &str, value: &str) -> Self {
        self.query.push((name.into(), value.into()));
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(crate) fn body(self, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..self }
    }

    /// In another place than the bucket of the bench.
    pub(crate) fn at(self, host: &str, path: &str) -> Self {
        Self { host: host.into(), path: path.into(), ..self }
    }

    /// At another host.
    pub(crate) fn host(self, host: &str) -> Self {
        Self { host: host.into(), ..self }
    }

    pub(crate) fn signed_by(mut self, change: impl FnOnce(&mut Signer)) -> Self {
        change(&mut self.signer);
        self
    }

    /// Signed in its headers.
    pub(crate) fn request(self) -> Request<Full<Bytes>> {
        let uri = format!("http://{}{}", self.host, target(&self.path, &self.query));
        let signature = self.signer.headers(Signed {
            method: self.method,
            host: &self.host,
            path: &self.path,
            query: self.query,
            headers: self.headers.clone(),
            payload: sha256(&self.body),
        });
        assemble(self.method, &uri, self.headers.into_iter().chain(signature), self.body)
    }

    /// Signed in its URL.
    pub(crate) fn presigned(self, seconds: u64) -> Request<Full<Bytes>> {
        let url = self.signer.url(
            Signed {
                method: self.method,
                host: &self.host,
                path: &self.path,
                query: self.query,
                headers: self.headers.clone(),
                payload: String::new(),
            },
            seconds,
        );
        assemble(self.method, &format!("http://{}{url}", self.host), self.headers.into_iter(), self.body)
    }

    pub(crate) async fn send(self) -> Heard {
        self.attempt().await.unwrap()
    }

    /// Fails if the answer, or a part of it, is lost.
    pub(crate) async fn attempt(self) -> Result<Heard, Loss> {
        let bench = self.bench;
        hear(&bench.server, self.request()).await
    }
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Heard {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> String {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default().into()
    }

    /// The text of the first element of this name, or nothing.
    pub(crate) fn element(&self, name: &str) -> String {
        self.elements(name).into_iter().next().unwrap_or_default()
    }

    /// The texts of all elements of this name.
    pub(crate) fn elements(&self, name: &str) -> Vec<String> {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        let texts = self.text().split(&open).skip(1).filter_map(|rest| Some(rest.split_once(&close)?.0));
        texts.map(|text| text.replace("&quot;", "\"").replace("&amp;", "&")).collect()
    }

    /// Status and code.
    pub(crate) fn refusal(&self) -> (u16, String) {
        (self.status, self.element("Code"))
    }
}

pub(crate) async fn hear(server: &BucketServer, request: Request<Full<Bytes>>) -> Result<Heard, Loss> {
    let response = server.clone().call(request).await?;
    let (head, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok(Heard { status: head.status.as_u16(), headers: head.headers, body })
}

fn assemble(
    method: &str,
    uri: &str,
    headers: impl Iterator<Item = (String, String)>,
    body: Bytes,
) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(uri);
    headers.fold(request, |request, (name, value)| request.header(name, value)).body(Full::new(body)).unwrap()
}
