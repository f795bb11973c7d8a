//! What a person may do at any stage: edit, retry, leave out, stop and begin again.
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail like the test")]

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use landfall::recipes::chat::{ChatReport, ChatRun, EchoContent, Part, Published, Stage};
use landfall_core::{Code, ItemId, OnFailure, PublishOrder};
use tokio::task::JoinHandle;

use crate::world::{Device, Made, Scripted, World, text};

/// What a publish takes where it is to be met under way.
pub(crate) const SLOW: Duration = Duration::from_secs(10);

/// A device whose publisher takes its time and then answers as it is told to.
pub(crate) async fn slow(world: &World, answers: Vec<Published>) -> (Device, Arc<Scripted>) {
    let publisher = Scripted::slowly(SLOW, answers);
    (told_by(world, &publisher).await, publisher)
}

/// A device whose publisher answers as it is told to.
pub(crate) async fn scripted(world: &World, answers: Vec<Published>) -> (Device, Arc<Scripted>) {
    let publisher = Scripted::answering(answers);
    (told_by(world, &publisher).await, publisher)
}

pub(crate) async fn told_by(world: &World, publisher: &Arc<Scripted>) -> Device {
    world.device(Made { publisher: Some(Arc::clone(publisher) as _), ..Made::default() }).await
}

pub(crate) fn rejected() -> Published {
    Published::Rejected { reason: "no".to_owned() }
}

pub(crate) fn unknown() -> Published {
    Published::Unknown { reason: "the answer was lost".to_owned() }
}

/// Runs, and returns when a publish or a transfer that takes long is under way.
pub(crate) async fn amid(device: &Device) -> JoinHandle<ChatReport> {
    let chat = device.chat.clone();
    let run = tokio::spawn(async move { chat.run(ChatRun::default()).await.unwrap() });
    tokio::time::sleep(SLOW / 2).await;
    run
}

/// Runs for so long.
async fn run_for(device: &Device, budget: Duration) -> ChatReport {
    device.chat.run(ChatRun { budget: Some(budget), ..ChatRun::default() }).await.unwrap()
}

pub(crate) fn texts(publisher: &Scripted) -> Vec<String> {
    publisher.said().into_iter().map(|(_, text)| text).collect()
}

fn is_failed(stage: &Stage) -> bool {
    matches!(stage, Stage::Failed { .. })
}

async fn blockers(device: &Device) -> Vec<Option<ItemId>> {
    device.echoes().await.into_iter().map(|echo| echo.blocked_by).collect()
}

// Stopped, begun again, opened anew.

#[tokio::test(start_paused = true)]
async fn while_nothing_runs_nothing_moves_and_what_was_sent_goes_out_in_order_when_something_does() {
    let world = World::new().await;
    let device = world.device(Made::default()).await;
    let photo = device.stage(&world.photo("a.jpg")).await;
    device.send(vec![text("one"), Part::Staged(photo)]).await;
    device.send(vec![text("two")]).await;
    device.send(vec![text("three")]).await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!((device.echoes().await.len(), world.wire.puts(), world.told().await.len()), (4, 0, 0));
    device.run().await;
    assert_eq!(world.told().await, ["one", "a.jpg", "two", "three"]);
}

#[tokio::test(start_paused = true)]
async fn a_new_process_finds_every_lane_as_it_was_left() {
    let world = World::new().await;
    let (device, publisher) = scripted(&world, vec![rejected()]).await;
    let ids = device.send(vec![text("refused"), text("behind it")]).await;
    device.run().await;
    let other = device.chat.lane("friends").await.unwrap();
    let photo = device.stage(&world.photo("a.jpg")).await;
    device.chat.send(&other, vec![text("before"), Part::Staged(photo), text("after")]).await.unwrap();
    let left = device.echoes().await;
    device.kill();

    let device = told_by(&world, &publisher).await;
    assert_eq!(device.echoes().await, left);
    assert!(is_failed(&left[0].stage));
    assert_eq!(left[1].blocked_by, Some(ids[0]));
    device.run().await;
    assert_eq!(texts(&publisher), ["refused", "before", "a.jpg", "after"]);
    assert_eq!(device.echoes().await, left, "what needs a person still does");
    device.chat.retry(ids[0]).await.unwrap();
    device.run().await;
    assert_eq!(texts(&publisher)[4..], ["refused", "behind it"]);
}

// Failures that pass.

#[tokio::test(start_paused = true)]
async fn after_failures_a_message_goes_on_by_itself_and_at_once_if_somebody_asks() {
    let world = World::new().await;
    let (device, publisher) = scripted(&world, vec![unknown(); 50]).await;
    device.send(vec![text("one"), text("two")]).await;
    let report = device.chat.run(ChatRun::default()).await.unwrap();
    let tried = publisher.said().len();
    assert!(tried > 1 && report.next_wake.is_some(), "a run tries again, and leaves long pauses to the next: {tried}");
    assert_eq!(device.stages().await, [Stage::Publishing, Stage::Publishing], "nobody is needed");
    publisher.answers.lock().unwrap().clear();
    assert_eq!(run_for(&device, Duration::from_secs(1)).await.published, 0);
    assert_eq!(device.chat.try_now().await.unwrap(), 1);
    let report = run_for(&device, Duration::from_secs(1)).await;
    assert_eq!((report.published, report.remaining, report.is_drained), (2, 0, true));
    let said = publisher.said();
    assert_eq!(texts(&publisher)[tried..], ["one", "two"]);
    assert!(said[..=tried].iter().all(|(key, _)| *key == said[0].0), "always under the same key");
}

#[tokio::test(start_paused = true)]
async fn without_a_network_nothing_is_given_up_however_long_it_takes() {
    let world = World::new().await;
    let device = world.device(Made::default()).await;
    let photo = device.stage(&world.photo("a.jpg")).await;
    device.send(vec![text("one"), Part::Staged(photo), text("two")]).await;
    world.wire.is_down.store(true, Ordering::Relaxed);
    let report = run_for(&device, Duration::from_secs(600)).await;
    assert_eq!((report.published, report.remaining), (0, 3));
    assert!(!device.stages().await.iter().any(is_failed));
    assert_eq!(world.wire.puts(), 0);
    world.wire.is_down.store(false, Ordering::Relaxed);
    device.chat.try_now().await.unwrap();
    device.run().await;
    assert_eq!(world.told().await, ["one", "a.jpg", "two"]);
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_fails_is_tried_again_whatever_page_the_failure_came_with() {
    let world = World::new().await;
    let device = world.device(Made::default()).await;
    *world.wire.refusals.lock().unwrap() = vec![500, 502, 520];
    device.send_photo(&world.photo("a.jpg"), "text a").await;
    device.run().await;
    assert_eq!((world.wire.puts(), world.told().await), (4, vec!["a.jpg".to_owned(), "text a".to_owned()]));
}

// Failures that need a person.

#[tokio::test(start_paused = true)]
async fn a_rejected_message_that_is_retried_goes_out_before_those_it_held_up() {
    let world = World::new().await;
    let (device, publisher) = scripted(&world, vec![rejected(), rejected()]).await;
    let ids = device.send(vec![text("one"), text("two")]).await;
    device.run().await;
    assert_eq!(blockers(&device).await, [None, Some(ids[0])]);
    assert!(!device.chat.retry(ids[1]).await.unwrap(), "it is not the one that failed");
    assert!(device.chat.retry(ids[0]).await.unwrap());
    device.run().await;
    assert_eq!(blockers(&device).await, [None, Some(ids[0])], "it failed again");
    device.chat.retry(ids[0]).await.unwrap();
    assert_eq!(blockers(&device).await, [None, None]);
    device.run().await;
    let said = publisher.said();
    assert_eq!(texts(&publisher), ["one", "one", "one", "two"]);
    assert!(said[..3].iter().all(|(key, _)| *key == said[0].0));
}

#[tokio::test(start_paused = true)]
async fn a_rejected_message_that_is_taken_back_lets_those_behind_it_go() {
    let world = World::new().await;
    let (device, publisher) = scripted(&world, vec![rejected()]).await;
    let ids = device.send(vec![text("one"), text("two")]).await;
    device.run().await;
    assert_eq!(device.chat.discard(ids[0]).await.unwrap(), [ids[0]]);
    device.run().await;
    assert_eq!(texts(&publisher), ["one", "two"]);
    assert_eq!(device.stages().await, [Stage::Completed]);
}

#[tokio::test(start_paused = true)]
async fn where_the_lane_lets_others_pass_they_do_and_the_rejected_one_stays_to_be_seen() {
    let world = World::new().await;
    let (device, publisher) = scripted(&world, vec![rejected()]).await;
    device.chat.set_policy(&device.lane, PublishOrder::Strict, OnFailure::Pass).await.unwrap();
    let photo = device.stage(&world.photo("a.jpg")).await;
    device.send(vec![text("refused")]).await;
    device.run().await;
    *world.wire.pace.lock().unwrap() = vec![Duration::from_secs(20)];
    device.send(vec![Part::Staged(photo)]).await;
    device.send(vec![text("after the photo")]).await;
    device.run().await;
    assert_eq!(texts(&publisher), ["refused", "a.jpg", "after the photo"]);
    device.kill();
    let device = told_by(&world, &publisher).await;
    let stages = device.stages().await;
    assert!(is_failed(&stages[0]) && stages[1..] == [Stage::Completed, Stage::Completed], "{stages:?}");
}

#[tokio::test(start_paused = true)]
async fn a_caption_never_passes_its_photo_where_others_do() {
    let world = World::new().await;
    let (device, publisher) = scripted(&world, vec![]).await;
    device.chat.set_policy(&device.lane, PublishOrder::Strict, OnFailure::Pass).await.unwrap();
    *world.wire.refusals.lock().unwrap() = vec![413];
    let photo = device.send_photo(&world.photo("a.jpg"), "caption").await;
    device.send(vec![text("later")]).await;
    device.run().await;
    assert_eq!(texts(&publisher), ["later"]);
    assert_eq!(blockers(&device).await, [None, Some(photo), None]);
    device.chat.retry(photo).await.unwrap();
    device.run().await;
    assert_eq!(texts(&publisher), ["later", "a.jpg", "caption"]);
    assert_eq!(blockers(&device).await, [None; 3]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_upload_holds_up_what_is_behind_it_and_goes_out_when_it_is_retried() {
    let world = World::new().await;
    let device = world.device(Made::default()).await;
    *world.wire.refusals.lock().unwrap() = vec![413];
    let photo = device.send_photo(&world.photo("a.jpg"), "text a").await;
    device.send(vec![text("later")]).await;
    device.run().await;
    assert!(matches!(device.stages().await[0], Stage::Failed { code: Code::Refused, .. }));
    assert_eq!(blockers(&device).await, [None, Some(photo), Some(photo)]);
    assert!(world.told().await.is_empty());
    device.chat.retry(photo).await.unwrap();
    device.run().await;
    assert_eq!(world.told().await, ["a.jpg", "text a", "later"]);
}

#[tokio::test(start_paused = true)]
async fn a_blocked_lane_holds_up_no_other() {
    let world = World::new().await;
    let (device, publisher) = scripted(&world, vec![rejected()]).await;
    device.send(vec![text("refused"), text("behind it")]).await;
    device.run().await;
    let other = device.chat.lane("friends").await.unwrap();
    device.chat.send(&other, vec![text("to friends"), text("and more")]).await.unwrap();
    device.run().await;
    assert_eq!(texts(&publisher), ["refused", "to friends", "and more"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_behind_a_gateway_that_says_the_server_is_away_may_have_been_seen() {
    let world = World::new().await;
    let device = world.device(Made::default()).await;
    world.wire.lost_behind_a_gateway.store(1, Ordering::Relaxed);
    let ids = device.send(vec![text("one"), text("two")]).await;
    let budget = Some(Duration::from_millis(100));
    device.chat.run(ChatRun { budget, ..ChatRun::default() }).await.unwrap();
    assert_eq!(world.told().await, ["one"]);
    assert!(!device.chat.edit(ids[0], "another").await.unwrap(), "somebody has seen it");
    device.run().await;
    assert_eq!(
        (world.told().await, device.stages().await),
        (vec!["one".to_owned(), "two".to_owned()], vec![Stage::Completed; 2])
    );
}

#[tokio::test(start_paused = true)]
async fn what_needs_somebody_to_log_in_is_told_and_tried_once_by_each_run_uncharged() {
    let world = World::new().await;
    let (device, publisher) = scripted(&world, vec![Published::LoggedOut; 30]).await;
    device.send(vec![text("one"), text("two")]).await;
    for runs in 1..=30 {
        let report = device.chat.run(ChatRun::default()).await.unwrap();
        assert_eq!((report.logged_out, report.is_drained, publisher.said().len()), (1, true, runs));
    }
    device.run().await;
    assert_eq!(texts(&publisher)[30..], ["one", "two"], "somebody has logged in");
}

// Edited.

#[tokio::test(start_paused = true)]
async fn a_text_is_edited_while_it_waits_and_not_once_it_is_being_published() {
    let world = World::new().await;
    let (device, publisher) = slow(&world, vec![]).await;
    let ids = device.send(vec![text("one"), text("two")]).await;
    let run = amid(&device).await;
    assert!(!device.chat.edit(ids[0], "uno").await.unwrap());
    assert!(device.chat.edit(ids[1], "deux").await.unwrap());
    assert!(device.chat.edit(ids[1], "due").await.unwrap(), "the last one counts");
    assert!(matches!(&device.echoes().await[1].content, EchoContent::Text(Some(says)) if says == "due"));
    run.await.unwrap();
    assert_eq!(texts(&publisher), ["one", "due"]);
}

#[tokio::test(start_paused = true)]
async fn an_edit_while_a_publish_fails_is_refused_and_the_same_is_published_again() {
    let world = World::new().await;
    let (device, publisher) = slow(&world, vec![unknown()]).await;
    let ids = device.send(vec![text("one")]).await;
    let run = amid(&device).await;
    assert!(!device.chat.edit(ids[0], "uno").await.unwrap());
    run.await.unwrap();
    assert_eq!(texts(&publisher), ["one", "one"]);
    assert!(matches!(&device.echoes().await[0].content, EchoContent::Text(Some(says)) if says == "one"));
}

#[tokio::test(start_paused = true)]
async fn a_text_that_is_too_long_can_be_made_shorter_and_goes_out_in_its_place() {
    let world = World::new().await;
    let (device, publisher) = scripted(&world, vec![]).await;
    let ids = device.send(vec![text(&"long ".repeat(300_000)), text("two")]).await;
    device.run().await;
    assert!(is_failed(&device.stages().await[0]));
    assert!(device.chat.edit(ids[0], "short").await.unwrap());
    assert!(device.chat.retry(ids[0]).await.unwrap());
    device.run().await;
    assert_eq!(texts(&publisher), ["short", "two"]);
}

#[tokio::test(start_paused = true)]
async fn a_rejected_text_is_not_edited_but_taken_back_and_sent_anew() {
    let world = World::new().await;
    let (device, publisher) = scripted(&world, vec![rejected()]).await;
    let ids = device.send(vec![text("one")]).await;
    device.run().await;
    assert!(!device.chat.edit(ids[0], "uno").await.unwrap());
    device.chat.discard(ids[0]).await.unwrap();
    device.send(vec![text("uno")]).await;
    device.run().await;
    let said = publisher.said();
    assert_eq!(texts(&publisher), ["one", "uno"]);
    assert_ne!(said[0].0, said[1].0);
}

#[tokio::test(start_paused = true)]
async fn the_text_that_goes_with_a_photo_is_edited_until_its_own_turn() {
    let world = World::new().await;
    let (device, publisher) = slow(&world, vec![]).await;
    *world.wire.pace.lock().unwrap() = vec![SLOW];
    let photo = device.stage(&world.photo("a.jpg")).await;
    let ids = device.send(vec![Part::Staged(photo), text("one")]).await;
    let run = amid(&device).await;
    assert!(matches!(device.stages().await[0], Stage::Uploading(_)));
    assert!(device.chat.edit(ids[1], "while the photo uploads").await.unwrap());
    tokio::time::sleep(SLOW).await;
    assert_eq!(texts(&publisher), ["a.jpg"]);
    assert!(device.chat.edit(ids[1], "while the photo is published").await.unwrap());
    tokio::time::sleep(SLOW).await;
    assert!(!device.chat.edit(ids[1], "too late").await.unwrap());
    run.await.unwrap();
    assert_eq!(texts(&publisher), ["a.jpg", "while the photo is published"]);
}

#[tokio::test(start_paused = true)]
async fn the_text_that_goes_with_an_uploaded_photo_is_edited_while_nothing_runs() {
    let world = World::new().await;
    let device = world.device(Made::default()).await;
    let photo = device.stage(&world.photo("a.jpg")).await;
    device.run().await;
    let ids = device.send(vec![Part::Staged(photo), text("one")]).await;
    assert!(device.chat.edit(ids[1], "two").await.unwrap());
    device.kill();
    let device = world.device(Made::default()).await;
    device.run().await;
    assert_eq!((world.told().await, world.wire.puts()), (vec!["a.jpg".to_owned(), "two".to_owned()], 1));
}

#[tokio::test(start_paused = true)]
async fn a_photo_cannot_be_edited_into_a_text() {
    let world = World::new().await;
    let device = world.device(Made::default()).await;
    let photo = device.stage(&world.photo("a.jpg")).await;
    assert!(!device.chat.edit(photo, "hi").await.unwrap());
    device.send(vec![Part::Staged(photo)]).await;
    assert!(!device.chat.edit(photo, "hi").await.unwrap());
    device.run().await;
    assert_eq!(world.told().await, ["a.jpg"]);
}

// Several at once.

#[tokio::test(start_paused = true)]
async fn several_photos_sent_at_once_upload_side_by_side_and_arrive_in_their_order() {
    let world = World::new().await;
    let device = world.device(Made::default()).await;
    *world.wire.pace.lock().unwrap() = [30, 20, 10].map(Duration::from_secs).to_vec();
    let mut batch = Vec::new();
    for name in ["a.jpg", "b.jpg", "c.jpg"] {
        batch.push(Part::Staged(device.stage(&world.photo(name)).await));
    }
    batch.push(text("all three"));
    device.send(batch).await;
    let shown = device.echoes().await;
    let is_shown = |content: &EchoContent| matches!(content, EchoContent::Attachment { image: Some(_), .. });
    assert!(shown[..3].iter().all(|echo| is_shown(&echo.content)), "each can be shown before a byte has moved");
    let began = tokio::time::Instant::now();
    device.run().await;
    assert!(began.elapsed() < Duration::from_secs(40), "not one after the other: {:?}", began.elapsed());
    assert_eq!(world.told().await, ["a.jpg", "b.jpg", "c.jpg", "all three"]);
}
