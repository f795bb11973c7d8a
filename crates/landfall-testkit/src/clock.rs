//! Time that a test owns.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use landfall_env::Clock;
use tokio::time::Instant;

/// The clocks of a simulated machine. They follow `tokio::time`, so a paused runtime moves them.
#[derive(Debug)]
pub struct SimClock {
    start: Instant,
    start_ms: i64,
    jump_ms: AtomicI64,
}

impl SimClock {
    /// Starts the clocks; the wall clock shows `start_ms` after the Unix epoch. Call it inside the runtime.
    pub fn new(start_ms: i64) -> Self {
        Self { start: Instant::now(), start_ms, jump_ms: AtomicI64::new(0) }
    }

    /// Sets how far the wall clock is from the right time. The monotonic clock does not notice.
    pub fn set_jump_ms(&self, jump_ms: i64) {
        self.jump_ms.store(jump_ms, Ordering::Relaxed);
    }

    /// The wall clock in nanoseconds since the Unix epoch, as file systems keep it.
    pub fn wall_ns(&self) -> i128 {
        let set_ms = self.start_ms.saturating_add(self.jump_ms.load(Ordering::Relaxed));
        i128::from(set_ms) * 1_000_000 + self.start.elapsed().as_nanos() as i128
    }
}

impl Clock for SimClock {
    fn wall_ms(&self) -> i64 {
        i64::try_from(self.wall_ns().div_euclid(1_000_000)).unwrap_or(i64::MAX)
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn both_clocks_follow_paused_time_and_only_the_wall_clock_jumps() {
        let clock = SimClock::new(1_700_000_000_000);
        tokio::time::advance(Duration::from_millis(1_500)).await;
        assert_eq!((clock.wall_ms(), clock.monotonic()), (1_700_000_001_500, Duration::from_millis(1_500)));
        clock.set_jump_ms(-3_600_000);
        assert_eq!((clock.wall_ms(), clock.monotonic()), (1_699_996_401_500, Duration::from_millis(1_500)));
        clock.set_jump_ms(0);
        assert_eq!(clock.wall_ms(), 1_700_000_001_500);
    }
}
