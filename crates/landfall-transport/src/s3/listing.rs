//! What a store holds, page by page.
//!
//! A page says where the next one begins. One that promises more and does not go on would be asked for without end, so it
//! is a failure.

use landfall_core::{Checksum, Code, Failure, PARTS_MAX, PartNumber, Remedy, Timestamp};

use super::{
    Answer, UploadMarker,
    answer::{UploadId, bad, checksum_in, document, read_etag, read_number, read_size, same, upload_id, word},
    moment, percent,
    xml::Element,
};

/// Some of an upload's parts, in the order of their numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartsPage {
    /// The parts. A store that keeps what was replaced may tell a number several times, so a part is ours only if its ETag
    /// or its checksum is.
    pub parts: Vec<HeldPart>,
    /// There are more, behind this number.
    pub next: Option<u32>,
}

/// A part that a store holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldPart {
    /// Which.
    pub number: PartNumber,
    /// Its length in bytes.
    pub size: u64,
    /// Its ETag, without quotes.
    pub etag: String,
    /// Its checksum, if the store keeps one.
    pub checksum: Option<Checksum>,
}

/// Some of the uploads that are open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadsPage {
    /// The uploads.
    pub uploads: Vec<OpenUpload>,
    /// There are more, behind this one.
    pub next: Option<UploadMarker>,
}

/// An upload that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenUpload {
    /// The key that its object will have.
    pub key: String,
    /// Its id.
    pub upload_id: UploadId,
    /// When it was opened, by the store's clock.
    pub initiated: Option<Timestamp>,
}

/// Some of a bucket's objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectsPage {
    /// The objects.
    pub objects: Vec<ListedObject>,
    /// What several objects have in common up to the delimiter, with it.
    pub prefixes: Vec<String>,
    /// There are more; this token brings them.
    pub next: Option<String>,
}

/// An object as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedObject {
    /// Its key.
    pub key: String,
    /// Its length in bytes.
    pub size: u64,
    /// Its ETag, without quotes; empty if the listing has none.
    pub etag: String,
    /// When it was stored, by the store's clock.
    pub last_modified: Option<Timestamp>,
}

/// Reads the answer to [`super::request::list_parts`]: parts of this very upload. The next page begins behind the last
/// part of this one, and this one behind the number that it says it was asked for.
///
/// # Errors
/// See [`super::answer`].
pub fn parts(answer: &Answer, key: &str, upload_id: &str) -> Result<PartsPage, Failure> {
    let result = document(answer, "ListPartsResult").map_err(|failure| match word(answer) {
        // What Ceph says of an upload that is gone.
        Some("NoSuchKey") => Failure { remedy: Remedy::Reopen, code: Code::NoSuchUpload, ..failure },
        _ => failure,
    })?;
    same(&result, "Key", key)?;
    same(&result, "UploadId", upload_id)?;
    let parts = result.all("Part").map(held_part).collect::<Result<Vec<_>, _>>()?;
    if !parts.is_sorted_by_key(|part| part.number) {
        return Err(bad("its parts are not in order"));
    }
    let asked_after = number_of(&result, "PartNumberMarker")?.unwrap_or(0);
    if parts.first().is_some_and(|first| u64::from(first.number.0) <= asked_after) {
        return Err(bad("its parts are not those that were asked for"));
    }
    if !is_truncated(&result)? {
        return Ok(PartsPage { parts, next: None });
    }
    let last = parts.last().ok_or_else(|| bad("it promises more and gives nothing"))?.number.0;
    let next = number_of(&result, "NextPartNumberMarker")?.and_then(|next| u32::try_from(next).ok());
    let next = next.filter(|next| (last..=PARTS_MAX).contains(next));
    Ok(PartsPage { parts, next: Some(next.ok_or_else(|| bad("it promises more and does not go on"))?) })
}

fn held_part(part: &Element) -> Result<HeldPart, Failure> {
    let number = number_of(part, "PartNumber")?.and_then(|number| u32::try_from(number).ok());
    let number = number.filter(|number| (1..=PARTS_MAX).contains(number)).ok_or_else(|| bad("a part has no number"))?;
    Ok(HeldPart {
        number: PartNumber(number),
        size: size_of(part)?,
        etag: etag_of(part)?.ok_or_else(|| bad("a part has no ETag"))?,
        checksum: checksum_in(part),
    })
}

/// Reads the answer to [`super::request::list_uploads`], asked with this prefix and marker.
///
/// # Errors
/// See [`super::answer`].
pub fn uploads(answer: &Answer, prefix: &str, after: Option<&UploadMarker>) -> Result<UploadsPage, Failure> {
    let result = document(answer, "ListMultipartUploadsResult")?;
    let keys = Keys::of(&result, prefix)?;
    let open = |upload: &Element| {
        let initiated = upload.text("Initiated").map_err(bad)?.and_then(moment::iso);
        Ok(OpenUpload { key: keys.required(upload, "Key")?, upload_id: upload_id(upload)?, initiated })
    };
    let uploads = result.all("Upload").map(open).collect::<Result<Vec<_>, Failure>>()?;
    if !is_truncated(&result)? {
        return Ok(UploadsPage { uploads, next: None });
    }
    let marker = result.text("NextUploadIdMarker").map_err(bad)?.unwrap_or_default();
    let next = UploadMarker { key: keys.required(&result, "NextKeyMarker")?, upload_id: marker.to_owned() };
    let goes_on =
        after.is_none_or(|after| next.key > after.key || next.key == after.key && next.upload_id != after.upload_id);
    if !goes_on {
        return Err(bad("it promises more and does not go on"));
    }
    Ok(UploadsPage { uploads, next: Some(next) })
}

/// Reads the answer to [`super::request::list`], asked with this prefix and token.
///
/// # Errors
/// See [`super::answer`].
pub fn objects(answer: &Answer, prefix: &str, after: Option<&str>) -> Result<ObjectsPage, Failure> {
    let result = document(answer, "ListBucketResult")?;
    let keys = Keys::of(&result, prefix)?;
    let listed = |object: &Element| {
        Ok(ListedObject {
            key: keys.required(object, "Key")?,
            size: size_of(object)?,
            etag: etag_of(object)?.unwrap_or_default(),
            last_modified: object.text("LastModified").map_err(bad)?.and_then(moment::iso),
        })
    };
    let objects = result.all("Contents").map(listed).collect::<Result<Vec<_>, Failure>>()?;
    let common = result.all("CommonPrefixes").map(|common| keys.required(common, "Prefix"));
    let prefixes = common.collect::<Result<Vec<_>, Failure>>()?;
    if !is_truncated(&result)? {
        return Ok(ObjectsPage { objects, prefixes, next: None });
    }
    let next =
        result.text("NextContinuationToken").map_err(bad)?.filter(|next| !next.is_empty() && Some(*next) != after);
    let next = next.ok_or_else(|| bad("it promises more and does not go on"))?.to_owned();
    Ok(ObjectsPage { objects, prefixes, next: Some(next) })
}

/// The keys of a page: all below the prefix that was asked for, and encoded if the page says so.
struct Keys<'a> {
    prefix: &'a str,
    are_encoded: bool,
}

impl<'a> Keys<'a> {
    fn of(result: &Element, prefix: &'a str) -> Result<Self, Failure> {
        let encoding = result.text("EncodingType").map_err(bad)?;
        Ok(Self { prefix, are_encoded: encoding == Some("url") })
    }

    fn required(&self, element: &Element, name: &'static str) -> Result<String, Failure> {
        let text = element.text(name).map_err(bad)?.ok_or_else(|| bad("a key is missing"))?;
        let key = if self.are_encoded { percent::decoded(text) } else { Some(text.to_owned()) };
        key.filter(|key| key.starts_with(self.prefix)).ok_or_else(|| bad("a key is not one that was asked for"))
    }
}

fn is_truncated(result: &Element) -> Result<bool, Failure> {
    match result.text("IsTruncated").map_err(bad)?.map(str::trim) {
        Some("true") => Ok(true),
        Some("false") | None => Ok(false),
        Some(_) => Err(bad("it does not say whether there is more")),
    }
}

fn size_of(element: &Element) -> Result<u64, Failure> {
    element.text("Size").map_err(bad)?.and_then(read_size).ok_or_else(|| bad("a length is missing, or is none"))
}

fn etag_of(element: &Element) -> Result<Option<String>, Failure> {
    Ok(element.text("ETag").map_err(bad)?.and_then(read_etag))
}

/// A number, if it is told; an empty element tells none.
fn number_of(element: &Element, name: &'static str) -> Result<Option<u64>, Failure> {
    match element.text(name).map_err(bad)?.map(str::trim) {
        None | Some("") => Ok(None),
        Some(text) => read_number(text).map(Some).ok_or_else(|| bad("a number is none")),
    }
}
