use axum::http::StatusCode;
use futures_util::future::join_all;
use landfall_protocol::{
    ErrorCode, IDEMPOTENCY_KEY_BYTES_MAX, LaneMessage, LanePage, MESSAGE_BYTES_MAX, MessageReceipt, route,
};
use sha2::{Digest as _, Sha256};

use crate::world::{Client, World, key};

async fn page(client: &Client, lane: &str, query: &str) -> LanePage {
    client.get(&format!("{}?{query}", route::messages(lane))).await.json()
}

fn numbers(page: &LanePage) -> Vec<u64> {
    page.messages.iter().map(|message| message.number).collect()
}

#[tokio::test]
async fn a_message_is_appended_once_however_often_it_is_sent() {
    let world = World::new();
    let (client, lane) = (world.client().await, key());
    let first = client.append(&lane, "k-1", b"sealed").await;
    assert_eq!(first.status, StatusCode::CREATED);
    let receipt: MessageReceipt = first.json();
    let hash = Sha256::digest([lane.as_bytes(), b"\tk-1\tsealed"].concat());
    assert_eq!(receipt.id, hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    assert_eq!(receipt.number, 1);
    let again = client.append(&lane, "k-1", b"sealed").await;
    assert_eq!(again.status, StatusCode::OK);
    assert_eq!(again.json::<MessageReceipt>(), receipt);
    client.append(&lane, "k-1", b"other").await.refused(409, ErrorCode::MessageDiffers);
    let elsewhere: MessageReceipt = client.append(&key(), "k-1", b"other").await.json();
    assert_eq!(elsewhere.number, 1, "a key tells messages of one lane apart");

    let second: MessageReceipt = client.append(&lane, "k-2", b"sealed").await.json();
    assert_eq!(second.number, 2);
    let page = client.lane(&lane).await;
    let message = |receipt: MessageReceipt| LaneMessage {
        number: receipt.number,
        id: receipt.id,
        body: b"sealed".to_vec().into(),
        created_at_ms: 1_700_000_000_000,
    };
    assert_eq!(page, LanePage { messages: vec![message(receipt), message(second)], next: 2, has_more: false });
    assert_eq!(world.audit(), Vec::<String>::new());
}

#[tokio::test]
async fn a_lane_is_read_in_order_page_by_page_and_goes_on_where_it_was() {
    let world = World::new();
    let (client, lane) = (world.client().await, key());
    for number in 1..=5 {
        client.append(&lane, &number.to_string(), &[number]).await;
    }
    let first = page(&client, &lane, "limit=2").await;
    assert_eq!((numbers(&first), first.next, first.has_more), (vec![1, 2], 2, true));
    let second = page(&client, &lane, &format!("after={}&limit=2", first.next)).await;
    assert_eq!((numbers(&second), second.next, second.has_more), (vec![3, 4], 4, true));
    let last = page(&client, &lane, &format!("after={}&limit=2", second.next)).await;
    assert_eq!((numbers(&last), last.next, last.has_more), (vec![5], 5, false));
    let none = page(&client, &lane, &format!("after={}", last.next)).await;
    assert_eq!(none, LanePage { messages: Vec::new(), next: 5, has_more: false });
    client.append(&lane, "6", b"6").await;
    assert_eq!(numbers(&page(&client, &lane, "after=5").await), [6]);
    assert_eq!(numbers(&page(&client, &lane, &format!("after={}", u64::MAX)).await), [0_u64; 0]);
    assert_eq!(numbers(&page(&client, &lane, "limit=0").await), [1]);
    for query in ["after=x", "after=-1", "limit=x"] {
        let answer = client.get(&format!("{}?{query}", route::messages(&lane))).await;
        answer.refused(400, ErrorCode::Invalid);
    }
}

#[tokio::test]
async fn a_page_of_large_messages_fits_in_one_answer() {
    let world = World::new();
    let (client, lane) = (world.client().await, key());
    for number in 0..20 {
        let answer = client.append(&lane, &number.to_string(), &vec![number; MESSAGE_BYTES_MAX]).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    }
    let mut read = Vec::new();
    loop {
        let after = read.last().copied().unwrap_or(0);
        let answer = client.get(&format!("{}?after={after}", route::messages(&lane))).await;
        assert!(answer.body.len() < landfall_protocol::JSON_BYTES_MAX);
        let page: LanePage = answer.json();
        read.extend(numbers(&page));
        if !page.has_more {
            break;
        }
    }
    assert_eq!(read, (1..=20).collect::<Vec<_>>());
}

#[tokio::test]
async fn whoever_knows_a_lane_reads_and_writes_it_and_nobody_learns_of_another() {
    let world = World::new();
    let server = world.open().await;
    let ada = Client::with_token(&server, server.account_add("ada").await.unwrap().token.as_str());
    let eve = Client::with_token(&server, server.account_add("eve").await.unwrap().token.as_str());
    let lane = key();
    ada.append(&lane, "a", b"from ada").await;
    let answer: MessageReceipt = eve.append(&lane, "e", b"from eve").await.json();
    assert_eq!(answer.number, 2);
    assert_eq!(ada.lane(&lane).await, eve.lane(&lane).await);
    let empty = LanePage { messages: Vec::new(), next: 0, has_more: false };
    assert_eq!(eve.lane(&key()).await, empty, "one that nobody wrote to");
    for lane in ["short", &"A".repeat(32), &"0".repeat(33)] {
        eve.get(&route::messages(lane)).await.refused(400, ErrorCode::Invalid);
        eve.append(lane, "k", b"x").await.refused(400, ErrorCode::Invalid);
    }
    let nobody = Client { token: "nonsense".into(), ..eve };
    nobody.get(&route::messages(&lane)).await.refused(401, ErrorCode::Unauthorized);
    nobody.append(&lane, "k", b"x").await.refused(401, ErrorCode::Unauthorized);
}

#[tokio::test]
async fn a_message_beyond_the_limits_is_refused_and_leaves_nothing() {
    let world = World::new();
    let change = |config: &mut landfall_server::ServerConfig| {
        config.lane_messages_max = 2;
        config.message_bytes_max = 3 * (256 + 10);
    };
    let server = world.open_with(change).await;
    let client = Client::embedded(&server).await;
    let (lane, other) = (key(), key());
    let long = "k".repeat(IDEMPOTENCY_KEY_BYTES_MAX + 1);
    for bad in ["", "a b", "tab\t", "ä", &long] {
        client.append(&lane, bad, b"x").await.refused(400, ErrorCode::Invalid);
    }
    client.append(&lane, "k", b"").await.refused(400, ErrorCode::Invalid);
    client.append(&lane, "k", &vec![0; MESSAGE_BYTES_MAX + 1]).await.refused(413, ErrorCode::TooLarge);
    for key in ["1", "2"] {
        assert_eq!(client.append(&lane, key, &[0; 10]).await.status, StatusCode::CREATED);
    }
    client.append(&lane, "3", b"x").await.refused(413, ErrorCode::TooLarge);
    client.append(&other, "1", &[0; 11]).await.refused(413, ErrorCode::TooLarge);
    assert_eq!(client.append(&other, "1", &[0; 10]).await.status, StatusCode::CREATED);
    client.append(&other, "2", b"x").await.refused(413, ErrorCode::TooLarge);
    assert_eq!(client.append(&lane, "1", &[0; 10]).await.status, StatusCode::OK, "it is there already");
    assert_eq!(world.audit(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_two_processes_append_at_once_is_one_message_and_numbers_have_no_gap() {
    let world = World::threaded();
    let clients = [world.client().await, world.client().await];
    let lane = key();
    for round in 0..10_u8 {
        let keys = [format!("same-{round}"), format!("one-{round}")];
        let same = (0..4).map(|index| clients[index % 2].append(&lane, &keys[0], b"sealed"));
        let answers = join_all(same).await;
        let created = answers.iter().filter(|answer| answer.status == StatusCode::CREATED).count();
        assert_eq!(created, 1);
        let receipts: Vec<MessageReceipt> = answers.iter().map(|answer| answer.json()).collect();
        assert!(receipts.iter().all(|receipt| *receipt == receipts[0]));
        let bodies = [[round, 0], [round, 1]];
        let differing = clients.iter().zip(&bodies).map(|(client, body)| client.append(&lane, &keys[1], body));
        let mut statuses: Vec<u16> = join_all(differing).await.iter().map(|answer| answer.status.as_u16()).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409], "one of two bodies under one key");
    }
    assert_eq!(numbers(&clients[0].lane(&lane).await), (1..=20).collect::<Vec<_>>());
    assert_eq!(world.audit(), Vec::<String>::new());
}

#[tokio::test]
async fn messages_stay_in_their_lane_when_their_account_is_removed() {
    let world = World::new();
    let server = world.open().await;
    let ada = Client::with_token(&server, server.account_add("ada").await.unwrap().token.as_str());
    let eve = Client::with_token(&server, server.account_add("eve").await.unwrap().token.as_str());
    let lane = key();
    ada.append(&lane, "a", b"from ada").await;
    eve.append(&lane, "e", b"from eve").await;
    let before = eve.lane(&lane).await;
    assert_eq!(server.account_remove("ada", false).await.unwrap(), 0);
    assert_eq!(eve.lane(&lane).await, before);
    assert_eq!(world.audit(), Vec::<String>::new());
}
