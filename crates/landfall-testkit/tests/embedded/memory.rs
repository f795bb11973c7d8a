//! A budget that is far too small for what is under way at once.

use crate::held::held_with;
use landfall::{ClassLimits, Settings};
use landfall_crypto::ChunkLen;

/// Whoever takes a part in keeps what it has gathered of it. It must not keep the sender's memory with it: nobody could go
/// on when all of it is kept so.
#[tokio::test(start_paused = true)]
async fn many_parts_at_once_go_through_the_memory_of_three_chunks() {
    let names = ["1.jpg", "2.jpg", "3.jpg", "4.jpg", "5.jpg", "6.jpg", "7.jpg", "8.jpg"];
    let files = names.into_iter().zip(1_u8..).map(|(name, byte)| (name, vec![byte; 64 << 10])).collect();
    let chunk_len = ChunkLen::new(1024).expect("1 KiB is a length");
    let held = held_with(files, |settings| Settings {
        chunk_len,
        chunks_per_part: 8,
        memory_bytes: 3 * chunk_len.sealed_bytes() as u64,
        limits: ClassLimits { total: 8, video: 2, upload: 1 },
        ..settings
    })
    .await;
    assert_eq!(held.contents().await, names.len());
}
