use axum::http::{Method, StatusCode};
use landfall_protocol::{AccountInfo, Base64, ErrorCode, FileRecord, KeyAttributes, route};
use landfall_server::AccountError;

use crate::world::{Client, World, content, keys};

#[tokio::test]
async fn a_fresh_vault_has_one_account_and_opening_it_is_the_authority() {
    let world = World::new();
    let server = world.open().await;
    let client = Client::embedded(&server).await;
    let info: AccountInfo = client.get(route::ACCOUNT).await.json();
    assert_eq!((info.account, info.grant_ttl_ms, info.object_bytes_max), (1, 15 * 60 * 1000, 64 << 30));
    assert_eq!(server.embedded_token(None).await.unwrap(), server.embedded_token(None).await.unwrap());
    assert_eq!(server.account_list().await.unwrap().len(), 1);

    let other = world.client().await;
    assert_ne!(other.token, client.token);
    assert_eq!(other.get(route::ACCOUNT).await.json::<AccountInfo>(), info, "one vault, one name");
    let elsewhere = Client { token: other.token, ..client };
    elsewhere.get(route::ACCOUNT).await.refused(401, ErrorCode::Unauthorized);
}

#[tokio::test]
async fn a_token_is_shown_once_and_works_in_every_process() {
    let world = World::new();
    let server = world.open().await;
    let ada = server.account_add("ada").await.unwrap();
    let bob = server.account_add("bob").await.unwrap();
    assert!(matches!(server.account_add("ada").await, Err(AccountError::NameTaken(_))));
    assert!(matches!(server.account_add("").await, Err(AccountError::NameInvalid)));
    assert!(matches!(server.embedded_token(None).await, Err(AccountError::Several(2))));
    assert!(matches!(server.embedded_token(Some("eve")).await, Err(AccountError::NotFound(_))));
    let second = server.token_add("ada").await.unwrap();
    let elsewhere = world.open().await;
    for (token, account) in [(&ada.token, ada.id), (&bob.token, bob.id), (&second, ada.id)] {
        let client = Client::with_token(&elsewhere, token.as_str());
        assert_eq!(client.get(route::ACCOUNT).await.json::<AccountInfo>().account, account);
    }
    assert!(!format!("{ada:?}").contains(ada.token.as_str()));
    drop((server, elsewhere));
    let database = std::fs::read(world.vault().join("server.db")).unwrap();
    let text = ada.token.as_str().as_bytes();
    assert!(!database.windows(text.len()).any(|window| window == text), "only hashes of tokens are kept");
}

#[tokio::test]
async fn a_wrong_or_missing_token_is_refused() {
    let world = World::new();
    let server = world.open().await;
    for token in ["", "nonsense", &"0".repeat(64)] {
        Client::with_token(&server, token).get(route::ACCOUNT).await.refused(401, ErrorCode::Unauthorized);
    }
}

#[tokio::test]
async fn keys_are_created_once_and_replaced_by_version() {
    let world = World::new();
    let client = world.client().await;
    client.get(route::KEYS).await.refused(404, ErrorCode::NotFound);
    let put = async |keys: &KeyAttributes, condition: (&str, &str)| {
        client.json(Method::PUT, route::KEYS, keys, &[condition]).await
    };
    let created = put(&keys(), ("if-none-match", "*")).await;
    assert_eq!(created.header("etag"), "\"1\"");
    assert_eq!(created.json::<KeyAttributes>(), KeyAttributes { version: 1, ..keys() });
    put(&keys(), ("if-none-match", "*")).await.refused(412, ErrorCode::KeysExist);
    put(&keys(), ("if-match", "\"2\"")).await.refused(412, ErrorCode::VersionMismatch);
    put(&keys(), ("if-match", "1")).await.refused(400, ErrorCode::Invalid);
    put(&keys(), ("accept", "*/*")).await.refused(400, ErrorCode::Invalid);
    let changed = KeyAttributes { encrypted_key: Base64(vec![20; 48]), ..keys() };
    put(&changed, ("if-match", "\"1\"")).await.json::<KeyAttributes>();
    put(&changed, ("if-match", "\"1\"")).await.refused(412, ErrorCode::VersionMismatch);
    let stored: KeyAttributes = client.get(route::KEYS).await.json();
    assert_eq!(stored, KeyAttributes { version: 2, ..changed });
}

#[tokio::test]
async fn keys_of_other_sizes_are_refused() {
    let world = World::new();
    let client = world.client().await;
    let wrong = [
        KeyAttributes { kek_salt: Base64(vec![0; 15]), ..keys() },
        KeyAttributes { encrypted_key: Base64(vec![0; 47]), ..keys() },
        KeyAttributes { recovery_key_decryption_nonce: Base64(vec![0; 12]), ..keys() },
        KeyAttributes { mem_limit: 1 << 40, ..keys() },
        KeyAttributes { ops_limit: 0, ..keys() },
    ];
    for keys in wrong {
        let answer = client.json(Method::PUT, route::KEYS, &keys, &[("if-none-match", "*")]).await;
        answer.refused(400, ErrorCode::Invalid);
    }
}

#[tokio::test]
async fn an_account_goes_with_its_contents_only_if_told_so() {
    let world = World::new();
    let server = world.open().await;
    let (anna, berta) = (server.account_add("anna").await.unwrap(), server.account_add("berta").await.unwrap());
    let (anna, berta) =
        (Client::with_token(&server, anna.token.as_str()), Client::with_token(&server, berta.token.as_str()));
    anna.add_file(&content(9000), Some(1)).await;
    let attachments = [anna.presign().await, berta.presign().await];
    anna.put_asset(&attachments[0], content(9000)).await;
    berta.put_asset(&attachments[1], content(9000)).await;
    let kept = berta.add_file(&content(9000), Some(1)).await;
    let files = world.files("blobs").len();
    let refused = server.account_remove("anna", false).await.unwrap_err();
    assert!(matches!(refused, AccountError::HasContents { contents: 2, .. }), "{refused}");
    assert_eq!(world.files("blobs").len(), files);
    assert_eq!(anna.get(route::ACCOUNT).await.status, StatusCode::OK);

    assert_eq!(server.account_remove("anna", true).await.unwrap(), 2);
    anna.get(route::ACCOUNT).await.refused(401, ErrorCode::Unauthorized);
    assert_eq!((world.files("blobs").len(), world.files("assets").len()), (files / 2, 1));
    berta.asset(&attachments[0]).await.refused_xml(404, "NoSuchKey");
    assert_eq!(berta.asset(&attachments[1]).await.status, StatusCode::OK);
    assert_eq!(berta.get(&route::file(kept.id)).await.json::<FileRecord>(), kept);
    assert_eq!(world.audit(), Vec::<String>::new());
    assert!(matches!(server.account_remove("anna", true).await, Err(AccountError::NotFound(_))));
    server.account_add("carla").await.unwrap();
    assert_eq!(server.account_remove("carla", false).await.unwrap(), 0);
}
