//! Traps around single requests: signatures, clocks, regions, limits, checksums, sockets.

use std::{sync::atomic::Ordering, time::Duration};

use landfall::s3::Style;
use landfall_testkit::bucket::{Credential, Profile};

use crate::world::{Answer, Checksums, Fault, MIB, On, Operation, Steering, World, WrongRegion};

const SIZE: usize = 3 * MIB + 17;

/// Trap 9: a signature that has expired is made anew, and is no try.
#[tokio::test]
async fn trap_09_an_expired_signature_is_renewed_and_costs_no_try() {
    let world = World::with(Steering { retries: 0, ..Steering::default() }).await;
    let expired = Answer::error(403, "AccessDenied")
        .with_body("<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>");
    world.server.script(On::first(Operation::UploadPart), Fault::Answer(expired.clone()));
    world.server.script(On::first(Operation::CompleteMultipartUpload), Fault::Answer(expired));
    let item = world.upload("a", SIZE).await;
    world.assert_uploaded("a", SIZE, &item).await;
    for operation in [Operation::UploadPart, Operation::CompleteMultipartUpload] {
        assert_eq!(world.refused(operation), [403], "{operation:?}");
    }
}

/// Credentials that have expired need a person, who is told so; nothing of what was sent is lost.
#[tokio::test]
async fn credentials_that_expire_block_the_upload_until_there_are_others() {
    let mut world = World::new().await;
    let temporary = Credential::new("ASIATEMPORARY", "secret").with_session_token("token");
    world.server.allow(temporary.clone());
    world
        .steer(|steering| steering.credentials = ("ASIATEMPORARY".into(), "secret".into(), Some("token".into())))
        .await;
    world.server.script(On::every(Operation::UploadPart).part(3), Fault::Answer(Answer::error(403, "ExpiredToken")));
    let item = world.upload("a", SIZE).await;
    assert_eq!(item.blocked.clone().unwrap().0.unwrap().as_str(), "credentials-expired");
    let sent = world.parts_stored();
    world.server.clear_script();
    world.steer(|steering| steering.credentials = Steering::default().credentials).await;
    world.engine.retry(None).await.unwrap();
    world.run().await;
    let item = world.item(item.id).await;
    world.assert_uploaded("a", SIZE, &item).await;
    assert!(sent.len() >= 2, "{sent:?}");
    assert_eq!(world.parts_stored(), [1, 2, 3, 4]);
}

/// Trap 10: a clock that is wrong is corrected by the bucket's, once, and remembered.
#[tokio::test]
async fn trap_10_requests_are_signed_by_the_clock_of_the_bucket() {
    let mut world = World::with(Steering { retries: 0, ..Steering::default() }).await;
    world.ahead.store(3_600_000, Ordering::Relaxed);
    let item = world.upload("a", SIZE).await;
    world.assert_uploaded("a", SIZE, &item).await;
    let refused = |world: &World| {
        let is_refused = |outcome: &landfall_testkit::bucket::Outcome| {
            matches!(outcome, landfall_testkit::bucket::Outcome::Answered { status: 403, .. })
        };
        world.server.requests().iter().filter(|request| is_refused(&request.outcome)).count()
    };
    let at_first = refused(&world);
    assert!((1..=2).contains(&at_first), "{at_first} requests were refused");
    world.restarted().await;
    let item = world.upload("b", SIZE).await;
    world.assert_uploaded("b", SIZE, &item).await;
    assert_eq!(refused(&world), at_first, "what was learned is kept");
}

/// Trap 11: a bucket that asks to wait is left alone for as long as it says, and that is no try.
#[tokio::test]
async fn trap_11_a_bucket_that_asks_to_slow_down_is_obeyed_and_costs_no_try() {
    let world = World::with(Steering { retries: 0, ..Steering::default() }).await;
    let slow = Answer::error(503, "SlowDown").with_header("retry-after", "1");
    world.server.script(On::first_of(Operation::UploadPart, 6), Fault::Answer(slow));
    let start = tokio::time::Instant::now();
    let item = world.upload("a", SIZE).await;
    world.assert_uploaded("a", SIZE, &item).await;
    assert!(start.elapsed() >= Duration::from_millis(900), "it waited for {:?}", start.elapsed());
    assert!(world.requests(Operation::UploadPart).len() <= 4 + 6 + 2);
}

/// Trap 12: the bucket says in which region it is, also where a HEAD has no words for it.
#[tokio::test]
async fn trap_12_a_wrong_region_is_corrected_once_and_remembered() {
    for wrong_region in [WrongRegion::Malformed, WrongRegion::Redirect] {
        let steering = Steering { region: "us-east-1", retries: 0, ..Steering::default() };
        let profile = Profile { wrong_region, ..steering.profile.clone() };
        let mut world = World::with(Steering { profile, ..steering }).await;
        let item = world.upload("a", SIZE).await;
        world.assert_uploaded("a", SIZE, &item).await;
        let before = world.server.requests().len();
        world.restarted().await;
        let item = world.upload("b", 1000).await;
        world.assert_uploaded("b", 1000, &item).await;
        let since = world.server.requests().split_off(before);
        let refused = since.iter().filter(|request| {
            !matches!(request.outcome, landfall_testkit::bucket::Outcome::Answered { status: 200 | 404, .. })
        });
        assert_eq!(refused.count(), 0, "what was learned is kept");
    }
}

/// Trap 13: both ways to name a bucket.
#[tokio::test]
async fn trap_13_a_bucket_is_named_in_the_path_or_in_the_host() {
    for style in [Style::Path, Style::VirtualHost] {
        let world = World::with(Steering { style, ..Steering::default() }).await;
        let item = world.upload("a folder/ä+b=c&d.txt", SIZE.min(1000)).await;
        world.assert_uploaded("a folder/ä+b=c&d.txt", 1000, &item).await;
    }
}

/// Trap 16: what an endpoint makes of checksums is found out once, and held to.
#[tokio::test]
async fn trap_16_what_an_endpoint_makes_of_checksums_is_found_out_once() {
    for (checksums, header) in [
        (Checksums::Verified, Some("x-amz-checksum-crc64nvme")),
        (Checksums::Ignored, None),
        (Checksums::NotImplemented, None),
    ] {
        let mut world = World::of(|profile| Profile { checksums, ..profile }).await;
        let item = world.upload("a", SIZE).await;
        world.assert_uploaded("a", SIZE, &item).await;
        let probes = world.requests(Operation::PutObject).len();
        for part in world.requests(Operation::UploadPart) {
            let has = part.headers.keys().any(|name| name.as_str().starts_with("x-amz-checksum"));
            assert_eq!(has, header.is_some());
            let payload = part.headers["x-amz-content-sha256"].to_str().unwrap();
            assert_eq!(payload == "UNSIGNED-PAYLOAD", header.is_some(), "something vouches for every part");
        }
        assert_eq!(world.server.objects().len(), 1, "the canary is gone");
        world.restarted().await;
        world.upload("b", SIZE).await;
        assert_eq!(world.requests(Operation::PutObject).len(), probes, "it is not asked again");
    }
}

/// Bytes that are damaged on their way are refused, and sent again.
#[tokio::test]
async fn a_part_that_is_damaged_on_its_way_is_sent_again() {
    for checksums in [Checksums::Verified, Checksums::Ignored] {
        let world = World::of(|profile| Profile { checksums, ..profile }).await;
        world.server.script(On::first(Operation::UploadPart).part(2), Fault::Damage);
        let item = world.upload("a", SIZE).await;
        world.assert_uploaded("a", SIZE, &item).await;
        assert_eq!(world.refused(Operation::UploadPart), [400], "{checksums:?}");
    }
}

/// Trap 18: a checksum that a request is signed with is a header of it, and a wrong one is refused.
#[tokio::test]
async fn trap_18_a_checksum_is_part_of_what_is_signed() {
    let world = World::new().await;
    let item = world.upload("a", SIZE).await;
    world.assert_uploaded("a", SIZE, &item).await;
    for part in world.requests(Operation::UploadPart) {
        let signed = part.headers["authorization"].to_str().unwrap();
        assert!(signed.contains("x-amz-checksum-crc64nvme"), "{signed}");
    }
}

/// Trap 19: a part is read again when it is sent again; nobody keeps it. (How much memory that takes is measured elsewhere.)
#[tokio::test]
async fn trap_19_a_part_that_broke_off_is_read_again() {
    let world = World::new().await;
    world.server.script(On::first(Operation::UploadPart).part(2), Fault::CutRequestAfter(300_000));
    world.server.script(On::first(Operation::UploadPart).part(3), Fault::EffectThenLoseAnswer);
    let item = world.upload("a", SIZE).await;
    world.assert_uploaded("a", SIZE, &item).await;
    assert_eq!(world.times_sent(2), 2, "it broke off");
    assert_eq!(world.times_sent(3), 1, "the bucket was asked, and has it");
}

/// Trap 20: a socket on which nothing moves is given up.
#[tokio::test]
async fn trap_20_a_transfer_that_stands_still_is_broken_off_and_settled() {
    let world = World::new().await;
    world.server.script(On::first(Operation::UploadPart).part(2), Fault::StallRequestAfter(200_000));
    let gate = crate::world::Gate::new();
    world.server.script(On::first(Operation::CompleteMultipartUpload), Fault::HoldAnswer(gate));
    let item = world.upload("a", SIZE).await;
    world.assert_uploaded("a", SIZE, &item).await;
    assert_eq!(world.times_sent(2), 2, "it stood still");
    assert_eq!(world.requests(Operation::CompleteMultipartUpload).len(), 1, "the bucket was asked, and has it");
}

/// What keeps going wrong in earnest uses up the tries, and the message says what it was.
#[tokio::test]
async fn a_server_that_keeps_failing_uses_up_the_tries() {
    let world = World::with(Steering { retries: 2, ..Steering::default() }).await;
    world.server.script(On::every(Operation::PutObject).key("a"), Fault::Answer(Answer::error(500, "InternalError")));
    let item = world.upload("a", 1000).await;
    let (code, message) = item.blocked.unwrap();
    assert_eq!(code.unwrap().as_str(), "too-many-attempts");
    assert!(message.contains("InternalError"), "{message}");
    let tries = world.requests(Operation::PutObject).iter().filter(|request| request.key == "a").count();
    assert_eq!(tries, 3, "one try and two more");
}

#[tokio::test]
async fn what_only_a_person_can_mend_fails_at_once_and_says_what() {
    for (status, code, ours) in [
        (403, "InvalidAccessKeyId", "bad-credentials"),
        (403, "SignatureDoesNotMatch", "bad-credentials"),
        (403, "AccessDenied", "access-denied"),
        (404, "NoSuchBucket", "no-such-bucket"),
        (400, "EntityTooLarge", "source-too-large"),
    ] {
        let world = World::new().await;
        world.upload("before", 10).await;
        world.server.script(On::every(Operation::PutObject).key("a"), Fault::Answer(Answer::error(status, code)));
        let item = world.upload("a", 1000).await;
        let (said, message) = item.blocked.unwrap();
        assert_eq!(said.unwrap().as_str(), ours, "{message}");
        let tries = world.requests(Operation::PutObject).iter().filter(|request| request.key == "a").count();
        assert_eq!(tries, 1, "{code} is not tried again");
    }
}
