//! How far a message is, as somebody sees who watches.

use std::{path::Path, time::Duration};

use landfall::recipes::chat::{NewFile, Overall, Part, Stage, Treatment};

use crate::world::{Made, World};

#[tokio::test(start_paused = true)]
async fn a_photo_of_five_megabytes_shows_how_far_it_is_in_many_small_steps() {
    let world = World::new().await;
    let device = world.device(Made::default()).await;
    world.disk.put("/photos/large.bin", &vec![7; 5_000_000]).unwrap();
    let file = NewFile {
        path: Path::new("/photos/large.bin").to_owned(),
        name: "large.bin".to_owned(),
        mime: "application/octet-stream".to_owned(),
        treatment: Treatment::AsItIs,
    };
    let id = device.chat.stage(file, None).await.unwrap();
    device.send(vec![Part::Staged(id)]).await;
    assert_eq!(device.chat.overall().await.unwrap(), Overall { messages: 1, bytes: 5_000_000, bytes_sent: 0 });
    world.wire.goes_slowly(Duration::from_millis(50));
    let mut seen: Vec<f64> = Vec::new();
    let mut bytes_sent = vec![0];
    let mut changes = device.chat.progress_changes();
    {
        let mut run = std::pin::pin!(device.run());
        loop {
            tokio::select! {
                () = &mut run => break,
                changed = changes.changed() => changed.unwrap(),
            }
            let stage = device.stages().await.remove(0);
            if let Stage::Uploading(far) = stage {
                let fraction = far.fraction();
                seen.push(fraction);
                bytes_sent.push(device.chat.overall().await.unwrap().bytes_sent);
            }
        }
    }
    assert!(seen.is_sorted() && seen.iter().all(|fraction| (0.0..1.0).contains(fraction)), "{seen:?}");
    assert!(bytes_sent.is_sorted(), "{bytes_sent:?}");
    seen.dedup();
    assert!(seen.len() >= 10, "{seen:?}");
    assert_eq!(device.stages().await, [Stage::Completed]);
    assert_eq!(device.chat.overall().await.unwrap().messages, 0);
}
