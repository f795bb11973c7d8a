//! The forms in which S3 writes time.

use std::time::{Duration, SystemTime};

use landfall_images::CivilDateTime;

/// `20130524T000000Z`, as in signatures. The first eight are the day.
pub(super) fn basic(moment_ms: i64) -> String {
    let (year, month, day) = civil(moment_ms).date();
    let (hour, minute, second) = civil(moment_ms).time();
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// `2013-05-24T00:00:00.000Z`, as in XML.
pub(super) fn extended(moment_ms: i64) -> String {
    format!("{}.{:03}Z", civil(moment_ms), moment_ms.rem_euclid(1000))
}

/// `Fri, 24 May 2013 00:00:00 GMT`, as in headers.
pub(super) fn http(moment_ms: i64) -> String {
    let since = Duration::from_millis(u64::try_from(moment_ms).expect("clocks of servers are set after 1970"));
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + since)
}

/// What [`basic`] writes, in Unix milliseconds.
pub(super) fn parse_basic(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let is_form = bytes.len() == 16 && bytes[8] == b'T' && bytes[15] == b'Z' && text.is_ascii();
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i16>().ok();
    let small = |from: usize| u8::try_from(number(from, from + 2)?).ok();
    let civil = CivilDateTime::new(number(0, 4)?, small(4)?, small(6)?, small(9)?, small(11)?, small(13)?)?;
    is_form.then(|| civil.unix_micros_as_if_utc() / 1000)
}

/// What [`http`] writes, in Unix milliseconds.
pub(super) fn parse_http(text: &str) -> Option<i64> {
    let since = httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok()
}

/// Whole seconds.
fn civil(moment_ms: i64) -> CivilDateTime {
    CivilDateTime::from_unix_micros(moment_ms.div_euclid(1000) * 1_000_000).expect("clocks show a year of four digits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_says_the_same_moment() {
        let moment_ms = 1_369_353_600_000;
        assert_eq!(basic(moment_ms), "20130524T000000Z");
        assert_eq!(extended(moment_ms + 7), "2013-05-24T00:00:00.007Z");
        assert_eq!(http(moment_ms), "Fri, 24 May 2013 00:00:00 GMT");
        assert_eq!((parse_basic(&basic(moment_ms)), parse_http(&http(moment_ms))), (Some(moment_ms), Some(moment_ms)));
        for text in ["", "20130524T000000", "2013-05-24T00:00Z", "20131324T000000Z", "20130524T000000é"] {
            assert_eq!(parse_basic(text), None, "{text}");
        }
    }
}
