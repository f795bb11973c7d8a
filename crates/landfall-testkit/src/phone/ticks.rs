//! One order of everything that happens in a world.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts moments: whoever asks later gets more.
#[derive(Default)]
pub(crate) struct Ticks(AtomicU64);

impl Ticks {
    pub(crate) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }
}
