//! Who may work on an item, and who is dead.
//!
//! A *worker* is one process instance. It holds an exclusive lock on a file of its own for as long as it lives and
//! raises its *beat* in the journal every few seconds. Another worker that finds the lock free knows it is dead; one
//! that sees the beat stand still for [`STOPPED_AFTER`] of its *own* monotonic time calls it stopped. No two clocks are
//! ever compared, so clocks that jump do no harm. Either way its leases are released; the *generation* on each item's
//! lease makes every later write of the old holder miss.

use std::{collections::BTreeMap, time::Duration};

/// How long a beat may stand still, by the observer's clock, before its worker counts as stopped.
pub const STOPPED_AFTER: Duration = Duration::from_secs(15);
/// How often a worker raises its beat: well below [`STOPPED_AFTER`], so that a slow disk does not cost it its leases.
pub const BEAT_EVERY: Duration = Duration::from_secs(3);

/// The count that fences: it rises with every claim and every release. Never compared with a source's revision or an
/// object's incarnation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub i64);

/// What an observer concludes about another worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It lives.
    Alive,
    /// Its process has ended.
    Dead,
    /// Its process exists but has stood still for too long.
    Stopped,
}

/// What one worker has seen of the others.
#[derive(Debug, Default)]
pub struct Watch {
    seen: BTreeMap<String, Seen>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    beat: i64,
    /// The observer's monotonic time at which this beat was first seen.
    since: Duration,
}

impl Watch {
    /// Judges a worker by its present beat and by whether its lock is free.
    pub fn observe(&mut self, worker: &str, beat: i64, lock_is_free: bool, now: Duration) -> Verdict {
        if lock_is_free {
            self.seen.remove(worker);
            return Verdict::Dead;
        }
        let seen = self.seen.entry(worker.to_owned()).or_insert(Seen { beat, since: now });
        if seen.beat != beat {
            *seen = Seen { beat, since: now };
        }
        if now.saturating_sub(seen.since) >= STOPPED_AFTER { Verdict::Stopped } else { Verdict::Alive }
    }

    /// Forgets workers that are not in the journal any more.
    pub fn retain(&mut self, mut known: impl FnMut(&str) -> bool) {
        self.seen.retain(|worker, _| known(worker));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_lock_means_dead_at_once() {
        assert_eq!(Watch::default().observe("a", 7, true, Duration::ZERO), Verdict::Dead);
    }

    #[test]
    fn a_beat_that_stands_still_means_stopped_only_after_the_observer_waited() {
        let mut watch = Watch::default();
        let start = Duration::from_secs(1000);
        assert_eq!(watch.observe("a", 7, false, start), Verdict::Alive);
        assert_eq!(watch.observe("a", 7, false, start + STOPPED_AFTER - Duration::from_millis(1)), Verdict::Alive);
        assert_eq!(watch.observe("a", 8, false, start + STOPPED_AFTER), Verdict::Alive);
        assert_eq!(watch.observe("a", 8, false, start + STOPPED_AFTER * 2), Verdict::Stopped);
    }
}
