use super::ContentError;

/// How many fields a message may have, so that one of nothing but empty fields costs little.
pub(super) const FIELDS_MAX: usize = 1024;

/// The fields of a message that is wholly in memory, in their order.
///
/// It ends after the first field that is not well formed.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
    left: usize,
}

/// What a field holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Four or eight bytes, which no field we know has.
    Fixed,
}

impl<'a> Fields<'a> {
    pub(super) fn of(message: &'a [u8]) -> Self {
        Self { rest: message, left: FIELDS_MAX }
    }

    fn field(&mut self) -> Result<(u32, Value<'a>), ContentError> {
        self.left = self.left.checked_sub(1).ok_or(ContentError::TooLarge("the number of fields"))?;
        let key = Key::parse(self.varint()?)?;
        let value = match key.kind {
            Kind::Number => Value::Number(self.varint()?),
            Kind::Bytes => {
                let len = self.varint()?;
                Value::Bytes(self.take(len)?)
            }
            Kind::Fixed(len) => {
                self.take(len)?;
                Value::Fixed
            }
        };
        Ok((key.field, value))
    }

    fn varint(&mut self) -> Result<u64, ContentError> {
        let mut varint = Varint::default();
        loop {
            let byte = self.take(1)?[0];
            if let Some(value) = varint.push(byte)? {
                return Ok(value);
            }
        }
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], ContentError> {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(CUT_OFF)?;
        self.rest = rest;
        Ok(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), ContentError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

impl<'a> Value<'a> {
    pub(super) fn bytes(self) -> Result<&'a [u8], ContentError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Number(_) | Self::Fixed => Err(OTHER_KIND),
        }
    }

    pub(super) fn text(self) -> Result<&'a str, ContentError> {
        str::from_utf8(self.bytes()?).map_err(|_| NOT_TEXT)
    }

    pub(super) fn number(self) -> Result<u64, ContentError> {
        match self {
            Self::Number(number) => Ok(number),
            Self::Bytes(_) | Self::Fixed => Err(OTHER_KIND),
        }
    }
}

/// What stands before every field: its number, and how its value is written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) field: u32,
    pub(super) kind: Kind,
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Number,
    Bytes,
    Fixed(u64),
}

impl Key {
    pub(super) fn parse(key: u64) -> Result<Self, ContentError> {
        let field = u32::try_from(key >> 3).ok().filter(|field| (1..1 << 29).contains(field));
        let field = field.ok_or(ContentError::Malformed("no field has this number"))?;
        let kind = match key & 7 {
            0 => Kind::Number,
            1 => Kind::Fixed(8),
            2 => Kind::Bytes,
            5 => Kind::Fixed(4),
            3 | 4 => return Err(ContentError::Malformed("it has a group")),
            _ => return Err(ContentError::Malformed("a value of no known kind")),
        };
        Ok(Self { field, kind })
    }
}

/// A number that is being read, seven bits from each byte, the lowest first.
#[derive(Debug, Default)]
pub(super) struct Varint {
    value: u64,
    bytes: u32,
}

impl Varint {
    /// Adds a byte, and gives the number if it was the last.
    pub(super) fn push(&mut self, byte: u8) -> Result<Option<u64>, ContentError> {
        let bits = u64::from(byte & 0x7f);
        let last = byte & 0x80 == 0;
        if self.bytes == 9 && (bits > 1 || !last) {
            return Err(ContentError::Malformed("a number of more than 64 bits"));
        }
        self.value |= bits << (7 * self.bytes);
        self.bytes += 1;
        Ok(last.then_some(self.value))
    }

    /// Whether no byte has come yet.
    pub(super) fn is_new(&self) -> bool {
        self.bytes == 0
    }
}

/// Writes a field that holds bytes, a text or another message.
pub(super) fn put_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    put_bytes_key(out, field, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Writes what stands before `len` bytes that are a field.
pub(super) fn put_bytes_key(out: &mut Vec<u8>, field: u32, len: u64) {
    put_varint(out, u64::from(field) << 3 | 2);
    put_varint(out, len);
}

/// Writes a field that holds a number.
pub(super) fn put_number(out: &mut Vec<u8>, field: u32, number: u64) {
    put_varint(out, u64::from(field) << 3);
    put_varint(out, number);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) const CUT_OFF: ContentError = ContentError::Malformed("it ends in the middle of a field");
pub(super) const OTHER_KIND: ContentError = ContentError::Malformed("a known field holds a value of another kind");
pub(super) const NOT_TEXT: ContentError = ContentError::Malformed("a text is not UTF-8");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        for number in [0, 1, 127, 128, 300, u64::from(u32::MAX), 1 << 63, u64::MAX] {
            let mut message = Vec::new();
            put_number(&mut message, 3, number);
            assert_eq!(read(&message), Ok(vec![(3, Value::Number(number))]));
        }
    }

    #[test]
    fn what_no_message_has_is_refused() {
        let refused: [(&[u8], &str); 12] = [
            (&[0x80], "it ends in the middle of a field"),
            (&[0x08], "it ends in the middle of a field"),
            (&[0x08, 0xff], "it ends in the middle of a field"),
            (&[0x0a, 0x02, 0x00], "it ends in the middle of a field"),
            (&[0x0d, 0, 0, 0], "it ends in the middle of a field"),
            (&[0x09, 0, 0, 0, 0, 0, 0, 0], "it ends in the middle of a field"),
            (&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], "it ends in the middle of a field"),
            (&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], "a number of more than 64 bits"),
            (
                &[0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00],
                "a number of more than 64 bits",
            ),
            (&[0x00], "no field has this number"),
            (&[0x0b, 0x0c], "it has a group"),
            (&[0x0e], "a value of no known kind"),
        ];
        for (message, reason) in refused {
            assert_eq!(read(message), Err(ContentError::Malformed(reason)), "{message:x?}");
        }
        assert_eq!(read(&[0x08, 0].repeat(FIELDS_MAX + 1)), Err(ContentError::TooLarge("the number of fields")));
        assert!(read(&[0x08, 0].repeat(FIELDS_MAX)).is_ok());
    }

    #[test]
    fn values_of_other_kinds_are_passed_over() {
        let message = [0x0d, 1, 2, 3, 4, 0x11, 1, 2, 3, 4, 5, 6, 7, 8, 0x1a, 1, 9];
        assert_eq!(read(&message), Ok(vec![(1, Value::Fixed), (2, Value::Fixed), (3, Value::Bytes(&[9]))]));
    }

    fn read(message: &[u8]) -> Result<Vec<(u32, Value<'_>)>, ContentError> {
        Fields::of(message).collect()
    }
}
