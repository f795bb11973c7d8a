//! The journal keeps what it promises: to one process, and to several at once.

#[expect(clippy::unwrap_used, reason = "a fixture may give up where a test may")]
mod bench;

use std::time::Duration;

use bench::{Bench, NOW, identity, offer, prepared};
use landfall_core::{BlockReason, ClassLimits, Code, ObjectState, PartNumber, PublishState, State, Timestamp, Waits};
use landfall_store::{OfferOutcome, PreparedOutcome, SeenPlace, StoreError, Tx};

#[tokio::test]
async fn a_file_offered_twice_is_one_item() {
    let bench = Bench::new().await;
    let first = bench.offer("a.jpg", 7).await;
    let second = bench.offer("a.jpg", 7).await;
    let OfferOutcome::New(Some(item)) = first else { panic!("{first:?}") };
    assert_eq!(second, OfferOutcome::Queued(item));
}

#[tokio::test]
async fn two_connections_never_claim_one_item() {
    let bench = Bench::new().await;
    for number in 0..40 {
        bench.offer(&format!("{number}.jpg"), number).await;
    }
    let other = bench.another_process().await;
    let (here, there) = tokio::join!(bench.claim("here", 100), other.claim("there", 100));
    let mut all: Vec<_> = here.iter().chain(&there).map(|lease| lease.item).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), here.len() + there.len());
    assert_eq!(all.len(), 40);
}

#[tokio::test]
async fn class_limits_hold_over_all_processes() {
    let bench = Bench::new().await;
    for number in 0..10 {
        bench.offer_video(&format!("{number}.mp4"), number).await;
        bench.offer(&format!("{number}.jpg"), 100 + number).await;
    }
    let limits = ClassLimits { total: 4, video: 2, upload: 1 };
    let here = bench.claim_within("here", limits, 3).await;
    let there = bench.another_process().await.claim_within("there", limits, 10).await;
    assert_eq!(here.len() + there.len(), 4);
    let mut videos = 0;
    for lease in here.iter().chain(&there) {
        videos += usize::from(bench.item(lease.item).await.class == landfall_core::Class::Video);
    }
    assert!(videos <= 2, "{videos} videos at once");
}

#[tokio::test]
async fn a_worker_that_lost_its_lease_changes_nothing() {
    let bench = Bench::new().await;
    bench.offer("a.jpg", 7).await;
    let lease = bench.claim("slow", 1).await.remove(0);
    bench.journal.write(|tx| tx.release_worker("slow")).await.unwrap();
    let stale = lease.clone();
    let result = bench.journal.write(move |tx| tx.prepared(&stale, &prepared(7), NOW)).await;
    assert!(matches!(result, Err(StoreError::LostLease(_))), "{result:?}");
    assert!(bench.item(lease.item).await.digest.is_none());
    assert_eq!(bench.claim("quick", 1).await.len(), 1);
}

#[tokio::test]
async fn a_twin_waits_and_is_linked_when_the_first_is_done() {
    let bench = Bench::new().await;
    let (first, second) = bench.twins().await;
    assert_eq!(bench.prepare(&first, 7).await, PreparedOutcome::Upload);
    assert_eq!(bench.prepare(&second, 7).await, PreparedOutcome::Twin(first.item));
    let State::Active { waits, .. } = bench.item(second.item).await.state else { panic!() };
    assert_eq!(waits, Waits::Item(first.item));
    bench.finish(&first, 55).await;
    let again = bench.claim("w", 1).await.remove(0);
    assert_eq!(again.item, second.item);
    let outcome = bench.journal.write(move |tx| tx.prepared_before(&again, NOW)).await.unwrap();
    assert_eq!(outcome, Some(PreparedOutcome::Link(55)));
}

#[tokio::test]
async fn a_twin_takes_over_when_the_first_is_blocked() {
    let bench = Bench::new().await;
    let (first, second) = bench.twins().await;
    bench.prepare(&first, 7).await;
    bench.prepare(&second, 7).await;
    let blocked = first.clone();
    let reason = BlockReason { code: Code::Refused, message: "no".to_owned() };
    bench.journal.write(move |tx| tx.block(&blocked, &reason, NOW)).await.unwrap();
    let again = bench.claim("w", 1).await.remove(0);
    assert_eq!(again.item, second.item);
    assert_eq!(bench.prepare(&again, 7).await, PreparedOutcome::Upload);
    // The first one, tried again, finds that it was overtaken.
    let id = first.item;
    bench.journal.write(move |tx| tx.retry(id, NOW)).await.unwrap();
    let State::Active { phase, .. } = bench.item(id).await.state else { panic!() };
    assert_eq!(phase, landfall_core::Phase::Prepare);
}

#[tokio::test]
async fn an_unchanged_file_is_not_taken_again_and_a_changed_one_is() {
    let bench = Bench::new().await;
    bench.offer("a.jpg", 7).await;
    let lease = bench.claim("w", 1).await.remove(0);
    bench.prepare(&lease, 7).await;
    bench.finish(&lease, 1).await;
    assert_eq!(bench.offer("a.jpg", 7).await, OfferOutcome::Unchanged);
    assert!(matches!(bench.offer("a.jpg", 8).await, OfferOutcome::New(Some(_))));
}

#[tokio::test]
async fn a_new_revision_abandons_what_was_opened_and_forgets_its_keys() {
    let bench = Bench::new().await;
    bench.offer("a.jpg", 7).await;
    let lease = bench.claim("w", 1).await.remove(0);
    bench.prepare(&lease, 7).await;
    let changed = lease.clone();
    bench.journal.write(move |tx| tx.new_revision(&changed, "changed", NOW)).await.unwrap();
    let item = bench.item(lease.item).await;
    assert_eq!((item.revision, item.file_key, item.digest), (2, None, None));
    let id = bench.destination;
    let abandoning = bench.journal.read(move |tx| tx.abandoning(id, 10)).await.unwrap();
    assert_eq!(abandoning.len(), 2);
}

#[tokio::test]
async fn an_object_of_one_part_is_stored_with_its_receipt() {
    let bench = Bench::new().await;
    bench.offer("a.jpg", 7).await;
    let lease = bench.claim("w", 1).await.remove(0);
    bench.prepare(&lease, 7).await;
    let objects = bench.objects(lease.item).await;
    let (held, id) = (lease.clone(), objects[0].id);
    bench.journal.write(move |tx| tx.part_stored(&held, id, PartNumber(1), NOW)).await.unwrap();
    let objects = bench.objects(lease.item).await;
    assert_eq!(objects[0].state, ObjectState::Stored);
    assert!(objects[0].sealed.is_none(), "a stored thumbnail needs no ciphertext here");
    assert_eq!(objects[1].state, ObjectState::Opening);
}

#[tokio::test]
async fn an_item_that_waits_for_a_moment_wakes_also_when_the_clock_jumped_back() {
    let bench = Bench::new().await;
    bench.offer("a.jpg", 7).await;
    let lease = bench.claim("w", 1).await.remove(0);
    let until = NOW.after(Duration::from_secs(60));
    bench.journal.write(move |tx| tx.charge(&lease, "no", until, NOW)).await.unwrap();
    assert_eq!(bench.journal.write(|tx| tx.wake(NOW)).await.unwrap(), 0);
    let jumped = Timestamp(NOW.0 - 2 * 3_600_000);
    assert_eq!(bench.journal.write(move |tx| tx.wake(jumped)).await.unwrap(), 1);
}

#[tokio::test]
async fn a_version_is_as_it_was_until_somebody_commits() {
    let bench = Bench::new().await;
    let other = bench.another_process().await;
    let first = bench.journal.version().await.unwrap();
    bench.journal.read(|tx| tx.destinations()).await.unwrap();
    other.journal.read(|tx| tx.destinations()).await.unwrap();
    bench.journal.write(|tx| Err::<(), _>(tx.item(landfall_core::ItemId(99)).unwrap_err())).await.unwrap_err();
    assert_eq!(bench.journal.version().await.unwrap(), first);

    other.offer("a.jpg", 7).await;
    let second = bench.journal.version().await.unwrap();
    assert_ne!(second, first, "another process wrote");
    bench.offer("b.jpg", 8).await;
    let third = bench.journal.version().await.unwrap();
    assert_ne!(third, second, "this one wrote");
    bench.journal.suspend().await;
    bench.journal.resume().await.unwrap();
    assert_ne!(bench.journal.version().await.unwrap(), third, "what happened meanwhile is not known");
}

#[tokio::test]
async fn an_outlook_holds_until_a_moment_comes_or_the_clock_jumps_back() {
    let bench = Bench::new().await;
    bench.offer("a.jpg", 7).await;
    let lease = bench.claim("worker", 1).await.remove(0);
    let until = NOW.after(Duration::from_secs(60));
    bench.journal.write(move |tx| tx.release(&lease, Waits::Until(until), NOW)).await.unwrap();
    let destination = bench.destination;
    let limits = ClassLimits { total: 1, video: 1, upload: 1 };
    let outlook = bench.journal.read(move |tx| tx.outlook(destination, &[], limits, NOW)).await.unwrap();
    assert!(!outlook.can_claim && outlook.has_queued);
    assert_eq!(outlook.due, Some(until));
    assert!(outlook.holds_at(NOW) && outlook.holds_at(NOW.after(Duration::from_secs(59))));
    assert!(!outlook.holds_at(until), "its moment has come");
    assert!(!outlook.holds_at(Timestamp(NOW.0 - 7_200_000)), "the clock jumped back");
}

#[tokio::test]
async fn a_twin_of_an_item_that_waits_for_a_token_does_not_go_on_by_itself() {
    let bench = Bench::new().await;
    let (first, second) = bench.twins().await;
    bench.prepare(&first, 7).await;
    assert_eq!(bench.prepare(&second, 7).await, PreparedOutcome::Twin(first.item));
    let destination = bench.destination;
    let outlook = async || {
        let limits = ClassLimits { total: 1, video: 1, upload: 1 };
        bench.journal.read(move |tx| tx.outlook(destination, &[], limits, NOW)).await.unwrap()
    };
    assert!(outlook().await.has_queued);
    bench.journal.write(move |tx| tx.release(&first, Waits::Token, NOW)).await.unwrap();
    assert!(!outlook().await.has_queued);
    bench.journal.write(move |tx| tx.wake_waiting(destination, Waits::Token)).await.unwrap();
    assert!(outlook().await.can_claim);
}

#[tokio::test]
async fn event_numbers_have_no_gap_after_a_write_that_failed() {
    let bench = Bench::new().await;
    bench.offer("a.jpg", 1).await;
    let root = bench.root.clone();
    let failed: Result<(), _> = bench
        .journal
        .write(move |tx| {
            tx.offer(&root, &offer("b.jpg", 2), NOW)?;
            Err(StoreError::Full)
        })
        .await;
    assert!(failed.is_err());
    bench.offer("c.jpg", 3).await;
    let events = bench.journal.read(|tx| tx.events_since(0, 10)).await.unwrap();
    assert_eq!(events.iter().map(|event| event.number).collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test]
async fn one_failed_write_of_a_turn_does_not_fail_the_others() {
    let bench = Bench::new().await;
    let root = bench.root.clone();
    let bad = bench.journal.write::<()>(|_| Err(StoreError::Full));
    let good = bench.journal.write(move |tx| tx.offer(&root, &offer("a.jpg", 1), NOW));
    let (bad, good) = tokio::join!(bad, good);
    assert!(bad.is_err());
    assert!(matches!(good.unwrap(), OfferOutcome::New(Some(_))));
}

#[tokio::test]
async fn suspend_leaves_no_lock_and_resume_goes_on() {
    let bench = Bench::new().await;
    bench.offer("a.jpg", 1).await;
    bench.journal.suspend().await;
    // Exclusive access is possible: nobody holds the file.
    let raw = rusqlite::Connection::open(bench.path()).unwrap();
    raw.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; COMMIT").unwrap();
    drop(raw);
    let refused = bench.journal.read(|tx| tx.counts(None)).await;
    assert!(matches!(refused, Err(StoreError::Suspended)), "{refused:?}");
    bench.journal.resume().await.unwrap();
    assert_eq!(bench.journal.read(|tx| tx.counts(None)).await.unwrap().ready, 1);
}

#[tokio::test]
async fn a_cancelled_item_frees_its_place_and_its_followers() {
    let bench = Bench::new().await;
    let (first, second) = bench.twins().await;
    bench.prepare(&first, 7).await;
    bench.prepare(&second, 7).await;
    let id = first.item;
    assert!(bench.journal.write(move |tx| tx.cancel(id, NOW)).await.unwrap());
    assert!(!bench.journal.write(move |tx| tx.cancel(id, NOW)).await.unwrap(), "twice is once");
    assert_eq!(bench.item(id).await.state, State::Cancelled);
    assert_eq!(bench.claim("w", 5).await.len(), 1);
    assert!(matches!(bench.offer("a.jpg", 7).await, OfferOutcome::New(Some(_))));
}

#[tokio::test]
async fn an_item_cancelled_while_it_may_be_registered_leaves_the_next_a_higher_version() {
    let bench = Bench::new().await;
    bench.offer("a.jpg", 7).await;
    let first = bench.claim("w", 1).await.remove(0);
    bench.prepare(&first, 7).await;
    let (id, lease) = (first.item, first.clone());
    bench.journal.write(move |tx| tx.frozen(&lease, b"{}", 1, NOW)).await.unwrap();
    bench.journal.write(move |tx| tx.cancel(id, NOW)).await.unwrap();
    bench.offer("a.jpg", 8).await;
    let second = bench.claim("w", 1).await.remove(0);
    let given = bench.journal.read(move |tx| tx.version_of_place(second.item)).await.unwrap();
    assert_eq!(given, 1, "what the cancelled one gave the place is known, though no record is");
}

#[tokio::test]
async fn another_vault_is_noted_also_where_a_file_was_not_taken() {
    let bench = Bench::new().await;
    let (root, destination) = (bench.root.clone(), bench.destination);
    let skipped = move |tx: &Tx<'_>| tx.skip_place(root.id, b"notes.txt", &identity(5), "not-media");
    bench.journal.write(skipped).await.unwrap();
    bench.offer("a.jpg", 7).await;
    let lease = bench.claim("w", 1).await.remove(0);
    bench.prepare(&lease, 7).await;
    bench.finish(&lease, 1).await;
    bench.journal.write(move |tx| tx.forget_vault(destination, "another")).await.unwrap();
    assert!(matches!(bench.offer("a.jpg", 7).await, OfferOutcome::New(Some(_))), "it is offered to the new one");
    let root = bench.root.id;
    let looked = bench.journal.read(move |tx| tx.look(root, b"notes.txt", &identity(5))).await.unwrap();
    assert!(matches!(looked, OfferOutcome::Skipped), "it is still what it was");
}

#[tokio::test]
async fn a_blocked_item_whose_file_changed_is_prepared_anew() {
    let bench = Bench::new().await;
    bench.offer("a.jpg", 7).await;
    let lease = bench.claim("w", 1).await.remove(0);
    bench.prepare(&lease, 7).await;
    let (id, held) = (lease.item, lease.clone());
    let reason = BlockReason { code: Code::TooManyAttempts, message: "no".to_owned() };
    bench
        .journal
        .write(move |tx| {
            tx.frozen(&held, b"{}", 1, NOW)?;
            tx.block(&held, &reason, NOW)
        })
        .await
        .unwrap();
    assert!(matches!(bench.offer("a.jpg", 7).await, OfferOutcome::Retried(_)));
    assert_eq!(bench.item(id).await.publish, PublishState::Frozen, "the same bytes need not be read again");
    let again = bench.claim("w", 1).await.remove(0);
    let reason = BlockReason { code: Code::TooManyAttempts, message: "no".to_owned() };
    bench.journal.write(move |tx| tx.block(&again, &reason, NOW)).await.unwrap();
    assert!(matches!(bench.offer("a.jpg", 8).await, OfferOutcome::Retried(_)));
    let item = bench.item(id).await;
    assert_eq!((item.publish, item.body), (PublishState::Nothing, None), "what is frozen is not in the file any more");
}

#[tokio::test]
async fn a_root_under_another_vaults_key_offers_its_places_again() {
    let bench = Bench::new().await;
    bench.offer("a.jpg", 7).await;
    let lease = bench.claim("w", 1).await.remove(0);
    bench.prepare(&lease, 7).await;
    bench.finish(&lease, 1).await;
    assert!(matches!(bench.offer("a.jpg", 7).await, OfferOutcome::Unchanged));
    let (root, destination) = (bench.root.clone(), bench.destination);
    let at = move |tx: &Tx<'_>| tx.root_at(destination, &root.path, &root.name, &[9; 8]);
    assert_eq!(bench.journal.write(at).await.unwrap().tag, [9; 8]);
    assert!(matches!(bench.offer("a.jpg", 7).await, OfferOutcome::New(Some(_))));
}

#[tokio::test]
async fn a_journal_of_a_newer_version_is_refused_untouched() {
    let bench = Bench::new().await;
    bench.journal.suspend().await;
    let raw = rusqlite::Connection::open(bench.path()).unwrap();
    raw.pragma_update(None, "user_version", 999).unwrap();
    drop(raw);
    let refused = bench.journal.resume().await;
    assert!(matches!(refused, Err(StoreError::Newer { found: 999, .. })), "{refused:?}");
}

#[tokio::test]
async fn a_damaged_journal_is_named() {
    let bench = Bench::new().await;
    for number in 0..200 {
        bench.offer(&format!("{number}.jpg"), number).await;
    }
    bench.journal.suspend().await;
    let mut bytes = std::fs::read(bench.path()).unwrap();
    bytes[..16].copy_from_slice(b"not a database!!");
    std::fs::write(bench.path(), &bytes).unwrap();
    let refused = bench.journal.resume().await;
    assert!(matches!(refused, Err(StoreError::Damaged { .. })), "{refused:?}");
}

#[tokio::test]
async fn flipped_pages_are_found_by_the_check() {
    let bench = Bench::new().await;
    for number in 0..400 {
        bench.offer(&format!("{number}.jpg"), number).await;
    }
    bench.journal.suspend().await;
    let mut bytes = std::fs::read(bench.path()).unwrap();
    let page = 4096;
    for at in (8 * page..bytes.len().min(30 * page)).step_by(97) {
        bytes[at] ^= 0x55;
    }
    std::fs::write(bench.path(), &bytes).unwrap();
    let refused = bench.reopen_checked().await;
    assert!(matches!(refused, Err(StoreError::Damaged { .. })), "{refused:?}");
}

#[tokio::test]
async fn the_golden_journal_of_every_schema_opens_and_works() {
    let dir = tempfile::tempdir().unwrap();
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/schema-1.db");
    let path = dir.path().join("journal.db");
    std::fs::copy(golden, &path).unwrap();
    let bench = Bench::over(dir, path).await;
    let counts = bench.journal.read(|tx| tx.counts(None)).await.unwrap();
    assert_eq!((counts.ready, counts.blocked, counts.done, counts.waiting), (1, 1, 1, 1));
    assert_eq!(bench.offer("done.jpg", 1).await, OfferOutcome::Unchanged);
    assert!(matches!(bench.offer("fresh.jpg", 9).await, OfferOutcome::New(Some(_))));
}

/// Makes the golden journal. A released one is never written again: a new schema gets a new file.
#[tokio::test]
#[ignore = "writes the golden file, if there is none"]
async fn write_the_golden_journal() {
    let golden = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/schema-1.db"));
    if golden.exists() {
        return;
    }
    let bench = Bench::new().await;
    bench.offer("done.jpg", 1).await;
    let lease = bench.claim("w", 1).await.remove(0);
    bench.prepare(&lease, 1).await;
    bench.finish(&lease, 77).await;
    bench.offer("blocked.jpg", 2).await;
    let lease = bench.claim("w", 1).await.remove(0);
    let reason = BlockReason { code: Code::SourceUnreadable, message: "permission denied".to_owned() };
    bench.journal.write(move |tx| tx.block(&lease, &reason, NOW)).await.unwrap();
    bench.offer("waiting.jpg", 3).await;
    let lease = bench.claim("w", 1).await.remove(0);
    bench.journal.write(move |tx| tx.charge(&lease, "no", NOW.after(Duration::from_secs(9)), NOW)).await.unwrap();
    bench.offer("ready.jpg", 4).await;
    bench.journal.suspend().await;
    std::fs::copy(bench.path(), golden).unwrap();
}

#[tokio::test]
async fn the_newest_content_of_a_place_is_known() {
    let bench = Bench::new().await;
    let id = bench.destination;
    let place = |version| SeenPlace { tag: vec![1; 8], path: b"a.jpg".to_vec(), modified_ns: version * 10, version };
    let content = move |record: i64| landfall_store::NewContent {
        digest: vec![u8::try_from(record).unwrap(); 64],
        record,
        places: vec![place(record)],
    };
    bench.journal.write(move |tx| (1..4).try_for_each(|record| tx.learn(id, &content(record)))).await.unwrap();
    let newest = bench.journal.read(move |tx| tx.newest_at(id, &[1; 8], b"a.jpg")).await.unwrap();
    assert_eq!(newest.map(|(record, place)| (record, place.version)), Some((3, 3)));
    bench.journal.write(move |tx| tx.forget_record(id, 3)).await.unwrap();
    let newest = bench.journal.read(move |tx| tx.newest_at(id, &[1; 8], b"a.jpg")).await.unwrap();
    assert_eq!(newest.map(|(record, _)| record), Some(2));
    assert_eq!(identity(3).size, 3);
}
