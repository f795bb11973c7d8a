//! What is sent is shown at once, arrives in order, and arrives once.

use std::{sync::Arc, time::Duration};

use http_body_util::BodyExt as _;
use landfall::{
    Error,
    recipes::chat::{ChatRun, EchoContent, Part, Published, Stage},
};
use landfall_core::{OnFailure, PublishOrder};
use landfall_crypto::xmtp::{AttachmentOpener, Content, PAYLOAD_LEN_MAX};

use crate::world::{Made, Scripted, World, file, text};

#[tokio::test(start_paused = true)]
async fn photos_and_texts_of_two_batches_arrive_in_the_order_of_sending() {
    let world = World::new().await;
    let device = world.device(Made::default()).await;
    // The first photo takes longest.
    *world.wire.pace.lock().unwrap() = vec![Duration::from_secs(60), Duration::from_secs(1)];
    let (a, b) = (device.stage(&world.photo("a.jpg")).await, device.stage(&world.photo("b.jpg")).await);
    device.send(vec![Part::Staged(a), text("text a")]).await;
    device.send(vec![Part::Staged(b), text("text b")]).await;
    let echoes = device.echoes().await;
    assert_eq!(echoes.len(), 4, "all of it is shown before a byte has moved");
    assert!(matches!(&echoes[1].content, EchoContent::Text(Some(says)) if says == "text a"));
    device.run().await;
    assert_eq!(world.told().await, ["a.jpg", "text a", "b.jpg", "text b"]);
    assert_eq!(world.wire.puts(), 2);
    assert_eq!(device.stages().await, vec![Stage::Completed; 4]);
}

#[tokio::test(start_paused = true)]
async fn batches_race_where_the_lane_says_so_and_a_text_follows_its_own_photo() {
    let world = World::new().await;
    let device = world.device(Made::default()).await;
    device.chat.set_policy(&device.lane, PublishOrder::ByUpload, OnFailure::Wait).await.unwrap();
    *world.wire.pace.lock().unwrap() = vec![Duration::from_secs(60), Duration::from_secs(1)];
    let (a, b) = (device.stage(&world.photo("a.jpg")).await, device.stage(&world.photo("b.jpg")).await);
    device.send(vec![Part::Staged(a), text("text a")]).await;
    device.send(vec![Part::Staged(b), text("text b")]).await;
    device.run().await;
    assert_eq!(world.told().await, ["b.jpg", "text b", "a.jpg", "text a"]);
}

#[tokio::test(start_paused = true)]
async fn what_arrives_is_the_photo_and_can_be_shown_at_the_sender_all_the_time() {
    let world = World::new().await;
    let device = world.device(Made::default()).await;
    let path = world.photo("a.jpg");
    let photo = device.stage(&path).await;
    let image = async || match &device.echoes().await[0].content {
        EchoContent::Attachment { image: Some(image), .. } => {
            world.disk.read(std::path::Path::new("/home").join(image))
        }
        other => panic!("{other:?}"),
    };
    device.send(vec![Part::Staged(photo)]).await;
    assert_eq!(image().await.unwrap(), world.disk.read(&path).unwrap());
    device.run().await;
    assert_eq!(image().await.unwrap(), world.disk.read(&path).unwrap());
    let arrived = world.lane().await.remove(0);
    let Some(Content::RemoteAttachment(remote)) = arrived.content else { panic!("{:?}", arrived.content) };
    let payload = device.server.fetch(remote.url()).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    let mut opener = AttachmentOpener::new(remote.secrets(), *remote.digest(), PAYLOAD_LEN_MAX);
    let mut payload = payload.to_vec();
    let opened = opener.update(&mut payload).unwrap().for_staging().to_vec();
    assert_eq!(opener.finish().unwrap().mime_type.as_deref(), Some("image/jpeg"));
    assert_eq!(opened[..3], [0xff, 0xd8, 0xff]);
    assert_eq!(device.spool("/home").len(), 1, "the payload is gone, the copy that is shown is not");
    device.chat.release(vec![photo]).await.unwrap();
    assert_eq!(device.spool("/home").len(), 0);
    assert_eq!(device.echoes().await.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_photo_that_was_staged_goes_out_without_another_upload_when_it_is_sent() {
    let world = World::new().await;
    let device = world.device(Made::default()).await;
    let photo = device.stage(&world.photo("a.jpg")).await;
    device.run().await;
    assert_eq!((world.wire.puts(), world.told().await.len()), (1, 0));
    device.kill();
    let device = world.device(Made::default()).await;
    device.send(vec![Part::Staged(photo)]).await;
    device.run().await;
    assert_eq!((world.wire.puts(), world.told().await), (1, vec!["a.jpg".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn without_a_hosts_key_a_restart_begins_again_from_the_original() {
    let world = World::new().await;
    let made = || Made { key: None, ..Made::default() };
    let device = world.device(made()).await;
    let photo = device.stage(&world.photo("a.jpg")).await;
    device.run().await;
    device.kill();
    let device = world.device(made()).await;
    device.send(vec![Part::Staged(photo), text("text a")]).await;
    device.run().await;
    assert_eq!((world.wire.puts(), world.told().await), (2, vec!["a.jpg".to_owned(), "text a".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_published_again_with_the_same_bytes_under_the_same_key() {
    let world = World::new().await;
    let unknown = || Published::Unknown { reason: "the answer was lost".to_owned() };
    let publisher = Scripted::answering(vec![unknown(), unknown()]);
    let device = world.device(Made { publisher: Some(Arc::clone(&publisher) as _), ..Made::default() }).await;
    device.send(vec![text("once"), text("then")]).await;
    device.run().await;
    let said = publisher.said();
    assert_eq!(said.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), ["once", "once", "once", "then"]);
    assert!(said[..3].iter().all(|(key, _)| *key == said[0].0));
}

#[tokio::test(start_paused = true)]
async fn a_rejected_message_holds_up_its_lane_visibly_until_it_is_skipped() {
    let world = World::new().await;
    let publisher = Scripted::answering(vec![Published::Rejected { reason: "no".to_owned() }]);
    let device = world.device(Made { publisher: Some(Arc::clone(&publisher) as _), ..Made::default() }).await;
    let ids = device.send(vec![text("first"), text("second"), text("third")]).await;
    device.run().await;
    let echoes = device.echoes().await;
    assert!(matches!(echoes[0].stage, Stage::Failed { .. }));
    assert!(echoes[1..].iter().all(|echo| echo.blocked_by == Some(ids[0])));
    device.chat.skip(ids[0]).await.unwrap();
    device.run().await;
    assert_eq!(publisher.said().into_iter().map(|(_, text)| text).collect::<Vec<_>>(), ["first", "second", "third"]);
}

#[tokio::test(start_paused = true)]
async fn a_publisher_that_is_not_ready_is_asked_later_and_charges_nothing() {
    let world = World::new().await;
    let later = Published::NotReady { retry_after: Duration::from_secs(5) };
    let publisher = Scripted::answering(vec![later; 20]);
    let device = world.device(Made { publisher: Some(Arc::clone(&publisher) as _), ..Made::default() }).await;
    device.send(vec![text("a")]).await;
    device.run().await;
    assert_eq!(device.stages().await, [Stage::Completed]);
    assert_eq!(publisher.said().len(), 21);
}

#[tokio::test(start_paused = true)]
async fn what_is_staged_anew_in_a_composer_replaces_what_was_there() {
    let world = World::new().await;
    let device = world.device(Made::default()).await;
    let first = device.chat.stage(file(&world.photo("a.jpg")), Some("composer")).await.unwrap();
    let second = device.chat.stage(file(&world.photo("b.jpg")), Some("composer")).await.unwrap();
    assert!(device.chat.send(&device.lane, vec![Part::Staged(first)]).await.is_err());
    device.send(vec![Part::Staged(second)]).await;
    device.run().await;
    assert_eq!(world.told().await, ["b.jpg"]);
    assert_eq!(device.spool("/home").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_names_a_photo_twice_is_refused_as_a_whole_and_goes_out_when_it_names_it_once() {
    let world = World::new().await;
    let device = world.device(Made::default()).await;
    let photo = device.stage(&world.photo("a.jpg")).await;
    let twice = vec![Part::Staged(photo), text("text a"), Part::Staged(photo)];
    let refused = device.chat.send(&device.lane, twice).await.unwrap_err();
    assert!(matches!(&refused, Error::Invalid(why) if why.contains("more than once")), "{refused}");
    assert_eq!((device.echoes().await.len(), device.chat.staged().await.unwrap().echoes.len()), (0, 1));
    device.send(vec![Part::Staged(photo), text("text a")]).await;
    let sequences: Vec<_> = device.echoes().await.into_iter().map(|echo| echo.sequence).collect();
    assert_eq!(sequences, [Some(1), Some(2)], "what was refused took no place");
    device.run().await;
    assert_eq!(world.told().await, ["a.jpg", "text a"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_staged_and_never_sent_is_collected_also_after_a_restart() {
    let world = World::new().await;
    let device = world.device(Made::default()).await;
    device.stage(&world.photo("a.jpg")).await;
    device.run().await;
    device.kill();
    tokio::time::sleep(Duration::from_secs(8 * 24 * 3600)).await;
    let device = world.device(Made::default()).await;
    device.run().await;
    assert_eq!(device.spool("/home").len(), 0);
    assert_eq!(device.chat.staged().await.unwrap().echoes.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_slow_publisher_of_one_lane_holds_up_no_other() {
    let world = World::new().await;
    let publisher = Scripted::answering(vec![]);
    let device = world.device(Made { publisher: Some(Arc::clone(&publisher) as _), ..Made::default() }).await;
    let other = device.chat.lane("friends").await.unwrap();
    *world.wire.pace.lock().unwrap() = vec![Duration::from_secs(600)];
    device.send_photo(&world.photo("a.jpg"), "behind the photo").await;
    device.chat.send(&other, vec![text("to friends")]).await.unwrap();
    let budget = ChatRun { budget: Some(Duration::from_secs(30)), ..ChatRun::default() };
    let report = device.chat.run(budget).await.unwrap();
    assert!(!report.is_drained);
    assert_eq!(report.remaining, 2);
    assert_eq!(publisher.said().into_iter().map(|(_, text)| text).collect::<Vec<_>>(), ["to friends"]);
}
