use std::time::Duration;

use axum::{body::Body, http::StatusCode};
use bytes::Bytes;
use futures_util::{StreamExt as _, future::join_all, stream};
use landfall_protocol::{ErrorCode, FileRecord, UploadState, UploadStatus, route};
use landfall_server::Maintenance;

use crate::world::{Client, World, completion, content, key, put_request};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_put_by_one_process_are_completed_by_another() {
    let world = World::threaded();
    let (one, two) = (world.client().await, world.client().await);
    let (key, bytes) = (key(), content(50_000));
    let status = one.open(&key, &bytes, 10_000).await;
    let puts = status.grants.iter().zip(bytes.chunks(10_000)).enumerate().map(|(index, (grant, part))| {
        // Each accepts what the other has signed, and both may get the same part.
        let (client, one) = (if index % 2 == 0 { &one } else { &two }, &one);
        async move { [client.put(grant, part.to_vec()).await.status, one.put(grant, part.to_vec()).await.status] }
    });
    for statuses in join_all(puts).await {
        assert_eq!(statuses, [StatusCode::OK; 2]);
    }
    let stored: UploadStatus = two.post(&route::complete(&key), &completion(&bytes, 10_000)).await.json();
    assert_eq!(stored.state, UploadState::Stored);
    assert_eq!(one.get(&route::upload(&key)).await.json::<UploadStatus>(), stored);
    assert_eq!(world.files("blobs").len(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_that_register_one_content_exactly_one_wins() {
    let world = World::threaded();
    let (one, two) = (world.client().await, world.client().await);
    for round in 0..20 {
        let bodies = [one.file_body(b"photo", Some(round)).await, two.file_body(b"photo", Some(round)).await];
        let (first, second) =
            futures_util::future::join(one.post(route::FILES, &bodies[0]), two.post(route::FILES, &bodies[1])).await;
        let (winner, loser) = if first.status == StatusCode::OK { (first, second) } else { (second, first) };
        let winner: FileRecord = winner.json();
        let problem = loser.refused(409, ErrorCode::ContentExists);
        assert_eq!(*problem.winner.unwrap(), winner);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_is_opened_by_many_at_once() {
    let world = World::threaded();
    let servers = join_all((0..8).map(|_| world.open())).await;
    let clients = join_all(servers.iter().map(Client::embedded)).await;
    let (key, bytes) = (key(), content(800));
    let grants = clients[0].open(&key, &bytes, 100).await.grants;
    let puts = clients.iter().zip(&grants).zip(bytes.chunks(100));
    for answer in join_all(puts.map(|((client, grant), part)| client.put(grant, part.to_vec()))).await {
        assert_eq!(answer.status, StatusCode::OK);
    }
    assert_eq!(servers[0].account_list().await.unwrap().len(), 1);
    drop((servers, clients));
    assert!(world.files("instances").is_empty(), "whoever leaves takes everything along");
}

#[tokio::test]
async fn leftovers_of_a_killed_process_are_swept_and_those_of_a_living_one_kept() {
    let world = World::new();
    let living = world.client().await;
    let bytes = content(1 << 20);
    let grant = living.open(&key(), &bytes, 1 << 20).await.grants.remove(0);
    let (asked, mut was_asked) = tokio::sync::mpsc::unbounded_channel();
    let (go, gone) = tokio::sync::oneshot::channel::<()>();
    let (head, tail) = (Bytes::from(bytes[..600_000].to_vec()), Bytes::from(bytes[600_000..].to_vec()));
    let body = stream::iter([Ok::<_, std::io::Error>(head)]).chain(stream::once(async move {
        asked.send(()).unwrap();
        gone.await.unwrap();
        Ok(tail)
    }));
    let put = tokio::spawn({
        let (living, request) = (living.clone(), put_request(&grant, 1 << 20, Body::from_stream(body)));
        async move { living.send(request).await.status }
    });
    was_asked.recv().await.unwrap();

    let dead = world.vault().join("incoming").join("0".repeat(32));
    std::fs::create_dir(&dead).unwrap();
    std::fs::write(dead.join("part"), "half").unwrap();
    std::fs::write(world.vault().join("instances").join(format!("{}.lock", "0".repeat(32))), "").unwrap();
    let unlocked = world.vault().join("incoming").join("1".repeat(32));
    std::fs::create_dir(&unlocked).unwrap();
    std::fs::write(unlocked.join("part"), "half").unwrap();
    assert_eq!(world.audit().iter().filter(|text| text.contains("dead instance")).count(), 2);
    let next = world.open().await;
    assert!(!dead.exists() && !unlocked.exists());
    assert_eq!(world.files("instances").len(), 2);
    go.send(()).unwrap();
    assert_eq!(put.await.unwrap(), StatusCode::OK, "the living one's part arrived");
    drop(next);
}

#[tokio::test]
async fn a_removal_that_was_cut_short_is_carried_on_by_the_next_to_open() {
    let world = World::new();
    let client = world.client().await;
    let key = key();
    client.upload(&key, b"bytes", 10).await;
    drop(client);
    let database = rusqlite::Connection::open(world.vault().join("server.db")).unwrap();
    database.execute("DELETE FROM part", []).unwrap();
    database.execute("DELETE FROM upload", []).unwrap();
    database.execute("INSERT INTO garbage VALUES (1, ?1, 0)", [&key]).unwrap();
    drop(database);
    assert_eq!(world.audit().len(), 2, "{:?}", world.audit());
    drop(world.open().await);
    assert_eq!(world.audit(), Vec::<String>::new());
}

#[tokio::test]
async fn a_key_used_again_never_finds_the_files_of_the_one_before() {
    let world = World::new();
    let client = world.client().await;
    let key = key();
    client.upload(&key, b"before", 10).await;
    let database = rusqlite::Connection::open(world.vault().join("server.db")).unwrap();
    database.execute("DELETE FROM part", []).unwrap();
    database.execute("DELETE FROM upload", []).unwrap();
    database.execute("INSERT INTO garbage VALUES (1, ?1, 0)", [&key]).unwrap();
    let status = client.open(&key, b"after", 3).await;
    assert!(world.files("blobs").is_empty() && status.parts.is_empty());
}

#[tokio::test]
async fn maintenance_expires_uploads_that_nobody_touches() {
    let world = World::new();
    let server = world.open().await;
    let client = Client::embedded(&server).await;
    let (old, busy, stored) = (key(), key(), key());
    for key in [&old, &busy] {
        let status = client.open(key, b"abcd", 2).await;
        client.put(&status.grants[0], &b"ab"[..]).await;
    }
    client.upload(&stored, b"abcd", 10).await;
    world.clock.advance(Duration::from_secs(10 * 24 * 60 * 60));
    client.open(&busy, b"abcd", 2).await;
    world.clock.advance(Duration::from_secs(5 * 24 * 60 * 60));
    let done = server.maintain().await.unwrap();
    assert_eq!((done.uploads_expired, done.objects_removed), (1, 1));
    client.get(&route::upload(&old)).await.refused(404, ErrorCode::NoSuchUpload);
    client.get(&route::upload(&busy)).await.json::<UploadStatus>();
    client.get(&route::upload(&stored)).await.json::<UploadStatus>();
    assert_eq!(world.files("blobs").len(), 2);
    assert_eq!(server.maintain().await.unwrap(), Maintenance::default());
}

#[tokio::test]
async fn maintenance_expires_objects_that_are_stored_and_that_no_file_has() {
    let world = World::new();
    let server = world.open().await;
    let client = Client::embedded(&server).await;
    let record = client.add_file(&content(5000), None).await;
    let body = client.file_body(&content(9000), Some(1)).await;
    let (small, large) = (&body.thumbnail.object_key, &body.file.object_key);
    world.clock.advance(Duration::from_secs(10 * 24 * 60 * 60));
    client.open(small, b"thumbnail", 4096).await;
    world.clock.advance(Duration::from_secs(5 * 24 * 60 * 60));
    assert_eq!(server.maintain().await.unwrap().uploads_expired, 1, "the other was asked for since");
    client.get(&route::upload(small)).await.json::<UploadStatus>();
    world.clock.advance(Duration::from_secs(10 * 24 * 60 * 60));
    let done = server.maintain().await.unwrap();
    assert_eq!((done.uploads_expired, done.objects_removed), (1, 1));
    for key in [small, large] {
        client.get(&route::upload(key)).await.refused(404, ErrorCode::NoSuchUpload);
        client.post(&route::complete(key), &completion(b"thumbnail", 4096)).await.refused(404, ErrorCode::NoSuchUpload);
    }
    client.post(route::FILES, &body).await.refused(404, ErrorCode::NoSuchUpload);
    assert_eq!(client.get(&format!("/vault/files/{}", record.id)).await.json::<FileRecord>(), record);
    assert_eq!(world.audit(), Vec::<String>::new(), "a file keeps its objects, and nothing else is left");
    let begun = client.open(large, &content(9000), 4096).await;
    assert!(begun.parts.is_empty() && begun.state == UploadState::Open, "whoever comes back begins anew");
}

/// The thumbnail goes first, and a large file may take weeks on a slow line.
#[tokio::test]
async fn a_stored_object_waits_for_the_open_ones_of_its_account() {
    let world = World::new();
    let server = world.open().await;
    let client = Client::embedded(&server).await;
    let (thumbnail, file) = (key(), key());
    client.upload(&thumbnail, b"thumbnail", 10).await;
    let bytes = content(5);
    let status = client.open(&file, &bytes, 1).await;
    for (grant, byte) in status.grants.iter().zip(&bytes) {
        world.clock.advance(Duration::from_secs(7 * 24 * 60 * 60));
        let grant = client.sign(&file, crate::world::checksum(grant.number, &[*byte])).await;
        assert_eq!(client.put(&grant, vec![*byte]).await.status, StatusCode::OK);
        assert_eq!(server.maintain().await.unwrap(), Maintenance::default());
    }
    client.post(&route::complete(&file), &completion(&bytes, 1)).await.json::<UploadStatus>();
    let body = crate::world::new_file(client.collection().await.id, (&file, 5), (&thumbnail, 9), None);
    client.post(route::FILES, &body).await.json::<FileRecord>();
    assert_eq!(world.audit(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_registration_and_an_expiry_exactly_one_takes_an_object() {
    let world = World::threaded();
    let (one, two) = (world.open().await, world.open().await);
    let client = Client::embedded(&one).await;
    let database = rusqlite::Connection::open(world.vault().join("server.db")).unwrap();
    let generation = || database.query_row("SELECT generation FROM lease", [], |row| row.get::<_, i64>(0)).unwrap();
    for round in 0..20 {
        let body = client.file_body(&content(5000), None).await;
        world.clock.advance(Duration::from_secs(15 * 24 * 60 * 60));
        let before = generation();
        let register = async {
            // In every other round the expiry is a step ahead.
            while round % 2 == 0 && generation() == before {
                tokio::task::yield_now().await;
            }
            client.post(route::FILES, &body).await
        };
        let (done, answer) = futures_util::future::join(two.maintain(), register).await;
        match done.unwrap().uploads_expired {
            0 => assert_eq!(answer.status, StatusCode::OK, "{}", answer.text()),
            2 => drop(answer.refused(404, ErrorCode::NoSuchUpload)),
            other => panic!("{other} of a file's two objects expired"),
        }
        assert_eq!(world.audit(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn maintenance_is_done_by_one_and_taken_over_from_the_dead_and_the_stopped() {
    let world = World::new();
    let (one, two) = (world.open().await, world.open().await);
    let database = rusqlite::Connection::open(world.vault().join("server.db")).unwrap();
    let own = |name: &str| database.execute("UPDATE lease SET owner = ?1", [name]).unwrap();
    own("0123");
    assert!(!one.maintain().await.unwrap().is_elsewhere, "the holder is dead");
    let living = world.files("instances")[0].file_stem().unwrap().to_str().unwrap().to_owned();
    own(&living);
    let observer = if format!("{one:?}").contains(&living) { two } else { one };
    assert!(observer.maintain().await.unwrap().is_elsewhere, "the holder lives");
    world.clock.advance(Duration::from_secs(10));
    database.execute("UPDATE lease SET beat = beat + 1", []).unwrap();
    assert!(observer.maintain().await.unwrap().is_elsewhere, "the holder moves");
    world.clock.advance(Duration::from_secs(10));
    assert!(observer.maintain().await.unwrap().is_elsewhere, "not for long enough");
    world.clock.advance(Duration::from_secs(6));
    assert!(!observer.maintain().await.unwrap().is_elsewhere, "the holder has stopped");
}
