use crate::CivilDateTime;

/// Reads the date that cameras, phones and messengers put into file names.
///
/// `IMG_20210203_040506.jpg`, `2021-02-03 04.05.06.jpg`, `Screenshot 2021-02-03 at 4.05.06 PM.png` and their like; a name
/// with only a date, as `IMG-20210203-WA0001.jpg`, gives midnight. A name made of the milliseconds since 1970
/// (`FB_IMG_1612325106000.jpg`) gives that moment in UTC. Only years from 1970 to 2099 count, so that few other numbers
/// look like a date.
pub fn date_from_name(file_name: &str) -> Option<CivilDateTime> {
    let name = &file_name.as_bytes()[..file_name.len().min(NAME_MAX)];
    let number_begins = |at: &usize| name[*at].is_ascii_digit() && (*at == 0 || !name[*at - 1].is_ascii_digit());
    let numbers = || (0..name.len()).filter(number_begins).map(|at| &name[at..]);
    numbers().find_map(dated).or_else(|| numbers().find_map(counted))
}

/// A date at the beginning of the text, and the time behind it if there is one.
fn dated(text: &[u8]) -> Option<CivilDateTime> {
    let digits = leading_digits(text);
    let (year, rest) = number(text, 4)?;
    let (month, day, rest) = match rest {
        [separator @ (b'-' | b'_' | b'.' | b':'), rest @ ..] if digits == 4 => {
            let (month, rest) = number(rest, 2)?;
            let (day, rest) = number(rest.strip_prefix(&[*separator])?, 2)?;
            (month, day, rest)
        }
        // Digits without a break are a date alone, or one with a time and perhaps its milliseconds.
        _ if digits == 8 || digits >= 14 => {
            let (month, rest) = number(rest, 2)?;
            let (day, rest) = number(rest, 2)?;
            (month, day, rest)
        }
        _ => return None,
    };
    if !(1970..=2099).contains(&year) {
        return None;
    }
    let at = |(hour, minute, second): (u16, u16, u16)| {
        CivilDateTime::new(year as i16, month as u8, day as u8, hour as u8, minute as u8, second as u8)
    };
    timed(rest).and_then(at).or_else(|| at((0, 0, 0)))
}

/// The time behind a date, across whatever stands between: hour, minute, second.
fn timed(text: &[u8]) -> Option<(u16, u16, u16)> {
    let between = text.iter().take(6).take_while(|byte| b" _-.,TatklUhr".contains(byte)).count();
    let text = &text[between..];
    if leading_digits(text) >= 6 {
        let (hour, rest) = number(text, 2)?;
        let (minute, rest) = number(rest, 2)?;
        let (second, _) = number(rest, 2)?;
        return Some((hour, minute, second));
    }
    let (hour, rest) = number(text, leading_digits(text).clamp(1, 2))?;
    let [separator @ (b'.' | b'-' | b':' | b'_' | b'h'), rest @ ..] = rest else { return None };
    let (minute, rest) = number(rest, 2)?;
    let with_second = rest.strip_prefix(&[*separator]).and_then(|rest| number(rest, 2));
    let (second, rest) = with_second.unwrap_or((0, rest));
    Some((in_24_hours(hour, rest), minute, second))
}

/// The hour, if `AM` or `PM` follows the time across a blank, which may be a narrow one of three bytes.
fn in_24_hours(hour: u16, rest: &[u8]) -> u16 {
    let blank = rest.iter().take_while(|byte| !byte.is_ascii_graphic()).count();
    let half = rest.get(blank..blank + 2).unwrap_or_default();
    match hour {
        12 if half.eq_ignore_ascii_case(b"am") => 0,
        1..=11 if half.eq_ignore_ascii_case(b"pm") => hour + 12,
        _ => hour,
    }
}

/// Thirteen digits: milliseconds since 1970.
fn counted(text: &[u8]) -> Option<CivilDateTime> {
    if leading_digits(text) != 13 {
        return None;
    }
    let milliseconds: i64 = std::str::from_utf8(&text[..13]).ok()?.parse().ok()?;
    let civil = CivilDateTime::from_unix_micros(milliseconds * 1000)?;
    // From 2001, when they first had thirteen digits.
    (2001..=2099).contains(&civil.date().0).then_some(civil)
}

fn leading_digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// So many digits as a number, and what follows them.
fn number(text: &[u8], digits: usize) -> Option<(u16, &[u8])> {
    let (number, rest) = text.split_at_checked(digits)?;
    let value = number.iter().try_fold(0, |value, byte| match byte {
        b'0'..=b'9' => Some(value * 10 + u16::from(byte - b'0')),
        _ => None,
    });
    Some((value?, rest))
}

/// No file system has longer names.
const NAME_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_devices_and_messengers_give_their_date() {
        let cases = [
            ("IMG_20210203_040506.jpg", "2021-02-03T04:05:06"),
            ("PXL_20210203_040506123.MP.jpg", "2021-02-03T04:05:06"),
            ("VID_20210203_040506.mp4", "2021-02-03T04:05:06"),
            ("20210203_040506.heic", "2021-02-03T04:05:06"),
            ("20210203040506.jpg", "2021-02-03T04:05:06"),
            ("2021-02-03 04.05.06.jpg", "2021-02-03T04:05:06"),
            ("2021-02-03 04.05.06-2.jpg", "2021-02-03T04:05:06"),
            ("2021_02_03_04_05_06.jpg", "2021-02-03T04:05:06"),
            ("2021-02-03T04:05:06+01:00.jpg", "2021-02-03T04:05:06"),
            ("Screenshot_2021-02-03-04-05-06-123_com.example.png", "2021-02-03T04:05:06"),
            ("Screenshot_20210203-040506_Photos.jpg", "2021-02-03T04:05:06"),
            ("Screenshot from 2021-02-03 04-05-06.png", "2021-02-03T04:05:06"),
            ("Screen Shot 2021-02-03 at 4.05.06 PM.png", "2021-02-03T16:05:06"),
            ("Screenshot 2021-02-03 at 12.05.06\u{202f}AM.png", "2021-02-03T00:05:06"),
            ("signal-2021-02-03-040506.jpg", "2021-02-03T04:05:06"),
            ("signal-2021-02-03-04-05-06-123.jpg", "2021-02-03T04:05:06"),
            ("WhatsApp Image 2021-02-03 at 04.05.06.jpeg", "2021-02-03T04:05:06"),
            ("photo_2021-02-03_04-05-06.jpg", "2021-02-03T04:05:06"),
            ("IMG-20210203-WA0001.jpg", "2021-02-03T00:00:00"),
            ("VID-20210203-WA0001.mp4", "2021-02-03T00:00:00"),
            ("2021-02-03.jpg", "2021-02-03T00:00:00"),
            ("2021-02-03-1.jpg", "2021-02-03T00:00:00"),
            ("20210203_996699.jpg", "2021-02-03T00:00:00"),
            ("FB_IMG_1612325106000.jpg", "2021-02-03T04:05:06"),
            ("mmexport1612325106000.jpg", "2021-02-03T04:05:06"),
        ];
        for (name, date) in cases {
            assert_eq!(date_from_name(name).map(|date| date.to_string()).as_deref(), Some(date), "{name}");
        }
    }

    #[test]
    fn other_numbers_are_no_date() {
        let names = [
            "",
            "IMG_2041.HEIC",
            "DSC01234.ARW",
            "20211399.jpg",
            "20210230.jpg",
            "18991231.jpg",
            "123456789.jpg",
            "2021-13-01.jpg",
            "2021-2.jpg",
            "é2021",
            "9999999999999.jpg",
            "2021-02.03.jpg",
        ];
        for name in names {
            assert_eq!(date_from_name(name), None, "{name}");
        }
    }
}
