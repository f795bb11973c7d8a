//! What goes wrong inside: a disk that fails, a process that dies, too many requests.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use http_body_util::BodyExt as _;
use landfall_env::{Env, Sabotage, StepHook, Steps};
use landfall_protocol::{ErrorCode, FileRecord, TrashItem, TrashRequest, route};
use landfall_server::{OpenError, Server, ServerConfig};
use tower::ServiceExt as _;

use crate::world::{Answer, Client, World, checksum, completion, content, new_file, new_upload};

/// Goes through the lives of a file, an attachment and a message, each step repeated until it is answered with success, as a client would.
async fn live(world: &World, client: &Client) -> Result<(), StatusCode> {
    let collection = client.collection().await.id;
    let (file, thumbnail, abandoned) = ("a".repeat(32), "b".repeat(32), "c".repeat(32));
    let bytes = content(2500);
    for (key, bytes) in [(&file, &bytes[..]), (&thumbnail, b"t"), (&abandoned, &bytes[..1000])] {
        let opened = insist(async || client.post(route::UPLOADS, &new_upload(key, bytes, 1000)).await).await;
        if key == &abandoned && opened == Err(StatusCode::NOT_FOUND) {
            // An earlier life abandoned it: such a key is not opened again.
            continue;
        }
        opened?;
        for (number, part) in (1..).zip(bytes.chunks(1000)) {
            let grant = client.sign(key, checksum(number, part)).await;
            insist(async || client.put(&grant, part.to_vec()).await).await?;
        }
    }
    insist(async || client.post(&route::complete(&file), &completion(&bytes, 1000)).await).await?;
    insist(async || client.delete(&route::upload(&abandoned)).await).await?;
    let body = new_file(collection, (&file, 2500), (&thumbnail, 1), Some(1));
    insist(async || client.post(route::FILES, &body).await).await?;
    let record: FileRecord = client.post(route::FILES, &body).await.json();
    let url = client.get(&route::download(record.id)).await.header("location").to_owned();
    assert_eq!(client.get(&url).await.body, bytes);
    // More if removing the abandoned one failed: that is carried on later.
    assert!(world.files("blobs").len() >= 4);
    let (grant, lane) = (client.presign().await, "d".repeat(32));
    for version in [&b"first"[..], b"second"] {
        insist(async || client.put_asset(&grant, version.to_vec()).await).await?;
        assert_eq!(client.asset(&grant).await.body, version);
    }
    insist(async || client.append(&lane, "key", b"sealed").await).await?;
    assert_eq!(client.lane(&lane).await.messages.len(), 1);
    let trash = TrashRequest { items: vec![TrashItem { file_id: record.id, collection_id: collection }] };
    insist(async || client.post(route::TRASH, &trash).await).await?;
    Ok(())
}

async fn insist(request: impl AsyncFn() -> Answer) -> Result<(), StatusCode> {
    let mut status = StatusCode::OK;
    for _ in 0..3 {
        status = request().await.status;
        if status.is_success() {
            return Ok(());
        }
    }
    Err(status)
}

#[tokio::test]
async fn whichever_disk_operation_fails_nothing_is_lost_and_nothing_left() {
    for failing in 1.. {
        let world = World::new();
        let client = world.client().await;
        world.disk.until_failure.store(failing, Ordering::SeqCst);
        live(&world, &client).await.unwrap_or_else(|status| panic!("operation {failing} failed for good: {status}"));
        let every_failure_was_tried = world.disk.until_failure.swap(0, Ordering::SeqCst) > 0;
        drop(client);
        drop(world.open().await);
        assert_eq!(world.audit(), Vec::<String>::new(), "operation {failing}");
        assert!(world.files("blobs").is_empty() && world.files("assets").len() == 1);
        if every_failure_was_tried {
            assert!(failing > 20);
            break;
        }
    }
}

#[tokio::test]
async fn whichever_disk_operation_fails_a_vault_opens_later() {
    for failing in 1.. {
        let world = World::new();
        world.disk.until_failure.store(failing, Ordering::SeqCst);
        let opened = Server::open(ServerConfig::new(world.vault()), world.env()).await.is_ok();
        let every_failure_was_tried = world.disk.until_failure.swap(0, Ordering::SeqCst) > 0;
        live(&world, &world.client().await).await.unwrap();
        assert_eq!(world.audit(), Vec::<String>::new(), "operation {failing}");
        if every_failure_was_tried {
            assert!(opened && failing > 5);
            break;
        }
    }
}

/// Panics once, at one step.
struct CrashOnce {
    step: &'static str,
    crashed: AtomicBool,
}

impl StepHook for CrashOnce {
    fn reached(&self, step: &'static str) {
        if step == self.step && !self.crashed.swap(true, Ordering::SeqCst) {
            panic!("crash at {step}");
        }
    }

    fn sabotaged(&self, _: Sabotage) -> bool {
        false
    }
}

#[tokio::test]
async fn a_process_that_dies_at_a_durable_step_loses_and_leaves_nothing() {
    for step in [
        "server.open.committed",
        "server.part.renamed",
        "server.part.committed",
        "server.complete.committed",
        "server.register.committed",
        "server.delete.committed",
        "server.asset.renamed",
        "server.asset.committed",
        "server.message.committed",
    ] {
        let mut world = World::new();
        let crash = Arc::new(CrashOnce { step, crashed: AtomicBool::new(false) });
        world.steps = Steps::with_hook(Arc::clone(&crash) as Arc<dyn StepHook>);
        let client = world.client().await;
        let died = AssertUnwindSafe(live(&world, &client)).catch_unwind().await;
        assert!(died.is_err() && crash.crashed.load(Ordering::SeqCst), "{step}");
        drop(client);
        let server = world.open().await;
        live(&world, &Client::embedded(&server).await).await.unwrap();
        // What came under a key that nobody has any more goes with the leave for it.
        world.clock.advance(Duration::from_secs(2 * 24 * 60 * 60));
        server.maintain().await.unwrap();
        assert_eq!(world.audit(), Vec::<String>::new(), "{step}");
        assert!(world.files("incoming").is_empty(), "{step}");
    }
}

#[tokio::test]
async fn an_attachment_that_was_moved_but_not_noted_is_not_there_and_what_it_was_to_replace_is() {
    let mut world = World::new();
    let client = world.client().await;
    let (replaced, new) = (client.presign().await, client.presign().await);
    client.put_asset(&replaced, &b"first"[..]).await;
    drop(client);
    for grant in [&replaced, &new] {
        let crash = CrashOnce { step: "server.asset.renamed", crashed: AtomicBool::new(false) };
        world.steps = Steps::with_hook(Arc::new(crash));
        let client = world.client().await;
        assert!(AssertUnwindSafe(client.put_asset(grant, &b"second"[..])).catch_unwind().await.is_err());
    }
    world.steps = Steps::default();
    assert_eq!(world.files("assets").len(), 3);
    let server = world.open().await;
    let client = Client::embedded(&server).await;
    assert_eq!(client.asset(&replaced).await.body, b"first"[..]);
    client.asset(&new).await.refused_xml(404, "NoSuchKey");
    assert_eq!(client.put_asset(&replaced, &b"second"[..]).await.status, StatusCode::OK);
    assert_eq!(client.asset(&replaced).await.body, b"second"[..]);
    assert_eq!(world.files("assets").len(), 2);
    world.clock.advance(Duration::from_secs(2 * 24 * 60 * 60));
    server.maintain().await.unwrap();
    assert_eq!(world.files("assets").len(), 1);
    assert_eq!(world.audit(), Vec::<String>::new());
}

#[tokio::test]
async fn a_part_that_was_moved_but_not_noted_goes_with_its_upload() {
    let mut world = World::new();
    let crash = CrashOnce { step: "server.part.renamed", crashed: AtomicBool::new(false) };
    world.steps = Steps::with_hook(Arc::new(crash));
    let client = world.client().await;
    let key = "a".repeat(32);
    let grant = client.open(&key, b"abcd", 2).await.grants.remove(0);
    assert!(AssertUnwindSafe(client.put(&grant, &b"ab"[..])).catch_unwind().await.is_err());
    drop(client);
    assert_eq!(world.files("blobs").len(), 1);
    let client = world.client().await;
    assert!(client.open(&key, b"abcd", 2).await.parts.is_empty(), "what is not noted is not held");
    client.delete(&route::upload(&key)).await;
    assert!(world.files("blobs").is_empty());
}

#[tokio::test]
async fn more_requests_than_allowed_are_told_to_come_back() {
    let world = World::new();
    let server = world.open_with(|config| config.requests_in_flight_max = 0).await;
    let client = Client::embedded(&server).await;
    let answer = client.get(route::ACCOUNT).await;
    answer.refused(503, ErrorCode::Unavailable);
    assert_eq!(answer.header("retry-after"), "1");
    client.get("/blobs/1/x/1").await.refused_xml(503, "SlowDown");
    assert_eq!(client.get("/healthz").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_request_that_another_process_keeps_waiting_is_told_so() {
    let world = World::new();
    let server = world.open_with(|config| config.busy_wait_max = Duration::from_millis(20)).await;
    let client = Client::embedded(&server).await;
    let grant = client.open(&"a".repeat(32), b"abcd", 2).await.grants.remove(0);
    let other = rusqlite::Connection::open(world.vault().join("server.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let answer = client.post(route::UPLOADS, &new_upload(&"b".repeat(32), b"abcd", 2)).await;
    let problem = answer.refused(503, ErrorCode::VaultHeld);
    // The last that noted itself is this one, which cannot be meant.
    assert!(problem.detail.starts_with("another process is writing"), "{}", problem.detail);
    client.put(&grant, &b"ab"[..]).await.refused_xml(503, "VaultHeld");
    let config = ServerConfig { busy_wait_max: Duration::from_millis(20), ..ServerConfig::new(world.vault()) };
    let refused = Server::open(config, Env::real()).await.unwrap_err();
    assert!(matches!(refused, OpenError::Busy { holder: None, .. }), "{refused}");
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(client.put(&grant, &b"ab"[..]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_request_counts_until_its_answer_is_taken_or_dropped() {
    let world = World::new();
    let server = world.open_with(|config| config.requests_in_flight_max = 1).await;
    let client = Client::embedded(&server).await;
    let record = client.add_file(&content(1 << 20), None).await;
    let location = client.get(&route::download(record.id)).await.header("location").to_owned();
    let request = || Request::get(&location).body(Body::empty()).unwrap();
    let mut download = client.router.clone().oneshot(request()).await.unwrap();
    assert_eq!(download.headers()["content-length"], (1 << 20).to_string());
    assert!(download.body_mut().frame().await.is_some());
    client.get(route::ACCOUNT).await.refused(503, ErrorCode::Unavailable);
    drop(download);
    assert_eq!(client.get(route::ACCOUNT).await.status, StatusCode::OK);
    let mut download = client.router.clone().oneshot(request()).await.unwrap();
    while download.body_mut().frame().await.is_some() {}
    assert_eq!(client.get(route::ACCOUNT).await.status, StatusCode::OK, "it was read to its end");
}

#[tokio::test(start_paused = true)]
async fn a_json_body_that_does_not_come_whole_in_time_is_to_be_sent_again() {
    let world = World::new();
    let client = world.client().await;
    let drips = stream::iter([b"{\n"; 100]).then(|piece| async move {
        tokio::time::sleep(Duration::from_secs(2)).await;
        Ok::<_, std::io::Error>(Bytes::from_static(piece))
    });
    let request = Request::post(route::UPLOADS).header(route::TOKEN_HEADER, &client.token);
    let began = tokio::time::Instant::now();
    let answer = client.send(request.body(Body::from_stream(drips)).unwrap()).await;
    answer.refused(408, ErrorCode::Unavailable);
    assert_eq!(began.elapsed().as_secs(), 60);
}
