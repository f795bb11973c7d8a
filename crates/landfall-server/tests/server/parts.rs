use std::{sync::atomic::Ordering, time::Duration};

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use landfall_protocol::{PartChecksum, UploadStatus, route};

use crate::world::{Client, World, checksum, content, crc32c, key, put_request};

/// An upload of two parts of 1000 bytes.
async fn two_parts(client: &Client) -> (String, Vec<u8>, UploadStatus) {
    let (key, bytes) = (key(), content(2000));
    let status = client.open(&key, &bytes, 1000).await;
    (key, bytes, status)
}

fn nothing_arrived(world: &World) {
    assert!(world.files("blobs").is_empty() && world.files("incoming").is_empty());
}

#[tokio::test]
async fn a_part_that_arrives_twice_is_stored_once() {
    let world = World::new();
    let client = world.client().await;
    let (_, bytes, status) = two_parts(&client).await;
    let mut modified = Vec::new();
    for _ in 0..2 {
        assert_eq!(client.put(&status.grants[0], bytes[..1000].to_vec()).await.status, StatusCode::OK);
        modified.push(std::fs::metadata(&world.files("blobs")[0]).unwrap().modified().unwrap());
    }
    assert_eq!(modified[0], modified[1]);
    client.put(&status.grants[0], vec![0; 1000]).await.refused_xml(400, "BadDigest");
    assert!(world.files("incoming").is_empty());
}

#[tokio::test]
async fn another_part_in_the_same_place_is_refused() {
    let world = World::new();
    let client = world.client().await;
    let (key, bytes, status) = two_parts(&client).await;
    client.put(&status.grants[0], bytes[..1000].to_vec()).await;
    let other = client.sign(&key, checksum(1, &[7; 1000])).await;
    client.put(&other, vec![7; 1000]).await.refused_xml(409, "PartDiffers");
    assert_eq!(std::fs::read(&world.files("blobs")[0]).unwrap(), bytes[..1000]);
}

#[tokio::test]
async fn a_body_with_another_checksum_leaves_nothing() {
    let world = World::new();
    let client = world.client().await;
    let (_, mut bytes, status) = two_parts(&client).await;
    bytes[500] ^= 1;
    client.put(&status.grants[0], bytes[..1000].to_vec()).await.refused_xml(400, "BadDigest");
    nothing_arrived(&world);
}

#[tokio::test]
async fn a_body_of_another_length_leaves_nothing() {
    let world = World::new();
    let client = world.client().await;
    let (_, bytes, status) = two_parts(&client).await;
    for length in [0, 999, 1001] {
        let body = Body::from(Bytes::from(bytes[..length].to_vec()));
        client.send(put_request(&status.grants[0], 1000, body)).await.refused_xml(400, "IncompleteBody");
    }
    nothing_arrived(&world);
}

#[tokio::test]
async fn a_body_that_breaks_off_leaves_nothing() {
    let world = World::new();
    let client = world.client().await;
    let bytes = content(1 << 20);
    let status = client.open(&key(), &bytes, 1 << 20).await;
    let pieces = vec![Ok(Bytes::from(bytes[..700_000].to_vec())), Err(std::io::Error::other("reset"))];
    let body = Body::from_stream(stream::iter(pieces));
    client.send(put_request(&status.grants[0], 1 << 20, body)).await.refused_xml(400, "IncompleteBody");
    nothing_arrived(&world);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stops_coming_is_given_up() {
    let world = World::new();
    let client = world.client().await;
    let bytes = content(1000);
    let status = client.open(&key(), &bytes, 1000).await;
    let body =
        Body::from_stream(stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"abc"))]).chain(stream::pending()));
    client.send(put_request(&status.grants[0], 1000, body)).await.refused_xml(400, "RequestTimeout");
    nothing_arrived(&world);
}

/// `content` in pieces of the given length, `pause` before each.
fn dripping(content: &[u8], length: usize, pause: Duration) -> Body {
    let pieces = content.chunks(length).map(Bytes::copy_from_slice).collect::<Vec<_>>();
    Body::from_stream(stream::iter(pieces).then(move |piece| async move {
        tokio::time::sleep(pause).await;
        Ok::<_, std::io::Error>(piece)
    }))
}

#[tokio::test(start_paused = true)]
async fn a_body_that_drips_is_given_up() {
    let world = World::new();
    let client = world.client().await;
    let bytes = content(1000);
    let status = client.open(&key(), &bytes, 1000).await;
    let began = tokio::time::Instant::now();
    let body = dripping(&bytes, 1, Duration::from_secs(59));
    client.send(put_request(&status.grants[0], 1000, body)).await.refused_xml(400, "RequestTimeout");
    assert_eq!(began.elapsed().as_secs(), 60);
    nothing_arrived(&world);
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_that_keeps_coming_is_taken() {
    let world = World::new();
    let client = world.client().await;
    let bytes = content(1 << 20);
    let status = client.open(&key(), &bytes, 1 << 20).await;
    let body = dripping(&bytes, 60 << 10, Duration::from_secs(29));
    assert_eq!(client.send(put_request(&status.grants[0], 1 << 20, body)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_client_that_goes_away_in_the_middle_leaves_nothing() {
    for world in [World::new(), World::threaded()] {
        let client = world.client().await;
        let bytes = content(1 << 20);
        let status = client.open(&key(), &bytes, 1 << 20).await;
        let (asked, mut was_asked) = tokio::sync::mpsc::unbounded_channel();
        let first = Bytes::from(bytes[..600_000].to_vec());
        let body = stream::iter([Ok::<_, std::io::Error>(first)]).chain(stream::once(async move {
            // The first piece was written by the time the second is asked for.
            asked.send(()).unwrap();
            std::future::pending().await
        }));
        let request = put_request(&status.grants[0], 1 << 20, Body::from_stream(body));
        let put = {
            let client = client.clone();
            tokio::spawn(async move { client.send(request).await.status })
        };
        was_asked.recv().await.unwrap();
        assert_eq!(world.files("incoming").len(), 1);
        put.abort();
        assert!(put.await.unwrap_err().is_cancelled());
        nothing_arrived(&world);
        assert_eq!(client.put(&status.grants[0], bytes).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_length_or_a_checksum_that_was_not_signed_is_refused() {
    let world = World::new();
    let client = world.client().await;
    let (_, bytes, status) = two_parts(&client).await;
    let grant = &status.grants[0];
    let request = || Request::put(&grant.url);
    let right = route::crc32c_text(crc32c(&bytes[..1000]));
    let body = || Body::from(bytes[..1000].to_vec());
    let missing = Body::from_stream(stream::iter([Ok::<_, std::io::Error>(Bytes::from(bytes[..1000].to_vec()))]));
    let chunked = request().header(route::CRC32C_HEADER, &right).body(missing).unwrap();
    client.send(chunked).await.refused_xml(411, "MissingContentLength");
    let longer = put_request(grant, 1001, body());
    client.send(longer).await.refused_xml(403, "SignatureDoesNotMatch");
    let without = request().header("content-length", 1000).body(body()).unwrap();
    client.send(without).await.refused_xml(400, "BadDigest");
    let other = request().header("content-length", 1000).header(route::CRC32C_HEADER, "00000000").body(body()).unwrap();
    client.send(other).await.refused_xml(400, "BadDigest");
    let known = request().header(route::CRC32C_HEADER, &right).body(body()).unwrap();
    assert_eq!(client.send(known).await.status, StatusCode::OK, "a body that knows its length needs no header");
}

#[tokio::test]
async fn a_url_works_until_it_expires_and_only_as_it_was_signed() {
    let world = World::new();
    let client = world.client().await;
    let (_, bytes, status) = two_parts(&client).await;
    let grant = &status.grants[0];
    for (from, to) in
        [("/1?", "/2?"), ("/blobs/1/", "/blobs/2/"), ("length=1000", "length=1001"), ("signature=", "signature=0")]
    {
        let mut forged = grant.clone();
        forged.url = grant.url.replace(from, to);
        assert_ne!(forged.url, grant.url);
        client.put(&forged, bytes[..1000].to_vec()).await.refused_xml(403, "SignatureDoesNotMatch");
    }
    let mut bare = grant.clone();
    bare.url = grant.url.split('?').next().unwrap().to_owned();
    client.put(&bare, bytes[..1000].to_vec()).await.refused_xml(403, "AccessDenied");
    world.clock.advance(Duration::from_millis(grant.ttl_ms));
    let expired = client.put(grant, bytes[..1000].to_vec()).await;
    expired.refused_xml(403, "AccessDenied");
    assert!(expired.text().contains("Request has expired"));
    nothing_arrived(&world);
    let fresh = client.sign(&status.object_key, checksum(1, &bytes[..1000])).await;
    assert_eq!(client.put(&fresh, bytes[..1000].to_vec()).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_full_disk_is_said_to_be_full_and_the_same_part_goes_through_later() {
    for name in ["bytes", "names"] {
        let world = World::new();
        let client = world.client().await;
        let (_, bytes, status) = two_parts(&client).await;
        let flag = if name == "bytes" { &world.disk.full_for_bytes } else { &world.disk.full_for_names };
        flag.store(true, Ordering::SeqCst);
        client.put(&status.grants[0], bytes[..1000].to_vec()).await.refused_xml(507, "InsufficientStorage");
        nothing_arrived(&world);
        flag.store(false, Ordering::SeqCst);
        assert_eq!(client.put(&status.grants[0], bytes[..1000].to_vec()).await.status, StatusCode::OK, "{name}");
    }
}

#[tokio::test]
async fn a_part_of_an_object_that_is_stored_is_accepted_again() {
    let world = World::new();
    let client = world.client().await;
    let key = key();
    let status = client.open(&key, b"whole", 5).await;
    for _ in 0..2 {
        assert_eq!(client.put(&status.grants[0], &b"whole"[..]).await.status, StatusCode::OK);
    }
    let other = client.sign(&key, PartChecksum { number: 1, length: 5, crc32c: crc32c(b"other") }).await;
    client.put(&other, &b"other"[..]).await.refused_xml(409, "PartDiffers");
}
