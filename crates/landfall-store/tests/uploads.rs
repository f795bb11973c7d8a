//! Uploads to buckets: every transition, with a real file.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use landfall_core::{
    Algorithm, BlockReason, ClassLimits, Code, ItemId, ObjectState, PartLimits, PartNumber, PartPlan, PartState, Proof,
    State, Timestamp, UploadKind, Waits,
};
use landfall_env::Env;
use landfall_store::{
    BucketFacts, BucketObject, BucketObjectId, DestinationId, Enqueued, Journal, JournalOptions, Lease, NewUpload,
    PlannedBucketObject, PlannedBucketPart, PreparedUpload, SessionRow, SourceIdentity, StoreError, Tx, Upload,
};

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const LATER: Timestamp = Timestamp(NOW.0 + 1000);
const SERIAL: ClassLimits = ClassLimits { total: 4, video: 2, upload: 1 };
const CRC: Proof = Proof::Checksum(Algorithm::Crc64Nvme);

struct Bench {
    journal: Journal,
    destination: DestinationId,
    _dir: tempfile::TempDir,
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
        let destination = journal.write(|tx| Ok(tx.destination_at("s3:media")?.id)).await.unwrap();
        Self { journal, destination, _dir: dir }
    }

    async fn write<T: Send + 'static>(
        &self,
        write: impl FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> T {
        self.journal.write(write).await.unwrap()
    }

    async fn enqueue(&self, source: &str, key: &str) -> Enqueued {
        let (destination, new) = (self.destination, new(source, key));
        self.write(move |tx| tx.enqueue_upload(destination, &new, NOW)).await
    }

    async fn claim(&self, worker: &str) -> Vec<Lease> {
        let (worker, destination) = (worker.to_owned(), self.destination);
        self.write(move |tx| {
            tx.enter_worker(&worker, 1)?;
            tx.claim(&worker, destination, SERIAL, 10, NOW)
        })
        .await
    }

    /// One upload of three parts, prepared.
    async fn prepared(&self) -> Lease {
        self.enqueue("/a", "a").await;
        let lease = self.claim("w").await.remove(0);
        let held = lease.clone();
        self.write(move |tx| tx.upload_prepared(&held, &three_parts("tag"), NOW)).await;
        lease
    }

    /// One that is open.
    async fn opened(&self) -> (Lease, BucketObject) {
        let lease = self.prepared().await;
        let object = self.object(lease.item).await.unwrap();
        let (held, id) = (lease.clone(), object.id);
        self.write(move |tx| {
            tx.bucket_opening(&held, id, NOW, NOW).and_then(|()| tx.bucket_opened(&held, id, "up-1", NOW))
        })
        .await;
        let object = self.object(lease.item).await.unwrap();
        (lease, object)
    }

    async fn upload(&self, item: ItemId) -> Upload {
        self.journal.read(move |tx| tx.upload(item)).await.unwrap()
    }

    async fn object(&self, item: ItemId) -> Option<BucketObject> {
        self.journal.read(move |tx| tx.bucket_object(&tx.upload(item)?)).await.unwrap()
    }

    async fn abandoned(&self) -> Vec<Option<String>> {
        let destination = self.destination;
        let all = self.journal.read(move |tx| tx.abandoned_uploads(destination, 10)).await.unwrap();
        all.into_iter().map(|upload| upload.upload_id).collect()
    }
}

fn new(source: &str, key: &str) -> NewUpload {
    NewUpload {
        kind: UploadKind::File,
        source: source.as_bytes().to_vec(),
        size: 9,
        object_key: key.to_owned(),
        content_type: None,
        overwrites: false,
        is_sealed: false,
        recipe: "files",
    }
}

fn three_parts(tag: &str) -> PreparedUpload {
    let part = 5 << 20;
    let plan = PartPlan::equal(2 * part + 1, part, &PartLimits::S3).unwrap();
    let parts = (0..3u8).map(|byte| PlannedBucketPart { checksum: vec![byte; 8], macs: None }).collect();
    PreparedUpload {
        identity: SourceIdentity { size: 2 * part as i64 + 1, inode: 7, ..SourceIdentity::default() },
        seal_head: None,
        entries: Vec::new(),
        object: PlannedBucketObject {
            tag: format!("{tag:0>32}"),
            plan,
            proof: CRC,
            checksum: Some(vec![9; 8]),
            is_guarded: true,
            parts,
        },
    }
}

#[tokio::test]
async fn one_key_has_one_upload_at_a_time() {
    let bench = Bench::new().await;
    let first = bench.enqueue("/a", "key").await;
    assert_eq!(first, Enqueued::New(ItemId(1)));
    assert_eq!(bench.enqueue("/a", "key").await, Enqueued::Same(ItemId(1)));
    assert_eq!(bench.enqueue("/b", "key").await, Enqueued::Taken(ItemId(1)));
    assert!(bench.write(|tx| tx.cancel(ItemId(1), NOW)).await);
    assert_eq!(bench.enqueue("/b", "key").await, Enqueued::New(ItemId(2)));
}

#[tokio::test]
async fn a_blocked_upload_that_is_asked_for_again_is_tried_again_as_it_is_wanted_now() {
    let bench = Bench::new().await;
    let lease = bench.prepared().await;
    let reason = BlockReason { code: Code::KeyTaken, message: "taken".into() };
    bench.write(move |tx| tx.block(&lease, &reason, NOW)).await;
    let (destination, wanted) = (bench.destination, NewUpload { overwrites: true, ..new("/a", "a") });
    let again = bench.write(move |tx| tx.enqueue_upload(destination, &wanted, LATER)).await;
    assert_eq!(again, Enqueued::Same(ItemId(1)));
    let upload = bench.upload(ItemId(1)).await;
    assert!(matches!(upload.state, State::Active { .. }) && upload.overwrites);
    assert!(!bench.object(ItemId(1)).await.unwrap().is_guarded);
}

#[tokio::test]
async fn uploads_go_one_after_the_other_unless_more_are_allowed() {
    let bench = Bench::new().await;
    bench.enqueue("/a", "a").await;
    bench.enqueue("/b", "b").await;
    let first = bench.claim("w").await;
    assert_eq!(first.len(), 1);
    assert!(bench.claim("other").await.is_empty());
    let lease = first[0].clone();
    bench.write(move |tx| tx.release(&lease, Waits::Nothing, NOW)).await;
    assert_eq!(bench.claim("other").await.len(), 1);
}

#[tokio::test]
async fn a_worker_that_lost_its_lease_writes_nothing_of_an_upload() {
    type Write = fn(&Tx<'_>, &Lease, BucketObjectId) -> Result<(), StoreError>;
    let writes: [(&str, Write); 14] = [
        ("prepared", |tx, lease, _| tx.upload_prepared(lease, &three_parts("other"), NOW)),
        ("new revision", |tx, lease, _| tx.new_upload_revision(lease, "changed", NOW)),
        ("opening", |tx, lease, id| tx.bucket_opening(lease, id, NOW, NOW)),
        ("opened", |tx, lease, id| tx.bucket_opened(lease, id, "up-2", NOW)),
        ("open lost", |tx, lease, id| tx.bucket_open_lost(lease, id, NOW)),
        ("set", |tx, lease, id| tx.set_bucket_object(lease, id, ObjectState::Stored, NOW)),
        ("sent", |tx, lease, id| tx.bucket_part_sent(lease, id, PartNumber(1), NOW)),
        ("stored", |tx, lease, id| tx.bucket_part_stored(lease, id, PartNumber(1), "e", NOW)),
        ("refused", |tx, lease, id| tx.bucket_part_refused(lease, id, PartNumber(1), NOW)),
        ("held", |tx, lease, id| tx.bucket_parts_held(lease, id, &[(1, "e".into())].into(), NOW)),
        ("gone", |tx, lease, id| tx.bucket_object_gone(lease, id, NOW)),
        ("refuted", |tx, lease, _| tx.bucket_object_refuted(lease, "why", NOW).map(drop)),
        ("finish", |tx, lease, id| tx.finish_upload(lease, id, NOW)),
        ("block", |tx, lease, _| tx.block(lease, &BlockReason { code: Code::Refused, message: "no".into() }, NOW)),
    ];
    let bench = Bench::new().await;
    let (lease, object) = bench.opened().await;
    bench.write(|tx| tx.pause(ItemId(1), NOW)).await;
    let before = format!("{:?} {:?}", bench.upload(ItemId(1)).await, bench.object(ItemId(1)).await);
    for (name, write) in writes {
        let (lease, id) = (lease.clone(), object.id);
        let written = bench.journal.write(move |tx| write(tx, &lease, id)).await;
        assert!(matches!(written, Err(StoreError::LostLease(_))), "{name}: {written:?}");
        let after = format!("{:?} {:?}", bench.upload(ItemId(1)).await, bench.object(ItemId(1)).await);
        assert_eq!(after, before, "{name}");
    }
    assert!(bench.abandoned().await.is_empty());
}

#[tokio::test]
async fn receipts_are_kept_and_what_the_bucket_does_not_hold_is_sent_again() {
    let bench = Bench::new().await;
    let (lease, object) = bench.opened().await;
    let (held, id) = (lease.clone(), object.id);
    bench
        .write(move |tx| {
            tx.bucket_part_sent(&held, id, PartNumber(1), NOW)?;
            tx.bucket_part_stored(&held, id, PartNumber(1), "one", NOW)?;
            tx.bucket_part_sent(&held, id, PartNumber(2), NOW)
        })
        .await;
    let object = bench.object(lease.item).await.unwrap();
    let states: Vec<PartState> = object.parts.iter().map(|part| part.state).collect();
    assert_eq!(states, [PartState::Stored, PartState::Sent, PartState::Planned]);
    assert_eq!(object.parts[0].etag.as_deref(), Some("one"));
    let held = BTreeMap::from([(2, "two".to_owned())]);
    bench.write(move |tx| tx.bucket_parts_held(&lease, id, &held, NOW)).await;
    let parts = bench.object(ItemId(1)).await.unwrap().parts;
    let states: Vec<PartState> = parts.iter().map(|part| part.state).collect();
    assert_eq!(states, [PartState::Planned, PartState::Stored, PartState::Planned]);
    assert_eq!((parts[0].etag.as_deref(), parts[1].etag.as_deref()), (None, Some("two")));
}

#[tokio::test]
async fn an_upload_that_is_gone_is_begun_again_with_the_same_tag() {
    let bench = Bench::new().await;
    let (lease, before) = bench.opened().await;
    let id = before.id;
    bench.write(move |tx| tx.bucket_object_gone(&lease, id, NOW)).await;
    let after = bench.object(ItemId(1)).await.unwrap();
    assert_eq!((after.state, after.upload_id.as_deref()), (ObjectState::Absent, None));
    assert_eq!(after.tag, before.tag);
    assert!(after.parts.iter().all(|part| part.state == PartState::Planned));
}

#[tokio::test]
async fn a_changed_source_leaves_its_upload_to_be_aborted_and_has_another_tag() {
    let bench = Bench::new().await;
    let (lease, before) = bench.opened().await;
    let held = lease.clone();
    bench.write(move |tx| tx.new_upload_revision(&held, "it changed", NOW)).await;
    assert!(bench.object(ItemId(1)).await.is_none());
    assert_eq!(bench.abandoned().await, [Some("up-1".to_owned())]);
    bench.write(move |tx| tx.upload_prepared(&lease, &three_parts("other"), NOW)).await;
    let after = bench.object(ItemId(1)).await.unwrap();
    assert_ne!(after.tag, before.tag);
    assert_eq!(bench.upload(ItemId(1)).await.revision, 2);
}

#[tokio::test]
async fn what_was_opened_for_an_upload_that_is_taken_back_is_to_be_aborted() {
    let bench = Bench::new().await;
    bench.opened().await;
    assert!(bench.write(|tx| tx.cancel(ItemId(1), NOW)).await);
    assert_eq!(bench.abandoned().await, [Some("up-1".to_owned())]);
    assert!(!bench.write(|tx| tx.cancel(ItemId(1), NOW)).await);
    assert_eq!(bench.upload(ItemId(1)).await.state, State::Cancelled);
    let tag = || format!("{:0>32}", "tag");
    let left = bench.journal.read(move |tx| tx.is_own_leftover(ItemId(2), "a", &tag())).await.unwrap();
    assert!(left, "what it may have left may be replaced");
}

#[tokio::test]
async fn what_an_unfinished_upload_has_put_there_is_replaced_by_itself_alone() {
    let bench = Bench::new().await;
    bench.opened().await;
    let tag = || format!("{:0>32}", "tag");
    for (item, may) in [(ItemId(1), true), (ItemId(2), false)] {
        let left = bench.journal.read(move |tx| tx.is_own_leftover(item, "a", &tag())).await.unwrap();
        assert_eq!(left, may, "{item}");
    }
}

#[tokio::test]
async fn an_open_that_nobody_heard_of_is_remembered_with_its_moment_when_another_one_follows() {
    let bench = Bench::new().await;
    let lease = bench.prepared().await;
    let id = bench.object(lease.item).await.unwrap().id;
    bench
        .write(move |tx| {
            tx.bucket_opening(&lease, id, Timestamp(77), NOW)?;
            tx.bucket_open_lost(&lease, id, NOW)
        })
        .await;
    let destination = bench.destination;
    let lost = bench.journal.read(move |tx| tx.abandoned_uploads(destination, 10)).await.unwrap();
    assert_eq!(lost.len(), 1);
    assert_eq!((lost[0].upload_id.as_deref(), lost[0].opening_at), (None, Some(Timestamp(77))));
    assert_eq!(bench.object(ItemId(1)).await.unwrap().state, ObjectState::Absent);
}

#[tokio::test]
async fn a_remote_upload_of_no_use_is_abandoned_once_and_without_a_lease() {
    let bench = Bench::new().await;
    bench.opened().await;
    for upload_id in ["up-1", "up-2", "up-2"] {
        bench.write(move |tx| tx.abandon_upload_id(ItemId(1), "a", upload_id)).await;
    }
    // The first is the one that is wanted.
    assert_eq!(bench.abandoned().await, [Some("up-2".to_owned())]);
}

#[tokio::test]
async fn the_same_file_wanted_sealed_is_not_what_is_on_its_way_plain() {
    let bench = Bench::new().await;
    let plain = bench.enqueue("/a", "a").await.item();
    let (destination, sealed) = (bench.destination, NewUpload { is_sealed: true, ..new("/a", "a") });
    let answer = bench.write(move |tx| tx.enqueue_upload(destination, &sealed, NOW)).await;
    assert_eq!(answer, Enqueued::Taken(plain));
}

#[tokio::test]
async fn one_of_which_nobody_heard_whether_it_was_opened_is_looked_for_when_it_is_taken_back() {
    let bench = Bench::new().await;
    let lease = bench.prepared().await;
    let id = bench.object(lease.item).await.unwrap().id;
    bench.write(move |tx| tx.bucket_opening(&lease, id, NOW, NOW)).await;
    bench.write(|tx| tx.cancel(ItemId(1), NOW)).await;
    assert_eq!(bench.abandoned().await, [None]);
    bench.write(move |tx| tx.bucket_object_abandoned(id)).await;
    assert!(bench.abandoned().await.is_empty());
}

#[tokio::test]
async fn a_done_upload_keeps_what_is_known_of_its_object_and_forgets_its_parts() {
    let bench = Bench::new().await;
    let (lease, object) = bench.opened().await;
    let id = object.id;
    bench
        .write(move |tx| {
            tx.set_bucket_object(&lease, id, ObjectState::Stored, NOW)?;
            tx.finish_upload(&lease, id, LATER)
        })
        .await;
    let after = bench.object(ItemId(1)).await.unwrap();
    assert_eq!((after.state, after.parts.len()), (ObjectState::Stored, 0));
    let (tag, size) = (after.tag.clone(), after.plan.size());
    // The same, taken in charge again.
    bench.enqueue("/a", "a").await;
    let again = bench.claim("w").await.remove(0);
    bench.write(move |tx| tx.upload_prepared(&again, &three_parts("again"), NOW)).await;
    let id = bench.object(ItemId(2)).await.unwrap().id;
    let known = move |tx: &Tx<'_>| {
        let (same, shorter) = (tx.is_own_content(id, &tag, size)?, tx.is_own_content(id, &tag, size - 1)?);
        Ok((same, shorter, tx.is_own_leftover(ItemId(2), "a", &tag)?))
    };
    assert_eq!(bench.journal.read(known).await.unwrap(), (true, false, false));
    let summary = bench.journal.read(|tx| tx.summary(ItemId(1))).await.unwrap();
    assert_eq!((summary.state.as_str(), summary.bytes_sent), ("done", summary.bytes_total));
}

#[tokio::test]
async fn what_failed_for_good_elsewhere_is_blocked_until_somebody_says_retry() {
    let bench = Bench::new().await;
    bench.enqueue("/a", "a").await;
    let reason = BlockReason { code: Code::TooManyAttempts, message: "no network".into() };
    bench.write(move |tx| tx.block_taken_over(ItemId(1), &reason, NOW)).await;
    assert!(bench.claim("w").await.is_empty());
    assert!(bench.write(|tx| tx.retry(ItemId(1), NOW)).await);
    assert_eq!(bench.claim("w").await.len(), 1);
}

#[tokio::test]
async fn what_was_learned_of_a_bucket_is_forgotten_with_its_place() {
    let bench = Bench::new().await;
    let destination = bench.destination;
    let facts = BucketFacts {
        region: Some("eu".into()),
        clock_offset_ms: 5,
        proof: Some(CRC),
        guards_put: Some(true),
        guards_complete: None,
    };
    let learned = facts.clone();
    bench.write(move |tx| tx.learn_bucket(destination, "here", &learned)).await;
    let known = bench.journal.read(move |tx| tx.bucket_facts(destination, "here")).await.unwrap();
    assert_eq!(known, facts);
    bench.write(move |tx| tx.settle_bucket(destination, "there")).await;
    let known = bench.journal.read(move |tx| tx.bucket_facts(destination, "there")).await.unwrap();
    assert_eq!(known, BucketFacts::default());
}

#[tokio::test]
async fn a_session_is_known_by_its_folder_and_its_name() {
    let bench = Bench::new().await;
    bench.enqueue("/a", "a").await;
    let row =
        |folder: &[u8], item| SessionRow { folder: folder.to_vec(), name: "s".into(), item, uploaded_before: None };
    let (one, other) = (
        row(b"/one", Some(ItemId(1))),
        SessionRow { uploaded_before: Some(("k".into(), NOW)), ..row(b"/other", None) },
    );
    let (first, second) = (one.clone(), other.clone());
    bench.write(move |tx| tx.note_session(&first).and_then(|()| tx.note_session(&second))).await;
    let found = bench.journal.read(|tx| Ok((tx.session(b"/one", "s")?, tx.sessions(b"/other")?))).await.unwrap();
    assert_eq!(found, (Some(one), vec![other]));
    bench.write(|tx| tx.forget_session(b"/one", "s")).await;
    assert_eq!(bench.journal.read(|tx| tx.session(b"/one", "s")).await.unwrap(), None);
}

#[tokio::test]
async fn a_deflated_copy_is_needed_while_it_is_made_and_while_its_bundle_is_sent() {
    let bench = Bench::new().await;
    bench.enqueue("/a", "a").await;
    let lease = bench.claim("w").await.remove(0);
    let generation = lease.generation.0;
    let needs = move |tx: &Tx<'_>| tx.needs_bundle_file(b"/spool/1", 1, generation);
    assert!(bench.journal.read(needs).await.unwrap());
    bench.write(move |tx| tx.release(&lease, Waits::Nothing, NOW)).await;
    assert!(!bench.journal.read(needs).await.unwrap());
}

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/schema-3.db");

#[tokio::test]
async fn the_golden_journal_of_schema_3_opens_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    std::fs::copy(GOLDEN, &path).unwrap();
    let bench = Bench::over(dir, path).await;
    let states = ["done", "active", "cancelled", "active"];
    for (item, state) in (1..).map(ItemId).zip(states) {
        let summary = bench.journal.read(move |tx| tx.summary(item)).await.unwrap();
        assert_eq!(summary.state, state, "{item}");
    }
    let object = bench.object(ItemId(2)).await.unwrap();
    assert_eq!((object.state, object.upload_id.as_deref()), (ObjectState::Open, Some("up-2")));
    let parts: Vec<PartState> = object.parts.iter().map(|part| part.state).collect();
    assert_eq!(parts, [PartState::Stored, PartState::Sent, PartState::Planned]);
    assert_eq!(bench.abandoned().await, [Some("up-3".to_owned())]);
    let destination = bench.destination;
    let facts = bench.journal.read(move |tx| tx.bucket_facts(destination, "here")).await.unwrap();
    assert_eq!((facts.guards_put, facts.proof), (Some(true), Some(CRC)));
    let leases = bench.claim("later").await;
    assert_eq!(leases.len(), 1, "one after the other");
}

/// Makes the golden journal. A released one is never written again: a new schema gets a new file.
#[tokio::test]
#[ignore = "writes the golden file, if there is none"]
async fn write_the_golden_journal() {
    if Path::new(GOLDEN).exists() {
        return;
    }
    let bench = Bench::new().await;
    let destination = bench.destination;
    let facts = BucketFacts { proof: Some(CRC), guards_put: Some(true), ..BucketFacts::default() };
    bench.write(move |tx| tx.learn_bucket(destination, "here", &facts)).await;
    for (item, name) in ["done", "under way", "cancelled"].into_iter().enumerate() {
        bench.enqueue(&format!("/{name}"), name).await;
        let lease = bench.claim("w").await.remove(0);
        let held = lease.clone();
        bench.write(move |tx| tx.upload_prepared(&held, &three_parts(name), NOW)).await;
        let id = bench.object(lease.item).await.unwrap().id;
        let (held, upload_id) = (lease.clone(), format!("up-{}", item + 1));
        bench
            .write(move |tx| {
                tx.bucket_opening(&held, id, NOW, NOW)?;
                tx.bucket_opened(&held, id, &upload_id, NOW)
            })
            .await;
        match name {
            "done" => {
                bench
                    .write(move |tx| {
                        tx.set_bucket_object(&lease, id, ObjectState::Stored, NOW)?;
                        tx.finish_upload(&lease, id, LATER)
                    })
                    .await;
            }
            "under way" => {
                bench
                    .write(move |tx| {
                        tx.bucket_part_sent(&lease, id, PartNumber(1), NOW)?;
                        tx.bucket_part_stored(&lease, id, PartNumber(1), "e", NOW)?;
                        tx.bucket_part_sent(&lease, id, PartNumber(2), NOW)?;
                        tx.release(&lease, Waits::Until(NOW.after(Duration::from_secs(9))), NOW)
                    })
                    .await;
            }
            _ => drop(bench.write(|tx| tx.cancel(ItemId(3), NOW)).await),
        }
    }
    bench.enqueue("/waiting", "waiting").await;
    bench.journal.suspend().await;
    let path = bench._dir.path().join("journal.db");
    std::fs::copy(path, GOLDEN).unwrap();
}
