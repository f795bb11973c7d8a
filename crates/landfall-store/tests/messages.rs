//! Lanes and messages: order, staging, attempts, and what survives whom.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use landfall_core::{
    BlockReason, Code, ItemId, OnFailure, PublishOrder, PutOutcome, RetryPolicy, State, Timestamp, Waits,
};
use landfall_env::Env;
use landfall_store::{
    CarrierName, DestinationId, Journal, JournalOptions, Lane, Lease, Message, MessageContent, MessageLimits,
    NewAttachment, NewAttempt, NewText, Outgoing, Reported, Sealed, Sent, StoreError, Tx,
};

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const POLICY: RetryPolicy = RetryPolicy { base: Duration::from_secs(1), cap: Duration::from_secs(60), attempts_max: 3 };

fn app() -> CarrierName {
    CarrierName::Session("app".to_owned())
}

struct Bench {
    journal: Journal,
    destination: DestinationId,
    lane: Lane,
    dir: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.db");
        Self::over(dir, path).await
    }

    async fn over(dir: tempfile::TempDir, path: PathBuf) -> Self {
        let options = JournalOptions { path, vfs: None, check: false, read_only: false };
        let journal = Journal::open(options, &Env::real()).await.unwrap();
        let (destination, lane) = journal
            .write(|tx| {
                tx.enter_worker("w", 1)?;
                let destination = tx.destination_at("chat:default")?.id;
                Ok((destination, tx.lane_named(destination, "family")?))
            })
            .await
            .unwrap();
        Self { journal, destination, lane, dir }
    }

    async fn write<T: Send + 'static>(
        &self,
        write: impl FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> T {
        self.journal.write(write).await.unwrap()
    }

    async fn stage(&self, name: &str, composer: Option<&str>) -> ItemId {
        let attachment = NewAttachment {
            name: name.to_owned(),
            mime: "image/jpeg".to_owned(),
            is_photo: true,
            original: format!("{name}.original"),
            size: 100,
            composer: composer.map(str::to_owned),
            idempotency_key: format!("key of {name}"),
        };
        let destination = self.destination;
        self.write(move |tx| tx.stage(destination, &attachment, NOW)).await
    }

    async fn send(&self, batch: Vec<Outgoing>) -> Sent {
        let lane = self.lane.clone();
        self.write(move |tx| tx.send(&lane, &batch, NOW)).await
    }

    async fn sent(&self, batch: Vec<Outgoing>) -> Vec<ItemId> {
        match self.send(batch).await {
            Sent::All(ids) => ids,
            Sent::NotStaged(id) | Sent::Twice(id) => panic!("{id} is not staged"),
        }
    }

    async fn claim(&self) -> Vec<Lease> {
        let destination = self.destination;
        self.write(move |tx| tx.claim_messages("w", destination, MessageLimits::default(), 100, NOW)).await
    }

    /// Claims everything and gives back all but one.
    async fn lease(&self, id: ItemId) -> Lease {
        let mut wanted = None;
        for lease in self.claim().await {
            if lease.item == id {
                wanted = Some(lease);
            } else {
                self.write(move |tx| tx.release(&lease, Waits::Nothing, NOW)).await;
            }
        }
        wanted.unwrap_or_else(|| panic!("{id} could not be claimed"))
    }

    async fn message(&self, id: ItemId) -> Message {
        self.journal.read(move |tx| tx.message(id)).await.unwrap()
    }

    async fn state(&self, id: ItemId) -> State {
        self.message(id).await.state
    }

    async fn behind(&self, id: ItemId) -> Option<ItemId> {
        self.journal.read(move |tx| tx.behind(id)).await.unwrap()
    }

    /// Seals it and hands its first attempt out.
    async fn under_way(&self, id: ItemId) -> String {
        let lease = self.lease(id).await;
        let sealed = lease.clone();
        let payload =
            Sealed { file: format!("{id}.sealed"), size: 116, digest: vec![7; 32], secrets: Some(vec![1; 92]) };
        self.write(move |tx| tx.sealed(&sealed, &payload, NOW)).await;
        self.grant(lease).await
    }

    async fn grant(&self, lease: Lease) -> String {
        let count = self.message(lease.item).await.generation.0;
        let id = format!("attempt {count} of {}", lease.item);
        let attempt = NewAttempt {
            id: id.clone(),
            request: Some(vec![2; 40]),
            asset_url: format!("https://assets.example/{id}"),
            deadline: Some(NOW.after(Duration::from_secs(3600))),
            worker: None,
        };
        self.write(move |tx| tx.granted(&lease, &attempt, NOW)).await;
        let destination = self.destination;
        self.write(move |tx| tx.take_attempts(destination, &app(), 100)).await;
        id
    }

    async fn ended(&self, attempt: &str, outcome: PutOutcome) -> Reported {
        self.ended_at(attempt, outcome, NOW).await
    }

    async fn ended_at(&self, attempt: &str, outcome: PutOutcome, now: Timestamp) -> Reported {
        let attempt = attempt.to_owned();
        self.write(move |tx| tx.attempt_ended(&attempt, outcome, None, &POLICY, 0.5, now)).await
    }

    async fn publish(&self, id: ItemId) {
        let lease = self.lease(id).await;
        self.write(move |tx| {
            tx.freeze(&lease, b"body", NOW)?;
            tx.publishing(&lease, NOW)?;
            tx.message_published(&lease, NOW)
        })
        .await;
    }

    async fn block(&self, id: ItemId) {
        let lease = self.lease(id).await;
        let reason = BlockReason { code: Code::Refused, message: "no".to_owned() };
        self.write(move |tx| tx.block(&lease, &reason, NOW)).await;
    }

    async fn files(&self) -> BTreeSet<String> {
        self.journal.read(|tx| tx.spool_files()).await.unwrap().into_iter().collect()
    }
}

fn text(says: &str, with: Option<usize>) -> Outgoing {
    let idempotency_key = format!("key of {says} {}", fresh());
    Outgoing::Text(NewText { text: says.as_bytes().to_vec(), idempotency_key }, with)
}

fn fresh() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

#[tokio::test]
async fn a_batch_is_sent_in_its_order_behind_what_was_sent_before() {
    let bench = Bench::new().await;
    let photo = bench.stage("a.jpg", None).await;
    let first = bench.sent(vec![Outgoing::Staged(photo), text("a", Some(0))]).await;
    let second = bench.sent(vec![text("b", None)]).await;
    assert_eq!(first[0], photo);
    assert_eq!(bench.behind(photo).await, None);
    assert_eq!(bench.behind(first[1]).await, Some(photo));
    assert_eq!(bench.behind(second[0]).await, Some(first[1]));
    let MessageContent::Text { goes_with, .. } = bench.message(first[1]).await.content else { panic!() };
    assert_eq!(goes_with, Some(photo));
}

#[tokio::test]
async fn batches_race_where_the_lane_says_so_and_a_batch_keeps_its_order() {
    let bench = Bench::new().await;
    let lane = bench.lane.id;
    bench.write(move |tx| tx.set_policy(lane, PublishOrder::ByUpload, OnFailure::Wait, NOW)).await;
    let photo = bench.stage("a.jpg", None).await;
    let first = bench.sent(vec![Outgoing::Staged(photo), text("a", Some(0))]).await;
    let second = bench.sent(vec![text("b", None)]).await;
    assert_eq!(bench.behind(second[0]).await, None);
    assert_eq!(bench.behind(first[1]).await, Some(photo));
}

#[tokio::test]
async fn what_is_behind_a_blocked_message_waits_until_somebody_skips_it_or_the_lane_lets_it_pass() {
    let bench = Bench::new().await;
    let ids = bench.sent(vec![text("a", None), text("b", None)]).await;
    bench.block(ids[0]).await;
    assert_eq!(bench.behind(ids[1]).await, Some(ids[0]));
    let lane = bench.lane.id;
    bench.write(move |tx| tx.set_policy(lane, PublishOrder::Strict, OnFailure::Pass, NOW)).await;
    assert_eq!(bench.behind(ids[1]).await, None);
    bench.write(move |tx| tx.set_policy(lane, PublishOrder::Strict, OnFailure::Wait, NOW)).await;
    let blocked = ids[0];
    assert_eq!(bench.write(move |tx| tx.skip(blocked, NOW)).await, [blocked]);
    assert_eq!(bench.behind(ids[1]).await, None);
}

#[tokio::test]
async fn a_follower_wakes_when_the_one_before_it_is_published() {
    let bench = Bench::new().await;
    let ids = bench.sent(vec![text("a", None), text("b", None)]).await;
    let lease = bench.lease(ids[1]).await;
    let before = ids[0];
    bench.write(move |tx| tx.release(&lease, Waits::Item(before), NOW)).await;
    assert_eq!(bench.claim().await.len(), 1);
    bench.write(|tx| tx.release_worker("w")).await;
    bench.publish(ids[0]).await;
    assert_eq!(bench.claim().await[0].item, ids[1]);
}

#[tokio::test]
async fn what_was_staged_last_replaces_what_its_composer_had_and_nothing_that_was_sent() {
    let bench = Bench::new().await;
    let first = bench.stage("a.jpg", Some("composer")).await;
    let second = bench.stage("b.jpg", Some("composer")).await;
    assert_eq!(bench.state(first).await, State::Cancelled);
    assert_eq!(bench.send(vec![Outgoing::Staged(first)]).await, Sent::NotStaged(first));
    bench.sent(vec![Outgoing::Staged(second)]).await;
    bench.stage("c.jpg", Some("composer")).await;
    assert!(!bench.state(second).await.is_final());
    assert_eq!(bench.send(vec![Outgoing::Staged(second)]).await, Sent::NotStaged(second), "it is sent once");
}

#[tokio::test]
async fn a_batch_with_something_that_is_gone_is_not_sent_at_all() {
    let bench = Bench::new().await;
    let (kept, gone) = (bench.stage("a.jpg", None).await, bench.stage("b.jpg", None).await);
    bench.write(move |tx| tx.discard(gone, NOW)).await;
    let batch = vec![Outgoing::Staged(kept), text("a", Some(0)), Outgoing::Staged(gone)];
    assert_eq!(bench.send(batch).await, Sent::NotStaged(gone));
    assert_eq!(bench.message(kept).await.sequence, None);
    assert_eq!(bench.sent(vec![Outgoing::Staged(kept)]).await, [kept]);
}

#[tokio::test]
async fn a_batch_that_names_one_attachment_twice_is_not_sent_at_all_and_leaves_no_gap() {
    let bench = Bench::new().await;
    let photo = bench.stage("a.jpg", None).await;
    let batch = vec![Outgoing::Staged(photo), text("a", Some(0)), Outgoing::Staged(photo)];
    assert_eq!(bench.send(batch).await, Sent::Twice(photo));
    let ids = bench.sent(vec![Outgoing::Staged(photo), text("a", Some(0))]).await;
    assert_eq!((bench.message(ids[0]).await.sequence, bench.message(ids[1]).await.sequence), (Some(1), Some(2)));
}

#[tokio::test]
async fn what_is_taken_back_while_it_is_published_stays_before_the_others_until_its_publisher_answered() {
    for answered in [true, false] {
        let bench = Bench::new().await;
        let ids = bench.sent(vec![text("a", None), text("b", None)]).await;
        let lease = bench.lease(ids[0]).await;
        let held = lease.clone();
        bench.write(move |tx| tx.freeze(&held, b"a", NOW).and_then(|()| tx.publishing(&held, NOW))).await;
        let first = ids[0];
        assert_eq!(bench.write(move |tx| tx.discard(first, NOW)).await, [first]);
        assert_eq!(bench.write(move |tx| tx.skip(first, NOW)).await, [], "it is taken back once");
        assert!(!bench.write(move |tx| tx.pause(first, NOW)).await, "nobody stops it any more");
        assert_eq!(bench.behind(ids[1]).await, Some(first));
        match answered {
            true => assert!(!bench.write(move |tx| tx.message_published(&lease, NOW)).await, "it does not count"),
            false => assert_eq!(bench.write(|tx| tx.release_worker("w")).await, 0),
        }
        assert_eq!((bench.state(first).await, bench.behind(ids[1]).await), (State::Cancelled, None));
        let history = bench.write(move |tx| tx.history(first)).await;
        let times = history.iter().filter(|event| event.kind == "cancelled").count();
        assert_eq!(times, 1, "{history:?}");
    }
}

#[tokio::test]
async fn a_staged_attachment_rests_once_it_is_uploaded_and_is_published_when_it_is_sent() {
    let bench = Bench::new().await;
    let photo = bench.stage("a.jpg", None).await;
    let attempt = bench.under_way(photo).await;
    assert!(bench.claim().await.is_empty(), "it waits for its transfer");
    assert_eq!(bench.ended(&attempt, PutOutcome::Stored).await, Reported::Taken(photo));
    assert_eq!(bench.state(photo).await, State::Staged);
    assert!(bench.claim().await.is_empty());
    bench.sent(vec![Outgoing::Staged(photo)]).await;
    bench.publish(photo).await;
    assert_eq!(bench.state(photo).await, State::Done);
}

#[tokio::test]
async fn a_report_counts_once_and_only_if_its_attempt_owns_the_outcome() {
    let bench = Bench::new().await;
    let photo = bench.stage("a.jpg", None).await;
    let old = bench.under_way(photo).await;
    bench.ended(&old, PutOutcome::Ask).await;
    let lease = bench.lease(photo).await;
    let (asked, attempt) = (lease.clone(), old.clone());
    bench.write(move |tx| tx.payload_asked(&asked, &attempt, false, NOW)).await;
    let new = bench.grant(lease).await;
    assert_eq!(bench.ended(&old, PutOutcome::Stored).await, Reported::Unknown);
    assert_eq!(
        bench.message(photo).await.state,
        State::Active { phase: landfall_core::Phase::Upload, waits: Waits::Transfer }
    );
    assert_eq!(bench.ended(&new, PutOutcome::Stored).await, Reported::Taken(photo));
    assert_eq!(bench.ended(&new, PutOutcome::Refused(400)).await, Reported::Unknown);
    let MessageContent::Attachment(row) = bench.message(photo).await.content else { panic!() };
    assert_eq!(row.asset_url.unwrap(), format!("https://assets.example/{new}"));
    assert_eq!(bench.ended("never heard of", PutOutcome::Stored).await, Reported::Unknown);
}

#[tokio::test]
async fn a_late_success_settles_what_was_about_to_be_asked() {
    let bench = Bench::new().await;
    let photo = bench.stage("a.jpg", None).await;
    let attempt = bench.under_way(photo).await;
    bench.ended(&attempt, PutOutcome::Ask).await;
    let lease = bench.lease(photo).await;
    assert_eq!(bench.ended(&attempt, PutOutcome::Stored).await, Reported::Taken(photo));
    let asked = bench.journal.write(move |tx| tx.payload_asked(&lease, &attempt, false, NOW)).await;
    assert!(matches!(asked, Err(StoreError::LostLease(_))), "{asked:?}");
    assert_eq!(bench.state(photo).await, State::Staged);
}

#[tokio::test]
async fn an_upload_that_nobody_wants_any_more_is_cancelled_and_its_file_kept_until_the_carrier_lets_go() {
    let bench = Bench::new().await;
    let photo = bench.stage("a.jpg", None).await;
    let attempt = bench.under_way(photo).await;
    bench.write(move |tx| tx.discard(photo, NOW)).await;
    let destination = bench.destination;
    let unwanted = bench.journal.read(move |tx| tx.unwanted_attempts(destination, "app")).await.unwrap();
    assert_eq!(unwanted, std::slice::from_ref(&attempt));
    assert_eq!(bench.files().await, BTreeSet::from([format!("{photo}.sealed")]));
    assert_eq!(bench.ended(&attempt, PutOutcome::Stored).await, Reported::Late);
    assert_eq!(bench.files().await, BTreeSet::new());
    assert_eq!(bench.state(photo).await, State::Cancelled);
}

#[tokio::test]
async fn what_no_carrier_holds_is_asked_about_and_what_nobody_wants_is_to_be_cancelled() {
    let bench = Bench::new().await;
    let photo = bench.stage("a.jpg", None).await;
    let attempt = bench.under_way(photo).await;
    let destination = bench.destination;
    let live = vec![attempt.clone(), "of another life".to_owned()];
    let cancel = bench.write(move |tx| tx.reconcile(destination, "app", &live, NOW)).await;
    assert_eq!(cancel, ["of another life"]);
    assert!(bench.claim().await.is_empty());
    assert!(bench.write(move |tx| tx.reconcile(destination, "app", &[], NOW)).await.is_empty());
    assert_eq!(bench.claim().await.len(), 1, "it is to be asked about");
}

#[tokio::test]
async fn attempts_are_given_out_again_until_somebody_says_that_they_began() {
    let bench = Bench::new().await;
    let photo = bench.stage("a.jpg", None).await;
    let attempt = bench.under_way(photo).await;
    let destination = bench.destination;
    let again = bench.write(move |tx| tx.take_attempts(destination, &app(), 10)).await;
    assert_eq!(again.iter().map(|attempt| &attempt.id).collect::<Vec<_>>(), [&attempt]);
    let began = attempt.clone();
    assert!(bench.write(move |tx| tx.attempt_began(&began, "task 7")).await);
    assert!(bench.write(move |tx| tx.take_attempts(destination, &app(), 10)).await.is_empty());
}

#[tokio::test]
async fn a_session_of_the_platform_speaks_for_its_own_transfers_alone() {
    let bench = Bench::new().await;
    let photo = bench.stage("a.jpg", None).await;
    let attempt = bench.under_way(photo).await;
    let destination = bench.destination;
    let other = CarrierName::Session("extension".to_owned());
    assert!(
        bench.write(move |tx| tx.take_attempts(destination, &other, 10)).await.is_empty(),
        "the application has it"
    );
    bench.write(move |tx| tx.reconcile(destination, "extension", &[], NOW)).await;
    let unanswered = bench.state(photo).await;
    assert!(matches!(unanswered, State::Active { waits: Waits::Transfer, .. }), "{unanswered:?}");
    bench.write(move |tx| tx.reconcile(destination, "app", &[], NOW)).await;
    assert!(!matches!(bench.state(photo).await, State::Active { waits: Waits::Transfer, .. }));
    assert_eq!(bench.ended(&attempt, PutOutcome::Stored).await, Reported::Taken(photo), "whoever hears of it may tell");
}

#[tokio::test]
async fn a_refused_upload_blocks_an_expired_one_is_granted_anew_and_others_are_tried_later() {
    let bench = Bench::new().await;
    let photo = bench.stage("a.jpg", None).await;
    let attempt = bench.under_way(photo).await;
    let late = NOW.after(Duration::from_secs(3600));
    bench.ended_at(&attempt, PutOutcome::Expired, late).await;
    assert_eq!(bench.message(photo).await.attempts, 0, "its time had come");
    let lease = bench.lease(photo).await;
    let attempt = bench.grant(lease).await;
    bench.ended(&attempt, PutOutcome::Expired).await;
    let State::Active { waits: Waits::Until(until), .. } = bench.state(photo).await else { panic!() };
    assert!(until > NOW);
    assert_eq!(bench.message(photo).await.attempts, 1, "a grant refused before its time is charged");
    bench.write(move |tx| tx.wake(until)).await;
    let lease = bench.lease(photo).await;
    let attempt = bench.grant(lease).await;
    let hour = Duration::from_secs(1800);
    bench.ended(&attempt, PutOutcome::Later { retry_after: Some(hour), is_charged: false }).await;
    let State::Active { waits: Waits::Until(until), .. } = bench.state(photo).await else { panic!() };
    assert_eq!(until, NOW.after(hour));
    assert_eq!(bench.message(photo).await.attempts, 1);
    bench.write(move |tx| tx.wake(until)).await;
    let lease = bench.lease(photo).await;
    let attempt = bench.grant(lease).await;
    bench.ended(&attempt, PutOutcome::Refused(413)).await;
    assert!(matches!(bench.state(photo).await, State::Blocked { .. }));
    bench.write(move |tx| tx.retry(photo, NOW)).await;
    assert_eq!(bench.claim().await[0].item, photo);
}

#[tokio::test]
async fn a_text_is_edited_until_somebody_may_have_seen_it() {
    let bench = Bench::new().await;
    let id = bench.sent(vec![text("teh", None)]).await[0];
    assert!(bench.write(move |tx| tx.edit_text(id, b"the", NOW)).await);
    let lease = bench.lease(id).await;
    bench.write(move |tx| tx.freeze(&lease, b"the", NOW)).await;
    assert!(bench.write(move |tx| tx.edit_text(id, b"thee", NOW)).await, "its bytes are fixed, and nobody has them");
    let lease = bench.lease(id).await;
    bench.write(move |tx| tx.freeze(&lease, b"thee", NOW).and_then(|()| tx.publishing(&lease, NOW))).await;
    assert!(!bench.write(move |tx| tx.edit_text(id, b"these", NOW)).await);
    let MessageContent::Text { text, version, .. } = bench.message(id).await.content else { panic!() };
    assert_eq!((&text[..], version), (&b"thee"[..], 3));
}

#[tokio::test]
async fn an_edit_takes_a_text_from_whoever_was_about_to_fix_what_it_said_before() {
    let bench = Bench::new().await;
    let id = bench.sent(vec![text("teh", None)]).await[0];
    let lease = bench.lease(id).await;
    assert!(bench.write(move |tx| tx.edit_text(id, b"the", NOW)).await);
    let frozen = bench.journal.write(move |tx| tx.freeze(&lease, b"teh", NOW)).await;
    assert!(matches!(frozen, Err(StoreError::LostLease(_))), "{frozen:?}");
    assert_eq!(bench.claim().await[0].item, id, "it is free at once");
}

#[tokio::test]
async fn a_publisher_that_is_not_ready_costs_nothing() {
    let bench = Bench::new().await;
    let id = bench.sent(vec![text("a", None)]).await[0];
    let lease = bench.lease(id).await;
    let until = NOW.after(Duration::from_secs(5));
    bench
        .write(move |tx| {
            tx.freeze(&lease, b"a", NOW)?;
            tx.publishing(&lease, NOW)?;
            tx.not_published(&lease, Waits::Until(until), NOW)
        })
        .await;
    let message = bench.message(id).await;
    assert_eq!((message.publishes, message.attempts), (0, 0));
}

#[tokio::test]
async fn texts_that_go_with_an_attachment_are_given_up_with_it() {
    let bench = Bench::new().await;
    let photo = bench.stage("a.jpg", None).await;
    let ids = bench.sent(vec![Outgoing::Staged(photo), text("a", Some(0)), text("b", None)]).await;
    let gone = bench.write(move |tx| tx.discard(photo, NOW)).await;
    assert_eq!(gone, [ids[0], ids[1]]);
    assert_eq!(bench.behind(ids[2]).await, None);
}

#[tokio::test]
async fn the_copy_that_is_shown_stays_until_whoever_shows_it_lets_it_go() {
    let bench = Bench::new().await;
    let photo = bench.stage("a.jpg", None).await;
    let attempt = bench.under_way(photo).await;
    bench.ended(&attempt, PutOutcome::Stored).await;
    bench.sent(vec![Outgoing::Staged(photo)]).await;
    assert_eq!(bench.write(move |tx| tx.release_echoes(&[photo], NOW)).await, 0, "it is not finished");
    bench.publish(photo).await;
    assert_eq!(bench.files().await, BTreeSet::from(["a.jpg.original".to_owned()]));
    let (destination, lane) = (bench.destination, bench.lane.id);
    let shown = async || bench.journal.read(move |tx| tx.shown(destination, Some(lane))).await.unwrap().len();
    assert_eq!(shown().await, 1);
    assert_eq!(bench.write(move |tx| tx.release_echoes(&[photo], NOW)).await, 1);
    assert_eq!((bench.files().await, shown().await), (BTreeSet::new(), 0));
}

#[tokio::test]
async fn attempts_of_a_process_that_died_are_asked_about() {
    let bench = Bench::new().await;
    let photo = bench.stage("a.jpg", None).await;
    let lease = bench.lease(photo).await;
    let destination = bench.destination;
    bench
        .write(move |tx| {
            tx.enter_worker("other", 2)?;
            let payload = Sealed { file: "s".to_owned(), size: 1, digest: vec![0; 32], secrets: None };
            tx.sealed(&lease, &payload, NOW)?;
            let attempt = NewAttempt {
                id: "a".to_owned(),
                request: None,
                asset_url: "https://a".to_owned(),
                deadline: None,
                worker: Some("other".to_owned()),
            };
            tx.granted(&lease, &attempt, NOW)?;
            assert!(tx.take_attempts(destination, &app(), 10)?.is_empty(), "it is not the platform's");
            assert_eq!(tx.take_attempts(destination, &CarrierName::Worker("other".to_owned()), 10)?.len(), 1);
            tx.release_worker("other")
        })
        .await;
    let MessageContent::Attachment(row) = bench.message(photo).await.content else { panic!() };
    assert_eq!(row.payload(), landfall_core::Payload::Unknown);
    assert_eq!(bench.claim().await.len(), 1);
}

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/schema-2.db");

#[tokio::test]
async fn the_golden_journal_of_schema_2_keeps_every_message_and_works() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    std::fs::copy(GOLDEN, &path).unwrap();
    let bench = Bench::over(dir, path).await;
    let (destination, lane) = (bench.destination, bench.lane.clone());
    assert_eq!((lane.order, lane.on_failure), (PublishOrder::ByUpload, OnFailure::Pass));
    let shown = bench.journal.read(move |tx| tx.shown(destination, Some(lane.id))).await.unwrap();
    let stands: Vec<&str> = shown.iter().map(|message| state_word(&message.state)).collect();
    assert_eq!(stands, ["done", "active", "blocked", "active"]);
    let staged = bench.journal.read(move |tx| tx.shown(destination, None)).await.unwrap();
    assert_eq!(staged.len(), 1);
    assert_eq!(bench.ended("attempt 3 of 3", PutOutcome::Stored).await, Reported::Taken(ItemId(3)));
    let frozen = bench.message(shown[3].id).await;
    assert_eq!((frozen.body.as_deref(), frozen.publishes), (Some(&b"fixed bytes"[..]), 1));
    assert_eq!(bench.sent(vec![Outgoing::Staged(staged[0].id), text("more", None)]).await.len(), 2);
}

fn state_word(state: &State) -> &'static str {
    match state {
        State::Done => "done",
        State::Blocked { .. } => "blocked",
        State::Active { .. } => "active",
        _ => "another",
    }
}

/// Makes the golden journal. A released one is never written again: a new schema gets a new file.
#[tokio::test]
#[ignore = "writes the golden file, if there is none"]
async fn write_the_golden_journal() {
    if std::path::Path::new(GOLDEN).exists() {
        return;
    }
    let bench = Bench::new().await;
    let lane = bench.lane.id;
    bench.write(move |tx| tx.set_policy(lane, PublishOrder::ByUpload, OnFailure::Pass, NOW)).await;
    let sent = bench.sent(vec![text("done", None)]).await[0];
    let lease = bench.lease(sent).await;
    bench.write(move |tx| tx.freeze(&lease, b"done", NOW).and_then(|()| tx.message_published(&lease, NOW))).await;
    let staged = bench.stage("staged.jpg", Some("composer")).await;
    let (photo, refused) = (bench.stage("moving.jpg", None).await, bench.stage("refused.jpg", None).await);
    bench.sent(vec![Outgoing::Staged(photo), Outgoing::Staged(refused)]).await;
    let attempt = bench.under_way(refused).await;
    bench.ended(&attempt, PutOutcome::Refused(413)).await;
    bench.under_way(photo).await;
    let sent = bench.sent(vec![text("frozen", None)]).await[0];
    let lease = bench.lease(sent).await;
    bench.write(move |tx| tx.freeze(&lease, b"fixed bytes", NOW).and_then(|()| tx.publishing(&lease, NOW))).await;
    assert_eq!((sent, staged, photo, refused), (ItemId(5), ItemId(2), ItemId(3), ItemId(4)));
    bench.journal.suspend().await;
    std::fs::copy(bench.dir.path().join("journal.db"), GOLDEN).unwrap();
}
