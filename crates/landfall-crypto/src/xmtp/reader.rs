use std::mem;

use super::{
    ContentError, ContentTypeId, Unverified,
    content_type::KnownType,
    encoded_content::{COMPRESSION, CONTENT, NO_TYPE, PARAMETERS, TWICE, TYPE, once, read_parameter},
    wire::{CUT_OFF, FIELDS_MAX, Key, Kind, OTHER_KIND, Varint},
};

/// How many bytes of an attachment that are not its content are held at most: 64 KiB.
pub const HEADER_LEN_MAX: usize = 64 << 10;

/// Takes an attachment apart while it comes: the content is handed on, what is said about it is kept.
///
/// The pieces may be cut anywhere, and the fields may stand in any order. Fields that are not known are passed over.
/// What is held is never more than [`HEADER_LEN_MAX`], whatever lengths the bytes claim.
pub struct AttachmentReader {
    state: State,
    fields_left: usize,
    header_left: usize,
    content_type: Option<ContentTypeId>,
    filename: Option<String>,
    mime_type: Option<String>,
    content_len: Option<u64>,
}

/// What the next byte is.
enum State {
    Key(Varint),
    Number { field: u32, number: Varint },
    Length { field: u32, length: Varint },
    Skipped { left: u64 },
    Header { field: u32, left: usize, bytes: Vec<u8> },
    Content { left: u64 },
    Refused(ContentError),
}

impl AttachmentReader {
    /// Makes a reader that waits for the first byte.
    pub fn new() -> Self {
        Self {
            state: State::Key(Varint::default()),
            fields_left: FIELDS_MAX,
            header_left: HEADER_LEN_MAX,
            content_type: None,
            filename: None,
            mime_type: None,
            content_len: None,
        }
    }

    /// Reads the next piece, and gives what of it is content of the file: the whole piece, a part of it, or nothing.
    ///
    /// # Errors
    /// [`ContentError`] if this is not an attachment. Every later piece is refused for the same reason.
    pub fn update<'p>(&mut self, piece: Unverified<'p>) -> Result<Unverified<'p>, ContentError> {
        let (mut rest, mut content): (&[u8], &[u8]) = (piece.for_staging(), &[]);
        while !rest.is_empty() {
            let taken = match self.step(rest) {
                Ok(taken) => taken,
                Err(error) => {
                    self.state = State::Refused(error.clone());
                    return Err(error);
                }
            };
            let (bytes, behind) = rest.split_at(taken.len);
            if taken.is_content {
                content = bytes;
            }
            rest = behind;
        }
        Ok(Unverified::new(content))
    }

    /// Ends the attachment, and tells what was said about it.
    ///
    /// # Errors
    /// [`ContentError`] if it is not whole, or is not an attachment.
    pub fn finish(self) -> Result<Attachment, ContentError> {
        match self.state {
            State::Key(key) if key.is_new() => {}
            State::Refused(error) => return Err(error),
            _ => return Err(CUT_OFF),
        }
        self.content_type.ok_or(NO_TYPE)?;
        let content_len = self.content_len.unwrap_or(0);
        Ok(Attachment { filename: self.filename, mime_type: self.mime_type, content_len })
    }

    /// Takes a byte, or as many as belong to what is being read.
    fn step(&mut self, rest: &[u8]) -> Result<Taken, ContentError> {
        let mut taken = Taken { len: 1, is_content: false };
        match &mut self.state {
            State::Key(key) => {
                if let Some(key) = key.push(rest[0])? {
                    self.start_field(Key::parse(key)?)?;
                }
            }
            State::Number { field, number } => {
                if number.push(rest[0])?.is_some() {
                    if *field == COMPRESSION {
                        return Err(ContentError::Compressed);
                    }
                    self.end_field();
                }
            }
            State::Length { field, length } => {
                if let Some(len) = length.push(rest[0])? {
                    let field = *field;
                    self.start_bytes(field, len)?;
                }
            }
            State::Skipped { left } => {
                taken.len = take(left, rest);
                if *left == 0 {
                    self.end_field();
                }
            }
            State::Content { left } => {
                taken = Taken { len: take(left, rest), is_content: true };
                if *left == 0 {
                    self.end_field();
                }
            }
            State::Header { field, left, bytes } => {
                taken.len = rest.len().min(*left);
                bytes.extend_from_slice(&rest[..taken.len]);
                *left -= taken.len;
                if *left == 0 {
                    let (field, bytes) = (*field, mem::take(bytes));
                    self.end_header(field, &bytes)?;
                }
            }
            State::Refused(error) => return Err(error.clone()),
        }
        Ok(taken)
    }

    fn start_field(&mut self, key: Key) -> Result<(), ContentError> {
        self.fields_left = self.fields_left.checked_sub(1).ok_or(ContentError::TooLarge("the number of fields"))?;
        let kind_is_right = match key.field {
            TYPE | PARAMETERS | CONTENT => key.kind == Kind::Bytes,
            COMPRESSION => key.kind == Kind::Number,
            _ => true,
        };
        if !kind_is_right {
            return Err(OTHER_KIND);
        }
        self.state = match key.kind {
            Kind::Number => State::Number { field: key.field, number: Varint::default() },
            Kind::Bytes => State::Length { field: key.field, length: Varint::default() },
            Kind::Fixed(len) => State::Skipped { left: len },
        };
        Ok(())
    }

    fn start_bytes(&mut self, field: u32, len: u64) -> Result<(), ContentError> {
        self.state = match field {
            TYPE | PARAMETERS => {
                let held = usize::try_from(len).ok().filter(|&held| held <= self.header_left);
                let left = held.ok_or(ContentError::TooLarge("what is said about the content"))?;
                self.header_left -= left;
                State::Header { field, left, bytes: Vec::with_capacity(left) }
            }
            CONTENT => {
                once(&mut self.content_len, len)?;
                State::Content { left: len }
            }
            _ => State::Skipped { left: len },
        };
        match (len, field) {
            (0, TYPE | PARAMETERS) => self.end_header(field, &[]),
            (0, _) => {
                self.end_field();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn end_header(&mut self, field: u32, bytes: &[u8]) -> Result<(), ContentError> {
        if field == TYPE {
            let content_type = ContentTypeId::read(bytes)?;
            if self.content_type.is_some() {
                return Err(TWICE);
            }
            if content_type.known() != Some(KnownType::Attachment) {
                return Err(ContentError::OtherType(content_type));
            }
            self.content_type = Some(content_type);
        } else {
            match read_parameter(bytes)? {
                ("filename", filename) => self.filename = Some(filename.to_owned()),
                ("mimeType", mime_type) => self.mime_type = Some(mime_type.to_owned()),
                _ => {}
            }
        }
        self.end_field();
        Ok(())
    }

    fn end_field(&mut self) {
        self.state = State::Key(Varint::default());
    }
}

impl Default for AttachmentReader {
    fn default() -> Self {
        Self::new()
    }
}

/// What an attachment says about its content. Its sender said it: a name is shown, and never taken for a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The name of the file, which some clients leave out.
    pub filename: Option<String>,
    /// What kind of file it is said to be.
    pub mime_type: Option<String>,
    /// How many bytes the file has.
    pub content_len: u64,
}

/// How much of a piece was read, and whether it is content.
struct Taken {
    len: usize,
    is_content: bool,
}

fn take(left: &mut u64, rest: &[u8]) -> usize {
    let len = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
    *left -= len as u64;
    len
}
