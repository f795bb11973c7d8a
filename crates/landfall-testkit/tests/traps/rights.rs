//! Keys that may not do everything, and gateways that know half of it.

use std::{sync::Arc, time::Duration};

use landfall::{RunEnd, RunOptions, Secret, Silent};
use landfall_testkit::bucket::{Credential, Profile};

use crate::world::{Answer, Fault, IfNoneMatch, MIB, On, Operation, Steering, World};

const SIZE: usize = 3 * MIB + 17;

/// A bucket that overwrites whatever is there, and keys that may not look.
async fn blind() -> World {
    let world = World::of(|profile| Profile {
        put_if_none_match: IfNoneMatch::Ignored,
        complete_if_none_match: IfNoneMatch::Ignored,
        ..profile
    })
    .await;
    let looks = [Operation::HeadObject, Operation::GetObject, Operation::ListObjectsV2];
    world.server.allow(Credential::default().denied(&looks, ""));
    world
}

#[tokio::test]
async fn keys_that_may_not_look_overwrite_nothing_that_is_not_guarded() {
    for size in [1000, SIZE] {
        let world = blind().await;
        world.server.put("a", b"somebody else's".to_vec());
        let item = world.upload("a", size).await;
        let (code, message) = item.blocked.expect("nobody knows what is there");
        assert_eq!(code.unwrap().as_str(), "access-denied");
        assert!(message.contains("s3:GetObject"), "{message}");
        assert_eq!(world.server.object("a").unwrap().bytes, b"somebody else's".as_slice());
        assert_eq!(world.server.incomplete_uploads().len(), 0);
    }
}

/// Keys that may list and not read see in the list whether something is there.
#[tokio::test]
async fn keys_that_may_list_and_not_read_put_what_is_new_and_nothing_in_place_of_another() {
    let world = World::of(|profile| Profile { put_if_none_match: IfNoneMatch::Ignored, ..profile }).await;
    world.server.allow(Credential::default().denied(&[Operation::HeadObject, Operation::GetObject], ""));
    let item = world.upload("a", 1000).await;
    world.assert_uploaded("a", 1000, &item).await;
    // One whose key begins with another's.
    world.server.put("b and more", b"somebody else's".to_vec());
    let item = world.upload("b", 1000).await;
    world.assert_uploaded("b", 1000, &item).await;
    world.server.put("c", b"somebody else's".to_vec());
    let item = world.upload("c", 1000).await;
    assert_eq!(item.blocked.unwrap().0.unwrap().as_str(), "access-denied");
    assert_eq!(world.server.object("c").unwrap().bytes, b"somebody else's".as_slice());
}

/// A bucket that looks itself takes what is new, and refuses the rest: that is found out by trying.
#[tokio::test]
async fn keys_that_may_not_look_upload_to_a_bucket_that_does() {
    for size in [1000, SIZE] {
        let world = World::new().await;
        // As Amazon says it to somebody who may not list: there is nothing to see where nothing is.
        let looks = [Operation::ListObjectsV2];
        world.server.allow(Credential::default().denied(&looks, ""));
        let item = world.upload("a", size).await;
        world.assert_uploaded("a", size, &item).await;
        world.server.put("b", b"somebody else's".to_vec());
        let item = world.upload("b", size).await;
        assert_eq!(item.blocked.unwrap().0.unwrap().as_str(), "key-taken");
        assert_eq!(world.server.objects().len(), 2, "what was tried is gone");
    }
}

#[tokio::test]
async fn keys_that_may_not_look_make_no_second_set_of_sealing_keys() {
    let world = blind().await;
    world.server.put(".landfall/keys.json", b"{}".to_vec());
    let password = Secret::Password("a password of some length".to_owned().into());
    assert!(world.bucket.unlock(password).await.is_err());
    assert_eq!(world.server.object(".landfall/keys.json").unwrap().bytes, b"{}".as_slice());
}

/// What such keys are told to overwrite is sent once, and then a person is needed: nobody can say that it is done. Once
/// somebody may look, it is.
#[tokio::test]
async fn an_upload_that_nobody_may_look_at_is_sent_once() {
    let world = blind().await;
    let path = world.file("a", SIZE);
    let item = world.enqueue_path(&path, "a", true).await;
    for _ in 0..2 {
        world.run().await;
        assert_eq!(world.item(item).await.blocked.unwrap().0.unwrap().as_str(), "access-denied");
        assert_eq!(world.engine.retry(Some(vec![item])).await.unwrap(), 1);
    }
    world.server.allow(Credential::default());
    world.run().await;
    world.assert_uploaded("a", SIZE, &world.item(item).await).await;
    assert_eq!(world.requests(Operation::CompleteMultipartUpload).len(), 1);
    assert_eq!(world.requests(Operation::UploadPart).len(), 4);
}

/// Only what is needed is tried: whoever puts short files need not be able to abort anything.
#[tokio::test]
async fn keys_that_may_only_put_find_out_about_no_more_than_that() {
    let world = World::new().await;
    let rest = [
        Operation::HeadObject,
        Operation::GetObject,
        Operation::ListObjectsV2,
        Operation::CreateMultipartUpload,
        Operation::AbortMultipartUpload,
    ];
    world.server.allow(Credential::default().denied(&rest, ""));
    let item = world.upload("a", 1000).await;
    world.assert_uploaded("a", 1000, &item).await;
    assert_eq!(world.requests(Operation::CreateMultipartUpload).len(), 0);
}

/// What was opened to find out whether the bucket guards, and cannot be aborted, is not forgotten.
#[tokio::test]
async fn an_upload_that_was_opened_to_find_out_something_is_aborted_when_that_is_allowed() {
    let world = World::new().await;
    world.server.allow(Credential::default().denied(&[Operation::ListObjectsV2, Operation::AbortMultipartUpload], ""));
    let item = world.upload("a", SIZE).await;
    assert_eq!(item.state, "done", "{:?}", item.blocked);
    assert_eq!(world.server.incomplete_uploads().len(), 1);
    world.server.allow(Credential::default());
    world.run().await;
    assert_eq!(world.server.incomplete_uploads().len(), 0);
}

/// As Amazon refuses a session that is over: a HEAD has no words for it.
#[tokio::test]
async fn a_head_that_is_refused_without_a_word_is_explained_by_a_question_that_has_words() {
    let world = World::new().await;
    world.server.script(On::every(Operation::HeadObject), Fault::Answer(Answer::empty(400)));
    world.server.script(On::every(Operation::ListObjectsV2), Fault::Answer(Answer::error(400, "ExpiredToken")));
    let item = world.upload("a", SIZE).await;
    assert_eq!(item.blocked.unwrap().0.unwrap().as_str(), "credentials-expired");
}

#[tokio::test]
async fn an_upload_that_a_gateway_opened_and_denied_is_aborted() {
    let world = World::new().await;
    world.server.script(On::first(Operation::CreateMultipartUpload), Fault::EffectThenAnswer(Answer::empty(502)));
    let item = world.upload("a", SIZE).await;
    world.assert_uploaded("a", SIZE, &item).await;
    assert_eq!(world.requests(Operation::CreateMultipartUpload).len(), 2);
}

/// The object is ours, whatever the bucket says; the upload that brought it is seen to be closed.
#[tokio::test]
async fn an_upload_whose_object_is_there_already_is_closed() {
    let world = World::new().await;
    let taken = Fault::EffectThenAnswer(Answer::error(412, "PreconditionFailed"));
    world.server.script(On::first(Operation::CompleteMultipartUpload), taken);
    let item = world.upload("a", SIZE).await;
    world.assert_uploaded("a", SIZE, &item).await;
    assert_eq!(world.requests(Operation::AbortMultipartUpload).len(), 1);
}

/// It answers all questions, so that it looks as if it were there.
#[tokio::test]
async fn a_bucket_that_answers_and_takes_nothing_is_waited_for_no_longer_than_the_patience() {
    for (operation, size) in [(Operation::CreateMultipartUpload, SIZE), (Operation::PutObject, 1000)] {
        let world = World::of(|profile| Profile { put_if_none_match: IfNoneMatch::Ignored, ..profile }).await;
        world.upload("before", 10).await;
        world.server.script(On::every(operation), Fault::Answer(Answer::error(503, "SlowDown")));
        world.enqueue("a", size).await;
        let options = RunOptions { patience: Some(Duration::from_millis(400)), ..RunOptions::default() };
        let run = world.bucket.run(options, Arc::new(Silent));
        let report = tokio::time::timeout(Duration::from_secs(30), run).await.expect("it ends").unwrap();
        assert!(matches!(report.end, RunEnd::Away(_)), "{:?}", report.end);
        world.server.clear_script();
        // And the next run does not begin where this one has ended.
        world.run().await;
        assert!(world.server.object("a").is_some());
    }
}

/// Whoever asks two things and is answered only one gets no further, although the bucket is there.
#[tokio::test]
async fn a_bucket_that_answers_one_question_of_two_is_waited_for_no_longer_than_the_patience() {
    let world = World::new().await;
    world.server.script(On::every(Operation::CompleteMultipartUpload), Fault::Answer(Answer::empty(504)));
    world.server.script(On::every(Operation::ListParts), Fault::Answer(Answer::error(503, "SlowDown")));
    world.enqueue("a", SIZE).await;
    let options = RunOptions { patience: Some(Duration::from_millis(400)), ..RunOptions::default() };
    let run = world.bucket.run(options, Arc::new(Silent));
    let report = tokio::time::timeout(Duration::from_secs(30), run).await.expect("it ends").unwrap();
    assert!(matches!(report.end, RunEnd::Away(_)), "{:?}", report.end);
}

/// Bytes that move show that it is there, however long they take.
#[tokio::test]
async fn a_slow_line_is_no_outage() {
    let steering = Steering { bandwidth: Some("1M"), stall: Duration::from_secs(20), ..Steering::default() };
    let world = World::with(steering).await;
    world.server.script(On::first(Operation::UploadPart), Fault::Answer(Answer::error(503, "SlowDown")));
    let item = world.enqueue("a", 2 * MIB).await;
    let options = RunOptions { patience: Some(Duration::from_millis(400)), ..RunOptions::default() };
    let report = world.bucket.run(options, Arc::new(Silent)).await.unwrap();
    assert_eq!(report.end, RunEnd::Drained);
    assert_eq!(world.item(item).await.state, "done");
}

/// Also where it is only to be found out what it can do.
#[tokio::test]
async fn a_bucket_that_is_full_is_not_asked_without_a_pause() {
    let world = World::new().await;
    world.server.script(On::every(Operation::PutObject), Fault::Answer(Answer::error(507, "QuotaExceeded")));
    world.enqueue("a", 1000).await;
    let options = RunOptions { patience: Some(Duration::from_millis(400)), ..RunOptions::default() };
    let report = world.bucket.run(options, Arc::new(Silent)).await.unwrap();
    assert!(matches!(report.end, RunEnd::Away(_)), "{:?}", report.end);
    // At most every 10 milliseconds, for less than a second.
    let asked = world.requests(Operation::PutObject).len();
    assert!(asked < 200, "{asked}");
}
