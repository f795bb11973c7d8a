//! Attachments as XMTP's clients exchange them: one encrypted payload on any server, and a message with its keys.
//!
//! A file becomes an *attachment*: an [`AttachmentHeader`] with its name and kind, and behind it the bytes of the file,
//! which together are one `EncodedContent`. A [`PayloadSealer`] turns it into the *payload* with AES-256-GCM, in one
//! pass and constant memory, under [`AttachmentSecrets`] drawn for it alone, and computes the payload's
//! [`ContentDigest`] on the way. The payload is uploaded as it is; how long it will be is known beforehand. Who may see
//! it gets a message: one [`RemoteAttachment`], or several in a [`MultiRemoteAttachment`], each with a URL, the digest
//! and the secrets.
//!
//! The other side tells by [`Content::decode`] what a message is, downloads the payload and gives it piece by piece to
//! an [`AttachmentOpener`]. What comes out is [`Unverified`]: it is written to a staging file, and only when
//! [`AttachmentOpener::finish`] has verified the digest and the tag is that file given its place. There is one tag at
//! the very end, so nothing before it can be trusted.
//!
//! The formats are those of XIP-17, XIP-18 and XIP-50 as the published clients implement them; where the texts and the
//! clients differ, the clients count. The key comes from the secret by HKDF (RFC 5869), the cipher is GCM (NIST
//! SP 800-38D).
//!
//! # What must not be done twice
//! One set of secrets seals *one* content. A source that changed between two sealings under the same secrets would give
//! the key stream away, and with it both contents. So a sealing that is repeated, because the first was interrupted,
//! gets new secrets, unless no byte of the first has left the device. Once the message may have been sent neither the
//! secrets nor the payload change any more: receivers would see a second message.
//!
//! # Example
//! ```
//! use landfall_crypto::xmtp::{
//!     AttachmentHeader, AttachmentOpener, AttachmentSecrets, Content, PAYLOAD_LEN_MAX, PayloadSealer,
//!     RemoteAttachment,
//! };
//!
//! let secrets = AttachmentSecrets::new([1; 32], [2; 32], [3; 12]); // drawn, in earnest
//! let header = AttachmentHeader::new("a.txt", "text/plain", 5)?;
//! let (mut sealer, mut payload) = PayloadSealer::of_attachment(&secrets, &header);
//! let mut piece = *b"hello";
//! sealer.update(&mut piece)?;
//! payload.extend_from_slice(&piece);
//! let (tag, digest) = sealer.finish()?;
//! payload.extend_from_slice(&tag);
//! assert_eq!(payload.len() as u64, header.payload_len());
//! let url = "https://example.org/a";
//! let message = RemoteAttachment::new(url, digest, secrets, header.payload_len(), "a.txt")?.encode()?;
//!
//! let Content::RemoteAttachment(remote) = Content::decode(&message)? else { panic!("another message") };
//! let mut opener = AttachmentOpener::new(remote.secrets(), *remote.digest(), PAYLOAD_LEN_MAX);
//! let mut staging = Vec::new();
//! for piece in payload.chunks_mut(7) {
//!     staging.extend_from_slice(opener.update(piece)?.for_staging());
//! }
//! let attachment = opener.finish()?; // from here on the staging file may be trusted
//! assert_eq!((attachment.filename.as_deref(), &staging[..]), (Some("a.txt"), &b"hello"[..]));
//!
//! payload[0] ^= 1;
//! let mut opener = AttachmentOpener::new(remote.secrets(), *remote.digest(), PAYLOAD_LEN_MAX);
//! opener.update(&mut payload)?;
//! assert!(opener.finish().is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod content;
mod content_type;
mod digest;
mod encoded_content;
mod gcm;
mod header;
mod multi;
mod open;
mod reader;
mod remote;
mod seal;
mod secrets;
mod wire;

pub use self::{
    content::{Content, MESSAGE_LEN_MAX, encode_text},
    content_type::ContentTypeId,
    digest::{ContentDigest, NotAContentDigest},
    encoded_content::ContentError,
    header::{AttachmentHeader, FILENAME_LEN_MAX, MIME_TYPE_LEN_MAX, NotWritable, PAYLOAD_LEN_MAX},
    multi::{ATTACHMENTS_MAX, MultiRemoteAttachment},
    open::{AttachmentOpener, PayloadError, PayloadOpener, Unverified},
    reader::{Attachment, AttachmentReader, HEADER_LEN_MAX},
    remote::{RemoteAttachment, URL_LEN_MAX},
    seal::{PLAIN_LEN_MAX, PayloadSealer, PayloadTooLong, SealError, TAG_LEN},
    secrets::{AttachmentSecrets, NotSecrets, SECRET_LEN_MAX},
};
