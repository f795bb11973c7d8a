//! The other side is away: for how long nobody needs to ask again.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// The shortest pause, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];

/// Since when the other side is away, shared by everything in this process that asks it.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    since: Mutex<Option<Instant>>,
}

impl Outage {
    /// It was found to be away. Asks less often the longer that lasts: a phone without a network for a night should not
    /// have been kept awake by it, and one that was away for a moment should not wait for long.
    pub(crate) fn pause(&self) -> Duration {
        let since = *self.since().get_or_insert_with(Instant::now);
        (since.elapsed() / 4).clamp(PAUSES[0], PAUSES[1])
    }

    /// It was reached, or somebody says that it can be.
    pub(crate) fn is_over(&self) {
        *self.since() = None;
    }

    fn since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_longer_it_lasts_the_less_often_is_asked_and_a_new_one_begins_anew() {
        let outage = Outage::default();
        let mut asked = 0;
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(3600) {
            tokio::time::sleep(outage.pause()).await;
            asked += 1;
        }
        assert!((120..160).contains(&asked), "{asked} times in an hour");
        outage.is_over();
        assert_eq!(outage.pause(), Duration::from_secs(1));
    }
}
