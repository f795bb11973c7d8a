//! Sends no faster than the hour allows.

use std::sync::{Arc, Mutex, PoisonError};

use landfall_core::{Bandwidth, LocalMoment, Pace, Timestamp};
use landfall_env::Env;

/// Shared by all transfers to one bucket in this process.
#[derive(Clone)]
pub(super) struct Pacer {
    env: Env,
    limits: Option<Arc<Limits>>,
}

struct Limits {
    bandwidth: Bandwidth,
    pace: Mutex<Pace>,
}

impl Pacer {
    /// Without a bandwidth nothing waits.
    pub(super) fn new(env: &Env, bandwidth: Option<Bandwidth>) -> Self {
        let limits = bandwidth.map(|bandwidth| Arc::new(Limits { bandwidth, pace: Mutex::new(Pace::new()) }));
        Self { env: env.clone(), limits }
    }

    /// The most bytes to send at once now, at least one.
    pub(super) fn frame_max(&self) -> usize {
        let limit = self.limits.as_ref().and_then(|limits| self.limit(limits));
        usize::try_from(Pace::frame_max(limit)).unwrap_or(usize::MAX)
    }

    /// Waits until so many bytes may be sent.
    pub(super) async fn admit(&self, bytes: usize) {
        let Some(limits) = &self.limits else { return };
        let limit = self.limit(limits);
        let wait = {
            let mut pace = limits.pace.lock().unwrap_or_else(PoisonError::into_inner);
            pace.take(bytes as u64, limit, self.env.clock.monotonic())
        };
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    /// Whether there is a limit now: then one part at a time gets through sooner than several together.
    pub(super) fn is_limited(&self) -> bool {
        self.limits.as_ref().is_some_and(|limits| self.limit(limits).is_some())
    }

    fn limit(&self, limits: &Limits) -> Option<u64> {
        let now = self.env.clock.wall_ms();
        limits.bandwidth.limit_at(LocalMoment::at(Timestamp(now), self.env.clock.local_offset_seconds(now)))
    }
}
