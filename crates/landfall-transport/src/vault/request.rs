//! Which request performs a step. Nothing here sends.

use std::{borrow::Cow, fmt};

use bytes::Bytes;
use http::{
    Method,
    header::{HeaderName, HeaderValue},
};
use landfall_core::{Code, Failure, Remedy};
use landfall_protocol::{
    CompleteUpload, DIFF_PAGE_MAX, Grant, KeyAttributes, MagicUpdates, NewCollection, NewUpload, PartChecksum,
    SignRequest, TrashRequest, route,
};
use serde::Serialize;

/// A request as a value: whoever carries it, in this process or not, needs nothing else but the origin and the token.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Where to, and whether the token goes with it.
    pub target: Target,
    /// Headers besides the token, `Content-Type` of JSON and `Content-Length`. The names are lower case.
    pub headers: Vec<(Cow<'static, str>, String)>,
    /// What it carries.
    pub body: RequestBody,
}

/// Where a request goes.
#[derive(Clone, PartialEq, Eq)]
pub enum Target {
    /// A path of our own below the origin. The token goes with it.
    Path(String),
    /// A URL that the server gave, absolute or below the origin. It carries its own right; the token never goes with it.
    Url(String),
}

/// What a request carries.
#[derive(Clone, PartialEq, Eq)]
pub enum RequestBody {
    /// Nothing.
    Empty,
    /// A JSON text.
    Json(Bytes),
    /// Bytes that the caller supplies as they are sent.
    Stream {
        /// Exactly how many.
        length: u64,
    },
}

impl Request {
    /// The same request for the bytes from `offset` on. Nothing changes for 0.
    pub fn from_byte(mut self, offset: u64) -> Self {
        if offset > 0 {
            self.headers.push((Cow::Borrowed("range"), format!("bytes={offset}-")));
        }
        self
    }

    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::to(Method::GET, Target::Path(path.into()))
    }

    pub(crate) fn to(method: Method, target: Target) -> Self {
        Self { method, target, headers: Vec::new(), body: RequestBody::Empty }
    }

    pub(crate) fn json(method: Method, path: impl Into<String>, value: &impl Serialize) -> Self {
        let text = serde_json::to_vec(value).expect("the protocol's types have string keys and cannot fail");
        Self { body: RequestBody::Json(text.into()), ..Self::to(method, Target::Path(path.into())) }
    }
}

/// Opens an upload. [`super::answer::opened`] reads the answer.
pub fn open(upload: &NewUpload) -> Request {
    Request::json(Method::POST, route::UPLOADS, upload)
}

/// Asks for grants. [`super::answer::signed`] reads the answer.
pub fn sign(object_key: &str, parts: &[PartChecksum]) -> Request {
    Request::json(Method::POST, route::sign(&segment(object_key)), &SignRequest { parts: parts.to_vec() })
}

/// Sends a part; the caller supplies its bytes. [`super::answer::part_stored`] reads the answer.
///
/// # Errors
/// [`Code::BadAnswer`] if the grant is for another part or says headers that cannot be sent.
pub fn put_part(grant: &Grant, part: &PartChecksum) -> Result<Request, Failure> {
    if grant.number != part.number {
        return Err(bad_grant("it is for another part"));
    }
    let mut request = Request::to(Method::PUT, Target::Url(grant.url.clone()));
    for (name, value) in grant_headers(grant)? {
        match name.as_str() {
            // The carrier writes it, once, from the body's own length.
            "content-length" if value == part.length.to_string().as_str() => {}
            "content-length" => return Err(bad_grant("it is for another length")),
            _ => request.headers.push((Cow::Owned(name.as_str().to_owned()), text(&value)?)),
        }
    }
    let crc32c = route::crc32c_text(part.crc32c);
    match request.headers.iter().find(|(name, _)| name == route::CRC32C_HEADER) {
        Some((_, granted)) if *granted != crc32c => return Err(bad_grant("it is for another checksum")),
        Some(_) => {}
        None => request.headers.push((Cow::Borrowed(route::CRC32C_HEADER), crc32c)),
    }
    request.body = RequestBody::Stream { length: part.length };
    Ok(request)
}

/// Asks what the server holds of an upload. [`super::answer::status_of`] reads the answer.
pub fn status(object_key: &str) -> Request {
    Request::get(route::upload(&segment(object_key)))
}

/// Completes an upload. [`super::answer::completed`] reads the answer.
pub fn complete(object_key: &str, parts: &CompleteUpload) -> Request {
    Request::json(Method::POST, route::complete(&segment(object_key)), parts)
}

/// Abandons an upload. [`super::answer::abandoned`] reads the answer.
pub fn abandon(object_key: &str) -> Request {
    Request::to(Method::DELETE, Target::Path(route::upload(&segment(object_key))))
}

/// Registers a file: the frozen JSON of a [`landfall_protocol::NewFile`], byte for byte the same each time.
/// [`super::answer::registered`] reads the answer.
pub fn register(frozen_body: Bytes) -> Request {
    Request { body: RequestBody::Json(frozen_body), ..Request::to(Method::POST, Target::Path(route::FILES.to_owned())) }
}

/// Replaces owner's metadata. [`super::answer::magic_updated`] reads the answer.
pub fn magic_update(updates: &MagicUpdates) -> Request {
    Request::json(Method::PUT, route::MAGIC_METADATA, updates)
}

/// Asks for the key attributes. [`super::answer::keys`] reads the answer.
pub fn keys() -> Request {
    Request::get(route::KEYS)
}

/// Stores key attributes if there are none. [`super::answer::keys_stored`] reads the answer.
pub fn create_keys(keys: &KeyAttributes) -> Request {
    let mut request = Request::json(Method::PUT, route::KEYS, keys);
    request.headers.push((Cow::Borrowed("if-none-match"), "*".to_owned()));
    request
}

/// Replaces the key attributes of this version. [`super::answer::keys_stored`] reads the answer.
pub fn replace_keys(keys: &KeyAttributes, version: u32) -> Request {
    let mut request = Request::json(Method::PUT, route::KEYS, keys);
    request.headers.push((Cow::Borrowed("if-match"), format!("\"{version}\"")));
    request
}

/// Asks who the token speaks for. [`super::answer::account`] reads the answer.
pub fn account() -> Request {
    Request::get(route::ACCOUNT)
}

/// Asks for all collections. [`super::answer::collections`] reads the answer.
pub fn collections() -> Request {
    Request::get(format!("{}?sinceTime=0", route::COLLECTIONS_LIST))
}

/// Creates a collection. [`super::answer::collection_created`] reads the answer.
pub fn create_collection(collection: &NewCollection) -> Request {
    Request::json(Method::POST, route::COLLECTIONS, collection)
}

/// Asks for the changes after a cursor, at most `limit` of them. [`super::answer::diff`] reads the answer.
pub fn diff(since: i64, limit: u32) -> Request {
    Request::get(format!("{}?since={since}&limit={}", route::DIFF, limit.clamp(1, DIFF_PAGE_MAX)))
}

/// Asks for one record. [`super::answer::file`] reads the answer.
pub fn file(id: i64) -> Request {
    Request::get(route::file(id))
}

/// Asks for a file's content. The answer is a redirect, which [`super::Vault::stream`] follows.
pub fn download(id: i64) -> Request {
    Request::get(route::download(id))
}

/// Asks for a file's thumbnail. The answer is a redirect, which [`super::Vault::stream`] follows.
pub fn preview(id: i64) -> Request {
    Request::get(route::preview(id))
}

/// Removes files. [`super::answer::trashed`] reads the answer.
pub fn trash(request: &TrashRequest) -> Request {
    Request::json(Method::POST, route::TRASH, request)
}

/// Asks for the bytes behind a signed URL, from a byte on. [`super::answer::fetched`] reads the answer's head.
pub fn fetch(url: impl Into<String>, from: Option<u64>) -> Request {
    Request::to(Method::GET, Target::Url(url.into())).from_byte(from.unwrap_or(0))
}

/// The headers a grant asks for, if a request may carry them.
pub(super) fn grant_headers(grant: &Grant) -> Result<Vec<(HeaderName, HeaderValue)>, Failure> {
    if grant.headers.len() > GRANT_HEADERS_MAX {
        return Err(bad_grant("it asks for too many headers"));
    }
    let mut headers = Vec::with_capacity(grant.headers.len());
    for (name, value) in &grant.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad_grant("a header's name is none"))?;
        let value = HeaderValue::from_str(value).map_err(|_| bad_grant("a header's value is none"))?;
        if FRAMING_HEADERS.contains(&name.as_str()) {
            return Err(bad_grant("it asks for a header that is not its to set"));
        }
        headers.push((name, value));
    }
    Ok(headers)
}

fn text(value: &HeaderValue) -> Result<String, Failure> {
    value.to_str().map(str::to_owned).map_err(|_| bad_grant("a header's value is not ASCII"))
}

fn bad_grant(why: &str) -> Failure {
    Failure::new(Remedy::Retry, Code::BadAnswer, format!("the server gave a grant that cannot be used: {why}"))
}

/// An object key as one segment of a path, whatever is in it.
fn segment(object_key: &str) -> String {
    let mut text = String::with_capacity(object_key.len());
    for byte in object_key.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

const GRANT_HEADERS_MAX: usize = 32;

/// Headers that say where a message goes, where it ends, or who sends it. A grant that could set them could reach
/// further than one part.
const FRAMING_HEADERS: [&str; 12] = [
    "authorization",
    "connection",
    "cookie",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    route::TOKEN_HEADER,
];

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} ({:?})", self.method, self.target, self.body)
    }
}

impl fmt::Debug for Target {
    /// Leaves out what a URL carries its right in.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => f.write_str(path),
            Self::Url(_) => f.write_str("<signed URL>"),
        }
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("empty"),
            Self::Json(text) => write!(f, "{} bytes of JSON", text.len()),
            Self::Stream { length } => write!(f, "{length} bytes"),
        }
    }
}
