//! What the journal costs: taking a file in charge, and claiming one, with ten thousand and with a million waiting.
//!
//! `cargo run --release [FOLDER]`. Every commit is a durable one, so the figures are the disk's as much as ours; a lane
//! with ten thousand rows and one with a million are measured in turns, and their ratio is what counts.

use std::time::{Duration, Instant};

use landfall_core::{Class, ClassLimits, Timestamp};
use landfall_env::Env;
use landfall_store::{DestinationId, Journal, JournalOptions, Offer, Root, SourceIdentity};

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const ROUNDS: usize = 200;
const BATCH: i64 = 256;

struct Lane {
    journal: Journal,
    destination: DestinationId,
    root: Root,
    rows: i64,
    next: i64,
}

fn main() {
    let folder = std::env::args().nth(1).map_or_else(std::env::temp_dir, Into::into);
    let folder = tempfile::tempdir_in(folder).expect("the folder can be written to");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be built");
    runtime.block_on(async {
        let mut small = Lane::filled(folder.path().join("small.db"), 10_000).await;
        let mut large = Lane::filled(folder.path().join("large.db"), 1_000_000).await;
        let (mut offers, mut claims) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        for _ in 0..ROUNDS {
            for (at, lane) in [&mut small, &mut large].into_iter().enumerate() {
                offers[at].push(lane.offer().await);
                claims[at].push(lane.claim().await);
            }
        }
        report("take 1 file in charge", &mut offers);
        report("claim 1 item", &mut claims);
        let mut open = [Vec::new(), Vec::new()];
        for _ in 0..10 {
            for (at, lane) in [&small, &large].into_iter().enumerate() {
                lane.journal.suspend().await;
                let start = Instant::now();
                lane.journal.resume().await.expect("a journal that was closed opens");
                open[at].push(start.elapsed());
            }
        }
        report("open the journal", &mut open);
    });
}

impl Lane {
    async fn filled(path: std::path::PathBuf, rows: i64) -> Self {
        let options = JournalOptions { path, vfs: None, check: false, read_only: false };
        let journal = Journal::open(options, &Env::real()).await.expect("a fresh journal opens");
        let (destination, root) = journal
            .write(|tx| {
                let destination = tx.destination_at("default")?.id;
                Ok((destination, tx.root_at(destination, b"/photos", b"photos", &[1; 8])?))
            })
            .await
            .expect("a fresh journal takes a root");
        let mut lane = Self { journal, destination, root, rows, next: 0 };
        let start = Instant::now();
        while lane.next < rows {
            let count = BATCH.min(rows - lane.next);
            lane.take(count).await;
        }
        let took = start.elapsed();
        println!("{rows:>9} files taken in charge, {BATCH} a commit: {:.0} per second", rows as f64 / took.as_secs_f64());
        lane
    }

    async fn take(&mut self, count: i64) {
        let (root, first) = (self.root.clone(), self.next);
        self.next += count;
        self.journal
            .write(move |tx| {
                for number in first..first + count {
                    tx.offer(&root, &offer(number), NOW)?;
                }
                Ok(())
            })
            .await
            .expect("the journal takes files");
    }

    async fn offer(&mut self) -> Duration {
        let start = Instant::now();
        self.take(1).await;
        start.elapsed()
    }

    async fn claim(&mut self) -> Duration {
        let destination = self.destination;
        let limits = ClassLimits { total: usize::MAX >> 8, video: usize::MAX >> 8, upload: 1 };
        let start = Instant::now();
        let leases = self
            .journal
            .write(move |tx| tx.claim("bench", destination, limits, 1, NOW))
            .await
            .expect("the journal gives leases");
        assert_eq!(leases.len(), 1, "{} rows wait", self.rows);
        start.elapsed()
    }
}

fn offer(number: i64) -> Offer {
    Offer {
        path: format!("{:03}/IMG_{number:07}.jpg", number / 1000).into_bytes(),
        identity: SourceIdentity { size: 5_000_000, device: 1, inode: number, modified_ns: number, changed_ns: number },
        class: if number % 10 == 0 { Class::Video } else { Class::Photo },
        kind: "jpeg".to_owned(),
        album: "photos".to_owned(),
        priority: -(number * 7919 % 1_000_003),
        joins: false,
    }
}

fn report(what: &str, lanes: &mut [Vec<Duration>; 2]) {
    let median = |lane: &mut Vec<Duration>| {
        lane.sort_unstable();
        lane[lane.len() / 2].as_secs_f64() * 1e6
    };
    let [small, large] = lanes;
    let (small, large) = (median(small), median(large));
    println!("{what:<24} 10 k: {small:>8.0} µs   1 M: {large:>8.0} µs   ratio {:.2}", large / small);
}
