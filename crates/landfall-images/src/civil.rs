use std::fmt;

/// A date and time as a clock on a wall shows it, without saying where the wall is.
///
/// Always a real moment of the calendar, in the years 1 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CivilDateTime {
    year: i16,
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
    microsecond: u32,
}

impl CivilDateTime {
    /// The moment with these parts, or `None` if the calendar has none.
    pub fn new(year: i16, month: u8, day: u8, hour: u8, minute: u8, second: u8) -> Option<Self> {
        let date_exists = (1..=9999).contains(&year) && day >= 1 && day <= days_in_month(year, month);
        let time_exists = hour < 24 && minute < 60 && second < 60;
        (date_exists && time_exists).then_some(Self { year, month, day, hour, minute, second, microsecond: 0 })
    }

    /// The same moment with a fraction of a second; a fraction of a second or more is ignored.
    pub fn with_microsecond(self, microsecond: u32) -> Self {
        if microsecond < 1_000_000 { Self { microsecond, ..self } } else { self }
    }

    /// What a wall clock in UTC shows at this Unix time.
    pub fn from_unix_micros(micros: i64) -> Option<Self> {
        let seconds = micros.div_euclid(1_000_000);
        let (days, second_of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (year, month, day) = date_of(days)?;
        let (hour, minute, second) = (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
        let civil = Self::new(year, month, day, hour as u8, minute as u8, second as u8)?;
        Some(civil.with_microsecond(micros.rem_euclid(1_000_000) as u32))
    }

    /// The Unix time at which a wall clock in UTC shows this.
    pub fn unix_micros_as_if_utc(self) -> i64 {
        let days = days_before(self.year, self.month, self.day);
        let seconds = days * 86_400 + i64::from(self.hour) * 3600 + i64::from(self.minute) * 60;
        (seconds + i64::from(self.second)) * 1_000_000 + i64::from(self.microsecond)
    }

    /// Reads `2021:02:03 04:05:06` as EXIF has it, or ISO 8601, with the offset if one follows.
    pub(crate) fn parse(text: &str) -> Option<(Self, Option<i16>)> {
        let mut rest = text.trim();
        let mut parts = [0u16; 6];
        for (index, part) in parts.iter_mut().enumerate() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            *part = rest[..digits].parse().ok()?;
            rest = &rest[digits..];
            // Between the parts stands one separator, whichever the writer liked; after the last may stand anything.
            if index < 5 {
                rest = rest.strip_prefix([':', '-', '/', '.', ' ', 'T'])?;
            }
        }
        let mut microsecond = 0;
        if let Some(fraction) = rest.strip_prefix('.') {
            let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
            microsecond = microseconds(&fraction[..digits]).unwrap_or(0);
            rest = &fraction[digits..];
        }
        let [month, day, hour, minute, second] = [1, 2, 3, 4, 5].map(|index| u8::try_from(parts[index]).ok());
        let year = i16::try_from(parts[0]).ok()?;
        // A leap second becomes the one before it: the calendar here has none.
        let second = second?.min(if second? == 60 { 59 } else { u8::MAX });
        let civil = Self::new(year, month?, day?, hour?, minute?, second)?;
        Some((civil.with_microsecond(microsecond), parse_offset(rest.trim())))
    }

    /// Year, month and day.
    pub fn date(self) -> (i16, u8, u8) {
        (self.year, self.month, self.day)
    }

    /// Hour, minute and second.
    pub fn time(self) -> (u8, u8, u8) {
        (self.hour, self.minute, self.second)
    }

    /// The fraction of the second.
    pub fn microsecond(self) -> u32 {
        self.microsecond
    }
}

/// ISO 8601, with a fraction only if there is one.
impl fmt::Display for CivilDateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { year, month, day, hour, minute, second, microsecond } = self;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if *microsecond != 0 {
            write!(f, ".{microsecond:06}")?;
        }
        Ok(())
    }
}

/// When a picture was taken: what the camera's clock showed, and where that clock was if the file says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TakenAt {
    /// What the clock on the wall showed there and then.
    pub local: CivilDateTime,
    /// How far that clock was ahead of UTC. Videos state UTC itself, which is 0; many cameras state nothing.
    pub offset_minutes: Option<i16>,
}

impl TakenAt {
    /// The Unix time, if the offset is known.
    pub fn unix_micros(self) -> Option<i64> {
        let offset = i64::from(self.offset_minutes?) * 60_000_000;
        Some(self.local.unix_micros_as_if_utc() - offset)
    }

    /// The Unix time, taking the local time for UTC where the offset is unknown: good for sorting, wrong by hours.
    pub fn unix_micros_or_as_if_utc(self) -> i64 {
        self.unix_micros().unwrap_or_else(|| self.local.unix_micros_as_if_utc())
    }
}

/// ISO 8601, with the offset only if it is known.
impl fmt::Display for TakenAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.local.fmt(f)?;
        if let Some(offset) = self.offset_minutes {
            let sign = if offset < 0 { '-' } else { '+' };
            write!(f, "{sign}{:02}:{:02}", offset.unsigned_abs() / 60, offset.unsigned_abs() % 60)?;
        }
        Ok(())
    }
}

/// Reads `+01:00`, `+0100`, `-08` or `Z` as minutes ahead of UTC.
pub(crate) fn parse_offset(text: &str) -> Option<i16> {
    let text = text.trim();
    if text == "Z" {
        return Some(0);
    }
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let digits: Vec<i16> = rest.bytes().filter(u8::is_ascii_digit).map(|digit| i16::from(digit - b'0')).collect();
    let (hours, minutes) = match digits[..] {
        [a, b] => (a * 10 + b, 0),
        [a, b, c, d] => (a * 10 + b, c * 10 + d),
        _ => return None,
    };
    (hours <= 15 && minutes < 60).then_some(sign * (hours * 60 + minutes))
}

/// Reads the digits after a decimal point of a second.
pub(crate) fn microseconds(digits: &str) -> Option<u32> {
    let digits = digits.trim();
    let kept = &digits[..digits.bytes().take(6).take_while(u8::is_ascii_digit).count()];
    let value: u32 = kept.parse().ok()?;
    Some(value * 10_u32.pow(6 - kept.len() as u32))
}

fn is_leap(year: i16) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(year: i16, month: u8) -> u8 {
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 0,
    }
}

/// Days from 1970-01-01 to this date. Years are counted from March, so that the leap day is the last of its year.
fn days_before(year: i16, month: u8, day: u8) -> i64 {
    let year = i64::from(year) - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let months_since_march = (i64::from(month) + 9) % 12;
    let day_of_year = (153 * months_since_march + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The date so many days after 1970-01-01: the inverse of [`days_before`].
fn date_of(days: i64) -> Option<(i16, u8, u8)> {
    let days = days.checked_add(719_468)?;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let months_since_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * months_since_march + 2) / 5 + 1;
    let month = (months_since_march + 2) % 12 + 1;
    let year = era.checked_mul(400)? + year_of_era + i64::from(month <= 2);
    Some((i16::try_from(year).ok()?, month as u8, day as u8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments_have_their_unix_time() {
        let seconds = |civil: CivilDateTime| civil.unix_micros_as_if_utc() / 1_000_000;
        assert_eq!(seconds(CivilDateTime::new(1970, 1, 1, 0, 0, 0).unwrap()), 0);
        assert_eq!(seconds(CivilDateTime::new(2000, 2, 29, 12, 0, 0).unwrap()), 951_825_600);
        assert_eq!(seconds(CivilDateTime::new(2021, 2, 3, 4, 5, 6).unwrap()), 1_612_325_106);
        assert_eq!(seconds(CivilDateTime::new(1904, 1, 1, 0, 0, 0).unwrap()), -2_082_844_800);
    }

    #[test]
    fn every_day_of_four_centuries_survives_the_round_trip() {
        for day in -100_000..100_000 {
            let micros = day * 86_400_000_000 + 1;
            let civil = CivilDateTime::from_unix_micros(micros).unwrap();
            assert_eq!(civil.unix_micros_as_if_utc(), micros, "{civil}");
        }
    }

    #[test]
    fn what_the_calendar_lacks_is_refused() {
        for (year, month, day) in [(2021, 2, 29), (1900, 2, 29), (2021, 13, 1), (2021, 0, 1), (2021, 4, 31), (0, 1, 1)]
        {
            assert_eq!(CivilDateTime::new(year, month, day, 0, 0, 0), None);
        }
        assert_eq!(CivilDateTime::new(2021, 1, 1, 24, 0, 0), None);
        assert_eq!(CivilDateTime::from_unix_micros(i64::MAX), None);
        assert_eq!(CivilDateTime::from_unix_micros(i64::MIN), None);
    }

    #[test]
    fn dates_are_read_as_cameras_and_phones_write_them() {
        let read = |text: &str| {
            CivilDateTime::parse(text).map(|(local, offset_minutes)| TakenAt { local, offset_minutes }.to_string())
        };
        assert_eq!(read("2021:02:03 04:05:06").as_deref(), Some("2021-02-03T04:05:06"));
        assert_eq!(read("2021-02-03T04:05:06.25+0530").as_deref(), Some("2021-02-03T04:05:06.250000+05:30"));
        assert_eq!(read(" 2021/02/03 04:05:60 Z ").as_deref(), Some("2021-02-03T04:05:59+00:00"));
        for nonsense in ["", "0000:00:00 00:00:00", "    :  :     :  :  ", "2021:02:30 04:05:06", "2021:02:03", "ä:"] {
            assert_eq!(read(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn offsets_and_fractions() {
        assert_eq!(parse_offset("-09:30"), Some(-570));
        assert_eq!(parse_offset("+99:00"), None);
        assert_eq!(parse_offset("   :  "), None);
        assert_eq!(microseconds("07"), Some(70_000));
        assert_eq!(microseconds("1234567"), Some(123_456));
        assert_eq!(microseconds(""), None);
    }

    #[test]
    fn the_offset_moves_the_instant() {
        let local = CivilDateTime::new(2021, 2, 3, 4, 5, 6).unwrap();
        let taken_at = TakenAt { local, offset_minutes: Some(-90) };
        assert_eq!(taken_at.unix_micros(), Some((1_612_325_106 + 5400) * 1_000_000));
        assert_eq!(taken_at.to_string(), "2021-02-03T04:05:06-01:30");
        let nowhere = TakenAt { local, offset_minutes: None };
        assert_eq!(nowhere.unix_micros(), None);
        assert_eq!(nowhere.unix_micros_or_as_if_utc(), 1_612_325_106_000_000);
    }
}
