//! One content at very many places.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{extract::Request, response::IntoResponse as _};
use landfall::recipes::vault::ScanOptions;
use landfall_env::Blocking;
use landfall_testkit::{SimClock, SimDisk};

use crate::held::Held;

/// More than are linked together at once.
const COPIES: usize = 5_000;

/// Counts how often the places of a record are written.
fn counting(router: axum::Router, updates: &Arc<AtomicUsize>) -> axum::Router {
    let updates = Arc::clone(updates);
    let counted = move |request: Request| {
        let mut router = router.clone();
        if request.uri().path() == "/files/magic-metadata" {
            updates.fetch_add(1, Ordering::Relaxed);
        }
        async move { tower_service::Service::call(&mut router, request).await.into_response() }
    };
    axum::Router::new().fallback(counted)
}

#[tokio::test(start_paused = true)]
async fn very_many_copies_of_a_file_are_backed_up_together_and_come_back() {
    let held = Held::empty(Blocking::Inline, |files| files).await;
    (0..COPIES).for_each(|number| held.put(&format!("{}/{number}.jpg", number / 1000), b"the same"));
    tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    let updates = Arc::default();
    let (engine, session) = held.engine_over(counting(held.server.router(), &updates), held.settings()).await;
    let report = held.backup(&engine, &session, &ScanOptions::default()).await;
    assert_eq!((report.taken, held.contents().await), (COPIES as u64, 1));
    assert_eq!(engine.counts().await.expect("the journal is read").blocked, 0);
    let updates = updates.load(Ordering::Relaxed);
    assert!(updates < 100, "the places were written {updates} times");
    let disk = SimDisk::new(Arc::new(SimClock::new(1_700_000_000_000)));
    let restored = held.restore(&disk, false).await;
    assert_eq!((restored.restored, restored.problems.len()), (COPIES as u64, 0));
    assert_eq!(disk.files().len(), COPIES);
}
