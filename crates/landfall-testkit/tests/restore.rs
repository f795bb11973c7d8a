//! Restoring onto a file system that is unlike the one the files came from.

mod held;

use std::sync::Arc;

use held::held;
use landfall_testkit::{SimClock, SimDisk};

fn folding_disk() -> Arc<SimDisk> {
    let disk = SimDisk::new(Arc::new(SimClock::new(1_700_000_000_000)));
    disk.fold_names();
    disk
}

#[tokio::test(start_paused = true)]
async fn names_that_a_file_system_takes_for_one_do_not_replace_each_other() {
    let held = held(&["IMG_1.jpg", "img_1.jpg", "Img_1.JPG", "other.jpg"]).await;
    for overwrite in [false, true] {
        let disk = folding_disk();
        let report = held.restore(&disk, overwrite).await;
        assert_eq!((report.restored, report.problems.len()), (2, 2), "{:?}", report.problems);
        assert!(report.problems.iter().all(|(_, code, _)| *code == "name-collision"), "{:?}", report.problems);
        assert_eq!(disk.files().len(), 2, "{:?}", disk.files());
        // Once more: what is there stays.
        let before = disk.read("/out/photos/img_1.jpg").unwrap();
        let again = held.restore(&disk, false).await;
        assert_eq!((again.restored, again.unchanged, again.problems.len()), (0, 2, 2), "{:?}", again.problems);
        assert_eq!(disk.read("/out/photos/img_1.jpg").unwrap(), before);
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_was_there_before_is_replaced_if_asked_whatever_its_case() {
    let held = held(&["IMG_1.jpg"]).await;
    let disk = folding_disk();
    disk.put("/out/photos/img_1.JPG", b"somebody else's").unwrap();
    assert_eq!(held.restore(&disk, false).await.problems[0].1, "exists");
    assert_eq!(disk.read("/out/photos/IMG_1.jpg").unwrap(), b"somebody else's");
    assert_eq!(held.restore(&disk, true).await.restored, 1);
    assert_ne!(disk.read("/out/photos/IMG_1.jpg").unwrap(), b"somebody else's");
}
