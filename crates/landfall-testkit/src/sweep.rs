//! Many seeds, on all cores.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Runs `work` for every seed below `end`, on all cores, until one says to stop. In which order is up to the threads.
pub fn on_all_cores(end: u64, work: impl Fn(u64) -> bool + Sync) {
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        break;
                    }
                    if !work(seed) {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
}

/// A number that whoever runs a test may set in the environment.
pub fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
