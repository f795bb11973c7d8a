//! Another vault in the place of one that is in use.

use std::sync::Arc;

use landfall::{Error, RunOptions, Silent, recipes::vault::ScanOptions};
use landfall_env::Blocking;

use crate::held::Held;

#[tokio::test(start_paused = true)]
async fn a_run_for_a_vault_that_was_forgotten_takes_nothing_more() {
    let held = Held::empty(Blocking::Inline, |files| files).await;
    held.put("a.jpg", b"a");
    tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    let (engine, session) = held.engine(held.settings()).await;
    assert_eq!(held.scan(&engine, &session, &ScanOptions::default()).await.taken, 1);

    let (other, now) = held.exchanged().await;
    let ended = engine.run(&session, RunOptions::default(), Arc::new(Silent)).await;
    assert!(matches!(ended, Err(Error::Superseded)), "{ended:?}");
    assert_eq!(held.contents().await, 0);

    held.backup(&other, &now, &ScanOptions::default()).await;
    let report = other.counts().await.expect("the journal is read");
    assert_eq!((report.queued(), report.blocked), (0, 0));
}
