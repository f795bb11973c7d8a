//! Uploads that go wrong in ways that last: they never arrive, their files or their moments are gone, nobody gives leave.
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail like the test")]

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use landfall::recipes::chat::{ChatRun, ChatServer, Events, Granter, Part, Published, PutGrant, PutIntent, Stage};
use landfall_core::{Code, Failure, ItemId, PutReport};
use landfall_crypto::xmtp::{Content, RemoteAttachment};
use landfall_store::Reported;
use sha2::{Digest as _, Sha256};

use crate::world::{Device, Made, Scripted, World, text};

fn by_platform() -> Made {
    Made { is_platform: true, ..Made::default() }
}

/// How often something happened to a message.
async fn times(device: &Device, item: ItemId, kind: &str) -> usize {
    let Events::These(events) = device.chat.events_since(0, 10_000).await.unwrap() else { panic!() };
    events.iter().filter(|event| event.item == item && event.kind == kind).count()
}

/// What the publisher was asked to tell of a photo.
fn remote(publisher: &Scripted, at: usize) -> RemoteAttachment {
    let asked = publisher.asked.lock().unwrap();
    match Content::decode_on_loopback(&asked[at].content).unwrap() {
        Content::RemoteAttachment(remote) => remote,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn uploads_that_never_arrive_are_a_persons_business_in_the_end() {
    let world = World::new().await;
    let device = world.device(by_platform()).await;
    let photo = device.send_photo(&world.photo("a.jpg"), "text a").await;
    let mut attempts = 0;
    loop {
        // Once to hear what the remote says, and once more when the pause that follows is over.
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_secs(600)).await;
            device.run().await;
        }
        let Some(transfer) = device.chat.take_transfers(10).await.unwrap().pop() else { break };
        attempts += 1;
        assert!(attempts <= 10, "nobody hears of it");
        // It says that it does not know, and the remote has nothing.
        let reported = device.chat.transfer_finished(&transfer.attempt, &PutReport::Unknown).await.unwrap();
        assert_eq!(reported, Reported::Taken(photo));
    }
    assert_eq!(attempts, 10);
    let echoes = device.echoes().await;
    assert!(matches!(echoes[0].stage, Stage::Failed { code: Code::TooManyAttempts, .. }), "{echoes:?}");
    assert_eq!(echoes[1].blocked_by, Some(photo));
    tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
    device.run().await;
    assert!(device.chat.take_transfers(10).await.unwrap().is_empty(), "it waits for the person");
    assert!(device.chat.retry(photo).await.unwrap());
    device.run().await;
    assert_eq!(device.chat.take_transfers(10).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_fixed_and_never_told_is_put_anew_once_its_payload_may_soon_be_gone() {
    let world = World::new().await;
    let publisher = Scripted::answering(vec![Published::NotReady { retry_after: Duration::from_secs(600) }]);
    let made = || Made { publisher: Some(Arc::clone(&publisher) as _), ..Made::default() };
    let device = world.device(made()).await;
    let photo = device.send_photo(&world.photo("a.jpg"), "text a").await;
    device.run().await;
    assert_eq!((publisher.said().len(), times(&device, photo, "frozen").await), (1, 1), "it was turned away");
    device.kill();
    tokio::time::sleep(Duration::from_secs(21 * 24 * 3600)).await;

    let device = world.device(made()).await;
    device.run().await;
    assert_eq!(publisher.said().iter().map(|(_, says)| &**says).collect::<Vec<_>>(), ["a.jpg", "a.jpg", "text a"]);
    assert_eq!((world.wire.puts(), times(&device, photo, "thawed").await), (2, 1));
    let (before, now) = (remote(&publisher, 0), remote(&publisher, 1));
    assert_ne!(before.url(), now.url(), "it names the payload that will last");
    assert_eq!(before.digest().as_bytes(), now.digest().as_bytes(), "which is the same");
    assert_eq!(publisher.said()[0].0, publisher.said()[1].0, "under the same key");
    let asked =
        PutIntent { bytes: now.payload_len().unwrap(), content_type: String::new(), digest: *now.digest().as_bytes() };
    assert_eq!(device.server.is_there(now.url(), &asked).await.unwrap(), Some(true));
}

#[tokio::test(start_paused = true)]
async fn a_payload_that_is_gone_before_anybody_was_to_put_it_is_made_again_under_other_secrets() {
    let world = World::new().await;
    let publisher = Scripted::answering(vec![]);
    let device = world.device(Made { publisher: Some(Arc::clone(&publisher) as _), ..Made::default() }).await;
    let photo = device.send_photo(&world.photo("a.jpg"), "text a").await;
    let copy = device.spool("/home");
    // Nobody gives leave to put it.
    world.wire.is_down.store(true, Ordering::Relaxed);
    device.chat.run(ChatRun { budget: Some(Duration::from_secs(5)), ..ChatRun::default() }).await.unwrap();
    let mut files = device.spool("/home");
    files.retain(|file| !copy.contains(file));
    let [payload] = &files[..] else { panic!("{files:?}") };
    let first = Sha256::digest(world.disk.read(payload).unwrap());
    world.disk.remove(payload).unwrap();
    world.wire.is_down.store(false, Ordering::Relaxed);
    device.chat.try_now().await.unwrap();
    device.run().await;
    assert_eq!(publisher.said().iter().map(|(_, says)| &**says).collect::<Vec<_>>(), ["a.jpg", "text a"]);
    assert_eq!((world.wire.puts(), times(&device, photo, "sealed").await), (1, 2));
    assert_ne!(remote(&publisher, 0).digest().as_bytes()[..], first[..], "the same photo, under other secrets");
}

/// Answers all but the first that ask for leave.
struct Hanging {
    server: ChatServer,
    asked: AtomicUsize,
}

impl Granter for Hanging {
    fn grant(&self, intent: PutIntent) -> BoxFuture<'_, Result<PutGrant, Failure>> {
        match self.asked.fetch_add(1, Ordering::Relaxed) {
            0 => Box::pin(std::future::pending()),
            _ => self.server.grant(intent),
        }
    }

    fn is_there<'a>(
        &'a self,
        asset_url: &'a str,
        intent: &'a PutIntent,
    ) -> BoxFuture<'a, Result<Option<bool>, Failure>> {
        self.server.is_there(asset_url, intent)
    }
}

#[tokio::test(start_paused = true)]
async fn a_granter_that_does_not_answer_holds_up_nobody_else_and_is_asked_again() {
    let world = World::new().await;
    let publisher = Scripted::answering(vec![]);
    let granter = Arc::new(Hanging { server: world.server(), asked: AtomicUsize::new(0) });
    let made = Made {
        publisher: Some(Arc::clone(&publisher) as _),
        granter: Some(Arc::clone(&granter) as _),
        ..Made::default()
    };
    let device = world.device(made).await;
    let other = device.chat.lane("friends").await.unwrap();
    let hung = device.stage(&world.photo("a.jpg")).await;
    device.send(vec![Part::Staged(hung)]).await;
    let chat = device.chat.clone();
    let run = tokio::spawn(async move { chat.run(ChatRun::default()).await.unwrap() });
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(granter.asked.load(Ordering::Relaxed), 1);
    let photo = device.stage(&world.photo("b.jpg")).await;
    device.chat.send(&other, vec![Part::Staged(photo), text("text b")]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(publisher.said().iter().map(|(_, says)| &**says).collect::<Vec<_>>(), ["b.jpg", "text b"]);
    let run = tokio::time::timeout(Duration::from_secs(90), run).await;
    assert!(run.expect("nobody waits for an answer for ever").unwrap().is_drained);
    assert_eq!(publisher.said().iter().map(|(_, says)| &**says).collect::<Vec<_>>(), ["b.jpg", "text b", "a.jpg"]);
    assert_eq!(granter.asked.load(Ordering::Relaxed), 3, "once for each, and once more");
}

#[tokio::test(start_paused = true)]
async fn a_transfer_that_nobody_began_with_is_asked_about_when_its_leave_has_ended() {
    for arrived in [false, true] {
        let world = World::new().await;
        let device = world.device(by_platform()).await;
        device.send_photo(&world.photo("a.jpg"), "text a").await;
        device.run().await;
        let first = device.chat.take_transfers(10).await.unwrap().remove(0);
        if arrived {
            let body = world.disk.read(Path::new("/home").join(&first.file)).unwrap();
            assert_eq!(device.put(&first, body).await, 200);
        }
        // It was given to a process that died before it could tell the platform, or that the platform did.
        device.kill();
        let lasts = first.deadline.unwrap().since(first_moment());
        tokio::time::sleep(lasts / 2).await;
        let device = world.device(by_platform()).await;
        let again = device.chat.take_transfers(10).await.unwrap().remove(0);
        assert_eq!(again.attempt, first.attempt, "there is time for it");
        device.kill();
        tokio::time::sleep(lasts).await;

        let device = world.device(by_platform()).await;
        assert!(device.chat.take_transfers(10).await.unwrap().is_empty(), "the remote would refuse it");
        device.chat.try_now().await.unwrap();
        device.run().await;
        if !arrived {
            let second = device.chat.take_transfers(10).await.unwrap().remove(0);
            assert_ne!(second.attempt, first.attempt);
            let body = world.disk.read(Path::new("/home").join(&second.file)).unwrap();
            assert_eq!(device.put(&second, body).await, 200);
            let answered = PutReport::Answered { status: 200, retry_after: None, says_expired: false };
            device.chat.transfer_finished(&second.attempt, &answered).await.unwrap();
            device.run().await;
        }
        assert_eq!((world.told().await, world.wire.puts()), (vec!["a.jpg".to_owned(), "text a".to_owned()], 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_transfer_of_a_session_that_nobody_opens_again_is_asked_about_in_the_end() {
    let world = World::new().await;
    let device = world.device(by_platform()).await;
    device.send_photo(&world.photo("a.jpg"), "text a").await;
    device.run().await;
    let first = device.chat.take_transfers(10).await.unwrap().remove(0);
    device.chat.transfer_started(&first.attempt, "task 1").await.unwrap();
    let body = world.disk.read(Path::new("/home").join(&first.file)).unwrap();
    assert_eq!(device.put(&first, body).await, 200);
    device.kill();
    tokio::time::sleep(first.deadline.unwrap().since(first_moment())).await;
    let device = world.device(by_platform()).await;
    assert!(device.chat.take_transfers(10).await.unwrap().is_empty());
    device.run().await;
    assert!(world.told().await.is_empty(), "what began in time may still be under way");
    tokio::time::sleep(Duration::from_secs(2 * 3600)).await;
    assert!(device.chat.take_transfers(10).await.unwrap().is_empty());
    device.run().await;
    assert_eq!((world.told().await, world.wire.puts()), (vec!["a.jpg".to_owned(), "text a".to_owned()], 1));
}

/// When a world begins.
fn first_moment() -> landfall_core::Timestamp {
    landfall_core::Timestamp(1_700_000_000_000)
}

#[tokio::test(start_paused = true)]
async fn a_publisher_that_never_says_what_became_of_it_is_asked_ever_less_often() {
    let world = World::new().await;
    let unknown = || Published::Unknown { reason: "the answer was lost".to_owned() };
    let publisher = Scripted::answering(std::iter::repeat_with(unknown).take(10_000).collect());
    let device = world.device(Made { publisher: Some(Arc::clone(&publisher) as _), ..Made::default() }).await;
    device.send(vec![text("one"), text("two")]).await;
    let began = tokio::time::Instant::now();
    while began.elapsed() < Duration::from_secs(3600) {
        device.run().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let tried = publisher.said().len();
    assert!((15..=40).contains(&tried), "{tried} times in an hour");
}
