//! Traps around the source: it changes, it vanishes, it is sealed.

use std::sync::Arc;

use landfall::{RunOptions, Silent};
use landfall_env::Sabotage;

use crate::world::{Fault, Gate, MIB, On, Operation, Steering, World, content};

const SIZE: usize = 4 * MIB;

/// Trap 8: a file that changes while it is sent makes no object of two halves.
#[tokio::test]
async fn trap_08_a_file_that_changes_while_it_is_sent_is_uploaded_as_it_is_now() {
    let (world, bytes) = changed_in_the_middle(Steering::default()).await;
    let object = world.server.object("a").expect("the object is there");
    assert!(object.bytes == bytes, "all of it is of one file");
    assert_eq!(world.server.incomplete_uploads().len(), 0, "what was sent of the old bytes is aborted");
    assert_eq!(world.requests(Operation::CreateMultipartUpload).len(), 2);
}

/// Without the check there would be two halves: the test above can fail.
#[tokio::test]
async fn without_the_check_a_changed_file_makes_an_object_of_two_halves() {
    let mut steering = Steering { sabotage: Some(Sabotage::SkipMacCheck), ..Steering::default() };
    steering.profile.checksums = crate::world::Checksums::Ignored;
    // Nor does the bucket look at anything.
    steering.profile.payload_hash = false;
    let (world, bytes) = changed_in_the_middle(steering).await;
    let object = world.server.object("a").expect("an object is there").bytes;
    assert!(object[..MIB] == content(SIZE)[..MIB], "it begins with what the file was");
    assert!(object[3 * MIB..] == bytes[3 * MIB..], "and ends with what it is");
}

/// Changes a file after its first parts have arrived; gives the bytes that it has then.
async fn changed_in_the_middle(steering: Steering) -> (World, Vec<u8>) {
    let world = World::with(Steering { parts: 1, ..steering }).await;
    let item = world.enqueue("a", SIZE).await;
    let gate = Gate::new();
    world.server.script(On::first(Operation::UploadPart).part(3), Fault::HoldRequest(gate.clone()));
    let mut bytes = content(SIZE);
    bytes[..MIB].reverse();
    bytes[3 * MIB..].reverse();
    let (path, changed) = (world.file_path("a"), bytes.clone());
    let meanwhile = async {
        world.server.until(|state| state.incomplete_uploads().any(|upload| upload.parts.len() == 2)).await;
        std::fs::write(path, changed).unwrap();
        gate.open();
    };
    tokio::join!(world.run(), meanwhile);
    let item = world.item(item).await;
    assert!(item.state == "done" || item.state == "blocked", "{item:?}");
    (world, bytes)
}

#[tokio::test]
async fn a_file_that_vanishes_is_blocked_and_nothing_of_it_is_left() {
    let world = World::new().await;
    let item = world.enqueue("a", SIZE).await;
    let gate = Gate::new();
    world.server.script(On::first(Operation::CreateMultipartUpload), Fault::HoldRequest(gate.clone()));
    let path = world.file_path("a");
    let meanwhile = async {
        world.server.until(|state| state.requests_for(Operation::CreateMultipartUpload).next().is_some()).await;
        std::fs::remove_file(&path).unwrap();
        gate.open();
    };
    tokio::join!(world.run(), meanwhile);
    let blocked = world.item(item).await.blocked.unwrap();
    assert_eq!(blocked.0.unwrap().as_str(), "source-vanished");
    assert_eq!(world.server.incomplete_uploads().len(), 0);
    world.file("a", SIZE);
    world.engine.retry(None).await.unwrap();
    world.run().await;
    let item = world.item(item).await;
    world.assert_uploaded("a", SIZE, &item).await;
}

/// Two processes over one home: each upload is done once.
#[tokio::test]
async fn two_processes_upload_each_file_once() {
    let mut world = World::new().await;
    let first = world.bucket.clone();
    world.restarted().await;
    for number in 0..12 {
        world.enqueue(&format!("file-{number}"), 1000 + number).await;
    }
    let options = RunOptions::default;
    let (one, other) =
        tokio::join!(first.run(options(), Arc::new(Silent)), world.bucket.run(options(), Arc::new(Silent)));
    one.unwrap();
    other.unwrap();
    let puts = world.requests(Operation::PutObject).into_iter().filter(|put| put.key.starts_with("file-"));
    assert_eq!(puts.count(), 12);
    assert_eq!(world.server.objects().len(), 12);
}

#[tokio::test]
async fn an_empty_file_is_an_empty_object() {
    let world = World::new().await;
    let item = world.upload("empty", 0).await;
    world.assert_uploaded("empty", 0, &item).await;
}
