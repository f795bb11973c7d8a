//! What came of a request.
//!
//! Each function reads the answer to the request of [`super::request`] that its doc names. A refusal, and an answer that
//! contradicts the question, is a [`Failure`] that says what to do.

use std::{collections::BTreeMap, ops::Deref};

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{
    HeaderMap,
    header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, LAST_MODIFIED},
};
use landfall_core::{Algorithm, Checksum, Code, Failure, Remedy, Timestamp};

pub use super::listing::{
    HeldPart, ListedObject, ObjectsPage, OpenUpload, PartsPage, UploadsPage, objects, parts, uploads,
};
use super::{
    Answer, moment,
    refusal::refusal,
    request::{METADATA, TAG, words},
    xml::Element,
};
pub use crate::vault::answer::Fetched;
use crate::vault::refusal::s3_element;

/// The id of an open upload, as the store gave it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UploadId(pub String);

/// What proves that bytes were taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The ETag, without its quotes. It is whatever the store makes it, and no hash to rely on.
    pub etag: String,
}

/// What a store says of an object that it has put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completed {
    /// The ETag, if it is told; a `HEAD` tells it always.
    pub etag: Option<String>,
    /// The checksum of the object, or of its parts' checksums, if it is told.
    pub checksum: Option<Checksum>,
}

/// What lies under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectHead {
    /// Its length in bytes.
    pub size: u64,
    /// Its ETag, without quotes.
    pub etag: String,
    /// Its checksum, if the store keeps one: over all its bytes, or over the checksums of the parts it was made of.
    pub checksum: Option<Checksum>,
    /// The tag of [`super::NewObject`], if it has one.
    pub tag: Option<String>,
    /// Its media type.
    pub content_type: Option<String>,
    /// When it was stored, by the store's clock.
    pub last_modified: Option<Timestamp>,
    /// Its metadata, the tag included. The names are lower case and have no `x-amz-meta-`.
    pub metadata: BTreeMap<String, String>,
}

/// Reads the answer to [`super::request::head_bucket`]: the bucket is there and open to us.
///
/// # Errors
/// See the [module](self).
pub fn bucket(answer: &Answer) -> Result<(), Failure> {
    if answer.status == 404 {
        let what = format!("there is no such bucket (the server answered {})", answer.status);
        return Err(Failure::new(Remedy::Block, Code::NoSuchBucket, what));
    }
    success(answer)
}

/// Reads the answer to [`super::request::create`]: the upload is open under `key`.
///
/// # Errors
/// See the [module](self).
pub fn created(answer: &Answer, key: &str) -> Result<UploadId, Failure> {
    let result = document(answer, "InitiateMultipartUploadResult")?;
    same(&result, "Key", key)?;
    upload_id(&result)
}

/// Reads the answer to [`super::request::upload_part`]: the store has the part. If it names its checksum, that is ours.
///
/// # Errors
/// See the [module](self). A success without an ETag is none: the store is to be asked.
pub fn part_stored(answer: &Answer, checksum: Option<&Checksum>) -> Result<Receipt, Failure> {
    received(answer, checksum)
}

/// Reads the answer to [`super::request::put`] and [`super::request::put_bytes`]: the object is stored. If the store
/// names its checksum, that is ours.
///
/// # Errors
/// See the [module](self). A success without an ETag is none: the store is to be asked.
pub fn stored(answer: &Answer, checksum: Option<&Checksum>) -> Result<Receipt, Failure> {
    received(answer, checksum)
}

fn received(answer: &Answer, sent: Option<&Checksum>) -> Result<Receipt, Failure> {
    success(answer)?;
    let told = sent.and_then(|sent| answer.headers.get(words(sent.algorithm()).header).map(|told| (sent, told)));
    if let Some((sent, told)) = told
        && told.to_str().ok().and_then(|told| read_checksum(sent.algorithm(), told)).as_ref() != Some(sent)
    {
        let what = "the server stored something with another checksum than was sent";
        return Err(Failure::new(Remedy::Retry, Code::DamagedInTransit, what));
    }
    let etag = header(&answer.headers, ETAG.as_str()).and_then(read_etag);
    etag.map(|etag| Receipt { etag }).ok_or_else(|| unsure(bad("it stored something and names no ETag")))
}

/// Reads the answer to [`super::request::complete`]: the object is put together. A `HEAD` proves that it is ours.
///
/// # Errors
/// See the [module](self). An error may come with status 200, since a store begins to answer before it knows; whether the
/// object is there is then to be asked, as it is when the answer makes no sense. [`Remedy::Reopen`] means that the upload
/// is gone, which it also is once it was completed: look under the key before all is sent again.
pub fn completed(answer: &Answer) -> Result<Completed, Failure> {
    let result = document(answer, "CompleteMultipartUploadResult").map_err(|failure| match word(answer) {
        // What happened in between may have used up the parts.
        Some("ConditionalRequestConflict" | "OperationAborted") => Failure { remedy: Remedy::Reopen, ..failure },
        _ if failure.code == Code::DamagedInTransit || !(200..300).contains(&answer.status) => failure,
        _ => unsure(failure),
    })?;
    let text = |name| result.text(name).map_err(|what| unsure(bad(what)));
    let etag = text("ETag")?.and_then(read_etag);
    Ok(Completed { etag, checksum: checksum_in(&result) })
}

/// Reads the answer to [`super::request::abort`]: the upload is not open, now or before.
///
/// # Errors
/// See the [module](self).
pub fn aborted(answer: &Answer) -> Result<(), Failure> {
    success(answer).or_else(|failure| if failure.code == Code::NoSuchUpload { Ok(()) } else { Err(failure) })
}

/// Reads the answer to [`super::request::delete`]: the object is not there, now or before.
///
/// # Errors
/// See the [module](self).
pub fn deleted(answer: &Answer) -> Result<(), Failure> {
    if answer.status == 404 && word(answer) == Some("NoSuchKey") {
        return Ok(());
    }
    success(answer)
}

/// Reads the answer to [`super::request::head`]: what lies under the key, or that nothing does.
///
/// # Errors
/// See the [module](self). A store that lets us not list the bucket says that access is denied where nothing lies.
pub fn head(answer: &Answer) -> Result<Option<ObjectHead>, Failure> {
    if answer.status == 404 {
        return Ok(None);
    }
    success(answer)?;
    let text = |name: &str| header(&answer.headers, name);
    let size =
        text(CONTENT_LENGTH.as_str()).and_then(read_size).ok_or_else(|| bad("it does not say how long it is"))?;
    let etag = text(ETAG.as_str()).and_then(read_etag).ok_or_else(|| bad("it names no ETag"))?;
    let metadata: BTreeMap<_, _> = answer
        .headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().strip_prefix(METADATA)?, value)))
        .map(|(name, value)| (name.to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    Ok(Some(ObjectHead {
        size,
        etag,
        checksum: Algorithm::ALL
            .into_iter()
            .find_map(|algorithm| read_checksum(algorithm, text(words(algorithm).header)?)),
        tag: metadata.get(TAG).cloned(),
        content_type: text(CONTENT_TYPE.as_str()).map(str::to_owned),
        last_modified: text(LAST_MODIFIED.as_str()).and_then(moment::http_date),
        metadata,
    }))
}

/// Reads the head of the answer to [`super::request::get`], asked from byte `from` on: which bytes it brings.
///
/// # Errors
/// See the [module](self). A refusal is better read with [`refusal()`], which takes its body too.
pub fn fetched(status: u16, headers: &HeaderMap, from: u64) -> Result<Fetched, Failure> {
    match status {
        200 | 206 => crate::vault::answer::fetched(status, headers, from),
        _ => Err(refusal(&Answer { status, headers: headers.clone(), body: bytes::Bytes::new() }).failure),
    }
}

impl Deref for UploadId {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// That the step succeeded, whatever else the answer says.
fn success(answer: &Answer) -> Result<(), Failure> {
    // An error may come with any status.
    if !(200..300).contains(&answer.status) || word(answer).is_some() {
        return Err(refusal(answer).failure);
    }
    Ok(())
}

/// The code of an error.
pub(super) fn word(answer: &Answer) -> Option<&str> {
    s3_element(&answer.body, "<Code>", "</Code>")
}

/// The XML document of a success.
pub(super) fn document(answer: &Answer, name: &str) -> Result<Element, Failure> {
    if !(200..300).contains(&answer.status) {
        return Err(refusal(answer).failure);
    }
    let root = Element::read(&answer.body).map_err(bad)?;
    match root.name.as_str() {
        "Error" => Err(refusal(answer).failure),
        root_name if root_name == name => Ok(root),
        _ => Err(bad("it answers another question")),
    }
}

/// That an answer which names something names what was asked about.
pub(super) fn same(result: &Element, name: &'static str, asked: &str) -> Result<(), Failure> {
    match result.text(name).map_err(bad)? {
        Some(told) if told != asked && can_be_told(asked) => Err(bad("it is about something else than was asked")),
        _ => Ok(()),
    }
}

/// XML has no place for control characters; what stores write instead differs.
fn can_be_told(text: &str) -> bool {
    !text.chars().any(|char| char.is_control() || matches!(char, '\u{fffe}' | '\u{ffff}'))
}

pub(super) fn upload_id(element: &Element) -> Result<UploadId, Failure> {
    let id = element.text("UploadId").map_err(bad)?.unwrap_or_default().trim();
    if id.is_empty() || id.len() > UPLOAD_ID_BYTES_MAX || id.chars().any(char::is_control) {
        return Err(bad("it names no upload"));
    }
    Ok(UploadId(id.to_owned()))
}

/// The checksum that an element holds; the best, if there are several.
pub(super) fn checksum_in(element: &Element) -> Option<Checksum> {
    let of = |algorithm| read_checksum(algorithm, element.text(words(algorithm).element).ok()??);
    Algorithm::ALL.into_iter().find_map(of)
}

/// A checksum as it is told: in base64, with `-` and the number of parts behind it if it is one of checksums.
fn read_checksum(algorithm: Algorithm, text: &str) -> Option<Checksum> {
    let text = text.trim();
    let text = match text.split_once('-') {
        Some((_, parts)) if algorithm.covers_object() || parts.parse::<u32>().is_err() => return None,
        Some((text, _)) => text,
        None => text,
    };
    Checksum::new(algorithm, BASE64_STANDARD.decode(text).ok()?)
}

/// An ETag without its quotes; a weak one stays as it is.
pub(super) fn read_etag(text: &str) -> Option<String> {
    let text = text.trim();
    let etag = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let is_one = !etag.is_empty() && etag.len() <= ETAG_BYTES_MAX && etag.bytes().all(|byte| byte.is_ascii_graphic());
    is_one.then(|| etag.to_owned())
}

/// A number of bytes that something may have.
pub(super) fn read_size(text: &str) -> Option<u64> {
    read_number(text).filter(|size| *size <= SIZE_MAX)
}

/// A number without a sign.
pub(super) fn read_number(text: &str) -> Option<u64> {
    let text = text.trim();
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// The same failure where the step may have been done all the same.
fn unsure(failure: Failure) -> Failure {
    match failure.remedy {
        Remedy::Retry => Failure { remedy: Remedy::Ask, ..failure },
        _ => failure,
    }
}

pub(super) fn bad(what: &str) -> Failure {
    Failure::new(Remedy::Retry, Code::BadAnswer, format!("the server's answer cannot be used: {what}"))
}

/// Amazon's have about 130.
const UPLOAD_ID_BYTES_MAX: usize = 2048;
const ETAG_BYTES_MAX: usize = 256;
/// A pebibyte: more than any store takes.
const SIZE_MAX: u64 = 1 << 50;
