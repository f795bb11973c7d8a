//! Traps around the end of an upload: what is there, and whose is it?

use std::time::Duration;

use landfall::bucket::Orphan;
use landfall_testkit::bucket::{Again, Credential};

use crate::world::{Answer, Fault, Gate, IfNoneMatch, MIB, On, Operation, World};

const SIZE: usize = 3 * MIB + 17;

/// Trap 1: an error inside of a 200.
#[tokio::test]
async fn trap_01_a_complete_that_says_200_and_means_an_error_is_no_success() {
    for code in ["InternalError", "AccessDenied", "SlowDown"] {
        let world = World::new().await;
        let fault = Fault::ErrorInOk { code: code.to_owned() };
        world.server.script(On::first(Operation::CompleteMultipartUpload), fault);
        let item = world.upload("a", SIZE).await;
        if code == "AccessDenied" {
            assert_eq!(item.state, "blocked");
            assert!(world.server.object("a").is_none());
            world.engine.retry(None).await.unwrap();
            world.run().await;
        }
        let item = world.item(item.id).await;
        world.assert_uploaded("a", SIZE, &item).await;
        assert_eq!(world.requests(Operation::CreateMultipartUpload).len(), 1, "after {code} nothing is sent again");
    }
}

/// Trap 2: the answer of a Complete is lost, and the repeat is told that there is no such upload.
#[tokio::test]
async fn trap_02_a_complete_whose_answer_is_lost_is_found_to_have_happened() {
    for again in [Again::Succeeds, Again::NoSuchUpload] {
        let world = World::of(|profile| landfall_testkit::bucket::Profile { complete_again: again, ..profile }).await;
        world.server.script(On::first(Operation::CompleteMultipartUpload), Fault::EffectThenLoseAnswer);
        let item = world.upload("a", SIZE).await;
        world.assert_uploaded("a", SIZE, &item).await;
        assert_eq!(world.requests(Operation::CreateMultipartUpload).len(), 1);
        assert_eq!(world.parts_stored().len(), 4);
    }
}

/// The same where the request never arrived: it is sent again, and nothing else is.
#[tokio::test]
async fn a_complete_that_never_arrived_is_sent_again_without_its_parts() {
    let world = World::new().await;
    world.server.script(On::first(Operation::CompleteMultipartUpload), Fault::LoseRequest);
    let item = world.upload("a", SIZE).await;
    world.assert_uploaded("a", SIZE, &item).await;
    assert_eq!(world.parts_stored(), [1, 2, 3, 4]);
}

/// Trap 3: an upload that a lifecycle rule has removed is not done.
#[tokio::test]
async fn trap_03_an_upload_that_is_gone_without_an_object_begins_again() {
    let mut world = World::new().await;
    let item = world.enqueue("a", SIZE).await;
    let gate = Gate::new();
    world.server.script(On::first(Operation::UploadPart).part(3), Fault::HoldRequest(gate.clone()));
    let (bucket, server) = (world.bucket.clone(), world.server.clone());
    let run = tokio::spawn(async move {
        bucket.run(landfall::RunOptions::default(), std::sync::Arc::new(landfall::Silent)).await.map(drop)
    });
    server.until(|state| state.incomplete_uploads().any(|upload| upload.parts.len() >= 2)).await;
    run.abort();
    let _ = run.await;
    gate.open();
    world.server.expire_uploads();
    world.server.clear_script();
    world.restarted().await;
    world.run().await;
    let item = world.item(item).await;
    world.assert_uploaded("a", SIZE, &item).await;
    assert_eq!(world.requests(Operation::CreateMultipartUpload).len(), 2);
}

/// Trap 4: an ETag is no hash of anything.
#[tokio::test]
async fn trap_04_an_etag_is_taken_for_nothing_but_a_receipt() {
    let world = World::of(|profile| landfall_testkit::bucket::Profile { complete_without_etag: true, ..profile }).await;
    let item = world.upload("many", SIZE).await;
    let object = world.assert_uploaded("many", SIZE, &item).await;
    assert!(object.etag.contains("-4"), "of its parts' hashes: {}", object.etag);
    let item = world.upload("one", MIB).await;
    world.assert_uploaded("one", MIB, &item).await;
}

/// Trap 5: parts are so large that ten thousand are enough, and that is known before the first.
#[tokio::test]
async fn trap_05_a_part_is_as_large_as_the_file_needs_before_the_first_is_sent() {
    use landfall_core::{PartLimits, PartPlan};
    for (gib, parts) in [(1u64, 103), (100, 8_534), (1024, 8_963), (49_000, 10_000)] {
        let plan = PartPlan::equal(gib << 30, 10 << 20, &PartLimits::S3).unwrap();
        assert!(plan.count() <= parts, "{gib} GiB in {} parts", plan.count());
    }
    let world = World::new().await;
    let item = world.upload("a", 5 * MIB).await;
    let object = world.assert_uploaded("a", 5 * MIB, &item).await;
    assert_eq!(object.parts, [MIB as u64; 5]);
}

/// Trap 6: some demand that all parts but the last are equally long.
#[tokio::test]
async fn trap_06_all_parts_but_the_last_are_equally_long_also_after_a_restart() {
    let mut world = World::of(|profile| landfall_testkit::bucket::Profile { equal_parts: true, ..profile }).await;
    world.server.script(On::every(Operation::UploadPart).part(2), Fault::Answer(Answer::error(500, "InternalError")));
    let item = world.upload("a", SIZE).await;
    assert_eq!(item.state, "blocked", "its tries are used up");
    world.server.clear_script();
    world.restarted().await;
    world.engine.retry(None).await.unwrap();
    world.run().await;
    let item = world.item(item.id).await;
    let object = world.assert_uploaded("a", SIZE, &item).await;
    assert_eq!(object.parts, [MIB as u64, MIB as u64, MIB as u64, 17]);
}

/// Trap 7: a listing of parts has pages, and is not the truth but held against it.
#[tokio::test]
async fn trap_07_a_listing_of_parts_is_read_to_its_end_and_compared_with_our_own() {
    let mut world = World::of(|profile| landfall_testkit::bucket::Profile { page_max: 2, ..profile }).await;
    world.server.script(On::every(Operation::UploadPart).part(6), Fault::Answer(Answer::error(500, "InternalError")));
    let item = world.upload("a", 6 * MIB).await;
    assert_eq!(item.state, "blocked");
    let sent = world.parts_stored();
    world.server.clear_script();
    world.restarted().await;
    world.engine.retry(None).await.unwrap();
    world.run().await;
    let item = world.item(item.id).await;
    world.assert_uploaded("a", 6 * MIB, &item).await;
    assert_eq!(sent, [1, 2, 3, 4, 5]);
    assert_eq!(world.parts_stored(), [1, 2, 3, 4, 5, 6], "no part is sent twice");
    assert!(world.requests(Operation::ListParts).len() >= 3, "pages of two");
}

/// Trap 14: what is there is not overwritten, and what is ours or the same is known as that.
#[tokio::test]
async fn trap_14_another_object_under_the_key_is_neither_overwritten_nor_taken_for_ours() {
    for honours in [IfNoneMatch::Obeyed, IfNoneMatch::Ignored, IfNoneMatch::NotImplemented] {
        let world = World::of(|profile| landfall_testkit::bucket::Profile {
            put_if_none_match: honours,
            complete_if_none_match: honours,
            ..profile
        })
        .await;
        for (name, size) in [("one", 1000), ("many", SIZE)] {
            world.server.put(name, b"somebody else's".to_vec());
            let item = world.upload(name, size).await;
            let code = item.blocked.as_ref().and_then(|(code, _)| *code).map(landfall_core::Code::as_str);
            assert_eq!(code, Some("key-taken"), "{name} {honours:?}");
            assert_eq!(world.server.object(name).unwrap().bytes, b"somebody else's".as_slice());
            world.engine.cancel(vec![item.id]).await.unwrap();
        }
        world.bucket.abort_abandoned(false).await.unwrap();
        assert_eq!(world.server.incomplete_uploads().len(), 0);
        let path = world.file("one", 1000);
        let item = world.enqueue_path(&path, "one", true).await;
        world.run().await;
        let item = world.item(item).await;
        world.assert_uploaded("one", 1000, &item).await;
    }
}

/// One that appears between the look and the end is not overwritten where the bucket guards.
#[tokio::test]
async fn an_object_that_appears_while_parts_are_sent_is_not_overwritten() {
    let world = World::new().await;
    let gate = Gate::new();
    let complete = On::first(Operation::CompleteMultipartUpload);
    world.server.script(complete, Fault::HoldRequest(gate.clone()));
    let item = world.enqueue("a", SIZE).await;
    let meanwhile = async {
        world.server.until(|state| state.requests_for(Operation::CompleteMultipartUpload).next().is_some()).await;
        world.server.put("a", b"faster".to_vec());
        gate.open();
    };
    tokio::join!(world.run(), meanwhile);
    assert_eq!(world.item(item).await.blocked.unwrap().0.unwrap().as_str(), "key-taken");
    assert_eq!(world.server.object("a").unwrap().bytes, b"faster".as_slice());
}

/// A conflict of two conditional requests uses up the upload: it begins again, and then one is there.
#[tokio::test]
async fn a_conflict_at_the_end_begins_the_upload_again() {
    let world = World::new().await;
    let conflict = Fault::Answer(Answer::error(409, "ConditionalRequestConflict"));
    world.server.script(On::first(Operation::CompleteMultipartUpload), conflict);
    let item = world.upload("a", SIZE).await;
    world.assert_uploaded("a", SIZE, &item).await;
    assert_eq!(world.refused(Operation::CompleteMultipartUpload), [409]);
}

/// Uploading again what is there already does nothing.
#[tokio::test]
async fn the_same_content_under_its_key_is_done_without_being_replaced() {
    for (checksums, name) in
        [(crate::world::Checksums::Verified, "known"), (crate::world::Checksums::Ignored, "tagged")]
    {
        let world = World::of(|profile| landfall_testkit::bucket::Profile { checksums, ..profile }).await;
        for size in [1000, SIZE] {
            let key = format!("{name}-{size}");
            world.upload(&key, size).await;
            let before = world.server.object(&key).unwrap();
            let item = world.upload(&key, size).await;
            let after = world.assert_uploaded(&key, size, &item).await;
            assert_eq!(after.headers, before.headers, "it is the same object");
        }
    }
}

/// Trap 15: what was opened and not finished is in the journal before, and aborted afterwards.
#[tokio::test]
async fn trap_15_an_upload_whose_opening_got_no_answer_is_found_and_aborted() {
    let world = World::new().await;
    world.server.script(On::first(Operation::CreateMultipartUpload), Fault::EffectThenLoseAnswer);
    let item = world.upload("a", SIZE).await;
    world.assert_uploaded("a", SIZE, &item).await;
    assert_eq!(world.requests(Operation::CreateMultipartUpload).len(), 2);
    assert_eq!(world.requests(Operation::AbortMultipartUpload).len(), 1);
}

#[tokio::test]
async fn what_is_taken_back_leaves_no_part_behind() {
    let world = World::new().await;
    world.server.script(On::every(Operation::UploadPart).part(2), Fault::Answer(Answer::error(500, "InternalError")));
    let item = world.upload("a", SIZE).await;
    assert_eq!(world.server.incomplete_uploads().len(), 1);
    world.engine.cancel(vec![item.id]).await.unwrap();
    assert_eq!(world.bucket.abort_abandoned(true).await.unwrap().aborted.len(), 1, "that was a rehearsal");
    let swept = world.bucket.abort_abandoned(false).await.unwrap();
    assert_eq!((swept.aborted.len(), swept.kept.len()), (1, 0));
    assert!(swept.aborted[0].bytes >= MIB as u64);
    assert_eq!(world.bucket.abandoned().await.unwrap(), 0);
    assert_eq!(world.server.incomplete_uploads().len(), 0);
}

#[tokio::test]
async fn one_that_cannot_be_aborted_now_keeps_no_other() {
    let world = World::new().await;
    world.server.script(On::every(Operation::UploadPart).part(2), Fault::Answer(Answer::error(500, "InternalError")));
    let items = [world.upload("a", SIZE).await.id, world.upload("b", SIZE).await.id];
    world.engine.cancel(items.to_vec()).await.unwrap();
    let busy = On::every(Operation::AbortMultipartUpload).key("a");
    world.server.script(busy, Fault::Answer(Answer::error(503, "SlowDown")));
    let swept = world.bucket.abort_abandoned(false).await.unwrap();
    let keys = |orphans: Vec<Orphan>| orphans.into_iter().map(|orphan| orphan.key).collect::<Vec<_>>();
    assert_eq!(keys(swept.aborted), ["b"]);
    assert_eq!(keys(swept.kept.into_iter().map(|(orphan, _)| orphan).collect()), ["a"]);
}

/// Whoever is killed while it is found out what the bucket can do leaves nothing open.
#[tokio::test]
async fn what_was_opened_to_find_something_out_is_aborted_by_the_next_run() {
    let mut world = World::new().await;
    world.server.allow(Credential::default().denied(&[Operation::ListObjectsV2], ""));
    world.server.script(On::first(Operation::CompleteMultipartUpload), Fault::HoldRequest(Gate::new()));
    world.enqueue("a", SIZE).await;
    tokio::select! {
        _ = world.run() => panic!("it waits for an answer"),
        () = world.server.until(|state| state.requests_for(Operation::CompleteMultipartUpload).next().is_some()) => {}
    }
    world.server.clear_script();
    world.restarted().await;
    world.run().await;
    assert!(world.server.object("a").is_some());
    assert_eq!(world.server.incomplete_uploads().len(), 0);
}

#[tokio::test]
async fn a_sweep_aborts_what_nobody_knows_and_nothing_that_is_going_on() {
    let mut world = World::new().await;
    world.server.script(On::every(Operation::UploadPart).part(2), Fault::Answer(Answer::error(500, "InternalError")));
    world.upload("ours", SIZE).await;
    assert_eq!(world.bucket.sweep(Duration::ZERO, false).await.unwrap().aborted, [], "it is known");
    assert_eq!(world.server.incomplete_uploads().len(), 1);
    world.forget_home().await;
    let found = world.bucket.sweep(Duration::from_secs(3600), false).await.unwrap();
    assert_eq!(found.aborted, [], "it is young");
    let found = world.bucket.sweep(Duration::ZERO, true).await.unwrap();
    let found = found.aborted;
    assert_eq!((found.len(), found[0].key.as_str()), (1, "ours"));
    assert!(found[0].bytes >= MIB as u64);
    assert_eq!(world.server.incomplete_uploads().len(), 1, "that was a rehearsal");
    world.bucket.sweep(Duration::ZERO, false).await.unwrap();
    assert_eq!(world.server.incomplete_uploads().len(), 0);
}

/// Trap 17: the checksum of the whole object is sent, told, and compared; so is its length.
#[tokio::test]
async fn trap_17_the_whole_object_is_proved_by_its_checksum_and_its_length() {
    let world = World::new().await;
    let item = world.upload("a", SIZE).await;
    world.assert_uploaded("a", SIZE, &item).await;
    let complete = &world.requests(Operation::CompleteMultipartUpload)[0];
    assert!(complete.headers.contains_key("x-amz-checksum-crc64nvme"));
    assert_eq!(complete.headers["x-amz-mp-object-size"], SIZE.to_string().as_str());
    assert!(!world.requests(Operation::HeadObject).is_empty(), "it was asked for afterwards");
}
