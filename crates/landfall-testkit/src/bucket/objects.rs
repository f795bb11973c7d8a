//! Objects in one piece: put, read, removed.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use md5::{Digest as _, Md5};

use super::{
    State,
    checksum::{self, Algorithm, Cover, Kept},
    moment,
    profile::IfNoneMatch,
    refusal::{Refusal, Reply},
    service::Call,
    signature::hex,
    state::Object,
};

impl State {
    pub(super) fn put_object(&mut self, call: &Call<'_>) -> Result<Reply, Refusal> {
        check_key(&call.asked.key)?;
        let claimed = checksum::verify(&call.head.headers, &call.body, &self.profile)?;
        if self.profile.put_if_none_match == IfNoneMatch::NotImplemented
            && call.head.headers.contains_key("if-none-match")
        {
            return Err(Refusal::not_implemented("`If-None-Match` is not implemented"));
        }
        self.check_condition(call, self.profile.put_if_none_match)?;
        let kept = claimed.map(|(algorithm, text)| Kept { algorithm, cover: Cover::FullObject, text });
        let added = || {
            let algorithm = Algorithm::Crc64Nvme;
            Kept { algorithm, cover: Cover::FullObject, text: algorithm.text(&call.body) }
        };
        let object = Object {
            bucket: call.asked.bucket.clone(),
            key: call.asked.key.clone(),
            bytes: call.body.clone(),
            etag: hex(&Md5::digest(&call.body)),
            headers: kept_headers(&call.head.headers),
            parts: Vec::new(),
            modified_ms: call.now_ms,
            checksum: kept.or_else(|| self.profile.adds_checksums.then(added)),
        };
        let reply = with_checksum(Reply::empty(StatusCode::OK).with("etag", quoted(&object.etag)), &object.checksum);
        self.objects.insert((object.bucket.clone(), object.key.clone()), object);
        Ok(reply)
    }

    /// GetObject and HeadObject. The body of an answer to HEAD is taken away later.
    pub(super) fn get_object(&self, call: &Call<'_>) -> Result<Reply, Refusal> {
        let object = self.found(call)?;
        let etag = quoted(&object.etag);
        let condition =
            |name: &str| call.header(name).map(|value| value == "*" || value == etag || value == object.etag);
        if condition("if-match") == Some(false) {
            return Err(precondition_failed("If-Match"));
        }
        if condition("if-none-match") == Some(true) {
            return Ok(Reply::empty(StatusCode::NOT_MODIFIED).with("etag", etag));
        }
        let length = object.bytes.len() as u64;
        let range = call.header("range").map_or(Ok(None), |range| byte_range(range, length))?;
        let mut reply = Reply::empty(StatusCode::OK)
            .with("etag", etag)
            .with("last-modified", moment::http(object.modified_ms))
            .with("accept-ranges", "bytes");
        reply = match range {
            Some((from, to)) => {
                Reply { status: StatusCode::PARTIAL_CONTENT, body: slice(&object.bytes, from, to), ..reply }
                    .with("content-range", format!("bytes {from}-{}/{length}", to - 1))
            }
            None => Reply { body: object.bytes.clone(), ..reply },
        };
        if !object.headers.contains_key("content-type") {
            reply = reply.with("content-type", "binary/octet-stream");
        }
        reply = object.headers.iter().fold(reply, |reply, (name, value)| reply.with(name, value));
        if call.head.method == Method::HEAD {
            reply = reply.with_length();
        }
        let wants_checksum =
            call.header("x-amz-checksum-mode").is_some_and(|mode| mode.eq_ignore_ascii_case("enabled"));
        Ok(if wants_checksum && range.is_none() { with_checksum(reply, &object.checksum) } else { reply })
    }

    pub(super) fn delete_object(&mut self, call: &Call<'_>) -> Result<Reply, Refusal> {
        self.objects.remove(&call.place());
        Ok(Reply::empty(StatusCode::NO_CONTENT))
    }

    /// Refuses what was to be written only if nothing is there, or only over one object, if something else is.
    pub(super) fn check_condition(&self, call: &Call<'_>, obedience: IfNoneMatch) -> Result<(), Refusal> {
        if let Some(wanted) = call.header("if-match") {
            return match obedience {
                IfNoneMatch::NotImplemented => Err(Refusal::not_implemented("`If-Match` is not implemented")),
                IfNoneMatch::Ignored => Ok(()),
                IfNoneMatch::Obeyed | IfNoneMatch::Conflict => match self.objects.get(&call.place()) {
                    Some(object) if quoted(&object.etag) == wanted => Ok(()),
                    Some(_) => Err(precondition_failed("If-Match")),
                    None => Err(Refusal::new(404, "NoSuchKey", "there is no object of this key")),
                },
            };
        }
        let Some(condition) = call.header("if-none-match") else { return Ok(()) };
        if condition != "*" {
            return Err(Refusal::not_implemented("`If-None-Match` on a write takes `*` alone"));
        }
        let is_there = self.objects.contains_key(&call.place());
        match obedience {
            IfNoneMatch::NotImplemented => Err(Refusal::not_implemented("`If-None-Match` is not implemented")),
            IfNoneMatch::Obeyed if is_there => Err(precondition_failed("If-None-Match")),
            IfNoneMatch::Conflict if is_there => {
                let message = "another request for this key was under way; begin again";
                Err(Refusal::new(409, "ConditionalRequestConflict", message).saying("Condition", "If-None-Match"))
            }
            _ => Ok(()),
        }
    }

    fn found(&self, call: &Call<'_>) -> Result<&Object, Refusal> {
        let missing = || {
            let key = &call.asked.key;
            if call.may_list {
                Refusal::new(404, "NoSuchKey", "there is no object of this key").saying("Key", key)
            } else {
                Refusal::access_denied("who may not list is not told what is missing")
            }
        };
        self.objects.get(&call.place()).ok_or_else(missing)
    }
}

/// The headers of a request that become an object's.
pub(super) fn kept_headers(headers: &HeaderMap) -> BTreeMap<String, String> {
    let is_kept = |name: &str| name.starts_with("x-amz-meta-") || KEPT_HEADERS.contains(&name);
    (headers.iter())
        .filter(|(name, _)| is_kept(name.as_str()))
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect()
}

pub(super) fn check_key(key: &str) -> Result<(), Refusal> {
    if key.len() > KEY_BYTES_MAX {
        return Err(Refusal::new(400, "KeyTooLongError", format!("a key has at most {KEY_BYTES_MAX} bytes")));
    }
    Ok(())
}

pub(super) fn quoted(etag: &str) -> String {
    format!("\"{etag}\"")
}

pub(super) fn with_checksum(reply: Reply, checksum: &Option<Kept>) -> Reply {
    match checksum {
        Some(kept) => reply.with(&kept.algorithm.header(), &kept.text).with("x-amz-checksum-type", kept.cover.name()),
        None => reply,
    }
}

fn precondition_failed(condition: &str) -> Refusal {
    Refusal::new(412, "PreconditionFailed", "a condition of the request does not hold").saying("Condition", condition)
}

/// From and to of one range of bytes, the end not included; `None` means all, as where several are asked for.
fn byte_range(header: &str, length: u64) -> Result<Option<(u64, u64)>, Refusal> {
    let Some((first, last)) = header.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Ok(None);
    };
    let range = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => (first, last.saturating_add(1).min(length)),
        (Ok(first), Err(_)) if last.is_empty() => (first, length),
        (Err(_), Ok(last)) if first.is_empty() => (length.saturating_sub(last), length),
        _ => return Ok(None),
    };
    if range.0 >= range.1 {
        let refusal = Refusal::new(416, "InvalidRange", "the object has no such bytes");
        return Err(refusal
            .saying("ActualObjectSize", length.to_string())
            .with_header("content-range", format!("bytes */{length}")));
    }
    Ok(Some(range))
}

fn slice(bytes: &Bytes, from: u64, to: u64) -> Bytes {
    let index = |at: u64| usize::try_from(at).expect("a range within an object fits into memory");
    bytes.slice(index(from)..index(to))
}

const KEY_BYTES_MAX: usize = 1024;
const KEPT_HEADERS: [&str; 6] =
    ["cache-control", "content-disposition", "content-encoding", "content-language", "content-type", "expires"];
