//! Albums of what the vault has already.

use std::sync::Arc;

use landfall::recipes::vault::{RestoreOptions, ScanOptions};
use landfall_testkit::{SimClock, SimDisk};

use crate::held::{Held, held};

fn into(album: &str) -> ScanOptions {
    ScanOptions { album: Some(album.to_owned()), ..ScanOptions::default() }
}

/// What `restore --album` brings.
async fn restored(held: &Held, album: &str) -> Vec<String> {
    let disk = SimDisk::new(Arc::new(SimClock::new(1_700_000_000_000)));
    let options = RestoreOptions { album: Some(album.to_owned()), ..RestoreOptions::default() };
    let report = held.restore_only(held.server.router(), &disk, options).await;
    assert_eq!(report.problems.len(), 0, "{:?}", report.problems);
    disk.files().iter().map(|path| path.display().to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn what_the_vault_has_joins_an_album_and_stays_where_it_was() {
    let held = held(&["a.jpg", "b.jpg"]).await;
    let both = ["/out/photos/a.jpg", "/out/photos/b.jpg"];
    let (engine, session) = held.engine(held.settings()).await;
    let report = held.backup(&engine, &session, &into("trip")).await;
    assert_eq!((report.taken, held.contents().await), (2, 2));
    assert_eq!(restored(&held, "trip").await, both);
    assert_eq!(restored(&held, "photos").await, both);
    // Nothing is read again, by whichever name.
    for album in ["trip", "photos"] {
        assert_eq!(held.backup(&engine, &session, &into(album)).await.taken, 0, "{album}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_what_the_vault_has_is_in_the_album_it_was_backed_up_to() {
    let held = held(&["a.jpg"]).await;
    held.disk.put("/photos/copy.jpg", &held.disk.read("/photos/a.jpg").unwrap()).unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    // A home that knows nothing of the first backup.
    let settings = landfall::Settings { home: "/other".into(), device: String::new(), ..held.settings() };
    let (engine, session) = held.engine(settings).await;
    landfall::recipes::vault::learn(&engine, &session, &landfall::Silent).await.unwrap();
    held.backup(&engine, &session, &into("trip")).await;
    assert_eq!(held.contents().await, 1);
    let both = ["/out/photos/a.jpg", "/out/photos/copy.jpg"];
    assert_eq!(restored(&held, "trip").await, both);
    assert_eq!(restored(&held, "photos").await, both[..1]);
}
