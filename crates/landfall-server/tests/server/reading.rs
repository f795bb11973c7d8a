use std::time::Duration;

use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use landfall_protocol::{ErrorCode, route};

use crate::world::{Answer, Client, World, content};

/// Reads without a token, with one more header.
async fn read(client: &Client, method: Method, url: &str, header: Option<(&str, &str)>) -> Answer {
    let mut request = Request::builder().method(method).uri(url);
    if let Some((name, value)) = header {
        request = request.header(name, value);
    }
    client.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn a_file_is_downloaded_by_a_signed_url_without_a_token() {
    let world = World::new();
    let client = world.client().await;
    let bytes = content(300_000);
    let file = client.add_file(&bytes, None).await;
    let redirect = client.get(&route::download(file.id)).await;
    assert_eq!(redirect.status, StatusCode::TEMPORARY_REDIRECT);
    let url = redirect.header("location");
    let answer = read(&client, Method::GET, url, None).await;
    assert_eq!((answer.status, answer.header("content-length")), (StatusCode::OK, "300000"));
    assert_eq!(answer.body, bytes);
    let head = read(&client, Method::HEAD, url, None).await;
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (StatusCode::OK, "300000", 0));
    assert_eq!(head.header("etag"), answer.header("etag"));
    let not_modified = read(&client, Method::GET, url, Some(("if-none-match", answer.header("etag")))).await;
    assert_eq!(not_modified.status, StatusCode::NOT_MODIFIED);
    let preview = client.get(&route::preview(file.id)).await;
    assert_eq!(read(&client, Method::GET, preview.header("location"), None).await.body, b"thumbnail"[..]);
    client.get(&route::download(99)).await.refused(404, ErrorCode::NotFound);
    client.get("/files/download/x").await.refused(404, ErrorCode::NotFound);
    world.clock.advance(Duration::from_secs(15 * 60));
    read(&client, Method::GET, url, None).await.refused_xml(403, "AccessDenied");
}

#[tokio::test]
async fn one_range_is_read_across_parts() {
    let world = World::new();
    let client = world.client().await;
    let bytes = content(3 * 4096 + 100);
    let file = client.add_file(&bytes, None).await;
    let url = client.get(&route::download(file.id)).await.header("location").to_owned();
    let etag = read(&client, Method::HEAD, &url, None).await.header("etag").to_owned();
    let size = bytes.len();
    for (start, end) in [(0, 1), (4095, 4097), (4096, 8192), (100, size), (size - 1, size), (0, size)] {
        let range = format!("bytes={start}-{}", end - 1);
        let answer = read(&client, Method::GET, &url, Some(("range", &range))).await;
        assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT);
        assert_eq!(answer.header("content-range"), format!("bytes {start}-{}/{size}", end - 1));
        assert_eq!(answer.header("content-length"), (end - start).to_string());
        assert_eq!(answer.body, bytes[start..end]);
    }
    let last = read(&client, Method::GET, &url, Some(("range", "bytes=-200"))).await;
    assert_eq!(last.body, bytes[size - 200..]);
    let outside = read(&client, Method::GET, &url, Some(("range", "bytes=99999-"))).await;
    outside.refused_xml(416, "InvalidRange");
    assert_eq!(outside.header("content-range"), format!("bytes */{size}"));
    let several = read(&client, Method::GET, &url, Some(("range", "bytes=0-1,5-6"))).await;
    assert_eq!((several.status, several.body.len()), (StatusCode::OK, size));
    for (tag, status) in [(etag.as_str(), StatusCode::PARTIAL_CONTENT), ("\"other\"", StatusCode::OK)] {
        let request = Request::get(&url).header("range", "bytes=0-9").header("if-range", tag);
        assert_eq!(client.send(request.body(Body::empty()).unwrap()).await.status, status);
    }
}

#[tokio::test]
async fn what_is_not_there_or_not_whole_cannot_be_read() {
    let world = World::new();
    let client = world.client().await;
    let file = client.add_file(b"x", None).await;
    let url = client.get(&route::download(file.id)).await.header("location").to_owned();
    let forged = url.replace(&file.file.file.object_key, &file.file.thumbnail.object_key);
    read(&client, Method::GET, &forged, None).await.refused_xml(403, "SignatureDoesNotMatch");
    read(&client, Method::GET, url.split('?').next().unwrap(), None).await.refused_xml(403, "AccessDenied");
    read(&client, Method::GET, "/blobs/1/short?expires=1&signature=x", None).await.refused_xml(404, "NoSuchKey");
    read(&client, Method::GET, "/blobs", None).await.refused(404, ErrorCode::NotFound);
    std::fs::remove_file(
        world.files("blobs").iter().find(|path| path.to_string_lossy().contains(&file.file.file.object_key)).unwrap(),
    )
    .unwrap();
    read(&client, Method::GET, &url, None).await.refused_xml(410, "PartMissing");
    assert_eq!(world.audit().len(), 1, "{:?}", world.audit());
}

#[tokio::test]
async fn an_object_that_lost_a_part_or_an_end_of_one_is_refused_before_the_answer_begins() {
    let world = World::new();
    let client = world.client().await;
    let file = client.add_file(&content(2 * 4096 + 100), None).await;
    let url = client.get(&route::download(file.id)).await.header("location").to_owned();
    let parts: Vec<_> = world
        .files("blobs")
        .into_iter()
        .filter(|path| path.parent().unwrap().ends_with(&file.file.file.object_key))
        .collect();
    assert_eq!(parts.len(), 3);
    let whole: Vec<_> = parts.iter().map(|part| std::fs::read(part).unwrap()).collect();
    for (number, (part, bytes)) in (1..).zip(parts.iter().zip(&whole)) {
        std::fs::remove_file(part).unwrap();
        assert_eq!(read(&client, Method::HEAD, &url, None).await.status, StatusCode::GONE);
        let answer = read(&client, Method::GET, &url, None).await;
        answer.refused_xml(410, "PartMissing");
        assert!(answer.text().contains(&format!("Part {number} of the object is missing")), "{}", answer.text());
        std::fs::write(part, &bytes[1..]).unwrap();
        assert_eq!(read(&client, Method::HEAD, &url, None).await.status, StatusCode::GONE);
        read(&client, Method::GET, &url, None).await.refused_xml(410, "PartDamaged");
        // What is asked for is all that matters.
        for (other, range) in [(1, "bytes=0-4095"), (2, "bytes=4096-8191"), (3, "bytes=8192-")] {
            let answer = read(&client, Method::GET, &url, Some(("range", range))).await;
            assert_eq!(answer.status == StatusCode::PARTIAL_CONTENT, other != number, "{range}");
        }
        std::fs::write(part, bytes).unwrap();
        assert_eq!(read(&client, Method::GET, &url, None).await.body, content(2 * 4096 + 100));
    }
}
