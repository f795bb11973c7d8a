//! When to try again.

use std::time::Duration;

/// Exponential backoff with jitter, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The pause after the first failure is at most this.
    pub base: Duration,
    /// No pause is longer.
    pub cap: Duration,
    /// After so many charged attempts only a person can help.
    pub attempts_max: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { base: Duration::from_secs(1), cap: Duration::from_secs(300), attempts_max: 10 }
    }
}

impl RetryPolicy {
    /// The pause after `failures` failures in a row (from 1): between half of `base · 2^(failures−1)`, capped, and the
    /// whole of it, as `fraction` (`0.0..1.0`, random) says. Never zero, so that a loop cannot spin.
    pub fn delay(&self, failures: u32, fraction: f64) -> Duration {
        let doubled = self.base.saturating_mul(1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
        let full = doubled.min(self.cap);
        (full / 2 + (full / 2).mul_f64(fraction.clamp(0.0, 1.0))).max(Duration::from_millis(1))
    }

    /// The pause after `failures` failures in a row (from 1) where the whole of `base · 2^(failures−1)`, capped, is
    /// promised: that, and up to a quarter of it on top, as `fraction` (`0.0..1.0`, random) says.
    pub fn delay_on_top(&self, failures: u32, fraction: f64) -> Duration {
        let doubled = self.base.saturating_mul(1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
        let full = doubled.min(self.cap);
        (full + (full / 4).mul_f64(fraction.clamp(0.0, 1.0))).max(Duration::from_millis(1))
    }

    /// Whether `attempts` charged attempts are too many.
    pub fn is_exhausted(&self, attempts: u32) -> bool {
        attempts >= self.attempts_max
    }
}

/// Whether a destination takes requests now, shared by everything that talks to it in one process: when it is away or
/// throttles, one probe at a time finds out when it is back, instead of every item finding out for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Gate {
    /// Requests pass.
    #[default]
    Open,
    /// One request may try at `until`.
    Shut {
        /// Monotonic time of the next probe.
        until: Duration,
        /// Monotonic time of the last failure.
        last: Duration,
        /// Monotonic time of the first failure of this outage.
        since: Duration,
        /// Failures of this outage.
        failures: u32,
        /// Monotonic time before which the destination asked for no request. Zero if it did not.
        asked: Duration,
    },
}

impl Gate {
    /// A request came through. One that does so before the moment the destination asked to wait for was under way
    /// when it asked, and says nothing.
    pub fn on_success(&mut self, now: Duration) {
        if !matches!(self, Self::Shut { asked, .. } if now < *asked) {
            *self = Self::Open;
        }
    }

    /// The destination was away or asked to wait.
    pub fn on_failure(&mut self, policy: &RetryPolicy, now: Duration, retry_after: Option<Duration>, fraction: f64) {
        let asked = retry_after.map_or(Duration::ZERO, |pause| now + pause);
        let (since, failures, before) = match *self {
            Self::Open => (now, 1, Duration::ZERO),
            // Several requests were under way when it went away: they are one failure, not many.
            Self::Shut { last, since, failures, asked, .. } if now < last + policy.base => (since, failures, asked),
            Self::Shut { since, failures, asked, .. } => (since, failures.saturating_add(1), asked),
        };
        let pause = policy.delay(failures, fraction).max(retry_after.unwrap_or_default());
        let asked = asked.max(before);
        *self = Self::Shut { until: (now + pause).max(asked), last: now, since, failures, asked };
    }

    /// Lets a request pass, or says until when it must wait. While the destination is away, the request that passes
    /// keeps the others back for `probe`: long enough to see what becomes of it.
    pub fn pass(&mut self, now: Duration, probe: Duration) -> Result<(), Duration> {
        match self {
            Self::Shut { until, .. } if now < *until => Err(*until),
            Self::Shut { until, .. } => {
                *until = now + probe;
                Ok(())
            }
            Self::Open => Ok(()),
        }
    }

    /// When the next request may go; `None` if now.
    pub fn opens_at(&self, now: Duration) -> Option<Duration> {
        match *self {
            Self::Open => None,
            Self::Shut { until, .. } => (now < until).then_some(until),
        }
    }

    /// How long the destination has been away.
    pub fn away_for(&self, now: Duration) -> Option<Duration> {
        match *self {
            Self::Open => None,
            Self::Shut { since, .. } => Some(now.saturating_sub(since)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_pause_is_within_its_bounds(failures in 0u32..100, fraction in 0.0f64..1.0) {
            let policy = RetryPolicy::default();
            let delay = policy.delay(failures, fraction);
            prop_assert!(delay >= Duration::from_millis(500) && delay <= policy.cap);
            let delay = policy.delay_on_top(failures, fraction);
            let promised = Duration::from_millis((1000u64 << failures.saturating_sub(1).min(40)).min(300_000));
            prop_assert!(delay >= promised && delay <= promised + promised / 4);
        }
    }

    #[test]
    fn failures_of_requests_that_were_under_way_together_count_once() {
        let policy = RetryPolicy::default();
        let mut gate = Gate::Open;
        let now = Duration::from_secs(100);
        for _ in 0..4 {
            gate.on_failure(&policy, now, None, 1.0);
        }
        assert_eq!(
            gate,
            Gate::Shut { until: now + policy.base, last: now, since: now, failures: 1, asked: Duration::ZERO }
        );
    }

    #[test]
    fn the_destination_s_own_word_is_obeyed() {
        let mut gate = Gate::Open;
        gate.on_failure(&RetryPolicy::default(), Duration::ZERO, Some(Duration::from_secs(42)), 0.0);
        assert_eq!(gate.opens_at(Duration::from_secs(41)), Some(Duration::from_secs(42)));
        assert_eq!(gate.opens_at(Duration::from_secs(42)), None);
        // It was under way when the others were asked to wait.
        gate.on_success(Duration::from_secs(41));
        assert_eq!(gate.opens_at(Duration::from_secs(41)), Some(Duration::from_secs(42)));
        gate.on_success(Duration::from_secs(42));
        assert_eq!(gate.away_for(Duration::from_secs(43)), None);
    }
}
