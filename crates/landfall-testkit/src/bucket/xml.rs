//! The little XML that S3 speaks.

use bytes::Bytes;
use quick_xml::escape::escape;
use serde::Deserialize;

/// A document that is being written.
pub(super) struct Xml(String);

impl Xml {
    pub(super) fn new() -> Self {
        Self("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned())
    }

    /// Space that S3 sends while an upload is being completed, so that the connection is not taken for dead.
    pub(super) fn waited(self) -> Self {
        Self(self.0 + " \n \n")
    }

    /// The root of an answer, in S3's name space.
    pub(super) fn root(self, element: &str) -> Self {
        Self(self.0 + &format!("<{element} xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"))
    }

    pub(super) fn open(self, element: &str) -> Self {
        Self(self.0 + &format!("<{element}>"))
    }

    pub(super) fn close(self, element: &str) -> Self {
        Self(self.0 + &format!("</{element}>"))
    }

    pub(super) fn text(self, element: &str, value: impl AsRef<str>) -> Self {
        Self(self.0 + &format!("<{element}>{}</{element}>", escape(value.as_ref())))
    }

    pub(super) fn number(self, element: &str, value: impl Into<u64>) -> Self {
        let value: u64 = value.into();
        self.text(element, value.to_string())
    }

    pub(super) fn maybe(self, element: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.text(element, value),
            None => self,
        }
    }

    pub(super) fn each<T>(self, items: impl IntoIterator<Item = T>, write: impl Fn(Self, T) -> Self) -> Self {
        items.into_iter().fold(self, write)
    }

    pub(super) fn finish(self) -> Bytes {
        self.0.into()
    }
}

/// The body of CompleteMultipartUpload.
#[derive(Debug, Deserialize)]
pub(super) struct PartList {
    #[serde(rename = "Part", default)]
    pub(super) parts: Vec<ListedPart>,
}

/// A part as CompleteMultipartUpload names it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListedPart {
    pub(super) part_number: u32,
    #[serde(rename = "ETag")]
    pub(super) etag: String,
    #[serde(rename = "ChecksumCRC64NVME")]
    pub(super) crc64nvme: Option<String>,
    #[serde(rename = "ChecksumCRC32C")]
    pub(super) crc32c: Option<String>,
    #[serde(rename = "ChecksumCRC32")]
    pub(super) crc32: Option<String>,
    #[serde(rename = "ChecksumSHA256")]
    pub(super) sha256: Option<String>,
}

impl PartList {
    /// `None` if it is none.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(body).ok()?;
        if !text.contains("<CompleteMultipartUpload") {
            return None;
        }
        quick_xml::de::from_str(text).ok()
    }
}
