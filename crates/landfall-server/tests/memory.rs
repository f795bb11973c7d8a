//! Alone in its process, because it measures it.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use axum::{body::Body, http::Request};
use http_body_util::BodyExt as _;
use landfall_env::Env;
use landfall_protocol::route;
use landfall_server::{Server, ServerConfig};
use tower::ServiceExt as _;

#[tokio::test]
async fn thousands_of_small_requests_do_not_grow_memory() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::open(ServerConfig::new(folder.path()), Env::real()).await.unwrap();
    let token = server.embedded_token(None).await.unwrap();
    let router = server.router();
    let round = async |count: usize| {
        for _ in 0..count {
            for path in [route::ACCOUNT, "/vault/diff?since=0", "/vault/uploads/none", "/blobs/1/none"] {
                let request = Request::get(path).header(route::TOKEN_HEADER, token.as_str()).body(Body::empty());
                let response = router.clone().oneshot(request.unwrap()).await.unwrap();
                response.into_body().collect().await.unwrap();
            }
        }
    };
    round(500).await;
    let before = resident_bytes();
    round(2000).await;
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 2 << 20, "8000 requests kept {grown} bytes");
}

#[tokio::test]
async fn a_large_part_or_attachment_passes_through_little_memory() {
    const LENGTH: usize = 256 << 20;
    let folder = tempfile::tempdir().unwrap();
    let server = Server::open(ServerConfig::new(folder.path()), Env::real()).await.unwrap();
    let token = server.embedded_token(None).await.unwrap();
    let piece = bytes::Bytes::from(vec![7; 1 << 16]);
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    (0..LENGTH / piece.len()).for_each(|_| digest.update(&piece));
    let crc32c = digest.finalize() as u32;
    let open = landfall_protocol::NewUpload {
        object_key: "a".repeat(32),
        size: LENGTH as u64,
        part_size: LENGTH as u64,
        sign: vec![landfall_protocol::PartChecksum { number: 1, length: LENGTH as u64, crc32c }],
    };
    let answer = async |request: Request<Body>| {
        let response = server.router().oneshot(request).await.unwrap();
        response.into_body().collect().await.unwrap().to_bytes()
    };
    let request = Request::post(route::UPLOADS).header(route::TOKEN_HEADER, token.as_str());
    let status = answer(request.body(Body::from(serde_json::to_vec(&open).unwrap())).unwrap()).await;
    let part = serde_json::from_slice::<landfall_protocol::UploadStatus>(&status).unwrap().grants.remove(0);
    let request = Request::get(route::presigned("image/jpeg", "", None)).header(route::TOKEN_HEADER, token.as_str());
    let attachment = answer(request.body(Body::empty()).unwrap()).await;
    let attachment: landfall_protocol::PresignedUpload = serde_json::from_slice(&attachment).unwrap();
    for (url, headers) in [(part.url, part.headers), (attachment.upload_url, attachment.headers)] {
        let before = resident_bytes();
        let pieces = std::iter::repeat_n(piece.clone(), LENGTH >> 16).map(Ok::<_, std::io::Error>);
        let mut request = Request::put(&url).header("content-length", LENGTH);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(Body::from_stream(futures_util::stream::iter(pieces))).unwrap();
        assert_eq!(server.router().oneshot(request).await.unwrap().status(), 200);
        let grown = resident_bytes().saturating_sub(before);
        assert!(grown < 8 << 20, "256 MiB took {grown} bytes");
    }
}

fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
