//! What a bucket says that it holds is looked at before it is believed.

use landfall::ItemSummary;
use landfall_env::Sabotage;
use landfall_testkit::bucket::{Object, Profile};

use crate::world::{Answer, Fault, Gate, IfNoneMatch, MIB, On, Operation, Steering, World};

const SIZE: usize = 3 * MIB + 17;

/// How a HEAD may differ from what was sent.
#[derive(Debug, Clone, Copy)]
enum Difference {
    Length,
    Checksum,
    Tag,
}

/// What a HEAD says of an object, but for one thing.
fn head_of(object: &Object, difference: Difference) -> Answer {
    let (mut length, mut tag) = (object.bytes.len(), object.headers["x-amz-meta-landfall-id"].clone());
    let mut answer = Answer::empty(200).with_header("etag", &object.etag);
    match difference {
        Difference::Length => length -= 1,
        Difference::Checksum => answer = answer.with_header("x-amz-checksum-crc64nvme", "AAAAAAAAAAA="),
        Difference::Tag => tag = "0".repeat(32),
    }
    answer.with_header("content-length", &length.to_string()).with_header("x-amz-meta-landfall-id", &tag)
}

/// Uploads a file whose first HEAD after its end differs in one thing; gives the world and how often that was noticed.
async fn doubted(steering: Steering, difference: Difference) -> (World, usize) {
    let world = World::with(steering).await;
    let gate = Gate::new();
    world.server.script(On::first(Operation::CompleteMultipartUpload), Fault::HoldAnswer(gate.clone()));
    let item = world.enqueue("a", SIZE).await;
    let meanwhile = async {
        world.server.until(|state| state.object("a").is_some()).await;
        let answer = head_of(&world.server.object("a").unwrap(), difference);
        world.server.script(On::first(Operation::HeadObject).key("a"), Fault::Answer(answer));
        gate.open();
    };
    tokio::join!(world.run(), meanwhile);
    let noticed = world.happened(item, "refuted").await;
    let item = world.item(item).await;
    world.assert_uploaded("a", SIZE, &item).await;
    (world, noticed)
}

#[tokio::test]
async fn an_object_is_done_only_when_its_length_its_checksum_and_its_tag_are_those_that_were_sent() {
    for difference in [Difference::Length, Difference::Checksum, Difference::Tag] {
        let (_, noticed) = doubted(Steering::default(), difference).await;
        assert_eq!(noticed, 1, "{difference:?}");
    }
}

/// Without the comparison it would be done: the test above can fail.
#[tokio::test]
async fn without_the_comparison_another_length_or_checksum_is_believed() {
    for difference in [Difference::Length, Difference::Checksum] {
        let steering = Steering { sabotage: Some(Sabotage::SkipProof), ..Steering::default() };
        let (_, noticed) = doubted(steering, difference).await;
        assert_eq!(noticed, 0, "{difference:?}");
    }
}

/// A bucket that never shows what it took is not given it for ever.
#[tokio::test]
async fn a_bucket_that_keeps_showing_something_else_needs_a_person() {
    let world = World::new().await;
    let other = Answer::empty(200).with_header("content-length", "5").with_header("etag", "\"e\"");
    let gate = Gate::new();
    world.server.script(On::first(Operation::CompleteMultipartUpload), Fault::HoldAnswer(gate.clone()));
    let item = world.enqueue_path(&world.file("a", SIZE), "a", true).await;
    let meanwhile = async {
        world.server.until(|state| state.object("a").is_some()).await;
        world.server.script(On::every(Operation::HeadObject).key("a"), Fault::Answer(other));
        gate.open();
    };
    tokio::join!(world.run(), meanwhile);
    let (code, message) = world.item(item).await.blocked.expect("somebody has to look");
    assert_eq!(code.unwrap().as_str(), "bad-answer", "{message}");
    assert_eq!(world.requests(Operation::CompleteMultipartUpload).len(), 3);
}

/// A bucket that drops what it holds is not sent it for ever. Whoever says `retry` has seen to it.
#[tokio::test]
async fn a_bucket_that_keeps_dropping_open_uploads_needs_a_person() {
    let world = World::new().await;
    world
        .server
        .script(On::every(Operation::CompleteMultipartUpload), Fault::Answer(Answer::error(404, "NoSuchUpload")));
    world.server.script(On::every(Operation::ListParts), Fault::Answer(Answer::error(404, "NoSuchUpload")));
    let item = world.enqueue("a", SIZE).await;
    world.run().await;
    let (_, message) = world.item(item).await.blocked.expect("somebody has to look");
    assert!(message.contains("dropped"), "{message}");
    assert_eq!(world.times_sent(1), 3);
    world.server.clear_script();
    assert_eq!(world.engine.retry(Some(vec![item])).await.unwrap(), 1);
    world.run().await;
    assert_eq!(world.item(item).await.state, "done");
}

/// Something of ours that arrived and that we gave up lies under `a`; other bytes are to go there now.
async fn with_leftover(operation: Operation, is_known: bool) -> World {
    let world = World::new().await;
    if is_known {
        // From here on it is left to the bucket to look what is there.
        world.bucket.test().await.unwrap();
    }
    world.server.script(On::first(operation).key("a"), Fault::HoldAnswer(Gate::new()));
    let size = if operation == Operation::PutObject { 10 } else { 2 * MIB };
    let item = world.enqueue("a", size).await;
    let meanwhile = async {
        world.server.until(|state| state.object("a").is_some()).await;
        world.engine.cancel(vec![item]).await.unwrap();
    };
    tokio::join!(world.run(), meanwhile);
    world
}

/// In one request and of parts; where the bucket is known to guard, and where it is not.
const WAYS: [(Operation, usize, bool); 4] = [
    (Operation::PutObject, 1000, false),
    (Operation::PutObject, 1000, true),
    (Operation::CompleteMultipartUpload, SIZE, false),
    (Operation::CompleteMultipartUpload, SIZE, true),
];

/// Uploads over a leftover; at the moment when it is to be replaced, something happens to it.
async fn uploaded_over_leftover(way: (Operation, usize, bool), change: impl FnOnce(&World)) -> (World, ItemSummary) {
    let (operation, size, is_known) = way;
    let world = with_leftover(operation, is_known).await;
    // Where the bucket looks itself, the first request finds the leftover.
    let replaces = 1 + usize::from(is_known);
    let (earlier, gate) = (world.requests(operation).len(), Gate::new());
    world.server.script(On::nth(operation, replaces as u64).key("a"), Fault::HoldRequest(gate.clone()));
    let item = world.enqueue("a", size).await;
    let meanwhile = async {
        world.server.until(|state| state.requests_for(operation).count() == earlier + replaces).await;
        change(&world);
        gate.open();
    };
    tokio::join!(world.run(), meanwhile);
    let item = world.item(item).await;
    (world, item)
}

#[tokio::test]
async fn what_a_home_left_without_ever_calling_it_done_is_replaced() {
    for way in WAYS {
        let (world, item) = uploaded_over_leftover(way, |_| {}).await;
        world.assert_uploaded("a", way.1, &item).await;
    }
}

/// The leave to replace is for the one object that was seen.
#[tokio::test]
async fn what_takes_the_place_of_a_leftover_at_the_last_moment_is_not_replaced() {
    for way in WAYS {
        let other = b"somebody else's".as_slice();
        let (world, item) = uploaded_over_leftover(way, |world| world.server.put("a", other)).await;
        assert_eq!(item.blocked.unwrap().0.unwrap().as_str(), "key-taken", "{way:?}");
        assert_eq!(world.server.object("a").unwrap().bytes, other);
    }
}

#[tokio::test]
async fn a_leftover_that_is_gone_at_the_last_moment_is_no_hindrance() {
    for way in WAYS {
        let (world, item) = uploaded_over_leftover(way, |world| world.server.remove("a")).await;
        world.assert_uploaded("a", way.1, &item).await;
    }
}

/// What we sent and the bucket damaged is replaced in its place, also where the bucket looks itself; no try leaves its parts.
#[tokio::test]
async fn an_object_of_ours_that_the_bucket_damaged_is_replaced() {
    for is_known in [false, true] {
        let world = World::new().await;
        if is_known {
            world.bucket.test().await.unwrap();
        }
        let (gate, complete) = (Gate::new(), Operation::CompleteMultipartUpload);
        world.server.script(On::first(complete).key("a"), Fault::HoldAnswer(gate.clone()));
        let item = world.enqueue("a", SIZE).await;
        let meanwhile = async {
            world.server.until(|state| state.object("a").is_some()).await;
            world.server.damage("a");
            gate.open();
        };
        tokio::join!(world.run(), meanwhile);
        assert_eq!(world.happened(item, "refuted").await, 1);
        let item = world.item(item).await;
        world.assert_uploaded("a", SIZE, &item).await;
    }
}

/// Ceph compares the ETag with its quotes, and so refuses every one.
#[tokio::test]
async fn a_bucket_that_refuses_to_replace_what_it_shows_is_looked_at_instead() {
    for is_known in [false, true] {
        let world = with_leftover(Operation::PutObject, is_known).await;
        let refused = Fault::Answer(Answer::error(412, "PreconditionFailed"));
        world.server.script(On::nth(Operation::PutObject, 1 + u64::from(is_known)).key("a"), refused);
        let item = world.upload("a", 1000).await;
        world.assert_uploaded("a", 1000, &item).await;
    }
}

/// What is said of the one condition teaches nothing of the other.
#[tokio::test]
async fn what_a_bucket_makes_of_replacing_says_nothing_of_how_it_guards() {
    // One that knows `If-None-Match` alone.
    let world = with_leftover(Operation::PutObject, true).await;
    let unknown = Fault::Answer(Answer::error(501, "NotImplemented"));
    world.server.script(On::nth(Operation::PutObject, 2).key("a"), unknown);
    let item = world.upload("a", 1000).await;
    world.assert_uploaded("a", 1000, &item).await;
    world.upload("b", 1000).await;
    let last = world.requests(Operation::PutObject).pop().unwrap();
    assert!(last.headers.contains_key("if-none-match"), "it still guards");
    // One that knows neither, and refuses something else that looks like it.
    let world = World::of(|profile| Profile { put_if_none_match: IfNoneMatch::Ignored, ..profile }).await;
    world.server.script(On::first(Operation::PutObject).key("a"), Fault::HoldAnswer(Gate::new()));
    let item = world.enqueue("a", 10).await;
    let meanwhile = async {
        world.server.until(|state| state.object("a").is_some()).await;
        world.engine.cancel(vec![item]).await.unwrap();
    };
    tokio::join!(world.run(), meanwhile);
    let refused = Fault::Answer(Answer::error(412, "PreconditionFailed"));
    world.server.script(On::first(Operation::PutObject).key("a"), refused);
    world.upload("a", 1000).await;
    world.server.put("b", b"somebody else's".to_vec());
    let item = world.upload("b", 1000).await;
    assert_eq!(item.blocked.unwrap().0.unwrap().as_str(), "key-taken");
}

/// A bucket that keeps the upload and drops a part of it is not sent that part for ever.
#[tokio::test]
async fn a_bucket_that_keeps_dropping_parts_needs_a_person() {
    let world = World::new().await;
    let invalid = Fault::Answer(Answer::error(400, "InvalidPart"));
    world.server.script(On::every(Operation::CompleteMultipartUpload), invalid);
    let none = "<ListPartsResult><Bucket>media</Bucket><Key>a</Key><IsTruncated>false</IsTruncated></ListPartsResult>";
    world.server.script(On::every(Operation::ListParts), Fault::Answer(Answer::empty(200).with_body(none)));
    let item = world.upload("a", SIZE).await;
    let (_, message) = item.blocked.expect("somebody has to look");
    assert!(message.contains("dropped"), "{message}");
    assert_eq!(world.times_sent(1), 3);
}
