//! A platform that moves bytes while no process of ours lives.
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail like the test")]

use std::time::Duration;

use landfall::recipes::chat::{ChatRun, Part, Stage, Transfer};
use landfall_core::PutReport;
use landfall_store::Reported;

use crate::world::{Device, Made, World};

const ANSWERED: PutReport = PutReport::Answered { status: 200, retry_after: None, says_expired: false };

fn by_platform() -> Made {
    Made { is_platform: true, ..Made::default() }
}

/// What the platform does with a transfer.
async fn put(world: &World, device: &Device, transfer: &Transfer) -> u16 {
    let body = world.disk.read(std::path::Path::new("/home").join(&transfer.file)).unwrap();
    assert_eq!(body.len() as u64, transfer.bytes);
    device.put(transfer, body).await
}

#[tokio::test(start_paused = true)]
async fn a_message_goes_out_in_a_new_process_after_the_platform_has_moved_its_bytes() {
    let world = World::new().await;
    let device = world.device(by_platform()).await;
    let photo = device.send_photo(&world.photo("a.jpg"), "text a").await;
    let report = device.chat.run(ChatRun::default()).await.unwrap();
    assert_eq!((report.remaining, report.transfers), (2, 1));
    let transfer = device.chat.take_transfers(10).await.unwrap().remove(0);
    assert!(device.chat.transfer_started(&transfer.attempt, "task 1").await.unwrap());
    assert_eq!(put(&world, &device, &transfer).await, 200);
    device.kill();
    let device = world.device(by_platform()).await;
    assert!(device.chat.reconcile(vec![transfer.attempt.clone()]).await.unwrap().is_empty());
    assert_eq!(device.chat.transfer_finished(&transfer.attempt, &ANSWERED).await.unwrap(), Reported::Taken(photo));
    device.run().await;
    assert_eq!(world.told().await, ["a.jpg", "text a"]);
    assert_eq!(world.wire.puts(), 1);
    assert!(device.chat.take_transfers(10).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_success_that_is_reported_as_an_error_is_asked_about_and_not_sent_again() {
    let world = World::new().await;
    let device = world.device(by_platform()).await;
    let photo = device.stage(&world.photo("a.jpg")).await;
    device.send(vec![Part::Staged(photo)]).await;
    device.run().await;
    let transfer = device.chat.take_transfers(10).await.unwrap().remove(0);
    put(&world, &device, &transfer).await;
    device.chat.transfer_finished(&transfer.attempt, &PutReport::Unknown).await.unwrap();
    device.run().await;
    assert_eq!((world.told().await, world.wire.puts()), (vec!["a.jpg".to_owned()], 1));
}

#[tokio::test(start_paused = true)]
async fn a_transfer_that_the_platform_forgot_is_asked_about_and_sent_anew() {
    let world = World::new().await;
    let device = world.device(by_platform()).await;
    let photo = device.stage(&world.photo("a.jpg")).await;
    device.send(vec![Part::Staged(photo)]).await;
    device.run().await;
    let first = device.chat.take_transfers(10).await.unwrap().remove(0);
    assert_eq!(device.chat.take_transfers(10).await.unwrap()[0].attempt, first.attempt, "asked twice, the same");
    device.chat.transfer_started(&first.attempt, "task 1").await.unwrap();
    device.chat.reconcile(vec![]).await.unwrap();
    device.run().await;
    let second = device.chat.take_transfers(10).await.unwrap().remove(0);
    assert_ne!(second.attempt, first.attempt);
    assert_eq!(second.digest, first.digest, "the same payload");
    put(&world, &device, &second).await;
    // The one that was forgotten comes back after all, and too late.
    assert_eq!(device.chat.transfer_finished(&first.attempt, &ANSWERED).await.unwrap(), Reported::Unknown);
    assert!(matches!(device.stages().await[0], Stage::Uploading(_)));
    device.chat.transfer_finished(&second.attempt, &ANSWERED).await.unwrap();
    device.chat.transfer_finished(&second.attempt, &ANSWERED).await.unwrap();
    device.run().await;
    assert_eq!(world.told().await, ["a.jpg"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_taken_back_is_cancelled_and_its_file_stays_until_the_platform_lets_go() {
    let world = World::new().await;
    let device = world.device(by_platform()).await;
    let photo = device.send_photo(&world.photo("a.jpg"), "text a").await;
    device.run().await;
    let transfer = device.chat.take_transfers(10).await.unwrap().remove(0);
    device.chat.transfer_started(&transfer.attempt, "task 1").await.unwrap();
    assert_eq!(device.chat.discard(photo).await.unwrap().len(), 2);
    assert_eq!(device.chat.take_cancellations().await.unwrap(), std::slice::from_ref(&transfer.attempt));
    device.run().await;
    assert_eq!(device.spool("/home").len(), 1, "the payload is still being read");
    device.chat.transfer_finished(&transfer.attempt, &PutReport::Cancelled).await.unwrap();
    device.run().await;
    assert_eq!(device.spool("/home").len(), 0);
    assert!(world.told().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn progress_rises_within_an_attempt_and_is_whole_only_when_the_server_has_it() {
    let world = World::new().await;
    let device = world.device(by_platform()).await;
    let photo = device.stage(&world.photo("a.jpg")).await;
    device.send(vec![Part::Staged(photo)]).await;
    device.run().await;
    let transfer = device.chat.take_transfers(10).await.unwrap().remove(0);
    let mut seen = Vec::new();
    for sent in [0, 100, 50, transfer.bytes / 2, transfer.bytes, transfer.bytes * 2] {
        device.chat.transfer_progress(&transfer.attempt, sent, -1).await.unwrap();
        let Stage::Uploading(far) = device.stages().await[0].clone() else { panic!() };
        let fraction = far.fraction();
        seen.push(fraction);
    }
    assert!(seen.is_sorted() && seen[0] == 0.0 && seen[5] < 1.0, "{seen:?}");
    put(&world, &device, &transfer).await;
    device.chat.transfer_finished(&transfer.attempt, &ANSWERED).await.unwrap();
    assert!(matches!(device.stages().await[0], Stage::Publishing));
}

#[tokio::test(start_paused = true)]
async fn what_a_remote_answered_is_read_as_the_platform_got_it() {
    let world = World::new().await;
    let device = world.device(by_platform()).await;
    let photo = device.stage(&world.photo("a.jpg")).await;
    device.send(vec![Part::Staged(photo)]).await;
    device.run().await;
    let busy = device.chat.take_transfers(10).await.unwrap().remove(0);
    let headers = [("Retry-After".to_owned(), "1200".to_owned())];
    let reported = device.chat.transfer_answered(&busy.attempt, 503, &headers, b"<html>busy</html>").await.unwrap();
    assert_eq!(reported, Reported::Taken(photo));
    let began = tokio::time::Instant::now();
    let transfer = loop {
        device.run().await;
        match device.chat.take_transfers(10).await.unwrap().pop() {
            Some(transfer) => break transfer,
            None => tokio::time::sleep(Duration::from_secs(10)).await,
        }
    };
    let waited = began.elapsed();
    assert!((1170..1240).contains(&waited.as_secs()), "it asked for twenty minutes: {waited:?}");

    let body = "<Error><Code>EntityTooLarge</Code><Message>Your upload is too large</Message><Signature>5d41402abc4b2a76b9719d911017c592</Signature></Error>";
    device.chat.transfer_answered(&transfer.attempt, 400, &[], body.as_bytes()).await.unwrap();
    let Stage::Failed { message, .. } = device.stages().await.remove(0) else { panic!("it is refused") };
    assert_eq!(message, "the destination refuses the upload (400): EntityTooLarge: Your upload is too large");
}
