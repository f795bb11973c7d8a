//! What came of a request.
//!
//! Each function reads the answer to the request of [`super::request`] that its doc names. A refusal, and an answer
//! the protocol does not allow, is a [`Failure`] that says what to do.

use std::fmt;

use bytes::Bytes;
use http::{
    HeaderMap,
    header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, LOCATION},
};
use landfall_core::{Code, Failure, Remedy};
use landfall_protocol::{
    AccountInfo, Collection, CollectionList, CompletePart, DIFF_PAGE_MAX, Diff, ErrorCode, FileRecord, Grant,
    JSON_BYTES_MAX, KeyAttributes, NewCollection, NewFile, NewUpload, PartChecksum, Problem, SignedParts, UploadState,
    UploadStatus, route,
};
use serde::de::DeserializeOwned;

use super::{
    Origin, Plan, Request, refusal,
    refusal::{problem, s3_code},
    request,
};

/// An answer that came whole.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// Reads the answer to [`request::open`]. The status fits the upload, and its grants are for parts that were asked for.
///
/// # Errors
/// See the [module](self).
pub fn opened(answer: &Answer, asked: &NewUpload, origin: &Origin) -> Result<UploadStatus, Failure> {
    let status: UploadStatus = answer.read()?;
    fits(&status, &Plan::from(asked))?;
    // Parts that have arrived get no grant, so there may be fewer than were asked for, but none twice.
    let mut wanted = asked.sign.iter();
    for grant in &status.grants {
        let part = wanted.find(|part| part.number == grant.number);
        part.ok_or_else(|| bad("it grants a part that was not asked for"))?;
        usable(grant, origin)?;
    }
    Ok(status)
}

/// Reads the answer to [`request::sign`]: one grant for each part, in the order asked.
///
/// # Errors
/// See the [module](self).
pub fn signed(answer: &Answer, asked: &[PartChecksum], origin: &Origin) -> Result<Vec<Grant>, Failure> {
    let SignedParts { grants } = answer.read()?;
    if !grants.iter().map(|grant| grant.number).eq(asked.iter().map(|part| part.number)) {
        return Err(bad("its grants are not for the parts asked for"));
    }
    for grant in &grants {
        usable(grant, origin)?;
    }
    Ok(grants)
}

/// Reads the answer to [`request::put_part`]: the part is durable, with our checksum.
///
/// # Errors
/// See the [module](self). A success that does not name our checksum is none: the part is sent again, or asked about.
pub fn part_stored(answer: &Answer, part: &PartChecksum) -> Result<(), Failure> {
    answer.success()?;
    let Some(etag) = answer.headers.get(ETAG) else {
        return Err(Failure::new(Remedy::Ask, Code::BadAnswer, "the server stored a part and named no checksum"));
    };
    let stored = etag.to_str().unwrap_or_default().trim().trim_matches('"');
    if stored != route::crc32c_text(part.crc32c) {
        return Err(Failure::new(
            Remedy::Retry,
            Code::DamagedInTransit,
            "the server stored a part with another checksum than was sent",
        ));
    }
    Ok(())
}

/// Reads the answer to [`request::status`]: what the server holds, or that there is no such upload.
///
/// # Errors
/// See the [module](self).
pub fn status_of(answer: &Answer, plan: &Plan) -> Result<Option<UploadStatus>, Failure> {
    if answer.status == 404 {
        return Ok(None);
    }
    let status: UploadStatus = answer.read()?;
    fits(&status, plan)?;
    Ok(Some(status))
}

/// That an upload which the server calls stored has the parts that were sent, as far as it names any.
///
/// # Errors
/// [`Code::Tampered`]: the object under our key is not ours, and will not become it by sending anything again.
pub fn stored_as_sent(status: &UploadStatus, parts: &[CompletePart]) -> Result<(), Failure> {
    let same = status.parts.iter().map(|part| (part.number, part.crc32c));
    let is_named = status.state == UploadState::Stored && !status.parts.is_empty();
    if is_named && !same.eq(parts.iter().map(|part| (part.number, part.crc32c))) {
        let what = "the vault calls an upload stored and holds other bytes than were sent";
        return Err(Failure::new(Remedy::Block, Code::Tampered, what));
    }
    Ok(())
}

/// Reads the answer to [`request::complete`]: the object is stored, of this size and these parts.
///
/// # Errors
/// See the [module](self).
pub fn completed(answer: &Answer, plan: &Plan, parts: &[CompletePart]) -> Result<(), Failure> {
    let status: UploadStatus = answer.read()?;
    fits(&status, plan)?;
    if status.state != UploadState::Stored {
        return Err(Failure::new(Remedy::Ask, Code::BadAnswer, "the server completed an upload and says it is open"));
    }
    // A server may forget the parts of an object once it is whole, but not remember others.
    let same = status.parts.iter().map(|part| (part.number, part.crc32c));
    if !status.parts.is_empty() && !same.eq(parts.iter().map(|part| (part.number, part.crc32c))) {
        return Err(Failure::new(Remedy::Ask, Code::BadAnswer, "the server completed an upload of other parts"));
    }
    Ok(())
}

/// What became of an upload that was to be abandoned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abandoned {
    /// It is not there, now or before.
    Gone,
    /// Its object belongs to a registered file, and stays.
    InUse,
}

/// Reads the answer to [`request::abandon`].
///
/// # Errors
/// See the [module](self).
pub fn abandoned(answer: &Answer) -> Result<Abandoned, Failure> {
    match (answer.status, answer.code()) {
        (404, Some(ErrorCode::NoSuchUpload | ErrorCode::NotFound)) => Ok(Abandoned::Gone),
        (409, Some(ErrorCode::InUse)) => Ok(Abandoned::InUse),
        _ => answer.success().map(|()| Abandoned::Gone),
    }
}

/// Where the content of a register body is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registered {
    /// In this record, which names our objects.
    Done(Box<FileRecord>),
    /// In this record of the same account, which someone registered before. Ours does not exist.
    ContentExists(Box<FileRecord>),
}

/// Reads the answer to [`request::register`]. The record names the objects of `sent`; a winner carries its content tag.
///
/// # Errors
/// See the [module](self).
pub fn registered(answer: &Answer, sent: &NewFile) -> Result<Registered, Failure> {
    if answer.status == 409 && answer.code() == Some(ErrorCode::ContentExists) {
        let problem: Problem = answer.parse()?;
        let winner = problem.winner.ok_or_else(|| bad("it refuses a content and names no winner"))?;
        if sent.content_tag.is_none() || winner.file.content_tag != sent.content_tag || winner.is_deleted {
            return Err(bad("it names a winner with another content"));
        }
        return Ok(Registered::ContentExists(winner));
    }
    let record: Box<FileRecord> = answer.read()?;
    if record.is_deleted {
        // It was registered and removed since. Of what it was only the names are left.
        let names = |file: &NewFile| (file.file.object_key.clone(), file.thumbnail.object_key.clone());
        let is_ours = names(&record.file) == names(sent);
        return if is_ours { Ok(Registered::Done(record)) } else { Err(bad("it registered another file")) };
    }
    let is_ours = record.file.file == sent.file
        && record.file.thumbnail == sent.thumbnail
        && record.file.metadata == sent.metadata
        && record.file.encrypted_key == sent.encrypted_key
        && record.file.content_tag == sent.content_tag;
    if !is_ours {
        return Err(bad("it registered another file"));
    }
    Ok(Registered::Done(record))
}

/// What became of a change that names the version it replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MagicUpdated {
    /// It is made.
    Done,
    /// Nothing was changed: someone was faster. Read the records again.
    VersionMismatch,
}

/// Reads the answer to [`request::magic_update`].
///
/// # Errors
/// See the [module](self). A text that is too long for the server is one with too many places.
pub fn magic_updated(answer: &Answer) -> Result<MagicUpdated, Failure> {
    if answer.status == 413 {
        let why = "the server takes no longer list of the places of this content";
        return Err(Failure::new(Remedy::Block, Code::TooManyPlaces, why));
    }
    if answer.status == 409 && answer.code() == Some(ErrorCode::VersionMismatch) {
        return Ok(MagicUpdated::VersionMismatch);
    }
    answer.success().map(|()| MagicUpdated::Done)
}

/// Reads the answer to [`request::keys`]. There are none only if the server says so in its own words: whoever believes
/// a stray 404 would make a second set of keys.
///
/// # Errors
/// See the [module](self).
pub fn keys(answer: &Answer) -> Result<Option<KeyAttributes>, Failure> {
    if answer.status == 404 && answer.code() == Some(ErrorCode::NotFound) {
        return Ok(None);
    }
    answer.read().map(Some)
}

/// Reads the answer to [`request::create_keys`] and [`request::replace_keys`]: whether ours are stored now. If not,
/// someone else's are.
///
/// # Errors
/// See the [module](self).
pub fn keys_stored(answer: &Answer) -> Result<bool, Failure> {
    if answer.status == 412 {
        return Ok(false);
    }
    answer.success().map(|()| true)
}

/// Reads the answer to [`request::account`].
///
/// # Errors
/// See the [module](self).
pub fn account(answer: &Answer) -> Result<AccountInfo, Failure> {
    answer.read()
}

/// Reads the answer to [`request::collections`].
///
/// # Errors
/// See the [module](self).
pub fn collections(answer: &Answer) -> Result<Vec<Collection>, Failure> {
    answer.read().map(|CollectionList { collections }| collections)
}

/// Reads the answer to [`request::create_collection`]: the new one, or the one that has the same name already.
///
/// # Errors
/// See the [module](self).
pub fn collection_created(answer: &Answer, sent: &NewCollection) -> Result<Collection, Failure> {
    let collection: Collection = answer.read()?;
    if collection.name_tag != sent.name_tag || collection.kind != sent.kind {
        return Err(bad("it is about another collection"));
    }
    Ok(collection)
}

/// Reads the answer to [`request::diff`]: records in the order of their changes, all after the cursor. A page that
/// promises more moves the cursor on, so whoever pulls comes to an end.
///
/// # Errors
/// See the [module](self).
pub fn diff(answer: &Answer, since: i64) -> Result<Diff, Failure> {
    let page: Diff = answer.read()?;
    if page.diff.len() > DIFF_PAGE_MAX as usize {
        return Err(bad("its page is too long"));
    }
    let times = || page.diff.iter().map(|record| record.updation_time);
    if !times().is_sorted() || times().next().is_some_and(|first| first <= since) {
        return Err(bad("its records are not in the order of their changes"));
    }
    if page.has_more && page.diff.is_empty() {
        return Err(bad("it promises more and gives nothing"));
    }
    Ok(page)
}

/// Reads the answer to [`request::file`]: the record, if there is one of that number.
///
/// # Errors
/// See the [module](self).
pub fn file(answer: &Answer, id: i64) -> Result<Option<FileRecord>, Failure> {
    if answer.status == 404 && answer.code() == Some(ErrorCode::NotFound) {
        return Ok(None);
    }
    let record: FileRecord = answer.read()?;
    if record.id != id {
        return Err(bad("it is about another file"));
    }
    Ok(Some(record))
}

/// Reads the answer to [`request::trash`].
///
/// # Errors
/// See the [module](self).
pub fn trashed(answer: &Answer) -> Result<(), Failure> {
    answer.success()
}

/// Reads the head of a 307 to [`request::download`] or [`request::preview`]: the request that goes on, without the
/// token. The address is one that [`Origin::resolve`] allows.
///
/// # Errors
/// See the [module](self).
pub fn redirected(headers: &HeaderMap, origin: &Origin) -> Result<Request, Failure> {
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let location = location.ok_or_else(|| bad("it redirects to nowhere"))?.trim();
    origin.resolve(location)?;
    Ok(request::fetch(location, None))
}

/// Which bytes of a file an answer brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fetched {
    /// Offset of its first byte. It may be 0 although a later one was asked for.
    pub start: u64,
    /// Length of the whole file, if the answer says so.
    pub size: Option<u64>,
}

/// Reads the head of the answer to [`request::fetch`], asked from byte `from` on.
///
/// # Errors
/// See the [module](self). A refusal is better read with [`refusal`], which takes its body too.
pub fn fetched(status: u16, headers: &HeaderMap, from: u64) -> Result<Fetched, Failure> {
    let length = || headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse::<u64>().ok();
    match status {
        // A server need not know ranges; then it sends all.
        200 => Ok(Fetched { start: 0, size: length() }),
        206 => {
            let range = headers.get(CONTENT_RANGE).and_then(|value| value.to_str().ok()).and_then(content_range);
            let (start, end, size) = range.ok_or_else(|| bad("its range cannot be read"))?;
            let reaches_end = size.is_none_or(|size| end.checked_add(1) == Some(size));
            if start != from || end < start || !reaches_end {
                return Err(bad("it brings another range than was asked for"));
            }
            Ok(Fetched { start, size })
        }
        _ => Err(refusal(status, headers, &[])),
    }
}

impl Answer {
    /// That the step succeeded, whatever else the answer says.
    fn success(&self) -> Result<(), Failure> {
        // S3 begins to answer before it knows, and then puts the error into an answer that says 200.
        if !(200..300).contains(&self.status) || s3_code(&self.body).is_some() {
            return Err(refusal(self.status, &self.headers, &self.body));
        }
        Ok(())
    }

    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        self.success()?;
        self.parse()
    }

    fn parse<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        if self.body.len() > JSON_BYTES_MAX {
            return Err(bad("it is too long"));
        }
        // The parser's own message quotes what it read, which may be secret.
        serde_json::from_slice(&self.body).map_err(|_| bad("it is not what the protocol says"))
    }

    fn code(&self) -> Option<ErrorCode> {
        if self.body.len() > JSON_BYTES_MAX { None } else { problem(&self.body).map(|problem| problem.code) }
    }
}

impl fmt::Debug for Answer {
    /// Leaves out headers and body: they may hold signed URLs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {} bytes", self.status, self.body.len())
    }
}

fn fits(status: &UploadStatus, plan: &Plan) -> Result<(), Failure> {
    plan.contradiction(status).map_or(Ok(()), |what| Err(bad(what)))
}

/// That a grant can be used: [`request::put_part`] would say so later, when it costs a round trip.
fn usable(grant: &Grant, origin: &Origin) -> Result<(), Failure> {
    origin.resolve(&grant.url)?;
    request::grant_headers(grant).map(drop)
}

/// `bytes start-end/size`, or `/*`.
fn content_range(text: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, size) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (start, end) = range.split_once('-')?;
    let size = if size == "*" { None } else { Some(size.parse().ok()?) };
    Some((start.parse().ok()?, end.parse().ok()?, size))
}

fn bad(what: &str) -> Failure {
    Failure::new(Remedy::Retry, Code::BadAnswer, format!("the server's answer cannot be used: {what}"))
}
