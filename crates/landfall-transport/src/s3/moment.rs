//! Moments as S3 writes them: in signatures, in XML, in headers.

use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, header::DATE};
use landfall_core::{Code, Failure, Remedy, Timestamp};

/// A moment to the second, as a signature names it: `20130524T000000Z`.
pub(super) struct Stamp(String);

impl Stamp {
    /// The second that `now` is in.
    ///
    /// # Errors
    /// [`Code::ClockSkewed`] for a moment that no clock shows which was ever set.
    pub(super) fn of(now: Timestamp) -> Result<Self, Failure> {
        let seconds = now.0.div_euclid(1000);
        let (year, month, day) = civil(seconds.div_euclid(86_400));
        if !(2000..=9999).contains(&year) {
            let why = "the clock of this device is not set; set it, for signed requests carry the time";
            return Err(Failure::new(Remedy::Block, Code::ClockSkewed, why));
        }
        let second = seconds.rem_euclid(86_400);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        Ok(Self(format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")))
    }

    /// The moment.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The day: `20130524`.
    pub(super) fn day(&self) -> &str {
        &self.0[..8]
    }
}

/// When an answer was made, by the clock of whoever made it, if it says so (RFC 9110, section 6.6.1).
pub fn date(headers: &HeaderMap) -> Option<Timestamp> {
    http_date(headers.get(DATE)?.to_str().ok()?)
}

/// A moment of a header: `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(super) fn http_date(text: &str) -> Option<Timestamp> {
    let since: Duration = httpdate::parse_http_date(text.trim()).ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(Timestamp(i64::try_from(since.as_millis()).ok()?))
}

/// A moment of an XML text, `2009-10-12T17:50:30.000Z`, or of a signature, `20091012T175030Z`.
pub(super) fn iso(text: &str) -> Option<Timestamp> {
    let (day, time) = text.trim().strip_suffix('Z')?.split_once('T')?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let (day, time) = (day.replace('-', ""), time.replace(':', ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if day.len() != 8 || time.len() != 6 || ![&day, &time, fraction].into_iter().all(is_number) {
        return None;
    }
    let number = |text: &str| text.parse::<i64>().ok();
    let (year, month, day) = (number(&day[..4])?, number(&day[4..6])?, number(&day[6..])?);
    let (hour, minute, second) = (number(&time[..2])?, number(&time[2..4])?, number(&time[4..])?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let millis = number(&format!("{fraction:0<3}")[..3])?;
    let seconds = (days(year, month, day) * 24 + hour) * 3600 + minute * 60 + second;
    Some(Timestamp(seconds * 1000 + millis))
}

/// Year, month and day of a day counted from 1970-01-01. Years begin in March here, so that a leap day is their last.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + DAYS_BEFORE_EPOCH;
    let era = days.div_euclid(DAYS_PER_ERA);
    let of_era = days.rem_euclid(DAYS_PER_ERA);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

/// The inverse of [`civil`].
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * DAYS_PER_ERA + year * 365 + year / 4 - year / 100 + of_year - DAYS_BEFORE_EPOCH
}

/// 400 years of the Gregorian calendar.
const DAYS_PER_ERA: i64 = 146_097;
/// From the first of March of the year 0 to 1970-01-01.
const DAYS_BEFORE_EPOCH: i64 = 719_468;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_moment_is_written_and_read() {
        let moment = Timestamp(1_369_353_600_999);
        assert_eq!(Stamp::of(moment).unwrap().as_str(), "20130524T000000Z");
        assert_eq!(Stamp::of(moment).unwrap().day(), "20130524");
        assert_eq!(iso("2013-05-24T00:00:00.999Z"), Some(moment));
        assert_eq!(iso("20130524T000000Z"), Some(Timestamp(1_369_353_600_000)));
        assert_eq!(iso("2013-05-24T00:00:00.9Z"), Some(Timestamp(1_369_353_600_900)));
        assert_eq!(iso("2013-05-24T00:00:00.123456789Z"), Some(Timestamp(1_369_353_600_123)));
        assert_eq!(http_date("Fri, 24 May 2013 00:00:00 GMT"), Some(Timestamp(1_369_353_600_000)));
        for torn in ["", "Z", "2013-05-24", "2013-13-01T00:00:00Z", "2013-05-24T25:00:00Z", "+013-05-24T00:00:00Z", "ä"]
        {
            assert_eq!(iso(torn), None, "{torn}");
        }
    }

    #[test]
    fn a_clock_that_was_never_set_signs_nothing() {
        for moment in [0, -1, i64::MIN, i64::MAX, 253_402_300_800_000] {
            assert_eq!(Stamp::of(Timestamp(moment)).map(drop).unwrap_err().code, Code::ClockSkewed, "{moment}");
        }
    }

    proptest! {
        #[test]
        fn every_second_is_read_as_it_was_written(seconds in 946_684_800i64..253_402_300_800) {
            let stamp = Stamp::of(Timestamp(seconds * 1000)).unwrap();
            prop_assert_eq!(iso(stamp.as_str()), Some(Timestamp(seconds * 1000)));
            let http = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds.unsigned_abs()));
            prop_assert_eq!(http_date(&http), Some(Timestamp(seconds * 1000)));
            let day = format!("{}-{}-{}", &stamp.day()[..4], &stamp.day()[4..6], &stamp.day()[6..]);
            prop_assert_eq!(iso(&format!("{day}T00:00:00Z")).unwrap().0, seconds / 86_400 * 86_400_000);
        }
    }
}
