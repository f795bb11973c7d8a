use axum::http::{Method, StatusCode};
use landfall_protocol::{
    Base64, Collection, CollectionList, Diff, ErrorCode, FileRecord, MagicUpdate, MagicUpdates, NewCollection, NewFile,
    TrashItem, TrashRequest, route,
};

use crate::world::{Client, World, content, key, magic, new_collection, new_file};

async fn diff(client: &Client, query: &str) -> Diff {
    client.get(&format!("{}?{query}", route::DIFF)).await.json()
}

async fn update(client: &Client, updates: &[(i64, landfall_protocol::MagicMetadata)]) -> crate::world::Answer {
    let entry =
        |(id, magic): &(i64, landfall_protocol::MagicMetadata)| MagicUpdate { id: *id, magic_metadata: magic.clone() };
    let body = MagicUpdates { metadata_list: updates.iter().map(entry).collect() };
    client.json(Method::PUT, route::MAGIC_METADATA, &body, &[]).await
}

async fn trash(client: &Client, files: &[&FileRecord]) -> crate::world::Answer {
    let item = |file: &&FileRecord| TrashItem { file_id: file.id, collection_id: file.file.collection_id };
    client.post(route::TRASH, &TrashRequest { items: files.iter().map(item).collect() }).await
}

#[tokio::test]
async fn a_name_has_one_collection_however_often_it_is_created() {
    let world = World::new();
    let client = world.client().await;
    let first = client.collection().await;
    let again = NewCollection { encrypted_name: Base64(vec![42; 30]), ..new_collection(b"tag") };
    assert_eq!(client.post(route::COLLECTIONS, &again).await.json::<Collection>(), first);
    let second: Collection = client.post(route::COLLECTIONS, &new_collection(b"other")).await.json();
    let untagged = NewCollection { name_tag: None, ..new_collection(b"") };
    let third: Collection = client.post(route::COLLECTIONS, &untagged).await.json();
    let fourth: Collection = client.post(route::COLLECTIONS, &untagged).await.json();
    let list: CollectionList = client.get(route::COLLECTIONS_LIST).await.json();
    assert_eq!(list.collections, [first, second.clone(), third.clone(), fourth.clone()]);
    let later: CollectionList =
        client.get(&format!("{}?sinceTime={}", route::COLLECTIONS_LIST, second.updation_time)).await.json();
    assert_eq!(later.collections, [third, fourth]);
    let wrong = NewCollection { kind: "heap".into(), ..new_collection(b"x") };
    client.post(route::COLLECTIONS, &wrong).await.refused(400, ErrorCode::Invalid);
}

#[tokio::test]
async fn a_file_is_registered_once_however_often_it_is_sent() {
    let world = World::new();
    let client = world.client().await;
    let body = client.file_body(&content(9000), Some(1)).await;
    let first: FileRecord = client.post(route::FILES, &body).await.json();
    assert_eq!((&first.file, first.owner_id, first.is_deleted), (&body, 1, false));
    assert_eq!(client.post(route::FILES, &body).await.json::<FileRecord>(), first);
    assert_eq!(client.get(&route::file(first.id)).await.json::<FileRecord>(), first);
    assert_eq!(diff(&client, "since=0").await.diff, [first]);
    assert_eq!(world.audit(), Vec::<String>::new());
}

#[tokio::test]
async fn another_body_for_a_registered_object_is_refused() {
    let world = World::new();
    let client = world.client().await;
    let body = client.file_body(&content(100), None).await;
    client.post(route::FILES, &body).await.json::<FileRecord>();
    let mut other = body.clone();
    other.metadata.encrypted_data = Base64(vec![1; 100]);
    client.post(route::FILES, &other).await.refused(409, ErrorCode::RegisteredDifferently);
    let swapped = NewFile { file: body.thumbnail.clone(), thumbnail: body.file.clone(), ..body };
    client.post(route::FILES, &swapped).await.refused(409, ErrorCode::RegisteredDifferently);
}

#[tokio::test]
async fn another_body_for_the_same_objects_and_content_names_their_record() {
    let world = World::new();
    let client = world.client().await;
    let body = client.file_body(&content(100), Some(3)).await;
    let first: FileRecord = client.post(route::FILES, &body).await.json();
    let mut other = body.clone();
    other.key_decryption_nonce = Base64(vec![1; 24]);
    let problem = client.post(route::FILES, &other).await.refused(409, ErrorCode::ContentExists);
    assert_eq!(*problem.winner.unwrap(), first);
}

#[tokio::test]
async fn registering_checks_that_both_objects_are_stored_with_their_sizes() {
    let world = World::new();
    let client = world.client().await;
    let body = client.file_body(&content(100), None).await;
    let register = async |change: &dyn Fn(&mut NewFile)| {
        let mut body = body.clone();
        change(&mut body);
        client.post(route::FILES, &body).await
    };
    register(&|body| body.file.size = 99).await.refused(400, ErrorCode::Invalid);
    register(&|body| body.thumbnail.object_key = key()).await.refused(404, ErrorCode::NoSuchUpload);
    register(&|body| body.collection_id = 77).await.refused(404, ErrorCode::NotFound);
    register(&|body| body.thumbnail = body.file.clone()).await.refused(400, ErrorCode::Invalid);
    register(&|body| body.encrypted_key = Base64(vec![1; 47])).await.refused(400, ErrorCode::Invalid);
    register(&|body| body.content_tag = Some(Base64(vec![1; 31]))).await.refused(400, ErrorCode::Invalid);
    register(&|body| body.magic_metadata = Some(magic(2, 1, b""))).await.refused(400, ErrorCode::Invalid);
    register(&|body| body.metadata.encrypted_data = Base64(vec![0; (256 << 10) + 1]))
        .await
        .refused(413, ErrorCode::TooLarge);
    let open = key();
    client.open(&open, b"open", 2).await;
    register(&|body| (body.file.object_key, body.file.size) = (open.clone(), 4))
        .await
        .refused(409, ErrorCode::Incomplete);
    register(&|_| {}).await.json::<FileRecord>();
}

#[tokio::test]
async fn content_that_is_registered_names_its_record() {
    let world = World::new();
    let client = world.client().await;
    let winner = client.add_file(b"photo", Some(5)).await;
    let loser = client.file_body(b"photo", Some(5)).await;
    let problem = client.post(route::FILES, &loser).await.refused(409, ErrorCode::ContentExists);
    assert_eq!(*problem.winner.unwrap(), winner);
    client.add_file(b"photo", Some(6)).await;
    trash(&client, &[&winner]).await.json::<serde_json::Value>();
    client.post(route::FILES, &loser).await.json::<FileRecord>();
    assert_eq!(world.audit(), Vec::<String>::new());
}

#[tokio::test]
async fn a_diff_comes_in_pages_and_ends() {
    let world = World::new();
    let client = world.client().await;
    let mut files = Vec::new();
    for _ in 0..5 {
        files.push(client.add_file(b"x", None).await);
    }
    trash(&client, &[&files[1]]).await.json::<serde_json::Value>();
    let (mut cursor, mut seen) = (0, Vec::new());
    loop {
        let page = diff(&client, &format!("since={cursor}&limit=2")).await;
        assert!(page.diff.len() <= 2);
        assert!(page.diff.is_sorted_by_key(|file| file.updation_time));
        cursor = page.diff.last().map_or(cursor, |file| file.updation_time);
        seen.extend(page.diff);
        if !page.has_more {
            break;
        }
    }
    let ids = |files: &[FileRecord]| files.iter().map(|file| file.id).collect::<Vec<_>>();
    assert_eq!(
        ids(&seen),
        [files[0].id, files[2].id, files[3].id, files[4].id, files[1].id],
        "a change moves to the end"
    );
    let removed = &seen[4];
    assert!(removed.is_deleted && removed.file.encrypted_key.0.is_empty() && removed.file.content_tag.is_none());
    assert_eq!((removed.owner_id, &removed.file.file.object_key), (1, &files[1].file.file.object_key));
    assert!(diff(&client, &format!("since={cursor}")).await.diff.is_empty());
    client.get(&format!("{}?since=x", route::DIFF)).await.refused(400, ErrorCode::Invalid);
}

#[tokio::test]
async fn a_page_of_large_records_fits_in_one_answer() {
    let world = World::new();
    let client = world.client().await;
    for _ in 0..20 {
        let mut body = client.file_body(b"x", None).await;
        body.metadata.encrypted_data = Base64(vec![1; 250_000]);
        body.magic_metadata = Some(magic(1, 1, &[2; 250_000]));
        client.post(route::FILES, &body).await.json::<FileRecord>();
    }
    let first = client.get(&format!("{}?since=0", route::DIFF)).await;
    assert!(first.body.len() < landfall_protocol::JSON_BYTES_MAX);
    let page: Diff = first.json();
    assert!(page.has_more && !page.diff.is_empty());
}

#[tokio::test]
async fn magic_metadata_changes_by_version_all_or_nothing() {
    let world = World::new();
    let client = world.client().await;
    let (one, two) = (client.add_file(b"1", None).await, client.add_file(b"2", None).await);
    let both = [(one.id, magic(1, 4, b"one")), (two.id, magic(2, 4, b"two"))];
    update(&client, &both).await.refused(409, ErrorCode::VersionMismatch);
    assert_eq!(client.get(&route::file(one.id)).await.json::<FileRecord>(), one, "nothing happened");
    let both = [(one.id, magic(1, 4, b"one")), (two.id, magic(1, 1, b"two"))];
    update(&client, &both).await.json::<serde_json::Value>();
    let changed: FileRecord = client.get(&route::file(one.id)).await.json();
    assert_eq!(changed.file.magic_metadata, Some(magic(2, 4, b"one")));
    assert!(changed.updation_time > two.updation_time);
    update(&client, &both).await.json::<serde_json::Value>();
    let again: FileRecord = client.get(&route::file(one.id)).await.json();
    assert_eq!(again, changed, "an update whose answer was lost is not done twice");
    update(&client, &[(one.id, magic(1, 4, b"late"))]).await.refused(409, ErrorCode::VersionMismatch);
    update(&client, &[(one.id, magic(2, 1, b"poor"))]).await.refused(400, ErrorCode::Invalid);
    update(&client, &[(one.id, magic(2, 2, b"less"))]).await.json::<serde_json::Value>();
    update(&client, &[(99, magic(1, 2, b""))]).await.refused(404, ErrorCode::NotFound);

    let mut body = client.file_body(b"3", None).await;
    body.magic_metadata = None;
    let bare: FileRecord = client.post(route::FILES, &body).await.json();
    update(&client, &[(bare.id, magic(1, 1, b"x"))]).await.refused(409, ErrorCode::VersionMismatch);
    update(&client, &[(bare.id, magic(0, 1, b"x"))]).await.json::<serde_json::Value>();
    let bare: FileRecord = client.get(&route::file(bare.id)).await.json();
    assert_eq!(bare.file.magic_metadata, Some(magic(1, 1, b"x")));
}

#[tokio::test]
async fn a_removed_file_is_gone_and_stays_known_as_removed() {
    let world = World::new();
    let client = world.client().await;
    let body = client.file_body(&content(9000), Some(1)).await;
    let file: FileRecord = client.post(route::FILES, &body).await.json();
    let kept = client.add_file(b"kept", Some(2)).await;
    let wrong = FileRecord { file: NewFile { collection_id: 9, ..body.clone() }, ..file.clone() };
    trash(&client, &[&kept, &wrong]).await.refused(404, ErrorCode::NotFound);
    assert!(!client.get(&route::file(kept.id)).await.json::<FileRecord>().is_deleted, "all or none");
    let url = client.get(&route::download(file.id)).await.header("location").to_owned();
    trash(&client, &[&file]).await.json::<serde_json::Value>();
    let removed: FileRecord = client.get(&route::file(file.id)).await.json();
    assert!(removed.is_deleted && removed.updation_time > file.updation_time);
    trash(&client, &[&file]).await.json::<serde_json::Value>();
    assert_eq!(client.get(&route::file(file.id)).await.json::<FileRecord>(), removed, "removing twice is once");
    assert_eq!(client.get(&route::download(file.id)).await.status, StatusCode::GONE);
    assert_eq!(client.get(&route::preview(file.id)).await.status, StatusCode::GONE);
    client.get(&url).await.refused_xml(404, "NoSuchKey");
    update(&client, &[(file.id, magic(1, 3, b"x"))]).await.refused(404, ErrorCode::NotFound);
    assert_eq!(
        client.post(route::FILES, &body).await.json::<FileRecord>(),
        removed,
        "a late replay brings nothing back"
    );
    let reused = crate::world::new_upload(&body.file.object_key, b"x", 1);
    client.post(route::UPLOADS, &reused).await.refused(409, ErrorCode::InUse);
    assert_eq!(world.files("blobs").len(), 2, "the other file's objects are there");
    assert_eq!(world.audit(), Vec::<String>::new());
}

#[tokio::test]
async fn a_body_that_is_no_json_or_too_long_is_refused() {
    let world = World::new();
    let client = world.client().await;
    client.post(route::FILES, &"text").await.refused(400, ErrorCode::Invalid);
    let long = "x".repeat(landfall_protocol::JSON_BYTES_MAX);
    client.post(route::FILES, &long).await.refused(413, ErrorCode::TooLarge);
    client.get("/vault/nowhere").await.refused(404, ErrorCode::NotFound);
    client.delete(route::FILES).await.refused(405, ErrorCode::Invalid);
    let body = new_file(1, ("short", 1), (&key(), 1), None);
    client.post(route::FILES, &body).await.refused(400, ErrorCode::Invalid);
}
