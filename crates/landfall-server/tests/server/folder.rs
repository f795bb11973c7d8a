use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use landfall_protocol::{Diff, ErrorCode, FileRecord, KeyAttributes, TrashItem, TrashRequest, UploadStatus, route};
use landfall_server::{OpenError, Server, ServerConfig};

use crate::world::{Client, World, content, files_below, keys};

/// The token in the golden vault.
const GOLDEN_TOKEN: &str = "golden-token";

async fn refusal(world: &World) -> OpenError {
    match Server::open(ServerConfig::new(world.vault()), world.env()).await {
        Ok(_) => panic!("it opened"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_vault_survives_being_closed() {
    let world = World::new();
    let file = world.client().await.add_file(&content(9000), Some(1)).await;
    assert_eq!(world.client().await.get(&route::file(file.id)).await.json::<FileRecord>(), file);
    assert_eq!(world.audit(), Vec::<String>::new());
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_may_look_into_a_vault() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new();
    world.client().await;
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(world.vault()), 0o700);
    assert_eq!(mode(world.vault().join("signing.key")), 0o600);
    assert_eq!(std::fs::read(world.vault().join("signing.key")).unwrap().len(), 32);
}

#[tokio::test]
async fn a_vault_that_is_only_read_shows_everything_and_is_not_touched() {
    let world = World::new();
    let writing = world.client().await;
    let bytes = content(9000);
    let file = writing.add_file(&bytes, Some(1)).await;
    // As after a kill: what was committed last is only in the log.
    let killed = world.folder.path().join("killed");
    copy(&world.vault(), &killed);
    drop(writing);
    for (vault, has_log) in [(world.vault(), false), (killed, true)] {
        assert_eq!(vault.join("server.db-wal").exists(), has_log);
        let before = everything(&vault);
        let server = world.open_with(|config| {
            config.vault = vault.clone();
            config.read_only = true;
        });
        let client = Client::embedded(&server.await).await;
        assert_eq!(client.get(&route::file(file.id)).await.json::<FileRecord>(), file);
        let url = client.get(&route::download(file.id)).await;
        let request = axum::http::Request::builder().uri(url.header("location"));
        assert_eq!(client.send(request.body(axum::body::Body::empty()).unwrap()).await.body, bytes);
        let refused = client.post(route::COLLECTIONS, &crate::world::new_collection(b"x")).await;
        refused.refused(400, ErrorCode::Invalid);
        drop(client);
        assert_eq!(everything(&vault), before);
    }
}

#[tokio::test]
async fn a_vault_that_is_only_read_but_in_use_is_read_as_it_was_when_it_was_opened() {
    let world = World::new();
    let writing = world.client().await;
    let file = writing.add_file(&content(9000), Some(1)).await;
    change(&world.vault().join("server.db"));
    assert_eq!(std::fs::metadata(world.vault().join("server.db-wal")).unwrap().len(), 0);
    let reading = Client::embedded(&world.open_with(|config| config.read_only = true).await).await;
    for tag in 2..9 {
        writing.add_file(&content(9000), Some(tag)).await;
    }
    change(&world.vault().join("server.db"));
    assert_eq!(reading.get(&route::file(file.id)).await.json::<FileRecord>(), file);
    let diff: Diff = reading.get(&format!("{}?since=0", route::DIFF)).await.json();
    assert_eq!(diff.diff.len(), 1);
}

#[tokio::test]
async fn a_vault_that_is_only_read_stays_as_it_was_when_others_begin_to_write_to_it() {
    let world = World::new();
    let writing = world.client().await;
    for tag in 1..200 {
        writing.add_file(&content(10), Some(tag)).await;
    }
    // At rest: there is neither a log nor a lock.
    drop(writing);
    assert!(!world.vault().join("server.db-wal").exists() && world.files("instances").is_empty());
    let reading = Client::embedded(&world.open_with(|config| config.read_only = true).await).await;
    let page = async |since: i64| reading.get(&format!("{}?since={since}&limit=50", route::DIFF)).await.json::<Diff>();
    let mut records = page(0).await.diff;
    assert_eq!(records.len(), 50);

    let writing = world.client().await;
    for file_id in 100..150 {
        let item = TrashItem { file_id, collection_id: records[0].file.collection_id };
        writing.post(route::TRASH, &TrashRequest { items: vec![item] }).await;
    }
    for tag in 200..250 {
        writing.add_file(&content(10), Some(tag)).await;
    }
    drop(writing);
    assert!(!world.vault().join("server.db-wal").exists());

    while let Some(last) = records.last() {
        let next = page(last.updation_time).await.diff;
        if next.is_empty() {
            break;
        }
        records.extend(next);
    }
    let ids: Vec<i64> = records.iter().map(|record| record.id).collect();
    assert_eq!(ids, (1..200).collect::<Vec<_>>());
    assert!(records.iter().all(|record| !record.is_deleted));
}

#[tokio::test]
async fn a_vault_that_changes_while_it_is_copied_is_copied_again_and_said_to_be_in_use_if_it_never_rests() {
    let world = World::new();
    let writing = world.client().await;
    let file = writing.add_file(&content(9000), Some(1)).await;
    for (changes, opens) in [(0, true), (1, true), (usize::MAX, false)] {
        let copies = change_when_copied(&world, changes);
        let patience = if opens { Duration::from_secs(10) } else { Duration::ZERO };
        let config = ServerConfig { read_only: true, busy_wait_max: patience, ..ServerConfig::new(world.vault()) };
        match Server::open(config, world.env()).await {
            Ok(server) => {
                assert!(opens);
                assert_eq!(copies.load(Ordering::SeqCst), changes + 1);
                let client = Client::embedded(&server).await;
                assert_eq!(client.get(&route::file(file.id)).await.json::<FileRecord>(), file);
            }
            Err(error) => assert!(!opens && matches!(error, OpenError::InUse { .. }), "{error:?}"),
        }
    }
}

/// Writes to the database, and moves everything from its log into it.
fn change(database: &Path) {
    let database = rusqlite::Connection::open(database).unwrap();
    let change = "CREATE TABLE IF NOT EXISTS change (number); INSERT INTO change VALUES (7)";
    database.execute_batch(&format!("{change}; PRAGMA wal_checkpoint(TRUNCATE)")).unwrap();
}

/// Has the database change as it is copied, so many times. Counts how often it is copied.
fn change_when_copied(world: &World, changes: usize) -> Arc<AtomicUsize> {
    let copies = Arc::new(AtomicUsize::new(0));
    let (seen, database) = (Arc::clone(&copies), world.vault().join("server.db"));
    *world.disk.on_open.lock().unwrap() = Some(Box::new(move |path: &Path| {
        if path == database && seen.fetch_add(1, Ordering::SeqCst) < changes {
            change(&database);
        }
    }));
    copies
}

fn everything(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    files_below(folder).into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

fn copy(from: &Path, to: &Path) {
    for path in files_below(from) {
        let target = to.join(path.strip_prefix(from).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(path, target).unwrap();
    }
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let world = World::new();
    let client = world.client().await;
    let database = rusqlite::Connection::open(world.vault().join("server.db")).unwrap();
    database.pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(refusal(&world).await, OpenError::NewerSchema { found: 99, .. }));
    let answer = client.post(route::COLLECTIONS, &crate::world::new_collection(b"x")).await;
    answer.refused(503, ErrorCode::Unavailable);
    assert_eq!(answer.header("retry-after"), "1");
}

#[tokio::test]
async fn a_damaged_database_or_key_is_said_to_be_damaged_and_left_alone() {
    let world = World::new();
    drop(world.client().await);
    let key = world.vault().join("signing.key");
    std::fs::write(&key, "short").unwrap();
    assert!(matches!(refusal(&world).await, OpenError::Damaged { path, .. } if path == key));
    assert_eq!(std::fs::read(&key).unwrap(), b"short");
    let database = world.vault().join("server.db");
    std::fs::write(&database, [7; 5000]).unwrap();
    assert!(matches!(refusal(&world).await, OpenError::Damaged { path, .. } if path == database));
    assert_eq!(std::fs::read(&database).unwrap(), [7; 5000]);
    assert!(world.files("instances").is_empty());
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_an_error_with_its_path() {
    let world = World::new();
    std::fs::write(world.vault(), "a file").unwrap();
    let error = refusal(&world).await;
    assert!(matches!(error, OpenError::Io { .. }), "{error:?}");
    assert!(error.to_string().contains("vault"));
}

#[tokio::test]
async fn no_vault_is_made_over_the_contents_of_one_that_lost_its_database() {
    let world = World::new();
    let client = world.client().await;
    let file = client.add_file(&content(9000), Some(1)).await;
    drop(client);
    let database = world.vault().join("server.db");
    let kept = std::fs::read(&database).unwrap();
    let lost = async || {
        let error = refusal(&world).await;
        assert!(matches!(&error, OpenError::DatabaseLost { path } if *path == database), "{error:?}");
    };
    std::fs::remove_file(&database).unwrap();
    let before = everything(&world.vault());
    lost().await;
    assert_eq!(everything(&world.vault()), before);
    std::fs::write(&database, []).unwrap();
    lost().await;
    // As the error says.
    std::fs::write(&database, kept).unwrap();
    assert_eq!(world.client().await.get(&route::file(file.id)).await.json::<FileRecord>(), file);
    assert_eq!(world.audit(), Vec::<String>::new());
}

/// What every later version must be able to open. Made once, by `write_golden_vault`.
async fn golden_vault(schema: u32) -> World {
    let world = World::new();
    std::fs::create_dir(world.vault()).unwrap();
    std::fs::copy(golden_path(schema), world.vault().join("server.db")).unwrap();
    world
}

fn golden_path(schema: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/schema-{schema}.db"))
}

/// Gives the golden vault's live file the contents that its rows tell of.
fn restore_golden_parts(world: &World, live: &FileRecord) {
    let bytes = content(9000);
    let objects = [(&live.file.file, &bytes[..]), (&live.file.thumbnail, b"thumbnail")];
    for (object, bytes) in objects {
        let folder = world.vault().join("blobs/1").join(&object.object_key[..2]).join(&object.object_key);
        std::fs::create_dir_all(&folder).unwrap();
        for (number, part) in (1..).zip(bytes.chunks(4096)) {
            std::fs::write(folder.join(i32::to_string(&number)), part).unwrap();
        }
    }
}

#[tokio::test]
async fn the_golden_vault_of_schema_1_opens() {
    let world = golden_vault(1).await;
    let server = world.open().await;
    let client = Client::with_token(&server, GOLDEN_TOKEN);
    let keys_stored: KeyAttributes = client.get(route::KEYS).await.json();
    assert_eq!(keys_stored, KeyAttributes { version: 1, ..keys() });
    let diff: Diff = client.get(&format!("{}?since=0", route::DIFF)).await.json();
    let [live, removed] = diff.diff.as_slice() else { panic!("{diff:?}") };
    assert!(!live.is_deleted && removed.is_deleted);
    assert_eq!(live.file.content_tag.as_ref().unwrap().0, [1; 32]);
    let status: UploadStatus = client.get(&route::upload(&live.file.file.object_key)).await.json();
    assert_eq!((status.size, status.parts.len()), (9000, 3));
    restore_golden_parts(&world, live);
    let url = client.get(&route::download(live.id)).await.header("location").to_owned();
    assert_eq!(client.get(&url).await.body, content(9000));
    assert_eq!(client.collection().await.id, live.file.collection_id);
    let grant = client.presign().await;
    client.put_asset(&grant, content(9000)).await;
    assert_eq!(client.asset(&grant).await.body, content(9000), "what came with later schemas works");
    assert_eq!(client.append(&"a".repeat(32), "key", b"sealed").await.status, 201);
    world.clock.advance(Duration::from_secs(15 * 24 * 60 * 60));
    assert_eq!(server.maintain().await.unwrap().uploads_expired, 1);
    assert_eq!(world.audit(), Vec::<String>::new());
}

#[tokio::test]
async fn the_golden_vault_of_schema_2_opens() {
    let world = golden_vault(2).await;
    let server = world.open().await;
    let client = Client::with_token(&server, GOLDEN_TOKEN);
    let diff: Diff = client.get(&format!("{}?since=0", route::DIFF)).await.json();
    assert_eq!(diff.diff.len(), 2);
    let page = client.lane(&"1".repeat(32)).await;
    assert_eq!(page.messages.iter().map(|message| &message.body.0[..]).collect::<Vec<_>>(), [b"one", b"two"]);
    assert_eq!(client.append(&"1".repeat(32), "2", b"two").await.status, 200);
    let key: String = rusqlite::Connection::open(world.vault().join("server.db"))
        .unwrap()
        .query_row("SELECT asset_key FROM asset WHERE state = 'stored'", [], |row| row.get(0))
        .unwrap();
    let folder = world.vault().join("assets").join(&key[..2]).join(&key);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("2"), content(9000)).unwrap();
    assert_eq!(client.get(&route::asset(&key)).await.body, content(9000));
    world.clock.advance(Duration::from_secs(31 * 24 * 60 * 60));
    let done = server.maintain().await.unwrap();
    assert_eq!((done.uploads_expired, done.assets_expired), (1, 1));
    assert!(world.files("assets").is_empty());
}

#[tokio::test]
async fn a_vault_of_an_older_schema_is_only_read_without_a_trace() {
    let world = golden_vault(1).await;
    let before = everything(&world.vault());
    let server = world.open_with(|config| config.read_only = true).await;
    let diff: Diff = Client::with_token(&server, GOLDEN_TOKEN).get(&format!("{}?since=0", route::DIFF)).await.json();
    assert_eq!(diff.diff.len(), 2);
    drop(server);
    assert_eq!(everything(&world.vault()), before);
}

#[tokio::test]
#[ignore = "writes the golden file of the present schema, if there is none; a released one is never written again"]
async fn write_golden_vault() {
    let world = World::new();
    let server = world.open().await;
    let client = Client::embedded(&server).await;
    client.json(axum::http::Method::PUT, route::KEYS, &keys(), &[("if-none-match", "*")]).await;
    client.add_file(&content(9000), Some(1)).await;
    let removed = client.add_file(b"removed", Some(2)).await;
    let item = TrashItem { file_id: removed.id, collection_id: removed.file.collection_id };
    client.post(route::TRASH, &TrashRequest { items: vec![item] }).await;
    client.open(&"a".repeat(32), &content(5000), 4096).await;
    let (attachment, _granted) = (client.presign().await, client.presign().await);
    for bytes in [content(10), content(9000)] {
        client.put_asset(&attachment, bytes).await;
    }
    for (key, body) in [("1", b"one"), ("2", b"two")] {
        client.append(&"1".repeat(32), key, body).await;
    }
    drop((server, client));
    let database = rusqlite::Connection::open(world.vault().join("server.db")).unwrap();
    use sha2::Digest as _;
    let hash: [u8; 32] = sha2::Sha256::digest(GOLDEN_TOKEN).into();
    database.execute("INSERT INTO token VALUES (?1, 1, 0)", [hash]).unwrap();
    let schema = database.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    drop(database);
    if !golden_path(schema).exists() {
        std::fs::copy(world.vault().join("server.db"), golden_path(schema)).unwrap();
    }
}
