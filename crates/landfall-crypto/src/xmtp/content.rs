use super::{
    Attachment, ContentError, ContentTypeId, MultiRemoteAttachment, NotWritable, RemoteAttachment,
    content_type::KnownType,
    encoded_content::{CONTENT, EncodedContent, PARAMETERS, put_parameter, start_message},
    remote::Urls,
    wire::put_bytes,
};

/// The longest message that is read or written: 1 MiB.
pub const MESSAGE_LEN_MAX: usize = 1 << 20;

/// What a message is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Content {
    /// A text.
    Text(String),
    /// A small file inside the message itself.
    Attachment {
        /// What is said about it.
        attachment: Attachment,
        /// Its bytes.
        content: Vec<u8>,
    },
    /// Where a payload lies, and what opens it.
    RemoteAttachment(RemoteAttachment),
    /// The same of several payloads.
    MultiRemoteAttachment(MultiRemoteAttachment),
    /// Something that is not read here.
    Other {
        /// What it is.
        content_type: ContentTypeId,
        /// What its sender wants to be shown instead.
        fallback: Option<String>,
    },
}

impl Content {
    /// Tells what a message is, from the whole of its `EncodedContent`.
    ///
    /// # Errors
    /// [`ContentError`] if it is longer than [`MESSAGE_LEN_MAX`], or is of a type that is read here and cannot be read.
    /// A message of another type is not an error.
    pub fn decode(message: &[u8]) -> Result<Self, ContentError> {
        Self::read(message, Urls::Https)
    }

    /// As [`decode`](Self::decode), and takes URLs that [`RemoteAttachment::on_loopback`] takes as well. It is for
    /// tests against a server on the same machine: in a message of another person's such a URL would reach into this
    /// machine.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn decode_on_loopback(message: &[u8]) -> Result<Self, ContentError> {
        Self::read(message, Urls::LoopbackToo)
    }

    fn read(message: &[u8], urls: Urls) -> Result<Self, ContentError> {
        if message.len() > MESSAGE_LEN_MAX {
            return Err(ContentError::TooLarge("the length of the message"));
        }
        let encoded = EncodedContent::read(message)?;
        Ok(match encoded.content_type.known() {
            Some(KnownType::Text) => Self::Text(read_text(&encoded)?),
            Some(KnownType::Attachment) => read_attachment(&encoded),
            Some(KnownType::RemoteAttachment) => Self::RemoteAttachment(RemoteAttachment::read(&encoded, urls)?),
            Some(KnownType::MultiRemoteAttachment) => {
                Self::MultiRemoteAttachment(MultiRemoteAttachment::read(encoded.content, urls)?)
            }
            None => {
                let fallback = encoded.fallback.map(str::to_owned);
                Self::Other { content_type: encoded.content_type, fallback }
            }
        })
    }
}

/// Writes a text as a message.
///
/// # Errors
/// [`NotWritable::MessageLen`] if the message would be longer than [`MESSAGE_LEN_MAX`].
pub fn encode_text(text: &str) -> Result<Vec<u8>, NotWritable> {
    let mut message = start_message(KnownType::Text, text.len() + 64);
    put_parameter(&mut message, PARAMETERS, ENCODING, UTF_8);
    put_bytes(&mut message, CONTENT, text.as_bytes());
    check_message_len(&message)?;
    Ok(std::mem::take(&mut *message))
}

pub(super) fn check_message_len(message: &[u8]) -> Result<(), NotWritable> {
    if message.len() > MESSAGE_LEN_MAX { Err(NotWritable::MessageLen(message.len())) } else { Ok(()) }
}

fn read_text(encoded: &EncodedContent<'_>) -> Result<String, ContentError> {
    if encoded.parameter(ENCODING).unwrap_or(UTF_8) != UTF_8 {
        return Err(ContentError::Parameter { name: ENCODING, expected: UTF_8 });
    }
    let text = str::from_utf8(encoded.content).map_err(|_| ContentError::Malformed("a text is not UTF-8"))?;
    Ok(text.to_owned())
}

fn read_attachment(encoded: &EncodedContent<'_>) -> Content {
    let said = |name| encoded.parameter(name).map(str::to_owned);
    let content_len = encoded.content.len() as u64;
    let attachment = Attachment { filename: said("filename"), mime_type: said("mimeType"), content_len };
    Content::Attachment { attachment, content: encoded.content.to_vec() }
}

const ENCODING: &str = "encoding";
const UTF_8: &str = "UTF-8";
