//! A wake-up of half a minute, to the millisecond.
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail like the test")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::BoxFuture;
use landfall::recipes::chat::{ChatRun, Part, Publication, Published, Publisher};
use landfall_core::PutReport;
use landfall_store::Reported;

use crate::world::{Made, Scripted, World, text};

const COUNT: usize = 50;

/// Takes two seconds for each.
#[derive(Default)]
struct Slow {
    begun: Mutex<Vec<String>>,
    accepted: Mutex<Vec<String>>,
}

impl Publisher for Slow {
    fn publish(&self, publication: Publication) -> BoxFuture<'_, Published> {
        Box::pin(async move {
            self.begun.lock().unwrap().push(publication.idempotency_key.clone());
            tokio::time::sleep(Duration::from_secs(2)).await;
            self.accepted.lock().unwrap().push(publication.idempotency_key);
            Published::Accepted
        })
    }
}

#[tokio::test(start_paused = true)]
async fn half_a_minute_keeps_fifty_outcomes_and_publishes_as_many_as_there_is_time_for() {
    let world = World::new().await;
    let publisher = Arc::new(Slow::default());
    let made = || Made { is_platform: true, publisher: Some(Arc::clone(&publisher) as _), ..Made::default() };
    let device = world.device(made()).await;
    let path = world.photo("a.jpg");
    let mut batch = Vec::new();
    for _ in 0..COUNT {
        batch.push(Part::Staged(device.stage(&path).await));
    }
    device.send(batch).await;
    device.run().await;
    let transfers = device.chat.take_transfers(usize::MAX).await.unwrap();
    assert_eq!(transfers.len(), COUNT);
    // They are told in a process that dies at once.
    for transfer in &transfers {
        let report = PutReport::Answered { status: 200, retry_after: None, says_expired: false };
        let reported = device.chat.transfer_finished(&transfer.attempt, &report).await.unwrap();
        assert!(matches!(reported, Reported::Taken(_)));
    }
    device.kill();

    let device = world.device(made()).await;
    let budget = Duration::from_secs(30);
    let began = tokio::time::Instant::now();
    let report = device.chat.run(ChatRun { budget: Some(budget), ..ChatRun::default() }).await.unwrap();
    let took = began.elapsed();
    assert!(budget <= took && took <= budget + Duration::from_millis(250), "{took:?}");
    let told = publisher.accepted.lock().unwrap().len();
    assert!((14..=15).contains(&told), "two seconds each, one after the other: {told}");
    assert_eq!((report.is_drained, report.remaining, report.transfers), (false, (COUNT - told) as u64, 0));

    device.run().await;
    let (begun, accepted) = (publisher.begun.lock().unwrap().clone(), publisher.accepted.lock().unwrap().clone());
    let mut keys = accepted.clone();
    keys.sort();
    keys.dedup();
    assert_eq!((accepted.len(), keys.len()), (COUNT, COUNT), "each is accepted once");
    assert!(begun.len() <= COUNT + 1, "only what was cut off begins again");
    assert_eq!(world.wire.puts(), 0, "no outcome was lost: nobody put anything again");
}

/// What a run may take, over its budget, to say that it is over.
const LEAVES_WITHIN: Duration = Duration::from_millis(150);

#[tokio::test(start_paused = true)]
async fn a_budget_ends_in_time_while_another_process_is_in_the_middle_of_a_write() {
    let budget = Duration::from_secs(5);
    // Before it begins, as it enters, and in the middle of its work.
    for held_after in [0, 1, 1500, 2500].map(Duration::from_millis) {
        let world = World::new().await;
        let publisher = Scripted::slowly(Duration::from_secs(2), vec![]);
        let device = world.device(Made { publisher: Some(Arc::clone(&publisher) as _), ..Made::default() }).await;
        device.send(["one", "two", "three"].map(text).to_vec()).await;
        let writer = world.writer();
        let chat = device.chat.clone();
        let began = tokio::time::Instant::now();
        if held_after.is_zero() {
            writer.begin();
        }
        let run = tokio::spawn(async move {
            let report = chat.run(ChatRun { budget: Some(budget), ..ChatRun::default() }).await.unwrap();
            (report, began.elapsed())
        });
        if !held_after.is_zero() {
            tokio::time::sleep(held_after).await;
            writer.begin();
        }
        let (report, took) = run.await.unwrap();
        assert!(took <= budget + LEAVES_WITHIN, "held after {held_after:?}: {took:?}");
        assert!(!report.is_drained && report.remaining >= 2, "held after {held_after:?}: {report:?}");

        writer.end();
        // Those who left without a word are found out.
        device.run().await;
        let mut told: Vec<String> = publisher.said().into_iter().map(|(_, says)| says).collect();
        told.dedup();
        assert_eq!(told, ["one", "two", "three"], "held after {held_after:?}");
    }
}
