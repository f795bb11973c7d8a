//! Restoring onto a file system that is unlike the one the files came from.

use std::sync::Arc;

use crate::held::held;
use axum::{
    body::Body,
    extract::Request,
    response::{IntoResponse as _, Response},
};
use http_body_util::BodyExt as _;
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

/// Answers with the record and the objects of number 2 where number 1 is asked for, and the other way round, each under
/// the number that was asked for.
fn exchanging(router: axum::Router) -> axum::Router {
    let exchanged = move |mut request: Request| {
        let mut router = router.clone();
        async move {
            let asked = request.uri().path().to_owned();
            let other = asked.rsplit_once('/').and_then(|(route, id)| match (route, id) {
                ("/vault/files" | "/files/download", "1") => Some((format!("{route}/2"), 1)),
                ("/vault/files" | "/files/download", "2") => Some((format!("{route}/1"), 2)),
                _ => None,
            });
            let Some((path, id)) = other else {
                return tower_service::Service::call(&mut router, request).await.into_response();
            };
            *request.uri_mut() = path.parse().expect("a path is a URI");
            let response: Response = tower_service::Service::call(&mut router, request).await.into_response();
            if !asked.starts_with("/vault/") {
                return response;
            }
            let (head, body) = response.into_parts();
            let bytes = body.collect().await.expect("a record is there").to_bytes();
            let mut record: serde_json::Value = serde_json::from_slice(&bytes).expect("a record is JSON");
            record["id"] = id.into();
            let mut answer = Response::new(Body::from(record.to_string()));
            *answer.status_mut() = head.status;
            answer
        }
    };
    axum::Router::new().fallback(exchanged)
}

#[tokio::test(start_paused = true)]
async fn a_server_cannot_exchange_the_contents_of_two_files() {
    let held = held(&["contract.jpg", "other.jpg"]).await;
    let disk = SimDisk::new(Arc::new(SimClock::new(1_700_000_000_000)));
    let report = held.restore_over(exchanging(held.server.router()), &disk, false).await;
    assert_eq!((report.restored, report.problems.len()), (0, 2), "{:?}", report.problems);
    assert!(report.problems.iter().all(|(_, code, _)| *code == "tampered"), "{:?}", report.problems);
    assert_eq!(disk.files().len(), 0, "{:?}", disk.files());
    assert_eq!(held.restore(&disk, false).await.restored, 2);
}

#[tokio::test(start_paused = true)]
async fn what_a_killed_restore_left_is_removed_by_the_next() {
    let held = held(&["one.jpg"]).await;
    let disk = SimDisk::new(Arc::new(SimClock::new(1_700_000_000_000)));
    disk.put("/out/.landfall-restore/dead.lock", b"").unwrap();
    disk.put("/out/.landfall-restore/dead-0", b"half of a picture").unwrap();
    let living = disk.process(disk.spawn());
    let lock = living.try_lock("/out/.landfall-restore/living.lock".as_ref()).unwrap();
    assert!(lock.is_some());
    disk.put("/out/.landfall-restore/living-0", b"half of another").unwrap();
    assert_eq!(held.restore(&disk, false).await.restored, 1);
    let left: Vec<_> = disk.files().into_iter().filter(|path| path.starts_with("/out/.landfall-restore")).collect();
    assert_eq!(
        left,
        ["/out/.landfall-restore/living-0", "/out/.landfall-restore/living.lock"].map(std::path::PathBuf::from)
    );
    drop(lock);
    held.restore(&disk, false).await;
    assert_eq!(disk.files(), [std::path::PathBuf::from("/out/photos/one.jpg")]);
}
