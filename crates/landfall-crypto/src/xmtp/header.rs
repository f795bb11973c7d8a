use super::{
    PLAIN_LEN_MAX, TAG_LEN,
    content_type::KnownType,
    encoded_content::{CONTENT, PARAMETERS, TYPE, put_parameter},
    wire::{put_bytes, put_bytes_key},
};

/// The longest file name that is written, in bytes. Readers take longer ones.
pub const FILENAME_LEN_MAX: usize = 1024;

/// The longest media type that is written, in bytes.
pub const MIME_TYPE_LEN_MAX: usize = 255;

/// The longest payload that a message can speak of: 4 GiB less one byte.
///
/// One message of several attachments has 32 bits for the length, and widely used clients read no more out of a message
/// of one either.
pub const PAYLOAD_LEN_MAX: u64 = u32::MAX as u64;

/// What stands before the bytes of a file in an attachment: its name, its kind and its length.
///
/// The content comes last, so that header and file are sealed in one pass, and lengths are known before the file is
/// read. The same arguments give the same bytes, in every release.
#[derive(Clone, PartialEq, Eq)]
pub struct AttachmentHeader {
    bytes: Vec<u8>,
    content_len: u64,
}

impl AttachmentHeader {
    /// Makes the header of a file of `content_len` bytes.
    ///
    /// `filename` is what receivers see, not a path. A file whose kind is not known is `application/octet-stream`.
    ///
    /// # Errors
    /// [`NotWritable`] says which of them to change.
    pub fn new(filename: &str, mime_type: &str, content_len: u64) -> Result<Self, NotWritable> {
        check_filename(filename)?;
        if mime_type.is_empty() || mime_type.len() > MIME_TYPE_LEN_MAX {
            return Err(NotWritable::MimeType(mime_type.len()));
        }
        let mut bytes = Vec::new();
        put_bytes(&mut bytes, TYPE, &KnownType::Attachment.write());
        put_parameter(&mut bytes, PARAMETERS, "filename", filename);
        put_parameter(&mut bytes, PARAMETERS, "mimeType", mime_type);
        put_bytes_key(&mut bytes, CONTENT, content_len);

        let payload_len = content_len.saturating_add(bytes.len() as u64 + TAG_LEN as u64);
        check_payload_len(payload_len)?;
        Ok(Self { bytes, content_len })
    }

    /// The header itself.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The length of the file.
    pub fn content_len(&self) -> u64 {
        self.content_len
    }

    /// The length of the header and the file, which is what is sealed.
    pub fn plain_len(&self) -> u64 {
        self.bytes.len() as u64 + self.content_len
    }

    /// The length of what is uploaded: [`plain_len`](Self::plain_len) and a tag of 16 bytes.
    pub fn payload_len(&self) -> u64 {
        self.plain_len() + TAG_LEN as u64
    }
}

impl std::fmt::Debug for AttachmentHeader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AttachmentHeader").field("content_len", &self.content_len).finish_non_exhaustive()
    }
}

/// Why something cannot be written. No other client could read it, so the argument is to be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotWritable {
    /// The file name has this many bytes. Shorten it, or give the file one.
    #[error("a file name in a message has 1 to {FILENAME_LEN_MAX} bytes, not {0}")]
    Filename(usize),
    /// The media type has this many bytes. Take `application/octet-stream`.
    #[error("a media type has 1 to {MIME_TYPE_LEN_MAX} bytes, not {0}")]
    MimeType(usize),
    /// The payload has, or would have, this many bytes. Send the file in some other way.
    #[error("a payload has {TAG_LEN} to {PAYLOAD_LEN_MAX} bytes, not {0}")]
    PayloadLen(u64),
    /// The attachment was read from a message that does not tell this. Find it out and make the attachment anew.
    #[error("the {0} of the attachment is not known")]
    Unknown(&'static str),
    /// The URL is too long, has blanks, or does not begin with `https://` and a host. Upload to a server with TLS.
    #[error(
        "the URL of a payload begins with `https://` and a host, and has no blanks and at most {max} bytes",
        max = super::URL_LEN_MAX
    )]
    Url,
    /// A message has this many attachments. Send several messages.
    #[error("a message has 1 to {max} attachments, not {0}", max = super::ATTACHMENTS_MAX)]
    Count(usize),
    /// The message would have this many bytes. Make it shorter.
    #[error("a message has at most {max} bytes, not {0}", max = super::MESSAGE_LEN_MAX)]
    MessageLen(usize),
}

pub(super) fn check_filename(filename: &str) -> Result<(), NotWritable> {
    let fits = !filename.is_empty() && filename.len() <= FILENAME_LEN_MAX;
    fits.then_some(()).ok_or(NotWritable::Filename(filename.len()))
}

pub(super) fn check_payload_len(payload_len: u64) -> Result<(), NotWritable> {
    let possible = (TAG_LEN as u64..=PAYLOAD_LEN_MAX).contains(&payload_len);
    possible.then_some(()).ok_or(NotWritable::PayloadLen(payload_len))
}

const _: () = assert!(PAYLOAD_LEN_MAX <= PLAIN_LEN_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_what_other_clients_write_before_the_content() {
        let header = AttachmentHeader::new("a.txt", "text/plain", 11).unwrap();
        assert_eq!(
            hex::encode(header.as_bytes()),
            "0a180a08786d74702e6f7267120a6174746163686d656e74180112110a0866696c656e616d651205612e7478\
             7412160a086d696d6554797065120a746578742f706c61696e220b"
        );
        assert_eq!((header.content_len(), header.plain_len(), header.payload_len()), (11, 82, 98));
    }

    #[test]
    fn a_payload_that_no_message_can_speak_of_is_refused_before_it_is_made() {
        let longest =
            u64::from(u32::MAX) - 16 - (AttachmentHeader::new("a", "b", 1 << 31).unwrap().plain_len() - (1 << 31));
        assert_eq!(AttachmentHeader::new("a", "b", longest).unwrap().payload_len(), PAYLOAD_LEN_MAX);
        for len in [longest + 1, 1 << 36, u64::MAX] {
            assert!(matches!(AttachmentHeader::new("a", "b", len), Err(NotWritable::PayloadLen(_))), "{len}");
        }
    }

    #[test]
    fn names_have_a_length() {
        let header = |filename: usize, mime_type: usize| {
            AttachmentHeader::new(&"n".repeat(filename), &"m".repeat(mime_type), 0).map(|_| ())
        };
        assert_eq!(header(FILENAME_LEN_MAX, MIME_TYPE_LEN_MAX), Ok(()));
        assert_eq!(header(0, 1), Err(NotWritable::Filename(0)));
        assert_eq!(header(FILENAME_LEN_MAX + 1, 1), Err(NotWritable::Filename(FILENAME_LEN_MAX + 1)));
        assert_eq!(header(1, 0), Err(NotWritable::MimeType(0)));
        assert_eq!(header(1, MIME_TYPE_LEN_MAX + 1), Err(NotWritable::MimeType(MIME_TYPE_LEN_MAX + 1)));
    }
}
