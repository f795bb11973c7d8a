use axum::http::Method;
use landfall_protocol::{
    AccountInfo, CollectionList, Diff, ErrorCode, FileRecord, MagicUpdate, MagicUpdates, RenewAssets, Renewal,
    RenewedAssets, SignRequest, TrashItem, TrashRequest, UploadStatus, route,
};

use crate::world::{Client, World, checksum, completion, key, magic, new_file};

#[tokio::test]
async fn every_route_answers_another_accounts_ids_with_404() {
    let world = World::new();
    let server = world.open().await;
    let ada = Client::with_token(&server, server.account_add("ada").await.unwrap().token.as_str());
    let eve = Client::with_token(&server, server.account_add("eve").await.unwrap().token.as_str());
    let file = ada.add_file(b"private", Some(1)).await;
    let open = key();
    ada.open(&open, b"open", 2).await;
    let attachment = ada.presign().await;
    ada.put_asset(&attachment, &b"attached"[..]).await;
    let lane = key();
    ada.append(&lane, "key", b"sealed").await;

    for path in [route::file(file.id), route::download(file.id), route::preview(file.id)] {
        eve.get(&path).await.refused(404, ErrorCode::NotFound);
    }
    for object in [&open, &file.file.file.object_key] {
        eve.get(&route::upload(object)).await.refused(404, ErrorCode::NoSuchUpload);
        let sign = SignRequest { parts: vec![checksum(1, b"op")] };
        eve.post(&route::sign(object), &sign).await.refused(404, ErrorCode::NoSuchUpload);
        eve.post(&route::complete(object), &completion(b"open", 2)).await.refused(404, ErrorCode::NoSuchUpload);
        assert_eq!(eve.delete(&route::upload(object)).await.status, 204, "as if it were not there");
    }
    let updates =
        MagicUpdates { metadata_list: vec![MagicUpdate { id: file.id, magic_metadata: magic(1, 3, b"eve") }] };
    let update = eve.json(Method::PUT, route::MAGIC_METADATA, &updates, &[]).await;
    update.refused(404, ErrorCode::NotFound);
    let item = TrashItem { file_id: file.id, collection_id: file.file.collection_id };
    eve.post(route::TRASH, &TrashRequest { items: vec![item] }).await.refused(404, ErrorCode::NotFound);
    let into_hers = eve.file_body(b"mine", None).await;
    let mut body = into_hers.clone();
    body.collection_id = file.file.collection_id;
    eve.post(route::FILES, &body).await.refused(404, ErrorCode::NotFound);
    let of_hers =
        new_file(into_hers.collection_id, (&file.file.file.object_key, 7), (&file.file.thumbnail.object_key, 9), None);
    eve.post(route::FILES, &of_hers).await.refused(404, ErrorCode::NoSuchUpload);
    eve.get(route::KEYS).await.refused(404, ErrorCode::NotFound);
    assert!(eve.get(&format!("{}?since=0", route::DIFF)).await.json::<Diff>().diff.is_empty());
    let list: CollectionList = eve.get(route::COLLECTIONS_LIST).await.json();
    assert!(list.collections.iter().all(|collection| collection.id != file.file.collection_id));

    let renew = RenewAssets { asset_keys: vec![attachment.object_key.clone()] };
    let renewed: RenewedAssets = eve.post(route::RENEW, &renew).await.json();
    assert_eq!(renewed.assets[0].renewal, Renewal::NotFound, "to read it is not to have it");
    assert!(eve.lane(&key()).await.messages.is_empty(), "only the lane itself leads to its messages");

    assert_eq!(ada.get(&route::file(file.id)).await.json::<FileRecord>(), file);
    let renewed: RenewedAssets = ada.post(route::RENEW, &renew).await.json();
    assert!(matches!(renewed.assets[0].renewal, Renewal::Renewed { .. }));
    ada.get(&route::upload(&open)).await.json::<UploadStatus>();
}

#[tokio::test]
async fn one_object_key_under_two_accounts_is_two_objects_and_one_tag_two_contents() {
    let world = World::new();
    let server = world.open().await;
    let shared = key();
    let mut files = Vec::new();
    for (name, content) in [("ada", b"hers"), ("eve", b"mine")] {
        let client = Client::with_token(&server, server.account_add(name).await.unwrap().token.as_str());
        let collection = client.collection().await;
        client.upload(&shared, content, 10).await;
        let thumbnail = key();
        client.upload(&thumbnail, b"t", 10).await;
        let body = new_file(collection.id, (&shared, 4), (&thumbnail, 1), Some(1));
        let record: FileRecord = client.post(route::FILES, &body).await.json();
        assert_eq!(record.owner_id, client.get(route::ACCOUNT).await.json::<AccountInfo>().account);
        files.push((client, record, content));
    }
    for (client, record, content) in files {
        let url = client.get(&route::download(record.id)).await.header("location").to_owned();
        assert_eq!(client.get(&url).await.body, content[..]);
    }
    assert_eq!(world.audit(), Vec::<String>::new());
}
