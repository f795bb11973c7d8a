//! What was sent is sent whole, wherever the process or the power ends.

use landfall::recipes::chat::{Chat, Part};
use landfall_store::Lane;

use crate::world::{Device, Made, World, file, text};

/// Two photos and two texts that are to be sent by a process that has staged one of the photos.
async fn ready(world: &World) -> (Device, Vec<Part>) {
    let device = world.device(Made::default()).await;
    let (a, b) = (device.stage(&world.photo("a.jpg")).await, file(&world.photo("b.jpg")));
    (device, vec![Part::Staged(a), text("text a"), Part::New(b), text("text b")])
}

/// Sends as somebody who does not care whether it succeeds. Returns whether it did.
async fn sends(chat: Chat, lane: Lane, batch: Vec<Part>) -> bool {
    chat.send(&lane, batch).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_sent_whole_or_not_at_all_at_whatever_write_the_process_or_the_power_ends() {
    let mut outcomes = [0, 0];
    for (writes, is_power) in (0..200).flat_map(|writes| [(writes, false), (writes, true)]) {
        let world = World::new().await;
        let (device, batch) = ready(&world).await;
        device.dies_after(writes);
        let was_sent = sends(device.chat.clone(), device.lane.clone(), batch).await;
        device.kill();
        if is_power {
            world.power_cut(writes);
        }
        let device = world.device(Made::default()).await;
        let echoes = device.echoes().await.len();
        assert!(echoes == 4 || echoes == 0 && !was_sent, "{echoes} of 4 after {writes} writes, and {was_sent}");
        outcomes[usize::from(echoes == 4)] += 1;
        // The power was the server's, too.
        if !is_power {
            device.run().await;
            let all = ["a.jpg", "text a", "b.jpg", "text b"];
            assert_eq!(world.told().await, &all[..echoes], "after {writes} writes");
        }
        if was_sent && is_power {
            break;
        }
    }
    assert!(outcomes.iter().all(|count| *count > 1), "ends before and after were both met: {outcomes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_message_on_its_way_arrives_once_at_whatever_write_the_process_ends() {
    for writes in 0..2_000 {
        let world = World::new().await;
        let (device, batch) = ready(&world).await;
        device.send(batch).await;
        device.dies_after(writes);
        let ended = device.chat.run(landfall::recipes::chat::ChatRun::default()).await;
        device.kill();
        let device = world.device(Made::default()).await;
        device.run().await;
        assert_eq!(world.told().await, ["a.jpg", "text a", "b.jpg", "text b"], "after {writes} writes");
        if ended.is_ok() {
            assert!(writes > 20, "{writes} writes are too few for all of it");
            return;
        }
    }
    panic!("it takes more writes than that");
}
