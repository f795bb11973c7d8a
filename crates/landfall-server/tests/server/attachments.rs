use std::{sync::atomic::Ordering, time::Duration};

use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, future::join_all, stream};
use landfall_protocol::{
    ErrorCode, PresignedUpload, RENEW_MAX, RenewAssets, Renewal, RenewedAsset, RenewedAssets, route,
};
use landfall_server::Maintenance;
use md5::Md5;
use sha2::{Digest as _, Sha256};

use crate::world::{Answer, Client, World, asset_request, content, key};

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn nothing_arrived(world: &World) {
    assert!(world.files("assets").is_empty() && world.files("incoming").is_empty());
}

fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Without a token.
async fn read(client: &Client, method: Method, url: &str, header: Option<(&str, &str)>) -> Answer {
    let mut request = Request::builder().method(method).uri(url);
    if let Some((name, value)) = header {
        request = request.header(name, value);
    }
    client.send(request.body(Body::empty()).unwrap()).await
}

async fn renew(client: &Client, keys: &[&str]) -> Vec<Renewal> {
    let request = RenewAssets { asset_keys: keys.iter().map(|key| (*key).to_owned()).collect() };
    let renewed: RenewedAssets = client.post(route::RENEW, &request).await.json();
    let is_asked_for = |(asset, key): (&RenewedAsset, &&str)| asset.asset_key == **key;
    assert!(renewed.assets.iter().zip(keys).all(is_asked_for));
    renewed.assets.iter().map(|asset| asset.renewal).collect()
}

#[tokio::test]
async fn an_attachment_is_put_once_and_read_by_everybody_who_knows_its_url() {
    let world = World::new();
    let client = world.client().await;
    let bytes = content(300_000);
    let asked = client.get(&route::presigned("image/jpeg", "Grüße & mehr.jpg", None)).await;
    assert_eq!(asked.header("cache-control"), "no-store");
    let grant: PresignedUpload = asked.json();
    assert_eq!(grant.method, "PUT");
    assert_eq!(grant.headers, [("content-type".to_owned(), "image/jpeg".to_owned())]);
    assert_eq!((grant.ttl_ms, grant.asset_ttl_ms), (60 * 60 * 1000, 30 * 24 * 60 * 60 * 1000));
    assert_eq!(grant.expires_at_ms, 1_700_000_000_000 + 60 * 60 * 1000);
    assert_eq!(grant.asset_url, format!("/assets/{}", grant.object_key));
    read(&client, Method::GET, &grant.asset_url, None).await.refused_xml(404, "NoSuchKey");

    let put = client.put_asset(&grant, bytes.clone()).await;
    assert_eq!((put.status, put.header("etag")), (StatusCode::OK, format!("\"{}\"", sha256_hex(&bytes)).as_str()));
    let answer = read(&client, Method::GET, &grant.asset_url, None).await;
    assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, &bytes[..]));
    for (name, value) in [
        ("etag", put.header("etag")),
        ("content-length", "300000"),
        ("content-type", "image/jpeg"),
        ("cache-control", "public, max-age=31536000, immutable"),
        ("content-disposition", "attachment"),
        ("x-content-type-options", "nosniff"),
        ("accept-ranges", "bytes"),
    ] {
        assert_eq!(answer.header(name), value, "{name}");
    }
    let head = read(&client, Method::HEAD, &grant.asset_url, None).await;
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (StatusCode::OK, "300000", 0));
    let same = read(&client, Method::GET, &grant.asset_url, Some(("if-none-match", put.header("etag")))).await;
    assert_eq!((same.status, same.header("cache-control")), (StatusCode::NOT_MODIFIED, answer.header("cache-control")));
    let range = read(&client, Method::GET, &grant.asset_url, Some(("range", "bytes=99999-200000"))).await;
    assert_eq!(range.status, StatusCode::PARTIAL_CONTENT);
    assert_eq!(range.body, bytes[99_999..=200_000]);
    assert_eq!(range.header("content-range"), "bytes 99999-200000/300000");
    let outside = read(&client, Method::GET, &grant.asset_url, Some(("range", "bytes=300000-"))).await;
    outside.refused_xml(416, "InvalidRange");
    assert_eq!(outside.header("cache-control"), "no-store");
    assert_eq!(world.audit(), Vec::<String>::new());
}

#[tokio::test]
async fn every_leave_is_for_an_object_of_its_own() {
    let world = World::new();
    let client = world.client().await;
    let (one, two) = (client.presign().await, client.presign().await);
    assert_ne!(one.object_key, two.object_key);
    client.put_asset(&one, &b"one"[..]).await;
    client.put_asset(&two, &b"two"[..]).await;
    assert_eq!(client.asset(&one).await.body, b"one"[..]);
    assert_eq!(client.asset(&two).await.body, b"two"[..]);
    let odd: PresignedUpload = client.get(&route::presigned("text/plain; charset=\"utf-8\"", "", Some(3))).await.json();
    assert_eq!(client.put_asset(&odd, &b"odd"[..]).await.status, StatusCode::OK);
    assert_eq!(client.asset(&odd).await.header("content-type"), "text/plain; charset=\"utf-8\"");
}

#[tokio::test]
async fn leave_for_what_would_not_be_taken_is_not_given() {
    let world = World::new();
    let client = world.client().await;
    let (long, most) = ("x".repeat(1025), 64_u64 << 30);
    for (content_type, filename, length) in [
        ("", "a", None),
        ("image", "a", None),
        ("image/jpeg\r\n", "a", None),
        ("a/b", long.as_str(), None),
        ("a/b", "a", Some(0)),
    ] {
        let answer = client.get(&route::presigned(content_type, filename, length)).await;
        answer.refused(400, ErrorCode::Invalid);
    }
    client.get(&route::presigned("a/b", "a", Some(most + 1))).await.refused(413, ErrorCode::TooLarge);
    client.get(&route::presigned("a/b", "a", Some(most))).await.json::<PresignedUpload>();
    client.get(route::PRESIGNED).await.refused(400, ErrorCode::Invalid);
    client.get(&format!("{}?contentType=a/b&contentLength=x", route::PRESIGNED)).await.refused(400, ErrorCode::Invalid);
    client.get(&format!("{}?contentType=a/b", route::PRESIGNED)).await.json::<PresignedUpload>();
    let nobody = Client { token: "nonsense".into(), ..client };
    nobody.get(&route::presigned("a/b", "a", None)).await.refused(401, ErrorCode::Unauthorized);
}

#[tokio::test]
async fn a_token_is_taken_under_the_name_that_chat_clients_send_it() {
    let world = World::new();
    let client = world.client().await;
    let url = route::presigned("image/jpeg", "a", None);
    let ask = async |token: &str| {
        let request = Request::get(&url).header("X-Convos-AuthToken", token).body(Body::empty()).unwrap();
        client.send(request).await
    };
    ask(&client.token).await.json::<PresignedUpload>();
    ask("nonsense").await.refused(401, ErrorCode::Unauthorized);
}

#[tokio::test]
async fn an_account_that_asks_for_too_many_is_told_to_come_back() {
    let world = World::new();
    let server = world.open_with(|config| config.asset_grants_per_minute_max = 3).await;
    let ada = Client::with_token(&server, server.account_add("ada").await.unwrap().token.as_str());
    let eve = Client::with_token(&server, server.account_add("eve").await.unwrap().token.as_str());
    for _ in 0..3 {
        ada.presign().await;
    }
    let answer = ada.get(&route::presigned("image/jpeg", "a", None)).await;
    answer.refused(429, ErrorCode::Throttled);
    assert!(!answer.header("retry-after").is_empty());
    eve.presign().await;
    world.clock.advance(Duration::from_secs(60));
    ada.presign().await;
}

#[tokio::test]
async fn leave_works_until_it_expires_and_only_as_it_was_signed() {
    let world = World::new();
    let client = world.client().await;
    let bytes = content(1000);
    let grant: PresignedUpload = client.get(&route::presigned("image/jpeg", "a", Some(1000))).await.json();
    let other = client.presign().await;
    for (from, to) in [
        (grant.object_key.as_str(), other.object_key.as_str()),
        ("length=1000", "length=1001"),
        ("length=1000&", ""),
        ("signature=", "signature=0"),
        ("expires=17", "expires=18"),
    ] {
        let forged = PresignedUpload { upload_url: grant.upload_url.replace(from, to), ..grant.clone() };
        assert_ne!(forged.upload_url, grant.upload_url);
        client.put_asset(&forged, bytes.clone()).await.refused_xml(403, "SignatureDoesNotMatch");
    }
    let body = || Body::from(bytes.clone());
    client.send(asset_request(&grant, 1001, body())).await.refused_xml(403, "SignatureDoesNotMatch");
    let another_type = PresignedUpload { headers: vec![("content-type".into(), "text/html".into())], ..grant.clone() };
    client.put_asset(&another_type, bytes.clone()).await.refused_xml(403, "SignatureDoesNotMatch");
    let no_type = PresignedUpload { headers: Vec::new(), ..grant.clone() };
    client.put_asset(&no_type, bytes.clone()).await.refused_xml(403, "SignatureDoesNotMatch");
    let bare = PresignedUpload { upload_url: grant.asset_url.clone(), ..grant.clone() };
    client.put_asset(&bare, bytes.clone()).await.refused_xml(403, "AccessDenied");
    world.clock.advance(HOUR);
    let expired = client.put_asset(&grant, bytes.clone()).await;
    expired.refused_xml(403, "AccessDenied");
    assert!(expired.text().contains("Request has expired"));
    nothing_arrived(&world);
    let fresh = client.presign().await;
    assert_eq!(client.put_asset(&fresh, bytes).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_body_that_is_not_what_was_said_leaves_nothing() {
    let world = World::new();
    let server = world.open_with(|config| config.object_bytes_max = 5000).await;
    let client = Client::embedded(&server).await;
    let (grant, bytes) = (client.presign().await, content(1000));
    for length in [0, 999, 1001] {
        let body = Body::from(content(length));
        client.send(asset_request(&grant, 1000, body)).await.refused_xml(400, "IncompleteBody");
    }
    let broken = vec![Ok(Bytes::from(bytes[..700].to_vec())), Err(std::io::Error::other("reset"))];
    let broken = Body::from_stream(stream::iter(broken));
    client.send(asset_request(&grant, 1000, broken)).await.refused_xml(400, "IncompleteBody");
    let unknown = Body::from_stream(stream::iter([Ok::<_, std::io::Error>(Bytes::from(bytes.clone()))]));
    let chunked = Request::put(&grant.upload_url).header("content-type", "image/jpeg").body(unknown).unwrap();
    client.send(chunked).await.refused_xml(411, "MissingContentLength");
    client.put_asset(&grant, &b""[..]).await.refused_xml(400, "InvalidRequest");
    client.put_asset(&grant, content(5001)).await.refused_xml(413, "EntityTooLarge");
    nothing_arrived(&world);
    assert_eq!(client.put_asset(&grant, bytes).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_checksum_that_comes_along_is_checked() {
    let world = World::new();
    let client = world.client().await;
    let (grant, bytes) = (client.presign().await, content(1000));
    let with = async |name: &str, value: &str| {
        let headers = [grant.headers.clone(), vec![(name.to_owned(), value.to_owned())]].concat();
        client.put_asset(&PresignedUpload { headers, ..grant.clone() }, bytes.clone()).await
    };
    with("content-md5", &STANDARD.encode([7; 16])).await.refused_xml(400, "BadDigest");
    with("x-amz-checksum-sha256", &STANDARD.encode([7; 32])).await.refused_xml(400, "BadDigest");
    with("x-amz-checksum-sha256", "nonsense").await.refused_xml(400, "InvalidDigest");
    with("x-amz-checksum-sha256", &STANDARD.encode([7; 31])).await.refused_xml(400, "InvalidDigest");
    nothing_arrived(&world);
    for (name, digest) in
        [("content-md5", Md5::digest(&bytes).to_vec()), ("x-amz-checksum-sha256", Sha256::digest(&bytes).to_vec())]
    {
        assert_eq!(with(name, &STANDARD.encode(digest)).await.status, StatusCode::OK, "{name}");
    }
}

#[tokio::test]
async fn the_same_bytes_again_change_nothing_and_others_replace_them() {
    let world = World::new();
    let client = world.client().await;
    let grant = client.presign().await;
    let modified = || std::fs::metadata(&world.files("assets")[0]).unwrap().modified().unwrap();
    client.put_asset(&grant, &b"first"[..]).await;
    let before = modified();
    assert_eq!(client.put_asset(&grant, &b"first"[..]).await.status, StatusCode::OK);
    assert_eq!((modified(), world.files("assets").len()), (before, 1));
    assert!(world.files("incoming").is_empty());

    let old = read(&client, Method::HEAD, &grant.asset_url, None).await.header("etag").to_owned();
    assert_eq!(client.put_asset(&grant, &b"second"[..]).await.status, StatusCode::OK);
    let answer = read(&client, Method::GET, &grant.asset_url, Some(("if-none-match", &old))).await;
    assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, &b"second"[..]));
    assert_eq!(world.files("assets").len(), 1, "nothing is left of what was replaced");
    assert_eq!(world.audit(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_an_attachment_is_replaced_one_or_the_other_is_read() {
    let world = World::threaded();
    let (one, two) = (world.client().await, world.client().await);
    let grant = one.presign().await;
    let versions = [vec![1; 300_000], vec![2; 400_000]];
    one.put_asset(&grant, versions[0].clone()).await;
    let writes = async {
        for round in 0..20 {
            let client = if round % 4 < 2 { &one } else { &two };
            let answer = client.put_asset(&grant, versions[(round + 1) % 2].clone()).await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        }
    };
    let reads = async {
        for round in 0..100 {
            let client = if round % 2 == 0 { &one } else { &two };
            let answer = client.asset(&grant).await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
            assert!(versions.contains(&answer.body.to_vec()));
            assert_eq!(answer.header("etag"), format!("\"{}\"", sha256_hex(&answer.body)));
        }
    };
    futures_util::future::join(writes, reads).await;
    assert_eq!(world.files("assets").len(), 1);
    assert_eq!(world.audit(), Vec::<String>::new());
}

#[tokio::test]
async fn an_attachment_that_is_replaced_between_its_row_and_its_file_is_read_as_it_is_now() {
    let world = World::new();
    let (reader, writer) = (world.client().await, world.client().await);
    let grant = reader.presign().await;
    reader.put_asset(&grant, &b"first"[..]).await;
    let replaced = grant.clone();
    *world.disk.before_open.lock().unwrap() = Some(Box::new(move |_| {
        let put = writer.put_asset(&replaced, &b"second"[..]).now_or_never();
        assert_eq!(put.unwrap().status, StatusCode::OK);
    }));
    assert_eq!(reader.asset(&grant).await.body, b"second"[..]);
    assert_eq!(world.files("assets").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_body_that_comes_twice_at_once_is_one_object() {
    let world = World::threaded();
    let clients = [world.client().await, world.client().await];
    let (grant, bytes) = (clients[0].presign().await, content(200_000));
    let puts = (0..8).map(|index| clients[index % 2].put_asset(&grant, bytes.clone()));
    for answer in join_all(puts).await {
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    }
    assert_eq!((world.files("assets").len(), world.files("incoming").len()), (1, 0));
    assert_eq!(clients[1].asset(&grant).await.body, bytes);
    assert_eq!(world.audit(), Vec::<String>::new());
}

#[tokio::test]
async fn a_client_that_goes_away_in_the_middle_of_an_attachment_leaves_nothing() {
    let world = World::threaded();
    let client = world.client().await;
    let (grant, bytes) = (client.presign().await, content(1 << 20));
    let (asked, mut was_asked) = tokio::sync::mpsc::unbounded_channel();
    let first = Bytes::from(bytes[..600_000].to_vec());
    let body = stream::iter([Ok::<_, std::io::Error>(first)]).chain(stream::once(async move {
        asked.send(()).unwrap();
        std::future::pending().await
    }));
    let request = asset_request(&grant, 1 << 20, Body::from_stream(body));
    let put = tokio::spawn({
        let client = client.clone();
        async move { client.send(request).await.status }
    });
    was_asked.recv().await.unwrap();
    assert_eq!(world.files("incoming").len(), 1);
    put.abort();
    assert!(put.await.unwrap_err().is_cancelled());
    nothing_arrived(&world);
    assert_eq!(client.put_asset(&grant, bytes).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_full_disk_is_said_to_be_full_and_the_same_attachment_goes_through_later() {
    for name in ["bytes", "names"] {
        let world = World::new();
        let client = world.client().await;
        let grant = client.presign().await;
        let flag = if name == "bytes" { &world.disk.full_for_bytes } else { &world.disk.full_for_names };
        flag.store(true, Ordering::SeqCst);
        client.put_asset(&grant, content(1000)).await.refused_xml(507, "InsufficientStorage");
        nothing_arrived(&world);
        flag.store(false, Ordering::SeqCst);
        assert_eq!(client.put_asset(&grant, content(1000)).await.status, StatusCode::OK, "{name}");
    }
}

#[tokio::test]
async fn an_attachment_is_gone_when_its_time_is_over_and_forgotten_later() {
    let world = World::new();
    let server = world.open().await;
    let client = Client::embedded(&server).await;
    let (grant, unused) = (client.presign().await, client.presign().await);
    client.put_asset(&grant, &b"bytes"[..]).await;
    world.clock.advance(30 * DAY - HOUR);
    assert_eq!(client.asset(&grant).await.status, StatusCode::OK);
    assert_eq!(server.maintain().await.unwrap().assets_expired, 0);
    world.clock.advance(HOUR);
    let gone = async |when: &str| {
        let answer = client.asset(&grant).await;
        answer.refused_xml(410, "NoSuchKey");
        assert_eq!(answer.header("cache-control"), "no-store", "{when}");
        assert_eq!(renew(&client, &[&grant.object_key]).await, [Renewal::Expired], "{when}");
    };
    gone("before anybody has removed it").await;
    let done = server.maintain().await.unwrap();
    assert_eq!((done.assets_expired, done.objects_removed), (1, 1));
    gone("after it was removed").await;
    assert!(world.files("assets").is_empty());
    assert_eq!(server.maintain().await.unwrap(), Maintenance::default());
    client.asset(&unused).await.refused_xml(404, "NoSuchKey");
    world.clock.advance(90 * DAY);
    assert_eq!(server.maintain().await.unwrap(), Maintenance::default());
    client.asset(&grant).await.refused_xml(404, "NoSuchKey");
    assert_eq!(renew(&client, &[&grant.object_key]).await, [Renewal::NotFound]);
    let database = rusqlite::Connection::open(world.vault().join("server.db")).unwrap();
    assert_eq!(database.query_row("SELECT count(*) FROM asset", [], |row| row.get::<_, u32>(0)).unwrap(), 0);
    assert_eq!(world.audit(), Vec::<String>::new());
}

#[tokio::test]
async fn an_attachment_that_is_put_again_or_renewed_is_kept_for_longer() {
    let world = World::new();
    let server = world.open_with(|config| config.asset_grant_ttl = 20 * DAY).await;
    let client = Client::embedded(&server).await;
    let (put_again, renewed, left, never) =
        (client.presign().await, client.presign().await, client.presign().await, client.presign().await);
    for grant in [&put_again, &renewed, &left] {
        client.put_asset(grant, &b"bytes"[..]).await;
    }
    world.clock.advance(19 * DAY);
    client.put_asset(&put_again, &b"bytes"[..]).await;
    let unknown = key();
    let keys = [&renewed.object_key, &never.object_key, &unknown, "nonsense", &renewed.object_key].map(AsRef::as_ref);
    let expires_at_ms = 1_700_000_000_000 + (49 * DAY).as_millis() as i64;
    let again = Renewal::Renewed { expires_at_ms };
    assert_eq!(renew(&client, &keys).await, [again, Renewal::NotFound, Renewal::NotFound, Renewal::NotFound, again]);
    world.clock.advance(11 * DAY);
    assert_eq!(server.maintain().await.unwrap().assets_expired, 1);
    for (grant, status) in [(&put_again, 200), (&renewed, 200), (&left, 410)] {
        assert_eq!(client.asset(grant).await.status, status);
    }
    let too_many = RenewAssets { asset_keys: vec![unknown; RENEW_MAX + 1] };
    client.post(route::RENEW, &too_many).await.refused(413, ErrorCode::TooLarge);
    assert_eq!(world.audit(), Vec::<String>::new());
}

#[tokio::test]
async fn a_body_that_was_begun_in_time_is_taken_also_if_its_leave_ends_meanwhile() {
    let world = World::new();
    let server = world.open().await;
    let client = Client::embedded(&server).await;
    let (grant, bytes) = (client.presign().await, content(1000));
    let (go, gone) = tokio::sync::oneshot::channel::<()>();
    let (asked, mut was_asked) = tokio::sync::mpsc::unbounded_channel();
    let (head, tail) = (Bytes::from(bytes[..500].to_vec()), Bytes::from(bytes[500..].to_vec()));
    let body = stream::iter([Ok::<_, std::io::Error>(head)]).chain(stream::once(async move {
        asked.send(()).unwrap();
        gone.await.unwrap();
        Ok(tail)
    }));
    let request = asset_request(&grant, 1000, Body::from_stream(body));
    let put = tokio::spawn({
        let client = client.clone();
        async move { client.send(request).await.status }
    });
    was_asked.recv().await.unwrap();
    world.clock.advance(HOUR);
    server.maintain().await.unwrap();
    go.send(()).unwrap();
    assert_eq!(put.await.unwrap(), StatusCode::OK);
    assert_eq!(client.asset(&grant).await.body, bytes);
}

#[tokio::test]
async fn a_lost_or_shortened_attachment_is_named_before_an_answer_begins() {
    let world = World::new();
    let client = world.client().await;
    let grant = client.presign().await;
    client.put_asset(&grant, content(1000)).await;
    let file = world.files("assets").remove(0);
    std::fs::write(&file, &content(1000)[..999]).unwrap();
    client.asset(&grant).await.refused_xml(410, "PartDamaged");
    assert_eq!(world.audit().len(), 1, "{:?}", world.audit());
    std::fs::remove_file(&file).unwrap();
    client.asset(&grant).await.refused_xml(410, "PartMissing");
    assert_eq!(world.audit().len(), 1, "{:?}", world.audit());
    client.get("/assets/short").await.refused_xml(404, "NoSuchKey");
    client.delete(&grant.asset_url).await.refused_xml(405, "InvalidRequest");
}
