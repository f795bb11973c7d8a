//! The `Range` header, as far as it is honoured: one range of bytes.

/// What a request asks for of `size` bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// No range, or one that is to be ignored (another unit, several ranges, nonsense).
    All,
    /// From `start` up to but not including `end`; never empty.
    Slice { start: u64, end: u64 },
    /// A range that lies outside.
    Outside,
}

impl Wanted {
    pub(crate) fn parse(header: Option<&str>, size: u64) -> Self {
        let Some(range) = header.and_then(|text| text.trim().strip_prefix("bytes=")) else { return Self::All };
        let Some((first, last)) = range.trim().split_once('-') else { return Self::All };
        match (number(first), number(last)) {
            (Ok(None), Ok(Some(0))) => Self::Outside,
            (Ok(None), Ok(Some(length))) => Self::Slice { start: size.saturating_sub(length), end: size },
            (Ok(Some(start)), Ok(last)) => match last {
                Some(last) if last < start => Self::All,
                _ if start >= size => Self::Outside,
                last => Self::Slice { start, end: last.map_or(size, |last| last.saturating_add(1).min(size)) },
            },
            _ => Self::All,
        }
    }
}

/// `None` for nothing at all.
fn number(text: &str) -> Result<Option<u64>, ()> {
    match text {
        "" => Ok(None),
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => Ok(Some(digits.parse().unwrap_or(u64::MAX))),
        _ => Err(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_rfc_9110_says() {
        let slice = |start, end| Wanted::Slice { start, end };
        let cases = [
            (None, Wanted::All),
            (Some("bytes=0-0"), slice(0, 1)),
            (Some("bytes=2-4"), slice(2, 5)),
            (Some("bytes=2-"), slice(2, 10)),
            (Some("bytes=2-99999999999999999999999"), slice(2, 10)),
            (Some("bytes=-3"), slice(7, 10)),
            (Some("bytes=-30"), slice(0, 10)),
            (Some("bytes=-0"), Wanted::Outside),
            (Some("bytes=10-"), Wanted::Outside),
            (Some("bytes=10-12"), Wanted::Outside),
            (Some("bytes=4-2"), Wanted::All),
            (Some("bytes=0-1,3-4"), Wanted::All),
            (Some("bytes=-"), Wanted::All),
            (Some("bytes=+1-2"), Wanted::All),
            (Some("items=0-1"), Wanted::All),
        ];
        for (header, wanted) in cases {
            assert_eq!(Wanted::parse(header, 10), wanted, "{header:?}");
        }
    }
}
