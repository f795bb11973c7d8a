//! Which request performs a step. Nothing here sends, or signs.

use std::{
    borrow::Cow,
    fmt::{self, Write},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::Method;
use landfall_core::{Algorithm, Checksum, PartNumber};

/// A request as a value: with a [`super::Place`], [`super::Credentials`] and the time it can be signed.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The object, if it is about one and not about the bucket. At most 1024 bytes, any of them.
    pub key: Option<String>,
    /// Names and values as they are, not encoded. A name without a value has an empty one.
    pub query: Vec<(Cow<'static, str>, String)>,
    /// Headers besides those that signing adds. The names are lower case.
    pub headers: Vec<(Cow<'static, str>, String)>,
    /// What it carries.
    pub payload: Payload,
}

/// What a request carries.
#[derive(Clone, PartialEq, Eq)]
pub enum Payload {
    /// Nothing.
    Empty,
    /// These bytes. Their hash is signed.
    Bytes(Bytes),
    /// Bytes that the caller supplies as they are sent.
    Stream {
        /// Exactly how many.
        length: u64,
        /// Their hash, which is signed; without it they are signed as `UNSIGNED-PAYLOAD`, and only a checksum protects
        /// them.
        sha256: Option<[u8; 32]>,
    },
}

/// What is said of an object before its bytes come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NewObject<'a> {
    /// Its media type.
    pub content_type: Option<&'a str>,
    /// The text by which we know our own object again: [`TAG`] among its metadata.
    pub tag: Option<&'a str>,
    /// Which checksum the store shall keep. An object that is put at once has that of the checksum it is put with.
    pub algorithm: Option<Algorithm>,
    /// Further metadata: names, without `x-amz-meta-`, and values, both ASCII.
    pub metadata: &'a [(&'a str, &'a str)],
}

/// What must be under a key for something to be written there. Some stores ignore it.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html>
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Anything, or nothing.
    Always,
    /// Nothing.
    Absent,
    /// The object with this ETag, without quotes.
    Is(String),
}

/// The name of [`NewObject::tag`] among an object's metadata.
pub const TAG: &str = "landfall-id";

/// A part as it is named when an upload completes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletedPart {
    /// Which.
    pub number: PartNumber,
    /// The ETag that it was answered with.
    pub etag: String,
    /// Its checksum, if it was put with one.
    pub checksum: Option<Checksum>,
}

/// Where a page of uploads ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadMarker {
    /// The last key.
    pub key: String,
    /// The last upload of that key; empty for all of them.
    pub upload_id: String,
}

/// Asks whether the bucket is there and open to us. [`super::answer::bucket`] reads the answer.
pub fn head_bucket() -> Request {
    Request::of_bucket(Method::HEAD)
}

/// Opens an upload. Done twice it opens two. [`super::answer::created`] reads the answer.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateMultipartUpload.html>
pub fn create(key: &str, object: &NewObject<'_>) -> Request {
    let mut request = Request::of_object(Method::POST, key).with("uploads", "");
    request.describe(object);
    if let Some(algorithm) = object.algorithm {
        request.header(CHECKSUM_ALGORITHM, words(algorithm).name);
        request.header(CHECKSUM_TYPE, kind(algorithm));
    }
    request
}

/// Sends a part, whose bytes the caller supplies. Sent again it replaces what came before.
/// [`super::answer::part_stored`] reads the answer.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPart.html>
pub fn upload_part(
    key: &str,
    upload_id: &str,
    number: PartNumber,
    length: u64,
    checksum: Option<&Checksum>,
    sha256: Option<[u8; 32]>,
) -> Request {
    let mut request =
        Request::of_object(Method::PUT, key).with("partNumber", number.0.to_string()).with("uploadId", upload_id);
    request.checksum(checksum);
    request.payload = Payload::Stream { length, sha256 };
    request
}

/// Asks which parts the store holds, from the one after `after` on. [`super::answer::parts`] reads the answer.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListParts.html>
pub fn list_parts(key: &str, upload_id: &str, after: Option<u32>) -> Request {
    let request = Request::of_object(Method::GET, key).with("uploadId", upload_id);
    match after {
        Some(after) => request.with("part-number-marker", after.to_string()),
        None => request,
    }
}

/// Makes an object of these parts, `size` bytes in all. `whole` is the checksum of the object where parts' checksums
/// combine to it. [`super::answer::completed`] reads the answer.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html>
pub fn complete(
    key: &str,
    upload_id: &str,
    parts: &[CompletedPart],
    whole: Option<&Checksum>,
    size: u64,
    condition: &Condition,
) -> Request {
    let mut request = Request::of_object(Method::POST, key).with("uploadId", upload_id);
    request.header("content-type", "application/xml");
    // A checksum of checksums follows from those of the parts. Stores differ in how they want to be told it, and some
    // refuse its type where its value is not told.
    if let Some(whole) = whole.filter(|whole| whole.algorithm().covers_object()) {
        request.checksum(Some(whole));
        request.header(CHECKSUM_TYPE, kind(whole.algorithm()));
        request.header("x-amz-mp-object-size", size.to_string());
    }
    request.only_if(condition);
    request.payload = Payload::Bytes(part_list(parts).into());
    request
}

/// Gives an upload up. [`super::answer::aborted`] reads the answer.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_AbortMultipartUpload.html>
pub fn abort(key: &str, upload_id: &str) -> Request {
    Request::of_object(Method::DELETE, key).with("uploadId", upload_id)
}

/// Asks which uploads are open below a prefix. [`super::answer::uploads`] reads the answer.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListMultipartUploads.html>
pub fn list_uploads(prefix: &str, after: Option<&UploadMarker>) -> Request {
    // Keys are not asked for in their encoded form: some stores then say that they encode and do not, others the reverse.
    let mut request = Request::of_bucket(Method::GET).with("uploads", "");
    if !prefix.is_empty() {
        request = request.with("prefix", prefix);
    }
    if let Some(after) = after {
        request = request.with("key-marker", &after.key);
        if !after.upload_id.is_empty() {
            request = request.with("upload-id-marker", &after.upload_id);
        }
    }
    request
}

/// Stores an object at once; the caller supplies its bytes. [`super::answer::stored`] reads the answer.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html>
pub fn put(
    key: &str,
    object: &NewObject<'_>,
    length: u64,
    checksum: Option<&Checksum>,
    sha256: Option<[u8; 32]>,
    condition: &Condition,
) -> Request {
    put_payload(key, object, Payload::Stream { length, sha256 }, checksum, condition)
}

/// Stores an object of these bytes at once. [`super::answer::stored`] reads the answer.
pub fn put_bytes(
    key: &str,
    object: &NewObject<'_>,
    bytes: Bytes,
    checksum: Option<&Checksum>,
    condition: &Condition,
) -> Request {
    put_payload(key, object, Payload::Bytes(bytes), checksum, condition)
}

fn put_payload(
    key: &str,
    object: &NewObject<'_>,
    payload: Payload,
    checksum: Option<&Checksum>,
    condition: &Condition,
) -> Request {
    let mut request = Request::of_object(Method::PUT, key);
    request.describe(object);
    request.checksum(checksum);
    request.only_if(condition);
    request.payload = payload;
    request
}

/// Asks what lies under a key, with its checksum. [`super::answer::head`] reads the answer.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html>
pub fn head(key: &str) -> Request {
    let mut request = Request::of_object(Method::HEAD, key);
    request.header("x-amz-checksum-mode", "ENABLED");
    request
}

/// Asks for an object's bytes, from one on. [`super::answer::fetched`] reads the answer's head.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html>
pub fn get(key: &str, from: u64) -> Request {
    let mut request = Request::of_object(Method::GET, key);
    if from > 0 {
        request.header("range", format!("bytes={from}-"));
    }
    request
}

/// Removes an object. [`super::answer::deleted`] reads the answer.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObject.html>
pub fn delete(key: &str) -> Request {
    Request::of_object(Method::DELETE, key)
}

/// Asks which objects lie below a prefix; what has the delimiter behind the prefix is told as one. `after` is the token
/// that the page before ended with. [`super::answer::objects`] reads the answer.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>
pub fn list(prefix: &str, delimiter: Option<&str>, after: Option<&str>) -> Request {
    let mut request = Request::of_bucket(Method::GET).with("list-type", "2").with("encoding-type", "url");
    if !prefix.is_empty() {
        request = request.with("prefix", prefix);
    }
    if let Some(delimiter) = delimiter {
        request = request.with("delimiter", delimiter);
    }
    if let Some(after) = after {
        request = request.with("continuation-token", after);
    }
    request
}

impl Request {
    fn of_bucket(method: Method) -> Self {
        Self { method, key: None, query: Vec::new(), headers: Vec::new(), payload: Payload::Empty }
    }

    fn of_object(method: Method, key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..Self::of_bucket(method) }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((Cow::Borrowed(name), value.into()));
        self
    }

    fn header(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) {
        self.headers.push((name.into(), value.into()));
    }

    fn describe(&mut self, object: &NewObject<'_>) {
        if let Some(content_type) = object.content_type {
            self.header("content-type", content_type);
        }
        let tag = object.tag.map(|tag| (TAG, tag));
        for (name, value) in tag.iter().chain(object.metadata) {
            self.header(format!("{METADATA}{}", name.to_ascii_lowercase()), *value);
        }
    }

    fn checksum(&mut self, checksum: Option<&Checksum>) {
        if let Some(checksum) = checksum {
            self.header(words(checksum.algorithm()).header, BASE64_STANDARD.encode(checksum.as_bytes()));
        }
    }

    fn only_if(&mut self, condition: &Condition) {
        match condition {
            Condition::Always => {}
            Condition::Absent => self.header("if-none-match", "*"),
            Condition::Is(etag) => self.header("if-match", format!("\"{etag}\"")),
        }
    }

    /// It asks for something to be done only under a condition.
    pub(super) fn has_condition(&self) -> bool {
        self.headers.iter().any(|(name, _)| is_condition(name))
    }

    /// It asks for something to be done only where nothing is.
    pub fn is_for_nothing(&self) -> bool {
        self.headers.iter().any(|(name, _)| name == "if-none-match")
    }

    /// It asks for something to be done only in the place of one object.
    pub fn is_for_one(&self) -> bool {
        self.headers.iter().any(|(name, _)| name == "if-match")
    }

    /// It speaks of checksums.
    pub(super) fn has_checksum(&self) -> bool {
        self.headers.iter().any(|(name, _)| is_of_checksums(name))
    }
}

/// The header makes a request conditional.
pub(super) fn is_condition(header: &str) -> bool {
    header.starts_with("if-none-match") || header.starts_with("if-match")
}

/// The header is about checksums. Whoever is asked with `x-amz-checksum-mode` and knows none just answers without.
pub(super) fn is_of_checksums(header: &str) -> bool {
    header == "x-amz-mp-object-size" || header.starts_with(CHECKSUM) && header != "x-amz-checksum-mode"
}

/// How an algorithm is called in the dialect.
pub(super) struct Words {
    /// In `x-amz-checksum-algorithm`.
    pub(super) name: &'static str,
    /// The header with a checksum.
    pub(super) header: &'static str,
    /// The XML element with a checksum.
    pub(super) element: &'static str,
}

/// See <https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html>.
pub(super) fn words(algorithm: Algorithm) -> Words {
    let (name, header, element) = match algorithm {
        Algorithm::Crc64Nvme => ("CRC64NVME", "x-amz-checksum-crc64nvme", "ChecksumCRC64NVME"),
        Algorithm::Crc32c => ("CRC32C", "x-amz-checksum-crc32c", "ChecksumCRC32C"),
        Algorithm::Sha256 => ("SHA256", "x-amz-checksum-sha256", "ChecksumSHA256"),
    };
    Words { name, header, element }
}

fn kind(algorithm: Algorithm) -> &'static str {
    if algorithm.covers_object() { "FULL_OBJECT" } else { "COMPOSITE" }
}

/// The body that completes an upload. Stores refuse parts that do not ascend.
fn part_list(parts: &[CompletedPart]) -> String {
    let mut ascending: Vec<_> = parts.iter().collect();
    ascending.sort_by_key(|part| part.number);
    let mut list = String::with_capacity(128 + parts.len() * 128);
    list.push_str(r#"<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">"#);
    for part in ascending {
        write!(list, "<Part><ETag>{}</ETag>", quick_xml::escape::partial_escape(quoted(&part.etag).as_ref()))
            .expect("writing to a string cannot fail");
        if let Some(checksum) = &part.checksum {
            let element = words(checksum.algorithm()).element;
            write!(list, "<{element}>{}</{element}>", BASE64_STANDARD.encode(checksum.as_bytes()))
                .expect("writing to a string cannot fail");
        }
        write!(list, "<PartNumber>{}</PartNumber></Part>", part.number.0).expect("writing to a string cannot fail");
    }
    list.push_str("</CompleteMultipartUpload>");
    list
}

/// An ETag in its quotes. [`super::answer`] gives it without.
fn quoted(etag: &str) -> Cow<'_, str> {
    if etag.ends_with('"') { Cow::Borrowed(etag) } else { Cow::Owned(format!("\"{etag}\"")) }
}

pub(super) const METADATA: &str = "x-amz-meta-";
const CHECKSUM: &str = "x-amz-checksum-";
const CHECKSUM_ALGORITHM: &str = "x-amz-checksum-algorithm";
const CHECKSUM_TYPE: &str = "x-amz-checksum-type";

impl fmt::Debug for Request {
    /// Leaves out names of files: the key, and values of the query and of headers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.query.iter().map(|(name, _)| name.as_ref()).collect();
        let what = if self.key.is_some() { "an object" } else { "the bucket" };
        write!(f, "{} {what}?{} ({:?})", self.method, names.join("&"), self.payload)
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("empty"),
            Self::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::Stream { length, sha256: Some(_) } => write!(f, "{length} bytes as they come, with their hash"),
            Self::Stream { length, sha256: None } => write!(f, "{length} bytes as they come"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_is_completed_with_its_parts_in_order() {
        let crc = |byte| Checksum::new(Algorithm::Crc64Nvme, vec![byte; 8]).unwrap();
        let part = |number, etag: &str| CompletedPart {
            number: PartNumber(number),
            etag: etag.to_owned(),
            checksum: Some(crc(1)),
        };
        let request = complete("k", "id", &[part(2, "b<&"), part(1, "\"a\"")], Some(&crc(2)), 7, &Condition::Absent);
        let Payload::Bytes(body) = &request.payload else { panic!("it has a body") };
        let expected = concat!(
            r#"<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">"#,
            r#"<Part><ETag>"a"</ETag><ChecksumCRC64NVME>AQEBAQEBAQE=</ChecksumCRC64NVME><PartNumber>1</PartNumber></Part>"#,
            r#"<Part><ETag>"b&lt;&amp;"</ETag><ChecksumCRC64NVME>AQEBAQEBAQE=</ChecksumCRC64NVME><PartNumber>2</PartNumber></Part>"#,
            "</CompleteMultipartUpload>",
        );
        assert_eq!(body, expected);
        let headers: Vec<_> = request.headers.iter().map(|(name, value)| (name.as_ref(), value.as_str())).collect();
        let expected = [
            ("content-type", "application/xml"),
            ("x-amz-checksum-crc64nvme", "AgICAgICAgI="),
            ("x-amz-checksum-type", "FULL_OBJECT"),
            ("x-amz-mp-object-size", "7"),
            ("if-none-match", "*"),
        ];
        assert_eq!(headers, expected);
    }

    #[test]
    fn a_checksum_of_checksums_is_announced_and_left_to_the_store() {
        let crc = Checksum::new(Algorithm::Crc32c, vec![1; 4]).unwrap();
        let object = NewObject { algorithm: Some(Algorithm::Crc32c), tag: Some("t"), ..NewObject::default() };
        let created = create("k", &object);
        let said = |request: &Request, name: &str| {
            request.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.clone())
        };
        assert_eq!(said(&created, "x-amz-checksum-algorithm").as_deref(), Some("CRC32C"));
        assert_eq!(said(&created, "x-amz-checksum-type").as_deref(), Some("COMPOSITE"));
        assert_eq!(said(&created, "x-amz-meta-landfall-id").as_deref(), Some("t"));
        let part = CompletedPart { number: PartNumber(1), etag: "a".to_owned(), checksum: Some(crc.clone()) };
        let completed = complete("k", "id", &[part], Some(&crc), 7, &Condition::Always);
        for name in ["x-amz-checksum-type", "x-amz-checksum-crc32c", "x-amz-mp-object-size"] {
            assert_eq!(said(&completed, name), None);
        }
        assert_eq!(said(&completed, "if-none-match"), None);
        let replaced = put_bytes("k", &object, Bytes::new(), None, &Condition::Is("e-2".to_owned()));
        assert_eq!(said(&replaced, "if-match").as_deref(), Some("\"e-2\""));
    }

    #[test]
    fn names_of_files_are_not_printed() {
        let request = list("holidays/", Some("/"), Some("secret-token"));
        assert_eq!(
            format!("{request:?}"),
            "GET the bucket?list-type&encoding-type&prefix&delimiter&continuation-token (empty)"
        );
        let request = upload_part("holidays/me.jpg", "id", PartNumber(7), 5, None, None);
        assert_eq!(format!("{request:?}"), "PUT an object?partNumber&uploadId (5 bytes as they come)");
    }
}
