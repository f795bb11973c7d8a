use zeroize::Zeroizing;

use super::{
    ContentTypeId,
    content_type::KnownType,
    wire::{Fields, OTHER_KIND, Value, put_bytes},
};

/// A message as it travels: what it is, what is said about it, and its bytes. All of it is borrowed from the bytes
/// read, so no copy of a secret is left behind.
pub(super) struct EncodedContent<'a> {
    pub(super) content_type: ContentTypeId,
    parameters: Vec<(&'a str, &'a str)>,
    pub(super) fallback: Option<&'a str>,
    pub(super) content: &'a [u8],
}

impl<'a> EncodedContent<'a> {
    pub(super) fn read(message: &'a [u8]) -> Result<Self, ContentError> {
        let (mut content_type, mut parameters, mut fallback, mut content) = (None, Vec::new(), None, None);
        for field in Fields::of(message) {
            match field? {
                (TYPE, value) => once(&mut content_type, ContentTypeId::read(value.bytes()?)?)?,
                (PARAMETERS, value) => parameters.push(read_parameter(value.bytes()?)?),
                (FALLBACK, value) => fallback = Some(value.text()?),
                (CONTENT, value) => once(&mut content, value.bytes()?)?,
                (COMPRESSION, Value::Number(_)) => return Err(ContentError::Compressed),
                (COMPRESSION, _) => return Err(OTHER_KIND),
                _ => {}
            }
        }
        let content_type = content_type.ok_or(NO_TYPE)?;
        Ok(Self { content_type, parameters, fallback, content: content.unwrap_or_default() })
    }

    /// What is said about `name`. Of several that say it the last counts, as in every map of protobuf.
    pub(super) fn parameter(&self, name: &str) -> Option<&'a str> {
        self.parameters.iter().rev().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }
}

/// Begins a message of a known type. There is room for `len` more bytes, so that it is never moved and leaves no copy.
pub(super) fn start_message(known: KnownType, len: usize) -> Zeroizing<Vec<u8>> {
    let content_type = known.write();
    let mut message = Zeroizing::new(Vec::with_capacity(content_type.len() + 16 + len));
    put_bytes(&mut message, TYPE, &content_type);
    message
}

/// Writes one entry of a map of texts.
pub(super) fn put_parameter(out: &mut Vec<u8>, field: u32, name: &str, value: &str) {
    let mut entry = Zeroizing::new(Vec::with_capacity(name.len() + value.len() + 16));
    put_bytes(&mut entry, 1, name.as_bytes());
    put_bytes(&mut entry, 2, value.as_bytes());
    put_bytes(out, field, &entry);
}

/// Reads one entry of a map of texts. What is left out is empty.
pub(super) fn read_parameter(entry: &[u8]) -> Result<(&str, &str), ContentError> {
    let (mut name, mut text) = ("", "");
    for field in Fields::of(entry) {
        match field? {
            (1, value) => name = value.text()?,
            (2, value) => text = value.text()?,
            _ => {}
        }
    }
    Ok((name, text))
}

/// Takes a field that a message has once. Whoever reads a stream cannot take back what came first, so a second is
/// refused by everyone here.
pub(super) fn once<T>(place: &mut Option<T>, value: T) -> Result<(), ContentError> {
    if place.replace(value).is_some() { Err(TWICE) } else { Ok(()) }
}

/// Why the bytes of a message, or of an attachment, were not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContentError {
    /// The bytes are no message of this format. If they were authentic, their sender made them so; show that the
    /// message cannot be shown.
    #[error("not a message of this format: {0}")]
    Malformed(&'static str),
    /// Something has more than is read, so that nobody can make us take memory without end. Show that the message
    /// cannot be shown.
    #[error("{0} is more than a message may have")]
    TooLarge(&'static str),
    /// The content is compressed, which no attachment is. Ask the sender to send it again from another client.
    #[error("the content is compressed, which is not supported")]
    Compressed,
    /// The payload holds this instead of an attachment. A newer client may show it.
    #[error("the payload holds a content of type {0} and not an attachment")]
    OtherType(ContentTypeId),
    /// Something is missing in the message, or is not what it must be. Ask the sender to send it again.
    #[error("`{name}` of the message is not {expected}")]
    Parameter {
        /// What the message calls it.
        name: &'static str,
        /// What it must be.
        expected: &'static str,
    },
}

pub(super) const TYPE: u32 = 1;
pub(super) const PARAMETERS: u32 = 2;
pub(super) const FALLBACK: u32 = 3;
pub(super) const CONTENT: u32 = 4;
pub(super) const COMPRESSION: u32 = 5;
pub(super) const NO_TYPE: ContentError = ContentError::Malformed("it does not say what it is");
pub(super) const TWICE: ContentError = ContentError::Malformed("it has two types or two contents");
