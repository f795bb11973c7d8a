//! Keeps all transfers of a process together below a limit of bytes per second.
//!
//! A transfer asks before each *frame* that it sends. What was promised and is not due yet by the limit is the
//! *backlog*; the next frame is put behind it, so that frames go out evenly and in the order of asking. While less is
//! asked for than the limit allows, the backlog falls below zero, to a quarter of a second's worth at most: so much may
//! be sent at once when much is asked for again, which also makes up for timers that wake late.
//!
//! Everything is counted in whole billionths of bytes. Nothing is rounded, so no size of frames makes it faster or
//! slower.

use std::time::Duration;

/// A token bucket that all transfers of a process share.
///
/// As long as someone asks, the rate is the limit within 5 % over any ten seconds, from the first second on.
#[derive(Debug, Default)]
pub struct Pace {
    /// Promised and not yet due, in billionths of bytes; below zero it is credit.
    backlog: i128,
    /// By which the backlog was reckoned.
    limit: Option<u64>,
    /// Up to which moment.
    at: Duration,
}

impl Pace {
    /// Nothing has been sent.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes leave to send `bytes` and says how long to wait before they go. They count as sent from now on, whether or
    /// not they are. `limit` is in bytes per second and the same for everyone who asks at that moment; 0 counts as 1.
    /// `now` is monotonic time; where it stands still each frame is still told to go behind those before it.
    ///
    /// A limit that has changed holds for whoever asks next. Those who wait are not told, so that a change is followed
    /// as soon as the longest wait is over: with frames of [`Pace::frame_max`], `n / 32` seconds if `n` transfers wait.
    pub fn take(&mut self, bytes: u64, limit: Option<u64>, now: Duration) -> Duration {
        self.reckon(now);
        self.limit_is(limit);
        let Some(limit) = self.limit else { return Duration::ZERO };
        self.backlog = self.backlog.saturating_add(i128::from(bytes) * BILLION);
        // Up, so that nobody is ever too early.
        nanoseconds(self.backlog.max(0).unsigned_abs().div_ceil(limit.into()))
    }

    /// The most bytes a transfer should take at once: what the limit lets through in 1/32 of a second, and at least
    /// one. Larger frames keep the rate as well, but unevenly, and make everyone slow to follow a change.
    pub fn frame_max(limit: Option<u64>) -> u64 {
        limit.map_or(u64::MAX, |limit| (limit / 32).max(1))
    }

    /// What was due until `now` is not backlog any more.
    fn reckon(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at).as_nanos();
        self.at = self.at.max(now);
        if let Some(limit) = self.limit {
            let due = i128::try_from(passed.saturating_mul(limit.into())).unwrap_or(i128::MAX);
            self.backlog = self.backlog.saturating_sub(due).max(least_backlog(limit));
        }
    }

    fn limit_is(&mut self, limit: Option<u64>) {
        let limit = limit.map(|limit| limit.max(1));
        self.backlog = match (self.limit, limit) {
            // Those who were told to wait have gone by the old limit when the backlog would be over by it. To wait
            // until it is over by a new and much lower one would be to stand still for minutes.
            (Some(old), Some(new)) if new < old && self.backlog > 0 => self.backlog / i128::from(old) * i128::from(new),
            (Some(_), Some(new)) => self.backlog.max(least_backlog(new)),
            _ => 0,
        };
        self.limit = limit;
    }
}

fn least_backlog(limit: u64) -> i128 {
    -i128::from(limit) * BILLION / BURST_SHARE
}

fn nanoseconds(count: u128) -> Duration {
    const PER_SECOND: u128 = BILLION as u128;
    Duration::new(u64::try_from(count / PER_SECOND).unwrap_or(u64::MAX), (count % PER_SECOND) as u32)
}

const BILLION: i128 = 1_000_000_000;
/// Which part of a second's worth may be sent at once.
const BURST_SHARE: i128 = 4;

#[cfg(test)]
mod tests {
    use std::{cmp::Reverse, collections::BinaryHeap, ops::RangeInclusive};

    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const WINDOW: Duration = Duration::from_secs(10);

    #[test]
    fn frames_go_one_behind_the_other() {
        let mut pace = Pace::new();
        for frame in 1..=10 {
            assert_eq!(pace.take(100, Some(1000), SECOND), Duration::from_millis(100) * frame);
        }
        assert_eq!(pace.take(100, Some(1000), SECOND * 2), Duration::from_millis(100));
    }

    #[test]
    fn without_a_limit_nobody_waits_and_nothing_is_saved_up_or_owed() {
        let mut pace = Pace::new();
        assert_eq!(pace.take(u64::MAX, None, SECOND), Duration::ZERO);
        assert_eq!(pace.take(1000, Some(1000), SECOND * 9), SECOND);
        assert_eq!(pace.take(1000, None, SECOND * 9), Duration::ZERO);
        assert_eq!(pace.take(1000, Some(1000), SECOND * 9), SECOND);
    }

    #[test]
    fn a_quarter_of_a_second_may_go_at_once_after_a_pause_and_no_more() {
        let mut pace = Pace::new();
        pace.take(1, Some(1000), SECOND);
        let hour = SECOND * 3600;
        assert_eq!(pace.take(250, Some(1000), hour), Duration::ZERO);
        assert_eq!(pace.take(1, Some(1000), hour), Duration::from_millis(1));
    }

    #[test]
    fn a_lower_limit_lets_those_go_who_were_promised_and_then_holds() {
        let mut pace = Pace::new();
        assert_eq!(pace.take(1_000_000, Some(1_000_000), SECOND), SECOND);
        assert_eq!(pace.take(100, Some(1000), SECOND), Duration::from_millis(1100));
    }

    #[test]
    fn a_higher_limit_holds_at_once() {
        let mut pace = Pace::new();
        assert_eq!(pace.take(1000, Some(1000), SECOND), SECOND);
        assert_eq!(pace.take(1000, Some(1_000_000), SECOND), Duration::from_millis(2));
        assert_eq!(pace.take(1000, None, SECOND), Duration::ZERO);
    }

    #[test]
    fn many_small_frames_are_as_slow_as_one_large_one() {
        let limit = Some(1_000_000_007);
        let mut pace = Pace::new();
        let wait = (0..100_000).map(|_| pace.take(1, limit, SECOND)).last().unwrap();
        assert_eq!(wait, Pace::new().take(100_000, limit, SECOND));
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_does_no_harm() {
        let mut pace = Pace::new();
        for _ in 0..1000 {
            pace.take(1000, Some(1_000_000), SECOND);
        }
        assert_eq!(pace.take(1000, Some(1_000_000), Duration::ZERO), Duration::from_millis(1001));
        assert_eq!(pace.take(1000, Some(1_000_000), SECOND * 2), Duration::from_millis(2));
    }

    #[test]
    fn no_numbers_are_too_large_or_too_small() {
        let mut pace = Pace::new();
        for now in [Duration::ZERO, Duration::MAX, SECOND] {
            for limit in [Some(0), Some(1), Some(u64::MAX), None] {
                for bytes in [0, 1, u64::MAX] {
                    pace.take(bytes, limit, now);
                }
            }
        }
        assert_eq!(Pace::new().take(1, Some(0), SECOND), SECOND);
        assert_eq!(Pace::frame_max(Some(0)), 1);
    }

    proptest! {
        #[test]
        fn any_ten_seconds_have_the_limit_s_bytes_within_5_percent(
            transfers in 1usize..=32,
            limit in 10u64 << 10..=1 << 30,
            largest in prop_oneof![Just(32u64), Just(8), Just(4)],
            tick in prop_oneof![Just(Duration::from_nanos(1)), Just(Duration::from_millis(16))],
            mut seed in any::<u64>(),
        ) {
            // Some frames are as long as a quarter of a second, and some clocks stand still between their ticks.
            let sent = run(transfers, &[(SECOND * 20, Some(limit))], |limit| limit.unwrap() / largest, tick, &mut seed);
            prop_assert!(deviation(&sent, SECOND, SECOND * 20, limit) <= 0.05);
        }

        #[test]
        fn a_change_of_the_limit_is_followed_within_two_seconds(
            transfers in 1usize..=32,
            limits in proptest::collection::vec(proptest::option::weighted(0.9, 10u64 << 10..=100 << 20), 2..5),
            mut seed in any::<u64>(),
        ) {
            // Without a limit for a moment only: then as much is sent as the link takes.
            let lasts = |limit: &Option<u64>| if limit.is_some() { SECOND * 14 } else { SECOND / 4 };
            let phases: Vec<_> = limits.iter().map(|limit| (lasts(limit), *limit)).collect();
            let frame_max = |limit| Pace::frame_max(limit).min(LINK / 256);
            let sent = run(transfers, &phases, frame_max, Duration::from_nanos(1), &mut seed);
            let mut start = Duration::ZERO;
            for (lasts, limit) in phases {
                if let Some(limit) = limit {
                    prop_assert!(deviation(&sent, start + SECOND * 2, start + lasts, limit) <= 0.05);
                }
                start += lasts;
            }
        }
    }

    /// What a link carries in a second, if no limit is in its way.
    const LINK: u64 = 4 << 30;

    /// Transfers that send as much as they may, by one limit after the other, each for its time; their timers wake up
    /// to 20 ms late. Returns when how many bytes went.
    fn run(
        transfers: usize,
        phases: &[(Duration, Option<u64>)],
        frame_max: impl Fn(Option<u64>) -> u64,
        tick: Duration,
        seed: &mut u64,
    ) -> Vec<(Duration, u64)> {
        let mut pace = Pace::new();
        let mut sent = Vec::new();
        let mut waiting: BinaryHeap<_> =
            (0..transfers).map(|transfer| Reverse((Duration::ZERO, transfer, 0))).collect();
        while let Some(Reverse((mut now, transfer, bytes))) = waiting.pop() {
            sent.push((now, bytes));
            now += nanoseconds(u128::from(bytes) * BILLION as u128 / u128::from(LINK));
            let mut end = Duration::ZERO;
            let Some((_, limit)) = phases.iter().find(|(lasts, _)| {
                end += *lasts;
                now < end
            }) else {
                continue;
            };
            let most = frame_max(*limit);
            let bytes = draw(seed, (most / 64).max(1)..=most.max(1));
            let shown = nanoseconds(now.as_nanos() / tick.as_nanos() * tick.as_nanos());
            let mut wait = pace.take(bytes, *limit, shown);
            if !wait.is_zero() {
                wait += Duration::from_micros(draw(seed, 0..=20_000));
            }
            waiting.push(Reverse((now + wait, transfer, bytes)));
        }
        sent
    }

    /// By which part of `limit` the worst ten seconds between two moments miss it.
    fn deviation(sent: &[(Duration, u64)], from: Duration, to: Duration, limit: u64) -> f64 {
        let until = |end: Duration| sent.partition_point(|(at, _)| *at < end);
        let mut sums = vec![0u64];
        sums.extend(sent.iter().scan(0, |sum, (_, bytes)| {
            *sum += bytes;
            Some(*sum)
        }));
        let nanosecond = Duration::from_nanos(1);
        // The extremes are windows that begin with a frame, and those that begin just after one.
        let starts = sent.iter().flat_map(|(at, _)| [*at, *at + nanosecond]).chain([from, to - WINDOW]);
        let windows = starts.filter(|start| *start >= from && *start + WINDOW <= to);
        let wanted = limit as f64 * WINDOW.as_secs_f64();
        windows
            .map(|start| sums[until(start + WINDOW)] - sums[until(start)])
            .map(|bytes| (bytes as f64 / wanted - 1.0).abs())
            .fold(0.0, f64::max)
    }

    /// SplitMix64: a number of `range` that looks random, and the same for the same seeds.
    fn draw(seed: &mut u64, range: RangeInclusive<u64>) -> u64 {
        *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (*seed ^ (*seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        range.start() + (mixed ^ (mixed >> 31)) % (range.end() - range.start() + 1)
    }
}
