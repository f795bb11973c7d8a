use std::fmt;

use super::{
    ContentError,
    wire::{Fields, put_bytes, put_number},
};

/// What a content is: who defined it, its name, and its version, as in `xmtp.org/text:1.0`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ContentTypeId {
    /// Who defined the type.
    pub authority_id: String,
    /// The name of the type.
    pub type_id: String,
    /// Raised when older readers cannot read it any more.
    pub version_major: u32,
    /// Raised when older readers still can.
    pub version_minor: u32,
}

impl ContentTypeId {
    pub(super) fn read(message: &[u8]) -> Result<Self, ContentError> {
        let mut id = Self { authority_id: String::new(), type_id: String::new(), version_major: 0, version_minor: 0 };
        for field in Fields::of(message) {
            match field? {
                (1, value) => id.authority_id = value.text()?.to_owned(),
                (2, value) => id.type_id = value.text()?.to_owned(),
                (3, value) => id.version_major = version(value.number()?)?,
                (4, value) => id.version_minor = version(value.number()?)?,
                _ => {}
            }
        }
        Ok(id)
    }

    /// The type of XMTP's own that this is, if we know it and its version.
    pub(super) fn known(&self) -> Option<KnownType> {
        let ours = self.authority_id == AUTHORITY && self.version_major == MAJOR;
        KnownType::ALL.into_iter().find(|known| ours && known.name() == self.type_id)
    }
}

impl fmt::Display for ContentTypeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { authority_id, type_id, version_major, version_minor } = self;
        write!(f, "{authority_id}/{type_id}:{version_major}.{version_minor}")
    }
}

/// A type of content that is read and written here. All are of version 1.0, and a later minor version is read as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KnownType {
    Text,
    Attachment,
    RemoteAttachment,
    MultiRemoteAttachment,
}

impl KnownType {
    const ALL: [Self; 4] = [Self::Text, Self::Attachment, Self::RemoteAttachment, Self::MultiRemoteAttachment];

    /// The name on the wire. XIP-17 and XIP-50 say `remoteStaticContent` and `multiRemoteStaticContent`; every client
    /// says what stands here.
    fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Attachment => "attachment",
            Self::RemoteAttachment => "remoteStaticAttachment",
            Self::MultiRemoteAttachment => "multiRemoteStaticAttachment",
        }
    }

    /// The type as a message of its own. A minor version of 0 is not written, as protobuf leaves out what is zero.
    pub(super) fn write(self) -> Vec<u8> {
        let mut message = Vec::new();
        put_bytes(&mut message, 1, AUTHORITY.as_bytes());
        put_bytes(&mut message, 2, self.name().as_bytes());
        put_number(&mut message, 3, MAJOR.into());
        message
    }
}

fn version(number: u64) -> Result<u32, ContentError> {
    u32::try_from(number).map_err(|_| ContentError::Malformed("a version of more than 32 bits"))
}

const AUTHORITY: &str = "xmtp.org";
const MAJOR: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_type_is_known_again() {
        for known in KnownType::ALL {
            assert_eq!(ContentTypeId::read(&known.write()).unwrap().known(), Some(known));
        }
        assert_eq!(ContentTypeId::read(&KnownType::Text.write()).unwrap().to_string(), "xmtp.org/text:1.0");
    }

    #[test]
    fn a_later_minor_version_is_read_and_a_later_major_one_is_not() {
        let text = ContentTypeId::read(&KnownType::Text.write()).unwrap();
        assert_eq!(ContentTypeId { version_minor: 7, ..text.clone() }.known(), Some(KnownType::Text));
        assert_eq!(ContentTypeId { version_major: 2, ..text.clone() }.known(), None);
        assert_eq!(ContentTypeId { authority_id: "example.org".to_owned(), ..text }.known(), None);
    }
}
