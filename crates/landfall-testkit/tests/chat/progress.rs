//! How far a message is, as somebody sees who watches.
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail like the test")]

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use landfall::recipes::chat::{NewFile, Overall, Part, Stage, Treatment, Uploaded};
use landfall_core::PutReport;

use crate::world::{Device, Made, World};

/// A file of the disk, to be sent as it is.
fn as_it_is(name: &str) -> NewFile {
    let path: PathBuf = Path::new("/photos").join(name);
    let mime = "application/octet-stream".to_owned();
    NewFile { path, name: name.to_owned(), mime, treatment: Treatment::AsItIs }
}

/// Works until nothing is left, and looks whenever a transfer has got further.
async fn while_it_runs(device: &Device, mut look: impl AsyncFnMut()) {
    let mut changes = device.chat.progress_changes();
    let mut run = std::pin::pin!(device.run());
    loop {
        tokio::select! {
            () = &mut run => break,
            changed = changes.changed() => changed.unwrap(),
        }
        look().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_photo_of_five_megabytes_shows_how_far_it_is_in_many_small_steps() {
    let world = World::new().await;
    let device = world.device(Made::default()).await;
    world.disk.put("/photos/large.bin", &vec![7; 5_000_000]).unwrap();
    let id = device.chat.stage(as_it_is("large.bin"), None).await.unwrap();
    device.send(vec![Part::Staged(id)]).await;
    assert_eq!(device.chat.overall().await.unwrap(), Overall { messages: 1, bytes: 5_000_000, bytes_sent: 0 });
    world.wire.goes_slowly(Duration::from_millis(50));
    let mut seen: Vec<f64> = Vec::new();
    let mut bytes_sent = vec![0];
    while_it_runs(&device, async || {
        if let Stage::Uploading(far) = device.stages().await.remove(0) {
            seen.push(far.fraction());
            bytes_sent.push(device.chat.overall().await.unwrap().bytes_sent);
        }
    })
    .await;
    assert!(seen.is_sorted() && seen.iter().all(|fraction| (0.0..1.0).contains(fraction)), "{seen:?}");
    assert!(bytes_sent.is_sorted(), "{bytes_sent:?}");
    seen.dedup();
    assert!(seen.len() >= 10, "{seen:?}");
    assert_eq!(device.stages().await, [Stage::Completed]);
    assert_eq!(device.chat.overall().await.unwrap().messages, 0);
}

#[tokio::test(start_paused = true)]
async fn one_bar_over_several_files_never_goes_back_while_some_end_fail_and_are_added() {
    let world = World::new().await;
    let device = world.device(Made::default()).await;
    for (name, size) in [("a.bin", 300_000), ("b.bin", 1_000_000), ("c.bin", 2_000_000), ("d.bin", 400_000)] {
        world.disk.put(Path::new("/photos").join(name), &vec![7; size]).unwrap();
    }
    let mut batch = Vec::new();
    for name in ["a.bin", "b.bin", "c.bin"] {
        batch.push(Part::Staged(device.chat.stage(as_it_is(name), None).await.unwrap()));
    }
    device.send(batch).await;
    world.wire.goes_slowly(Duration::from_millis(50));
    let mut seen: Vec<Overall> = Vec::new();
    while_it_runs(&device, async || {
        let overall = device.chat.overall().await.unwrap();
        if overall.messages == 2 && seen.last().is_some_and(|last| last.messages == 3) {
            // One of them has ended, and another comes.
            let id = device.chat.stage(as_it_is("d.bin"), None).await.unwrap();
            device.send(vec![Part::Staged(id)]).await;
        }
        seen.push(overall);
    })
    .await;
    assert!(seen.is_sorted_by_key(|overall| overall.bytes_sent), "{seen:?}");
    assert!(seen.is_sorted_by_key(|overall| overall.bytes), "{seen:?}");
    let half_way = seen.iter().find(|overall| overall.messages == 2).unwrap();
    assert!(half_way.bytes > 3_300_000, "what ended is still part of it: {half_way:?}");
    let end = device.chat.overall().await.unwrap();
    assert!(end.messages == 0 && end.bytes_sent == end.bytes && end.bytes > 3_700_000, "{end:?}");

    let id = device.chat.stage(as_it_is("a.bin"), None).await.unwrap();
    device.send(vec![Part::Staged(id)]).await;
    let begun = device.chat.overall().await.unwrap();
    assert_eq!(begun, Overall { messages: 1, bytes: 300_000, bytes_sent: 0 }, "the next begins at nothing");
}

#[tokio::test(start_paused = true)]
async fn a_transfer_that_failed_leaves_nothing_in_the_progress_of_the_next_and_is_not_heard_any_more() {
    let world = World::new().await;
    let device = world.device(Made { is_platform: true, ..Made::default() }).await;
    let photo = device.stage(&world.photo("a.jpg")).await;
    device.send(vec![Part::Staged(photo)]).await;
    device.run().await;
    let first = device.chat.take_transfers(10).await.unwrap().remove(0);
    device.chat.transfer_progress(&first.attempt, first.bytes / 2, -1).await.unwrap();
    assert!(matches!(device.stages().await[0], Stage::Uploading(far) if far.fraction() > 0.4));
    assert_eq!(device.chat.progress(), (first.bytes / 2, first.bytes));

    let failed = PutReport::Answered { status: 500, retry_after: None, says_expired: false };
    device.chat.transfer_finished(&first.attempt, &failed).await.unwrap();
    let anew = Stage::Uploading(Uploaded { bytes: 0, total: first.bytes });
    assert_eq!((device.stages().await, device.chat.progress()), (vec![anew.clone()], (0, 0)));
    device.run().await;
    let second = device.chat.take_transfers(10).await.unwrap().remove(0);
    // What was under way when the first ended comes in late.
    device.chat.transfer_progress(&first.attempt, first.bytes, -1).await.unwrap();
    assert_eq!(device.stages().await, [anew]);
    device.chat.transfer_progress(&second.attempt, second.bytes / 4, -1).await.unwrap();
    assert_eq!(device.chat.progress(), (second.bytes / 4, second.bytes));
}
