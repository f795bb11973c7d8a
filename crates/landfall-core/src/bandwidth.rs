//! How fast bytes may be sent, by the hour of the week.
//!
//! A person writes one limit (`2M`), none (`off`), or a *timetable* such as `08:00,512k 12:00,10M 23:00,off`. Each of
//! its *slots* has a time of day, perhaps with a weekday before it, and the limit that holds from then on until the
//! next slot begins. A slot without a weekday begins every day. The week has no end: what the last slot of Sunday says
//! holds on Monday until the first slot there.
//!
//! The notation is that of rclone's `--bwlimit` (<https://rclone.org/docs/#bwlimit-bwtimetable>), without its pairs of
//! two directions, and every limit has a unit: there a bare number counts KiB, and a person who means bytes would never
//! find out.
//!
//! [`Bandwidth`] only says what the limit is. [`Pace`](crate::Pace) keeps it.

use std::{collections::BTreeMap, fmt, ops::RangeInclusive};

use crate::{Timestamp, state::names};

/// A limit of bytes per second that may depend on the time of the week.
///
/// Its `Display` is the text it was read from, with single spaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bandwidth {
    text: String,
    /// By their minutes; at least one.
    slots: Vec<Slot>,
}

/// From when on which limit holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    /// Minutes since Monday, 00:00.
    begins: u16,
    /// Bytes per second, never 0.
    limit: Option<u64>,
}

impl Bandwidth {
    /// Reads a limit or a timetable.
    ///
    /// A limit is a number with a unit (`B`, `k`, `M`, `G`, each 1024 times the one before; `KiB`, `MB/s` and the like
    /// are the same) or `off`. The slots of a timetable are separated by spaces or semicolons and may come in any
    /// order. Where one with a weekday and one without begin at the same time, the one with the weekday holds, so
    /// `12:00,1M Sun-12:00,off` makes an exception for Sundays.
    ///
    /// # Errors
    /// A sentence for the person who wrote it, which says what to write instead.
    pub fn parse(text: &str) -> Result<Self, BandwidthError> {
        let words: Vec<_> = text.split([' ', '\t', '\n', ';']).filter(|word| !word.is_empty()).collect();
        let slots = match words[..] {
            [] => return Err(error("there is no limit; write one such as `2M`, a timetable, or `off`")),
            [limit] if !limit.contains(',') => vec![Slot { begins: 0, limit: parse_limit(limit)? }],
            _ => parse_timetable(&words)?,
        };
        Ok(Self { text: words.join(" "), slots })
    }

    /// The limit at that moment in bytes per second, never 0; `None` if there is none.
    pub fn limit_at(&self, local: LocalMoment) -> Option<u64> {
        let (before, after) = self.slots.split_at(self.begun_by(local));
        before.last().or(after.last()).expect("a bandwidth has at least one slot").limit
    }

    /// In how many minutes the limit will be another than at that moment, counted from the start of its minute; `None`
    /// if it always is the same. A clock that is put forward or back in between makes it sooner or later: whoever waits
    /// for it looks again at the limit.
    pub fn next_change(&self, local: LocalMoment) -> Option<u16> {
        let now = self.limit_at(local);
        let (before, after) = self.slots.split_at(self.begun_by(local));
        let next = after.iter().chain(before).find(|slot| slot.limit != now)?;
        Some((next.begins + MINUTES_OF_WEEK - local.minute_of_week()) % MINUTES_OF_WEEK)
    }

    /// How many slots have begun in this week.
    fn begun_by(&self, local: LocalMoment) -> usize {
        self.slots.partition_point(|slot| slot.begins <= local.minute_of_week())
    }
}

impl Default for Bandwidth {
    /// No limit.
    fn default() -> Self {
        Self { text: OFF.to_owned(), slots: vec![Slot { begins: 0, limit: None }] }
    }
}

impl fmt::Display for Bandwidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A text that is neither a limit nor a timetable; it says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BandwidthError {
    message: String,
}

impl fmt::Display for BandwidthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for BandwidthError {}

/// What the calendar and the clock on the wall show where the device is, as far as a timetable asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalMoment {
    weekday: Weekday,
    minute_of_day: u16,
}

impl LocalMoment {
    /// That minute since midnight of that weekday; `None` if no day has it.
    pub fn new(weekday: Weekday, minute_of_day: u16) -> Option<Self> {
        (minute_of_day < MINUTES_OF_DAY).then_some(Self { weekday, minute_of_day })
    }

    /// What is shown at `now` where clocks are `offset_seconds` ahead of UTC.
    pub fn at(now: Timestamp, offset_seconds: i32) -> Self {
        let minute = now.0.div_euclid(1000).saturating_add(i64::from(offset_seconds)).div_euclid(60);
        let (day, minute_of_day) = (minute.div_euclid(MINUTES_OF_DAY.into()), minute.rem_euclid(MINUTES_OF_DAY.into()));
        // The first day of the Unix epoch was a Thursday, three days after a Monday.
        let weekday = Weekday::ALL[(day + 3).rem_euclid(7) as usize];
        Self { weekday, minute_of_day: minute_of_day as u16 }
    }

    fn minute_of_week(self) -> u16 {
        self.weekday as u16 * MINUTES_OF_DAY + self.minute_of_day
    }
}

/// A day of the week, which begins on Monday as in ISO 8601.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "their names say it")]
pub enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

impl Weekday {
    /// All of them, in order.
    pub const ALL: [Self; 7] =
        [Self::Monday, Self::Tuesday, Self::Wednesday, Self::Thursday, Self::Friday, Self::Saturday, Self::Sunday];
}

names!(Weekday {
    Monday = "monday",
    Tuesday = "tuesday",
    Wednesday = "wednesday",
    Thursday = "thursday",
    Friday = "friday",
    Saturday = "saturday",
    Sunday = "sunday",
});

fn parse_timetable(words: &[&str]) -> Result<Vec<Slot>, BandwidthError> {
    let (mut daily, mut of_weekdays) = (BTreeMap::new(), BTreeMap::new());
    for word in words {
        let Some((begins, limit)) = word.split_once(',') else {
            return Err(error(format!(
                "`{word}` is no slot of a timetable; write a time and a limit, as in `08:00,512k`"
            )));
        };
        let limit = parse_limit(limit)?;
        let before = match begins.split_once('-') {
            None => daily.insert(parse_time(begins)?, limit),
            Some((weekday, time)) => {
                of_weekdays.insert(parse_weekday(weekday)? as u16 * MINUTES_OF_DAY + parse_time(time)?, limit)
            }
        };
        if before.is_some() {
            return Err(error(format!("`{begins}` begins twice in the timetable; leave one of the two limits out")));
        }
    }
    let every_day = Weekday::ALL
        .iter()
        .flat_map(|day| daily.iter().map(move |(minute, limit)| (*day as u16 * MINUTES_OF_DAY + minute, *limit)));
    let mut slots: BTreeMap<u16, Option<u64>> = every_day.collect();
    slots.extend(of_weekdays);
    Ok(slots.into_iter().map(|(begins, limit)| Slot { begins, limit }).collect())
}

fn parse_weekday(text: &str) -> Result<Weekday, BandwidthError> {
    let lower = text.to_ascii_lowercase();
    let mut all = Weekday::ALL.into_iter();
    all.find(|day| lower == day.as_str() || lower == day.as_str()[..3]).ok_or_else(|| {
        error(format!("`{text}` is no weekday; write `Mon`, `Tue`, `Wed`, `Thu`, `Fri`, `Sat` or `Sun`"))
    })
}

/// The minute of the day.
fn parse_time(text: &str) -> Result<u16, BandwidthError> {
    let number = |text: &str, digits: RangeInclusive<usize>, below: u16| {
        let plain = digits.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|number| plain && *number < below)
    };
    let time = text.split_once(':').and_then(|(hour, minute)| {
        let (hour, minute) = (number(hour, 1..=2, 24)?, number(minute, 2..=2, 60)?);
        Some(hour * 60 + minute)
    });
    time.ok_or_else(|| error(format!("`{text}` is no time of day; write one from `00:00` to `23:59`")))
}

/// Bytes per second; `None` for no limit.
fn parse_limit(text: &str) -> Result<Option<u64>, BandwidthError> {
    if text.eq_ignore_ascii_case(OFF) {
        return Ok(None);
    }
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len()));
    let unit = unit.strip_suffix("/s").unwrap_or(unit);
    if unit.ends_with('b') || unit.ends_with("bps") || unit.contains("bit") {
        return Err(error(format!("`{text}` counts bits; divide it by 8 and write bytes per second, as in `2M`")));
    }
    let prefix = unit.strip_suffix('B').unwrap_or(unit);
    let factor = match prefix.strip_suffix('i').unwrap_or(prefix) {
        "k" | "K" => Some(1 << 10),
        "m" | "M" => Some(1 << 20),
        "g" | "G" => Some(1 << 30),
        "" if unit == "B" => Some(1),
        "" if unit.is_empty() => None,
        _ => return Err(nonsense(text)),
    };
    match scaled(number, factor.unwrap_or(1)) {
        None => Err(nonsense(text)),
        Some(0) => Err(error(format!("`{text}` lets nothing through; write `off` for no limit, or a larger one"))),
        Some(_) if factor.is_none() => Err(error(format!(
            "`{text}` has no unit; write `{text}k` for {text} KiB per second, or `{text}B` for {text} bytes per second"
        ))),
        limit => Ok(limit),
    }
}

fn nonsense(text: &str) -> BandwidthError {
    error(format!("`{text}` is no limit; write bytes per second such as `512k`, `10M` or `1.5G`, or `off`"))
}

/// A decimal number times `factor`, rounded down.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = u32::try_from(fraction.len()).ok().filter(|digits| (1..=9).contains(digits))?;
    let (whole, fraction): (u64, u64) = (whole.parse().ok()?, fraction.parse().ok()?);
    let fraction = u128::from(fraction) * u128::from(factor) / 10u128.pow(digits);
    whole.checked_mul(factor)?.checked_add(u64::try_from(fraction).ok()?)
}

fn error(message: impl Into<String>) -> BandwidthError {
    BandwidthError { message: message.into() }
}

const OFF: &str = "off";
const MINUTES_OF_DAY: u16 = 24 * 60;
const MINUTES_OF_WEEK: u16 = 7 * MINUTES_OF_DAY;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WORKDAY: &str = "08:00,512k 12:00,10M 13:00,512k 18:00,30M 23:00,off";
    const WEEK: &str = "Mon-08:00,512k Fri-18:00,10M Sun-20:00,off";

    fn bandwidth(text: &str) -> Bandwidth {
        Bandwidth::parse(text).unwrap()
    }

    fn moment(weekday: Weekday, hour: u16, minute: u16) -> LocalMoment {
        LocalMoment::new(weekday, hour * 60 + minute).unwrap()
    }

    fn complaint(text: &str) -> String {
        Bandwidth::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn one_limit_holds_always() {
        for (text, limit) in [
            ("2M", Some(2 << 20)),
            ("512k", Some(512 << 10)),
            ("512K", Some(512 << 10)),
            ("512Ki", Some(512 << 10)),
            ("512KiB/s", Some(512 << 10)),
            ("10MB", Some(10 << 20)),
            ("1.5G", Some(3 << 29)),
            ("0.001M", Some(1048)),
            ("100B", Some(100)),
            ("100B/s", Some(100)),
            ("2M/s", Some(2 << 20)),
            ("off", None),
            ("Off", None),
        ] {
            let bandwidth = bandwidth(text);
            for weekday in Weekday::ALL {
                assert_eq!(bandwidth.limit_at(moment(weekday, 12, 0)), limit, "{text}");
                assert_eq!(bandwidth.next_change(moment(weekday, 12, 0)), None, "{text}");
            }
        }
        assert_eq!(Bandwidth::default(), bandwidth("off"));
    }

    #[test]
    fn a_slot_without_a_weekday_begins_every_day_and_holds_over_midnight() {
        let bandwidth = bandwidth(WORKDAY);
        for weekday in Weekday::ALL {
            for (hour, minute, limit, next) in [
                (0, 0, None, 480),
                (7, 59, None, 1),
                (8, 0, Some(512 << 10), 240),
                (12, 30, Some(10 << 20), 30),
                (17, 59, Some(512 << 10), 1),
                (22, 59, Some(30 << 20), 1),
                (23, 0, None, 540),
            ] {
                assert_eq!(bandwidth.limit_at(moment(weekday, hour, minute)), limit, "{weekday:?} {hour}:{minute}");
                assert_eq!(bandwidth.next_change(moment(weekday, hour, minute)), Some(next), "{hour}:{minute}");
            }
        }
    }

    #[test]
    fn the_last_slot_of_a_week_holds_until_the_first_of_the_next() {
        let bandwidth = bandwidth(WEEK);
        for (weekday, hour, minute, limit, next) in [
            (Weekday::Monday, 7, 59, None, 1),
            (Weekday::Monday, 8, 0, Some(512 << 10), 4 * 1440 + 600),
            (Weekday::Friday, 17, 59, Some(512 << 10), 1),
            (Weekday::Saturday, 20, 0, Some(10 << 20), 1440),
            (Weekday::Sunday, 20, 0, None, 720),
        ] {
            assert_eq!(bandwidth.limit_at(moment(weekday, hour, minute)), limit, "{weekday:?} {hour}:{minute}");
            assert_eq!(bandwidth.next_change(moment(weekday, hour, minute)), Some(next), "{weekday:?} {hour}:{minute}");
        }
    }

    #[test]
    fn a_weekday_makes_an_exception() {
        let bandwidth = bandwidth("Sun-12:00,off 12:00,1M 20:00,2M");
        assert_eq!(bandwidth.limit_at(moment(Weekday::Saturday, 12, 0)), Some(1 << 20));
        assert_eq!(bandwidth.limit_at(moment(Weekday::Sunday, 12, 0)), None);
        assert_eq!(bandwidth.limit_at(moment(Weekday::Sunday, 20, 0)), Some(2 << 20));
        // Midnight brings no change.
        assert_eq!(bandwidth.next_change(moment(Weekday::Sunday, 20, 0)), Some(16 * 60));
    }

    #[test]
    fn a_slot_that_changes_nothing_is_no_change() {
        let bandwidth = bandwidth("08:00,1M 12:00,1024k 18:00,off");
        assert_eq!(bandwidth.next_change(moment(Weekday::Monday, 8, 0)), Some(600));
        assert_eq!(Bandwidth::parse("08:00,1M").unwrap().next_change(moment(Weekday::Monday, 3, 0)), None);
    }

    #[test]
    fn a_bandwidth_is_shown_as_it_was_written() {
        for text in ["2M", "off", WORKDAY, WEEK, "monday-8:00,1.5MiB/s Tue-00:00,Off"] {
            assert_eq!(bandwidth(text).to_string(), text);
        }
        assert_eq!(bandwidth("  08:00,1M;  18:00,off\n").to_string(), "08:00,1M 18:00,off");
    }

    #[test]
    fn what_cannot_be_read_says_what_to_write_instead() {
        for (text, remedy) in [
            ("", "write one such as `2M`"),
            (" ; ", "write one such as `2M`"),
            ("fast", "such as `512k`"),
            ("2X", "such as `512k`"),
            ("2iB", "such as `512k`"),
            ("-2M", "such as `512k`"),
            ("2,5M", "`00:00` to `23:59`"),
            ("1.M", "such as `512k`"),
            (".5M", "such as `512k`"),
            ("1.2.3M", "such as `512k`"),
            ("10M:1M", "such as `512k`"),
            ("99999999999G", "such as `512k`"),
            ("512", "write `512k` for 512 KiB per second, or `512B` for 512 bytes per second"),
            ("0", "write `off`"),
            ("0M", "write `off`"),
            ("0.1B", "write `off`"),
            ("16Mb", "divide it by 8"),
            ("16Mbit/s", "divide it by 8"),
            ("16mbps", "divide it by 8"),
            ("2M 3M", "write a time and a limit, as in `08:00,512k`"),
            ("08:00,1M 2M", "write a time and a limit, as in `08:00,512k`"),
            ("24:00,1M", "`00:00` to `23:59`"),
            ("8:5,1M", "`00:00` to `23:59`"),
            ("0800,1M", "`00:00` to `23:59`"),
            ("+8:00,1M", "`00:00` to `23:59`"),
            ("Mo-08:00,1M", "write `Mon`"),
            ("Mon-08:00,1M Monday-8:00,2M", "leave one of the two limits out"),
            ("08:00,1M 08:00,2M", "leave one of the two limits out"),
        ] {
            assert!(complaint(text).contains(remedy), "{text}: {}", complaint(text));
        }
    }

    #[test]
    fn the_moment_is_that_of_the_place() {
        // 1970-01-01 was a Thursday, 2026-11-22 a Sunday.
        for (seconds, offset, expected) in [
            (0, 0, moment(Weekday::Thursday, 0, 0)),
            (0, -60, moment(Weekday::Wednesday, 23, 59)),
            (-1, 0, moment(Weekday::Wednesday, 23, 59)),
            (1_795_331_700, 0, moment(Weekday::Sunday, 7, 15)),
            (1_795_331_700, 3600, moment(Weekday::Sunday, 8, 15)),
            (1_795_331_700, -8 * 3600, moment(Weekday::Saturday, 23, 15)),
            (1_795_331_700, 20_700, moment(Weekday::Sunday, 13, 0)),
            (1_795_331_700, 17 * 3600, moment(Weekday::Monday, 0, 15)),
        ] {
            assert_eq!(LocalMoment::at(Timestamp(seconds * 1000), offset), expected, "{seconds} {offset}");
        }
        LocalMoment::at(Timestamp(i64::MIN), i32::MIN);
        LocalMoment::at(Timestamp(i64::MAX), i32::MAX);
        assert_eq!(LocalMoment::new(Weekday::Monday, 1440), None);
    }

    proptest! {
        #[test]
        fn the_limit_is_that_of_the_slot_that_began_last(
            slots in proptest::collection::btree_map((0usize..8, 0u16..1440), 0u64..3, 1..12),
            weekday in 0usize..7,
            minute in 0u16..1440,
        ) {
            let word = |((day, at), limit): (&(usize, u16), &u64)| {
                let weekday = Weekday::ALL.get(*day).map_or(String::new(), |day| format!("{}-", day.as_str()));
                let limit = if *limit == 0 { "off".to_owned() } else { format!("{limit}k") };
                format!("{weekday}{:02}:{:02},{limit}", at / 60, at % 60)
            };
            let bandwidth = bandwidth(&slots.iter().map(word).collect::<Vec<_>>().join(" "));
            let at = |back: u16| {
                let minute = (weekday as u16 * 1440 + minute + MINUTES_OF_WEEK - back) % MINUTES_OF_WEEK;
                LocalMoment::new(Weekday::ALL[usize::from(minute / 1440)], minute % 1440).unwrap()
            };
            // Back from that minute until one where a slot begins: on that weekday, or on every day.
            let began = (0..MINUTES_OF_WEEK).find_map(|back| {
                let LocalMoment { weekday, minute_of_day } = at(back);
                slots.get(&(weekday as usize, minute_of_day)).or(slots.get(&(7, minute_of_day)))
            });
            let limit = began.filter(|limit| **limit > 0).map(|limit| limit << 10);
            prop_assert_eq!(bandwidth.limit_at(at(0)), limit);
            let ahead = |minutes: u16| bandwidth.limit_at(at(MINUTES_OF_WEEK - minutes));
            let change = (1..MINUTES_OF_WEEK).find(|minutes| ahead(*minutes) != limit);
            prop_assert_eq!(bandwidth.next_change(at(0)), change);
        }

        #[test]
        fn no_text_is_too_much(text in "[0-9:,;.MonkMGiB/s \\-]{0,40}|\\PC{0,20}") {
            if let Ok(bandwidth) = Bandwidth::parse(&text) {
                prop_assert_eq!(Bandwidth::parse(&bandwidth.to_string()), Ok(bandwidth));
            }
        }
    }
}
