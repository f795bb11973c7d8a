//! Sizes, durations, moments and paths as people read and write them.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

/// `34.5 MB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A size that [`parse_size`] reads as the same: `10M`, `1536k`, or bytes.
pub(crate) fn exact_size(bytes: u64) -> String {
    let units = [(30, "G"), (20, "M"), (10, "k")];
    let fitting = units.into_iter().find(|(shift, _)| bytes > 0 && bytes.trailing_zeros() >= *shift);
    fitting.map_or_else(|| bytes.to_string(), |(shift, unit)| format!("{}{unit}", bytes >> shift))
}

/// Reads `10M`, `1.5G`, `512k` or a bare number of bytes; a unit is 1024 of the one before.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    const WRONG: &str = "write a size like `10M`, `512k` or `1.5G`";
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim().trim_end_matches("iB").trim_end_matches('B') {
        "" => 1,
        "k" | "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return Err(WRONG.to_owned()),
    };
    let bytes = number.parse::<f64>().map_err(|_| WRONG.to_owned())? * factor as f64;
    if bytes < (1u64 << 53) as f64 { Ok(bytes as u64) } else { Err("this size is too large".to_owned()) }
}

/// `3.2 s`, `4 min 5 s`, `2 h 3 min`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{:.1} s", duration.as_secs_f64()),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// `1 file`, `2 files`.
pub(crate) fn count(number: u64, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

/// Reads `28s`, `1.5m`, `2h`, `500ms`, or a bare number of seconds.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim() {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err("write a time like `28s`, `5m` or `2h`".to_owned()),
    };
    let number: f64 = number.parse().map_err(|_| "write a time like `28s`, `5m` or `2h`".to_owned())?;
    Duration::try_from_secs_f64(number * factor).map_err(|_| "this time is too long".to_owned())
}

/// Milliseconds since the epoch as `2024-05-06T07:08:09.123Z`.
pub(crate) fn moment(unix_ms: i64) -> String {
    let (days, ms) = (unix_ms.div_euclid(86_400_000), unix_ms.rem_euclid(86_400_000));
    // Days to a civil date by eras of 400 years that begin in March.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{:03}Z", ms % 1000)
}

/// A path as a terminal may show it: control characters are escaped, so that a name cannot move the cursor.
pub(crate) fn path(bytes: &[u8]) -> String {
    text(&String::from_utf8_lossy(bytes))
}

/// A text as a terminal may show it. What turns the direction of writing around is shown as well: it could make a text
/// look like another.
pub(crate) fn text(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Puts a path into a JSON object: as text under `name`, and as base64url beside it if it is no UTF-8.
pub(crate) fn put_path(object: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    object.insert(name.to_owned(), String::from_utf8_lossy(bytes).into());
    if std::str::from_utf8(bytes).is_err() {
        object.insert(format!("{name}_b64"), URL_SAFE_NO_PAD.encode(bytes).into());
    }
}

/// Several paths, as [`put_path`] puts one.
pub(crate) fn put_paths(object: &mut Map<String, Value>, name: &str, paths: &[Vec<u8>]) {
    let shown: Vec<Value> = paths.iter().map(|path| String::from_utf8_lossy(path).into()).collect();
    object.insert(name.to_owned(), shown.into());
    if paths.iter().any(|path| std::str::from_utf8(path).is_err()) {
        let coded: Vec<Value> = paths.iter().map(|path| URL_SAFE_NO_PAD.encode(path).into()).collect();
        object.insert(format!("{name}_b64"), coded.into());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{duration, moment, parse_duration, path, size};

    #[test]
    fn sizes_have_one_digit_after_the_point() {
        let shown: Vec<String> = [0, 999, 1000, 999_949, 999_950, 34_500_000].map(size).into();
        assert_eq!(shown, ["0 B", "999 B", "1.0 kB", "999.9 kB", "1.0 MB", "34.5 MB"]);
    }

    #[test]
    fn durations_are_read_and_shown() {
        assert_eq!(parse_duration("28s"), Ok(Duration::from_secs(28)));
        assert_eq!(parse_duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert!(parse_duration("soon").is_err());
        assert!(parse_duration("1e99h").is_err());
        assert_eq!(duration(Duration::from_millis(3240)), "3.2 s");
        assert_eq!(duration(Duration::from_secs(245)), "4 min 5 s");
    }

    #[test]
    fn moments_are_civil() {
        assert_eq!(moment(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(moment(951_827_696_789), "2000-02-29T12:34:56.789Z");
        assert_eq!(moment(-1), "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn a_name_cannot_move_the_cursor() {
        assert_eq!(path(b"a\x1b[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(path("photo\u{202e}gpj.exe".as_bytes()), "photo\\u{202e}gpj.exe");
    }
}
