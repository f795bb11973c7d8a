//! Like with like: their request with ours, and what we make of theirs.

use std::{borrow::Cow, collections::BTreeMap};

use landfall_transport::s3::{self, Payload, Request};
use quick_xml::{Reader, events::Event};

use crate::{
    case::{Case, Operation},
    sdk::Caught,
};

/// Headers of the SDK that say something of the SDK.
const THEIR_OWN: &[&str] =
    &["amz-sdk-invocation-id", "amz-sdk-request", "x-amz-user-agent", "user-agent", "authorization"];
/// Headers that every signature adds.
const OF_SIGNATURES: &[&str] =
    &["host", "x-amz-date", "x-amz-content-sha256", "x-amz-security-token", "content-length"];

/// Method, address, headers and body are the same.
pub fn request(case: &Case, theirs: &Caught) -> Result<(), String> {
    let request = case.request();
    let ours =
        s3::sign(&request, &case.place(), &case.credentials(), case.timestamp()).map_err(|error| error.to_string())?;
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in &ours.headers {
        headers.insert(name.as_str().to_owned(), value.to_str().expect("ASCII").to_owned());
    }
    let authority = without_default_port(&theirs.url).split('/').nth(2).map(str::to_owned);
    equal("host", headers.remove("host"), authority)?;
    for name in THEIR_OWN {
        headers.remove(*name);
    }
    let mut their_headers: BTreeMap<_, _> = theirs.headers.iter().cloned().collect();
    for name in THEIR_OWN {
        their_headers.remove(*name);
    }
    // The SDK gives bytes that nobody describes a type.
    if !headers.contains_key("content-type") && their_headers.get("content-type").is_some_and(|kind| kind == OCTETS) {
        their_headers.remove("content-type");
    }
    // The same list of parts can be written in several ways.
    if let Operation::Complete { .. } = &case.operation {
        for name in ["content-length", "x-amz-content-sha256"] {
            headers.remove(name);
            their_headers.remove(name);
        }
    }
    // We say that an empty body of a POST is empty.
    if headers.get("content-length").is_some_and(|length| length == "0")
        && !their_headers.contains_key("content-length")
    {
        headers.remove("content-length");
    }
    equal("headers", &headers, &their_headers)?;
    equal("method", ours.method.as_str(), theirs.method.as_str())?;
    address(&ours.uri.to_string(), &theirs.url, case)?;
    body(&request.payload, &theirs.body)
}

/// We sign their request as they did.
pub fn signature(case: &Case, theirs: &Caught) -> Result<(), String> {
    let find = |name: &str| theirs.headers.iter().find(|(theirs, _)| theirs == name).map(|(_, value)| value.as_str());
    let authorization = find("authorization").ok_or("they sign nothing")?;
    let signed = between(authorization, "SignedHeaders=", ",").ok_or("they name no headers")?;
    let payload = match find("x-amz-content-sha256").ok_or("they name no hash")? {
        _ if !is_signed(signed, "content-length") => Payload::Empty,
        "UNSIGNED-PAYLOAD" => Payload::Stream { length: theirs.body.len() as u64, sha256: None },
        _ => Payload::Bytes(theirs.body.clone().into()),
    };
    let request = as_ours(case, theirs, signed, payload)?;
    let ours =
        s3::sign(&request, &case.place(), &case.credentials(), case.timestamp()).map_err(|error| error.to_string())?;
    equal("authorization", ours.headers["authorization"].to_str().expect("ASCII"), authorization)
}

/// We make their URL as they did, and ours leads to the same.
pub fn presigned(case: &Case, theirs: &Caught) -> Result<(), String> {
    let (_, query) = theirs.url.split_once('?').ok_or("they sign nothing")?;
    let signed =
        pairs(query)?.into_iter().find(|(name, _)| name == "X-Amz-SignedHeaders").ok_or("they name no headers")?.1;
    let length = theirs.headers.iter().find(|(name, _)| name == "content-length").map(|(_, value)| value.parse());
    let payload = match length {
        Some(length) => Payload::Stream { length: length.map_err(|_| "a length that is none")?, sha256: None },
        None => Payload::Empty,
    };
    let request = as_ours(case, theirs, &signed, payload)?;
    let (place, credentials) = (case.place(), case.credentials());
    let ours = s3::presign(&request, &place, &credentials, case.timestamp(), case.expires)
        .map_err(|error| error.to_string())?;
    let sorted = |url: &str| -> Result<_, String> {
        let (path, query) = url.split_once('?').ok_or("no query")?;
        let mut pairs = pairs(query)?;
        pairs.sort();
        Ok((without_default_port(path), pairs))
    };
    equal("presigned", sorted(&ours.url)?, sorted(&theirs.url)?)?;
    let own = s3::presign(&case.request(), &place, &credentials, case.timestamp(), case.expires);
    let own = own.map_err(|error| error.to_string())?;
    address(&own.url, &theirs.url, case)?;
    // What we want to be sent, they want as well; they leave out what a HEAD says of checksums.
    let described =
        own.headers.iter().filter(|(name, _)| name != "x-amz-checksum-mode").cloned().collect::<BTreeMap<_, _>>();
    equal("presigned headers", described, theirs.headers.iter().cloned().collect())
}

const OCTETS: &str = "application/octet-stream";

/// Their request as one of ours, with what they signed and nothing else.
fn as_ours(case: &Case, theirs: &Caught, signed: &str, payload: Payload) -> Result<Request, String> {
    let ours = case.request();
    let (_, query) = theirs.url.split_once('?').unwrap_or((&theirs.url, ""));
    let query = pairs(query)?.into_iter().filter(|(name, _)| !name.starts_with("X-Amz-"));
    let headers =
        theirs.headers.iter().filter(|(name, _)| is_signed(signed, name) && !OF_SIGNATURES.contains(&name.as_str()));
    Ok(Request {
        query: query.map(|(name, value)| (Cow::Owned(name), value)).collect(),
        headers: headers.map(|(name, value)| (Cow::Owned(name.clone()), value.clone())).collect(),
        payload,
        ..ours
    })
}

fn is_signed(signed: &str, name: &str) -> bool {
    signed.split(';').any(|signed| signed == name)
}

/// Both lead to the same place, and ask the same.
fn address(ours: &str, theirs: &str, case: &Case) -> Result<(), String> {
    let split = |url: &str| -> Result<_, String> {
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        let mut pairs = pairs(query)?;
        // The SDK names the operation for those who read logs.
        pairs.retain(|(name, value)| !(name.starts_with("X-Amz-") || name == "x-id" && value == case.operation.name()));
        pairs.sort();
        Ok((without_default_port(path), pairs))
    };
    equal("address", split(ours)?, split(theirs)?)
}

/// The list of parts says the same; any other body is the same.
fn body(ours: &Payload, theirs: &[u8]) -> Result<(), String> {
    match ours {
        Payload::Empty => equal("body", &b""[..], theirs),
        Payload::Stream { length, .. } => equal("length of the body", *length, theirs.len() as u64),
        Payload::Bytes(ours) if ours.starts_with(b"<CompleteMultipartUpload") => {
            equal("list of parts", elements(ours)?, elements(theirs)?)
        }
        Payload::Bytes(ours) => equal("body", &ours[..], theirs),
    }
}

/// Parts with their children in the order of names, which has no meaning.
fn elements(document: &[u8]) -> Result<Vec<BTreeMap<String, String>>, String> {
    let text = std::str::from_utf8(document).map_err(|error| error.to_string())?;
    let (mut reader, mut parts, mut names) = (Reader::from_str(text), Vec::new(), Vec::new());
    loop {
        let mut add = |names: &[String], text: &str| {
            if let ([_, _, name], Some(part)) = (names, parts.last_mut()) {
                let part: &mut BTreeMap<String, String> = part;
                part.entry(name.clone()).or_default().push_str(text);
            }
        };
        match reader.read_event().map_err(|error| error.to_string())? {
            Event::Start(tag) => {
                names.push(tag.local_name().into_inner().to_owned());
                if names.len() == 2 {
                    parts.push(BTreeMap::new());
                }
            }
            Event::End(_) => drop(names.pop()),
            Event::Text(text) => add(&names, &text),
            Event::GeneralRef(entity) => {
                let char = entity.resolve_char_ref().map_err(|error| error.to_string())?;
                match char {
                    Some(char) => add(&names, &char.to_string()),
                    None => add(&names, quick_xml::escape::resolve_predefined_entity(&entity).ok_or("an entity")?),
                }
            }
            Event::Eof => return Ok(parts),
            _ => {}
        }
    }
}

/// Names and values of a query, decoded.
fn pairs(query: &str) -> Result<Vec<(String, String)>, String> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((decoded(name)?, decoded(value)?))
    };
    query.split('&').filter(|pair| !pair.is_empty()).map(pair).collect()
}

fn decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'+' {
            return Err(format!("a plus that may be a space: {text}"));
        }
        let escaped = (*first == b'%').then(|| after.get(..2).ok_or("a torn escape")).transpose()?;
        match escaped {
            Some(digits) => {
                bytes.extend(hex::decode(digits).map_err(|error| error.to_string())?);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).map_err(|error| error.to_string())
}

/// A URL, or the beginning of one, without `:443` of `https` or `:80` of `http`.
fn without_default_port(url: &str) -> String {
    let port = if url.starts_with("https:") { ":443" } else { ":80" };
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    format!("{scheme}://{}{path}", authority.strip_suffix(port).unwrap_or(authority))
}

fn between<'t>(text: &'t str, begin: &str, end: &str) -> Option<&'t str> {
    text.split_once(begin)?.1.split_once(end).map(|(inside, _)| inside)
}

fn equal<T: PartialEq + std::fmt::Debug>(what: &str, ours: T, theirs: T) -> Result<(), String> {
    if ours == theirs { Ok(()) } else { Err(format!("{what} differ\n  ours:   {ours:?}\n  theirs: {theirs:?}")) }
}
