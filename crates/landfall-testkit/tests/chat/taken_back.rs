//! What is taken back, or left out, at whatever stage it is: it is told to nobody any more, holds up nobody, and leaves
//! nothing here.

use std::{collections::HashSet, time::Duration};

use landfall::recipes::chat::{ChatRun, Part, Published, Stage};

use crate::{
    steered::{SLOW, amid, rejected, scripted, slow, texts, told_by, unknown},
    world::{Made, World, text},
};

#[tokio::test(start_paused = true)]
async fn what_is_taken_back_behind_another_never_goes_out_and_the_rest_keeps_its_order() {
    let world = World::new().await;
    let (device, publisher) = slow(&world, vec![]).await;
    let ids = device.send(["one", "two", "three", "four", "five"].map(text).to_vec()).await;
    let run = amid(&device).await;
    for id in [ids[1], ids[3], ids[2]] {
        assert_eq!(device.chat.discard(id).await.unwrap(), [id]);
    }
    assert_eq!(device.echoes().await.len(), 2, "they are not shown any more");
    run.await.unwrap();
    assert_eq!(texts(&publisher), ["one", "five"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_taken_back_while_it_is_published_may_be_seen_and_those_behind_it_go_on() {
    let world = World::new().await;
    let (device, publisher) = slow(&world, vec![]).await;
    let ids = device.send(vec![text("one"), text("two")]).await;
    let run = amid(&device).await;
    assert_eq!(device.chat.discard(ids[0]).await.unwrap(), [ids[0]]);
    let report = run.await.unwrap();
    assert_eq!((report.published, report.remaining), (1, 0));
    assert_eq!(texts(&publisher), ["one", "two"], "asked once for each");
    assert!(device.chat.discard(ids[0]).await.unwrap().is_empty(), "it is taken back once");
}

#[tokio::test(start_paused = true)]
async fn whoever_is_behind_what_is_taken_back_waits_for_the_publish_that_is_under_way() {
    for skips in [false, true] {
        let world = World::new().await;
        let (device, publisher) = slow(&world, vec![]).await;
        let ids = device.send(vec![text("one"), text("two")]).await;
        let run = amid(&device).await;
        match skips {
            true => assert_eq!(device.chat.skip(ids[0]).await.unwrap(), [ids[0]]),
            false => assert_eq!(device.chat.discard(ids[0]).await.unwrap(), [ids[0]]),
        }
        assert_eq!(device.echoes().await.len(), 1, "it is not shown any more");
        device.send(vec![text("three")]).await;
        tokio::time::sleep(SLOW / 4).await;
        assert_eq!(texts(&publisher), ["one"], "the others might see it behind those");
        run.await.unwrap();
        assert_eq!(texts(&publisher), ["one", "two", "three"]);
        assert_eq!(device.stages().await, [Stage::Completed, Stage::Completed]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_taken_back_while_it_is_published_is_over_when_its_process_dies() {
    let world = World::new().await;
    let (device, publisher) = slow(&world, vec![]).await;
    let ids = device.send(vec![text("one"), text("two")]).await;
    let run = amid(&device).await;
    assert_eq!(device.chat.discard(ids[0]).await.unwrap(), [ids[0]]);
    run.abort();
    device.kill();
    let device = told_by(&world, &publisher).await;
    assert!(device.chat.discard(ids[0]).await.unwrap().is_empty(), "it is taken back once");
    device.run().await;
    assert_eq!(texts(&publisher), ["one", "two"]);
    assert_eq!(device.stages().await, [Stage::Completed]);
}

#[tokio::test(start_paused = true)]
async fn what_is_taken_back_while_its_publish_fails_is_not_published_again() {
    let not_ready = Published::NotReady { retry_after: Duration::from_secs(1) };
    for answer in [unknown(), rejected(), not_ready] {
        let world = World::new().await;
        let (device, publisher) = slow(&world, vec![answer]).await;
        let ids = device.send(vec![text("one")]).await;
        let run = amid(&device).await;
        device.chat.discard(ids[0]).await.unwrap();
        run.await.unwrap();
        device.run().await;
        assert_eq!(texts(&publisher), ["one"]);
        assert!(device.echoes().await.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_after_a_failure_can_be_taken_back() {
    let world = World::new().await;
    let (device, publisher) = scripted(&world, vec![unknown(); 50]).await;
    let ids = device.send(vec![text("one")]).await;
    device.run().await;
    let tried = publisher.said().len();
    assert_eq!(device.chat.discard(ids[0]).await.unwrap(), ids);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    device.run().await;
    assert_eq!((publisher.said().len(), device.echoes().await.len()), (tried, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_frozen_and_was_not_published_can_be_taken_back_unseen() {
    let world = World::new().await;
    let (device, publisher) =
        scripted(&world, vec![Published::NotReady { retry_after: Duration::from_secs(600) }]).await;
    let ids = device.send(vec![text("one"), text("two")]).await;
    device.run().await;
    assert_eq!(device.chat.discard(ids[0]).await.unwrap(), [ids[0]]);
    device.run().await;
    assert_eq!(texts(&publisher), ["one", "two"], "it was turned away, and never asked again");
}

#[tokio::test(start_paused = true)]
async fn what_has_arrived_can_be_neither_edited_nor_taken_back_nor_left_out_nor_retried() {
    let world = World::new().await;
    let device = world.device(Made::default()).await;
    let ids = device.send(vec![text("one")]).await;
    device.run().await;
    assert!(!device.chat.edit(ids[0], "two").await.unwrap());
    assert!(device.chat.discard(ids[0]).await.unwrap().is_empty());
    assert!(device.chat.skip(ids[0]).await.unwrap().is_empty());
    assert!(!device.chat.retry(ids[0]).await.unwrap());
    device.run().await;
    assert_eq!((world.told().await, device.stages().await), (vec!["one".to_owned()], vec![Stage::Completed]));
}

#[tokio::test(start_paused = true)]
async fn a_photo_taken_back_before_its_upload_begins_is_never_put() {
    let world = World::new().await;
    let (device, publisher) = slow(&world, vec![]).await;
    device.send(vec![text("one")]).await;
    let run = amid(&device).await;
    let photo = device.send_photo(&world.photo("a.jpg"), "text a").await;
    assert_eq!(device.chat.discard(photo).await.unwrap().len(), 2, "and the text that goes with it");
    run.await.unwrap();
    assert_eq!((world.wire.puts(), texts(&publisher)), (0, vec!["one".to_owned()]));
    assert!(device.spool("/home").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_photo_taken_back_while_it_uploads_holds_up_nothing_and_its_upload_is_broken_off() {
    let world = World::new().await;
    let device = world.device(Made::default()).await;
    *world.wire.pace.lock().unwrap() = vec![Duration::from_secs(24 * 3600)];
    let photo = device.send_photo(&world.photo("a.jpg"), "text a").await;
    let run = amid(&device).await;
    assert!(matches!(device.stages().await[0], Stage::Uploading(_)));
    assert_eq!(device.chat.discard(photo).await.unwrap().len(), 2);
    device.send(vec![text("hi")]).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.told().await, ["hi"]);
    let run = tokio::time::timeout(Duration::from_secs(60), run).await;
    assert!(run.expect("nobody waits for an upload that nobody wants").unwrap().is_drained);
    assert!(device.spool("/home").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_photo_taken_back_once_it_is_uploaded_leaves_nothing_here() {
    let world = World::new().await;
    let (device, publisher) = slow(&world, vec![]).await;
    device.send(vec![text("one")]).await;
    let photo = device.stage(&world.photo("a.jpg")).await;
    device.send(vec![Part::Staged(photo), text("text a"), text("two")]).await;
    let run = amid(&device).await;
    assert!(matches!(device.stages().await[1], Stage::Publishing), "it waits for its turn");
    assert_eq!(device.chat.discard(photo).await.unwrap().len(), 3);
    run.await.unwrap();
    assert_eq!((world.wire.puts(), texts(&publisher)), (1, vec!["one".to_owned()]));
    assert!(device.spool("/home").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_photo_taken_back_while_it_is_published_takes_its_text_along() {
    let world = World::new().await;
    let (device, publisher) = slow(&world, vec![]).await;
    let photo = device.send_photo(&world.photo("a.jpg"), "text a").await;
    device.send(vec![text("later")]).await;
    let run = amid(&device).await;
    assert_eq!(texts(&publisher), ["a.jpg"]);
    assert_eq!(device.chat.discard(photo).await.unwrap().len(), 2);
    run.await.unwrap();
    assert_eq!(texts(&publisher), ["a.jpg", "later"]);
    assert!(device.chat.discard(photo).await.unwrap().is_empty());
    assert!(device.spool("/home").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_photo_taken_back_at_whatever_moment_leaves_nothing_here_and_holds_up_nothing() {
    let mut met = HashSet::new();
    for quarters in 0..160 {
        let world = World::new().await;
        let (device, publisher) = slow(&world, vec![]).await;
        *world.wire.pace.lock().unwrap() = vec![SLOW];
        let photo = device.send_photo(&world.photo("a.jpg"), "text a").await;
        device.send(vec![text("later")]).await;
        let chat = device.chat.clone();
        let run = tokio::spawn(async move { chat.run(ChatRun::default()).await.unwrap() });
        tokio::time::sleep(Duration::from_millis(250) * quarters).await;
        met.insert(std::mem::discriminant(&device.stages().await[0]));
        let gone = device.chat.discard(photo).await.unwrap();
        run.await.unwrap();
        let told = texts(&publisher);
        assert_eq!(told.last().unwrap(), "later", "after {quarters} quarters");
        match gone.is_empty() {
            true => assert_eq!(told, ["a.jpg", "text a", "later"], "after {quarters} quarters"),
            false => assert!(!told.contains(&"text a".to_owned()), "after {quarters} quarters: {told:?}"),
        }
        assert_eq!(device.spool("/home").len(), usize::from(gone.is_empty()), "after {quarters} quarters");
    }
    assert_eq!(met.len(), 4, "it was preparing, uploading, publishing and completed");
}

#[tokio::test(start_paused = true)]
async fn what_is_left_out_while_it_uploads_leaves_the_rest_in_order() {
    let world = World::new().await;
    let device = world.device(Made::default()).await;
    *world.wire.pace.lock().unwrap() = vec![Duration::from_secs(20); 2];
    let (a, b) = (device.stage(&world.photo("a.jpg")).await, device.stage(&world.photo("b.jpg")).await);
    device.send(vec![Part::Staged(a), text("text a"), Part::Staged(b), text("text b")]).await;
    device.send(vec![text("last")]).await;
    let run = amid(&device).await;
    assert_eq!(device.chat.skip(a).await.unwrap().len(), 2);
    run.await.unwrap();
    assert_eq!(world.told().await, ["b.jpg", "text b", "last"]);
}
