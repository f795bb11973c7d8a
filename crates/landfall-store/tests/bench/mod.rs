//! A journal on a real disk with one root, and short words for what tests do to it.

use std::path::{Path, PathBuf};

use landfall_core::{Class, ClassLimits, ItemId, PartPlan, Role, Timestamp};
use landfall_env::Env;
use landfall_store::{
    DestinationId, Item, Journal, JournalOptions, Lease, Object, Offer, OfferOutcome, PlannedObject, PlannedPart,
    Prepared, PreparedOutcome, Root, SeenPlace, SourceIdentity, StoreError,
};

pub(crate) const NOW: Timestamp = Timestamp(1_700_000_000_000);
const ALL: ClassLimits = ClassLimits { total: 1000, video: 1000, upload: 1000 };

pub(crate) struct Bench {
    pub(crate) journal: Journal,
    pub(crate) destination: DestinationId,
    pub(crate) root: Root,
    path: PathBuf,
    _dir: Option<tempfile::TempDir>,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.db");
        Self::over(dir, path).await
    }

    pub(crate) async fn over(dir: tempfile::TempDir, path: PathBuf) -> Self {
        Self { _dir: Some(dir), ..Self::open(path).await }
    }

    /// The same journal through a connection of its own.
    pub(crate) async fn another_process(&self) -> Self {
        Self::open(self.path.clone()).await
    }

    async fn open(path: PathBuf) -> Self {
        let journal = Journal::open(options(&path, false), &Env::real()).await.unwrap();
        let (destination, root) = journal
            .write(|tx| {
                let destination = tx.destination_at("default")?.id;
                Ok((destination, tx.root_at(destination, b"/photos", b"photos", &[1; 8])?))
            })
            .await
            .unwrap();
        Self { journal, destination, root, path, _dir: None }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) async fn reopen_checked(&self) -> Result<(), StoreError> {
        Journal::open(options(&self.path, true), &Env::real()).await.map(drop)
    }

    pub(crate) async fn offer(&self, path: &str, content: i64) -> OfferOutcome {
        self.offer_as(offer(path, content)).await
    }

    pub(crate) async fn offer_video(&self, path: &str, content: i64) -> OfferOutcome {
        self.offer_as(Offer { class: Class::Video, ..offer(path, content) }).await
    }

    async fn offer_as(&self, offer: Offer) -> OfferOutcome {
        let root = self.root.clone();
        self.journal.write(move |tx| tx.offer(&root, &offer, NOW)).await.unwrap()
    }

    pub(crate) async fn claim(&self, worker: &str, most: usize) -> Vec<Lease> {
        self.claim_within(worker, ALL, most).await
    }

    pub(crate) async fn claim_within(&self, worker: &str, limits: ClassLimits, most: usize) -> Vec<Lease> {
        let (worker, destination) = (worker.to_owned(), self.destination);
        self.journal
            .write(move |tx| {
                tx.enter_worker(&worker, 1)?;
                tx.claim(&worker, destination, limits, most, NOW)
            })
            .await
            .unwrap()
    }

    /// Two files with one content, both held by one worker.
    pub(crate) async fn twins(&self) -> (Lease, Lease) {
        self.offer("a.jpg", 7).await;
        self.offer("copy.jpg", 7).await;
        let mut leases = self.claim("w", 2).await;
        let second = leases.remove(1);
        (leases.remove(0), second)
    }

    pub(crate) async fn prepare(&self, lease: &Lease, content: i64) -> PreparedOutcome {
        let lease = lease.clone();
        self.journal.write(move |tx| tx.prepared(&lease, &prepared(content), NOW)).await.unwrap()
    }

    pub(crate) async fn finish(&self, lease: &Lease, record: i64) {
        let lease = lease.clone();
        let place = SeenPlace { tag: vec![1; 8], path: b"x".to_vec(), modified_ns: 1, version: 1 };
        self.journal
            .write(move |tx| {
                tx.frozen(&lease, b"{}", 1, NOW)?;
                tx.published(&lease, record, NOW)?;
                tx.finish(&lease, &place, NOW)
            })
            .await
            .unwrap();
    }

    pub(crate) async fn item(&self, id: ItemId) -> Item {
        self.journal.read(move |tx| tx.item(id)).await.unwrap()
    }

    pub(crate) async fn objects(&self, id: ItemId) -> Vec<Object> {
        self.journal
            .read(move |tx| {
                let item = tx.item(id)?;
                tx.objects(&item)
            })
            .await
            .unwrap()
    }
}

fn options(path: &Path, check: bool) -> JournalOptions {
    JournalOptions { path: path.to_owned(), vfs: None, check, read_only: false }
}

/// A file whose identity follows from its content.
pub(crate) fn identity(content: i64) -> SourceIdentity {
    SourceIdentity { size: content, device: 1, inode: content, modified_ns: content, changed_ns: content }
}

pub(crate) fn offer(path: &str, content: i64) -> Offer {
    Offer {
        path: path.as_bytes().to_vec(),
        identity: identity(content),
        class: Class::Photo,
        kind: "jpeg".to_owned(),
        album: "photos".to_owned(),
        priority: content,
        joins: false,
    }
}

pub(crate) fn prepared(content: i64) -> Prepared {
    let object = |role, sealed: Option<Vec<u8>>| PlannedObject {
        role,
        object_key: format!("{:016x}{:016x}", content, fresh()),
        header: vec![2; 24],
        plain_size: 10,
        plan: PartPlan::aligned(27, 27, 1).unwrap(),
        sealed,
        parts: vec![PlannedPart { crc32c: 5, macs: vec![3; 16] }],
    };
    Prepared {
        identity: identity(content),
        digest: vec![u8::try_from(content).unwrap_or(255); 64],
        file_key: vec![4; 72],
        metadata: (vec![5; 40], vec![6; 24]),
        no_thumbnail: false,
        objects: vec![object(Role::Thumbnail, Some(vec![9; 27])), object(Role::File, None)],
    }
}

fn fresh() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}
