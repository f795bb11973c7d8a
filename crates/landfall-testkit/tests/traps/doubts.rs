//! What a bucket says that it holds is looked at before it is believed.

use landfall_env::Sabotage;
use landfall_testkit::bucket::Object;

use crate::world::{Answer, Fault, Gate, MIB, On, Operation, Steering, World};

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
