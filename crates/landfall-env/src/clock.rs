//! Time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Tells the time. Waiting is `tokio::time`'s, which a simulation can pause.
pub trait Clock: Send + Sync {
    /// Milliseconds since the Unix epoch by the wall clock, which may jump either way.
    fn wall_ms(&self) -> i64;
    /// Time since some fixed moment of this process; never goes back.
    fn monotonic(&self) -> Duration;
    /// How far local time is ahead of UTC at a moment of the wall clock, in seconds. On phones the host may know better
    /// than this process, and say so by a clock of its own.
    fn local_offset_seconds(&self, _wall_ms: i64) -> i32 {
        0
    }
}

/// The clocks of this machine.
#[derive(Debug)]
pub struct SystemClock {
    start: std::time::Instant,
}

impl SystemClock {
    /// Starts the monotonic clock.
    #[expect(clippy::disallowed_methods, reason = "this is the clock that everyone else receives")]
    pub fn new() -> Self {
        Self { start: std::time::Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that everyone else receives")]
    fn wall_ms(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
        }
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn local_offset_seconds(&self, wall_ms: i64) -> i32 {
        let moment = jiff::Timestamp::from_millisecond(wall_ms).unwrap_or_default();
        jiff::tz::TimeZone::system().to_offset(moment).seconds()
    }
}
