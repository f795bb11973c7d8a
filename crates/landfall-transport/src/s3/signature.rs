//! Signature Version 4: how a request proves who sends it, and when.
//!
//! A request is written in one *canonical* way, hashed, and the hash signed with a key that is derived from the secret for
//! one day, one region and S3. The store does the same with what arrives, so that nothing in it can be changed on the
//! way, nor the request be used again after a quarter of an hour. [`sign`] puts the signature into a header; [`presign`]
//! into a URL, which then carries its own right for as long as it says.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html> and
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html>.

use std::{fmt, time::Duration};

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Uri,
    header::{AUTHORIZATION, CONTENT_LENGTH, HOST, USER_AGENT},
    request::Parts,
    uri::{Authority, PathAndQuery, Scheme},
};
use landfall_core::{Code, Failure, Remedy, Timestamp};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{Credentials, Payload, Place, Request, Style, moment::Stamp, percent};

/// The head of the HTTP request, signed: good for some minutes around `now`, at this place alone.
///
/// All headers are signed but `User-Agent`, and the length of nothing, which may get lost. `Authorization` and the session token are marked sensitive.
///
/// # Errors
/// A failure that blocks, if no such request can be: a key that is empty or too long, a header that cannot be sent, a
/// clock that was never set.
pub fn sign(request: &Request, place: &Place, credentials: &Credentials, now: Timestamp) -> Result<Parts, Failure> {
    let stamp = Stamp::of(now)?;
    let target = Target::of(request, place)?;
    let mut headers = headers_of(request, &target)?;
    let payload = payload_hash(&request.payload);
    put(&mut headers, HeaderName::from_static("x-amz-date"), stamp.as_str())?;
    put(&mut headers, HeaderName::from_static("x-amz-content-sha256"), &payload)?;
    if let Some(token) = credentials.session_token() {
        put(&mut headers, HeaderName::from_static("x-amz-security-token"), token)?.set_sensitive(true);
    }

    let names = signed_names(&headers);
    let canonical = Canonical {
        method: &request.method,
        path: &target.path,
        query: canonical_query(&target.query),
        headers: &headers,
        names: &names,
        payload: &payload,
    };
    let scope = scope(&stamp, place);
    let signature = canonical.signature(&stamp, place, credentials, &scope);
    let authorization = format!(
        "{ALGORITHM} Credential={}/{scope}, SignedHeaders={}, Signature={signature}",
        credentials.access_key(),
        names.join(";"),
    );
    put(&mut headers, AUTHORIZATION, &authorization)?.set_sensitive(true);
    if request.payload == Payload::Empty && matches!(request.method, Method::PUT | Method::POST) {
        put(&mut headers, CONTENT_LENGTH, "0")?;
    }
    put(&mut headers, USER_AGENT, concat!("landfall/", env!("CARGO_PKG_VERSION")))?;

    let mut parts = http::Request::new(()).into_parts().0;
    parts.method = request.method.clone();
    parts.uri = target.uri()?;
    parts.headers = headers;
    Ok(parts)
}

/// A URL that carries the right to one request, and the headers that whoever uses it must send: exactly these, besides
/// `Host`. The length of a payload is among them, so that nothing longer can be sent; the payload itself is not signed.
#[derive(Clone, PartialEq, Eq)]
pub struct Presigned {
    /// The URL. Whoever knows it can use it.
    pub url: String,
    /// Names in lower case, and values. They are signed: a checksum that stood in the URL instead would not be looked at.
    pub headers: Vec<(String, String)>,
}

impl fmt::Debug for Presigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Presigned(…)")
    }
}

/// Makes a URL for `request` that is good for `expires`, a second to a week, from `now` on; and no longer than the
/// credentials.
///
/// # Errors
/// As [`sign`], and if it shall last shorter or longer than a URL can.
pub fn presign(
    request: &Request,
    place: &Place,
    credentials: &Credentials,
    now: Timestamp,
    expires: Duration,
) -> Result<Presigned, Failure> {
    if expires < EXPIRES_MIN || expires > EXPIRES_MAX {
        return Err(misuse("a signed URL is good for a second to seven days; ask for a time between"));
    }
    let stamp = Stamp::of(now)?;
    let mut target = Target::of(request, place)?;
    let headers = headers_of(request, &target)?;
    let names = signed_names(&headers);
    let scope = scope(&stamp, place);
    let mut own = |name: &str, value: &str| target.query.push((name.to_owned(), percent::component(value)));
    own("X-Amz-Algorithm", ALGORITHM);
    own("X-Amz-Credential", &format!("{}/{scope}", credentials.access_key()));
    own("X-Amz-Date", stamp.as_str());
    own("X-Amz-Expires", &expires.as_secs().to_string());
    own("X-Amz-SignedHeaders", &names.join(";"));
    if let Some(token) = credentials.session_token() {
        own("X-Amz-Security-Token", token);
    }

    let canonical = Canonical {
        method: &request.method,
        path: &target.path,
        query: canonical_query(&target.query),
        headers: &headers,
        names: &names,
        payload: UNSIGNED_PAYLOAD,
    };
    let signature = canonical.signature(&stamp, place, credentials, &scope);
    target.query.push(("X-Amz-Signature".to_owned(), signature));
    let url = target.uri()?.to_string();
    let sent = headers.iter().filter(|(name, _)| *name != HOST);
    let text = |value: &HeaderValue| value.to_str().expect("it was made from ASCII").to_owned();
    Ok(Presigned { url, headers: sent.map(|(name, value)| (name.as_str().to_owned(), text(value))).collect() })
}

/// Where a request goes, each piece encoded as it is sent.
struct Target {
    scheme: Scheme,
    /// Host and port, without the scheme's own port.
    host: String,
    path: String,
    query: Vec<(String, String)>,
}

impl Target {
    fn of(request: &Request, place: &Place) -> Result<Self, Failure> {
        let key = match request.key.as_deref() {
            None => "",
            Some("") => return Err(misuse("an object's key is empty; give it a name")),
            Some(key) if key.len() > KEY_BYTES_MAX => {
                return Err(misuse(
                    "an object's key is longer than 1024 bytes, more than S3 takes; give it a shorter name",
                ));
            }
            Some(key) => key,
        };
        let endpoint = place.endpoint();
        let is_default = endpoint.port() == if *endpoint.scheme() == Scheme::HTTPS { 443 } else { 80 };
        let port = if is_default { String::new() } else { format!(":{}", endpoint.port()) };
        let (bucket, host) = (place.bucket(), endpoint.host());
        let (host, path) = match place.style() {
            Style::VirtualHost => (format!("{bucket}.{host}{port}"), format!("/{}", percent::path(key))),
            Style::Path => (format!("{host}{port}"), format!("/{bucket}/{}", percent::path(key))),
        };
        let query = request.query.iter().map(|(name, value)| (percent::component(name), percent::component(value)));
        Ok(Self { scheme: endpoint.scheme().clone(), host, path, query: query.collect() })
    }

    /// The absolute URI, byte for byte what was signed.
    fn uri(&self) -> Result<Uri, Failure> {
        let too_long = |_| misuse("a request's address is too long to be sent; give the object a shorter name");
        // What is no pair is written without an equals sign: not all stores know `?uploads=`.
        let pair = |(name, value): &(String, String)| match value.as_str() {
            "" => name.clone(),
            value => format!("{name}={value}"),
        };
        let mut target = self.path.clone();
        if !self.query.is_empty() {
            target.push('?');
            target.push_str(&self.query.iter().map(pair).collect::<Vec<_>>().join("&"));
        }
        let target = PathAndQuery::from_maybe_shared(Bytes::from(target)).map_err(too_long)?;
        let host: Authority = self.host.parse().map_err(too_long)?;
        let uri = Uri::builder().scheme(self.scheme.clone()).authority(host).path_and_query(target).build();
        Ok(uri.expect("an absolute URI has all its pieces"))
    }
}

/// The headers of the request that are sent and signed wherever the signature stands.
fn headers_of(request: &Request, target: &Target) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| misuse("a header's name cannot be sent; use ASCII letters, digits and hyphens"))?;
        headers.try_append(name, header_value(value)?).map_err(|_| misuse("a request has too many headers"))?;
    }
    for ours in [AUTHORIZATION, USER_AGENT] {
        headers.remove(ours);
    }
    put(&mut headers, HOST, &target.host)?;
    headers.remove(CONTENT_LENGTH);
    let length = match &request.payload {
        Payload::Empty => None,
        Payload::Bytes(bytes) => Some(bytes.len() as u64),
        Payload::Stream { length, .. } => Some(*length),
    };
    if let Some(length) = length {
        put(&mut headers, CONTENT_LENGTH, &length.to_string())?;
    }
    Ok(headers)
}

fn put<'h>(headers: &'h mut HeaderMap, name: HeaderName, value: &str) -> Result<&'h mut HeaderValue, Failure> {
    let value = header_value(value)?;
    headers.try_insert(name.clone(), value).map_err(|_| misuse("a request has too many headers"))?;
    Ok(headers.get_mut(&name).expect("it was inserted just now"))
}

fn header_value(text: &str) -> Result<HeaderValue, Failure> {
    // Other characters may arrive as others than were signed.
    let value = HeaderValue::from_str(text).ok().filter(|_| text.is_ascii());
    value.ok_or_else(|| misuse("a header's value cannot be sent; use ASCII characters on one line"))
}

fn signed_names(headers: &HeaderMap) -> Vec<&str> {
    let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    names
}

fn canonical_query(query: &[(String, String)]) -> String {
    let mut pairs: Vec<_> = query.iter().collect();
    pairs.sort_unstable();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

fn payload_hash(payload: &Payload) -> String {
    match payload {
        Payload::Empty => hex::encode(Sha256::digest([])),
        Payload::Bytes(bytes) => hex::encode(Sha256::digest(bytes)),
        Payload::Stream { sha256: Some(hash), .. } => hex::encode(hash),
        Payload::Stream { sha256: None, .. } => UNSIGNED_PAYLOAD.to_owned(),
    }
}

/// What a signature is good for besides the request.
fn scope(stamp: &Stamp, place: &Place) -> String {
    format!("{}/{}/{SERVICE}/{TERMINATOR}", stamp.day(), place.region())
}

/// A request as both sides write it before they hash it.
struct Canonical<'a> {
    method: &'a Method,
    path: &'a str,
    query: String,
    headers: &'a HeaderMap,
    names: &'a [&'a str],
    payload: &'a str,
}

impl Canonical<'_> {
    fn signature(&self, stamp: &Stamp, place: &Place, credentials: &Credentials, scope: &str) -> String {
        let hash = hex::encode(Sha256::digest(self.text()));
        let to_sign = format!("{ALGORITHM}\n{}\n{scope}\n{hash}", stamp.as_str());
        let secret = Zeroizing::new(format!("AWS4{}", credentials.secret()));
        let of_day = hmac(secret.as_bytes(), stamp.day());
        let of_region = hmac(of_day.as_ref(), place.region());
        let of_service = hmac(of_region.as_ref(), SERVICE);
        let key = hmac(of_service.as_ref(), TERMINATOR);
        hex::encode(hmac(key.as_ref(), &to_sign))
    }

    fn text(&self) -> String {
        let mut text = format!("{}\n{}\n{}\n", self.method, self.path, self.query);
        for name in self.names {
            let values = self.headers.get_all(*name).iter().map(|value| one_space_each(value.as_bytes()));
            text.push_str(&format!("{name}:{}\n", values.collect::<Vec<_>>().join(",")));
        }
        text.push_str(&format!("\n{}\n{}", self.names.join(";"), self.payload));
        text
    }
}

/// A header's value without spaces around it, and never two in a row.
fn one_space_each(value: &[u8]) -> String {
    let text = std::str::from_utf8(value).expect("it was made from ASCII");
    text.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

fn hmac(key: &[u8], text: &str) -> Zeroizing<[u8; 32]> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    Zeroizing::new(mac.finalize().into_bytes().into())
}

fn misuse(what: &str) -> Failure {
    Failure::new(Remedy::Block, Code::Refused, what)
}

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const SERVICE: &str = "s3";
const TERMINATOR: &str = "aws4_request";
const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";
const EXPIRES_MIN: Duration = Duration::from_secs(1);
const EXPIRES_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>
const KEY_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::Origin;

    /// The examples of the pages that the module names.
    #[test]
    fn requests_are_signed_as_in_amazons_examples() {
        let range = ("range", "bytes=0-9");
        for (key, query, header, signed_headers, signature) in [
            (
                Some("test.txt"),
                &[][..],
                Some(range),
                "host;range;x-amz-content-sha256;x-amz-date",
                "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
            ),
            (
                None,
                &[("lifecycle", "")],
                None,
                "host;x-amz-content-sha256;x-amz-date",
                "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
            ),
            (
                None,
                &[("prefix", "J"), ("max-keys", "2")],
                None,
                "host;x-amz-content-sha256;x-amz-date",
                "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
            ),
        ] {
            let request = Request {
                method: Method::GET,
                key: key.map(str::to_owned),
                query: query.iter().map(|(name, value)| ((*name).into(), value.to_string())).collect(),
                headers: header.iter().map(|(name, value)| ((*name).into(), value.to_string())).collect(),
                payload: Payload::Empty,
            };
            let parts = sign(&request, &place(), &credentials(), NOW).unwrap();
            let authorization = &parts.headers[AUTHORIZATION];
            let expected = format!(
                "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, \
                 SignedHeaders={signed_headers}, Signature={signature}"
            );
            assert_eq!(authorization.to_str().unwrap(), expected);
            assert!(authorization.is_sensitive());
            assert_eq!(parts.headers[HOST], HOST_OF_EXAMPLES);
            assert!(parts.headers.contains_key(USER_AGENT));
        }
    }

    /// This one signs a `Date`, and no length.
    #[test]
    fn a_payload_is_signed_as_in_amazons_example() {
        let payload = payload_hash(&Payload::Bytes("Welcome to Amazon S3.".into()));
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("date", "Fri, 24 May 2013 00:00:00 GMT"),
            ("host", HOST_OF_EXAMPLES),
            ("x-amz-content-sha256", &payload),
            ("x-amz-date", "20130524T000000Z"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ] {
            put(&mut headers, HeaderName::from_static(name), value).unwrap();
        }
        let canonical = Canonical {
            method: &Method::PUT,
            path: &format!("/{}", percent::path("test$file.text")),
            query: String::new(),
            headers: &headers,
            names: &signed_names(&headers),
            payload: &payload,
        };
        let stamp = Stamp::of(NOW).unwrap();
        let signature = canonical.signature(&stamp, &place(), &credentials(), &scope(&stamp, &place()));
        assert_eq!(signature, "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
    }

    #[test]
    fn a_url_is_signed_as_in_amazons_example() {
        let request = crate::s3::request::get("test.txt", 0);
        let presigned = presign(&request, &place(), &credentials(), NOW, Duration::from_secs(86_400)).unwrap();
        assert_eq!(
            presigned.url,
            "https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256\
             &X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request\
             &X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
             &X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
        );
        assert_eq!(presigned.headers, []);
        assert_eq!(format!("{presigned:?}"), "Presigned(…)");
        for seconds in [0, 604_801] {
            assert!(presign(&request, &place(), &credentials(), NOW, Duration::from_secs(seconds)).is_err());
        }
    }

    #[test]
    fn a_header_has_one_space_each() {
        assert_eq!(one_space_each(b"  a  b   c "), "a b c");
        assert_eq!(one_space_each(b"   "), "");
        assert_eq!(one_space_each(b"a\t b"), "a\t b");
    }

    const NOW: Timestamp = Timestamp(1_369_353_600_000);
    const HOST_OF_EXAMPLES: &str = "examplebucket.s3.amazonaws.com";

    fn place() -> Place {
        let endpoint = Origin::parse("https://s3.amazonaws.com").unwrap();
        Place::new(Some(endpoint), "examplebucket", "us-east-1", Some(Style::VirtualHost)).unwrap()
    }

    fn credentials() -> Credentials {
        Credentials::new("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", None).unwrap()
    }
}
