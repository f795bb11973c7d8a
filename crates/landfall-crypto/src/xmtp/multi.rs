use zeroize::Zeroizing;

use super::{
    ContentError, NotWritable, RemoteAttachment,
    content::check_message_len,
    content_type::KnownType,
    encoded_content::{CONTENT, FALLBACK, start_message},
    remote::{Parts, Urls},
    wire::{Fields, put_bytes, put_number},
};

/// How many attachments a message of several may have.
pub const ATTACHMENTS_MAX: usize = 128;

/// Several attachments in one message. Each has a payload and secrets of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultiRemoteAttachment(Vec<RemoteAttachment>);

impl MultiRemoteAttachment {
    /// Makes the message.
    ///
    /// # Errors
    /// [`NotWritable::Count`] if there is none, or there are more than [`ATTACHMENTS_MAX`].
    pub fn new(attachments: Vec<RemoteAttachment>) -> Result<Self, NotWritable> {
        let fits = (1..=ATTACHMENTS_MAX).contains(&attachments.len());
        if fits { Ok(Self(attachments)) } else { Err(NotWritable::Count(attachments.len())) }
    }

    /// The attachments, in the order of the message.
    pub fn attachments(&self) -> &[RemoteAttachment] {
        &self.0
    }

    /// Writes the message. The same attachments give the same bytes, in every release.
    ///
    /// # Errors
    /// [`NotWritable`] if the message would be too long, or as [`RemoteAttachment::encode`].
    pub fn encode(&self) -> Result<Zeroizing<Vec<u8>>, NotWritable> {
        let infos = self.0.iter().map(write_info).collect::<Result<Vec<_>, _>>()?;
        let mut content = Zeroizing::new(Vec::with_capacity(infos.iter().map(|info| info.len() + 16).sum()));
        infos.iter().for_each(|info| put_bytes(&mut content, INFO, info));

        let fallback = format!("These are {} attachments, which cannot be shown here.", self.0.len());
        let mut message = start_message(KnownType::MultiRemoteAttachment, content.len() + fallback.len() + 32);
        put_bytes(&mut message, FALLBACK, fallback.as_bytes());
        put_bytes(&mut message, CONTENT, &content);
        check_message_len(&message)?;
        Ok(message)
    }

    pub(super) fn read(content: &[u8], urls: Urls) -> Result<Self, ContentError> {
        let mut attachments = Vec::new();
        for field in Fields::of(content) {
            if let (INFO, value) = field? {
                if attachments.len() == ATTACHMENTS_MAX {
                    return Err(ContentError::TooLarge("the number of attachments"));
                }
                attachments.push(read_info(value.bytes()?, urls)?);
            }
        }
        if attachments.is_empty() {
            return Err(ContentError::Malformed("it has no attachment"));
        }
        Ok(Self(attachments))
    }
}

/// Writes one attachment. Secrets, salt, nonce are bytes here, and digits in a message of one.
fn write_info(attachment: &RemoteAttachment) -> Result<Zeroizing<Vec<u8>>, NotWritable> {
    let (payload_len, filename) = attachment.known()?;
    let (url, secrets) = (attachment.url(), attachment.secrets());
    let room = url.len() + filename.len() + secrets.expose_secret().len() + 256;
    let mut info = Zeroizing::new(Vec::with_capacity(room));
    put_bytes(&mut info, DIGEST, attachment.digest().to_string().as_bytes());
    put_bytes(&mut info, SECRET, secrets.expose_secret());
    put_bytes(&mut info, NONCE, secrets.expose_nonce());
    put_bytes(&mut info, SALT, secrets.expose_salt());
    put_bytes(&mut info, SCHEME, attachment.scheme().as_bytes());
    put_bytes(&mut info, URL, url.as_bytes());
    put_number(&mut info, PAYLOAD_LEN, payload_len);
    put_bytes(&mut info, FILENAME, filename.as_bytes());
    Ok(info)
}

fn read_info(info: &[u8], urls: Urls) -> Result<RemoteAttachment, ContentError> {
    let mut parts = Parts { url: "", digest: "", secret: &[], salt: &[], nonce: &[] };
    let (mut scheme, mut payload_len, mut filename) = ("", None, None);
    for field in Fields::of(info) {
        match field? {
            (DIGEST, value) => parts.digest = value.text()?,
            (SECRET, value) => parts.secret = value.bytes()?,
            (NONCE, value) => parts.nonce = value.bytes()?,
            (SALT, value) => parts.salt = value.bytes()?,
            (SCHEME, value) => scheme = value.text()?,
            (URL, value) => parts.url = value.text()?,
            (PAYLOAD_LEN, value) => payload_len = Some(u32::try_from(value.number()?).map_err(|_| TOO_LONG)?),
            (FILENAME, value) => filename = Some(value.text()?),
            _ => {}
        }
    }
    parts.attachment(urls, scheme, payload_len.map(u64::from), filename)
}

const INFO: u32 = 1;

const DIGEST: u32 = 1;
const SECRET: u32 = 2;
const NONCE: u32 = 3;
const SALT: u32 = 4;
const SCHEME: u32 = 5;
const URL: u32 = 6;
const PAYLOAD_LEN: u32 = 7;
const FILENAME: u32 = 8;
const TOO_LONG: ContentError = ContentError::Parameter { name: "contentLength", expected: "a number of 32 bits" };
