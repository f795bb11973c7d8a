//! How long a destination asks to be left alone.

use std::time::Duration;

use http::{
    HeaderMap,
    header::{DATE, HeaderName, RETRY_AFTER},
};

/// Nobody is believed who asks for more: a wrong clock or a wrong server would silence an upload for years.
pub(super) const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// The wait that `Retry-After` asks for, in seconds or as a date.
///
/// A date is held against the answer's own `Date`, so that our clock need not agree with the server's. Without one, or
/// if either cannot be read, nothing was asked.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let asked = text(headers, &RETRY_AFTER)?;
    let wait = if !asked.is_empty() && asked.bytes().all(|byte| byte.is_ascii_digit()) {
        // Digits alone fail to parse only when they are too many.
        Duration::from_secs(asked.parse().unwrap_or(u64::MAX))
    } else {
        let until = httpdate::parse_http_date(asked).ok()?;
        let now = httpdate::parse_http_date(text(headers, &DATE)?).ok()?;
        until.duration_since(now).unwrap_or(Duration::ZERO)
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn seconds_and_dates_are_understood_and_capped() {
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        for (asked, date, expected) in [
            ("0", None, Some(0)),
            ("120", None, Some(120)),
            (" 7 ", None, Some(7)),
            ("3601", None, Some(3600)),
            ("99999999999999999999999999", None, Some(3600)),
            ("-5", None, None),
            ("+5", None, None),
            ("1.5", None, None),
            ("soon", None, None),
            ("", None, None),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some(date), Some(30)),
            ("Sunday, 06-Nov-94 08:50:07 GMT", Some(date), Some(30)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(date), Some(0)),
            ("Mon, 07 Nov 1994 08:49:37 GMT", Some(date), Some(3600)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", None, None),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some("yesterday"), None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(asked));
            if let Some(date) = date {
                headers.insert(DATE, HeaderValue::from_static(date));
            }
            assert_eq!(retry_after(&headers), expected.map(Duration::from_secs), "{asked:?} at {date:?}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
