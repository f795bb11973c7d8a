//! Which request performs a step. Nothing here sends.

use http::Method;
use landfall_protocol::{LANE_PAGE_MAX, NewMessage, route};

use crate::vault::{Request, Target};

/// Asks for leave to put one payload of exactly so many bytes. [`super::answer::presigned`] reads the answer.
pub fn presigned(content_type: &str, bytes: u64) -> Request {
    // The server ignores the name, and need not know it.
    Request::get(route::presigned(content_type, "", Some(bytes)))
}

/// Asks whether a payload is at an address, without fetching it. [`super::answer::is_there`] reads the answer.
pub fn head(asset_url: &str) -> Request {
    Request::to(Method::HEAD, Target::Url(asset_url.to_owned()))
}

/// Fetches a payload.
pub fn fetch(asset_url: &str) -> Request {
    Request::to(Method::GET, Target::Url(asset_url.to_owned()))
}

/// Appends a message to a lane. Harmless when done twice. [`super::answer::appended`] reads the answer.
pub fn append(lane: &str, message: &NewMessage) -> Request {
    Request::json(Method::POST, route::messages(lane), message)
}

/// Reads what follows a number in a lane. [`super::answer::page`] reads the answer.
pub fn messages(lane: &str, after: u64) -> Request {
    Request::get(format!("{}?after={after}&limit={LANE_PAGE_MAX}", route::messages(lane)))
}
