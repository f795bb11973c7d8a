use axum::http::StatusCode;
use landfall_protocol::{
    CompletePart, CompleteUpload, ErrorCode, NewUpload, PartChecksum, SignRequest, UploadState, UploadStatus, route,
};

use crate::world::{World, checksum, completion, content, crc32c, key, new_upload};

#[tokio::test]
async fn an_object_of_one_part_is_stored_as_soon_as_the_part_has_arrived() {
    let world = World::new();
    let client = world.client().await;
    let (key, bytes) = (key(), content(1000));
    let status = client.open(&key, &bytes, 1000).await;
    assert_eq!((status.state, status.grants.len(), status.parts.len()), (UploadState::Open, 1, 0));
    let answer = client.put(&status.grants[0], bytes.clone()).await;
    assert_eq!(answer.header("etag"), format!("\"{:08x}\"", crc32c(&bytes)));
    let status: UploadStatus = client.get(&route::upload(&key)).await.json();
    assert_eq!((status.state, status.parts[0].crc32c), (UploadState::Stored, crc32c(&bytes)));
    let again = client.post(&route::complete(&key), &completion(&bytes, 1000)).await;
    assert_eq!(again.json::<UploadStatus>(), status);
}

#[tokio::test]
async fn opening_again_answers_with_what_has_arrived_and_signs_only_the_rest() {
    let world = World::new();
    let client = world.client().await;
    let (key, bytes) = (key(), content(2500));
    let status = client.open(&key, &bytes, 1000).await;
    client.put(&status.grants[1], bytes[1000..2000].to_vec()).await;
    let again = client.open(&key, &bytes, 1000).await;
    assert_eq!(again.parts.iter().map(|part| part.number).collect::<Vec<_>>(), [2]);
    assert_eq!(again.grants.iter().map(|grant| grant.number).collect::<Vec<_>>(), [1, 3]);
    let different = NewUpload { part_size: 1001, sign: vec![], ..new_upload(&key, &bytes, 1000) };
    client.post(route::UPLOADS, &different).await.refused(409, ErrorCode::UploadDiffers);
    let different = NewUpload { size: 2501, sign: vec![], ..new_upload(&key, &bytes, 1000) };
    client.post(route::UPLOADS, &different).await.refused(409, ErrorCode::UploadDiffers);
}

#[tokio::test]
async fn an_upload_beyond_the_limits_is_refused() {
    let world = World::new();
    let client = world.client().await;
    let upload = |size, part_size| NewUpload { object_key: key(), size, part_size, sign: vec![] };
    for new in [
        upload(0, 10),
        upload(10, 0),
        upload(10_001, 1),
        upload(10, (5 << 30) + 1),
        NewUpload { object_key: "A".repeat(32), ..upload(1, 1) },
        NewUpload { object_key: "a".repeat(31), ..upload(1, 1) },
        NewUpload { object_key: "../../../../../../../../../../ab".into(), ..upload(1, 1) },
        NewUpload { sign: vec![PartChecksum { number: 2, length: 1, crc32c: 0 }], ..upload(1, 1) },
        NewUpload { sign: vec![PartChecksum { number: 1, length: 2, crc32c: 0 }], ..upload(1, 1) },
    ] {
        client.post(route::UPLOADS, &new).await.refused(400, ErrorCode::Invalid);
    }
    client.post(route::UPLOADS, &upload((64 << 30) + 1, 5 << 30)).await.refused(413, ErrorCode::TooLarge);
    client.post(route::UPLOADS, &upload(u64::MAX, u64::MAX)).await.refused(400, ErrorCode::Invalid);
    assert_eq!(client.post(route::UPLOADS, &upload(10_000, 1)).await.status, StatusCode::OK);
    let parts = vec![PartChecksum { number: 1, length: 1, crc32c: 0 }; 1001];
    let many = NewUpload { sign: parts.clone(), ..upload(2000, 1) };
    client.post(route::UPLOADS, &many).await.refused(413, ErrorCode::TooLarge);
    let open = NewUpload { sign: vec![], ..many };
    client.post(route::UPLOADS, &open).await.json::<UploadStatus>();
    client.post(&route::sign(&open.object_key), &SignRequest { parts }).await.refused(413, ErrorCode::TooLarge);
}

#[tokio::test]
async fn completing_checks_every_part() {
    let world = World::new();
    let client = world.client().await;
    let (key, bytes) = (key(), content(2500));
    let status = client.open(&key, &bytes, 1000).await;
    let complete =
        async |parts: Vec<CompletePart>| client.post(&route::complete(&key), &CompleteUpload { parts }).await;
    let right = completion(&bytes, 1000).parts;
    for grant in &status.grants[..2] {
        let start = (grant.number as usize - 1) * 1000;
        client.put(grant, bytes[start..start + 1000].to_vec()).await;
    }
    complete(right.clone()).await.refused(409, ErrorCode::Incomplete);
    client.put(&status.grants[2], bytes[2000..].to_vec()).await;
    complete(right[..2].to_vec()).await.refused(409, ErrorCode::Incomplete);
    complete(vec![]).await.refused(409, ErrorCode::Incomplete);
    complete(vec![right[1], right[0], right[2]]).await.refused(400, ErrorCode::Invalid);
    let wrong = CompletePart { crc32c: 1, ..right[1] };
    complete(vec![right[0], wrong, right[2]]).await.refused(409, ErrorCode::Incomplete);
    let open: UploadStatus = client.get(&route::upload(&key)).await.json();
    assert_eq!(open.state, UploadState::Open);
    let first: UploadStatus = complete(right.clone()).await.json();
    assert_eq!(first.state, UploadState::Stored);
    assert_eq!(complete(right).await.json::<UploadStatus>(), first);
}

#[tokio::test]
async fn an_abandoned_upload_leaves_nothing_and_takes_nothing_more() {
    let world = World::new();
    let client = world.client().await;
    let (key, bytes) = (key(), content(2000));
    let status = client.open(&key, &bytes, 1000).await;
    client.put(&status.grants[0], bytes[..1000].to_vec()).await;
    assert_eq!(world.files("blobs").len(), 1);
    for _ in 0..2 {
        assert_eq!(client.delete(&route::upload(&key)).await.status, StatusCode::NO_CONTENT);
    }
    client.put(&status.grants[1], bytes[1000..].to_vec()).await.refused_xml(404, "NoSuchUpload");
    client.get(&route::upload(&key)).await.refused(404, ErrorCode::NoSuchUpload);
    client.post(&route::complete(&key), &completion(&bytes, 1000)).await.refused(404, ErrorCode::NoSuchUpload);
    let sign = SignRequest { parts: vec![checksum(1, &bytes[..1000])] };
    client.post(&route::sign(&key), &sign).await.refused(404, ErrorCode::NoSuchUpload);
    assert!(world.files("blobs").is_empty() && world.files("incoming").is_empty());
    assert_eq!(world.audit(), Vec::<String>::new());
}

#[tokio::test]
async fn an_object_is_abandoned_until_a_file_has_it() {
    let world = World::new();
    let client = world.client().await;
    let record = client.add_file(&content(5000), None).await;
    for key in [&record.file.file.object_key, &record.file.thumbnail.object_key] {
        client.delete(&route::upload(key)).await.refused(409, ErrorCode::InUse);
    }
    let unregistered = key();
    client.upload(&unregistered, b"stored", 10).await;
    assert_eq!(client.delete(&route::upload(&unregistered)).await.status, StatusCode::NO_CONTENT);
    assert_eq!(world.audit(), Vec::<String>::new());
}
